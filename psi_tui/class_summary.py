"""What the classes of one layer say together: correlation, Liu's preset, lifetime sparseness, and the scatter.

Texts and figures from rows of tables; knows no widget.
"""

from collections.abc import Sequence

import numpy as np
from textual.content import Content

from psi_core.columns import Cell, as_number
from psi_tui.figures import Role, Scatter, Series
from psi_tui.formatting import MISSING, Row, format_cell, format_count

NO_ACCURACY = "no accuracy: labels are the network's benign predictions"

_LIU = {"psi_liu": "Liu frozen", "psi_liu_live": "Liu live", "psi_liu_separate": "Liu separate"}
_MUTED = "$foreground 65%"


def class_scatter(benign: Sequence[Row], attacked: Sequence[Row], measure: str, condition: str) -> Scatter:
    """Sparseness against accuracy, a point a class.

    Args:
        benign: rows of the classes table, of one layer.
        attacked: likewise, under the condition.
        measure: column of sparseness.
        condition: name of the condition.
    """

    def series(rows: Sequence[Row], name: str, role: Role) -> Series:
        x, y = (tuple(as_number(row[key]) for row in rows) for key in (measure, "accuracy_percent"))
        return Series(name, x, y, role)

    title = "mean PSI" if measure == "psi_mean" else "PSI of the class's mean response"
    return Scatter((series(benign, "benign", "benign"), series(attacked, condition, "attacked")), title, "accuracy %")


def correlation_words(benign: Row, attacked: Row, *, is_wide: bool) -> str:
    """Pearson's r of sparseness and accuracy over the classes, with p and n: in words, or in numbers on one line.

    Args:
        benign: row of the correlation table.
        attacked: likewise, under another condition.
        is_wide: whether there is room for words.
    """
    rows = (benign, attacked)
    is_without = benign["r"] is None and attacked["r"] is None
    if is_without and benign["verdict"] == attacked["verdict"]:
        return str(attacked["verdict"])
    if is_wide:
        return "\n".join(f"{row['condition']}: {row['verdict']}" for row in rows)
    if is_without:
        return f"{attacked['condition']}: {attacked['verdict']}"
    told = ", ".join(f"{row['condition']} {_r_and_p(row)}" for row in rows)
    return f"r over {max(int(row['classes']) for row in rows)} classes: {told}"


def class_level(benign: Sequence[Row], attacked: Sequence[Row], lifetimes: Sequence[Row], width: int) -> Content:
    """Means over classes of Liu's preset, and over channels of lifetime sparseness: benign, attacked, difference.

    Args:
        benign: rows of the classes table, of one layer.
        attacked: likewise, under the condition.
        lifetimes: the rows of the lifetime table, benign and attacked; none until they are there.
        width: of a line.
    """
    lines = [_line("", "benign", "attacked", "Δ", (), width)]
    for name, title in _LIU.items():
        before, after = (_mean(rows, name) for rows in (benign, attacked))
        numbers = (format_cell(before, "psi"), format_cell(after, "psi"), format_cell(after - before, "shift"))
        lines.append(_line(title, *numbers, _liu_remarks(name, benign[0]), width))
    if lifetimes:
        before_row, after_row = lifetimes
        numbers = (
            format_cell(before_row["lifetime_mean"], "psi"),
            format_cell(after_row["lifetime_mean"], "psi"),
            format_cell(after_row["delta_mean"], "shift"),
        )
        lines.append(_line("lifetime", *numbers, _lifetime_remarks(after_row), width))
    return Content("\n").join(lines)


def _mean(rows: Sequence[Row], name: str) -> float:
    """Over the classes that have a value; NaN where none has."""
    values = np.array([as_number(row[name]) for row in rows])
    return float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else float("nan")


def _liu_remarks(name: str, row: Row) -> tuple[str, ...]:
    if row["psi_liu"] is None and row["dead_channels"] is None:
        return ("needs 3 classes in finished chunks",)
    dead, all_channels = (format_count(as_number(row[name])) for name in ("dead_channels", "channels"))
    return {
        "psi_liu": ("mean over classes, z by the benign ones", "mean over classes, z by benign ones"),
        "psi_liu_live": (
            f"without the {dead} dead of {all_channels} channels",
            f"without {dead} dead of {all_channels}",
        ),
        "psi_liu_separate": ("z by its own; a change must show here too", "z by its own; must show a change too"),
    }[name]


def _lifetime_remarks(row: Row) -> tuple[str, ...]:
    if row["dead"] is None:
        return ("after the first finished chunk",)
    silent = f"{_of(row['dead'], row['channels'])} silent"
    if row["lifetime_mean"] is None:
        return (silent,) if row["dead"] == row["channels"] else ("sums of squares are not in this run",)
    live = format_count(as_number(row["channels"]) - as_number(row["dead"]))
    quartiles = f"quartiles {as_number(row['lifetime_q25']):.2f}..{as_number(row['lifetime_q75']):.2f}"
    return f"{live} live channels, {quartiles}", f"{live} channels, {quartiles}"


def _of(part: Cell, whole: Cell) -> str:
    return f"{format_count(as_number(part))} of {format_count(as_number(whole))} channels"


def _line(title: str, benign: str, attacked: str, shift: str, remarks: Sequence[str], width: int) -> Content:
    """A title, three numbers and the first remark that there is room for."""
    numbers = f"  {benign:>6}  {attacked:>8}  {shift:>7}"
    room = width - len(title.ljust(12)) - len(numbers) - 2
    remark = next((text for text in remarks if len(text) <= room), "")
    return Content.assemble((title.ljust(12), _MUTED), numbers, (f"  {remark}", _MUTED))


def _r_and_p(row: Row) -> str:
    """The p to two digits, which is all that a line has room for."""
    r, p = as_number(row["r"]), as_number(row["p_value"])
    return MISSING if row["r"] is None else f"{r:+.2f} (p {'< 0.0001' if p < 0.0001 else f'{p:.2g}'})"
