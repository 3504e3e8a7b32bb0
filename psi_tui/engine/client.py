"""Asks the engine, a child process, as `psi_core.serve` says. The only door to torch.

`ask`, `stream` and `start` ask a child one thing; a `Client` asks a long-lived one many.
"""

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self, TypeAlias

from psi_core.errors import ConfigError, DataError, ModelError, PsiError, RunError
from psi_core.runs.events import Event, event_of
from psi_core.runs.processes import Patience, server_environment, start_child

Tell: TypeAlias = Callable[[Event], None]
"""Takes what a child tells before it answers."""

_ERRORS: dict[str, type[PsiError]] = {kind.__name__: kind for kind in (ConfigError, DataError, ModelError, RunError)}

_READ_BYTES = 2**16
_BURY_SECONDS = 5.0

_TAIL_BYTES = 4096
"""How much of a child's standard error is looked through for its last words."""


class EngineError(RunError):
    """The engine was asked for something that it should manage, and failed at it."""


class OutOfStepError(EngineError):
    """A child wrote what is no reply: whatever it writes next may belong to an earlier question."""


class NoAnswerError(EngineError):
    """A child is gone and did not answer.

    Args:
        status: exit status; negative, the number of the signal that ended it.
        errors: the file with its standard error, or None where that was ours.
    """

    def __init__(self, status: int, errors: IO[bytes] | None) -> None:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        words = "its message stands above" if errors is None else f"its last words: {_last_line(errors) or 'none'}"
        super().__init__(f"engine: {how} and no answer; {words}; psi-tui doctor may tell more")
        self.status = status


def ask(do: str, tell: Tell | None = None, **fields: Any) -> Any:
    """The answer of a child that is asked one thing; an exception, as of Ctrl-C, ends it too.

    Args:
        do: what is asked for.
        tell: receives every event that it reports before the answer.
        fields: what the answer takes.

    Raises:
        PsiError: of the kind that the child reports.
        NoAnswerError: it failed.
    """
    with _Child(do, None, fields) as child:
        answer = child.answer(tell)
    child.process.wait()
    return answer


def stream(do: str, tell: Tell, **fields: Any) -> Any | None:
    """As `ask`, but None where it was interrupted: the first Ctrl-C asks the child to leave, a second one makes it."""
    presses = 0

    def press(number: int) -> None:
        nonlocal presses
        presses = number
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM if number == 1 else signal.SIGKILL)

    child = _Child(do, None, fields)
    with child, on_interrupt(press):
        try:
            answer = child.answer(tell)
        except NoAnswerError:
            if not presses:
                raise
            answer = None
    child.process.wait()
    return answer


def start(do: str, errors: IO[bytes] | None = None, **fields: Any) -> tuple[Path, subprocess.Popen[str]]:
    """The directory of a run, and the child that now works on it, whatever becomes of us.

    The child is waited for while it or a child of its own computes, however long that takes.

    Args:
        do: `start` or `resume`.
        errors: file for the child's standard error until it works; default: ours.
        fields: what the answer takes.

    Raises:
        PsiError: as of `ask`.
        EngineError: the child did nothing for so long that it was given up.
    """
    with _Child(do, errors, fields) as child:
        try:
            return Path(child.patient_answer()["run"]), child.process
        except TimeoutError as hung:
            raise EngineError(
                f"engine: asked to {do} a run it gave no answer, and was ended, since {hung}; try again, and where "
                "that happens again, look at the disks that the model and its data lie on"
            ) from None


class _Child:
    """One child process, asked one question; a context that listens to it.

    Left in peace, the child works on by itself. An exception ends it: Ctrl-C does not reach its session.
    """

    def __init__(self, do: str, errors: IO[bytes] | None, fields: dict[str, Any]) -> None:
        self._errors = errors
        self.process = start_child(["answer"], errors=errors)
        with contextlib.suppress(BrokenPipeError):  # It died before it read; the lack of an answer says more.
            _send(self.process, 1, do, fields)
        with contextlib.suppress(BrokenPipeError):
            _stdin(self.process).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.process.terminate()
            try:
                self.process.wait(_BURY_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):  # One that a disk holds ends when it lets go.
                    self.process.wait(_BURY_SECONDS)
        _stdout(self.process).close()

    def answer(self, tell: Tell | None = None) -> Any:
        """Its answer; `tell` takes what it tells before."""
        return self._answer_in(_stdout(self.process), tell)

    def patient_answer(self) -> Any:
        """The same.

        Raises:
            TimeoutError: it does nothing; says for how long.
        """
        return self._answer_in(_Lines(self.process, lambda: False, longest_seconds=math.inf))

    def _answer_in(self, lines: Iterable[str], tell: Tell | None = None) -> Any:
        try:
            return _answer(lines, 1, tell)
        except EOFError:
            raise NoAnswerError(self.process.wait(), self._errors) from None


class Client:
    """Asks one long-lived child many questions; safe to use from several threads, which then wait for each other.

    The child is started when first needed and ends with us, however we end: its standard input then ends. One that died
    is replaced, and so is one that does not answer, or writes what is no reply.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._lines: _Lines | None = None
        self._errors: IO[bytes] | None = None
        self._asked = 0
        self._is_closed = False

    def ask(self, do: str, tell: Tell | None = None, **fields: Any) -> Any:
        """The answer to one question; waits for it, so never call it on the event loop.

        Args:
            do: what is asked for.
            tell: receives every event that it reports before the answer.
            fields: what the answer takes.

        Raises:
            PsiError: of the kind that the child reports.
            NoAnswerError: the child died over the question.
            EngineError: the child did not answer or wrote what is no reply, and was replaced; or the client is closed.
        """
        with self._lock:
            self._asked += 1
            process = self._living_child()
            try:
                _send(process, self._asked, do, fields)
            except BrokenPipeError:  # It died since its last answer: the question did not even reach it.
                self._bury()
                process = self._living_child()
                _send(process, self._asked, do, fields)
            try:
                assert self._lines is not None, "a living child has them"
                return _answer(self._lines, self._asked, tell)
            except EOFError:
                error = NoAnswerError(process.wait(), self._errors)
                self._bury()
                raise error from None
            except OutOfStepError:
                self._bury()
                raise
            except TimeoutError as hung:
                self._bury()
                raise EngineError(
                    f"engine: asked for {do} it gave no answer, and was replaced, since {hung}; ask again, and where "
                    "that happens again, look at the disks that the run and its data lie on"
                ) from None

    def close(self) -> None:
        """Ends the child, in the middle of an answer too: whoever waits for that gets an EngineError."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._bury()

    def _living_child(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is not None:
            self._bury()
        if self._process is None:
            self._errors = anonymous_file()
            self._process = start_child(["serve"], environment=server_environment(), errors=self._errors)
            self._lines = _Lines(self._process, lambda: self._is_closed)
        if self._is_closed:  # Asked after the child is there, so that `close` sees the child or we see `close`.
            self._bury()
            raise EngineError("engine: the app is closing; ask again when it is open")
        return self._process

    def _bury(self) -> None:
        process, self._process = self._process, None
        errors, self._errors = self._errors, None
        if process is not None:
            process.kill()
            for stream in (_stdin(process), _stdout(process)):
                with contextlib.suppress(OSError):  # What it can no longer be told is still in the buffer.
                    stream.close()
            with contextlib.suppress(subprocess.TimeoutExpired):  # One that a disk holds ends when that lets it go.
                process.wait(_BURY_SECONDS)
        if errors is not None:
            errors.close()


class _Lines:
    """The lines of a child as they come; each is waited for with patience.

    Args:
        process: the child; nobody else may read its standard output.
        is_over: whether nobody wants them any more.
        longest_seconds: how long it may compute for one line; LONGEST_SECONDS by default.
    """

    def __init__(
        self, process: "subprocess.Popen[str]", is_over: Callable[[], bool], longest_seconds: float | None = None
    ) -> None:
        self._process = process
        self._is_over = is_over
        self._longest_seconds = longest_seconds
        self._begun: list[bytes] = []
        self._whole: deque[bytes] = deque()

    def __iter__(self) -> Iterator[str]:
        """Lines until there are no more.

        Raises:
            TimeoutError: the child is waited for no longer; says why.
        """
        pipe = _stdout(self._process).fileno()
        ready = select.poll()
        ready.register(pipe, select.POLLIN)
        while True:
            patience = Patience(self._process.pid, self._longest_seconds)
            while not self._whole:
                if not ready.poll(1000 * patience.look_seconds):
                    reason = "the app is closing" if self._is_over() else patience.reason()
                    if reason:
                        raise TimeoutError(reason)
                    continue
                data = os.read(pipe, _READ_BYTES)
                if not data:
                    return
                first, *others = data.split(b"\n")
                self._begun.append(first)
                for other in others:
                    self._whole.append(b"".join(self._begun))
                    self._begun = [other]
            yield self._whole.popleft().decode("utf-8", errors="replace")


def _stdin(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdin is not None, "start_child pipes standard input"
    return process.stdin


def _stdout(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None, "start_child pipes standard output"
    return process.stdout


def _send(process: subprocess.Popen[str], identity: int, do: str, fields: dict[str, Any]) -> None:
    _stdin(process).write(json.dumps({"id": identity, "do": do, **fields}) + "\n")
    _stdin(process).flush()


def _answer(lines: Iterable[str], identity: int, tell: Tell | None = None) -> Any:
    """The answer to a question, from the lines of a child.

    Raises:
        PsiError: of the kind that the child reports.
        OutOfStepError: a line is none of the protocol.
        EOFError: there are no more lines.
    """
    for line in lines:
        reply = _parsed(line)
        if reply.get("id") not in (identity, None):
            continue  # To a question that was given up.
        if "answer" in reply:
            return reply["answer"]
        if "error" in reply:
            raise _ERRORS.get(str(reply.get("kind")), EngineError)(reply["error"])
        if tell is not None and "event" in reply:
            tell(event_of(reply))
    raise EOFError


def _parsed(line: str) -> dict[str, Any]:
    try:
        reply = json.loads(line)
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise OutOfStepError(f"engine: answered {line.strip()[:80]!r}; run psi-tui doctor")
    return reply


def anonymous_file() -> IO[bytes]:
    """A file without a name for a child's standard error, in memory where the system can: then no disk is too full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("psi-tui"), "w+b")
    return tempfile.TemporaryFile()


def _last_line(file: IO[bytes]) -> str:
    # pread: the place in the file is the child's too.
    start = max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES)
    lines = os.pread(file.fileno(), _TAIL_BYTES, start).decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


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
