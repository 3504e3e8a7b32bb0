"""An ablation as a shell shows it: a table for each ranking and epsilon, and curves of accuracy over channels kept."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from psi_core.conditions import BENIGN, Condition, Epsilon, epsilon_in_levels, epsilon_text
from psi_core.tables.ablation import COLUMNS, AblationResult
from psi_core.tables.columns import as_number
from psi_tui.plots.figures import Curves, Series
from psi_tui.shell.console import print_sentence
from psi_tui.shell.tables import print_figure
from psi_tui.text.columns import ScreenColumn, Section, of_side, pick, print_table, screen_columns
from psi_tui.text.formatting import Row, format_cell

if TYPE_CHECKING:
    from rich.console import Console


def print_ablation(console: "Console", result: AblationResult, *, with_plot: bool) -> None:
    """Prints the table, below it the curves where they are wanted, and what must be told beside both."""
    print_sentence(console, result.title, "bold")
    print_table(console, _columns(str(result.rows[0]["selection"])), ablation_sections(result.rows))
    if with_plot:
        console.print()
        print_figure(console, ablation_curves(result.rows))
    for note in result.notes:
        console.print(note, style="dim")


def ablation_sections(rows: Sequence[Row]) -> list[Section]:
    """A section for each ranking and epsilon, a line for each percentage.

    A line holds three rows of the ablation's table: `benign`, `attacked` and `noise`, which is empty at epsilon 0.
    """
    sections = []
    for by, ranked in groupby(rows, key=lambda row: row["by"]):
        masks = [{row["condition"]: row for row in mask} for _, mask in groupby(ranked, key=lambda row: row["percent"])]
        attacked = [row for row in masks[0].values() if Condition.of_name(str(row["condition"])).attack == "fgsm"]
        for epsilon in (Condition.of_name(str(row["condition"])).epsilon for row in attacked):
            at = f"@{epsilon_text(epsilon)}"
            lines = [
                {"benign": mask[BENIGN], "attacked": mask[f"fgsm{at}"], "noise": mask.get(f"sign-noise{at}", {})}
                for mask in masks
            ]
            levels = "" if isinstance(epsilon, Epsilon) else f" ({epsilon_in_levels(epsilon)})"
            size = f"attacked: FGSM, epsilon {epsilon_text(epsilon)}{levels}"
            sections.append(Section(lines, f"by {by}", size))
    return sections


def _columns(selection: str) -> tuple[ScreenColumn, ...]:
    """Columns of the lines of `ablation_sections`."""
    table = screen_columns(COLUMNS)
    accuracy, agreement = table["accuracy_percent"], table["prediction_agreement_percent"]

    def kept(line: Row) -> str:
        return f"{line['benign']['channels_kept']}/{line['benign']['channels']}"

    def from_noise(line: Row) -> str:
        attacked, noise = (as_number(line[side].get("accuracy_percent")) for side in ("attacked", "noise"))
        return format_cell(attacked - noise, "change")

    columns = {
        "percent": ScreenColumn(f"{selection} %", lambda line: f"{line['benign']['percent']:g}"),
        "kept": ScreenColumn("kept", kept),
        "benign": of_side("benign", accuracy, "benign %"),
        "relative": of_side("benign", table["relative_percent"]),
        "agreement": of_side("benign", agreement),
        "attacked": of_side("attacked", accuracy, "attacked %"),
        "attacked_agreement": of_side("attacked", agreement),
        "noise": of_side("noise", accuracy, "noise %"),
        "from_noise": ScreenColumn("from noise", from_noise),
    }
    return pick(
        columns,
        percent=9,
        kept=9,
        benign=9,
        relative=8,
        agreement=6,
        attacked=9,
        attacked_agreement=5,
        noise=7,
        from_noise=7,
    )


def ablation_curves(rows: Sequence[Row]) -> Curves:
    """Accuracy over the share of channels kept, benign and attacked, of every ranking."""
    series = []
    for by in dict.fromkeys(str(row["by"]) for row in rows):
        for condition in dict.fromkeys(str(row["condition"]) for row in rows):
            if not Condition.of_name(condition).is_control:
                points = sorted({_point(row) for row in rows if (row["by"], row["condition"]) == (by, condition)})
                x, y = zip(*points, strict=True)
                series.append(Series(f"{by} {condition}", x, y, "benign" if condition == BENIGN else "attacked"))
    return Curves(tuple(series), f"channels of {rows[0]['layer']} kept, %", "accuracy, %")


def _point(row: Row) -> tuple[float, float]:
    return 100 * as_number(row["channels_kept"]) / as_number(row["channels"]), as_number(row["accuracy_percent"])
