import io
from dataclasses import replace

import pytest
from rich.console import Console

from psi_core.tables.columns import Column
from psi_core.tables.layers import layer_columns
from psi_tui.text.columns import (
    ScreenColumn,
    Section,
    both_sides,
    column_width,
    elided,
    fitted,
    interval_alone,
    limits,
    mean_and_sd,
    of_side,
    pick,
    print_table,
    screen_columns,
    sorted_keys,
    with_interval,
    without_zeros,
)
from psi_tui.text.formatting import MISSING
from psi_tui.text.runs import RUN_COLUMNS

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


LISTED = (
    ScreenColumn("run", lambda row: row["run"], 9, is_text=True),
    ScreenColumn("model", lambda row: row["model"], 7, is_text=True),
    ScreenColumn("beyond", lambda row: row["beyond"], 5, is_text=True, least=13),
    ScreenColumn("wide", lambda row: "w" * 16, 3),
    ScreenColumn("narrow", lambda row: "n", 1),
    ScreenColumn("status", lambda row: "done", 8, is_text=True, is_whole=True),
)


def fitting(width: int, **texts: str) -> tuple[list[str], list[str]]:
    cells = [[column.cell(texts) for column in LISTED]]
    kept, rows = fitted(LISTED, cells, width)
    assert sum(column_width(LISTED[place], place, rows) for place in kept) + 2 * (len(kept) - 1) <= max(width, 4)
    return [LISTED[place].title for place in kept], rows[0]


@pytest.mark.parametrize("width", [50, 56, 60, 70, 80])
def test_the_headline_keeps_its_number_and_a_name(width):
    titles, row = fitting(width, run="a" * 60, model="torchvision:densenet121", beyond="-0.197 sd fc2")
    assert "beyond" in titles
    assert row[2] == "-0.197 sd fc2"
    _, row = fitting(
        width, run="a" * 60, model="torchvision:densenet121", beyond="-0.197 sd features.denseblock3.relu2"
    )
    assert row[2].startswith("-0.197 ")
    assert len(row[2]) >= 13


def test_a_narrow_column_takes_the_room_that_a_wide_one_leaves():
    texts = {"run": "r" * 10, "model": "m" * 8, "beyond": "b" * 13}
    assert "wide" in fitting(71, **texts)[0]
    assert fitting(55, **texts)[0] == ["run", "model", "beyond", "narrow", "status"]


def test_texts_take_the_room_that_columns_leave():
    name = "n" * 30
    titles, row = fitting(72, run=name, model="m" * 8, beyond="b" * 13)
    assert titles == ["run", "model", "beyond", "narrow", "status"]
    assert row[0] == name


@pytest.mark.parametrize("text", ["模型" * 20, "a模" * 20, "abc" * 20, "-0.0042 模型模型模型模型模型模型"])
@pytest.mark.parametrize("width", range(1, 24))
def test_elided_texts_are_as_wide_as_their_cells(text, width):
    from rich.cells import cell_len

    found = elided(text, width)
    assert width - 2 <= cell_len(found) <= width
    assert elided("模型", 4) == "模型"


def in_order(column: ScreenColumn, cells: list[object], *, descending: bool = False) -> list[object]:
    rows = {str(place): {"cell": cell} for place, cell in enumerate(cells)}
    return [rows[key]["cell"] for key in sorted_keys(column, rows, descending=descending)]


TEXT = ScreenColumn("x", lambda row: str(row["cell"]), is_text=True)
NUMBER = ScreenColumn("x", lambda row: str(row["cell"]))


@pytest.mark.parametrize(
    "names",
    [
        ["0.2", "0.10", "1.0.conv1", "1.0.conv2", "1.0.conv10", "10.0.conv1"],
        ["conv2", "conv10", "fc1", "MISSING", "x"],
        ["features.denseblock1.relu2", "features.denseblock1.relu10", "features.denseblock2.relu1"],
        ["20251231-000000-abcdef", "20260101-000000-000000"],
    ],
)
def test_names_go_by_their_words_and_the_size_of_whole_numbers(names):
    assert in_order(TEXT, names[::-1]) == names
    assert in_order(TEXT, names, descending=True) == names[::-1]


def test_numbers_go_by_the_one_that_a_cell_begins_with_and_nothing_last():
    cells = ["▼ -0.2", "< 0.0001", "+0.05 [0, 1]", "99.4 → 66.9", "1,234", "-"]
    mixed = [cells[place] for place in (5, 3, 1, 4, 0, 2)]
    assert in_order(NUMBER, mixed) == cells
    assert in_order(NUMBER, mixed, descending=True) == [*cells[-2::-1], "-"]


def test_a_value_decides_where_there_is_one_and_nothing_goes_last():
    column = replace(TEXT, value=lambda row: row["cell"])
    assert in_order(column, [3, None, 1, 2]) == [1, 2, 3, None]
    assert in_order(column, [3, None, 1, 2], descending=True) == [3, 2, 1, None]


def test_an_id_keeps_its_end_and_a_column_its_share():
    assert [elided("* 20261129-060200-0499eb", width) for width in (16, 4, 3)] == ["* …060200-0499eb", "* …b", "…eb"]
    assert elided("20261129-060200-0499eb", 12) == "…0200-0499eb"
    columns = (replace(LISTED[0], share=1.0), replace(LISTED[1], share=0.5, least=8))
    kept, ((run, model),) = fitted(columns, [["r" * 60, "m" * 60]], 47)
    assert (kept, len(run), len(model)) == ([0, 1], 30, 15)


def test_runs_go_by_their_attack_and_then_by_the_size_of_their_epsilons():
    rows = [
        {"attack": attack, "epsilon": epsilon, "model": "lenet5"}
        for attack, epsilon in (
            ("pgd", "0.01"),
            ("", ""),
            ("fgsm", "0.1"),
            ("fgsm", "7.65/255, 0.03"),
            ("fgsm", "0.03"),
        )
    ]
    keyed = {str(place): row for place, row in enumerate(rows)}
    assert sorted_keys(RUN_COLUMNS["attack"], keyed, descending=False) == ["4", "3", "2", "0", "1"]
    assert RUN_COLUMNS["attack"].cell(rows[1]) == "none"
    assert RUN_COLUMNS["attack"].cell({**rows[1], "model": ""}) == MISSING, "of a damaged run nothing is known"


@pytest.mark.parametrize("width", [130, 140, 160])
def test_no_column_of_numbers_goes_while_a_name_may_still_be_shortened(width):
    columns = [
        ScreenColumn("run", lambda row: row["name"], 9, is_text=True),
        *(ScreenColumn(title, lambda row: "0.1234", 1) for title in ("images", "shift", "age", "AUROC", "share")),
        *(ScreenColumn(title, lambda row: row["name"], 2, is_text=True) for title in ("layer", "model")),
    ]
    rows = [["r" * 90, *["0.1234"] * 5, "l" * 90, "m" * 90], ["short", *["0.1234"] * 5, "fc1", "vgg11"]]
    kept, shown = fitted(columns, rows, width)
    assert kept == list(range(len(columns)))
    assert all(len(row[0]) <= 90 for row in shown)
