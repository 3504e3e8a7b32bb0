"""Measures of a layer's response to one image: one row each says what it is called and in which range it lies.

The engine's function of the same name computes it.
"""

from collections.abc import Collection
from dataclasses import dataclass

from psi_core.errors import ConfigError, unknown_name


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure per image and layer.

    Attributes:
        name: as `--measures` takes it, and of the engine's function.
        heading: short, for screens and papers.
        help: one sentence.
        is_share: whether it lies in 0..1, so that histograms of all layers can have the same bins.
        costs_a_pass: whether it needs all responses again, so that it is only taken where it is asked for.
        moves: what a layer becomes whose value rises, and whose value falls, as verdicts say it.
    """

    name: str
    heading: str
    help: str
    is_share: bool = True
    costs_a_pass: bool = False
    moves: tuple[str, str] = ("higher", "lower")


_SPARSER_UP = ("sparser", "denser")
_DENSER_UP = ("denser (higher)", "sparser (lower)")

_ROWS = (
    Measure(
        "psi",
        "PSI",
        "Population sparseness index: 0 all units respond alike, 1 one unit carries it all.",
        moves=_SPARSER_UP,
    ),
    Measure("active_fraction", "active fraction", "Share of the units that respond above 0.", moves=_DENSER_UP),
    Measure("mean_response", "mean response", "Mean response of the units.", is_share=False),
    Measure(
        "n_eff", "N_eff", "Effective number of active units, (sum r)^2 / sum r^2.", is_share=False, moves=_DENSER_UP
    ),
    Measure(
        "hoyer", "Hoyer", "Hoyer's sparseness: 0 all units respond alike, 1 one unit carries it all.", moves=_SPARSER_UP
    ),
    Measure(
        "kurtosis",
        "kurtosis",
        "Excess kurtosis over the units.",
        is_share=False,
        costs_a_pass=True,
        moves=_SPARSER_UP,
    ),
    Measure(
        "gini", "Gini", "Gini index: 0 all units respond alike; needs a sort.", costs_a_pass=True, moves=_SPARSER_UP
    ),
    Measure(
        "entropy",
        "entropy",
        "Entropy of the units' shares, in bits.",
        is_share=False,
        costs_a_pass=True,
        moves=_DENSER_UP,
    ),
)

MEASURES: dict[str, Measure] = {row.name: row for row in _ROWS}
"""All measures by name, `psi` first."""

MEASURE_NAMES: tuple[str, ...] = tuple(MEASURES)

DEFAULT_MEASURES: tuple[str, ...] = tuple(name for name, measure in MEASURES.items() if not measure.costs_a_pass)
"""Measures that follow from sums which PSI needs anyway: they cost nothing."""


def require_measure(measure: str, taken: Collection[str], run: str) -> None:
    """Makes sure that a run has a measure.

    Args:
        measure: its name.
        taken: names of those that the run has.
        run: its name.

    Raises:
        ConfigError: there is no such measure, or the run was made without it.
    """
    if measure not in MEASURES:
        raise ConfigError(unknown_name("measure", measure, MEASURES))
    if measure not in taken:
        wanted = ",".join([*taken, measure])
        raise ConfigError(f"measure: {run} has {', '.join(taken)}, no {measure}; start a run with --measures {wanted}")
