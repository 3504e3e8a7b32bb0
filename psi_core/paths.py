"""Where things lie: run directories, caches and the data inside the package."""

import os
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
