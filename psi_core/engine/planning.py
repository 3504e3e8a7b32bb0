"""Plans: what a run would cost, before it is begun."""

import json
from pathlib import Path
from typing import Any

from psi_core.chunks import chunk_count
from psi_core.engine.preparation import Prepared
from psi_core.engine.treatments import forwards_per_image
from psi_core.errors import PsiError
from psi_core.run_index import list_runs
from psi_core.runs import Run
from psi_core.status import StatusReader


def plan_of(prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Images, conditions, layers, disk, and the time that the last run of that model, size and device suggests.

    Args:
        prepared: the run.
        folder: where the earlier runs lie.
    """
    config = prepared.config
    assert config.images is not None and isinstance(config.chunk, int), "a prepared run's configuration is resolved"
    return {
        "images": config.images,
        "conditions": [condition.name for condition in config.conditions],
        "layers": [layer.name for layer in prepared.layers],
        "units": sum(layer.units for layer in prepared.layers),
        "chunks": chunk_count(config.images, config.chunk),
        "batch": config.batch,
        "device": config.device,
        "devices": config.devices,
        "disk_bytes": prepared.disk_bytes(),
        "seconds": _expected_seconds(prepared, folder),
        "fit_needed": prepared.needs_fit,
    }


def _expected_seconds(prepared: Prepared, folder: Path) -> float | None:
    """By the speed of the newest run of this model, size, device and precision; None where there is none."""
    config = prepared.config
    wanted = (config.model, config.size, config.device.partition(":")[0], config.precision)
    for run in list_runs(folder, examples=False):
        known = run.config
        if (known.model, known.size, known.device.partition(":")[0], known.precision) != wanted:
            continue
        speed = _images_per_second(run)
        if speed > 0:
            ratio = forwards_per_image(config) / forwards_per_image(known)
            assert config.images is not None, "a prepared run's configuration is resolved"
            return float(config.images * ratio / (speed / known.devices * config.devices))
    return None


def _images_per_second(run: Run) -> float:
    try:
        workers = StatusReader(run.directory).poll()
    except (PsiError, OSError, json.JSONDecodeError):
        return 0.0
    return sum(
        float((worker.progress or {}).get("images_per_second", 0)) for worker in workers if worker.phase == "run"
    )
