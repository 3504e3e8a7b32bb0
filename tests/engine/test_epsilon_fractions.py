"""An epsilon that is written as a fraction: the nearest float in arithmetic, its own text wherever people read it."""

import copy
import csv
import json
import pickle
from fractions import Fraction

import numpy as np
import pytest

from psi_core.conditions import Condition, Epsilon
from psi_core.config import RunConfig
from psi_core.engine import analyze
from psi_core.engine.again.export import export_images
from psi_core.errors import ConfigError
from psi_core.runs.finding import load_run
from psi_core.tables.export import export_run
from psi_core.tables.registry import WHOLE, cached_rows, table_rows
from psi_core.tables.summary import attack_text
from psi_tui.plots.canvas import Tick
from psi_tui.plots.figures import Curves, Series
from psi_tui.plots.series import Scale, _x_ticks
from tests.engine.processes import small_config


@pytest.mark.parametrize(
    ("typed", "shown", "number"),
    [
        ("8/255", "8/255", Fraction(8, 255)),
        (" 2 / 255 ", "2/255", Fraction(2, 255)),
        ("0.5/255", "0.5/255", Fraction(1, 510)),
        ("1/3", "1/3", Fraction(1, 3)),
        ("255/255", "255/255", Fraction(1)),
        ("7.65/255", "7.65/255", Fraction(3, 100)),
    ],
)
def test_a_fraction_is_the_nearest_float_and_keeps_its_text(typed, shown, number):
    (epsilon,) = RunConfig(epsilon=typed).epsilon
    assert epsilon == float(number)
    assert str(epsilon) == shown
    for same in (copy.deepcopy(epsilon), pickle.loads(pickle.dumps(epsilon))):
        assert (same, str(same)) == (epsilon, shown)
    condition = Condition("fgsm", epsilon)
    assert condition.name == f"fgsm@{shown}"
    assert str(Condition.of_name(condition.name).epsilon) == shown


def test_numbers_and_fractions_mix_in_options_toml_and_json(tmp_path):
    typed = RunConfig(epsilon="0.03,8/255,0")
    listed = RunConfig(epsilon=[0.03, "8/255", 0])
    (tmp_path / "spec.toml").write_text('epsilon = [0.03, "8/255", 0]\n')
    (tmp_path / "again.toml").write_text(typed.to_toml())
    for config in (
        *(typed, listed, RunConfig.from_toml(tmp_path / "spec.toml"), RunConfig.from_toml(tmp_path / "again.toml")),
        RunConfig(**json.loads(typed.model_dump_json())),
        RunConfig(**typed.model_dump()),
    ):
        assert config == typed
        assert [*map(str, config.epsilon)] == ["0.03", "8/255", "0.0"]
    assert "fgsm@8/255" in [condition.name for condition in typed.conditions]
    assert Condition("sign-noise", 8 / 255).name not in [condition.name for condition in typed.conditions]


def test_the_same_epsilon_written_twice_is_one():
    assert [*map(str, RunConfig(epsilon="8/255,16/510,0.03137254901960784").epsilon)] == ["8/255"]


@pytest.mark.parametrize(
    "typed", ["8/0", "8/", "/255", "8/-255", "1e-2/3", "8//255", "8/255/1", "nan/255", "256/255", "-1/255"]
)
def test_what_is_no_fraction_of_0_to_1_is_refused(typed):
    with pytest.raises(ConfigError, match=r"^epsilon: .*; "):
        RunConfig(epsilon=typed)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    options = {"images": 40, "controls": ["sign-noise", "sign-noise-2"]}
    return analyze(small_config(epsilon="0.03,8/255", **options), tmp_path_factory.mktemp("runs"))


def test_a_run_computes_with_the_number_and_shows_the_text(run, tmp_path):
    plain = analyze(small_config(epsilon=[0.03, 8 / 255], images=40, controls="none"), tmp_path)
    assert run.conditions[:3] == ["benign", "fgsm@0.03", "fgsm@8/255"]
    assert run.conditions[4] == "sign-noise@8/255"
    assert np.array_equal(run.psi[:3], plain.psi, equal_nan=True)
    assert run.array("linf")[2].max() <= np.float32(8 / 255) + 1e-6
    again = load_run(str(run.directory))
    assert [*map(str, again.config.epsilon)] == ["0.03", "8/255"]
    assert again.condition_details[2].control == "sign-noise@8/255"
    assert again.condition_details[4].control == "sign-noise-2@8/255"
    assert attack_text(again.config) == "fgsm 0.03, 8/255"


def test_tables_for_people_have_the_text_and_files_the_number(run, tmp_path):
    for rows in (table_rows(run, "conditions"), cached_rows(run, "conditions"), cached_rows(run, "conditions")):
        assert str(rows[2]["epsilon"]) == "8/255"
        assert rows[2]["epsilon"] == 8 / 255
    export_run(run, tmp_path, "csv", ["conditions"])
    with (tmp_path / "conditions.csv").open() as file:
        row = list(csv.DictReader(file))[2]
    assert (row["condition"], row["epsilon"]) == ("fgsm@8/255", repr(8 / 255))
    export_run(run, tmp_path, "json", ["layers"])
    layers = json.loads((tmp_path / "layers.json").read_text())
    assert {row["epsilon"] for row in layers if row["condition"] == "fgsm@8/255"} == {8 / 255}
    assert WHOLE.subset in {row["subset"] for row in layers}


def test_files_of_a_condition_lie_in_one_folder(run, tmp_path):
    export_images(run, tmp_path, ["npz", "png"], lambda done, total: None)
    assert (tmp_path / "images-fgsm@8_255.npz").is_file()
    assert len(list((tmp_path / "png" / "fgsm@8_255").glob("*.png"))) == 40
    place = f"npz:{tmp_path / 'images-fgsm@8_255.npz'}"
    config = small_config(images=40, attack="none", controls="none", attacked=place)
    assert np.allclose(analyze(config, tmp_path / "runs").psi[1], run.psi[2], atol=1e-6, equal_nan=True)


def test_curves_mark_the_epsilons_as_they_were_written():
    texts = ((0.0, "0"), (Epsilon("8/255"), "8/255"), (Epsilon("16/255"), "16/255"))
    curves = Curves((Series("fgsm", (0.0, 0.06), (1.0, 2.0)),), "epsilon", "%", x_texts=texts)
    ticks = _x_ticks(curves, Scale(0.0, 16 / 255, 60), ascii_only=False)
    assert [tick.label for tick in ticks if isinstance(tick, Tick)] == ["0", "8/255", "16/255"]
