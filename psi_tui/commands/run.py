"""`psi-tui run` and `watch`: starts a run in a session of its own and watches it, or one started elsewhere."""

import subprocess
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import rich_click as click
from click.shell_completion import CompletionItem

from psi_core.files import runs_directory
from psi_core.plain_text import counted
from psi_core.presets import PRESETS, config_of, needless_options
from psi_core.runs.finding import find_run, load_run
from psi_tui.commands.config_options import config_options, config_panels, typed_values
from psi_tui.commands.options import run_argument, runs_dir_option
from psi_tui.engine.client import ask, start
from psi_tui.shell.bar import waiting
from psi_tui.shell.completion import one_of
from psi_tui.shell.console import narrate, output_console, print_sentence, write_result
from psi_tui.shell.follow import follow
from psi_tui.shell.slurm_script import slurm_script
from psi_tui.shell.tables import print_layers
from psi_tui.text.formatting import format_bytes, format_count, format_duration

_PRESET_LINES = "\n\n".join(f"{name}: {preset.description}." for name, preset in PRESETS.items())


def _spec_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Lets the shell complete with files."""
    return [CompletionItem(incomplete, type="file")]


@click.command(epilog=_PRESET_LINES)
@click.argument("spec", required=False, metavar="[SPEC.toml]", shell_complete=_spec_files)
@click.option(
    "--preset",
    metavar="",
    shell_complete=one_of(PRESETS),
    help=f"a named set-up that the file and the options beat: {', '.join(PRESETS)}",
)
@config_options
@runs_dir_option
@click.option("--detach", is_flag=True, help="print the run's path and return; the run goes on")
@click.option("--queue", is_flag=True, help="make the run, print its path and start no worker: others will work on it")
@click.option("--slurm", is_flag=True, help="print a script for sbatch that does the run, --devices tasks at a time")
@click.option("--plan", is_flag=True, help="say what the run would do and cost, and exit")
@click.option("--quiet", is_flag=True, help="no bar, no narration, no table; warnings and errors only")
@config_panels
@click.pass_context
def run(
    context: click.RichContext,
    /,
    *,
    spec: str | None,
    preset: str | None,
    runs_dir: str | None,
    detach: bool,
    queue: bool,
    slurm: bool,
    plan: bool,
    quiet: bool,
    **_: Any,
) -> None:
    """Measure a network's population sparseness, benign and attacked.

    SPEC.toml holds the same keys as the options, with underscores; what is typed beats the file, the file a preset.
    The run goes on when this shell is closed; Ctrl-C stops it after the open chunk, and `resume` goes on from there.
    Lists are written with commas: --epsilon 0.01,0.03,0.1
    """
    outcomes = {"--detach": detach, "--queue": queue, "--slurm": slurm, "--plan": plan}
    chosen = [option for option, is_chosen in outcomes.items() if is_chosen]
    if len(chosen) > 1:
        raise click.UsageError(f"{', '.join(chosen)}: exclude each other; write one of them")
    typed = typed_values(context)
    config = config_of(preset, spec, **typed)
    for sentence in needless_options(config, config_of(None, spec, **typed).model_fields_set):
        narrate(f"warning: {sentence}")
    question = config.model_dump(mode="json", exclude_unset=True)
    folder = str(runs_directory(runs_dir))
    if slurm:
        write_result(slurm_script(config, typed, Path(folder), spec=spec, preset=preset).rstrip())
        return
    if queue:
        with waiting("checking model and data", quiet=quiet):
            answer = ask("queue", config=question, runs_dir=folder)
        write_result(answer["run"])
        return
    if plan:
        with waiting("checking model and data", quiet=quiet):
            answer = ask("plan", config=question, runs_dir=folder, offers=True)
        _print_plan(answer, folder)
        return
    context.exit(start_and_follow("start", detach=detach, quiet=quiet, config=question, runs_dir=folder))


def start_and_follow(do: str, *, detach: bool, quiet: bool, **fields: Any) -> int:
    """Has a child start or resume a run, follows that, and gives the exit code.

    Args:
        do: `start` or `resume`.
        fields: what these take.
        detach: whether to print the path and return instead.
        quiet: whether to leave out the bar, the narration and the table at the end.
    """
    if not detach and not quiet:
        # The table at the end needs it, and it takes a second to load: while the child loads torch on one core, not
        # when the worker computes on all of them.
        threading.Thread(target=import_module, args=("scipy.stats",), daemon=True).start()
    with waiting("starting the engine", quiet=quiet):
        directory, child = start(do, **fields)
    if detach:
        _let_go(child)
        write_result(str(directory))
        return 0
    code = follow(directory, child, quiet=quiet)
    _let_go(child)
    if code == 0 and not quiet:
        finished = load_run(directory)
        print_layers(output_console(), finished)
        narrate(f"{directory}")
        narrate(f"next: psi-tui show {finished.id} --plot {finished.layers[0]}")
        narrate(f"      psi-tui export {finished.id} --to results")
    return code


def _let_go(child: subprocess.Popen[str]) -> None:
    """Lets a child go on alone: Python would warn of one that nobody waited for."""
    if child.poll() is None:
        child.returncode = 0


def _print_plan(plan: dict[str, Any], folder: str) -> None:
    seconds, chunk = plan.get("seconds"), format_count(-(-plan["images"] // plan["chunks"]))
    facts = {
        "images": f"{format_count(plan['images'])} in chunks of {chunk}, batches of {plan['batch']}",
        "conditions": ", ".join(plan["conditions"]),
        "layers": f"{', '.join(plan['layers'])} ({counted(plan['units'], 'unit')})",
        "device": plan["device"] if plan["devices"] == 1 else f"{plan['device']}, {plan['devices']} workers",
        "time": "not known yet for this model and device" if seconds is None else f"about {format_duration(seconds)}",
        "disk": f"{format_bytes(plan['disk_bytes'])} in {folder}",
        "weights": "to be fitted first" if plan["fit_needed"] else "ready",
    }
    if note := plan.get("device_note"):
        facts["device"] += f" ({note.removeprefix('device: ')})"
    if completeness := plan.get("completeness"):
        facts["complete"] = completeness
    if faster := plan.get("faster"):
        facts["faster"] = faster
    for name, value in facts.items():
        print_sentence(output_console(), f"{name:<10}  {value}", indent=12)


@click.command()
@run_argument
@runs_dir_option
@click.pass_context
def watch(context: click.RichContext, run: str, runs_dir: str | None) -> None:
    """Watch a run until it ends; Ctrl-C leaves it running."""
    context.exit(follow(find_run(run, runs_dir), is_ours=False))
