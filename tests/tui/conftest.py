"""Fixtures of the command line's tests: calling it, and an engine that does what a test wants."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from textual import _wait
from textual.app import ScreenStackError
from textual.css import stylesheet
from textual.css.model import RuleSet
from textual.css.query import DOMQuery
from textual.dom import DOMNode
from textual.message_pump import MessagePump
from textual.pilot import Pilot, WaitForScreenTimeout

from psi_core.files import cache_directory, examples_directory
from psi_core.runs.run import Run
from psi_core.tables.cache import CACHE
from psi_core.tables.registry import cached_rows
from psi_core.tables.summary import run_summary
from psi_tui.cli import main
from psi_tui.engine import client
from tests.tui.warm_engine import warm_client, warm_engine

__all__ = ["warm_client", "warm_engine"]

ROOT = Path(__file__).parents[2]

# Textual looks for so long whether an app has come to rest, twice for each key: 0.02 s unless told.
_wait.SLEEP_GRANULARITY = 0.01


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    """Style sheets, Textual's and ours, are parsed once for all apps: that is a third of an app's start."""
    parse, parsed = stylesheet.parse, {}

    def recall(scope, css, read_from, variable_tokens, **options):
        colors = tuple((name, *(token.value for token in tokens)) for name, tokens in variable_tokens.items())
        key = (scope, css, read_from, colors, *options.values())
        if key not in parsed:
            parsed[key] = list(parse(scope, css, read_from, variable_tokens=variable_tokens, **options))
        return parsed[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stylesheet, "parse", recall)
        patch.setattr(RuleSet, "__hash__", object.__hash__)  # The same, without a call in Python for each.
        yield


def is_at_rest(pump: MessagePump) -> bool:
    """Whether a widget has done all that it was told, and waits for more."""
    queue = pump._message_queue
    return queue.empty() and bool(queue.ready_event._waiters)


async def until_at_rest(pilot: Pilot[None], timeout: float = 30.0) -> bool:
    """Waits as a pilot does, but for those widgets alone that have something to do.

    Textual's asks every widget with every key whether it is through; their answers are a quarter of a key's price.
    """
    deadline = time.monotonic() + timeout
    calm = 0
    for _ in range(8):  # What one was told may be news for another.
        try:
            nodes = (pilot.app, *pilot.app.screen.walk_children(with_self=True))
        except ScreenStackError:
            return False
        through = []
        for node in nodes:
            event = asyncio.Event()
            if not is_at_rest(node) and node.call_later(event.set):
                through.append(event)
        for event in through:
            while not event.is_set():
                if pilot.app._exception_event.is_set():
                    return False
                if time.monotonic() > deadline:
                    raise WaitForScreenTimeout(f"a widget is busy for {timeout} seconds")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), 0.1)
        calm = 0 if through else calm + 1
        if calm == 3:
            break
        await asyncio.sleep(0)
    return True


@pytest.fixture(scope="session", autouse=True)
def asked_while_busy() -> Iterator[None]:
    """Pilots leave widgets that wait for a message alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pilot, "_wait_for_screen", until_at_rest)
        yield


@pytest.fixture(scope="session", autouse=True)
def screens_are_read_by_their_own_thread() -> Iterator[None]:
    """A thread that works for a widget finds no other one: by then its screen may be gone, and the app dies of that."""

    def guarded(read: Callable[..., object]) -> Callable[..., object]:
        def by_its_own_thread(*arguments: object, **options: object) -> object:
            assert threading.current_thread() is threading.main_thread(), "a screen is read by another thread"
            return read(*arguments, **options)

        return by_its_own_thread

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DOMQuery, "__init__", guarded(DOMQuery.__init__))
        for name in ("query_one", "query_exactly_one"):
            patch.setattr(DOMNode, name, guarded(getattr(DOMNode, name)))
        patch.setattr(DOMNode, "screen", property(guarded(DOMNode.screen.fget)))
        yield


@pytest.fixture(scope="session")
def examples_statistics(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files that readers of the examples keep in the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("examples-cache")))
        for directory in sorted(examples_directory().iterdir()):
            run_summary(Run(directory))
            cached_rows(Run(directory), "layers")
        folder = cache_directory() / CACHE.folder
        return sorted(folder.iterdir())


@pytest.fixture(autouse=True)
def examples_were_read_before(own_folders: Path, examples_statistics: list[Path]) -> None:
    """As for a user from the second start on: reading them anew takes longer than many a test of the app."""
    folder = cache_directory() / CACHE.folder
    folder.mkdir(parents=True)
    for file in examples_statistics:
        shutil.copy(file, folder)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command gave back."""

    code: int
    out: str
    err: str


@pytest.fixture
def psi(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Calls `psi-tui` in this process, 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a script in the engine's place: a real process that gets the same arguments and the same standard input."""
    running: list[subprocess.Popen[str]] = []

    def install(script: str) -> None:
        def start(
            arguments: list[str], *, environment: dict[str, str] | None = None, errors: IO[bytes] | None = None
        ) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", script, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
            )
            running.append(process)
            return process

        monkeypatch.setattr(client, "start_child", start)

    yield install
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app finds neither a GPU nor a tmux around it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for name in ("TMUX", "NO_COLOR", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
