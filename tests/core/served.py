"""A real `python -m psi_core serve`, spoken to line by line, and a question that it never finishes."""

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from psi_core.files import cache_directory
from psi_core.runs.processes import server_environment
from psi_core.runs.run import Run
from psi_core.tables.registry import cached_rows
from tests.recorded import record_run


class Served:
    """The process and its pipes; use it as a context."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "psi_core", "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **server_environment()},
        )

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                stream.close()

    def send(self, *lines: str) -> None:
        """Writes lines as they are."""
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    def receive(self) -> str:
        """The next line as it is."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """The reply to one question."""
        self.send(json.dumps({"id": 1, "do": do, **fields}))
        reply: dict[str, Any] = json.loads(self.receive())
        assert reply.pop("id") == 1
        return reply

    @property
    def has_torch(self) -> bool:
        """Whether torch is loaded into it."""
        return "libtorch" in Path(f"/proc/{self.process.pid}/maps").read_text(encoding="utf-8")


def endless_run(folder: Path) -> str:
    """A run whose kept conditions never come: whoever asks for that table waits for ever."""
    record_run(folder.parent / "made").rename(folder)
    before = set(cache_directory().rglob("*.json"))
    cached_rows(Run(folder), "conditions")
    for path in {*cache_directory().rglob("*.json")} - before:
        path.unlink()
        os.mkfifo(path)
    return str(folder)


def is_waiting() -> bool:
    """Whether somebody waits for an answer of an endless run. It then waits as long as this process lives."""
    try:
        for path in cache_directory().rglob("*.json"):
            if path.is_fifo():
                os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # Refused where nobody reads; never closed.
                return True
    except OSError as error:
        assert error.errno == errno.ENXIO
    return False
