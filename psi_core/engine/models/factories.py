"""Factories: functions in the user's own code that return a network. Finding one imports and runs that code.

Wrappers that a network comes in are taken off where that changes nothing, and named where they hide the layers.
"""

import contextlib
import copy
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils import _device as default_device

from psi_core.engine.models.complaints import COMPLAINTS, complaint, way_out_of_devices
from psi_core.errors import ModelError, missing_file, unknown_name
from psi_core.files import is_file, open_file, typed_path


@dataclass(frozen=True, slots=True)
class Factory:
    """A function that returns a network.

    Attributes:
        name: as the run's configuration names it.
        make: calls it; copies the network where the name is that of a network itself.
        size: the network's `input_size` in pixels, or None where it has none.
        notes: a sentence for each kind of wrapper that is taken off the network.
    """

    name: str
    make: Callable[[], nn.Module]
    size: int | None
    notes: tuple[str, ...]


def find_factory(name: str) -> Factory:
    """The factory of `package.module:factory` or `file.py:factory`, called once to see what it returns.

    Code of the user's that an earlier call imported is imported anew: it may have changed, and modules of other
    projects may have its names.

    Raises:
        ModelError: it cannot be found or called, or returns no network that is ready to run.
    """
    _forget_modules()
    with torch.random.fork_rng(devices=[]):
        return _find_factory(name)


def _find_factory(name: str) -> Factory:
    place, _, function = name.rpartition(":")
    path = typed_path(place).absolute() if place.endswith(".py") else None
    folders = _folders_of(path) if path else [_current_folder()]
    with _importable(folders), _contained(place):
        module = _import_file(path) if path else _import_module(place)
    factory = getattr(module, function, None)
    is_network = isinstance(factory, nn.Module | torch.jit.ScriptModule)
    if function and hasattr(module, function) and not callable(factory):
        raise ModelError(
            f"model: {place}: there is no {function!r} that makes a network, but one of type {type(factory).__name__}; "
            "name a function or class that gives the torch.nn.Module, and a file of tensors by --weights"
        )
    if not callable(factory) and not _factories_in(module):
        raise ModelError(f"model: {place} has no function or class; write one that gives the torch.nn.Module")
    if not callable(factory):
        raise ModelError(unknown_name(f"model: {place}", function, _factories_in(module)))

    def make() -> tuple[nn.Module, tuple[str, ...]]:
        try:
            with _importable(folders), _contained(place):
                made = factory if is_network else factory()
            network, notes = without_wrappers(require_network(made, name))
            network = _copied(network, name) if is_network else network
        except ModelError:
            raise
        except COMPLAINTS as error:
            # On the meta device code that computes with its weights fails; the caller tries again on the CPU.
            if torch.get_default_device().type == "meta":
                raise
            raise ModelError(
                f"model: {name} cannot be called ({complaint(error)}); "
                f"{way_out_of_devices(error) or 'mend it, or give defaults'}"
            ) from None
        return network, notes

    network, notes = make()
    if any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers())):
        raise ModelError(f"model: {name} has lazy layers without a shape; run one image through it in the factory")
    size = getattr(network, "input_size", None)
    edge = size[-1] if isinstance(size, tuple | list) and size else size
    if not isinstance(edge, int | None):
        raise ModelError(f"model: {name} has input_size {size!r}; write pixels, or (channels, height, width)")
    if isinstance(size, tuple | list) and len(size) > 1 and size[-2] != edge:
        raise ModelError(
            f"model: {name} has input_size {size!r}, and images are brought to a square; crop or pad in it"
        )
    return Factory(name, lambda: make()[0], edge, notes)


def _copied(network: nn.Module, name: str) -> nn.Module:
    """A copy of a network that its name stands for, so that no run changes another's."""
    try:
        return copy.deepcopy(network)
    except COMPLAINTS as error:
        raise ModelError(
            f"model: {name} cannot be copied ({complaint(error)}); name a function that makes it"
        ) from None


def _factories_in(module: ModuleType) -> list[str]:
    """Names of a module's callables, its own before those that it imports."""
    names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    names.sort(key=lambda key: getattr(vars(module)[key], "__module__", None) != module.__name__)
    return names


def _folders_of(path: Path) -> list[str | None]:
    """Where a file's code finds its neighbors: in its folder, those of the packages around it, and the one above."""
    package = _package_of(path)
    return [str(folder) for folder in (*package, package[-1].parent)]


def _package_of(path: Path) -> list[Path]:
    """The folder of a file, and those above that are packages around it."""
    folders = [path.parent]
    while (folders[-1] / "__init__.py").is_file() and (folders[-1].parent / "__init__.py").is_file():
        folders.append(folders[-1].parent)
    return folders


_BROUGHT: set[str] = set()
"""Names of the modules that a user's code has brought in from files of the user's."""


@contextlib.contextmanager
def _importable(folders: Sequence[str | None]) -> Iterator[None]:
    """Within the block, code finds its neighbors in folders; last, so that none of them hides an installed package."""
    new = [folder for folder in folders if folder is not None and folder not in sys.path]
    sys.path += new
    before = set(sys.modules)
    try:
        yield
    finally:
        brought = {name for name in set(sys.modules) - before if name.partition(".")[0] not in before}
        _BROUGHT.update(name for name in brought if _is_users(name, folders))
        for folder in new:
            if folder in sys.path:
                sys.path.remove(folder)


def _is_users(name: str, folders: Collection[str | None]) -> bool:
    """Whether a module, or the package that it is part of, lies in one of these folders itself; libraries do not."""
    top = sys.modules.get(name.partition(".")[0])
    file = getattr(top, "__file__", None)
    # A folder without __init__.py is a package without a file.
    place = Path(file) if file else Path(next(iter(getattr(top, "__path__", ())), "."))
    package = place.parent if place.name == "__init__.py" else place
    return place != Path() and str(package.parent) in folders and package.name not in ("psi_core", "psi_tui")


def _forget_modules() -> None:
    tops = {name.partition(".")[0] for name in _BROUGHT}  # Their parts may have come later, as they were needed.
    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
        del sys.modules[name]
    _BROUGHT.clear()
    importlib.invalidate_caches()


@contextlib.contextmanager
def float32_by_default() -> Iterator[None]:
    """Within the block tensors without a type are float32, as in a new process: a notebook may have set another."""
    kind = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(kind)


@contextlib.contextmanager
def _contained(place: str) -> Iterator[None]:
    """Within the block, a user's code finds torch and the command line as in a new process; all of it is set back."""
    arguments, has_gradients = sys.argv, torch.is_grad_enabled()
    threads, folder, device = torch.get_num_threads(), _current_folder(), default_device.CURRENT_DEVICE
    autocast = [(each, torch.is_autocast_enabled(each), torch.get_autocast_dtype(each)) for each in ("cpu", "cuda")]
    sys.argv = [place]
    try:
        for each, *_ in autocast:
            torch.set_autocast_enabled(each, False)
        with float32_by_default():
            yield
    finally:
        sys.argv = arguments
        # Not get_default_device: it makes a tensor there, on a GPU that there may be none of.
        if device != default_device.CURRENT_DEVICE:
            torch.set_default_device(None)
        torch.set_grad_enabled(has_gradients)
        for each, is_enabled, lower in autocast:
            torch.set_autocast_enabled(each, is_enabled)
            torch.set_autocast_dtype(each, lower)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if folder is not None and folder != _current_folder():
            os.chdir(folder)


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
        way_out = _way_out(error, "check its name and PYTHONPATH")
        raise ModelError(f"model: {place} cannot be imported ({complaint(error)}); {way_out}") from None


def _import_file(path: Path) -> ModuleType:
    # A name of its own, so that a file types.py does not take the place of Python's.
    name = f"psi_model_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None or not is_file(path):
        raise ModelError(missing_file("model", path, "write file.py:factory"))
    try:
        open_file(path).close()
    except OSError as error:
        raise ModelError(f"model: {path} cannot be read ({error.strerror}); check who owns it") from None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        try:
            specification.loader.exec_module(module)
        except ImportError as error:
            if "relative import" not in str(error):
                raise
            return _import_from_package(path)
    except COMPLAINTS as error:
        way_out = _way_out(error, "mend it, or check PYTHONPATH")
        raise ModelError(f"model: {path} cannot be imported ({complaint(error)}); {way_out}") from None
    return module


def _import_from_package(path: Path) -> ModuleType:
    """The module of a file that imports its neighbors by `from .name import`: part of the package that its folder is.

    Raises:
        ImportError: something else has the package's name.
    """
    packages = reversed(_package_of(path))
    module = importlib.import_module(".".join([*(folder.name for folder in packages), path.stem]))
    if Path(str(module.__file__)) != path:
        raise ImportError(f"{module.__name__} is {module.__file__}")
    return module


def _way_out(error: BaseException, usual: str) -> str:
    """What helps where an import fails: code that parses, trains or exits must not run on import."""
    is_own = isinstance(error, ImportError | SyntaxError | AttributeError | NameError)
    guard = "put what parses arguments, trains or exits under if __name__ == '__main__':"
    return usual if is_own else way_out_of_devices(error) or guard


_PARALLEL: Mapping[str, str] = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}
"""Wrappers by class, and the attribute that holds the network; they are taken off inside a network too."""

_AVERAGED: Mapping[str, str] = {
    **{"AveragedModel": "module", "ModelEma": "ema", "ModelEmaV2": "module", "ModelEmaV3": "module"},
    "EMA": "ema_model",
}
"""Those of averaged weights, which stand for the network as a whole."""


def without_wrappers(network: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The network itself, and a sentence for each kind of wrapper that was taken off it."""
    taken: dict[str, str] = {}
    while (found := _inner(network, {**_AVERAGED, **_PARALLEL})) is not None:
        taken[type(network).__name__] = found[0]
        network = found[1]
    for module in [*network.modules()]:
        if getattr(module, "_compiled_call_impl", None) is not None:
            module._compiled_call_impl = None
            taken["compile()"] = ""
        for name in [name for name, _ in module.named_children()]:
            while (found := _inner(module._modules[name], _PARALLEL)) is not None:
                taken[type(module._modules[name]).__name__], module._modules[name] = found
    return network, tuple(
        f"model: took {wrapper} off it" + (f"; layers are named without '{prefix}.'" if prefix else "")
        for wrapper, prefix in taken.items()
    )


def require_network(made: Any, name: str) -> nn.Module:
    """What a factory made, if it is a network whose layers can be seen.

    Raises:
        ModelError: it is something else.
    """
    kind = type(made).__name__
    family = "torch.jit" if isinstance(made, torch.jit.ScriptModule | torch.jit.ScriptFunction) else ""
    if kind == "ExportedProgram" or (isinstance(made, nn.Module) and _is_exported(made)):
        family = "torch.export"
    if family:
        article = "an" if kind[:1] in "AEIOU" else "a"
        raise ModelError(
            f"model: {name} is {article} {kind} ({family}), whose layers cannot be seen; "
            "give the nn.Module that it was made from"
        )
    if not isinstance(made, nn.Module):
        raise ModelError(f"model: {name} returned {kind}; it must return a torch.nn.Module")
    return made


def _inner(module: nn.Module | None, wrappers: Mapping[str, str]) -> tuple[str, nn.Module] | None:
    """The attribute of a wrapper that holds its network, and the network; None for anything else."""
    for kind in type(module).__mro__:
        attribute = wrappers.get(kind.__name__)
        inner = getattr(module, attribute, None) if attribute else None
        if attribute and isinstance(inner, nn.Module):
            return attribute, inner
    return None


def _is_exported(module: nn.Module) -> bool:
    """Whether it is the graph of an exported program, which calls the operators below layers."""
    graph = getattr(module, "graph", None)
    nodes = getattr(graph, "nodes", ()) if isinstance(module, torch.fx.GraphModule) else ()
    calls = [node.target for node in nodes if node.op == "call_function"]
    return any(isinstance(target, torch._ops.OpOverload) for target in calls)
