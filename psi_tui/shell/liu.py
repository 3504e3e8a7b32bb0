"""Liu's preset image by image as a shell shows it: a section for each condition, a line for each layer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from psi_core.conditions import BENIGN
from psi_core.tables.liu import LIU_COLUMNS, LiuResult
from psi_tui.shell.console import print_sentence
from psi_tui.text.columns import (
    ScreenColumn,
    Section,
    both_sides,
    limits,
    of_side,
    pick,
    print_table,
    screen_columns,
)
from psi_tui.text.formatting import MISSING, Row

if TYPE_CHECKING:
    from rich.console import Console

_VERDICT_WIDTH = 140


def print_liu(console: "Console", result: LiuResult) -> None:
    """Prints the tables, on wide consoles the verdicts below them, and what must be told beside both."""
    print_sentence(console, result.title, "bold")
    sections = liu_sections(result.rows)
    print_table(console, COLUMNS, sections)
    lines = [line["attacked"] for section in sections for line in section.rows if line["attacked"].get("noise")]
    if lines and console.width >= _VERDICT_WIDTH:
        console.print()
        print_table(console, _VERDICTS, [Section(lines)])
    for note in result.notes:
        console.print(note, style="dim", highlight=False)


def liu_sections(rows: Sequence[Row]) -> list[Section]:
    """A section for each condition but benign, a line for each layer; for a run of benign images alone, these.

    A line holds two rows of the table, `benign` and `attacked`.
    """
    benign = {row["layer"]: row for row in rows if row["condition"] == BENIGN}
    others = list(dict.fromkeys(row["condition"] for row in rows if row["condition"] != BENIGN))
    if not others:
        return [Section([{"benign": row, "attacked": {}, "is_alone": True} for row in benign.values()], BENIGN)]
    return [
        Section(
            [{"benign": benign[row["layer"]], "attacked": row} for row in rows if row["condition"] == condition],
            f"benign → {condition}",
        )
        for condition in others
    ]


def _columns() -> tuple[ScreenColumn, ...]:
    """Columns of the lines of `liu_sections`."""
    table = screen_columns(LIU_COLUMNS)
    table["delta_sd"] = screen_columns(LIU_COLUMNS, is_beside=True)["delta_sd"]
    names = ("psi_liu_mean", "psi_liu_sd", "psi_liu_live_mean", "location_right")
    shown = {name: both_sides(table[name]) for name in names}
    shown |= {f"{name}_percent": both_sides(table[f"{name}_percent"]) for name in ("height", "accuracy")}
    shown["location"] = both_sides(table["location"])
    shown["published"] = _of_the_study(both_sides(table["published"]))
    shown |= {name: of_side("attacked", table[name]) for name in ("shift_sd", "delta_sd", "shift_live_sd")}
    shown["shift_interval"] = of_side("attacked", limits("95 % CI", table, "shift_sd"))
    shown["beyond_interval"] = of_side("attacked", limits("95 % CI", table, "delta_sd"))
    shown |= {name: of_side("benign", table[name]) for name in ("layer", "dead_channels", "channels")}
    return pick(
        shown,
        layer=9,
        psi_liu_mean=9,
        psi_liu_sd=3,
        height_percent=8,
        accuracy_percent=6,
        location=7,
        location_right=1,
        published=5,
        shift_sd=8,
        shift_interval=6,
        delta_sd=7,
        beyond_interval=3,
        psi_liu_live_mean=5,
        shift_live_sd=4,
        dead_channels=4,
        channels=2,
    )


def _of_the_study(column: ScreenColumn) -> ScreenColumn:
    """A column that only benign images alone and the study's own attack have."""

    def cell(line: Row) -> str:
        is_other = not line.get("is_alone") and line["attacked"]["published"] is None
        return MISSING if is_other else column.cell(line)

    return replace(column, cell=cell)


COLUMNS = _columns()

_VERDICTS = (
    ScreenColumn("verdict", lambda row: row["condition"], 9, is_text=True),
    ScreenColumn("", lambda row: row["layer"], 9, is_text=True),
    ScreenColumn("", lambda row: row["verdict"] or "", 9, is_text=True),
)
