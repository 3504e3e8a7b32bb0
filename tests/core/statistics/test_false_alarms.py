"""Simulated runs: how often a verdict claims what is not there, and how often it finds what is."""

from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from psi_core.conditions import conditions_of
from psi_core.statistics.contrasts import Decision, size_word, smallest_detectable
from psi_core.statistics.findings import decisions_of

ONE, BOTH = ("sign-noise",), ("sign-noise", "gaussian")
"""Noises of a run."""

OWN = 0.3
"""Benign sd by which every condition moves every image for itself."""


def decided(
    random: np.random.Generator,
    *,
    attacks: int = 1,
    layers: int = 3,
    images: int = 100,
    planted: float = 0.0,
    noise_shift: float = 0.0,
    displaced: float = 0.0,
    controls: Sequence[str] = BOTH,
    blocks: bool = False,
) -> list[list[Decision]]:
    """Decisions of a run, attacks first, then noises; the attacks lie `planted` benign sd beyond noise in layer 0.

    The last noise lies `displaced` benign sd from the first. The first noise of each epsilon is one for all attacks,
    as in a run, so that their tests go together. With `blocks`, a fifth of every image's own move is its 50 neighbors'
    too, as in files sorted by class or writer.
    """
    conditions = conditions_of([f"attack{number}" for number in range(attacks)], [0.1], controls)
    benign = random.normal(0, 1, (1, layers, images))
    own = random.normal(0, OWN, (len(conditions), layers, images))
    if blocks:
        shared = np.repeat(random.normal(0, OWN, (len(conditions), layers, -(-images // 50))), 50, axis=-1)
        own = np.sqrt(0.8) * own + np.sqrt(0.2) * shared[..., :images]
    own[0] = 0
    own[1:] += noise_shift
    own[1 : attacks + 1, 0] += planted
    own[-1] += displaced
    kept = np.ones((len(conditions), images), np.bool_)
    return [each for each in decisions_of(benign + own, kept, conditions) if each is not None]


def claims(decisions: Sequence[Sequence[Decision]]) -> bool:
    return any(each.finding in ("beyond", "less", "depends") for row in decisions for each in row)


def most(share: float, repeats: int) -> float:
    """A share, and three standard errors of its estimate above it."""
    return share + 3 * (share * (1 - share) / repeats) ** 0.5


@pytest.mark.parametrize(("attacks", "repeats"), [(1, 400), (4, 200), (8, 100), (16, 60)])
@pytest.mark.parametrize(("controls", "noise_shift"), [(ONE, 0.2), (BOTH, 0.0)])
def test_of_runs_without_an_effect_at_most_5_percent_claim_one(
    attacks: int, repeats: int, controls: Sequence[str], noise_shift: float
) -> None:
    random = np.random.default_rng(attacks)
    runs = [decided(random, attacks=attacks, controls=controls, noise_shift=noise_shift) for _ in range(repeats)]
    assert np.mean([claims(each[:attacks]) for each in runs]) <= most(0.05, repeats)
    assert np.mean([claims(each[attacks:]) for each in runs]) <= most(0.05, repeats), "noise against noise"


@pytest.mark.parametrize(("displaced", "attacks", "repeats"), [(0.2, 4, 100), (-1.0, 16, 60)])
def test_nor_do_they_where_two_noises_differ_from_each_other(displaced: float, attacks: int, repeats: int) -> None:
    """An attack that does what one of them does is not said to depend on the noise."""
    random = np.random.default_rng(attacks)
    runs = [decided(random, attacks=attacks, displaced=displaced) for _ in range(repeats)]
    assert np.mean([claims(each[:attacks]) for each in runs]) <= most(0.05, repeats)


def test_nor_do_they_in_files_whose_neighbors_go_together() -> None:
    random = np.random.default_rng(3)
    alarms = [claims(decided(random, attacks=2, images=1000, controls=ONE, blocks=True)[:2]) for _ in range(150)]
    assert np.mean(alarms) <= most(0.05, 150)


@pytest.mark.parametrize(("images", "repeats"), [(20, 200), (200, 200), (2000, 60), (20_000, 10)])
def test_a_shift_of_three_hundredths_is_called_negligible_at_every_number_of_images(images: int, repeats: int) -> None:
    """Where it is called anything: the word of the interval's near end."""
    random = np.random.default_rng(images)
    found = [decided(random, layers=1, images=images, planted=0.03)[0][0] for _ in range(repeats)]
    said = [each for each in found if each.finding in ("beyond", "less")]
    ends = [min(abs(each.deciding.low), abs(each.deciding.high)) for each in said if each.deciding is not None]
    assert [size_word(end) for end in ends] == ["negligible"] * len(said)
    if images >= 2000:
        assert all(size_word(each.deciding.delta) == "negligible" for each in said if each.deciding is not None)
    if images == 20_000:
        assert len(said) == repeats and all(each.is_equivalent for each in said)


def test_equivalence_is_claimed_of_a_shift_at_the_bound_in_5_percent_at_most() -> None:
    random = np.random.default_rng(5)
    found = [decided(random, layers=1, images=200, planted=0.1)[0][0] for _ in range(300)]
    assert np.mean([each.is_equivalent for each in found]) <= most(0.05, 300)


@pytest.mark.parametrize(("controls", "attacks"), [(ONE, 1), (BOTH, 2), ((*BOTH, "shuffled-fgsm"), 2)])
def test_four_of_five_runs_find_the_shift_that_evidence_names(controls: Sequence[str], attacks: int) -> None:
    """With every number of noises and conditions; somewhat more do, for the noises go together."""
    images, layers = 100, 3
    typical: NDArray[np.float64] = scipy.stats.norm.ppf((np.arange(images) + 0.5) / images)
    least = smallest_detectable(typical, [OWN * np.sqrt(2) * typical] * len(controls), attacks * layers)
    random = np.random.default_rng(9)

    def power(delta: float) -> float:
        runs = (decided(random, images=images, planted=delta, attacks=attacks, controls=controls) for _ in range(100))
        return np.mean([found[0][0].finding == "beyond" for found in runs]).item()

    assert 0.8 - 3 * (0.8 * 0.2 / 100) ** 0.5 < power(least) < 0.97
    assert power(0.5 * least) < 0.6
    assert power(1.5 * least) > 0.95
