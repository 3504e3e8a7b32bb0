"""Verdicts: which sentence is chosen when."""

from dataclasses import replace

import pytest

from psi_core.statistics.paired import Shift
from psi_core.statistics.verdicts import effect_word, verdict

NOTHING = Shift(0, *[float("nan")] * 8)
SPARSER = Shift(1000, 0.0071, 0.0068, 0.0074, 0.007, 0.9, 10.0, 1e-9, 1e-8)
BEYOND = replace(SPARSER, mean=0.0063, ci_low=0.006, ci_high=0.0066, effect_size=0.85)
NULL = replace(SPARSER, mean=0.0001, ci_low=-0.0002, ci_high=0.0004, p=0.4, p_holm=0.8, effect_size=0.01)
NOISE = "sign-noise@0.03"


def mirrored(shift: Shift) -> Shift:
    return replace(
        shift, mean=-shift.mean, ci_low=-shift.ci_high, ci_high=-shift.ci_low, effect_size=-shift.effect_size
    )


@pytest.mark.parametrize(
    ("against_benign", "against_control", "control", "sentence"),
    [
        (
            SPARSER,
            BEYOND,
            NOISE,
            "sparser by 0.0071 (95 % CI 0.0068..0.0074), 9 x what sign-noise@0.03 does; large effect",
        ),
        (
            mirrored(SPARSER),
            mirrored(BEYOND),
            NOISE,
            "denser by 0.0071 (95 % CI 0.0068..0.0074), 9 x what sign-noise@0.03 does; large effect",
        ),
        (SPARSER, NOTHING, None, "sparser by 0.0071 (95 % CI 0.0068..0.0074); large effect"),
        (
            SPARSER,
            replace(BEYOND, mean=0.008, effect_size=0.6),
            NOISE,
            "sparser by 0.0071 (95 % CI 0.0068..0.0074), which sign-noise@0.03 does not do; medium effect",
        ),
        (SPARSER, NULL, NOISE, "no more than noise"),
        (SPARSER, replace(BEYOND, p_holm=0.06), NOISE, "no more than noise"),
        (SPARSER, mirrored(BEYOND), NOISE, "no more than noise"),
        (SPARSER, NULL, "gaussian@0.03", "no more than noise"),
        (SPARSER, NULL, "anti-fgsm@0.03", "no more than anti-fgsm@0.03"),
        (NULL, BEYOND, NOISE, "no change"),
        (replace(SPARSER, ci_low=-0.001), BEYOND, NOISE, "no change"),
        (NOTHING, NOTHING, None, "too few images"),
        (replace(SPARSER, pairs=9), NOTHING, None, "too few images"),
        (SPARSER, replace(BEYOND, pairs=9), NOISE, "too few images"),
    ],
)
def test_verdict(against_benign: Shift, against_control: Shift, control: str | None, sentence: str) -> None:
    assert verdict(against_benign, against_control, control) == sentence


@pytest.mark.parametrize(("name", "words"), [(NOISE, "noise"), ("anti-fgsm@0.03", "anti-fgsm@0.03")])
def test_the_first_control_is_what_others_are_compared_with(name: str, words: str) -> None:
    said = f"no more than {words}: the control itself, sparser by 0.0071 (95 % CI 0.0068..0.0074)"
    assert verdict(SPARSER, NOTHING, itself=name) == said
    assert verdict(NULL, NOTHING, itself=name) == "no change"
    assert verdict(SPARSER, NULL, "sign-noise-2@0.03", itself=name) == "no more than noise"


@pytest.mark.parametrize(
    ("size", "word"),
    [(0.19, "negligible"), (-0.2, "small"), (0.5, "medium"), (-0.8, "large"), (float("-inf"), "large")],
)
def test_effect_words_are_cohens(size: float, word: str) -> None:
    assert effect_word(size) == word
