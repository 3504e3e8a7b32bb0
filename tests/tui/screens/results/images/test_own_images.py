"""Your own images and attacked images, through the command and the real engine."""

import csv
import json
from functools import partial

import numpy as np
import pytest

from psi_core.files import PACKAGE_DATA
from psi_core.runs.finding import load_run
from tests.engine.picture_files import digit_folder
from tests.tui.commands.test_commands import psi_tui

WEIGHTS = ("--weights", PACKAGE_DATA / "lenet5.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a folder of 60 digits lies, one of them spoiled, and the runs over it."""
    folder = tmp_path_factory.mktemp("own")
    digit_folder(folder / "digits", 60)
    (folder / "digits" / "7" / "00000.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def call(folder):
    """Calls `psi-tui` with the runs there."""
    return partial(psi_tui, PSI_RUNS_DIR=str(folder / "runs"), XDG_CACHE_HOME=str(folder / "cache"))


@pytest.fixture(scope="module")
def measured(folder, call):
    """A run over the digits, called `mine`, and what the command said."""
    outcome = call("run", *digits(folder), "--name", "mine", *WEIGHTS)
    assert outcome.returncode == 0, outcome.stderr
    return outcome


@pytest.fixture(scope="module")
def exported(folder, call, measured):
    """Its images, and what the command said."""
    outcome = call("export", "mine", "--to", folder / "out", "--images")
    assert outcome.returncode == 0, outcome.stderr
    return outcome


def digits(folder):
    return "--data", f"folder:{folder / 'digits'}", "--skip-unreadable"


def test_a_folder_goes_in_and_images_come_out(folder, measured, exported):
    assert "59 of 60 images" in measured.stdout
    assert "left out 1 of 60 images" in measured.stderr
    assert "7/00000.png" in measured.stderr
    assert "fgsm@0.03: 8-bit pictures do not hold this attack" in exported.stderr
    assert f"{folder / 'out' / 'images-fgsm@0.03.npz'}" in exported.stdout.splitlines()
    assert len(list((folder / "out" / "png" / "fgsm@0.03").rglob("*.png"))) == 59


def test_images_go_in_again_and_their_tables_have_no_epsilon(folder, call, exported):
    external = f"npz:{folder / 'out' / 'images-fgsm@0.03.npz'}"
    outcome = call("run", *digits(folder), "--attacked", external, "--name", "both", *WEIGHTS)
    assert outcome.returncode == 0, outcome.stderr
    first, both = load_run("mine", folder / "runs"), load_run("both", folder / "runs")
    attacked = both.conditions.index("attacked")
    for name in ("psi", "prediction", "linf"):
        assert (first.array(name)[0] == both.array(name)[0]).all(), name
        assert (first.array(name)[1] == both.array(name)[attacked]).all(), name

    assert call("export", "both", "--to", folder / "both", "--tables", "conditions,layers").returncode == 0
    with (folder / "both" / "conditions.csv").open() as file:
        rows = {row["condition"]: row for row in csv.DictReader(file)}
    assert rows["attacked"]["epsilon"] == ""
    assert rows["attacked"]["linf_mean"] == rows["fgsm@0.03"]["linf_mean"]
    shown = json.loads(call("show", "both", "--table", "conditions", "--json").stdout)
    assert [row["epsilon"] for row in shown if row["condition"] == "attacked"] == [None]


def test_pictures_go_in_again_with_whole_gray_levels(folder, call, exported):
    pictures = f"folder:{folder / 'out' / 'png' / 'fgsm@0.03'}"
    options = ("--attack", "none", "--controls", "none", "--attacked", pictures, "--name", "rounded", *WEIGHTS)
    rounded = call("run", *digits(folder), *options)
    assert rounded.returncode == 0, rounded.stderr
    run = load_run("rounded", folder / "runs")
    assert run.conditions == ["benign", "attacked"]
    assert abs(run.array("linf")[1] - 8 / 255).max() < 1e-6


def test_an_unpaired_image_is_named_before_any_work(folder, call, measured):
    runs = sorted((folder / "runs").iterdir())
    np.savez(folder / "few.npz", images=np.zeros((10, 28, 28), np.float32), index=np.arange(10))
    refused = call("run", *digits(folder)[:2], "--attacked", f"npz:{folder / 'few.npz'}", *WEIGHTS)
    assert refused.returncode == 2
    assert "holds 10 images and none for" in refused.stderr
    assert sorted((folder / "runs").iterdir()) == runs


def test_image_formats_are_checked(psi, own_folders):
    refused = psi("export", "example-alexnet", "--to", own_folders, "--image-formats", "jpg")
    assert refused.code == 2
    assert "image-formats" in refused.err
    assert "png" in refused.err
