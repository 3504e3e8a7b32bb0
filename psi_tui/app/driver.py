"""The driver of the terminal: Textual's, which also hears what the terminal says of pictures.

It outlives bytes that are no UTF-8, as a garbled line brings them, and leaves no picture behind.
"""

import os
import re
import selectors
from codecs import getincrementaldecoder
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from textual import events
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.driver import Driver
from textual.message import Message

if TYPE_CHECKING:
    from psi_tui.services.services import Services

_LOOK_AGAIN_SECONDS = 0.1
_AT_ONCE = 4096

_OF_TWO = ("\x1bb", "\x1bf", "\x1b\t", "\x1b\x7f")
"""Keys that terminals send as escape and one character: a word to the left, to the right, back, a word deleted."""

_OF_MORE = ("\x1b[", "\x1bO")
"""How longer keys begin, and what the mouse and the terminal tell."""

_UP_TO_ESCAPE = re.compile("\x1b?[^\x1b]+|\x1b")


class Parser(XTermParser):
    """Textual's, to which escape and the key behind it in the same packet are two keys, as they were typed.

    Textual takes them for one that is held with alt, of which the app has none, or for a circumflex where more follows.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._last_two = ""

    def feed(self, data: str) -> Iterable[Message]:
        for part in _UP_TO_ESCAPE.findall(data) or [data]:
            if part[:1] == "\x1b" and self._last_two in _OF_MORE and self._timeout_time is not None:
                self._timeout_time = 0.0  # No key goes on with escape: what came before it was typed.
                yield from self.tick()
            yield from super().feed(part)
            self._last_two = (self._last_two + part)[-2:]

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        if len(sequence) == 2 and sequence not in _OF_TWO + _OF_MORE:
            sequence, alt = sequence[1], True
        if alt:
            yield events.Key("escape", "\x1b")
        yield from super()._sequence_to_key_events(sequence)


def own_driver(driver: type[Driver]) -> type[Driver]:
    """Textual's driver for Linux and macOS with our ears; any other one as it is."""
    if driver.__name__ != "LinuxDriver":
        return driver
    from textual.drivers.linux_driver import LinuxDriver

    assert issubclass(driver, LinuxDriver), "it was asked for by name"

    class TerminalDriver(driver):  # type: ignore[misc, valid-type]
        def start_application_mode(self) -> None:
            super().start_application_mode()
            if self._writer_thread is not None:  # It is none where the terminal belongs to another job by now.
                cast("Services", self._app).graphics.opened(self.write)

        def disable_input(self) -> None:
            cast("Services", self._app).graphics.closing()
            super().disable_input()

        def run_input_thread(self) -> None:
            """Reads until the app is left: first answers are taken out, then keys and the mouse are told."""
            listener = cast("Services", self._app).graphics.listener
            parser = Parser(self._debug)
            decode = getincrementaldecoder("utf-8")(errors="ignore").decode

            def tell(typed: bytes) -> None:
                for message in parser.feed(text) if (text := decode(typed)) else ():
                    self.process_message(message)

            with selectors.SelectSelector() as selector:
                selector.register(self.fileno, selectors.EVENT_READ)
                while not self.exit_event.is_set():
                    if selector.select(_LOOK_AGAIN_SECONDS):
                        data = os.read(self.fileno, _AT_ONCE)
                        if not data:
                            break  # The terminal is gone.
                        tell(listener.typed(data))
                    else:
                        tell(listener.overdue())
                    for message in parser.tick():
                        self.process_message(message)
            try:
                for _ in parser.feed(""):
                    pass
            except (EOFError, ParseError):
                pass

    return TerminalDriver
