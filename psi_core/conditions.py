"""Conditions: what was done to an image before the network saw it (`benign`, `fgsm@0.03`, `sign-noise@0.03`)."""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

BENIGN = "benign"

ATTACK_NAMES: tuple[str, ...] = ("fgsm", "fgm-l2", "r-fgsm", "bim", "pgd", "mi-fgsm")
"""Attacks of our own; the engine's ATTACKS mapping holds the same names."""

FOOLBOX = "foolbox:"
"""What stands before the name of one of foolbox's attacks, `foolbox:LinfDeepFoolAttack`."""

CONTROL_NAMES: tuple[str, ...] = ("sign-noise", "anti-fgsm", "gaussian", "shuffled-fgsm", "sign-noise-2")
"""Controls that the engine knows; its CONTROLS mapping holds the same names."""

DEFAULT_CONTROLS: tuple[str, ...] = ("sign-noise", "anti-fgsm")
"""Controls of a run that names none."""

EXTERNAL = "attacked"
"""Name of the condition of external images: those that were attacked elsewhere."""

SIZED_BY_ATTACK = "gaussian"
"""The control that takes each image's L2 from what the run's first attack realizes at the same epsilon."""

_SECOND_DRAW = {"sign-noise": "sign-noise-2"}
"""The control that is another draw of the same noise: what a difference between two noises looks like."""

EPSILON_ROUNDING = 1e-6
"""By which rounding in float32 carries the change of a pixel of 0..1 beyond epsilon."""

_GRADIENT_STEPS = frozenset({"fgsm", "anti-fgsm", "fgm-l2", "bim", "mi-fgsm", "shuffled-fgsm"})

_ONE_FORWARD = frozenset({"fgsm", "fgm-l2", *CONTROL_NAMES})
"""Attacks and controls that need no gradient besides the one that all share."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is done to the images.

    Attributes:
        attack: `benign`, or the name of an attack or control.
        epsilon: largest change of a pixel, in units of the 0..1 pixel range; 0 for benign, NaN for external images, of
            which only the realized norms are known.
        control: name of the condition that the differences are also taken against: the run's first control at this
            epsilon, and for that one a second draw of its noise; None where the run has none.
    """

    attack: str
    epsilon: float = 0.0
    control: str | None = None

    @property
    def name(self) -> str:
        """`benign`, or `attack@epsilon`; the epsilon reads back as the same float."""
        return self.attack if self.attack in (BENIGN, EXTERNAL) else f"{self.attack}@{epsilon_text(self.epsilon)}"

    @property
    def is_benign(self) -> bool:
        """Whether the image is left as it is."""
        return self.attack == BENIGN

    @property
    def is_external(self) -> bool:
        """Whether the images were attacked elsewhere."""
        return self.attack == EXTERNAL

    @property
    def is_control(self) -> bool:
        """Whether this is a control rather than an attack."""
        return self.attack in CONTROL_NAMES

    @property
    def follows_gradient(self) -> bool:
        """Whether the gradient alone decides where the image goes, so that one of 0 leaves it where it is."""
        return self.epsilon > 0 and self.attack in _GRADIENT_STEPS

    @property
    def shares_gradient(self) -> bool:
        """Whether the gradient at the benign image is all that it needs, so that it costs one forward."""
        return self.is_external or self.attack in _ONE_FORWARD

    @property
    def stream(self) -> int:
        """CRC-32 of the name: the condition's own stream of random numbers."""
        return zlib.crc32(self.name.encode())


def epsilon_text(epsilon: float) -> str:
    """The shortest text that reads back as the same float, without a trailing `.0`."""
    return repr(float(epsilon)).removesuffix(".0")


def epsilon_in_levels(epsilon: float) -> str:
    """Epsilon as a share of 255 gray levels, as many papers write it: 0.03 is `7.65/255`."""
    return f"{epsilon * 255:.4g}/255"


def conditions_of(
    attacks: Iterable[str], epsilons: Iterable[float], controls: Iterable[str], *, has_external: bool = False
) -> tuple[Condition, ...]:
    """The conditions of a run in order: benign, every attack at every epsilon, external images, every control.

    An attack's `control`, and that of every other control, is the first of `controls` at the same epsilon; its own is a
    second draw of the same noise, where that is among them. Controls come at every epsilon above 0. External images
    come without one: their epsilon is not known.
    """
    epsilons, controls = list(epsilons), list(controls)

    def control_at(attack: str, epsilon: float) -> str | None:
        first = next(iter(controls), None)
        named = _SECOND_DRAW.get(attack) if attack == first else first
        return Condition(named, epsilon).name if named is not None and named in controls and epsilon > 0 else None

    attacked = [Condition(attack, epsilon, control_at(attack, epsilon)) for attack in attacks for epsilon in epsilons]
    controlled = [
        Condition(control, epsilon, control_at(control, epsilon))
        for control in controls
        for epsilon in epsilons
        if epsilon > 0
    ]
    external = [Condition(EXTERNAL, math.nan)] if has_external else []
    return (Condition(BENIGN), *attacked, *external, *controlled)


def sizing_attack(condition: Condition, conditions: Iterable[Condition]) -> Condition:
    """The attack whose realized L2 a `gaussian` control takes: the run's first at the same epsilon."""
    return next(
        each
        for each in conditions
        if each.epsilon == condition.epsilon and not (each.is_benign or each.is_control or each.is_external)
    )
