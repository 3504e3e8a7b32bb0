"""Every table of a run: what screens show and exports hold. A table is its columns, its rows and one row of TABLES.

A run that is not finished gives tables of what is there.
"""

from psi_core.conditions import Condition, Epsilon
from psi_core.errors import ConfigError, unknown_name
from psi_core.files import plain
from psi_core.measures import MEASURES
from psi_core.runs.run import Run
from psi_core.statistics.paired import SUBSETS
from psi_core.tables.cache import remembered
from psi_core.tables.channels import (
    CHANNEL_COLUMNS,
    LIFETIME_COLUMNS,
    channel_rows,
    lifetime_notes,
    lifetime_rows,
)
from psi_core.tables.classes import CLASS_COLUMNS, class_notes, class_rows
from psi_core.tables.columns import Column, Row
from psi_core.tables.correlation import CORRELATION_COLUMNS, correlation_notes, correlation_rows
from psi_core.tables.evidence import (
    DETECTOR_COLUMNS,
    EVIDENCE_COLUMNS,
    detector_notes,
    detector_rows,
    evidence_rows,
)
from psi_core.tables.images import CONDITION_COLUMNS, condition_rows, image_columns, image_rows
from psi_core.tables.layers import (
    HISTOGRAM_COLUMNS,
    MEASURE_COLUMNS,
    histogram_rows,
    layer_columns,
    layer_notes,
    layer_rows,
    measure_rows,
)
from psi_core.tables.study import STUDY_COLUMNS, study_notes, study_rows
from psi_core.tables.table import WHOLE, Choice, Table, View, fixed, label_notes
from psi_core.typed_names import way_out

__all__ = [
    "TABLES",
    "TABLE_NAMES",
    "WHOLE",
    "Table",
    "View",
    "cached_rows",
    "require_bins",
    "table_columns",
    "table_named",
    "table_notes",
    "table_rows",
    "tables_taking",
]

TABLES: tuple[Table, ...] = (
    Table(
        "layers",
        lambda run, view: layer_columns(view.measure),
        layer_rows,
        takes=frozenset({"subset", "bins", "measure"}),
        notes=layer_notes,
    ),
    Table("measures", fixed(MEASURE_COLUMNS), measure_rows),
    Table("histogram", fixed(HISTOGRAM_COLUMNS), histogram_rows, takes=frozenset({"bins", "measure"})),
    Table("classes", fixed(CLASS_COLUMNS), class_rows, notes=class_notes),
    Table("images", image_columns, image_rows, notes=label_notes, is_cached=False),
    Table("conditions", fixed(CONDITION_COLUMNS), condition_rows, notes=label_notes),
    Table("study", fixed(STUDY_COLUMNS), study_rows, takes=frozenset({"bins", "measure"}), notes=study_notes),
    Table("detectors", fixed(DETECTOR_COLUMNS), detector_rows, notes=detector_notes),
    Table("correlation", fixed(CORRELATION_COLUMNS), correlation_rows, notes=correlation_notes),
    Table("channels", fixed(CHANNEL_COLUMNS), channel_rows, notes=lifetime_notes, is_cached=False),
    Table("lifetime", fixed(LIFETIME_COLUMNS), lifetime_rows, notes=lifetime_notes),
    Table("evidence", fixed(EVIDENCE_COLUMNS), evidence_rows, notes=label_notes),
)
"""In the order of lists and exports. The first is what a run found, shown where no other is asked for."""

TABLE_NAMES: tuple[str, ...] = tuple(table.name for table in TABLES)

MOST_BINS = 1000
"""Bins that a table may be asked for."""


def table_named(name: str) -> Table:
    """The table of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in TABLE_NAMES:
        raise ConfigError(unknown_name("table", name, TABLE_NAMES))
    return TABLES[TABLE_NAMES.index(name)]


def tables_taking(choice: Choice) -> tuple[str, ...]:
    """Names of the tables whose rows depend on one choice of a view."""
    return tuple(table.name for table in TABLES if choice in table.takes)


def table_columns(run: Run, name: str, view: View = WHOLE) -> tuple[Column, ...]:
    """Columns of a table for one run: the images table has one per layer, layers those of a measure."""
    return table_named(name).columns(run, view)


def table_rows(run: Run, name: str, view: View = WHOLE) -> list[Row]:
    """Rows of a table, cells by column name.

    Raises:
        ConfigError: there is no such table, subset or measure, the table does not take them, or the bins are out of
            range.
        RunError: the run has no results yet.
    """
    table = table_named(name)
    _require_view(table, view)
    return table.read(run, view)


def cached_rows(run: Run, name: str, view: View = WHOLE) -> list[Row]:
    """Rows of a table, from the cache where they were computed before; infinite numbers are None.

    Rows of open chunks are computed anew each time.

    Raises:
        ConfigError: as `table_rows`.
        RunError: the run has no results yet.
    """
    table = table_named(name)
    _require_view(table, view)
    view = table.narrowed(view)

    def compute() -> list[Row]:
        rows: list[Row] = plain(table.read(run, view))
        return rows

    if not table.is_cached:
        return compute()
    rows: list[Row] = remembered(run, (name, view.subset, view.bins, view.measure), compute)
    if any(isinstance(epsilon, Epsilon) for epsilon in run.config.epsilon):  # The cache holds plain numbers.
        for row in rows:
            if row.get("epsilon") is not None:
                row["epsilon"] = Condition.of_name(str(row["condition"])).epsilon
    return rows


def table_notes(run: Run, name: str, view: View = WHOLE) -> list[str]:
    """Sentences that belong under a table; often none."""
    return table_named(name).sentences(run, view)


def require_bins(bins: int) -> None:
    """Makes sure that a histogram can have so many bins.

    Raises:
        ConfigError: it cannot.
    """
    if not 1 <= bins <= MOST_BINS:
        raise ConfigError(f"bins: {bins} is out of range; write a number from 1 to {MOST_BINS}")


def _require_view(table: Table, view: View) -> None:
    """Makes sure that a table can show a view."""
    if view.subset not in SUBSETS:
        raise ConfigError(way_out("subset", view.subset) or unknown_name("subset", view.subset, SUBSETS))
    require_bins(view.bins)
    if view.measure != WHOLE.measure and "measure" not in table.takes:
        others = " or ".join(tables_taking("measure"))
        raise ConfigError(f"measure: the {table.name} table takes none; leave --measure out, or show {others}")
    if view.subset != WHOLE.subset and "subset" not in table.takes:
        others = " or ".join(tables_taking("subset"))
        raise ConfigError(f"subset: the {table.name} table has all images; leave --subset out, or show {others}")
    if view.measure not in MEASURES:
        raise ConfigError(unknown_name("measure", view.measure, MEASURES))
