"""Deleting removes what a run has written, and nothing else."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from psi_core import Run
from psi_core.errors import RunError
from psi_core.files import examples_directory
from psi_core.runs.deletion import delete_run, foreign_files, require_deletable
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import Started
from psi_core.runs.processes import recorded_config
from psi_core.runs.trash import TRASH, empty_trash, put_in_trash, take_from_trash, tidy, trashed_runs
from tests.recorded import record_run


@pytest.fixture
def run(tmp_path):
    directory = record_run(tmp_path / "runs", images=20, chunk=10)
    (directory / "stop").touch()
    (directory / "chunks" / "00001.npz.123.tmp").touch()
    (directory / "chunks" / "00001.npz.123-0a1b2c.tmp").touch()
    (directory / "preview-0.npz.123-0a1b2c.tmp").touch()
    (directory / "pictures").mkdir()
    (directory / "pictures" / "17-fgsm@0.03.npz").touch()
    return directory


def test_a_run_is_removed_whole(run):
    assert foreign_files(run) == []
    assert delete_run(run) == []
    assert list(run.parent.iterdir()) == []


def test_what_no_run_writes_stays_and_is_named(run):
    (run / "thesis.tex").write_text("years")
    (run / "figures").mkdir()
    (run / "chunks" / "notes.txt").write_text("mine")
    assert delete_run(run) == ["chunks/notes.txt", "figures/", "thesis.tex"]
    left = sorted(str(path.relative_to(run)) for path in run.rglob("*"))
    assert left == ["chunks", "chunks/notes.txt", "figures", "thesis.tex"]


NOT_OWN = (
    *("chunks/notes.npz", "chunks/1.npz", "chunks/00001.npz.bak", "chunks/²²²²².npz", "chunks/00001 (copy).npz"),
    *("chunks/thesis.tmp", "chunks/notes.npz.123-0a1b2c.tmp", "pictures/cat.npz", "pictures/00001.npz", "thesis.tmp"),
    *("config.json.tmp", "config.json~", "preview-0.npz.orig", "engine-0.log.gz", "events-1.jsonl.tmp", "00000.npz"),
)


def test_names_that_only_look_like_a_runs_stay_and_are_told(run):
    for name in NOT_OWN:
        (run / name).write_text("mine")
    assert foreign_files(run) == sorted(NOT_OWN)
    assert delete_run(run) == sorted(NOT_OWN)
    left = [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()]
    assert sorted(left) == sorted(NOT_OWN)


@pytest.mark.parametrize("link", ["chunks", "engine-0.log"])
def test_links_are_unlinked_and_never_followed(run, tmp_path, link):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "00000.npz").write_text("other data")
    shutil.rmtree(run / link, ignore_errors=True)
    (run / link).unlink(missing_ok=True)
    (run / link).symlink_to(precious if link == "chunks" else precious / "00000.npz")
    delete_run(run)
    assert (precious / "00000.npz").read_text() == "other data"


def test_a_directory_of_another_name_is_no_run_directory(run, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(run / "config.json", project)
    (project / "main.py").write_text("code")
    for remove in (require_deletable, delete_run, put_in_trash):
        with pytest.raises(RunError, match="not named as its run"):
            remove(project)
    assert (project / "main.py").exists()


def tree(folder):
    """Everything below a folder, with what it holds or points to."""
    return {
        path.relative_to(folder): path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def keep_no_config(run, _monkeypatch):
    (run / "config.json").write_text("{")
    return run


def own_by_another(run, monkeypatch):
    def refuse(_path, _target):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "rename", refuse)
    return run


def add_a_thesis(run, _monkeypatch):
    (run / "thesis.tex").write_text("years")
    return run


def be_an_example(_run, _monkeypatch):
    return examples_directory() / "example-alexnet"


def be_at_work(run, alive):
    EventLog(events_path(run, 0)).write(Started(**alive, device="cpu"))
    return run


@pytest.mark.parametrize(
    ("remove", "prepare", "sentence"),
    [
        *(
            (remove, prepare, sentence)
            for remove in (delete_run, put_in_trash)
            for prepare, sentence in (
                (be_an_example, r"^example-alexnet: ships with psi-tui and is never deleted; name a run of your own$"),
                (keep_no_config, r": cannot be deleted; it holds no run that can be read$"),
                (be_at_work, r": still runs; stop it first with psi-tui stop "),
            )
        ),
        (delete_run, own_by_another, r": cannot be deleted \(Permission denied\); check who owns it$"),
        (put_in_trash, own_by_another, r": cannot be moved to the trash \(Permission denied\); check who owns it$"),
        (put_in_trash, add_a_thesis, r": holds what no run writes \(thesis\.tex\); move that away first$"),
    ],
)
def test_whoever_may_not_be_deleted_is_told_why_and_nothing_goes(run, monkeypatch, alive, remove, prepare, sentence):
    directory = prepare(run, alive if prepare is be_at_work else monkeypatch)
    before = tree(directory)
    with pytest.raises(RunError, match=sentence):
        remove(directory)
    monkeypatch.undo()
    assert tree(directory) == before
    assert {path.name for path in run.parent.iterdir()} <= {run.name, TRASH}
    assert trashed_runs(run.parent) == []


def test_what_cannot_come_back_from_the_trash_or_leave_it_stays_there(run, monkeypatch):
    trashed = put_in_trash(run)
    before = tree(run.parent)
    own_by_another(run, monkeypatch)
    with pytest.raises(RunError, match=r": cannot be moved back \(Permission denied\); check who owns it$"):
        take_from_trash(trashed)
    with pytest.raises(RunError, match=r": cannot be removed \(Permission denied\); check who owns it$"):
        empty_trash(run.parent)
    monkeypatch.undo()
    assert tree(run.parent) == before
    run.mkdir()
    with pytest.raises(RunError, match=r": is there again; move it away, then take the deleted one back$"):
        take_from_trash(trashed)
    run.rmdir()
    assert tree(run.parent) == before
    with pytest.raises(RunError, match=r": is not in the trash; it may have been removed for good$"):
        take_from_trash(trashed.with_name("1-0-other"))


def test_of_a_link_to_a_run_the_link_goes(run, tmp_path):
    link = tmp_path / run.name
    link.symlink_to(run)
    assert delete_run(link) == []
    assert not link.is_symlink()
    assert (run / "config.json").exists()


def test_a_delete_that_fails_leaves_the_run_where_it_was(run, monkeypatch):
    def refuse(self, missing_ok=False):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(RunError, match="Operation not permitted"):
        delete_run(run)
    assert json.loads((run / "config.json").read_text())["id"] == run.name


@pytest.mark.parametrize("place", ["chunks/00001.npz", "config.json"])
def test_a_delete_that_is_interrupted_leaves_the_run_where_it_was(run, monkeypatch, place):
    unlink = Path.unlink

    def interrupted(path, missing_ok=False):
        unlink(path, missing_ok)
        if path.as_posix().endswith(place):
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt):
        delete_run(run)
    monkeypatch.undo()
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    assert Run(run).id == run.name
    assert delete_run(run) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from psi_core.runs.deletion import delete_run
from psi_core.runs.trash import empty_trash

calls = int(sys.argv[1])

def count(event, _):
    global calls
    if event in ("os.remove", "os.rmdir"):
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
delete_run(Path(sys.argv[3])) if sys.argv[2] == "delete" else empty_trash(Path(sys.argv[3]))
"""


def killed(calls, what, directory):
    """The same by a process that is killed at its so manyth removal."""
    arguments = [sys.executable, "-c", KILLED, str(calls), what, str(directory)]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("calls", [1, 4, -1])
def test_what_a_kill_leaves_is_finished_by_the_next_list(run, calls):
    last = sum(1 for _ in run.rglob("*")) + 1  # Every file, every folder, and the run's own.
    killed(calls if calls > 0 else last, "delete", run)
    assert [path.name for path in run.parent.iterdir()] == [f".{run.name}.deleted"]
    tidy(run.parent)
    assert list(run.parent.iterdir()) == []


def test_of_what_a_kill_leaves_the_users_own_files_come_back(run):
    (run / "chunks" / "notes.npz").write_text("mine")
    killed(3, "delete", run)
    tidy(run.parent)
    assert [path.relative_to(run.parent).as_posix() for path in run.parent.rglob("*") if path.is_file()] == [
        f"{run.name}/chunks/notes.npz"
    ]


def test_a_run_that_is_there_again_can_be_deleted_beside_what_a_kill_left(run, tmp_path):
    shutil.copytree(run, tmp_path / run.name)
    killed(4, "delete", run)
    shutil.copytree(tmp_path / run.name, run)
    assert delete_run(run) == []
    assert list(run.parent.iterdir()) == []


def test_only_what_a_delete_began_is_finished(own_folders, run):
    for name in (".thesis.deleted", ".other.deleted", ".empty.deleted.d"):
        (own_folders / name).mkdir()
    (own_folders / ".thesis.deleted" / "stop").write_text("mine")
    shutil.copy(run / "config.json", own_folders / ".other.deleted")
    (own_folders / ".link.deleted").symlink_to(run)
    before = sorted(own_folders.rglob("*"))
    tidy(own_folders)
    assert sorted(own_folders.rglob("*")) == before
    assert Run(run).id == run.name


def test_half_a_run_never_comes_back_from_the_trash(run):
    put_in_trash(run)
    killed(2, "empty", run.parent)
    assert trashed_runs(run.parent) == []
    tidy(run.parent)
    assert list((run.parent / TRASH).iterdir()) == []


def test_a_file_that_appears_meanwhile_leaves_a_run_that_can_be_read(run, monkeypatch):
    rmdir = Path.rmdir

    def crowded(path):
        if path.name == f".{run.name}.deleted":
            (path / "appeared").touch()
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", crowded)
    with pytest.raises(RunError, match="cannot be deleted whole"):
        delete_run(run)
    assert Run(run).id == run.name
    assert (run / "appeared").exists()


def test_the_trash_takes_nothing_that_is_not_a_runs(run):
    (run / "thesis.tex").write_text("years")
    with pytest.raises(RunError, match=r"thesis\.tex"):
        put_in_trash(run)
    assert (run / "thesis.tex").exists()


def test_a_pipe_in_the_place_of_a_configuration_is_not_waited_for(run):
    doomed = run.parent / ".other.deleted"
    doomed.mkdir()
    os.mkfifo(doomed / "config.json")
    tidy(run.parent)
    assert doomed.is_dir()
    (run / "config.json").unlink()
    os.mkfifo(run / "config.json")
    with pytest.raises(RunError, match="no run that can be read"):
        delete_run(run)
    assert recorded_config(run) == {}
