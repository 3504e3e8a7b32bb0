"""`run --preset`: what the engine is asked, and the study's likeliest set-up from start to export."""

import csv
import json
import time

import numpy as np
import pytest

from psi_core.presets import PRESETS
from psi_core.runs.chunks import chunk_path, read_arrays
from psi_core.runs.finding import load_run
from tests.engine.imagenet_file import write_imagenet_file
from tests.tui.commands.test_commands import psi_tui
from tests.tui.commands.test_engine_commands import ECHO

SMALL = ("--size", "64", "--images", "40", "--chunk", "20", "--batch", "10", "--device", "cpu", "--threads", "1")


@pytest.fixture
def question(engine, tmp_path):
    """What the engine was asked by the last command: but for the id."""
    engine(ECHO.format(path=str(tmp_path / "question.json")))
    return lambda: json.loads((tmp_path / "question.json").read_text())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("option", "asked"), [("--plan", "plan"), ("--detach", "start")])
def test_the_engine_gets_the_presets_values(psi, question, preset, option, asked):
    psi("run", "--preset", preset, option)
    assert question()["do"] == asked
    assert question()["config"] == json.loads(json.dumps(dict(PRESETS[preset].values)))


def test_typed_beats_file_beats_preset(psi, question, tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text('epsilon = [0.1]\nlabels = "true"\nseed = 3\n')
    psi("run", spec, "--preset", "study-imagenet", "--labels", "predicted", "--seed", 0, "--plan")
    values = question()["config"]
    assert (values["weights"], values["epsilon"], values["labels"], values["seed"]) == (
        "imagenet",
        [0.1],
        "predicted",
        0,
    )


def test_help_names_every_preset_and_says_what_it_is(psi):
    words = " ".join(psi("run", "--help").out.split())
    for name, preset in PRESETS.items():
        assert f"{name}: {preset.description}" in words


def test_the_studys_likeliest_set_up_from_start_to_export(psi, own_folders, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    write_imagenet_file(tmp_path / "torch")
    done = psi_tui("run", "--preset", "study-imagenet", "--name", "study", *SMALL)
    assert done.returncode == 0, done.stderr
    run = load_run("study")
    assert (run.config.weights, run.config.labels, run.images) == ("imagenet", "predicted", 40)
    assert run.layers == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2"]
    assert (run.labels == run.predictions[0]).all()

    whole = read_arrays(chunk_path(run.directory, 1))
    chunk_path(run.directory, 1).unlink()
    assert psi_tui("resume", "study").returncode == 0
    again = read_arrays(chunk_path(run.directory, 1))
    assert all(np.array_equal(array, again[name], equal_nan=True) for name, array in whole.items())

    assert "accuracy" not in psi("show", "study").out.replace("no accuracy", "")
    study = json.loads(psi("show", "study", "--table", "study", "--json").out)
    assert [row["published"] for row in study[:2]] == [39.4, 68.2]
    assert all(row["height_percent"] is not None and row["accuracy_percent"] is None for row in study)
    assert psi("export", "study", "--to", tmp_path / "out").code == 0
    with (tmp_path / "out" / "classes.csv").open() as file:
        classes = list(csv.DictReader(file))
    names = run.model["class_names"]
    assert {row["class_name"] for row in classes} == {names[label] for label in run.labels}
    assert {row["accuracy_percent"] for row in classes} == {""}
    with (tmp_path / "out" / "conditions.csv").open() as file:
        benign, attacked, *_ = csv.DictReader(file)
    assert (benign["success_percent"], benign["accuracy_percent"], attacked["accuracy_percent"]) == ("", "", "")
    fooled = 100 * (run.predictions[1] != run.labels).mean()
    assert float(attacked["success_percent"]) == pytest.approx(fooled)


def test_without_weights_and_network_it_says_where_the_file_belongs(own_folders, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    began = time.monotonic()
    done = psi_tui("run", "--preset", "study-imagenet", *SMALL)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth") in done.stderr
    assert "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth" in done.stderr
    assert time.monotonic() - began < 60
    assert not own_folders.exists() or not list(own_folders.iterdir())
