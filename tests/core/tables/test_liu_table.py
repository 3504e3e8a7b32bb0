"""Liu's preset image by image: what is refused of a run, its yardstick, and its rows against plain arithmetic."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from psi_core import ConfigError, Run, RunError, load_run
from psi_core.runs.chunks import chunk_path, read_arrays
from psi_core.tables.liu import LIU_COLUMNS, LiuResult, LiuValues, liu_request, liu_result, yardstick
from tests.recorded import plant_responses, record_run, remove_square_sums, rewrite_chunk

IMAGES = 40


@pytest.fixture
def directory(own_folders: Path) -> Path:
    return record_run(own_folders, model="alexnet", controls="sign-noise,gaussian")


@pytest.fixture
def run(directory: Path) -> Run:
    return load_run(directory)


def planted(run: Run, conditions: int = 4) -> LiuValues:
    """Values around 0.63 that the attack takes to 0.68, noise nearly to there; one image has none in fc1."""
    random = np.random.default_rng(4)
    frozen = np.clip(
        0.63 + random.normal(0, 0.02, (1, 3, IMAGES)) + random.normal(0, 0.004, (conditions, 3, IMAGES)), 0, 1
    )
    for at, shift in enumerate((0, 0.05, 0.04, 0.03)[:conditions]):
        frozen[at] += shift
    frozen[:, 2, 0] = np.nan
    labels = run.labels[:IMAGES]
    predictions = np.where(random.random((conditions, IMAGES)) < 0.8, labels, (labels + 1) % 10)
    return LiuValues(frozen, frozen + 0.1, labels, predictions, 2e-8, 99.5)


def result_of(run: Run, **options: Any) -> LiuResult:
    request = liu_request(run, IMAGES, **options)
    return liu_result(run, request, planted(run, len(request.conditions)))


def test_rows_are_what_plain_arithmetic_gives(run: Run) -> None:
    values, result = planted(run), result_of(run)
    rows = {(row["layer"], row["condition"]): row for row in result.rows}
    assert len(result.rows) == len(rows) == 12
    assert [*result.rows[0]] == [column.name for column in LIU_COLUMNS]
    row, noise = rows["conv1", "fgsm@0.03"], rows["conv1", "sign-noise@0.03"]
    benign, attacked = values.frozen[:2, 0]
    sd = benign.std(ddof=1)
    assert (row["images"], rows["fc1", "fgsm@0.03"]["images"]) == (IMAGES, IMAGES - 1)
    assert row["psi_liu_mean"] == pytest.approx(attacked.mean())
    assert rows["conv1", "benign"]["psi_liu_sd"] == pytest.approx(sd)
    assert row["psi_liu_live_mean"] == pytest.approx(attacked.mean() + 0.1)
    assert row["delta_mean"] == pytest.approx((attacked - benign).mean())
    assert row["delta_ci_low"] < row["delta_mean"] < row["delta_ci_high"]
    for name, reference in (("shift_sd", benign), ("delta_sd", values.frozen[2, 0])):
        assert row[name] == pytest.approx((attacked - reference).mean() / sd)
        assert row[f"{name}_ci_low"] < row[name] < row[f"{name}_ci_high"]
    assert row["shift_live_sd"] == pytest.approx(row["shift_sd"])
    assert row["noise"] == "sign-noise@0.03"
    assert row["verdict"].startswith(f"beyond noise: sparser by {row['delta_sd']:.2f} sd")
    inside = (attacked >= row["peak_left"]) & (attacked < row["peak_right"])
    assert row["height_percent"] == pytest.approx(100 * inside.mean())
    right = (values.predictions[1] == values.labels)[inside]
    assert row["accuracy_percent"] == pytest.approx(100 * right.mean())
    assert row["location"] == pytest.approx(50 * (row["peak_left"] + row["peak_right"]))
    assert (row["published"], noise["published"], rows["conv1", "benign"]["published"]) == (68.2, None, 39.4)
    assert row["agrees_height"] == (row["height_percent"] > rows["conv1", "benign"]["height_percent"])
    assert (row["said"], row["agrees_said"]) == ("sparser", True)


def test_what_must_be_known_stands_beside_them(run: Run) -> None:
    result = result_of(run)
    told = " / ".join(result.notes)
    assert "60 images; the first 40 of them" in result.title
    assert "benign PSI within 2.0e-08 of the run's, 99.5 % of the predictions the same" in told
    assert "moves the published way: H in" in told
    assert "class means" in told
    assert "benign images, scaled" in " / ".join(result_of(run, across="images").notes)
    assert "PSI Liu: channels' means" in result.text("md")
    assert result.text("csv").count("\n") == 13


def test_benign_alone_has_rows_without_shifts(own_folders: Path) -> None:
    run = load_run(record_run(own_folders, attack="none", controls="none"))
    result = result_of(run)
    assert [row["condition"] for row in result.rows] == ["benign"] * 3
    assert all(row["shift_sd"] is None and row["height_percent"] for row in result.rows)
    assert not any("shift" in note for note in result.notes)


def test_conditions_bring_what_they_are_measured_by(run: Run) -> None:
    def names(*asked: str) -> list[str]:
        return [each.name for each in liu_request(run, conditions=asked).conditions]

    assert names() == run.conditions
    assert names("sign-noise@0.03") == ["benign", "sign-noise@0.03"]
    assert names("gaussian@0.03") == ["benign", "fgsm@0.03", "gaussian@0.03"]
    assert liu_request(run).images == 60


def test_the_yardstick_is_of_benign_classes_or_images(directory: Path) -> None:
    responses = np.random.default_rng(1).exponential(size=(4, 60, 8))
    responses[0, :, 2] = 0
    plant_responses(directory, "fc1", responses)
    run = load_run(directory)
    layer, benign = run.layer_infos[2], responses[0]
    labels = np.unique(run.labels)
    of_classes = yardstick(run, layer, "classes")
    assert of_classes == pytest.approx(np.array([benign[run.labels == label].mean(axis=0) for label in labels]))
    of_images = yardstick(run, layer, "images")
    assert of_images.mean(axis=0) == pytest.approx(benign.mean(axis=0))
    assert of_images.std(axis=0) == pytest.approx(benign.std(axis=0))
    rows = [row for row in liu_result(run, liu_request(run, IMAGES), planted(run)).rows if row["layer"] == "fc1"]
    assert {(row["dead_channels"], row["channels"]) for row in rows} == {(1, 8)}


WRONG = {
    "more images than there are": ({"images": 61}, "60 finished images, not 61"),
    "no images": ({"images": 0}, "not 0"),
    "misspelt condition": ({"conditions": ["fgsm@0.3"]}, "'fgsm@0.03'"),
    "misspelt yardstick": ({"across": "class"}, "'classes'"),
    "no bins": ({"bins": 0}, "bins: 0 is out of range"),
}


@pytest.mark.parametrize(("options", "hint"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_asked_is_refused(run: Run, options: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        liu_request(run, **options)


def test_a_run_without_a_yardstick_is_refused(own_folders: Path, directory: Path) -> None:
    with pytest.raises(RunError, match="no chunk is finished yet"):
        liu_request(load_run(record_run(own_folders, chunks=[])))
    remove_square_sums(directory, 1)
    with pytest.raises(RunError, match="write --across classes"):
        liu_request(load_run(directory), across="images")
    two = record_run(own_folders, images=20)
    part = read_arrays(chunk_path(two, 0))
    sums = {name: array[:, :2] for name, array in part.items() if name.startswith("class_sum/")}
    part |= {"label": np.arange(20) % 2, "class_labels": np.arange(2), "class_counts": np.array([10, 10]), **sums}
    rewrite_chunk(two, 0, part)
    liu_request(load_run(two), across="images")
    with pytest.raises(RunError, match=r"are of 2 classes.* write --across images"):
        liu_request(load_run(two))
