"""The commands of `python -m psi_core`: the door between the engine and whoever started it."""

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from psi_core.config import RunConfig
from psi_core.devices import Device
from psi_core.engine.ablation.masking import ablate
from psi_core.engine.again.export import export_images
from psi_core.engine.analysis import begin
from psi_core.engine.answers import doctor_facts, model_layer_rows, model_rows, plan_run
from psi_core.engine.devices import keep_freed_memory, resolve_device
from psi_core.engine.images import absolute_data, first_images, load_dataset
from psi_core.engine.models.checkpoints import Recipe, default_epochs, find_checkpoint
from psi_core.engine.models.fitting import FitInterruptedError, ensure_fitted
from psi_core.engine.models.sources import absolute_model, model_source
from psi_core.engine.preparation import Prepared
from psi_core.engine.work.worker import Orders, Worker
from psi_core.errors import ConfigError, PsiError, RunError, unknown_name
from psi_core.files import runs_directory
from psi_core.runs.events import Event, ImagesWritten, event_line, log_path
from psi_core.runs.processes import Rank, rank_of, start_child
from psi_core.runs.run import Run
from psi_core.runs.status import STOP_FILE
from psi_core.tables.export import IMAGE_FORMATS

REFUSED, FAILED, INTERRUPTED = 2, 1, 130


def run_command(arguments: list[str]) -> int:
    """Runs one command and gives its exit code."""
    parser = argparse.ArgumentParser(prog="python -m psi_core")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "queue", "plan"):
        commands.add_parser(name).add_argument("--runs-dir")
    for name in ("work", "resume", "images"):
        commands.add_parser(name).add_argument("run_dir", type=Path)
    commands.add_parser("models").add_argument("pattern", nargs="?", default="")
    for name in ("fit", "ablate", "layers", "doctor", "bench"):
        commands.add_parser(name)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    try:
        return _COMMANDS[options.command](options)
    except PsiError as error:
        _say({"error": str(error), "kind": type(error).__name__})
        return REFUSED


def _start(options: argparse.Namespace) -> int:
    prepared, run = begin(RunConfig(**_read_standard_input()), runs_directory(options.runs_dir))
    _say({"run": str(run.directory)})
    return _work_as_first(run, prepared)


def _queue(options: argparse.Namespace) -> int:
    _, run = begin(RunConfig(**_read_standard_input()), runs_directory(options.runs_dir))
    _say({"run": str(run.directory)})
    return 0


def _plan(options: argparse.Namespace) -> int:
    _say(plan_run(_read_standard_input(), options.runs_dir))
    return 0


def _resume(options: argparse.Namespace) -> int:
    run = Run(options.run_dir.absolute())
    if run.status == "running":
        raise RunError(f"{run.name}: it is running; watch it with psi-tui watch {run.id}")
    (run.directory / STOP_FILE).unlink(missing_ok=True)
    _say({"run": str(run.directory)})
    return _work_as_first(run, None)


def _work(options: argparse.Namespace) -> int:
    run, rank = Run(options.run_dir.absolute()), rank_of()
    terminal = os.dup(2)  # torchrun and srun show what their workers say there.
    code = _work_logged(run, rank, None)
    if code:
        log = log_path(run.directory, rank.number)
        os.write(terminal, f"psi-tui: worker {rank.number} failed; see {log}\n".encode())
    return code


def _fit(_options: argparse.Namespace) -> int:
    values = _read_standard_input()
    recipe, device = _recipe(values)
    interrupted = _interruption()

    def report(event: Event) -> None:
        _say(event_line(event))

    is_cached = find_checkpoint(recipe) is not None
    try:
        checkpoint = ensure_fitted(recipe, device, report, interrupted)
    except FitInterruptedError:
        return INTERRUPTED
    finished = {"checkpoint": str(checkpoint.path), "test_accuracy": checkpoint.card["test_accuracy"]}
    _say({"event": "finished", **finished, "seconds": checkpoint.card["seconds"], "cached": is_cached})
    return 0


def _images(options: argparse.Namespace) -> int:
    values = _read_standard_input()

    def report(done: int, total: int) -> None:
        _say(event_line(ImagesWritten(done, total)))

    run = Run(options.run_dir.absolute())
    paths, warnings = export_images(run, Path(values["to"]).expanduser(), values.get("formats", IMAGE_FORMATS), report)
    _say({"event": "finished", "paths": paths, "warnings": warnings})
    return 0


def _models(options: argparse.Namespace) -> int:
    _say(model_rows(options.pattern))
    return 0


def _layers(_options: argparse.Namespace) -> int:
    _say(model_layer_rows(_read_standard_input()))
    return 0


def _doctor(_options: argparse.Namespace) -> int:
    _say(doctor_facts())
    return 0


def _bench(_options: argparse.Namespace) -> int:
    # Not at the top: a run has no use for the bench.
    from psi_core.engine.bench.comparison import bench_row
    from psi_core.engine.bench.scaling import scaling

    values = _read_standard_input()
    rounds, is_scaling = values.pop("rounds", 5), values.pop("scaling", False)
    config = RunConfig(**values)
    _say(scaling(config) if is_scaling else bench_row(config, rounds))
    return 0


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "start": _start,
    "queue": _queue,
    "plan": _plan,
    "work": _work,
    "resume": _resume,
    "fit": _fit,
    "ablate": lambda _options: ablate(_read_standard_input(), _say, _interruption()),
    "images": _images,
    "models": _models,
    "layers": _layers,
    "doctor": _doctor,
    "bench": _bench,
}


def _work_as_first(run: Run, prepared: Prepared | None) -> int:
    """Starts the run's other workers and works as the first."""
    workers = run.config.devices
    os.environ["LOCAL_WORLD_SIZE"] = str(workers)  # As torchrun tells it: they share the cores that decode.
    children = []
    for number in range(1, workers):
        with log_path(run.directory, number).open("ab") as log:
            ranked = {"RANK": str(number), "WORLD_SIZE": str(workers), "LOCAL_RANK": str(number)}
            children.append(start_child(["work", str(run.directory)], environment=ranked, output=log))
    code = _work_logged(run, Rank(0, workers), prepared)
    for child in children:
        child.wait()
    return code


def _work_logged(run: Run, rank: Rank, prepared: Prepared | None) -> int:
    """Works with standard output and error going to the worker's log, so that whoever waits for ours is let go."""
    with log_path(run.directory, rank.number).open("ab", buffering=0) as log:
        sys.stdout.flush()
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    worker = Worker(run.directory, rank.number, rank.workers, prepared, rank.local)
    _obey_signals(worker.orders)
    try:
        worker.work()
    except Exception:  # noqa: BLE001 - the worker's door: whatever failed goes to the log, in full.
        traceback.print_exc()
        return FAILED
    return 0


def _obey_signals(orders: Orders) -> None:
    """The first SIGINT finishes the chunk; SIGTERM, SIGUSR1 and a second SIGINT leave after the batch."""

    def interrupt(_number: int, _frame: object) -> None:
        orders.leave_now, orders.finish_chunk = orders.finish_chunk, True

    def leave(_number: int, _frame: object) -> None:
        orders.leave_now = True

    signal.signal(signal.SIGINT, interrupt)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, leave)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _interruption() -> Callable[[], bool]:
    """Whether SIGINT or SIGTERM came."""
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _frame: came.append(got))
    return lambda: bool(came)


def _recipe(values: dict[str, Any]) -> tuple[Recipe, Device]:
    known = ("model", "data", "size", "resize", "images", "epochs", "from", "seed", "device")
    for key in values:
        if key not in known:
            raise ConfigError(unknown_name("fit", key, known))
    shared = {key: values[key] for key in known if key in values and key not in ("epochs", "from")}
    config = RunConfig(**shared)
    source = model_source(config.model)
    data = absolute_data(config.data)
    images = first_images(load_dataset(data, "train", config.resize), config.images)
    epochs = values.get("epochs", default_epochs(images))
    if not str(epochs).isdigit() or int(epochs) < 1:
        raise ConfigError(f"epochs: {epochs!r} does not fit; write a whole number of at least 1")
    init = values.get("from", "random")
    if init not in ("random", "imagenet"):
        raise ConfigError(unknown_name("from", str(init), ("random", "imagenet")))
    size = source.input_size(config.size)
    recipe = Recipe(absolute_model(config.model), data, size, images, int(epochs), init, config.seed, config.resize)
    return recipe, resolve_device(config.device)


def _read_standard_input() -> dict[str, Any]:
    try:
        values = json.loads(sys.stdin.read() or "{}")
    except ValueError as error:
        raise ConfigError(f"config: not JSON ({error}); send one object on standard input") from None
    if not isinstance(values, dict):
        raise ConfigError("config: not an object; send one JSON object on standard input")
    return values


def _say(value: object) -> None:
    print(json.dumps(value), flush=True)  # noqa: T201 - standard output is this process's protocol.
