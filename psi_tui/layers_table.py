"""The layers table as `show` and the end of a run print it: one section a condition, then the verdicts."""

from typing import TYPE_CHECKING

from psi_core.evidence import checks_of, tally
from psi_core.histograms import TABLE_BINS
from psi_core.measures import MEASURES
from psi_core.notes import table_notes
from psi_core.runs import Run
from psi_core.tables import condition_rows, layer_rows
from psi_tui.bar import waiting
from psi_tui.formatting import (
    MISSING,
    Row,
    format_cell,
    format_count,
    format_effect,
    format_interval,
    format_mean_sd,
    format_peak,
)
from psi_tui.table import ScreenColumn, Section, print_table

if TYPE_CHECKING:
    from rich.console import Console

_VERDICT_WIDTH = 140


def _control_interval(row: Row) -> str:
    return format_interval(row, "delta_control").partition(" ")[2] or MISSING


_COLUMNS = (
    ScreenColumn("peak", lambda row: format_peak(row["peak_center"]), 6),
    ScreenColumn("peak %", lambda row: format_cell(row["peak_percent"], "percent"), 7),
    ScreenColumn("acc %", lambda row: format_cell(row["peak_accuracy_percent"], "percent"), 3),
    ScreenColumn("from benign [95 % CI]", lambda row: format_interval(row, "delta"), 8),
    ScreenColumn("from control", lambda row: format_cell(row["delta_control_mean"], "shift"), 8),
    ScreenColumn("[95 % CI]", _control_interval, 2),
    ScreenColumn("d_z", lambda row: format_effect(row["effect_size"]), 4),
    ScreenColumn("p Holm", lambda row: format_cell(row["p_holm"], "p"), 1),
    ScreenColumn("AUROC", lambda row: format_cell(row["auroc"], "number"), 5),
)


def _columns(measure: str) -> tuple[ScreenColumn, ...]:
    return (
        ScreenColumn("layer", lambda row: row["layer"], 9, is_text=True),
        ScreenColumn(f"{MEASURES[measure].heading} ± sd", lambda row: format_mean_sd(row, measure), 9),
        *_COLUMNS,
    )


_VERDICTS = (
    ScreenColumn("verdict", lambda row: row["condition"], 9, is_text=True),
    ScreenColumn("", lambda row: row["layer"], 9, is_text=True),
    ScreenColumn("", lambda row: row["verdict"] or "", 9, is_text=True),
)


def print_layers(
    console: "Console", run: Run, *, subset: str = "all", bins: int = TABLE_BINS, measure: str = "psi"
) -> None:
    """Prints what a run found, layer by layer.

    Args:
        console: where to; its width decides which columns are shown.
        run: with at least one chunk.
        subset: one of `statistics.SUBSETS`.
        bins: of the histogram whose peak is told.
        measure: that the numbers are of.
    """
    with waiting("comparing the conditions"):
        rows = layer_rows(run, subset=subset, bins=bins, measure=measure)
    console.print(title(run), style="bold", soft_wrap=True)
    sections = [
        Section(
            [row for row in rows if row["condition"] == condition["condition"]],
            str(condition["condition"]),
            condition_note(condition),
        )
        for condition in condition_rows(run)
    ]
    print_table(console, _columns(measure), sections)
    verdicts = [row for section in sections for row in section.rows if row["verdict"] and row["control"]]
    if verdicts and console.width >= _VERDICT_WIDTH:
        console.print()
        print_table(console, _VERDICTS, [Section(verdicts)])
    asides = table_notes(run, "layers", subset=subset, bins=bins, measure=measure)
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
