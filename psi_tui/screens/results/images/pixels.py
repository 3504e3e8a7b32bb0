"""A picture of numbers: an image, or what an attack added to it; in half blocks or in the terminal's own pixels."""

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual import work
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from psi_tui.graphics import kitty
from psi_tui.graphics.sixel import sixels
from psi_tui.graphics.terminal import BLOCKS, Graphics, Span, Way
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
    """A picture, each of its pixels as many of the terminal's as the room allows.

    In half blocks a cell has two pixels. Where there is no color or only ASCII, letters stand for the mean of a cell's
    two pixels, or for the sign of the stronger of its two differences; `legend` says how to read them.

    Args:
        kind: an image, gray or in color, from 0 to 1; or a difference, from -limit to +limit.
        graphics: the terminal; None: it has half blocks alone.
        id: of the widget.
    """

    DEFAULT_CSS = """
    Picture {
        width: auto;
        height: auto;
    }
    """

    def __init__(self, kind: Kind = "image", graphics: Graphics | None = None, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.kind = kind
        self._graphics = graphics
        self._pixels: NDArray[np.float64] | None = None
        self._limit: float | None = None
        self._room: Size | None = None
        self._way = BLOCKS
        self._drawn: Drawn | None = None
        self._painted: tuple[Drawn, Region, str] | None = None

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
        self._forget()
        self.refresh(layout=before != (None if self._pixels is None else self._pixels.shape))

    def fit(self, room: Size, way: Way = BLOCKS) -> None:
        """Takes as much of a room as a whole multiple of its pixels fills, one at least.

        Args:
            room: columns and lines.
            way: how it is shown there.
        """
        if (room, way) != (self._room, self._way):
            self._room, self._way = room, way
            self._forget()
            self.refresh(layout=True)

    @property
    def limit(self) -> float:
        """The difference that has the full color: the one that was set, else the largest there is."""
        if self._limit is not None or self._pixels is None:
            return self._limit or 0.0
        return float(np.abs(self._pixels).max(initial=0.0))

    @limit.setter
    def limit(self, limit: float | None) -> None:
        self._limit = limit
        self._forget()
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
        return self._cells.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return self._cells.height

    @property
    def way(self) -> Way:
        """How it is shown: in letters and few colors as in half blocks."""
        return self._way if self.has_color else BLOCKS

    @property
    def _multiple(self) -> int:
        """Pixels of the terminal's, or of half blocks, that one of its own is wide and high."""
        if self._pixels is None or self._room is None:
            return 1
        (height, width), (wide, high) = self._pixels.shape[:2], self.way.cell
        multiple: int = min(self._room.width * wide // max(width, 1), self._room.height * high // max(height, 1))
        return max(1, multiple)

    @property
    def _cells(self) -> Size:
        """Columns and lines that it fills."""
        if self._pixels is None:
            return Size(0, 0)
        (height, width), (wide, high) = self._pixels.shape[:2], self.way.cell
        return Size(math.ceil(width * self._multiple / wide), math.ceil(height * self._multiple / high))

    def render_lines(self, crop: Region) -> list[Strip]:
        """Cells of half blocks or letters; or in their place cells that hold the terminal's pixels."""
        way = self.way
        is_seen = self._graphics is not None and not self._graphics.is_paused and self.screen.is_active
        if way.method == "blocks" or self._pixels is None or self._graphics is None or not is_seen:
            return super().render_lines(crop)
        if way.method == "sixel":
            self._graphics.was_drawn(self)
            return super().render_lines(crop)
        drawn = self._in_pixels()
        if not self._graphics.put(drawn.number, drawn.pixels, *drawn.cells):
            return super().render_lines(crop)
        empty = self.rich_style
        columns = range(crop.x, max(crop.x, min(crop.right, drawn.cells.width)))
        rest = crop.width - len(columns)
        return [
            Strip([*kitty.cells(drawn.number, y, columns, empty), Segment(" " * rest, empty)], crop.width)
            if y < drawn.cells.height
            else Strip.blank(crop.width, empty)
            for y in crop.line_range
        ]

    def render_line(self, y: int) -> Strip:
        """Two lines of pixels."""
        empty = self.rich_style
        if self._pixels is None:
            return Strip.blank(self.size.width, empty)
        height, width = self._pixels.shape[:2]
        wide, high = (pixels / self._multiple for pixels in self.way.cell)  # Of its own pixels in a cell.
        rows = [row for half in (0.25, 0.75) if (row := int((y + half) * high)) < height]
        columns = [column for x in range(self._cells.width) if (column := int((x + 0.5) * wide)) < width]
        if not rows:
            return Strip.blank(self.size.width, empty)
        pair = self._pixels[rows][:, columns]
        segments = _half_blocks(self._colors(pair), empty) if self.has_color else [Segment(self._letters(pair), empty)]
        return Strip(segments)

    def paint_over(self, written: Iterable[Span] | None = None) -> None:
        """Paints it in sixels over its half blocks, where any of these was written and nothing else covers them."""
        if not (self.is_attached and self.screen.is_active) or self.way.method != "sixel" or self._pixels is None:
            return
        places = self.screen._compositor.full_map
        if (place := places.get(self)) is None:
            return
        seen = place.visible_region
        is_covered = any(
            other.order > place.order and other.visible_region.overlaps(seen)
            for widget, other in places.items()
            if widget.visible
        )
        is_whole = written is not None and not any(
            y in seen.line_range and start < seen.right and end > seen.x for y, start, end in written
        )
        # In the last line a picture could scroll the screen.
        if is_covered or is_whole or not seen or seen.bottom >= self.app.size.height:
            return
        drawn, part = self._in_pixels(), seen.translate((-place.region.x, -place.region.y))
        if self._painted is not None and self._painted[:2] == (drawn, part):
            assert self._graphics is not None, "only a terminal shows sixels"
            self._graphics.paint(self._painted[2], seen.x, seen.y)
        else:
            self._encode(drawn, part)

    @work(thread=True, exclusive=True, group="sixels")
    def _encode(self, drawn: "Drawn", part: Region) -> None:
        """Makes the message of a part of it, (x, y, width, height) in cells, and comes back with it."""
        wide, high = self._way.cell
        shown = drawn.pixels[part.y * high : part.bottom * high, part.x * wide : part.right * wide]
        message = sixels(shown) if shown.size else ""
        self.call_later(self._encoded, drawn, part, message)

    def _encoded(self, drawn: "Drawn", part: Region, message: str) -> None:
        if drawn is self._drawn:  # It shows something else by now otherwise.
            self._painted = (drawn, part, message)
            self.paint_over()

    def on_unmount(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """Lets go of what was drawn, here and in the terminal: a picture of something else has a number of its own."""
        if self._drawn is not None and self._graphics is not None:
            self._graphics.free(self._drawn.number)
        self._drawn = self._painted = None

    def _in_pixels(self) -> "Drawn":
        """It in the terminal's pixels, drawn once; the last cells are filled with what is behind."""
        theme = self.app.theme
        if self._drawn is not None and self._drawn.theme != theme:
            self._forget()
        if self._drawn is None:
            assert self._pixels is not None, "there is something to draw"
            assert self._graphics is not None, "there is a terminal"
            cells, (wide, high) = self._cells, self.way.cell
            colors = self._colors(self._pixels, has_all=True).astype(np.uint8)
            whole = colors.repeat(self._multiple, axis=0).repeat(self._multiple, axis=1)
            pixels = np.zeros((cells.height * high, cells.width * wide, 4), np.uint8)
            pixels[: len(whole), : whole.shape[1], :3] = whole
            pixels[: len(whole), : whole.shape[1], 3] = 255
            self._drawn = Drawn(self._graphics.new_number(), pixels, cells, theme)
        return self._drawn

    def _colors(self, pair: NDArray[np.float64], *, has_all: bool = False) -> NDArray[np.int_]:
        """Red, green and blue of pixels, (y, x, 3), 0 to 255; `has_all` where no 256 colors limit them."""
        if self.kind == "image":
            gray = pair if pair.ndim == 3 else np.repeat(pair[:, :, np.newaxis], 3, axis=2)
            return np.rint(255 * np.clip(gray, 0, 1)).astype(int)
        if colors_in(self.app.current_theme) == "256" and not has_all:
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
        Segment(
            "▀" * len([*equal]), empty + Style(color=Color.from_rgb(*above), bgcolor=below and Color.from_rgb(*below))
        )
        for (above, below), equal in groupby(zip(upper, lower, strict=True))
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A picture in the terminal's pixels.

    Attributes:
        number: its own; no other picture has it.
        pixels: (y, x, 4), red, green, blue and opacity.
        cells: columns and lines that it fills.
        theme: whose colors it has.
    """

    number: int
    pixels: NDArray[np.uint8]
    cells: Size
    theme: str


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
