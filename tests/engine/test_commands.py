"""The engine as a child process: what it refuses, and that a refusal leaves nothing behind."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from psi_core.engine.commands import start
from psi_core.errors import PsiError
from psi_core.runs.event_log import log_path
from psi_core.runs.run import Run
from psi_core.serve import Reply
from tests.engine.processes import engine, events

SMALL = {"weights": "random", "images": 12, "chunk": 6, "batch": 4, "threads": 1}


def test_start_answers_with_the_path_and_works_on(tmp_path: Path) -> None:
    told = engine("start", is_cold=True, config={**SMALL, "devices": 2}, runs_dir=str(tmp_path))
    assert told.returncode == 0
    run = Run(Path(json.loads(told.stdout)["answer"]["run"]))
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
        ({"model": "torchvision:efficientnet_b0", "weights": "random"}, "--rectify"),
        ({"epsilon": [0.03, -1]}, "-1"),
        ({"model": "lenet5", "weights": "imagenet"}, "no ImageNet weights"),
    ],
    ids=str,
)
def test_bad_input_is_refused_and_leaves_nothing(tmp_path: Path, given: dict[str, object], said: str) -> None:
    folder = tmp_path / "runs"
    with pytest.raises(PsiError) as refusal:
        start({**SMALL, **given}, Reply(io.StringIO()), str(folder))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not folder.exists()


NETWORK = """
from torch import nn


def net():
    return nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(2304, 10))
"""

DISTURBING = """
import sys, threading, time, warnings

warnings.simplefilter("error")
threading.Thread(target=lambda: time.sleep(600)).start()
sys.stdout.close()
"""


def test_a_model_whose_file_disturbs_its_process_is_measured_and_the_process_ends(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(DISTURBING + NETWORK)
    config = {**SMALL, "model": f"{tmp_path / 'mine.py'}:net", "weights": "built", "size": 28}
    told = engine("start", is_cold=True, config=config, runs_dir=str(tmp_path / "runs"))
    run = Run(Path(json.loads(told.stdout)["answer"]["run"]))
    assert (told.returncode, run.status) == (0, "done")
    assert "Traceback" not in told.stderr + log_path(run.directory, 0).read_text()


def test_a_signal_to_a_process_that_ends_anyway_shows_no_error(tmp_path: Path) -> None:
    ending = "import atexit, os, signal\natexit.register(os.kill, os.getpid(), signal.SIGTERM)\n"
    (tmp_path / "mine.py").write_text(ending + NETWORK)
    told = engine("layers", is_cold=True, model=f"{tmp_path / 'mine.py'}:net", size=28)
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout)["answer"]


def test_a_refusal_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    answer = engine("start", config={**SMALL, "model": "lenet"}, runs_dir=str(tmp_path / "runs"))
    assert answer.returncode == 2
    (line,) = map(json.loads, answer.stdout.splitlines())
    assert (line["id"], line["kind"]) == (1, "ConfigError")
    assert "'lenet5'" in line["error"]
    assert not (tmp_path / "runs").exists()


def test_an_unwritable_runs_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PsiError, match="--runs-dir"):
        start(SMALL, Reply(io.StringIO()), str(tmp_path / "file" / "runs"))


LOUD = """
import os, sys
from torch import nn

def shout(where):
    print(f"python {where}")
    os.write(1, f"system {where}\\n".encode())
    sys.stdout.flush()

shout("import" + os.environ.get("OMP_WAIT_POLICY", ""))

class Loud(nn.Module):
    def __init__(self):
        super().__init__()
        shout("factory")
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, 12), nn.ReLU(), nn.Linear(12, 10))

    def forward(self, images):
        shout("forward")
        assert not sys.stdin.read()
        return self.body(images)
"""


@pytest.mark.parametrize(
    ("do", "fields"),
    [
        ("start", {"config": {"weights": "built", "images": 4, "chunk": 4, "threads": 1, "devices": 2}}),
        ("queue", {"config": {"weights": "built", "images": 4, "chunk": 4, "threads": 1}}),
        ("plan", {"config": {"weights": "built", "images": 4}}),
        ("layers", {"size": 28}),
        ("fit", {"images": 64, "epochs": 1, "size": 28}),
        ("ablate", {"weights": "built", "layer": "body.2", "images": 4, "keep": 50, "by": "random", "size": 28}),
    ],
)
def test_what_a_model_prints_never_meets_the_protocol(tmp_path: Path, do: str, fields: dict[str, Any]) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    model = {"model": f"{tmp_path / 'loud.py'}:Loud"}
    if "config" in fields:
        fields = {"config": {**fields["config"], **model, "size": 28}, "runs_dir": str(tmp_path / "runs")}
    else:
        fields = {**fields, **model}
    told = engine(do, is_cold=do == "start", **fields)  # It tells a library something before torch loads it.
    assert told.returncode == 0, told.stderr
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert {line["id"] for line in lines} == {1}
    assert ["answer" in line for line in lines] == [False] * (len(lines) - 1) + [True]
    noise = told.stderr
    if do == "start":
        run = Run(Path(lines[-1]["answer"]["run"]))
        assert run.status == "done"
        noise += log_path(run.directory, 0).read_text()
        assert "python importPASSIVE" in noise, "OpenMP learns of the other worker before torch is loaded"
    for where in ("import", "factory", "forward"):
        assert f"python {where}" in noise
        assert f"system {where}" in noise
