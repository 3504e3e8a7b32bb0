"""What a table of a run is: a name, columns, rows, what of a view it takes, and what must be said beside it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from psi_core.measures import MEASURES
from psi_core.runs.run import Run
from psi_core.statistics.histograms import TABLE_BINS
from psi_core.statistics.paired import SUBSETS
from psi_core.tables.columns import Cell, Column, Row

Cells: TypeAlias = tuple[Cell, ...]
"""One row, in column order."""

Choice: TypeAlias = Literal["subset", "bins", "measure"]


@dataclass(frozen=True, slots=True)
class View:
    """What of a run a table is asked to show.

    Attributes:
        subset: subset of the images, one of `statistics.SUBSETS`.
        bins: how many bins histograms and peaks have; their edges come from `measure_edges`.
        measure: name of the measure whose values the rows show.
    """

    subset: str = "all"
    bins: int = TABLE_BINS
    measure: str = "psi"


WHOLE = View()
"""All images, the study's bins, PSI."""


def no_notes(run: Run, view: View) -> list[str]:
    """For a table whose numbers explain themselves."""
    return []


@dataclass(frozen=True, slots=True)
class Table:
    """One table: `show`, exports, the app's questions and the help of commands follow from it.

    Attributes:
        name: for `--table`; the stem of the exported file.
        columns: columns of one run and view.
        rows: cells in the order of the columns; None where there is no value. Raises RunError without results.
        takes: parts of the view that the rows depend on. A subset or measure other than the default is an error for
            a table that does not take it; bins are ignored.
        notes: what the numbers are, and are not.
        is_cached: whether rows are kept on disk; large tables are faster to compute than to read.
    """

    name: str
    columns: Callable[[Run, View], tuple[Column, ...]]
    rows: Callable[[Run, View], Iterable[Cells]]
    takes: frozenset[Choice] = frozenset()
    notes: Callable[[Run, View], list[str]] = no_notes
    is_cached: bool = True

    def read(self, run: Run, view: View = WHOLE) -> list[Row]:
        """The rows, cells by column name."""
        names = [column.name for column in self.columns(run, view)]
        return [dict(zip(names, cells, strict=True)) for cells in self.rows(run, view)]

    def narrowed(self, view: View) -> View:
        """The view without what the rows do not depend on: questions with the same answer are the same."""
        return View(**{choice: getattr(view, choice) for choice in self.takes})

    def sentences(self, run: Run, view: View = WHOLE) -> list[str]:
        """The table's notes, preceded by the measure's help and followed by the subset's; often none."""
        measure = MEASURES[view.measure]
        before = [f"{measure.heading}: {measure.help.rstrip('.')}"] if view.measure != WHOLE.measure else []
        after = [f"subset {view.subset}: {SUBSETS[view.subset]}"] if view.subset != WHOLE.subset else []
        return [*before, *self.notes(run, view), *after]


def fixed(columns: tuple[Column, ...]) -> Callable[[Run, View], tuple[Column, ...]]:
    """Columns that are the same for every run and view."""
    return lambda run, view: columns


OWN_LABELS = "labels are the network's benign predictions: no accuracy; fooled = class changed"
"""Against them the benign accuracy is 100 % by definition, and the attacked one 100 % minus the share fooled."""


def label_notes(run: Run, view: View = WHOLE) -> list[str]:
    """For a table that speaks of labels or accuracy: whose labels they are, where they are not the data set's."""
    return [OWN_LABELS] if run.config.labels == "predicted" else []
