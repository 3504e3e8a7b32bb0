"""Whose code may run: a run names a model, and where that is somebody's file or module, opening it is running it.

Each run that was made here has a line in the user's state folder, and so has one that the user trusted by a word. A
line holds the run's fingerprint: whoever changes the configuration loses the trust.
"""

import contextlib
import os

from psi_core.config import is_factory
from psi_core.errors import ModelError, RunError
from psi_core.files import state_directory
from psi_core.runs.chunks import CHUNKS
from psi_core.runs.run import Run

_NAME = "trusted-runs.txt"


def trust(run: Run) -> None:
    """Lets the code that a run names be run from now on.

    Raises:
        RunError: this cannot be recorded.
    """
    line = f"{run.fingerprint} {run.id}\n"
    path = state_directory() / _NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write to a file opened to append: lines of several processes never mix.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunError(f"trust: {path} cannot be written to ({error.strerror}); free it, and ask again") from None


def record_own(run: Run) -> None:
    """Trusts a run that was just made here; where that cannot be recorded, the user is asked for a word later."""
    with contextlib.suppress(RunError):
        trust(run)


def require_no_links(run: Run) -> None:
    """Refuses to write into a run directory in which something is a link: it could lead to any file of the user's.

    Raises:
        RunError: there is one; the sentence names it.
    """
    for path in (*run.directory.iterdir(), *(run.directory / CHUNKS).glob("*")):
        if path.is_symlink():
            raise RunError(f"{path}: is a link, and a run writes through none; put in its place what it points to")


def require_trusted(run: Run) -> None:
    """Refuses a run that names somebody's code, unless it was made here or is trusted.

    Raises:
        ModelError: its code was not run; the sentence names it.
    """
    model = run.config.model
    if not is_factory(model) or _is_trusted(run):
        return
    place = model.rpartition(":")[0] or model
    raise ModelError(
        f"model: {run.name} was not made here, and its model is code, {place}, which was not run; read it, and if you "
        f"trust it write --trust, as in psi-tui resume {run.id} --trust or psi-tui export {run.id} --images --trust"
    )


def _is_trusted(run: Run) -> bool:
    try:
        with (state_directory() / _NAME).open("rb") as file:
            return any(line.startswith(run.fingerprint.encode()) for line in file)
    except OSError:
        return False
