"""Runs that are surely half-way when something happens to their workers: slow until a file is there."""

import os
import signal
from pathlib import Path
from typing import Any

from tests.engine.processes import events

GATE = "PSI_TEST_GATE"
"""Variable with the path of the file; a small run takes nine seconds without it, all workers together."""

_NETWORK = f"""
import os
import time
from pathlib import Path

from torch import nn


class Gate(nn.Module):
    def forward(self, images):
        if not Path(os.environ.get("{GATE}", "/")).exists():
            time.sleep(0.1)  # Not the processor's time: the others need it.
        return images


def net():
    return nn.Sequential(
        Gate(), nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(288, 30), nn.ReLU(),
        nn.Linear(30, 10),
    )
"""


def gated_network(folder: Path) -> dict[str, Any]:
    """Options of a run with such a network, written to `network.py` in a folder."""
    path = folder / "network.py"
    path.write_text(_NETWORK)
    return {"model": f"{path}:net", "weights": "built", "size": 28, "normalize": "none"}


def starts(directory: Path, worker: int) -> list[dict[str, Any]]:
    """Every start of one worker."""
    return [event for event in events(directory, worker) if event["event"] == "started"]


def has_begun(directory: Path, worker: int) -> bool:
    """Whether one worker has done its first batch."""
    return any(event["event"] == "batch" for event in events(directory, worker))


def send(directory: Path, worker: int, number: signal.Signals) -> None:
    """Sends a signal to the latest process of one worker."""
    os.kill(starts(directory, worker)[-1]["pid"], number)
