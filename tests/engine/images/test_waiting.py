"""A read that a disk or another library holds is given up by name, and neither the run nor its process hangs."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from psi_core.engine.images.external import load_external
from psi_core.engine.images.pictures import PictureDataset
from psi_core.engine.images.sources import load_dataset
from psi_core.engine.images.waiting import awaited, in_threads
from psi_core.errors import DataError
from psi_core.runs import processes

GIVEN_UP = r"was given up, since it did nothing for .* look at the disk"


@pytest.fixture
def gate(tmp_path):
    """A pipe into which nobody writes: whoever opens it waits, as on a disk that stalls."""
    os.mkfifo(tmp_path / "gate")
    yield tmp_path / "gate"
    with (tmp_path / "gate").open("rb+", buffering=0):
        time.sleep(0.05)  # Those who waited go.


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(processes, "STILL_SECONDS", 0.4)


def test_everything_is_found_in_its_order_and_the_first_error_is_raised():
    assert in_threads(lambda thing: thing**2, range(50), str, 4) == [thing**2 for thing in range(50)]
    assert in_threads(str, [], str, 4) == []
    done = []

    def act(thing):
        done.append(thing)
        if thing in (7, 9):
            raise KeyError(thing)

    with pytest.raises(KeyError, match="7"):
        in_threads(act, range(12), str, 3)
    assert sorted(done) == list(range(12))
    assert awaited(lambda: awaited(threading.get_ident, "inner") == threading.get_ident(), "outer"), (
        "one waits for both"
    )
    assert awaited(threading.get_ident, "x") != threading.get_ident()


def test_who_computes_is_waited_for(hasty):
    def compute():
        until = time.thread_time() + 1.2
        while time.thread_time() < until:
            pass
        return "done"

    assert awaited(compute, "x") == "done"


def test_a_picture_that_another_library_does_not_open_is_named(gate, hasty):
    def opened(position):
        if position == 3:
            gate.read_bytes()
        return Image.new("L", (8, 8), position)

    places = tuple(f"CIFAR10 {position}" for position in range(6))
    dataset = PictureDataset("x", np.zeros(6, np.int64), ("0",), opened, places, None)
    with pytest.raises(DataError, match=f"data: CIFAR10 3: reading it {GIVEN_UP}"):
        dataset.read(np.arange(6), 8, 1)
    assert dataset.read(np.array([0, 5]), 8, 1).pixels[:, 0, 0].tolist() == [0, 5]


def test_a_process_that_gave_a_read_up_ends(gate):
    code = (
        "import sys; from psi_core.runs import processes; processes.STILL_SECONDS = 0.4\n"
        "from psi_core.engine.images.waiting import awaited\n"
        "awaited(lambda: open(sys.argv[1]), 'its name')"
    )
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", code, gate]
    told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100, env=here)
    assert told.returncode == 1
    assert "data: its name: reading it was given up" in told.stderr


def test_a_folder_whose_list_never_comes_is_named(tmp_path, gate, hasty, monkeypatch):
    (tmp_path / "digits" / "0").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "digits" / "0" / "a.png")
    assert len(load_dataset(f"folder:{tmp_path / 'digits'}", "test")) == 1
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: gate.read_bytes() if tmp_path in path.parents else scandir(path))
    with pytest.raises(DataError, match=rf"data: {tmp_path / 'digits'}: reading it {GIVEN_UP}"):
        load_dataset(f"folder:{tmp_path / 'digits'}", "test")


def test_an_archive_that_stalls_is_named_wherever_it_is_read(tmp_path, gate, hasty, monkeypatch):
    path = tmp_path / "images.npz"
    np.savez(path, images=np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8), labels=np.zeros(4, np.int64))
    dataset = load_dataset(f"npz:{path}", "test")
    external = load_external(f"npz:{path}", dataset, np.arange(4), 8, None, ())
    positions = np.arange(2)
    assert dataset.read(positions, 8, 1).pixels.shape == (2, 8, 8)
    gate.rename(path)
    opened = os.open

    def stalled(file, flags, *rest, **named):
        """A disk that stalls lets nobody go on who asks not to wait; a pipe would."""
        return opened(file, flags & ~os.O_NONBLOCK if str(file) == str(path) else flags, *rest, **named)

    monkeypatch.setattr(os, "open", stalled)
    reads = (
        lambda: dataset.read(positions, 8, 1),
        lambda: dataset.digests(positions),
        lambda: external.read(positions, 8, 1),
        lambda: load_dataset(f"npz:{path}", "test"),
        lambda: load_external(f"npz:{path}", dataset, np.arange(4), 8, None, ()),
    )
    for read in reads:
        with pytest.raises(DataError, match=f"images.npz: reading it {GIVEN_UP}"):
            read()
    path.rename(gate)
