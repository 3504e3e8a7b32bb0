"""Every table of a run: what screens show and exports hold. One file a table, its columns and its rows.

A row is a plain dict in column order; None where there is no value. A run that is not finished gives tables of what
is there.
"""

from collections.abc import Callable

from psi_core.errors import ConfigError, unknown_name
from psi_core.files import plain
from psi_core.runs.run import Run
from psi_core.statistics.histograms import TABLE_BINS
from psi_core.statistics.paired import SUBSETS
from psi_core.tables.cache import remembered
from psi_core.tables.channels import CHANNEL_COLUMNS, LIFETIME_COLUMNS, channel_rows, lifetime_rows
from psi_core.tables.classes import CLASS_COLUMNS, class_rows
from psi_core.tables.columns import Column, Row
from psi_core.tables.conditions import CONDITION_COLUMNS, condition_rows
from psi_core.tables.correlation import CORRELATION_COLUMNS, correlation_rows
from psi_core.tables.detectors import DETECTOR_COLUMNS, detector_rows
from psi_core.tables.evidence import EVIDENCE_COLUMNS, evidence_rows
from psi_core.tables.histogram import HISTOGRAM_COLUMNS, histogram_rows
from psi_core.tables.images import IMAGE_COLUMNS, image_columns, image_rows
from psi_core.tables.layers import LAYER_COLUMNS, layer_columns, layer_rows
from psi_core.tables.measures import MEASURE_COLUMNS, measure_rows
from psi_core.tables.study import STUDY_COLUMNS, study_rows

__all__ = [
    "COLUMNS",
    "MEASURE_TABLES",
    "TABLES",
    "cached_rows",
    "channel_rows",
    "class_rows",
    "condition_rows",
    "correlation_rows",
    "detector_rows",
    "evidence_rows",
    "histogram_rows",
    "image_rows",
    "layer_rows",
    "lifetime_rows",
    "measure_rows",
    "require_bins",
    "study_rows",
    "table_columns",
    "table_rows",
]

COLUMNS: dict[str, tuple[Column, ...]] = {
    "layers": LAYER_COLUMNS,
    "measures": MEASURE_COLUMNS,
    "histogram": HISTOGRAM_COLUMNS,
    "classes": CLASS_COLUMNS,
    "images": IMAGE_COLUMNS,
    "conditions": CONDITION_COLUMNS,
    "study": STUDY_COLUMNS,
    "detectors": DETECTOR_COLUMNS,
    "correlation": CORRELATION_COLUMNS,
    "channels": CHANNEL_COLUMNS,
    "lifetime": LIFETIME_COLUMNS,
    "evidence": EVIDENCE_COLUMNS,
}
"""Columns by table."""

TABLES: dict[str, Callable[[Run], list[Row]]] = {
    "layers": layer_rows,
    "measures": measure_rows,
    "histogram": histogram_rows,
    "classes": class_rows,
    "images": image_rows,
    "conditions": condition_rows,
    "study": study_rows,
    "detectors": detector_rows,
    "correlation": correlation_rows,
    "channels": channel_rows,
    "lifetime": lifetime_rows,
    "evidence": evidence_rows,
}
"""The function that makes each table's rows. All raise RunError while a run has no results."""


MEASURE_TABLES = ("layers", "histogram")
"""Tables that speak of one measure, `psi` unless another is asked for."""

MOST_BINS = 1000
"""Bins that a table may be asked for."""


def table_rows(run: Run, table: str, *, subset: str = "all", bins: int = TABLE_BINS, measure: str = "psi") -> list[Row]:
    """Rows of any of TABLES, asked for by name.

    Args:
        run: with results.
        table: its name.
        subset: one of `statistics.SUBSETS`; only the layers table has others than `all`.
        bins: of histograms and peaks, as `measure_edges` lays them; tables without any pass them over.
        measure: what is told of every layer; only MEASURE_TABLES know others than `psi`.

    Raises:
        ConfigError: there is no such table, subset or measure, or the bins are out of range.
        RunError: the run has no results yet.
    """
    if table not in TABLES:
        raise ConfigError(unknown_name("table", table, TABLES))
    if subset not in SUBSETS:
        raise ConfigError(unknown_name("subset", subset, SUBSETS))
    require_bins(bins)
    if measure != "psi" and table not in MEASURE_TABLES:
        where = " or ".join(MEASURE_TABLES)
        raise ConfigError(f"measure: the {table} table takes none; leave --measure out, or show {where}")
    if table == "layers":
        return layer_rows(run, subset, bins, measure)
    if subset != "all":
        raise ConfigError(f"subset: the {table} table has all images; leave --subset out, or show layers")
    if table == "histogram":
        return histogram_rows(run, bins, measure)
    return study_rows(run, bins) if table == "study" else TABLES[table](run)


def require_bins(bins: int) -> None:
    """Makes sure that a histogram can have so many bins.

    Raises:
        ConfigError: it cannot.
    """
    if not 1 <= bins <= MOST_BINS:
        raise ConfigError(f"bins: {bins} is out of range; write a number from 1 to {MOST_BINS}")


def table_columns(table: str, run: Run, measure: str = "psi") -> tuple[Column, ...]:
    """Columns of one of TABLES for this run: the images table has one per layer, layers those of a measure."""
    if table == "layers":
        return layer_columns(measure)
    return image_columns(run.layers) if table == "images" else COLUMNS[table]


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
