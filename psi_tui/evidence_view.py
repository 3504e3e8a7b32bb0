"""The evidence table as `show` prints it: a status in words and in color, the sentence beside it or below."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from psi_core.columns import Row

if TYPE_CHECKING:
    from rich.console import Console

STYLES: dict[str, str] = {"green": "green", "amber": "yellow", "red": "bold red", "none": "dim"}
"""Of each status; the word says the same."""

_GAP = 2
_NARROWEST_SENTENCE = 30
"""Columns below which sentences stand on lines of their own."""


def print_evidence(console: "Console", rows: Sequence[Row]) -> None:
    """Prints the rows of the evidence table under their titles, sentences wrapped to the console."""
    from rich.text import Text

    titles = "check", "status", "what was found"
    checks, statuses = ([titles[place], *(str(row[titles[place]]) for row in rows)] for place in (0, 1))
    check_width, status_width = (max(map(len, words)) for words in (checks, statuses))
    indent = check_width + status_width + 2 * _GAP
    is_beside = console.width - indent >= _NARROWEST_SENTENCE
    if not is_beside:
        indent = _GAP

    def show(*parts: tuple[str, str]) -> None:
        line = Text.assemble(*parts)
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)

    heading = f"{titles[0]:{check_width + _GAP}}{titles[1]:{status_width}}"
    show((f"{heading}{' ' * _GAP}{titles[2]}" if is_beside else heading, "dim"))
    for row in rows:
        check, status = str(row["check"]), str(row["status"])
        first, *rest = textwrap.wrap(str(row["sentence"]), max(console.width - indent, 1), break_on_hyphens=False)
        named = (f"{check:{check_width + _GAP}}", ""), (f"{status:{status_width}}", STYLES[status])
        if is_beside:
            show(*named, (f"{' ' * _GAP}{first}", ""))
        else:
            show(*named)
            rest = [first, *rest]
        for line in rest:
            show((f"{' ' * indent}{line}", ""))
