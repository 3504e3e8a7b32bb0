"""Taps on a network: its layers' outputs, received at the moment they are made; and a model left as it was.

Activations are seen through a TorchFunctionMode, so that modules, modules used twice and functional calls are one case;
other layers are seen through forward hooks. An in-place activation overwrites its input, so an output must be reduced
when it comes.
"""

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from psi_core.engine.models.activations import ACTIVATION_MODULES, activation_kind
from psi_core.engine.stand_ins.onlookers import is_transformed


@contextlib.contextmanager
def untouched(model: nn.Module, device: torch.device | str = "cpu") -> Iterator[None]:
    """Eval mode and frozen parameters within the block; after it, modes, requires_grad and random state are as before.

    Args:
        model: any module; each of its modules gets its own mode back.
        device: device whose random state is kept, besides the CPU's.
    """
    device = torch.device(device)
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for module, _ in modes:
            module.training = False
        for parameter, _ in gradients:
            parameter.requires_grad_(False)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        for module, is_training in modes:
            module.training = is_training
        for parameter, has_gradient in gradients:
            parameter.requires_grad_(has_gradient)


def visible_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The modules of a network by path, but for scripted ones, which take no hooks."""
    named = network.named_modules()
    return {path: module for path, module in named if not isinstance(module, torch.jit.ScriptModule)}


Receive = Callable[[str, str, Tensor], Tensor | None]
"""Takes a call's name, its kind (`relu`, ..., or `module`) and its output, which must be reduced at once.

A tensor that it gives takes the output's place in the network.
"""


def weakly(receive: Receive) -> Receive:
    """Calls a method and does not keep its object alive: for one that keeps its own taps.

    Each would keep the other, and what such an object holds on a GPU would be free when garbage is collected, if then.
    """
    method = weakref.WeakMethod(receive)

    def call(name: str, kind: str, output: Tensor) -> Tensor | None:
        found = method()
        assert found is not None, "its object keeps the taps, and is there for as long as they are"
        return found(name, kind, output)

    return call


@dataclass(slots=True)
class _Frame:
    """A module whose forward is running."""

    path: str
    is_activation: bool
    was_received: bool = False


class Taps(TorchFunctionMode):
    """Calls `receive` for every layer call of a network while the block runs. It may be entered again.

    A call's name is the path of its module, with `.relu` and the like behind it where a module calls a function, and
    `#2` behind the second call of a name in one forward, or the next number that is no module's own path. Modules that
    give anything but one tensor are passed over, and so are calls within transforms of torch.func.

    Args:
        network: what to watch.
        receive: called once per call, in order.
        owners: paths of the modules to watch; all by default. Fewer cost less.
        with_modules: whether outputs of modules that are no activations are received too.
        stand_ins: functions that the network calls, and what is called in their place.

    Attributes:
        failed_in: path of the innermost module whose forward raised an error in the last forward; None if none did.
        owner: path of the module whose forward makes the call that is being received.
        is_function: whether that call is a function's, not the module's own.
        arguments: what the function of that call was given; of a module's, nothing.
        hidden: calls of this forward, or the last one, within transforms of torch.func, by their kinds.
    """

    def __init__(
        self,
        network: nn.Module,
        receive: Receive,
        *,
        owners: Collection[str] | None = None,
        with_modules: bool = False,
        stand_ins: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self._network = network
        self._receive = receive
        self._owners = owners
        self._with_modules = with_modules
        self._stand_ins = stand_ins
        self._handles: list[RemovableHandle] = []
        self._watched: list[tuple[nn.Module, str, bool]] = []
        self._inside: list[_Frame] = []
        self._calls: Counter[str] = Counter()
        self._numbered_paths = {path for path, _ in network.named_modules() if "#" in path}
        self.failed_in: str | None = None
        self.owner = ""
        self.is_function = False
        self.arguments: tuple[tuple[Any, ...], dict[str, Any]] = (), {}
        self.hidden: Counter[str] = Counter()

    def __enter__(self) -> "Taps":
        try:
            self._handles.append(self._network.register_forward_pre_hook(self._begin_forward, prepend=True))
            self._watched = self._watched or self._modules_to_watch()
            # Hooks that were kept would keep these taps, as these would them.
            for module, path, is_activation in self._watched:
                begin, end = (partial(hook, path, is_activation) for hook in (self._begin_module, self._end_module))
                self._handles.append(module.register_forward_pre_hook(begin))
                self._handles.append(module.register_forward_hook(end))
            self._handles.append(self._network.register_forward_hook(self._end_forward, always_call=True))
        except BaseException:
            self._remove_hooks()
            raise
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self._remove_hooks()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function; receives its output if it is an activation, and gives that or what replaces it."""
        kind = activation_kind(func, args, kwargs or {})
        output = self._stand_ins.get(func, func)(*args, **(kwargs or {}))
        if kind is not None and self._inside:
            frame = self._inside[-1]
            frame.was_received = True
            is_whole = bool(frame.is_activation and frame.path)
            name = frame.path if is_whole else f"{frame.path}.{kind}".lstrip(".")
            self.owner, self.is_function, self.arguments = frame.path, not is_whole, (args, kwargs or {})
            try:
                replacement = self._announce(name, kind, output)
            finally:
                self.arguments = (), {}
            if replacement is not None:
                # What an in-place call gives is read through its argument too.
                is_in_place = any(each is output for each in (*args, *(kwargs or {}).values()))
                return output.copy_(replacement) if is_in_place else replacement
        return output

    def _modules_to_watch(self) -> list[tuple[nn.Module, str, bool]]:
        """Each with its path, and whether it is an activation."""
        modules = visible_modules(self._network).items()
        owned = [each for each in modules if self._owners is None or each[0] in self._owners]
        return [(module, path, isinstance(module, ACTIVATION_MODULES)) for path, module in owned]

    def _begin_module(self, path: str, is_activation: bool, _module: nn.Module, _inputs: Any) -> None:
        self._inside.append(_Frame(path, is_activation))

    def _end_module(
        self, path: str, is_activation: bool, _module: nn.Module, _inputs: Any, output: Any
    ) -> Tensor | None:
        frame = self._inside.pop()
        if self._with_modules and path and not (is_activation and frame.was_received):
            self.owner, self.is_function, self.arguments = path, False, ((), {})
            return self._announce(path, "module", output)
        return None

    def _announce(self, name: str, kind: str, output: Any) -> Tensor | None:
        if is_transformed():  # An output within vmap() hides an axis.
            self.hidden[kind] += 1
            return None
        self._calls[name] += 1
        call = name if self._calls[name] == 1 else f"{name}#{self._calls[name]}"
        while call != name and call in self._numbered_paths:
            self._calls[name] += 1
            call = f"{name}#{self._calls[name]}"
        if not isinstance(output, Tensor):
            return None
        # Else a relu() of the receiver's own, from within a hook, would be taken for one of the network's.
        with torch._C.DisableTorchFunction():
            return self._receive(call, kind, output)

    def _begin_forward(self, _module: nn.Module, _inputs: Any) -> None:
        self._inside.clear()
        self._calls.clear()
        self.hidden.clear()

    def _end_forward(self, *_call: Any) -> None:
        # Frames that an error left would claim what is called outside the network.
        self.failed_in = self._inside[-1].path if self._inside else None
        self._inside.clear()

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
