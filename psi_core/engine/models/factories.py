"""Factories: functions in the user's own code that return a network. Finding one imports and runs that code."""

import contextlib
import copy
import importlib
import importlib.util
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from psi_core.errors import ModelError, unknown_name

COMPLAINTS = (
    *(RuntimeError, ValueError, TypeError, AttributeError, NameError, LookupError, AssertionError),
    *(OSError, ImportError, ArithmeticError, SyntaxError),
)
"""What code that is being written raises, refused in a sentence; anything else is shown with its traceback."""


@dataclass(frozen=True, slots=True)
class Factory:
    """A function that returns a network.

    Attributes:
        name: as the run's configuration names it.
        make: calls it; copies the network where the name is that of a network itself.
        size: the network's `input_size` in pixels, or None where it has none.
    """

    name: str
    make: Callable[[], nn.Module]
    size: int | None


def find_factory(name: str) -> Factory:
    """The factory of `package.module:factory` or `file.py:factory`, called once to see what it returns.

    Raises:
        ModelError: it cannot be found or called, or returns no network that is ready to run.
    """
    with torch.random.fork_rng(devices=[]):
        return _find_factory(name)


def _find_factory(name: str) -> Factory:
    place, _, function = name.rpartition(":")
    path = Path(place).expanduser() if place.endswith(".py") else None
    folder = str(path.absolute().parent) if path else _current_folder()
    with _importable(folder):
        module = _import_file(path) if path else _import_module(place)
    factory = getattr(module, function, None)
    if not callable(factory):
        callables = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelError(unknown_name(f"model: {place}", function, callables or ["a function that returns the module"]))

    def make() -> nn.Module:
        try:
            with _importable(folder):
                network = copy.deepcopy(factory) if isinstance(factory, nn.Module) else factory()
        except COMPLAINTS as error:
            # On the meta device code that computes with its weights fails; the caller tries again on the CPU.
            if torch.get_default_device().type == "meta":
                raise
            raise ModelError(
                f"model: {name} cannot be called ({_complaint(error)}); mend it, or give defaults"
            ) from None
        if not isinstance(network, nn.Module):
            raise ModelError(f"model: {name} returned {type(network).__name__}; it must return a torch.nn.Module")
        return network

    network = make()
    if any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers())):
        raise ModelError(f"model: {name} has lazy layers without a shape; run one image through it in the factory")
    size = getattr(network, "input_size", None)
    edge = size[-1] if isinstance(size, tuple | list) and size else size
    if not isinstance(edge, int | None):
        raise ModelError(f"model: {name} has input_size {size!r}; write pixels, or (channels, height, width)")
    return Factory(name, make, edge)


@contextlib.contextmanager
def _importable(folder: str | None) -> Iterator[None]:
    """Within the block, code finds its neighbors in a folder; last, so that none of them hides an installed package."""
    is_new = folder is not None and folder not in sys.path
    if is_new:
        sys.path.append(str(folder))
    try:
        yield
    finally:
        if is_new and folder in sys.path:
            sys.path.remove(str(folder))


def _current_folder() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # It was deleted.
        return None


def _import_module(place: str) -> ModuleType:
    if not all(part.isidentifier() for part in place.split(".")):
        raise ModelError(f"model: {place!r} names no module; write package.module:factory or file.py:factory")
    try:
        return importlib.import_module(place)
    except COMPLAINTS as error:
        raise ModelError(
            f"model: {place} cannot be imported ({_complaint(error)}); check its name and PYTHONPATH"
        ) from None


def _import_file(path: Path) -> ModuleType:
    # A name of its own, so that a file types.py does not take the place of Python's.
    name = f"psi_model_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None or not path.is_file():
        raise ModelError(f"model: there is no file {path}; write file.py:factory")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except COMPLAINTS as error:
        raise ModelError(
            f"model: {path} cannot be imported ({_complaint(error)}); mend it, or check PYTHONPATH"
        ) from None
    return module


def _complaint(error: BaseException) -> str:
    """What an exception says, its kind, and the line of code that raised it."""
    said = textwrap.shorten(f"{type(error).__name__}: {error}", 200).removesuffix(":")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and not frame.filename.startswith("<")]
    return f"{said}, {Path(own[-1].filename).name} line {own[-1].lineno}" if own else said
