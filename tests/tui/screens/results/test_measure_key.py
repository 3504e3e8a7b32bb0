"""The key for the next measure: tables, histograms and curves show its numbers, titles its name."""

import numpy as np
import pytest
from textual.widgets import Static, TabbedContent

from psi_core.measures import MEASURES
from psi_core.runs.finding import load_run
from psi_core.statistics.histograms import display_edges
from psi_core.tables.columns import readable
from psi_core.tables.registry import View, table_rows
from psi_tui.screens.results.all_layers import AllLayersTab
from psi_tui.widgets.plot import Plot
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")


def figure(app, plot):
    return app.screen.query_one(plot, Plot).figure


def of_layer(run, measure, layer, **options):
    return {
        row["condition"]: row
        for row in table_rows(run, "layers", View(measure=measure, **options))
        if row["layer"] == layer
    }


async def go_to(app, pilot, tab):
    app.screen.query_one(TabbedContent).active = tab
    await settled(pilot)


async def test_m_goes_through_the_measures_of_the_run_and_all_that_is_shown_follows(own_folders):
    directory = record_run(own_folders, name="mine", measures="psi,n_eff,active_fraction")
    run = load_run("mine")
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        for measure, heading in (("n_eff", "N_eff"), ("active_fraction", "active fraction"), ("psi", "PSI")):
            await press(pilot, "m")
            await until(pilot, lambda heading=heading: f"Δ {heading}" in text_of(app), f"the table of {measure}")
            await settled(pilot)
            rows = of_layer(run, measure, "conv1")
            attacked, noise = rows["fgsm@0.03"], rows["sign-noise@0.03"]
            line = next(line for line in text_of(app).splitlines() if "│ conv1  " in line)
            assert readable(attacked["delta_mean"], "shift") in line
            assert readable(attacked["delta_sd"], "sd") in line
            assert app.screen.query_one("#verdict", Static).content == f"conv1: {attacked['verdict']}"
            values = run.array(measure)[:, 0].astype(np.float64)
            edges = display_edges(values, 40, measure)
            shown = figure(app, "#histogram")
            assert list(shown.edges) == edges.tolist()
            assert list(shown.lower) == np.histogram(values[1], edges)[0].tolist()
            assert f"{heading} of conv1" in text_of(app)
            profile = figure(app, "#layer-profile")
            assert profile.y_title == f"mean shift of {heading}"
            assert {series.name: (series.role, series.y[0]) for series in profile.series} == {
                "fgsm - benign": ("attacked", pytest.approx(attacked["delta_mean"])),
                "fgsm - sign-noise": ("beyond", pytest.approx(attacked["delta_control_mean"])),
                "sign-noise - benign": ("control", pytest.approx(noise["delta_mean"])),
            }


async def test_small_histograms_show_the_measure_and_both_differences(own_folders):
    directory = record_run(own_folders, name="mine", measures="psi,n_eff")
    run = load_run("mine")
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        await go_to(app, pilot, "all_layers")
        await press(pilot, "m")
        assert "N_eff: up benign, down fgsm@0.03   Δ from benign, from control" in text_of(app)
        for layer, name in enumerate(run.layers):
            row = of_layer(run, "n_eff", name)["fgsm@0.03"]
            delta, beyond = (readable(row[f"delta{part}_mean"], "shift") for part in ("", "_control"))
            assert f"{name}  Δ {delta}, {beyond}" in text_of(app)
            small = app.screen.query_one(AllLayersTab)._small[layer].plot.figure
            expected = np.histogram(run.array("n_eff")[0, layer].astype(np.float64), np.array(small.edges))[0]
            assert list(small.upper) == expected.tolist()
        await press(pilot, "v")
        assert "mean shift of N_eff under fgsm@0.03" in text_of(app)


async def test_epsilon_curves_are_of_the_chosen_attack_measure_layer_and_subset(own_folders):
    directory = record_run(own_folders, name="mine", attack="fgsm,pgd", epsilon="0,0.03,0.1", images=300, chunk=150)
    run = load_run("mine")
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        await go_to(app, pilot, "epsilon")
        await press(pilot, "right_square_bracket")
        for attack, measure, subset, key in (
            ("fgsm", "psi", "all", "c"),
            ("pgd", "psi", "all", "m"),
            ("pgd", "active_fraction", "all", "f"),
            ("pgd", "active_fraction", "correct", ""),
        ):
            await until(pilot, lambda: figure(app, "#shift-curves"), "the curves")
            rows = of_layer(run, measure, "conv2", subset=subset)
            curves = {series.name: series for series in figure(app, "#shift-curves").series}
            assert list(curves) == [f"{attack} - benign", f"{attack} - sign-noise", "sign-noise - benign"]
            for name, part, series in zip(
                (attack, attack, "sign-noise"), ("", "_control", ""), curves.values(), strict=True
            ):
                assert series.x == (0.0, 0.03, 0.1)
                expected = [0.0, *(rows[f"{name}@{epsilon}"][f"delta{part}_mean"] for epsilon in (0.03, 0.1))]
                assert series.y == pytest.approx(expected)
            assert ("correct only" in text_of(app)) == (subset == "correct")
            if key:
                await press(pilot, key)


async def test_every_attack_has_its_accuracies_and_the_chosen_one_leads(own_folders):
    directory = record_run(own_folders, name="mine", attack="fgsm,pgd", epsilon="0.03,0.1")
    accuracies = {row["condition"]: row["accuracy_percent"] for row in table_rows(load_run("mine"), "conditions")}
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        await go_to(app, pilot, "epsilon")
        for leading in ("fgsm", "pgd", "sign-noise", "anti-fgsm", "fgsm"):
            await until(pilot, lambda: figure(app, "#accuracy-curves"), "the curves")
            first, *others = figure(app, "#accuracy-curves").series
            assert app.screen.choices.condition == f"{leading}@0.1"
            assert first.name == leading
            assert first.role == ("control" if leading == "sign-noise" else "attacked")
            assert {each.name for each in (first, *others)} == {"fgsm", "pgd", "sign-noise", "anti-fgsm"}
            for each in (first, *others):
                expected = [accuracies[name] for name in ("benign", f"{each.name}@0.03", f"{each.name}@0.1")]
                assert each.y == pytest.approx(expected)
            assert f"shifts are of {leading};" in text_of(app)
            await press(pilot, "c")


async def test_an_attack_without_a_control_has_one_curve(own_folders):
    directory = record_run(own_folders, controls="none", epsilon="0.03,0.1")
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        await go_to(app, pilot, "epsilon")
        await until(pilot, lambda: figure(app, "#shift-curves"), "the curves")
        assert [series.name for series in figure(app, "#shift-curves").series] == ["fgsm - benign"]
        await press(pilot, "c")
        assert "only condition to choose here" in app.heard[-1]


async def test_m_says_what_it_took_and_a_run_without_that_shows_psi(own_folders):
    both = record_run(own_folders, name="both", measures="psi,hoyer,n_eff")
    bare = record_run(own_folders, name="bare", measures="psi")
    async with running(own_folders, WIDE, open_directory=both) as (app, pilot):
        await press(pilot, "m")
        assert app.heard[-1].startswith("Hoyer: Hoyer's sparseness")
        await go_to(app, pilot, "log")
        await press(pilot, "m")
        assert (
            app.heard[-1] == f"measure: {MEASURES['n_eff'].heading}, shown in Layers, All layers, Map, Epsilon, Study"
        )
        await go_to(app, pilot, "layers")
        app.open_run(bare)
        await until(pilot, lambda: app.snapshot is not None and app.snapshot.run.name == "bare", "the other run")
        await until(pilot, lambda: "Δ PSI" in text_of(app), "its table")
        await press(pilot, "m")
        assert app.screen.choices.measure == "psi"
        assert "only measure of this run" in app.heard[-1]


async def test_export_writes_what_is_looked_at_too(own_folders, tmp_path):
    async with running(own_folders, NARROW, open_directory=record_run(own_folders, measures="psi,n_eff")) as (
        app,
        pilot,
    ):
        await press(pilot, "m", "e")
        assert "of N_eff too" in text_of(app)
        app.screen.query_one("#folder").value = str(tmp_path)
        await press(pilot, "enter")
        await until(pilot, lambda: "files written" in app.heard[-1], "the files", 60)
        assert {"layers.csv", "layers-n_eff.csv", "histogram-n_eff.csv"} <= {path.name for path in tmp_path.iterdir()}
