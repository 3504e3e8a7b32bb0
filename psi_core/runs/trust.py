"""Whose code may run: a run names a model, and where that is somebody's file or module, opening it is running it.

Each run that was made here has a line in the user's state folder, and so has one that the user trusted by a word. A
line holds the run's fingerprint: whoever changes the configuration loses the trust. Where that folder cannot be written
to, the fingerprint stands in the environment, for this process and those that it starts.
"""

import os
import re
import shutil
import stat
import time
from pathlib import Path

from psi_core.config import is_factory
from psi_core.errors import ModelError, RunError
from psi_core.files import replacing, state_directory
from psi_core.runs.chunks import CHUNKS
from psi_core.runs.locks import hold
from psi_core.runs.run import Run

_LOCK_SECONDS = 10.0
"""How long another process may write its line."""

_APPENDED = re.compile(r"events-[0-9]+\.jsonl|engine-[0-9]+\.log")
"""Files of a run directory that grow where they are; all others are replaced whole."""

_VARIABLE = "PSI_TRUSTED"
"""Environment variable of fingerprints that could not be recorded, separated by blanks."""


def trusted_file() -> Path:
    """The file of the runs that may run code; it may not have been made yet."""
    return state_directory() / "trusted-runs.txt"


def trust(run: Run) -> str:
    """Lets the code that a run names be run from now on.

    Returns:
        Why that holds only for this process and those that it starts, in one sentence; empty where it was recorded.
    """
    if _is_trusted(run):
        return ""
    line = f"{run.fingerprint} {run.id}\n"
    path = trusted_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        patience = time.monotonic() + _LOCK_SECONDS
        # On a network disk, what two machines append at once may lie in one place.
        with hold(path.with_suffix(".lock"), lambda: time.monotonic() > patience):
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
    except OSError as error:
        os.environ[_VARIABLE] = f"{os.environ.get(_VARIABLE, '')} {run.fingerprint}".strip()
        return f"trust: {path} cannot be written to ({error.strerror}), so that it holds for this command alone"
    return ""


def require_no_links(run: Run) -> None:
    """Refuses to write into a run directory in which something is a link: it could lead to any file of the user's.

    Nor does a worker write to a pipe or a device. What it appends to and another directory has too, as backups by hard
    links have it, becomes the run's alone first: the other one stays as it is.

    Raises:
        RunError: there is one; the sentence names it.
    """
    for path in (*run.directory.iterdir(), *(run.directory / CHUNKS).glob("*")):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise RunError(f"{path}: is a link, and a run writes through none; put in its place what it points to")
        if path == run.directory / CHUNKS and not stat.S_ISDIR(found.st_mode):
            raise RunError(f"{path}: is no folder, and the run's results go there; move it away")
        if _APPENDED.fullmatch(path.name):
            if not stat.S_ISREG(found.st_mode):
                raise RunError(f"{path}: is no plain file, and the run writes there; move it away")
            if found.st_nlink > 1:
                with replacing(path) as own:
                    shutil.copy2(path, own)


def require_trusted(run: Run) -> None:
    """Refuses a run that names somebody's code, unless it was made here or is trusted.

    Raises:
        ModelError: its code was not run; the sentence names it.
    """
    if not needs_trust(run):
        return
    model = run.config.model
    place = model.rpartition(":")[0] or model
    raise ModelError(
        f"model: {run.name} was not made here, and its model is code, {place}, which was not run; read it, and if you "
        f"trust it write --trust, as in psi-tui resume {run.id} --trust or psi-tui export {run.id} --images --trust; "
        "psi-tui open and python -m psi_core work take it too"
    )


def needs_trust(run: Run) -> bool:
    """Whether a run names somebody's code and was neither made here nor is trusted."""
    return is_factory(run.config.model) and not _is_trusted(run)


def _is_trusted(run: Run) -> bool:
    if run.fingerprint in os.environ.get(_VARIABLE, "").split():
        return True
    try:
        with trusted_file().open("rb") as file:
            return any(line.startswith(run.fingerprint.encode()) for line in file)
    except OSError:
        return False
