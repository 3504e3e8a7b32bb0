"""The home screen's list: complete, in order, cheap to follow, and blind to what is no run."""

from dataclasses import replace

import pytest

from psi_core.runs.chunks import chunk_path
from psi_core.runs.deletion import delete_run
from psi_core.runs.status import STOP_FILE
from psi_tui.runs.run_list import RunList, is_unreadable, run_row, status_words
from psi_tui.text.runs import RUN_COLUMNS
from tests.core.living import Worker
from tests.recorded import copy_chunk, record_run


def own(entries):
    return [entry for entry in entries if not entry.is_example]


def test_a_folder_that_is_not_there_is_an_empty_list(own_folders):
    assert own(RunList(own_folders).poll()) == []


def test_a_folder_that_goes_says_so_until_it_is_back(own_folders):
    followed, elsewhere = RunList(own_folders), own_folders.with_name("elsewhere")
    followed.poll()
    assert followed.trouble == "", "it was never there"
    record_run(own_folders, name="a")
    assert len(own(followed.poll())) == 1
    own_folders.rename(elsewhere)
    assert own(followed.poll()) == []
    assert followed.trouble.startswith(f"{own_folders}: the folder of runs is gone; ")
    own_folders.write_text("no folder")
    followed.poll()
    assert "cannot be read (Not a directory)" in followed.trouble
    own_folders.unlink()
    elsewhere.rename(own_folders)
    assert (len(own(followed.poll())), followed.trouble) == (1, "")


def test_every_run_is_listed_newest_first_and_examples_last(own_folders):
    for name in ("first", "second"):
        record_run(own_folders, name=name)
    (own_folders / "no-run").mkdir()
    entries = RunList(own_folders).poll()
    assert [entry.name for entry in own(entries)] == ["second", "first"]
    assert [entry.is_example for entry in entries] == sorted(entry.is_example for entry in entries)


def test_an_entry_tells_the_runs_numbers(own_folders):
    record_run(own_folders, name="a", shift=0.05, epsilon="0.03,0.1")
    (entry,) = own(RunList(own_folders).poll())
    assert (entry.model, entry.data, entry.attack, entry.epsilon) == ("lenet5", "mnist", "fgsm", "0.03, 0.1")
    assert entry.progress.status == "done"
    assert (entry.progress.done, entry.progress.total) == (60, 60)
    assert entry.summary.shift_layer == "conv1"
    assert abs(entry.summary.shift - 0.05 * 0.1 / 0.03) < 0.01
    assert abs(entry.summary.shift_control - 0.05 * 0.1 / 0.03) < 0.01
    assert entry.summary.control == "sign-noise@0.1"


def test_a_run_that_goes_is_gone_and_a_new_one_comes(own_folders):
    followed = RunList(own_folders)
    directory = record_run(own_folders, name="a")
    assert [entry.name for entry in own(followed.poll())] == ["a"]
    delete_run(directory)
    record_run(own_folders, name="b")
    assert [entry.name for entry in own(followed.poll())] == ["b"]


def test_new_chunks_and_a_stop_are_seen_without_a_restart(own_folders):
    followed, worker = RunList(own_folders), Worker()
    directory = record_run(own_folders, chunks=[0], finished=False, identity=worker.identity)
    worker.bury()
    assert own(followed.poll())[0].progress.status == "lost"
    (directory / STOP_FILE).touch()
    assert own(followed.poll())[0].progress.status == "stopped"
    other = record_run(own_folders.parent / "other")
    for number in (1, 2):
        copy_chunk(other, directory, number)
    assert own(followed.poll())[0].progress.status == "done"


def test_live_runs_come_first_and_die_with_their_worker(own_folders):
    worker = Worker()
    record_run(own_folders, name="live", chunks=[0], finished=False, identity=worker.identity)
    record_run(own_folders, name="newer")
    followed = RunList(own_folders)
    assert [(entry.name, entry.progress.status) for entry in own(followed.poll())] == [
        ("live", "running"),
        ("newer", "done"),
    ]
    worker.bury()
    assert [(entry.name, entry.progress.status) for entry in own(followed.poll())] == [
        ("newer", "done"),
        ("live", "lost"),
    ]


def test_a_settled_list_stays_equal(own_folders):
    record_run(own_folders)
    followed = RunList(own_folders)
    while any(entry.summary is None for entry in followed.poll()):
        pass  # One poll reads no more results than its time allows.
    assert followed.poll() == followed.poll()


@pytest.mark.parametrize("name", ["config.json", "card.json"])
def test_a_damaged_run_that_is_mended_is_listed_again(own_folders, name):
    path = record_run(own_folders, name="mine") / name
    whole = path.read_bytes() if path.exists() else b"{}"
    path.write_text("[")
    followed = RunList(own_folders)
    (entry,) = own(followed.poll())
    assert entry.progress.status == "damaged"
    path.write_bytes(whole)
    (entry,) = own(followed.poll())
    assert entry.progress.status == "done"


def test_a_damaged_run_hides_no_other(own_folders):
    damaged = record_run(own_folders, name="damaged")
    record_run(own_folders, name="whole")
    (damaged / "config.json").write_text("{")
    entries = {entry.name: entry for entry in own(RunList(own_folders).poll())}
    assert set(entries) == {"whole", damaged.name}
    assert entries[damaged.name].progress.status == "damaged"
    assert "config.json: cannot be read" in entries[damaged.name].trouble


def test_a_run_whose_results_cannot_be_read_is_not_listed_as_merely_done(own_folders):
    whole, damaged = (record_run(own_folders, name=name) for name in ("whole", "damaged"))
    chunk = chunk_path(damaged, 0)
    chunk.write_bytes(chunk.read_bytes()[:400])
    entries = {entry.directory: entry for entry in RunList(own_folders).poll()}
    assert status_words(entries[whole]) == "done, red"
    assert status_words(entries[damaged]) == "done, damaged"
    assert not is_unreadable(entries[whole])
    now = entries[whole].created
    unread = replace(entries[whole], summary=None)
    assert RUN_COLUMNS["accuracy"].cell(run_row(unread, now)) == "…"
    assert "→" in RUN_COLUMNS["accuracy"].cell(run_row(entries[whole], now))
