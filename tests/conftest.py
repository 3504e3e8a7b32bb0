"""Fixtures shared by all tests: folders of their own, and quiet for those that measure time."""

import fcntl
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.core.living import Worker

# Processes that share few cores must not spin for each other; children of the tests inherit this.
for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(library, "1")


_LENGTHY = (
    *("test_no_key_is_dead", "test_thirty_kinds_of_damage", "test_the_examples_of_an_own_model_and_own_images_run"),
    *("test_a_live_run_costs_at_most_five_kibibytes_a_second_and_a_killed_worker_shows_as_lost",),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that want the machine for themselves come first: the tests beside them are short then, and nobody waits.

    The lengthy ones come next: at the end one of them would keep a single core busy.
    """
    items.sort(
        key=lambda item: (
            item.get_closest_marker("alone") is None,
            getattr(item, "originalname", "") not in _LENGTHY,
        )
    )


def pytest_collection_finish() -> None:
    """Spares Python the search for garbage among what was imported, a quarter of the tests' time otherwise."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 100)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs, caches and what the app remembers go below the test's own folder, never into the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PSI_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv("PSI_TRUSTED", raising=False)
    return tmp_path / "runs"


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """What a worker that runs in this process makes of signals ends with its test."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(scope="module")
def alive() -> Iterator[dict[str, Any]]:
    """Who a worker is that lives."""
    worker = Worker()
    yield worker.identity
    worker.bury()


@pytest.fixture(scope="module")
def dead() -> Iterator[dict[str, Any]]:
    """Who a zombie is: exited, and not waited for."""
    worker = Worker()
    worker.end()
    yield worker.identity
    worker.bury()


@pytest.fixture(autouse=True)
def turn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Lets tests run side by side, in several processes, but those marked `alone` have the machine to themselves.

    Whoever comes passes a gate; one that wants to be alone keeps it shut until the others are through.
    """
    is_alone = request.node.get_closest_marker("alone") is not None
    folder = tmp_path_factory.getbasetemp().parent
    with (folder / "gate").open("w") as gate, (folder / "machine").open("w") as machine:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        if not is_alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield
