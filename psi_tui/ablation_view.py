"""An ablation as a shell shows it: a table for each ranking and epsilon, and curves of accuracy over channels kept."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from psi_core.ablation_table import AblationResult
from psi_core.columns import Cell, Row, as_number
from psi_core.conditions import BENIGN, CONTROL_NAMES, epsilon_in_levels, epsilon_text
from psi_tui.figures import Curves, Series
from psi_tui.formatting import format_cell
from psi_tui.plots import draw
from psi_tui.table import ScreenColumn, Section, print_table

if TYPE_CHECKING:
    from rich.console import Console

_HEIGHT = 22


def print_ablation(console: "Console", result: AblationResult, *, with_plot: bool) -> None:
    """Prints the table, below it the curves where they are wanted, and what must be told beside both."""
    console.print(result.title, style="bold", soft_wrap=True)
    selection = str(result.rows[0]["selection"])
    print_table(console, _columns(selection), ablation_sections(result.rows))
    if with_plot:
        picture = draw(ablation_curves(result.rows), max(20, min(console.width, 160)), _HEIGHT)
        console.print()
        console.print(picture, no_wrap=True, overflow="ignore", crop=False)
    for note in result.notes:
        console.print(note, style="dim")


def ablation_sections(rows: Sequence[Row]) -> list[Section]:
    """A section for each ranking and epsilon: a line a percentage, with benign, attacked and noise side by side."""
    sections = []
    for by, ranked in groupby(rows, key=lambda row: row["by"]):
        lines = [[*line] for _, line in groupby(ranked, key=lambda row: row["percent"])]
        for epsilon in dict.fromkeys(as_number(row["epsilon"]) for row in lines[0] if row["condition"] != BENIGN):
            size = f"attacked: FGSM, epsilon {epsilon_text(epsilon)} ({epsilon_in_levels(epsilon)})"
            sections.append(Section([_line(line, epsilon) for line in lines], f"by {by}", size))
    return sections


def ablation_curves(rows: Sequence[Row]) -> Curves:
    """Accuracy over the share of channels kept, benign and attacked, of every ranking."""
    series = []
    for by in dict.fromkeys(str(row["by"]) for row in rows):
        for condition in dict.fromkeys(str(row["condition"]) for row in rows):
            if condition.partition("@")[0] not in CONTROL_NAMES:
                points = sorted({_point(row) for row in rows if (row["by"], row["condition"]) == (by, condition)})
                x, y = zip(*points, strict=True)
                series.append(Series(f"{by} {condition}", x, y, "benign" if condition == BENIGN else "attacked"))
    return Curves(tuple(series), f"channels of {rows[0]['layer']} kept, %", "accuracy, %")


def _point(row: Row) -> tuple[float, float]:
    return 100 * as_number(row["channels_kept"]) / as_number(row["channels"]), as_number(row["accuracy_percent"])


def _line(rows: Sequence[Row], epsilon: float) -> Row:
    """The rows of one ranking and percentage as one, at one epsilon."""
    named = {str(row["condition"]): row for row in rows}
    benign = named[BENIGN]
    attacked, noise = (named.get(f"{attack}@{epsilon_text(epsilon)}") for attack in ("fgsm", "sign-noise"))
    assert attacked is not None, "every epsilon has its attack"
    noise_accuracy: Cell = None if noise is None else noise["accuracy_percent"]
    return {
        "percent": benign["percent"],
        "kept": f"{benign['channels_kept']}/{benign['channels']}",
        "benign": benign["accuracy_percent"],
        "relative": benign["relative_percent"],
        "agreement": benign["prediction_agreement_percent"],
        "attacked": attacked["accuracy_percent"],
        "attacked_agreement": attacked["prediction_agreement_percent"],
        "noise": noise_accuracy,
        "from_noise": as_number(attacked["accuracy_percent"]) - as_number(noise_accuracy),
    }


def _columns(selection: str) -> tuple[ScreenColumn, ...]:
    return (
        ScreenColumn(f"{selection} %", lambda row: f"{row['percent']:g}", 9),
        ScreenColumn("kept", lambda row: row["kept"], 9),
        ScreenColumn("benign %", lambda row: format_cell(row["benign"], "percent"), 9),
        ScreenColumn("of intact %", lambda row: format_cell(row["relative"], "percent"), 8),
        ScreenColumn("agree %", lambda row: format_cell(row["agreement"], "percent"), 6),
        ScreenColumn("attacked %", lambda row: format_cell(row["attacked"], "percent"), 9),
        ScreenColumn("agree %", lambda row: format_cell(row["attacked_agreement"], "percent"), 5),
        ScreenColumn("noise %", lambda row: format_cell(row["noise"], "percent"), 7),
        ScreenColumn("from noise", lambda row: format_cell(row["from_noise"], "change"), 7),
    )
