"""Fixtures of the command line's tests: calling it, and an engine that does what a test wants."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from psi_tui import child
from psi_tui.cli import main

ROOT = Path(__file__).parents[2]


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
        def start(arguments: list[str], *, environment: dict[str, str]) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", script, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
                cwd=ROOT,
                env={**os.environ, **environment},
            )
            running.append(process)
            return process

        monkeypatch.setattr(child, "start_child", start)

    yield install
    for process in running:
        process.kill()
        process.wait()
