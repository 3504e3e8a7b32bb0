"""Keys in order: each is answered to its end, on the screen that it was meant for, before the next one is looked at.

On a slow line many keys come in one packet. Textual hands all of them to the widget that has the focus by then, so that
letters behind `/` became commands, and a question was answered before anybody could have read it.
"""

import asyncio
from collections import deque
from typing import Any
from weakref import WeakSet

from textual import events, on
from textual._time import get_time
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.timer import Timer

from psi_tui.screens.base import PsiScreen
from psi_tui.services.attention import AttentiveApp
from psi_tui.widgets.dialogs import Question

_LOOK_AGAIN_SECONDS = 0.1
"""What a key waits for may be gone: a widget that was closed over it."""


_PATIENCE_SECONDS = 2.0
"""A key waits no longer for a run to be read: a slow disk must not take the keys away."""


class KeyPassed(Message):
    """Follows a key on its way from the focused widget up to the app: when it arrives, the key has been there.

    Attributes:
        by: where both set out.
        is_last: whether what the key caused has passed as well.
    """

    def __init__(self, by: MessagePump, *, is_last: bool) -> None:
        super().__init__()
        self.by = by
        self.is_last = is_last


class OrderlyApp(AttentiveApp):
    """An app that answers one key after the other.

    A key waits until the one before is answered, and until the screen in front is painted. A question takes no key that
    was typed before it could be read.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._waiting: deque[events.Key | events.Paste] = deque()
        self._under_way: MessagePump | None = None
        self._asked: WeakSet[Screen[Any]] = WeakSet()
        self._painted: WeakSet[Screen[Any]] = WeakSet()
        self._look_again_timer: Timer | None = None

    @property
    def has_keys_waiting(self) -> bool:
        return bool(self._waiting)

    def on_load(self) -> None:
        """Has every task begin when its turn comes, on every Python.

        From Python 3.12 on Textual has tasks begin inside the call that makes them. A screen's text fields are then
        mounted before the app has the screen, and ask for it.
        """
        asyncio.get_running_loop().set_task_factory(None)

    async def on_event(self, event: events.Event) -> None:
        """Queues what is typed; everything else takes Textual's way."""
        if not isinstance(event, events.Key | events.Paste):
            await super().on_event(event)
        elif not self.screen_stack:
            return  # The app is closing.
        elif event.is_forwarded:
            await super().on_event(event)
        else:
            self._waiting.append(event)
            await self._answer_next()

    def post_display_hook(self) -> None:
        """Tells a question that it can be read from now on."""
        if self.screen_stack and isinstance(self.screen, Question):
            self.screen.painted()

    async def _answer_next(self) -> None:
        """Hands out the first of the waiting keys, if it may go."""
        if self._under_way is not None and not _is_reachable(self._under_way):
            self._under_way = None
        while self._waiting and self._under_way is None and self.screen_stack and self._is_ready(self._waiting[0]):
            event = self._waiting.popleft()
            if not isinstance(self.screen, Question) or self.screen.could_be_read_at(event.time):
                self._under_way = start = self.focused or self.screen
                await super().on_event(event)
                start.post_message(KeyPassed(start, is_last=False))
        if self._waiting and self._look_again_timer is None:
            self._look_again_timer = self.set_timer(_LOOK_AGAIN_SECONDS, self._look_again)

    @on(KeyPassed)
    async def _key_passed(self, message: KeyPassed) -> None:
        if message.by is not self._under_way:
            return
        if message.is_last or not _is_reachable(message.by):
            self._under_way = None
            await self._answer_next()
        else:  # What the key caused, such as the message that a text was submitted, takes the same way once more.
            message.by.post_message(KeyPassed(message.by, is_last=True))

    async def _look_again(self) -> None:
        self._look_again_timer = None
        await self._answer_next()

    def _is_ready(self, event: events.Event) -> bool:
        """Whether the screen in front can answer a key: it is painted, and has what it waits for."""
        screen = self.screen
        is_waiting = isinstance(screen, PsiScreen) and not screen.is_ready
        is_patient = get_time() - event.time < _PATIENCE_SECONDS
        return self._is_painted(screen) and not (is_waiting and is_patient)

    def _is_painted(self, screen: Screen[Any]) -> bool:
        """Whether a screen has been painted; one that has not tells when it is."""
        if screen not in self._asked:
            self._asked.add(screen)

            async def painted() -> None:
                self._painted.add(screen)
                await self._answer_next()

            screen.call_after_refresh(self.call_later, painted)
        return screen in self._painted


def _is_reachable(pump: MessagePump) -> bool:
    """Whether what is posted there still comes up to the app."""
    return pump.is_running and pump.is_attached
