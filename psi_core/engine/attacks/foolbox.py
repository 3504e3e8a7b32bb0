"""Attacks of the foolbox library (Rauber et al. 2020, doi:10.21105/joss.02607) behind a door that trusts nothing.

What comes back is checked for shape, numbers and range, and brought to within epsilon here. Needs the `attacks` extra.
"""

import ast
import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from psi_core.engine.attacks.attacks import Iteration
from psi_core.engine.attacks.noise import Noise
from psi_core.errors import ConfigError, ModelError, unknown_name

_NEED_MORE = ("BinarizationRefinementAttack", "DatasetAttack", "GenAttack", "PointwiseAttack")
"""Attacks that ask for starting points, other images or targets of their own only when they run; one of no distance."""

_FAILURES = (ModelError, ValueError, TypeError, AssertionError, IndexError, ArithmeticError)
"""What foolbox raises where it fails on an image; the first is ours, for what is no image."""

_ROUNDING = 1e-4
"""The most that rounding can carry a pixel beyond 0..1; what goes further was not meant to stay inside."""


def require_foolbox_attack(name: str) -> None:
    """Makes sure that foolbox has an attack that can be used.

    Args:
        name: name of its class, with options behind colons: `L2CarliniWagnerAttack:steps=100:confidence=0.5`.

    Raises:
        ConfigError: foolbox is not installed, has no such attack, it has no such option, or it needs more than a model,
            images and labels.
    """
    _norm(_attack_of(name))


class FoolboxAttack:
    """One of foolbox's attacks on one batch.

    Attacks that look for the smallest change do so once: `smallest` gives what they found, and `within` shortens it.

    Args:
        name: name of its class, `LinfDeepFoolAttack`, with options behind colons.
        model: network with frozen parameters, in eval mode.
        images: (batch, channel, height, width) in 0..1.
        labels: int64 (batch,), to be missed, or to be reached.
        iteration: says which; steps are the attack's own.

    Attributes:
        failed: images that it gave no change for, bool (batch,); None before the first call.
    """

    def __init__(self, name: str, model: nn.Module, images: Tensor, labels: Tensor, iteration: Iteration) -> None:
        self._name = name
        self._images = images
        self._attack = _attack_of(name)
        self._norm = _norm(self._attack)
        foolbox = _foolbox()
        self._model = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
        criteria = foolbox.criteria
        self._criterion_of = criteria.TargetedMisclassification if iteration.is_targeted else criteria.Misclassification
        self._labels = labels
        self.failed: Tensor | None = None
        self._is_smallest = isinstance(self._attack, foolbox.attacks.base.MinimizationAttack)
        self._smallest: Tensor | None = None

    def within(self, epsilon: float, noise: Noise) -> Tensor:
        """Changed images, no further than epsilon in the attack's own norm; in L2 that is epsilon x sqrt(pixels x
        channels), the length of an FGSM step. Images that the attack failed on are left as they are.

        Raises:
            ModelError: foolbox gave anything but images of that shape in 0..1, or failed on every image.
        """
        radius = epsilon if self._norm == "linf" else epsilon * self._images.shape[1:].numel() ** 0.5
        if self._is_smallest:
            return self._shortened(self.smallest(noise), radius)
        return self._shortened(self._run(radius, noise), radius)

    def smallest(self, noise: Noise) -> Tensor:
        """Changed images at the distance that the attack found; those that it failed on as they are.

        Raises:
            ModelError: as `within`.
        """
        if self._smallest is None:
            self._smallest = self._run(None, noise)
        return self._smallest

    def _run(self, radius: float | None, noise: Noise) -> Tensor:
        """What foolbox gives for the batch, or image by image where it fails on the whole."""
        try:
            found, failed = self._attacked(slice(None), radius, noise)
        except _FAILURES as error:
            found, failed = self._one_by_one(radius, noise, error)
        self.failed = failed
        return torch.where(failed.view(-1, *[1] * (found.dim() - 1)), self._images, found)

    def _one_by_one(self, radius: float | None, noise: Noise, cause: Exception) -> tuple[Tensor, Tensor]:
        """Each image alone, and whether the attack failed on it.

        Raises:
            ModelError: it failed on every image, and not because it found no image to begin from.
        """
        found, failed = (
            self._images.clone(),
            torch.ones(len(self._images), dtype=torch.bool, device=self._images.device),
        )
        for at in range(len(found)):
            try:
                found[at : at + 1], failed[at : at + 1] = self._attacked(slice(at, at + 1), radius, noise)
            except _FAILURES as error:
                cause = error
        if bool(failed.all()) and "init_attack failed" not in str(cause):
            if isinstance(cause, ModelError):
                raise cause
            raise ModelError(f"attack: foolbox:{self._name} failed ({cause}); choose another attack") from cause
        return found, failed

    def _attacked(self, part: slice, radius: float | None, noise: Noise) -> tuple[Tensor, Tensor]:
        """Some images as foolbox changes them, and for which it sought the smallest change and found none."""
        images = self._images[part]
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Foolbox warns of images without a start, which are told in numbers here.
            # Its random numbers come from torch's generator: chunk and batch, which stand fixed, decide them.
            torch.manual_seed(int(noise.words(0, 1)[0, 0]) & (2**63 - 1))
            found, _, success = self._attack(
                self._model, images.clone(), self._criterion_of(self._labels[part]), epsilons=radius
            )
        # Within a radius that was asked for, an image that is not fooled is no failure.
        failed = ~torch.as_tensor(success, device=images.device) & (radius is None)
        return self._checked(found, images), failed

    def _checked(self, found: object, images: Tensor) -> Tensor:
        where = f"attack: foolbox:{self._name}"
        if not isinstance(found, Tensor) or found.shape != images.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ModelError(f"{where} gave {shape} for {tuple(images.shape)}; choose another attack")
        found = found.detach().to(images.dtype)
        is_fine = torch.isfinite(found) & (found >= -_ROUNDING) & (found <= 1 + _ROUNDING)
        if not bool(is_fine.all()):
            raise ModelError(f"{where} gave pixels outside 0..1 or that are no numbers; choose another attack")
        return found.clamp(0, 1)

    def _shortened(self, found: Tensor, radius: float) -> Tensor:
        """No further from the images than `radius`, along the same line in L2, pixel by pixel in L-infinity."""
        change = found - self._images
        if self._norm == "linf":
            change = change.clamp(-radius, radius)
        else:
            length = torch.linalg.vector_norm(change.flatten(1), dim=1).clamp_min(1e-30)
            factor = (radius / length).clamp_max(1)
            change = change * factor.view(-1, *[1] * (change.dim() - 1))
        return (self._images + change).clamp_(0, 1)


def _attack_of(name: str) -> Any:
    """An attack with foolbox's own settings but for the options named."""
    class_name, *options = name.split(":")
    known = _attack_classes()
    if class_name not in known:
        raise ConfigError(unknown_name("attack", f"foolbox:{class_name}", [f"foolbox:{each}" for each in known]))
    made = known[class_name]
    parameters = inspect.signature(made).parameters
    values = dict(_option(class_name, option, parameters) for option in options)
    if "distance" in parameters:
        values["distance"] = _foolbox().distances.linf
    try:
        return made(**values)
    except ImportError as error:
        raise ConfigError(f"attack: foolbox:{class_name} needs more than foolbox ({error}); install that") from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"attack: foolbox:{name} cannot be made ({error}); leave its options out") from None


def _option(class_name: str, text: str, parameters: Mapping[str, inspect.Parameter]) -> tuple[str, object]:
    """Name and value of one option, `steps=100`: of the kind that foolbox's own setting has."""
    option, _, typed = text.partition("=")
    if option not in parameters:
        raise ConfigError(unknown_name(f"option of foolbox:{class_name}", option, parameters))
    try:
        value = ast.literal_eval(typed)
    except (ValueError, SyntaxError):
        value = None
    default = parameters[option].default
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, bool):
        is_fitting, kind = isinstance(value, bool), "True or False"
    elif isinstance(default, int):
        is_fitting, kind = is_number and isinstance(value, int) and value >= 1, "a whole number of at least 1"
    else:
        is_fitting, kind = is_number, "a number"
    if not is_fitting:
        raise ConfigError(f"attack: {option} of foolbox:{class_name} is {typed!r}; write {kind}, {option}=...")
    return option, value


def _norm(attack: Any) -> str:
    """The norm in which changes are brought within epsilon: the attack's own, or L2 where it seeks fewest pixels."""
    p = getattr(getattr(attack, "distance", None), "p", None)
    is_smallest = isinstance(attack, _foolbox().attacks.base.MinimizationAttack)
    if p not in (2, float("inf")) and not (p in (0, 1) and is_smallest):
        raise ConfigError(
            f"attack: foolbox:{type(attack).__name__} measures neither L2 nor L-infinity; choose one that does, "
            "such as foolbox:LinfDeepFoolAttack"
        )
    return "linf" if p == float("inf") else "l2"


@cache
def _attack_classes() -> dict[str, Callable[..., Any]]:
    """Attacks that need nothing but a model, images and labels."""
    foolbox = _foolbox()
    base = foolbox.attacks.base.AttackWithDistance
    found = {
        name: each
        for name, each in vars(foolbox.attacks).items()
        if inspect.isclass(each) and issubclass(each, base) and not inspect.isabstract(each)
    }
    return {name: each for name, each in sorted(found.items()) if name not in _NEED_MORE and not _needs_more(each)}


def _needs_more(made: Callable[..., Any]) -> bool:
    parameters = inspect.signature(made).parameters.values()
    is_rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(each.default is each.empty and each.kind not in is_rest for each in parameters)


@cache
def _foolbox() -> ModuleType:
    try:
        import foolbox
    except ImportError as error:
        raise ConfigError(
            f"attack: foolbox is not there ({error}); install it with pip install 'psi-tui[attacks]'"
        ) from None
    module: ModuleType = foolbox
    return module
