"""What a run directory says of itself: `config.json`, `layers.json`, `model.json`, `card.json`, `positions.npy`.

Type, bounds and size of everything are checked before it is used: a directory may come from anybody.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi_core.config import ResolvedConfig
from psi_core.errors import RunError, reason_of
from psi_core.files import open_file, read_whole
from psi_core.npy import read_header
from psi_core.plain_text import is_plain, plain_line, plain_text

FORMAT = 1
"""Version of the run directory's format that this package writes and reads."""

DIGESTS = "digests"
"""Key of `config.json` that names the digest which every chunk of the run carries."""

CONFIG_DIGEST = "config_sha256"
"""Key of `model.json` that holds the run's fingerprint when its first worker began."""

LOGITS = "first_logits"
"""Key of `model.json` with the logits of the run's first images: `positions`, `logits` and `device`."""

POSITIONS = "positions.npy"
"""File of the run's positions in the data set. A run of the first images has none."""

IDENTITY = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""Regular expression that every id fits: it names a file, and no place outside a folder."""

_OF_OLDER_RUNS = {"loss": "cross-entropy", "order": "first"}
"""What a config.json means that lacks a field, where it is not today's default."""

_MOST_BYTES = 16_000_000
"""Of a JSON file; ImageNet-21k's class names take 2 MB."""

_MOST_IMAGES, _MOST_CONDITIONS, _MOST_LAYERS = 50_000_000, 10_000, 20_000
_LONGEST_NAME = 1000
_MOST_PIXELS = 100_000
_YEARS = range(1971, 9999)


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One tapped layer, as `layers.json` holds it.

    Attributes:
        name: as tables show it, `conv1`.
        module: path of the module inside the network, `features.1`; `#2` marks its second call in a forward.
        kind: class of the module or name of the function, `ReLU`.
        shape: shape of its output for one image.
        units: responses of one image that the measures see.
        channels: feature maps, features of every token, or of a flat layer.
        parameters: number of parameters of everything between the layer before and this one, itself included.
        multiply_adds: multiply-adds of the same, per image.
        channel_axis: axis of its output (batch, ...) along which its channels lie; older runs took 1.
    """

    name: str
    module: str
    kind: str
    shape: tuple[int, ...]
    units: int
    channels: int
    parameters: int
    multiply_adds: int
    channel_axis: int = 1

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LayerInfo":
        """The layer of an object of `layers.json`. Keys of a newer version are passed over.

        Raises:
            KeyError: one of its keys is missing.
            ValueError: a value is of another type, or beyond any layer's.
        """
        known = {"channel_axis": 1, **values}
        known = {field.name: known[field.name] for field in fields(cls)}
        for name, value in known.items():
            if name == "shape":
                is_right = isinstance(value, Sequence) and all(_is_count(each) for each in value) and len(value) <= 32
            else:
                is_text = isinstance(value, str) and is_plain(value) and len(value) <= _LONGEST_NAME
                is_right = is_text if name in ("name", "module", "kind") else _is_count(value)
            if not is_right:
                raise ValueError(f"{name} is {str(value)[:40]!r}")
        return cls(**{**known, "shape": tuple(known["shape"])})


@dataclass(frozen=True, slots=True)
class Description:
    """What `config.json` says.

    Attributes:
        id: identity of the run.
        created: when, as it stands there.
        created_at: the same.
        config: what the run computes.
        fingerprint: SHA-256 of the file's values but for the name, which may change.
        is_sealed: whether every chunk of the run carries digests.
    """

    id: str
    created: str
    created_at: datetime
    config: ResolvedConfig
    fingerprint: str
    is_sealed: bool


def load_description(directory: Path) -> Description:
    """What a run is.

    Raises:
        RunError: `config.json` is missing, damaged, of another format, or holds what no run has.
    """
    path = directory / "config.json"
    values = read_json(path)
    found = values.get("format") if isinstance(values, dict) else None
    if type(found) is not int or found != FORMAT:
        raise RunError(f"{directory}: format {found!r:.40} is not {FORMAT}, which this version reads; upgrade psi-tui")
    try:
        identity, created = str(values["id"]), str(values["created"])
        if not re.fullmatch(IDENTITY, identity):
            raise ValueError(f"its id is {identity[:100]!r}, which names no run directory")
        moment = datetime.fromisoformat(created)
        if moment.year not in _YEARS:
            raise ValueError(f"it was created in the year {moment.year}")
        known = {key: values[key] for key in ResolvedConfig.model_fields if key in values}
        _require_bounds(known)
        config = ResolvedConfig(**{**_OF_OLDER_RUNS, **known})
        conditions = [condition.name for condition in config.conditions]
        if values["conditions"] != conditions:
            raise ValueError(f"its conditions are {str(values['conditions'])[:200]!r}, not {conditions}")
    except KeyError as error:
        raise RunError(f"{path}: lacks {error}; the run directory is damaged") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error}); it is damaged, or of a newer psi-tui") from None
    is_sealed = values.get(DIGESTS) is not None
    return Description(identity, created, moment.astimezone(), config, _fingerprint(values), is_sealed)


def load_layers(directory: Path) -> tuple[LayerInfo, ...]:
    """The tapped layers of a run, in forward order.

    Raises:
        RunError: `layers.json` is missing, damaged, or holds what no layer has.
    """
    path = directory / "layers.json"
    values = read_json(path)
    try:
        if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
            raise TypeError("it is no list of layers")
        if not 0 < len(values) <= _MOST_LAYERS:
            raise ValueError(f"it names {len(values)} layers")
        layers = tuple(LayerInfo.from_json(each) for each in values)
        if len({layer.name for layer in layers}) < len(layers):
            raise ValueError("a layer is there twice")
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); the run directory is damaged") from None
    return layers


def layers_digest(directory: Path) -> str:
    """SHA-256 of the values of `layers.json`."""
    return _sha256(read_json(directory / "layers.json"))


def load_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds, `model.json` or `card.json`; empty where there is no file.

    Raises:
        RunError: it is damaged, or a value that readers use is of another type.
    """
    if not path.exists():
        return {}
    values = read_json(path)
    if not isinstance(values, dict):
        raise RunError(f"{path}: cannot be read (it is no object); the run directory is damaged")
    for key, is_right in _OBJECT_TYPES.items():
        if values.get(key) is not None and not is_right(values[key]):
            raise RunError(f"{path}: cannot be read ({key} is {str(values[key])[:40]!r}); the run directory is damaged")
    if names := values.get("class_names"):
        values["class_names"] = [plain_line(name) for name in names]
    if command := values.get("command"):
        values["command"] = plain_text(command)
    return values


def load_positions(directory: Path, images: int) -> NDArray[np.int64] | None:
    """Positions of a run's images in its data set, (image,), ascending; None where they are the first ones.

    Raises:
        RunError: the file is damaged.
    """
    path = directory / POSITIONS
    if not path.exists():
        return None
    try:
        with open_file(path) as file:
            header = read_header(file)
            if header.shape != (images,) or header.dtype != np.int64:
                raise ValueError(f"it holds {header.dtype} {header.shape}, not int64 {(images,)}")
            found: NDArray[np.int64] = np.frombuffer(bytearray(file.read(8 * images)), np.int64)
        if len(found) != images or found[0] < 0 or (np.diff(found) <= 0).any():
            raise ValueError("positions are not ascending")
    except (OSError, ValueError, MemoryError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({reason_of(error)}); the run directory is damaged") from None
    return found


def read_json(path: Path, most_bytes: int = _MOST_BYTES) -> Any:
    """What a JSON file of a run directory holds.

    Args:
        path: of the file.
        most_bytes: that it may have.

    Raises:
        RunError: it is missing, no plain file, too large, or no JSON.
    """
    try:
        return json.loads(read_whole(path, most_bytes).decode())
    except FileNotFoundError:
        raise RunError(f"{path}: there is no such file; name the run's own directory") from None
    except OSError as error:
        advice = "check who owns it" if isinstance(error, PermissionError) else "the run directory is damaged"
        raise RunError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({_json_trouble(error)}); the run directory is damaged") from None


def _json_trouble(error: Exception) -> str:
    """What is wrong with a text that is no JSON, in half a sentence without Python's words."""
    match error:
        case RecursionError():
            return "it is nested too deep"
        case UnicodeDecodeError():
            return f"it is no UTF-8 from byte {error.start} on"
        case json.JSONDecodeError():
            return f"it is no JSON from line {error.lineno}, column {error.colno} on"
    return "a number in it has too many digits"


def _require_bounds(values: Mapping[str, Any]) -> None:
    """Refuses counts that would take hours or all memory before anything else looks at them."""
    lengths = {key: len(value) for key, value in values.items() if isinstance(value, list)}
    conditions = (lengths.get("attack", 1) + lengths.get("controls", 1)) * lengths.get("epsilon", 1)
    counts = {"conditions": conditions, "layers": max(lengths.values(), default=0)}
    counts |= {key: value for key in ("images", "size", "resize") if type(value := values.get(key)) is int}
    most = {"conditions": _MOST_CONDITIONS, "layers": _MOST_LAYERS, "images": _MOST_IMAGES}
    for key, count in counts.items():
        if count > most.get(key, _MOST_PIXELS):
            raise ValueError(f"{key}: {count} is more than any run has")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


_OBJECT_TYPES: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("source", "sha256", "weights", "data_sha256", "command", CONFIG_DIGEST), lambda value: isinstance(value, str)
    ),
    **dict.fromkeys(("parameters", "multiply_adds"), _is_count),
    "class_names": _is_names,
    LOGITS: lambda value: isinstance(value, dict) and isinstance(value.get("logits"), list),
    "input_shape": lambda value: isinstance(value, list) and all(_is_count(each) for each in value),
    "fit": lambda value: isinstance(value, dict) and _is_number(value.get("test_accuracy", 0)),
}
"""Whether a value of `model.json` or `card.json` is of its type, by its key."""


def _fingerprint(values: Mapping[str, Any]) -> str:
    """Of the values as they stand, so that it stays the same in versions with further options."""
    return _sha256({key: value for key, value in values.items() if key != "name"})


def _sha256(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
