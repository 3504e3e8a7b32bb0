"""Models of RobustBench: robust classifiers of CIFAR-10, CIFAR-100 and ImageNet, by its own loader.

robustbench is an extra, imported when one of its models is asked for. Its networks take pixels in 0..1 and normalize
them themselves.
"""

import importlib
import importlib.util
import sys
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from psi_core.engine.devices import patience
from psi_core.engine.models.complaints import COMPLAINTS
from psi_core.errors import ModelError, unknown_name

_SIZES = {"cifar10": 32, "cifar100": 32, "imagenet": 224}
"""Input in pixels of the networks for each of its data sets."""

_FIRST = "cifar10/Linf/"
"""Where a name alone is looked up."""


@dataclass(frozen=True, slots=True)
class RobustBenchModel:
    """A model of RobustBench.

    Attributes:
        build: makes it with its own weights, downloaded where they are missing.
        size: input in pixels.
    """

    build: Callable[[], nn.Module]
    size: int


def robustbench_names() -> list[str]:
    """Every model, as `DATASET/THREAT/NAME`; empty where robustbench is not installed."""
    if importlib.util.find_spec("robustbench") is None:
        return []
    return [
        f"{dataset.value}/{threat.value}/{name}"
        for dataset, threats in _imported("robustbench.model_zoo").model_dicts.items()
        for threat, models in threats.items()
        for name in models
    ]


def robustbench_model(name: str) -> RobustBenchModel:
    """The model of `NAME`, which stands for `cifar10/Linf/NAME`, or of `DATASET/THREAT/NAME`.

    Raises:
        ModelError: robustbench is not installed, or has no such model.
    """
    load_model = _imported("robustbench.utils").load_model
    whole = name if name.count("/") == 2 else _FIRST + name
    known = robustbench_names()
    if whole not in known:
        shown = [f"robustbench:{each.removeprefix(_FIRST)}" for each in known]
        raise ModelError(unknown_name("model", f"robustbench:{name}", shown))
    dataset, threat, model = whole.split("/")
    folder = Path(str(torch.hub.get_dir())) / "robustbench"

    def build() -> nn.Module:
        try:
            with warnings.catch_warnings(), torch.device("cpu"), patience():
                warnings.simplefilter("ignore")
                network: nn.Module = load_model(model, model_dir=str(folder), dataset=dataset, threat_model=threat)
        except _failures() as error:
            reason = textwrap.shorten(str(error).strip() or type(error).__name__, 160)
            raise ModelError(
                f"model: robustbench:{name} cannot be loaded ({reason}); "
                f"put its weights at {folder / dataset / threat / model}.pt, or name another model"
            ) from None
        return network

    return RobustBenchModel(build, _SIZES[dataset])


def _failures() -> tuple[type[BaseException], ...]:
    """What its loader raises; gdown, which it downloads with, has exceptions of its own kinds."""
    values = vars(sys.modules["gdown.exceptions"]).values() if "gdown.exceptions" in sys.modules else ()
    return (*COMPLAINTS, *(kind for kind in values if isinstance(kind, type) and issubclass(kind, Exception)))


def _imported(module: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        is_missing = (error.name or "").partition(".")[0] == "robustbench"
        reason = "is not installed" if is_missing else f"cannot be imported ({error})"
        raise ModelError(
            f"model: robustbench {reason}; pip install 'psi-tui[robustbench]', or name another model"
        ) from None
