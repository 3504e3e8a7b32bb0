"""A run as a shell shows it: its layers with their verdicts, a table with sentences, and the histogram of one layer."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from psi_core.evidence import checks_of, tally
from psi_core.plain_text import counted
from psi_core.runs.run import Run
from psi_core.tables.columns import NOT_CHECKED, Column
from psi_core.tables.layers import layer_columns
from psi_core.tables.registry import WHOLE, View, table_notes, table_rows
from psi_tui.plots import draw
from psi_tui.plots.figures import Figure
from psi_tui.plots.layer_histogram import LayerHistogram
from psi_tui.shell.bar import waiting
from psi_tui.shell.console import NARROWEST_SENTENCE, SHORT_INDENT, print_sentence
from psi_tui.text.columns import (
    ScreenColumn,
    Section,
    interval_alone,
    limits,
    mean_and_sd,
    pick,
    print_table,
    screen_columns,
    with_interval,
)
from psi_tui.text.formatting import Row, format_cell, format_count
from psi_tui.text.runs import label_lines

if TYPE_CHECKING:
    from rich.console import Console


STYLES: dict[str, str] = {"green": "green", "amber": "yellow", "red": "bold red", NOT_CHECKED: "dim"}
"""Of each status of evidence as people read it; the word says the same."""

_GAP = 2

_VERDICT_WIDTH = 140
_FIGURE_LINES = 22


def _layer_columns(measure: str) -> tuple[ScreenColumn, ...]:
    named = screen_columns(layer_columns(measure), is_beside=True)
    named["mean_and_sd"] = mean_and_sd(f"{named[f'{measure}_mean'].title} ± sd", measure)
    named["from_benign"] = with_interval(f"{named['delta_mean'].title} [95 % CI]", "delta")
    named["control_interval"] = interval_alone("[95 % CI]", "delta_control")
    named["noise_interval"] = limits("95 % CI", named, "delta_sd")
    return pick(
        named,
        layer=9,
        mean_and_sd=9,
        peak_center=6,
        peak_percent=7,
        peak_accuracy_percent=3,
        from_benign=8,
        p_holm=1,
        delta_control_mean=4,
        control_interval=1,
        delta_sd=8,
        noise_interval=3,
        p_noise_holm=2,
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
        run: a run with at least one chunk.
        view: choices for the layers table.
    """
    with waiting("comparing the conditions"):
        rows = table_rows(run, "layers", view)
    print_title(console, run)
    sections = [
        Section(
            [row for row in rows if row["condition"] == condition["condition"]],
            str(condition["condition"]),
            condition_note(condition),
        )
        for condition in table_rows(run, "conditions")
    ]
    print_table(console, _layer_columns(view.measure), sections)
    verdicts = [row for section in sections for row in section.rows if row["verdict"] and row["noise"]]
    if verdicts and console.width >= _VERDICT_WIDTH:
        console.print()
        print_table(console, _VERDICTS, [Section(verdicts)])
    asides = table_notes(run, "layers", view)
    silent = sum(int(row["silent"] or 0) for row in rows)
    if silent:
        asides.append(f"silent in some layer, left out: {counted(silent, 'image')}")
    found = tally(check.status for check in checks_of(run))
    asides.append(f"evidence: {found} (psi-tui show {run.id} --table evidence)")
    for aside in asides:
        print_sentence(console, aside, "dim")


def print_title(console: "Console", run: Run) -> None:
    """Prints one line that says which run this is and how far, and below what a person said of it."""
    print_sentence(console, _title(run), "bold")
    for line in label_lines(run.label):
        print_sentence(console, line, "dim")


def _title(run: Run) -> str:
    done = len(run.index)
    images = counted(run.images, "image")
    images = images if done == run.images else f"{format_count(done)} of {images}"
    parts = [f"{run.config.model} on {run.config.data} {run.config.split}", images, run.status, run.name]
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


def print_sentences(console: "Console", columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Prints the key columns of a table whose last one holds sentences: these are wrapped, beside the others or below.

    Where not even the others fit beside each other, every cell has a line of its own. A cell that is a status of
    evidence has its color.
    """
    from rich.text import Text

    *short, last = (column for column in columns if column.is_key)
    cells = [[format_cell(row[column.name], column.kind) for column in short] for row in rows]
    headings = [column.heading for column in short]
    widths = [max(map(len, texts)) for texts in zip(headings, *cells, strict=True)]
    indent = sum(width + _GAP for width in widths)
    is_beside = console.width - indent >= NARROWEST_SENTENCE
    is_stacked = indent - _GAP > console.width
    if not is_beside:
        indent = SHORT_INDENT

    def show(*parts: tuple[str, str]) -> None:
        line = Text.assemble(*parts)
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)

    def padded(texts: Sequence[str]) -> list[tuple[str, str]]:
        return [(text.ljust(width + _GAP), STYLES.get(text, "")) for text, width in zip(texts, widths, strict=True)]

    def show_cells(texts: Sequence[str], beside: str) -> None:
        if not is_stacked:
            show(*padded(texts), (beside, ""))
            return
        for place, text in enumerate(texts):
            for line in textwrap.wrap(text, max(console.width - indent, 1)):
                show((f"{' ' * indent if place else ''}{line}", STYLES.get(text, "")))

    heading = "".join(text for text, _ in padded(headings))
    show((f"{heading}{last.heading}" if is_beside else heading[: console.width], "dim"))
    for row, texts in zip(rows, cells, strict=True):
        lines = textwrap.wrap(str(row[last.name]), max(console.width - indent, 1), break_on_hyphens=False) or [""]
        show_cells(texts, lines.pop(0) if is_beside else "")
        for line in lines:
            show((f"{' ' * indent}{line}", ""))


def print_histogram(console: "Console", run: Run, histogram: LayerHistogram) -> None:
    """Prints the two histograms, the first growing up and the second down, with what they are above and below."""
    print_title(console, run)
    print_figure(console, histogram.figure)
    outside = histogram.outside
    bins = len(histogram.edges) - 1
    low, high = (format_cell(histogram.edges[end], "psi") for end in (0, -1))
    note = f"{histogram.title}: images in each of {bins} bins from {low} to {high}"
    note += f"; {counted(outside, 'value')} outside" if outside else ""
    print_sentence(console, note, "dim")
    if histogram.is_alone:
        return
    condition = histogram.conditions[1]
    shifts = [f"{format_cell(histogram.shift, 'shift')} from {histogram.conditions[0]}"]
    if histogram.control is not None:
        shifts.append(f"{format_cell(histogram.shift_from_control, 'shift')} from {histogram.control}")
    print_sentence(console, f"mean difference of {condition}, by image: {', '.join(shifts)}", "dim")


def print_figure(console: "Console", figure: Figure) -> None:
    """Prints a figure as wide as the console, within limits."""
    picture = draw(figure, max(20, min(console.width, 160)), _FIGURE_LINES)
    console.print(picture, no_wrap=True, overflow="ignore", crop=False)
