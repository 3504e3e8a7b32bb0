"""Is the attack one? Checks of what it does to the recognition, beside epsilon, more steps and noise."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import ATTACKS, Condition, attack_row, epsilon_text
from psi_core.evidence.check import Check, Status, at_least, at_most, badness, not_checked, worst
from psi_core.plain_text import short_number
from psi_core.runs.run import Run
from psi_core.statistics.paired import percent
from psi_core.statistics.recognition import fooled_percent, reached_percent, targets_of, unmoved_percent

ACCURATE, HALF_RIGHT = 90.0, 50.0
"""Percent right before any attack: from the first on nearly all mistakes are the attack's; below the second most
mistakes are the network's own."""

FALL, STEEP_FALL = 1.0, 5.0
"""Points by which success may fall at a larger epsilon: one is a few images at the edge; five are no accident in a
hundred images."""

SAME_CONFIDENCE = 0.01
"""Confidence by which more steps may lag in an image: a hundredth changes no decision."""

MOST_IMAGES, MANY_IMAGES = 95.0, 80.0
"""Percent of the images where more steps do as much as one: a random start and few steps lose some; a fifth lost says
that the steps do not climb."""

HALF_AS_MUCH = 0.5
"""Share of an attack's success that noise may have: with more of it, most of the fooled would be so by any change."""

SAME_SUCCESS = 1.0
"""Points that are no difference between two rates of success."""

FEW_ZERO, MANY_ZERO = 1.0, 10.0
"""Percent of images without a gradient: a saturated softmax leaves a few; a tenth bounds what the attack can do."""

SURE = 1e-6
"""What is left to 1 of the label's probability: below it the cross-entropy's gradient in float32 is rounding."""

FEW_SURE, MANY_SURE = 1.0, 10.0
"""Percent of images that a cross-entropy may lose the gradient of."""

_MASKING = "gradient masking would look like this"
_NOTHING_RIGHT = "no image is right before an attack, so that none can be fooled; check weights and labels"


def clean_accuracy(run: Run) -> Check:
    """How often the network is right before anything is done."""
    name = "clean accuracy"
    if run.config.labels == "predicted":
        return not_checked(name, "labels are the network's own choices, which are always right; use data with labels")
    accuracy = float((run.predictions[0] == run.labels).mean() * 100)
    status = at_least(accuracy, ACCURATE, HALF_RIGHT)
    tail = {
        "green": "mistakes under attack are the attack's",
        "amber": f"{100 - accuracy:.1f} % of the images are wrong by themselves; only the others can be fooled",
        "red": "most mistakes are the network's own; check weights, labels and normalization",
    }[status]
    return Check(name, status, f"clean accuracy {accuracy:.1f} %: {tail}", accuracy, "percent")


def success_with_epsilon(run: Run) -> Check:
    """Whether a larger epsilon ever does less."""
    name, rates = "larger epsilon", _rates(run)
    if rates is None:
        return not_checked(name, _NOTHING_RIGHT)
    falls = []
    for attack in run.config.attack:
        places = sorted((each.epsilon, place) for place, each in _attacked(run) if each.attack == attack)
        for number in range(1, len(places)):
            best = max((place for _, place in places[:number]), key=lambda place: rates[place])
            falls.append((rates[best] - rates[places[number][1]], best, places[number][1]))
    if not run.config.attack and not run.config.attacked:
        return not_checked(name, "nothing was done to the images; add --attack fgsm --epsilon 0.03,0.1")
    if not run.config.attack:
        return not_checked(name, "images attacked elsewhere have one size each; add an attack, such as --attack fgsm")
    if not falls:
        return not_checked(name, "one epsilon shows no trend; add a second above 0, such as --epsilon 0.03,0.1")
    if not any(rates[place] for place, _ in _attacked(run)):
        return not_checked(name, "no attack has any success, which shows no trend; add a larger epsilon")
    fall, before, after = max(falls)
    compared = f"{_success(run, rates, before)} and {_success(run, rates, after, with_attack=False)}"
    status = at_most(fall, FALL, STEEP_FALL)
    value = max(0.0, float(fall))
    if fall <= 0:
        sentence = f"no attack does less at a larger epsilon; the closest: {compared}"
    elif status == "green":
        sentence = f"no attack does less at a larger epsilon by more than {fall:.1f} points: {compared}"
    else:
        sentence = f"{compared}, {fall:.1f} points less at a larger epsilon: a single step may overshoot, or {_MASKING}"
    return Check(name, status, sentence, value, "percentage points")


def iterated_as_strong(run: Run) -> Check:
    """Whether several steps do at least as much as one, image by image."""
    name, rates = "more steps", _rates(run)
    iterated = [row for row in map(attack_row, run.config.attack) if row.is_iterated]
    places = {(each.attack, each.epsilon): place for place, each in _attacked(run)}
    epsilons = [epsilon for attack, epsilon in places if attack == "fgsm"]
    if not iterated or not epsilons:
        return not_checked(name, "fgsm and an attack of several steps are not both there; add --attack fgsm,pgd")
    if rates is None:
        return not_checked(name, _NOTHING_RIGHT)
    several = max(iterated, key=lambda row: (row.gradients(run.config), -ATTACKS.index(row))).name
    found = []
    for epsilon in epsilons:
        one, more = places["fgsm", epsilon], places[several, epsilon]
        share = float(percent(np.count_nonzero(_does_as_much(run, one, more)), len(run.index)))
        lag = float(rates[one] - rates[more])
        status = worst([at_least(share, MOST_IMAGES, MANY_IMAGES), at_most(lag, SAME_SUCCESS, STEEP_FALL)])
        found.append((status, share, one, more))
    status, share, one, more = max(found, key=lambda each: (badness(each[0]), -each[1]))
    sentence = (
        f"in {share:.1f} % of the images {several} does at least as much as fgsm; "
        f"{_success(run, rates, more)}, {_success(run, rates, one, with_epsilon=False)}"
    )
    if status != "green":
        sentence += f": too few steps, or {_MASKING}"
    return Check(name, status, sentence, share, "percent")


def noise_weaker(run: Run) -> Check:
    """Whether noise of the same size fools clearly fewer images."""
    name, rates = "noise", _rates(run)
    noises = [(place, each) for place, each in enumerate(run.condition_details) if each.row.kind == "noise"]
    pairs = [(mine, other) for mine, each in _attacked(run) for other, it in noises if it.epsilon == each.epsilon]
    if not pairs:
        return not_checked(name, "no attack has noise beside it; add --controls sign-noise,gaussian --epsilon 0.03")
    if rates is None:
        return not_checked(name, _NOTHING_RIGHT)
    unit = "percentage points"
    pairs = [(attack, noise) for attack, noise in pairs if rates[attack] or rates[noise]]
    if not pairs:
        return Check(name, "amber", "neither noise nor an attack fools any image; raise epsilon", 0.0, unit)

    def status_of(attack: int, noise: int) -> Status:
        if rates[noise] <= HALF_AS_MUCH * rates[attack]:
            return "green"
        return "amber" if rates[noise] - rates[attack] <= SAME_SUCCESS else "red"

    attack, noise = max(pairs, key=lambda pair: (badness(status_of(*pair)), rates[pair[1]] - rates[pair[0]]))
    status = status_of(attack, noise)
    sentence = f"{_success(run, rates, noise)}, {_success(run, rates, attack, with_epsilon=False)}"
    if status != "green":
        sentence += f": {'noise does much of it too' if status == 'amber' else 'noise does more than the attack'}"
    return Check(name, status, sentence, float(rates[noise] - rates[attack]), unit)


def zero_gradients(run: Run) -> Check:
    """How many images no gradient moves."""
    name, unmoved = "zero gradients", unmoved_percent(run)
    following = [(unmoved[at], at) for at, each in enumerate(run.condition_details) if each.follows_gradient]
    if not following:
        return not_checked(name, "no condition follows the gradient alone; add --attack fgsm and an epsilon above 0")
    share, place = max(following, key=lambda each: each[0])
    attack = run.condition_details[place].attack
    status = at_most(share, FEW_ZERO, MANY_ZERO)
    if share == 0:
        sentence = f"{attack} finds a gradient in every image"
    elif status == "green":
        sentence = f"{attack} finds no gradient in {short_number(share, 2)} % of the images"
    else:
        sentence = f"{attack} finds no gradient in {share:.1f} % of the images: {_MASKING}"
    return Check(name, status, sentence, float(share), "percent")


def confident_images(run: Run) -> Check:
    """How sure the network is, and whether the run's attacks can climb there."""
    name = "confident images"
    if not any(each.row.needs_network and each.epsilon > 0 for each in run.condition_details):
        return not_checked(name, "nothing follows a gradient; add --attack fgsm and an epsilon above 0")
    share = float((1 - run.array("confidence")[0].astype(np.float64) < SURE).mean() * 100)
    sure = f"in {share:.1f} % of the images the network leaves less than 1e-6 to other classes"
    if run.config.loss == "margin":
        tail = "attacks climb the margin, whose gradient stays exact there"
        tail += "; that of a cross-entropy in float32 would be rounding noise" if share >= FEW_SURE else ""
        return Check(name, "green", f"{sure}: {tail}", share, "percent")
    status = at_most(share, FEW_SURE, MANY_SURE)
    tail = "attacks climbed the cross-entropy in float32"
    if status != "green":
        tail += ", whose gradient is rounding noise there, so that they are weak; run it again with --loss margin"
    return Check(name, status, f"{sure}: {tail}", share, "percent")


def _rates(run: Run) -> NDArray[np.float64] | None:
    """Success in percent by condition: images that reach their target, else those fooled; None without any to fool."""
    reached = reached_percent(run)
    rates = fooled_percent(run) if reached is None else reached
    return None if np.isnan(rates).all() else rates


def _attacked(run: Run) -> Iterator[tuple[int, Condition]]:
    """Places and conditions of the run's own attacks at epsilons above 0; where those are unknown, none."""
    for place, condition in enumerate(run.condition_details):
        if condition.attack in run.config.attack and condition.epsilon > 0:
            yield place, condition


def _does_as_much(run: Run, one: int, more: int) -> NDArray[np.bool_]:
    """Whether each image under a condition has as little confidence as under another, or reaches its target as well."""
    targets = targets_of(run)
    if targets is not None:
        reached = run.predictions == targets
        as_often: NDArray[np.bool_] = reached[more] | ~reached[one]
        return as_often
    confidence = run.array("confidence").astype(np.float64)
    as_little: NDArray[np.bool_] = confidence[more] <= confidence[one] + SAME_CONFIDENCE
    return as_little


def _success(
    run: Run, rates: NDArray[np.float64], place: int, *, with_attack: bool = True, with_epsilon: bool = True
) -> str:
    """`fgsm fools 12.3 % at 0.03`, or as much of it as is asked for."""
    condition = run.condition_details[place]
    verb, end = ("fools", "") if targets_of(run) is None else ("brings", " to their target")
    share = f"{rates[place]:.1f} %"
    said = f"{condition.attack} {verb} {share}{end}" if with_attack else share
    return f"{said} at {epsilon_text(condition.epsilon)}" if with_epsilon else said
