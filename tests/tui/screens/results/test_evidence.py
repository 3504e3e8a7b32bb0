"""Tab Evidence: every check with its mark and its whole sentence, and detectors beside the control."""

from types import SimpleNamespace

import pytest

from psi_core.errors import RunError
from psi_core.runs.finding import load_run
from psi_core.tables.registry import table_rows
from psi_tui.screens.results import store as store_module
from psi_tui.screens.results.evidence import MARKS, CheckList, check_lines
from psi_tui.screens.results.store import TableStore
from psi_tui.text.formatting import format_cell
from tests.core.living import Worker
from tests.recorded import copy_chunk, record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")

PLANTED = [
    {"check": "clean accuracy", "status": "green", "value": 99.4, "sentence": "nearly all, 99.4 %, are right before"},
    {
        "check": "noise",
        "status": "amber",
        "value": -2.2132,
        "sentence": f"noise fools {'very ' * 30}few, 2.8 % of them",
    },
    {"check": "images", "status": "red", "value": 50, "sentence": "too few; add --images 1000"},
    {"check": "epsilon 0", "status": "none", "value": None, "sentence": "not there; add --epsilon 0,0.03"},
]


async def open_tab(app, pilot):
    app.screen.query_one("#tabs").active = "evidence"
    await until(pilot, lambda: app.screen.view.tables.get("detectors"), "the detectors")
    await settled(pilot)


@pytest.mark.parametrize("width", [38, 60, 77, 100, 138, 198])
def test_every_check_is_whole_at_any_width_and_its_mark_needs_no_color(width):
    lines = check_lines(PLANTED, width).plain.splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for row in PLANTED:
        (head,) = (line for line in lines if line[0] != " " and f"{line[4:]} ".startswith(f"{row['check']} "))
        assert head.split()[0] == MARKS[row["status"]]
        for word in row["sentence"].split():
            assert word in text
    assert not any(line.lstrip().startswith("%") for line in lines), "a number is never parted from its percent sign"


def test_four_marks_tell_four_statuses_apart():
    assert len(set(MARKS.values())) == 4


async def test_the_checks_are_those_of_the_evidence_table_and_counted_where_all_do_not_fit(own_folders):
    directory = record_run(own_folders, name="mine", attack="fgsm,pgd", epsilon="0,0.03")
    rows = table_rows(load_run("mine"), "evidence")
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        await open_tab(app, pilot)
        listed = app.screen.query_one(CheckList)
        assert listed.text().splitlines() == [
            "\t".join((MARKS[row["status"]], row["check"], row["sentence"])) for row in rows
        ]
        title = text_of(app).splitlines()[3]
        assert f"{len(rows)} checks: " in title
        for status, mark in MARKS.items():
            count = sum(row["status"] == status for row in rows)
            words = {"ok": f" {count} ok"}.get(mark, f"({mark})")
            assert (words in title) == bool(count)
        before = text_of(app)
        await press(pilot, "j", "j")
        assert listed.scroll_y == 2
        assert text_of(app) != before
        await press(pilot, "G")
        last = " ".join(" ".join(text_of(app).split("─PSI as")[0].split()).split()[-4:])
        assert last in " ".join(rows[-1]["sentence"].split()), "the last is in sight"


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80", "140"])
async def test_detectors_stand_beside_the_control_all_layers_together_first(own_folders, size):
    directory = record_run(own_folders, name="mine", epsilon="0.03,0.1", images=200, chunk=100)
    run = load_run("mine")
    rows = table_rows(run, "detectors")
    controls = {condition.name: condition.control for condition in run.condition_details}
    async with running(own_folders, size, open_directory=directory) as (app, pilot):
        await open_tab(app, pilot)
        for _ in run.conditions[1:]:
            condition = app.screen.choices.condition
            reference = controls[condition] or "benign"
            assert f"{condition} against {reference}" in text_of(app)
            table = app.screen.query_one("#detector-table")
            shown = [line.split("\t") for line in table.tab_separated().splitlines()]
            assert [line[0] for line in shown[1:]] == ["all", *run.layers]
            expected = {
                row["layer"]: row for row in rows if (row["condition"], row["reference"]) == (condition, reference)
            }
            for layer, area, interval, specificity, *_ in shown[1:]:
                row = expected[layer]
                assert area == format_cell(row["auroc"], "number")
                low, high = (format_cell(row[f"auroc_ci_{end}"], "number") for end in ("low", "high"))
                assert interval == f"{low}..{high}"
                assert specificity == format_cell(row["tnr_percent"], "percent")
            (warning,) = (line for line in text_of(app).splitlines() if "told from benign images" in line)
            assert ("no control to compare with" in warning) == (reference == "benign")
            await press(pilot, "c")


async def test_enter_shows_the_histogram_of_a_layer(own_folders):
    directory = record_run(own_folders)
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        await open_tab(app, pilot)
        await press(pilot, "tab", "enter")
        assert "no histogram" in app.heard[-1], "all layers together"
        await press(pilot, "j", "j", "enter")
        assert app.screen.query_one("#tabs").active == "layers"
        assert app.screen.choices.layer == "conv2"


async def test_a_live_run_shows_what_is_there_so_far(own_folders):
    worker = Worker()
    other = record_run(own_folders.parent / "other", images=100)
    live = record_run(own_folders, images=100, chunks=[0], finished=False, identity=worker.identity)
    async with running(own_folders, NARROW, open_directory=live) as (app, pilot):
        await open_tab(app, pilot)
        assert "25 images so far" in app.screen.query_one(CheckList).text()
        copy_chunk(other, live, 1)
        await until(pilot, lambda: "50 images so far" in app.screen.query_one(CheckList).text(), "the growing run")
    worker.bury()


def test_a_growing_runs_checks_have_a_fifth_of_the_clients_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(store_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    class Slow:
        def ask(self, *_, **__):
            now[0] += 0.05
            return [{}]

    store = TableStore(tmp_path, Slow())
    question = ("evidence", "all", "psi")
    assert store.is_due(*question, (0,))
    store.fetch(*question, (0,), True, lambda: True)
    assert not store.is_due(*question, (0, 1)), "new results, but too soon"
    now[0] += 0.19
    assert not store.is_due(*question, (0, 1))
    now[0] += 0.02
    assert store.is_due(*question, (0, 1))


async def test_checks_that_cannot_be_had_say_why(own_folders, monkeypatch):
    directory = record_run(own_folders)
    async with running(own_folders, NARROW) as (app, pilot):
        ask = app.statistics.ask

        def refuse(kind, **fields):
            if fields.get("table") == "evidence":
                raise RunError("evidence: planted; wait")
            return ask(kind, **fields)

        monkeypatch.setattr(app.statistics, "ask", refuse)
        app.open_run(directory)
        await until(pilot, lambda: app.screen.NAME == "results" and app.screen.choices is not None, "the run")
        await settled(pilot)
        await open_tab(app, pilot)
        await until(pilot, lambda: "evidence: planted; wait" in text_of(app), "the reason")
        assert "PSI as a detector" in text_of(app), "what is there is shown"
