"""Layers and histogram tables of every measure: the same columns, their numbers those of plain computations."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from psi_core import ConfigError, Run, load_run
from psi_core.measures import DEFAULT_MEASURES, MEASURES
from psi_core.statistics.histograms import display_edges, measure_edges, table_edges
from psi_core.tables.columns import readable
from psi_core.tables.export import export_run, table_text
from psi_core.tables.layers import layer_columns
from psi_core.tables.registry import (
    TABLE_NAMES,
    View,
    cached_rows,
    table_columns,
    table_notes,
    table_rows,
    tables_taking,
)
from tests.recorded import record_run

OTHERS = DEFAULT_MEASURES[1:]

MEASURE_TABLES = tables_taking("measure")


@pytest.fixture
def run(own_folders: Path) -> Run:
    return load_run(record_run(own_folders, silent=4, name="mine"))


def row_of(rows: list[dict], **values: object) -> dict:
    (row,) = [row for row in rows if all(row[name] == value for name, value in values.items())]
    return row


def own_values(run: Run, measure: str, layer: int, condition: int) -> np.ndarray:
    values = run.array(measure)[condition, layer].astype(float)
    return values[~np.isnan(values)]


@pytest.mark.parametrize("measure", MEASURES)
def test_only_the_measures_own_columns_are_called_otherwise(measure: str) -> None:
    usual = [column.name for column in layer_columns()]
    own = [f"{measure}_{part}" for part in ("mean", "sd", "median", "q25", "q75")]
    place = usual.index("psi_mean")
    names = [column.name for column in layer_columns(measure)]
    assert names[place : place + 5] == own
    rest = [*usual[:place], *usual[place + 5 :]]
    if measure == "active_fraction":
        rest.remove("active_fraction_mean")
    assert [*names[:place], *names[place + 5 :]] == rest
    assert len(set(names)) == len(names)
    spoken = " ".join(column.help for column in layer_columns(measure))
    assert MEASURES[measure].heading in spoken
    assert measure == "psi" or "PSI" not in spoken


def test_psi_is_what_tables_speak_of_unasked(run: Run) -> None:
    assert table_rows(run, "layers", View(subset="correct", bins=7)) == table_rows(
        run, "layers", View(subset="correct", bins=7, measure="psi")
    )
    assert table_rows(run, "histogram", View(bins=7)) == table_rows(run, "histogram", View(bins=7, measure="psi"))
    assert table_columns(run, "layers") == layer_columns("psi")


@pytest.mark.parametrize("measure", OTHERS)
def test_layer_rows_equal_plain_numbers(measure: str, run: Run) -> None:
    rows = table_rows(run, "layers", View(measure=measure))
    assert [list(row) for row in rows] == [[column.name for column in layer_columns(measure)]] * len(rows)
    row = row_of(rows, layer="conv1", condition="fgsm@0.03")
    benign, attacked, noise = (own_values(run, measure, 0, condition) for condition in (0, 1, 2))
    assert run.conditions[2] == row["control"] == "sign-noise@0.03"
    assert (row["images"], row["silent"]) == (60, 0)
    assert row[f"{measure}_mean"] == pytest.approx(attacked.mean())
    assert row[f"{measure}_sd"] == pytest.approx(attacked.std(ddof=1))
    assert row[f"{measure}_q25"] == pytest.approx(np.quantile(attacked, 0.25))
    assert row["delta_mean"] == pytest.approx((attacked - benign).mean())
    assert row["delta_ci_low"] < row["delta_mean"] < row["delta_ci_high"]
    assert row["delta_control_mean"] == pytest.approx((attacked - noise).mean())
    assert row["p_value"] == pytest.approx(scipy.stats.wilcoxon(attacked - benign).pvalue)
    assert row["auroc"] == pytest.approx(scipy.stats.mannwhitneyu(attacked, benign).statistic / 60**2)


@pytest.mark.parametrize("measure", DEFAULT_MEASURES)
def test_peak_and_overlap_are_those_of_the_histogram_table(measure: str, run: Run) -> None:
    bins = {}
    for row in table_rows(run, "histogram", View(bins=10, measure=measure)):
        bins.setdefault((row["layer"], row["condition"]), []).append(row)
    for row in table_rows(run, "layers", View(bins=10, measure=measure)):
        own, benign = bins[row["layer"], row["condition"]], bins[row["layer"], "benign"]
        fullest = max(own, key=lambda each: each["count"])
        assert (row["peak_left"], row["peak_right"]) == (fullest["bin_left"], fullest["bin_right"])
        assert row["peak_percent"] == pytest.approx(fullest["percent"])
        if row["condition"] != "benign":
            shares = [np.array([each["count"] for each in part], float) for part in (own, benign)]
            common = np.minimum(*(share / share.sum() for share in shares)).sum()
            assert row["overlap"] == pytest.approx(common)


@pytest.mark.parametrize("measure", DEFAULT_MEASURES)
def test_histogram_counts_are_numpys_on_edges_that_conditions_share(measure: str, run: Run) -> None:
    rows = table_rows(run, "histogram", View(bins=8, measure=measure))
    for layer, name in enumerate(run.layers):
        every = run.array(measure)[:, layer].astype(float)
        low, high = np.nanpercentile(every, (0.1, 99.9))
        for condition, called in enumerate(run.conditions):
            own = [row for row in rows if (row["layer"], row["condition"]) == (name, called)]
            edges = np.array([own[0]["bin_left"], *(row["bin_right"] for row in own)])
            expected = table_edges(8) if MEASURES[measure].is_share else np.linspace(low, high, 9)
            assert edges == pytest.approx(expected)
            counts = np.histogram(own_values(run, measure, layer, condition), edges)[0]
            assert [row["count"] for row in own] == counts.tolist()


def test_layers_and_measures_tables_agree(run: Run) -> None:
    measures = table_rows(run, "measures")
    for measure in run.measures:
        for row in table_rows(run, "layers", View(measure=measure)):
            other = row_of(measures, layer=row["layer"], condition=row["condition"], measure=measure)
            assert other["mean"] == row[f"{measure}_mean"]
            assert other["delta_mean"] == row["delta_mean"]


def test_verdicts_say_which_way_a_measure_points(run: Run) -> None:
    said = {
        measure: row_of(table_rows(run, "layers", View(measure=measure)), layer="conv1", condition="fgsm@0.03")[
            "verdict"
        ]
        for measure in run.measures
    }
    words = {measure: verdict.removeprefix("beyond noise: ").partition(" by ")[0] for measure, verdict in said.items()}
    assert words == {  # PSI rises in this run, and so does Hoyer's; the others fall.
        "psi": "sparser",
        "hoyer": "sparser",
        "n_eff": "sparser (lower)",
        "active_fraction": "sparser (lower)",
        "mean_response": "lower",
    }


def test_a_silent_image_counts_where_its_measure_has_a_value(run: Run) -> None:
    silent = {
        measure: row_of(table_rows(run, "layers", View(measure=measure)), layer="fc1", condition="benign")
        for measure in OTHERS
    }
    for measure, row in silent.items():
        assert row["silent"] == np.isnan(run.array(measure)[0, 2]).sum()


@pytest.mark.parametrize("table", MEASURE_TABLES)
def test_a_measure_that_the_run_lacks_is_refused_with_those_it_has(table: str, own_folders: Path) -> None:
    older = load_run(record_run(own_folders, name="older", measures="psi,active_fraction"))
    with pytest.raises(
        ConfigError, match=r"older has psi, active_fraction, no n_eff; .*--measures psi,active_fraction,n_eff"
    ):
        table_rows(older, table, View(measure="n_eff"))
    with pytest.raises(ConfigError, match="did you mean 'hoyer'"):
        table_rows(older, table, View(measure="hoier"))


def test_tables_without_measures_say_so(run: Run) -> None:
    for table in set(TABLE_NAMES) - set(MEASURE_TABLES):
        with pytest.raises(ConfigError, match=f"the {table} table takes none; .*layers or histogram"):
            table_rows(run, table, View(measure="hoyer"))


def test_every_measure_has_its_own_place_in_the_cache(run: Run) -> None:
    for measure in (*run.measures, *run.measures):
        rows = cached_rows(run, "layers", View(measure=measure))
        assert rows[1]["delta_mean"] == table_rows(run, "layers", View(measure=measure))[1]["delta_mean"]


def test_export_writes_other_measures_beside_the_tables(run: Run, tmp_path: Path) -> None:
    export_run(run, tmp_path / "plain", "csv", MEASURE_TABLES)
    both = export_run(run, tmp_path / "both", "csv", MEASURE_TABLES, ["hoyer", "psi", "hoyer", "n_eff"])
    beside = [f"{table}-{measure}.csv" for table in MEASURE_TABLES for measure in ("hoyer", "n_eff")]
    assert [path.name for path in both] == [*(f"{table}.csv" for table in MEASURE_TABLES), *beside]
    written = (tmp_path / "both" / "layers-hoyer.csv").read_text()
    assert written == table_text(
        run, "layers", table_rows(run, "layers", View(measure="hoyer")), "csv", View(measure="hoyer")
    )
    assert (tmp_path / "both" / "layers.csv").read_bytes() == (tmp_path / "plain" / "layers.csv").read_bytes()
    one = export_run(run, tmp_path / "one", "md", ["histogram", "classes"], ["n_eff"])
    assert [path.name for path in one] == ["histogram.md", "classes.md", "histogram-n_eff.md"]


@pytest.mark.parametrize(
    ("tables", "measure", "said"),
    [(["layers"], "kurtosis", "no kurtosis"), (["classes"], "hoyer", "export one of them")],
)
def test_export_refuses_before_anything_is_written(
    tables: list[str], measure: str, said: str, run: Run, own_folders: Path, tmp_path: Path
) -> None:
    empty = load_run(record_run(own_folders, chunks=[], finished=False))
    for each in (run, empty):
        with pytest.raises(ConfigError, match=said):
            export_run(each, tmp_path / "out", "csv", tables, [measure])
    assert not (tmp_path / "out").exists()


def test_pages_say_what_is_measured_and_where_the_bins_lie(run: Run) -> None:
    told = table_notes(run, "layers", View(measure="n_eff"))
    assert told[0].startswith("N_eff: Effective number")
    assert "20 bins over the layer's range" in told[1]
    assert "range" not in " ".join(table_notes(run, "layers", View(measure="hoyer")))
    assert "N_eff" in table_text(
        run, "layers", table_rows(run, "layers", View(measure="n_eff")), "md", View(measure="n_eff")
    )


@pytest.mark.parametrize("value", [0.0, 12.0, 5e4, -1.5, 1e-4])
def test_values_all_alike_get_narrow_bins_around_them(value: float) -> None:
    edges = measure_edges(np.full((2, 5), value), "n_eff", 4)
    assert (np.diff(edges) > 0).all()
    assert edges[0] < value < edges[-1]
    assert edges[-1] - edges[0] == pytest.approx(1e-3 * abs(value or 1))


def test_a_small_spread_of_small_values_is_no_rounding() -> None:
    values = np.linspace(1e-7, 3e-7, 1000)
    assert display_edges(values, 2, "mean_response") == pytest.approx(np.quantile(values, (0.001, 0.5, 0.999)))


@pytest.mark.parametrize(
    ("cell", "kind", "text"),
    [
        (1.0, "psi", "1.0000"),
        (-1.0, "shift", "-1.0000"),
        (1.2567, "psi", "1.257"),
        (22.3134, "psi", "22.31"),
        (-11.5731, "shift", "-11.57"),
        (711.691, "psi", "711.7"),
        (52341.4, "psi", "52341"),
        (float("inf"), "shift", "+inf"),
    ],
)
def test_large_values_have_four_digits(cell: float, kind: str, text: str) -> None:
    assert readable(cell, kind) == text
