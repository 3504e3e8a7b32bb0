"""Parts that show whether results are right: the same bits from every worker, and the CPU's numbers from a GPU."""

import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from psi_core.devices import CPU, Device
from psi_core.engine.analysis import analyze, begin
from psi_core.engine.devices import free_memory
from psi_core.engine.precision import precision
from psi_core.engine.selftest.part import Finding, Trial, differences, finding, listed, psi_apart, start_worker
from psi_core.runs.chunks import chunk_path
from psi_core.runs.event_log import EventReader, events_path
from psi_core.runs.events import PrecisionCompared, Warned
from psi_core.runs.run import Run

_POLL_SECONDS = 0.01
_WORKER_SECONDS = 240.0

_SAME_IMAGES = 1e-5
"""How far psi may differ between devices where the images are the same."""

_ATTACKED = 1e-2
"""Likewise of attacked images: a gradient next to 0 may have another sign."""

_EXACT_ERROR = 1e-5
"""Relative error of float32 products; at TF32, with 10 bits, it is above 1e-4."""


def products(trial: Trial) -> Finding:
    """Products and convolutions at `exact`, also where a user's own file has asked torch for TF32."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((256, 2048), (256, 2048), (4, 64, 28, 28), (64, 64, 3, 3))
    operands = [torch.randn(shape, dtype=torch.float32, generator=generator) for shape in shapes]
    rows, weights, images, kernel = (each.to(trial.device) for each in operands)
    figures: dict[str, float] = {}
    for asked in ("highest", "high"):
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(asked)
        try:
            for policy in ("exact", "tf32"):
                with precision(policy, trial.device):
                    errors = _error(F.linear, rows, weights), _error(F.conv2d, images, kernel)
                figures[f"{policy} after {asked}"] = max(errors)
        finally:
            torch.set_float32_matmul_precision(before)
    worst = max(value for name, value in figures.items() if name.startswith("exact"))
    words = f"products at exact err by {worst:.1e} at most, whatever was asked of torch before"
    return finding(worst < _EXACT_ERROR, words, f"products at exact err by {worst:.1e}: that is no float32", figures)


def _error(product: Any, one: Tensor, other: Tensor) -> float:
    """Relative error of a product, against float64."""
    expected = product(one.double(), other.double())
    return float((product(one, other) - expected).norm() / expected.norm())


def agreement(trial: Trial) -> Finding:
    """A run on the device against the same run on the CPU."""
    options: dict[str, Any] = {"size": 64, "images": 256} if trial.device.is_cuda else {"images": 16}
    cpu, here = (
        analyze(trial.config(device=device, **options), trial.folder / f"on-{place}")
        for place, device in enumerate((CPU, trial.device))
    )
    apart = {each: psi_apart(cpu.psi[place], here.psi[place]) for place, each in enumerate(cpu.conditions)}
    same = float((cpu.predictions == here.predictions).mean())
    figures = {"largest_psi_difference": apart, "same_predictions": same}
    fixed = [each.name for each in cpu.condition_details if each.is_benign or not each.row.follows_gradient]
    fixed = [name for name in fixed if not cpu.condition_details[cpu.conditions.index(name)].row.copies_l2]
    holds = all(value <= (_SAME_IMAGES if name in fixed else _ATTACKED) for name, value in apart.items())
    worst = max(apart.values())
    words = f"psi differs from the CPU's by {apart['benign']:.1e} benign and {worst:.1e} at most"
    return finding(holds, f"{words}; {100 * same:.1f} % of the predictions are the same", words, figures)


def workers(trial: Trial) -> Finding:
    """One worker against two that share a run, at every precision: equal bits."""

    def compared(policy: str) -> dict[str, Any]:
        one, two = (_begun(trial, f"workers-{policy}-{name}", precision=policy) for name in ("one", "two"))
        with _workers((one, 0, 1), (two, 0, 2), (two, 1, 2)) as processes:
            codes = [each.wait(_WORKER_SECONDS) for each in processes]
        return {"exit_codes": codes, **differences(one, two).figures()}

    return _bits("two workers give the bits of one", _at_every_precision(trial, compared))


def resume(trial: Trial) -> Finding:
    """A worker that is killed, and a run resumed after that: equal bits, and nothing lost but the open chunk."""

    def compared(policy: str) -> dict[str, Any]:
        whole, killed = (_begun(trial, f"resume-{policy}-{name}", precision=policy) for name in ("whole", "killed"))
        with _workers((whole, 0, 1), (killed, 0, 1)) as processes:
            while processes[1].poll() is None and not chunk_path(killed, 0).exists():
                time.sleep(_POLL_SECONDS)
            processes[1].kill()
            processes[1].wait()
            left = len(Run(killed).missing_chunks)
            code = processes[0].wait(_WORKER_SECONDS)
        with _workers((killed, 0, 1)) as (again,):
            codes = [code, again.wait(_WORKER_SECONDS)]
        return {"exit_codes": codes, "chunks_after_kill": left, **differences(whole, killed).figures()}

    return _bits("a killed and resumed run has the bits of one that was not", _at_every_precision(trial, compared))


_ONE_AT_A_TIME = threading.Lock()
"""Runs are begun one at a time: random weights, and the look at a network's modules, are of the whole process."""


def _begun(trial: Trial, name: str, **options: Any) -> Path:
    """The directory of a run with nothing computed, long enough to be killed on the way."""
    many = 4000 if trial.device.is_cuda else 600
    with _ONE_AT_A_TIME:
        return begin(trial.config(images=many, chunk=100, **options), trial.folder / name)[1].directory


@contextmanager
def _workers(*wanted: tuple[Path, int, int]) -> Iterator[list[Any]]:
    """Workers of these directories, ranks and numbers; none outlives the block."""
    started = [start_worker(*each) for each in wanted]
    try:
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait()


def _at_every_precision(trial: Trial, compared: Any) -> dict[str, dict[str, Any]]:
    """A comparison at every precision, on a GPU at once: the workers' start takes most of the time."""
    with ThreadPoolExecutor(3 if trial.device.is_cuda else 1) as threads:
        return dict(zip(trial.policies, threads.map(compared, trial.policies), strict=True))


def _bits(words: str, figures: dict[str, dict[str, Any]]) -> Finding:
    odd = [
        policy
        for policy, each in figures.items()
        if each["differing_chunks"] or each["missing"] or any(each["exit_codes"])
    ]
    return finding(not odd, words, f"it does not hold at {listed(odd)} that {words}", figures)


def repeat(trial: Trial) -> Finding:
    """Two runs of a network with attention, at every precision: equal bits, of the gradient too.

    FGSM takes its signs alone; `fgm-l2` moves images by the gradient itself.
    """
    options: dict[str, Any] = {"attack": ("fgsm", "fgm-l2"), "images": 20, "chunk": 20}
    if trial.device.is_cuda:
        options |= {"model": "torchvision:vit_b_16", "layers": "all", "rectify": "abs", "images": 64, "chunk": 64}
    figures = {}
    for policy in trial.policies:
        first, second = (
            analyze(trial.config(precision=policy, **options), trial.folder / f"repeat-{policy}-{name}").directory
            for name in ("first", "second")
        )
        figures[policy] = {"exit_codes": [], **differences(first, second).figures()}
    return _bits("a run repeats itself bit for bit", figures)


def zero(trial: Trial) -> Finding:
    """Epsilon 0 against benign, at every precision: equal bits; and how many signs a precision keeps."""
    models = ("alexnet", "torchvision:resnet50", "torchvision:vit_b_16") if trial.device.is_cuda else ("lenet5",)
    figures: dict[str, dict[str, Any]] = {}
    odd: list[str] = []
    for model in models:
        for policy in trial.policies:
            signed = {"layers": "all", "rectify": "abs"} if "vit" in model else {}
            options = {"model": model, "precision": policy, "images": 96 if trial.device.is_cuda else 16, **signed}
            run = analyze(trial.config(**options), trial.folder / f"zero-{len(figures)}")
            benign, unchanged = (run.psi[run.conditions.index(each)] for each in ("benign", "fgsm@0"))
            is_same = bool(np.array_equal(benign, unchanged, equal_nan=True))
            told = [each.sign_agreement for each in _events(run) if isinstance(each, PrecisionCompared)]
            figures[f"{model} {policy}"] = {"same": is_same, "sign_agreement": told[0] if told else 1.0}
            odd += [] if is_same else [f"{model} at {policy}"]
    words = "at epsilon 0 nothing changes, at any precision"
    return finding(not odd, words, f"epsilon 0 changes psi in {listed(odd)}", figures)


def _events(run: Run) -> list[Any]:
    return EventReader(events_path(run.directory, 0)).poll()


_SHARES = (0.5, 0.25, 0.12)
"""Shares of the memory that a whole batch takes besides what lies there anyway, to which torch is then held."""


def memory(trial: Trial) -> Finding:
    """Batches that do not fit on the device are halved, and the numbers stay the same within rounding."""
    if not trial.device.is_cuda:
        return Finding("left out", "only a GPU's memory can be made scarce")
    options = {"images": 1024, "chunk": 512, "batch": 512}
    free_memory(trial.device)
    torch.cuda.reset_peak_memory_stats(trial.device)
    whole = analyze(trial.config(**options), trial.folder / "memory-whole")
    peak = torch.cuda.max_memory_allocated(trial.device)
    free_memory(trial.device)
    # What earlier parts left, and the network: without those nothing runs at all.
    fixed = torch.cuda.memory_reserved(trial.device) + 4 * int(whole.model["parameters"])
    figures: dict[str, Any] = {"peak_bytes": peak, "fixed_bytes": fixed}
    odd = []
    for share in _SHARES:
        with _held_to(fixed + share * max(0, peak - fixed), trial.device):
            run = analyze(trial.config(**options), trial.folder / f"memory-{share}")
        told = [each.batch for each in _events(run) if isinstance(each, Warned) and each.batch is not None]
        apart = psi_apart(whole.psi[0], run.psi[0])
        figures[f"{share:g} of it"] = {"batches": told, "benign_psi_difference": apart}
        odd += [] if apart <= _SAME_IMAGES and told else [f"{share:g}"]
    words = "batches that do not fit are halved, and psi stays the same within rounding"
    return finding(not odd, words, f"with {listed(odd)} of the memory, psi changed or no batch was halved", figures)


@contextmanager
def _held_to(most: float, device: Device) -> Iterator[None]:
    """Within the block torch may take so many bytes of the device."""
    free_memory(device)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, most / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def signs(trial: Trial) -> Finding:
    """Random numbers, on the device and on the CPU: equal bits."""
    from psi_core.engine.attacks.noise import Noise

    like = torch.zeros(3, 3, 16, 16, dtype=torch.float32)
    indices = torch.tensor([0, 7, 2**40])
    here, there = (
        (noise.signs(like.to(device)), noise.uniform(like.to(device)), noise.normal(like.to(device)))
        for device in (trial.device, CPU)
        for noise in (Noise(5, indices.to(device), 17),)
    )
    apart = [float((ours.cpu() - theirs).abs().max()) for ours, theirs in zip(here, there, strict=True)]
    figures = dict(zip(("signs", "uniform", "normal"), apart, strict=True))
    holds = apart[0] == apart[1] == 0 and apart[2] < 1e-5 and not math.isnan(apart[2])
    return finding(holds, "random numbers are the CPU's", "random numbers are others than the CPU's", figures)
