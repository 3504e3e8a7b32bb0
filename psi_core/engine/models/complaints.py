"""Complaints: what a network that cannot be measured is told. The reason, the place in the user's code, the way out."""

import re
import sysconfig
import textwrap
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from psi_core.errors import ModelError
from psi_core.plain_text import counted

COMPLAINTS = (Exception, SystemExit)
"""What a user's code may raise: anything. Running it is a door, as a command is, and what it raises is its answer."""

_NO_PLACE = tuple(str(Path(str(file)).parent) for file in (torch.__file__, __import__("psi_core").__file__))
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
"""Folders of code that is not the user's; packages of others lie below the latter."""

_MOST_IMAGES = 1024
"""The largest fixed batch that is looked for."""

_CHANNELS = (1, 3, 4)
_EDGES = (28, 32, 64, 96, 128, 224, 227, 256, 299, 384)
"""Channels of images and their sizes in pixels that are tried where a network does not take what it was given."""

_NAME_CHANNELS = (
    "images come as (batch, channels, height, width); "
    "name what it takes by input_size = (channels, height, width) in the network"
)


@dataclass(frozen=True, slots=True)
class _Reason:
    """What an error may speak of.

    Attributes:
        words: regular expression that its text holds.
        option: the option that it is about.
        way_out: what helps.
        is_of_channels: whether another number of channels may help.
    """

    words: str
    option: str
    way_out: str
    is_of_channels: bool = False


_OF_DEVICES = _Reason(
    r"CUDA|NVIDIA|\bcuda|\bHIP\b|same device|\bmps\b|\bxpu\b",
    "model",
    "take .cuda() and names of devices out of its code: --device moves it",
)

_REASONS = (
    _OF_DEVICES,
    _Reason(
        r"missing \d+ required|forward\(\) takes|unexpected keyword|unsupported operand.*NoneType",
        "model",
        "wrap it so that its forward takes images alone",
    ),
    _Reason(
        r"dtype|scalar type|Half|Double|Input type|BFloat16|Float but|not implemented for '\w+'",
        "model",
        "images come as float32: call .float() on it in the factory, and take casts out of its forward",
    ),
    _Reason(
        r"weight of size|to have (\d+) channels|normalized_shape|running_mean should contain",
        "model",
        _NAME_CHANNELS,
        is_of_channels=True,
    ),
    _Reason(r"view size is not compatible|non-contiguous", "model", "write .reshape() there in place of .view()"),
    _Reason(
        r"shapes cannot be multiplied|size mismatch|Kernel size|Output size is too small|output size|is invalid for "
        r"input of size|[Ii]nput (image )?(size|height|width)|must match the size of tensor|divisible|"
        r"Expected size|expanded size",
        "size",
        "write another --size",
    ),
)
"""The first that fits counts."""

_MEND = "mend it, or wrap it so that it takes images (batch, channels, height, width) and gives logits (batch, classes)"


def complaint(error: BaseException) -> str:
    """What an exception says, its kind, and the line of the user's code that raised it."""
    said = textwrap.shorten(f"{type(error).__name__}: {error}", 200).removesuffix(":")
    places = list(_places(error))
    return f"{said}, {places[-1]}" if places else said


def way_out_of_devices(error: BaseException) -> str:
    """What helps where code asks for a device that is not there; empty for other errors."""
    return _OF_DEVICES.way_out if re.search(_OF_DEVICES.words, str(error)) else ""


def refused_forward(
    error: BaseException, module: str | None, images: Tensor, can_take: Callable[..., bool]
) -> ModelError:
    """What a network is told whose forward failed.

    Args:
        error: what it raised.
        module: path of the module whose forward it was in, if that is known.
        images: what the network was given.
        can_take: whether a forward of so many images succeeds, of as many `channels` and of that `size`.
    """
    reason = complaint(error)
    if module and "line" not in reason.rpartition(",")[2]:
        reason = f"{reason}, in {module}"
    batch, channels, size, _ = images.shape
    fixed = next((n for n in _numbers(str(error)) if n != batch and can_take(n)), None)
    if fixed is not None:
        return ModelError(
            f"model: it takes {counted(fixed, 'image')} at a time and no other number ({reason}); "
            "write x.size(0) where the number of images stands"
        )
    found = next((each for each in _REASONS if re.search(each.words, str(error))), _Reason("", "model", _MEND))
    option, way_out = found.option, found.way_out
    if option == "size" or found.is_of_channels:
        taken = next((each for each in _CHANNELS if each != channels and can_take(batch, channels=each)), None)
        if taken is not None:
            option, way_out = "model", f"{_NAME_CHANNELS}, here ({taken}, {size}, {size})"
    if option == "size" or isinstance(error, AssertionError):
        edge = next((each for each in _EDGES if each != size and can_take(batch, size=each)), None)
        if edge is not None:
            option, way_out = "size", f"write --size {edge}, which it takes"
    return ModelError(f"{option}: its forward fails for {channels} x {size} x {size} pixels ({reason}); {way_out}")


def require_float(network: nn.Module) -> None:
    """Refuses a network that computes in whole numbers.

    Raises:
        ModelError: one of its modules does.
    """
    if any(".quantized" in type(module).__module__ for module in network.modules()):
        raise ModelError(
            "model: it is quantized to whole numbers, which have no gradient; give the float network it was made of"
        )


def refused_number(error: BaseException, images: int, before: int) -> ModelError:
    """What a network is told whose forward fails for so many images and did not for another number before.

    One image alone may be a run's last batch.
    """
    if images == 1:
        return ModelError(
            f"model: its forward fails for one image alone, as a last batch may be, and not for {before} "
            f"({complaint(error)}); name the axis, as .squeeze(-1) and .flatten(1) do"
        )
    return ModelError(
        f"model: its forward fails for {images} images after one of {before} ({complaint(error)}); what it keeps from "
        "the first must not hold their number: make it anew where x.size(0) differs"
    )


def refused_output(given: Any, images: int) -> ModelError:
    """What a network is told that gives no logits."""
    found = _shape_of(given)
    inner = next((f"[{key!r}]" for key in given if isinstance(given[key], Tensor)), "") if _is_mapping(given) else ""
    inner = "[0]" if isinstance(given, tuple | list) and given and isinstance(given[0], Tensor) else inner
    advice = f"wrap it to return those, such as its {inner}" if inner else "wrap it to return those"
    return ModelError(
        f"model: its output is {found} for {counted(images, 'image')}, not logits (batch, classes); {advice}"
    )


def _shape_of(given: Any) -> str:
    if not isinstance(given, Tensor):
        return type(given).__name__
    kind = "" if given.is_floating_point() else f" of {str(given.dtype).removeprefix('torch.')}"
    return f"{tuple(given.shape)}{kind}"


def _is_mapping(given: Any) -> bool:
    return isinstance(given, Mapping)


def _places(error: BaseException) -> Iterator[str]:
    """File and line of every step in the user's code, the innermost last."""
    for frame in traceback.extract_tb(error.__traceback__):
        is_standard = frame.filename.startswith(_STANDARD_LIBRARY) and "site-packages" not in frame.filename
        if not is_standard and not frame.filename.startswith(("<", *_NO_PLACE)):
            yield f"{Path(frame.filename).name} line {frame.lineno}"


def _numbers(text: str) -> list[int]:
    """Numbers of images that an error may speak of."""
    found = (int(number) for number in re.findall(r"\d+", text) if len(number) < 5)
    return [number for number in dict.fromkeys(found) if 0 < number <= _MOST_IMAGES][:4]
