"""What a plot shows, as plain values that compare equal when they look alike; `plots` draws them."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["benign", "attacked", "control", "beyond", "other"]
"""What a series is to the study, `beyond` what an attack does more than its control: it decides color and marker."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a figure is of: pictures of two subjects must never pass for each other. Empty: all, or none in particular.

    Attributes:
        run: directory of the run, or of all that are compared.
        layer: name of the layer.
        condition: compared with benign.
        measure: whose values are drawn.
        subset: of the images.
    """

    run: str = ""
    layer: str = ""
    condition: str = ""
    measure: str = ""
    subset: str = ""


@dataclass(frozen=True, slots=True)
class MirroredHistogram:
    """Two histograms on shared bins, one growing up from the middle and one down; or one alone, which grows up.

    Attributes:
        edges: borders of the bins, ascending, evenly spaced, one more than there are counts.
        upper: images in each bin, drawn upwards.
        lower: likewise, drawn downwards; empty where there is but one histogram.
        upper_name: what grows up, as `benign, 10,000 images`; empty: it is not written.
        lower_name: what grows down.
        subject: what it is of.
    """

    edges: tuple[float, ...]
    upper: tuple[int, ...]
    lower: tuple[int, ...]
    upper_name: str = ""
    lower_name: str = ""
    subject: Subject = Subject()


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one kind, in order; one with a NaN or an infinity is a gap.

    Attributes:
        name: as the legend has it.
        x: where they lie across.
        y: how high they lie, as many as `x`.
        role: what they are to the study.
        intervals: lower and upper end of every point's interval, NaN where it has none; empty where none has.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    role: Role = "other"
    intervals: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Scatter:
    """Points without lines, as PSI against recognition rate.

    Attributes:
        series: first to last as the legend has them.
        x_title: what lies across, with its unit.
        y_title: what lies upwards.
        subject: what it is of.
    """

    series: tuple[Series, ...]
    x_title: str
    y_title: str
    subject: Subject = Subject()


@dataclass(frozen=True, slots=True)
class Curves:
    """Points joined by lines: something against epsilon, or layer by layer.

    Attributes:
        series: first to last as the legend has them.
        x_title: what lies across, with its unit.
        y_title: what lies upwards.
        x_labels: names of the places 0, 1, 2 ... across, as layers have them; None: `x` are numbers to be read off.
        subject: what it is of.
        x_texts: numbers across that are marked, and how they were written, `8/255`; empty: round numbers are.
    """

    series: tuple[Series, ...]
    x_title: str
    y_title: str
    x_labels: tuple[str, ...] | None = None
    subject: Subject = Subject()
    x_texts: tuple[tuple[float, str], ...] = ()


Figure = MirroredHistogram | Scatter | Curves


@dataclass(frozen=True, slots=True)
class Palette:
    """Colors of plots, as rich names them or as `#rrggbb`.

    Attributes:
        benign: color of the first benign series, and of bars that grow up.
        attacked: color of the first attacked series, and of bars that grow down.
        control: color of the first control.
        other: of all further series, in turn; at least one. The first is also that of what lies beyond the control.
        muted: color of axes, ticks and titles.
    """

    benign: str
    attacked: str
    control: str
    other: tuple[str, ...]
    muted: str


TERMINAL_PALETTE = Palette(
    benign="bright_blue",
    attacked="bright_yellow",
    control="bright_magenta",
    other=("bright_cyan", "bright_green", "bright_red", "bright_white", "blue", "yellow"),
    muted="default",
)
"""The terminal's own colors, which its user chose to be readable there."""
