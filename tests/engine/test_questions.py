"""What the assistant asks the engine, through a real assistant: the answers of the commands, and nothing in between."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from psi_core import Run
from psi_core.engine import analyze
from psi_core.engine.answers import engine_answers, model_layer_rows, model_rows
from psi_core.engine.commands import run_command
from psi_core.files import cache_directory, plain
from psi_core.serve import ENGINE_QUESTIONS
from tests.core.assisted import Assisted
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
def assisted():
    with Assisted() as process:
        yield process


def test_every_question_has_an_answer() -> None:
    assert set(engine_answers()) == set(ENGINE_QUESTIONS)


def test_models(assisted: Assisted) -> None:
    rows = assisted.ask("models")["answer"]
    assert rows == plain(model_rows())
    assert assisted.ask("models", pattern="lenet5")["answer"] == rows[:1]
    assert assisted.ask("models", pattern="nonsense")["kind"] == "ModelError"


def test_layers(assisted: Assisted) -> None:
    assert assisted.ask("layers", model="lenet5")["answer"] == plain(model_layer_rows({"model": "lenet5"}))
    every = assisted.ask("layers", model="lenet5", size=28, layers=["all"], unit="channel", rectify="abs")["answer"]
    options = {"model": "lenet5", "size": 28, "layers": ["all"], "unit": "channel", "rectify": "abs"}
    assert every == plain(model_layer_rows(options))
    assert assisted.ask("layers", model="lenet")["kind"] == "ConfigError"
    assert "color" in assisted.ask("layers", model="lenet5", color=1)["error"]


def test_a_plan_is_that_of_the_command(
    assisted: Assisted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"model": "lenet5", "images": 120, "epsilon": [0.1]}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(config)))
    assert run_command(["plan", "--runs-dir", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert assisted.ask("plan", config=config, runs_dir=str(tmp_path)) == {"answer": told}
    assert assisted.ask("plan", config={"epsilon": [3]}, runs_dir=str(tmp_path))["kind"] == "ConfigError"
    assert assisted.ask("plan", config={}, runs_dir="/proc/nowhere")["kind"] == "ConfigError"


def test_what_a_model_prints_reads_or_leaves_by_disturbs_nobody(assisted: Assisted, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    rows = assisted.ask("layers", model=f"{tmp_path / 'loud.py'}:build", size=8)["answer"]
    assert [row["units"] for row in rows] == [12]
    for function, kind, said in (("leave", "EngineError", "SystemExit: 3"), ("fail", "ModelError", "no such luck")):
        reply = assisted.ask("layers", model=f"{tmp_path / 'loud.py'}:{function}", size=8)
        assert (reply["kind"], said in reply["error"]) == (kind, True)
    assert "answer" in assisted.ask("layers", model="lenet5")


@pytest.fixture
def caching():
    """One that knows this test's cache."""
    with Assisted() as process:
        yield process


def test_a_picture_is_made_once_and_then_told_without_torch(caching: Assisted, tmp_path: Path) -> None:
    directory = analyze(small_config(), tmp_path).directory
    question = {"run": str(directory), "index": 80, "condition": "fgsm@0.1", "width": 20, "height": 14}
    answer = caching.ask("picture", **question)["answer"]
    run = Run(directory)
    at = run.conditions.index("fgsm@0.1")
    assert np.shape(answer["benign"]) == np.shape(answer["attacked"]) == np.shape(answer["difference"]) == (14, 14)
    assert answer["recorded"]["prediction"] == answer["prediction"] == run.predictions[at, 80]
    assert answer["recorded"]["label"] == run.labels[80]
    assert answer["recorded"]["l2"] == pytest.approx(answer["l2"], rel=1e-5)
    assert len(list((cache_directory() / "pictures" / run.id).iterdir())) == 1
    with Assisted() as light:
        assert light.ask("picture", **question) == {"answer": answer}
        assert not light.has_torch


def test_an_incomplete_picture_is_not_kept(caching: Assisted, tmp_path: Path) -> None:
    question = {"run": str(new_run(tmp_path)), "index": 0, "condition": "fgsm@0.1", "width": 9, "height": 9}
    answer = caching.ask("picture", **question)["answer"]
    assert "none yet" in answer["reason"]
    assert answer["attacked"] is None
    assert not (cache_directory() / "pictures").exists()
