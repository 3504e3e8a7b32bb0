"""`psi-tui ablate` and `psi-tui liu`: what is computed besides runs, and kept in no run.

`ablate` tells what a network still recognizes when only some of a layer's channels are left, `liu` how sparsely each
image of a run is answered by Liu's preset.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from psi_core.ablation import DEFAULT_PERCENTAGES, DEFAULT_TRAIN_IMAGES, RANKINGS, RUN_FIELDS, AblationConfig
from psi_core.errors import ConfigError
from psi_core.files import is_folder, temporary_beside, typed_path
from psi_core.runs.finding import load_run
from psi_core.statistics.histograms import TABLE_BINS
from psi_core.tables.ablation import AblationResult
from psi_core.tables.export import FORMATS, ComputedTable
from psi_core.tables.liu import ACROSS, LiuResult, liu_request
from psi_tui.commands.config_options import config_options, typed_values
from psi_tui.commands.options import (
    chosen_format,
    json_option,
    run_argument,
    runs_dir_option,
    trust_option,
    trust_run,
)
from psi_tui.engine.client import EngineError
from psi_tui.shell.ablation import print_ablation
from psi_tui.shell.completion import complete_conditions, one_of
from psi_tui.shell.console import narrate, output_console, require_free, write_file, write_result
from psi_tui.shell.follow import INTERRUPTED, finished_job
from psi_tui.shell.liu import print_liu

_RANKING_LINES = "\n\n".join(f"{name}: {meaning}." for name, meaning in RANKINGS.items())
_ACROSS_LINES = "\n\n".join(f"{name}: {meaning}." for name, meaning in ACROSS.items())

_EPILOG = f"""A channel is one feature map of a convolution, or one feature of a fully connected layer; its response to
an image is the mean over the map. Masking sets the layer's output to 0 in all other channels. Of N channels, P percent
are ceil(P x N / 100). Channels are ordered for each class, equal ones by their number:

{_RANKING_LINES}

The mask of an image is that of its class, which by itself tells the network something of the label: random does so as
well and is the control for it, and --shared has one order for all classes, the mean over them.

FGSM goes by the gradient of the intact network; sign-noise is noise of the same size. Nothing is kept: interrupted, an
ablation prints no rows."""


@click.command(epilog=_EPILOG)
@click.option("--layer", metavar="", required=True, help="whose channels are masked: conv5, as `layers` lists them")
@click.option(
    "--keep",
    metavar="",
    help=f"percentages of the channels that are kept (default: {','.join(f'{p:g}' for p in DEFAULT_PERCENTAGES)})",
)
@click.option(
    "--drop", metavar="", help="instead of --keep: percentages that are set to 0, beginning with the first of the order"
)
@click.option("--by", metavar="", help=f"how they are ordered: {', '.join(RANKINGS)} (default: response,random)")
@click.option("--shared", is_flag=True, help="one order for all classes, so that a mask tells nothing of the label")
@click.option(
    "--train-images",
    metavar="",
    help=f"the first N training images order the channels (default: {DEFAULT_TRAIN_IMAGES}, or all of fewer)",
)
@lambda command: config_options(command, RUN_FIELDS, AblationConfig)
@click.option("--plot", is_flag=True, help="curves of accuracy over channels kept, too")
@click.option("--format", metavar="", help=f"{', '.join(FORMATS)} (default: for this screen)")
@click.option("--to", "file", metavar="", help="file to write, as --format or its ending says (default: csv)")
@click.option("--replace", is_flag=True, help="replace the file where there is one")
@json_option
@click.option_panel(
    "Ablation", options=["--layer", "--keep", "--drop", "--by", "--rectify", "--shared", "--train-images"]
)
@click.option_panel(
    "What is shown",
    options=["--model", "--weights", "--data", "--split", "--images", "--size", "--resize", "--normalize", "--epsilon"],
)
@click.option_panel("Computing", options=["--seed", "--precision", "--device", "--batch", "--threads"])
@click.pass_context
def ablate(
    context: click.RichContext,
    /,
    *,
    plot: bool,
    format: str | None,  # noqa: A002
    file: str | None,
    replace: bool,
    as_json: bool,
    **_options: Any,
) -> None:
    """Measure accuracy, benign and attacked, with only a percentage of a layer's channels kept, or without it.

    Tests the claim that 10-15 % of a layer's units give about 90 % of the performance. Lists are written with commas:
    --keep 5,10,50
    """
    path, format = _place(file, format, as_json=as_json)  # noqa: A001
    if plot and format is not None and path is None:
        raise ConfigError(f"plot: curves are no {format}; write them to a file with --to, or leave --plot out")
    question = typed_values(context, AblationConfig)
    AblationConfig(**question)
    if path is not None:
        _require_writable(path, replace=replace)
    finished = finished_job("ablate", question, hint="Ctrl-C leaves; no rows are printed then")
    if finished is None:
        narrate("interrupted; an ablation prints all of its rows or none")
        context.exit(INTERRUPTED)
    result = AblationResult(**finished)
    _tell(result, lambda: print_ablation(output_console(), result, with_plot=plot), path, format, replace=replace)


_LIU_EPILOG = f"""A run keeps its channels' responses by class, not by image: the images are computed again with the
run's own weights, and refused where the benign PSI comes out otherwise. A channel's response to an image is its mean
over the map. It is measured by the channel's benign mean and sd, then scaled to 0..1 over the channels of the layer; of
that PSI is taken. Mean and sd are taken across:

{_ACROSS_LINES}

The yardstick is the whole run's, also where few images are computed again. Nothing is kept: interrupted, no rows are
printed."""


@click.command(epilog=_LIU_EPILOG)
@run_argument
@click.option(
    "--images",
    type=click.IntRange(1),
    metavar="N",
    help="the first N images of the run (default: all that are finished)",
)
@click.option(
    "--conditions",
    metavar="",
    shell_complete=complete_conditions,
    help="some of the run's, with commas: fgsm@0.03,sign-noise@0.03 (default: all); benign is always there",
)
@click.option(
    "--across",
    default="classes",
    metavar="",
    shell_complete=one_of(ACROSS),
    help="what each channel's mean and sd are taken across: classes or images (default: classes)",
)
@click.option(
    "--bins", type=int, default=TABLE_BINS, metavar="", help=f"bins over 0..1 of the peaks (default: {TABLE_BINS})"
)
@click.option("--format", metavar="", help=f"{', '.join(FORMATS)} (default: for this screen)")
@click.option("--to", "file", metavar="", help="file to write, as --format or its ending says (default: csv)")
@click.option("--replace", is_flag=True, help="replace the file where there is one")
@trust_option
@runs_dir_option
@json_option
@click.pass_context
def liu(
    context: click.RichContext,
    /,
    *,
    run: str,
    images: int | None,
    conditions: str | None,
    across: str,
    bins: int,
    format: str | None,  # noqa: A002
    file: str | None,
    replace: bool,
    trust: bool,
    runs_dir: str | None,
    as_json: bool,
) -> None:
    """Measure a run image by image by the preset of Liu, Zhen & Liu 2020: peaks, and shifts from benign and noise."""
    path, format = _place(file, format, as_json=as_json)  # noqa: A001
    found = load_run(run, runs_dir)
    names = [each.strip() for each in (conditions or "").split(",") if each.strip()]
    liu_request(found, images, names, across, bins)
    if path is not None:
        _require_writable(path, replace=replace)
    if trust:
        trust_run(found)
    question = {"run": str(found.directory), "images": images, "conditions": names, "across": across, "bins": bins}
    finished = finished_job("liu", question, hint="Ctrl-C leaves; no rows are printed then")
    if finished is None:
        narrate("interrupted; all rows are printed or none")
        context.exit(INTERRUPTED)
    result = LiuResult(**finished)
    _tell(result, lambda: print_liu(output_console(), result), path, format, replace=replace)


def _place(file: str | None, format: str | None, *, as_json: bool) -> tuple[Path | None, str | None]:  # noqa: A002
    """The file to write, if any, and the format: of a file what its ending says, else CSV; None for the screen."""
    path = None if file is None else typed_path(file)
    chosen = chosen_format(format, as_json=as_json)
    if chosen is None and path is not None:
        ending = path.suffix.removeprefix(".")
        chosen = ending if ending in FORMATS else "csv"
    return path, chosen


def _tell(
    table: ComputedTable,
    show: Callable[[], None],
    path: Path | None,
    format: str | None,  # noqa: A002
    *,
    replace: bool,
) -> None:
    """A table in the format that was asked for, else as `show` prints it; a file is written besides."""
    if path is None and format is not None:
        write_result(table.text(format).rstrip())
        return
    show()
    if path is None or format is None:
        return
    try:
        write_file(path, table.text(format).encode(), replace=replace)
    except ConfigError as error:
        raise EngineError(f"{error}; the rows stand above") from None
    narrate(f"written: {path}")


def _require_writable(path: Path, *, replace: bool) -> None:
    """Refuses a file that could not be written once all is computed."""
    require_free(path, replace=replace)
    try:
        if is_folder(path):
            raise IsADirectoryError(0, "it is a folder")
        temporary = temporary_beside(path)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise ConfigError(f"to: {path} cannot be written ({error.strerror}); name another file") from None
