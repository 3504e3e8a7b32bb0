"""Rows of tables, kept in the cache of statistics. How they are computed lives in `tables`."""

from psi_core.columns import Row
from psi_core.histograms import TABLE_BINS
from psi_core.plain_json import plain
from psi_core.runs import Run
from psi_core.statistics_cache import remembered
from psi_core.tables import table_rows

_UNCACHED = ("images", "channels")
"""Large tables that are sooner made than read back."""


def cached_rows(
    run: Run, table: str, *, subset: str = "all", bins: int = TABLE_BINS, measure: str = "psi"
) -> list[Row]:
    """Rows of a table, from the cache where they were computed before; infinite numbers are None.

    Args:
        run: with results; those of open chunks are computed anew each time.
        table: one of `tables.TABLES`.
        subset: one of `statistics.SUBSETS`.
        bins: of histograms.
        measure: what is told of every layer.

    Raises:
        ConfigError: there is no such table, subset or measure, or the bins are out of range.
        RunError: the run has no results yet.
    """

    def compute() -> list[Row]:
        rows: list[Row] = plain(table_rows(run, table, subset=subset, bins=bins, measure=measure))
        return rows

    if table in _UNCACHED:
        return compute()
    rows: list[Row] = remembered(run, (table, subset, bins, measure), compute)
    return rows
