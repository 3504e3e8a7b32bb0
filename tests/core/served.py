"""A real `python -m psi_core serve`, spoken to line by line, and a question that it never finishes."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from psi_core.runs.processes import server_environment


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
    """A run whose configuration never comes: whoever reads it waits for ever."""
    folder.mkdir(parents=True)
    os.mkfifo(folder / "config.json")
    return str(folder)
