"""Images read ahead by a thread: always exactly those of a plain reading, in order, and never many at a time."""

import contextlib
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from psi_core.devices import CPU, Device
from psi_core.engine.images import Reading, Unreadable, read_ahead
from psi_core.engine.images.read_ahead import _PIECES_AHEAD, ReadAhead
from psi_core.errors import DataError
from tests.engine.processes import wait_until

IMAGES = 24


class Source:
    """Images whose pixels say where they stand; some cannot be read, some bring the reading down."""

    def __init__(self, unreadable=(), broken=(), factor=1, reason="torn"):
        self.unreadable, self.broken, self.factor, self.reason = set(unreadable), set(broken), factor, reason
        self.read_positions = []
        self.gate = threading.Event()
        self.gate.set()

    def read(self, positions, size, channels):
        self.gate.wait(10)
        self.read_positions += positions.tolist()
        if self.broken & {*positions.tolist()}:
            raise OSError("the disk is gone")
        good = positions[~np.isin(positions, list(self.unreadable))]
        pixels = np.broadcast_to((good * self.factor)[:, None, None], (len(good), size, size)).astype(np.float32)
        bad = (Unreadable(int(each), f"file {each}", self.reason) for each in positions if each in self.unreadable)
        return Reading(pixels, tuple(bad))


def read_ahead_of(*sources, skips=True):
    return ReadAhead(sources, 2, 1, CPU, skips_unreadable=skips)


def taken(images, sizes):
    """All batches of the open chunk, of sizes in turn."""
    batches, place = [], 0
    while (batch := images.take(sizes[place % len(sizes)])) is not None:
        batches.append(batch)
        place += 1
    return batches


some = st.sets(st.integers(0, IMAGES - 1))
stretches = st.builds(lambda start, count: set(range(start, start + count)), st.integers(0, 20), st.integers(0, 12))


@given(st.integers(1, 9), st.lists(st.integers(1, IMAGES - 1), max_size=4), some | stretches, some, st.data())
@settings(max_examples=150, deadline=None)
def test_every_chunk_has_exactly_its_images_in_order(batch, borders, unreadable, partnerless, data):
    chunks = [np.arange(*pair) for pair in pairwise([0, *sorted({*borders}), IMAGES])]
    images = read_ahead_of(Source(unreadable), Source(partnerless, factor=10))
    # What was announced may be another chunk, the same again, or none.
    for chunk in data.draw(st.lists(st.sampled_from(chunks), min_size=1, max_size=6)):
        chunk_images = images.open(chunk, batch, data.draw(st.sampled_from([*chunks, None])))
        found, skipped, is_through = [], [], False
        for _ in range(data.draw(st.sampled_from([0, 2, 100]))):  # Some are left before they are through.
            part = chunk_images.take(batch)
            skipped += chunk_images.take_skipped()
            is_through = part is None
            if part is None:
                break
            if len(part) > 1 and data.draw(st.booleans()):  # Out of memory: the same images again, fewer at a time.
                batch //= 2 if batch > 1 else 1
                chunk_images.put_back(part)
                continue
            assert len(part) <= batch
            found.append(part)
        whole = [each for each in chunk if each not in unreadable | partnerless]
        numbers = [int(each) for part in found for each in part.positions]
        assert numbers == (whole if is_through else whole[: len(numbers)])
        if is_through:
            assert sorted(each.position for each in skipped) == sorted({*chunk} - {*whole})
        for part in found:
            assert part.pixels[0][:, 0, 0].tolist() == part.positions.tolist()
            assert (part.pixels[1] == 10 * part.pixels[0]).all()


@pytest.mark.parametrize("sizes", [[1], [4], [5], [7], [40], [6, 3, 1]])
def test_batches_are_full_but_for_the_last(sizes):
    images = read_ahead_of(Source({0, 5, 6, 7, 8, 9, 23}))
    chunk = images.open(np.arange(IMAGES), 5)
    lengths = [len(batch) for batch in taken(chunk, sizes)]
    assert sum(lengths) == 17
    assert lengths[:-1] == [sizes[place % len(sizes)] for place in range(len(lengths) - 1)]
    assert chunk.take(3) is None


def test_the_benign_image_has_the_word_on_why_it_cannot_be_read():
    first, second = Source({3}), Source({3, 4}, reason="no partner")
    images = read_ahead_of(first, second)
    chunk = images.open(np.arange(6), 6)
    assert chunk.take(6).positions.tolist() == [0, 1, 2, 5]
    assert {each.position: each.reason for each in chunk.take_skipped()} == {3: "torn", 4: "no partner"}
    assert chunk.take_skipped() == []
    chunk = images.open(np.arange(6), 6)
    chunk.take(6)
    chunk = images.open(np.arange(6, 9), 6)  # What was skipped of a chunk that is left is not the next one's.
    chunk.take(6)
    assert chunk.take_skipped() == []


def test_few_images_are_in_flight_however_long_the_chunk_and_one_announced_is_begun_early():
    source = Source()
    images = read_ahead_of(source)
    chunk = images.open(np.arange(12), 2, np.arange(12, 24))
    for batch in range(6):
        ahead = 2 * (batch + _PIECES_AHEAD)
        wait_until(lambda ahead=ahead: len(source.read_positions) >= ahead, 10)
        images._thread.submit(lambda: None).result()  # Whatever was ordered is read by then.
        assert source.read_positions == list(range(ahead))
        assert chunk.take(2).positions.tolist() == [2 * batch, 2 * batch + 1]
    assert chunk.take(2) is None
    chunk = images.open(np.arange(12, 24), 2)
    assert np.concatenate([batch.positions for batch in taken(chunk, [4])]).tolist() == list(range(12, 24))
    assert source.read_positions == list(range(24))  # None of them twice.


def test_reading_goes_on_while_a_batch_is_computed():
    source = Source()
    images = read_ahead_of(source)
    chunk = images.open(np.arange(6), 2)
    chunk.take(2)
    wait_until(lambda: len(source.read_positions) == 6, 10)


@pytest.mark.parametrize("broken", [0, 3, 11])
def test_an_error_in_the_thread_reaches_who_takes_and_stays(broken):
    images = read_ahead_of(Source(broken=[broken]))
    chunk = images.open(np.arange(12), 3)
    for start in range(0, broken - broken % 3, 3):
        assert chunk.take(3).positions[0] == start
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            chunk.take(3)
    chunk = images.open(np.arange(12, 24), 3)  # Another chunk has nothing to do with it.
    assert len(chunk.take(12)) == 12


def test_an_image_that_must_be_read_is_refused_when_its_turn_comes_and_not_before():
    images = read_ahead_of(Source({4}), skips=False)
    chunk = images.open(np.arange(4), 2, np.arange(4, 8))
    assert len(taken(chunk, [2])) == 2
    chunk = images.open(np.arange(4, 8), 2)
    with pytest.raises(DataError, match=r"file 4 \(image 4\) cannot be read \(torn\)"):
        chunk.take(2)


@pytest.mark.parametrize("where", ["_on_device", "_concatenated"])
def test_images_for_which_the_device_has_no_room_can_be_taken_again(where, monkeypatch):
    images = read_ahead_of(Source({7}))
    chunk = images.open(np.arange(12), 3)
    owner = images if where == "_on_device" else read_ahead
    usual, asked = getattr(owner, where), []

    def fails_the_second_time(given):
        asked.append(given)
        if len(asked) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return usual(given)

    monkeypatch.setattr(owner, where, fails_the_second_time)
    found = []
    for count in (4, 4, 2, 2, 2, 2):
        with contextlib.suppress(torch.OutOfMemoryError):
            part = chunk.take(count)
            found += [] if part is None else part.positions.tolist()
    assert found == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert [each.position for each in chunk.take_skipped()] == [7]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory")]
)
def test_images_that_do_not_fit_on_the_device_ahead_of_time_wait_on_the_host(error, monkeypatch):
    images = read_ahead_of(Source({1}))
    images._stream = object()  # As on CUDA.

    def full(_tensor):
        raise error

    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.Tensor, "pin_memory", full)
    chunk = images.open(np.arange(5), 2)
    assert [each.positions.tolist() for each in taken(chunk, [2])] == [[0, 2], [3, 4]]


def test_another_error_of_the_copy_is_no_lack_of_memory(monkeypatch):
    images = read_ahead_of(Source())
    images._stream = object()
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda _tensor: torch.zeros(2) + torch.zeros(3))
    chunk = images.open(np.arange(5), 2)
    with pytest.raises(RuntimeError, match="must match the size"):
        chunk.take(2)


def test_the_thread_reads_on_the_runs_own_device(monkeypatch):
    entered = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda _device: None)
    monkeypatch.setattr(
        torch.cuda, "set_device", lambda device: entered.append((device, threading.current_thread().name))
    )
    images = ReadAhead([Source()], 4, 1, Device("cuda:1"), skips_unreadable=True)
    images._thread.submit(int).result()
    assert entered == [("cuda:1", "read-ahead_0")]


def test_images_read_out_of_turn_disturb_nothing():
    images = read_ahead_of(Source({1}))
    chunk = images.open(np.arange(6), 2)
    assert images.read(np.arange(3)).positions.tolist() == [0, 2]
    assert [each.positions.tolist() for each in taken(chunk, [2])] == [[0, 2], [3, 4], [5]]
    assert len(chunk.take_skipped()) == 1


def test_the_chunk_that_was_announced_can_be_begun_while_another_is_open():
    images = read_ahead_of(Source({3, 8}))
    first = images.open(np.arange(6), 4, np.arange(6, 12))
    assert images.announced.take(2) is None, "the open chunk's images come first"
    assert [len(each) for each in taken(first, [4])] == [4, 1]
    ahead = images.announced
    begun = ahead.take(4)
    assert begun.positions.tolist() == [6, 7, 9, 10]
    first.put_back(begun.rows(0, 1))
    assert [len(each) for each in taken(first, [4])] == [1], "each keeps its own"
    assert images.open(np.arange(6, 12), 4) is ahead
    assert ahead.take(4).positions.tolist() == [11]
    assert [each.position for each in first.take_skipped()] == [3]
    assert [each.position for each in ahead.take_skipped()] == [8]


def test_a_forgotten_chunk_is_read_from_its_beginning():
    images = read_ahead_of(Source())
    first = images.open(np.arange(4), 2, np.arange(4, 8))
    taken(first, [2])
    assert images.announced.take(2).positions.tolist() == [4, 5]
    images.forget_announced()
    assert images.announced is None
    assert first.take(2) is None
    again = images.open(np.arange(4, 8), 2)
    assert [each.positions.tolist() for each in taken(again, [2])] == [[4, 5], [6, 7]]
