"""What the results screen shows at one moment: a run, and what the user chose to see of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from psi_core.conditions import BENIGN, Condition
from psi_core.measures import MEASURES
from psi_core.statistics.histograms import DISPLAY_BINS, TABLE_BINS
from psi_core.tables.columns import Row
from psi_tui.plots.figures import Curves, Subject
from psi_tui.plots.shift_curves import profile_curves
from psi_tui.runs.open_run import Snapshot

Reading = Literal["L", "H", "A"]

READINGS: dict[Reading, str] = {
    "L": "location, PSI at the middle of the fullest bin",
    "H": "height, % of the images in the fullest bin; concentration, not sparseness",
    "A": "accuracy, % recognized among the images in the fullest bin",
}
"""The three readings of the study's peak values."""

BINNINGS: tuple[int, ...] = (DISPLAY_BINS, 2 * DISPLAY_BINS, TABLE_BINS)
"""What `b` cycles through: two over the range the layer really takes, and the study's 20 over 0..1."""


_WORK_BEFORE = {
    "load": "the model is being loaded",
    "fit": "the weights are being fitted",
    "compile": "the step is being compiled, which takes a minute",
}
"""What a run does before its first image, by phase."""

_NAMES = ("condition", "layer", "label", "class_name")
"""Columns that say of what a row is."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user chose to see.

    Attributes:
        condition: compared with benign.
        layer: under the cursor.
        subset: of the images, one of `statistics.SUBSETS`.
        measure: that layers, histograms and curves are of; one of the run's.
        bins: of the histograms; 20 are the study's, over 0..1 where the measure is a share.
        reading: of the peaks.
    """

    condition: str
    layer: str
    subset: str = "all"
    measure: str = "psi"
    bins: int = DISPLAY_BINS
    reading: Reading = "L"


def choice_words(name: str, value: Any) -> str:
    """A choice and its value as they are called on screen."""
    words = {"measure": lambda: MEASURES[value].heading, "bins": lambda: f"{value} of each histogram"}
    return f"{'peak' if name == 'reading' else name}: {words[name]() if name in words else value}"


@dataclass(frozen=True, slots=True)
class ResultsView:
    """A run and the choices.

    Attributes:
        snapshot: of the run.
        choices: of the user.
        tables: rows that have arrived, by table; an older state of a growing run until the newer rows are there.
        problem: why the statistics are not there, or empty.
    """

    snapshot: Snapshot
    choices: Choices
    tables: dict[str, list[Row]] = field(default_factory=dict)
    problem: str = ""

    def subject(self, *, layer: str | None = None) -> Subject:
        """What a figure of this view is of.

        Args:
            layer: that it is of; default the chosen one, empty where it has all.
        """
        choices = self.choices
        layer = choices.layer if layer is None else layer
        run = str(self.snapshot.run.directory)
        return Subject(run, layer, choices.condition, choices.measure, choices.subset)

    @property
    def condition(self) -> Condition:
        """The chosen condition with attack, epsilon and control."""
        run = self.snapshot.run
        return run.condition_details[run.conditions.index(self.choices.condition)]

    def rows(self, table: str, condition: str) -> list[Row]:
        """Rows of a table under one condition; empty until they arrive."""
        return [row for row in self.tables.get(table, []) if row["condition"] == condition]

    def second_rows(self, table: str) -> list[Row]:
        """Rows under the chosen condition; where that is benign alone, rows without numbers, to stand beside benign."""
        rows = self.rows(table, self.choices.condition)
        if not self.condition.is_benign:
            return rows
        return [{name: cell if name in _NAMES else None for name, cell in row.items()} for row in rows]

    def pairs(self, benign: Sequence[Mapping[str, Any]], attacked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Benign rows beside those of the chosen condition, for columns that show both."""
        is_alone = self.condition.is_benign
        return [{"benign": b, "attacked": a, "is_alone": is_alone} for b, a in zip(benign, attacked, strict=True)]

    @property
    def measured(self) -> str:
        """What the numbers are of, as titles name it."""
        return MEASURES[self.choices.measure].heading

    @property
    def sides(self) -> str:
        """What a mirrored histogram shows above and below."""
        return BENIGN if self.condition.is_benign else f"up benign, down {self.choices.condition}"

    @property
    def both_names(self) -> str:
        """What is compared."""
        return BENIGN if self.condition.is_benign else f"{BENIGN} and {self.choices.condition}"

    @property
    def subset_words(self) -> str:
        """What a title says of the subset; empty for all images."""
        return "" if self.choices.subset == "all" else f", {self.choices.subset} only"

    @property
    def profile_title(self) -> str:
        """What `profile` shows."""
        under = "" if self.condition.is_benign else f" under {self.choices.condition}"
        return f"mean shift of {self.measured}{under}, layer by layer{self.subset_words}"

    @property
    def profile(self) -> Curves | None:
        """Mean shifts layer by layer, and those of the control; None for benign, and before they come."""
        if self.condition.is_benign or not self.rows("layers", self.choices.condition):
            return None
        subject, run = self.subject(layer=""), self.snapshot.run
        return profile_curves(run, self.condition, lambda name: self.rows("layers", name), self.measured, subject)

    @property
    def waiting(self) -> str:
        """Why there is nothing to show yet, and the way out."""
        progress = self.snapshot.progress
        if self.problem:
            return self.problem
        if self.snapshot.has_results and self.condition.is_benign:
            return "nothing was done to the images, so that there is nothing to compare"
        if self.snapshot.has_results:
            return "comparing the conditions ..."
        if progress.is_live:
            word = _WORK_BEFORE.get(progress.phase, "")
            return f"No image is through yet{f': {word}' if word else ''}."
        if progress.status == "done":
            return "This run has no images."
        way = "start a worker here" if progress.status == "queued" else "resume it, or see tab Log"
        return f"No results: the run is {progress.status}. Press r to {way}."
