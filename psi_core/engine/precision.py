"""The precision that torch computes at, whatever was asked of it before, and how it chooses among its own ways.

A setting of torch's is of the whole process. A user's own file, or the notebook around a run, may have changed any.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from psi_core.devices import Device


@contextlib.contextmanager
def precision(policy: str, device: Device) -> Iterator[None]:
    """Within the block torch computes at one precision: `exact` (IEEE fp32), `tf32` or `bf16`; each is deterministic.

    All settings come back as they were, whichever of torch's ways of asking for another precision had set them, an
    autocast around the block and another default type included. No convolution is chosen by timing it, and on CUDA
    attention takes the one way whose gradient adds in a fixed order: another worker gets the same bits. Where
    deterministic algorithms were asked of torch, it takes them wherever it has them, and goes on where it has none.
    """
    float32 = _Float32Settings.read()
    switches = [switch for switch in _SWITCHES if device.is_cuda or not switch.is_for_cuda]
    before = [switch.read() for switch in switches]
    refuses_others = torch.are_deterministic_algorithms_enabled() and not (
        torch.is_deterministic_algorithms_warn_only_enabled()
    )
    kind = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float32)
        _Float32Settings.all_at("tf32" if policy == "tf32" else "ieee").write()
        for switch in switches:
            switch.write(switch.value)
        if refuses_others:
            torch.use_deterministic_algorithms(True, warn_only=True)
        with torch.autocast(device.kind, torch.bfloat16, enabled=policy == "bf16"):
            yield
    finally:
        torch.set_default_dtype(kind)
        float32.write()
        for switch, value in zip(switches, before, strict=True):
            switch.write(value)
        if refuses_others:
            torch.use_deterministic_algorithms(True)


@dataclass(frozen=True, slots=True)
class _Switch:
    """A setting of torch's that changes bits.

    Attributes:
        read: gives it.
        write: sets it.
        value: what it is within a run: what torch begins with, but where that leaves the choice to the clock.
        is_for_cuda: whether it says nothing of a CPU.
    """

    read: Callable[[], Any]
    write: Callable[[Any], object]
    value: Any
    is_for_cuda: bool = False


def _attribute(owner: Any, name: str, value: Any) -> _Switch:
    return _Switch(lambda: getattr(owner, name), lambda given: setattr(owner, name, given), value)


def _sums_below_float32(name: str) -> _Switch:
    """Whether products of 16-bit numbers may be added up in 16 bits: one answer, or that and one of split products."""
    products = torch.backends.cuda.matmul
    given = getattr(torch._C, f"_get_cublas_{name}", None)

    def read() -> Any:
        return getattr(products, name) if given is None else given()

    return _Switch(read, lambda value: setattr(products, name, value), value=True)


_SWITCHES: tuple[_Switch, ...] = (
    _attribute(torch.backends.cudnn, "deterministic", value=True),
    _attribute(torch.backends.cudnn, "benchmark", value=False),
    _attribute(torch.backends.cuda.matmul, "allow_fp16_accumulation", value=False),
    _sums_below_float32("allow_bf16_reduced_precision_reduction"),
    _sums_below_float32("allow_fp16_reduced_precision_reduction"),
    _Switch(
        torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed,
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp,
        value=False,
    ),
    *(
        _Switch(
            getattr(torch.backends.cuda, f"{name}_sdp_enabled"),
            getattr(torch.backends.cuda, f"enable_{name}_sdp"),
            value=name == "math",
            is_for_cuda=True,
        )
        for name in ("flash", "mem_efficient", "cudnn", "math")
    ),
)
"""Settings besides those of float32, the implementations of attention last: only `math` adds in a fixed order."""

_SCOPES = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"))
"""What sets the float32 precision of several operations at once, the widest first, in torch's words."""

_OPERATIONS = tuple((backend, each) for backend in ("cuda", "mkldnn") for each in ("matmul", "conv", "rnn"))
"""What sets it of one kind of operation; `mkldnn` stands for the CPU."""

# Private names: torch.backends.mkldnn.fp32_precision reads one setting and writes another.
_get_float32: Callable[[str, str], str] = torch._C._get_fp32_precision_getter
_set_float32: Callable[[str, str, str], object] = torch._C._set_fp32_precision_setter

_MATMUL_WORDS = (("highest", "ieee", "ieee"), ("high", "tf32", "tf32"), ("medium", "tf32", "bf16"))
"""Words of torch.set_float32_matmul_precision, and what each sets of matrix products on CUDA and on the CPU."""


@dataclass(frozen=True, slots=True)
class _Float32Settings:
    """Torch's precision of float32 products, in its old settings and its new ones.

    Both are always written alike: torch refuses to read an old setting that a new one contradicts, and its compiler
    reads the old ones.

    Attributes:
        matmul: word of the old setting of matrix products.
        allows_tf32: old setting of cuDNN.
        own: new setting of each of _SCOPES and _OPERATIONS itself; `none` where it follows a wider one.
    """

    matmul: str
    allows_tf32: bool
    own: tuple[str, ...]

    @classmethod
    def all_at(cls, value: str) -> "_Float32Settings":
        """Every operation at `ieee` or `tf32`."""
        is_tf32 = value == "tf32"
        return cls("high" if is_tf32 else "highest", is_tf32, (value,) * len(_SCOPES + _OPERATIONS))

    @classmethod
    def read(cls) -> "_Float32Settings":
        """The present settings, which stay.

        A new setting reads as the one that it follows: its own shows where the wider one is varied. An old one can be
        read where the new ones agree with it, so that all of its values are tried. What torch begins with for cuDNN,
        `tf32` that gives way to a wider setting, cannot be written; it is taken for a `tf32` of its own.
        """
        own = [_get_float32(*_SCOPES[0])]
        begins = [place for place in _OPERATIONS if own[0] == "none" and _get_float32(*place) == "tf32"]
        for place in (*_SCOPES[1:], *_OPERATIONS):
            seen = []
            for wider in ("ieee", "tf32"):
                _set_float32(*_SCOPES[0], wider)
                seen.append(_get_float32(*place))
            own.append(seen[0] if seen[0] == seen[1] else "none")
            if place in _SCOPES:
                _set_float32(*place, "none")
                if own[-1] != "none":
                    begins = [each for each in begins if each[0] != place[0]]  # They may have followed this one.
        for place in begins:
            own[len(_SCOPES) + _OPERATIONS.index(place)] = "tf32"
        for _, cuda, cpu in _MATMUL_WORDS:
            _set_float32("cuda", "matmul", cuda)
            _set_float32("mkldnn", "matmul", cpu)
            with contextlib.suppress(RuntimeError):
                matmul = torch.get_float32_matmul_precision()
        for value in ("ieee", "tf32"):
            _set_float32("cuda", "conv", value)
            _set_float32("cuda", "rnn", value)
            with contextlib.suppress(RuntimeError):
                allows_tf32 = torch.backends.cudnn.allow_tf32
        found = cls(matmul, allows_tf32, tuple(own))
        found.write()
        return found

    def write(self) -> None:
        """Makes these the settings: the old ones first, since they set new ones too."""
        torch.set_float32_matmul_precision(self.matmul)
        torch.backends.cudnn.allow_tf32 = self.allows_tf32
        for place, value in zip(_SCOPES + _OPERATIONS, self.own, strict=True):
            _set_float32(*place, value)
