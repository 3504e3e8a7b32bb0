"""Which of several workers this process is, as torchrun or srun tells it in its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from psi_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Rank:
    """One worker among those that share a run.

    Attributes:
        number: from 0.
        workers: how many share the run.
        local: from 0, among those on this machine; it picks the device.
    """

    number: int = 0
    workers: int = 1
    local: int = 0


ALONE = Rank()
"""One worker of one."""


@dataclass(frozen=True, slots=True)
class _Names:
    number: str
    workers: str
    local: str
    launcher: str


# torchrun inside an srun step has both: its own come first.
_TORCHRUN = _Names("RANK", "WORLD_SIZE", "LOCAL_RANK", "torchrun")
_SRUN = _Names("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "srun")


def rank_of(environment: Mapping[str, str] = os.environ) -> Rank:
    """The rank that the variables of torchrun, else those of srun, describe; one worker of one without them.

    An sbatch script sets SLURM_PROCID too, but only an srun step says how many tasks it has.

    Raises:
        ConfigError: a variable is missing, no whole number, or not below the number of workers.
    """
    if "RANK" in environment:
        return _read(_TORCHRUN, environment)
    if "SLURM_STEP_NUM_TASKS" in environment:
        return _read(_SRUN, environment)
    if "WORLD_SIZE" in environment:
        raise _half_set("WORLD_SIZE", "RANK", _TORCHRUN)
    return ALONE


def _read(names: _Names, environment: Mapping[str, str]) -> Rank:
    for name, other in ((names.number, names.workers), (names.workers, names.number)):
        if name not in environment:
            raise _half_set(other, name, names)
    number, workers = (_count(name, environment, names) for name in (names.number, names.workers))
    if number >= workers:
        raise ConfigError(
            f"{names.number}: {number} is not below {names.workers} {workers}; leave both to {names.launcher}, "
            f"or count from 0 to {names.workers} - 1"
        )
    local = _count(names.local, environment, names) if names.local in environment else number
    return Rank(number, workers, local)


def _count(name: str, environment: Mapping[str, str], names: _Names) -> int:
    text = environment[name]
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{name}: {text!r} is no whole number; leave it to {names.launcher}, or unset it")
    return int(text)


def _half_set(given: str, missing: str, names: _Names) -> ConfigError:
    return ConfigError(f"{given}: it is set and {missing} is not; leave both to {names.launcher}, or unset {given}")
