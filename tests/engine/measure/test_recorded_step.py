"""The recorded step without a GPU: tensors lie on the CPU, and what records and replays them is a stand-in."""

import gc
import warnings
import weakref

import numpy as np
import pytest
import torch

from psi_core.devices import Device
from psi_core.engine.images import load_dataset
from psi_core.engine.measure.recorded_step import RecordedStep, _has_same_bits
from psi_core.engine.measure.step import FusedStep
from psi_core.errors import ModelError
from tests.engine.measure.fake_graphs import FakeGraph, invalid, put_in_place
from tests.engine.measure.test_step import arrays_of, maker_of, small
from tests.engine.networks import Functional, seeded

BATCH, UNTIL_RECORDED = 4, 5
"""Images of a batch; the batch that is recorded: for the four before it the device had to wait three times."""

STAGES = (1, 2, 3)


def full():
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.delenv("PSI_GRAPHS", raising=False)
    return put_in_place(monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def little_to_look_through():
    """Garbage is searched for before each recording: not among all that was imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def digits():
    return load_dataset("mnist", "test")


@pytest.fixture
def maker(digits):
    """A maker whose step may be recorded."""
    maker = maker_of(small(seeded(lambda: Functional(10))), digits, 8, batch=BATCH)
    maker.step = RecordedStep(maker.plan, Device.cuda(0), BATCH)
    return maker


def batch_of(maker, number, images=BATCH):
    """The images of a batch, their labels and positions."""
    return maker._inputs(maker._images.read(np.arange(number * BATCH, number * BATCH + images)))


def recorded(maker):
    """As many batches as it takes to record one; the numbers of the last."""
    return [maker.step(*batch_of(maker, number)) for number in range(UNTIL_RECORDED)][-1]


def assert_plain(maker, number, found=None, images=BATCH):
    """What the step gives for a batch, or gave, has the bits of one that is never recorded."""
    found = maker.step(*batch_of(maker, number, images)) if found is None else found
    assert _has_same_bits(found, FusedStep(maker.plan)(*batch_of(maker, number, images)))


def assert_all_is_back(cuda):
    """No capture is under way, and none of its memory is held or asked for."""
    assert cuda.stream == "usual"
    assert cuda.under_way is None
    assert not cuda.taking
    assert not cuda.graphs
    assert not cuda.users.total()
    assert not any(not each.expired() for each in cuda.made)


def test_the_stages_are_captured_in_order_on_one_stream_and_pool_and_give_the_steps_bits(cuda, maker):
    clock = maker.step.clock
    assert_plain(maker, UNTIL_RECORDED - 1, recorded(maker))
    assert maker.step.held_bytes > 0
    assert len(cuda.captures) == len(STAGES)
    assert len(set(cuda.captures)) == 1
    assert cuda.captures[0][2:] == ("thread_local", False)
    assert [name for _, name in maker.step._recording._graphs] == ["benign", "gradient", "attacked"]
    assert maker.step.clock is clock
    assert (cuda.stream, cuda.taking, gc.isenabled()) == ("usual", [], True)
    before = cuda.replays
    for number in range(UNTIL_RECORDED, UNTIL_RECORDED + 3):
        assert_plain(maker, number)
    assert cuda.replays == before + 3 * len(STAGES)
    assert len(cuda.captures) == len(STAGES)


def test_batches_of_another_size_run_as_they_are(cuda, maker):
    recorded(maker)
    before = cuda.replays
    assert_plain(maker, 6, images=BATCH - 1)
    assert cuda.replays == before
    assert_plain(maker, 7)
    assert cuda.replays == before + len(STAGES)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("where", ["begin", "launch", "end", "replay"])
def test_a_recording_that_fails_ends_no_batch_and_leaves_nothing(cuda, maker, where, stage):
    clock, cuda.errors[where, stage] = maker.step.clock, invalid
    gc.disable()  # What is left is given back at once.
    try:
        found = recorded(maker)
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert_plain(maker, UNTIL_RECORDED - 1, found)
    assert maker.step.clock is clock
    assert maker.step.held_bytes == 0
    assert cuda.held[-1] == 0, "when memory was freed it was still held"
    assert_all_is_back(cuda)
    captures, cuda.errors = len(cuda.captures), {}
    assert captures == (len(STAGES) if where == "replay" else stage)
    for number in range(UNTIL_RECORDED, 2 * UNTIL_RECORDED + 1):
        assert_plain(maker, number)
    assert len(cuda.captures) == captures


def compiler_error():
    return pytest.importorskip("triton.runtime.errors").OutOfResources(2, 1, "shared memory")


def odd_layers():
    return ModelError("layers: 3 of 4 layers fired in a batch")


@pytest.mark.parametrize("error", [full, AssertionError, odd_layers, compiler_error])
def test_so_does_one_that_a_step_refuses_in_its_own_words(cuda, maker, error):
    cuda.errors["launch", 2] = error
    assert_plain(maker, UNTIL_RECORDED - 1, recorded(maker))
    assert_all_is_back(cuda)


@pytest.mark.parametrize("is_collecting", [True, False])
def test_who_interrupts_a_recording_is_heard(cuda, maker, is_collecting):
    clock, cuda.errors["launch", 2] = maker.step.clock, KeyboardInterrupt
    if not is_collecting:
        gc.disable()
    try:
        with pytest.raises(KeyboardInterrupt):
            recorded(maker)
        assert gc.isenabled() == is_collecting
    finally:
        gc.enable()
    assert maker.step.clock is clock
    assert (cuda.stream, cuda.under_way, cuda.taking) == ("usual", None, [])


@pytest.mark.parametrize("objects", [1, 10**6])
def test_garbage_is_collected_before_a_recording_and_not_within(cuda, maker, objects):
    """A recording of a run before, which only the collector frees, would be destroyed while this one is made.

    It does so, left alone, every so many objects.
    """

    class Cycle:
        pass

    old, here = Cycle(), []
    old.itself, old.graph = old, FakeGraph(cuda)
    del old
    network = maker.plan.model.network
    network.register_forward_pre_hook(lambda *_: here.append((cuda.under_way is not None, len(cuda.graphs))))
    thresholds = gc.get_threshold()
    gc.set_threshold(objects)
    try:
        recorded(maker)
    finally:
        gc.set_threshold(*thresholds)
    assert [graphs for is_captured, graphs in here if is_captured] == [1, 3, 3, 3, 3]


def test_one_whose_replay_gives_other_bits_is_not_used(cuda, maker, monkeypatch):
    usual = FakeGraph.replay

    def replay(graph):
        usual(graph)
        for *_, found in graph.launches[-1:]:
            found.view(torch.uint8).bitwise_xor_(1)

    monkeypatch.setattr(FakeGraph, "replay", replay)
    assert_plain(maker, UNTIL_RECORDED - 1, recorded(maker))
    assert cuda.replays == len(STAGES)
    assert_all_is_back(cuda)
    assert_plain(maker, UNTIL_RECORDED)


def test_a_network_that_asks_the_device_is_not_recorded(cuda, maker):
    words = "called a synchronizing CUDA operation"
    maker.plan.model.network.register_forward_pre_hook(lambda *_: warnings.warn(words, stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorded(maker)
        assert_plain(maker, UNTIL_RECORDED)
    assert not cuda.captures


def test_none_is_recorded_where_it_is_asked_not_to_be(cuda, maker, monkeypatch):
    monkeypatch.setenv("PSI_GRAPHS", "0")
    maker.step = RecordedStep(maker.plan, Device.cuda(0), BATCH)
    recorded(maker)
    assert_plain(maker, UNTIL_RECORDED)
    assert not cuda.captures


@pytest.mark.parametrize("change", ["data", "write", "buffer"])
def test_other_weights_end_a_recording(cuda, maker, change):
    recorded(maker)
    weight, recording = next(maker.plan.model.parameters()), maker.step._recording
    assert recording.holds(maker.plan.model)
    with torch.no_grad():
        if change == "data":
            weight.data = weight.data * 2
        elif change == "write":
            weight.mul_(2)
        else:
            next(maker.plan.model.buffers()).add_(0.1)
    assert not recording.holds(maker.plan.model)
    del recording
    before = cuda.replays
    for number in range(UNTIL_RECORDED, 2 * UNTIL_RECORDED + 1):
        assert_plain(maker, number)
    assert cuda.replays == before
    assert_all_is_back(cuda)


@pytest.mark.parametrize("batches", [0, UNTIL_RECORDED - 1, UNTIL_RECORDED + 1])
def test_no_smaller_batch_is_recorded(cuda, maker, batches):
    for number in range(batches):
        maker.step(*batch_of(maker, number))
    captures = len(cuda.captures)
    maker.step.resize(BATCH // 2)
    assert_all_is_back(cuda)
    for number in range(2 * UNTIL_RECORDED):
        assert_plain(maker, number, images=BATCH // 2)
    assert len(cuda.captures) == captures


def full_once(monkeypatch, times, position):
    """No memory, so many times, for the batch that begins at this position."""
    run_batch, asked = FusedStep.__call__, []

    def run(step, *inputs):
        if position in inputs[2] and len(asked) < times:
            asked.append(len(inputs[0]))
            raise full()
        return run_batch(step, *inputs)

    monkeypatch.setattr(FusedStep, "__call__", run)
    return asked


@pytest.mark.parametrize("times", [1, 2])
def test_the_memory_of_a_recording_is_given_back_before_a_batch_is_halved(cuda, maker, times, monkeypatch):
    """The last batch is a shorter one, which is not replayed."""
    images = BATCH * (UNTIL_RECORDED + 2) - 1
    expected, told = arrays_of(maker, images), []
    assert maker.step.held_bytes > 0
    asked = full_once(monkeypatch, times, images - 1)
    arrays = maker.make(np.arange(images), lambda chunk: None, lambda *sizes: told.append(sizes))
    assert asked == [BATCH - 1] * times
    assert told == [(BATCH, BATCH // 2)] * (times - 1)
    assert maker.batch == BATCH // times
    assert_all_is_back(cuda)
    for name, array in expected.items():
        np.testing.assert_allclose(arrays[name], array, atol=1e-6, rtol=1e-6, err_msg=name)
    captures = len(cuda.captures)
    arrays_of(maker, images)
    assert len(cuda.captures) == captures, "it would take the memory again"


def test_a_replay_without_memory_for_its_numbers_is_a_batch_that_is_tried_again(cuda, maker):
    images = BATCH * (UNTIL_RECORDED + 2)
    expected, told = arrays_of(maker, images), []
    cuda.errors["replay", 2] = full
    arrays = maker.make(np.arange(images), lambda chunk: None, lambda *sizes: told.append(sizes))
    assert told == []
    assert all(np.array_equal(arrays[name], array, equal_nan=True) for name, array in expected.items())


def test_a_maker_that_leaves_lets_go_of_it_at_once_and_may_record_again(cuda, maker):
    recorded(maker)
    gc.disable()
    try:
        maker.leave()
        assert maker.step.held_bytes == 0
        assert_all_is_back(cuda)
        step = weakref.ref(maker.step)
        recorded(maker)
        assert maker.step.held_bytes > 0
        maker.step = None
        assert step() is None
        assert not cuda.graphs
    finally:
        gc.enable()


def test_a_device_that_has_failed_hides_no_error_when_it_is_left(cuda, maker, monkeypatch):
    recorded(maker)

    def broken(*_device):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    monkeypatch.setattr(torch.cuda, "empty_cache", broken)
    cuda.errors["replay", 1] = odd_layers
    with pytest.raises(ModelError, match="3 of 4 layers"):
        arrays_of(maker)
    assert maker.step.held_bytes == 0
