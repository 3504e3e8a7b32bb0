"""Evidence of sound arithmetic: what the engine saw, norms within epsilon, and epsilon 0."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from psi_core import Run
from psi_core.runs.chunks import Arrays
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import EvidenceFound, Started
from tests.core.planted import Change, found, planted_run

SOUND = {
    "images": 8,
    "pixels": 5,
    "training_modules": 0,
    "repeat_difference": 0.0,
    "finite_difference_error": 1e-7,
    "gradient_error": 1e-5,
}


@pytest.fixture
def planted(own_folders: Path) -> Callable[..., Run]:
    return partial(planted_run, own_folders)


def told(run: Run, **fields: object) -> Run:
    """The same with one more event of the engine's."""
    EventLog(events_path(run.directory, 0)).write(EvidenceFound(**SOUND | fields))
    return run


@pytest.mark.parametrize(
    ("error", "own", "status"),
    [
        *((0.001, 0.05, "green"), (0.0011, 0.0, "amber"), (0.05, 0.0, "amber"), (0.051, 0.0, "red")),
        *((0.0, 0.051, "amber"), (0.0, 0.5, "amber"), (0.0, 0.51, "red")),
    ],
)
def test_finite_differences(planted, error, own, status):
    check = found(told(planted(), finite_difference_error=error, gradient_error=own), "finite differences")
    assert (check.status, check.value) == (status, 100 * max(error, own))


def test_where_nothing_follows_a_gradient_none_is_looked_at(planted):
    run = told(planted(attack="none", controls="none"), gradient_reason="the gradient is 0 at every pixel of 8 images")
    check = found(run, "finite differences")
    assert (check.status, check.sentence) == ("none", "nothing here follows a gradient; add --attack fgsm")


@pytest.mark.parametrize(
    ("difference", "training", "status"),
    [(0.0, 0, "green"), (1e-9, 0, "amber"), (1e-3, 0, "amber"), (1.1e-3, 0, "red"), (0.0, 1, "red")],
)
def test_deterministic(planted, difference, training, status):
    check = found(told(planted(), repeat_difference=difference, training_modules=training), "deterministic")
    assert (check.status, check.value) == (status, difference)


@pytest.mark.parametrize(
    ("difference", "training", "words"),
    [
        (0.0, 1, "; 1 module is in training mode, where normalization goes by the batch; let its train(False) reach"),
        (1e-6, 3, "; 3 modules are in training mode, where normalization goes by the batch"),
        (1.0, 3, "; 3 modules are in training mode: chance decides too"),
        (1.0, 0, "; no module is in training mode: chance decides too"),
    ],
)
def test_chance_is_named_where_it_decides_and_training_mode_where_it_does_not(planted, difference, training, words):
    check = found(told(planted(), repeat_difference=difference, training_modules=training), "deterministic")
    assert check.status == "red"
    assert words in check.sentence


@pytest.mark.parametrize(
    ("alone", "words"),
    [
        (
            {"alone_difference": 0.3, "alone_cause": "bn normalizes by the batch"},
            ": bn normalizes by the batch, so that",
        ),
        ({"alone_difference": 0.3}, ": its forward mixes the images of a batch, so that the others' pixels move"),
        ({"alone_difference": 1e-6}, "look for a backward of its own, or rounding"),
        ({"alone_difference": None}, "look for a backward of its own, or rounding"),
    ],
)
def test_differences_that_the_batch_spoils_are_laid_to_it(planted, alone, words):
    check = found(told(planted(), finite_difference_error=1.0, **alone), "finite differences")
    assert check.status == "red"
    assert words in check.sentence


@pytest.mark.parametrize(
    ("difference", "share", "status", "value", "words"),
    [
        (0.0, 0.0, "green", (0.0, "logit"), "bit for bit, and so do two gradients; no module"),
        (0.0, 1e-7, "amber", (1e-5, "percent"), "bit for bit, two gradients within 0.001 % of their largest number"),
        (0.0, 0.05, "amber", (5.0, "percent"), "some backwards on a GPU"),
        (0.0, 0.051, "red", (5.1, "percent"), "chance decides where attacks go"),
        (1e-6, 0.0, "amber", (1e-6, "logit"), "within 1e-06 in every logit, two gradients bit for bit"),
        (1e-6, 1e-6, "amber", (1e-6, "logit"), "sums in another order"),
        (1.0, 1.0, "red", (1.0, "logit"), "take dropout and noise out"),
        (0.0, None, "green", (0.0, "logit"), "agree bit for bit; no module"),
    ],
)
def test_a_gradient_that_does_not_repeat_itself_is_told(planted, difference, share, status, value, words):
    run = told(planted(), repeat_difference=difference, gradient_repeat_difference=share)
    check = found(run, "deterministic")
    assert (check.status, check.value, check.unit) == (status, pytest.approx(value[0]), value[1])
    assert words in check.sentence


def test_a_gradient_that_could_not_be_repeated_has_its_reason(planted):
    check = found(told(planted(), gradient_repeat_reason="it came to NaN"), "deterministic")
    assert (check.status, check.value) == ("green", 0.0)
    assert "; two gradients could not be compared: it came to NaN; no module" in check.sentence


def test_where_nothing_follows_a_gradient_its_repetition_is_of_no_concern(planted):
    check = found(told(planted(attack="none", controls="none"), gradient_repeat_difference=1.0), "deterministic")
    assert check.status == "green"
    assert "gradient" not in check.sentence


@pytest.mark.parametrize("name", ["finite differences", "deterministic"])
def test_what_the_engine_could_not_see_is_none_with_its_reason(planted, name):
    assert found(planted(), name).status == "none"
    reasons = {"gradient_reason": "it is too large", "repeat_reason": "it is too large"}
    for nothing in (None, float("nan"), "many"):
        run = told(planted(), finite_difference_error=nothing, repeat_difference=nothing, **reasons)
        assert (found(run, name).status, "it is too large" in found(run, name).sentence) == ("none", True)


def test_the_last_word_of_the_first_worker_counts(planted):
    run = told(told(planted(), repeat_difference=1.0), repeat_difference=0.0)
    EventLog(events_path(run.directory, 1)).write(EvidenceFound(**SOUND | {"repeat_difference": 1.0}))
    assert found(run, "deterministic").status == "green"


def test_what_the_worker_of_another_run_saw_does_not_count(planted):
    run = told(planted())
    log = EventLog(events_path(run.directory, 0))
    log.write(Started(run="20260101-000000-abcdef"))
    assert found(told(run, repeat_difference=1.0), "deterministic").status == "green"
    log.write(Started(run=run.id))
    assert found(told(run, repeat_difference=1.0), "deterministic").status == "red"


def moved(condition: str, **norms: float) -> Change:
    """One image under a condition moved by so much."""

    def change(run: Run, arrays: Arrays) -> None:
        for norm, size in norms.items():
            arrays[norm][run.conditions.index(condition), 7] = size

    return change


@pytest.mark.parametrize("condition", ["fgsm@0.03", "sign-noise@0.03"])
@pytest.mark.parametrize(("beyond", "status"), [(0, "green"), (9e-7, "green"), (1.2e-6, "red"), (np.nan, "red")])
def test_no_image_moves_further_than_epsilon(planted, condition, beyond, status):
    check = found(planted(moved(condition, linf=0.03 + beyond)), "norms")
    assert check.status == status
    assert (condition in check.sentence) == (status == "red")


@pytest.mark.parametrize(("share", "status"), [(1, "green"), (1 + 9e-6, "green"), (1 + 1.2e-5, "red")])
@pytest.mark.parametrize("attack", ["fgm-l2", "foolbox:L2DeepFoolAttack"])
def test_norms_in_l2_are_bounded_by_the_inputs_size(planted, share, status, attack):
    # Recorded runs have an L2 of 20 epsilon, as if every one of 1 x 20 x 20 pixels had moved by epsilon.
    run = planted(moved(f"{attack}@0.03", l2=0.03 * 20 * share, linf=0.9), attack=attack, controls="none")
    assert found(run, "norms").status == "none"
    card = run.directory / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"input_shape": [1, 20, 20]}))
    assert found(run, "norms").status == status
    assert found(run, "norms").value == pytest.approx(100 * share)


def test_norms_that_cannot_be_told_are_named_beside_those_that_can(planted):
    check = found(planted(controls="sign-noise,gaussian"), "norms")
    assert check.status == "amber"
    assert "gaussian@0.03 cannot be told" in check.sentence


def test_norms_of_given_images_are_reported_and_not_judged(planted):
    run = planted(moved("attacked", linf=0.7, l2=9.5), attack="none", controls="none", attacked="npz:there.npz")
    check = found(run, "norms")
    assert (check.status, "L-inf 0.7 and L2 9.5 at most" in check.sentence) == ("none", True)
    assert found(run, "controls").status == "amber"
    both = planted(moved("attacked", linf=0.7), attacked="npz:there.npz")
    assert (found(both, "norms").status, "L-inf 0.7" in found(both, "norms").sentence) == ("green", True)


@pytest.mark.parametrize("name", [None, "psi", "prediction"])
@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_epsilon_0_is_exactly_0(planted, name, attack):
    def change(run, arrays):
        for each in ("fgsm@0", "pgd@0"):
            at = run.conditions.index(each)
            arrays["psi"][at] = arrays["psi"][0]
        if name:
            at = run.conditions.index(f"{attack}@0"), *([1] if name == "psi" else []), 3
            array = arrays[name]
            array[at] = np.nextafter(array[at], np.float32(1)) if name == "psi" else array[at] + 1

    check = found(planted(change, attack="fgsm,pgd", epsilon="0,0.03", silent=4), "epsilon 0")
    assert (check.status, check.value) == (("red", 1) if name else ("green", 0))
    assert found(planted(), "epsilon 0").status == "none"
