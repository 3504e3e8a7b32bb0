"""The tree of models: a filter leaves what fits and nothing else, at once; marks and the cursor outlive it."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from psi_tui.screens.explore.outline import CATALOG, NONNEGATIVE_KINDS, RELU_KINDS, Line, Outline, kind_glyph, kind_word
from psi_tui.screens.explore.tree import MARKED, TAPPED, ModelTree
from psi_tui.text.in_ascii import UNKNOWN, to_ascii

KINDS = ("Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Linear", "Dropout", "Softmax")
FILTERS = ["", "relu", "conv", "pooling", "block12", "block1 relu", "huge 7.2", "RELU", "nothing-fits", "deep"]


def layer(number: int, name: str | None = None) -> dict[str, object]:
    kind = KINDS[number % len(KINDS)]
    path = name or f"block{number // 30}.layer{number % 30}.{number}"
    shape = [64, 56, 56]
    sizes = {"units": 200704, "channels": 64, "parameters": 1000 * number, "multiply_adds": 10**6 * number}
    return {"name": path, "module": path, "kind": kind, "shape": shape, **sizes, "default": kind == "ReLU"}


def huge_outline(count: int = 3000) -> Outline:
    """One model of so many layers beside the bundled ones and others whose layers are not loaded."""
    outline = Outline()
    names = [("lenet5", "bundled"), ("alexnet", "bundled"), ("torchvision:huge", "deep"), ("torchvision:huger", "deep")]
    outline.show_models([{"name": name, "family": family} for name, family in names])
    outline.show_layers("torchvision:huge", [layer(number) for number in range(count)])
    outline.open_model("torchvision:huge")
    return outline


class Shown(App[None]):
    """An app with the tree alone; keeps its messages."""

    def __init__(self, outline: Outline) -> None:
        super().__init__()
        self.outline = outline
        self.refusals: list[str] = []
        self.opened: list[Line] = []

    def compose(self) -> ComposeResult:
        yield ModelTree(self.outline)

    def on_mount(self) -> None:
        self.tree_widget.focus()

    @property
    def tree_widget(self) -> ModelTree:
        return self.query_one(ModelTree)

    def on_model_tree_refused(self, message: ModelTree.Refused) -> None:
        self.refusals.append(message.sentence)

    def on_model_tree_opened(self, message: ModelTree.Opened) -> None:
        self.opened.append(message.line)


def shown(
    outline: Outline, act: Callable[[Shown, Pilot[None]], Awaitable[None]], size: tuple[int, int] = (80, 24)
) -> None:
    """Does something to a shown tree."""

    async def run() -> None:
        app = Shown(outline)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await act(app, pilot)

    asyncio.run(run())


def lines_of(app: Shown) -> list[str]:
    tree = app.tree_widget
    return [tree.render_line(y).text for y in range(tree.size.height)]


def names(outline: Outline, text: str, kind: str = "layer") -> list[str]:
    return [line.title for line in outline.lines(text) if line.kind == kind]


@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_leaves_the_layers_that_hold_every_word_and_no_others(text):
    outline = huge_outline()
    model = "torchvision:huge"
    wanted = [
        row["name"]
        for row in outline.layers(model)
        if all(
            word in f"{model} {row['name']} {row['module']} {row['kind']} {kind_word(row['kind'])}".lower()
            for word in text.lower().split()
        )
    ]
    assert names(outline, text) == (wanted if text != "deep" else names(outline, ""))


def test_a_filter_leaves_models_by_name_and_family_though_their_layers_are_not_loaded():
    outline = huge_outline()
    assert names(outline, "huger", "model") == ["huger"]
    assert names(outline, "deep", "model") == ["huge", "huger"]
    assert names(outline, "alex", "model") == ["alexnet"]
    assert outline.lines("nothing-fits") == []


def test_a_tree_of_3000_layers_filters_within_100_milliseconds():
    slow: dict[str, float] = {}

    async def act(app: Shown, pilot: Pilot[None]) -> None:
        tree = app.tree_widget
        for text in FILTERS * 3:  # The best of three: Python may clear its own memory at any time.
            begun = time.process_time()
            tree.filter(text)
            lines_of(app)
            await pilot.pause()
            slow[text] = min(time.process_time() - begun, slow.get(text, math.inf))

    shown(huge_outline(), act, (140, 45))
    assert max(slow.values()) <= 0.1, slow


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_no_line_is_wider_than_the_tree_and_titles_stand_over_their_columns(width):
    async def act(app: Shown, _pilot: Pilot[None]) -> None:
        tree = app.tree_widget
        tree.filter("relu")
        header, *lines = lines_of(app)
        assert {len(line) for line in lines} == {tree.size.width}
        assert "model, layer" in header
        layers = [line for line in lines if kind_glyph("ReLU") in line]
        assert layers
        end = header.index("units") + len("units")
        assert all(line[:end].endswith("200,704") for line in layers)
        assert ("output" in header) == (width >= 60), "where room is short, the less important columns go first"

    shown(huge_outline(), act, (width, 24))


def test_marks_outlive_filter_and_collapse():
    outline = huge_outline()
    model = "torchvision:huge"

    async def act(app: Shown, pilot: Pilot[None]) -> None:
        tree = app.tree_widget
        outline.mark(model, ["block1.layer7.37", "block0.layer2.2"], True)
        tree.filter("block1.layer7.37")
        assert [line for line in lines_of(app) if "● " in line and "block1.layer7.37" in line]
        tree.filter("")
        tree.go_to_model(model)
        await pilot.press("left")
        assert not names(outline, "")
        assert any("● 2 marked" in line for line in lines_of(app))
        await pilot.press("right")
        assert any("● " in line and "block0.layer2.2" in line for line in lines_of(app))

    shown(outline, act)
    assert outline.marked(model) == ["block0.layer2.2", "block1.layer7.37"], "in forward order"


def test_what_a_run_would_tap_is_marked_layers_or_else_the_usual_ones():
    outline = huge_outline(14)
    model = "torchvision:huge"
    rows = outline.layers(model)
    assert [row["name"] for row in rows if outline.is_tapped(model, row)] == [
        row["name"] for row in rows if row["default"]
    ]
    outline.mark(model, [rows[0]["name"]], True)
    assert [row["name"] for row in rows if outline.is_tapped(model, row)] == [rows[0]["name"]]
    outline.mark(model, [rows[0]["name"]], False)
    assert [row["name"] for row in rows if outline.is_tapped(model, row)] == [
        row["name"] for row in rows if row["default"]
    ]


def test_the_cursor_stays_on_its_line_while_that_fits_and_goes_to_the_first_that_does_otherwise():
    async def act(app: Shown, _pilot: Pilot[None]) -> None:
        tree = app.tree_widget
        tree.filter("block5.layer2.152")
        assert tree.current is not None
        assert tree.current.title == "block5.layer2.152"
        tree.filter("block5")
        assert tree.current.title == "block5.layer2.152"
        tree.keep_filter("block6")
        assert tree.current.title == "block6.layer0.180"
        tree.filter("")
        assert tree.current.title == "block6.layer0.180"
        assert any("block6.layer0.180" in line for line in lines_of(app)), "the cursor is in sight"

    shown(huge_outline(), act)


def test_every_key_moves_opens_or_says_why_not():
    async def act(app: Shown, pilot: Pilot[None]) -> None:
        tree = app.tree_widget
        await pilot.press("end")
        assert tree.cursor_row == len(tree.lines) - 1
        await pilot.press("home", "down", "down", "up")
        assert tree.cursor_row == 1
        await pilot.press("pagedown")
        assert tree.cursor_row > 10
        await pilot.press("pageup")
        assert tree.cursor_row == 1
        await pilot.press("right")
        assert [line.title for line in app.opened] == ["lenet5"]
        await pilot.press("left", "left")
        assert tree.cursor_row == 0
        assert app.refusals == []
        await pilot.press("left", "left")
        assert len(app.refusals) == 1, "closed, then nothing above it"
        tree.filter("block3.layer0")
        await pilot.press("right")
        assert len(app.refusals) == 2, "a layer holds nothing"
        await pilot.press("left")
        assert tree.current is not None
        assert tree.current.kind == "model"
        tree.open_current(False)
        await pilot.pause()
        assert len(app.refusals) == 3, "a filter holds it open"
        tree.filter("nothing-fits")
        for key in ("up", "down", "home", "end", "pageup", "pagedown"):
            await pilot.press(key)
        await pilot.press("left", "right")
        assert len(app.refusals) == 5

    shown(huge_outline(), act)


def test_a_note_stands_in_the_place_of_what_is_not_known():
    outline = huge_outline()
    outline.notes["alexnet"] = "… asking"
    outline.notes[CATALOG] = "✗ no engine"
    outline.open_model("alexnet")
    lines = outline.lines()
    place = next(place for place, line in enumerate(lines) if line.title == "alexnet")
    assert (lines[place + 1].kind, lines[place + 1].title, lines[place + 1].model) == ("note", "… asking", "alexnet")
    assert lines[-1].title == "✗ no engine"
    outline.show_layers("alexnet", [layer(2, "conv1")])
    lines = outline.lines()
    assert (lines[place + 1].kind, lines[place + 1].title) == ("layer", "conv1")


def test_own_models_stay_when_the_engines_list_comes():
    outline = Outline()
    outline.add_own("nets.py:wide")
    outline.add_own("nets.py:wide")
    outline.add_own("lenet5")
    outline.show_models([{"name": "lenet5", "family": "bundled"}])
    assert names(outline, "", "model") == ["lenet5", "nets.py:wide"]


def test_kinds_that_pass_without_rectification_are_the_engines():
    from psi_core.engine.models import activations

    assert RELU_KINDS == activations.RELUS
    assert activations.NONNEGATIVE == NONNEGATIVE_KINDS


def test_glyphs_stay_glyphs_in_ascii():
    kinds = (*KINDS, "Flatten")
    glyphs = {kind_glyph(kind) for kind in kinds}
    assert len(glyphs) == len({kind_word(kind) for kind in kinds}), "each word has its own"
    assert UNKNOWN not in to_ascii("".join([*glyphs, MARKED, TAPPED, "▾▸✗…"]))
