"""Tables of recorded runs: every column there, every number equal to a plain computation on the run's arrays."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from psi_core import ConfigError, Run, RunError, load_run
from psi_core.runs.chunks import chunk_path, read_arrays
from psi_core.statistics.contrasts import contrast
from psi_core.statistics.paired import population_sparseness
from psi_core.tables.columns import readable
from psi_core.tables.registry import TABLE_NAMES, View, table_columns, table_notes, table_rows
from tests.recorded import record_run, replant, rewrite_chunk

LAYERS_CSV = (
    "layer module units condition attack epsilon subset images silent psi_mean psi_sd psi_median psi_q25 psi_q75 "
    "peak_left peak_center peak_right peak_percent peak_accuracy_percent accuracy_percent active_fraction_mean "
    "delta_mean delta_ci_low delta_ci_high delta_median effect_size p_value p_holm percent_lower ks overlap auroc "
    "auroc_ci_low auroc_ci_high control delta_control_mean delta_control_ci_low delta_control_ci_high "
    "effect_size_control p_control_holm auroc_control verdict delta_sd delta_sd_ci_low delta_sd_ci_high noise "
    "equivalent rank_biserial percent_same_way classes_up classes_down silent_change "
    "p_noise_holm"
)


@pytest.fixture
def run(own_folders: Path) -> Run:
    return load_run(record_run(own_folders, silent=4))


def row_of(rows: list[dict], **values: object) -> dict:
    (row,) = [row for row in rows if all(row[name] == value for name, value in values.items())]
    return row


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_rows_have_the_columns_in_order_and_plain_cells(table: str, run: Run) -> None:
    rows = table_rows(run, table)
    names = [column.name for column in table_columns(run, table)]
    assert rows
    for row in rows:
        assert list(row) == names
        assert {type(cell) for cell in row.values()} <= {str, int, float, bool, type(None)}
        assert not any(cell != cell for cell in row.values())  # noqa: PLR0124 -- only NaN differs from itself.


def test_layers_table_has_the_promised_columns(run: Run) -> None:
    assert [column.name for column in table_columns(run, "layers")] == LAYERS_CSV.split()


def test_layer_rows_equal_plain_numbers(run: Run) -> None:
    rows = table_rows(run, "layers")
    assert [(row["layer"], row["condition"]) for row in rows] == [
        (layer, condition) for layer in run.layers for condition in run.conditions
    ]
    row, control = row_of(rows, layer="fc1", condition="fgsm@0.03"), run.conditions.index("sign-noise@0.03")
    benign, attacked, noise = (
        run.psi[0, 2].astype(float),
        run.psi[1, 2].astype(float),
        run.psi[control, 2].astype(float),
    )
    there = ~np.isnan(benign)
    difference, from_control = (attacked - benign)[there], (attacked - noise)[there]
    correct = run.predictions[1] == run.labels
    assert (row["module"], row["units"], row["attack"], row["epsilon"]) == ("classifier.1", 8, "fgsm", 0.03)
    assert (row["images"], row["silent"], row["subset"], row["control"]) == (60, 4, "all", "sign-noise@0.03")
    assert row["psi_mean"] == pytest.approx(attacked[there].mean())
    assert row["psi_sd"] == pytest.approx(attacked[there].std(ddof=1))
    assert row["accuracy_percent"] == pytest.approx(100 * correct.mean())
    assert row["active_fraction_mean"] == pytest.approx(np.nanmean(run.array("active_fraction")[1, 2].astype(float)))
    assert row["delta_mean"] == pytest.approx(difference.mean())
    assert row["delta_ci_low"] < row["delta_mean"] < row["delta_ci_high"]
    assert row["effect_size"] == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert row["p_value"] == pytest.approx(scipy.stats.wilcoxon(difference).pvalue)
    assert row["ks"] == pytest.approx(scipy.stats.ks_2samp(attacked[there], benign[there]).statistic)
    assert row["auroc"] == pytest.approx(
        scipy.stats.mannwhitneyu(attacked[there], benign[there]).statistic / there.sum() ** 2
    )
    shares = [np.histogram(values[there], 20, (0, 1))[0] / there.sum() for values in (attacked, benign)]
    assert row["overlap"] == pytest.approx(np.minimum(*shares).sum())
    assert row["peak_percent"] == pytest.approx(100 * shares[0].max())
    inside = there & (attacked >= row["peak_left"]) & (attacked < row["peak_right"])
    assert row["peak_accuracy_percent"] == pytest.approx(100 * correct[inside].mean())
    assert row["delta_control_mean"] == pytest.approx(from_control.mean())
    assert row["effect_size_control"] == pytest.approx(from_control.mean() / from_control.std(ddof=1))
    assert row["auroc_control"] == pytest.approx(
        scipy.stats.mannwhitneyu(attacked[there], noise[there]).statistic / there.sum() ** 2
    )


def test_holm_goes_over_all_layers_and_attacks_and_apart_over_those_of_controls(run: Run) -> None:
    rows = [row for row in table_rows(run, "layers") if row["p_value"] is not None]
    for is_attack in (True, False):
        family = [row for row in rows if (row["attack"] in run.config.attack) == is_attack]
        smallest = min(family, key=lambda row: row["p_value"])
        assert smallest["p_holm"] == pytest.approx(min(1, len(family) * smallest["p_value"]))


def test_the_verdicts_p_is_that_of_the_noise_least_told_and_by_holm_likewise(own_folders: Path) -> None:
    controls = "sign-noise,gaussian"
    run = load_run(record_run(own_folders, controls=controls, epsilon="0.03,0.1", shift=0.004, silent=4))
    rows, psi, at = table_rows(run, "layers"), run.psi.astype(float), run.conditions.index
    largest = {
        (row["layer"], row["condition"]): max(
            contrast(
                noise, *(psi[place, run.layers.index(row["layer"])] for place in (0, at(row["condition"]), at(noise)))
            ).p
            for noise in (f"{control}@{row['epsilon']}" for control in controls.split(","))
        )
        for row in rows
        if row["attack"] == "fgsm"
    }
    told, past = {}, 0.0
    for rank, place in enumerate(sorted(largest, key=largest.__getitem__)):
        told[place] = past = min(1.0, max(past, largest[place] * (len(largest) - rank)))
    assert {place: row_of(rows, layer=place[0], condition=place[1])["p_noise_holm"] for place in told} == pytest.approx(
        told
    )
    assert any(row_of(rows, layer=layer, condition=condition)["p_holm"] != p for (layer, condition), p in told.items())
    for row in rows:
        if str(row["verdict"]).startswith("undecided"):
            assert f", p {row['p_noise_holm']:.2g}" in row["verdict"]
    bare = table_rows(load_run(record_run(own_folders, controls="none")), "layers")
    assert {row["p_noise_holm"] for row in bare} == {None}


def test_the_shift_beyond_noise_is_that_from_the_noise_it_differs_from_least(own_folders: Path) -> None:
    run = load_run(record_run(own_folders, controls="sign-noise,gaussian,sign-noise-2", silent=4, images=120, chunk=40))
    psi, names = run.psi.astype(float), run.conditions
    silenced = psi.copy()
    silenced[names.index("fgsm@0.03"), 2, 4:7] = np.nan
    replant(run.directory, psi=silenced)
    run = load_run(run.directory)
    rows = table_rows(run, "layers")
    for at_layer, layer in enumerate(run.layers):
        row = row_of(rows, layer=layer, condition="fgsm@0.03")
        benign, attacked = silenced[0, at_layer], silenced[names.index("fgsm@0.03"), at_layer]
        kept = ~np.isnan(benign + attacked)
        from_noise = {
            name: (attacked - silenced[names.index(name), at_layer])[kept] / benign[kept].std(ddof=1)
            for name in ("sign-noise@0.03", "gaussian@0.03")
        }
        noise, moved = min(from_noise.items(), key=lambda each: abs(each[1].mean()))
        assert (row["noise"], row["delta_sd"]) == (noise, pytest.approx(moved.mean()))
        assert row["delta_sd_ci_low"] < row["delta_sd"] < row["delta_sd_ci_high"]
        way = np.sign(moved.mean())
        assert row["percent_same_way"] == pytest.approx(100 * np.mean(np.sign(moved) == way))
        assert np.sign(row["rank_biserial"]) == way
        by_class = [moved[run.labels[kept] == label] for label in range(10)]
        told = [part for part in by_class if part.size >= 10 and scipy.stats.ttest_1samp(part, 0).pvalue < 0.05]
        assert row["classes_up"] == sum(part.mean() > 0 for part in told)
        assert row["classes_down"] == sum(part.mean() < 0 for part in told)
        assert row["silent_change"] == (3 if layer == "fc1" else 0)
        assert row["equivalent"] == (0 if layer == "conv1" else 1)
    assert row_of(rows, layer="conv1", condition="fgsm@0.03")["classes_up"] > 0
    draws = [row_of(rows, layer="fc1", condition=f"sign-noise{draw}@0.03")["noise"] for draw in ("", "-2")]
    assert draws == ["sign-noise-2@0.03", "sign-noise@0.03"]


def test_verdicts_find_the_planted_shift_and_nothing_else(run: Run) -> None:
    verdicts = {(row["layer"], row["condition"]): row["verdict"] for row in table_rows(run, "layers")}
    assert verdicts["conv1", "benign"] is None
    assert verdicts.pop(("conv1", "fgsm@0.03")).startswith("beyond noise: sparser by 0.4")
    starts = ("equivalent to noise: within 0.1 sd (90 % CI", "noise itself, equivalent to benign: within 0.1 sd")
    assert all(verdict.startswith(starts) for verdict in verdicts.values() if verdict)


def test_benign_rows_compare_with_nothing(run: Run) -> None:
    columns = LAYERS_CSV.split()
    row = row_of(table_rows(run, "layers"), layer="conv1", condition="benign")
    assert all(row[name] is None for name in columns[columns.index("delta_mean") :])


def test_controls_have_no_control_and_nor_has_a_run_without(own_folders: Path) -> None:
    row = row_of(table_rows(load_run(record_run(own_folders)), "layers"), layer="conv1", condition="sign-noise@0.03")
    assert (row["control"], row["delta_control_mean"], row["auroc_control"]) == (None, None, None)
    assert row["delta_mean"] is not None
    bare = table_rows(load_run(record_run(own_folders, controls="none")), "layers")
    assert row_of(bare, layer="conv1", condition="fgsm@0.03")["control"] is None
    assert row_of(bare, layer="conv1", condition="fgsm@0.03")["verdict"].endswith("; no noise of its size")


def test_subsets_restrict_each_condition(run: Run) -> None:
    correct = run.predictions == run.labels
    fooled = row_of(table_rows(run, "layers", View(subset="fooled")), layer="conv1", condition="fgsm@0.03")
    kept = correct[0] & ~correct[1]
    assert fooled["images"] == kept.sum()
    assert fooled["accuracy_percent"] == 0
    assert fooled["psi_mean"] == pytest.approx(run.psi[1, 0, kept].astype(float).mean())
    assert fooled["delta_mean"] == pytest.approx((run.psi[1, 0, kept].astype(float) - run.psi[0, 0, kept]).mean())
    area = scipy.stats.mannwhitneyu(run.psi[1, 0, kept], run.psi[0, 0, kept]).statistic / kept.sum() ** 2
    assert fooled["auroc"] == pytest.approx(area)
    empty = row_of(table_rows(run, "layers", View(subset="fooled")), layer="conv1", condition="benign")
    assert (empty["images"], empty["psi_mean"], empty["peak_percent"]) == (0, None, None)
    with pytest.raises(ConfigError, match="subset"):
        table_rows(run, "layers", View(subset="every"))


def test_epsilon_zero_is_exactly_nothing(own_folders: Path) -> None:
    directory = record_run(own_folders, images=30, epsilon=0)
    for number in range(2):
        arrays = read_arrays(chunk_path(directory, number))
        arrays["psi"][1] = arrays["psi"][0]
        rewrite_chunk(directory, number, arrays)
    row = row_of(table_rows(load_run(directory), "layers"), layer="conv2", condition="fgsm@0")
    assert [row[name] for name in ("delta_mean", "delta_ci_low", "delta_ci_high", "effect_size")] == [0, 0, 0, 0]
    assert (row["p_value"], row["p_holm"], row["ks"], row["auroc"]) == (1, 1, 0, 0.5)
    assert (row["overlap"], row["verdict"]) == (pytest.approx(1), "no change in any image")


def test_measure_rows_equal_plain_numbers(run: Run) -> None:
    row = row_of(table_rows(run, "measures"), layer="conv1", condition="fgsm@0.03", measure="active_fraction")
    values = run.array("active_fraction").astype(float)[:, 0]
    assert row["mean"] == pytest.approx(values[1].mean())
    assert row["delta_mean"] == pytest.approx((values[1] - values[0]).mean())
    assert row["delta_ci_low"] < row["delta_mean"] < row["delta_ci_high"]
    benign = row_of(table_rows(run, "measures"), layer="conv1", condition="benign", measure="active_fraction")
    assert (benign["delta_mean"], benign["delta_ci_low"], benign["effect_size"]) == (None, None, None)


def test_measures_are_told_from_the_control_too(own_folders: Path) -> None:
    run = load_run(record_run(own_folders, controls="sign-noise,anti-fgsm,sign-noise-2"))
    rows, names = table_rows(run, "measures"), run.conditions
    columns = [column.name for column in table_columns(run, "measures")]
    assert columns[-5:] == [
        "control",
        "delta_control_mean",
        "delta_control_ci_low",
        "delta_control_ci_high",
        "effect_size_control",
    ]
    for name, control in zip(
        names, [None, "sign-noise@0.03", "sign-noise-2@0.03", *["sign-noise@0.03"] * 2], strict=True
    ):
        row = row_of(rows, layer="conv2", condition=name, measure="hoyer")
        assert row["control"] == control
        if control is None:
            assert {row[name] for name in columns[-4:]} == {None}
            continue
        values = run.array("hoyer")[:, 1].astype(float)
        difference = values[names.index(name)] - values[names.index(control)]
        assert row["delta_control_mean"] == pytest.approx(difference.mean())
        assert row["delta_control_ci_low"] < row["delta_control_mean"] < row["delta_control_ci_high"]
        assert row["effect_size_control"] == pytest.approx(difference.mean() / difference.std(ddof=1))


def test_layers_and_measures_agree_on_psi(run: Run) -> None:
    layers = row_of(table_rows(run, "layers"), layer="fc1", condition="fgsm@0.03")
    measures = row_of(table_rows(run, "measures"), layer="fc1", condition="fgsm@0.03", measure="psi")
    for name in ("delta_mean", "delta_ci_low", "delta_ci_high", "effect_size"):
        assert measures[name] == pytest.approx(layers[name])


def test_histogram_counts_every_image_that_is_not_silent(run: Run) -> None:
    rows = [row for row in table_rows(run, "histogram") if (row["layer"], row["condition"]) == ("fc1", "benign")]
    assert (len(rows), rows[0]["bin_left"], rows[-1]["bin_right"]) == (20, 0, 1)
    assert sum(row["count"] for row in rows) == 56
    assert sum(row["percent"] for row in rows) == pytest.approx(100)
    assert len(table_rows(run, "histogram", View(bins=40))) == 2 * len(table_rows(run, "histogram"))


def test_class_rows_equal_plain_numbers(run: Run) -> None:
    row = row_of(table_rows(run, "classes"), layer="fc1", condition="fgsm@0.03", label=3)
    of_class = run.labels == 3
    labels, counts, sums = run.class_sums("fc1")
    place = labels.tolist().index(3)
    assert (row["class_name"], row["images"]) == ("3", of_class.sum())
    assert row["accuracy_percent"] == pytest.approx(100 * (run.predictions[1, of_class] == 3).mean())
    assert row["psi_mean"] == pytest.approx(np.nanmean(run.psi[1, 2, of_class].astype(float)))
    assert row["psi_class_mean"] == pytest.approx(population_sparseness(sums[1, place] / counts[place]))


def test_condition_rows_equal_plain_numbers(run: Run) -> None:
    correct = run.predictions == run.labels
    benign, attacked = table_rows(run, "conditions")[:2]
    assert (benign["success_percent"], benign["linf_max"], benign["images"]) == (None, 0, 60)
    assert attacked["success_percent"] == pytest.approx(100 * (~correct[1, correct[0]]).mean())
    assert (attacked["linf_mean"], attacked["l2_mean"]) == pytest.approx((0.03, 0.6))
    assert attacked["zero_gradient_percent"] == 0


def test_image_rows_go_image_by_image(run: Run) -> None:
    rows = table_rows(run, "images")
    assert [row["index"] for row in rows[:5]] == [0, 0, 0, 0, 1]
    assert len(rows) == 60 * len(run.conditions)
    assert rows[1]["psi_conv1"] == float(run.psi[1, 0, 0])
    assert rows[1]["psi_fc1"] is None
    assert rows[1]["correct"] is bool(run.predictions[1, 0] == run.labels[0])


def test_accuracy_is_empty_without_true_labels(own_folders: Path) -> None:
    predicted = load_run(record_run(own_folders, labels="predicted"))
    for rows in (
        table_rows(predicted, "layers"),
        table_rows(predicted, "classes"),
        table_rows(predicted, "conditions"),
    ):
        assert {row["accuracy_percent"] for row in rows} == {None}
    assert {row["peak_accuracy_percent"] for row in table_rows(predicted, "layers")} == {None}
    assert {row["correct"] for row in table_rows(predicted, "images")} == {None}
    assert table_rows(predicted, "conditions")[1]["success_percent"] is not None


def test_a_partial_run_gives_tables_of_what_is_there(own_folders: Path) -> None:
    partial = load_run(record_run(own_folders, chunks=[1], finished=False))
    assert {row["images"] for row in table_rows(partial, "layers")} == {25}
    assert [row["index"] for row in table_rows(partial, "images")][:: len(partial.conditions)] == list(range(25, 50))


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("table", TABLE_NAMES)
def test_one_or_two_images_are_enough_for_every_table(table: str, images: int, own_folders: Path) -> None:
    tiny = load_run(record_run(own_folders, images=images, silent=1))
    assert table_rows(tiny, table)


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_a_run_without_results_says_so(table: str, own_folders: Path) -> None:
    empty = load_run(record_run(own_folders, chunks=[], finished=False))
    with pytest.raises(RunError, match="no results yet"):
        table_rows(empty, table)


@pytest.mark.parametrize(
    ("cell", "kind", "text"),
    [
        (None, "psi", ""),
        (0.123456, "psi", "0.1235"),
        (0.0071, "shift", "+0.0071"),
        (1e-9, "p", "< 0.0001"),
        (39.444, "percent", "39.4"),
        (True, "flag", "yes"),
        (12, "count", "12"),
        (0.03, "epsilon", "0.03"),
    ],
)
def test_readable_cells(cell: object, kind: str, text: str) -> None:
    assert readable(cell, kind) == text


def test_what_the_sd_of_a_shift_is_is_told_where_there_is_noise(own_folders: Path) -> None:
    for controls, count in (("sign-noise", 1), ("anti-fgsm", 0), ("none", 0)):
        notes = table_notes(load_run(record_run(own_folders, controls=controls)), "layers")
        assert sum(note.startswith("beyond, sd:") for note in notes) == count
