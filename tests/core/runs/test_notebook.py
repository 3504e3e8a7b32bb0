"""A run's results as a pandas table and an xarray data set: the same numbers, each with its axes named."""

import sys

import numpy as np
import pytest

from psi_core import PsiError, load_run
from tests.recorded import record_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load_run(str(record_run(tmp_path_factory.mktemp("runs"), images=30, chunk=10, silent=2)))


def test_every_row_of_the_table_holds_the_arrays_numbers(run):
    frame = run.to_dataframe()
    assert len(frame) == run.psi.size
    assert frame["layer"].cat.categories.tolist() == run.layers
    assert frame["condition"].cat.categories.tolist() == run.conditions
    condition, layer, image = 1, 2, 17
    (row,) = frame[
        (frame["condition"] == run.conditions[condition])
        & (frame["layer"] == run.layers[layer])
        & (frame["index"] == run.index[image])
    ].to_dict("records")
    assert row["label"] == run.labels[image]
    assert row["prediction"] == run.predictions[condition, image]
    assert row["correct"] == (run.predictions[condition, image] == run.labels[image])
    for name in run.measures:
        assert row[name] == run.array(name)[condition, layer, image]
    assert frame["psi"].isna().sum() == np.isnan(run.psi).sum() > 0


def test_a_table_of_own_predictions_says_nothing_of_right_and_wrong(tmp_path):
    own = load_run(str(record_run(tmp_path, images=10, chunk=10, labels="predicted")))
    assert "correct" not in own.to_dataframe()


def test_the_data_set_names_its_axes(run):
    data = run.to_xarray()
    assert data["psi"].dims == ("condition", "layer", "image")
    assert np.array_equal(data["psi"], run.psi, equal_nan=True)
    attacked = data.sel(condition=run.conditions[1], layer=run.layers[0])
    assert np.array_equal(attacked["linf"], run.array("linf")[1])
    assert float(attacked["epsilon"]) == run.condition_details[1].epsilon
    assert data["label"].values.tolist() == run.labels.tolist()
    assert data.attrs["run"] == run.id


@pytest.mark.parametrize(("package", "method"), [("pandas", "to_dataframe"), ("xarray", "to_xarray")])
def test_without_the_package_it_says_how_to_get_it(run, package, method, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PsiError, match=r"pip install 'psi-tui\[notebook\]'"):
        getattr(run, method)()
