"""Work with many runs: filters with their hits, orders, copies in the form, and what is done to all that are marked."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input, Static

from psi_core.runs.finding import list_runs
from psi_core.runs.labels import Label, load_label, write_label
from psi_core.runs.run import Run
from psi_core.runs.status import STOP_FILE
from psi_core.runs.trust import trust
from psi_tui.app.palette import ActionProvider
from psi_tui.screens import runs
from psi_tui.screens.compare import CompareScreen
from psi_tui.text.runs import folders_of
from psi_tui.widgets.dialogs import ConfirmDialog, ErrorDialog, ExportDialog, FieldsDialog
from tests.core.living import Worker
from tests.recorded import make_older, record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")


async def test_filters_orders_and_copies(own_folders):
    record_run(own_folders, name="small", images=25)
    record_run(own_folders, name="large", epsilon="0.03,0.1", rectify="relu", measures="psi,hoyer", controls="none")
    async with running(own_folders, NARROW) as (app, pilot):
        await until(pilot, lambda: all(entry.summary for entry in app.entries), "the numbers")
        table = app.screen.table
        before = list(table._keys)
        await press(pilot, "slash", *"eps>0.03")
        found = [entry.name for entry in app.entries if str(entry.directory) in table._keys]
        assert "large" in found
        assert "small" not in found
        assert f"{len(found)} of {len(app.entries)} runs" in text_of(app)
        await press(pilot, *" zz")
        assert "0 of" in text_of(app)
        await press(pilot, "escape", "slash", *"eps>y")
        assert "'y' after eps is no number" in text_of(app)
        assert table.row_count == len(before)
        await press(pilot, "escape")
        assert table.row_count == len(before)

        names = [column.name for column in table.columns]
        await press(pilot, "s")
        assert table.sort_column == names[0]
        assert [line[0].strip("* ") for line in table._cells] == sorted(line[0].strip("* ") for line in table._cells)
        await press(pilot, "S")
        rising = [line[0] for line in table._cells]
        assert rising == sorted(rising, reverse=True)
        table._sort_by("beyond_noise", descending=True)
        await press(pilot, *"s" * (len(names) - names.index("beyond_noise")))
        assert (table.sort_column, table._keys) == ("", before)

        table.select_key(next(key for key in before if next(iter(key)) and key.endswith(of_name("large"))))
        await press(pilot, "N")
        assert app.current_mode == "new_run"
        typed = app.screen.form.typed
        assert typed["epsilon"] == "0.03,0.1"
        assert typed["rectify"] == "relu"
        assert typed["measures"] == "psi,hoyer"
        assert typed["controls"] == "none"
        assert "name" not in typed
        await press(pilot, "1")
        table.select_key(next(key for key in before if key.endswith(of_name("small"))))
        await press(pilot, "N")
        typed = app.screen.form.typed
        assert "rectify" not in typed
        assert "controls" in typed, "record_run's own"


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["one", "two"], ["one", "two"]),
        (["one", "one"], ["one-20260101-a", "one-20260101-b"]),
        (["a b", "a-b"], ["a-b-20260101-a", "a-b-20260101-b"]),
        (["One", "one"], ["One-20260101-a", "one-20260101-b"]),
        (["../../etc", ".."], ["-..-etc", "20260101-b"]),
    ],
)
def test_no_two_runs_are_exported_into_one_folder_nor_out_of_the_chosen_one(names, folders):
    directories = [Path(f"/runs/20260101-{letter}") for letter in "ab"]
    assert folders_of(list(zip(directories, names, strict=True))) == folders


def of_name(name):
    return next(run.id for run in list_runs(examples=False) if run.name == name)


async def test_what_is_marked_is_deleted_exported_and_compared_together(own_folders, tmp_path):
    for name in ("one", "two", "three"):
        record_run(own_folders, name=name, rectify={"one": "relu", "two": "none", "three": "abs"}[name])
    async with running(own_folders, NARROW) as (app, pilot):
        table = app.screen.table
        for name in ("one", "three"):
            table.select_key(next(key for key in table._keys if key.endswith(of_name(name))))
            await press(pilot, "space")
        await press(pilot, "e")
        assert isinstance(app.screen, ExportDialog)
        app.screen.query_one(Input).value = str(tmp_path / "out")
        await press(pilot, "enter")
        await until(pilot, lambda: any("files written" in said for said in app.heard), "the files", 120)
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one", "three"]
        assert (tmp_path / "out" / "one" / "layers.csv").exists()
        await press(pilot, "e")
        app.screen.query_one(Input).value = str(tmp_path / "out")
        await press(pilot, "enter")
        assert isinstance(app.screen, ConfirmDialog)
        assert "files of an earlier export.\nReplace them?" in str(app.screen.query_one(Static).content)
        await press(pilot, "n")

        await press(pilot, "c")
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        await until(pilot, lambda: screen.runs, "the comparison")
        await settled(pilot)
        assert screen.quantity.column == "delta_sd"
        assert "differ in  rectify: a" in text_of(app)
        assert screen.copies()["options that differ"].endswith("rectify\trelu\tabs")

        await press(pilot, "1", "d")
        assert "Delete 2 runs" in text_of(app)
        await press(pilot, "n", "d", "y")
        await until(pilot, lambda: [run.name for run in list_runs(examples=False)] == ["two"], "the deletion")
        await until(pilot, lambda: sum(not entry.is_example for entry in app.entries) == 1, "the list")
        assert not app.screen.marked
        await press(pilot, "u", "u")
        assert len(list_runs(examples=False)) == 3


async def test_one_run_is_renamed_tagged_and_noted_and_seen_so_at_once(own_folders):
    directory = record_run(own_folders, name="first", images=20, chunk=20)
    record_run(own_folders, name="second", images=20, chunk=20)
    async with running(own_folders, WIDE) as (app, pilot):
        table = app.screen.table
        table.select_key(str(directory))
        await press(pilot, "t")
        assert isinstance(app.screen, FieldsDialog)
        assert app.screen.texts == {"name": "first", "tags": "", "note": ""}
        await press(pilot, "end", "slash")
        assert "cannot name a run" in text_of(app)
        await press(pilot, "enter")
        assert isinstance(app.screen, FieldsDialog), "what cannot stand is not kept"
        await press(pilot, "backspace", *" 2", "tab", *"paper, #draft", "tab", *"hello [red]", "enter")
        await until(pilot, lambda: any(entry.name == "first 2" for entry in app.entries), "the new name")
        assert load_label(directory) == Label("first 2", ("paper", "draft"), "hello [red]")
        assert "#paper #draft   hello [red]" in text_of(app)
        assert "paper, draft" in table.tab_separated()
        await press(pilot, "slash", *"tag:pa", "enter")
        assert table.row_count == 1
        await press(pilot, "enter")
        await until(pilot, lambda: "first 2" in text_of(app).splitlines()[1], "the head")
        assert "#paper #draft   hello [red]" in text_of(app)
        await press(pilot, "t", "end", "backspace", "3", "enter")
        await until(pilot, lambda: "first 3" in text_of(app).splitlines()[1], "the head with its new name")


async def test_all_that_are_marked_take_tags_together_and_examples_none(own_folders):
    directories = [record_run(own_folders, name=name, images=20, chunk=20) for name in ("one", "two", "three")]
    write_label(directories[0], Label(tags=("draft",)))
    async with running(own_folders, NARROW) as (app, pilot):
        table = app.screen.table
        for key in (str(directories[0]), str(directories[1]), table._keys[-1]):
            table.select_key(key)
            await press(pilot, "space")
        await press(pilot, "t")
        assert "Tag 2 runs" in text_of(app)
        assert "now there: draft" in text_of(app)
        assert any("ships with psi-tui" in said for said in app.heard)
        await press(pilot, *"paper -draft", "enter")
        await until(pilot, lambda: any("tags of 2 runs changed" in said for said in app.heard), "the tags")
        assert [load_label(each).tags for each in directories] == [("paper",), ("paper",), ()]
        await until(pilot, lambda: any(entry.label.tags == ("paper",) for entry in app.entries), "the list")
        dict(ActionProvider(app.screen)._actions())["runs tagged paper"]()
        await settled(pilot)
        assert table.row_count == 2
        await press(pilot, "t", *"x", "escape")
        assert [load_label(each).tags for each in directories] == [("paper",), ("paper",), ()]


async def test_a_run_that_cannot_be_labeled_is_told_and_a_paused_one_is_live(own_folders):
    directory = record_run(own_folders, name="mine", images=20, chunk=20)
    (directory / "label.json").write_text("{")
    async with running(own_folders, NARROW) as (app, pilot):
        entry, *others = app.entries
        app.entries = (replace(entry, progress=replace(entry.progress, status="paused")), *others)
        await settled(pilot)
        assert text_of(app).splitlines()[0].endswith(" 1 paused")
        assert "║ paused" in text_of(app)
        assert app.screen._status_style({"entry": app.entries[0]}).startswith("bold")
        app.screen.table.select_key(str(directory))
        await settled(pilot)
        assert "label.json cannot be read" in text_of(app)
        await press(pilot, "t")
        assert isinstance(app.screen, ErrorDialog)
        await press(pilot, "escape")
        app.screen.table.select_key(app.screen.table._keys[-1])
        await press(pilot, "t")
        assert isinstance(app.screen, ErrorDialog)
        assert "read-only" in text_of(app)


async def test_one_that_refuses_does_not_keep_the_other_from_its_turn(own_folders, tmp_path):
    denied, other = (record_run(own_folders, name=name, images=20, chunk=20) for name in ("one", "two"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "one").touch()  # In the place of a folder.
    async with running(own_folders, NARROW) as (app, pilot):
        for directory in (denied, other):
            app.screen.table.select_key(str(directory))
            await press(pilot, "space")
        await press(pilot, "t")
        (denied / "label.json").write_text("{")
        await press(pilot, *"paper", "enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "what was not tagged")
        assert "1 of 2 runs have their new tags, not so:\n  label: " in app.screen.sentence
        assert load_label(other).tags == ("paper",)

        await press(pilot, "escape", "e")
        app.screen.query_one(Input).value = str(tmp_path / "out")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "what was not exported", 120)
        assert "1 of 2 runs are exported, not so:" in app.screen.sentence
        assert (tmp_path / "out" / "two" / "layers.csv").exists()

        (denied / "thesis.tex").touch()
        await press(pilot, "escape", "d", "y")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "what was not deleted")
        assert "1 of 2 runs are deleted, not so:" in app.screen.sentence
        assert "thesis.tex" in text_of(app)
        assert (denied.exists(), other.exists()) == (True, False)


async def test_a_run_of_code_that_is_not_trusted_is_marked_and_that_is_told_whole(own_folders):
    directory = record_run(own_folders, images=20, chunk=20)
    make_older(directory)
    path = directory / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "model": "/home/them/theirs.py:build", "name": "theirs"})
    )
    async with running(own_folders, NARROW) as (app, pilot):
        app.screen.table.select_key(str(directory))
        await settled(pilot)
        assert "  ?t" in text_of(app)
        assert "?: code not made here, runs only with --trust" in text_of(app)
        trust(Run(directory))
        await until(pilot, lambda: not any(entry.needs_trust for entry in app.entries), "the trust")
        assert "--trust" not in text_of(app)


async def test_a_run_that_comes_under_the_cursor_by_itself_is_not_stopped_by_the_next_key(own_folders, monkeypatch):
    workers = [Worker(), Worker()]
    live = [record_run(own_folders, chunks=[0], finished=False, identity=worker.identity) for worker in workers]
    try:
        async with running(own_folders) as (app, pilot):
            table = app.screen.table
            for settling, is_stopped in ((3600.0, False), (0.0, True)):
                monkeypatch.setattr(runs, "_SETTLING_SECONDS", settling)
                old = record_run(own_folders, name="old", chunks=[0], finished=False, identity=workers[0].identity)
                await until(pilot, lambda old=old: str(old) in table._keys, "the run")
                table.select_key(str(old))
                below = Path(table._keys[1])
                shutil.rmtree(old)
                await until(pilot, lambda old=old: str(old) not in table._keys, "its end")
                assert (table.cursor_row, below in live) == (0, True)
                await press(pilot, "x")
                assert (below / STOP_FILE).exists() == is_stopped
    finally:
        for worker in workers:
            worker.bury()


async def test_a_folder_of_runs_that_is_gone_is_told_above_the_examples(own_folders):
    record_run(own_folders, name="mine")
    async with running(own_folders) as (app, pilot):
        own_folders.rename(own_folders.with_name("elsewhere"))
        await until(pilot, lambda: "the folder of runs is gone" in " ".join(text_of(app).split()), "the sentence")
        own_folders.with_name("elsewhere").rename(own_folders)
        await until(pilot, lambda: "mine" in text_of(app) and "is gone" not in text_of(app), "the run")


async def test_all_that_are_marked_stop_and_resume_after_one_question(own_folders, monkeypatch):
    workers = [Worker(), Worker()]
    live = [
        record_run(own_folders, name=name, chunks=[0], finished=False, identity=worker.identity)
        for name, worker in zip(("one", "two"), workers, strict=True)
    ]
    lost = record_run(own_folders, name="lost", chunks=[0], finished=False, identity={**workers[0].identity, "pid": 1})
    resumed = []
    async with running(own_folders) as (app, pilot):
        monkeypatch.setattr(app, "resume_run", lambda directory, name: resumed.append((directory, name)))
        table = app.screen.table
        for directory in (*live, lost):
            table.select_key(str(directory))
            await press(pilot, "space")
        for answer, are_asked in (("n", [False] * 3), ("y", [True, True, False])):
            await press(pilot, "x")
            assert str(app.screen.query_one(Static).content) == "Stop 2 runs after their open chunks?\none, two"
            await press(pilot, answer)
            assert [(directory / STOP_FILE).exists() for directory in (*live, lost)] == are_asked
        for answer, are_asked in (("n", []), ("y", [(lost, "lost")])):
            await press(pilot, "r")
            assert str(app.screen.query_one(Static).content) == "Resume 1 run?\nlost"
            await press(pilot, answer)
            assert resumed == are_asked
        for worker in workers:
            worker.bury()
        await until(pilot, lambda: not any(entry.progress.is_live for entry in app.entries), "their end")
        app.heard.clear()
        await press(pilot, "x")
        assert app.heard == ["none of 3 marked runs is running; nothing to stop"]
        await press(pilot, "r")
        assert "Resume 3 runs, all at once?\n" in str(app.screen.query_one(Static).content)
