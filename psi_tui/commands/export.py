"""`psi-tui export`: a run's tables and images as files."""

import rich_click as click

from psi_core.errors import ConfigError, unknown_name
from psi_core.measures import MEASURE_NAMES
from psi_core.runs.events import Event, ImagesWritten
from psi_core.runs.finding import load_run
from psi_core.runs.run import Run
from psi_core.tables.columns import PAGE_ROWS
from psi_core.tables.export import FORMATS, IMAGE_FORMATS, export_run, left_out_words
from psi_core.tables.registry import TABLE_NAMES, tables_taking
from psi_tui.commands.options import run_argument, runs_dir_option, trust_option, trust_run
from psi_tui.engine.client import EngineError, NoAnswerError, ask
from psi_tui.runs.progress import Progress
from psi_tui.shell.bar import progress_view
from psi_tui.shell.completion import one_of, some_of
from psi_tui.shell.console import narrate, write_result

_OF_A_MEASURE = tables_taking("measure")
_NAMED = f"{', '.join(_OF_A_MEASURE[:-1])} and {_OF_A_MEASURE[-1]}"


@click.command(
    help=f"""Write a run's tables as files: CSV and JSON in full precision, Markdown and LaTeX for the page.

    {_NAMED.capitalize()} are of PSI; --measure hoyer,n_eff writes
    {", ".join(f"{table}-hoyer" for table in _OF_A_MEASURE)} and so on beside them.

    With --images, every image too: images-CONDITION.npz holds it exactly as the network saw it, and `run --attacked`
    takes it; png/CONDITION holds it rounded to 8 bits.
    """
)
@run_argument
@click.option("--to", "folder", metavar="", required=True, help="folder to write into; made where it is missing")
@click.option(
    "--format", default="csv", metavar="", shell_complete=one_of(FORMATS), help=f"{', '.join(FORMATS)} (default: csv)"
)
@click.option(
    "--tables",
    metavar="",
    shell_complete=some_of(TABLE_NAMES),
    help=f"with commas: {', '.join(TABLE_NAMES)} (default: all; on a page those up to {PAGE_ROWS:,} rows)",
)
@click.option(
    "--measure",
    metavar="",
    shell_complete=some_of(MEASURE_NAMES),
    help=f"{_NAMED} of these measures too, with commas",
)
@click.option("--images", is_flag=True, help="also the images of every condition, made again")
@click.option(
    "--image-formats",
    metavar="",
    shell_complete=some_of(IMAGE_FORMATS),
    help="npz (exact) and png (8 bits), with commas (default: both)",
)
@trust_option
@runs_dir_option
def export(
    *,
    run: str,
    folder: str,
    format: str,  # noqa: A002
    tables: str | None,
    measure: str | None,
    images: bool,
    image_formats: str | None,
    trust: bool,
    runs_dir: str | None,
) -> None:
    """Writes the tables, and the images where they are asked for."""
    if format not in FORMATS:
        raise ConfigError(unknown_name("format", format, FORMATS))
    names = None if tables is None else [name.strip() for name in tables.split(",")]
    kinds = list(IMAGE_FORMATS) if image_formats is None else [name.strip() for name in image_formats.split(",")]
    for kind in kinds:
        if kind not in IMAGE_FORMATS:
            raise ConfigError(unknown_name("image-formats", kind, IMAGE_FORMATS))
    measures = [] if measure is None else [name.strip() for name in measure.split(",")]
    found = load_run(run, runs_dir)
    if found.missing_chunks:
        narrate(f"{found.name} is not finished; these files hold what is there")
    with progress_view(hint="") as view:
        paths = export_run(
            found, folder, format, names, measures, lambda *table: view.update(Progress("running", *table))
        )
    for path in paths:
        write_result(str(path))
    if names is None and (words := left_out_words(found, format)):
        narrate(words)
    if images or image_formats is not None:
        if trust:
            trust_run(found)
        for place in _export_images(found, folder, kinds):
            write_result(place)


def _export_images(run: Run, folder: str, kinds: list[str]) -> list[str]:
    """Has a child make and write the images, and gives the paths."""
    with progress_view(hint="") as view:

        def show(event: Event) -> None:
            if isinstance(event, ImagesWritten):
                view.update(Progress("running", "export", event.done, event.total))

        view.update(Progress("running", "load"))
        try:
            answer = ask("images", show, run=str(run.directory), to=folder, formats=kinds)
        except NoAnswerError as error:
            sentence = f"export: ended with status {error.status}; its message stands above"
            raise EngineError(sentence) from None
        for warning in answer["warnings"]:
            view.say(f"warning: {warning}")
    return [str(path) for path in answer["paths"]]
