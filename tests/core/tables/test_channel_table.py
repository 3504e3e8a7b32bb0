"""The channels and the lifetime table: plain loops over planted responses, and runs that lack the sums they need."""

from pathlib import Path

import numpy as np
import pytest

from psi_core import Run, load_run
from psi_core.runs.chunks import add_square_sums, chunk_path, read_arrays, write_arrays
from psi_core.runs.event_log import preview_path
from psi_core.tables.columns import Row
from psi_core.tables.registry import table_notes, table_rows
from tests.recorded import plant_responses, record_run, remove_square_sums

CHANNELS = "layer condition channel response_mean lifetime_sparseness lifetime_delta"
LIFETIME = "layer condition channels dead lifetime_mean lifetime_median lifetime_q25 lifetime_q75 delta_mean"


@pytest.fixture
def responses() -> np.ndarray:
    """Of fc1, (4 conditions, 60 images, 8 channels): channel 2 silent, channel 5 when attacked, channel 6 for most."""
    responses = np.random.default_rng(1).exponential(size=(4, 60, 8))
    responses[..., 2], responses[1, :, 5], responses[:, 1:, 6] = 0, 0, 0
    return responses


def recorded(own_folders: Path, responses: np.ndarray, **options: object) -> Path:
    directory = record_run(own_folders, **options)
    plant_responses(directory, "fc1", responses)
    return directory


@pytest.fixture
def run(own_folders: Path, responses: np.ndarray) -> Run:
    return load_run(recorded(own_folders, responses))


def of_layer(rows: list[Row], layer: str, condition: str) -> list[Row]:
    return [row for row in rows if (row["layer"], row["condition"]) == (layer, condition)]


def plain_lifetime(values: np.ndarray) -> float | None:
    """The formula of PSI over the images of one channel, number by number; None where it is silent."""
    images, total, squares = len(values), sum(values.tolist()), sum(value**2 for value in values.tolist())
    return None if total == 0 else (1 - (total / images) ** 2 / (squares / images)) / (1 - 1 / images)


def test_rows_are_those_of_every_channel(run: Run) -> None:
    rows = table_rows(run, "channels")
    assert {tuple(row) for row in rows} == {tuple(CHANNELS.split())}
    assert [(row["layer"], row["condition"], row["channel"]) for row in rows] == [
        (layer.name, condition, channel)
        for layer in run.layer_infos
        for condition in run.conditions
        for channel in range(layer.channels)
    ]
    assert {tuple(row) for row in table_rows(run, "lifetime")} == {tuple(LIFETIME.split())}
    assert len(table_rows(run, "lifetime")) == len(run.layers) * len(run.conditions)


def test_channels_equal_plain_loops(run: Run, responses: np.ndarray) -> None:
    for at, condition in enumerate(run.conditions):
        for row in of_layer(table_rows(run, "channels"), "fc1", condition):
            channel = row["channel"]
            mine, benign = (plain_lifetime(responses[place, :, channel]) for place in (at, 0))
            assert row["response_mean"] == pytest.approx(sum(responses[at, :, channel]) / 60)
            assert row["lifetime_sparseness"] == (None if mine is None else pytest.approx(mine))
            has_delta = at > 0 and mine is not None and benign is not None
            assert row["lifetime_delta"] == (pytest.approx(mine - benign) if has_delta else None)


def test_one_image_alone_is_all_the_sparseness_there_is(run: Run) -> None:
    rows = of_layer(table_rows(run, "channels"), "fc1", "benign")
    assert rows[6]["lifetime_sparseness"] == pytest.approx(1)
    assert (rows[2]["response_mean"], rows[2]["lifetime_sparseness"]) == (0, None)


def test_lifetime_sums_up_the_channels(run: Run) -> None:
    channels = table_rows(run, "channels")
    for row in table_rows(run, "lifetime"):
        mine = of_layer(channels, row["layer"], row["condition"])
        alive = [each["lifetime_sparseness"] for each in mine if each["lifetime_sparseness"] is not None]
        deltas = [each["lifetime_delta"] for each in mine if each["lifetime_delta"] is not None]
        assert (row["channels"], row["dead"]) == (len(mine), len(mine) - len(alive))
        assert row["lifetime_mean"] == pytest.approx(np.mean(alive))
        quartiles = [row[f"lifetime_{name}"] for name in ("q25", "median", "q75")]
        assert quartiles == pytest.approx(np.percentile(alive, (25, 50, 75)))
        assert row["delta_mean"] == (pytest.approx(np.mean(deltas)) if deltas else None)
    dead = {row["condition"]: row["dead"] for row in table_rows(run, "lifetime") if row["layer"] == "fc1"}
    assert (dead["benign"], dead["fgsm@0.03"], dead["anti-fgsm@0.03"]) == (1, 2, 1)


@pytest.mark.parametrize("chunk", [4, 7, 60])
def test_any_split_into_chunks_gives_the_same(own_folders: Path, responses: np.ndarray, run: Run, chunk: int) -> None:
    split = load_run(recorded(own_folders, responses, chunk=chunk))
    for mine, whole in zip(table_rows(split, "channels"), table_rows(run, "channels"), strict=True):
        if mine["layer"] == "fc1":
            assert mine["response_mean"] == pytest.approx(whole["response_mean"])
            assert mine["lifetime_sparseness"] == pytest.approx(whole["lifetime_sparseness"])


@pytest.mark.parametrize("older", [[0, 1, 2], [1]], ids=["all", "one"])
def test_runs_without_sums_of_squares_have_responses_but_no_lifetime(
    own_folders: Path, responses: np.ndarray, older: list[int]
) -> None:
    directory = recorded(own_folders, responses)
    whole = table_rows(load_run(directory), "channels")
    assert not any("older version" in note for note in table_notes(load_run(directory), "channels"))
    for number in older:
        remove_square_sums(directory, number)
    run = load_run(directory)
    assert run.square_sums("fc1") is None
    for row, before in zip(table_rows(run, "channels"), whole, strict=True):
        assert row == {**before, "lifetime_sparseness": None, "lifetime_delta": None}
    for row in table_rows(run, "lifetime"):
        assert [row[name] for name in LIFETIME.split()[4:]] == [None] * 5
    assert [row["dead"] for row in of_layer(table_rows(run, "lifetime"), "fc1", "fgsm@0.03")] == [2]
    for table in ("channels", "lifetime"):
        assert any("older version" in note for note in table_notes(run, table))


def test_open_chunks_do_not_count(own_folders: Path) -> None:
    directory = record_run(own_folders, chunks=[0], finished=False)
    arrays = read_arrays(chunk_path(record_run(own_folders), 1))
    write_arrays(preview_path(directory, 0), {name: arrays[name] for name in arrays if "sum" not in name})
    run = load_run(directory, preview=True)
    assert run.has_preview
    assert table_rows(run, "channels") == table_rows(load_run(directory), "channels")
    assert table_rows(run, "lifetime") == table_rows(load_run(directory), "lifetime")
    chunk_path(directory, 0).unlink()
    alone = load_run(directory, preview=True)
    assert {row["response_mean"] for row in table_rows(alone, "channels")} == {None}
    assert [(row["channels"], row["dead"]) for row in table_rows(alone, "lifetime")[::4]] == [
        (4, None),
        (6, None),
        (8, None),
    ]
    assert not any("older version" in note for note in table_notes(alone, "channels"))


def test_sums_of_squares_add_up_or_are_missing() -> None:
    parts = [{"square_sum/a": np.full((2, 3), value)} for value in (1.0, 2.0)]
    assert add_square_sums(parts, "a").tolist() == [[3.0] * 3] * 2
    assert parts[0]["square_sum/a"].max() == 1
    assert add_square_sums([*parts, {}], "a") is None


def test_the_shipped_run_has_lifetimes() -> None:
    run = load_run("example-alexnet")
    (row,) = of_layer(table_rows(run, "lifetime"), "fc1", "benign")
    assert row["channels"] == 4096
    assert 0 < row["lifetime_mean"] < 1
