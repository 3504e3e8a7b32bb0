"""Every error that psi-tui raises on purpose, and how an unknown name is answered.

PsiError
├── ConfigError   an option or configuration key is wrong       (also ValueError)
├── ModelError    a model, layer or weights file is wrong        (also ValueError)
├── DataError     a data set or an image is wrong                (also ValueError)
└── RunError      a run directory, or a run under way, is wrong

A message reads `where: what is wrong; what to write instead`.
"""

import difflib
from collections.abc import Iterable, Sequence


class PsiError(Exception):
    """Anything that psi-tui refuses or fails at, in one sentence."""


class ConfigError(PsiError, ValueError):
    """An option or configuration key that cannot stand."""


class ModelError(PsiError, ValueError):
    """A model, layer or weights file that cannot be used."""


class DataError(PsiError, ValueError):
    """A data set or image that cannot be used."""


class RunError(PsiError):
    """A run that cannot be found, read, started or finished."""


def first_of(texts: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """Texts side by side, of many the first ones and how many more there are."""
    more = len(texts) - most
    return between.join(texts[:most]) + (f" and {more} more" if more > 0 else "")


def unknown_name(where: str, name: str, known: Iterable[str]) -> str:
    """One sentence for a name that does not exist: the nearest known one, or else all of them."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.6)
    if near:
        original = next(n for n in names if n.lower() == near[0])
        return f"{where}: there is no {name!r}; did you mean {original!r}?"
    return f"{where}: there is no {name!r}; write one of {first_of(names, 12)}"
