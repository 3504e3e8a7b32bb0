"""A run goes on with the pictures and the code that it was begun with alone, and with logits that are numbers."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from psi_core.engine import analyze
from psi_core.engine.work.worker import Worker
from psi_core.errors import ModelError, PsiError, RunError
from psi_core.runs.chunks import chunk_path
from psi_core.runs.loading import LOGITS
from psi_core.runs.run import Run
from psi_core.runs.seals import read_seal
from psi_core.tables.export import export_run
from tests.engine.processes import engine, small_config

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 9, 9), nn.Linear(36, 10)

    def forward(self, images):
        return FORWARD(self.last(nn.functional.relu(self.first(images)).flatten(1)))

def build():
    torch.manual_seed(3)
    return Net()
"""


def network(folder: Path, forward: str = "") -> Path:
    path = folder / "net.py"
    path.write_text(NETWORK.replace("FORWARD", forward))
    return path


def pictures(folder: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    for number in range(20):
        path = folder / str(number % 10) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (28, 28), np.uint8)).save(path)


def test_pictures_that_were_replaced_are_not_mixed_in(tmp_path):
    pictures(tmp_path / "digits", 0)
    config = small_config(data=f"folder:{tmp_path / 'digits'}", images=20, chunk=10, weights="random")
    directory = analyze(config, tmp_path / "runs").directory
    whole = Run(directory).psi
    assert len(read_seal(chunk_path(directory, 0))["images"]) == 1
    chunk_path(directory, 1).unlink()
    pictures(tmp_path / "digits", 1)
    with pytest.raises(RunError, match="the pictures of chunk 0 are others than those it was made from"):
        Worker(directory).work()
    assert Run(directory).missing_chunks == [1]
    pictures(tmp_path / "digits", 0)
    Worker(directory).work()
    np.testing.assert_array_equal(Run(directory).psi, whole)


@pytest.fixture
def begun(tmp_path):
    """A run of somebody's network with one of its chunks missing."""
    config = small_config(model=f"{network(tmp_path)}:build", weights="built", images=20, chunk=10, size=28)
    directory = analyze(config, tmp_path / "runs").directory
    chunk_path(directory, 1).unlink()
    return directory


@pytest.mark.parametrize("forward", ["2 * ", "1 + ", "torch.sin"])
def test_code_that_was_edited_is_not_mixed_in(begun, tmp_path, forward):
    assert len(Run(begun).model[LOGITS]["logits"]) == 4
    network(tmp_path, forward)
    with pytest.raises(RunError, match="other logits than when the run began, with the same weights"):
        Worker(begun).work()
    assert Run(begun).missing_chunks == [1]
    network(tmp_path, "1 * ")
    Worker(begun).work()
    assert Run(begun).status == "done"


@pytest.mark.parametrize("logits", [[], [["x"]], [[1.0], [2.0, 3.0]], [[0.0] * 10] * 4])
def test_other_logits_in_the_card_are_others(begun, logits):
    path = begun / "model.json"
    model = json.loads(path.read_text())
    path.write_text(json.dumps({**model, LOGITS: {**model[LOGITS], "logits": logits}}))
    with pytest.raises(RunError, match="other logits"):
        Worker(begun).work()


def test_a_run_whose_card_holds_no_logits_goes_on(begun):
    path = begun / "model.json"
    model = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in model.items() if key != LOGITS}))
    Worker(begun).work()
    assert Run(begun).status == "done"


@pytest.mark.parametrize(
    ("forward", "error", "sentence"),
    [
        ("float('nan') * ", ModelError, "logits are NaN"),
        ("torch.log", PsiError, "NaN"),
        ("1j * ", ModelError, "complex"),
        ("torch.complex(*2 * [torch.ones(())]) * ", ModelError, "complex"),
    ],
)
def test_logits_that_are_no_numbers_are_refused(tmp_path, forward, error, sentence):
    config = small_config(model=f"{network(tmp_path, forward)}:build", weights="built", images=10, chunk=10, size=28)
    with pytest.raises(error, match=sentence):
        analyze(config, tmp_path / "runs")


def test_logits_that_are_nan_for_one_image_alone_are_refused(tmp_path):
    odd = "torch.where((images.mean((1, 2, 3)) > images.mean()).view(-1, 1), z, z * float('nan'))"
    model = f"{network(tmp_path, f'(lambda z: {odd} if len(z) == 7 else z)')}:build"
    few = {"images": 21, "chunk": 21, "batch": 7, "attack": "none", "controls": "none"}
    with pytest.raises(RunError, match=r"image \d+ under benign makes it give NaN logits"):
        analyze(small_config(model=model, weights="built", size=28, **few), tmp_path / "runs")


def test_a_network_that_draws_lots_is_not_compared(tmp_path):
    forward = "(lambda z: z + torch.rand(()))"
    config = small_config(model=f"{network(tmp_path, forward)}:build", weights="built", images=20, chunk=10, size=28)
    directory = analyze(config, tmp_path / "runs").directory
    assert LOGITS not in Run(directory).model
    chunk_path(directory, 1).unlink()
    Worker(directory).work()
    assert Run(directory).status == "done"


def test_names_that_are_no_utf_8_are_measured_like_others(tmp_path):
    pictures(tmp_path / "digits", 0)
    for path in sorted((tmp_path / "digits").iterdir()):
        path.rename(os.fsdecode(os.fsencode(path) + b"\xff"))
    (picture,) = (tmp_path / "digits" / os.fsdecode(b"3\xff")).glob("3.png")
    picture.rename(picture.with_name(os.fsdecode(b"\xfe.png")))
    config = small_config(data=f"folder:{tmp_path / 'digits'}", images=20, chunk=10, weights="random")
    run = analyze(config, tmp_path / "runs")
    assert run.status == "done"
    assert run.model["class_names"][3] == "3\ufffd"
    assert export_run(run, tmp_path / "out")
    assert engine("rows", run=str(run.directory), table="classes").returncode == 0
