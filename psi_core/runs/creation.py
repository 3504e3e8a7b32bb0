"""Making and deleting run directories: each appears whole by one rename, and leaves the list by one."""

import contextlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi_core.config import ResolvedConfig
from psi_core.errors import ConfigError, RunError
from psi_core.files import flush_to_disk, temporary_beside
from psi_core.runs.chunks import CHUNKS
from psi_core.runs.loading import DIGESTS, FORMAT, POSITIONS, LayerInfo, load_object
from psi_core.runs.run import Run
from psi_core.runs.trust import trust


def require_writable(folder: Path, needed_bytes: int) -> None:
    """Refuses a folder that cannot hold a run. Nothing is made: the run itself may still be refused.

    Raises:
        ConfigError: the folder cannot be made or written to, or has less than `needed_bytes` free.
    """
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        raise ConfigError(
            f"runs-dir: {folder} cannot be written to ({error.strerror}); name another with --runs-dir or PSI_RUNS_DIR"
        ) from None
    if free < needed_bytes:
        raise ConfigError(
            f"runs-dir: {folder} has {free / 1e6:.0f} MB free and this run needs about {needed_bytes / 1e6:.0f} MB; "
            "free some, or name another folder with --runs-dir"
        )


def create_run(
    folder: Path, config: ResolvedConfig, layers: Sequence[LayerInfo], positions: NDArray[np.int64] | None = None
) -> Path:
    """Makes the directory of a run and gives its path.

    It is filled under a temporary name and then renamed, so that no reader sees a run without its configuration.

    Args:
        folder: folder of runs; made where it is missing.
        config: what the run computes.
        layers: its tapped layers.
        positions: positions of its images in the data set, ascending; None for the first ones.
    """
    now = datetime.now().astimezone()
    identity = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    temporary = folder / f".{identity}.tmp"
    config_values = {
        "format": FORMAT,
        "id": identity,
        "created": now.isoformat(),
        DIGESTS: "sha256",
        **config.model_dump(mode="json"),
        "conditions": [condition.name for condition in config.conditions],
    }
    try:
        (temporary / CHUNKS).mkdir(parents=True)
        write_json(temporary / "config.json", config_values)
        write_json(temporary / "layers.json", [asdict(layer) for layer in layers])
        if positions is not None and positions[-1] >= len(positions):
            np.save(temporary / POSITIONS, positions)
        directory = temporary.rename(folder / identity)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    trust(Run(directory))
    return directory


def write_json(path: Path, values: Any) -> None:
    """Writes JSON so that a reader sees either all of it or none."""
    with _temporary_json(path, values) as temporary:
        temporary.replace(path)


def record_model(run_directory: Path, card: Mapping[str, Any]) -> None:
    """Writes `model.json`, or compares it with the weights and images that the run began with.

    Raises:
        RunError: the run began with others.
    """
    path = run_directory / "model.json"
    if not path.exists():
        with _temporary_json(path, card) as temporary:
            try:
                os.link(temporary, path)  # Fails where another worker was first: nobody overwrites the run's weights.
            except FileExistsError:
                pass
            except OSError:
                temporary.replace(path)  # A file system without hard links.
    recorded = load_object(path)
    if "sha256" not in recorded:
        raise RunError(f"{path}: lacks 'sha256'; the run directory is damaged")
    if recorded["sha256"] != card["sha256"]:
        raise RunError(
            f"weights: {card['source']} has SHA-256 {card['sha256'][:12]}, "
            f"but the run began with {recorded['sha256'][:12]}; put the old weights back, or start a new run"
        )
    for key, what in (("data_sha256", "data"), ("attacked_sha256", "attacked")):
        if recorded.get(key) not in (None, card.get(key)):
            raise RunError(
                f"{what}: the images are others than those that the run began with, so that positions would not fit; "
                "put the old ones back, or start a new run"
            )


@contextlib.contextmanager
def _temporary_json(path: Path, values: Any) -> Iterator[Path]:
    """A file of JSON under a temporary name beside `path`, removed after the block unless it was renamed."""
    temporary = temporary_beside(path)
    try:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        flush_to_disk(temporary)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
