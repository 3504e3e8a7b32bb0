"""A run on one page that needs nothing beside it: verdicts, evidence, plots, configuration, and how to make it again.

The page is a list of parts, which become HTML or Markdown; plots lie in it as SVG.
"""

import base64
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from psi_core.conditions import BENIGN
from psi_core.options import flag_of, option_text
from psi_core.plain_text import plain_line
from psi_core.runs.run import Run
from psi_core.tables.columns import Column, Row, as_number, readable
from psi_core.tables.export import markdown_text, run_line
from psi_core.tables.registry import table_columns, table_notes, table_rows
from psi_core.tables.summary import headline_condition
from psi_tui.plots.figures import Subject
from psi_tui.plots.layer_histogram import layer_histogram
from psi_tui.plots.page import draw_page
from psi_tui.plots.page_files import svg_text
from psi_tui.plots.shift_curves import (
    profile_curves,
    recognition_curves,
    recognition_title,
    shift_curves,
    swept,
)
from psi_tui.text.formatting import format_cell
from psi_tui.text.runs import asked_texts, label_lines

_NOTHING_DONE = "nothing was done to the images"
_CONTROLS_ALONE = "nothing attacked the images: what was done to them are controls, such as noise"

_MOST_SWEEPS = 4
"""Layers whose shift is shown against epsilon: those that move furthest."""

_MOST_PLOTS = 12
"""Layers whose histogram is shown; of more, those that move furthest."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of the second order."""

    text: str


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences, or lines to be typed as they are."""

    text: str
    is_code: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows under headings; the key columns that hold something."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Plate:
    """A plot as SVG under its caption."""

    caption: str
    svg: str


Part: TypeAlias = Heading | Words | Listing | Plate


def report_parts(run: Run, condition: str | None = None) -> list[Part]:
    """What a report says of a run, in order.

    Args:
        run: a run with results.
        condition: that the plots compare with benign; default the attack at its largest epsilon.
    """
    chosen = condition or headline_condition(run)
    layers = table_rows(run, "layers")
    compared = [row for row in layers if row["condition"] == chosen]
    parts: list[Part] = [Words(f"{run_line(run)}; {run.status}; id {run.id}"), *map(Words, label_lines(run.label))]
    if chosen == BENIGN:
        parts.append(Words(_NOTHING_DONE))
    elif run.condition_details[run.conditions.index(chosen)].is_control:
        parts.append(Words(_CONTROLS_ALONE))
    elif not any(row["noise"] for row in compared):
        parts.append(Words(f"{chosen}: no noise of its size is here, every verdict is against benign"))
    told = [row for row in layers if row["verdict"]]
    parts += _section("Verdicts", _listing(run, "layers", told, ("layer", "condition", "verdict")))
    parts += _section("Layers", _listing(run, "layers", layers))
    parts += [Words(note) for note in table_notes(run, "layers")]
    recognition = table_rows(run, "conditions")
    names = ("condition", "images", "accuracy_percent") if chosen == BENIGN else ()
    parts += _section("Recognition", _listing(run, "conditions", recognition, names))
    parts += _section("Evidence", _listing(run, "evidence", table_rows(run, "evidence")))
    parts += _curves(run, chosen, layers, recognition)
    furthest = sorted(compared, key=_how_far, reverse=True)
    parts.append(Heading("PSI of the layers" + ("" if chosen == BENIGN else f", benign against {chosen}")))
    shown = {row["layer"] for row in furthest[:_MOST_PLOTS]}
    for row in compared:
        if row["layer"] in shown:
            histogram = layer_histogram(run, str(row["layer"]), condition=chosen)
            svg = svg_text(draw_page(histogram.figure, histogram.title))
            parts.append(Plate(f"{histogram.title}: {row['verdict']}" if row["verdict"] else histogram.title, svg))
    parts += [Heading("How it was made"), Words(made_by(run), is_code=True)]
    configuration = {name: option_text(value) for name, value in run.config if option_text(value)}
    parts.append(Words("\n".join(f"{name} = {text}" for name, text in configuration.items()), is_code=True))
    hashes = {name: run.model[name] for name in ("weights", "source", "sha256") if run.model.get(name)}
    if hashes:
        told_hashes = "\n".join(f"{name} = {plain_line(value)}" for name, value in hashes.items())
        parts += [Heading("Weights"), Words(told_hashes, is_code=True)]
    return parts


def _section(heading: str, listing: Listing) -> list[Part]:
    """A heading and its table; nothing where that has no rows."""
    return [Heading(heading), listing] if listing.rows else []


def _curves(run: Run, chosen: str, layers: Sequence[Row], recognition: Sequence[Row]) -> list[Part]:
    """Mean shifts layer by layer, and, of a condition with an epsilon in a run with several, all against epsilon."""
    condition = run.condition_details[run.conditions.index(chosen)]
    if condition.is_benign:
        return []
    plates = []
    if len(run.layers) > 1:
        rows = {name: [row for row in layers if row["condition"] == name] for name in run.conditions}
        profile = profile_curves(run, condition, rows.__getitem__, "PSI", Subject())
        plates.append((f"mean shift of PSI under {chosen}, layer by layer, 95 % CI", profile))
    epsilons = {each.epsilon for each in swept(run) if each.attack == condition.attack and each.epsilon > 0}
    if condition.has_epsilon and len(epsilons) > 1:
        curves = recognition_curves(run, recognition, condition.attack, Subject())
        plates.append((f"{recognition_title(run)} against epsilon", curves))
        furthest = sorted((row for row in layers if row["condition"] == chosen), key=_how_far, reverse=True)
        for layer in [row["layer"] for row in furthest[:_MOST_SWEEPS]]:
            own = [row for row in layers if row["layer"] == layer]
            curves = shift_curves(run, own, condition.attack, "PSI", Subject())
            plates.append((f"mean shift of PSI of {layer} against epsilon, 95 % CI", curves))
    drawn: list[Part] = [Plate(caption, svg_text(draw_page(figure))) for caption, figure in plates]
    return [Heading("Shifts and recognition"), *drawn] if drawn else []


def _how_far(row: Row) -> tuple[bool, float]:
    """By what layers are chosen: how far they lie beyond noise; after those, how far from benign."""
    beyond = row["delta_sd"] is not None
    shift = as_number(row["delta_sd"] if beyond else row["delta_mean"])
    return beyond, 0.0 if math.isnan(shift) else abs(shift)


def made_by(run: Run) -> str:
    """The command that makes the run again."""
    if run.card.get("command"):
        return str(run.card["command"])
    words = ["psi-tui", "run"]
    for name, text in asked_texts(run.config).items():
        words += [flag_of(name)] if getattr(run.config, name) is True else [f"{flag_of(name)}={text}"]
    return shlex.join(words)


def markdown_report(name: str, parts: Sequence[Part]) -> str:
    """The parts as Markdown; plots are in it as data."""
    lines = [f"# {name}", ""]
    for part in parts:
        match part:
            case Heading():
                lines += [f"## {part.text}", ""]
            case Words(is_code=True):
                lines += ["```", part.text, "```", ""]
            case Words():
                lines += [part.text, ""]
            case Listing():
                lines += [markdown_text(part.rows, part.columns)]
            case Plate():
                data = base64.b64encode(part.svg.encode()).decode()
                lines += [part.caption, "", f"![{part.caption}](data:image/svg+xml;base64,{data})", ""]
    return "\n".join(lines)


def html_report(name: str, parts: Sequence[Part]) -> str:
    """The parts as one HTML page, light, that loads nothing."""
    body = [f"<h1>{escape(name)}</h1>"]
    for part in parts:
        match part:
            case Heading():
                body.append(f"<h2>{escape(part.text)}</h2>")
            case Words(is_code=True):
                body.append(f"<pre>{escape(part.text)}</pre>")
            case Words():
                body.append(f"<p>{escape(part.text)}</p>")
            case Listing():
                body.append(_html_table(part))
            case Plate():
                body.append(f"<figure>{part.svg}<figcaption>{escape(part.caption)}</figcaption></figure>")
    return _HTML.format(title=escape(name), body="\n".join(body))


def card(run: Run) -> str:
    """What was found, in lines short enough for a chat."""
    chosen = headline_condition(run)
    rows = [row for row in table_rows(run, "layers") if row["condition"] == chosen]
    width = max((len(str(row["layer"])) for row in rows), default=0)
    lines = [f"{run.name}: {run_line(run)}", *label_lines(run.label)]
    if chosen == BENIGN:
        return "\n".join([*lines, _NOTHING_DONE, made_by(run)])
    if any(row["delta_sd"] is not None for row in rows):
        lines.append(f"{chosen}, layer by layer, in benign sd beyond noise:")
        lines += [
            f"  {row['layer']:<{width}}  {format_cell(row['delta_sd'], 'sd'):>7}  {row['verdict'] or ''}"
            for row in rows
        ]
    else:
        lines.append(f"{chosen}, layer by layer, against benign:")
        lines += [f"  {row['layer']:<{width}}  {row['verdict'] or ''}".rstrip() for row in rows]
    return "\n".join([*lines, made_by(run)])


def _listing(run: Run, table: str, rows: Sequence[Row], names: Sequence[str] = ()) -> Listing:
    """The key columns of a table that hold something, or those that are named."""
    columns = table_columns(run, table)
    if names:
        by_name = {column.name: column for column in columns}
        return Listing(tuple(by_name[name] for name in names), tuple(rows))
    kept = [
        column for column in columns if column.is_key and any(readable(row[column.name], column.kind) for row in rows)
    ]
    return Listing(tuple(kept), tuple(rows))


def _html_table(part: Listing) -> str:
    head = "".join(f"<th>{escape(column.heading)}</th>" for column in part.columns)
    body = "\n".join(
        "<tr>"
        + "".join(f"<td>{escape(readable(row[column.name], column.kind))}</td>" for column in part.columns)
        + "</tr>"
        for row in part.rows
    )
    return f"<table>\n<tr>{head}</tr>\n{body}\n</table>"


_HTML = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 Helvetica, Arial, sans-serif; color: #111; background: #fff; }}
body {{ max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-size: 13px; margin: 0.5rem 0 1rem; display: block; overflow-x: auto; }}
th, td {{ padding: 2px 10px 2px 0; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top; }}
pre {{ background: #f4f4f4; padding: 0.6rem; overflow-x: auto; white-space: pre-wrap; }}
figure {{ display: inline-block; margin: 0.5rem 1rem 0.5rem 0; max-width: 455px; }}
figcaption {{ font-size: 12px; color: #444; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
