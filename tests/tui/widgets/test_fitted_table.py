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
        assert (table.current_key, table.row_count) == ("b", 3)
        assert "10" in table.tab_separated()
        table.show_rows({name: ROWS[name] for name in "cb"})
        assert table.current_key == "b"


async def test_a_wider_screen_shows_more_columns():
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        await pilot.resize_terminal(100, 10)
        await pilot.pause()
        assert app.query_one(FittedTable).shown_titles == ["name", "spare", "key"]
