"""The results screen of a run whose labels are the network's own predictions: no accuracy is drawn or claimed."""

import pytest
from textual.widgets import TabbedContent

from psi_core.runs.finding import load_run
from psi_core.tables.registry import table_rows
from psi_tui.screens.results.epsilon import EpsilonTab
from psi_tui.widgets.plot import Plot
from tests.recorded import record_run
from tests.tui.apps import WIDE, running, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")


def show_tab(app, tab):
    app.screen.query_one(TabbedContent).active = tab


async def test_classes_say_why_there_is_no_accuracy(own_folders):
    directory = record_run(own_folders, labels="predicted")
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        show_tab(app, "classes")
        await until(pilot, lambda: "no accuracy: labels are" in text_of(app), "why there is none")
        assert "r over" not in text_of(app)


@pytest.mark.parametrize(("labels", "title"), [("predicted", "fooled %"), ("true", "accuracy %")])
async def test_the_epsilon_curves_show_what_the_labels_allow(own_folders, labels, title):
    directory = record_run(own_folders, labels=labels, epsilon="0.01,0.03")
    rows = {row["condition"]: row for row in table_rows(load_run(directory), "conditions")}
    key = "success_percent" if labels == "predicted" else "accuracy_percent"
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        show_tab(app, "epsilon")
        plot = app.screen.query_one(EpsilonTab).query_one("#accuracy-curves", Plot)
        await until(pilot, lambda: plot.figure is not None, "the curves")
        assert f"{title} against epsilon" in text_of(app)
        fgsm = next(series for series in plot.figure.series if series.name == "fgsm")
        start = 0.0 if labels == "predicted" else rows["benign"][key]
        assert fgsm.x == (0.0, 0.01, 0.03)
        assert fgsm.y == pytest.approx((start, rows["fgsm@0.01"][key], rows["fgsm@0.03"][key]))
