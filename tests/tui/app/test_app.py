"""The app as a whole: what it remembers, says, refuses, copies and exports; never a traceback, never a stopped run."""

import io
import json
import os
import sys
import time

import numpy as np
import pytest
from PIL import Image
from textual.command import CommandPalette
from textual.widgets import Input, OptionList

from psi_core.runs.finding import list_runs
from psi_core.tables.export import FORMATS
from psi_tui.app.help import HelpScreen
from psi_tui.app.palette import ActionProvider
from psi_tui.screens.results.images.picture import PictureDialog
from psi_tui.screens.results.images.pixels import Picture
from psi_tui.services import services
from psi_tui.services.state import State, load_state
from psi_tui.widgets.dialogs import FORMAT_WORDS, ChoiceDialog, ConfirmDialog, ErrorDialog, ExportDialog
from psi_tui.widgets.plot import Plot
from tests.core.living import Worker
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until
from tests.tui.terminal import Terminal, psi_tui

pytestmark = pytest.mark.usefixtures("warm_engine")


def said(app):
    return " ".join(app.heard)


async def shows(app, pilot, dialog):
    await until(pilot, lambda: isinstance(app.screen, dialog), dialog.__name__, 120)
    await settled(pilot)


async def test_the_first_key_press_shows_a_real_result(own_folders):
    async with running(own_folders) as (app, pilot):
        await press(pilot, "enter")
        await until(pilot, lambda: "conv3" in text_of(app), "the layers of the example")
        assert "example-alexnet" in text_of(app)


async def test_conv3_of_a_real_run_is_ten_keys_away(own_folders):
    async with running(own_folders) as (app, pilot):
        keys = ["enter", "right_square_bracket", "right_square_bracket"]
        await press(pilot, *keys)
        await until(pilot, lambda: "PSI of conv3" in text_of(app), "the histogram")
        assert len(keys) <= 10


async def test_q_leaves_and_stops_no_run(own_folders):
    worker = Worker()
    record_run(own_folders, name="live", chunks=[0], finished=False, identity=worker.identity)
    async with running(own_folders) as (app, pilot):
        await pilot.press("enter", "q")
        await until(pilot, lambda: not app.is_running, "the end")
    (run, *_) = list_runs()
    assert run.status == "running"
    assert not (run.directory / "stop").exists()
    worker.bury()


async def test_digits_q_and_slash_belong_to_a_field_until_esc(own_folders):
    record_run(own_folders, name="mine")
    async with running(own_folders) as (app, pilot):
        await press(pilot, "slash", *"q/2")
        assert app.screen.query_one(Input).value == "q/2"
        assert "No run fits" in text_of(app)
        await press(pilot, "escape", "2")
        assert app.current_mode == "explore"


async def test_theme_screen_filter_and_sort_come_back(own_folders):
    record_run(own_folders, name="mine")
    async with running(own_folders) as (app, pilot):
        app.theme = "psi-light"
        await press(pilot, "slash", *"mine", "enter")
        await press(pilot, "enter")
        app.screen.query_one("#tabs").active = "images"
        await settled(pilot)
        await press(pilot, "s", "slash", *"class=3", "enter")
        sort = app.state.image_sort
    async with running(own_folders) as (app, pilot):
        await until(pilot, lambda: app.snapshot is not None, "the run that was open")
        await settled(pilot)
        assert (app.theme, app.current_mode) == ("psi-light", "results")
        table = app.screen.query_one("#image-table")
        assert (table.sort_column, table.filter_text) == (sort, "class=3") != ("image", "class=3")
        await press(pilot, "1")
        assert app.screen.query_one(Input).value == "mine"


async def test_a_burst_of_keys_writes_no_state_and_the_rest_after_it_writes_it_once(own_folders, monkeypatch):
    directory, written = record_run(own_folders), []

    def save(state, path=None, real=State.save):
        written.append(state.layer)
        return real(state, path)

    monkeypatch.setattr(State, "save", save)
    monkeypatch.setattr(services, "_STATE_REST_SECONDS", 60)
    async with running(own_folders, open_directory=directory) as (app, pilot):
        await press(pilot, *["right_square_bracket", "greater_than_sign", "s", "m"] * 5)
        assert written == []
        monkeypatch.setattr(services, "_STATE_REST_SECONDS", 0.1)
        await press(pilot, "right_square_bracket")
        await until(pilot, lambda: written, "the rest after the burst")
        assert load_state() == app.state
        monkeypatch.setattr(services, "_STATE_REST_SECONDS", 60)
        await press(pilot, "right_square_bracket")
        assert len(written) == 1
        state = app.state
    assert written[1:] == [state.layer]
    assert load_state() == state


async def test_a_home_that_cannot_be_written_to_is_told_once_and_stops_nothing(own_folders, tmp_path, monkeypatch):
    record_run(own_folders, name="mine")
    (tmp_path / "file").touch()
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "file" / "home"))
    async with running(own_folders, WIDE) as (app, pilot):
        await press(pilot, "enter", "right_square_bracket", "1", "4")
        await until(pilot, lambda: "will not be remembered" in said(app), "the sentence")
        await press(pilot, "1", "4")
        await pilot.pause(2 * services._STATE_REST_SECONDS)
        assert said(app).count("will not be remembered") == 1
        await until(pilot, lambda: "AUROC" in text_of(app), "the table")
        await press(pilot, "y", "enter")
        await until(pilot, lambda: "copied" in said(app), "the copy")


async def test_a_refused_run_is_a_dialog_with_the_next_step(own_folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "garbage.pt").write_bytes(b"not a checkpoint")
    async with running(own_folders) as (app, pilot):
        for question, cause in (
            ({"weights": "no-such-file.pt"}, "no-such-file.pt"),
            ({"weights": "garbage.pt"}, "garbage.pt"),
            ({"device": "cuda"}, "cuda"),
            ({"epsilon": "7"}, "epsilon"),
        ):
            app.start_run(question)
            await shows(app, pilot, ErrorDialog)
            text = text_of(app)
            assert cause in "".join(text.replace("│", "").split())
            assert "Next:" in text
            assert "Traceback" not in text
            await press(pilot, "escape")
            assert app.current_mode == "runs"
    assert list_runs(own_folders, examples=False) == []


async def test_a_folder_without_room_is_refused_by_name(tmp_path):
    (tmp_path / "file").touch()
    async with running(tmp_path / "file" / "runs") as (app, pilot):
        app.start_run({"images": 10})
        await shows(app, pilot, ErrorDialog)
        assert "runs-dir" in text_of(app)


async def test_a_run_started_in_the_app_works_in_a_process_of_its_own(own_folders):
    async with running(own_folders, WIDE) as (app, pilot):
        app.start_run({"weights": "random", "images": 200, "chunk": 100, "threads": 1, "name": "started"})
        await until(pilot, lambda: app.snapshot is not None and app.snapshot.run.name == "started", "the run", 120)
        await until(pilot, lambda: app.snapshot.progress.status == "done", "its end", 120)
        assert app.snapshot.workers[0].started.pid != os.getpid()
        await until(pilot, lambda: "AUROC" in text_of(app), "its table")


async def test_a_damaged_run_is_a_dialog_and_the_list_is_there_again(own_folders):
    directory = record_run(own_folders, name="mine")
    (directory / "layers.json").write_text("[{")
    async with running(own_folders) as (app, pilot):
        await pilot.press("enter")
        await shows(app, pilot, ErrorDialog)
        assert "layers.json" in text_of(app)
        await press(pilot, "escape")
        assert app.current_mode == "runs"


async def test_deleting_asks_first_and_spares_examples_and_live_runs(own_folders):
    worker = Worker()
    record_run(own_folders, name="live", chunks=[0], finished=False, identity=worker.identity)
    record_run(own_folders, name="old")
    async with running(own_folders) as (app, pilot):
        await press(pilot, "d")
        assert "still runs; stop it first with x" in said(app), "a key, not the command"
        await press(pilot, "j", "d")
        await shows(app, pilot, ConfirmDialog)
        await press(pilot, "n")
        assert [run.name for run in list_runs(examples=False)] == ["old", "live"]
        await press(pilot, "d", "y")
        await until(pilot, lambda: [run.name for run in list_runs(examples=False)] == ["live"], "the deletion")
        await until(pilot, lambda: len(app.entries) == 3, "the shorter list")
        app.heard.clear()
        await press(pilot, "G", "d")
        assert "never deleted" in said(app)
    worker.bury()


async def test_export_writes_the_tables_that_the_command_writes(own_folders, tmp_path, psi):
    record_run(own_folders, name="mine")
    assert psi("export", "mine", "--to", tmp_path / "by-command").code == 0
    async with running(own_folders) as (app, pilot):
        await pilot.press("e")
        await shows(app, pilot, ExportDialog)
        app.screen.query_one(Input).value = str(tmp_path / "by-app")
        await press(pilot, "enter")
        await until(pilot, lambda: "files written" in said(app), "the files", 120)
    names = sorted(path.name for path in (tmp_path / "by-command").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "by-app").iterdir())
    for name in names:
        assert (tmp_path / "by-app" / name).read_bytes() == (tmp_path / "by-command" / name).read_bytes()


async def test_a_screenshot_is_a_picture_of_the_screen(own_folders, tmp_path):
    record_run(own_folders, name="mine")
    async with running(own_folders) as (app, pilot):
        await pilot.press("e")
        await shows(app, pilot, ExportDialog)
        app.screen.query_one(Input).value = str(tmp_path / "pictures")
        await press(pilot, "j", "end", "enter")
        await until(pilot, lambda: "screenshot written" in said(app), "the file")
    (picture,) = (tmp_path / "pictures").iterdir()
    assert picture.suffix == ".svg"
    assert "mine" in picture.read_text()


async def test_plots_and_pictures_are_exported_alone(own_folders, tmp_path, monkeypatch):
    directory = record_run(own_folders, name="mine", epsilon="0.03,0.1", normalize="0.1307/0.3081")
    monkeypatch.chdir(tmp_path)

    async def export(app, pilot, words):
        app.heard.clear()
        await press(pilot, "e")
        choices = app.screen.query_one(OptionList)
        titles = [str(option.prompt) for option in choices.options]
        choices.highlighted = next(place for place, title in enumerate(titles) if words in title)
        app.screen.query_one(Input).value = str(tmp_path / "alone")
        await press(pilot, "enter")
        await until(pilot, lambda: "written to" in said(app), words)
        (path,) = (tmp_path / "alone").iterdir()
        content = path.read_bytes()
        path.unlink()
        return titles, content

    async with running(own_folders, (140, 40), open_directory=directory) as (app, pilot):
        await until(pilot, lambda: app.screen.query_one("#layer-profile", Plot).figure is not None, "the profile")
        titles, content = await export(app, pilot, "SVG      mean shift of PSI, layer by layer")
        assert b'aria-label="fgsm - sign-noise"' in content
        assert sum("PSI of conv1" in title for title in titles) == 2
        _, content = await export(app, pilot, "PNG      PSI of conv1")
        assert content.startswith(b"\x89PNG")
        app.screen.query_one("#tabs").active = "epsilon"
        await settled(pilot)
        _, content = await export(app, pilot, "SVG      accuracy % against epsilon")
        assert b'aria-label="epsilon"' in content
        app.screen.query_one("#tabs").active = "evidence"
        await settled(pilot)
        app.screen.query_one("#tabs").active = "images"
        await until(pilot, lambda: app.focused is not None and app.focused.id == "image-table", "the cursor")
        await press(pilot, "enter")
        await shows(app, pilot, PictureDialog)
        picture = app.screen
        for name in ("benign", "attacked", "difference"):
            picture.query_one(f"#{name}-picture").query_one(Picture).pixels = np.zeros((4, 6))
        _, content = await export(app, pilot, "image 0: benign, attacked, difference")
        with Image.open(io.BytesIO(content)) as written:
            assert written.size == (3 * 6 * 8 + 2 * 8, 4 * 8)
            assert (written.getpixel((0, 0)), written.getpixel((written.size[0] - 1, 0))) == ((0,) * 3, (128,) * 3)


async def test_what_is_copied_lies_in_a_file(own_folders, tmp_path):
    record_run(own_folders, name="mine")
    async with running(own_folders) as (app, pilot):
        await pilot.press("y")
        await shows(app, pilot, ChoiceDialog)
        await press(pilot, "enter")
        await until(pilot, lambda: "copied.txt" in said(app), "the copy")
    assert (tmp_path / "state" / "psi-tui" / "copied.txt").read_text().startswith(str(own_folders))


async def test_help_tells_every_key_of_the_screen(own_folders):
    async with running(own_folders, WIDE) as (app, pilot):
        await pilot.press("question_mark")
        await shows(app, pilot, HelpScreen)
        text = text_of(app)
        for words in ("mark", "compare", "new run", "stop", "resume", "delete", "copy", "export", "filter"):
            assert words in text
        await press(pilot, "escape")
        assert app.current_mode == "runs"


async def test_the_palette_fills_the_form_with_a_named_set_up(own_folders):
    async with running(own_folders, WIDE) as (app, pilot):
        await pilot.press("colon")
        await shows(app, pilot, CommandPalette)
        await pilot.press(*"imagenet-vgg11")
        await until(pilot, lambda: "ImageNet weights" in text_of(app), "the preset")
        await pilot.pause(0.3)
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "new_run", "the form")
        await until(pilot, lambda: "--weights imagenet" in text_of(app), "its command")
        config = app.screen.form.config()
        assert (config.model, config.weights, config.labels) == ("vgg11", "imagenet", "predicted")


async def test_the_palette_runs_any_action(own_folders):
    record_run(own_folders, name="mine")
    async with running(own_folders, WIDE) as (app, pilot):
        for key in ("ctrl+p", "colon"):
            await pilot.press(key)
            await shows(app, pilot, CommandPalette)
            await pilot.press(*"explore models")
            await until(pilot, lambda: "explore models" in text_of(app), "the hit")
            await pilot.pause(0.3)
            await pilot.press("enter")
            await until(pilot, lambda: app.current_mode == "explore", "the screen")
            await press(pilot, "1")


async def test_ascii_reaches_every_screen(own_folders):
    directory = record_run(own_folders, epsilon="0.03,0.1")
    async with running(own_folders, NARROW, open_directory=directory, ascii_only=True) as (app, pilot):
        for tab in ("layers", "all_layers", "classes", "epsilon", "images", "evidence", "study", "log"):
            app.screen.query_one("#tabs").active = tab
            await settled(pilot)
            assert text_of(app).isascii(), tab
        for key in "1235":
            await press(pilot, key)
            assert text_of(app).isascii(), key


def test_what_nobody_foresaw_is_one_sentence_and_a_file(own_folders, tmp_path):
    code = """
import sys
from pathlib import Path
from psi_tui.app.app import PsiApp

class Failing(PsiApp):
    def on_runs_listed(self, message):
        raise ZeroDivisionError("planted")

app = Failing(Path(sys.argv[1]))
app.run()
sys.exit(app.return_code)
"""
    with Terminal([sys.executable, "-c", code, str(own_folders)]) as terminal:
        terminal.wait_for("nobody foresaw")
        assert terminal.process.wait(10) == 1
        assert "Traceback" not in terminal.text
    assert "planted" in (tmp_path / "state" / "psi-tui" / "error.log").read_text()


def test_a_fresh_start_needs_no_gpu_no_cache_and_no_runs(own_folders):
    with Terminal(psi_tui()) as terminal:
        terminal.wait_for("example-alexnet")
        terminal.send("\r")
        terminal.wait_for("AUROC")
        terminal.send("q")
        began = time.monotonic()
        terminal.process.wait(5)
        assert time.monotonic() - began < 5
    assert json.loads((own_folders.parent / "state" / "psi-tui" / "app.json").read_text())["screen"] == "results"


def test_every_format_of_a_table_can_be_chosen():
    assert set(FORMAT_WORDS) == {*FORMATS, "svg"}


async def test_an_export_asks_before_it_replaces_files_and_j_and_k_move_in_it(own_folders, tmp_path):
    record_run(own_folders, name="mine")
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "layers.md").write_text("mine")
    async with running(own_folders) as (app, pilot):
        for keys, text in ((("j", "j", "enter", "n"), "mine"), (("j", "j", "k", "j", "enter", "y"), "| layer |")):
            await pilot.press("e")
            await shows(app, pilot, ExportDialog)
            app.screen.query_one(Input).value = str(folder)
            await press(pilot, *keys[:-1])
            await shows(app, pilot, ConfirmDialog)
            assert "Replace" in text_of(app)
            await press(pilot, keys[-1])
            await until(pilot, lambda text=text: (folder / "layers.md").read_text().startswith(text), "the table", 120)


async def test_the_palette_goes_to_runs_tabs_layers_and_conditions_and_names_moves_last(own_folders):
    directory = record_run(own_folders, name="mine", epsilon="0.03,0.1")
    record_run(own_folders, name="other")
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        offered = dict(ActionProvider(app.screen)._actions())
        words = list(offered)
        moves = [place for place, text in enumerate(words) if text.startswith(("down  (", "page down  ("))]
        assert moves
        assert min(moves) > max(place for place, text in enumerate(words) if text.startswith(("tab ", "open run ")))
        assert {"next layer  (])", "next condition beside benign  (c)"} <= set(words)
        assert [text for text in words if text.startswith("copy selected text")] == ["copy selected text  (^c)"]
        assert not any(text[0].isupper() for text in words)
        offered["tab Map"]()
        offered["layer fc1"]()
        offered["condition fgsm@0.03"]()
        await settled(pilot)
        assert app.screen.tabs.active == "map"
        assert (app.screen.choices.layer, app.screen.choices.condition) == ("fc1", "fgsm@0.03")
        next(act for text, act in offered.items() if text.startswith("open run other"))()
        await until(pilot, lambda: app.snapshot is not None and app.snapshot.run.name == "other", "the other run")


async def test_u_brings_the_deleted_run_back_after_a_new_start_too(own_folders, psi):
    record_run(own_folders, name="mine")
    async with running(own_folders) as (app, pilot):
        await press(pilot, "u")
        assert "nothing was deleted" in said(app)
        await press(pilot, "d", "y")
        await until(pilot, lambda: not list_runs(examples=False), "the deletion")
        assert "u brings it back" in said(app)
    assert len(psi("trash").out.splitlines()) == 1
    async with running(own_folders) as (app, pilot):
        await press(pilot, "u")
        await until(pilot, lambda: [run.name for run in list_runs(examples=False)] == ["mine"], "the run")
        assert "mine is back" in said(app)
    assert "empty" in psi("trash").err


async def test_the_words_are_one_key_from_help(own_folders):
    record_run(own_folders, name="mine")
    async with running(own_folders, NARROW) as (app, pilot):
        await press(pilot, "question_mark")
        assert "population sparseness index" not in text_of(app)
        assert "w: what the words mean" in text_of(app)
        await press(pilot, "w")
        assert "fooled, kept" in text_of(app)
        assert "population sparseness index" in text_of(app)
        await press(pilot, "escape")
        assert len(app.screen_stack) == 1
