"""What takes a process of its own: workers, fits, ablations, image files and the bench.

`psi_core.serve` lists by which names they are asked for.
"""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from psi_core.config import RunConfig
from psi_core.devices import Device
from psi_core.engine.ablation import masking
from psi_core.engine.again.export import export_images
from psi_core.engine.analysis import begin
from psi_core.engine.devices import device_note, keep_freed_memory, resolve_device
from psi_core.engine.images import absolute_data, load_dataset
from psi_core.engine.models.checkpoints import Recipe, default_epochs, find_checkpoint
from psi_core.engine.models.fitting import FitInterruptedError, ensure_fitted
from psi_core.engine.models.sources import absolute_model, model_source
from psi_core.engine.preparation import Prepared
from psi_core.engine.sampling import image_count
from psi_core.engine.work.worker import StopRequests, Worker
from psi_core.errors import ConfigError, RunError, unknown_name
from psi_core.files import runs_directory, typed_path
from psi_core.runs.event_log import log_path
from psi_core.runs.events import ImagesWritten, Warned
from psi_core.runs.processes import Rank, rank_of, start_child
from psi_core.runs.run import Run
from psi_core.runs.status import LIVE, STOP_FILE
from psi_core.runs.trust import require_no_links, require_trusted
from psi_core.serve import Reply
from psi_core.statistics.histograms import TABLE_BINS
from psi_core.tables.export import IMAGE_FORMATS
from psi_core.tables.liu import liu_request

FAILED = 1


def start(config: dict[str, Any], reply: Reply, runs_dir: str | None = None) -> None:
    """Checks a run, makes its directory, answers with {"run": path}, and works on it."""
    keep_freed_memory()
    prepared, run = begin(RunConfig(**config), runs_directory(runs_dir))
    _answer_and_work(run, prepared, reply)


def queue(config: dict[str, Any], runs_dir: str | None = None) -> dict[str, Any]:
    """Checks a run, makes its directory and answers with {"run": path}; the work is left to others."""
    _, run = begin(RunConfig(**config), runs_directory(runs_dir))
    return {"run": run.directory}


def resume(run: str, reply: Reply) -> None:
    """Answers with {"run": path} and makes what a run still misses.

    Raises:
        RunError: there is no such run, it is running, or something in its directory is a link.
    """
    keep_freed_memory()
    found = Run(Path(run).absolute())
    if found.status in LIVE:
        raise RunError(f"{found.name}: it is running; watch it with psi-tui watch {found.id}")
    require_trusted(found)
    require_no_links(found)
    found.require_unchanged()
    (found.directory / STOP_FILE).unlink(missing_ok=True)
    _answer_and_work(found, None, reply)


def work(run_directory: Path) -> int:
    """Works as the worker that the environment says, and gives the exit code."""
    keep_freed_memory()
    run, rank = Run(run_directory.absolute()), rank_of()
    require_no_links(run)
    terminal = os.dup(2)  # torchrun and srun show what their workers say there.
    code = _work_logged(run, rank, None)
    if code:
        log = log_path(run.directory, rank.number)
        os.write(terminal, f"psi-tui: worker {rank.number} failed; see {log}\n".encode())
    return code


def fit(reply: Reply, **recipe: Any) -> dict[str, Any]:
    """Fits a classifier unless that is done, and gives `checkpoint`, `test_accuracy`, `seconds` and whether it was.

    Args:
        reply: receives the progress of the fit.
        recipe: `model`, `data`, `size`, `resize`, `images`, `epochs`, `from`, `seed`, `device`.

    Raises:
        KeyboardInterrupt: it was asked to leave; the same recipe goes on from there.
    """
    keep_freed_memory()
    wanted, device = _recipe(recipe)
    if note := device_note(str(recipe.get("device", "auto")), device):
        reply.report(Warned(note))
    interrupted = _interruption()
    is_cached = find_checkpoint(wanted) is not None
    try:
        checkpoint = ensure_fitted(wanted, device, reply.report, interrupted)
    except FitInterruptedError:
        raise KeyboardInterrupt from None
    card = checkpoint.card
    facts = {"test_accuracy": card["test_accuracy"], "seconds": card["seconds"], "cached": is_cached}
    return {"checkpoint": checkpoint.path, **facts}


def ablate(reply: Reply, **config: Any) -> dict[str, Any]:
    """Does one ablation, and gives `rows`, `title` and `notes`.

    Args:
        reply: receives the progress.
        config: fields of AblationConfig.

    Raises:
        KeyboardInterrupt: it was asked to leave; nothing is kept of what was done.
    """
    keep_freed_memory()
    return asdict(masking.ablate(config, reply.report, _interruption()))


def liu(
    run: str,
    reply: Reply,
    images: int | None = None,
    conditions: Sequence[str] = (),
    across: str = "classes",
    bins: int = TABLE_BINS,
) -> dict[str, Any]:
    """Computes images of a run again by Liu's preset, and gives `rows`, `title` and `notes`.

    Args:
        run: its directory.
        reply: receives the progress.
        images: as `liu_request` takes it, and the others likewise.
        conditions: names of the run's conditions.
        across: `classes` or `images`.
        bins: bins of histograms.

    Raises:
        KeyboardInterrupt: it was asked to leave; nothing is kept of what was done.
    """
    from psi_core.engine.liu import liu as computed  # Not at the top: a run has no use for it.

    keep_freed_memory()
    found = Run(Path(run).absolute())
    request = liu_request(found, images, conditions, across, bins)
    return asdict(computed(found, request, reply.report, _interruption()))


def images(run: str, to: str, reply: Reply, formats: Sequence[str] = IMAGE_FORMATS) -> dict[str, Any]:
    """Makes the images of a run again, writes them to a folder, and gives `paths` and `warnings`."""
    keep_freed_memory()

    def report(done: int, total: int) -> None:
        reply.report(ImagesWritten(done, total))

    paths, warnings = export_images(Run(Path(run).absolute()), typed_path(to), formats, report)
    return {"paths": paths, "warnings": warnings}


def recompute(run: str, numbers: Sequence[int]) -> list[dict[str, str]]:
    """Computes some chunks of a run again, and gives what was found: `name`, `verdict` and `words` of each."""
    from psi_core.engine.recompute import recomputed_rows  # Not at the top: a run has no use for it.

    keep_freed_memory()
    return recomputed_rows(Run(Path(run).absolute()), list(numbers))


def bench(rounds: int = 5, scaling: bool = False, **config: Any) -> dict[str, Any]:
    """Times the engine beside the floor, or over images, layers, conditions, epsilons and workers."""
    # Not at the top: a run has no use for the bench.
    from psi_core.engine.bench import comparison
    from psi_core.engine.bench import scaling as scales

    keep_freed_memory()
    checked = RunConfig(**config)
    row = scales.scaling(checked) if scaling else comparison.bench_row(checked, rounds)
    return {**row, "device_note": device_note(checked.device, Device(row["device"]))}


def _answer_and_work(run: Run, prepared: Prepared | None, reply: Reply) -> None:
    """Answers, starts the run's other workers, works as the first, and ends the process where that fails."""
    reply.answer({"run": run.directory})
    reply.hang_up()
    workers = run.config.devices
    os.environ["LOCAL_WORLD_SIZE"] = str(workers)  # As torchrun sets it: they share the cores that decode.
    children = []
    for number in range(1, workers):
        with log_path(run.directory, number).open("ab") as log:
            ranked = {"RANK": str(number), "WORLD_SIZE": str(workers), "LOCAL_RANK": str(number)}
            children.append(start_child(["work", str(run.directory)], environment=ranked, output=log))
    code = _work_logged(run, Rank(0, workers), prepared)
    for child in children:
        child.wait()
    if code:
        sys.exit(code)


def _work_logged(run: Run, rank: Rank, prepared: Prepared | None) -> int:
    """Works with standard output and error going to the worker's log, so that whoever waits for ours is let go.

    Standard input is empty: a model that reads it would wait for ever.
    """
    with log_path(run.directory, rank.number).open("ab", buffering=0) as log, Path(os.devnull).open("rb") as nothing:
        with contextlib.suppress(ValueError):  # A model's file may have closed it.
            sys.stdout.flush()
        os.dup2(nothing.fileno(), 0)
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


def _obey_signals(orders: StopRequests) -> None:
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
    images = image_count(load_dataset(data, "train", config.resize), config.images)
    epochs = values.get("epochs", default_epochs(images))
    if not str(epochs).isdigit() or int(epochs) < 1:
        raise ConfigError(f"epochs: {epochs!r} does not fit; write a whole number of at least 1")
    init = values.get("from", "random")
    if init not in ("random", "imagenet"):
        raise ConfigError(unknown_name("from", str(init), ("random", "imagenet")))
    size = source.input_size(config.size)
    recipe = Recipe(absolute_model(config.model), data, size, images, int(epochs), init, config.seed, config.resize)
    return recipe, resolve_device(config.device)
