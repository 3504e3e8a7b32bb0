"""Chunks written by a thread: in order, all of them, and a failure reaches the worker."""

import errno
import threading

import numpy as np
import pytest

from psi_core.engine.work import chunk_writer, worker
from psi_core.engine.work.chunk_writer import ChunkWriter
from psi_core.engine.work.worker import Worker
from psi_core.errors import RunError
from psi_core.runs.chunks import chunk_path, finished_chunks, read_arrays, write_arrays
from psi_core.runs.event_log import preview_path
from psi_core.runs.seals import Origin
from tests.engine.processes import events, new_run

ORIGIN = Origin("run", "config", "layers", "weights")


def arrays(number):
    return {"index": np.arange(number, number + 3)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "chunks").mkdir()
    return tmp_path


@pytest.fixture
def full_disk(monkeypatch):
    """Chunk 1 cannot be written."""

    def write(path, given):
        if path.name == "00001.npz":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_arrays(path, given)

    monkeypatch.setattr(chunk_writer, "write_arrays", write)


def test_everything_is_there_when_the_block_is_left(folder):
    with ChunkWriter(folder, 0, ORIGIN) as writer:
        for number in (0, 2, 1):
            writer.write(number, arrays(number))
    for number in range(3):
        assert read_arrays(chunk_path(folder, number))["index"].tolist() == arrays(number)["index"].tolist()


def test_one_chunk_is_written_at_a_time_and_the_worker_goes_on_meanwhile(folder, monkeypatch):
    may_write, begun = threading.Semaphore(0), []

    def write(path, given):
        begun.append(path.stem)
        assert may_write.acquire(timeout=10)
        write_arrays(path, given)

    monkeypatch.setattr(chunk_writer, "write_arrays", write)
    with ChunkWriter(folder, 0, ORIGIN) as writer:
        writer.write(0, arrays(0))
        assert finished_chunks(folder) == []
        may_write.release()
        writer.write(1, arrays(1))  # Waits for the one before.
        assert finished_chunks(folder) == [0]
        may_write.release()
        writer.wait()
        assert finished_chunks(folder) == [0, 1]
    assert begun == ["00000", "00001"]


def test_the_preview_ends_with_its_chunk(folder):
    preview = preview_path(folder, 3)
    write_arrays(preview, arrays(0))
    with ChunkWriter(folder, 3, ORIGIN) as writer:
        writer.write(0, arrays(0))
    assert not preview.exists()


@pytest.mark.parametrize("how", ["write", "wait", "leave"])
def test_a_failure_is_told_at_the_next_chunk_and_at_the_end(folder, full_disk, how):
    told = pytest.raises(RunError, match=r"chunk 1 cannot be written \(No space left on device\); free some disk")
    with told, ChunkWriter(folder, 0, ORIGIN) as writer:
        writer.write(0, arrays(0))
        writer.write(1, arrays(1))
        if how == "write":
            writer.write(2, arrays(2))
        elif how == "wait":
            writer.wait()
    assert finished_chunks(folder) == [0]
    assert [path.name for path in (folder / "chunks").iterdir()] == ["00000.npz"]


def test_an_error_of_the_worker_is_not_hidden_by_one_of_the_disk_and_what_was_handed_over_is_written(folder, full_disk):
    for number, expected in ((1, []), (2, [2])):
        with pytest.raises(KeyError), ChunkWriter(folder, 0, ORIGIN) as writer:
            writer.write(number, arrays(number))
            raise KeyError
        assert finished_chunks(folder) == expected


def test_a_worker_that_leaves_early_loses_no_chunk_that_it_has_made(tmp_path, monkeypatch):
    directory = new_run(tmp_path)
    leaving = Worker(directory)
    after_batch = Worker._after_batch

    def leave_in_chunk_two(self, maker, chunk, number, progress):
        self.orders.leave_now = number == 2
        after_batch(self, maker, chunk, number, progress)

    slow = threading.Event()
    monkeypatch.setattr(Worker, "_after_batch", leave_in_chunk_two)
    monkeypatch.setattr(chunk_writer, "write_arrays", lambda *given: (slow.wait(0.2), write_arrays(*given)))
    assert leaving.work() == "left"
    assert finished_chunks(directory) == [0, 1]


def test_a_run_ends_only_when_its_last_chunk_is_written(tmp_path, monkeypatch):
    directory, slow = new_run(tmp_path, images=30), threading.Event()
    monkeypatch.setattr(chunk_writer, "write_arrays", lambda *given: (slow.wait(0.2), write_arrays(*given)))
    seen = []
    report = worker.EventLog.progress

    def look(self, event, *, is_last):
        if is_last:
            seen.append(finished_chunks(directory))
        report(self, event, is_last=is_last)

    monkeypatch.setattr(worker.EventLog, "progress", look)
    assert Worker(directory).work() == "finished"
    assert seen == [[0, 1, 2]]
    assert events(directory)[-1]["event"] == "finished"


def test_a_chunk_that_fails_while_the_next_is_made_ends_the_run(tmp_path, full_disk):
    directory = new_run(tmp_path, images=40)
    with pytest.raises(RunError, match="chunk 1 cannot be written"):
        Worker(directory).work()
    assert finished_chunks(directory) == [0]
    assert events(directory)[-1]["event"] == "failed"
