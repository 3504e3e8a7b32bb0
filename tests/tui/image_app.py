"""An app with the table of images alone, and a run of 10,000 images x 16 layers for it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot

from psi_core.runs.loading import LayerInfo
from psi_core.runs.run import Run
from psi_tui.plots.themes import THEMES
from psi_tui.screens.results.images.index import ImageIndex
from psi_tui.screens.results.images.table import ImageTable
from tests import recorded
from tests.recorded import record_run

SIXTEEN = tuple(
    LayerInfo(f"conv{number}", f"features.{number}", "ReLU", (4, 6, 6), 144, 4, 40, 1440) for number in range(1, 17)
)


def sixteen_layers(folder: Path) -> Run:
    """10,000 images x 16 layers, the first 30 images silent in conv3."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded, "LAYERS", SIXTEEN)
        return Run(record_run(folder, images=10_000, chunk=500, silent=30))


class Shown(App[None]):
    """An app with the table alone; keeps its messages."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []

    def compose(self) -> ComposeResult:
        yield ImageTable()

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = "psi-dark"
        self.table.focus()

    @property
    def table(self) -> ImageTable:
        return self.query_one(ImageTable)

    @property
    def lines(self) -> list[str]:
        return [strip.text for strip in self.screen._compositor.render_strips()]

    def on_line_table_highlighted(self, message: ImageTable.Highlighted[int]) -> None:
        self.told.append(message)

    on_line_table_selected = on_image_table_sorted = on_line_table_highlighted

    def images(self, kind: type[Message]) -> list[int]:
        return [message.key for message in self.told if isinstance(message, kind)]


def showing(
    index: ImageIndex | None, act: Callable[[Shown, Pilot[None]], Awaitable[None]], size: tuple[int, int] = (80, 24)
) -> None:
    """Runs an app that shows the images, and acts in it."""

    async def go() -> None:
        app = Shown()
        async with app.run_test(size=size) as pilot:
            app.table.show(index)
            await pilot.pause()
            await act(app, pilot)

    asyncio.run(go())
