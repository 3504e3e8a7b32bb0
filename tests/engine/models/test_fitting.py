"""Fitting: learns, goes on where it was, is done once for all who wait, notices when it does not learn."""

import io
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from psi_core.devices import CPU
from psi_core.engine.commands import fit
from psi_core.engine.models import fitting
from psi_core.engine.models.checkpoints import Recipe, default_epochs, find_checkpoint
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.fitting import Fit, FitInterruptedError, ensure_fitted
from psi_core.engine.models.sources import build_classifier, model_source
from psi_core.errors import ModelError, PsiError
from psi_core.files import checkpoints_directory, file_sha256
from psi_core.runs.events import FitAdvanced, Warned
from psi_core.serve import Reply
from tests.engine.processes import wait_until
from tests.engine.warm import WarmProcess, start_warm

RECIPE = Recipe("lenet5", "mnist", 28, images=3000, epochs=3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def silent(_event: FitAdvanced | Warned) -> None:
    """Takes events and says nothing."""


def never() -> bool:
    """Never stops."""
    return False


def test_a_fit_learns_and_leaves_a_card() -> None:
    seen: list[FitAdvanced | Warned] = []
    state = torch.get_rng_state()
    checkpoint = ensure_fitted(RECIPE, CPU, seen.append, never)
    assert torch.equal(torch.get_rng_state(), state)
    assert checkpoint.card["test_accuracy"] > 0.85
    assert checkpoint.card["recipe"]["images"] == 3000
    assert checkpoint.card["sha256"] == file_sha256(checkpoint.path)
    phases = [event.phase for event in seen if isinstance(event, FitAdvanced)]
    assert set(phases) == {"fit", "test"}
    assert isinstance(seen[-1], FitAdvanced)
    assert seen[-1].done == seen[-1].total == 10_000
    again: list[FitAdvanced | Warned] = []
    assert ensure_fitted(RECIPE, CPU, again.append, never).path == checkpoint.path
    assert not again
    assert not list(checkpoints_directory().glob("*.partial*"))


def test_an_interrupted_fit_goes_on_to_the_same_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = replace(RECIPE, images=640, epochs=2)
    whole = load_file(ensure_fitted(recipe, CPU, silent, never).path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    for stop_after in (3, 7):
        asked = iter(range(1000))
        with pytest.raises(FitInterruptedError):
            ensure_fitted(recipe, CPU, silent, lambda asked=asked, limit=stop_after: next(asked) >= limit)
        assert find_checkpoint(recipe) is None
    parts = load_file(ensure_fitted(recipe, CPU, silent, never).path)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("fitting_images", [1, 100])
def test_images_too_many_to_be_tested_at_once_are_tested_in_fewer(
    fitting_images: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, images=64, epochs=1)
    usual, split_of = Fit._batch, fitting.load_dataset

    def few(data: str, split: str, resize: int | None) -> Any:
        whole = split_of(data, split, resize)
        return whole if split == "train" else replace(whole, images=whole.images[:257], labels=whole.labels[:257])

    def full(fit: Fit, dataset: Any, positions: Any) -> Any:
        if len(dataset) == 257 and len(positions) > fitting_images:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return usual(fit, dataset, positions)

    monkeypatch.setattr(fitting, "load_dataset", few)
    whole = ensure_fitted(recipe, CPU, silent, never)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(Fit, "_batch", full)
    seen: list[FitAdvanced | Warned] = []
    again = ensure_fitted(recipe, CPU, seen.append, never)
    assert seen[-1].done == seen[-1].total == 257
    assert again.card["test_accuracy"] == whole.card["test_accuracy"]


def test_a_fit_for_which_memory_runs_out_is_kept_and_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = replace(RECIPE, images=640, epochs=1)
    whole = load_file(ensure_fitted(recipe, CPU, silent, never).path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    usual = Fit._batch

    def full(fit: Fit, dataset: Any, positions: Any) -> Any:
        if fit.step == 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return usual(fit, dataset, positions)

    with monkeypatch.context() as patch:
        patch.setattr(Fit, "_batch", full)
        said = r"fit: memory ran out on cpu \(CUDA out of memory.*\); .* goes on from the last partial file"
        with pytest.raises(ModelError, match=said):
            ensure_fitted(recipe, CPU, silent, never)
    told: list[FitAdvanced | Warned] = []
    parts = load_file(ensure_fitted(recipe, CPU, told.append, never).path)
    assert told[0] == Warned("going on with the fit at step 5 of 10", time=told[0].time)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("place", ["forward", "optimizer"])
def test_half_a_step_is_not_kept(place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file with half of the optimizer's numbers would be taken up again and end every later fit."""
    recipe = replace(RECIPE, images=640, epochs=1)
    whole = load_file(ensure_fitted(recipe, CPU, silent, never).path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))

    def full(*_given: object, **_named: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def half(optimizer: torch.optim.AdamW, *_given: object) -> None:
        first = optimizer.param_groups[0]["params"][0]
        optimizer.state[first] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(first)}
        full()

    with monkeypatch.context() as patch:
        if place == "forward":
            patch.setattr(Classifier, "forward", full)
        else:
            patch.setattr(torch.optim.AdamW, "step", half)
        with pytest.raises(ModelError, match="memory ran out"):
            ensure_fitted(recipe, CPU, silent, never)
    assert not list(checkpoints_directory().glob("*.partial*"))
    parts = load_file(ensure_fitted(recipe, CPU, silent, never).path)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_notebooks_settings_do_not_reach_a_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = replace(RECIPE, images=128, epochs=1)
    whole = load_file(ensure_fitted(recipe, CPU, silent, never).path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", torch.float16):
            parts = load_file(ensure_fitted(recipe, CPU, silent, never).path)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_fit_that_does_not_learn_lowers_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fitting._RATES, "lenet5", 100.0)
    told: list[FitAdvanced | Warned] = []
    wrong = Fit(replace(RECIPE, epochs=4), CPU, told.append, never)
    with pytest.raises(ModelError, match="does not learn"):
        wrong.run()
    assert sum("starting over" in event.text for event in told if isinstance(event, Warned)) == 3


def start_fit(replies: Path, **recipe: object) -> WarmProcess:
    """A child that fits LeNet-5, and what it says in a file."""
    question = replies.with_name(f"question of {replies.name}")
    question.write_text(json.dumps({"id": 1, "do": "fit", "model": "lenet5", **recipe}))
    with question.open() as asked, replies.open("w") as told:
        return start_warm(["answer"], streams=(asked, told, sys.__stderr__))


def test_processes_that_ask_at_once_wait_for_one_fit(tmp_path: Path) -> None:
    replies = [tmp_path / name for name in ("one", "other")]
    both = [start_fit(path, images=300, epochs=1) for path in replies]
    assert [process.wait(120) for process in both] == [0, 0]
    assert sum('"phase": "fit"' in path.read_text() for path in replies) == 1
    assert len(list(checkpoints_directory().glob("*.safetensors"))) == 1


def test_an_interrupted_fit_process_leaves_a_partial_file(tmp_path: Path) -> None:
    process = start_fit(tmp_path / "replies", images=60_000, epochs=9)
    wait_until(lambda: '"phase": "fit"' in (tmp_path / "replies").read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    wait_until(lambda: len(list(checkpoints_directory().glob("*.partial.pt"))) == 1)


def test_the_shipped_lenet5_is_the_default_recipe() -> None:
    images = 60_000
    checkpoint = find_checkpoint(Recipe("lenet5", "mnist", 28, images, default_epochs(images)))
    assert checkpoint is not None
    assert checkpoint.card["sha256"] == file_sha256(checkpoint.path)
    assert checkpoint.card["test_accuracy"] > 0.99
    network = build_classifier(model_source("lenet5"), 10, "none").network
    network.load_state_dict(load_file(checkpoint.path))
    assert find_checkpoint(Recipe("lenet5", "mnist", 28, 100, 1)) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "lenet5", "images": 60_001}, "60000"),
        ({"model": "lenet5", "epochs": 0}, "epochs"),
        ({"model": "lenet5", "from": "imagnet"}, "imagenet"),
        ({"model": "lenet5", "imges": 3}, "images"),
        ({"model": "alexnet", "size": 60}, "63"),
    ],
    ids=str,
)
def test_bad_recipes_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(PsiError, match=said):
        fit(Reply(io.StringIO()), **given)
