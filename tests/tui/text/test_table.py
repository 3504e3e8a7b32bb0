import io

import pytest
from rich.console import Console

from psi_core.tables.columns import Column
from psi_core.tables.layers import layer_columns
from psi_tui.text.columns import (
    ScreenColumn,
    Section,
    both_sides,
    interval_alone,
    limits,
    mean_and_sd,
    of_side,
    pick,
    print_table,
    screen_columns,
    with_interval,
    without_zeros,
)
from psi_tui.text.formatting import MISSING

COLUMNS = (
    ScreenColumn("name", lambda row: row["name"], 0, is_text=True),
    ScreenColumn("first", lambda row: row["first"], 5),
    ScreenColumn("second", lambda row: row["second"], 1),
    ScreenColumn("third", lambda row: row["third"], 3),
    ScreenColumn("never", lambda row: MISSING, 9),
)
ROWS = [
    {"name": "conv1", "first": "1.25", "second": "x" * 10, "third": "-3"},
    {"name": "模型", "first": "10", "second": "y", "third": MISSING},
]


def printed(width: int, sections=None) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_table(console, COLUMNS, sections or [Section(ROWS)])
    return console.file.getvalue().splitlines()


def test_numbers_are_flush_right_text_flush_left_wide_characters_counted():
    assert printed(80) == [
        "name   first      second  third",
        "conv1   1.25  xxxxxxxxxx     -3",
        "模型      10           y      -",
    ]


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (31, "name first second third"),
        (30, "name first third"),
        (19, "name first third"),
        (18, "name first"),
        (5, "name"),
    ],
)
def test_the_least_important_columns_go_first(width, titles):
    assert printed(width)[0].split() == titles.split()


@pytest.mark.parametrize("width", range(5, 40))
def test_no_line_is_wider_than_the_console(width):
    from rich.cells import cell_len

    assert all(cell_len(line) <= width for line in printed(width))


def test_sections_share_one_line_of_titles():
    lines = printed(80, [Section(ROWS[:1], "benign", "accuracy 98.9 %"), Section(ROWS[1:], "fgsm@0.03")])
    assert lines[0].startswith("name")
    assert lines[1] == "benign  accuracy 98.9 %"
    assert lines[4] == "fgsm@0.03"
    assert lines[3:4] == [""]
    assert len(lines) == 6


ROW = {"delta_mean": 0.05, "delta_ci_low": 0.04, "delta_ci_high": 0.06, "psi_mean": 0.5, "psi_sd": 0.0131}


def test_a_column_has_its_tables_heading_rounding_and_side():
    named = screen_columns(layer_columns("hoyer"))
    assert [column.title for column in named.values()] == [column.heading for column in layer_columns("hoyer")]
    assert named["delta_mean"].cell(ROW) == "+0.0500"
    assert named["units"].cell({"units": 12345}) == "12,345"
    assert named["p_holm"].cell({}) == MISSING, "an older row has no such cell"
    assert (named["layer"].is_text, named["verdict"].is_text, named["units"].is_text) == (True, True, False)
    beside = screen_columns(layer_columns(), is_beside=True)
    assert (beside["delta_mean"].title, beside["p_holm"].title) == ("from benign", "p Holm")


def test_picked_columns_stand_in_the_order_of_their_names():
    picked = pick(screen_columns(layer_columns()), auroc=3, layer=9)
    assert [(column.title, column.importance) for column in picked] == [("AUROC", 3), ("layer", 9)]
    with pytest.raises(KeyError, match="aurok"):
        pick(screen_columns(layer_columns()), aurok=3)


def test_several_columns_make_one_cell():
    named = screen_columns(layer_columns())
    assert mean_and_sd("PSI ± sd", "psi").cell(ROW) == "0.5000 ± 0.0131"
    assert with_interval("from benign", "delta").cell(ROW) == "+0.0500 [+0.0400, +0.0600]"
    assert interval_alone("[95 % CI]", "delta").cell(ROW) == "[+0.0400, +0.0600]"
    assert interval_alone("[95 % CI]", "delta").cell({"delta_mean": 0.05}) == MISSING
    assert limits("95 % CI", named, "delta").cell(ROW) == "+0.0400..+0.0600"
    assert limits("95 % CI", named, "delta").cell({}) == MISSING


def test_rows_in_pairs_show_one_side_or_both():
    (column,) = screen_columns([Column("n", "n", "percent", "A number.")]).values()
    pair = {"benign": {"n": 39.4}, "attacked": {"n": 68.25}}
    assert of_side("attacked", column, "then").cell(pair) == "68.2"
    assert of_side("attacked", column, "then").title == "then"
    assert both_sides(column).cell(pair) == "39.4 → 68.2"
    assert both_sides(column).cell({**pair, "attacked": {"n": None}}) == f"39.4 → {MISSING}"
    nothing = {"benign": {"n": None}, "attacked": {"n": None}}
    assert both_sides(column).cell(nothing) == MISSING
    assert both_sides(column, missing="?").cell(nothing) == "?"


def test_zeros_that_say_nothing_are_left_out():
    (column,) = screen_columns([Column("n", "n", "count", "A number.")]).values()
    assert [without_zeros(column).cell({"n": n}) for n in (0, 10)] == [MISSING, "10"]
