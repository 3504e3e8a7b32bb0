"""The driver of the terminal: Textual's, which also hears what the terminal says of pictures.

It outlives bytes that are no UTF-8, as a garbled line brings them, and leaves no picture behind.
"""

import os
import selectors
from codecs import getincrementaldecoder
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from textual import events
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.driver import Driver

if TYPE_CHECKING:
    from psi_tui.services.services import Services

_LOOK_AGAIN_SECONDS = 0.1
_AT_ONCE = 4096


_OF_WORDS = ("\x1bb", "\x1bf")
"""A word to the left, to the right: what terminals on macOS send for option and an arrow."""


class Parser(XTermParser):
    """Textual's, to which escape and the key behind it in the same packet are two keys, as they were typed.

    Textual takes them for one that is held with alt, of which the app has none, or loses escape.
    """

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        is_pair = len(sequence) == 2 and sequence[0] == "\x1b" and sequence[1].isprintable()
        if is_pair and sequence not in _OF_WORDS and sequence in ANSI_SEQUENCES_KEYS:
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
