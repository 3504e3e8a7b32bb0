"""The classes table: Liu's preset in its three forms against plain loops, its trap, and classes of open chunks."""

from pathlib import Path

import numpy as np
import pytest

from psi_core import Run, RunError, load_run
from psi_core.runs.chunks import chunk_path, read_arrays, write_arrays
from psi_core.runs.event_log import preview_path
from psi_core.tables.columns import Row
from psi_core.tables.export import table_text
from psi_core.tables.registry import table_columns, table_rows
from tests.core.statistics.test_classes import plain_liu
from tests.recorded import plant_responses, record_run

LIU = ("psi_liu", "psi_liu_live", "psi_liu_separate")


@pytest.fixture
def responses() -> np.ndarray:
    """Of fc1, (4 conditions, 60 images, 8 channels): channel 2 silent, channel 5 alike for all images when benign."""
    responses = np.random.default_rng(1).exponential(size=(4, 60, 8))
    responses[..., 2], responses[0, :, 5] = 0, 0.4
    return responses


@pytest.fixture
def run(own_folders: Path, responses: np.ndarray) -> Run:
    directory = record_run(own_folders)
    plant_responses(directory, "fc1", responses)
    return load_run(directory)


def cells(rows: list[Row], column: str, condition: str, layer: str = "fc1") -> list:
    return [row[column] for row in rows if (row["layer"], row["condition"]) == (layer, condition)]


def plain_means(run: Run, responses: np.ndarray) -> np.ndarray:
    classes = sorted({*run.labels.tolist()})
    return np.array([[condition[run.labels == label].mean(axis=0) for label in classes] for condition in responses])


def test_new_columns_come_after_the_old_ones(run: Run) -> None:
    names = [column.name for column in table_columns(run, "classes")]
    assert names == [
        *("layer", "condition", "label", "class_name", "images", "accuracy_percent", "psi_mean", "psi_class_mean"),
        *(*LIU, "dead_channels", "channels", "nearly_dead_channels"),
    ]


def test_the_three_forms_equal_plain_loops(run: Run, responses: np.ndarray) -> None:
    rows, means = table_rows(run, "classes"), plain_means(run, responses)
    live = [0, 1, 3, 4, 6, 7]
    for at, condition in enumerate(run.conditions):
        assert cells(rows, "psi_liu", condition) == pytest.approx(plain_liu(means[at], means[0]))
        expected = plain_liu(means[at][:, live], means[0][:, live])
        assert cells(rows, "psi_liu_live", condition) == pytest.approx(expected)
        assert cells(rows, "psi_liu_separate", condition) == pytest.approx(plain_liu(means[at], means[at]))
        assert {*cells(rows, "dead_channels", condition)} == {2}
        assert {*cells(rows, "channels", condition)} == {8}
    assert {*cells(rows, "channels", "benign", "conv1")} == {4}


def test_channels_nearly_dead_when_benign_are_left_out_of_the_frozen_forms_and_counted(
    own_folders: Path, responses: np.ndarray
) -> None:
    responses[0, :, 5] = 1e-7 * responses[1, :, 5]
    directory = record_run(own_folders)
    plant_responses(directory, "fc1", responses)
    rows = table_rows(load_run(directory), "classes")
    run = load_run(directory)
    means, other, live = plain_means(run, responses), [0, 1, 2, 3, 4, 6, 7], [0, 1, 3, 4, 6, 7]
    for at, condition in enumerate(run.conditions):
        assert {*cells(rows, "dead_channels", condition)} == {*cells(rows, "nearly_dead_channels", condition)} == {1}
        for column, kept in (("psi_liu", other), ("psi_liu_live", live)):
            assert cells(rows, column, condition) == pytest.approx(plain_liu(means[at][:, kept], means[0][:, kept]))
            assert max(cells(rows, column, condition)) < 0.9
        assert cells(rows, "psi_liu_separate", condition) == pytest.approx(plain_liu(means[at], means[at]))
    assert min(plain_liu(means[1], means[0])) > 0.99, "what it would have been"
    assert "leave out channels nearly dead there (sd below 0.1 of the live" in table_text(run, "classes", rows, "md")


def test_two_classes_have_no_spread_across_classes(own_folders: Path) -> None:
    run = load_run(record_run(own_folders, images=2))
    assert len(table_rows(run, "classes")) == 3 * 4 * 2
    for row in table_rows(run, "classes"):
        assert [row[name] for name in (*LIU, "dead_channels", "nearly_dead_channels")] == [None] * 5
        assert row["psi_class_mean"] is not None
        assert row["channels"] in (4, 6, 8)


def open_chunk(directory: Path, other: Path) -> None:
    """The second chunk of another run, open: without sums."""
    arrays = read_arrays(chunk_path(other, 1))
    write_arrays(preview_path(directory, 0), {name: arrays[name] for name in arrays if "sum" not in name})


def test_open_chunks_count_in_what_is_told_by_image_only(own_folders: Path) -> None:
    directory, whole = (
        record_run(own_folders, images=10, chunk=5, chunks=[0]),
        record_run(own_folders, images=10, chunk=5),
    )
    open_chunk(directory, whole)
    run = load_run(directory, preview=True)
    finished = {*read_arrays(chunk_path(directory, 0))["label"].tolist()}
    assert finished < {*run.labels.tolist()}
    alone = {(row["layer"], row["condition"], row["label"]): row for row in table_rows(load_run(directory), "classes")}
    for row in table_rows(run, "classes"):
        assert row["psi_mean"] is not None or row["layer"] == "fc1"
        before = alone.get((row["layer"], row["condition"], row["label"]))
        for name in (*LIU, "psi_class_mean"):
            assert row[name] == (before and before[name])
    assert all(
        row["classes"] == len(finished) for row in table_rows(run, "correlation") if row["measure"] == "psi_class_mean"
    )


def test_a_run_of_open_chunks_alone_has_no_class_means(own_folders: Path) -> None:
    directory = record_run(own_folders, chunks=[], finished=False)
    open_chunk(directory, record_run(own_folders))
    rows = table_rows(load_run(directory, preview=True), "classes")
    assert {row["psi_class_mean"] for row in rows} == {row["psi_liu"] for row in rows} == {None}
    assert {row["channels"] for row in rows} == {4, 6, 8}
    assert None not in {row["psi_mean"] for row in rows}


def test_damaged_sums_are_said_not_left_empty(own_folders: Path) -> None:
    directory = record_run(own_folders)
    path = chunk_path(directory, 1)
    sums, content = read_arrays(path)["class_sum/fc1"].tobytes(), path.read_bytes()
    assert content.count(sums) == 1
    path.write_bytes(content.replace(sums, bytes(len(sums))))
    with pytest.raises(RunError, match="damaged"):
        table_rows(load_run(directory), "classes")
