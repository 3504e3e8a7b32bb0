"""Preparation: every field resolved, everything checked, before anything is written."""

import gc
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from psi_core.config import RunConfig
from psi_core.engine import analyze, answers
from psi_core.engine.answers import plan_of
from psi_core.engine.models.sources import ARCHITECTURES
from psi_core.engine.preparation import prepare
from psi_core.engine.work.chunk_maker import make_chunk_maker
from psi_core.errors import ConfigError, DataError, ModelError
from psi_core.runs.run import Run
from tests.engine.processes import small_config


def test_every_field_is_resolved() -> None:
    config = prepare(RunConfig(weights="random")).config
    assert (config.size, config.images, config.device, config.normalize) == (28, 10_000, "cpu", "0.1307/0.3081")
    assert config.layers == ("conv1", "conv2", "fc1", "fc2")
    assert all(isinstance(value, int) for value in (config.batch, config.chunk, config.threads))
    assert config.chunk == 500


def test_resolving_again_changes_nothing() -> None:
    once = prepare(RunConfig(model="alexnet", weights="random", size=64, images=20))
    twice = prepare(once.config)
    assert twice.config == once.config
    assert twice.layers == once.layers
    assert twice.card == once.card


def test_what_a_run_is_made_of_is_free_as_soon_as_nobody_holds_it() -> None:
    """Not when garbage is collected: its weights lie on a GPU, where the next run may need their place."""
    gc.disable()
    try:
        prepared = prepare(RunConfig(weights="random", batch=4, device="cpu"))
        maker = make_chunk_maker(prepared.config, prepared, prepared.config.device)
        maker.make(np.arange(8), lambda _chunk: None, lambda _before, _after: None)
        held = [weakref.ref(each) for each in (maker.step, prepared.classifier, *prepared.classifier.modules())]
        maker.leave()
        del maker, prepared
        assert not any(each() is not None for each in held)
    finally:
        gc.enable()


def test_heavy_models_get_smaller_chunks_on_a_cpu() -> None:
    vgg11 = prepare(RunConfig(model="vgg11", weights="random", layers="conv1")).config
    assert isinstance(vgg11.chunk, int)
    assert 50 <= vgg11.chunk < 100


def test_threads_of_a_small_network_known_to_us_get_batches_of_their_own() -> None:
    def divided(**options: Any) -> tuple[int, int, int]:
        config = prepare(RunConfig(**{"weights": "random", "threads": 2, **options})).config
        return config.batch, config.chunk, config.abreast

    assert divided() == (500, 500, 2)
    assert divided(threads=1) == (256, 500, 1)
    assert divided(threads=16) == (250, 500, 4)
    assert divided(threads=16, images=500) == (126, 500, 4)  # Even, as pairs of images want it.
    assert divided(chunk=5000) == (512, 5000, 2)
    assert divided(batch=300) == (300, 500, 2)
    assert divided(chunk=100) == (100, 100, 2)
    assert divided(chunk=100, threads=16) == (50, 100, 4)
    assert divided(batch=2000, chunk=2000, images=2000) == (2000, 2000, 1)
    assert divided(compile=True)[2] == 1
    assert divided(model="alexnet", size=63)[2] == 1
    factory = "psi_core.engine.models.sources:LeNet5"
    assert divided(model=factory, weights="built", size=28)[2] == 1


def test_random_weights_come_from_the_seed() -> None:
    cards = [prepare(RunConfig(weights="random", seed=seed)).card["sha256"] for seed in (1, 1, 2)]
    assert cards[0] == cards[1] != cards[2]


def test_a_weights_file_is_taken_and_its_path_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = ARCHITECTURES["lenet5"].build(10)
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    prepared = prepare(RunConfig(weights="mine.safetensors"))
    assert prepared.config.weights == str(tmp_path / "mine.safetensors")
    for name, tensor in prepared.classifier.network.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])


@pytest.mark.parametrize("labels", ["true", "predicted"])
def test_a_thousand_way_head_needs_predicted_labels(tmp_path: Path, labels: str) -> None:
    path = tmp_path / "wide.safetensors"
    save_file(ARCHITECTURES["lenet5"].build(1000).state_dict(), path)
    config = small_config(weights=str(path), labels=labels, images=10)
    if labels == "true":
        with pytest.raises(ConfigError, match=r"lenet5 has 1000 classes and mnist 10 .*add --labels predicted"):
            prepare(config)
    else:
        run = analyze(config, tmp_path / "runs")
        assert (run.labels == run.predictions[0]).all()
        assert run.class_sums("fc1")[1].sum() == 10


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"images": 10_001}, DataError),
        ({"layers": "conv7"}, ModelError),
        ({"device": "cuda:77"}, ConfigError),
        ({"normalize": "0.1,0.2,0.3/1,1,1"}, ModelError),
    ],
    ids=str,
)
def test_what_cannot_stand_is_refused(options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        prepare(small_config(**options))


def test_a_plan_knows_the_time_only_from_an_earlier_run(tmp_path: Path) -> None:
    prepared = prepare(small_config())
    plan = plan_of(prepared, tmp_path)
    assert plan["seconds"] is None
    assert (plan["images"], plan["chunks"], plan["fit_needed"]) == (90, 7, False)
    run = analyze(small_config(), tmp_path)
    seconds = plan_of(prepared, tmp_path)["seconds"]
    assert 0 < seconds < 600
    assert plan_of(prepare(small_config(devices=2)), tmp_path)["seconds"] == seconds, "workers share a CPU"
    size = sum(path.stat().st_size for path in Run(run.directory).directory.rglob("*") if path.is_file())
    assert size < plan["disk_bytes"] < size + 2_000_000


@pytest.mark.parametrize(
    ("options", "has_bf16", "is_offered"),
    [
        ({"size": 64}, True, True),
        ({"size": 64}, False, False),
        ({"size": 64, "precision": "bf16"}, True, False),
        ({"model": "lenet5"}, True, False),
        ({"size": 64, "weights": "fitted"}, True, False),
    ],
)
def test_a_plan_offers_bf16_where_it_pays_and_says_what_it_costs(options, has_bf16, is_offered, monkeypatch):
    monkeypatch.setattr(answers, "has_fast_bf16", lambda _device: has_bf16)
    monkeypatch.setattr(answers, "_BF16_PAYS", 10_000_000)  # As a larger image would have.
    monkeypatch.setattr(answers, "find_checkpoint", lambda _recipe: None)
    found = answers.faster_at(prepare(small_config(**{"model": "alexnet", "device": "cpu", **options})))
    assert bool(found) == is_offered
    if is_offered:
        share = float(re.search(r"turns ([0-9.]+) % of the gradient's signs", found)[1])
        assert 0 < share < 30


def test_bf16_is_one_precision_for_all_conditions(tmp_path: Path) -> None:
    run = analyze(small_config(precision="bf16", epsilon=[0]), tmp_path)
    assert (run.predictions[0] == run.predictions[1]).all()
    assert (run.psi[0] == run.psi[1]).all()
    events = (run.directory / "events-0.jsonl").read_text()
    assert '"sign_agreement"' in events


def test_fitted_weights_keep_the_normalization_they_were_made_with() -> None:
    assert prepare(RunConfig(normalize="0.1307/0.3081")).config.normalize == "0.1307/0.3081"
    with pytest.raises(ConfigError, match=r"normalize: .*made with 0\.1307/0\.3081, not none"):
        prepare(RunConfig(normalize="none"))


def test_a_layer_that_is_called_as_a_keyword_is_taken_alone_again_on_resume() -> None:
    config = RunConfig(model="torchvision:resnet18", weights="random", size=32, images=10, layers="relu*")
    prepared = prepare(config)
    assert [layer.name for layer in prepared.layers] == ["relu"]
    again = prepare(prepared.config)
    assert again.layers == prepared.layers
    assert again.config == prepared.config


@pytest.mark.parametrize("wrong", [None, {"model": "lenet5"}, "spec.toml"])
def test_analyze_takes_a_configuration_alone(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"config: .* is no RunConfig; give RunConfig\(...\)"):
        analyze(wrong)
