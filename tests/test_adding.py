"""What is added by one row is there everywhere: the README's examples, as they stand there."""

import re
from pathlib import Path
from typing import Any

import pytest

from psi_tui.app.help import HelpScreen
from psi_tui.screens.results import screen
from psi_tui.screens.results.tab import Tab
from tests.recorded import record_run
from tests.tui.apps import press, running, text_of, until
from tests.tui.warm_engine import warm_assistant, warm_engine

__all__ = ["warm_assistant", "warm_engine"]

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def example(word: str) -> dict[str, Any]:
    """What the README's example that holds a word defines."""
    section = README.partition("## Adding to it\n")[2].partition("\n## ")[0]
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL) if word in block]
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(code, namespace)
    return namespace


@pytest.mark.usefixtures("warm_engine")
async def test_a_tab_is_a_class_and_a_row(own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = record_run(own_folders, epsilon="0.03,0.1")
    before = screen.TABS
    with monkeypatch.context() as added:
        added.setattr(screen, "TABS", (*before, Tab("fooled", "Fooled", example("FooledTab")["FooledTab"])))
        async with running(own_folders, (140, 40), open_directory=directory) as (app, pilot):
            tabs = app.screen.query_one("#tabs")
            await press(pilot, "less_than_sign")
            assert tabs.active == "fooled"
            await until(pilot, lambda: "% fooled" in text_of(app), "its words")
            words = text_of(app)
            await press(pilot, "c")
            await until(pilot, lambda: text_of(app) != words, "the next condition's words")
            await press(pilot, "b")
            assert "shown in" in app.heard[-2]
            assert "Fooled" not in app.heard[-2]
            await press(pilot, "greater_than_sign")
            assert tabs.active == before[0].name
            await press(pilot, "less_than_sign")
        async with running(own_folders, (140, 40)) as (app, pilot):
            await until(pilot, lambda: "% fooled" in text_of(app), "the tab that was open")
    async with running(own_folders, (140, 40)) as (app, pilot):
        await until(pilot, lambda: "AUROC" in text_of(app), "the first tab in the place of one that is gone")


@pytest.mark.usefixtures("warm_engine")
async def test_a_tabs_own_keys_stand_in_the_help_and_go_before_the_screens(own_folders: Path) -> None:
    async with running(own_folders, (140, 60), open_directory=record_run(own_folders)) as (app, pilot):
        for name, own, other in (("images", "quick filter", "subset"), ("layers", "subset", "quick filter")):
            app.screen.query_one("#tabs").active = name
            await press(pilot, "question_mark")
            assert isinstance(app.screen, HelpScreen)
            words = [words for _, keys in app.screen.keys for _, words in keys]
            assert own in words
            assert other not in words
            await press(pilot, "escape")
