"""Pictures as sixels: six rows of pixels in every line of letters, one pass a color (DEC VT340).

The terminal paints them where the cursor is, over the cells there; text that is written later to these cells takes
their place.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_MOST_COLORS = 256
"""Colors of a picture: as many has every terminal of today that shows sixels."""

_BAND = 6
_PERCENT = 100
"""What colors are told in: red, green and blue from 0 to this."""

_LONG = 4
"""Equal letters in a row that are shorter as a count."""

_EMPTY = ord("?")


def sixels(pixels: NDArray[np.uint8]) -> str:
    """The message that paints a picture at the cursor; where it is not opaque, what was there stays.

    Args:
        pixels: (y, x, 4), red, green, blue and opacity; what is half opaque at least is painted. Of
            more colors than a message may have, the nearest ones become one.
    """
    height, width = pixels.shape[:2]
    places, palette = _in_few_colors(pixels)
    colors = "".join(f"#{at};2;{red};{green};{blue}" for at, (red, green, blue) in enumerate(palette.tolist()))
    padded = np.full((-(-height // _BAND) * _BAND, width), -1, places.dtype)
    padded[:height] = places
    bands = [_band(padded[top : top + _BAND]) for top in range(0, len(padded), _BAND)]
    return f'\x1bP0;1;0q"1;1;{width};{height}{colors}{"-".join(bands)}\x1b\\'


def _in_few_colors(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """The place of every pixel's color in a palette, -1 for none, and the palette in percent."""
    is_opaque = pixels[:, :, 3] >= 128
    opaque = pixels[is_opaque][:, :3]
    palette, found = _distinct(np.rint(opaque * (_PERCENT / 255)).astype(np.int_))
    if len(palette) > _MOST_COLORS:
        from PIL import Image

        # One row: the colors are chosen by how many pixels have them, not by where these are.
        reduced = Image.fromarray(opaque[np.newaxis]).quantize(
            _MOST_COLORS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        told = np.asarray(reduced.convert("RGB"))[0]
        palette, found = _distinct(np.rint(told * (_PERCENT / 255)).astype(np.int_))
    places = np.full(is_opaque.shape, -1, np.int_)
    places[is_opaque] = found
    return places, palette


def _distinct(colors: NDArray[np.int_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """The colors that there are, and which of them each pixel has; (pixel, 3)."""
    red, green, blue = colors.T
    base = _PERCENT + 1
    numbers, found = np.unique((red * base + green) * base + blue, return_inverse=True)
    return np.stack([numbers // base**2, numbers // base % base, numbers % base], axis=1), found.reshape(-1)


def _band(places: NDArray[np.int_]) -> str:
    """Six rows, (6, x): for every color in them its letters, each going back to where the band begins."""
    present = np.unique(places)
    present = present[present >= 0]
    weights = 1 << np.arange(_BAND)
    letters = _EMPTY + np.einsum("cyx,y->cx", places[np.newaxis] == present[:, np.newaxis, np.newaxis], weights)
    return "$".join(f"#{color}{line}" for color, line in zip(present.tolist(), _counted(letters), strict=True))


def _counted(letters: NDArray[np.int_]) -> list[str]:
    """Lines of letters, (color, x), with counts for long repetitions and without what is empty at the end."""
    changes = np.ones(letters.shape, bool)
    changes[:, 1:] = letters[:, 1:] != letters[:, :-1]
    starts = np.flatnonzero(changes)
    lengths = np.diff(starts, append=letters.size)
    texts = [
        f"!{length}{chr(letter)}" if length >= _LONG else chr(letter) * length
        for letter, length in zip(letters.ravel()[starts].tolist(), lengths.tolist(), strict=True)
    ]
    first = np.searchsorted(starts, np.arange(0, letters.size + 1, letters.shape[1])).tolist()
    is_empty = letters.ravel()[starts] == _EMPTY
    return ["".join(texts[begin : end - bool(is_empty[end - 1])]) for begin, end in pairwise(first)]
