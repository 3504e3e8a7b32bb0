"""A small picture of numbers: an image, or what an attack added to it; two pixels in every cell of the terminal."""

import io
import math
from collections.abc import Mapping
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from psi_tui.plots.themes import colors_in
from psi_tui.widgets.plot import PlotApp

Kind = Literal["image", "difference"]

RAMP = " .:-=+*#%@"
"""Letters for 0 to 1 where there is no color, by how much of their cell they cover."""

_SIGNS = "=- +#"
"""Letters for differences, from strongly negative to strongly positive."""

_UNSEEN, _STRONG = 0.05, 0.5
"""Shares of the limit from which a difference has a sign at all, and a strong one."""

_NEGATIVE, _NEUTRAL, _POSITIVE = 0, 1, 2
_DARK = np.array([(74, 163, 255), (30, 36, 44), (255, 154, 56)], float)
_LIGHT = np.array([(0, 90, 181), (236, 239, 243), (166, 70, 0)], float)
"""Blue, neutral and orange: told apart by every kind of color blindness, and from the neutral by brightness as well."""

_DARK_STEPS = ((75, 32, 25, 17), 233, (52, 94, 172, 214))
_LIGHT_STEPS = ((25, 33, 111, 189), 255, (223, 215, 172, 130))
"""Likewise of 256 colors, in steps from the strongest: blends of a few colors would become one and the same there."""


class Picture(Widget, can_focus=False):
    """As many columns as the picture has pixels across, and half as many lines as it has upwards.

    Where there is no color or only ASCII, letters stand for the mean of a cell's two pixels, or for the sign of the
    stronger of its two differences; `legend` says how to read them.

    Args:
        kind: an image, gray or in color, from 0 to 1; or a difference, from -limit to +limit.
        id: of the widget.
    """

    DEFAULT_CSS = """
    Picture {
        width: auto;
        height: auto;
    }
    """

    def __init__(self, kind: Kind = "image", *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.kind = kind
        self._pixels: NDArray[np.float64] | None = None
        self._limit: float | None = None

    @property
    def pixels(self) -> NDArray[np.float64] | None:
        """What is shown: (y, x), or for an image (y, x, 3) as well; a NaN counts as 0. None: nothing.

        Raises:
            ValueError: on setting, another shape.
        """
        return self._pixels

    @pixels.setter
    def pixels(self, pixels: NDArray[np.floating] | None) -> None:
        shapes = ((), (3,)) if self.kind == "image" else ((),)
        if pixels is not None and (pixels.ndim < 2 or pixels.shape[2:] not in shapes):
            raise ValueError(f"pixels of shape {pixels.shape}; write (y, x), or (y, x, 3) for an image in color")
        before = None if self._pixels is None else self._pixels.shape
        self._pixels = None if pixels is None else np.nan_to_num(np.asarray(pixels, np.float64))
        self.refresh(layout=before != (None if self._pixels is None else self._pixels.shape))

    @property
    def limit(self) -> float:
        """The difference that has the full color: the one that was set, else the largest there is."""
        if self._limit is not None or self._pixels is None:
            return self._limit or 0.0
        return float(np.abs(self._pixels).max(initial=0.0))

    @limit.setter
    def limit(self, limit: float | None) -> None:
        self._limit = limit
        self.refresh()

    @property
    def has_color(self) -> bool:
        """Whether colors can be shown; letters are otherwise."""
        is_poor = colors_in(self.app.current_theme) == "16"
        return not (self.app.no_color or cast(PlotApp, self.app).ascii_only or is_poor)

    def legend(self) -> str:
        """How its colors or letters are to be read, in ASCII; empty where there is no picture."""
        if self._pixels is None:
            return ""
        if self.kind == "image":
            return "0 is black, 1 is white" if self.has_color else f"from 0 to 1: {' '.join(RAMP[1:])}"
        if not self.limit:
            return "no difference"
        if self.has_color:
            return f"blue {-self.limit:.2g}, orange +{self.limit:.2g}"
        strong = f"{_STRONG * self.limit:.2g}"
        return f"= below -{strong}, - below 0, + above 0, # above +{strong}"

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """One column for every pixel across."""
        return 0 if self._pixels is None else self._pixels.shape[1]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 0 if self._pixels is None else math.ceil(self._pixels.shape[0] / 2)

    def render_line(self, y: int) -> Strip:
        """Two lines of pixels."""
        empty = self.rich_style
        if self._pixels is None or 2 * y >= self._pixels.shape[0]:
            return Strip.blank(self.size.width, empty)
        pair = self._pixels[2 * y : 2 * y + 2]
        segments = _half_blocks(self._colors(pair), empty) if self.has_color else [Segment(self._letters(pair), empty)]
        return Strip(segments)

    def _colors(self, pair: NDArray[np.float64]) -> NDArray[np.int_]:
        """Red, green and blue of pixels, (y, x, 3), 0 to 255."""
        if self.kind == "image":
            gray = pair if pair.ndim == 3 else np.repeat(pair[:, :, np.newaxis], 3, axis=2)
            return np.rint(255 * np.clip(gray, 0, 1)).astype(int)
        if colors_in(self.app.current_theme) == "256":
            return self._in_steps(pair / (self.limit or 1))
        scale = _DARK if self.app.current_theme.dark else _LIGHT
        share = np.clip(pair / (self.limit or 1), -1, 1)[:, :, np.newaxis]
        full = np.where(share < 0, scale[_NEGATIVE], scale[_POSITIVE])
        blended: NDArray[np.float64] = scale[_NEUTRAL] + np.abs(share) * (full - scale[_NEUTRAL])
        return np.rint(blended).astype(int)

    def _in_steps(self, share: NDArray[np.float64]) -> NDArray[np.int_]:
        """Colors of shares of the limit where there are 256 colors."""
        negative, neutral, positive = _DARK_STEPS if self.app.current_theme.dark else _LIGHT_STEPS
        ramp = np.array([Color.from_ansi(number).get_truecolor() for number in (*negative, neutral, *positive)])
        steps = np.ceil(np.clip(np.abs(share), 0, 1) * len(positive) - 4 * _UNSEEN).astype(int).clip(0, len(positive))
        colors: NDArray[np.int_] = ramp[len(negative) + np.sign(share).astype(int) * steps]
        return colors

    def _letters(self, pair: NDArray[np.float64]) -> str:
        """One letter for each column of one or two pixels."""
        if self.kind == "image":
            gray = np.clip(pair, 0, 1).reshape(*pair.shape[:2], -1).mean(axis=(0, 2))
            return "".join(RAMP[int(place)] for place in np.minimum(gray * len(RAMP), len(RAMP) - 1))
        stronger = np.take_along_axis(pair, np.abs(pair).argmax(axis=0)[np.newaxis], axis=0)[0]
        share = stronger / (self.limit or 1)
        steps = np.sign(share) * ((np.abs(share) >= _UNSEEN) + (np.abs(share) > _STRONG).astype(int))
        return "".join(_SIGNS[int(step) + 2] for step in steps)


def _half_blocks(colors: NDArray[np.int_], empty: Style) -> list[Segment]:
    """A cell for each column: the upper pixel as a half block, the lower one, where there is one, behind it."""
    upper = colors[0].tolist()
    lower = colors[1].tolist() if len(colors) > 1 else [None] * len(upper)
    return [
        Segment("▀", empty + Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below) if below else None))
        for above, below in zip(upper, lower, strict=True)
    ]


_DOTS = 8
"""Dots of a file for every pixel across and upwards."""


def png_of(pictures: Mapping[str, NDArray[np.float64]]) -> bytes:
    """Pictures side by side as PNG, by their names; a difference is gray where there is none."""
    from PIL import Image

    drawn = []
    for name, pixels in pictures.items():
        limit = float(np.abs(pixels).max(initial=0.0)) or 1.0
        shown = (pixels / limit + 1) / 2 if name == "difference" else pixels
        colors = shown if shown.ndim == 3 else np.repeat(shown[:, :, np.newaxis], 3, axis=2)
        whole = np.rint(255 * np.clip(colors, 0, 1)).astype(np.uint8)
        drawn.append(whole.repeat(_DOTS, axis=0).repeat(_DOTS, axis=1))
        drawn.append(np.full((len(drawn[0]), _DOTS, 3), 255, np.uint8))
    written = io.BytesIO()
    Image.fromarray(np.concatenate(drawn[:-1], axis=1)).save(written, "PNG")
    return written.getvalue()
