"""One sentence per layer and condition: what was decided of it. Sizes are in benign sd between images."""

import math

from psi_core.measures import MEASURES
from psi_core.plain_text import counted
from psi_core.statistics.contrasts import EQUIVALENT, SIGNIFICANT, Contrast, Decision, Silence, size_word
from psi_core.statistics.intervals import FEWEST_IMAGES

OFTEN = 0.05
"""From this share of silenced images on every sentence tells of them: a shift is of those that still respond."""


def verdict(
    decision: Decision, moves: tuple[str, str] = MEASURES["psi"].moves, *, noise: str = "noise", is_noise: bool = False
) -> str:
    """What happened, in plain language, by the decision's finding.

    - "silenced in 600 of 1,000 images (noise: 3)";
    - "too few images: 9 have a value, 10 are needed"; where none has one when it is benign, "silent in all 60 images";
    - "beyond noise: sparser by 0.42 sd (95 % CI 0.39..0.45), small": by how much from the noise that it differs from
      least, and the size of both ends of the interval, in Cohen's words;
    - "less than noise by 0.42 sd (95 % CI 0.39..0.45)": the noise moves the layer further the same way;
    - "equivalent to noise: within 0.1 sd (90 % CI -0.02..0.03)";
    - "depends on the noise: +0.31 sd from sign-noise@0.1, -0.12 sd from gaussian@0.1";
    - "undecided: 0.06 sd sparser than noise (95 % CI -0.02..0.14), p 0.21";
    - without noise of its size: what lies between the condition and benign, and that there is no noise.

    Args:
        decision: of one layer under one condition.
        moves: what a layer is called whose value rises, and whose value falls.
        noise: what the references are called.
        is_noise: whether the condition is noise itself.
    """
    silence, deciding = decision.silence, decision.deciding
    if decision.finding == "silenced":
        beside = f" (noise: {silence.by_noise:,})" if decision.contrasts else ""
        return f"{_silenced(silence)}{beside}"
    if decision.finding == "few" and silence.images and not silence.responding:
        woken = f" when benign; of them {silence.woken:,} respond here" if silence.woken else ""
        return f"silent in all {silence.images:,} images{woken}"
    if decision.finding == "few":
        fewest = min(each.pairs for each in (decision.against_benign, *decision.contrasts))
        return f"too few images: {fewest} {'has' if fewest == 1 else 'have'} a value, {FEWEST_IMAGES} are needed"
    if deciding is not None:
        said = _compared(decision, deciding, noise, moves)
    elif is_noise:
        said = f"noise itself, {_from_benign(decision, moves)}"
    else:
        moved = decision.against_benign.same_way  # NaN where no image moves.
        said = (
            "no change in any image" if math.isnan(moved) else f"{_from_benign(decision, moves)}; no noise of its size"
        )
    return f"{said}; {_silenced(silence)}" if silence.share >= OFTEN else said


def _compared(decision: Decision, deciding: Contrast, noise: str, moves: tuple[str, str]) -> str:
    if math.isnan(deciding.delta):
        return f"undecided: {_NO_SPREAD}"
    match decision.finding:
        case "beyond":
            return f"beyond {noise}: {_move(deciding, moves)} by {_size(deciding)}, {_words(deciding)}"
        case "less":
            return f"less than {noise} by {_size(deciding)}"
        case "equivalent":
            return f"equivalent to {noise}: {_within(deciding)}"
        case "depends":
            shifts = (f"{each.delta:+.2f} sd from {each.reference}" for each in decision.contrasts)
            return f"depends on the noise: {', '.join(shifts)}"
        case _:
            return _undecided(deciding, noise, decision.p_holm, moves)


def _from_benign(decision: Decision, moves: tuple[str, str]) -> str:
    shift = decision.against_benign
    if math.isnan(shift.delta):
        return f"undecided: {_NO_SPREAD}"
    if shift.is_told and decision.p_holm < SIGNIFICANT:
        return f"{_move(shift, moves)} than benign by {_size(shift)}, {_words(shift)}"
    if shift.is_equivalent:
        return f"equivalent to benign: {_within(shift)}"
    return _undecided(shift, "benign", decision.p_holm, moves)


_NO_SPREAD = "benign images are all alike here, so that no sd measures a shift"


def _undecided(shift: Contrast, reference: str, p: float, moves: tuple[str, str]) -> str:
    sign = math.copysign(1, shift.delta)
    interval = f"95 % CI {_between(shift, sign * shift.low, sign * shift.high)}"
    size = f"{abs(shift.delta):.{_digits(shift)}f} sd"
    return f"undecided: {size} {_move(shift, moves)} than {reference} ({interval}), p {p:.2g}"


def _move(shift: Contrast, moves: tuple[str, str]) -> str:
    return moves[0] if shift.shift > 0 else moves[1]


def _words(shift: Contrast) -> str:
    """The size of both ends of the interval: `small`, or `negligible to small`."""
    least, most = (size_word(end) for end in sorted((shift.low, shift.high), key=abs))
    return least if least == most else f"{least} to {most}"


def _size(shift: Contrast) -> str:
    """Without signs: `0.42 sd (95 % CI 0.39..0.45)`."""
    return f"{abs(shift.delta):.{_digits(shift)}f} sd (95 % CI {_between(shift, abs(shift.low), abs(shift.high))})"


def _within(shift: Contrast) -> str:
    return f"within {EQUIVALENT:g} sd (90 % CI {_between(shift, shift.inner_low, shift.inner_high)})"


def _between(shift: Contrast, *ends: float) -> str:
    digits = _digits(shift)
    low, high = sorted(round(end, digits) + 0.0 for end in ends)  # + 0.0: no -0.00.
    return f"{low:.{digits}f}..{high:.{digits}f}"


def _digits(shift: Contrast) -> int:
    """Decimals to the first digit of the interval's half, two at least: more would be noise."""
    half = (shift.high - shift.low) / 2
    return min(max(-math.floor(math.log10(half)), 2), 6) if half > 0 else 2


def _silenced(silence: Silence) -> str:
    return f"silenced in {silence.silenced:,} of {counted(silence.responding, 'image')}"
