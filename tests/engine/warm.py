"""Engines that need not load torch: forks of one process that has loaded it, else as `python -m psi_core` starts them.

Each is a process of its own, with its own pid, variables, folder and standard streams: what a signal or a kill does to
it is what it does to any. How a cold one begins is held by those tests that start one by its command.
"""

import array
import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_STREAMS = 3


class WarmProcess:
    """One fork; what it has of a `subprocess.Popen` does the same. A dead one is a zombie until it is waited for."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it lives."""
        if self.returncode is None:
            self.returncode = _asked({"wait": self.pid})
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """The exit code, as soon as there is one."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("psi_core", timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it was waited for."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)


def start_warm(
    arguments: Sequence[str],
    *,
    environment: dict[str, str] | None = None,
    streams: tuple[int | IO[str], ...] = (0, 1, 2),
) -> WarmProcess:
    """`python -m psi_core ARGUMENTS`, with torch loaded already.

    Args:
        arguments: what follows `python -m psi_core`.
        environment: all of its variables; None for ours as they are now.
        streams: standard input, output and error, as files or descriptors.
    """
    variables = dict(os.environ) if environment is None else environment
    descriptors = [stream if isinstance(stream, int) else stream.fileno() for stream in streams]
    question = {"arguments": list(arguments), "environment": variables, "folder": str(Path.cwd())}
    return WarmProcess(_asked(question, descriptors))


_parent: tuple[int, socket.socket] | None = None
"""Whose parent waits at the other end, and the line to it."""


def _asked(question: dict[str, object], descriptors: Sequence[int] = ()) -> int | None:
    line = json.dumps(question).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    _line().sendmsg([line], rights)
    return json.loads(_line().recv(100))


def _line() -> socket.socket:
    global _parent  # noqa: PLW0603 - One for the whole session, started by the first who needs it.
    if _parent is None or _parent[0] != os.getpid():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = Path(__file__).parents[2]
        command = [sys.executable, "-m", "tests.engine.warm", str(theirs.fileno())]
        process = subprocess.Popen(command, cwd=root, pass_fds=[theirs.fileno()])
        theirs.close()
        _parent = (os.getpid(), ours)
        atexit.register(_close, process, ours)
    return _parent[1]


def _close(process: subprocess.Popen[bytes], line: socket.socket) -> None:
    line.close()
    process.wait()


def _serve(line: socket.socket) -> list[str] | None:
    """Forks as often as it is asked. In a fork it gives the arguments, in the parent None once nobody can ask."""
    while True:
        text, rights, _, _ = line.recvmsg(1 << 20, socket.CMSG_SPACE(_STREAMS * array.array("i").itemsize))
        if not text:
            return None
        question = json.loads(text)
        if "wait" in question:
            pid, status = os.waitpid(question["wait"], os.WNOHANG)
            line.send(json.dumps(os.waitstatus_to_exitcode(status) if pid else None).encode())
            continue
        descriptors = array.array("i", rights[0][2])
        pid = os.fork()
        if not pid:
            line.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
            os.closerange(_STREAMS, 256)
            os.environ.clear()
            os.environ.update(question["environment"])
            os.chdir(question["folder"])
            return question["arguments"]
        for descriptor in descriptors:
            os.close(descriptor)
        line.send(json.dumps(pid).encode())


if __name__ == "__main__":
    import psi_core.engine.commands
    import psi_core.engine.work.worker  # noqa: F401
    from psi_core.__main__ import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(ConnectionError):
        if (arguments := _serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
            sys.argv = ["psi_core", *arguments]
            sys.exit(main(arguments))
