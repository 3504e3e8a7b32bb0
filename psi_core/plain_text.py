"""Text that came from a file, made harmless for a terminal: one door for ids, names, classes, warnings and logs.

And numbers in sentences, as people write them.
"""

import re

_HIDDEN = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Marks that turn the direction of what follows: what is read is then not what is there."""

_FOREIGN = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_HIDDEN}]")
"""Characters that a terminal takes for orders, that hide others, or that no file can hold."""

_REPLACEMENT = "\ufffd"


def is_plain(text: str) -> bool:
    """Whether a text holds nothing that a terminal could take for an order; newlines and tabs count as such here."""
    return not _FOREIGN.search(text) and "\n" not in text and "\t" not in text


def plain_text(text: str) -> str:
    """The text with every such character replaced by one sign, so that lengths stay; newlines and tabs stay too."""
    return _FOREIGN.sub(_REPLACEMENT, text)


def plain_line(text: str) -> str:
    """The same in one line: newlines and tabs become blanks."""
    return re.sub("[\n\t]", " ", plain_text(text))


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 image`, `10,000 images`.

    Args:
        count: how many there are.
        noun: of one.
        plural: of none or several, where it is more than an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def short_number(value: float, digits: int) -> str:
    """A number with so many significant digits; from 0.0001 up to a million it has no power of ten, `100` at two."""
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text and abs(value) < 1e6 else text
