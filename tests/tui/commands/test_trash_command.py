"""`psi-tui trash`: what is gone for good was asked for, by words or by 14 days."""

import os
import pty

import pytest

from psi_core.runs import trash
from psi_core.runs.trash import KEPT_SECONDS, TRASH, put_in_trash, trashed_runs
from psi_tui.runs.run_list import RunList
from tests.recorded import record_run


@pytest.fixture
def trashed(own_folders):
    return [put_in_trash(record_run(own_folders, name=name)) for name in ("first", "second")]


def answered(psi, monkeypatch, answer, *arguments):
    """A command at a terminal, at which somebody types an answer."""
    terminal, screen = pty.openpty()
    with os.fdopen(screen) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        os.write(terminal, f"{answer}\n".encode())
        outcome = psi(*arguments)
    os.close(terminal)
    return outcome


def test_emptying_asks_with_number_and_size(psi, monkeypatch, own_folders, trashed):
    refused = answered(psi, monkeypatch, "n", "trash", "--empty")
    assert refused.code != 0
    for words in ("2 runs", " kB", str(own_folders / TRASH), "for good?"):
        assert words in refused.err
    assert trashed_runs(own_folders) == trashed
    done = answered(psi, monkeypatch, "y", "trash", "--empty")
    assert done.code == 0 and "2 runs removed for good" in done.err
    assert trashed_runs(own_folders) == []


def test_without_a_terminal_emptying_wants_a_word(psi, own_folders, trashed):
    refused = psi("trash", "--empty")
    assert (refused.code, refused.out) == (2, "")
    assert "--yes" in refused.err
    assert trashed_runs(own_folders) == trashed
    assert psi("trash", "--empty", "--yes").code == 0
    assert trashed_runs(own_folders) == []
    for words in (["--empty"], ["--empty", "--yes"], ["--undo"], []):
        outcome = psi("trash", *words)
        assert outcome.code == 0 and "is empty" in outcome.err, "of nothing there is nothing to ask"


def test_emptying_and_undoing_at_once_is_refused(psi, own_folders, trashed):
    for more in ([], ["--yes"]):
        refused = psi("trash", "--empty", "--undo", *more)
        assert refused.code == 2 and "one of them" in refused.err
    assert trashed_runs(own_folders) == trashed


@pytest.mark.parametrize("lists", ["runs", "trash", "app"])
def test_after_14_days_they_are_gone_at_the_next_list(own_folders, psi, monkeypatch, lists):
    def list_at(seconds):
        monkeypatch.setattr(trash.time, "time", lambda: 1_700_000_000.0 + seconds)
        RunList(own_folders).poll() if lists == "app" else psi(lists)

    monkeypatch.setattr(trash.time, "time", lambda: 1_700_000_000.0)
    old = put_in_trash(record_run(own_folders, name="old"))
    list_at(KEPT_SECONDS - 1)
    assert old.exists()
    list_at(KEPT_SECONDS)
    assert not old.exists()


def test_the_next_delete_finishes_what_a_kill_left(own_folders, psi):
    directory = record_run(own_folders, name="mine")
    directory.rename(own_folders / f".{directory.name}.deleted")
    assert psi("delete", "mine", "--yes").code == 2
    assert list(own_folders.iterdir()) == []
