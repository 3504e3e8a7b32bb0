"""A table that fits its width, also when its rows come before it has one."""

from textual.app import App, ComposeResult
from textual.containers import Vertical

from psi_tui.text.columns import ScreenColumn
from psi_tui.widgets.fitted_table import FittedTable

COLUMNS = (
    ScreenColumn("name", lambda row: row["name"], 9, is_text=True),
    ScreenColumn("spare", lambda row: "x" * 60, 1),
    ScreenColumn("key", lambda row: str(row["key"]), 8),
)
ROWS = {name: {"name": name, "key": place} for place, name in enumerate("abc")}


class TableApp(App[None]):
    CSS = "Vertical { height: auto; } FittedTable { height: auto; }"

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str | None] = []

    def on_line_table_highlighted(self, message: FittedTable.Highlighted[str]) -> None:
        self.told.append(message.key)

    def on_line_table_selected(self, message: FittedTable.Selected[str]) -> None:
        self.told.append(message.key.upper())

    def compose(self) -> ComposeResult:
        with Vertical():
            yield FittedTable(COLUMNS)

    def on_mount(self) -> None:
        table = self.query_one(FittedTable)
        table.display = False
        table.show_rows(ROWS)
        table.display = True


async def test_rows_that_come_before_the_first_layout_are_shown():
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        table = app.query_one(FittedTable)
        assert table.row_count == 3
        assert table.size.height == 4
        assert table.shown_titles == ["name", "key"]


async def test_the_cursor_stays_on_its_row_and_only_changed_cells_are_written():
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        table = app.query_one(FittedTable)
        table.select_key("b")
        table.show_rows({name: {**row, "key": 10} for name, row in ROWS.items()})
        assert (table.current, table.row_count) == ("b", 3)
        assert "10" in table.tab_separated()
        table.show_rows({name: ROWS[name] for name in "cb"})
        assert table.current == "b"


async def test_a_click_goes_to_a_row_and_a_second_one_chooses_it():
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        for line, current, told in (
            (2, "b", ["b"]),
            (2, "b", ["b", "B"]),
            (0, "b", ["b", "B"]),
            (3, "c", ["b", "B", "c"]),
        ):
            await pilot.click(FittedTable, offset=(5, line))
            await pilot.pause()
            assert (app.query_one(FittedTable).current, app.told) == (current, ["a", *told])


async def test_only_the_line_of_a_changed_cell_is_painted_again(monkeypatch):
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        table, painted = app.query_one(FittedTable), []
        monkeypatch.setattr(table, "refresh", lambda *regions, **_: painted.extend(regions))
        table.show_rows(ROWS)
        assert painted == []
        table.show_rows({**ROWS, "b": {"name": "b", "key": 7}})
        assert [region.y for region in painted] == [2]


async def test_a_wider_screen_shows_more_columns():
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        await pilot.resize_terminal(100, 10)
        await pilot.pause()
        assert app.query_one(FittedTable).shown_titles == ["name", "spare", "key"]


async def test_where_its_row_goes_the_cursor_goes_to_the_next_one_that_is_left():
    app = TableApp()
    rows = {name: {"name": name, "key": place} for place, name in enumerate("abcdef")}
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        table = app.query_one(FittedTable)
        for kept, current in (("abcdef", "c"), ("zabdef", "d"), ("zabf", "f"), ("ba", "b"), ("xyz", "x"), ("", None)):
            table.show_rows({name: rows.get(name, rows["a"]) for name in kept})
            if kept == "abcdef":
                table.select_key("c")
            assert table.current == current
