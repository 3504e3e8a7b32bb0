"""What only a CUDA device can show: the same run on it, at every precision, queued, compiled and on several devices."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from psi_core.conditions import Condition
from psi_core.engine import analyze, kernels
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.attacks.perturbations import FUNCTIONS, Perturbations, PerturbedBatch
from psi_core.engine.bench.comparison import bench_row
from psi_core.engine.measure.recorded_step import _has_same_bits
from psi_core.engine.measure.reducer import Reducer
from psi_core.engine.measure.step import FusedStep
from psi_core.engine.precision import precision as at_precision
from psi_core.engine.preparation import prepare
from psi_core.engine.stand_ins.pooling import max_pool2d
from psi_core.engine.work.chunk_maker import make_chunk_maker
from psi_core.runs.run import Run
from tests.engine.processes import assert_same_results, engine, events, new_run, small_config

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    return analyze(small_config(device="cpu"), tmp_path_factory.mktemp("cpu"))


def test_a_device_gives_what_a_cpu_gives(on_cpu, tmp_path):
    run = analyze(small_config(device="cuda"), tmp_path)
    benign = run.conditions.index("benign")
    np.testing.assert_allclose(run.psi[benign], on_cpu.psi[benign], atol=1e-5)
    noise = run.conditions.index("sign-noise@0.1")
    np.testing.assert_allclose(run.psi[noise], on_cpu.psi[noise], atol=1e-5)
    # A gradient next to 0 may have another sign: images that differ so are few and differ little.
    np.testing.assert_allclose(run.psi, on_cpu.psi, atol=1e-2)
    assert (run.predictions[benign] == on_cpu.predictions[benign]).all()


def test_the_gradient_is_checked_on_the_device_itself(tmp_path):
    run = analyze(small_config(device="cuda"), tmp_path)
    (found,) = [event for event in events(run.directory) if event["event"] == "evidence"]
    assert found["finite_difference_error"] < 1e-4
    assert found["gradient_error"] < 1e-3


def test_it_repeats_itself_bit_for_bit(tmp_path):
    first, second = (analyze(small_config(device="cuda"), tmp_path / name) for name in ("first", "second"))
    assert_same_results(first.directory, second.directory)


@pytest.mark.parametrize("precision", ["exact", "tf32", "bf16"])
def test_nothing_changes_at_epsilon_0_and_signs_are_compared(precision, tmp_path):
    run = analyze(small_config(device="cuda", precision=precision), tmp_path)
    benign, unchanged = run.conditions.index("benign"), run.conditions.index("fgsm@0")
    assert np.array_equal(run.psi[benign], run.psi[unchanged], equal_nan=True)
    told = [event for event in events(run.directory) if event["event"] == "precision"]
    assert len(told) == (precision != "exact")
    assert all(event["sign_agreement"] > 0.8 for event in told)


def test_random_numbers_are_the_cpus():
    like = torch.zeros(3, 3, 8, 8)
    indices = torch.tensor([0, 7, 2**40])
    ours, theirs = (Noise(5, indices.to(device), 17).signs(like.to(device)) for device in ("cuda", "cpu"))
    assert torch.equal(ours.cpu(), theirs)


def test_what_another_packages_attack_is_lent_is_shared_there_too_until_it_writes(monkeypatch):
    images = torch.rand(4, 3, 8, 8, device="cuda")
    indices = torch.arange(4, device="cuda")
    batch = PerturbedBatch(
        Perturbations((Condition("benign"),)), None, images, images.clone(), indices * 0, None, indices
    )
    before = batch.gradient.clone()
    ours = batch._batch_for(Condition("fgsm", 0.1), None)
    assert ours.images is images, "a kernel would have it copied"
    monkeypatch.setitem(FUNCTIONS, "hostile", lambda batch, _: batch.images)
    l2 = torch.ones(4, device="cuda")
    assert batch._batch_for(Condition("gaussian", 0.1), l2).l2 is l2
    lent, other = (batch._batch_for(Condition("hostile", 0.1), None) for _ in range(2))
    assert torch._C._is_cow_tensor(lent.gradient)
    lent.gradient.zero_()
    lent.noise.indices.add_(1)
    assert torch.equal(batch.gradient, before)
    assert torch.equal(other.gradient, before)
    assert batch.indices.tolist() == other.noise.indices.tolist() == [0, 1, 2, 3]


def test_a_compiled_step_agrees_with_the_eager_one(tmp_path):
    eager = analyze(small_config(device="cuda"), tmp_path / "eager")
    compiled = analyze(small_config(device="cuda", compile=True), tmp_path / "compiled")
    benign = eager.conditions.index("benign")
    np.testing.assert_allclose(compiled.psi[benign], eager.psi[benign], atol=1e-6)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one CUDA device, or none")
def test_two_devices_give_the_bits_of_one(tmp_path):
    one = analyze(small_config(device="cuda"), tmp_path / "one")
    directory = new_run(tmp_path / "two", device="cuda", devices=2)
    assert engine("resume", run=str(directory)).returncode == 0
    assert Run(directory).status == "done"
    assert_same_results(directory, one.directory)


def test_the_bench_counts_the_devices_memory(monkeypatch):
    monkeypatch.setenv("PSI_GRAPHS", "0")  # A recording's pool is not small beside so small a network.
    row = bench_row(small_config(model="alexnet", size=64, device="cuda", batch=32), rounds=2)
    assert row["engine_memory"] > 0
    assert row["memory_ratio"] < 2


@pytest.mark.parametrize("model", ["lenet5", "alexnet"])
def test_the_kernels_change_nothing_beyond_rounding(model, tmp_path, monkeypatch):
    options = {"device": "cuda", "model": model, "controls": "sign-noise,gaussian,anti-fgsm"}
    options |= {"weights": "random", "size": 64} if model == "alexnet" else {}
    with_kernels = analyze(small_config(**options), tmp_path / "with")
    kernels._are_usable.cache_clear()
    monkeypatch.setenv("PSI_KERNELS", "0")
    try:
        without = analyze(small_config(**options), tmp_path / "without")
    finally:
        kernels._are_usable.cache_clear()
    for condition in ("benign", "fgsm@0.1", "sign-noise@0.1", "anti-fgsm@0.1"):
        at = with_kernels.conditions.index(condition)
        np.testing.assert_allclose(with_kernels.psi[at], without.psi[at], atol=1e-6)
    np.testing.assert_allclose(with_kernels.psi, without.psi, atol=1e-4)
    np.testing.assert_allclose(with_kernels.array("linf"), without.array("linf"), atol=1e-5)
    np.testing.assert_allclose(with_kernels.array("l2"), without.array("l2"), rtol=1e-5)


def test_the_kernels_are_used_here():
    assert kernels.kernels_for(torch.zeros(1, device="cuda"), "steps") is not None


def recorded(model, precision, batches=7, **options):
    """A maker's step and what it gives for one batch after another, none waited for."""
    config = small_config(model=model, device="cuda", weights="random", precision=precision, batch=8, **options)
    prepared = prepare(config)
    prepared.classifier.to("cuda")
    with at_precision(precision, prepared.config.device):
        maker = make_chunk_maker(prepared.config, prepared, prepared.config.device)
        plain = FusedStep(maker.plan, prepared.config.device)
        batch = [maker.first_images(np.arange(start, start + 8)) for start in range(0, 8 * batches, 8)]
        found = [maker.step(*each) for each in batch]
        expected = [plain(*each) for each in batch]
    return maker, found, expected


@pytest.mark.parametrize("precision", ["exact", "tf32", "bf16"])
@pytest.mark.parametrize(
    "options",
    [
        {"model": "torchvision:resnet18", "size": 64},
        {"model": "lenet5", "attack": ["fgsm", "pgd"], "target": "random", "measures": ["psi", "gini"]},
    ],
)
def test_a_step_that_the_gpu_waits_for_is_recorded_with_its_bits(precision, options):
    maker, found, expected = recorded(precision=precision, **options)
    assert maker.step.held_bytes > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert _has_same_bits(ours, theirs)
    maker.step.resize(4)
    assert maker.step.held_bytes == 0


def test_a_network_that_asks_the_device_is_not_recorded():
    maker, found, expected = recorded(f"{__name__}:Asks", "exact", size=16)
    assert maker.step.held_bytes == 0
    assert all(map(_has_same_bits, found, expected))


def test_weights_that_move_end_a_recording():
    maker, _, _ = recorded("lenet5", "exact")
    inputs = maker.first_images(np.arange(8))
    before = maker.step(*inputs)
    for each in maker.plan.model.parameters():
        each.data = each.data.clone() * 0
    after = maker.step(*inputs)
    assert maker.step.held_bytes == 0
    assert not torch.equal(before.values, after.values)


class Asks(nn.Module):
    """Looks at its images before it goes on."""

    input_size = (3, 16, 16)

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

    def forward(self, images):
        found = F.relu(self.conv(images))
        return self.head(found.mean((2, 3)) if found.sum().item() > -1 else found.amax((2, 3)))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_relu_and_its_sums_and_a_pooled_layer_have_the_bits_of_torchs_own(kind):
    values = torch.randn(3, 70, 19, 21, device="cuda").to(kind).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        for in_place in (False, True):
            given, reducer = values.clone(), Reducer()
            output = reducer.relu(given, in_place=in_place)
            (found, means), (apart, means_apart) = reducer(output), Reducer()(values.relu())
            assert torch.equal(output, values.relu())
            assert (output is given) == in_place
            for ours, theirs in ((found.total, apart.total), (found.squares, apart.squares), (means, means_apart)):
                assert torch.equal(ours, theirs)
        for window, step, margin in ((3, 2, 0), (2, 2, 0), (3, 2, 1)):
            assert torch.equal(max_pool2d(values, window, step, margin), F.max_pool2d(values, window, step, margin))


def test_a_networks_inputs_have_the_bits_of_torchs_own():
    images = torch.rand(5, 3, 30, 31, device="cuda").contiguous(memory_format=torch.channels_last)
    mean, sd = (torch.rand(1, 3, 1, 1, device="cuda") + 0.1 for _ in range(2))
    from psi_core.engine.kernels import steps  # Not at the top: triton is not everywhere.

    inputs, norms = steps.ready((images + 0.1).clamp(max=1), images, mean, sd)
    assert torch.equal(inputs, ((images + 0.1).clamp(max=1) - mean) / sd)
    for ours, theirs in zip(norms, steps.norms((images + 0.1).clamp(max=1), images), strict=True):
        assert torch.equal(ours, theirs)
