"""Tables to files: CSV and JSON in full precision, Markdown and LaTeX rounded for the page."""

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, product
from pathlib import Path
from typing import ClassVar

from psi_core.errors import ConfigError, unknown_name
from psi_core.files import replacing, typed_path
from psi_core.measures import require_measure
from psi_core.plain_text import counted, plain_line
from psi_core.runs.run import Run
from psi_core.tables.columns import PAGE_ROWS, TEXT_KINDS, Cell, Column, Row, readable
from psi_core.tables.registry import (
    TABLE_NAMES,
    WHOLE,
    View,
    table_columns,
    table_named,
    table_notes,
    table_rows,
    tables_taking,
)


def csv_text(rows: Iterable[Row], columns: Sequence[Column]) -> str:
    """Comma-separated values, RFC 4180 with plain newlines: floats read back exactly, no value is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerows([_exact(row[column.name]) for column in columns] for row in rows)
    return text.getvalue()


def json_text(rows: Iterable[Row], columns: Sequence[Column]) -> str:
    """A list of objects, one a line; what is no finite number is null, for JSON knows no other."""
    lines = (json.dumps({column.name: _finite(row[column.name]) for column in columns}) for row in rows)
    return "[\n" + ",\n".join(lines) + "\n]\n"


def markdown_text(rows: Iterable[Row], columns: Sequence[Column]) -> str:
    """A pipe table, rounded."""
    ruler = ["---" if column.kind in TEXT_KINDS else "---:" for column in columns]
    body = ([_escape_markdown(readable(row[column.name], column.kind)) for column in columns] for row in rows)
    lines = [[_escape_markdown(column.heading) for column in columns], ruler, *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def latex_text(rows: Iterable[Row], columns: Sequence[Column]) -> str:
    """A booktabs tabular, rounded; rows that share their first cell stand together."""
    alignment = "".join(_latex_alignment(column) for column in columns)
    heading = " & ".join(_escape_latex(column.heading).replace(r"d\_z", "$d_z$") for column in columns)
    body = [" & ".join(_latex_cell(row[column.name], column) for column in columns) + r" \\" for row in rows]
    lines = [
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        rf"{heading} \\",
        r"\midrule",
        *_spaced_groups(body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[Iterable[Row], Sequence[Column]], str]] = {
    "csv": csv_text,
    "json": json_text,
    "md": markdown_text,
    "tex": latex_text,
}
"""What writes each format; the names are also the files' suffixes."""

PAGE_FORMATS = ("md", "tex")
"""Formats for reading: a run's table gives them the key columns only, and what must be said beside it."""


def table_text(
    run: Run,
    name: str,
    rows: Sequence[Row],
    format: str,  # noqa: A002
    view: View = WHOLE,
) -> str:
    """One table of a run as `text_of` writes it, with what must be said beside it.

    Args:
        run: the run whose table it is.
        name: name of the table.
        rows: rows of that table.
        format: one of FORMATS.
        view: view that the rows were made for.

    Raises:
        ConfigError: there is no such format.
    """
    notes = [run_line(run), *table_notes(run, name, view)] if format in PAGE_FORMATS else []
    return text_of(rows, table_columns(run, name, view), format, notes)


def text_of(
    rows: Sequence[Row],
    columns: Sequence[Column],
    format: str,  # noqa: A002
    notes: Sequence[str],
) -> str:
    """Rows as text: whole in CSV and JSON, for the page the key columns that hold something, and notes.

    Markdown has the notes below the table, LaTeX as comments above it.

    Args:
        rows: rows of a table.
        columns: columns of the same table.
        format: one of FORMATS.
        notes: for the page, one sentence each.

    Raises:
        ConfigError: there is no such format.
    """
    _require_format(format)
    if format not in PAGE_FORMATS:
        return FORMATS[format](rows, columns)
    kept = [
        column for column in columns if column.is_key and any(readable(row[column.name], column.kind) for row in rows)
    ]
    text = FORMATS[format](rows, kept)
    if format == "md":
        return f"{text}\n" + "".join(f"{_escape_markdown(note)}  \n" for note in notes)
    return "".join(f"% {plain_line(note)}\n" for note in [*notes, r"needs \usepackage{booktabs}"]) + text


@dataclass(frozen=True, slots=True)
class ComputedTable:
    """A table that is computed apart from any run and kept in none; each kind names its columns.

    Attributes:
        rows: cells as in COLUMNS.
        title: what was computed, in one line.
        notes: what must be said beside the rows, one sentence each.
    """

    COLUMNS: ClassVar[tuple[Column, ...]]

    rows: list[Row]
    title: str
    notes: list[str]

    def text(self, format: str) -> str:  # noqa: A002
        """The rows as text, with title and notes where it is for the page.

        Args:
            format: one of FORMATS.
        """
        return text_of(self.rows, self.COLUMNS, format, [self.title, *self.notes])


def run_line(run: Run) -> str:
    """Model, weights, data and images of a run in one line, for a caption."""
    config = run.config
    done = len(run.index)
    images = counted(done, "image") if done == run.images else f"{done:,} of {counted(run.images, 'image')}"
    weights = Path(config.weights).name
    external = f"; attacked: {config.attacked}" if config.attacked else ""
    return f"{config.model} ({weights} weights) on {config.data} {config.split}, {config.size} px, {images}{external}"


IMAGE_FORMATS = ("npz", "png")
"""What images are written as: exactly, and as pictures of 8 bits."""


def write_table(rows: Iterable[Row], columns: Sequence[Column], path: Path, format: str) -> None:  # noqa: A002
    """Writes one table so that a reader sees either all of it or none.

    Args:
        rows: rows of a table.
        columns: which of their cells to write, in this order.
        path: path of the file; its folder must exist.
        format: one of FORMATS.

    Raises:
        ConfigError: there is no such format, or the file cannot be written.
    """
    _require_format(format)
    _write(FORMATS[format](rows, columns), path)


def _write(text: str, path: Path) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another folder with --to") from None


def export_run(
    run: Run,
    folder: str | os.PathLike[str],
    format: str = "csv",  # noqa: A002
    tables: Iterable[str] | None = None,
    measures: Iterable[str] = (),
    tell: Callable[[str, int, int], object] | None = None,
) -> list[Path]:
    """Writes a run's tables as `layers.csv` and so on, and gives their paths; the folder is made where it is missing.

    Tables that take a measure are also written for each of `measures`, as `layers-hoyer.csv` and so on.

    Args:
        run: a run with results.
        folder: to write into.
        format: one of FORMATS.
        tables: their names; by default all, for the page without those that fill no page: see `tables_for`.
        measures: measures of the run; `psi` is in the tables anyway.
        tell: called before each table is computed, with its name, how many are, and how many there will be.

    Raises:
        ConfigError: there is no such format or table, the run has no such measure, or the folder cannot be written to.
        RunError: the run has no results yet; nothing is then written.
    """
    _require_format(format)
    tables = tables_for(run, format) if tables is None else list(tables)
    for table in tables:
        table_named(table)
    others = [measure for measure in dict.fromkeys(measures) if measure != "psi"]
    for measure in others:
        require_measure(measure, run.measures, run.name)
    taking = tables_taking("measure")
    if others and not set(tables) & set(taking):
        raise ConfigError(f"measure: only {' and '.join(taking)} have others than psi; export one of them too")
    views = [(table, table, WHOLE) for table in tables]
    views += [
        (f"{table}-{measure}", table, View(measure=measure))
        for table, measure in product([table for table in tables if table in taking], others)
    ]
    made: list[tuple[str, str]] = []
    for name, table, view in views:
        if tell is not None:
            tell(name, len(made), len(views))
        made.append((name, table_text(run, table, table_rows(run, table, view), format, view)))
    folder = typed_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error.strerror}); name another folder with --to") from None
    paths = []
    for name, text in made:
        path = folder / f"{name}.{format}"
        _write(text, path)
        paths.append(path)
    return paths


def tables_for(run: Run, format: str) -> list[str]:  # noqa: A002
    """The tables that an export in a format has where none is named: for the page, those of at most `PAGE_ROWS` rows.

    Raises:
        RunError: the run has no results yet.
    """
    if format not in PAGE_FORMATS:
        return list(TABLE_NAMES)
    return [name for name in TABLE_NAMES if not _is_long(run, name)]


def left_out_words(run: Run, format: str) -> str:  # noqa: A002
    """Which tables `tables_for` leaves out, and what has them; empty where it has all."""
    kept = tables_for(run, format)
    left_out = [name for name in TABLE_NAMES if name not in kept]
    if not left_out:
        return ""
    return f"{', '.join(left_out)}: more than {PAGE_ROWS:,} rows, left out of {format}; csv and --tables have them"


def _is_long(run: Run, name: str) -> bool:
    table = table_named(name)
    if table.is_cached:
        return False
    return next(islice(table.rows(run, WHOLE), PAGE_ROWS, None), None) is not None


def _require_format(name: str) -> None:
    if name not in FORMATS:
        raise ConfigError(unknown_name("format", name, FORMATS))


def _exact(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        text = f"'{cell}" if cell.startswith(_FORMULAS) and not _NUMBER.fullmatch(cell) else cell
        return re.sub("\r\n?", "\n", text)  # Which the writer quotes; a carriage return alone it does not.
    return repr(cell) if isinstance(cell, float) else str(cell)


_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would compute; an apostrophe before it keeps it text."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def _finite(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "→": r"$\rightarrow$",
        "±": r"$\pm$",
        "Δ": r"$\Delta$",
        "∞": r"$\infty$",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


def _latex_alignment(column: Column) -> str:
    if column.kind == "sentence":
        return r"p{0.6\linewidth}"
    return "l" if column.kind in TEXT_KINDS else "r"


def _escape_latex(text: str) -> str:
    return plain_line(text).translate(_LATEX).replace("--", "-{}-")  # Two would become a dash.


def _latex_cell(cell: Cell, column: Column) -> str:
    """A cell; signed numbers as mathematics, for a minus sign is no hyphen."""
    text = readable(cell, column.kind)
    is_signed = column.kind not in TEXT_KINDS and text.startswith(("+", "-", "<"))
    return f"${text}$" if is_signed else _escape_latex(text)


def _spaced_groups(lines: Sequence[str]) -> list[str]:
    """Lines with a little space between those that differ in their first cell, where some share it."""
    groups = [[*group] for _, group in groupby(lines, key=lambda line: line.partition(" & ")[0])]
    if len(groups) == len(lines):
        return [*lines]
    return [line for group in groups for line in (r"\addlinespace", *group)][1:]


def _escape_markdown(text: str) -> str:
    r"""With a backslash before whatever Markdown would take for its own; `_` inside a word it leaves alone."""
    return re.sub(r"([\\`*|]|(?<!\w)_|_(?!\w)|<(?=\w))", r"\\\1", plain_line(text))
