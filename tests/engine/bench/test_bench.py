"""The bench: engine, floor and the usual way timed in one process, on real images."""

import numpy as np
import pytest
import torch

from psi_core.conditions import conditions_of
from psi_core.config import RunConfig
from psi_core.devices import CPU
from psi_core.engine import fgsm, population_sparseness
from psi_core.engine.bench.comparison import bench_row, peak_growth
from psi_core.engine.bench.scaling import _seconds, scaling
from psi_core.engine.bench.usual_way import LIBRARIES, expert_way, installed_library, usual_way
from psi_core.engine.measure.step import FusedStep
from psi_core.errors import RunError
from tests.engine.networks import perceptron, seeded

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of foolbox, for a part of scipy's old name.


def test_all_are_timed_and_compared() -> None:
    row = bench_row(RunConfig(batch=8, threads=1), rounds=1)
    assert (row["model"], row["images"], row["conditions"]) == ("lenet5", 16, 5)
    assert row["engine_images_per_second"] > 0
    assert row["ratio"] == pytest.approx(row["engine_images_per_second"] / row["floor_images_per_second"])
    assert row["expert_ratio"] == pytest.approx(row["engine_images_per_second"] / row["expert_images_per_second"])
    assert row["usual_way"] == installed_library()
    assert row["usual_ratio"] == pytest.approx(row["engine_images_per_second"] / row["usual_images_per_second"])


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_that_a_bench_recorded_stays_on_the_device(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go: list[FusedStep] = []
    monkeypatch.setattr(FusedStep, "let_go", lambda step: let_go.extend([step]))
    config = RunConfig(batch=4, threads=1)
    if not fails:
        bench_row(config, rounds=1, with_usual=False)
        _seconds(config, 4)
        assert len(let_go) == 2
        return
    monkeypatch.setattr(FusedStep, "__call__", lambda *_given: torch.zeros(2) + torch.zeros(3))
    for work in (lambda: bench_row(config, rounds=1, with_usual=False), lambda: _seconds(config, 4)):
        let_go.clear()
        with pytest.raises(RuntimeError, match="must match the size"):
            work()
        assert len(let_go) == 2  # Of the chunk that failed, and of the maker.


def test_batches_that_do_not_fit_are_not_timed_as_if_they_were_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_step: FusedStep, *_given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FusedStep, "__call__", full)
    for look in (lambda: bench_row(RunConfig(batch=8, threads=1), rounds=1), lambda: scaling(RunConfig(batch=8))):
        with pytest.raises(RunError, match="memory: batches of 8 images do not fit on the device; write a smaller"):
            look()


def test_a_peak_is_seen_that_is_gone_again() -> None:
    megabytes = 64

    def work() -> None:
        torch.ones(megabytes, 2**18).sum()

    work()
    for _ in range(2):
        assert peak_growth(work, CPU) == pytest.approx(megabytes * 2**20, rel=0.2)
        assert peak_growth(lambda: None, CPU) < 2**22


@pytest.mark.parametrize("way", [*LIBRARIES, "expert"])
def test_the_other_ways_compute_the_same(way: str) -> None:
    network = seeded(lambda: perceptron(10)).eval().requires_grad_(False)
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([1, 2, 3, 4])
    conditions = conditions_of(["fgsm"], [0.1], ["sign-noise"])
    if way == "expert":
        found = expert_way(network, conditions)(images, labels)
        assert not any(module._forward_hooks for module in network.modules())
    else:
        pytest.importorskip(way)
        found = usual_way(way, network, conditions)(images, labels)
    attacked = fgsm(network, images, labels, 0.1)
    stored: list[torch.Tensor] = []
    first = next(module for module in network.modules() if isinstance(module, torch.nn.ReLU))
    handle = first.register_forward_hook(lambda _module, _inputs, output: stored.append(output.clone()))
    network(images)
    network(attacked)
    handle.remove()
    benign, fooled, noisy = next(iter(found.values()))
    for ours, responses in zip((benign, fooled), stored, strict=True):
        np.testing.assert_allclose(ours, population_sparseness(responses.flatten(1)), atol=1e-5)
    assert not torch.equal(noisy, benign)


def test_every_axis_is_walked_and_workers_are_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psi_core.engine.bench.scaling._WORKER_SECONDS", 0)
    found = scaling(RunConfig(batch=4, threads=1))
    rows = found["rows"]
    assert {row["axis"] for row in rows} == {"images", "layers", "conditions", "epsilons", "workers"}
    assert [row["value"] for row in rows if row["axis"] == "images"] == [4, 8, 16]
    assert [row["value"] for row in rows if row["axis"] == "epsilons"] == [1, 2, 4, 8]
    assert all(row["images_per_second"] > 0 for row in rows)
