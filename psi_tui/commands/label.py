"""`psi-tui label`: what a person says of runs, a name, tags and a note, beside their results."""

from collections.abc import Sequence
from dataclasses import replace

import rich_click as click

from psi_core.errors import ConfigError, attempted, first_of, incomplete, unknown_name
from psi_core.runs.finding import list_runs, load_run
from psi_core.runs.labels import Label, change_label, checked_name, checked_note, checked_tags, require_labelable
from psi_core.runs.run import Run
from psi_tui.commands.options import json_option, runs_dir_option
from psi_tui.shell.completion import complete_run, complete_tag
from psi_tui.shell.console import narrate, output_console, print_sentence, write_result
from psi_tui.text.formatting import json_text
from psi_tui.text.runs import label_lines


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_run)
@click.option("--name", metavar="", help="another name for one run; '' brings its own back")
@click.option("--tag", "add", metavar="", shell_complete=complete_tag, help="tags to add, with commas")
@click.option("--untag", "remove", metavar="", shell_complete=complete_tag, help="tags to remove, with commas")
@click.option("--note", metavar="", help="a note in the place of the present one; '' removes it")
@runs_dir_option
@json_option
def label(
    *,
    runs: tuple[str, ...],
    name: str | None,
    add: str | None,
    remove: str | None,
    note: str | None,
    runs_dir: str | None,
    as_json: bool,
) -> None:
    """Rename a run, tag runs, note something; without options, show what was said of them.

    Results, configuration and id stay as they are. Exits with 1 where a run could not be labeled; the others are.
    """
    refusals: list[str] = []
    found = [load_run(text, runs_dir) for text in runs]
    if name is not None and len(found) > 1:
        raise ConfigError(f"name: {len(found)} runs cannot have one name; write one run")
    added, removed = (checked_tags(each for each in (text or "").split(",") if each.strip()) for text in (add, remove))
    if added or removed or name is not None or note is not None:
        _require_there(removed, found)
        name = None if name is None else checked_name(name)
        note = None if note is None else checked_note(note)

        def changed(before: Label) -> Label:
            tagged = before.with_tags(added, removed)
            named = tagged if name is None else replace(tagged, name=name)
            return named if note is None else replace(named, note=note)

        for run in found:
            changed(require_labelable(run.directory))  # What cannot stand for one is refused before any is written.
        written, refusals = attempted(
            lambda directory: change_label(directory, changed), [run.directory for run in found]
        )
        found = [load_run(directory) for directory in written]
        if name and found:
            _tell_namesakes(found[0], runs_dir)
    if as_json:
        write_result(json_text([_row(run) for run in found]))
    else:
        for run in found:
            print_sentence(output_console(), run.name if run.name == run.id else f"{run.name}, {run.id}")
            for line in label_lines(run.label) or ["neither tags nor a note"]:
                print_sentence(output_console(), f"  {line}", indent=2)
    if refusals:
        raise incomplete("are labeled", len(found), refusals)


def _require_there(tags: Sequence[str], runs: Sequence[Run]) -> None:
    """Refuses to take a tag away that no run has: it may be misspelt."""
    there = dict.fromkeys(tag for run in runs for tag in run.tags)
    for tag in tags:
        if tag.casefold() not in map(str.casefold, there):
            if not there:
                raise ConfigError(f"untag: there is no tag to remove from {first_of([run.name for run in runs])}")
            raise ConfigError(unknown_name("untag", tag, there))


def _tell_namesakes(run: Run, runs_dir: str | None) -> None:
    others = [each.id for each in list_runs(runs_dir) if each.name == run.name and each.directory != run.directory]
    if others:
        narrate(f"{run.name} is the name of {others[0]} too; write ids where a command asks for a run")


def _row(run: Run) -> dict[str, object]:
    return {"id": run.id, "name": run.name, "tags": run.tags, "note": run.note, "directory": run.directory}
