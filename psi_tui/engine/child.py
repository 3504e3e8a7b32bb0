"""Talks to the engine's child processes: JSON on their standard input, JSON lines back. The only door to torch."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from psi_core.errors import ConfigError, DataError, ModelError, PsiError, RunError
from psi_core.runs.processes import start_child, worker_environment

_KINDS: dict[str, type[PsiError]] = {kind.__name__: kind for kind in (ConfigError, DataError, ModelError, RunError)}

_TAIL_BYTES = 4096
"""How much of a child's standard error is looked through for its last words."""


class EngineError(RunError):
    """The engine was asked for something that it should manage, and failed at it."""


class Child:
    """One child process, asked one question.

    Args:
        arguments: what follows `python -m psi_core`.
        question: JSON for its standard input, or None.
        workers: how many it will start, itself the first.
        errors: file for its standard error, which its last words are then quoted from; default: ours.

    Attributes:
        process: the process itself, in a session of its own.
    """

    def __init__(
        self, arguments: Sequence[str], question: Any = None, *, workers: int = 1, errors: IO[bytes] | None = None
    ) -> None:
        self._errors = errors
        self.process = start_child(arguments, environment=worker_environment(workers, question), errors=errors)
        assert self.process.stdin is not None, "start_child pipes standard input"
        try:
            with self.process.stdin as stdin:
                if question is not None:
                    json.dump(question, stdin)
        except BrokenPipeError:
            pass  # It died before it read; its answer, or the lack of one, says more.

    def answers(self) -> Iterator[Any]:
        """Every JSON line it writes, until it closes its standard output.

        Raises:
            PsiError: of the kind that the child reports.
            EngineError: what it writes is no JSON.
        """
        assert self.process.stdout is not None, "start_child pipes standard output"
        for line in self.process.stdout:
            yield checked(read_line(line))

    def answer(self) -> Any:
        """Its next JSON line.

        Raises:
            PsiError: of the kind that the child reports.
            EngineError: it ended without a line.
        """
        for answer in self.answers():
            return answer
        raise ended_without_answer(self.process.wait(), self._errors)


def read_line(line: str) -> Any:
    """What a line of a child says.

    Raises:
        EngineError: it is no JSON.
    """
    try:
        return json.loads(line)
    except ValueError:
        raise EngineError(f"engine: answered {line.strip()[:80]!r}; run psi-tui doctor") from None


def checked(answer: Any) -> Any:
    """The answer of a child, unless it is an error.

    Raises:
        PsiError: of the kind that the child reports.
    """
    if isinstance(answer, dict) and "error" in answer:
        raise _KINDS.get(str(answer.get("kind")), EngineError)(answer["error"])
    return answer


def anonymous_file() -> IO[bytes]:
    """A file without a name for a child's standard error, in memory where the system can: then no disk is too full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("psi-tui"), "w+b")
    return tempfile.TemporaryFile()


def ended_without_answer(status: int, errors: IO[bytes] | None) -> EngineError:
    """The error for a child that is gone.

    Args:
        status: it ended with; the negative number of a signal that ended it.
        errors: the file with its standard error, or None where that was ours.
    """
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    words = "its message stands above" if errors is None else f"its last words: {_last_line(errors) or 'none'}"
    return EngineError(f"engine: {how} and no answer; {words}; psi-tui doctor may tell more")


def _last_line(file: IO[bytes]) -> str:
    # pread: the place in the file is the child's too.
    start = max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES)
    lines = os.pread(file.fileno(), _TAIL_BYTES, start).decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def ask(arguments: Sequence[str], question: Any = None) -> Any:
    """The one answer of a child that is asked one thing; Ctrl-C ends it with us.

    Raises:
        PsiError: of the kind that the child reports.
    """
    child = Child(arguments, question)
    with listening(child):
        answer = child.answer()
    child.process.wait()
    return answer


@contextmanager
def listening(child: Child) -> Iterator[None]:
    """Listens to a child within the block, and lets it work on by itself afterwards.

    An exception ends the child too: Ctrl-C does not reach its session.
    """
    assert child.process.stdout is not None, "start_child pipes standard output"
    try:
        with child.process.stdout:
            yield
    except BaseException:
        child.process.terminate()
        try:
            child.process.wait(5)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        raise


@contextmanager
def on_interrupt(act: Callable[[int], None]) -> Iterator[None]:
    """Within the block, calls `act` with 1 at the first Ctrl-C, 2 at the second, and so on, instead of ending us."""
    presses = 0

    def press(*_: object) -> None:
        nonlocal presses
        presses += 1
        act(presses)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
