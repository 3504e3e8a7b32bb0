"""Is a shift more than chance? Checks of controls, of false alarms between two noises, and of what would be found."""

import math
from statistics import median

import numpy as np

from psi_core.conditions import ATTACKS, Condition, attack_row, noises_of, sizing_attack
from psi_core.evidence.arithmetic import engine_evidence
from psi_core.evidence.check import Check, at_least, at_most, listed, not_checked
from psi_core.plain_text import counted
from psi_core.runs.run import Run
from psi_core.statistics.contrasts import SIGNIFICANT, smallest_detectable
from psi_core.statistics.intervals import FEWEST_IMAGES, mean_of

RARE, HARDLY_CHANCE = 0.05, 0.001
"""Share of sound runs in which two draws of noise differ as much: below the first amber, below the second red."""

SMALL, MEDIUM = 0.2, 0.5
"""Benign sd, Cohen's (1988) words for shifts from so many on."""

SAME_SIZE = 0.1
"""Share by which the mean L2 of an attack may differ from that of noise which copies another attack's."""

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
    means = [mean_of(moved) for first, second in pairs for moved in psi[second] - psi[first]]
    p = [known.p for known in means if known.images >= FEWEST_IMAGES]
    if not p:
        return not_checked(name, f"fewer than {FEWEST_IMAGES} images have a PSI under both draws; add images")
    alarms = sum(each < SIGNIFICANT for each in p)
    chance = chance_of(p)
    status = at_least(chance, RARE, HARDLY_CHANCE)
    epsilons = f"{len(pairs)} epsilons" if len(pairs) > 1 else "1 epsilon"
    drawn = listed(row.name for row in _DRAWN_TWICE if row.second_draw in run.config.controls)
    sentence = f"two draws of {drawn} differ at 5 % in {alarms} of {len(p)} comparisons ({epsilons}, every layer)"
    percent = f"{100 * chance:.0f}" if chance > 0.1 else f"{max(100 * chance, 0.001):.2g}"
    often = f"{percent} % of sound runs show as much"
    tail = {
        "green": f"{often}: false alarms are as rare as promised",
        "amber": f"{often}: mind small shifts",
        "red": f"{often}: do not trust verdicts of this run",
    }[status]
    return Check(name, status, f"{sentence}; {tail}", alarms, "comparisons")


def chance_of(p: list[float]) -> float:
    """How often p values of no difference are as small: so many below 5 %, by the binomial, or one so small.

    The smaller of both, doubled, for there are two questions.
    """
    from scipy.special import bdtrc

    alarms = sum(each < SIGNIFICANT for each in p)
    many = float(bdtrc(alarms - 1, len(p), SIGNIFICANT)) if alarms else 1.0
    return min(1.0, 2 * min(many, len(p) * min(p)))


def controls_present(run: Run) -> Check:
    """Whether there is noise to compare the attack with, and whether it has the attack's size."""
    name, controls = "controls", run.config.controls
    count = len(controls)
    noises = [control for control in controls if attack_row(control).kind == "noise"]
    if len(run.conditions) == 1:
        return not_checked(name, "nothing was done to the images, so that nothing needs a control; add --attack fgsm")
    if (
        run.config.attacked
        and not run.config.attack
        and all(each.control is None for each in run.condition_details if each.is_external)
    ):
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
    sentence = f"{listed(controls)} at every epsilon, to subtract from the attack"
    other_size = _noise_of_another_size(run)
    return Check(name, "amber" if other_size else "green", f"{sentence}{other_size}", count, "controls")


def _noise_of_another_size(run: Run) -> str:
    """What is to be said where noise that copies an attack's L2 stands beside another attack of clearly another one."""
    details, l2 = run.condition_details, run.array("l2").astype(np.float64)
    found = []
    for at, each in enumerate(details):
        for noise in () if each.is_control else noises_of(each, details):
            own, others = l2[at], l2[run.conditions.index(noise.name)]
            is_known = np.isfinite(own) & np.isfinite(others)
            if noise.row.copies_l2 and others[is_known].sum() > 0:
                found.append((float(own[is_known].sum() / others[is_known].sum()) - 1, each, noise))
    excess, each, noise = max(found, key=lambda one: abs(one[0]), default=(0.0, details[0], details[0]))
    if abs(excess) <= SAME_SIZE:
        return ""
    sized, way = sizing_attack(noise, details), "larger" if excess > 0 else "smaller"
    if each == sized:
        return f"; {noise.name} reaches only {100 / (1 + excess):.0f} % of the L2 of {each.name}"
    return (
        f"; {noise.name} has the L2 of {sized.attack}, and that of {each.name} is {100 * abs(excess):.0f} % {way}: "
        "give it a run of its own"
    )


def images_enough(run: Run) -> Check:
    """Which shift from every noise of its size a run of so many images finds, under whichever of its attacks."""
    name, count, details = "images", len(run.index), run.condition_details
    seen = f"{counted(count, 'image')}{'' if count == run.images else ' so far'}"
    attacks = [at for at, each in enumerate(details) if not (each.is_benign or each.is_control or each.epsilon == 0)]
    if not attacks:
        return not_checked(name, "no attack has an epsilon above 0, so that nothing can shift; add --attack fgsm")
    psi, tests = run.psi.astype(np.float64), len(attacks) * len(run.layers)
    found = []
    for at in attacks:
        noises = [run.conditions.index(each.name) for each in noises_of(details[at], details)] or [0]
        moved = psi[at] - psi[noises]
        found += [smallest_detectable(psi[0, layer], moved[:, layer], tests) for layer in range(psi.shape[1])]
    found = [delta for delta in found if not math.isnan(delta)]
    if not found:
        way_out = "take larger data" if _has_all_data(run) else "add --images 1000"
        return Check(name, "red", f"{seen}: too few to tell a shift from chance; {way_out}")
    worst = max(found)
    status = at_most(worst, SMALL, MEDIUM)
    sentence = (
        f"{seen}: four of five such runs find a shift of {worst:.2g} sd in any one layer, "
        f"of {median(found):.2g} sd in half of them"
    )
    if status != "green":
        wanted = 10 ** math.ceil(math.log10(count * (worst / SMALL) ** 2))
        sentence += f"; small ones, from {SMALL:g} sd on, need some {wanted:,}"
        sentence += ", more than the data hold" if _has_all_data(run) else f"; add --images {wanted}"
    return Check(name, status, sentence, worst, "sd")


def _has_all_data(run: Run) -> bool:
    """Whether the run takes every image of its data: a sample of fewer is not the first ones."""
    return run.config.order == "sample" and bool((run.positions == np.arange(run.images)).all())


def duplicates(run: Run) -> Check | None:
    """Whether images of the run are copies of another; None for a run whose images were not compared."""
    seen = engine_evidence(run)
    if seen is None or seen.copies is None:
        return None
    name, count = "duplicates", seen.copies
    if not count:
        return Check(name, "green", "no image is byte for byte the same as another", 0, "images")
    named = listed(map(str, seen.copy_positions or ()))
    sentence = (
        f"{count:,} of {run.images:,} images are byte for byte the same as another, such as {named}: intervals take "
        "images as independent and are too narrow then; take the copies out"
    )
    return Check(name, "amber", sentence, count, "images")


def _under(run: Run, control: str) -> list[Condition]:
    """The conditions of a control, one an epsilon, in the order of these."""
    return [condition for condition in run.condition_details if condition.attack == control]


def _is_sized(condition: Condition) -> bool:
    return condition.epsilon > 0
