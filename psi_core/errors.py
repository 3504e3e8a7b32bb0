"""Every error that psi-tui raises on purpose, and how an unknown name is answered.

PsiError
├── ConfigError   an option or configuration key is wrong       (also ValueError)
├── ModelError    a model, layer or weights file is wrong        (also ValueError)
├── DataError     a data set or an image is wrong                (also ValueError)
└── RunError      a run directory, or a run under way, is wrong
    └── IncompleteError   what was asked for several could not be done to all

A message reads `where: what is wrong; what to write instead`.
"""

import difflib
import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from psi_core.plain_text import plain_line

Thing = TypeVar("Thing")


class PsiError(Exception):
    """Anything that psi-tui refuses or fails at, in one sentence.

    Files, folders and their contents speak in many of them: what a terminal could take for an order is replaced here,
    and a line break that would look like a line of ours.
    """

    def __init__(self, sentence: str = "") -> None:
        super().__init__(plain_line(sentence))


class ConfigError(PsiError, ValueError):
    """An option or configuration key that cannot stand."""


class ModelError(PsiError, ValueError):
    """A model, layer or weights file that cannot be used."""


class DataError(PsiError, ValueError):
    """A data set or image that cannot be used."""


class RunError(PsiError):
    """A run that cannot be found, read, started or finished."""


class IncompleteError(RunError):
    """What was asked for several runs, or for one, and could not be done to all of them.

    Args:
        first: how many it was done to.
        refusals: a sentence for each of the others.
    """

    def __init__(self, first: str, *refusals: str) -> None:
        super().__init__(first)
        self.args = (NEXT_LINE.join([*self.args, *map(plain_line, refusals)]),)


NEXT_LINE = "\n  "
"""Parts what is told of one run from what is told of the next."""


def attempted(act: Callable[[Thing], object], things: Iterable[Thing]) -> tuple[list[Thing], list[str]]:
    """Does something to each of several things; where one of them refuses, the others still have their turn.

    Returns:
        Those to which it was done, and a sentence for each of the others.
    """
    done, refusals = [], []
    for thing in things:
        try:
            act(thing)
        except PsiError as error:
            refusals.append(str(error))
        else:
            done.append(thing)
    return done, refusals


def incomplete(words: str, done: int, refusals: Sequence[str], most: int | None = None) -> IncompleteError:
    """The error for those that refused, each in a line with its reason; of a single one its own sentence.

    Args:
        words: what was done, after the number of runs: `are labeled`.
        done: to how many.
        refusals: a sentence for each of the others.
        most: how many of these are told; all by default.
    """
    every = done + len(refusals)
    if every == 1:
        return IncompleteError(refusals[0])
    told = refusals[: most or every]
    more = [f"and {len(refusals) - len(told)} more"] if len(told) < len(refusals) else []
    return IncompleteError(f"{done} of {every} runs {words}, not so:", *told, *more)


def first_of(texts: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """Texts side by side, of many the first ones and how many more there are."""
    more = len(texts) - most
    return between.join(texts[:most]) + (f" and {more} more" if more > 0 else "")


def missing_file(where: str, path: Path, advice: str, kind: str = "file") -> str:
    """One sentence for a file or folder that is not there: the one beside it with the nearest name, or else what to do.

    Args:
        where: option that names it.
        path: as it was written.
        advice: what to write, where no name is near.
        kind: `file` or `folder`.
    """
    is_folder = kind == "folder"
    try:
        if stat.S_ISDIR(path.stat().st_mode) is not is_folder:
            return f"{where}: {path} is a {'file' if is_folder else 'folder'}; {advice}"
        if not is_folder and not path.is_file():
            return f"{where}: {path} is no plain file; {advice}"
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            return f"{where}: {path} cannot be looked at ({error.strerror}); {advice}"
    try:
        neighbors = itertools.islice(path.parent.iterdir(), _MOST_NEIGHBORS)
        beside = [one.name for one in neighbors if one.is_dir() is is_folder]
    except OSError:
        beside = []
    alike = [name for name in beside if name.endswith(path.suffix)]
    near = difflib.get_close_matches(path.name, alike, n=1, cutoff=0.6)
    near = near or difflib.get_close_matches(path.name, beside, n=1, cutoff=0.85)  # Such as .pth for .pt.
    return f"{where}: there is no {kind} {path}; " + (f"did you mean {path.with_name(near[0])}?" if near else advice)


def reason_of(error: BaseException) -> str:
    """What an exception says, in half a sentence: of one of the system's its words, without number and path."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def way_to_write(error: OSError) -> str:
    """What to do where the system refused to write, or to delete."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some disk"
    return "mount its disk for writing" if error.errno == errno.EROFS else "check who owns it"


def system_sentence(error: OSError) -> str:
    """One sentence for what the system refused where nobody foresaw it."""
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return "folder: the current one is gone; change to another"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "files: the system lets no more be open at once; allow more, as with ulimit -n 1024"
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "output"
    reason = error.strerror or error
    return f"{place}: cannot be used ({reason}); check whether it is there, full or read-only, and whose it is"


_MOST_NEIGHBORS = 2000
"""Files of a folder that are looked at for a near name."""


def unknown_name(where: str, name: object, known: Iterable[str]) -> str:
    """One sentence for a name that does not exist: the nearest known one, or else all of them.

    What is no text, as a notebook may give it, is no name either.
    """
    names, typed = list(known), str(name).lower()
    begun = [n.lower() for n in names if typed and n.lower().startswith(typed)]
    near = difflib.get_close_matches(typed, [n.lower() for n in names], n=1, cutoff=0.6)
    near = begun if len(begun) == 1 else near  # What was not written to its end.
    if near:
        original = next(n for n in names if n.lower() == near[0])
        return f"{where}: there is no {name!r}; did you mean {original!r}?"
    return f"{where}: there is no {name!r}; write one of {first_of(names, 12)}"
