"""Runs: read after any prefix of any write, and a damaged one is named."""

import json
import shutil

import numpy as np
import pytest

from psi_core.errors import RunError
from psi_core.measures import DEFAULT_MEASURES
from psi_core.runs.chunks import chunk_path, chunk_range, read_arrays, write_arrays
from psi_core.runs.event_log import preview_path
from psi_core.runs.finding import list_runs, load_run
from psi_core.runs.run import Run
from psi_core.runs.seals import sealed
from tests.recorded import LAYERS, record_run


@pytest.fixture
def runs(own_folders):
    return own_folders


def edit(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


def test_a_run_reads_back_what_was_recorded(runs):
    run = load_run(record_run(runs, epsilon=[0.03, 0.1], name="first", silent=3))
    assert run.conditions == [c.name for c in run.condition_details]
    assert run.conditions[:3] == ["benign", "fgsm@0.03", "fgsm@0.1"]
    assert run.layers == ["conv1", "conv2", "fc1"]
    assert run.layer_infos == LAYERS
    assert (run.name, run.images, run.chunks, run.missing_chunks, run.status) == ("first", 60, 3, [], "done")
    assert run.psi.shape == (7, 3, 60)
    assert run.psi.dtype == np.float32
    assert np.isnan(run.psi[:, 2, :3]).all()
    np.testing.assert_array_equal(run.index, np.arange(60))
    assert run.labels.shape == (60,)
    assert run.predictions.shape == (7, 60)
    assert run.measures == DEFAULT_MEASURES
    assert run.model["class_names"] == list("0123456789")
    labels, counts, sums = run.class_sums("fc1")
    np.testing.assert_array_equal(counts, np.bincount(run.labels, minlength=10)[labels])
    assert sums.shape == (7, len(labels), 8)


def test_a_run_without_a_name_is_called_by_its_id(runs):
    run = load_run(record_run(runs))
    assert run.name == run.id == run.directory.name


def test_chunks_made_in_any_order_give_images_in_order(runs):
    run = load_run(record_run(runs, chunks=[2, 0]))
    np.testing.assert_array_equal(run.index, [*range(25), *range(50, 60)])
    assert run.missing_chunks == [1]


def test_unknown_results_and_layers_are_answered_with_the_nearest(runs):
    run = load_run(record_run(runs))
    with pytest.raises(RunError, match="did you mean 'prediction'"):
        run.array("predictions")
    with pytest.raises(RunError, match="did you mean 'conv2'"):
        run.class_sums("covn2")
    with pytest.raises(RunError, match="did you mean 'conv2'"):
        run.square_sums("covn2")


def test_a_run_without_chunks_says_so(runs):
    run = load_run(record_run(runs, chunks=[], finished=False))
    with pytest.raises(RunError, match="no results yet"):
        _ = run.psi
    with pytest.raises(RunError, match="no class sums yet"):
        run.class_sums("conv1")
    with pytest.raises(RunError, match="no class sums yet"):
        run.square_sums("conv1")
    assert not run.has_sums


def test_weights_show_as_soon_as_they_are_ready(runs):
    directory = record_run(runs)
    card = (directory / "model.json").read_bytes()
    (directory / "model.json").unlink()
    run = load_run(directory)
    assert run.model == {}
    (directory / "model.json").write_bytes(card)
    assert run.model["source"] == "recorded"


# Any prefix of any write


def test_half_made_and_half_deleted_runs_are_not_listed(runs):
    whole = record_run(runs)
    for name in (".20260101-000000-abcdef.tmp", f".{whole.name}.deleted"):
        shutil.copytree(whole, runs / name)
    (runs / "notes.txt").touch()
    (runs / "empty").mkdir()
    assert [run.directory for run in list_runs(examples=False)] == [whole]


def test_every_prefix_of_a_configuration_is_refused_and_left_out_of_the_list(runs):
    directory = record_run(runs)
    whole = (directory / "config.json").read_bytes()
    for length in range(0, len(whole.rstrip()), 7):
        (directory / "config.json").write_bytes(whole[:length])
        with pytest.raises(RunError, match=r"config\.json"):
            Run(directory)
        assert list_runs(examples=False) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda values: [values], "format None is not 1"),
        (lambda values: {**values, "format": 2}, "format 2 is not 1"),
        (lambda values: {key: values[key] for key in values if key != "id"}, "lacks 'id'"),
        (lambda values: {key: values[key] for key in values if key != "conditions"}, "lacks 'conditions'"),
        *(
            (lambda values, wrong=wrong: {**values, "id": wrong}, "its id is")
            for wrong in ("../../thesis", "/etc", "", ".", "..", ".hidden", "a/b", "a\n", "a\0b", "x" * 101, ["a"])
        ),
        *(
            (lambda values, wrong=wrong: {**values, "attack": [f"foolbox:{wrong}"]}, "of a newer psi-tui")
            for wrong in ("../../x", "a/b", "a b", "")
        ),
        (lambda values: {**values, "created": "yesterday"}, "yesterday"),
        (lambda values: {**values, "attack": ["of-a-newer-version"]}, "of a newer psi-tui"),
        (lambda values: {**values, "conditions": values["conditions"][::-1]}, "its conditions are"),
        (lambda values: {key: values[key] for key in values if key != "images"}, "images: it is missing"),
        (lambda values: {**values, "chunk": "auto"}, "chunk: 'auto' does not fit"),
    ],
)
def test_a_wrong_configuration_is_named(runs, change, sentence):
    directory = record_run(runs)
    edit(directory / "config.json", change)
    with pytest.raises(RunError, match=sentence) as caught:
        load_run(directory)
    assert str(directory) in str(caught.value)
    assert list_runs(examples=False) == []


def test_keys_of_a_newer_version_are_passed_over(runs):
    directory = record_run(runs)
    edit(directory / "config.json", lambda values: {**values, "mood": "good"})
    edit(directory / "layers.json", lambda layers: [{**layer, "mood": "good"} for layer in layers])
    assert load_run(directory).layer_infos == LAYERS


@pytest.mark.parametrize("text", ["", "3", "[{}]", "[3]", '[{"name": "conv1"'])
def test_a_damaged_list_of_layers_is_named(runs, text):
    directory = record_run(runs)
    (directory / "layers.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=r"layers\.json"):
        _ = load_run(directory).layers


def test_a_damaged_chunk_is_named(runs):
    directory = record_run(runs)
    damaged = chunk_path(directory, 1)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(RunError, match=r"00001\.npz: the chunk is damaged .*; delete it and resume"):
        _ = load_run(directory).psi
    damaged.unlink()
    assert load_run(directory).missing_chunks == [1]
    assert load_run(directory).psi.shape[-1] == 35


def test_what_a_killed_worker_leaves_is_no_result(runs):
    directory = record_run(runs, chunks=[0, 1])
    whole = chunk_path(directory, 0).read_bytes()
    chunk_path(directory, 2).with_name("00002.npz.77.tmp").write_bytes(whole[:500])
    (directory / "preview-0.npz.77.tmp").write_bytes(whole[:500])
    (directory / "model.json.77.tmp").write_text("{", encoding="utf-8")
    run = load_run(directory, preview=True)
    assert run.missing_chunks == [2]
    assert run.psi.shape[-1] == 50
    assert run.model["source"] == "recorded"


def preview(directory, worker, rows):
    """An open chunk of the images in `rows`, without class sums."""
    run = load_run(directory)
    names = ("label", "prediction", "confidence", "linf", "l2", *run.measures)
    arrays = {name: run.array(name)[..., : len(rows)] for name in names}
    write_arrays(preview_path(directory, worker), {"index": np.array(rows), **arrays})


def test_a_preview_adds_the_open_chunk_only_where_asked(runs):
    directory = record_run(runs, chunks=[0, 2])
    preview(directory, 1, chunk_range(1, 60, 25)[:10])
    assert load_run(directory).psi.shape[-1] == 35
    run = load_run(directory, preview=True)
    np.testing.assert_array_equal(run.index, [*range(35), *range(50, 60)])
    assert run.class_sums("conv1")[1].sum() == 35


def test_a_preview_of_a_chunk_that_is_there_is_left_out(runs):
    directory = record_run(runs, chunks=[0, 1])
    preview(directory, 0, range(25, 40))
    preview(directory, 1, range(50, 55))
    preview(directory, 2, range(50, 58))
    preview(directory, 3, range(0))
    np.testing.assert_array_equal(load_run(directory, preview=True).index, range(55))


def test_an_open_chunk_that_is_not_the_runs_is_left_out(runs):
    directory = record_run(runs, chunks=[0])
    other = record_run(runs, chunks=[0, 1], seed=1)
    run, place = load_run(directory), preview_path(directory, 0)
    preview(directory, 0, range(25, 30))
    own = read_arrays(place)
    wrong = {
        "another run's": read_arrays(chunk_path(other, 1), lambda name: "sum" not in name and "class" not in name),
        "changed after it was sealed": {**sealed(own, run.origin, 1), "linf": own["linf"] / 2},
        "without positions": {name: array for name, array in own.items() if name != "index"},
        "of images that the run has not": {**own, "index": own["index"] + 1000},
        "that no run gives": {**own, "psi": own["psi"] * 100},
        "of two lengths": {**own, "linf": own["linf"][:, :2]},
    }
    for how, arrays in wrong.items():
        write_arrays(place, arrays)
        assert load_run(directory, preview=True).psi.shape[-1] == 25, how
    for arrays in (own, sealed(own, run.origin, 1)):
        write_arrays(place, arrays)
        assert load_run(directory, preview=True).psi.shape[-1] == 30


def test_every_prefix_of_a_preview_is_passed_over(runs):
    directory = record_run(runs, chunks=[0])
    preview(directory, 0, range(25, 30))
    path = preview_path(directory, 0)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert load_run(directory, preview=True).psi.shape[-1] == 25
    path.write_bytes(whole)
    assert load_run(directory, preview=True).psi.shape[-1] == 30


def test_a_reader_writes_nothing(runs):
    directory = record_run(runs, chunks=[0])
    before = {path: path.stat().st_mtime_ns for path in [runs, *runs.rglob("*")]}
    run = load_run("latest", preview=True)
    _ = run.status, run.psi, run.layers, run.model, run.class_sums("conv1"), list_runs(examples=False)
    assert {path: path.stat().st_mtime_ns for path in [runs, *runs.rglob("*")]} == before
    assert run.directory == directory
