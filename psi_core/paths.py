"""Where things lie: run directories, caches and the data inside the package."""

import os
import secrets
from pathlib import Path

import platformdirs

_APPLICATION = "psi-tui"

PACKAGE_DATA = Path(__file__).parent / "data"
"""Files shipped with the package: MNIST, LeNet-5's weights, example runs."""


def runs_directory(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the run directories: `given`, else $PSI_RUNS_DIR, else the user's data folder."""
    chosen = given or os.environ.get("PSI_RUNS_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_data_dir(_APPLICATION, appauthor=False)) / "runs"


def cache_directory() -> Path:
    """The user's cache folder: fitted weights and the readers' statistics."""
    return Path(platformdirs.user_cache_dir(_APPLICATION, appauthor=False))


def checkpoints_directory() -> Path:
    """Where fitted weights lie with their cards."""
    return cache_directory() / "checkpoints"


def examples_directory() -> Path:
    """Example runs shipped read-only with the package."""
    return PACKAGE_DATA / "examples"


def is_example(run_directory: Path) -> bool:
    """Whether a run directory, however its path is written, ships with the package."""
    return run_directory.resolve().parent == examples_directory().resolve()


def temporary_beside(path: Path) -> Path:
    """A name beside `path` to write to before renaming; it ends in `.tmp` and is nobody else's.

    The process id tells whose it was; the random part sets apart workers in containers, whose process ids are alike.
    """
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")
