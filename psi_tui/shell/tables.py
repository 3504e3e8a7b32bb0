"""One layer's histogram in two conditions, as a shell prints it.

The layers table as `show` and the end of a run print it: one section a condition, then the verdicts.

The evidence table as `show` prints it: a status in words and in color, the sentence beside it or below.

An ablation as a shell shows it: a table for each ranking and epsilon, and curves of accuracy over channels kept.
"""

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from psi_core.conditions import BENIGN, Condition, epsilon_in_levels, epsilon_text
from psi_core.evidence import checks_of, tally
from psi_core.runs.run import Run
from psi_core.tables import WHOLE, View, table_notes, table_rows
from psi_core.tables.ablation import AblationResult
from psi_core.tables.columns import Cell, Column, as_number
from psi_core.tables.layers import layer_columns
from psi_tui.plots import draw
from psi_tui.plots.figures import Curves, Series
from psi_tui.plots.layer_histogram import LayerHistogram
from psi_tui.shell.bar import waiting
from psi_tui.text.columns import (
    ScreenColumn,
    Section,
    interval_alone,
    mean_and_sd,
    pick,
    print_table,
    screen_columns,
    with_interval,
)
from psi_tui.text.formatting import Row, format_cell, format_count

if TYPE_CHECKING:
    from rich.console import Console


_VERDICT_WIDTH = 140


def _layer_columns(measure: str) -> tuple[ScreenColumn, ...]:
    named = screen_columns(layer_columns(measure), is_beside=True)
    from_benign = named["delta_mean"].title
    named["mean_and_sd"] = mean_and_sd(f"{named[f'{measure}_mean'].title} ± sd", measure)
    named["from_benign"] = with_interval(f"{from_benign} [95 % CI]", "delta")
    named["control_interval"] = interval_alone("[95 % CI]", "delta_control")
    return pick(
        named,
        layer=9,
        mean_and_sd=9,
        peak_center=6,
        peak_percent=7,
        peak_accuracy_percent=3,
        from_benign=8,
        delta_control_mean=8,
        control_interval=2,
        effect_size=4,
        p_holm=1,
        auroc=5,
    )


_VERDICTS = (
    ScreenColumn("verdict", lambda row: row["condition"], 9, is_text=True),
    ScreenColumn("", lambda row: row["layer"], 9, is_text=True),
    ScreenColumn("", lambda row: row["verdict"] or "", 9, is_text=True),
)


def print_layers(console: "Console", run: Run, view: View = WHOLE) -> None:
    """Prints what a run found, layer by layer.

    Args:
        console: where to; its width decides which columns are shown.
        run: with at least one chunk.
        view: of the layers table.
    """
    with waiting("comparing the conditions"):
        rows = table_rows(run, "layers", view)
    console.print(title(run), style="bold", soft_wrap=True)
    sections = [
        Section(
            [row for row in rows if row["condition"] == condition["condition"]],
            str(condition["condition"]),
            condition_note(condition),
        )
        for condition in table_rows(run, "conditions")
    ]
    print_table(console, _layer_columns(view.measure), sections)
    verdicts = [row for section in sections for row in section.rows if row["verdict"] and row["control"]]
    if verdicts and console.width >= _VERDICT_WIDTH:
        console.print()
        print_table(console, _VERDICTS, [Section(verdicts)])
    asides = table_notes(run, "layers", view)
    silent = sum(int(row["silent"] or 0) for row in rows)
    if silent:
        asides.append(f"silent in some layer, left out: {format_count(silent)} images")
    found = tally(check.status for check in checks_of(run))
    asides.append(f"evidence: {found} (psi-tui show {run.id} --table evidence)")
    for aside in asides:
        console.print(aside, style="dim", soft_wrap=True)


def title(run: Run) -> str:
    """One line that says which run this is and how far."""
    done = len(run.index)
    images = format_count(done) if done == run.images else f"{format_count(done)} of {format_count(run.images)}"
    parts = [f"{run.config.model} on {run.config.data} {run.config.split}", f"{images} images", run.status, run.name]
    return " · ".join(parts)


def condition_note(row: Row) -> str:
    """Accuracy, success and size of the change of one condition, as far as it has them."""
    facts = []
    for name, word, kind in (
        ("accuracy_percent", "accuracy {} %", "percent"),
        ("success_percent", "fooled {} %", "percent"),
        ("linf_mean", "L∞ {}", "number"),
        ("l2_mean", "L2 {}", "number"),
    ):
        value = row.get(name)
        if value is not None and not (row["attack"] == "benign" and name != "accuracy_percent"):
            facts.append(word.format(format_cell(value, kind)))  # type: ignore[arg-type]
    return ", ".join(facts)


STYLES: dict[str, str] = {"green": "green", "amber": "yellow", "red": "bold red", "none": "dim"}
"""Of each status; the word says the same."""

_GAP = 2
_NARROWEST_SENTENCE = 30
"""Columns below which sentences stand on lines of their own."""


def print_sentences(console: "Console", columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Prints the key columns of a table whose last one holds sentences: these are wrapped, beside the others or below.

    A cell that is a status of evidence has its color.
    """
    from rich.text import Text

    *short, last = (column for column in columns if column.is_key)
    cells = [[format_cell(row[column.name], column.kind) for column in short] for row in rows]
    headings = [column.heading for column in short]
    widths = [max(map(len, texts)) for texts in zip(headings, *cells, strict=True)]
    indent = sum(width + _GAP for width in widths)
    is_beside = console.width - indent >= _NARROWEST_SENTENCE
    if not is_beside:
        indent = _GAP

    def show(*parts: tuple[str, str]) -> None:
        line = Text.assemble(*parts)
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)

    def padded(texts: Sequence[str]) -> list[tuple[str, str]]:
        return [(text.ljust(width + _GAP), STYLES.get(text, "")) for text, width in zip(texts, widths, strict=True)]

    heading = "".join(text for text, _ in padded(headings))
    show((f"{heading}{last.heading}" if is_beside else heading, "dim"))
    for row, texts in zip(rows, cells, strict=True):
        lines = textwrap.wrap(str(row[last.name]), max(console.width - indent, 1), break_on_hyphens=False) or [""]
        show(*padded(texts), (lines.pop(0) if is_beside else "", ""))
        for line in lines:
            show((f"{' ' * indent}{line}", ""))


_HEIGHT = 22


def print_ablation(console: "Console", result: AblationResult, *, with_plot: bool) -> None:
    """Prints the table, below it the curves where they are wanted, and what must be told beside both."""
    console.print(result.title, style="bold", soft_wrap=True)
    selection = str(result.rows[0]["selection"])
    print_table(console, _ablation_columns(selection), ablation_sections(result.rows))
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
            if not Condition.of_name(condition).is_control:
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


def _ablation_columns(selection: str) -> tuple[ScreenColumn, ...]:
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


def print_histogram(console: "Console", run: Run, histogram: LayerHistogram) -> None:
    """Prints the two histograms, the first growing up and the second down, with what they are above and below."""
    console.print(title(run), style="bold", soft_wrap=True)
    picture = draw(histogram.figure, max(20, min(console.width, 160)), _HEIGHT)
    console.print(picture, no_wrap=True, overflow="ignore", crop=False)
    outside = histogram.outside
    bins = len(histogram.edges) - 1
    low, high = (format_cell(histogram.edges[end], "psi") for end in (0, -1))
    note = f"{histogram.title}: images in each of {bins} bins from {low} to {high}"
    note += f"; {format_count(outside)} values lie outside" if outside else ""
    console.print(note, style="dim", soft_wrap=True)
    condition = histogram.conditions[1]
    shifts = [f"{format_cell(histogram.shift, 'shift')} from {histogram.conditions[0]}"]
    if histogram.control is not None:
        shifts.append(f"{format_cell(histogram.shift_from_control, 'shift')} from {histogram.control}")
    console.print(f"mean difference of {condition}, by image: {', '.join(shifts)}", style="dim", soft_wrap=True)
