"""The form refuses in the words of RunConfig as it is typed, and a cursor goes over its fields or into them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input

from psi_core.config import RunConfig
from psi_core.errors import ConfigError
from psi_tui.screens.new_run.fields import default_text, form_field, refusal_of
from psi_tui.screens.new_run.form import ConfigForm
from tests.tui.apps import until

FIELDS = list(RunConfig.model_fields)
WRONG = {
    "model": "lenet6",
    "weights": "fited",
    "data": "mnits",
    "images": "0",
    "size": "x",
    "resize": "0",
    "normalize": "0.1/0",
    "layers": "",
    "channel_axis": "conv1",
    "measures": "phi",
    "attack": "fgsn",
    "epsilon": "0.03,3",
    "steps": "0",
    "step_size": "2",
    "restarts": "0",
    "attacked": "zip:there",
    "controls": "none,anti-fgsm",
    "seed": "-1",
    "devices": "0",
    "batch": "many",
    "chunk": "0",
    "threads": "",
    "name": "a/b",
}


class Shown(App[None]):
    """An app with the form alone; keeps its messages."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals: list[str] = []
        self.changes = 0
        self.times_left = 0

    def compose(self) -> ComposeResult:
        yield ConfigForm()

    def on_mount(self) -> None:
        self.query_one(ConfigForm).focus()

    def on_config_form_changed(self) -> None:
        self.changes += 1

    def on_config_form_left(self) -> None:
        self.times_left += 1

    def on_config_form_refused(self, message: ConfigForm.Refused) -> None:
        self.refusals.append(message.sentence)


@asynccontextmanager
async def shown() -> AsyncIterator[tuple[Shown, Pilot[None], ConfigForm]]:
    app = Shown()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        yield app, pilot, app.query_one(ConfigForm)


def drawn(form: ConfigForm, name: str) -> str:
    """A field as it is drawn, its words joined."""
    lines = [form.canvas.render_line(place).text for place in form.canvas.place_of(name)]
    return " ".join(" ".join(lines).split())


def text(form: ConfigForm, name: str) -> str:
    return form.state.fields[name].text


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "name"])
def test_a_field_without_choices_has_a_wrong_value_in_these_tests(name):
    assert (name in WRONG) != (bool(form_field(name).choices) or name == "device")


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_value_is_answered_in_the_words_of_runconfig_as_it_is_typed(name):
    with pytest.raises(ConfigError) as refused:
        RunConfig(**{name: WRONG[name]})
    async with shown() as (app, pilot, form):
        form.edit(name)
        form.field.value = ""
        await pilot.press(*WRONG[name])
        await pilot.pause()
        assert drawn(form, name).endswith(f"✗ {refused.value}"), "all of it is in sight"
        assert form.refusals == {name: str(refused.value)}
        with pytest.raises(ConfigError, match=name):
            form.config()
        form.field.value = default_text(name)
        await pilot.pause()
        assert drawn(form, name).endswith(form_field(name).help), "in full, inside the field"
        assert form.refusals == {}
        assert app.changes > 0


async def test_a_run_that_cannot_stand_as_a_whole_is_refused_though_each_field_can():
    async with shown() as (_, pilot, form):
        form.fill({"attack": "none"})
        await pilot.pause()
        assert form.refusals == {}
        assert [condition.name for condition in form.config().conditions] == ["benign"]
        form.fill({"attacked": "npz:theirs.npz"})
        assert form.config().attack == ()
        form.fill({"controls": "gaussian"})
        with pytest.raises(ConfigError, match="gaussian takes its size from an attack"):
            form.config()


async def test_every_target_is_told_in_words_and_chosen_from_a_list():
    async with shown() as (app, pilot, form):
        form._go_over("target")
        for name in ("least-likely", "random", "next", "none"):
            await pilot.press("right")
            await pilot.pause()
            assert form.typed == ({} if name == "none" else {"target": name})
            assert f"◂ {name} ▸" in drawn(form, "target")
            assert f"{name}: " in drawn(form, "target")
        await pilot.press("enter")
        assert len(app.screen_stack) == 2
        await pilot.press("down", "enter")
        assert form.typed == {"target": "least-likely"}


async def test_a_factory_keeps_its_own_weights_unless_others_are_typed():
    async with shown() as (_, pilot, form):
        form.fill({"model": "nets.py:wide"})
        await pilot.pause()
        assert text(form, "weights") == "built"
        assert form.typed == {"model": "nets.py:wide"}
        assert form.config().weights == "built"
        form.fill({"weights": "fitted"})
        assert form.typed == {"model": "nets.py:wide", "weights": "fitted"}
        form.fill({"model": "alexnet"})
        assert form.typed == {"model": "alexnet"}
        assert refusal_of("weights", text(form, "weights")) is None


async def test_choices_stand_in_sight_and_turn_by_left_right_and_space():
    async with shown() as (app, pilot, form):
        await pilot.press(*["down"] * FIELDS.index("rectify"))
        assert form.current == "rectify"
        await pilot.press("right")
        assert form.typed == {"rectify": "relu"}
        await pilot.press("space", "space")
        assert form.typed == {}, "after the last comes the first"
        await pilot.press("left")
        assert form.typed == {"rectify": "abs"}
        assert "○ none ○ relu ● abs" in drawn(form, "rectify")
        await pilot.press("enter", "right")
        assert form.typed == {}, "inside the field too"
        await pilot.press("escape", "up", "up")
        assert app.refusals == []


async def test_enter_and_arrows_go_from_field_to_field_and_a_focused_field_takes_letters_and_digits():
    async with shown() as (app, pilot, form):
        await pilot.press("enter", "end", *"1qd/")
        assert text(form, "model") == "lenet51qd/"
        await pilot.press("enter")
        assert (form.current, app.focused) == ("weights", form.field)
        await pilot.press("down", "down", "down", *"40")
        assert form.typed == {"model": "lenet51qd/", "images": "40"}
        await pilot.press("up", "up", "up", "up", "up")
        assert (form.current, app.focused) == ("model", form.field)
        form.edit("name")
        await pilot.press("x", "enter")
        assert app.times_left == 1, "after the last field the screen goes on"


async def test_the_cursor_goes_over_the_fields_while_letters_are_keys():
    async with shown() as (app, pilot, form):
        await pilot.press("end")
        assert form.current == "name"
        await until(pilot, lambda: form.canvas.region.y + form.canvas.place_of("name").stop <= 24, "it in sight")
        await pilot.press("down")
        assert app.times_left == 1
        await pilot.press("home", "left")
        assert form.current == "model"
        assert len(app.refusals) == 1, "no choices in a field for text"
        assert form.has_focus


async def test_defaults_come_back_field_by_field_or_all_at_once():
    async with shown() as (app, pilot, form):
        form.fill({"model": "alexnet", "seed": "7", "precision": "bf16", "weights": "random"})
        await pilot.press("d")
        assert form.typed == {"weights": "random", "seed": "7", "precision": "bf16"}
        await pilot.press("d")
        assert len(app.refusals) == 1
        await pilot.press("D")
        assert form.typed == {}
        await pilot.press("D")
        assert len(app.refusals) == 2


async def test_devices_are_offered_with_their_free_memory_and_one_typed_elsewhere_stays():
    devices = [
        ("auto: best", "auto"),
        ("cpu", "cpu"),
        *((f"cuda:{k}  H100, {k} GB free", f"cuda:{k}") for k in range(8)),
    ]
    async with shown() as (app, pilot, form):
        form.fill({"device": "cuda:11"})
        form.offer_devices(devices)
        assert form.typed == {"device": "cuda:11"}
        form.fill({"device": "cuda:3"})
        await pilot.pause()
        assert "◂ cuda:3 ▸ 6 of 10 cuda:3 H100, 3 GB free" in drawn(form, "device")
        form.edit("device")
        await pilot.press("right")
        assert form.typed == {"device": "cuda:4"}
        form.leave()
        await pilot.press("enter")
        assert len(app.screen_stack) == 2, "a list of all"
        await pilot.press("down", "enter")
        assert form.typed == {"device": "cpu"}


async def test_no_field_is_wider_than_80_columns_and_no_cursor_blinks():
    async with shown() as (_, pilot, form):
        await pilot.pause()
        assert form.max_scroll_x == 0
        assert all(len(form.canvas.render_line(y).text) <= 80 for y in range(form.canvas.size.height))
        assert not any(field.cursor_blink for field in form.query(Input))


async def test_keys_of_one_packet_go_where_they_would_go_one_by_one():
    async with shown() as (app, pilot, form):
        for key in ("enter", "end", *"x1", "enter", "end", *"y", "down", "down", "down", *"40"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        await pilot.pause()
        assert form.typed == {"model": "lenet5x1", "weights": "fittedy", "images": "40"}


async def test_a_click_goes_into_a_field_or_chooses():
    async with shown() as (app, pilot, form):
        await pilot.click(ConfigForm, offset=(20, form.canvas.place_of("images").start))
        assert (form.current, app.focused) == ("images", form.field)
        await pilot.press(*"7")
        await pilot.click(ConfigForm, offset=(24, form.canvas.place_of("split").start))
        assert form.typed == {"images": "7", "split": "train"}
        assert app.focused is form


async def test_what_is_typed_into_stays_over_its_field_when_the_terminal_changes_its_size():
    async with shown() as (app, pilot, form):
        form.edit("epsilon")
        for size in ((140, 45), (80, 24), (100, 30)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            await pilot.pause()
            assert form.field.region.y == form.canvas.region.y + form.canvas.place_of("epsilon").start
            assert form.field.region.width == form.canvas.value_width
            assert form.field.region.bottom <= size[1], "in sight"
        assert app.focused is form.field
