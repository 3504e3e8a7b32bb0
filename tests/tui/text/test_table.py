import io

import pytest
from rich.console import Console

from psi_tui.text.columns import ScreenColumn, Section, print_table
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
