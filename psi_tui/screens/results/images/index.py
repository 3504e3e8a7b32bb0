"""Every image of a run as arrays, one condition beside benign, and the words that choose images among them.

Images are filtered and sorted without a Python object per row. Words are `fooled`, `class=3`, `psi>0.93` or a bare
number; all of them must fit.
"""

import math
import re
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import Condition
from psi_core.errors import ConfigError, RunError, unknown_name
from psi_core.runs.run import Run
from psi_tui.text.comparisons import COMPARISONS, compare, filter_words

Places: TypeAlias = NDArray[np.intp]

BENIGN, ATTACKED = 0, 1
"""Places of the two conditions on the first axis of the arrays; the second may be a control too."""

OUTCOMES = ("kept", "fooled", "wrong", "righted")
"""What became of an image, by its number in `outcome`: right and right, right and wrong, wrong and wrong, wrong and
right. Where the labels are the network's own predictions, only the first two occur."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageIndex:
    """All images of a run that are there, under benign and one other condition, in order of the data set.

    Attributes:
        condition: the other condition.
        layers: names of the layers in forward order.
        layer: the one that `psi_benign`, `psi_attacked` and `shift` speak of.
        image: positions in the data set, (image,), ascending.
        label: (image,).
        prediction: (2, image), benign first.
        confidence: probability given to the label, (2, image).
        psi: (2, layer, image); NaN where the layer is silent.
        outcome: (image,), places in OUTCOMES.
        has_true_labels: whether labels are true ones, not the network's own predictions.
        class_names: names of the classes, or empty.
    """

    condition: str
    layers: tuple[str, ...]
    layer: str
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    confidence: NDArray[np.float32]
    psi: NDArray[np.float32]
    outcome: NDArray[np.uint8]
    has_true_labels: bool
    class_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run, condition: str, layer: str | None = None) -> "ImageIndex":
        """Reads a run; call it in a thread.

        Args:
            run: with results.
            condition: one of its conditions.
            layer: one of its layers; default the first.

        Raises:
            RunError: there are no results yet, no such condition or no such layer.
        """
        if condition not in run.conditions:
            raise RunError(unknown_name("condition", condition, run.conditions))
        both = [BENIGN, run.conditions.index(condition)]
        label, prediction = run.labels, run.predictions[both]
        before, now = prediction == label
        index = cls(
            condition=condition,
            layers=tuple(run.layers),
            layer=run.layers[0],
            image=run.index,
            label=label,
            prediction=prediction,
            confidence=run.array("confidence")[both],
            psi=run.psi[both],
            outcome=np.select([before & now, before, now], [0, 1, 3], 2).astype(np.uint8),
            has_true_labels=run.config.labels == "true",
            class_names=tuple(map(str, run.model.get("class_names") or ())),
        )
        return index if layer is None else index.with_layer(layer)

    def with_layer(self, layer: str) -> "ImageIndex":
        """The same images with another layer chosen.

        Raises:
            RunError: there is no such layer.
        """
        if layer not in self.layers:
            raise RunError(unknown_name("layer", layer, self.layers))
        return replace(self, layer=layer)

    @property
    def is_alone(self) -> bool:
        """Whether there is but benign: nothing was done to the images."""
        return Condition.of_name(self.condition).is_benign

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of everything that images can be sorted and filtered by."""
        kinds = ("psi",) if self.is_alone else ("shift", "psi")
        known = [name for name in _COLUMNS if not (self.is_alone and name in _OF_TWO)]
        return (*known, *(f"{kind}_{layer}" for kind in kinds for layer in self.layers))

    def values(self, column: str) -> NDArray[Any]:
        """One column, (image,).

        Args:
            column: one of `columns`; `psi_conv1` is the attacked PSI of conv1.

        Raises:
            ConfigError: there is no such column.
        """
        of_layer = self.psi[:, self.layers.index(self.layer)]
        known: dict[str, NDArray[Any]] = {
            "image": self.image,
            "label": self.label,
            "benign": self.prediction[BENIGN],
            "attacked": self.prediction[ATTACKED],
            "outcome": self.outcome,
            "confidence_benign": self.confidence[BENIGN],
            "confidence_attacked": self.confidence[ATTACKED],
            "psi_benign": of_layer[BENIGN],
            "psi_attacked": of_layer[ATTACKED],
        }
        if column in known:
            return known[column]
        kind, _, layer = column.partition("_")
        if column != "shift" and (layer not in self.layers or kind not in ("shift", "psi")):
            raise ConfigError(unknown_name("column", column, self.columns))
        benign, attacked = self.psi[:, self.layers.index(layer or self.layer)]
        # In double precision, as the differences of the tables.
        values: NDArray[Any] = attacked if kind == "psi" else attacked.astype(np.float64) - benign
        return values

    def filtered(self, text: str) -> "ImageView":
        """The images that every word of `text` fits; see `image_filter`.

        Raises:
            ConfigError: a word means nothing, or nothing in this run.
        """
        return ImageView(self, np.flatnonzero(matching(self, text)))


@dataclass(frozen=True, slots=True, eq=False)
class ImageView:
    """Some images of an index in some order.

    Attributes:
        index: that they belong to.
        places: of the images in the index's arrays, in the order of the view.
    """

    index: ImageIndex
    places: Places

    def __len__(self) -> int:
        return len(self.places)

    @property
    def total(self) -> int:
        """How many images the index has."""
        return len(self.index.image)

    def sorted_by(self, column: str, descending: bool = False) -> "ImageView":
        """The same images by one column, equal ones as they stood; those without a value last, either way.

        Raises:
            ConfigError: there is no such column.
        """
        values = self.index.values(column)[self.places].astype(np.float64)
        order = np.argsort(-values if descending else values, kind="stable")  # It puts NaN last.
        return replace(self, places=self.places[order])

    def row_of(self, image: int) -> int | None:
        """The row of an image by its position in the data set, or None."""
        (rows,) = np.nonzero(self.index.image[self.places] == image)
        return int(rows[0]) if len(rows) else None


_COLUMNS = (
    "image",
    "label",
    "benign",
    "attacked",
    "outcome",
    "confidence_benign",
    "confidence_attacked",
    "psi_benign",
    "psi_attacked",
    "shift",
)

_OF_TWO = ("attacked", "confidence_attacked", "psi_attacked", "shift")
"""Columns that need something that was done to the images."""

Mask = NDArray[np.bool_]

WORDS: dict[str, str] = {
    "fooled": "right before the attack, wrong now",
    "kept": "right before, right now",
    "correct": "right before",
    "wrong": "wrong before, wrong now",
    "righted": "wrong before, right now",
    "changed": "another class than before, right or wrong",
}
"""Words that stand alone, and what they choose."""

_OLD_WORDS = {"flipped": "fooled", "resisted": "kept"}
"""Words that were others once; they mean the same."""

QUANTITIES: dict[str, str] = {
    "class": "label",
    "from": "benign",
    "to": "attacked",
    "psi": "psi_attacked",
    "shift": "shift",
    "confidence": "confidence_attacked",
}
"""Short names of columns; every column's own name does as well."""

EXAMPLES_ALONE = "correct, wrong, class=3, psi>0.93, confidence<0.5, or the number of an image"
"""Where nothing was done to the images."""

EXAMPLES = "fooled, class=3, psi>0.93, to=5, shift<-0.01, confidence<0.5, or the number of an image"

_CLASSES = ("label", "benign", "attacked")
_NEED_TRUE_LABELS = ("correct", "wrong", "righted")
_NEED_NO_ATTACK = ("correct", "wrong")
_OPERATOR = "|".join(COMPARISONS)


def matching(index: "ImageIndex", text: str) -> Mask:
    """Which images every word of `text` fits, (image,); all where there is no word.

    Words are set apart by spaces; capital letters do not matter. `=` compares as far as the number is written:
    `psi=0.93` fits 0.925 to 0.935, and `!=` fits all others, silent ones too. These fit no other comparison.

    Raises:
        ConfigError: a word means nothing, or nothing in this run.
    """
    mask = np.ones(len(index.image), np.bool_)
    for word in filter_words(text, _OPERATOR):
        mask &= _fits(index, word)
    return mask


def _fits(index: "ImageIndex", word: str) -> Mask:
    name, comparison, value = _parts(f"image={word}" if word.isdecimal() else word)
    column = _column(index, name)
    if not comparison:
        if column is not None:
            raise ConfigError(f"filter: {name} is compared with something; write {name}{_example(column)}")
        return _fits_word(index, _OLD_WORDS.get(word.lower(), word.lower()))
    if column is None:
        raise ConfigError(unknown_name("filter", name, [*QUANTITIES, *_comparable(index)]))
    values, number = index.values(column), _number(index, name, column, value)
    is_measured = values.dtype.kind == "f"
    fits: Mask = compare(comparison, values.astype(np.float64), number, value if is_measured else "")
    return fits


def _parts(word: str) -> tuple[str, str, str]:
    """What stands before, in and after the first comparison of a word; the last two empty where there is none."""
    found = re.search(_OPERATOR, word)
    return (word[: found.start()], found.group(), word[found.end() :]) if found else (word, "", "")


def _column(index: "ImageIndex", name: str) -> str | None:
    """The column that a name means, or None."""
    columns = {column.lower(): column for column in _comparable(index)}
    if name in columns.values():
        return name
    meant = QUANTITIES.get(name.lower(), "")
    if index.is_alone:
        meant = meant.replace("_attacked", "_benign")
    return meant if meant in columns else columns.get(name.lower())


def _comparable(index: "ImageIndex") -> list[str]:
    """Columns that numbers are compared with; outcomes have words of their own."""
    return [column for column in index.columns if column != "outcome"]


def _fits_word(index: "ImageIndex", word: str) -> Mask:
    if word not in WORDS:
        near = unknown_name("filter", word, [*WORDS, *QUANTITIES])
        examples = EXAMPLES_ALONE if index.is_alone else EXAMPLES
        raise ConfigError(near if "did you mean" in near else f"filter: there is no {word!r}; write {examples}")
    before, now = index.prediction == index.label
    changed = index.prediction[0] != index.prediction[1]
    if index.is_alone and word not in _NEED_NO_ATTACK:
        raise ConfigError(f"filter: nothing was done to the images, so none is {word}; write class=3 or psi>0.93")
    if word in _NEED_TRUE_LABELS and not index.has_true_labels:
        instead = "class=3" if index.is_alone else "fooled or kept"
        raise ConfigError(f"filter: this run has no true labels, so no image is {word}; write {instead}")
    masks: dict[str, Mask] = {
        "fooled": before & ~now,
        "correct": before,
        "wrong": ~before & ~now,
        "righted": ~before & now,
        "changed": changed,
        "kept": before & now if index.has_true_labels else ~changed,
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
