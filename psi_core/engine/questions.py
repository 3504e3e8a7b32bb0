"""What the assistant asks the engine: models, their layers, the cost of a run, and pictures of its images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from psi_core.assist import Answer
from psi_core.config import RunConfig
from psi_core.creation import require_writable
from psi_core.engine.catalog import model_layer_rows, model_rows
from psi_core.engine.pictures import PictureMaker
from psi_core.engine.planning import plan_of
from psi_core.engine.preparation import prepare
from psi_core.paths import runs_directory
from psi_core.pictures import keep_picture, picture_answer, require_image
from psi_core.runs import Run


def engine_answers() -> Mapping[str, Answer]:
    """The engine's answers by question, for a process that works beside others: it computes on one thread."""
    torch.set_num_threads(1)
    maker = PictureMaker()

    def picture(run: str, index: int, condition: str, width: int, height: int) -> dict[str, Any]:
        found = Run(Path(run))
        made = maker.make(found, index, require_image(found, index, condition, width, height))
        if not made.reason:
            keep_picture(found, index, condition, made)
        return picture_answer(found, index, condition, made, (width, height))

    return {"models": model_rows, "layers": layers_of, "plan": plan_run, "picture": picture}


def layers_of(
    model: str,
    size: int | None = None,
    layers: str | list[str] = "relu",
    unit: str = "neuron",
    rectify: str = "none",
) -> list[dict[str, Any]]:
    """Layers of a model in forward order, as `model_layer_rows` gives them."""
    return model_layer_rows({"model": model, "size": size, "layers": layers, "unit": unit, "rectify": rectify})


def plan_run(config: Mapping[str, Any], runs_dir: str | None = None) -> dict[str, Any]:
    """What a run of this configuration would do and cost; everything that `start` would refuse is refused.

    Raises:
        ConfigError, ModelError, DataError: it cannot stand.
    """
    prepared = prepare(RunConfig(**config))
    folder = runs_directory(runs_dir)
    require_writable(folder, prepared.disk_bytes())
    return plan_of(prepared, folder)
