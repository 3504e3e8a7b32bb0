"""What only the engine can check of a run: whether its gradient is one, and whether its network repeats itself.

The checks run once, on the first images of the run, in a second or two. A check that cannot be made gives its reason:
it never ends a run, and leaves the classifier as it was.
"""

import copy
import math
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from psi_core.conditions import Condition
from psi_core.devices import Device
from psi_core.engine.attacks.gradients import losses, with_graph
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.devices import enter_device
from psi_core.engine.measure.step import StepPlan
from psi_core.engine.network_check import CannotTellError, alone_fields, network_fields
from psi_core.engine.precision import precision
from psi_core.plain_text import counted
from psi_core.runs.events import EvidenceFound

AMONG = 64
"""Number of first images of the run from which the checked ones are drawn."""

_IMAGES = 8
"""Images checked where a forward is cheap."""

_FEWEST_IMAGES = 2
_CPU_MULTIPLY_ADDS = 3e9
"""Multiply-adds of all checked images in one forward on a CPU: four images in AlexNet."""

_DIFFERENCES = 8
"""How many central differences are taken, over all images together; each costs two forwards in float64."""

_STEPS = (1e-5, 1e-6, 1e-7)
"""Step sizes of the central differences, in pixel units.

In float64 a step of 1e-5 agrees with AlexNet's gradient within 2e-7. Where a ReLU turns on or off within the step, the
difference is no derivative, and a smaller step is tried. At a step of 1e-4 that happens at one in a hundred pixels of
AlexNet, and at more in deeper networks. A wrong gradient disagrees at every step."""

_BENT = 1e-4
"""Relative error from which on a ReLU turned on or off within the step, or the gradient is wrong."""

_TELLABLE = 1e3 * 2.0**-52
"""Smallest difference of two losses that is compared, as a share of the loss or of the largest logit.

It is 1,000 times what float64 rounds off, so that slopes have three digits."""

_PULL = 0.05
"""How far at most a pixel is first drawn towards the other end of 0..1. Equal pixels, as a digit's black ones, tie in
max pooling, where the loss has no derivative that differences could meet."""

_MOST_PARAMETERS = 500_000_000
"""More of them in float64 would take over 4 GB."""

_MOST_MULTIPLY_ADDS = 20e9
"""Multiply-adds of one forward; more would take float64 over a quarter of a minute on two cores."""

_STREAM = Condition("soundness").stream

FirstImages = tuple[Tensor, Tensor, Tensor]
"""Images (batch, channel, y, x) in 0..1, their labels and their positions in the data set."""


def engine_evidence(plan: StepPlan, first: FirstImages, policy: str, device: Device) -> EvidenceFound:
    """What the checks found: of the gradient against central differences, of two forwards and two gradients, and more.

    Args:
        plan: plan of the run's steps.
        first: the run's first images, at most AMONG, on the device; some of them, drawn by lot, are looked at.
        policy: precision policy of the run.
        device: device of the run.
    """
    started = time.perf_counter()
    is_cuda, affordable = device.is_cuda, int(_CPU_MULTIPLY_ADDS / max(1, plan.trace.multiply_adds))
    count = _IMAGES if is_cuda else min(_IMAGES, max(_FEWEST_IMAGES, affordable))
    # By lot: files are ordered, and the largest gradient alone would hide what rounding does to the small ones.
    drawn = torch.randperm(len(first[0]), generator=torch.Generator().manual_seed(plan.perturbations.seed))[:count]
    images, labels, indices = (each[drawn.to(each.device)] for each in first)
    training = sum(module.training for module in plan.model.modules())  # Before: a forward may change it.
    with torch.random.fork_rng(devices=[device] if is_cuda else []):
        repeat = _findings("repeat", lambda: _repeat_fields(plan.model, images, policy, device), device)
        alone = _findings("alone", lambda: alone_fields(plan.model, images, device), device)
        network = _findings("network", lambda: network_fields(plan, images), device)
        gradient = _findings(
            "gradient", lambda: _gradient_fields(plan, (images, labels, indices), policy, device), device
        )
        repeats_gradient = _findings(
            "gradient_repeat", lambda: _gradient_repeat_fields(plan, (images, labels, indices), policy, device), device
        )
    return EvidenceFound(
        images=len(images),
        pixels=_pixels_of(images),
        training_modules=training,
        **repeat,
        **gradient,
        seconds=round(time.perf_counter() - started, 3),
        **alone,
        **network,
        **repeats_gradient,
    )


def _findings(check: str, look: Callable[[], dict[str, Any]], device: Device) -> dict[str, Any]:
    """What a check found, or the reason why it found nothing.

    It looks from a thread of its own, where whatever a network of the user's own raises is a result like any other.
    """
    with ThreadPoolExecutor(1, "check", enter_device, (device,)) as thread:
        looked = thread.submit(look)
    error = looked.exception()
    if isinstance(error, CannotTellError):
        return {f"{check}_reason": str(error)}
    if error is not None:
        return {f"{check}_reason": textwrap.shorten(f"{type(error).__name__}: {error}", 200).removesuffix(":")}
    found = looked.result()
    numbers = {name: value for name, value in found.items() if isinstance(value, float)}
    if not all(math.isfinite(value) for value in numbers.values()):
        return {f"{check}_reason": "it came to NaN or infinity"}
    return {**found, **{name: float(f"{value:.6g}") for name, value in numbers.items()}}


def _repeat_fields(model: nn.Module, images: Tensor, policy: str, device: Device) -> dict[str, float]:
    with torch.no_grad(), precision(policy, device):
        first, second = model(images).float(), model(images).float()
    return {"repeat_difference": float((first - second).abs().max())}


def _gradient_repeat_fields(plan: StepPlan, first: FirstImages, policy: str, device: Device) -> dict[str, float]:
    """Of the gradient itself: attacks take its signs, which hide noise, but for those of numbers next to 0."""
    if len(plan.perturbations.conditions) == 1:
        return {}
    one, other = (_run_gradient(plan, first, policy, device)[1] for _ in range(2))
    largest = float(torch.maximum(one.abs(), other.abs()).max())
    # Written so that NaN is no 0.
    return {"gradient_repeat_difference": 0.0 if largest == 0 else float((one - other).abs().max()) / largest}


def _gradient_fields(plan: StepPlan, first: FirstImages, policy: str, device: Device) -> dict[str, float]:
    parameters, work = sum(each.numel() for each in plan.model.parameters()), plan.trace.multiply_adds
    if parameters > _MOST_PARAMETERS:
        raise CannotTellError(f"{parameters / 1e6:,.0f} M parameters are too many for a copy in float64")
    if work > _MOST_MULTIPLY_ADDS:
        raise CannotTellError(f"{work / 1e9:,.0f} G multiply-adds a forward are too many in float64")
    shaken, gradient, aims = _run_gradient(plan, first, policy, device)
    if not bool(gradient.isfinite().all()):
        raise CannotTellError("the gradient holds NaN or infinity")
    moving = gradient.flatten(1).any(1)
    if not bool(moving.any()):
        raise CannotTellError(f"the gradient is 0 at every pixel of {counted(len(shaken), 'image')}")
    own = gradient[moving].flatten(1).double()
    images, targets = shaken[moving].double(), aims[moving]
    pixels = own.abs().topk(_pixels_of(first[0]), dim=1).indices
    with _in_float64(plan.model, device) as model:
        expected = _gradient(model, images, targets)
        slopes = expected.gather(1, pixels)
        errors, largest = torch.full_like(slopes, torch.inf), slopes.abs()
        logits = model(images).double()
        # Also the loss: where logits are all but 0 it is the logarithm of how many there are.
        scale = max(float(logits.abs().max()), float(losses(logits, targets).abs().max()))
        least = _TELLABLE * scale / _STEPS[0]
        for step in _STEPS:
            differences = _central_differences(model, images, targets, pixels, step)
            largest = torch.maximum(largest, differences.abs())
            errors = torch.minimum(errors, _errors(differences, slopes))
            errors[torch.maximum(differences.abs(), slopes.abs()) < least] = 0
            if float(errors.max()) < _BENT:
                break
        if float(errors.max()) >= _BENT:
            # Once more, and only now: a dispatch mode loads torch's compiler, which takes a second.
            with _Narrowed() as narrowed:
                _gradient(model, images, targets)
                _central_differences(model, images, targets, pixels, _STEPS[-1])
            if narrowed.kinds:
                kinds = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in narrowed.kinds))
                raise CannotTellError(f"it computes in {kinds} even where all it is given is float64")
        if float(largest.max()) < least:
            steepest = f"{float(largest.max()):.1g}"
            raise CannotTellError(
                f"slopes are at most {steepest}, too small to tell beside rounding, below {least:.1g}"
            )
    return {"finite_difference_error": float(errors.max()), "gradient_error": float(_turned(own, expected).max())}


def _pixels_of(images: Tensor) -> int:
    """How many pixels of each image are moved."""
    return min(max(1, _DIFFERENCES // len(images)), images[0].numel())


def _turned(own: Tensor, expected: Tensor) -> Tensor:
    """How far each image's gradient points elsewhere: the distance of the two at length 1, 0..2; 1.4 by lot."""
    directions = (
        each / torch.linalg.vector_norm(each, dim=1, keepdim=True).clamp_min(1e-300) for each in (own, expected)
    )
    first, second = directions
    distance: Tensor = torch.linalg.vector_norm(first - second, dim=1)
    return distance


class _Narrowed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes note of floating-point types below float64 that arise: their rounding drowns the differences."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kinds: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, tuple | list) else (result,)
        kinds = {each.dtype for each in made if isinstance(each, Tensor) and each.is_floating_point()}
        self.kinds |= kinds - {torch.float64}
        return result


def _run_gradient(plan: StepPlan, first: FirstImages, policy: str, device: Device) -> tuple[Tensor, Tensor, Tensor]:
    """Images without ties, the run's own gradient of the loss of their labels or targets, and these."""
    images, labels, indices = first
    pull = Noise(plan.perturbations.seed, indices, _STREAM).uniform(images).abs_().mul_(_PULL)
    shaken = (images + (1 - 2 * images) * pull).requires_grad_()
    with torch.enable_grad(), precision(policy, device):
        logits = with_graph(plan.model, shaken)
        aimed_at = logits.detach().argmax(1) if plan.uses_predictions else labels
        perturbed = plan.perturbations.begin_batch(plan.model, shaken, logits, aimed_at, indices)
    gradient = perturbed.gradient * plan.perturbations.iteration.direction
    return shaken.detach(), gradient, aimed_at if perturbed.targets is None else perturbed.targets


@contextmanager
def _in_float64(model: nn.Module, device: Device) -> Iterator[nn.Module]:
    """A copy in float64 on the run's device, made tensor by tensor: never a second one of the model's own type."""
    tensors: dict[int, Any] = {}
    for parameter in model.parameters():
        moved = parameter.detach().to(device, _wide(parameter), copy=True)
        tensors[id(parameter)] = nn.Parameter(moved, requires_grad=False)
    for buffer in model.buffers():
        tensors[id(buffer)] = buffer.detach().to(device, _wide(buffer), copy=True)
    with precision("exact", device):
        yield copy.deepcopy(model, tensors)


def _wide(tensor: Tensor) -> torch.dtype:
    """The type of a tensor's numbers in 64 bits, real or complex; whole ones stay as they are."""
    if tensor.is_complex():
        return torch.complex128
    return torch.float64 if tensor.is_floating_point() else tensor.dtype


def _gradient(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the margin at every pixel, (image, pixel)."""
    with torch.enable_grad():
        inputs = images.detach().requires_grad_()
        total = losses(model(inputs).double(), targets).sum()
        return torch.autograd.grad(total, inputs)[0].flatten(1)


def _central_differences(model: nn.Module, images: Tensor, targets: Tensor, pixels: Tensor, step: float) -> Tensor:
    """Central differences of the margin, for some pixels of each image, (image, pixel).

    All images move one pixel at a time.
    """
    slopes = []
    for pixel in pixels.T:
        steps = torch.zeros(len(images), images[0].numel(), dtype=torch.float64, device=images.device)
        steps[torch.arange(len(images), device=images.device), pixel] = step
        steps = steps.view_as(images)
        with torch.no_grad():
            after, before = (losses(model(images + each).double(), targets) for each in (steps, -steps))
        slopes.append((after - before) / (2 * step))
    return torch.stack(slopes, 1)


def _errors(found: Tensor, expected: Tensor) -> Tensor:
    """Differences as shares of the larger of the two, 0 where both are 0."""
    larger = torch.maximum(found.abs(), expected.abs())
    return (found - expected).abs() / torch.where(larger > 0, larger, 1)
