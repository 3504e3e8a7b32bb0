"""Evidence: every check green, amber and red on both sides of its bounds, and none where a run does not allow it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from psi_core import Run, RunError, load_run
from psi_core.evidence import checks_of, tally
from psi_core.evidence.check import at_least
from psi_core.evidence.comparison import HARDLY_CHANCE, RARE, chance_of
from psi_core.runs.chunks import Arrays
from psi_core.tables.registry import table_rows
from tests.core.planted import Change, fooled, found, planted_run
from tests.recorded import record_run


@pytest.fixture
def planted(own_folders: Path) -> Callable[..., Run]:
    return partial(planted_run, own_folders)


@pytest.mark.parametrize(("wrong", "status"), [(0, "green"), (10, "green"), (11, "amber"), (50, "amber"), (51, "red")])
def test_clean_accuracy(planted, wrong, status):
    check = found(planted(fooled(benign=wrong)), "clean accuracy")
    assert (check.status, check.value) == (status, 100 - wrong)
    assert f"clean accuracy {100 - wrong}.0 %" in check.sentence


def test_own_labels_have_no_clean_accuracy_and_the_rest_is_checked(planted):
    checks = checks_of(planted(fooled(fgsm_03=30, sign__noise_03=2), labels="predicted"))
    assert [check.name for check in checks if check.status == "green"] == [
        "noise",
        "zero gradients",
        "confident images",
        "norms",
        "controls",
        "images",
    ]
    assert checks[0].status == "none"


@pytest.mark.parametrize(
    ("low", "high", "status", "fall"),
    [
        *((30, 40, "green", 0), (40, 40, "green", 0), (40, 39, "green", 1)),
        *((40, 38, "amber", 2), (40, 35, "amber", 5), (40, 34, "red", 6)),
    ],
)
def test_success_must_not_fall_with_epsilon(planted, low, high, status, fall):
    # In the order of the epsilons, not of the run.
    run = planted(fooled(fgsm_03=low, fgsm_1=high), epsilon="0.1,0,0.03")
    check = found(run, "larger epsilon")
    assert (check.status, check.value) == (status, pytest.approx(fall))
    assert f"fgsm fools {low}.0 % at 0.03 and {high}.0 % at 0.1" in check.sentence


def test_success_is_compared_with_the_best_smaller_epsilon_of_the_worst_attack(planted):
    counts = {"fgsm_01": 10, "fgsm_03": 20, "fgsm_1": 30, "bim_01": 30, "bim_03": 27, "bim_1": 24}
    check = found(planted(fooled(**counts), attack="fgsm,bim", epsilon="0.01,0.03,0.1"), "larger epsilon")
    assert (check.status, check.value) == ("red", pytest.approx(6))
    assert "bim fools 30.0 % at 0.01 and 24.0 % at 0.1" in check.sentence


@pytest.mark.parametrize("epsilon", ["0.03", "0,0.03", "0.03,0.1"])
def test_one_epsilon_above_0_and_no_success_show_no_trend(planted, epsilon):
    counts = {"fgsm_03": 9} if epsilon != "0.03,0.1" else {}
    assert found(planted(fooled(**counts), epsilon=epsilon), "larger epsilon").status == "none"


def stronger_in(images: int, attack: str = "pgd") -> Change:
    """More steps lower the confidence in so many images, and leave a hair's breadth too much in the others."""

    def change(run: Run, arrays: Arrays) -> None:
        one, more = (run.conditions.index(f"{name}@0.03") for name in ("fgsm", attack))
        arrays["confidence"][one] = 0.5
        arrays["confidence"][more] = 0.5099
        arrays["confidence"][more, images:] = 0.5101

    return change


@pytest.mark.parametrize(("images", "status"), [(95, "green"), (94, "amber"), (80, "amber"), (79, "red")])
@pytest.mark.parametrize("attack", ["pgd", "bim", "mi-fgsm"])
def test_more_steps_do_as_much_image_by_image(planted, images, status, attack):
    check = found(planted(stronger_in(images, attack), attack=f"fgsm,{attack}"), "more steps")
    assert (check.status, check.value) == (status, images)
    assert f"in {images}.0 % of the images {attack} does at least as much as fgsm" in check.sentence


@pytest.mark.parametrize(("lag", "status"), [(-9, "green"), (1, "green"), (2, "amber"), (5, "amber"), (6, "red")])
def test_more_steps_fool_as_many(planted, lag, status):
    def change(run, arrays):
        stronger_in(100)(run, arrays)
        fooled(fgsm_03=40, pgd_03=40 - lag)(run, arrays)

    assert found(planted(change, attack="fgsm,pgd"), "more steps").status == status


def test_more_steps_need_fgsm_beside_them_and_pgd_stands_for_all(planted):
    assert found(planted(attack="pgd"), "more steps").status == "none"
    assert found(planted(attack="fgsm"), "more steps").status == "none"
    check = found(planted(stronger_in(79), attack="fgsm,bim,pgd"), "more steps")
    assert (check.status, check.value) == ("red", 79)


@pytest.mark.parametrize(
    ("attack", "noise", "status"),
    [
        *((40, 20, "green"), (40, 21, "amber"), (40, 41, "amber"), (40, 42, "red")),
        *((0, 0, "amber"), (0, 1, "amber"), (0, 2, "red")),
    ],
)
@pytest.mark.parametrize("control", ["sign-noise", "gaussian", "shuffled-fgsm"])
def test_noise_is_weaker_than_the_attack(planted, attack, noise, status, control):
    counts = {"fgsm_03": attack, f"{control.replace('-', '__')}_03": noise}
    check = found(planted(fooled(**counts), controls=f"anti-fgsm,{control}"), "noise")
    assert (check.status, check.value) == (status, noise - attack)
    assert (f"{control} fools {noise}.0 % at 0.03, fgsm fools {attack}.0 %" in check.sentence) == (noise + attack > 0)


def test_the_worst_noise_at_its_own_epsilon_counts_and_the_way_down_is_none(planted):
    counts = {"fgsm_03": 10, "fgsm_1": 60, "sign__noise_03": 1, "sign__noise_1": 9, "gaussian_03": 8}
    run = planted(fooled(**counts), epsilon="0.03,0.1", controls="sign-noise,gaussian")
    assert found(run, "noise").sentence.startswith("gaussian fools 8.0 % at 0.03, fgsm fools 10.0 %")
    assert found(planted(controls="anti-fgsm"), "noise").status == "none"
    assert found(planted(controls="none"), "noise").status == "none"


@pytest.mark.parametrize(("still", "status"), [(0, "green"), (1, "green"), (2, "amber"), (10, "amber"), (11, "red")])
def test_images_without_a_gradient(planted, still, status):
    def change(run, arrays):
        arrays["linf"][run.conditions.index("fgsm@0.1"), :still] = 0

    check = found(planted(change, epsilon="0.03,0.1"), "zero gradients")
    assert (check.status, check.value) == (status, still)
    assert "finds a gradient in every image" in check.sentence if not still else f"{still}" in check.sentence


def test_noise_and_random_starts_tell_nothing_of_zero_gradients(planted):
    run = planted(lambda _run, arrays: arrays["linf"].fill(0), attack="pgd", controls="sign-noise")
    assert found(run, "zero gradients").status == "none"


def test_where_no_image_is_right_before_nothing_is_said_of_success(planted):
    run = planted(fooled(benign=100), attack="fgsm,pgd", epsilon="0.03,0.1")
    assert [found(run, name).status for name in ("clean accuracy", "larger epsilon", "more steps", "noise")] == [
        *("red", "none", "none", "none")
    ]


@pytest.mark.parametrize(
    ("epsilon", "layers", "status"), [("0.03", 0, "green"), ("0.03", 1, "red"), ("0.03,0.1", 1, "red")]
)
def test_two_draws_of_noise_differ_only_by_chance(planted, epsilon, layers, status):
    def change(run, arrays):
        arrays["psi"][run.conditions.index("sign-noise-2@0.03"), :layers] += 0.02

    for controls in ("sign-noise,sign-noise-2", "anti-fgsm,sign-noise-2,sign-noise"):
        check = found(planted(change, epsilon=epsilon, controls=controls), "noise against noise")
        assert (check.status, check.value) == (status, layers)
    assert found(planted(change, controls="sign-noise-2"), "noise against noise").status == "none"
    assert found(planted(images=9, controls=controls), "noise against noise").status == "none"
    assert found(planted(), "noise against noise").status == "none"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"controls": "sign-noise"}, "green"),
        ({"controls": "anti-fgsm,gaussian"}, "green"),
        ({"controls": "anti-fgsm"}, "amber"),
        ({"controls": "none"}, "red"),
        ({"epsilon": "0"}, "none"),
    ],
)
def test_controls(planted, options, status):
    assert found(planted(**options), "controls").status == status


@pytest.mark.parametrize(
    ("l2", "status", "words"),
    [
        ({}, "green", "to subtract from the attack"),
        ({"pgd@0.03": 0.91}, "green", "to subtract from the attack"),
        ({"pgd@0.03": 0.89}, "amber", "gaussian@0.03 has the L2 of fgsm, and that of pgd@0.03 is 11 % smaller"),
        (
            {"pgd@0.1": 1.5, "pgd@0.03": 0.8},
            "amber",
            "gaussian@0.1 has the L2 of fgsm, and that of pgd@0.1 is 50 % larger",
        ),
        ({"gaussian@0.1": 0.5, "pgd@0.1": 0.5}, "amber", "gaussian@0.1 reaches only 50 % of the L2 of fgsm@0.1"),
        ({"sign-noise@0.1": 0.5, "anti-fgsm@0.1": 0.5}, "green", "to subtract from the attack"),
    ],
)
def test_noise_of_another_attacks_size_is_told(planted, l2, status, words):
    def change(run, arrays):
        for name, share in l2.items():
            arrays["l2"][run.conditions.index(name)] *= share
        arrays["l2"][run.conditions.index("pgd@0.03"), :3] = np.nan

    options = {"attack": "fgsm,pgd", "epsilon": "0,0.03,0.1", "controls": "sign-noise,gaussian,anti-fgsm"}
    check = found(planted(change, **options), "controls")
    assert (check.status, check.value) == (status, 3)
    assert words in check.sentence


@pytest.mark.parametrize(
    ("p", "status"),
    [
        ([0.5] * 14, "green"),
        ([0.04, 0.04, *[0.5] * 12], "green"),
        ([*[0.04] * 4, *[0.5] * 10], "amber"),
        ([*[0.04] * 7, *[0.5] * 7], "red"),
        ([0.001, *[0.5] * 13], "amber"),
        ([1e-5, *[0.5] * 13], "red"),
    ],
)
def test_draws_of_noise_differ_too_often_by_the_binomial_or_too_much_in_one_layer(p, status):
    many = scipy.stats.binom.sf(sum(each < 0.05 for each in p) - 1, len(p), 0.05)
    assert chance_of(p) == pytest.approx(min(1, 2 * min(many, len(p) * min(p))))
    assert at_least(chance_of(p), RARE, HARDLY_CHANCE) == status


@pytest.mark.parametrize(("order", "way_out"), [("sample", "more than the data hold"), ("first", "add --images")])
@pytest.mark.parametrize(("spread", "status"), [(0.05, "green"), (0.6, "amber"), (2.0, "red")])
def test_a_run_says_which_shift_it_finds(planted, spread, status, order, way_out):
    def change(run, arrays):
        benign, random = arrays["psi"][0], np.random.default_rng(4)
        moved = random.normal(0, 1, len(arrays["index"])) * benign.std(axis=-1, keepdims=True, ddof=1)
        arrays["psi"][run.conditions.index("fgsm@0.03")] = benign + [[0.0], [spread], [0.5 * spread]] * moved
        arrays["psi"][run.conditions.index("sign-noise@0.03")] = benign

    run = planted(change, images=100, order=order)
    check = found(run, "images")
    moved = run.psi[1, 1].astype(float) - run.psi[0, 1]
    factor = scipy.stats.t.ppf(1 - 0.05 / 6, 99) + scipy.stats.t.ppf(0.8, 99)
    assert check.value == pytest.approx(factor * scipy.stats.sem(moved) / run.psi[0, 1].std(ddof=1), rel=1e-5)
    assert (check.status, check.unit) == (status, "sd")
    least = f"{check.value:.2g} sd in any one layer, of {check.value / 2:.2g} sd in half of them"
    assert f"100 images: four of five such runs find a shift of {least}" in check.sentence
    assert (way_out in check.sentence) == (status != "green"), "a sample of the first ones is all of them"


def test_of_several_noises_the_one_that_is_hardest_to_tell_counts_and_all_have_to_be_told(planted):
    def change(run, arrays):
        benign, random = arrays["psi"][0], np.random.default_rng(4)
        for name, spread in (("fgsm@0.03", 0), ("sign-noise@0.03", 0.1), ("gaussian@0.03", 0.4)):
            own = random.normal(0, spread, (len(run.layers), len(arrays["index"])))
            arrays["psi"][run.conditions.index(name)] = benign + own * benign.std(axis=-1, keepdims=True, ddof=1)

    run = planted(change, controls="sign-noise,gaussian", images=100)
    check = found(run, "images")
    at = [run.conditions.index(name) for name in ("fgsm@0.03", "gaussian@0.03")]
    psi = run.psi.astype(float)
    factor = scipy.stats.t.ppf(1 - 0.05 / 6, 99) + scipy.stats.t.ppf(0.9, 99)
    errors = scipy.stats.sem(psi[at[0]] - psi[at[1]], axis=-1) / psi[0].std(axis=-1, ddof=1)
    assert check.value == pytest.approx(factor * errors.max(), rel=1e-5)


def test_of_nine_images_nothing_is_found_and_of_no_attack_nothing_asked(planted):
    assert found(planted(images=9), "images").status == "red"
    assert found(planted(epsilon="0"), "images").status == "none"


@pytest.mark.parametrize(("one", "more", "status"), [(50, 100, "green"), (94, 90, "amber"), (100, 94, "red")])
def test_targeted_attacks_are_judged_by_the_targets_they_reach(planted, one, more, status):
    def change(run, arrays):
        target = (arrays["label"] + 2) % 10
        arrays["target"] = target
        arrays["confidence"][run.conditions.index("pgd@0.03")] = 1  # Of the label: of no concern to the attack.
        for attack, count in (("fgsm", one), ("pgd", more)):
            arrays["prediction"][run.conditions.index(f"{attack}@0.03"), :count] = target[:count]

    run = planted(change, attack="fgsm,pgd", target="next")
    assert found(run, "more steps").status == status
    assert f"fgsm brings {one}.0 % to their target" in found(run, "more steps").sentence
    assert found(run, "noise").value == -min(one, more)


def test_checks_stand_in_order_with_one_sentence_each(planted):
    rows = table_rows(planted(), "evidence")
    assert [row["check"] for row in rows] == [check.name for check in checks_of(planted())]
    assert [row["check"] for row in rows][:2] == ["clean accuracy", "larger epsilon"]
    assert len({row["check"] for row in rows}) == 13
    assert all(str(row["sentence"]) and "\n" not in str(row["sentence"]) for row in rows)


def test_the_shipped_example_and_a_beginning_run_have_evidence(own_folders):
    for name in ("example-alexnet", "example-vgg11"):
        checks = checks_of(load_run(name))
        assert {check.status for check in checks} == {"green", "none"}
        assert sum(check.status == "green" for check in checks) >= 12
    begun = load_run(record_run(own_folders, chunks=[0], finished=False))
    assert "25 images so far" in found(begun, "images").sentence
    with pytest.raises(RunError, match="no results yet"):
        checks_of(load_run(record_run(own_folders, chunks=[], finished=False)))


def test_tally():
    assert tally(["green", "none", "red", "green"]) == "2 green, 0 amber, 1 red, 1 not checked"
    assert tally(["amber"]) == "0 green, 1 amber, 0 red"


def sure(count):
    """So many of the hundred images whose label has all of the probability that float32 can tell from 1."""

    def change(_run, arrays):
        arrays["confidence"][:] = 1 - 2e-6
        arrays["confidence"][0, :count] = 1 - 5e-7

    return change


@pytest.mark.parametrize(("count", "status"), [(0, "green"), (1, "green"), (2, "amber"), (10, "amber"), (11, "red")])
def test_a_cross_entropy_is_weak_where_the_network_is_sure(planted, count, status):
    check = found(planted(sure(count), loss="cross-entropy"), "confident images")
    assert (check.status, check.value) == (status, count)
    assert ("--loss margin" in check.sentence) == (status != "green")


def test_a_margin_is_not_and_says_what_a_peer_would_lose(planted):
    check = found(planted(sure(60)), "confident images")
    assert (check.status, check.value) == ("green", 60)
    assert "that of a cross-entropy in float32 would be rounding noise" in check.sentence
    assert found(planted(attack="none", controls="none", attacked="npz:any"), "confident images").status == "none"
