"""`psi-tui bench`: how close the engine comes to the floor, the least that any program must compute."""

from typing import Any

import rich_click as click

from psi_core.plain_text import counted
from psi_tui.commands.options import json_option
from psi_tui.engine.client import ask
from psi_tui.shell.bar import waiting
from psi_tui.shell.console import narrate, output_console, write_result
from psi_tui.text.formatting import format_bytes, format_count, json_text

_CONTENDERS = {"engine": "engine", "floor": "floor", "expert": "expert", "usual": "usual way"}


@click.command()
@click.option("--model", default="alexnet", show_default=True, help="the model to time, with random weights")
@click.option("--size", type=int, help="input size in pixels (default: the model's own)")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:K")
@click.option("--precision", default="exact", show_default=True, help="exact, tf32 or bf16")
@click.option("--batch", default="auto", show_default=True, help="images per batch")
@click.option("--epsilon", default="0.03", show_default=True, help="as in a run: more epsilons, more conditions")
@click.option("--controls", help="as in a run (default: a run's own)")
@click.option("--compile", is_flag=True, help="time the compiled step; the floor stays as it is")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="how often each is timed")
@click.option("--scaling", is_flag=True, help="time the engine over images, layers, conditions, epsilons and workers")
@json_option
def bench(rounds: int, scaling: bool, as_json: bool, **options: Any) -> None:
    """Time the engine and the floor alternately, and print the ratio of their speeds.

    The floor is one forward with gradient, the input gradient and one inference forward per further condition,
    with the same model, batch and precision, and nothing measured. The expert is a script by hand: one gradient, and
    hooks that reduce every activation at once. The usual way, timed too where torchattacks or
    foolbox is installed, attacks with that library, stores every activation by hooks and computes PSI from them.
    """
    question = {name: value for name, value in options.items() if value is not None}
    with waiting(f"timing {options['model']}"):
        row = ask("bench", **question, rounds=rounds, scaling=scaling)
    if as_json:
        write_result(json_text(row))
        return
    if row["device_note"]:
        narrate(row["device_note"])
    console = output_console()

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    facts = f"{row['model']}, {row['size']} px, batch {row['batch']}, {row['precision']}"
    machine = f"{row['device_name']}, torch {row['torch']}"
    if scaling:
        say(f"{facts}, {machine}")
        for point in row["rows"]:
            say(f"{point['axis']:<10} {format_count(point['value']):>6} {point['images_per_second']:10.2f} images/s")
        return
    say(f"{facts}, {counted(row['conditions'], 'condition')}{', compiled' if row['compile'] else ''}, {machine}")
    for key, name in _CONTENDERS.items():
        speed, memory = row[f"{key}_images_per_second"], row[f"{key}_memory"]
        if speed is not None:
            taken = f"   {format_bytes(memory)}" if memory is not None else ""
            say(f"{name:<10}{speed:10.2f} images/s{taken}")
    memory = "" if row["memory_ratio"] is None else f", of its memory {row['memory_ratio']:.3f}"
    say(f"{'ratio':<10}{row['ratio']:10.3f} of the floor's speed{memory}")
    if row["expert_ratio"] is not None:
        say(f"{'':<10}{row['expert_ratio']:10.3f} x an expert's script")
    if row["usual_ratio"] is not None:
        say(f"{'':<10}{row['usual_ratio']:10.3f} x the usual way ({row['usual_way']})")
