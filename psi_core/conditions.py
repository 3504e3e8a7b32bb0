"""Conditions: what was done to an image before the network saw it (`benign`, `fgsm@0.03`, `sign-noise@0.03`).

One row of ATTACKS describes an attack or control; the engine's function of the same name carries it out.
"""

import math
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol, Self

BENIGN = "benign"

EXTERNAL = "attacked"
"""Name of the condition of external images: those that were attacked elsewhere."""

FOOLBOX = "foolbox:"
"""Prefix of the name of one of foolbox's attacks, `foolbox:LinfDeepFoolAttack`."""

MINIMUM_NORM = frozenset(
    f"{FOOLBOX}{name}"
    for name in (
        *("BinarySearchContrastReductionAttack", "BoundaryAttack", "DDNAttack", "EADAttack", "GaussianBlurAttack"),
        *("HopSkipJumpAttack", "InversionAttack", "L0BrendelBethgeAttack", "L0FMNAttack", "L1BrendelBethgeAttack"),
        *("L1FMNAttack", "L2BrendelBethgeAttack", "L2CarliniWagnerAttack", "L2DeepFoolAttack", "L2FMNAttack"),
        *("LInfFMNAttack", "LinearSearchBlendedUniformNoiseAttack", "LinearSearchContrastReductionAttack"),
        *("LinfDeepFoolAttack", "LinfinityBrendelBethgeAttack", "NewtonFoolAttack", "SaltAndPepperNoiseAttack"),
    )
)
"""Foolbox's attacks that look for the smallest change, whatever its size; a test holds the names to foolbox's own."""

EPSILON_ROUNDING = 1e-6
"""How far float32 rounding may carry a pixel's change beyond epsilon; pixels lie in 0..1."""

_FOOLBOX_GRADIENTS = 50
"""Gradients that an attack of foolbox may need, to estimate its time; foolbox does not report it."""


class IterationOptions(Protocol):
    """Options that decide how often an iterated attack asks the network."""

    @property
    def steps(self) -> int:
        """Steps of an iterated attack."""

    @property
    def restarts(self) -> int:
        """Random starts of pgd."""


def shared_gradient(options: IterationOptions) -> int:
    """No gradient besides the one at the benign image, which all conditions share."""
    return 0


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack or control: what plans, evidence, verdicts and screens know of it.

    Attributes:
        name: as `--attack` or `--controls` takes it; the engine's function has it too, with `_` for `-`.
        help: what it does.
        kind: `noise` for a control without a direction, `control` for any other; `foolbox` for that library's attacks;
            `none` where nothing is done here.
        gradients: how many gradients an image costs beyond the one at the benign image, which all conditions share.
        norm: what stays within epsilon. `linf`: the change of every pixel; `l2`: the length of the whole change, which
            is at most that of epsilon in every pixel.
        is_iterated: whether it takes `--steps` small steps.
        follows_gradient: whether the gradient alone decides where the image goes: a zero gradient leaves it
            unchanged.
        needs_network: whether the images depend on the network, so that they cannot be made without its weights.
        copies_l2: whether each image's change has the L2 that the run's first attack realizes at the same epsilon.
        pairs_images: whether an image takes something of the one beside it in its batch.
        second_draw: name of the control that draws the same noise again, to show how far two draws differ.
    """

    name: str
    help: str
    kind: Literal["attack", "foolbox", "noise", "control", "none"] = "attack"
    gradients: Callable[[IterationOptions], int] = shared_gradient
    norm: Literal["linf", "l2"] = "linf"
    is_iterated: bool = False
    follows_gradient: bool = False
    needs_network: bool = True
    copies_l2: bool = False
    pairs_images: bool = False
    second_draw: str | None = None

    @property
    def is_control(self) -> bool:
        """Whether this is a control rather than an attack."""
        return self.kind in ("noise", "control")


ATTACKS: tuple[Attack, ...] = (
    Attack("fgsm", "one step of epsilon along the signs of the gradient", follows_gradient=True),
    Attack("fgm-l2", "one step along the gradient itself, as long as FGSM's in L2", norm="l2", follows_gradient=True),
    Attack(
        "r-fgsm",
        "half of epsilon at random, half along the signs of the gradient there",
        gradients=lambda options: 1,
    ),
    Attack(
        "bim",
        "`--steps` small steps of FGSM from the image; `--step-size` is a share of epsilon",
        gradients=lambda options: options.steps - 1,
        is_iterated=True,
        follows_gradient=True,
    ),
    Attack(
        "pgd",
        "as `bim` from a random start; of `--restarts` starts each image keeps its worst",
        gradients=lambda options: options.steps * options.restarts,
        is_iterated=True,
    ),
    Attack(
        "mi-fgsm",
        "as `bim` with momentum",
        gradients=lambda options: options.steps - 1,
        is_iterated=True,
        follows_gradient=True,
    ),
    Attack(
        "sign-noise",
        "random signs of the same size in every pixel",
        kind="noise",
        needs_network=False,
        second_draw="sign-noise-2",
    ),
    Attack(
        "anti-fgsm",
        "the step down the loss: the same image statistics, no harm",
        kind="control",
        follows_gradient=True,
    ),
    Attack(
        "gaussian",
        "Gaussian noise of the L2 that the first attack realizes, image by image",
        kind="noise",
        norm="l2",
        copies_l2=True,
    ),
    Attack(
        "shuffled-fgsm",
        "FGSM's own step with its pixels in another order",
        kind="noise",
        follows_gradient=True,
    ),
    Attack(
        "sign-noise-2",
        "a second draw of the noise, compared with the first: what no effect looks like",
        kind="noise",
        needs_network=False,
    ),
    Attack(
        "donor",
        "FGSM's own step of the image beside it: a step that fools, aimed at another image",
        kind="control",
        pairs_images=True,
    ),
)
"""All attacks and controls, in the order in which they are listed."""

ATTACK_NAMES: tuple[str, ...] = tuple(row.name for row in ATTACKS if not row.is_control)

CONTROL_NAMES: tuple[str, ...] = tuple(row.name for row in ATTACKS if row.is_control)

DEFAULT_CONTROLS: tuple[str, ...] = ("sign-noise", "gaussian", "anti-fgsm")
"""Controls of a run that names none. Without an attack of its own it goes without those that copy one's size."""

_WITHOUT_FUNCTION = (
    Attack(BENIGN, "the images as they are", "none", needs_network=False),
    Attack(EXTERNAL, "images that were attacked elsewhere", "none", needs_network=False),
)

_ROWS = {row.name: row for row in (*ATTACKS, *_WITHOUT_FUNCTION)}


def attack_row(name: str) -> Attack:
    """The row of an attack or control, of `benign` or of external images.

    One of foolbox's may run the network often and use either norm. A name without a row is taken for an attack.
    """
    if name.startswith(FOOLBOX):
        return Attack(name, "", "foolbox", lambda options: _FOOLBOX_GRADIENTS, "l2")
    return _ROWS.get(name) or Attack(name, "")


class Epsilon(float):
    """An epsilon that was written as a fraction: in arithmetic the nearest float, as text what was written, `8/255`."""

    def __new__(cls, written: str) -> Self:
        """The epsilon of a fraction of two numbers.

        Raises:
            ValueError: the text is no such fraction.
        """
        parts = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)", written.strip())
        if parts is None or not Fraction(parts[2]):
            raise ValueError(f"epsilon: {written!r} does not fit; write a number such as 0.03, or 8/255")
        return super().__new__(cls, float(Fraction(parts[1]) / Fraction(parts[2])))

    def __init__(self, written: str) -> None:
        self.written = "".join(written.split()).removeprefix("+")

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]
        return (self.written,)

    def __str__(self) -> str:
        return self.written


def attack_class(attack: str) -> str:
    """The name of an attack without options: `foolbox:EADAttack` of `foolbox:EADAttack:steps=50`."""
    return ":".join(attack.split(":")[:2])


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is done to the images.

    Attributes:
        attack: `benign`, or the name of an attack or control.
        epsilon: largest change of a pixel, in units of the 0..1 pixel range; 0 for benign, NaN for external images and
            attacks at the distance that they find, of which only the realized norms are known.
        control: name of the condition that the differences are also taken against: the run's first control at this
            epsilon, and for that one a second draw of its noise; None where the run has none.
    """

    attack: str
    epsilon: float = 0.0
    control: str | None = None

    @classmethod
    def of_name(cls, name: str) -> "Condition":
        """The condition of a name; its control is not in it."""
        attack, _, epsilon = name.partition("@")
        if attack == EXTERNAL or (attack.startswith(FOOLBOX) and not epsilon):
            return cls(attack, math.nan)
        return cls(attack, Epsilon(epsilon) if "/" in epsilon else float(epsilon or 0))

    @property
    def name(self) -> str:
        """`benign`, or `attack@epsilon`, where it has one; the epsilon reads back as the same float."""
        has_none = self.is_benign or not self.has_epsilon
        return self.attack if has_none else f"{self.attack}@{epsilon_text(self.epsilon)}"

    @property
    def has_epsilon(self) -> bool:
        """Whether its size was chosen; else only the realized norms are known."""
        return not math.isnan(self.epsilon)

    @property
    def is_benign(self) -> bool:
        """Whether the image is left as it is."""
        return self.attack == BENIGN

    @property
    def is_external(self) -> bool:
        """Whether the images were attacked elsewhere."""
        return self.attack == EXTERNAL

    @property
    def row(self) -> Attack:
        """What is known of its attack or control."""
        return attack_row(self.attack)

    @property
    def is_control(self) -> bool:
        """Whether this is a control rather than an attack."""
        return self.row.is_control

    @property
    def is_foolbox(self) -> bool:
        """Whether one of foolbox's attacks makes the images."""
        return self.row.kind == "foolbox"

    @property
    def follows_gradient(self) -> bool:
        """Whether the gradient alone decides where the image goes, so that a zero gradient leaves it unchanged."""
        return self.epsilon > 0 and self.row.follows_gradient

    @property
    def stream(self) -> int:
        """CRC-32 of the name: the condition's own stream of random numbers."""
        return zlib.crc32(self.name.encode())


def epsilon_text(epsilon: float) -> str:
    """The shortest text that reads back as the same float, without a trailing `.0`; a fraction as it was written."""
    return str(epsilon) if isinstance(epsilon, Epsilon) else repr(float(epsilon)).removesuffix(".0")


def epsilon_label(epsilon: float) -> str:
    """Epsilon as people read it: six digits, or the fraction that was written."""
    return str(epsilon) if isinstance(epsilon, Epsilon) else f"{epsilon:g}"


def epsilon_in_levels(epsilon: float) -> str:
    """Epsilon as a share of 255 gray levels, as many papers write it: 0.03 is `7.65/255`."""
    return f"{epsilon * 255:.4g}/255"


def file_word(condition: str) -> str:
    """The name of a condition as part of a file's name, `fgsm@8_255`."""
    return condition.replace("/", "_")


def conditions_of(
    attacks: Iterable[str],
    epsilons: Iterable[float],
    controls: Iterable[str],
    *,
    has_external: bool = False,
    has_own_distances: bool = True,
) -> tuple[Condition, ...]:
    """The conditions of a run in order: benign, every attack at every epsilon, external images, every control.

    Everything is compared with the first control at the same epsilon; that one with its second draw, if the run has it.
    Controls come at every epsilon above 0. External images have none: their epsilon is not known. Nor have attacks that
    look for the smallest change, which come once at the distance that they find, before they are brought within every
    epsilon; runs of older versions have not that (`has_own_distances`).
    """
    epsilons, controls = list(epsilons), list(controls)

    def control_at(attack: str, epsilon: float) -> str | None:
        first = next(iter(controls), None)
        named = attack_row(attack).second_draw if attack == first else first
        return Condition(named, epsilon).name if named is not None and named in controls and epsilon > 0 else None

    attacked = []
    for attack in attacks:
        if has_own_distances and attack_class(attack) in MINIMUM_NORM:
            attacked.append(Condition(attack, math.nan))
        attacked += [Condition(attack, epsilon, control_at(attack, epsilon)) for epsilon in epsilons]
    controlled = [
        Condition(control, epsilon, control_at(control, epsilon))
        for control in controls
        for epsilon in epsilons
        if epsilon > 0
    ]
    external = [Condition(EXTERNAL, math.nan)] if has_external else []
    return (Condition(BENIGN), *attacked, *external, *controlled)


def noises_of(condition: Condition, conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """Noises of a condition's size, which tell what of its shift any change of that size makes.

    The first draw of each; noise that was drawn twice is compared with its other draw alone. Without epsilon, images
    attacked elsewhere have the size of their control.
    """
    is_sized = condition.is_external and condition.control is not None
    epsilon = Condition.of_name(str(condition.control)).epsilon if is_sized else condition.epsilon
    sized = {each.attack: each for each in conditions if each.row.kind == "noise" and each.epsilon == epsilon}
    twice = {each.row.second_draw: each.attack for each in sized.values() if each.row.second_draw in sized}
    partner = condition.row.second_draw if condition.row.second_draw in twice else twice.get(condition.attack)
    if partner is not None and condition.attack in sized:
        return (sized[partner],)
    return tuple(each for name, each in sized.items() if name != condition.attack and name not in twice)


def sizing_attack(condition: Condition, conditions: Iterable[Condition]) -> Condition:
    """The attack whose L2 a size-matched control copies: the run's first at the same epsilon."""
    return next(
        each for each in conditions if each.epsilon == condition.epsilon and each.row.kind in ("attack", "foolbox")
    )
