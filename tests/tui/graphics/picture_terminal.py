"""A terminal with pictures for tests: it answers what it is asked, keeps what it is shown, and draws the rest."""

import fcntl
import os
import re
import struct
import termios

from tests.tui.graphics.decoded import Kitty
from tests.tui.terminal import Terminal

KITTY = {
    b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\": b"\x1b_Gi=31;OK\x1b\\",
    b"\x1b[>q": b"\x1bP>|kitty(0.31.0)\x1b\\",
    b"\x1b[16t": b"\x1b[6;16;8t",
    b"\x1b[c": b"\x1b[?62;c",
}
"""What kitty says to each question."""

SIXELS = {b"\x1b[>q": b"\x1bP>|XTerm(379)\x1b\\", b"\x1b[16t": b"\x1b[6;16;8t", b"\x1b[c": b"\x1b[?63;1;2;4;6c"}
"""What xterm says as a VT340."""

_MESSAGE = re.compile(rb"\x1b[_P].*?\x1b\\", re.DOTALL)
_BEGUN = re.compile(rb"\x1b(?:[_P][^\x1b]*(?:\x1b(?!\\)[^\x1b]*)*)?\Z")


class PictureTerminal(Terminal):
    """A terminal that has cells of 8 x 16 pixels, and answers.

    Args:
        answers: by question; what is not among them is met with silence.
        options: as for every terminal.

    Attributes:
        asked: the questions that came, in their order, as far as there are answers to them.
        late: whether answers are kept back until `answer` is called.
    """

    def __init__(self, answers, *, late=False, **options):
        self.answers, self.late, self.asked = answers, late, []
        self._rest, self.confirmed = b"", set()
        super().__init__(**options)

    def heard(self, data):
        for question in sorted(self.answers, key=data.find):
            if question in data:
                self.asked.append(question)
        if not self.late:
            self.answer()
        data = self._rest + data
        begun = _BEGUN.search(data)
        self._rest = begun[0] if begun else b""
        if b"\x1b_Ga=T,U=1,q=0" in self.raw:
            for number in self.kitty.awaited - self.confirmed:
                self.confirmed.add(number)
                os.write(self.master, b"\x1b_Gi=%d;OK\x1b\\" % number)
        return _MESSAGE.sub(b"", data[: len(data) - len(self._rest)])

    def answer(self):
        """Answers what was asked so far."""
        for question in self.asked:
            os.write(self.master, self.answers[question])
        self.asked = []

    @property
    def sent(self):
        """Everything that came, as text."""
        return self.raw.decode(errors="replace")

    @property
    def kitty(self):
        """The pictures that kitty would hold now."""
        return Kitty().take(self.sent)

    def _set_size(self, columns, lines):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, columns * 8, lines * 16))
