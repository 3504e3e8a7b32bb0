"""Your own images and attacked images, through the command and the real engine."""

import csv
import json

import numpy as np
import pytest

from psi_core.files import PACKAGE_DATA
from psi_core.runs.finding import load_run
from tests.engine.picture_files import digit_folder
from tests.tui.commands.test_commands import psi_tui

WEIGHTS = ("--weights", PACKAGE_DATA / "lenet5.safetensors")


@pytest.fixture
def measured(own_folders, tmp_path):
    """A run over a folder of 60 digits, one of them spoiled, and its folder."""
    digit_folder(tmp_path / "digits", 60)
    (tmp_path / "digits" / "7" / "00000.png").write_bytes(b"no picture")
    outcome = psi_tui("run", "--data", f"folder:{tmp_path / 'digits'}", "--skip-unreadable", "--name", "mine", *WEIGHTS)
    assert outcome.returncode == 0, outcome.stderr
    return outcome, tmp_path


def test_a_folder_goes_in_and_images_come_out_and_in_again(measured):
    outcome, folder = measured
    assert "59 of 60 images" in outcome.stdout
    assert "left out 1 of 60 images" in outcome.stderr
    assert "7/00000.png" in outcome.stderr

    exported = psi_tui("export", "mine", "--to", folder / "out", "--images")
    assert exported.returncode == 0, exported.stderr
    assert "fgsm@0.03: 8-bit pictures do not hold this attack" in exported.stderr
    assert f"{folder / 'out' / 'images-fgsm@0.03.npz'}" in exported.stdout.splitlines()
    pictures = folder / "out" / "png" / "fgsm@0.03"
    assert len(list(pictures.rglob("*.png"))) == 59

    given = f"npz:{folder / 'out' / 'images-fgsm@0.03.npz'}"
    options = ("--attack", "none", "--controls", "none", "--attacked", given, "--name", "again", *WEIGHTS)
    again = psi_tui("run", "--data", f"npz:{folder / 'out' / 'images-benign.npz'}", *options)
    assert again.returncode == 0, again.stderr
    first, second = load_run("mine"), load_run("again")
    assert second.conditions == ["benign", "attacked"]
    for name in ("psi", "prediction", "linf"):
        assert (first.array(name)[:2] == second.array(name)).all(), name

    options = (
        "--attack",
        "none",
        "--controls",
        "none",
        "--attacked",
        f"folder:{pictures}",
        "--name",
        "rounded",
        *WEIGHTS,
    )
    rounded = psi_tui("run", "--data", f"folder:{folder / 'digits'}", "--skip-unreadable", *options)
    assert rounded.returncode == 0, rounded.stderr
    assert abs(load_run("rounded").array("linf")[1] - 8 / 255).max() < 1e-6


def test_an_unpaired_or_unreadable_image_is_named_before_any_work(measured):
    _, folder = measured
    runs = sorted((folder / "runs").iterdir())
    np.savez(folder / "few.npz", images=np.zeros((10, 28, 28), np.float32))
    given = ("--attacked", f"npz:{folder / 'few.npz'}")
    refused = psi_tui("run", "--data", f"folder:{folder / 'digits'}", *given, *WEIGHTS)
    assert refused.returncode == 2
    assert "holds 10 images and none for" in refused.stderr
    assert sorted((folder / "runs").iterdir()) == runs


def test_image_formats_are_checked(own_folders):
    refused = psi_tui("export", "example-alexnet", "--to", own_folders, "--image-formats", "jpg")
    assert refused.returncode == 2
    assert "image-formats" in refused.stderr
    assert "png" in refused.stderr


def test_tables_of_external_images_have_no_epsilon(measured):
    _, folder = measured
    psi_tui("export", "mine", "--to", folder / "out", "--image-formats", "npz", "--tables", "conditions")
    given = f"npz:{folder / 'out' / 'images-fgsm@0.03.npz'}"
    outcome = psi_tui(
        "run",
        "--data",
        f"folder:{folder / 'digits'}",
        "--skip-unreadable",
        "--attacked",
        given,
        "--name",
        "both",
        *WEIGHTS,
    )
    assert outcome.returncode == 0, outcome.stderr
    psi_tui("export", "both", "--to", folder / "both", "--tables", "conditions,layers")
    with (folder / "both" / "conditions.csv").open() as file:
        rows = {row["condition"]: row for row in csv.DictReader(file)}
    assert rows["attacked"]["epsilon"] == ""
    assert rows["attacked"]["linf_mean"] == rows["fgsm@0.03"]["linf_mean"]
    shown = json.loads(psi_tui("show", "both", "--table", "conditions", "--json").stdout)
    assert [row["epsilon"] for row in shown if row["condition"] == "attacked"] == [None]
