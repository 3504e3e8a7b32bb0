"""LayerInfo: what `layers.json` tells of one tapped layer."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One tapped layer, as `layers.json` holds it.

    Attributes:
        name: as tables show it, `conv1`.
        module: path of the module inside the network, `features.1`; `#2` marks its second call in a forward.
        kind: class of the module or name of the function, `ReLU`.
        shape: of its output for one image.
        units: how many responses the measures see.
        channels: feature maps, or features of a flat layer.
        parameters: of all that runs after the layer before, up to this one.
        multiply_adds: likewise, per image.
    """

    name: str
    module: str
    kind: str
    shape: tuple[int, ...]
    units: int
    channels: int
    parameters: int
    multiply_adds: int

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LayerInfo":
        """From an object of `layers.json`; keys of a newer version are passed over."""
        known = {field.name: values[field.name] for field in fields(cls)}
        return cls(**{**known, "shape": tuple(known["shape"])})
