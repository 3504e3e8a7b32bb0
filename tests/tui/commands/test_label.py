"""psi-tui label, and where what it says is seen: lists, show, report, filters, the names by which runs are found."""

import json
from pathlib import Path

import pytest

from psi_core.files import examples_directory
from psi_core.runs.finding import load_run
from psi_core.runs.labels import LABEL, Label
from psi_tui.services.labels import merged
from tests.recorded import record_run

NOTE = "conv1 depends on the noise"


@pytest.fixture
def runs(own_folders):
    return {name: record_run(own_folders, name=name, images=20, chunk=20) for name in ("one", "two")}


def test_a_run_is_renamed_tagged_and_noted(psi, runs):
    told = psi("label", "one", "--name", "baseline", "--tag", "paper,#draft", "--note", f"{NOTE}\n")
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines() == [f"baseline, {runs['one'].name}", "  tags: paper, draft", f"  note: {NOTE}"]
    assert load_run("baseline").label == Label("baseline", ("paper", "draft"), NOTE)
    assert psi("label", "one").code == 2
    (row,) = json.loads(psi("label", "baseline", "--untag", "DRAFT", "--json").out)
    assert row == {
        "id": runs["one"].name,
        "name": "baseline",
        "tags": ["paper"],
        "note": NOTE,
        "directory": str(runs["one"]),
    }
    assert psi("label", "baseline", "--name", "", "--note", "", "--untag", "paper").out.splitlines()[0] == (
        f"one, {runs['one'].name}"
    )
    assert not (runs["one"] / LABEL).exists()


def test_several_runs_take_tags_together_and_no_common_name(psi, runs):
    assert psi("label", "one", "two", "--tag", "sweep/1").code == 0
    assert {run["name"]: run["tags"] for run in json.loads(psi("runs", "--json").out)[:2]} == {
        "one": ["sweep/1"],
        "two": ["sweep/1"],
    }
    assert psi("label", "one", "two", "--name", "both").code == 2
    told = psi("label", "one", "--name", "two")
    assert (told.code, f"two is the name of {runs['two'].name} too" in told.err) == (0, True)


def test_lists_show_and_report_tell_it(psi, runs, monkeypatch):
    psi("label", "one", "--tag", "paper", "--note", NOTE)
    assert [run["name"] for run in json.loads(psi("runs", "tag:pap", "images = 20", "--json").out)] == ["one"]
    assert "two" not in psi("runs", "tag=paper").out
    told = psi("runs", "tag:x")
    assert (told.code, told.out) == (0, "")
    assert "None of 4 runs fits" in told.err
    assert psi("runs", "eps>much").code == 2
    monkeypatch.setenv("COLUMNS", "140")
    assert "paper" in psi("runs").out
    for command in (
        ["show", "one"],
        ["show", "one", "--table", "evidence"],
        ["report", "one"],
        ["report", "one", "--card"],
    ):
        assert "tags: paper\n" in psi(*command).out
        assert f"note: {NOTE}" in psi(*command).out
    assert "tags" not in psi("show", "two").out
    assert psi("verify", "one").code == 0


def test_a_damaged_file_is_named_beside_what_is_right(psi, runs):
    (runs["one"] / LABEL).write_text(json.dumps({"format": 1, "note": "\x1b]0;owned\x07", "name": "other"}))
    for command in (["runs"], ["label", "one"], ["show", "one"]):
        told = psi(*command)
        assert told.code == 0
        assert f"{LABEL} cannot be read" in told.out + told.err
        assert "damaged: " in told.out + told.err
        assert "\x1b" not in told.out + told.err
    told = psi("label", "one", "--tag", "x")
    assert (told.code, "move that file away" in told.err) == (2, True)


def test_nothing_is_said_of_any_where_one_cannot_be_labeled(psi, runs):
    told = psi("label", "one", "example-alexnet", "--tag", "paper")
    assert (told.code, "ships with psi-tui" in told.err) == (2, True)
    assert not (runs["one"] / LABEL).exists()
    assert not (examples_directory() / "example-alexnet" / LABEL).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    {
        ("--name", "latest"): "'latest' stands for the newest run wherever a run is named; write another",
        ("--name", "a/b"): "cannot name a run; use letters",
        ("--name=-rf",): "taken for an option",
        ("--tag", "a b"): "tag: 'a b' does not fit",
        ("--untag", "x"): "there is no tag to remove",
        ("--note", "a\x1b[2J"): "control characters",
    }.items(),
)
def test_what_cannot_stand_is_a_sentence(psi, runs, options, words):
    told = psi("label", "one", *options)
    assert (told.code, told.out) == (2, "")
    assert words in told.err
    assert not (runs["one"] / LABEL).exists()


@pytest.mark.parametrize(("typed", "meant"), [("rename", "label RUN --name NAME"), ("tag", "label RUN --tag TAG")])
def test_what_others_call_it_is_answered_with_the_command(psi, typed, meant):
    told = psi(typed, "one", "two")
    assert (told.code, f"write psi-tui {meant}" in told.err) == (2, True)


@pytest.fixture
def denied(runs, monkeypatch):
    """A run whose directory lets nobody write, the first of those that are to be labeled."""
    write = Path.write_text

    def refuse(path, *arguments, **options):
        if path.parent == runs["one"]:
            raise PermissionError(13, "Permission denied")
        return write(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", refuse)
    return runs["one"]


def test_where_one_run_denies_it_the_others_are_labeled_and_that_is_told(psi, runs, denied):
    told = psi("label", "one", "two", "--tag", "paper")
    assert told.code == 1
    assert told.out.splitlines() == [f"two, {runs['two'].name}", "  tags: paper"]
    counted, named = told.err.splitlines()
    assert "1 of 2 runs are labeled, not so:" in counted
    assert named == f"  label: {denied / LABEL} cannot be written (Permission denied); check who owns it"
    assert (load_run("one").tags, load_run("two").tags) == ((), ("paper",))
    told = psi("label", "one", "two", "--note", NOTE, "--json")
    assert (told.code, [row["name"] for row in json.loads(told.out)]) == (1, ["two"])


def test_a_single_one_that_denies_it_is_one_sentence(psi, denied):
    told = psi("label", "one", "--name", "two")
    assert (told.code, told.out, len(told.err.splitlines())) == (1, "", 1)


def test_what_is_typed_in_a_dialog_takes_nothing_from_what_was_said_meanwhile():
    before = Label("one", ("a", "b"), "first")
    typed = Label("two", ("b", "c"), "first")
    assert merged(before, typed, before) == typed
    assert merged(before, typed, Label("three", ("a", "b", "d"), "second")) == Label("two", ("b", "d", "c"), "second")
