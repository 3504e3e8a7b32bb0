"""What a person says of a run lies beside its results and never among them."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from psi_core import load_run
from psi_core.errors import ConfigError, RunError
from psi_core.files import examples_directory
from psi_core.runs.deletion import delete_run, foreign_files
from psi_core.runs.labels import LABEL, Label, change_label, load_label, write_label
from psi_core.runs.run import Run
from psi_core.runs.trash import put_in_trash, take_from_trash
from psi_core.runs.verification import verify
from tests.core.mutations import TEXTS, VALUES
from tests.recorded import record_run

SAID = Label("baseline 2", ("paper", "Draft"), "conv1 depends on the noise; see [red]fc1[/red] ψ")


@pytest.fixture
def run(own_folders):
    return record_run(own_folders, name="first", images=20, chunk=10)


def test_what_is_said_is_read_again_and_changes_no_result(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    fingerprint = load_run(run).fingerprint
    write_label(run, SAID)
    found = load_run("baseline 2")
    assert (found.name, found.tags, found.note) == (SAID.name, SAID.tags, SAID.note)
    assert (found.id, found.directory, found.fingerprint) == (run.name, run, fingerprint)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != LABEL} == before
    assert load_run("base").id == run.name
    with pytest.raises(RunError, match="there is no 'firs'"):
        load_run("firs")
    write_label(run, Label())
    assert not (run / LABEL).exists()
    assert load_run("first").tags == ()


def test_verify_calls_it_neither_right_nor_wrong(run):
    assert "label" not in {part.name for part in verify(load_run(run))}
    write_label(run, SAID)
    assert {part.verdict for part in verify(load_run(run)) if part.name == "label"} == {"not checked"}
    (run / LABEL).write_text("{")
    (part,) = (part for part in verify(load_run(run)) if part.name == "label")
    assert (part.verdict, "cannot be read" in part.words) == ("not checked", True)
    assert all(part.verdict != "wrong" for part in verify(load_run(run)))


def test_it_goes_and_comes_back_with_its_run(run):
    write_label(run, SAID)
    (run / f"{LABEL}.12-0a1b2c.tmp").touch()
    assert foreign_files(run) == []
    take_from_trash(put_in_trash(run))
    assert load_label(run) == SAID
    assert delete_run(run) == []
    assert not run.exists()


WRONG = {
    "format": (None, 2, "1", True),
    "name": (3, [], "latest", "a/b", "-rf", "x" * 201, "a\x1b[31m"),
    "tags": (
        "paper",
        [1],
        [""],
        ["a b"],
        ["a\x1b"],
        ["-x"],
        ["[red]"],
        ["x" * 33],
        [str(place) for place in range(21)],
    ),
    "note": (7, ["x"], "x" * 2001, "\x1b]0;owned\x07", "\u202egnp.exe", "\ud800"),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_damaged_file_is_named_and_the_run_goes_on(run, key, value):
    write_label(run, SAID)
    sound = json.loads((run / LABEL).read_text())
    (run / LABEL).write_text(json.dumps({**sound, key: value}))
    found = load_run(run)
    assert (found.name, found.tags, found.note) == ("first", (), "")
    assert found.label.trouble.startswith("cannot be read (")
    assert not any(char in found.label.trouble for char in "\x1b\x07\u202e")
    damaged = (run / LABEL).read_bytes()
    with pytest.raises(RunError, match="move that file away"):
        write_label(run, SAID)
    assert (run / LABEL).read_bytes() == damaged


def test_no_damage_ends_in_anything_but_a_sentence(run):
    for text in [*TEXTS, *(json.dumps({"format": 1, key: value}).encode() for key in WRONG for value in VALUES)]:
        (run / LABEL).write_bytes(text)
        label = load_run(run).label
        assert label == Label() or label.trouble or label.name == "x" or label.note.isprintable(), text[:80]
    for place in ("/dev/zero", "gone", str(run)):
        (run / LABEL).unlink()
        (run / LABEL).symlink_to(place)
        assert load_run(run).label.trouble
    (run / LABEL).unlink()
    os.mkfifo(run / LABEL)
    assert "cannot be read" in load_run(run).label.trouble


@pytest.mark.parametrize(
    "label",
    [Label("latest"), Label("-x"), Label("a/b"), Label(tags=("a b",)), Label(tags=("",)), Label(note="\x1b[2J")],
)
def test_what_cannot_stand_is_refused_and_nothing_is_written(run, label):
    with pytest.raises(ConfigError):
        write_label(run, label)
    assert not (run / LABEL).exists()


def test_tags_are_added_and_removed_by_their_letters_alone():
    label = Label(tags=("paper", "Draft")).with_tags(["#PAPER", "new", "new"], ["draft"])
    assert label.tags == ("paper", "new")
    assert label.with_tags(remove=["old"]) == label


def test_examples_and_places_that_cannot_be_written_are_one_sentence(run, monkeypatch):
    with pytest.raises(RunError, match="ships with psi-tui"):
        write_label(examples_directory() / "example-alexnet", SAID)

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(RunError, match=r"label\.json cannot be written \(Permission denied\); check who owns it"):
        write_label(run, SAID)
    assert [path.name for path in run.iterdir() if path.name.startswith(LABEL)] == []


def test_a_link_in_its_place_is_replaced_and_not_followed(run, tmp_path):
    precious = tmp_path / "precious.json"
    precious.write_text(json.dumps({"format": 1, "note": "mine"}))
    (run / LABEL).symlink_to(precious)
    write_label(run, SAID)
    assert json.loads(precious.read_text())["note"] == "mine"
    assert load_label(run) == SAID


def test_of_two_that_write_at_once_one_wins_whole(run):
    notes = {letter * 1500 for letter in "ab"}
    code = (
        "import sys; from pathlib import Path; from psi_core.runs.labels import Label, write_label\n"
        "for _ in range(60): write_label(Path(sys.argv[1]), Label(note=sys.argv[2] * 1500))"
    )
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    writers = [subprocess.Popen([sys.executable, "-c", code, str(run), letter], env=here) for letter in "ab"]
    seen = set()
    over = threading.Event()

    def read():
        while not over.is_set():
            seen.add(load_label(run))

    reader = threading.Thread(target=read)
    reader.start()
    codes = [writer.wait(60) for writer in writers]
    over.set()
    reader.join()
    assert codes == [0, 0]
    assert {label.note for label in seen} <= {"", *notes}
    assert not any(label.trouble for label in seen)
    assert foreign_files(run) == []


def test_of_many_who_tag_at_once_none_loses_what_the_others_said(own_folders):
    directory = record_run(own_folders)
    own = ["tag" + letter for letter in "abcdefgh"]

    def slowly(tag):
        def change(before):
            time.sleep(0.01)  # As long as a slow disk takes.
            return before.with_tags([tag])

        return change

    threads = [threading.Thread(target=change_label, args=(directory, slowly(tag))) for tag in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Run(directory).tags) == own


@pytest.mark.parametrize(("number", "advice"), [(errno.ENOSPC, "free some disk"), (errno.EACCES, "check who owns it")])
def test_what_keeps_a_label_from_being_written_is_told_with_the_way_out(own_folders, monkeypatch, number, advice):
    def refuse(_path):
        raise OSError(number, os.strerror(number))

    directory = record_run(own_folders)
    monkeypatch.setattr("psi_core.runs.labels.flush_to_disk", refuse)
    with pytest.raises(RunError, match=advice):
        write_label(directory, Label(tags=("a",)))
    assert Run(directory).tags == ()
