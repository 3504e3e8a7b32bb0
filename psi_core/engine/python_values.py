"""What a notebook hands to the engine's functions: tensors, modules, names. Anything else is refused in a sentence."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from psi_core.errors import ConfigError, DataError, ModelError
from psi_core.options import split_list

_UNFIT: tuple[tuple[Callable[[Tensor], bool], str, str], ...] = (
    (torch.is_complex, "holds complex numbers", "give its .real or its .abs()"),
    (lambda tensor: tensor.is_quantized, "is quantized", "give its .dequantize()"),
    (lambda tensor: tensor.is_meta, "is on the meta device and holds no numbers", "give one that does"),
    (
        lambda tensor: tensor.is_nested or tensor.layout is not torch.strided,
        "is sparse or nested",
        "give one with every number in its place, as .to_dense() makes",
    ),
)
"""Tensors that hold no plain real numbers: whether one is, what it is called, and what helps."""


def require_tensor(where: str, value: object, numbers: str, dtype: str = "") -> None:
    """Makes sure that an argument is a tensor of real numbers.

    Args:
        where: name of the argument.
        value: what was given for it.
        numbers: what its tensors hold, such as `floats (batch, units)`.
        dtype: type that an array or list is to become; empty for its own.

    Raises:
        DataError: it is something else; arrays and lists are answered with what makes a tensor of them.
    """
    if not isinstance(value, Tensor):
        is_alike = isinstance(value, list | tuple) or hasattr(value, "__array__")
        asked = f", dtype=torch.{dtype}" if dtype else ""
        way_out = f"give torch.as_tensor({where}{asked})" if is_alike else f"give one of {numbers}"
        raise DataError(f"{where}: {_kind_of(value)} is no tensor; {way_out}")
    for is_unfit, words, way_out in _UNFIT:
        if is_unfit(value):
            raise DataError(f"{where}: the tensor {words}; {way_out}")


def require_module(model: object) -> None:
    """Makes sure that an argument is a module of torch.

    Raises:
        ModelError: it is something else.
    """
    if isinstance(model, type):
        raise ModelError(f"model: {model.__name__} is a class; give a module that it makes, such as {model.__name__}()")
    if not isinstance(model, nn.Module):
        raise ModelError(f"model: {_kind_of(model)} is no torch.nn.Module; give one, or wrap a function in its forward")


def names_of(where: str, given: object) -> tuple[str, ...]:
    """The names of a list, or of text with commas, as a run takes them.

    Raises:
        ConfigError: it is neither.
    """
    names = split_list(given)
    if not isinstance(names, Iterable):
        raise ConfigError(f"{where}: {given!r} does not fit; write a list, or text with commas")
    return tuple(names)


def _kind_of(value: object) -> str:
    return "None" if value is None else f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
