"""Kinds of layers as the screen tells them apart: a glyph, a word, and whether responses below 0 can come."""

_KINDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("conv",), "■", "convolution"),
    (("linear",), "×", "matrix"),  # noqa: RUF001
    (("pool",), "▼", "pooling"),
    (("norm",), "≈", "normalization"),
    (("drop", "depth"), "░", "dropout"),
    (("relu", "elu", "swish", "mish", "sigmoid", "tanh", "softmax", "softplus", "silu"), "╱", "activation"),  # noqa: RUF001
)
"""Parts of a kind's name, its glyph, its word; the first that fits counts."""

_OTHER = ("·", "other")

RELU_KINDS = frozenset({"relu", "relu6"})
"""Kinds that a run taps unless told otherwise; the engine's RELUS holds the same."""

NONNEGATIVE_KINDS = RELU_KINDS | {"sigmoid", "hardsigmoid", "softmax", "softplus"}
"""Kinds whose responses pass without `rectify`."""


def kind_glyph(kind: str) -> str:
    """One character for a kind such as `Conv2d` or `relu`."""
    return _glyph_and_word(kind)[0]


def kind_word(kind: str) -> str:
    """What a kind is, in a word."""
    return _glyph_and_word(kind)[1]


def _glyph_and_word(kind: str) -> tuple[str, str]:
    lowered = kind.lower()
    return next(((glyph, word) for parts, glyph, word in _KINDS if any(part in lowered for part in parts)), _OTHER)
