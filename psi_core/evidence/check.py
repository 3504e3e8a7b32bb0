"""What a check is, and words that several checks share."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["green", "amber", "red", "none"]
"""`green` nothing speaks against the run, `amber` read the sentence, `red` do not build on it, `none` not checked."""

_WORST_FIRST: tuple[Status, ...] = ("red", "amber", "green", "none")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that speaks for a run's numbers or against them.

    Attributes:
        name: name of what was checked.
        status: of the run.
        sentence: what was found, with its number; where the status is `none`, how to have it checked.
        value: the number behind the status; None where there is none.
        unit: unit of the value.
    """

    name: str
    status: Status
    sentence: str
    value: float | None = None
    unit: str = ""


def not_checked(name: str, why: str) -> Check:
    """A check that the run does not allow."""
    return Check(name, "none", why)


def at_least(value: float, green: float, amber: float) -> Status:
    """Green from one bound on, amber from a lower one."""
    return "green" if value >= green else "amber" if value >= amber else "red"


def at_most(value: float, green: float, amber: float) -> Status:
    """Green up to one bound, amber up to a higher one."""
    return "green" if value <= green else "amber" if value <= amber else "red"


def badness(status: Status) -> int:
    """Higher for worse ones."""
    return -_WORST_FIRST.index(status)


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of several."""
    return max(statuses, key=badness)


def listed(words: Iterable[str]) -> str:
    """Words with commas, the last with `and`."""
    words = list(words)
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
