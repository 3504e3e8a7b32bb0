"""The finding at a glance: which layers lie beyond noise, under which condition; one key from the layers."""

import pytest

from psi_tui.screens.results.map import LayerMap
from psi_tui.text.formatting import beyond_cell
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")


@pytest.mark.parametrize(
    ("verdict", "value", "text"),
    [
        ("beyond noise: sparser by 0.43 sd", 0.43, "▲ +0.430"),
        ("beyond noise: denser by 0.43 sd", -0.43, "▼ -0.430"),
        ("equivalent to noise: within 0.1 sd", 0.01, "= +0.010"),
        ("less than noise by 0.42 sd", -0.42, "< -0.420"),
        ("undecided: 0.06 sd sparser", 0.06, "? +0.060"),
        ("too few images: 9 have a value", 0.06, "  +0.060"),
        ("no change in any image", None, "-"),
    ],
)
def test_a_cell_has_a_glyph_for_what_is_claimed(verdict, value, text):
    assert beyond_cell({"verdict": verdict, "delta_sd": value}) == text


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "140x40"])
async def test_the_map_has_every_layer_and_condition_and_opens_a_layer(own_folders, size):
    directory = record_run(own_folders, epsilon="0.03,0.1", images=200)
    async with running(own_folders, size, open_directory=directory) as (app, pilot):
        await until(pilot, lambda: "AUROC" in text_of(app), "the table")
        assert "▲ +" in text_of(app)  # The mark stands in the table of layers too.
        await press(pilot, "greater_than_sign", "greater_than_sign")
        await until(pilot, lambda: "beyond noise under fgsm@0.1: conv1" in text_of(app), "the map")
        table = app.screen.query_one(LayerMap)
        rows = {row["layer"]: row for row in app.screen.view.tables["layers"] if row["condition"] == "fgsm@0.03"}
        lines = dict(line.split("\t", 1) for line in table.tab_separated().splitlines())
        assert lines.keys() == {"layer", *rows}
        assert lines["layer"].split("\t")[:2] == ["fgsm@0.03", "[fgsm@0.1]"]
        for layer, row in rows.items():
            assert lines[layer].split("\t")[0] == beyond_cell(row)
        assert ("▲" in lines["conv1"]) and ("▲" not in lines["conv2"])
        table._sort_by("fgsm@0.1", descending=False)
        order = sorted(rows, key=lambda layer: rows_of(app, "fgsm@0.1")[layer]["delta_sd"])
        assert table._keys == order != list(rows)
        await press(pilot, "c")
        assert "[anti-fgsm@0.03]" in table.tab_separated()
        assert (table._keys, table.sort_column) == (order, "fgsm@0.1"), "its heading is another now"
        table._sort_by("", descending=False)
        await press(pilot, "j", "enter")
        assert app.screen.tabs.active == "layers"
        assert app.screen.choices.layer == "conv2"


def rows_of(app, condition):
    return {row["layer"]: row for row in app.screen.view.tables["layers"] if row["condition"] == condition}


async def test_every_tab_tells_how_the_worst_check_stands(own_folders):
    directory = record_run(own_folders)
    async with running(own_folders, open_directory=directory) as (app, pilot):
        await until(pilot, lambda: "Evidence x" in text_of(app) or "Evidence !" in text_of(app), "the badge")
        await press(pilot, "greater_than_sign", "greater_than_sign")
        await settled(pilot)
        assert "Evidence x" in text_of(app) or "Evidence !" in text_of(app)
