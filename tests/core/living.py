"""Real processes that tell who they are, as a worker does, and then wait for their standard input to close."""

import json
import os
import subprocess
import sys
from typing import Any

_WAITS = """
import json, pathlib, sys
from psi_core.runs.processes import own_identity
pathlib.Path("/proc/self/comm").write_text(sys.argv[1])
print(json.dumps(own_identity()), flush=True)
sys.stdin.read()
"""


class Worker:
    """A process that lives until it is ended.

    Attributes:
        identity: what its `started` event would say.
    """

    def __init__(self, command: str = "worker") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WAITS, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.identity: dict[str, Any] = json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """Lets it exit and leaves it a zombie, which nobody has waited for."""
        self._process.kill()
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)

    def bury(self) -> None:
        """Ends it and waits for it: its process id is free again."""
        self._process.kill()
        self._process.communicate()
