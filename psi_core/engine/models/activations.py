"""Activations: which calls are ones, by which name, and what is known of their outputs.

Rectifiers are told by what they do: `clamp(min=0)`, a threshold at 0 and a maximum with 0 are ReLUs by other names.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from psi_core.engine.models.classifier import SIGMOIDS

RELUS = frozenset({"relu", "relu6", "clamp", "threshold", "maximum"})
"""Kinds of call that `--layers relu` takes."""

NONNEGATIVE = RELUS | {"sigmoid", "hardsigmoid", "softmax", "softplus"}
"""Kinds of call that never give a negative response; a `maximum` does where it is not one with 0."""

_WORDS: Mapping[str, str] = {
    **{"relu": "ReLU", "relu6": "ReLU6", "clamp": "clamp at 0", "threshold": "Threshold", "maximum": "maximum with 0"},
    **{"softplus": "Softplus", "leaky_relu": "LeakyReLU", "prelu": "PReLU", "rrelu": "RReLU", "elu": "ELU"},
    **{"selu": "SELU", "celu": "CELU", "gelu": "GELU", "silu": "SiLU", "mish": "Mish", "hardswish": "Hardswish"},
    **{"tanh": "Tanh", "hardtanh": "Hardtanh", "softsign": "Softsign", "tanhshrink": "Tanhshrink"},
    **{"softshrink": "Softshrink", "hardshrink": "Hardshrink"},
}
"""What activations of features are called; gates (sigmoid, softmax) are none."""

_NODES: Mapping[str, str] = {
    **{"Relu": "ReLU", "Threshold": "Threshold", "Clamp": "clamp at 0", "ClampMin": "clamp at 0", "Hardtanh": "ReLU6"},
    **{"Maximum": "maximum with 0", "Softplus": "Softplus", "LeakyRelu": "LeakyReLU", "PreluKernel": "PReLU"},
    **{"RreluWithNoise": "RReLU", "Elu": "ELU", "Celu": "CELU", "Gelu": "GELU", "Silu": "SiLU", "Mish": "Mish"},
    **{"Hardswish": "Hardswish", "Tanh": "Tanh", "Mul": "product with a mask", "Where": "choice by a mask"},
    **{"MaskedFill": "choice by a mask", "IndexPut": "assignment by a mask", "Erf": "GELU", "Sin": "sine"},
    "MkldnnRnnLayer": "fused LSTM",
}
"""Nodes of a gradient's graph that are activations, and what they are called."""

ACTIVATION_MODULES = (
    *(nn.ReLU, nn.Hardtanh, nn.Threshold, nn.Sigmoid, nn.Hardsigmoid, nn.Softmax, nn.Softplus),
    *(nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish),
    *(nn.Tanh, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink),
)
"""Modules that are one activation: their call bears their own name."""

_CLAMPS = frozenset(
    getattr(place, name) for place in (torch, Tensor) for name in ("clamp", "clamp_", "clip", "clip_")
) | {getattr(place, name) for place in (torch, Tensor) for name in ("clamp_min", "clamp_min_")}
_MAXIMA = frozenset({torch.maximum, Tensor.maximum, torch.max, Tensor.max, torch.fmax, Tensor.fmax})
_THRESHOLDS = frozenset({F.threshold, torch.threshold, torch.threshold_})
_HARDTANHS = frozenset({F.hardtanh, F.hardtanh_})

RELU_FUNCTIONS = frozenset({F.relu, torch.relu, Tensor.relu})
"""Functions that give the ReLU of a tensor."""

RELU_FUNCTIONS_IN_PLACE = frozenset({F.relu_, torch.relu_, Tensor.relu_})
"""Those that write it into the tensor."""

_KINDS: Mapping[Callable[..., Any], str] = {
    **dict.fromkeys(RELU_FUNCTIONS | RELU_FUNCTIONS_IN_PLACE, "relu"),
    F.relu6: "relu6",
    **dict.fromkeys(SIGMOIDS, "sigmoid"),
    F.hardsigmoid: "hardsigmoid",
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), "softmax"),
    F.softplus: "softplus",
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), "leaky_relu"),
    **dict.fromkeys((F.prelu, torch.prelu, Tensor.prelu), "prelu"),
    **dict.fromkeys((F.rrelu, F.rrelu_, torch.rrelu, torch.rrelu_), "rrelu"),
    **dict.fromkeys((F.elu, F.elu_), "elu"),
    **dict.fromkeys((F.selu, F.selu_, torch.selu, torch.selu_), "selu"),
    **dict.fromkeys((F.celu, F.celu_, torch.celu, torch.celu_), "celu"),
    F.gelu: "gelu",
    F.silu: "silu",
    F.mish: "mish",
    F.hardswish: "hardswish",
    **dict.fromkeys((F.tanh, torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_), "tanh"),
    F.softsign: "softsign",
    F.logsigmoid: "logsigmoid",
    F.tanhshrink: "tanhshrink",
    F.softshrink: "softshrink",
    F.hardshrink: "hardshrink",
}


def activation_kind(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """What kind of activation a call is; None where it is none.

    A call of `maximum` is one whatever its second argument holds, which would have to be looked at; so is a `clamp` at
    a tensor.
    """
    kind = _KINDS.get(func)
    if kind is not None:
        return kind
    if func in _CLAMPS:
        least = _argument(args, kwargs, 1, "min", None)
        is_at_zero = isinstance(least, int | float) and least == 0
        return "clamp" if is_at_zero else "maximum" if isinstance(least, Tensor) else None
    if func in _MAXIMA:
        return "maximum" if isinstance(_argument(args, kwargs, 1, "other", None), Tensor) else None
    if func in _THRESHOLDS:
        at, value = _argument(args, kwargs, 1, "threshold", -1.0), _argument(args, kwargs, 2, "value", -1.0)
        return "threshold" if at >= 0 and value == 0 else None
    if func in _HARDTANHS:
        return "relu6" if _argument(args, kwargs, 1, "min_val", -1.0) >= 0 else "hardtanh"
    return None


def is_rectified(kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of this kind is a ReLU by any name. Looks at the values that a maximum is taken with."""
    if kind != "maximum":
        return kind in RELUS
    tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
    return any(not bool(each.any()) for each in tensors[1:]) or (len(tensors) > 1 and not bool(tensors[0].any()))


def word_of(kind: str) -> str | None:
    """What an activation of features is called; None for gates."""
    return _WORDS.get(kind)


def unseen_activations(output: Tensor, seen: Iterable[Any]) -> Counter[str]:
    """Activations in the graph of a forward's output that no call has shown: written by hand, or in scripted code.

    Args:
        output: what a forward of at least two images gave, with its graph.
        seen: nodes of the activations that were seen.
    """
    known = set(map(_itself, seen))
    found: Counter[str] = Counter()
    waiting, visited = [output.grad_fn], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        waiting += [following for following, _ in node.next_functions]
        word = _NODES.get(node.name().lstrip("_").partition("Backward")[0])
        if _is_silu(node):
            found["SiLU"] += 1
        elif word is not None and node not in known and _is_activation(node):
            found[word] += 1
    return found


def _itself(node: Any) -> Any:
    """The node of which this one only hands on what it gave, as for a tensor of another class; others as they are."""
    while node is not None and node.name().startswith("AliasBackward"):
        node = node.next_functions[0][0]
    return node


def _is_silu(node: Any) -> bool:
    """Whether a node is the product of features with their own sigmoid, a SiLU written by hand."""
    if not node.name().startswith("Mul") or len(node.next_functions) != 2:
        return False
    pairs = (node.next_functions, node.next_functions[::-1])
    return any(gate and gate.name().startswith("Sigmoid") and gate.next_functions == (x,) for x, (gate, _) in pairs)


def _is_activation(node: Any) -> bool:
    """Whether a node of that name is one: a clamp at 0, or a choice by a mask that is another for every image."""
    name = node.name()
    if name.startswith("Clamp"):
        return getattr(node, "_saved_min", None) == 0
    if name.startswith("Maximum"):
        return any(not bool(each.any()) for each in (node._saved_self, node._saved_other) if each is not None)
    if name.startswith("Mul"):
        # Comparisons have no gradient; what is all 0 or 1 and has one, such as sign(), is no mask.
        factors = zip(("self", "other"), node.next_functions, strict=False)
        return any(_is_mask(getattr(node, f"_saved_{side}", None)) for side, (before, _) in factors if before is None)
    if name.startswith(("Where", "MaskedFill")):
        return any(_is_mask(getattr(node, f"_saved_{side}", None)) for side in ("condition", "mask"))
    return True


def _is_mask(values: Any) -> bool:
    """Whether values are all 0 or 1, and others for the second image than for the first."""
    if not isinstance(values, Tensor) or values.is_complex():  # The graph keeps a complex number as it is.
        return False
    if values.dim() < 2 or len(values) < 2 or torch.equal(values[0], values[1]):
        return False
    return values.dtype == torch.bool or bool(((values == 0) | (values == 1)).all())


def _argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)
