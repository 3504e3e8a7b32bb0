"""What a person says of runs, asked for in a dialog: name, tags and note of one, tags of several."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from psi_core.errors import PsiError, attempted, first_of, incomplete
from psi_tui.services.services import MOST_TOLD, Services
from psi_tui.widgets.dialogs import FieldsDialog

if TYPE_CHECKING:
    from psi_core.runs.labels import Label

_ONE = {"name": "none: shown by its id", "tags": "paper draft", "note": "what to remember of it"}
_SEVERAL = {"tags": "paper adds it to all, -draft takes it from all"}


def label_run(app: Services, directory: Path) -> None:
    """Lets the user rename a run, tag it and note something."""
    from psi_core.runs.labels import Label, change_label, checked_name, checked_note, checked_tags, require_labelable
    from psi_core.runs.run import Run

    try:
        run, before = Run(directory), require_labelable(directory)
    except PsiError as error:
        app.show_error(error)
        return
    own = run.config.name

    def typed(texts: dict[str, str]) -> Label:
        name = checked_name(texts["name"])
        tags = checked_tags(_words(texts["tags"]))
        return Label("" if name == own else name, tags, checked_note(texts["note"]))

    def answered(texts: dict[str, str] | None) -> None:
        if texts is not None and (label := typed(texts)) != before:
            name = label.name or own or run.id
            _write(
                app,
                lambda: change_label(directory, lambda now: merged(before, label, now)),
                f"{name}: name, tags and note are kept",
            )

    fields = {"name": before.name or own, "tags": " ".join(before.tags), "note": before.note}
    app.push_screen(FieldsDialog(f"Name, tags and note of {run.name}", fields, _ONE, _complaint(typed)), answered)


def tag_runs(app: Services, runs: Sequence[tuple[Path, str]]) -> None:
    """Lets the user add tags to runs and take tags from them; those that must stay as they are are left out, and told.

    Args:
        app: that asks.
        runs: directory and name of each.
    """
    from psi_core.runs.labels import Label, change_label, require_labelable

    found: dict[Path, Label] = {}
    refusals = []
    for directory, _ in runs:
        try:
            found[directory] = require_labelable(directory)
        except PsiError as error:
            refusals.append(str(error))
    if refusals:
        app.say(first_of(refusals, between="; "))
    if not found:
        return

    def tagged(texts: dict[str, str], label: Label) -> Label:
        words = _words(texts["tags"])
        add, remove = [word for word in words if word[0] != "-"], [word[1:] for word in words if word[0] == "-"]
        return label.with_tags([word.removeprefix("+") for word in add], remove)

    def typed(texts: dict[str, str]) -> list[Label]:
        return [tagged(texts, label) for label in found.values()]

    def answered(texts: dict[str, str] | None) -> None:
        if texts is None:
            return
        changed = [
            directory for (directory, before), after in zip(found.items(), typed(texts), strict=True) if after != before
        ]

        def write() -> None:
            written, kept = attempted(
                lambda directory: change_label(directory, lambda now: tagged(texts, now)), changed
            )
            if kept:
                raise incomplete("have their new tags", len(written), kept, MOST_TOLD)

        _write(app, write, f"tags of {len(changed)} {'run' if len(changed) == 1 else 'runs'} changed")

    every = list(dict.fromkeys(tag for label in found.values() for tag in label.tags))
    there = f"now there: {first_of(every, 8)}" if every else "none has a tag yet"
    dialog = FieldsDialog(f"Tag {len(found)} runs", {"tags": ""}, _SEVERAL, _complaint(typed), there)
    app.push_screen(dialog, answered)


def merged(before: "Label", typed: "Label", now: "Label") -> "Label":
    """What was typed over what stood there, where somebody else has said something meanwhile: both stay."""
    kept = now.with_tags(
        [tag for tag in typed.tags if tag not in before.tags], [tag for tag in before.tags if tag not in typed.tags]
    )
    return replace(
        kept,
        tags=typed.tags if now.tags == before.tags else kept.tags,
        name=now.name if typed.name == before.name else typed.name,
        note=now.note if typed.note == before.note else typed.note,
    )


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text) if word]


def _complaint(typed: Callable[[dict[str, str]], object]) -> Callable[[dict[str, str]], str]:
    """What is wrong with texts, in a sentence; empty where they can stand."""

    def complain(texts: dict[str, str]) -> str:
        try:
            typed(texts)
        except PsiError as error:
            return str(error)
        return ""

    return complain


def _write(app: Services, write: Callable[[], object], said: str) -> None:
    """Writes in a thread, for a disk may be slow, and says so."""

    def act() -> None:
        write()
        app.call_from_thread(app.say, said)

    app.run_worker(lambda: app.guarded(act), thread=True, group="label")
