"""A run's results as a table of pandas or a data set of xarray, for notebooks. Both libraries are optional."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import Condition
from psi_core.config import ResolvedConfig
from psi_core.errors import PsiError

_PER_IMAGE = ("prediction", "confidence", "linf", "l2")
"""Results of an image under a condition, whatever the layer."""


class Units(Protocol):
    """What the data set tells of a layer."""

    @property
    def units(self) -> int:
        """Responses of one image that the measures see."""


class Results(Protocol):
    """What a table or data set is made from; a run has it."""

    id: str
    config: ResolvedConfig

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions, benign first."""

    @property
    def condition_details(self) -> tuple[Condition, ...]:
        """The same with attack and epsilon."""

    @property
    def layers(self) -> list[str]:
        """Names of the layers in forward order."""

    @property
    def layer_infos(self) -> Sequence[Units]:
        """The same with their sizes."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures, (condition, layer, image) each."""

    @property
    def index(self) -> NDArray[np.int64]:
        """Positions of the images in the data set."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of the images."""

    def array(self, name: str) -> NDArray[Any]:
        """A result by name, the image axis last."""


def dataframe_of(run: Results) -> Any:
    """One row per image, condition and layer, as `Run.to_dataframe` says."""
    pandas = _installed("pandas")
    conditions, layers, images = run.array("psi").shape
    shape = conditions, layers, images
    correct = run.array("prediction") == run.labels

    def per_image(values: Any) -> Any:
        return np.broadcast_to(values[:, None, :], shape).reshape(-1)

    def of_images(values: Any) -> Any:
        return np.broadcast_to(values, shape).reshape(-1)

    def named(names: list[str], axis: int) -> Any:
        codes = np.arange(len(names)).reshape([-1 if place == axis else 1 for place in range(3)])
        return pandas.Categorical.from_codes(np.broadcast_to(codes, shape).reshape(-1), names, ordered=True)

    columns: dict[str, Any] = {
        "condition": named(run.conditions, 0),
        "layer": named(run.layers, 1),
        "index": of_images(run.index),
        "label": of_images(run.labels),
        **{name: per_image(run.array(name)) for name in _PER_IMAGE},
        "correct": per_image(correct),
        **{name: run.array(name).reshape(-1) for name in run.measures},
    }
    if run.config.labels != "true":  # Against its own choices a network is always right at first.
        del columns["correct"]
    frame = pandas.DataFrame(columns)
    frame.attrs.update(_about(run))
    return frame


def dataset_of(run: Results) -> Any:
    """Every array with its axes named, as `Run.to_xarray` says."""
    xarray = _installed("xarray")
    arrays = {name: (("condition", "image"), run.array(name)) for name in _PER_IMAGE}
    measures = {name: (("condition", "layer", "image"), run.array(name)) for name in run.measures}
    coordinates = {
        "condition": run.conditions,
        "attack": ("condition", [each.attack for each in run.condition_details]),
        "epsilon": ("condition", [each.epsilon for each in run.condition_details]),
        "layer": run.layers,
        "units": ("layer", [each.units for each in run.layer_infos]),
        "image": run.index,
        "label": ("image", run.labels),
    }
    return xarray.Dataset({**measures, **arrays}, coordinates, _about(run))


def _about(run: Results) -> Mapping[str, str | int]:
    """What the numbers are of; text and numbers alone, which every file format keeps."""
    config = run.config
    return {"run": run.id, "model": config.model, "data": config.data, "labels": config.labels, "size": config.size}


def _installed(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise PsiError(f"{package}: it is not installed; pip install 'psi-tui[notebook]'") from None
