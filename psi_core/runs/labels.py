"""What a person says of a run: another name, tags, a note. It lies beside the results, in `label.json`.

No worker writes that file and no digest holds it: results and configuration stay as they are whatever is said of them.
A file that cannot be read is named, and the run goes on without it.
"""

import contextlib
import fcntl
import json
import os
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from psi_core.errors import ConfigError, RunError, way_to_write
from psi_core.files import flush_to_disk, is_example, replacing
from psi_core.plain_text import is_plain
from psi_core.runs.loading import read_json
from psi_core.typed_names import plain_name, typable_name

LABEL = "label.json"
"""Name of the file in the run directory."""

_FORMAT = 1
_LOCK_SECONDS = 5.0
_MOST_BYTES = 100_000
_LONGEST_NAME, _LONGEST_TAG, _LONGEST_NOTE = 200, 32, 2000
_MOST_TAGS = 20
_TAG_MARKS = "._/-"
"""What may stand in a tag beside letters and digits."""


@dataclass(frozen=True, slots=True)
class Label:
    """What is said of a run.

    Attributes:
        name: in the place of the run's own; empty where that stays.
        tags: words that several runs may share; capital letters do not tell them apart.
        note: one paragraph.
        trouble: why the file cannot be read, in words that follow its name; empty where it can.
    """

    name: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    trouble: str = ""

    @property
    def damage(self) -> str:
        """The trouble with the name of its file; empty where there is none."""
        return f"{LABEL} {self.trouble}" if self.trouble else ""

    def with_tags(self, add: Iterable[str] = (), remove: Iterable[str] = ()) -> "Label":
        """The same with some tags more and others fewer, in the order in which they came.

        Raises:
            ConfigError: a word cannot be a tag, or there would be too many.
        """
        gone = {tag.casefold() for tag in checked_tags(remove)}
        return replace(
            self, tags=checked_tags([tag for tag in (*self.tags, *checked_tags(add)) if tag.casefold() not in gone])
        )


def checked_name(text: str) -> str:
    """A name as `--name` takes it, without blanks around it; empty for none.

    Raises:
        ConfigError: it cannot name a run.
    """
    try:
        name = plain_name(typable_name(text))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if len(name) > _LONGEST_NAME:
        raise ConfigError(f"name: it has {len(name)} characters; write at most {_LONGEST_NAME}, and the rest as a note")
    return name


def checked_tags(words: Iterable[str]) -> tuple[str, ...]:
    """Tags without repetitions; a # before one is left out.

    Raises:
        ConfigError: a word cannot be a tag, or there are too many.
    """
    found: dict[str, str] = {}
    for word in words:
        tag = unicodedata.normalize("NFC", word.strip().removeprefix("#"))
        if not tag[:1].isalnum() or any(not (letter.isalnum() or letter in _TAG_MARKS) for letter in tag):
            raise ConfigError(
                f"tag: {word[:40]!r} does not fit; begin with a letter or a digit, and use these and . _ / -"
            )
        if len(tag) > _LONGEST_TAG:
            raise ConfigError(f"tag: {tag[:40]!r} has {len(tag)} characters; write at most {_LONGEST_TAG}")
        found.setdefault(tag.casefold(), tag)
    if len(found) > _MOST_TAGS:
        raise ConfigError(f"tag: {len(found)} are too many; a run has at most {_MOST_TAGS}")
    return tuple(found.values())


def checked_note(text: str) -> str:
    """A note in one paragraph: line breaks and tabs become blanks.

    Raises:
        ConfigError: it holds control characters, or is too long.
    """
    note = " ".join(text.split())
    if not is_plain(note):
        raise ConfigError("note: it holds control characters; write it without them")
    if len(note) > _LONGEST_NOTE:
        raise ConfigError(f"note: it has {len(note)} characters; write at most {_LONGEST_NOTE}")
    return note


def load_label(directory: Path) -> Label:
    """What is said of a run; nothing where nothing is, and the trouble alone where the file cannot be read."""
    path = directory / LABEL
    if not os.path.lexists(path):
        return Label()
    try:
        return _label(read_json(path, _MOST_BYTES))
    except RunError as error:
        if not os.path.lexists(path):  # It was taken back just now.
            return Label()
        cause = str(error).removeprefix(f"{path}: ").rpartition("; ")[0]
    except (ConfigError, TypeError) as error:
        cause = f"cannot be read ({error})"
    return Label(trouble=f"{cause}; the run goes on without its name, tags and note")


def require_labelable(directory: Path) -> Label:
    """What is said of a run so far, where that can be changed.

    Raises:
        RunError: the run ships with the package, or its file holds what would be lost.
    """
    if is_example(directory):
        raise RunError(f"label: {directory.name} ships with psi-tui and is read-only; label a run of your own")
    label = load_label(directory)
    if label.trouble:
        cause = label.trouble.rpartition("; ")[0]
        raise RunError(f"label: {directory / LABEL} {cause}; move that file away, then label the run again")
    return label


def write_label(directory: Path, label: Label) -> None:
    """Says something of a run in the place of what was said. A reader sees either of them, never a part.

    Raises:
        RunError: as of `require_labelable`, or the file cannot be written.
        ConfigError: name, tags or note cannot stand.
    """
    require_labelable(directory)
    name, tags, note = checked_name(label.name), checked_tags(label.tags), checked_note(label.note)
    path = directory / LABEL
    values = {"format": _FORMAT, "name": name, "tags": tags, "note": note}
    try:
        if not (name or tags or note):
            path.unlink(missing_ok=True)
            return
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            flush_to_disk(temporary)
    except OSError as error:
        raise RunError(f"label: {path} cannot be written ({error.strerror}); {way_to_write(error)}") from None


def change_label(directory: Path, change: Callable[[Label], Label]) -> None:
    """Says something of a run by what is said of it now: of two who do so at once, none loses what the other said.

    Args:
        directory: the run's.
        change: gives what is to be said, of what is.

    Raises:
        RunError: as of `write_label`.
        ConfigError: likewise.
    """
    with _alone(directory):
        write_label(directory, change(require_labelable(directory)))


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Within the block no other process of this machine is in such a block, where the disk has locks.

    The folder itself is locked, for a moment: a lock's file would lie among the results.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, folder)
            over = time.monotonic() + _LOCK_SECONDS
            while time.monotonic() < over:
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.02)
        yield


def _label(values: Any) -> Label:
    """The label that the values of a file hold. Keys of a newer version are passed over.

    Raises:
        TypeError: a value is of another type.
        ConfigError: a value cannot stand.
    """
    found = values.get("format") if isinstance(values, dict) else None
    if type(found) is not int or found != _FORMAT:
        raise TypeError(f"format {str(found)[:40]!r} is not {_FORMAT}, which this version reads")
    name, tags, note = (values.get(key) for key in ("name", "tags", "note"))
    for key, value in (("name", name), ("note", note)):
        if not isinstance(value, str | None):
            raise TypeError(f"{key} is {str(value)[:40]!r}")
    if not isinstance(tags, list | None) or not all(isinstance(tag, str) for tag in tags or ()):
        raise TypeError(f"tags are {str(tags)[:40]!r}")
    return Label(checked_name(name or ""), checked_tags(tags or ()), checked_note(note or ""))
