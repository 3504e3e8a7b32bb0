"""The correlation table: scipy's numbers over the classes, and what they say in words."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from psi_core import Run, load_run
from psi_core.tables.columns import Row
from psi_core.tables.export import table_text
from psi_core.tables.registry import table_rows
from psi_core.tables.table import OWN_LABELS
from tests.recorded import plant_responses, record_run, replant

COLUMNS = "layer condition measure classes r r_ci_low r_ci_high p_value verdict"
MEASURES = ("psi_mean", "psi_class_mean")
IMAGES = 400


def row_of(run: Run, layer: str, condition: str, measure: str = "psi_mean") -> Row:
    wanted = layer, condition, measure
    (row,) = [
        row for row in table_rows(run, "correlation") if (row["layer"], row["condition"], row["measure"]) == wanted
    ]
    return row


def planted(own_folders: Path, psi_of: dict[str, float], noise: float = 0.0, **options: object) -> Run:
    """Classes of which a tenth more is right, the higher their number, and whose PSI in a layer rises by `psi_of`."""
    directory = record_run(own_folders, images=IMAGES, **options)
    run = load_run(directory)
    labels, psi, right = run.labels, run.psi.astype(float), np.zeros(IMAGES, bool)
    random = np.random.default_rng(3)
    for label in np.unique(labels):
        images = np.flatnonzero(labels == label)
        right[images[: round(len(images) * (label + 1) / 11)]] = True
        for layer, slope in psi_of.items():
            psi[:, run.layers.index(layer), images] = 0.3 + slope * label + noise * random.normal()
    replant(directory, prediction=np.broadcast_to(np.where(right, labels, (labels + 1) % 10), (4, IMAGES)), psi=psi)
    return load_run(directory)


def test_there_is_a_row_per_layer_condition_and_measure(own_folders: Path) -> None:
    run = load_run(record_run(own_folders))
    rows = table_rows(run, "correlation")
    assert {tuple(row) for row in rows} == {tuple(COLUMNS.split())}
    assert [(row["layer"], row["condition"], row["measure"]) for row in rows] == [
        (layer, condition, measure) for layer in run.layers for condition in run.conditions for measure in MEASURES
    ]


def test_rows_equal_scipy_over_the_classes_table(own_folders: Path) -> None:
    run = load_run(record_run(own_folders, images=IMAGES, silent=30))
    classes = table_rows(run, "classes")
    for row in table_rows(run, "correlation"):
        mine = [each for each in classes if all(each[name] == row[name] for name in ("layer", "condition"))]
        pairs = [(each["accuracy_percent"], each[row["measure"]]) for each in mine]
        expected = scipy.stats.pearsonr(*zip(*pairs, strict=True))
        interval = expected.confidence_interval(0.95)
        assert row["classes"] == 10
        assert (row["r"], row["p_value"]) == pytest.approx((expected.statistic, expected.pvalue))
        assert (row["r_ci_low"], row["r_ci_high"]) == pytest.approx(tuple(interval))


def test_a_planted_relation_is_told_with_its_direction(own_folders: Path) -> None:
    run = planted(own_folders, {"conv1": 0.02, "conv2": -0.02, "fc1": 0}, noise=0.03)
    up, down, none = (row_of(run, layer, "fgsm@0.03") for layer in run.layers)
    assert up["verdict"] == (
        f"higher accuracy goes with sparser responses (r = {up['r']:.2f}, p = {up['p_value']:.2g}, 10 classes)"
    )
    assert (up["r"] > 0.63, down["r"] < -0.63) == (True, True)
    assert down["verdict"].startswith(f"higher accuracy goes with denser responses (r = {down['r']:.2f}, p = ")
    assert none["verdict"] == f"no relation shown (r = {none['r']:.2f}, p = {none['p_value']:.2g}, 10 classes)"


def test_the_mean_response_of_a_class_is_told_as_that(own_folders: Path) -> None:
    run = planted(own_folders, {})
    sparse = np.where(np.arange(8) == 0, 1.0, 1 - run.labels[:, None] / 10)
    plant_responses(run.directory, "fc1", np.broadcast_to(sparse, (4, *sparse.shape)))
    row = row_of(load_run(run.directory), "fc1", "benign", "psi_class_mean")
    assert row["verdict"].startswith("higher accuracy goes with sparser mean responses (r = 0.")
    assert row["verdict"].endswith(", 10 classes)")


def test_a_perfect_line_is_no_error(own_folders: Path) -> None:
    directory = record_run(own_folders, images=IMAGES)
    run = load_run(directory)
    correct = run.predictions == run.labels
    shares = np.array([[row[run.labels == label].mean() for label in run.labels] for row in correct])
    replant(directory, psi=np.repeat(shares[:, None], 3, axis=1))
    row = row_of(load_run(directory), "conv1", "benign")
    assert row["r"] == pytest.approx(1)
    assert "p < 0.0001" in row["verdict"]


def test_own_labels_have_no_accuracy_to_go_with(own_folders: Path) -> None:
    run = load_run(record_run(own_folders, labels="predicted"))
    for row in table_rows(run, "correlation"):
        assert (row["classes"], row["r"], row["p_value"]) == (0, None, None)
        assert row["verdict"] == "no accuracy: labels are the network's own predictions"
    assert OWN_LABELS in table_text(run, "correlation", table_rows(run, "correlation"), "md")


def test_equal_accuracies_show_no_relation(own_folders: Path) -> None:
    directory = record_run(own_folders, images=IMAGES)
    run = load_run(directory)
    replant(directory, prediction=np.broadcast_to(run.labels, (4, IMAGES)))
    for row in table_rows(load_run(directory), "correlation"):
        assert (row["classes"], row["r"], row["r_ci_low"], row["p_value"]) == (10, None, None, None)
        assert row["verdict"] == "no relation to be seen: accuracy is the same in all classes"


def test_equal_sparseness_shows_no_relation(own_folders: Path) -> None:
    row = row_of(planted(own_folders, {"conv1": 0}), "conv1", "benign")
    assert (row["r"], row["verdict"]) == (None, "no relation to be seen: PSI is the same in all classes")


def test_two_classes_are_too_few(own_folders: Path) -> None:
    row = row_of(load_run(record_run(own_folders, images=2)), "conv1", "benign")
    assert (row["classes"], row["r"]) == (2, None)
    assert row["verdict"] == "too few classes: 2, and a correlation needs 3"


def test_the_page_says_what_ten_classes_can_show(own_folders: Path) -> None:
    run = load_run(record_run(own_folders))
    text = table_text(run, "correlation", table_rows(run, "correlation"), "md")
    assert "|r\\| below 0.63 is not significant" in text
    assert "not corrected over layers" in text
