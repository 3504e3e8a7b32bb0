"""Memory that runs out anywhere in a run: less is taken at a time, and no image is missing or counted twice."""

import threading
import time

import numpy as np
import pytest
import torch

from psi_core.engine import analyze
from psi_core.engine.images.read_ahead import ReadAhead
from psi_core.engine.measure.step import FusedStep
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.work import worker
from psi_core.engine.work.beginnings import require_same_logits
from psi_core.engine.work.open_chunk import OpenChunk
from psi_core.errors import RunError
from psi_core.runs.run import Run
from tests.engine.measure.test_step import maker_of
from tests.engine.processes import assert_same_results, events, new_run, small_config
from tests.engine.work.test_chunk_maker import ABREAST, ALL, BATCH, FULL, IMAGES, made, maker_at


@pytest.mark.parametrize("depth", [0, 1, ABREAST])
@pytest.mark.parametrize("fitting", [1, 2])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError(FULL), MemoryError("Unable to allocate 2.00 GiB")])
def test_images_too_many_for_the_memory_are_brought_there_in_fewer(
    classifier, digits, depth, fitting, error, monkeypatch
):
    expected, _ = made(maker_at(0, classifier, digits))
    here = ReadAhead._on_device

    def too_many(images, piece):
        if len(piece.images) > fitting:
            raise error
        return here(images, piece)

    monkeypatch.setattr(ReadAhead, "_on_device", too_many)
    arrays, told = made(maker_at(depth, classifier, digits))
    assert [each for each in told if isinstance(each, tuple)] == [(4, 2), (2, 1)][: 3 - fitting]
    assert arrays["index"].tolist() == list(range(IMAGES))
    assert arrays["psi"] == pytest.approx(expected["psi"], abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("depth", [0, 1, ABREAST])
@pytest.mark.parametrize("fitting", [1, 2])
def test_images_too_many_to_be_read_are_read_in_fewer(classifier, digits, depth, fitting, monkeypatch):
    read = ReadAhead._read_piece

    def too_many(images, positions):
        if len(positions) > fitting:
            raise MemoryError
        return read(images, positions)

    monkeypatch.setattr(ReadAhead, "_read_piece", too_many)
    maker = maker_at(depth, classifier, digits)
    for chunk in (ALL, np.arange(IMAGES, 20)):
        arrays, _ = made(maker, chunk)
        assert arrays["index"].tolist() == chunk.tolist()
    assert maker.batch == fitting


@pytest.mark.parametrize("place", ["take", "means"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("depth", [0, 1, ABREAST])
def test_means_for_which_memory_runs_out_come_again_and_none_is_missing(
    classifier, digits, depth, times, place, monkeypatch
):
    usual, failed, seen = OpenChunk.take, [], {}

    def out_of_memory(where, rows):
        if where == place and rows >= 4 and len(failed) < times:
            failed.append(rows)
            raise torch.OutOfMemoryError(FULL)

    def take(chunk, images, numbers):
        out_of_memory("take", chunk.done)
        usual(chunk, images, numbers)

    def take_means(rows, means):
        out_of_memory("means", rows.start)
        seen.update({row: means[0][0][row - rows.start] for row in range(rows.start, rows.stop)})

    monkeypatch.setattr(OpenChunk, "take", take)
    maker = maker_at(depth, classifier, digits)
    arrays = maker.make(ALL, lambda chunk: None, lambda before, after: None, None, take_means)
    assert sorted(seen) == ALL.tolist()
    means = torch.stack([seen[row] for row in ALL.tolist()])
    assert arrays["class_sum/conv1"][0].sum(0) == pytest.approx(means.sum(0).numpy(), rel=1e-6)


def test_a_network_that_takes_few_images_is_compared_by_those(tmp_path, monkeypatch):
    """Its first images are looked at before the first chunk; a worker with less memory looks at fewer of them."""
    reference = analyze(small_config(), tmp_path / "reference").directory
    usual = Classifier.forward

    def too_many(model, images, *others, **named):
        if len(images) > 2:
            raise torch.OutOfMemoryError(FULL)
        return usual(model, images, *others, **named)

    monkeypatch.setattr(Classifier, "forward", too_many)
    directory = new_run(tmp_path, batch=2)
    worker.Worker(directory).work()
    monkeypatch.undo()
    kept = [Run(each).model["first_logits"] for each in (directory, reference)]
    assert [len(each["positions"]) for each in kept] == [2, 4]
    for recorded, own in (kept, kept[::-1]):
        require_same_logits(recorded, own, "exact")
    others = {**kept[1], "logits": [[value + 1 for value in row] for row in kept[1]["logits"]]}
    for recorded, own in ((kept[0], others), (others, kept[0])):
        with pytest.raises(RunError, match="it gives other logits than when the run began"):
            require_same_logits(recorded, own, "exact")


def test_a_chunk_begins_and_ends_where_memory_may_run_out(tmp_path, monkeypatch):
    """Nothing is taken from the device when a chunk is begun or finished: there is no batch to make smaller."""
    reference = analyze(small_config(), tmp_path).directory
    reads = []
    usual_begun, usual_cpu = OpenChunk.begun.__func__, torch.Tensor.cpu

    def full(*_given, **_named):
        raise torch.OutOfMemoryError(FULL)

    def begun(cls, *given):
        with monkeypatch.context() as inner:
            for name in ("zeros", "empty", "tensor"):
                inner.setattr(torch, name, full)
            return usual_begun(cls, *given)

    def cpu(tensor):
        if tensor.dtype == torch.float64:
            reads.append(tensor.is_contiguous())
        return usual_cpu(tensor)

    monkeypatch.setattr(OpenChunk, "begun", classmethod(begun))
    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    directory = new_run(tmp_path)
    worker.Worker(directory).work()
    monkeypatch.undo()
    assert_same_results(directory, reference)
    assert reads == [True] * 2 * Run(directory).chunks
    assert events(directory)[-1]["event"] == "finished"


@pytest.mark.parametrize("place", ["describe_device", "sums_on"])
@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (RuntimeError("no kernel image is available"), RuntimeError, "no kernel image is available"),
        (RuntimeError("Triton Error [CUDA]: out of memory"), RunError, "memory: cpu has none left .*; free some of it"),
    ],
)
def test_a_device_that_does_not_answer_at_the_start_is_a_failure_that_is_told(
    place, error, kind, told, tmp_path, monkeypatch
):
    def fail(_device):
        raise error

    directory = new_run(tmp_path)
    monkeypatch.setattr(worker, place, fail)
    with pytest.raises(kind, match=told):
        worker.Worker(directory).work()
    assert [event["event"] for event in events(directory)] == ["started", "failed"]
    assert Run(directory).status == "failed"


def test_weights_that_do_not_fit_are_told_in_a_sentence(tmp_path, monkeypatch):
    def full(_network, *_given):
        raise RuntimeError("CUDA driver error: out of memory")

    directory = new_run(tmp_path)
    monkeypatch.setattr(Classifier, "to", full)
    with pytest.raises(RunError, match="the network's weights alone do not fit on cpu; free some of its memory"):
        worker.Worker(directory).work()
    assert events(directory)[-1]["event"] == "failed"


@pytest.mark.parametrize("depth", [0, 1, ABREAST])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_read_for_which_memory_ran_out_once_is_repeated(classifier, digits, depth, batch, monkeypatch):
    read, failed = ReadAhead._read_piece, []

    def full_once(images, positions):
        if not failed and 4 in positions:
            failed.append(positions)
            raise MemoryError
        return read(images, positions)

    monkeypatch.setattr(ReadAhead, "_read_piece", full_once)
    maker = maker_at(depth, classifier, digits)
    maker.batch = batch
    if batch == 1 and not depth:
        with pytest.raises(RunError, match="one image alone does not fit"):
            made(maker)
        return
    arrays, _ = made(maker)
    assert arrays["index"].tolist() == ALL.tolist()
    assert failed


def test_batches_that_were_dropped_take_no_memory_of_the_one_that_is_tried_alone(classifier, digits, monkeypatch):
    """Four abreast, where only one step at a time fits."""
    usual, inside = FusedStep.__call__, threading.Lock()

    def one_at_a_time(step, images, *others):
        if not inside.acquire(blocking=False):
            raise torch.OutOfMemoryError(FULL)
        try:
            time.sleep(0.05)
            return usual(step, images, *others)
        finally:
            inside.release()

    monkeypatch.setattr(FusedStep, "__call__", one_at_a_time)
    for _ in range(3):
        arrays, _ = made(maker_of(classifier, digits, 28, batch=BATCH, abreast=4))
        assert arrays["index"].tolist() == ALL.tolist()


def test_a_start_that_got_no_device_is_not_how_the_run_began(tmp_path, monkeypatch):
    def fail(_device):
        raise RuntimeError("no kernel image is available")

    directory = new_run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "describe_device", fail)
        with pytest.raises(RuntimeError):
            worker.Worker(directory).work()
    worker.Worker(directory).work()
    told = [event for event in events(directory) if event["event"] == "warning"]
    assert not [event["text"] for event in told if "the run began on" in event["text"]]
    assert Run(directory).status == "done"


def test_every_chunk_of_smaller_batches_is_told(tmp_path, monkeypatch):
    usual = FusedStep.__call__

    def full(step, images, *others):
        if len(images) > 2:
            raise torch.OutOfMemoryError(FULL)
        return usual(step, images, *others)

    monkeypatch.setattr(FusedStep, "__call__", full)
    directory = new_run(tmp_path)
    worker.Worker(directory).work()
    told = {event["chunk"] for event in events(directory) if event["event"] == "batch"}
    assert told == set(range(Run(directory).chunks))
