"""The birth and end of a run directory: whole or absent, its weights never replaced."""

import json
import shutil
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from psi_core.config import ResolvedConfig
from psi_core.errors import ConfigError, RunError
from psi_core.runs.creation import create_run, record_model, require_writable, write_json
from psi_core.runs.deletion import delete_run
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import Started
from psi_core.runs.finding import list_runs
from psi_core.runs.processes import own_identity
from psi_core.runs.run import Run
from tests.recorded import LAYERS, record_run

Usage = namedtuple("Usage", "total used free")
CARD = {"source": "recorded", "sha256": "a" * 64}


@pytest.fixture
def config():
    counts = {"images": 60, "chunk": 25, "batch": 25, "threads": 2, "size": 28}
    return ResolvedConfig(**counts, device="cpu", normalize="none", epsilon="0.03,0.1", name="x")


def test_a_new_run_holds_its_whole_configuration(tmp_path, config):
    directory = create_run(tmp_path / "runs", config, LAYERS)
    values = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    assert values["format"] == 1
    assert values["id"] == directory.name
    assert values["conditions"] == [condition.name for condition in config.conditions]
    assert set(values) == {"format", "id", "created", "digests", "conditions", *ResolvedConfig.model_fields}
    run = Run(directory)
    assert (run.config, run.layer_infos, run.status) == (config, LAYERS, "queued")
    assert sorted(path.name for path in directory.iterdir()) == ["chunks", "config.json", "layers.json"]
    assert list((tmp_path / "runs").iterdir()) == [directory]


def test_runs_of_the_same_second_have_ids_of_their_own(tmp_path, config):
    assert len({create_run(tmp_path, config, LAYERS).name for _ in range(5)}) == 5


def test_nothing_half_made_is_ever_visible(tmp_path, config, monkeypatch):
    seen = []
    replace, rename = Path.replace, Path.rename

    def look_then(act):
        def acting(self, target):
            seen.append([run.directory for run in list_runs(tmp_path, examples=False)])
            result = act(self, target)
            seen.append([run.directory for run in list_runs(tmp_path, examples=False)])
            return result

        return acting

    monkeypatch.setattr(Path, "replace", look_then(replace))
    monkeypatch.setattr(Path, "rename", look_then(rename))
    directory = create_run(tmp_path, config, LAYERS)
    assert len(seen) == 6
    assert seen == [[]] * 5 + [[directory]]


@pytest.mark.parametrize("failing", ["write_text", "replace", "rename"])
def test_a_run_that_cannot_be_made_leaves_nothing(tmp_path, config, monkeypatch, failing):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, failing, fail)
    with pytest.raises(OSError, match="No space"):
        create_run(tmp_path, config, LAYERS)
    assert list(tmp_path.iterdir()) == []


# Room to write


def test_asking_for_room_makes_nothing(tmp_path):
    require_writable(tmp_path, 1)
    require_writable(tmp_path / "not" / "yet", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["/proc/psi", "file/runs", "file", "x" * 300])
def test_a_folder_that_cannot_be_written_to_is_refused(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"runs-dir: .* cannot be written to \(.+\); name another with --runs-dir"):
        require_writable(tmp_path / folder, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("folder", [".", "not/yet"])
def test_too_little_disk_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100e6, 90e6, 10e6))
    require_writable(tmp_path / folder, 10_000_000)
    with pytest.raises(ConfigError, match=r"has 10 MB free and this run needs about 20 MB; free some"):
        require_writable(tmp_path / folder, 20_000_000)
    assert list(tmp_path.iterdir()) == []


# Weights


def test_the_weights_are_recorded_once(tmp_path):
    record_model(tmp_path, CARD)
    record_model(tmp_path, {**CARD, "source": "the same from elsewhere"})
    assert json.loads((tmp_path / "model.json").read_text(encoding="utf-8")) == CARD
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "lacks 'sha256'"),
        ("[]", "it is no object"),
        ("{" * 100_000, "no JSON from line 1, column 2 on"),
        ('{"a":' * 100_000, "nested too deep"),
        ("\xff", "no UTF-8 from byte 0 on"),
        (f'{{"parameters": {"9" * 5000}}}', "too many digits"),
    ],
    ids=lambda text: text[:8],
)
def test_a_record_of_the_weights_that_is_damaged_is_named(tmp_path, text, reason):
    (tmp_path / "model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=f"{tmp_path}/model.json: .*{reason}.*; the run directory is damaged|lacks"):
        record_model(tmp_path, CARD)


def test_other_weights_are_refused(tmp_path):
    record_model(tmp_path, CARD)
    with pytest.raises(RunError, match=r"weights: other has SHA-256 bbbbbbbbbbbb, .*; put the old weights back"):
        record_model(tmp_path, {"source": "other", "sha256": "b" * 64})
    assert json.loads((tmp_path / "model.json").read_text(encoding="utf-8")) == CARD


def test_of_workers_at_once_the_first_is_left_and_the_others_are_refused(tmp_path, monkeypatch):
    """All have seen that there is no `model.json` before any writes it."""
    workers = 8
    together = threading.Barrier(workers)
    exists = Path.exists

    def exists_then_wait(path):
        found = exists(path)
        together.wait()
        return found

    refused = []

    def record(number):
        try:
            record_model(tmp_path, {"source": str(number), "sha256": f"{number:064}"})
        except RunError:
            refused.append(str(number))

    threads = [threading.Thread(target=record, args=(number,)) for number in range(workers)]
    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", exists_then_wait)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    left = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))["source"]
    assert sorted([left, *refused]) == [str(number) for number in range(workers)]
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"epsilon": 0.03})
    with pytest.raises(TypeError):
        write_json(path, {"epsilon": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"epsilon": 0.03}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


# The end


def test_a_deleted_run_leaves_nothing(own_folders):
    kept, deleted = record_run(own_folders), record_run(own_folders)
    delete_run(deleted)
    assert list(own_folders.iterdir()) == [kept]


def test_a_run_is_out_of_the_list_before_its_files_are(own_folders, monkeypatch):
    directory = record_run(own_folders)
    listed = []
    unlink = Path.unlink

    def listing(path, missing_ok=False):
        listed.append(list_runs(examples=False))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", listing)
    delete_run(directory)
    assert listed
    assert not any(listed)


def test_an_example_is_never_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("psi_core.files.PACKAGE_DATA", tmp_path)
    example = record_run(tmp_path / "examples")
    for way in (example, tmp_path / "examples" / ".." / "examples" / example.name):
        with pytest.raises(RunError, match="never deleted"):
            delete_run(way)
    assert example.is_dir()


def test_a_live_run_is_not_deleted(own_folders):
    directory = record_run(own_folders)
    EventLog(events_path(directory, 0)).write(Started(**own_identity()))
    with pytest.raises(RunError, match="stop it first with psi-tui stop"):
        delete_run(directory)
    assert directory.is_dir()


def test_what_cannot_be_deleted_is_said(own_folders):
    with pytest.raises(RunError, match="cannot be deleted"):
        delete_run(own_folders / "missing")
