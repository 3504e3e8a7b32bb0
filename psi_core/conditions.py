"""Conditions: what was done to an image before the network saw it (`benign`, `fgsm@0.03`, `sign-noise@0.03`)."""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

BENIGN = "benign"

ATTACK_NAMES: tuple[str, ...] = ("fgsm",)
"""Attacks that the engine knows; its ATTACKS mapping holds the same names."""

CONTROL_NAMES: tuple[str, ...] = ("sign-noise", "anti-fgsm")
"""Controls that the engine knows; its CONTROLS mapping holds the same names."""

GIVEN = "attacked"
"""Name of the condition of images that were attacked elsewhere."""

_GRADIENT_STEPS = frozenset({"fgsm", "anti-fgsm"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One treatment of the images.

    Attributes:
        attack: `benign`, or the name of an attack or control.
        epsilon: largest change of a pixel, in units of the 0..1 pixel range; 0 for benign, NaN for given images, of
            which only the realized norms are known.
        control: name of the condition that the differences are also taken against; None for benign, for controls
            themselves and where the run has no controls.
    """

    attack: str
    epsilon: float = 0.0
    control: str | None = None

    @property
    def name(self) -> str:
        """`benign`, or `attack@epsilon`; the epsilon reads back as the same float."""
        return self.attack if self.attack in (BENIGN, GIVEN) else f"{self.attack}@{epsilon_text(self.epsilon)}"

    @property
    def is_benign(self) -> bool:
        """Whether the image is left as it is."""
        return self.attack == BENIGN

    @property
    def is_given(self) -> bool:
        """Whether the images were attacked elsewhere."""
        return self.attack == GIVEN

    @property
    def is_control(self) -> bool:
        """Whether this is a control rather than an attack."""
        return self.attack in CONTROL_NAMES

    @property
    def follows_gradient(self) -> bool:
        """Whether the gradient alone decides where the image goes, so that one of 0 leaves it where it is."""
        return self.epsilon > 0 and self.attack in _GRADIENT_STEPS

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
    attacks: Iterable[str], epsilons: Iterable[float], controls: Iterable[str], *, is_given: bool = False
) -> tuple[Condition, ...]:
    """The conditions of a run in order: benign, every attack at every epsilon, given images, every control.

    An attack's `control` is the first of `controls` at the same epsilon; controls come at every epsilon above 0. Given
    images come without one: their epsilon is not known.
    """
    epsilons, controls = list(epsilons), list(controls)

    def control_at(epsilon: float) -> str | None:
        return Condition(controls[0], epsilon).name if controls and epsilon > 0 else None

    attacked = [Condition(attack, epsilon, control_at(epsilon)) for attack in attacks for epsilon in epsilons]
    controlled = [Condition(control, epsilon) for control in controls for epsilon in epsilons if epsilon > 0]
    given = [Condition(GIVEN, math.nan)] if is_given else []
    return (Condition(BENIGN), *attacked, *given, *controlled)
