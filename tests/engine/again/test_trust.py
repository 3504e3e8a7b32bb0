"""Whose code is run: that of runs made here, and of others only after a word."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from psi_core import ModelError, Run, RunError
from psi_core.__main__ import main
from psi_core.engine import analyze
from psi_core.engine.again.pictures import PictureMaker
from psi_core.engine.again.run_images import reopen
from psi_core.engine.commands import resume, work
from psi_core.engine.work.worker import Worker
from psi_core.files import state_directory
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import Stopped
from psi_core.runs.trust import require_no_links, require_trusted, trust
from psi_core.serve import Reply
from tests.engine.processes import small_config
from tests.engine.warm import start_warm
from tests.recorded import record_run

CODE = """
import torch
from pathlib import Path

Path(__file__).with_name("ran").touch()

def build():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(2304, 10))
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Run]:
    """A run of a file's network, made here."""
    (tmp_path / "mine.py").write_text(CODE)
    run = analyze(
        small_config(images=20, chunk=20, size=28, model=f"{tmp_path / 'mine.py'}:build", weights="built"), tmp_path
    )
    (tmp_path / "ran").unlink()
    return run


def looked_at(run: Run) -> bool:
    """Whether the code ran when an image was looked at."""
    PictureMaker().make(run, 3, run.condition_details[1])
    return Path(run.config.model.rpartition(":")[0]).with_name("ran").exists()


def test_a_run_made_here_runs_its_code_wherever_it_is_moved(own: Run, tmp_path: Path) -> None:
    assert looked_at(own)
    assert looked_at(Run(own.directory.rename(tmp_path / "moved")))


def test_a_foreign_run_runs_no_code_until_it_is_trusted(own: Run, tmp_path: Path) -> None:
    (state_directory() / "trusted-runs.txt").unlink()
    (own.directory / "chunks" / "00000.npz").unlink()

    def resumed() -> None:
        with (tmp_path / "reply").open("w") as file:
            resume(str(own.directory), Reply(file))

    doors = (
        lambda: looked_at(own),
        lambda: reopen(own, own.config.device),
        lambda: Worker(own.directory).work(),
        resumed,
    )
    for door in doors:
        with pytest.raises(ModelError, match=rf"{tmp_path}/mine\.py, which was not run; .*--trust"):
            door()
        assert not (tmp_path / "ran").exists()
    trust(own)
    assert looked_at(own)


def test_where_nothing_can_be_recorded_a_word_holds_for_the_process_and_its_children(
    own: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/state")
    with pytest.raises(ModelError, match="was not made here"):
        require_trusted(own)
    assert "trusted-runs.txt cannot be written to (Not a directory)" in trust(own)
    assert looked_at(own)
    child = "import sys; from psi_core import load_run; from psi_core.runs.trust import require_trusted; "
    asked = [sys.executable, "-c", f"{child} require_trusted(load_run(sys.argv[1]))", str(own.directory)]
    assert subprocess.run(asked, check=False).returncode == 0
    monkeypatch.delenv("PSI_TRUSTED")
    with pytest.raises(ModelError, match="was not made here"):
        require_trusted(own)


def test_a_run_made_here_runs_where_nothing_can_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/state")
    (tmp_path / "mine.py").write_text(CODE)
    model = f"{tmp_path / 'mine.py'}:build"
    run = analyze(small_config(images=20, chunk=20, size=28, model=model, weights="built"), tmp_path)
    assert not run.missing_chunks
    assert looked_at(run)


def test_a_worker_elsewhere_takes_the_word(own: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another node's"))
    (own.directory / "chunks" / "00000.npz").unlink()
    assert main(["work", str(own.directory)]) != 0
    assert not (tmp_path / "ran").exists()
    assert start_warm(["work", "--trust", str(own.directory)]).wait(120) == 0
    assert not Run(own.directory).missing_chunks


@pytest.mark.parametrize("model", ["os:getcwd", "evil.py:f", "/x/evil.py:f", "lenet5.py:f", "torchvision.models:f"])
def test_whoever_changes_the_configuration_loses_the_trust(own: Run, model: str) -> None:
    path = own.directory / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "name": "another name"}))
    require_trusted(Run(own.directory))
    path.write_text(json.dumps({**values, "model": model}))
    with pytest.raises(ModelError, match="was not made here"):
        require_trusted(Run(own.directory))
    path.write_text(json.dumps({**values, "model": "lenet5", "weights": "random"}))
    require_trusted(Run(own.directory))


def test_a_copy_of_an_own_run_is_one_s_own(own: Run, tmp_path: Path) -> None:
    require_trusted(Run(Path(shutil.copytree(own.directory, tmp_path / "copy"))))


@pytest.mark.parametrize("name", ["chunks", "events-0.jsonl", "engine-0.log", "chunks/00001.npz"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    directory = record_run(tmp_path / "runs", images=20, chunk=10)
    elsewhere = tmp_path / "elsewhere"
    linked = directory / name
    if linked.is_dir():
        linked.rename(elsewhere)
    else:
        elsewhere.write_text("mine")
        linked.unlink(missing_ok=True)
    linked.symlink_to(elsewhere)
    with (tmp_path / "reply").open("w") as file:
        for door in (lambda: resume(str(directory), Reply(file)), lambda: work(directory)):
            with pytest.raises(RunError, match="is a link"):
                door()
    assert elsewhere.is_dir() or elsewhere.read_text() == "mine"


@pytest.mark.parametrize("name", ["events-0.jsonl", "engine-0.log", "chunks"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, Path.touch], ids=["pipe", "folder", "file"])
def test_nothing_is_written_to_what_is_no_file(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    directory = record_run(tmp_path, chunks=[])
    place = directory / name
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    make(place)
    if (name == "chunks") == (make is Path.mkdir) and make is not os.mkfifo:
        require_no_links(Run(directory))
        return
    with pytest.raises(RunError, match=rf"{name}: is no .*; move it away"):
        require_no_links(Run(directory))


def test_a_backup_by_hard_links_stays_as_it_was(tmp_path: Path) -> None:
    directory = record_run(tmp_path / "runs", chunks=[])
    shutil.copytree(directory, tmp_path / "backup", copy_function=os.link)
    before = events_path(directory, 0).read_bytes()
    require_no_links(Run(directory))
    EventLog(events_path(directory, 0)).write(Stopped())
    assert events_path(tmp_path / "backup", 0).read_bytes() == before
    assert events_path(directory, 0).read_bytes().startswith(before)
    assert len(events_path(directory, 0).read_bytes()) > len(before)
