"""Resume makes again what is damaged or not the run's, and goes on with no other configuration."""

import json
import shutil

import numpy as np
import pytest

from psi_core.engine import analyze
from psi_core.engine.work.worker import Worker
from psi_core.errors import RunError
from psi_core.runs.chunks import chunk_path, read_arrays, write_arrays
from psi_core.runs.deletion import foreign_files
from psi_core.runs.run import Run
from tests.engine.processes import assert_same_results, events, small_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return analyze(small_config(images=40), tmp_path_factory.mktemp("finished")).directory


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / finished.name)


def times_100(path):
    arrays = read_arrays(path, lambda _name: True)
    write_arrays(path, {**arrays, "psi": arrays["psi"] * 100})


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
        lambda path: path.write_bytes(b""),
        lambda path: shutil.copyfile(path.with_name("00000.npz"), path),
        times_100,
    ],
    ids=["cut", "empty", "another", "times 100"],
)
def test_a_wrong_chunk_is_set_aside_named_and_made_again(finished, copy, damage):
    damage(chunk_path(copy, 1))
    assert [*Run(copy).wrong_chunks()] == [1]
    Worker(copy).work()
    assert_same_results(copy, finished)
    assert not Run(copy).wrong_chunks()
    (said,) = [each for each in events(copy) if each["event"] == "warning" and each.get("chunks") == [1]]
    assert "00001.npz.wrong now, and is made again" in said["text"]
    assert (copy / "chunks" / "00001.npz.wrong").exists()
    assert foreign_files(copy) == []


def test_two_wrong_files_of_one_chunk_stand_side_by_side(finished, copy):
    for _ in range(2):
        chunk_path(copy, 1).write_bytes(b"torn")
        Worker(copy).work()
    assert sorted(path.name for path in (copy / "chunks").glob("*.wrong*")) == ["00001.npz.wrong", "00001.npz.wrong1"]
    assert_same_results(copy, finished)


@pytest.mark.parametrize("key", ["seed", "chunk"])
def test_a_run_whose_configuration_was_edited_is_not_gone_on_with(copy, key):
    chunk_path(copy, 1).unlink()
    path = copy / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, key: values[key] + 1}))
    before = sorted((copy / "chunks").iterdir())
    with pytest.raises(RunError, match=r"config\.json: was changed after the run was begun"):
        Worker(copy).work()
    assert sorted((copy / "chunks").iterdir()) == before
    path.write_text(json.dumps(values))
    Worker(copy).work()
    assert np.isfinite(Run(copy).psi[0]).any()


def test_chunks_of_all_workers_carry_the_same_arrays_and_their_own_run(finished):
    run = Run(finished)
    assert run.is_sealed
    seal = json.loads(read_arrays(chunk_path(finished, 2), "seal".__eq__)["seal"].tobytes())
    assert (seal["run"], seal["chunk"], seal["config"]) == (run.id, 2, run.fingerprint)
    assert set(seal["arrays"]) == set(read_arrays(chunk_path(finished, 2)))


def test_a_folder_of_chunks_that_was_removed_is_made_again(finished, copy):
    shutil.rmtree(copy / "chunks")
    Worker(copy).work()
    assert_same_results(copy, finished)
