"""The form's screen: what a run will cost, the command that does the same, and the run itself."""

import shlex
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Button, Static, TabbedContent

from psi_core.conditions import CONTROL_NAMES
from psi_core.config import RunConfig
from psi_core.files import examples_directory, state_directory
from psi_core.presets import config_of, needless_options
from psi_core.runs.run import Run
from psi_tui.app.app import PsiApp
from psi_tui.screens.new_run import screen as screen_module
from psi_tui.screens.new_run.screen import NewRunScreen
from psi_tui.services.services import PrefillForm
from tests.tui.apps import NARROW, press, running, settled, text_of, until
from tests.tui.warm_engine import warm_client, warm_engine  # noqa: F401 - fixtures

WIDE = (140, 45)
EXAMPLE = examples_directory() / "example-alexnet"
pytestmark = [
    pytest.mark.usefixtures("warm_engine"),
    # The app lets go of the worker that it starts: it may outlive the app.
]


@asynccontextmanager
async def filling_in(
    folder: Path, size: tuple[int, int] = NARROW
) -> AsyncIterator[tuple[PsiApp, Pilot[None], NewRunScreen]]:
    """The app at its form."""
    async with running(folder, size) as (app, pilot):
        await press(pilot, "3")
        assert isinstance(app.screen, NewRunScreen)
        yield app, pilot, app.screen


def line(screen: NewRunScreen, name: str) -> str:
    return str(screen.query_one(f"#{name}", Static).render())


def said(app: PsiApp) -> list[str]:
    return [notification.message for notification in app._notifications]


async def fill(pilot: Pilot[None], screen: NewRunScreen, values: dict[str, str]) -> None:
    """Fills fields as another screen does."""
    screen.post_message(PrefillForm(values))
    await pilot.pause()


async def planned(pilot: Pilot[None], screen: NewRunScreen, words: str) -> None:
    """Waits for the engine's plan."""
    await until(pilot, lambda: words in line(screen, "plan"), f"a plan with {words!r}")


async def test_the_plan_counts_what_the_engine_would_do_and_stays_in_sight(own_folders):
    async with filling_in(own_folders) as (app, pilot, screen):
        await fill(pilot, screen, {"images": "100", "device": "cpu"})
        await planned(pilot, screen, "5 conditions x 4 layers x 100 images, time not known yet on this cpu")
        await fill(pilot, screen, {"epsilon": "0.03,0.1", "layers": "fc1", "devices": "2"})
        await planned(
            pilot, screen, "9 conditions x 1 layer x 100 images, time not known yet on this cpu with 2 workers"
        )
        assert "fitted first" not in line(screen, "plan"), "LeNet-5's weights ship with the package"
        await fill(pilot, screen, {"model": "alexnet", "layers": "relu"})
        await planned(pilot, screen, "x 7 layers x 100 images")
        assert line(screen, "plan").endswith("weights are fitted first")
        for size in (NARROW, WIDE):
            await pilot.resize_terminal(*size)
            await press(pilot, "G")
            text = text_of(app)
            assert "9 conditions x 7 layers" in text
            assert "psi-tui run --model alexnet --images 100 --epsilon 0.03,0.1 --device cpu --devices 2" in " ".join(
                text.split()
            )
            assert "start" in text
            assert screen.form.max_scroll_x == 0


async def test_the_engines_refusal_stands_in_the_place_of_the_plan(own_folders):
    async with filling_in(own_folders) as (app, pilot, screen):
        await fill(pilot, screen, {"layers": "conv9"})
        await planned(pilot, screen, "✗ layers: there is no 'conv9'; did you mean")
        await press(pilot, "ctrl+r")
        assert any("there is no 'conv9'" in each for each in said(app)), "it is not started"
        assert screen._starting is None
        await fill(pilot, screen, {"layers": "all"})
        await planned(pilot, screen, "add --rectify relu or --rectify abs")
        await fill(pilot, screen, {"rectify": "abs", "images": "50"})
        await planned(pilot, screen, "50 images")


async def test_what_is_typed_in_vain_is_told_below_the_plan_as_the_command_tells_it(own_folders):
    async with filling_in(own_folders) as (app, pilot, screen):
        await fill(pilot, screen, {"epsilon": "0.1", "steps": "20", "images": "50"})
        vain = "! steps: has no effect, because no attack here takes small steps"
        await until(pilot, lambda: line(screen, "plan").endswith(f"\n{vain}"), "the warning")
        await planned(pilot, screen, "x 50 images")
        await until(pilot, lambda: vain in text_of(app), "the warning on the screen")
        await fill(pilot, screen, {"attack": "none", "controls": "none"})
        typed = screen.form.typed
        await planned(pilot, screen, "; ".join(needless_options(screen.form.config(), typed)))
        assert "epsilon: has no effect, because there is no attack and no control" in line(screen, "plan")
        await fill(pilot, screen, {"attack": "pgd"})
        await until(pilot, lambda: "no effect" not in line(screen, "plan"), "no warning any more")


async def test_a_plan_is_of_what_stands_in_the_form_however_fast_that_changes(own_folders, monkeypatch):
    async with filling_in(own_folders) as (app, pilot, screen):
        await planned(pilot, screen, "10,000 images")
        ask, is_let = app.engine.ask, threading.Event()
        monkeypatch.setattr(app.engine, "ask", lambda *words, **named: is_let.wait(60) and ask(*words, **named))
        await fill(pilot, screen, {"model": "vgg11"})
        await pilot.pause()
        screen._plan_now()
        await fill(pilot, screen, {"model": "lenet5", "images": "29"})
        await pilot.pause()
        assert screen._pause is not None
        assert screen._asking is not None
        screen._pause.stop()
        screen._plan_now()  # As the pause's end does, while the older question is still under way.
        is_let.set()
        await planned(pilot, screen, "x 29 images")
        await fill(pilot, screen, {"images": "x"})
        await pilot.pause()
        assert line(screen, "plan") == "✗ this cannot be run yet: see images above"


async def test_a_run_is_not_started_while_a_field_is_refused_and_nothing_typed_is_lost(own_folders):
    async with filling_in(own_folders) as (app, pilot, screen):
        await fill(pilot, screen, {"model": "alexnet", "epsilon": "3", "seed": "x"})
        await press(pilot, "r")
        assert app.screen is screen
        assert "lies outside 0 to 1" in said(app)[-1]
        assert (screen.form.current, app.focused) == ("epsilon", screen.form.field)
        assert screen.form.typed == {"model": "alexnet", "epsilon": "3", "seed": "x"}
        await press(pilot, "escape", "2", "3")
        assert screen.form.typed == {"model": "alexnet", "epsilon": "3", "seed": "x"}, "while the app lives"
        assert not own_folders.exists(), "nothing was made"


async def test_every_way_to_start_hands_over_what_was_typed(own_folders, monkeypatch):
    async with filling_in(own_folders) as (app, pilot, screen):
        asked = []
        monkeypatch.setattr(app, "start_run", asked.append)
        for way in (["r"], ["G", "down", "enter"], ["enter", "ctrl+r"]):
            screen.form.focus()
            await fill(pilot, screen, {"images": "20", "device": "cpu", "epsilon": "0.1"})
            await press(pilot, *way)
        assert asked == [{"images": 20, "device": "cpu", "epsilon": [0.1]}] * 3


async def test_a_run_starts_with_what_was_typed_and_opens(own_folders):
    async with filling_in(own_folders) as (app, pilot, screen):
        app.open_run(EXAMPLE)
        await until(pilot, lambda: app.snapshot is not None, "another run")
        await settled(pilot)
        app.screen.query_one(TabbedContent).active = "log"
        await press(pilot, "3")
        await fill(pilot, screen, {"images": "20", "name": "first try", "device": "cpu", "epsilon": "0.1"})
        await pilot.press("r", "r")
        assert "it opens by itself" in said(app)[-1]
        await until(pilot, lambda: app.open_directory != EXAMPLE, "the run")
        assert app.open_directory is not None
        run = Run(app.open_directory)
        await until(pilot, lambda: Run(run.directory).status == "done", "its end")
        assert (run.config.images, run.config.name, run.config.epsilon) == (20, "first try", (0.1,))
        assert list(own_folders.iterdir()) == [run.directory], "pressed twice, started once"
        await until(pilot, lambda: app.snapshot is not None, "the run's first look")
        await settled(pilot)
        assert app.screen.query_one(TabbedContent).active == "layers", "not the log that the run before was left at"


async def test_what_the_engine_refuses_at_the_start_is_a_dialog_and_nothing_typed_is_lost(own_folders, monkeypatch):
    monkeypatch.setattr(screen_module, "_PAUSE", 300)  # No plan has refused it before.
    async with filling_in(own_folders) as (app, pilot, screen):
        await fill(pilot, screen, {"weights": "nowhere.pt"})
        await press(pilot, "ctrl+r")
        await until(pilot, lambda: len(app.screen_stack) > 1, "the dialog")
        assert "nowhere.pt" in text_of(app)
        await press(pilot, "escape")
        assert app.screen is screen
        assert screen.form.typed == {"weights": "nowhere.pt"}
        assert not own_folders.exists() or not list(own_folders.iterdir()), "a refused run leaves nothing behind"


async def test_the_command_is_copied_from_anywhere(own_folders):
    copied = state_directory() / "copied.txt"
    async with filling_in(own_folders) as (app, pilot, screen):
        await fill(pilot, screen, {"epsilon": "0.1"})
        await press(pilot, "enter", "ctrl+y")
        await until(pilot, lambda: copied.exists() and "0.1" in copied.read_text(), "the copy")
        assert copied.read_text() == "psi-tui run --epsilon 0.1"
        assert screen.copies()["command"] == "psi-tui run --epsilon 0.1"
        assert "epsilon = [0.1]" in screen.copies()["SPEC.toml with every field"]
        await press(pilot, "escape", "y")
        assert len(app.screen_stack) == 2
        await fill(pilot, screen, {"epsilon": "3"})
        assert list(screen.copies()) == ["command"], "a run that cannot stand has no file"


async def test_the_preset_for_evidence_keeps_model_and_data_and_its_command_is_whole(own_folders):
    async with filling_in(own_folders) as (app, pilot, screen):
        await fill(pilot, screen, {"model": "alexnet", "images": "100"})
        await press(pilot, "colon")
        await until(pilot, lambda: isinstance(app.screen, CommandPalette), "the palette")
        await pilot.press(*"preset evidence")
        await until(pilot, lambda: "FGSM and PGD at five" in text_of(app), "the preset")
        await pilot.pause(0.3)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen and "evidence" not in text_of(app), "the form")
        await until(pilot, lambda: "kurtosis" in screen.command, "its values")
        program, run, *arguments = shlex.split(screen.command)
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        assert (program, run, options.pop("--model"), options.pop("--images")) == ("psi-tui", "run", "alexnet", "100")
        assert config_of("evidence") == RunConfig(**{name.strip("-"): text for name, text in options.items()})
        await press(pilot, "G")
        assert f"{CONTROL_NAMES[-1]} --measures" in " ".join(text_of(app).split()), "in sight at 80 columns"
        assert "kurtosis" in " ".join(text_of(app).split())


async def test_another_theme_colors_the_form_too(own_folders):
    async with filling_in(own_folders) as (app, pilot, screen):
        canvas = screen.form.canvas
        dark = canvas._drawn.lines
        app.theme = "psi-light"
        await until(pilot, lambda: canvas._drawn.lines != dark, "other colors", 5)
        await settled(pilot)
        assert canvas._drawn.lines == canvas._lines(canvas.size.width).lines, "all of them the new theme's"


async def test_escape_leaves_the_field_then_the_screen(own_folders):
    async with filling_in(own_folders) as (app, pilot, screen):
        await press(pilot, "enter", "1")
        assert app.screen is screen
        assert screen.form.typed == {"model": "lenet51"}
        await press(pilot, "escape")
        assert screen.form.has_focus
        await press(pilot, "d", "G", "down")
        assert screen.query_one("#start", Button).has_focus
        await press(pilot, "escape")
        assert screen.form.has_focus
        await press(pilot, "escape")
        assert app.screen is not screen


KEYS = (
    "r",
    "ctrl+r",
    "y",
    "ctrl+y",
    "up",
    "down",
    "j",
    "k",
    "h",
    "l",
    "g",
    "G",
    "e",
    "slash",
    "plus",
    "minus",
    "escape",
)
WIDGETS_KEYS = ("enter", "space", "left", "right", "home", "end", "d", "D")
PLACES = {"text": "images", "choice": "unit", "device": "device"}
WALKS = {
    "text": (NARROW, (*KEYS, *WIDGETS_KEYS)),
    "device": (WIDE, (*KEYS, *WIDGETS_KEYS)),
    "choice": (NARROW, ("up", "down", "j", "k", "h", "l", *WIDGETS_KEYS)),
}


@pytest.mark.parametrize("place", WALKS)
async def test_every_binding_acts_or_says_why_not_wherever_the_cursor_is(own_folders, place):
    size, keys = WALKS[place]
    async with filling_in(own_folders, size) as (app, pilot, screen):
        assert set(KEYS) <= set(screen._bindings.key_to_bindings)
        assert set(WIDGETS_KEYS) <= set(screen.form._bindings.key_to_bindings)
        for key in keys:
            while len(app.screen_stack) > 1:
                app.pop_screen()
            app.go("new_run")
            app.clear_notifications()
            screen.minimize()
            await fill(pilot, screen, {"epsilon": "3", "images": "10"})  # Refused, so that no run starts.
            screen.form._go_over(PLACES[place])
            await pilot.pause()
            before = (text_of(app), len(app._notifications), app.focused, app.screen)
            await pilot.press(key)
            await pilot.pause()
            after = (text_of(app), len(app._notifications), app.focused, app.screen)
            assert after != before, f"{key} is dead at {place}"
