"""Images of a run as files: exactly what was measured, or rounded and said so."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from psi_core.conditions import Condition
from psi_core.devices import CPU
from psi_core.engine import analyze
from psi_core.engine.again import export
from psi_core.engine.again.export import export_images
from psi_core.engine.again.run_images import remake_images, reopen
from psi_core.errors import ConfigError, ModelError, RunError
from tests.engine.picture_files import DIGITS
from tests.engine.processes import engine, small_config


def exported(run, folder, formats=("npz", "png")):
    return export_images(run, folder, formats, lambda done, total: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return analyze(small_config(images=40, order="first", epsilon=[0.03, 8 / 255]), tmp_path_factory.mktemp("runs"))


def test_archives_hold_exactly_what_was_measured(run, tmp_path):
    paths, _ = exported(run, tmp_path)
    assert paths == [*(str(tmp_path / f"images-{name}.npz") for name in run.conditions), str(tmp_path / "png")]
    benign = np.load(tmp_path / "images-benign.npz")
    assert (benign["images"] == (DIGITS.images[:40] / np.float32(255)).astype(np.float32)).all()
    assert (benign["labels"] == run.labels).all()
    assert (benign["index"] == run.index).all()
    assert benign["class_names"].tolist() == run.model["class_names"]
    for place, name in enumerate(run.conditions):
        change = np.abs(np.load(tmp_path / f"images-{name}.npz")["images"] - benign["images"])
        assert np.allclose(change.max(axis=(1, 2)), run.array("linf")[place], atol=1e-7)


def test_an_exported_attack_measures_as_the_attack_did(run, tmp_path):
    exported(run, tmp_path, ["npz"])
    assert not (tmp_path / "png").exists()
    given = f"npz:{tmp_path / 'images-fgsm@0.03.npz'}"
    config = small_config(images=40, order="first", attack="none", controls="none", attacked=given)
    again = analyze(config, tmp_path / "runs")
    at = run.conditions.index("fgsm@0.03")
    assert (again.psi[1] == run.psi[at]).all()
    assert (again.predictions[1] == run.predictions[at]).all()


# Of foolbox, for a part of scipy's old name.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_attacks_that_go_by_their_batch_are_made_again_in_the_runs_own(tmp_path):
    pytest.importorskip("foolbox")
    name = "foolbox:L2AdditiveGaussianNoiseAttack"
    config = small_config(
        images=20, chunk=7, batch=5, attack=f"pgd,{name}", steps=2, epsilon=[0.1], controls="gaussian"
    )
    run = analyze(config, tmp_path / "runs")
    exported(run, tmp_path, ["npz"])
    for condition in (f"{name}@0.1", "pgd@0.1", "gaussian@0.1"):
        given = f"npz:{tmp_path / f'images-{condition}.npz'}"
        config = small_config(images=20, chunk=7, batch=5, attack="none", controls="none", attacked=given)
        again = analyze(config, tmp_path / "again")
        at = run.conditions.index(condition)
        assert (again.psi[1] == run.psi[at]).all(), condition
        assert (again.array("linf")[1] == run.array("linf")[at]).all(), condition


def full_for_more_than(fitting, monkeypatch):
    """No memory for more images than these at once; how many were asked for each time."""
    usual, asked = export.remake_images, []

    def full(run, prepared, positions, conditions):
        asked.append(len(positions))
        if len(positions) > fitting:
            raise RuntimeError("CUDA error: out of memory")
        return usual(run, prepared, positions, conditions)

    monkeypatch.setattr(export, "remake_images", full)
    return asked


def test_a_batch_that_does_not_fit_is_made_in_halves(run, tmp_path, monkeypatch):
    exported(run, tmp_path / "whole", ["npz"])
    asked = full_for_more_than(2, monkeypatch)
    told = []
    export_images(run, tmp_path / "halves", ["npz"], lambda done, total: told.append(done))
    assert asked[:5] == [5, 2, 3, 1, 2]
    assert told == sorted(told)
    assert told[-1] == 40
    for name in ("benign", "fgsm@0.03"):
        whole, halves = (np.load(tmp_path / each / f"images-{name}.npz")["images"] for each in ("whole", "halves"))
        assert np.abs(whole - halves).max() < 1e-6 or (whole != halves).mean() < 1e-3
    full_for_more_than(0, monkeypatch)
    with pytest.raises(RunError, match="a batch of 1 under 9 conditions does not fit on the device"):
        exported(run, tmp_path / "none")
    assert not list((tmp_path / "none").glob("*"))


@pytest.mark.parametrize("images", [12, 13])
def test_images_that_took_something_of_the_one_beside_them_are_made_again(images, tmp_path):
    config = small_config(images=images, chunk=7, batch=4, epsilon="0.1", controls="donor")
    run = analyze(config, tmp_path / "runs")
    prepared = reopen(run, CPU)
    at = run.conditions.index("donor@0.1")
    for place, position in enumerate(run.index.tolist()):
        images_alone, _, (changed,) = remake_images(run, prepared, np.array([position]), [Condition("donor", 0.1)])
        with torch.inference_mode():
            prediction = int(prepared.classifier(changed).argmax())
        assert prediction == run.predictions[at, place]
        realized = float((changed - images_alone).flatten().norm())
        assert realized == pytest.approx(float(run.array("l2")[at, place]), rel=1e-3)


def test_what_parts_pairs_is_refused():
    for wrong, told in (({"batch": 5}, "even number"), ({"compile": True}, "--compile")):
        with pytest.raises(ConfigError, match=told):
            small_config(controls="donor", **wrong)


def test_pictures_are_rounded_and_what_that_changes_is_said(run, tmp_path):
    _, warnings = exported(run, tmp_path, ["png"])
    assert not list(tmp_path.glob("*.npz"))
    for position in (0, 39):
        found = np.asarray(Image.open(tmp_path / "png" / "benign" / f"{position:06}.png"))
        assert (found == DIGITS.images[position]).all()
    named = {warning.partition(":")[0] for warning in warnings}
    # At 8/255 only Gaussian noise has other steps than whole gray levels.
    whole = {f"{name}@0.03" for name in ("fgsm", "sign-noise", "gaussian", "anti-fgsm")}
    assert named == {*whole, f"gaussian@{8 / 255}"}
    assert "7.65 gray levels as measured and 8 in the files" in warnings[0]


def test_it_is_made_batch_by_batch_and_reported(run, tmp_path):
    seen = []
    export_images(run, tmp_path, ["npz"], lambda done, total: seen.append((done, total)))
    assert seen == [(done, 40) for done in (5, 10, 14, 19, 24, 28, 33, 38, 40)], "chunks of 14 images in batches of 5"


def test_nothing_is_left_where_it_fails(run, tmp_path):
    def fail(done, total):
        raise ModelError("stopped")

    with pytest.raises(ModelError):
        export_images(run, tmp_path / "out", ["npz"], fail)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written to .*--to"):
        exported(run, tmp_path / "file" / "out")


def test_the_child_says_how_far_it_is_and_what_it_wrote(run, tmp_path):
    answer = engine("images", run=str(run.directory), to=str(tmp_path), formats=["npz"])
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [line.get("event") for line in lines] == ["images"] * 9 + [None]
    assert lines[-1]["answer"]["paths"][0] == str(tmp_path / "images-benign.npz")


def test_small_changes_that_8_bits_lose_are_said_too(run, tmp_path):
    change = np.full((40, 28, 28), 0.4 / 255, np.float32)
    change[:, 0, 0] = 8 / 255
    place = tmp_path / "given.npz"
    np.savez(place, images=np.clip(DIGITS.images[:40] / np.float32(255) + change, 0, 1).astype(np.float32))
    options = {"images": 40, "order": "first", "attack": "none", "controls": "none"}
    config = small_config(attacked=f"npz:{place}", **options)
    _, warnings = exported(analyze(config, tmp_path / "runs"), tmp_path / "out", ["png"])
    assert [warning.partition(":")[0] for warning in warnings] == ["attacked"]
    assert "up to 0.4 off" in warnings[0]


def test_it_computes_on_as_many_threads_as_the_run_did(run, tmp_path):
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        export_images(run, tmp_path, ["npz"], lambda done, total: seen.append(torch.get_num_threads()))
        assert set(seen) == {run.config.threads} == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
