"""`analyze`: a whole run from Python, the same as the command's."""

import os

from psi_core.config import RunConfig
from psi_core.engine.preparation import Prepared, prepare
from psi_core.engine.work.worker import Worker
from psi_core.errors import ConfigError
from psi_core.files import runs_directory
from psi_core.runs.creation import create_run, require_writable
from psi_core.runs.run import Run


def analyze(config: RunConfig, runs_dir: str | os.PathLike[str] | None = None) -> Run:
    """Does a run in this process and gives it, finished.

    Args:
        config: what to do; its `devices` is for the command, one worker works here.
        runs_dir: the folder of run directories; default $PSI_RUNS_DIR, else the user's data folder.

    Raises:
        ConfigError, ModelError, DataError: refused before any work; nothing was written.
        RunError: it failed on the way; its directory stays and can be resumed.
    """
    if not isinstance(config, RunConfig):
        raise ConfigError(
            f"config: {config!r} is no RunConfig; give RunConfig(...) of its values, or RunConfig.from_toml(PATH)"
        )
    prepared, run = begin(config, runs_dir)
    Worker(run.directory, prepared=prepared).work()
    return Run(run.directory)


def begin(config: RunConfig, runs_dir: str | os.PathLike[str] | None = None) -> tuple[Prepared, Run]:
    """Checks a run and makes its directory, with no image computed yet."""
    folder = runs_directory(runs_dir)
    prepared = prepare(config)
    require_writable(folder, prepared.disk_bytes())
    return prepared, Run(create_run(folder, prepared.config, prepared.layers, prepared.positions))
