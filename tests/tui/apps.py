"""The app under test: over recorded runs, with a frozen clock, until everything that was asked for has arrived."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot

from psi_tui.app.app import PsiApp

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NARROW, WIDE = (80, 24), (140, 40)


class HeardApp(PsiApp):
    """The app, with everything that it said kept: its messages leave the screen after some seconds."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.heard: list[str] = []

    def notify(self, message: str, **options: Any) -> None:
        self.heard.append(message)
        super().notify(message, **options)


@asynccontextmanager
async def running(
    runs_dir: Path, size: tuple[int, int] = NARROW, *, open_directory: Path | None = None, ascii_only: bool = False
) -> AsyncIterator[tuple[HeardApp, Pilot[None]]]:
    """The app, its list of runs read and its first screen drawn."""
    app = HeardApp(runs_dir, open_directory=open_directory, ascii_only=ascii_only, clock=lambda: NOW)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.entries is not None, "the list of runs")
        if open_directory is not None:
            await until(pilot, lambda: app.snapshot is not None, "the open run")
        await settled(pilot)
        yield app, pilot


async def until(pilot: Pilot[None], holds: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Returns as soon as `holds`, and fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}; the screen shows:\n{text_of(pilot.app)}"
        await pilot.pause(0.02)


async def settled(pilot: Pilot[None]) -> None:
    """Returns once no thread works for a screen and everything is drawn."""
    calm = 0
    while calm < 2:  # What has just arrived may ask for more.
        await pilot.pause(0.01)
        calm = 0 if any(not worker.is_finished for worker in pilot.app.workers) else calm + 1


async def still(pilot: Pilot[None], seconds: float = 0.02) -> None:
    """Returns once the screen looks the same after so many seconds: what was drawn last may still be on its way."""
    before, now = "", None
    while now != before:
        await pilot.pause(seconds)
        await settled(pilot)
        before, now = now or "", pilot.app.export_screenshot()


def text_of(app: App[Any]) -> str:
    """What the screen shows, as plain text."""
    height = app.size.height
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in lines[:height])


async def answered(pilot: Pilot[None]) -> None:
    """Returns once every key that was sent is answered, or the app has ended."""
    app = pilot.app
    assert isinstance(app, PsiApp), "others have no queue of keys"
    await pilot.pause()
    await until(pilot, lambda: (not app._waiting and app._under_way is None) or not app.is_running, "the last key")


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Presses keys, and waits until what each asked for is there."""
    for key in keys:
        await pilot.press(key)
        await settled(pilot)
