"""The classifier made of a network: takes pixels in 0..1, gives logits, whatever the network itself takes and gives."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from psi_core.config import MemoryFormat
from psi_core.devices import Device
from psi_core.engine.bf16_weights import Bf16Weights
from psi_core.engine.devices import MEMORY_ERRORS, is_out_of_memory
from psi_core.engine.models.complaints import refused_output
from psi_core.errors import RunError

Output = Literal["logits", "binary", "sigmoid"]
"""What a network gives: a logit for each class, one for the second of two classes, or the sigmoid of that one."""

_FORMATS: Mapping[MemoryFormat, torch.memory_format] = {
    "channels_last": torch.channels_last,
    "contiguous": torch.contiguous_format,
}


class Classifier(nn.Module):
    """A network behind its normalization: takes pixels in 0..1.

    Attributes:
        network: the network itself; layers are named by their path in it.
        memory_format: how images lie in memory when the network gets them. Its weights lie alike in `channels_last`,
            and as they were made in `contiguous`.
        output: what the network gives.
        keeps_nothing: whether the network is known to keep nothing between forwards but its weights.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], sd: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.is_normalized = any(mean) or any(value != 1 for value in sd)
        self.memory_format: MemoryFormat = "contiguous"
        self.output: Output = "logits"
        self.keeps_nothing = False
        self._bf16_weights = Bf16Weights()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("sd", torch.tensor(sd, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor, *, are_inputs: bool = False) -> Tensor:
        """Logits (batch, classes).

        Args:
            images: (batch, channels, size, size) in 0..1.
            are_inputs: whether these are what `inputs_of` makes of images, and nobody else's.
        """
        inputs = images if are_inputs else self.inputs_of(images)
        with uncompiled(), self._bf16_weights.in_use(inputs.device):
            if self.output == "sigmoid":
                with LastSigmoid() as sigmoid:
                    self.network(inputs)
                return of_two_classes(sigmoid.argument)
            logits: Tensor = logits_in(self.network(inputs))
        return logits if self.output == "logits" else of_two_classes(logits)

    def inputs_of(self, images: Tensor) -> Tensor:
        """Normalized images, laid out as the network takes them; a tensor of its own, which it may change in place."""
        inputs = (images - self.mean) / self.sd if self.is_normalized else images.clone()
        return laid_out(inputs, self.memory_format)

    def without_gradient(self) -> AbstractContextManager[object]:
        """Forwards within the block are not to be differentiated.

        Inference mode is for networks that are known: what others keep for a later forward, which may want a gradient,
        must not be made in it, and some take a gradient of their own on the way to their logits.
        """
        return torch.inference_mode() if self.keeps_nothing else torch.no_grad()

    def lay_out(self, memory_format: MemoryFormat) -> None:
        """Lays images, and for `channels_last` weights too, in memory so from now on."""
        self.memory_format = memory_format
        if memory_format == "channels_last":
            for tensor in (*self.parameters(), *self.buffers()):
                if tensor.dim() == 4:
                    tensor.data = tensor.data.to(memory_format=torch.channels_last)

    def move_to(self, device: Device) -> None:
        """Brings the weights to a device.

        Raises:
            RunError: it has no memory for them.
        """
        try:
            self.to(device)
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"memory: the network's weights alone do not fit on {device}; free some of its memory, or write "
                "another --device"
            ) from None

    @contextmanager
    def kept_layout(self) -> Iterator[None]:
        """Images and weights lie as before after the block."""
        before = self.memory_format
        places = [(tensor, tensor.data) for tensor in (*self.parameters(), *self.buffers())]
        try:
            yield
        finally:
            self.memory_format = before
            for tensor, data in places:
                tensor.data = data


class _Uncompiled:
    """One state of the process for all threads that are within: the last to leave puts back what the first found."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._found = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._within and "torch._dynamo" in sys.modules:
                self._found.enter_context(torch.compiler.set_stance("force_eager"))
            self._within += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._found.close()


_UNCOMPILED = _Uncompiled()


def uncompiled() -> AbstractContextManager[None]:
    """Functions of a network that compile themselves run as they are written: compiled, their calls cannot be seen."""
    return _UNCOMPILED


def laid_out(images: Tensor, memory_format: MemoryFormat) -> Tensor:
    """Images (batch, channel, y, x) that lie so in memory; the same ones where they already do.

    Contiguous ones have plain strides: gray images fit both formats, and convolutions would take them for the other.
    """
    if images.dim() != 4:
        return images
    if memory_format == "channels_last":
        return images.contiguous(memory_format=torch.channels_last)
    _, channels, height, width = images.shape
    is_plain = images.stride() == (channels * height * width, height * width, width, 1)
    return images if is_plain else images.clone(memory_format=torch.contiguous_format)


def torch_format(memory_format: MemoryFormat) -> torch.memory_format:
    """The format as torch names it."""
    return _FORMATS[memory_format]


def read_output(given: Any, images: int, last_sigmoid: Tensor | None) -> tuple[Tensor, Output]:
    """The logits that a network gave for so many images, (images, classes), and what it gives.

    Args:
        given: what the network gave.
        images: number of images.
        last_sigmoid: what the last activation gave if it was a sigmoid.

    Raises:
        ModelError: it gave no logits.
    """
    logits = logits_in(given)
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise refused_output(given, images)
    if logits.shape in ((images,), (images, 1)):
        is_sigmoid = last_sigmoid is not None and torch.equal(last_sigmoid.flatten(), logits.flatten())
        return of_two_classes(logits), "sigmoid" if is_sigmoid else "binary"
    if logits.dim() != 2 or len(logits) != images:
        raise refused_output(given, images)
    return logits, "logits"


def output_notes(given: Any, output: Output) -> tuple[str, ...]:
    """A sentence for each thing that logits were read from, where a network does not give a tensor of them."""
    notes = [] if isinstance(given, Tensor) else [f"model: took the logits out of its {type(given).__name__}"]
    if output != "logits":
        what = "one logit" if output == "binary" else "the sigmoid of one logit"
        notes.append(f"model: it gives {what}, z, taken as logits 0 and z of two classes")
    return tuple(notes)


def logits_in(given: Any) -> Any:
    """The `logits` of an output that has such, as those of Hugging Face; any other output as it is."""
    if isinstance(given, Mapping):
        return given.get("logits", given)
    return given if isinstance(given, Tensor) else getattr(given, "logits", given)


def of_two_classes(score: Tensor) -> Tensor:
    """Logits 0 and z of two classes, (batch, 2), from z, (batch,) or (batch, 1): their softmax is the sigmoid of z."""
    second = score.reshape(-1)
    return torch.stack([torch.zeros_like(second), second], 1)


SIGMOIDS: frozenset[Callable[..., Any]] = frozenset(
    {torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, torch.nn.functional.sigmoid, torch.special.expit}
)
"""Every way of writing a sigmoid."""


class LastSigmoid(TorchFunctionMode):
    """Keeps what the last sigmoid of a forward was taken of: in float32, a sigmoid near 1 has lost it.

    Attributes:
        argument: of the last sigmoid; empty where there was none.
        given: what that sigmoid gave, or None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.argument = torch.empty(0)
        self.given: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function; keeps a sigmoid's argument."""
        if func in SIGMOIDS:
            given = args[0] if args else (kwargs or {})["input"]
            self.argument = given.clone() if func in (torch.sigmoid_, Tensor.sigmoid_) else given
            self.given = func(*args, **(kwargs or {}))
            return self.given
        return func(*args, **(kwargs or {}))
