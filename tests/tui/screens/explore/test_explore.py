"""The explore screen: every model there is, its layers from the engine, and a run of the marked ones."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from psi_tui.app.app import PsiApp
from psi_tui.screens.explore.facts import FactsPanel
from psi_tui.screens.explore.outline import CATALOG
from psi_tui.screens.explore.screen import WAITING, ExploreScreen
from psi_tui.screens.new_run.screen import NewRunScreen
from psi_tui.widgets.prompt_line import PromptLine
from tests.tui.apps import NARROW, answered, press, running, settled, text_of, until
from tests.tui.warm_engine import warm_client, warm_engine  # noqa: F401 - fixtures

WIDE = (140, 45)
OWN_MODEL = """
from torch import nn

def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Sigmoid(), nn.Linear(20, 10))
"""


pytestmark = pytest.mark.usefixtures("warm_engine")


@asynccontextmanager
async def exploring(
    folder: Path, size: tuple[int, int] = NARROW
) -> AsyncIterator[tuple[PsiApp, Pilot[None], ExploreScreen]]:
    """The app at its explore screen, the list of models there."""
    async with running(folder, size) as (app, pilot):
        await press(pilot, "2")
        assert isinstance(app.screen, ExploreScreen)
        yield app, pilot, app.screen


def said(app: PsiApp) -> str:
    """Every hint so far."""
    return "\n".join(notification.message for notification in app._notifications)


def facts(screen: ExploreScreen) -> dict[str, str]:
    return dict(screen.query_one(FactsPanel).facts.pairs)


async def open_lenet(pilot: Pilot[None]) -> None:
    await press(pilot, "home", "down", "enter")


async def test_it_says_that_it_waits_and_lists_the_bundled_models_before_the_engine_answers(own_folders, monkeypatch):
    async with running(own_folders) as (app, pilot):
        ask, may_answer = app.engine.ask, threading.Event()
        monkeypatch.setattr(app.engine, "ask", lambda *kind, **fields: may_answer.wait(60) and ask(*kind, **fields))
        await pilot.press("2")
        screen = app.screen
        assert isinstance(screen, ExploreScreen)
        assert screen.outline.notes[CATALOG] == f"… {WAITING}"
        assert all(name in text_of(app) for name in ("lenet5", "alexnet", "vgg11"))
        may_answer.set()
        await until(pilot, lambda: not screen.outline.notes, "the engine's list")
        await settled(pilot)
        assert "torchvision" in text_of(app)


async def test_a_models_layers_come_with_output_units_and_reason(own_folders):
    async with exploring(own_folders) as (app, pilot, screen):
        await open_lenet(pilot)
        text = text_of(app)
        for words in ("model, layer", "output", "units", "parameters", "multiply-adds", "6 x 28 x 28", "4,704"):
            assert words in text
        await press(pilot, "down", "down")
        assert "conv1 of lenet5" in text_of(app)
        assert facts(screen)["units"] == "4,704"
        assert facts(screen)["in a run"] == "○ tapped by default"
        assert "every ReLU output" in " ".join(screen.query_one(FactsPanel).facts.sentences)
        await press(pilot, "up")
        assert facts(screen)["in a run"] == "not tapped"
        assert "set rectify" in " ".join(screen.query_one(FactsPanel).facts.sentences)
        await press(pilot, "up")
        assert facts(screen)["parameters"] == "61,706"
        for size in (NARROW, WIDE):
            await pilot.resize_terminal(*size)
            await settled(pilot)
            tree, detail = screen.model_tree.region, screen.query_one(FactsPanel).region
            assert (detail.y >= tree.bottom) == (size == NARROW), "below each other where it is narrow"
            assert (detail.x >= tree.right) == (size == WIDE), "beside each other where it is wide"


async def test_torchvisions_models_stand_by_family(own_folders):
    async with exploring(own_folders) as (app, pilot, screen):
        await press(pilot, "slash", *"resnet18", "enter")
        titles = [line.title for line in screen.model_tree.lines]
        assert titles[:3] == ["torchvision", "resnet", "resnet18"]
        assert titles[3] == "timm", "an extra that comes with the tests"
        await press(pilot, "n")
        assert isinstance(app.screen, NewRunScreen)
        await until(pilot, lambda: app.screen.form.typed.get("model") == "torchvision:resnet18", "the filled form")


async def test_a_new_run_takes_the_model_and_the_marked_layers_in_forward_order(own_folders):
    async with exploring(own_folders) as (app, pilot, screen):
        await open_lenet(pilot)
        await press(pilot, "slash", *"fc1", "enter", "space", "escape")
        await press(pilot, "slash", *"conv1", "enter", "space", "escape")
        assert "● 2 marked" in text_of(app)
        await press(pilot, "n")
        assert isinstance(app.screen, NewRunScreen)
        await until(pilot, lambda: app.screen.form.typed == {"layers": "conv1,fc1"}, "the filled form")
        await press(pilot, "2", "a", "a", "home", "down", "down")
        assert screen.outline.marked("lenet5") == []
        await press(pilot, "n")
        assert app.screen.form.typed == {}, "no marks are the usual layers"


async def test_all_layers_that_a_filter_leaves_are_marked_and_unmarked_together(own_folders):
    async with exploring(own_folders) as (_app, pilot, screen):
        await open_lenet(pilot)
        await press(pilot, "slash", *"relu", "enter", "a")
        assert screen.outline.marked("lenet5") == ["conv1", "conv2", "fc1", "fc2"]
        await press(pilot, "escape", "a")
        assert len(screen.outline.marked("lenet5")) == len(screen.outline.layers("lenet5")) > 4
        await press(pilot, "a")
        assert screen.outline.marked("lenet5") == []


async def test_a_model_of_ones_own_is_added_and_a_refusal_stands_in_the_place_of_its_layers(own_folders, tmp_path):
    file = tmp_path / "nets.py"
    async with exploring(own_folders) as (app, pilot, screen):
        field = screen.query_one("#explore-own Input")
        await press(pilot, "o", *"lenet6", "enter")
        assert "did you mean 'lenet5'" in said(app)
        assert field.has_focus
        field.value = f"{file}:wide"
        await press(pilot, "enter")
        note = screen.model_tree.lines[-2]
        assert note.title.startswith("✗ ")
        assert note.title.endswith("; enter asks again")
        file.write_text(OWN_MODEL)
        await press(pilot, "down", "enter")
        assert "size" in screen.outline.notes[f"{file}:wide"], "the engine cannot know it"
        await press(pilot, "o")
        field.value = f"{file}:wide 28"
        await press(pilot, "enter")
        kinds = [row["kind"] for row in screen.outline.layers(f"{file}:wide")]
        assert kinds == ["Flatten", "Linear", "Sigmoid", "Linear"]
        assert screen.outline.notes == {}
        await press(pilot, "down", "down", "down")
        assert "Sigmoid never responds below 0" in " ".join(screen.query_one(FactsPanel).facts.sentences)
        await press(pilot, "n")
        assert isinstance(app.screen, NewRunScreen)
        typed = {"model": f"{file}:wide", "size": "28"}  # Its weights stay as they were built.
        await until(pilot, lambda: app.screen.form.typed == typed, "the filled form")


async def test_the_model_and_the_filter_are_there_again_at_the_next_start(own_folders):
    async with exploring(own_folders) as (_app, pilot, screen):
        await open_lenet(pilot)
        await press(pilot, "slash", *"relu", "enter")
    async with exploring(own_folders) as (_app, pilot, screen):
        kinds = [line.kind for line in screen.model_tree.lines if line.model == "lenet5"]
        assert kinds == ["model", "layer", "layer", "layer", "layer"]
        assert screen.query_one("#explore-filter Input").value == "relu"


async def test_copies_hold_the_command_and_the_layers_in_full_precision(own_folders):
    async with exploring(own_folders) as (_app, pilot, screen):
        assert screen.copies()["command"] == "psi-tui models"
        await open_lenet(pilot)
        await press(pilot, "down", "down", "space")
        copies = screen.copies()
        assert copies["command"] == "psi-tui layers lenet5 --all"
        assert copies["names of the marked layers"] == copies["name of the layer"] == "conv1"
        header, first, *_ = copies["table of its layers"].splitlines()
        assert dict(zip(header.split("\t"), first.split("\t"), strict=True))["multiply_adds"] == "117600"


PLACES = {
    "group": ["home"],
    "model": ["home", "down"],
    "layer": ["home", "down", "down", "down"],
    "invitation": ["end"],
}
UNALIKE = ("enter", "space", "a", "n", "o", "h", "l", "y", "slash")
"""Keys that do another thing at another line; the others are walked for every screen alike."""


@pytest.mark.parametrize(
    ("text", "places", "size"), [("", PLACES, NARROW), ("zzz", {"nothing": []}, WIDE)], ids=["all", "nothing fits"]
)
async def test_every_binding_acts_or_says_why_not_wherever_the_cursor_is(own_folders, text, places, size):
    async with exploring(own_folders, size) as (app, pilot, screen):
        await open_lenet(pilot)
        assert set(UNALIKE) <= set(screen._bindings.key_to_bindings)
        for place, way in places.items():
            for key in UNALIKE:
                await start_over(app, pilot, screen, text)
                await press(pilot, *way)
                before = (text_of(app), len(app._notifications), app.focused, app.screen)
                await press(pilot, key)
                after = (text_of(app), len(app._notifications), app.focused, app.screen)
                assert after != before, f"{key} is dead at {place}"


async def start_over(app: PsiApp, pilot: Pilot[None], screen: ExploreScreen, text: str) -> None:
    """The explore screen as it was, under a filter, without a dialog or a hint."""
    while len(app.screen_stack) > 1:
        app.pop_screen()
    app.go("explore")
    app.clear_notifications()
    for line in screen.query(PromptLine):
        line.close()
    await pilot.pause()
    screen.query_one("#explore-filter", PromptLine).show(text)
    screen.outline.marks.clear()
    screen.outline.open_model("lenet5")
    screen.model_tree.rebuild()
    screen.model_tree.focus()
    await settled(pilot)


async def test_digits_and_q_belong_to_the_filter_until_escape(own_folders):
    async with exploring(own_folders) as (app, pilot, screen):
        await press(pilot, "slash", "1", "q", "n", "slash")
        assert app.screen is screen
        assert screen.query_one("#explore-filter Input").value == "1qn/"
        await press(pilot, "escape")
        assert "no line" not in text_of(app)
        assert screen.model_tree.has_focus
        await press(pilot, "3")
        assert isinstance(app.screen, NewRunScreen)


async def test_keys_of_one_packet_go_where_they_would_go_one_by_one(own_folders):
    async with exploring(own_folders) as (app, pilot, screen):
        await open_lenet(pilot)
        packet(app, "/", *"fc1", "enter")
        await until(pilot, lambda: screen.model_tree.filter_text == "fc1", "the filter")
        packet(app, " ", "escape", "/", *"aan1q", "escape")
        await answered(pilot)
        assert not screen.query_one("#explore-filter", PromptLine).is_open
        await settled(pilot)
        assert screen.query_one("#explore-filter", PromptLine).text == screen.model_tree.filter_text == ""
        assert app.screen is screen
        assert screen.outline.marked("lenet5") == ["fc1"], "no letter of the filter acted"
        assert screen.model_tree.current is not None
        assert screen.model_tree.current.title == "fc1"


async def test_a_filter_given_up_takes_the_cursor_back_and_one_that_is_kept_does_not(own_folders):
    async with exploring(own_folders) as (_, pilot, screen):
        await open_lenet(pilot)
        await press(pilot, "slash", *"resnet18")
        assert screen.model_tree.current.title != "lenet5"
        await press(pilot, "escape")
        assert screen.model_tree.current.title == "lenet5"
        await press(pilot, "slash", *"fc1", "enter")
        await press(pilot, "escape")
        assert screen.model_tree.current.title == "fc1"


def packet(app: PsiApp, *keys: str) -> None:
    """Hands keys to the app as a terminal does that got them all at once."""
    for key in keys:
        named = {"/": "slash", " ": "space"}.get(key, key)
        app.post_message(events.Key(named, key if len(key) == 1 else None))
