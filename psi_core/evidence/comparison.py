"""Is a shift more than chance? Checks of controls, of false alarms between two noises, and of how many images."""

import numpy as np

from psi_core.conditions import ATTACKS, Condition, attack_row
from psi_core.evidence.check import Check, at_least, at_most, listed, not_checked
from psi_core.runs.run import Run
from psi_core.statistics.paired import paired_statistics
from psi_core.statistics.verdicts import MINIMUM_PAIRS, is_significant

FEW_ALARMS, MANY_ALARMS = 5.0, 20.0
"""Percent of false alarms: the verdicts' own level; at four times that they are not to be believed."""

ENOUGH_IMAGES, FEWEST_IMAGES = 1000, 100
"""Images: shifts are small against the spread, so that a d_z of 0.1 needs a thousand; a hundred show a large one."""

_DRAWN_TWICE = tuple(row for row in ATTACKS if row.second_draw is not None)


def noise_against_noise(run: Run) -> Check:
    """In how many layers the verdicts tell two draws of the same noise apart."""
    name, places = "noise against noise", {name: place for place, name in enumerate(run.conditions)}
    pairs = [
        (places[first.name], places[second.name])
        for row in _DRAWN_TWICE
        for first, second in zip(_under(run, row.name), _under(run, str(row.second_draw)), strict=False)
    ]
    if not pairs:
        both = f"{_DRAWN_TWICE[0].name},{_DRAWN_TWICE[0].second_draw}"
        return not_checked(name, f"false alarms need two draws of noise; add --controls {both}")
    psi = run.psi.astype(np.float64)
    statistics = paired_statistics(np.stack([psi[second] - psi[first] for first, second in pairs]))
    shifts = [statistics.at(*place) for place in np.ndindex(statistics.mean.shape)]
    shifts = [shift for shift in shifts if shift.pairs >= MINIMUM_PAIRS]
    if not shifts:
        return not_checked(name, f"fewer than {MINIMUM_PAIRS} images have a PSI under both draws; add images")
    alarms = sum(map(is_significant, shifts))
    status = at_most(100 * alarms / len(shifts), FEW_ALARMS, MANY_ALARMS)
    epsilons = f"{len(pairs)} epsilons" if len(pairs) > 1 else "1 epsilon"
    drawn = listed(row.name for row in _DRAWN_TWICE if row.second_draw in run.config.controls)
    sentence = f"two draws of {drawn} differ in {alarms} of {len(shifts)} comparisons ({epsilons}, every layer)"
    tail = {
        "green": "false alarms are as rare as promised",
        "amber": "false alarms happen here; mind small shifts",
        "red": "verdicts on this run are not to be believed",
    }[status]
    return Check(name, status, f"{sentence}: {tail}", alarms, "comparisons")


def controls_present(run: Run) -> Check:
    """Whether there is noise to compare the attack with."""
    name, controls = "controls", run.config.controls
    count = len(controls)
    noises = [control for control in controls if attack_row(control).kind == "noise"]
    if not run.config.attack and all(each.control is None for each in run.condition_details if each.is_external):
        why = "no control has the size of the images attacked elsewhere; add --epsilon with their largest change"
        return Check(name, "amber", why, count, "controls")
    if not any(map(_is_sized, run.condition_details)):
        return not_checked(name, "there is no epsilon above 0 to have a control at; add one, --epsilon 0,0.03")
    if not controls:
        why = "no control: any change of an image may shift sparseness so; add --controls sign-noise,gaussian"
        return Check(name, "red", why, 0, "controls")
    if not noises:
        why = f"{listed(controls)} but no noise, which shifts sparseness too; add --controls sign-noise,gaussian"
        return Check(name, "amber", why, count, "controls")
    return Check(name, "green", f"{listed(controls)} at every epsilon, to subtract from the attack", count, "controls")


def images_enough(run: Run) -> Check:
    """Whether there are images enough to see a small shift."""
    count = len(run.index)
    status = at_least(count, ENOUGH_IMAGES, FEWEST_IMAGES)
    tail = {
        "green": "enough to see small shifts",
        "amber": f"large shifts show, small ones need {ENOUGH_IMAGES:,}; add --images {ENOUGH_IMAGES}",
        "red": f"too few to tell a shift from chance; add --images {ENOUGH_IMAGES}",
    }[status]
    so_far = "" if count == run.images else " so far"
    return Check("images", status, f"{count:,} {'image' if count == 1 else 'images'}{so_far}: {tail}", count, "images")


def _under(run: Run, control: str) -> list[Condition]:
    """The conditions of a control, one an epsilon, in the order of these."""
    return [condition for condition in run.condition_details if condition.attack == control]


def _is_sized(condition: Condition) -> bool:
    return condition.epsilon > 0
