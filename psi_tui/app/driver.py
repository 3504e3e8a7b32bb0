"""The driver of the terminal: Textual's, which also hears what the terminal says of pictures.

It outlives bytes that are no UTF-8, as a garbled line brings them, and leaves no picture behind.
"""

import os
import selectors
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, cast

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.driver import Driver

if TYPE_CHECKING:
    from psi_tui.services.services import Services

_LOOK_AGAIN_SECONDS = 0.1
_AT_ONCE = 4096


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
            parser = XTermParser(self._debug)
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
