"""The words that choose images: `flipped`, `class=3`, `psi>0.93`, a bare number. All words must fit."""

import math
import operator
import re
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from psi_core.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from psi_tui.image_index import ImageIndex

Mask = NDArray[np.bool_]

WORDS: dict[str, str] = {
    "flipped": "right before the attack, wrong now",
    "fooled": "as flipped",
    "resisted": "right before, right now",
    "correct": "right before",
    "wrong": "wrong before, wrong now",
    "righted": "wrong before, right now",
    "changed": "another class than before, right or wrong",
    "kept": "the same class as before",
}
"""Words that stand alone, and what they choose."""

QUANTITIES: dict[str, str] = {
    "class": "label",
    "from": "benign",
    "to": "attacked",
    "psi": "psi_attacked",
    "shift": "shift",
    "confidence": "confidence_attacked",
}
"""Short names of columns; every column's own name does as well."""

EXAMPLES = "flipped, class=3, psi>0.93, to=5, shift<-0.01, confidence<0.5, or the number of an image"

_CLASSES = ("label", "benign", "attacked")
_NEED_TRUE_LABELS = ("correct", "wrong", "righted")
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_OPERATOR = "|".join(_COMPARISONS)


def matching(index: "ImageIndex", text: str) -> Mask:
    """Which images every word of `text` fits, (image,); all where there is no word.

    Words are set apart by spaces; capital letters do not matter. `=` compares as far as the number is written:
    `psi=0.93` fits 0.925 to 0.935. Silent images fit no comparison.

    Raises:
        ConfigError: a word means nothing, or nothing in this run.
    """
    mask = np.ones(len(index.image), np.bool_)
    for word in re.sub(rf"\s*({_OPERATOR})\s*", r"\1", text).split():
        mask &= _fits(index, word)
    return mask


def _fits(index: "ImageIndex", word: str) -> Mask:
    name, comparison, value = _parts(f"image={word}" if word.isdecimal() else word)
    column = _column(index, name)
    if not comparison:
        if column is not None:
            raise ConfigError(f"filter: {name} is compared with something; write {name}{_example(column)}")
        return _fits_word(index, word.lower())
    if column is None:
        raise ConfigError(unknown_name("filter", name, [*QUANTITIES, *_comparable(index)]))
    values, number = index.values(column), _number(index, name, column, value)
    if comparison in ("=", "!=") and values.dtype.kind == "f":
        # As many decimals as were written; more than 15 no double has.
        decimals = min(15, -int(Decimal(value).as_tuple().exponent))
        values, number = values.astype(np.float64).round(decimals), round(number, decimals)
    fits: Mask = _COMPARISONS[comparison](values, number) & ~np.isnan(values)
    return fits


def _parts(word: str) -> tuple[str, str, str]:
    """What stands before, in and after the first comparison of a word; the last two empty where there is none."""
    found = re.search(_OPERATOR, word)
    return (word[: found.start()], found.group(), word[found.end() :]) if found else (word, "", "")


def _column(index: "ImageIndex", name: str) -> str | None:
    """The column that a name means, or None."""
    columns = {column.lower(): column for column in _comparable(index)}
    return name if name in columns.values() else QUANTITIES.get(name.lower(), columns.get(name.lower()))


def _comparable(index: "ImageIndex") -> list[str]:
    """Columns that numbers are compared with; outcomes have words of their own."""
    return [column for column in index.columns if column != "outcome"]


def _fits_word(index: "ImageIndex", word: str) -> Mask:
    if word not in WORDS:
        near = unknown_name("filter", word, [*WORDS, *QUANTITIES])
        raise ConfigError(near if "did you mean" in near else f"filter: there is no {word!r}; write {EXAMPLES}")
    if word in _NEED_TRUE_LABELS and not index.has_true_labels:
        raise ConfigError(f"filter: this run has no true labels, so no image is {word}; write changed or kept")
    before, now = index.prediction == index.label
    changed = index.prediction[0] != index.prediction[1]
    masks: dict[str, Mask] = {
        "flipped": before & ~now,
        "fooled": before & ~now,
        "resisted": before & now,
        "correct": before,
        "wrong": ~before & ~now,
        "righted": ~before & now,
        "changed": changed,
        "kept": ~changed,
    }
    return masks[word]


def _number(index: "ImageIndex", name: str, column: str, value: str) -> float:
    """The number that stands after a comparison; a class may be named too, though its number goes first."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    classes = [class_name.lower() for class_name in index.class_names] if column in _CLASSES else []
    if not math.isfinite(number) and value.lower() in classes:
        return classes.index(value.lower())
    if not math.isfinite(number):
        raise ConfigError(f"filter: {value!r} after {name} is no number; write {name}{_example(column)}")
    return number


def _example(column: str) -> str:
    if column in _CLASSES or column == "image":
        return "=3"
    return ">0.01" if column.startswith("shift") else ">0.9"
