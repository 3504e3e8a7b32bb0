"""Tables to files: CSV and JSON in full precision, Markdown and LaTeX rounded for the page."""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from psi_core.columns import Cell, Column, Row, readable
from psi_core.errors import ConfigError, unknown_name
from psi_core.paths import temporary_beside
from psi_core.runs import Run
from psi_core.tables import TABLES, table_columns


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
    ruler = ["---" if column.kind in ("text", "flag") else "---:" for column in columns]
    body = ([readable(row[column.name], column.kind).replace("|", r"\|") for column in columns] for row in rows)
    lines = [[column.heading for column in columns], ruler, *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def latex_text(rows: Iterable[Row], columns: Sequence[Column]) -> str:
    """A booktabs tabular, rounded."""
    alignment = "".join("l" if column.kind in ("text", "flag") else "r" for column in columns)
    heading = " & ".join(_escape_latex(column.heading) for column in columns)
    body = (" & ".join(_escape_latex(readable(row[column.name], column.kind)) for column in columns) for row in rows)
    lines = [
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        rf"{heading} \\",
        r"\midrule",
        *(rf"{line} \\" for line in body),
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
"""Formats for reading: a whole run's export gives them the key columns only."""


def write_table(rows: Iterable[Row], columns: Sequence[Column], path: Path, format: str) -> None:  # noqa: A002
    """Writes one table so that a reader sees either all of it or none.

    Args:
        rows: from a function of `tables.TABLES`.
        columns: which of their cells to write, in this order.
        path: of the file; its folder must exist.
        format: one of FORMATS.

    Raises:
        ConfigError: there is no such format, or the file cannot be written.
    """
    _require_format(format)
    text = FORMATS[format](rows, columns)
    temporary = temporary_beside(path)
    try:
        try:
            temporary.write_text(text, encoding="utf-8", newline="\n")
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another folder with --to") from None


def export_run(
    run: Run,
    folder: str | os.PathLike[str],
    format: str = "csv",  # noqa: A002
    tables: Iterable[str] = tuple(TABLES),
) -> list[Path]:
    """Writes a run's tables as `layers.csv` and so on, and gives their paths; the folder is made where it is missing.

    Args:
        run: with results.
        folder: to write into.
        format: one of FORMATS.
        tables: names of TABLES; all by default.

    Raises:
        ConfigError: there is no such format or table, or the folder cannot be written to.
        RunError: the run has no results yet; nothing is then written.
    """
    _require_format(format)
    tables = list(tables)
    for table in tables:
        if table not in TABLES:
            raise ConfigError(unknown_name("table", table, TABLES))
    made = [(table, TABLES[table](run), table_columns(table, run)) for table in tables]
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error.strerror}); name another folder with --to") from None
    paths = []
    for table, rows, columns in made:
        path = folder / f"{table}.{format}"
        write_table(rows, [c for c in columns if c.is_key or format not in PAGE_FORMATS], path, format)
        paths.append(path)
    return paths


def _require_format(name: str) -> None:
    if name not in FORMATS:
        raise ConfigError(unknown_name("format", name, FORMATS))


def _exact(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return repr(cell) if isinstance(cell, float) else str(cell)


def _finite(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


def _escape_latex(text: str) -> str:
    return text.translate(_LATEX)
