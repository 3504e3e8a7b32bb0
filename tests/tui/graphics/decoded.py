"""What a terminal makes of the messages that it is sent, written from the protocols' descriptions alone."""

import base64
import re
import zlib
from dataclasses import dataclass, field

import numpy as np

PLACEHOLDER = "\U0010eeee"
MARKS = "\u0305\u030d\u030e\u0310\u0312\u033d\u033e\u033f\u0346\u034a\u034b\u034c\u0350\u0351\u0352\u0357\u035b"
"""The first of the marks that stand for 0, 1, 2, ... in kitty's list."""

KITTY = re.compile(r"\x1b_G([^;\x1b]*);?([^\x1b]*)\x1b\\")
SIXEL = re.compile(r"\x1bP[\d;]*q([^\x1b]*)\x1b\\")
PASSED = re.compile(r"\x1bPtmux;((?:[^\x1b]|\x1b\x1b)*)\x1b\\")


@dataclass
class Shown:
    """A picture as kitty has it: its pixels, (y, x, 4), and the columns and rows of cells that it fills."""

    pixels: np.ndarray
    columns: int
    rows: int


@dataclass
class Kitty:
    """A terminal's pictures, by number, and the numbers of those that it was told to forget.

    It counts how often it was asked whether it is one, knows of which pictures it is to say that it has them, and tells
    whether every picture came to its end.
    """

    pictures: dict[int, Shown] = field(default_factory=dict)
    forgotten: list[int] = field(default_factory=list)
    questions: int = 0
    awaited: set[int] = field(default_factory=set)
    is_whole: bool = True

    def take(self, text):
        """Follows all messages in a text, as far as they are whole."""
        open_keys, open_payload = None, ""
        for match in KITTY.finditer(text):
            keys, payload = dict(pair.split("=") for pair in match[1].split(",")), match[2]
            assert len(payload) <= 4096
            if keys.get("a") == "q":
                self.questions += 1
            elif keys.get("a") == "d":
                assert keys["d"] == "I", "its pixels are freed as well"
                self.forgotten.append(int(keys["i"]))
                self.pictures.pop(int(keys["i"]), None)
            else:
                open_keys = open_keys or keys
                open_payload += payload
                if keys["m"] == "0":
                    self._show(open_keys, open_payload)
                    open_keys, open_payload = None, ""
        self.is_whole = open_keys is None
        return self

    def _show(self, keys, payload):
        assert (keys["a"], keys["U"], keys["f"], keys["o"]) == ("T", "1", "32", "z")
        data = zlib.decompress(base64.standard_b64decode(payload))
        pixels = np.frombuffer(data, np.uint8).reshape(int(keys["v"]), int(keys["s"]), 4)
        if keys["q"] == "0":
            self.awaited.add(int(keys["i"]))
        self.pictures[int(keys["i"])] = Shown(pixels, int(keys["c"]), int(keys["r"]))


def passed_by_tmux(text):
    """What tmux hands on to the terminal around it."""
    return "".join(match[1].replace("\x1b\x1b", "\x1b") for match in PASSED.finditer(text))


def sixel_pixels(body):
    """Red, green, blue in percent, and opacity 0 or 1, of what lies between `q` and the end, (y, x, 4)."""
    raster = re.match(r'"1;1;(\d+);(\d+)', body)
    width, height = int(raster[1]), int(raster[2])
    pixels = np.zeros((-(-height // 6) * 6, width, 4), int)
    palette, color, x, top = {}, None, 0, 0
    for token in re.finditer(r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])", body[raster.end() :]):
        number, red, green, blue, count, repeated, single, move = token.groups()
        if red is not None:
            palette[int(number)] = (int(red), int(green), int(blue))
        elif number is not None:
            color = int(number)
        elif move is not None:
            x, top = 0, top + 6 * (move == "-")
        else:
            bits = ord(repeated or single) - 63
            end = x + int(count or 1)
            for row in range(6):
                if bits >> row & 1:
                    pixels[top + row, x:end] = (*palette[color], 1)
            x = end
    assert not pixels[height:].any(), "nothing is painted below the picture"
    assert len(palette) <= 256
    return pixels[:height]
