"""`verify` looks at every part of a run and says of each whether it is what the workers wrote."""

import json
import shutil

import numpy as np
import pytest

from psi_core.files import file_sha256
from psi_core.runs.chunks import chunk_path, read_arrays, write_arrays
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import Started
from psi_core.runs.finding import load_run
from psi_core.runs.loading import CONFIG_DIGEST
from psi_core.runs.run import Run
from psi_core.runs.verification import verify
from tests.recorded import make_older, record_run, rewrite_chunk


@pytest.fixture
def directory(own_folders, tmp_path):
    """A run as a worker leaves it, whose weights lie in a file."""
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"weights")
    directory = record_run(own_folders)
    change(directory / "model.json", source=str(weights), sha256=file_sha256(weights))
    change(directory / "model.json", **{CONFIG_DIGEST: Run(directory).fingerprint})
    for number in range(3):
        arrays = read_arrays(chunk_path(directory, number))
        rewrite_chunk(directory, number, arrays)
    return directory


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def verdicts(directory):
    return {part.name: part.verdict for part in verify(Run(directory))}


ALL_RIGHT = dict.fromkeys(("configuration", "layers", "chunks", "other files", "weights"), "right")


def test_all_of_a_whole_run_is_right(directory):
    assert verdicts(directory) == ALL_RIGHT


def scaled(path):
    arrays = read_arrays(path, lambda _name: True)
    write_arrays(path, {**arrays, "psi": arrays["psi"] * np.float32(1.01)})


@pytest.mark.parametrize(
    ("damage", "part", "word"),
    [
        (lambda run: scaled(chunk_path(run, 1)), "chunks", "psi is not what was computed"),
        (lambda run: chunk_path(run, 1).write_bytes(b""), "chunks", "00001.npz: the chunk is damaged"),
        (lambda run: shutil.copy(chunk_path(run, 0), chunk_path(run, 1)), "chunks", "it is chunk 0"),
        (lambda run: shutil.copy(chunk_path(run, 0), run / "chunks" / "000000.npz"), "other files", "000000.npz"),
        (lambda run: shutil.copy(chunk_path(run, 0), run / "chunks" / "00017.npz"), "other files", "00017.npz"),
        (lambda run: shutil.copy(chunk_path(run, 0), run / "chunks" / "00000 (1).npz"), "other files", "(1)"),
        (lambda run: change(run / "config.json", seed=9), "configuration", "config.json was changed"),
        (lambda run: (run / "layers.json").write_text("{}"), "layers", "it is no list of layers"),
        (lambda run: (run.parents[1] / "weights.pt").write_bytes(b"others"), "weights", "the run was begun with"),
    ],
)
def test_what_is_wrong_is_named(directory, damage, part, word):
    damage(directory)
    (found,) = [each for each in verify(Run(directory)) if each.name == part]
    assert found.verdict == "wrong"
    assert word in found.words


def test_of_an_older_run_it_says_that_it_has_no_digests(directory):
    make_older(directory)
    change(directory / "model.json", **{CONFIG_DIGEST: None})
    found = {each.name: each for each in verify(Run(directory))}
    assert (found["chunks"].verdict, found["configuration"].verdict) == ("not checked", "not checked")
    assert "by a version without digests" in found["chunks"].words


def test_weights_that_are_elsewhere_are_not_checked(directory):
    change(directory / "model.json", source="/nowhere/weights.pt")
    assert verdicts(directory)["weights"] == "not checked"


def test_a_run_that_has_not_begun_is_not_wrong(own_folders):
    directory = record_run(own_folders, chunks=[])
    (directory / "model.json").unlink()
    assert "wrong" not in verdicts(directory).values()


@pytest.mark.parametrize("name", ["example-alexnet", "example-vgg11"])
def test_the_shipped_examples_are_right(name):
    found = {part.name: part.verdict for part in verify(load_run(name))}
    assert found == {**ALL_RIGHT, "weights": "not checked"}


def test_a_log_of_another_run_is_wrong(directory):
    EventLog(events_path(directory, 1)).write(Started(run=directory.name))
    assert verdicts(directory) == ALL_RIGHT
    EventLog(events_path(directory, 1)).write(Started(run="20260101-000000-abcdef"))
    assert verdicts(directory) == ALL_RIGHT | {"other files": "wrong"}
