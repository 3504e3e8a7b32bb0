"""Words that choose runs of the list: `lenet`, `model=lenet5`, `eps>0.03`, `tag:paper`, all of which must fit.

Draws nothing.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psi_core.errors import ConfigError, unknown_name
from psi_tui.text.comparisons import COMPARISONS, compare, filter_words
from psi_tui.text.runs import epsilon_number, epsilons_of

if TYPE_CHECKING:
    from psi_tui.runs.run_list import RunEntry

EXAMPLES = "model=lenet5, eps>0.03, tag:paper, accuracy<50, or any word"

_OPERATOR = re.compile("|".join([*COMPARISONS, ":"]))

_TEXTS: "dict[str, Callable[[RunEntry], Sequence[str]]]" = {
    "name": lambda entry: [entry.name],
    "id": lambda entry: [entry.id],
    "model": lambda entry: [entry.model],
    "data": lambda entry: [entry.data],
    "attack": lambda entry: entry.attack.split(", "),
    "tag": lambda entry: entry.label.tags,
    "note": lambda entry: [entry.label.note],
    "status": lambda entry: [entry.progress.status, *(["example"] if entry.is_example else [])],
}
"""Fields that hold words: `=` is one of them, `:` is in one of them."""

_NUMBERS: "dict[str, Callable[[RunEntry], Sequence[float | None]]]" = {
    "eps": lambda entry: epsilons_of(entry.epsilon),
    "images": lambda entry: [entry.progress.total],
    "done": lambda entry: [entry.progress.done],
    "accuracy": lambda entry: [entry.summary.accuracy_percent if entry.summary else None],
    "attacked": lambda entry: [entry.summary.attacked_accuracy_percent if entry.summary else None],
    "beyond": lambda entry: [entry.summary.delta_sd if entry.summary else None],
    "shift": lambda entry: [entry.summary.shift if entry.summary else None],
}
"""Fields that hold numbers: one of them must fit, and none of them `=` for `!=`."""

_AS_SET = ("eps", "images", "done")
"""Numbers that somebody set, or counts: `=` is met exactly, not as far as it is written."""

_ALIASES = {"epsilon": "eps", "run": "name", "tags": "tag"}

FIELDS = (*_TEXTS, *_NUMBERS)
"""What can stand before a comparison."""


@dataclass(frozen=True, slots=True)
class _Word:
    """One word of a filter; without a comparison it is looked for everywhere."""

    field: str
    comparison: str
    value: str

    def fits(self, entry: "RunEntry") -> bool:
        if not self.comparison:
            return self.value in _everything(entry)
        if self.field in _TEXTS:
            texts = [text.lower() for text in _TEXTS[self.field](entry)]
            found = any(self.value in text for text in texts) if self.comparison == ":" else self.value in texts
            return found != (self.comparison == "!=")
        sign = "=" if self.comparison in (":", "!=") else self.comparison
        wanted, text = _number(self.field, self.value), "" if self.field in _AS_SET else _plain_number(self.value)
        values = [value for value in _NUMBERS[self.field](entry) if value is not None]
        return any(compare(sign, value, wanted, text) for value in values) != (self.comparison == "!=")


def run_filter(text: str) -> "Callable[[RunEntry], bool]":
    """Whether a run fits every word of a text; capital letters do not matter, and spaces around a comparison neither.

    `=` compares what was measured as far as the number is written, `accuracy=98` with 97.5 to 98.5, and what somebody
    set exactly. `!=` fits all other runs.

    Raises:
        ConfigError: a comparison is of nothing that runs have, or with no number where it needs one.
    """
    words = [_word(word) for word in filter_words(text.lower(), _OPERATOR.pattern)]
    return lambda entry: all(word.fits(entry) for word in words)


def _word(text: str) -> _Word:
    found = _OPERATOR.search(text)
    if found is None or not found.start():
        return _Word("", "", text)
    typed, comparison, value = text[: found.start()], found.group(), text[found.end() :]
    name = _ALIASES.get(typed, typed)
    if name not in FIELDS:
        refusal = unknown_name("filter", typed, FIELDS)
        if comparison in (":", "=") and "did you mean" not in refusal:  # Names of models and runs hold these.
            return _Word("", "", text)
        raise ConfigError(refusal)
    if name in _TEXTS and comparison not in ("=", "!=", ":"):
        raise ConfigError(f"filter: {name} is a word; write {name}=... or {name}:...")
    if name in _NUMBERS and value:
        _number(name, value)
    if not value:  # It is still being typed.
        return _Word("", "", "")
    return _Word(name, comparison, value)


def _number(field: str, text: str) -> float:
    try:
        number = epsilon_number(text) if field == "eps" else float(_plain_number(text))
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ConfigError(f"filter: {text!r} after {field} is no number; write {field}>0.03")
    return number


def _plain_number(text: str) -> str:
    return text.replace(",", "").removesuffix("%")


def _everything(entry: "RunEntry") -> str:
    words = (entry.name, entry.id, entry.model, entry.data, entry.attack, entry.progress.status)
    said = (*entry.label.tags, entry.label.note)
    return " ".join((*words, *said, "example" if entry.is_example else "")).lower()
