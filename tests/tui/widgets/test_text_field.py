"""What is typed arrives in its order, however many keys come at once."""

import pytest
from textual import events
from textual.app import App, ComposeResult

from psi_tui.widgets.prompt_line import TextField


class FieldApp(App[None]):
    def compose(self) -> ComposeResult:
        yield TextField("before", select_on_focus=False)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["ctrl+u", *"alexnet"], "alexnet"),
        ([*"ab", "backspace", "backspace", "c"], "beforec"),
        (["home", "x", "end", "y"], "xbeforey"),
        (["left", "left", "delete", "z"], "befoze"),
    ],
)
async def test_keys_of_one_packet_act_in_their_order(keys, value):
    app = FieldApp()
    async with app.run_test() as pilot:
        app.query_one(TextField).focus()
        await pilot.pause()
        for key in keys:  # All at once, before any of them is answered.
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        await pilot.pause()
        assert app.query_one(TextField).value == value
