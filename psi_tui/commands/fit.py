"""`psi-tui fit`: makes and caches a classifier's weights."""

import rich_click as click

from psi_core.config import MODEL_NAMES
from psi_tui.shell.completion import one_of
from psi_tui.shell.console import narrate, write_result
from psi_tui.shell.follow import INTERRUPTED, finished_job
from psi_tui.text.formatting import format_duration

_FIELDS = ("model", "data", "size", "resize", "images", "epochs", "from", "seed", "device")


@click.command()
@click.option(
    "--model",
    metavar="",
    required=True,
    shell_complete=one_of(MODEL_NAMES),
    help="what `run --model` takes: lenet5, alexnet, vgg11, ...",
)
@click.option("--data", metavar="", help="what to fit it to, as `run --data` takes it (default: mnist)")
@click.option("--size", metavar="", help="network input in pixels (default: the model's own)")
@click.option("--resize", metavar="", help="shorter edge of pictures in pixels (default: size)")
@click.option("--images", metavar="", help="the first N training images (default: all)")
@click.option("--epochs", metavar="", help="passes over the images (default: as the model's recipe says)")
@click.option("--from", metavar="", help="weights to start from: random or imagenet (default: random)")
@click.option("--seed", metavar="", help="seed of every random number")
@click.option("--device", metavar="", help="auto, cpu, cuda or cuda:K")
@click.pass_context
def fit(context: click.RichContext, /, **options: str | None) -> None:
    """Fit a classifier and keep its weights for every later run.

    Ctrl-C saves what is there; started again, it goes on.
    """
    question = {name: options[name] for name in _FIELDS if options.get(name) is not None}
    finished = finished_job("fit", question, hint="Ctrl-C saves and leaves")
    if finished is None:
        narrate("interrupted; the same command goes on from here")
        context.exit(INTERRUPTED)
    accuracy, seconds = finished.get("test_accuracy"), finished.get("seconds")
    facts = ["already there" if finished.get("cached") else f"fitted in {format_duration(seconds)}"]
    if accuracy is not None:
        facts.append(f"test accuracy {100 * accuracy:.2f} %")
    narrate(", ".join(facts))
    write_result(finished["checkpoint"])
