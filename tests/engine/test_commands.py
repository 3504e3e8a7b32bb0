"""The engine as a child process: what it refuses, and that a refusal leaves nothing behind."""

import io
import json
from pathlib import Path

import pytest

from psi_core.engine.commands import run_command
from psi_core.runs.run import Run
from tests.engine.processes import engine, events

SMALL = {"weights": "random", "images": 12, "chunk": 6, "batch": 4, "threads": 1}


def test_start_prints_the_path_and_works_on(tmp_path: Path) -> None:
    answer = engine("start", "--runs-dir", str(tmp_path), given={**SMALL, "devices": 2})
    assert answer.returncode == 0
    run = Run(Path(json.loads(answer.stdout)["run"]))
    assert run.status == "done"
    assert {event["event"] for event in events(run.directory, 1)} >= {"started", "phase", "finished"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "lenet"}, "'lenet5'"),
        ({"layers": "conv9"}, "did you mean 'conv"),
        ({"images": 10_001}, "10000"),
        ({"model": "alexnet", "size": 62}, "63"),
        ({"model": "vgg11", "size": 31}, "32"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"layers": "classifier.4"}, "--rectify"),
        ({"model": "torchvision:vit_b_16", "weights": "random"}, "--rectify"),
        ({"epsilon": [0.03, -1]}, "-1"),
        ({"model": "lenet5", "weights": "imagenet"}, "no ImageNet weights"),
    ],
    ids=str,
)
def test_bad_input_is_refused_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: dict[str, object],
    said: str,
) -> None:
    folder = tmp_path / "runs"
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({**SMALL, **given})))
    assert run_command(["start", "--runs-dir", str(folder)]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert said in error
    assert "\n" not in error
    assert not folder.exists()


def test_an_unwritable_runs_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(SMALL)))
    assert run_command(["start", "--runs-dir", str(tmp_path / "file" / "runs")]) == 2
    assert "--runs-dir" in json.loads(capsys.readouterr().out)["error"]
