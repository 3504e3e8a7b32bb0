"""Chunks made batch by batch, with batches queued on the device or none: the same bits, also when memory runs out."""

import math
import threading
import weakref

import numpy as np
import pytest
import torch

from psi_core.devices import CPU
from psi_core.engine.devices import cpu_threads
from psi_core.engine.images import Reading, Unreadable
from psi_core.engine.images.read_ahead import ReadAhead
from psi_core.engine.measure.step import FusedStep
from psi_core.engine.work import chunk_maker
from psi_core.engine.work.chunk_maker import LeftEarlyError
from psi_core.engine.work.open_chunk import ChannelSums, OpenChunk
from psi_core.errors import DataError, ModelError, RunError
from tests.engine.measure.test_step import maker_of

IMAGES, BATCH = 11, 4
ALL = np.arange(IMAGES)
CHUNKS = [np.arange(11), np.arange(11, 20), np.arange(20, 25)]
FULL = "CUDA out of memory. Tried to allocate 20.00 GiB"


class Torn:
    """Digits, some of which cannot be read."""

    def __init__(self, digits, unreadable):
        self.labels, self.digits, self.unreadable = digits.labels, digits, unreadable

    def read(self, positions, size, channels):
        good = positions[~np.isin(positions, self.unreadable)]
        bad = [Unreadable(int(each), "file", "torn") for each in positions if each in self.unreadable]
        return Reading(self.digits.read(good, size, channels).pixels, tuple(bad))


ABREAST = 2
"""A depth beyond those of one batch after another: that many threads with as many batches queued."""


def maker_at(depth, classifier, dataset, unreadable=()):
    abreast = 2 if depth == ABREAST else 1
    maker = maker_of(classifier, dataset, 28, batch=BATCH, abreast=abreast)
    assert abreast in (1, maker.depth)
    maker.depth = depth
    sources = [Torn(dataset, unreadable)]
    maker._images = ReadAhead(sources, 28, 1, CPU, skips_unreadable=True)
    return maker


def made(maker, positions=ALL):
    """The arrays, and all that was told on the way."""
    told = []
    arrays = maker.make(
        positions, lambda chunk: told.append(chunk.done), lambda before, after: told.append((before, after))
    )
    return arrays, told


def all_made(maker, following=True):
    """The arrays of three chunks one after another, what was told on the way of each, and who was left out of each."""
    found, told, left_out = [], [], []
    for place, chunk in enumerate(CHUNKS):
        told.append([])
        announced = CHUNKS[place + 1] if following and place + 1 < len(CHUNKS) else None
        arrays = maker.make(
            chunk,
            lambda chunk: told[-1].append(chunk.done),
            lambda before, after: told[-1].append((before, after)),
            announced,
        )
        found.append(arrays)
        left_out.append([each.position for each in maker.skipped])
        maker.skipped = []
    return found, told, left_out


def assert_same_bits(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert np.array_equal(array, theirs[name], equal_nan=True), name


def full_at(monkeypatch, position, fitting):
    """No memory for more than `fitting` images of a batch that begins at this position."""
    run_batch = FusedStep.__call__

    def run(step, images, labels, indices, external):
        if position in indices and len(images) > fitting:
            raise torch.OutOfMemoryError(FULL)
        return run_batch(step, images, labels, indices, external)

    monkeypatch.setattr(FusedStep, "__call__", run)


@pytest.mark.parametrize("unreadable", [(), (0, 1, 2, 3), (4,), (8, 9, 10), tuple(range(IMAGES))])
def test_queued_batches_change_no_bit_and_are_told_of_one_by_one(classifier, digits, unreadable):
    plain, told = made(maker_at(0, classifier, digits, unreadable))
    for depth in (1, ABREAST):
        queued, told_queued = made(maker_at(depth, classifier, digits, unreadable))
        assert_same_bits(queued, plain)
        assert told_queued == told
    assert plain["index"].tolist() == [each for each in range(IMAGES) if each not in unreadable]
    assert told == [min(done, IMAGES - len(unreadable)) for done in range(4, IMAGES - len(unreadable) + 4, 4)]


@pytest.mark.parametrize("position", [0, 4, 10])
def test_nor_does_a_batch_that_must_be_halved(classifier, digits, position, monkeypatch):
    full_at(monkeypatch, position, 1)
    plain, told = made(maker_at(0, classifier, digits, (5,)))
    for depth in (1, ABREAST):
        queued, told_queued = made(maker_at(depth, classifier, digits, (5,)))
        assert_same_bits(queued, plain)
        assert told_queued == told  # What was queued is told of before the halving.
    assert (4, 2) in told
    assert plain["index"].tolist() == [each for each in range(IMAGES) if each != 5]


def test_a_batch_is_queued_before_the_numbers_of_the_last_are_asked_for(classifier, digits, monkeypatch):
    order = []
    run_batch = FusedStep.__call__
    monkeypatch.setattr(FusedStep, "__call__", lambda *arguments: order.append("run") or run_batch(*arguments))
    for depth, expected in ((0, ["run", 4, "run", 8, "run", 11]), (1, ["run", "run", 4, "run", 8, 11])):
        order.clear()
        maker_at(depth, classifier, digits).make(
            ALL, lambda chunk: order.append(chunk.done), lambda before, after: None
        )
        assert order == expected


@pytest.mark.parametrize("depth", [1, ABREAST])
@pytest.mark.parametrize("unreadable", [(), (11, 12, 13, 14), (2, 10, 19, 20), tuple(range(11, 20))])
def test_batches_of_the_next_chunk_begun_early_change_no_bit(classifier, digits, depth, unreadable):
    plain, told, left_out = all_made(maker_at(0, classifier, digits, unreadable), following=False)
    queued, told_queued, left_out_queued = all_made(maker_at(depth, classifier, digits, unreadable))
    for ours, theirs in zip(queued, plain, strict=True):
        assert_same_bits(ours, theirs)
    assert told_queued == told
    assert left_out_queued == left_out
    assert sorted({each for chunk in left_out for each in chunk}) == sorted(unreadable)


@pytest.mark.parametrize("depth", [1, ABREAST])
@pytest.mark.parametrize("position", [4, 10, 11, 17, 20])
def test_memory_that_runs_out_does_so_in_the_chunk_whose_turn_it_is(classifier, digits, depth, position, monkeypatch):
    full_at(monkeypatch, position, 1)
    plain, told, _ = all_made(maker_at(0, classifier, digits, (5,)), following=False)
    queued, told_queued, _ = all_made(maker_at(depth, classifier, digits, (5,)))
    for ours, theirs in zip(queued, plain, strict=True):
        assert_same_bits(ours, theirs)
    assert told_queued == told
    assert [[each for each in chunk if each in ((4, 2), (2, 1))] for chunk in told if (4, 2) in chunk] == [
        [(4, 2), (2, 1)]
    ]


@pytest.mark.parametrize("depth", [1, ABREAST])
def test_an_image_that_must_be_read_ends_its_own_chunk_and_not_the_one_before(classifier, digits, depth):
    expected, _ = made(maker_at(0, classifier, digits))
    maker = maker_at(depth, classifier, digits)
    maker._images = ReadAhead([Torn(digits, [13])], 28, 1, CPU, skips_unreadable=False)
    nothing = lambda *_told: None  # noqa: E731
    assert_same_bits(maker.make(CHUNKS[0], nothing, nothing, CHUNKS[1]), expected)
    for _ in range(2):
        with pytest.raises(DataError, match="image 13"):
            maker.make(CHUNKS[1], nothing, nothing, CHUNKS[2])
    assert maker.make(CHUNKS[2], nothing, nothing)["index"].tolist() == CHUNKS[2].tolist()


@pytest.mark.parametrize("depth", [1, ABREAST])
def test_a_chunk_that_was_begun_and_is_not_made_leaves_nothing(classifier, digits, depth, monkeypatch):
    expected = all_made(maker_at(0, classifier, digits), following=False)[0]
    maker = maker_at(depth, classifier, digits)
    nothing = lambda *_told: None  # noqa: E731
    maker.make(CHUNKS[0], nothing, nothing, CHUNKS[1])
    assert_same_bits(maker.make(CHUNKS[2], nothing, nothing, CHUNKS[1]), expected[2])
    maker.leave()
    assert maker._abreast is None or not maker._abreast._under_way
    assert_same_bits(maker.make(CHUNKS[1], nothing, nothing), expected[1])


def test_the_device_has_work_when_a_chunk_ends(classifier, digits, monkeypatch):
    order = []
    run_batch = FusedStep.__call__
    monkeypatch.setattr(FusedStep, "__call__", lambda *arguments: order.append("run") or run_batch(*arguments))
    arrays = OpenChunk.arrays
    monkeypatch.setattr(OpenChunk, "arrays", lambda chunk: order.append("end") or arrays(chunk))
    for depth, expected in (
        (0, ["run"] * 3 + ["end"] + ["run"] * 3 + ["end"] + ["run"] * 2 + ["end"]),
        (1, ["run"] * 5 + ["end"] + ["run"] * 3 + ["end", "end"]),
    ):
        order.clear()
        all_made(maker_at(depth, classifier, digits))
        assert order == expected


def test_batches_abreast_run_at_once_each_on_one_thread_and_modules_of_its_own(classifier, digits, monkeypatch):
    both = threading.Barrier(2, timeout=60)
    run_batch, seen = FusedStep.__call__, []

    def run(step, *inputs):
        if len(seen) < 2:
            seen.append((threading.current_thread(), step.plan.model, torch.get_num_threads()))
            both.wait()  # Passed only by two at once.
        return run_batch(step, *inputs)

    monkeypatch.setattr(FusedStep, "__call__", run)
    with cpu_threads(2):
        made(maker_at(ABREAST, classifier, digits))
        assert torch.get_num_threads() == 2
    (first, model, threads), (second, other, other_threads) = seen
    assert first is not second
    assert threads == other_threads == 1
    assert {*model.modules()}.isdisjoint(other.modules())
    for ours, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert ours.data_ptr() == theirs.data_ptr()


def test_an_error_of_a_batch_abreast_ends_the_chunk_with_it(classifier, digits, monkeypatch):
    def fail(step, images, *others):
        raise ModelError(f"layers: {len(images)} images")

    monkeypatch.setattr(FusedStep, "__call__", fail)
    with pytest.raises(ModelError, match="4 images"):
        made(maker_at(ABREAST, classifier, digits))


@pytest.mark.parametrize("depth", [0, 1, ABREAST])
@pytest.mark.parametrize("left_at", [4, 8, 11])
def test_a_chunk_that_was_left_early_is_made_again_to_the_same_bits(classifier, digits, depth, left_at):
    maker = maker_at(depth, classifier, digits, (2,))
    expected, _ = made(maker_at(0, classifier, digits, (2,)))

    def leave(chunk):
        if chunk.done >= left_at - 1:
            raise LeftEarlyError

    with pytest.raises(LeftEarlyError):
        maker.make(ALL, leave, lambda before, after: None, np.arange(IMAGES, 20))
    assert_same_bits(made(maker)[0], expected)


@pytest.mark.parametrize("depth", [0, 1, ABREAST])
def test_images_that_do_not_fit_when_they_are_taken_are_taken_again(classifier, digits, depth, monkeypatch):
    expected, _ = made(maker_at(0, classifier, digits))
    here, asked = ReadAhead._on_device, []

    def full_the_second_time(images, piece):
        asked.append(piece)
        if len(asked) == 2:
            raise torch.OutOfMemoryError(FULL)
        return here(images, piece)

    monkeypatch.setattr(ReadAhead, "_on_device", full_the_second_time)
    arrays, told = made(maker_at(depth, classifier, digits))
    assert told[:2] == [4, (4, 2)]
    assert arrays["index"].tolist() == list(range(IMAGES))
    assert arrays["psi"] == pytest.approx(expected["psi"], abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("place", ["add", "_with_room"])
@pytest.mark.parametrize("times", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [0, 1, ABREAST])
def test_numbers_for_whose_sums_there_is_no_room_are_computed_again(
    classifier, digits, depth, times, place, monkeypatch
):
    expected, _ = made(maker_at(0, classifier, digits, (5,)))
    usual, asked = getattr(ChannelSums, place), []

    def full_for_the_last_images(sums, labels, *means):
        if labels[-1] == digits.labels[IMAGES - 1] and len(asked) < times:
            asked.append(len(labels))
            raise RuntimeError("CUDA error: out of memory")
        return usual(sums, labels, *means)

    monkeypatch.setattr(ChannelSums, place, full_for_the_last_images)
    if times > 2 + (depth > 0):  # One image beside others is not alone: it is tried once more.
        with pytest.raises(RunError, match=r"one image alone does not fit on the device \(CUDA error: out of memory\)"):
            made(maker_at(depth, classifier, digits, (5,)))
        return
    arrays, told = made(maker_at(depth, classifier, digits, (5,)))
    assert [each for each in told if isinstance(each, tuple)] == [(4, 2), (2, 1)][:times]
    assert arrays["index"].tolist() == [each for each in range(IMAGES) if each != 5]
    assert arrays.keys() == expected.keys()
    for name in ("psi", "class_sum/conv1", "square_sum/fc2"):
        assert arrays[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("full", ["product", "room"])
def test_class_sums_for_which_memory_runs_out_half_way_are_as_they_were(full, monkeypatch):
    sums = ChannelSums(2, [3, 2], CPU)
    labels, means = np.array([0, 1]), [[torch.ones(2, 3).double(), torch.ones(2, 2).double()] for _ in range(2)]
    sums.add(labels, means)
    more, broken = np.array([1, 7]), [means[0], [means[1][0], torch.ones(3, 2).double()]]
    if full == "room":
        broken = means
        monkeypatch.setattr(torch, "cat", lambda *_given: torch.zeros(2) + torch.zeros(3))
    with pytest.raises(RuntimeError):
        sums.add(more, broken)
    monkeypatch.undo()
    sums.add(more, means)
    for layer in (0, 1):
        assert sums.by_class(layer, np.array([0, 1, 7]))[0, :, 0].tolist() == [1, 2, 1]
        assert (sums.squares(layer) == 4).all()


@pytest.mark.parametrize("message", [FULL, "GET was unable to find an engine to execute this computation"])
def test_looks_at_the_first_images_take_as_many_as_fit(classifier, digits, message, monkeypatch):
    read, fitting = ReadAhead.read, 2

    def full(images, positions):
        if len(positions) > fitting:
            raise RuntimeError(message)
        return read(images, positions)

    monkeypatch.setattr(ReadAhead, "read", full)
    maker = maker_at(0, classifier, digits)
    assert len(maker.first_images(ALL)[0]) == 2
    assert maker.sign_agreement("exact", ALL) == 1
    fitting = 0
    assert maker.first_images(ALL) is None
    assert math.isnan(maker.sign_agreement("exact", ALL))


def test_the_comparison_of_signs_takes_as_many_images_as_its_gradient_has_room_for(classifier, digits, monkeypatch):
    usual, asked = chunk_maker.input_gradient, []

    def full(model, inputs, *rest):
        asked.append(len(inputs))
        if len(inputs) > 1:
            raise torch.OutOfMemoryError(FULL)
        return usual(model, inputs, *rest)

    monkeypatch.setattr(chunk_maker, "input_gradient", full)
    assert maker_at(0, classifier, digits).sign_agreement("exact", ALL) == 1
    assert asked == [4, 2, 1, 1]
    monkeypatch.setattr(chunk_maker, "input_gradient", lambda *_given: torch.zeros(2) + torch.zeros(3))
    with pytest.raises(RuntimeError, match="must match the size"):
        maker_at(0, classifier, digits).sign_agreement("exact", ALL)


def test_what_a_failed_step_held_is_free_when_the_batch_is_halved(classifier, digits, monkeypatch):
    run_batch, held = FusedStep.__call__, []

    def run(step, images, labels, indices, external):
        if len(images) > 2:
            activations = images * 2
            held.append(weakref.ref(activations))
            raise torch.OutOfMemoryError(FULL)
        return run_batch(step, images, labels, indices, external)

    monkeypatch.setattr(FusedStep, "__call__", run)
    is_held = []
    maker = maker_at(0, classifier, digits)
    maker.make(ALL, lambda chunk: None, lambda before, after: is_held.append(held[-1]() is not None))
    assert is_held == [False]


def test_one_image_that_does_not_fit_is_refused(classifier, digits, monkeypatch):
    full_at(monkeypatch, 4, 0)
    with pytest.raises(RunError, match=r"one image alone does not fit on the device \(CUDA out .*\); lower --size"):
        made(maker_at(1, classifier, digits))


def test_warming_up_leaves_too_large_a_batch_to_the_first_chunk(classifier, digits, monkeypatch):
    full_at(monkeypatch, 0, 2)
    maker = maker_at(0, classifier, digits)
    maker.warm_up(ALL)
    assert made(maker)[1][0] == (4, 2)
    monkeypatch.setattr(FusedStep, "__call__", lambda *_given: torch.zeros(2) + torch.zeros(3))
    with pytest.raises(RuntimeError, match="must match the size"):
        maker.warm_up(ALL)
