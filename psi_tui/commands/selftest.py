"""`psi-tui selftest`: whether this machine and its device compute what a run promises, and how fast."""

from pathlib import Path
from typing import Any

import rich_click as click

from psi_core.runs.events import Event, PartTested
from psi_tui.commands.options import json_option
from psi_tui.engine.client import ask
from psi_tui.shell.bar import waiting
from psi_tui.shell.console import narrate, narration_console, output_console, print_sentence, write_result
from psi_tui.text.formatting import format_duration, json_text

_MARKS = {"passed": "✓", "failed": "✗", "measured": "·", "left out": "-"}


@click.command()
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:K")
@click.option("--parts", metavar="", help="only these parts, by name, with commas (default: all)")
@click.option(
    "--limit", type=click.FloatRange(1), default=600.0, show_default=True, help="most seconds that it may take"
)
@click.option("--to", type=click.Path(path_type=Path), help="JSON file for what is found, written after every part")
@json_option
@click.pass_context
def selftest(
    context: click.RichContext, device: str, parts: str | None, limit: float, to: Path | None, as_json: bool
) -> None:
    """Test whether this machine and its device compute what a run promises.

    The CPU against the device, one worker against two, kill -9 and resume, epsilon 0, batches that do not fit, and
    on a GPU where the host waits; then the speed beside the floor at every precision. It takes minutes, needs no
    network and leaves nothing behind. Exit code 1: a part failed.
    """

    def tell(event: Event) -> None:
        if isinstance(event, PartTested) and not as_json:
            line = f"{_MARKS[event.verdict]} {event.part:<10} {event.words} ({format_duration(event.seconds)})"
            print_sentence(output_console(), line, indent=2)

    question: dict[str, Any] = {"device": device, "limit": limit, "parts": parts.split(",") if parts else []}
    if to is not None:
        question["to"] = str(to.absolute())
    if as_json:
        with waiting("testing"):
            found = ask("selftest", tell, **question)
        write_result(json_text(found))
    else:
        narration_console().print("testing, part by part; Ctrl-C ends it", highlight=False)
        found = ask("selftest", tell, **question)
        machine = f"{found['device_name']}, torch {found['torch']}, Python {found['python']}"
        print_sentence(output_console(), f"{'all is well' if found['passed'] else 'not all is well'}: {machine}")
        if found["device_note"]:
            narrate(found["device_note"])
    context.exit(0 if found["passed"] else 1)
