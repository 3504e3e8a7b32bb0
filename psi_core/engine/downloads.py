"""Downloads that give up: without a network a command must say so, not hang."""

import contextlib
import socket
from collections.abc import Iterator

_SECONDS = 20.0


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Within the block, a connection that stays silent for 20 seconds is an OSError."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
