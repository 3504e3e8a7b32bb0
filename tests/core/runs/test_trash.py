"""What is deleted can come back; what is removed for good was put there, and nothing behind a link is touched."""

import errno
import os
from pathlib import Path

import pytest

from psi_core.errors import RunError
from psi_core.runs import trash
from psi_core.runs.finding import list_runs
from psi_core.runs.trash import TRASH, empty_trash, put_in_trash, take_from_trash, tidy, trashed_runs
from tests.recorded import record_run


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_deleted_run_is_off_the_list_and_comes_back_as_it_was(own_folders):
    directory = record_run(own_folders, name="mine")
    before = contents(directory)
    trashed = put_in_trash(directory)
    assert list_runs(examples=False) == []
    assert trashed_runs(own_folders) == [trashed]
    assert take_from_trash(trashed) == directory
    assert contents(directory) == before
    assert trashed_runs(own_folders) == []
    with pytest.raises(RunError, match="not in the trash"):
        take_from_trash(trashed)


def test_the_one_deleted_last_lies_last_and_none_takes_the_place_of_another(own_folders):
    first = record_run(own_folders, name="first")
    second = record_run(own_folders, name="second")
    places = [put_in_trash(first), put_in_trash(second)]
    assert trashed_runs(own_folders) == places
    first.mkdir()
    with pytest.raises(RunError, match="there again"):
        take_from_trash(places[0])
    assert places[0].is_dir()


def test_what_lies_there_too_long_is_removed_and_nothing_else(own_folders, tmp_path, monkeypatch):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    directory = record_run(own_folders, name="old")
    (directory / "link").symlink_to(precious)
    monkeypatch.setattr(trash.time, "time", lambda: 1_700_000_000.0)
    old = put_in_trash(directory)
    (own_folders / TRASH / "notes.txt").write_text("mine")
    link = own_folders / "20261128-120000-aaaaaa"
    link.symlink_to(precious)
    monkeypatch.setattr(trash.time, "time", lambda: 1_800_000_000.0)
    young = put_in_trash(record_run(own_folders, name="young"))
    assert not old.exists()
    assert young.is_dir()
    assert put_in_trash(link).is_symlink()
    assert empty_trash(own_folders) == 2
    assert (precious / "file").read_text() == "mine"
    assert [path.name for path in (own_folders / TRASH).iterdir()] == ["notes.txt"]


def test_a_deletion_says_nothing_of_older_ones_that_cannot_go(own_folders, monkeypatch):
    monkeypatch.setattr(trash.time, "time", lambda: 1_700_000_000.0)
    stuck, other = (put_in_trash(record_run(own_folders, name=name)) for name in ("stuck", "other"))
    monkeypatch.setattr(trash.time, "time", lambda: 1_800_000_000.0)
    rmtree = trash.shutil.rmtree

    def refuse(path):
        if stuck.name in path.name:
            raise PermissionError(1, "Operation not permitted")
        rmtree(path)

    monkeypatch.setattr(trash.shutil, "rmtree", refuse)
    young = put_in_trash(record_run(own_folders, name="young"))
    assert trashed_runs(own_folders) == [stuck, young], "one that cannot go stays, and keeps no other"
    assert not other.exists()
    tidy(own_folders)
    with pytest.raises(RunError, match=r"1 of 2 runs are removed for good, not so:\n .*Operation not permitted"):
        empty_trash(own_folders)
    assert trashed_runs(own_folders) == [stuck]


def test_tidying_is_never_an_error(own_folders, tmp_path):
    tidy(own_folders)
    tidy(tmp_path / "no" / "such")
    (tmp_path / "file").touch()
    tidy(tmp_path / "file")


def test_a_trash_that_is_a_link_is_refused_and_the_run_stays(own_folders, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1700000000-0-precious").mkdir()
    directory = record_run(own_folders, name="mine")
    (own_folders / TRASH).symlink_to(elsewhere)
    with pytest.raises(RunError, match="no folder of its own"):
        put_in_trash(directory)
    assert directory.is_dir()
    assert trashed_runs(own_folders) == []
    assert empty_trash(own_folders) == 0
    assert [path.name for path in elsewhere.iterdir()] == ["1700000000-0-precious"]


def test_what_was_deleted_while_the_clock_was_in_1970_comes_back_and_has_its_time(own_folders, monkeypatch):
    run = record_run(own_folders, name="mine")
    with monkeypatch.context() as clock:
        clock.setattr(trash.time, "time", lambda: 86_400.0)
        put_in_trash(run)
        (trashed,) = trashed_runs(own_folders)
    tidy(own_folders)
    (trashed,) = trashed_runs(own_folders)
    assert take_from_trash(trashed) == run


@pytest.mark.parametrize(
    ("number", "next_step"),
    [
        (errno.EROFS, "mount its disk for writing"),
        (errno.ENOSPC, "free some disk"),
        (errno.EACCES, "check who owns it"),
    ],
)
def test_what_the_disk_refuses_says_what_to_do(own_folders, monkeypatch, number, next_step):
    def refuse(_path, _target):
        raise OSError(number, os.strerror(number))

    directory = record_run(own_folders)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(RunError, match=f"cannot be moved to the trash .*; {next_step}$"):
        put_in_trash(directory)
