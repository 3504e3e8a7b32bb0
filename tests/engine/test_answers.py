"""What the engine answers, through a real server: the same as here, and nothing in between."""

from importlib import import_module
from pathlib import Path

import pytest

from psi_core import Run
from psi_core.engine import analyze
from psi_core.engine.answers import layer_rows, model_rows, plan
from psi_core.files import cache_directory, plain
from psi_core.pictures import pixels_of
from psi_core.serve import ANSWERS, Answer
from tests.core.served import Served
from tests.engine.processes import new_run, small_config

LOUD = """
import sys
from torch import nn

def build():
    print("building ...")
    sys.stdin.read()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))

def leave():
    sys.exit(3)

def fail():
    raise LookupError("no such\\nluck")
"""


@pytest.fixture(scope="module")
def served():
    with Served() as process:
        yield process


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_every_row_names_a_function_that_is_there_and_says_truly_what_it_needs(answer: Answer) -> None:
    for place in (answer.function, answer.before_import):
        module, _, function = place.partition(":")
        assert not place or callable(getattr(import_module(module), function))
    assert (answer.needs == "files") is not answer.function.startswith("psi_core.engine")
    assert not answer.before_import.startswith("psi_core.engine")


def test_what_takes_a_process_of_its_own_is_not_served(served: Served) -> None:
    for answer in ANSWERS:
        if answer.needs == "process":
            assert "a process of its own" in served.ask(answer.name)["error"]


def test_models(served: Served) -> None:
    rows = served.ask("models")["answer"]
    assert rows == plain(model_rows())
    assert served.ask("models", pattern="lenet5")["answer"] == rows[:1]
    assert served.ask("models", pattern="nonsense")["kind"] == "ModelError"


def test_layers(served: Served) -> None:
    assert served.ask("layers", model="lenet5")["answer"] == plain(layer_rows("lenet5"))
    every = served.ask("layers", model="lenet5", size=28, layers=["all"], unit="channel", rectify="abs")["answer"]
    options = {"model": "lenet5", "size": 28, "layers": ["all"], "unit": "channel", "rectify": "abs"}
    assert every == plain(layer_rows(**options))
    assert served.ask("layers", model="lenet")["kind"] == "ConfigError"
    assert "color" in served.ask("layers", model="lenet5", color=1)["error"]


def test_a_plan_is_the_same_here_and_there(served: Served, tmp_path: Path) -> None:
    config = {"model": "lenet5", "images": 120, "epsilon": [0.1]}
    assert served.ask("plan", config=config, runs_dir=str(tmp_path)) == {"answer": plain(plan(config, str(tmp_path)))}
    assert served.ask("plan", config={"epsilon": [3]}, runs_dir=str(tmp_path))["kind"] == "ConfigError"
    assert served.ask("plan", config={}, runs_dir="/proc/nowhere")["kind"] == "ConfigError"


def test_what_a_model_prints_reads_or_leaves_by_disturbs_nobody(served: Served, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    rows = served.ask("layers", model=f"{tmp_path / 'loud.py'}:build", size=8)["answer"]
    assert [row["units"] for row in rows] == [12]
    for function, kind, said in (("leave", "ModelError", "SystemExit: 3"), ("fail", "ModelError", "no such luck")):
        reply = served.ask("layers", model=f"{tmp_path / 'loud.py'}:{function}", size=8)
        assert (reply["kind"], said in reply["error"]) == (kind, True)
    assert "answer" in served.ask("layers", model="lenet5")


@pytest.fixture
def caching():
    """One that knows this test's cache."""
    with Served() as process:
        yield process


def test_a_picture_is_made_once_and_then_told_without_torch(caching: Served, tmp_path: Path) -> None:
    directory = analyze(small_config(order="first"), tmp_path).directory
    question = {"run": str(directory), "index": 80, "condition": "fgsm@0.1", "width": 20, "height": 14}
    answer = caching.ask("picture", **question)["answer"]
    run = Run(directory)
    at = run.conditions.index("fgsm@0.1")
    for name in ("benign", "attacked", "difference"):
        assert pixels_of(answer[name]).shape == (14, 14)
    assert answer["recorded"]["prediction"] == answer["prediction"] == run.predictions[at, 80]
    assert answer["recorded"]["label"] == run.labels[80]
    assert answer["recorded"]["l2"] == pytest.approx(answer["l2"], rel=1e-5)
    assert len(list((cache_directory() / "pictures").glob("*/*"))) == 1
    with Served() as light:
        assert light.ask("picture", **question) == {"answer": answer}
        assert not light.has_torch


def test_an_incomplete_picture_is_not_kept(caching: Served, tmp_path: Path) -> None:
    question = {
        "run": str(new_run(tmp_path, order="first")),
        "index": 0,
        "condition": "fgsm@0.1",
        "width": 9,
        "height": 9,
    }
    answer = caching.ask("picture", **question)["answer"]
    assert "none yet" in answer["reason"]
    assert answer["attacked"] is None
    assert not (cache_directory() / "pictures").exists()


def test_layers_and_plan_say_which_activations_are_left_out(tmp_path: Path) -> None:
    said = "measured 14 of 33 activations: 19 Hardswish left out (--layers NAMES --rectify relu)"
    model = "torchvision:mobilenet_v3_small"
    assert {row["completeness"] for row in layer_rows(model, size=32)} == {said}
    config = {"model": model, "size": 32, "weights": "random", "images": 3, "labels": "predicted"}
    assert plan(config, str(tmp_path))["completeness"] == said
    every = {**config, "layers": ["relu", "*.2"], "rectify": "relu"}
    assert plan(every, str(tmp_path))["completeness"] != said
    assert "completeness" not in layer_rows("lenet5")[0]
    assert plan({"images": 3}, str(tmp_path))["completeness"] == ""
