"""Long names and many layers: no name empties the columns of others, and the verdict is in sight."""

from dataclasses import replace

import pytest
from textual.widgets import Static, Tree

from psi_core.runs.loading import LayerInfo
from psi_tui.text.columns import elided
from tests import recorded
from tests.tui.apps import NARROW, WIDE, running, settled, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")

DENSE = tuple(
    LayerInfo(
        f"features.denseblock{block}.denselayer{layer}.relu2", f"b{block}.{layer}", "ReLU", (4, 6, 6), 144, 4, 4, 4
    )
    for block, layers in ((1, 6), (2, 12), (3, 24), (4, 16))
    for layer in range(1, layers + 1)
)


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "140x40"])
async def test_one_long_name_empties_no_column_of_the_list(own_folders, monkeypatch, size):
    recorded.record_run(own_folders, name="short", labels="true")
    monkeypatch.setattr(recorded, "LAYERS", DENSE[:3])
    recorded.record_run(own_folders, name="a" * 60 + "-" + "b" * 60, model="torchvision:densenet121", size=64)
    async with running(own_folders, size) as (app, pilot):
        await until(pilot, lambda: all(entry.summary for entry in app.entries), "the numbers")
        await settled(pilot)
        for line in text_of(app).splitlines():
            if "lenet5" in line or "densenet" in line[:80]:
                assert "✓ done" in line or "mnist" in line
        heading = text_of(app).splitlines()[2]
        for title in ("run", "model", "accuracy %", "status"):
            assert title in heading
        assert "bbb" in text_of(app)
        assert "relu2" in text_of(app)


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "140x40"])
async def test_of_many_layers_with_long_names_the_verdict_and_the_numbers_are_in_sight(own_folders, monkeypatch, size):
    monkeypatch.setattr(recorded, "LAYERS", DENSE)
    directory = recorded.record_run(own_folders, model="torchvision:densenet121", size=64)
    async with running(own_folders, size, open_directory=directory) as (app, pilot):
        await until(pilot, lambda: "AUROC" in text_of(app), "the table")
        await settled(pilot)
        text = text_of(app)
        for words in ("Δ-control", "beyond, sd", "AUROC", "denselayer1.relu2: ", "PSI of features"):
            assert words in text, words
        verdict = app.screen.query_one("#verdict", Static)
        assert verdict.region.height >= 1
        assert verdict.region.bottom < app.size.height
        if size == WIDE:
            assert app.screen.query_one("#layer-profile").region.height >= 8


async def test_the_tree_tells_layers_apart_and_a_shape_whole_or_not_at_all(own_folders, monkeypatch):
    wide = LayerInfo("features.transition1.relu", "t1", "ReLU", (128, 112, 112), 144, 4, 4, 4)
    layers = (*DENSE[:8], wide, replace(wide, name="features.transition1"), replace(wide, name="features.t2.relu"))
    monkeypatch.setattr(recorded, "LAYERS", layers)
    directory = recorded.record_run(own_folders, model="torchvision:densenet121", size=64)
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        await settled(pilot)
        tree = app.screen.query_one("#layer-tree", Tree)
        room = tree.scrollable_content_region.width
        lines = [tree.get_node_at_line(line) for line in range(len(tree._tree_lines))]
        assert [node.data for node in lines if node.data] == [layer.name for layer in layers]
        places = set()
        for node in lines:
            text, depth, above = node.label.plain, 0, node
            while (above := above.parent) is not None:
                depth, text = depth + 1, f"{above.label.plain}.{text}"
            assert 2 * depth + 2 * node.allow_expand + len(node.label.plain) <= room
            assert " x " not in text or text.endswith(("4 x 6 x 6", "128 x 112 x 112"))
            places.add(text)
        assert len(places) == len(lines)
        app.screen._choose(layer="features.denseblock2.denselayer1.relu2")
        await settled(pilot)
        assert tree.cursor_node.data == "features.denseblock2.denselayer1.relu2"


async def test_two_runs_with_layers_of_one_name_have_their_own_shapes_in_the_tree(own_folders, monkeypatch):
    first = recorded.record_run(own_folders, name="one")
    monkeypatch.setattr(recorded, "LAYERS", (replace(recorded.LAYERS[0], shape=(4, 9, 9)), *recorded.LAYERS[1:]))
    second = recorded.record_run(own_folders, name="two")
    async with running(own_folders, WIDE, open_directory=first) as (app, pilot):
        await until(pilot, lambda: "4 x 6 x 6" in text_of(app), "the first run")
        app.open_run(second)
        await until(pilot, lambda: "4 x 9 x 9" in text_of(app), "the second run")


@pytest.mark.parametrize("letters", ["a-long-name-", "模型的名字"])
async def test_a_long_name_leaves_model_and_status_in_the_head(own_folders, letters):
    directory = recorded.record_run(own_folders, name=letters * 12)
    async with running(own_folders, NARROW, open_directory=directory) as (app, _pilot):
        head = text_of(app).splitlines()[1]
        assert head.strip().startswith(letters[:4])
        assert "…" in head
        assert "lenet5" in head
        assert head.endswith("✓ done")
    with_long_model = recorded.record_run(own_folders, name=letters * 12, model="timm:" + "convnextv2_huge." * 4)
    async with running(own_folders, NARROW, open_directory=with_long_model) as (app, _pilot):
        head = text_of(app).splitlines()[1]
        assert "timm:" in head
        assert head.endswith("✓ done")


def test_a_number_before_a_name_is_never_shortened():
    assert elided("-0.0042 features.denseblock3.denselayer24.relu2", 16) == "-0.0042 …4.relu2"
    assert all(len(elided("features.denseblock3", width)) <= width for width in range(1, 30))


@pytest.mark.parametrize(
    "names", [[layer.name for layer in DENSE], [f"encoder.layer_{n}.mlp.{m}" for n in range(12) for m in range(5)]]
)
@pytest.mark.parametrize("width", [17, 20, 28])
def test_names_that_differ_in_the_number_of_a_block_are_shortened_to_different_ones(names, width):
    shown = [elided(name, width) for name in names]
    assert len(set(shown)) == len(names)
    assert all(len(name) <= width for name in shown)


def test_an_accent_never_stands_without_its_letter():
    name = "e\u0301" * 30
    assert all("…\u0301" not in elided(name, width) for width in range(1, 30))
