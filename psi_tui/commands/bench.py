"""`psi-tui bench`: how close the engine comes to the floor, the least that any program must compute."""

from typing import Any

import rich_click as click

from psi_tui.bar import waiting
from psi_tui.child import ask
from psi_tui.console import output_console, write_result
from psi_tui.json_text import json_text
from psi_tui.options import json_option


@click.command()
@click.option("--model", default="alexnet", show_default=True, help="the model to time, with random weights")
@click.option("--size", type=int, help="input size in pixels (default: the model's own)")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:K")
@click.option("--precision", default="exact", show_default=True, help="exact, tf32 or bf16")
@click.option("--batch", default="auto", show_default=True, help="images per batch")
@click.option("--epsilon", default="0.03", show_default=True, help="as in a run: more epsilons, more conditions")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="how often each is timed")
@json_option
def bench(rounds: int, as_json: bool, **options: Any) -> None:
    """Time the engine and the floor alternately, and print the ratio of their speeds.

    The floor is one forward with gradient, the input gradient and one inference forward per further condition,
    with the same model, batch and precision, and nothing measured.
    """
    question = {name: value for name, value in options.items() if value is not None}
    with waiting(f"timing {options['model']} {rounds} times"):
        row = ask(["bench"], {**question, "rounds": rounds})
    if as_json:
        write_result(json_text(row))
        return
    console = output_console()
    facts = f"{row['size']} px, batch {row['batch']}, {row['conditions']} conditions, {row['precision']}"
    console.print(
        f"{row['model']}, {facts}, {row['device_name']}, torch {row['torch']}", soft_wrap=True, highlight=False
    )
    for name in ("engine", "floor"):
        console.print(f"{name:<7}{row[f'{name}_images_per_second']:10.2f} images/s", highlight=False)
    console.print(f"{'ratio':<7}{row['ratio']:10.3f}", highlight=False)
