"""Columns of runs, for rows of one run each, how a run's status is marked, and where it is exported to."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from psi_core.conditions import Epsilon
from psi_tui.text.columns import ScreenColumn
from psi_tui.text.formatting import MISSING, Row, format_accuracies, format_age, format_headline, format_progress

if TYPE_CHECKING:
    from psi_core.config import ResolvedConfig, RunConfig
    from psi_core.runs.labels import Label
    from psi_core.tables.summary import RunSummary

STATUS_GLYPHS = {
    **{"running": "▶", "paused": "║", "done": "✓", "failed": "✗"},
    **{"stopped": "■", "queued": "…", "lost": "?", "damaged": "!"},
}
"""One character beside the word of each status."""

STATUS_COLORS = {
    **dict.fromkeys(("running", "paused"), "primary"),
    **{"done": "success", "stopped": "warning"},
    **dict.fromkeys(("failed", "lost", "damaged"), "error"),
}
"""Name of the theme's color of each status that has one."""

NOT_TRUSTED = "?"
"""Before a model that is code not made here."""

NOT_TRUSTED_WORDS = "code not made here, runs only with --trust"

NOT_READ_YET = "…"
"""Stands where there are results that nobody has read yet."""

RUN_COLUMNS: dict[str, ScreenColumn] = {
    "run": ScreenColumn("run", lambda row: row["run"], is_text=True),
    "model": ScreenColumn(
        "model",
        lambda row: NOT_TRUSTED * row["needs_trust"] + short_place(row["model"]),
        is_text=True,
        share=0.6,
        least=8,
    ),
    "data": ScreenColumn("data", lambda row: short_place(row["data"]), is_text=True, share=0.6, least=8),
    "attack": ScreenColumn(
        "attack",
        lambda row: f"{row['attack']} {row['epsilon']}".strip() or ("none" if row["model"] else MISSING),
        is_text=True,
        share=0.6,
        least=9,
        value=lambda row: (row["attack"], epsilons_of(row["epsilon"])) if row["attack"] else None,
    ),
    "images": ScreenColumn("images", lambda row: format_progress(row["done"], row["total"])),
    "accuracy": ScreenColumn("accuracy %", lambda row: _accuracies(row["summary"], row["done"])),
    "beyond_noise": ScreenColumn(
        "beyond noise",
        lambda row: _shifts(row)[0],
        is_text=True,
        least=13,
        value=lambda row: row["summary"].delta_sd if row["summary"] else None,
    ),
    "shift": ScreenColumn(
        "Δ",
        lambda row: _shifts(row)[1],
        is_text=True,
        value=lambda row: row["summary"].shift if row["summary"] else None,
    ),
    "tags": ScreenColumn("tags", lambda row: row["tags"], is_text=True, share=0.6, least=8),
    "status": ScreenColumn("status", lambda row: row["status"], is_text=True, is_whole=True),
    "age": ScreenColumn("age", lambda row: row["age"]),
}
"""What lists of runs tell of one, from rows with these keys: texts, but for `done`, `total` and `summary`; that may be
None, where nothing is read yet."""


def epsilons_of(text: str) -> list[float]:
    """Epsilons as numbers, from how a list tells them: `8/255, 0.03`."""
    return [epsilon_number(part) for part in text.split(", ") if part]


def epsilon_number(text: str) -> float:
    """An epsilon as a number, from that or a fraction.

    Raises:
        ValueError: it is neither.
    """
    return Epsilon(text) if "/" in text else float(text)


def short_place(text: str) -> str:
    """A model or data as lists name it: of a path its last part, `stu.py:make`."""
    return re.sub(r"(^|:)/(?:[^:/]*/)*", r"\1", text)


def _accuracies(summary: "RunSummary | None", done: int) -> str:
    if summary is None:
        return NOT_READ_YET if done else MISSING
    if summary.accuracy_percent is None and summary.evidence is not None:
        return "own labels"
    return format_accuracies(summary.accuracy_percent, summary.attacked_accuracy_percent)


def _shifts(row: Row) -> tuple[str, str]:
    summary: RunSummary | None = row["summary"]
    if summary is None or summary == type(summary)() or not row["attack"]:  # Of nothing there is nothing to tell.
        return MISSING, MISSING
    return format_headline(summary.shift_layer, summary.shift, summary.delta_sd, has_noise=summary.has_noise)


def asked_texts(config: "RunConfig | ResolvedConfig") -> dict[str, str]:
    """The options of a run that differ from their defaults, as they are typed; a flag that is set is `yes`."""
    from psi_core.config import RunConfig
    from psi_core.options import option_text

    texts = {}
    for name, info in RunConfig.model_fields.items():
        value = getattr(config, name, info.default)
        text = option_text(value)
        if value is not None and text != option_text(info.default):
            texts[name] = text or "none"
    return texts


def label_lines(label: "Label") -> list[str]:
    """What a person said of a run, in up to two lines: `tags: paper, draft` and `note: ...`; or why it is not known."""
    if label.trouble:
        return [f"damaged: {label.damage}"]
    tags = [f"tags: {', '.join(label.tags)}"] if label.tags else []
    return [*tags, *([f"note: {label.note}"] if label.note else [])]


def said_parts(label: "Label") -> list[str]:
    """The same in one line beside other facts: `#paper #draft`, the note."""
    return [text for text in (" ".join(f"#{tag}" for tag in label.tags), label.note, label.damage) if text]


def age_text(created: datetime, is_example: bool, now: datetime) -> str:
    """How long ago a run was made; of a shipped one, that it is an example."""
    return "example" if is_example else format_age(created.isoformat(), now)


def folders_of(runs: Sequence[tuple[Path, str]]) -> list[str]:
    """Names of the folders that runs are exported into, each its own, also on disks to which upper and lower are one.

    Args:
        runs: directory and name of each.
    """
    names = [re.sub(r"[\s/\\]+", "-", name).strip(".") for _, name in runs]
    folded = [name.casefold() for name in names]
    pairs = zip(runs, names, folded, strict=True)
    return [
        name if name and folded.count(fold) == 1 else f"{name}-{directory.name}".lstrip("-")
        for (directory, _), name, fold in pairs
    ]
