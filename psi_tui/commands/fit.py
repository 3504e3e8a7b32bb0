"""`psi-tui fit`: makes and caches a classifier's weights."""

import signal
from typing import Any

import rich_click as click

from psi_tui.bar import ProgressView, progress_view
from psi_tui.child import Child, EngineError, listening, on_interrupt
from psi_tui.console import narrate, write_result
from psi_tui.formatting import format_duration
from psi_tui.progress import Progress

INTERRUPTED = 130

_FIELDS = ("model", "data", "size", "resize", "images", "epochs", "from", "seed", "device")


@click.command()
@click.option("--model", metavar="", required=True, help="what `run --model` takes: lenet5, alexnet, vgg11, ...")
@click.option("--data", metavar="", help="what to fit it to, as `run --data` takes it (default: mnist)")
@click.option("--size", metavar="", help="network input in pixels (default: the model's own)")
@click.option("--resize", metavar="", help="shorter edge of pictures in pixels (default: size)")
@click.option("--images", metavar="", help="the first N training images (default: all)")
@click.option("--epochs", metavar="", help="passes over them (default: the recipe's)")
@click.option("--from", metavar="", help="weights to start from: random or imagenet (default: random)")
@click.option("--seed", metavar="", help="seed of every random number")
@click.option("--device", metavar="", help="auto, cpu, cuda or cuda:K")
@click.pass_context
def fit(context: click.RichContext, /, **options: str | None) -> None:
    """Fit a classifier and keep its weights for every later run.

    Ctrl-C saves what is there; started again, it goes on.
    """
    question = {name: options[name] for name in _FIELDS if options.get(name) is not None}
    child = Child(["fit"], question)
    presses = 0

    def press(number: int) -> None:
        nonlocal presses
        presses = number
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGINT if number == 1 else signal.SIGKILL)

    with listening(child), on_interrupt(press), progress_view(hint="Ctrl-C saves and leaves") as view:
        view.update(Progress("running", "load"))
        finished = _watch(child, view)
    status = child.process.wait()
    if finished is None:
        if not presses:
            raise EngineError(f"fit: ended with status {status} and no word; its message stands above")
        narrate("interrupted; the same command goes on from here")
        context.exit(INTERRUPTED)
    accuracy, seconds = finished.get("test_accuracy"), finished.get("seconds")
    facts = ["already there" if finished.get("cached") else f"fitted in {format_duration(seconds)}"]
    if accuracy is not None:
        facts.append(f"test accuracy {100 * accuracy:.2f} %")
    narrate(", ".join(facts))
    write_result(finished["checkpoint"])


def _watch(child: Child, view: ProgressView) -> dict[str, Any] | None:
    """The child's last word, or None where it left without one."""
    for answer in child.answers():
        match answer.get("event"):
            case "fit":
                view.update(
                    Progress(
                        "running",
                        answer.get("phase", "fit"),
                        int(answer.get("done", 0)),
                        int(answer.get("total", 0)),
                        answer.get("images_per_second"),
                        loss=answer.get("loss"),
                        accuracy=answer.get("accuracy"),
                    )
                )
            case "warning":
                view.say(f"warning: {answer.get('text', '')}")
            case "finished":
                return dict(answer)
    return None
