"""The study beside the measured: its numbers as printed, each reading from a plain histogram."""

from dataclasses import replace

import numpy as np
import pytest

from psi_core import load_run
from psi_core.presets import STUDY, STUDY_DOI, STUDY_TITLE
from psi_core.runs.loading import LayerInfo
from psi_core.tables import study
from psi_core.tables.export import PAGE_FORMATS, table_text
from psi_core.tables.registry import View, table_named, table_rows
from psi_core.tables.study import COUNT, PUBLISHED, STUDY_SOURCE, claims_note, study_condition, study_note
from tests import recorded
from tests.recorded import record_run


def test_the_tables_are_those_of_the_study():
    assert {model: len(layers) for model, layers in PUBLISHED.items()} == {"alexnet": 7, "vgg11": 10}
    assert PUBLISHED["alexnet"]["conv1"] == (39.4, 68.2)
    assert PUBLISHED["alexnet"]["fc2"] == (94.2, 99.4)
    assert PUBLISHED["vgg11"]["conv8"] == (99.8, 61.2)
    # Sums over each row as printed: a slip of one digit shows.
    sums = {
        model: [round(sum(column), 1) for column in zip(*rows.values(), strict=True)]
        for model, rows in PUBLISHED.items()
    }
    assert sums == {"alexnet": [511.3, 535.5], "vgg11": [627.0, 540.5]}


def pair(rows, layer):
    return [row for row in rows if row["layer"] == layer]


@pytest.mark.parametrize("bins", [20, 7])
def test_readings_equal_plain_numbers(own_folders, bins):
    run = load_run(record_run(own_folders, model="alexnet", epsilon="0.03,0.1", silent=4))
    rows = table_rows(run, "study", View(bins=bins))
    assert [row["condition"] for row in rows] == ["benign", "fgsm@0.03"] * 3
    for at_layer, layer in enumerate(run.layers):
        for row, at in zip(pair(rows, layer), (0, 1), strict=True):
            psi = run.psi[at, at_layer].astype(float)
            is_there = ~np.isnan(psi)
            counts, edges = np.histogram(psi[is_there], bins, (0, 1))
            left, right = edges[counts.argmax()], edges[counts.argmax() + 1]
            inside = is_there & (psi >= left) & (psi < right)
            correct = run.predictions[at] == run.labels
            assert (row["images"], row["bins"]) == (is_there.sum(), bins)
            assert (row["peak_left"], row["peak_right"]) == pytest.approx((left, right))
            assert row["height_percent"] == pytest.approx(100 * counts.max() / is_there.sum())
            assert row["accuracy_percent"] == pytest.approx(100 * correct[inside].mean())
            assert row["location"] == pytest.approx(50 * (left + right))
            assert row["published"] == PUBLISHED["alexnet"][layer][at]


def test_a_reading_agrees_where_it_moves_as_published(own_folders):
    """conv1 rises in the study's AlexNet (39.4 to 68.2) and falls nowhere; conv2 falls (93.4 to 82.1)."""
    for shift in (0.2, -0.2):
        run = load_run(record_run(own_folders, model="alexnet", shift=shift, images=400, chunk=200))
        benign, attacked = pair(table_rows(run, "study"), "conv1")
        assert attacked["published_change"] == pytest.approx(28.8)
        for reading, column in (
            ("height", "height_percent"),
            ("accuracy", "accuracy_percent"),
            ("location", "location"),
        ):
            change = attacked[column] - benign[column]
            assert attacked[f"{reading}_change"] == pytest.approx(change)
            assert attacked[f"agrees_{reading}"] is (change > 0)
            assert (benign[f"{reading}_change"], benign[f"agrees_{reading}"]) == (None, None)
        assert attacked["agrees_location"] is (shift > 0)


def test_what_stays_where_it_is_does_not_agree(own_folders):
    run = load_run(record_run(own_folders, model="alexnet", images=1))
    attacked = pair(table_rows(run, "study"), "fc1")[1]
    assert attacked["height_change"] == 0
    assert attacked["agrees_height"] is False


def test_other_models_and_layers_have_nothing_published(own_folders, monkeypatch):
    rows = table_rows(load_run(record_run(own_folders, model="lenet5")), "study")
    assert {row[name] for row in rows for name in ("published", "published_change", "agrees_height")} == {None}
    assert all(row["height_change"] is not None for row in rows[1::2])
    monkeypatch.setattr(recorded, "LAYERS", (*recorded.LAYERS[:2], LayerInfo("pool", "pool", "Pool", (8,), 8, 8, 0, 0)))
    rows = table_rows(load_run(record_run(own_folders, model="torchvision:alexnet")), "study")
    assert [row["published"] for row in rows] == [39.4, 68.2, 93.4, 82.1, None, None]


def test_without_true_labels_there_is_no_accuracy(own_folders):
    rows = table_rows(load_run(record_run(own_folders, model="vgg11", labels="predicted")), "study")
    assert {row[name] for row in rows for name in ("accuracy_percent", "accuracy_change", "agrees_accuracy")} == {None}
    assert all(row["agrees_height"] is not None for row in rows[1::2])


@pytest.mark.parametrize(
    ("epsilon", "expected"), [("0.1,0.03", "fgsm@0.03"), ("0.01,0.1", "fgsm@0.1"), ("0", "fgsm@0")]
)
def test_the_study_s_own_attack_comes_first(own_folders, epsilon, expected):
    assert study_condition(load_run(record_run(own_folders, epsilon=epsilon))) == expected


def test_the_note_says_what_height_is_and_how_many_bins():
    assert "concentration, not sparseness" in study_note()
    assert "20 bins over 0..1" in study_note()
    assert "7 bins" in study_note(7)
    assert "100 x the N_eff" in study_note(20, "n_eff")
    assert "0..1" not in study_note(20, "n_eff")


@pytest.mark.parametrize("model", ["alexnet", "vgg11"])
def test_the_study_is_cited_beside_its_values_in_lines_for_any_screen(own_folders, monkeypatch, model):
    monkeypatch.setattr(recorded, "LAYERS", tuple(replace(recorded.LAYERS[0], name=name) for name in PUBLISHED[model]))
    run = load_run(record_run(own_folders, model=model))
    notes = table_named("study").sentences(run)
    assert max(map(len, [*STUDY_SOURCE, *study_note().splitlines()])) <= 71
    assert max(map(len, notes)) <= 79
    told = " ".join(notes)
    assert all(part in told for part in (STUDY, STUDY_TITLE, STUDY_DOI))
    rows = table_rows(run, "study")
    for format_ in PAGE_FORMATS:
        assert STUDY_TITLE in table_text(run, "study", rows, format_)
    for layer in study.CLAIMS[model]:
        assert f"{layer} " in claims_note(rows)
    assert claims_note(rows) in notes


def test_the_other_reading_of_the_equation_is_pointed_to_where_the_run_has_it(own_folders):
    run = load_run(record_run(own_folders, model="alexnet"))
    pointing = [note for note in table_named("study").sentences(run) if COUNT in note]
    assert len(pointing) == 1
    by_count = table_named("study").sentences(run, View(measure=COUNT))
    assert not any("--measure" in note for note in by_count)


def test_how_often_a_reading_moves_the_published_way_is_said_beside_chance(own_folders):
    run = load_run(record_run(own_folders, model="alexnet", images=400, chunk=200))
    rows = table_rows(run, "study")[1::2]
    counts = {name: sum(row[f"agrees_{name}"] for row in rows) for name in ("height", "accuracy", "location")}
    said = f"H in {counts['height']} of 3, A in {counts['accuracy']} of 3, L in {counts['location']} of 3"
    assert f"moves the published way: {said}; 1.5 by chance" in table_named("study").sentences(run)
    other = load_run(record_run(own_folders, model="lenet5"))
    assert not any("chance" in sentence for sentence in table_named("study").sentences(other))


def test_another_reading_of_the_equation_has_its_own_table(own_folders):
    """The study's text says that it counts active units; its equation is the ratio."""
    run = load_run(record_run(own_folders, model="alexnet"))
    by_ratio, by_count = (table_rows(run, "study", View(measure=name)) for name in ("psi", "active_fraction"))
    expected = run.array("active_fraction")[0, 0]
    counts, edges = np.histogram(expected, 20, (0, 1))
    assert by_count[0]["peak_left"] == pytest.approx(edges[counts.argmax()])
    assert by_count[0]["peak_left"] != by_ratio[0]["peak_left"]
    assert by_count[0]["location_right"] == pytest.approx(100 * edges[counts.argmax() + 1])


@pytest.mark.parametrize("shift", [0.2, -0.2])
def test_what_the_text_says_stands_beside_what_is_measured(own_folders, monkeypatch, shift):
    monkeypatch.setitem(study.CLAIMS, "alexnet", {"conv1": "sparser", "fc1": (0.35, 0.65)})
    run = load_run(record_run(own_folders, model="alexnet", shift=shift, images=400, chunk=200, silent=4))
    rows = table_rows(run, "study")
    change = float(np.nanmean(run.psi[1, 0].astype(float) - run.psi[0, 0]))
    benign, attacked = pair(rows, "conv1")
    assert (benign["said"], benign["agrees_said"]) == (None, None)
    assert (attacked["said"], attacked["agrees_said"]) == ("sparser", change > 0)
    for row, said in zip(pair(rows, "fc1"), (0.35, 0.65), strict=True):
        assert row["said"] == f"{said:.2f}"
        assert row["agrees_said"] is (row["peak_left"] - 1e-9 <= said <= row["peak_right"] + 1e-9)
    assert pair(rows, "conv2")[1]["said"] is None
