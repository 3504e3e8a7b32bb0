"""Every rounding and every cell on screen, and results as JSON text.

Files and `--json` keep full precision; JSON has null where there is no number, for it knows no NaN.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from psi_core.files import plain
from psi_core.plain_text import short_number
from psi_core.tables.columns import Cell, Kind, as_number, decimals, readable

Row: TypeAlias = Mapping[str, Any]

MISSING = "-"
"""Stands where there is no number: a silent layer, a difference that a condition does not have."""


def is_missing(value: object) -> bool:
    """Whether there is nothing to show: None, an empty text, NaN."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def format_cell(value: Cell, kind: Kind) -> str:
    """One value of a table as the screen shows it: rounded by kind as everywhere, with commas between thousands.

    Peaks and large numbers are shorter than in files.
    """
    if is_missing(value):
        return MISSING
    if kind in _SHORT and isinstance(value, int | float):
        return _SHORT[kind](value)
    return readable(value, kind)


def format_interval(row: Row, name: str) -> str:
    """A mean difference with its 95 % confidence interval, `+0.0502 [+0.0478, +0.0521]`.

    Args:
        row: one row of a table.
        name: the common start of the three columns, `delta`.
    """
    mean, low, high = (row.get(f"{name}_{part}") for part in ("mean", "ci_low", "ci_high"))
    text = format_cell(mean, "shift")
    return text if is_missing(low) else f"{text} [{format_cell(low, 'shift')}, {format_cell(high, 'shift')}]"


_GLYPHS = {
    "beyond": ("▼", "▲"),
    "less": ("<", "<"),
    "equivalent": ("=", "="),
    "depends": ("±", "±"),
    "undecided": ("?", "?"),
}
"""By the first word of a verdict, for values below 0 and from 0 on: colors alone tell nothing."""


GLYPH_WORDS = "▲ sparser, ▼ denser beyond noise; = equivalent to it; < less; ± depends on it; ? undecided"
"""What these glyphs say of PSI."""


def beyond_cell(row: Row) -> str:
    """`▲ +0.430`: what the verdict claims, and how far the layer lies beyond noise in benign sd."""
    value = as_number(row.get("delta_sd"))
    word = str(row.get("verdict") or "").partition(" ")[0].rstrip(":")
    glyph = _GLYPHS.get(word, (" ", " "))[value >= 0]
    text = format_cell(row.get("delta_sd"), "sd")
    return text if text == MISSING else f"{glyph} {text}"


def format_headline(layer: str | None, shift: Cell, delta_sd: Cell, *, has_noise: bool) -> tuple[str, str]:
    """A run's largest shift beyond noise, in benign sd, with its layer, `-0.197 fc2`, and that layer's from benign.

    Where no layer is beyond noise, `no layer`; where there is no noise, `no noise`, and the layer beside the second.
    """
    own = format_cell(shift, "shift")
    if not has_noise:
        return "no noise", MISSING if layer is None else f"{own} {layer}"
    return ("no layer", MISSING) if layer is None else (f"{format_cell(delta_sd, 'sd')} {layer}", own)


def format_mean_sd(row: Row, name: str) -> str:
    """A mean with its standard deviation, `0.5120 ± 0.0131`."""
    mean, deviation = row.get(f"{name}_mean"), row.get(f"{name}_sd")
    text = format_cell(mean, "psi")
    if is_missing(mean) or is_missing(deviation):
        return text
    assert isinstance(mean, float) and isinstance(deviation, float), "means and deviations are floats"
    places = min(decimals(mean), decimals(deviation))
    return f"{mean:.{places}f} ± {deviation:.{places}f}"


def format_peak(center: Cell) -> str:
    """The middle of a histogram's fullest bin: three decimals tell the middles of 20 bins apart."""
    if not isinstance(center, float) or is_missing(center):
        return MISSING
    return f"{center:.{min(decimals(center), 3)}f}"


def format_count(value: float) -> str:
    """A whole number with commas between thousands."""
    return f"{round(value):,}"


def format_large(value: float | None) -> str:
    """A large whole number in short: 61.1 M, 714 M, 11.3 G."""
    if value is None:
        return MISSING
    return " ".join(_scaled(value, ("", "k", "M", "G", "T"))).rstrip()


_SHORT: dict[Kind, Callable[[float], str]] = {
    "count": format_count,
    "peak": format_peak,
    "large": format_large,
}
"""What a screen writes shorter, or with commas."""


def format_progress(done: int, total: int) -> str:
    """Images done of all: `4,500/10,000`, or one number where all are done."""
    return format_count(total) if done >= total else f"{format_count(done)}/{format_count(total)}"


def format_accuracies(benign: float | None, attacked: float | None) -> str:
    """Accuracy in percent before and after the attack: `98.9 → 34.2`."""
    if is_missing(benign):
        return MISSING
    return f"{benign:.1f}" if is_missing(attacked) else f"{benign:.1f} → {attacked:.1f}"


def format_rate(images_per_second: float | None) -> str:
    """Images per second: whole from 10 on."""
    if images_per_second is None:
        return MISSING
    return f"{images_per_second:,.0f} images/s" if images_per_second >= 10 else f"{images_per_second:.1f} images/s"


def format_duration(seconds: float | None) -> str:
    """A time span in its two largest units: `42 s`, `3 min 05 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def format_age(created: str, now: datetime) -> str:
    """How long ago, in its largest unit: `now`, `5 min`, `3 h`, `12 d`.

    Args:
        created: ISO 8601 with time zone.
        now: the present time, with its zone.
    """
    seconds = (now - datetime.fromisoformat(created)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "now"


def format_bytes(count: float | None) -> str:
    """A size on disk in decimal units: `12.3 MB`."""
    if count is None:
        return MISSING
    return " ".join(_scaled(count, ("B", "kB", "MB", "GB", "TB")))


def _scaled(value: float, units: Sequence[str]) -> tuple[str, str]:
    """Three digits and the unit that they count, each a thousand of the one before: `1` and `MB`, never `1000` `kB`."""
    place = 0
    while float(f"{value:.3g}") >= 1000 and place < len(units) - 1:
        value, place = value / 1000, place + 1
    return short_number(value, 3), units[place]


def format_shape(shape: Sequence[int]) -> str:
    """The shape of a layer's output: `64 x 55 x 55`."""
    return " x ".join(str(extent) for extent in shape)


def json_text(value: Any) -> str:
    """Any of our results as indented JSON."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
