"""A real terminal for tests: `psi-tui` in a pseudo-terminal of its own, its bytes counted and drawn by an emulator."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pyte

ROOT = Path(__file__).parents[2]
STARTING_SECONDS = 30.0


class Terminal:
    """One program in one terminal, which is hung up at the end of the block.

    Args:
        command: what to run; default `psi-tui`.
        size: columns and lines.
        environment: variables added to ours.

    Attributes:
        bytes_read: everything that the program wrote so far, counted.
        process: the program.
    """

    def __init__(
        self,
        command: list[str] | None = None,
        size: tuple[int, int] = (80, 24),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.master, slave = pty.openpty()
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)
        self.bytes_read = 0
        self.raw = bytearray()
        self._set_size(*size)
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *(command or psi_tui())],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "", **(environment or {})},
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def text(self) -> str:
        """The screen as plain text."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def send(self, *keys: str) -> None:
        """Types keys, one after the other."""
        for key in keys:
            os.write(self.master, key.encode())

    def pump(self, seconds: float = 0.05) -> int:
        """Draws what comes within a time; gives how many bytes came."""
        before, deadline = self.bytes_read, time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._read(left) < 0:
                break
        return self.bytes_read - before

    def wait_for_quiet(self, seconds: float = 1, patience: float = 60) -> str:
        """Draws until nothing has come for so many seconds, and gives the text; fails where there is no end to it."""
        deadline = time.monotonic() + patience
        while self.pump(seconds):
            assert time.monotonic() < deadline, f"something comes all the time; the screen shows:\n{self.text}"
        return self.text

    def wait_for(self, holds: Callable[[str], bool] | str, seconds: float = 60) -> str:
        """Draws until the screen's text holds something, and gives it; fails after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.text
            if (holds in text) if isinstance(holds, str) else holds(text):
                return text
            assert time.monotonic() < deadline, f"waited in vain for {holds!r}; the screen shows:\n{text}"
            assert self._read(0.05) >= 0 or self.process.poll() is None, f"the program is gone:\n{text}"

    def first_output(self) -> float:
        """Seconds from the start of the program until it draws its first text."""
        self.wait_for(lambda text: bool(text.strip()), STARTING_SECONDS)
        return time.monotonic() - self.started

    def resize(self, columns: int, lines: int) -> None:
        """Another size, as a terminal tells it."""
        self.screen.resize(lines, columns)
        self._set_size(columns, lines)
        os.killpg(self.process.pid, signal.SIGWINCH)

    def hang_up(self) -> None:
        """Closes the terminal, as a dropped SSH line does."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self, seconds: float) -> int:
        """Bytes that came, 0 for none in time, -1 where the other end is closed."""
        ready, _, _ = select.select([self.master], [], [], max(0.0, seconds))
        if not ready:
            return 0
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return -1
        if not data:
            return -1
        self.bytes_read += len(data)
        self.raw += data
        self.stream.feed(self.heard(data))
        return len(data)

    def heard(self, data: bytes) -> bytes:
        """What the emulator is to draw of what came."""
        return data


def psi_tui(*arguments: str) -> list[str]:
    """The command as a user has it."""
    return [str(Path(sys.executable).with_name("psi-tui")), *arguments]
