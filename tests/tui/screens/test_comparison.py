"""Runs side by side: layers meet by name, whatever their number and order."""

import json
import math
import shutil
from dataclasses import replace

import pytest
from textual.widgets import Static

from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import Finished
from psi_core.runs.finding import load_run
from psi_core.tables.registry import table_rows
from psi_tui.screens.compare import CompareTable
from psi_tui.screens.comparison import (
    NOTHING_IN_COMMON,
    QUANTITIES,
    ComparedRun,
    aligned_layers,
    comparison_curves,
    comparison_rows,
)
from psi_tui.text.formatting import GLYPH_WORDS, beyond_cell
from psi_tui.widgets.dialogs import ErrorDialog
from tests import recorded
from tests.core.living import Worker
from tests.recorded import LAYERS, copy_chunk, record_run
from tests.tui.apps import WIDE, press, running, settled, text_of, until


def run_with(letter, *layers, condition="fgsm@0.03", value=0.0):
    rows = [
        {"layer": layer, "condition": name, "accuracy_percent": 50.0, "delta_mean": value, "psi_mean": 0.5}
        for layer in layers
        for name in ("benign", condition, "sign-noise@0.03")
    ]
    return ComparedRun.from_rows(letter, f"run {letter}", condition, rows)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([("a", "b"), ("a", "b")], ["a", "b"]),
        ([("a", "c"), ("a", "b", "c")], ["a", "b", "c"]),
        ([("a", "b"), ("c", "d")], ["c", "d", "a", "b"]),
        ([("a", "b", "d"), ("b", "c", "d", "e")], ["a", "b", "c", "d", "e"]),
    ],
)
def test_layers_are_aligned_by_name(layers, expected):
    runs = tuple(run_with(letter, *names) for letter, names in zip("ab", layers, strict=True))
    assert aligned_layers(runs) == expected


def test_a_layer_that_a_run_lacks_is_empty_and_a_gap():
    runs = run_with("a", "a", "b", value=0.1), run_with("b", "b", value=0.3)
    rows = comparison_rows(runs, QUANTITIES["shift"])
    assert (rows["a"]["a"], rows["a"]["b"], rows["a"]["difference"]) == (0.1, None, None)
    assert rows["b"]["difference"] == pytest.approx(0.2)
    curves = comparison_curves(runs, QUANTITIES["shift"])
    assert curves.x_labels == ("a", "b")
    assert math.isnan(curves.series[1].y[0])


def test_the_numbers_are_those_of_the_layers_table(own_folders):
    record_run(own_folders, name="mine", shift=0.07)
    rows = table_rows(load_run("mine"), "layers")
    run = ComparedRun.from_rows("a", "mine", "fgsm@0.03", rows)
    for quantity in QUANTITIES.values():
        condition = "benign" if quantity.side == "benign" else "fgsm@0.03"
        for row in rows:
            if row["condition"] == condition:
                assert run.value(row["layer"], quantity) == row[quantity.column]
    assert run.value("conv1", QUANTITIES["shift"]) == pytest.approx(0.07, abs=0.01)


def test_the_command_prints_what_the_screen_shows(psi, own_folders):
    record_run(own_folders, name="one", shift=0.05)
    record_run(own_folders, name="two", shift=0.09)
    outcome = psi("compare", "one", "two")
    assert outcome.code == 0
    assert "a  one: fgsm@0.03, accuracy" in outcome.out
    assert psi("compare", "one", "two", "--quantity", "effect").out == outcome.out, "as the screen begins"
    told = json.loads(psi("compare", "one", "two", "--quantity", "shift", "--json").out)
    assert told["runs"] == ["one", "two"]
    assert (told["conditions"], told["controls"]) == (["fgsm@0.03"] * 2, ["sign-noise@0.03"] * 2)
    assert f"accuracy {told['accuracy_percent'][0]:.1f} → {told['attacked_accuracy_percent'][0]:.1f} %" in outcome.out
    assert told["differences"] == {}
    (conv1, *_) = told["layers"]
    assert conv1["difference"] == pytest.approx(0.04, abs=1e-6)
    assert f"{conv1['b']:+.4f}" in psi("compare", "one", "two", "--quantity", "shift").out
    for words in (["one"], ["one", "two", "--quantity", "shfit"]):
        assert psi("compare", *words).code == 2


def test_what_differs_is_said_and_which_run_is_not_finished(psi, own_folders):
    record_run(own_folders, name="whole")
    record_run(own_folders, name="part", seed=9, chunks=(0,), finished=False)
    assert "differ in  images: a 60, b 60 (" in psi("compare", "whole", "part").out
    assert "configured alike" in psi("compare", "whole", "whole").out
    told = json.loads(psi("compare", "whole", "part", "--json").out)
    assert told["differences"]["images"][0] == "60"


def test_without_noise_it_begins_with_the_shift(psi, own_folders):
    for name in ("one", "two"):
        record_run(own_folders, name=name, controls="none")
    assert json.loads(psi("compare", "one", "two", "--json").out)["quantity"] == "shift"


def test_runs_without_a_common_layer_are_told_so(psi, own_folders, monkeypatch):
    record_run(own_folders, name="one")
    monkeypatch.setattr(recorded, "LAYERS", tuple(replace(layer, name=f"b.{layer.name}") for layer in LAYERS))
    record_run(own_folders, name="two")
    assert NOTHING_IN_COMMON in psi("compare", "one", "two").out
    assert NOTHING_IN_COMMON not in psi("compare", "one", "one").out


@pytest.mark.usefixtures("warm_engine")
async def test_the_screen_says_so_too(own_folders, monkeypatch):
    one = record_run(own_folders, name="one")
    monkeypatch.setattr(recorded, "LAYERS", tuple(replace(layer, name=f"b.{layer.name}") for layer in LAYERS))
    two = record_run(own_folders, name="two")
    async with running(own_folders) as (app, pilot):
        app.compare([one, two])
        await until(pilot, lambda: NOTHING_IN_COMMON in text_of(app), "the sentence")


def test_runs_are_compared_under_a_condition_that_all_have(psi, own_folders):
    record_run(own_folders, name="one", epsilon="0.03,0.1")
    record_run(own_folders, name="two", epsilon="0.03")
    record_run(own_folders, name="three", epsilon="0.05")
    assert psi("compare", "one", "two").out.count("fgsm@0.03") == 2
    apart = psi("compare", "one", "three").out
    assert "fgsm@0.1" in apart
    assert "fgsm@0.05" in apart
    assert psi("compare", "one", "two", "--condition", "anti-fgsm@0.03").out.count("anti-fgsm@0.03") == 2
    assert psi("compare", "one", "two", "--condition", "fgsm@0.1").code == 2


def test_a_shift_beyond_the_control_names_the_control_and_unlike_ones(psi, own_folders):
    record_run(own_folders, name="one", shift=0.05)
    record_run(own_folders, name="two", shift=0.05, controls="anti-fgsm")
    record_run(own_folders, name="three", shift=0.05, controls="none")
    told = psi("compare", "one", "one", "--quantity", "control").out
    assert "shift beyond the control: sign-noise@0.03\n" in told
    told = psi("compare", "one", "two", "three", "--quantity", "control").out
    assert "shift beyond the control: a sign-noise@0.03, b anti-fgsm@0.03, c none" in told
    rows = {row["layer"]: row for row in table_rows(load_run("two"), "layers") if row["condition"] == "fgsm@0.03"}
    conv1 = next(line for line in told.splitlines() if line.startswith("conv1"))
    assert f"{rows['conv1']['delta_control_mean']:+.4f}" in conv1
    assert "control:" not in psi("compare", "one", "two").out


async def test_the_screen_steps_through_the_conditions_in_common(own_folders):
    runs = [record_run(own_folders, name=name, epsilon=epsilon) for name, epsilon in (("a", "0.03,0.1"), ("b", "0.03"))]
    async with running(own_folders) as (app, pilot):
        app.compare(runs)
        await until(pilot, lambda: "conv1" in text_of(app), "the numbers")
        assert app.screen.conditions == ["fgsm@0.03", "fgsm@0.03"]
        await press(pilot, "c")
        assert app.screen.conditions == ["sign-noise@0.03"] * 2
        await press(pilot, "m")
        assert "shift beyond the control" in text_of(app)


async def test_a_comparison_comes_back_at_the_next_start(own_folders):
    runs = [record_run(own_folders, name=name) for name in ("a", "b")]
    async with running(own_folders) as (app, pilot):
        app.compare(runs)
        await until(pilot, lambda: "conv1" in text_of(app), "the numbers")
    async with running(own_folders) as (app, pilot):
        await until(pilot, lambda: "conv1" in text_of(app), "the numbers again")
        assert app.current_mode == "compare"


def test_a_shift_beyond_noise_stands_beside_what_its_verdict_claims(own_folders, psi):
    for name, seed in (("one", 7), ("two", 8)):
        record_run(own_folders, name=name, seed=seed, images=200, chunk=100)
    out = psi("compare", "one", "two").out
    for name, place in (("one", 1), ("two", 3)):
        for row in table_rows(load_run(name), "layers"):
            if row["condition"] == "fgsm@0.03":
                line = next(line for line in out.splitlines() if line.startswith(f"{row['layer']} "))
                assert " ".join(line.split()[place : place + 2]) == beyond_cell(row)
    assert GLYPH_WORDS in " ".join(out.split())
    assert GLYPH_WORDS not in " ".join(psi("compare", "one", "two", "--quantity", "auroc").out.split())


async def test_with_nothing_to_compare_the_line_of_keys_names_none_that_compares(own_folders):
    directories = [record_run(own_folders, name=name) for name in ("one", "two")]
    async with running(own_folders) as (app, pilot):
        await press(pilot, "5")
        assert text_of(app).splitlines()[-1].split() == ["?", "help", "q", "quit"]
        app.compare(directories)
        await until(pilot, lambda: "next quantity" in text_of(app).splitlines()[-1], "the keys")


def legend(app):
    return str(app.screen.query_one("#compare-legend", Static).render())


async def test_runs_that_grow_are_followed_and_what_was_chosen_stays(own_folders):
    worker = Worker()
    whole = record_run(own_folders, name="whole", shift=0.05)
    part = record_run(own_folders, name="part", shift=0.09, chunks=[0], finished=False, identity=worker.identity)
    later = record_run(own_folders, name="later", shift=0.09)
    async with running(own_folders, WIDE) as (app, pilot):
        app.compare([whole, part])
        await until(pilot, lambda: app.screen.runs, "the numbers")
        assert "b 60 (running)" in legend(app)
        await press(pilot, "c", "down")
        table, first = app.screen.query_one(CompareTable), app.screen.runs[1]
        assert table.current == "conv2"
        for number in (1, 2):
            copy_chunk(later, part, number)
        EventLog(events_path(part, 0)).write(Finished())
        worker.bury()
        await until(pilot, lambda: "configured alike" in legend(app), "the end of the run")
        second = app.screen.runs[1]
        rows = {row["condition"]: row for row in table_rows(load_run("part"), "layers") if row["layer"] == "conv1"}
        assert first.layers["conv1"]["attacked"] != second.layers["conv1"]["attacked"] == rows["sign-noise@0.03"]
        assert (table.current, app.screen.conditions) == ("conv2", ["sign-noise@0.03"] * 2)


async def test_a_run_without_results_is_named_and_comes_in_once_it_has_some(own_folders):
    one, later = (record_run(own_folders, name=name) for name in ("one", "later"))
    two = record_run(own_folders, name="two", chunks=[], finished=False)
    async with running(own_folders) as (app, pilot):
        app.compare([one, two])
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "why one is missing")
        await settled(pilot)
        await press(pilot, "escape")
        assert "missing: two: " in legend(app)
        assert app.screen.query_one(CompareTable).shown_titles == ["layer", "a"], "nothing to subtract"
        await press(pilot, "1")
        copy_chunk(later, two, 0)
        app.compare([one, two])
        await until(pilot, lambda: len(app.screen.runs) == 2, "both")
        await settled(pilot)
        assert "missing" not in legend(app)
        assert "b - a" in text_of(app)
        shutil.rmtree(one)
        shutil.rmtree(two)
        await until(pilot, lambda: not app.screen.runs, "the end of both")
        assert len(app.screen_stack) == 1, "nobody has asked for them now"
        assert "conv1" not in text_of(app)


async def test_what_differs_is_told_whole_once_there_is_room(own_folders):
    options = {"a": {"epsilon": "0.03", "batch": 1, "threads": 1}, "b": {"epsilon": "0.05", "batch": 2, "threads": 2}}
    runs = [record_run(own_folders, name=name, **values) for name, values in options.items()]
    async with running(own_folders, (60, 30)) as (app, pilot):
        app.compare(runs)
        await until(pilot, lambda: app.screen.runs, "the numbers")
        cut = legend(app)
        assert "threads: a 1" not in cut
        await pilot.resize_terminal(160, 30)
        await until(pilot, lambda: "threads: a 1, b 2" in legend(app), "the whole line")
        await pilot.resize_terminal(60, 30)
        await until(pilot, lambda: legend(app) == cut, "its names")


async def test_enter_opens_the_first_run_at_the_layer_whatever_was_shown_of_it(own_folders, monkeypatch):
    one = record_run(own_folders, name="one")
    monkeypatch.setattr(recorded, "LAYERS", (*LAYERS[:2], replace(LAYERS[2], name="fc9")))
    two = record_run(own_folders, name="two")

    def is_there(layer):
        choices = app.current_mode == "results" and app.screen.is_ready and app.screen.choices
        return choices and choices.layer == layer and app.screen.tabs.active == "layers"

    async with running(own_folders) as (app, pilot):
        app.compare([one, two])
        await until(pilot, lambda: app.screen.runs, "the numbers")
        for layer in ("conv2", "fc1", "conv1"):
            app.screen.query_one(CompareTable).select_key(layer)
            await press(pilot, "enter")
            await until(pilot, lambda layer=layer: is_there(layer), layer)
            await settled(pilot)
            await press(pilot, "less_than_sign", "5")
        app.screen.query_one(CompareTable).select_key("fc9")
        await press(pilot, "enter")
        assert app.current_mode == "compare"
        assert "run a has no layer fc9" in app.heard[-1]
