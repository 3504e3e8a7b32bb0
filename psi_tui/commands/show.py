"""`psi-tui show`: what a run found, as a table on screen or as text for elsewhere, or as a histogram."""

from pathlib import Path

import rich_click as click

from psi_core.errors import ConfigError
from psi_core.files import typed_path
from psi_core.measures import MEASURE_NAMES
from psi_core.runs.finding import load_run
from psi_core.statistics.paired import SUBSETS, subset_named
from psi_core.tables.export import FORMATS, table_text
from psi_core.tables.registry import (
    TABLE_NAMES,
    TABLES,
    WHOLE,
    View,
    require_bins,
    table_columns,
    table_named,
    table_notes,
    table_rows,
    tables_taking,
)
from psi_tui.commands.options import chosen_format, json_option, run_argument, runs_dir_option
from psi_tui.plots.layer_histogram import layer_histogram
from psi_tui.plots.page import draw_page
from psi_tui.plots.page_files import PAGE_FILES
from psi_tui.shell.completion import complete_condition, complete_layer, one_of
from psi_tui.shell.console import output_console, write_file, write_result
from psi_tui.shell.tables import print_histogram, print_layers, print_sentences, print_title
from psi_tui.text.columns import Section, pick, print_table, screen_columns

_FIRST = TABLES[0].name
"""What a run found: shown where no other table is asked for, in a layout of its own."""


def _require_picture(path: Path, plot: str | None) -> None:
    """Makes sure that a file can hold what is shown.

    Raises:
        ConfigError: that is no plot, or the file's name is no picture's.
    """
    if plot is None:
        raise ConfigError(f"to: {path} is to hold one plot; write --plot LAYER --to FILE.svg, or .png")
    if path.suffix not in PAGE_FILES:
        raise ConfigError(f"to: {path} ends in none of {', '.join(PAGE_FILES)}; write {path.stem}.svg")


@click.command()
@run_argument
@click.option(
    "--table", metavar="", shell_complete=one_of(TABLE_NAMES), help=f"{', '.join(TABLE_NAMES)} (default: {_FIRST})"
)
@click.option(
    "--plot", metavar="", shell_complete=complete_layer, help="histogram of this layer, benign up and attacked down"
)
@click.option(
    "--condition",
    metavar="",
    shell_complete=complete_condition,
    help="what --plot compares with benign (default: the attack)",
)
@click.option(
    "--measure",
    default="psi",
    metavar="",
    shell_complete=one_of(MEASURE_NAMES),
    help=f"what {', '.join(tables_taking('measure'))} and --plot show (default: psi)",
)
@click.option("--bins", type=int, metavar="", help="bins of a histogram (default: 20 in tables, 40 in a plot)")
@click.option(
    "--subset",
    default="all",
    metavar="",
    shell_complete=one_of(SUBSETS),
    help="all, correct, fooled or kept images",
)
@click.option("--to", "file", metavar="", help="file to draw --plot into, on white: .svg or .png")
@click.option("--replace", is_flag=True, help="replace the file where there is one")
@click.option(
    "--format",
    metavar="",
    shell_complete=one_of(FORMATS),
    help=f"{', '.join(FORMATS)}, as export writes it (default: for this screen)",
)
@runs_dir_option
@json_option
def show(
    *,
    run: str,
    table: str | None,
    plot: str | None,
    condition: str | None,
    measure: str,
    bins: int | None,
    subset: str,
    file: str | None,
    replace: bool,
    format: str | None,  # noqa: A002
    runs_dir: str | None,
    as_json: bool,
) -> None:
    """Show what a run found, layer by layer; of an unfinished run, what is there so far."""
    if plot is not None and table is not None:
        raise ConfigError("plot: --plot and --table exclude each other; write one of them")
    format = chosen_format(format, as_json=as_json)  # noqa: A001
    table, subset = table_named(table or _FIRST).name, subset_named(subset)
    if bins is not None:
        require_bins(bins)
    if file is not None:
        _require_picture(Path(file), plot)
    found = load_run(run, runs_dir)
    if plot is not None:
        histogram = layer_histogram(found, plot, measure=measure, condition=condition, bins=bins, subset=subset)
        if file is not None:
            picture = PAGE_FILES[Path(file).suffix](draw_page(histogram.figure, histogram.title))
            write_file(typed_path(file), picture, replace=replace)
            write_result(file)
        elif format is None:
            print_histogram(output_console(), found, histogram)
        else:
            text = table_text(found, "histogram", histogram.rows, format, View(subset, measure=measure))
            write_result(text.rstrip())
        return
    view = View(subset, WHOLE.bins if bins is None else bins, measure)
    if table == _FIRST and format is None:
        print_layers(output_console(), found, view)
        return
    rows = table_rows(found, table, view)
    if format is not None:
        write_result(table_text(found, table, rows, format, view).rstrip())
        return
    console, columns = output_console(), table_columns(found, table, view)
    print_title(console, found)
    if any(column.kind == "sentence" for column in columns):
        print_sentences(console, columns, rows)
    else:
        importances = {column.name: int(column.is_key) for column in columns}
        print_table(console, pick(screen_columns(columns), **importances), [Section(rows)])
    for note in table_notes(found, table, view):
        console.print(note, style="dim", highlight=False)
