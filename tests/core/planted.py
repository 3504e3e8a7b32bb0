"""Recorded runs whose arrays a test has planted, for tests of their evidence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from psi_core import Run, load_run
from psi_core.evidence import Check, checks_of
from psi_core.runs.chunks import Arrays, chunk_path, read_arrays
from tests.recorded import record_run, rewrite_chunk

Change = Callable[[Run, Arrays], None]


def planted_run(folder: Path, change: Change = lambda _run, _arrays: None, **options: Any) -> Run:
    """A run of 100 images, all right in every condition, whose arrays were then changed."""
    directory = record_run(folder, **{"images": 100, "chunk": 10_000, **options})
    path = chunk_path(directory, 0)
    arrays = {name: array.copy() for name, array in read_arrays(path).items()}
    arrays["prediction"][:] = arrays["label"]
    change(Run(directory), arrays)
    rewrite_chunk(directory, 0, arrays)
    return load_run(str(directory))


def found(run: Run, name: str) -> Check:
    """One of its checks."""
    (check,) = [check for check in checks_of(run) if check.name == name]
    return check


def fooled(**counts: int) -> Change:
    """The first so many images of each condition taken for another class; `_` stands for `@0.`, `__` for a hyphen."""

    def change(run: Run, arrays: Arrays) -> None:
        for condition, count in counts.items():
            name = condition.replace("__", "-").replace("_", "@0.")
            arrays["prediction"][run.conditions.index(name), :count] += 1

    return change
