"""One part of the self-test: what it is given, and what it finds."""

import collections
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from psi_core.config import RunConfig
from psi_core.devices import Device
from psi_core.runs.chunks import chunk_path, read_arrays
from psi_core.runs.processes import python_command
from psi_core.runs.run import Run

POLICIES = ("exact", "tf32", "bf16")

Verdict = Literal["passed", "failed", "measured", "left out"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a part found.

    Attributes:
        verdict: `measured` where nothing can be right or wrong, as with a speed; `left out` where there was no time, or
            nothing of the kind to look at.
        words: a sentence without a full stop.
        figures: all numbers, as JSON holds them.
    """

    verdict: Verdict
    words: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def finding(holds: bool, words: str, otherwise: str, figures: Mapping[str, Any]) -> Finding:
    """Passed, or failed with other words."""
    return Finding("passed", words, figures) if holds else Finding("failed", otherwise, figures)


@dataclass(frozen=True, slots=True)
class Trial:
    """What the parts are given.

    Attributes:
        device: device under test.
        folder: empty folder for their runs.
    """

    device: Device
    folder: Path

    @property
    def policies(self) -> tuple[str, ...]:
        """Precisions that differ here: on a CPU, tf32 is exact."""
        return POLICIES if self.device.is_cuda else ("exact", "bf16")

    @property
    def models(self) -> tuple[str, ...]:
        """Models to time."""
        return ("alexnet", "vgg11", "torchvision:resnet50") if self.device.is_cuda else ("lenet5",)

    def config(self, **options: Any) -> RunConfig:
        """A run on the device, of a size that suits it: AlexNet on a GPU, LeNet-5 on a CPU; weights are random."""
        size: dict[str, Any] = {"model": "lenet5", "images": 60, "chunk": 20, "batch": 8, "threads": 1}
        if self.device.is_cuda:
            size = {"model": "alexnet", "images": 1000, "chunk": 128, "batch": 64, "threads": 4}
        return RunConfig(**{"weights": "random", "device": self.device, "epsilon": (0, 0.03), **size, **options})


@dataclass(frozen=True, slots=True)
class Part:
    """One part.

    Attributes:
        name: as `--parts` takes it.
        help: what it shows.
        seconds: time that it takes on a GPU, about; without that much left it is left out.
        look: looks.
    """

    name: str
    help: str
    seconds: float
    look: Callable[[Trial], Finding]


def start_worker(directory: Path, rank: int = 0, workers: int = 1) -> subprocess.Popen[bytes]:
    """One worker as torchrun or srun would start it, its messages in the run's folder."""
    ranked = {"RANK": str(rank), "WORLD_SIZE": str(workers), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": str(workers)}
    with (directory / f"selftest-{rank}.log").open("ab") as log:
        return subprocess.Popen(
            python_command("psi_core", "work", str(directory)),
            env={**os.environ, **ranked},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


@dataclass(frozen=True, slots=True)
class Differences:
    """How two runs differ.

    Attributes:
        chunks: in how many chunks the bits of an array differ, by name of the array.
        psi: the largest difference of psi; NaN where only one of the two is NaN.
        missing: chunks that either lacks.
    """

    chunks: Mapping[str, int]
    psi: float
    missing: int

    @property
    def is_none(self) -> bool:
        """Whether every bit is the same and nothing is missing."""
        return not self.chunks and not self.missing

    def figures(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"differing_chunks": dict(self.chunks), "largest_psi_difference": self.psi, "missing": self.missing}


def differences(one: Path, other: Path) -> Differences:
    """How two runs of one configuration differ, chunk by chunk."""
    chunks: collections.Counter[str] = collections.Counter()
    worst, missing = 0.0, sum(len(Run(each).missing_chunks) for each in (one, other))
    for number in range(Run(one).chunks if not missing else 0):
        ours, theirs = (read_arrays(chunk_path(each, number)) for each in (one, other))
        names = [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()]
        chunks.update({name.partition("/")[0] for name in names})
        worst = max(worst, psi_apart(ours["psi"], theirs["psi"]))
    return Differences(chunks, worst, missing)


def psi_apart(one: Any, other: Any) -> float:
    """The largest difference of two arrays; NaN where only one of them is NaN."""
    if not np.array_equal(np.isnan(one), np.isnan(other)):
        return float("nan")
    return float(np.max(np.abs(np.nan_to_num(one) - np.nan_to_num(other)), initial=0))


def listed(names: Sequence[str]) -> str:
    """Names as a sentence holds them."""
    return ", ".join(names) or "none"
