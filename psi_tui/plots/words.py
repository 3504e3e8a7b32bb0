"""Lines of words around a picture, and those that stand in place of one."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text


def shortened(sentence: str, width: int, *, ascii_only: bool, at_start: bool = False) -> str:
    """The sentence, with an ellipsis where it is wider than `width` columns.

    Args:
        sentence: without line breaks.
        width: not below 0.
        ascii_only: whether the ellipsis is three dots, and any other letter a question mark.
        at_start: whether the start is left out, not the end: names of modules differ in their ends.
    """
    if ascii_only:
        sentence = sentence.encode("ascii", "replace").decode()
    if len(sentence) <= width:
        return sentence
    ellipsis = ("..." if ascii_only else "…")[: max(0, width)]
    rest = width - len(ellipsis)
    return ellipsis + sentence[len(sentence) - rest :] if at_start else sentence[:rest] + ellipsis


def name_line(name: str, width: int, color: str, *, ascii_only: bool) -> "Text":
    """What a part of the picture is, in its color."""
    from rich.style import Style
    from rich.text import Text

    return Text(shortened(name, width, ascii_only=ascii_only), style=Style.parse(color))


def end_line(low: str, high: str, width: int, color: str, *, ascii_only: bool) -> "Text":
    """An axis with nothing but its two ends; without them where they do not fit."""
    from rich.style import Style
    from rich.text import Text

    stroke = "-" if ascii_only else "─"
    rest = width - len(low) - len(high) - 2
    return Text(f"{low} {stroke * rest} {high}" if rest > 0 else stroke * width, style=Style.parse(color))


def centered(sentence: str, width: int, height: int) -> "Text":
    """The sentence, dim, in the middle of an empty field; as much of it as fits."""
    from rich.style import Style
    from rich.text import Text

    lines = textwrap.wrap(sentence, width)[: max(0, height)] if width > 0 else []
    above = (height - len(lines)) // 2
    return Text("\n" * above + "\n".join(line.center(width).rstrip() for line in lines), style=Style(dim=True))


def legend_lines(entries: Sequence[tuple[str, str, str]], width: int, most: int, *, ascii_only: bool) -> "list[Text]":
    """Marker and name of every series, side by side.

    Args:
        entries: marker, name and color of each.
        width: columns.
        most: lines; what does not fit into them is left out behind an ellipsis.
        ascii_only: whether the ellipsis is three dots.
    """
    from rich.style import Style
    from rich.text import Text

    gap, ellipsis = "  ", "..." if ascii_only else "…"
    lines: list[Text] = [Text()]
    for place, (marker, name, color) in enumerate(entries):
        is_last_line, is_last = len(lines) == most, place == len(entries) - 1
        entry = f"{marker} {name}"
        start = len(lines[-1]) + (len(gap) if lines[-1] else 0)
        spare = 0 if is_last or not is_last_line else len(gap) + len(ellipsis)
        if start + len(entry) + spare > width and lines[-1]:
            if is_last_line:
                lines[-1].append((gap + ellipsis)[: width - len(lines[-1])])
                break
            lines.append(Text())
        if lines[-1]:
            lines[-1].append(gap)
        lines[-1].append(shortened(entry, width, ascii_only=ascii_only), style=Style.parse(color))
    return lines
