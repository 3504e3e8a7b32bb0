"""What a terminal is asked about pictures, and its answers, taken out of what is typed.

The app waits for no answer: it starts with half blocks, and an answer is used once it is there. Late ones, over a slow
line, are taken out as well, for as letters they would be commands.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_ASKED_ABOUT = 31

KITTY_QUESTION = f"\x1b_Gi={_ASKED_ABOUT},s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
"""Whether it takes pictures by kitty's protocol: it is offered one of a single pixel, and keeps nothing."""

VERSION_QUESTION = "\x1b[>q"
"""Its name and version (XTVERSION)."""

CELL_QUESTION = "\x1b[16t"
"""Height and width of a cell in pixels (XTWINOPS)."""

ATTRIBUTES_QUESTION = "\x1b[c"
"""Its abilities (primary device attributes). Every terminal answers it, so it is asked last."""

SIXEL = 4
"""The ability to show sixel pictures, among the device attributes."""

_ANSWER = re.compile(
    rb"\x1b_G(?P<kitty>[^\x1b]*)\x1b\\"
    rb"|\x1bP>\|(?P<version>[^\x1b]*)\x1b\\"
    rb"|\x1b\[6;(?P<cell>\d+;\d+)t"
    rb"|\x1b\[\?(?P<attributes>[\d;]*)c"
)
_BEGUN = re.compile(rb"\x1b(?:_(?:G[^\x1b]*\x1b?)?|P(?:>(?:\|[^\x1b]*\x1b?)?)?|\[(?:6(?:;\d*(?:;\d*)?)?|\?[\d;]*)?)?\Z")
_VERDICT = re.compile(r"i=(\d{1,10})(?:,[^;]*)?;(.*)", re.DOTALL)
"""What kitty says of a picture: its number, and OK or what went wrong."""

_LIKE_A_KEY = 2
"""Bytes of a beginning that may as well be a key: escape, or a letter with alt."""

_KEY_SECONDS, _ANSWER_SECONDS = 0.1, 1.0
"""How long the beginning of an answer waits for its end, where it may be a key and where it is none."""


@dataclass(slots=True)
class Answers:
    """What the terminal has said so far.

    Attributes:
        kitty: whether it takes kitty's pictures.
        pictures: numbers of those that it says to have.
        version: its name and version.
        cell: width and height of a cell in pixels; None until it is said.
        attributes: numbers of its abilities.
    """

    kitty: bool = False
    pictures: set[int] = field(default_factory=set)
    version: str = ""
    cell: tuple[int, int] | None = None
    attributes: frozenset[int] = frozenset()


class Listener:
    """Takes answers out of what the terminal sends.

    Args:
        clock: seconds that never go back; tests set it.

    Attributes:
        answers: what the terminal has said so far.
        has_answered: set unless questions are out whose last answer has not come.
        heard: called whenever an answer has come, in the thread that reads the terminal.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.answers = Answers()
        self.has_answered = threading.Event()
        self.has_answered.set()
        self.heard: Callable[[], object] = lambda: None
        self._clock = clock
        self._held = b""
        self._held_since = 0.0

    def typed(self, data: bytes) -> bytes:
        """What is typed of what came; an answer whose end has not come yet is held back."""
        data = self._held + data
        rest = _ANSWER.sub(self._note, data)
        begun = _BEGUN.search(rest)
        if begun is None or (self.has_answered.is_set() and len(begun[0]) <= _LIKE_A_KEY):
            self._held = b""
            return rest
        if begun[0] != self._held:
            self._held_since = self._clock()
        self._held = begun[0]
        return rest[: begun.start()]

    def overdue(self) -> bytes:
        """What was held back for longer than an answer takes: it was typed. Called whenever nothing comes."""
        patience = _KEY_SECONDS if len(self._held) <= _LIKE_A_KEY else _ANSWER_SECONDS
        if not self._held or self._clock() - self._held_since < patience:
            return b""
        held, self._held = self._held, b""
        return held

    def _note(self, match: re.Match[bytes]) -> bytes:
        answers = self.answers
        said = (match[match.lastgroup or 0]).decode("latin-1")
        match match.lastgroup:
            case "kitty":
                found = _VERDICT.fullmatch(said)
                if found is not None and int(found[1]) == _ASKED_ABOUT:
                    answers.kitty = found[2] == "OK"
                elif found is not None and found[2] == "OK":
                    answers.pictures.add(int(found[1]))
            case "version":
                answers.version = said
            case "cell":
                height, width = map(int, said.split(";"))
                answers.cell = (width, height) if width and height else None
            case "attributes":
                answers.attributes = frozenset(int(number) for number in said.split(";") if number)
                self.has_answered.set()
        self.heard()
        return b""
