"""Verdicts: which sentence is said of which decision."""

from dataclasses import replace

import numpy as np
import pytest

from psi_core.conditions import Condition
from psi_core.measures import MEASURES
from psi_core.statistics.contrasts import Contrast, Silence, decide
from psi_core.statistics.findings import decisions_of
from psi_core.statistics.verdicts import verdict

SIGN, GAUSSIAN = "sign-noise@0.1", "gaussian@0.1"


def shifted(delta: float, half: float, reference: str = SIGN, pairs: int = 1000) -> Contrast:
    """A shift of so many sd, its 95 % interval so far to either side."""
    inner = half * 0.84
    ends = {"low": delta - half, "high": delta + half, "inner_low": delta - inner, "inner_high": delta + inner}
    return Contrast(reference, pairs, delta / 40, delta, **ends, p=1e-9 if abs(delta) > half else 0.3, same_way=0.9)


FROM_BENIGN = shifted(0.6, 0.03, "benign")
UNMOVED = replace(shifted(0.0, 0.0, "benign"), p=1.0, same_way=float("nan"))
UNCLEAR = shifted(0.06, 0.08)


@pytest.mark.parametrize(
    ("benign", "noises", "p", "sentence"),
    [
        (FROM_BENIGN, [shifted(0.42, 0.03)], 1e-9, "beyond noise: sparser by 0.42 sd (95 % CI 0.39..0.45), small"),
        (
            shifted(-0.6, 0.03, "benign"),
            [shifted(-0.041, 0.001), shifted(-0.3, 0.03, GAUSSIAN)],
            1e-9,
            "beyond noise: denser by 0.041 sd (95 % CI 0.040..0.042), negligible",
        ),
        (
            FROM_BENIGN,
            [shifted(0.25, 0.2)],
            0.01,
            "beyond noise: sparser by 0.25 sd (95 % CI 0.05..0.45), negligible to small",
        ),
        (FROM_BENIGN, [shifted(-0.42, 0.03)], 1e-9, "less than noise by 0.42 sd (95 % CI 0.39..0.45)"),
        (UNMOVED, [shifted(0.42, 0.03)], 1e-9, "less than noise by 0.42 sd (95 % CI 0.39..0.45)"),
        (FROM_BENIGN, [shifted(0.01, 0.04)], 0.3, "equivalent to noise: within 0.1 sd (90 % CI -0.02..0.04)"),
        (
            FROM_BENIGN,
            [shifted(0.31, 0.05), shifted(-0.12, 0.05, GAUSSIAN)],
            1e-9,
            f"depends on the noise: +0.31 sd from {SIGN}, -0.12 sd from {GAUSSIAN}",
        ),
        (
            FROM_BENIGN,
            [UNCLEAR],
            0.3,
            "undecided: 0.06 sd sparser than noise (95 % CI -0.02..0.14), p 0.3",
        ),
        (
            FROM_BENIGN,
            [shifted(-0.12, 0.05)],
            0.071,
            "undecided: 0.12 sd denser than noise (95 % CI 0.07..0.17), p 0.071",
        ),
        (FROM_BENIGN, [shifted(0.4, 0.1, pairs=9)], 0.01, "too few images: 9 have a value, 10 are needed"),
        (
            FROM_BENIGN,
            [],
            1e-9,
            "sparser than benign by 0.60 sd (95 % CI 0.57..0.63), medium; no noise of its size",
        ),
        (
            shifted(0.06, 0.08, "benign"),
            [],
            0.3,
            "undecided: 0.06 sd sparser than benign (95 % CI -0.02..0.14), p 0.3; no noise of its size",
        ),
        (
            shifted(0.01, 0.04, "benign"),
            [],
            0.3,
            "equivalent to benign: within 0.1 sd (90 % CI -0.02..0.04); no noise of its size",
        ),
        (UNMOVED, [], 1.0, "no change in any image"),
        (
            FROM_BENIGN,
            [replace(UNCLEAR, delta=float("nan"), low=float("nan"), high=float("nan"), inner_low=float("nan"))],
            1e-9,
            "undecided: benign images are all alike here, so that no sd measures a shift",
        ),
    ],
)
def test_verdict(benign: Contrast, noises: list[Contrast], p: float, sentence: str) -> None:
    assert verdict(decide(benign, noises, p)) == sentence


def test_silence_is_told_of_and_beside_that_of_noise() -> None:
    most, some, few = (Silence(1000, silenced, 3) for silenced in (600, 50, 49))
    noises = [shifted(0.42, 0.03)]
    assert verdict(decide(FROM_BENIGN, noises, 0.0, most)) == "silenced in 600 of 1,000 images (noise: 3)"
    assert verdict(decide(FROM_BENIGN, [], 0.0, most)) == "silenced in 600 of 1,000 images"
    said = verdict(decide(FROM_BENIGN, noises, 0.0, few))
    assert verdict(decide(FROM_BENIGN, noises, 0.0, some)) == f"{said}; silenced in 50 of 1,000 images"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ([np.nan] * 60, "silent in all 60 images"),
        ([0.5] * 7 + [np.nan] * 53, "silent in all 60 images when benign; of them 7 respond here"),
    ],
)
def test_a_layer_that_is_silent_in_every_image_is_called_so(changed, sentence):
    silent = [np.nan] * 60
    conditions = [Condition("benign"), Condition("fgsm", 0.1), Condition("sign-noise", 0.1)]
    values = np.array([[silent], [changed], [silent]])
    decisions = decisions_of(values, np.ones((3, 60), bool), conditions)
    assert verdict(decisions[1][0]) == sentence
    none = decisions_of(values, np.zeros((3, 60), bool), conditions)
    assert verdict(none[1][0]) == "too few images: 0 have a value, 10 are needed"


def test_noise_is_compared_with_other_noise_by_name() -> None:
    decision = decide(FROM_BENIGN, [shifted(0.01, 0.04, "sign-noise-2@0.1")], 0.3)
    assert verdict(decision, noise="sign-noise-2@0.1").startswith("equivalent to sign-noise-2@0.1: within 0.1 sd")
    alone = verdict(decide(FROM_BENIGN, [], 0.0), is_noise=True)
    assert alone == "noise itself, sparser than benign by 0.60 sd (95 % CI 0.57..0.63), medium"


def test_each_measure_has_its_words() -> None:
    decision = decide(FROM_BENIGN, [shifted(0.42, 0.03)], 0.0)
    assert "denser (higher) by 0.42 sd" in verdict(decision, MEASURES["n_eff"].moves)
