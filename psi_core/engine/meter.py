"""SparsenessMeter: the measures of any module's activations, from a notebook, without a run."""

from types import TracebackType

import torch
from torch import Tensor, nn

from psi_core.engine.sparseness import MEASURES, Reducer
from psi_core.engine.taps import RELUS, Taps
from psi_core.errors import ConfigError, ModelError, unknown_name


class SparsenessMeter:
    """Measures every ReLU output of a module while the block runs; several calls of the module are joined.

    ```python
    with SparsenessMeter(model) as meter:
        model(images)
    meter.psi["features.1"]
    ```

    Args:
        model: any module. Its hooks, modes and gradients are left as they were.
        layers: module paths to measure instead of the ReLUs, `#2` for a second call in one forward.
        unit: `neuron` for every scalar, `channel` for the spatial mean of every feature map.
        rectify: `relu` or `abs` for layers that respond below 0.

    Raises:
        ConfigError: `unit` or `rectify` is none of those.
    """

    def __init__(
        self, model: nn.Module, layers: list[str] | None = None, unit: str = "neuron", rectify: str = "none"
    ) -> None:
        for where, value, known in (
            ("unit", unit, ("neuron", "channel")),
            ("rectify", rectify, ("none", "relu", "abs")),
        ):
            if value not in known:
                raise ConfigError(unknown_name(where, value, known))
        self._layers = layers
        self._rectify = rectify
        self._reducer = Reducer(unit, rectify)
        self._taps = Taps(model, self._receive, with_modules=layers is not None)
        self._seen: dict[str, None] = {}
        self._values: dict[str, dict[str, list[Tensor]]] = {name: {} for name in MEASURES}

    def __enter__(self) -> "SparsenessMeter":
        self._taps.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._taps.__exit__(kind, error, traceback)

    @property
    def psi(self) -> dict[str, Tensor]:
        """Population sparseness by layer, (image,) float64 in 0..1, NaN where the layer is silent."""
        return self.measure("psi")

    def measure(self, name: str) -> dict[str, Tensor]:
        """A measure by layer, (image,) float64.

        Raises:
            ConfigError: there is no such measure.
            ModelError: a layer asked for never ran.
        """
        if name not in self._values:
            raise ConfigError(unknown_name("measure", name, self._values))
        for layer in self._layers or ():
            if self._seen and layer not in self._values[name]:
                raise ModelError(unknown_name("layers", layer, self._seen))
        return {layer: torch.cat(batches) for layer, batches in self._values[name].items()}

    def _receive(self, path: str, kind: str, output: Tensor) -> None:
        self._seen[path] = None
        wanted = kind in RELUS if self._layers is None else path in self._layers
        if not wanted:
            return
        with torch.no_grad():
            if self._rectify == "none" and kind == "module" and bool((output < 0).any()):
                raise ModelError(f"layers: {path} responds below 0, where sparseness means nothing; give rectify='abs'")
            moments, _ = self._reducer(output)
            if not bool(torch.isfinite(moments.squares).all()):
                raise ModelError(f"layers: {path} responds with NaN or infinity; check weights and images")
            for name, measure in MEASURES.items():
                self._values[name].setdefault(path, []).append(measure(moments))
