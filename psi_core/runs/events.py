"""Events: what each worker reports of itself.

An event is a frozen dataclass; its line holds `event` (the kind), `time` and the class's own fields, in their order.
A child process reports its progress with the same events.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeAlias

from psi_core.plain_text import plain_text

COPIES_NAMED = 5
"""How many of the images that are copies are named."""

EventLine: TypeAlias = dict[str, Any]
"""An event as its line holds it, with fields that a newer version may have added."""

_OMIT_NONE: Mapping[str, Any] = {"where_none": "left out"}
"""Marks fields that only some events of a kind have: None is not written. Other fields write it as null."""


def _now() -> float:
    return round(time.time(), 3)


@dataclass(frozen=True, slots=True)
class _Timed:
    """Fields of every event.

    Attributes:
        time: seconds since 1970, to the millisecond.
    """

    time: float = field(default_factory=_now, kw_only=True)


@dataclass(frozen=True, slots=True)
class Started(_Timed):
    """A worker began. Its earlier events no longer count.

    Attributes:
        host: name of its machine.
        boot_id: id of that machine's present boot; empty where the system has none.
        pid_namespace: namespace in which its process id is valid.
        pid: its process id.
        process_start: when it started, in clock ticks since boot.
        device: `cpu` or `cuda:K`.
        device_name: model of the processor or GPU.
        python: version of Python.
        torch: version of torch.
        torchvision: version of torchvision.
        cuda: version of CUDA; None on a CPU.
        driver: version of the NVIDIA driver; None without one.
        worker: its rank, from 0.
        workers: how many share the run.
        sums: what sums a GPU's layers, `kernels` or `torch`; they round otherwise. None on a CPU and in older runs.
        run: id of the run; None in older runs.
    """

    kind: ClassVar[str] = "started"
    host: str = ""
    boot_id: str = ""
    pid_namespace: str = ""
    pid: int = 0
    process_start: int | None = None
    device: str = ""
    device_name: str | None = None
    python: str | None = None
    torch: str | None = None
    torchvision: str | None = None
    cuda: str | None = None
    driver: str | None = None
    worker: int | None = None
    workers: int | None = None
    sums: str | None = field(default=None, metadata=_OMIT_NONE)
    run: str | None = field(default=None, metadata=_OMIT_NONE)


@dataclass(frozen=True, slots=True)
class PhaseBegan(_Timed):
    """A phase began: `load`, `fit`, `compile` or `run`."""

    kind: ClassVar[str] = "phase"
    phase: str = ""


@dataclass(frozen=True, slots=True)
class FitAdvanced(_Timed):
    """Progress of a fit.

    Attributes:
        phase: `fit`, or `test` while the test accuracy is measured.
        done: images processed in this phase, counted once per epoch.
        total: images of this phase.
        accuracy: test accuracy so far, 0..1, or None.
        images_per_second: speed since the phase began.
        loss: mean loss over the last 50 steps.
        epoch: number of the epoch, from 1.
    """

    kind: ClassVar[str] = "fit"
    phase: str = "fit"
    done: int = 0
    total: int = 0
    accuracy: float | None = None
    images_per_second: float = 0.0
    loss: float | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class BatchDone(_Timed):
    """Progress of a worker, after a batch.

    Attributes:
        done: images of the worker's share that are processed, those of the open chunk included.
        total: images of its share.
        chunk: number of the open chunk, or of the one just written.
        open: processed images of the open chunk.
        images_per_second: speed since the worker began.
        batch: images per batch.
        memory: peak memory in bytes, of the GPU or else of the process.
        seconds: time spent so far in each part of the step: `benign`, `gradient`, `attacked`.
    """

    kind: ClassVar[str] = "batch"
    done: int = 0
    total: int = 0
    chunk: int | None = None
    open: int | None = None
    images_per_second: float = 0.0
    batch: int | None = None
    memory: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Warned(_Timed):
    """A warning for whoever uses the results.

    Attributes:
        text: a sentence.
        chunks: numbers of the chunks concerned, or None.
        batch: images per batch from now on, after memory ran out.
        images: positions of the images that were left out.
    """

    kind: ClassVar[str] = "warning"
    text: str = ""
    chunks: tuple[int, ...] | None = field(default=None, metadata=_OMIT_NONE)
    batch: int | None = field(default=None, metadata=_OMIT_NONE)
    images: tuple[int, ...] | None = field(default=None, metadata=_OMIT_NONE)


@dataclass(frozen=True, slots=True)
class PrecisionCompared(_Timed):
    """The gradient of the first batch was compared with that at `exact`.

    Attributes:
        policy: `tf32` or `bf16`.
        sign_agreement: share of its signs that are the same; None where there was no gradient.
    """

    kind: ClassVar[str] = "precision"
    policy: str = ""
    sign_agreement: float | None = None


@dataclass(frozen=True, slots=True)
class EvidenceFound(_Timed):
    """What only the engine can see of a run, on its first images. None where a check could not be made.

    Attributes:
        images: images checked, drawn by lot from the first ones.
        pixels: pixels of each image at which the gradient was compared with differences.
        training_modules: how many modules of the network are in training mode.
        repeat_difference: the largest difference of any logit between two forwards of the same images.
        repeat_reason: why that could not be measured.
        finite_difference_error: the largest relative error of central differences against the gradient of a float64
            copy, at the pixels of each image where the run's own gradient is largest, as a share of the larger of the
            two numbers, 0..2.
        gradient_error: how far at most an image's own gradient, at the run's precision, points elsewhere than that of
            the float64 copy: the distance of the two at length 1, 0..2.
        gradient_reason: why these two could not be measured.
        seconds: time that the checks took.
        copies: how many images of the run are stored byte for byte as another of them.
        copy_positions: positions in the data set of the first of these, at most COPIES_NAMED.
        alone_difference: the largest difference of any image's logits alone and among the others, as a share of the
            largest logit.
        alone_cause: modules that make an image's numbers depend on its batch.
        alone_reason: why that could not be measured.
        outputs: what the network gives: `logits`, `probabilities`, or `sigmoids` of several labels.
        normalized_by: the largest number that reaches the first layer, as a multiple of the largest that a normalized
            pixel can be; None where the run normalizes nothing.
        measured: how many of the network's activations are measured.
        activations: how many there are.
        left_out: which are not measured, and how they could be.
        network_reason: why outputs, first layer and activations could not be looked at.
        gradient_repeat_difference: that of any number of the gradient between two, as a share of its largest number.
        gradient_repeat_reason: why that could not be measured.
    """

    kind: ClassVar[str] = "evidence"
    images: int | None = field(default=None, metadata=_OMIT_NONE)
    pixels: int | None = field(default=None, metadata=_OMIT_NONE)
    training_modules: int | None = field(default=None, metadata=_OMIT_NONE)
    repeat_difference: float | None = field(default=None, metadata=_OMIT_NONE)
    repeat_reason: str | None = field(default=None, metadata=_OMIT_NONE)
    finite_difference_error: float | None = field(default=None, metadata=_OMIT_NONE)
    gradient_error: float | None = field(default=None, metadata=_OMIT_NONE)
    gradient_reason: str | None = field(default=None, metadata=_OMIT_NONE)
    seconds: float | None = field(default=None, metadata=_OMIT_NONE)
    copies: int | None = field(default=None, metadata=_OMIT_NONE)
    copy_positions: tuple[int, ...] | None = field(default=None, metadata=_OMIT_NONE)
    alone_difference: float | None = field(default=None, metadata=_OMIT_NONE)
    alone_cause: str | None = field(default=None, metadata=_OMIT_NONE)
    alone_reason: str | None = field(default=None, metadata=_OMIT_NONE)
    outputs: str | None = field(default=None, metadata=_OMIT_NONE)
    normalized_by: float | None = field(default=None, metadata=_OMIT_NONE)
    measured: int | None = field(default=None, metadata=_OMIT_NONE)
    activations: int | None = field(default=None, metadata=_OMIT_NONE)
    left_out: str | None = field(default=None, metadata=_OMIT_NONE)
    network_reason: str | None = field(default=None, metadata=_OMIT_NONE)
    gradient_repeat_difference: float | None = field(default=None, metadata=_OMIT_NONE)
    gradient_repeat_reason: str | None = field(default=None, metadata=_OMIT_NONE)


@dataclass(frozen=True, slots=True)
class Heartbeat(_Timed):
    """The worker's process still runs. It may come after the worker's last word."""

    kind: ClassVar[str] = "heartbeat"


@dataclass(frozen=True, slots=True)
class Finished(_Timed):
    """No chunk was left for the worker."""

    kind: ClassVar[str] = "finished"


@dataclass(frozen=True, slots=True)
class Stopped(_Timed):
    """The worker left on request: its `kind` says `left`."""

    kind: ClassVar[str] = "left"


@dataclass(frozen=True, slots=True)
class Failed(_Timed):
    """An error ended the worker.

    Attributes:
        error: a sentence.
        error_type: class of the error.
    """

    kind: ClassVar[str] = "failed"
    error: str = ""
    error_type: str = ""


@dataclass(frozen=True, slots=True)
class AblationAdvanced(_Timed):
    """Progress of an ablation, or of images that are computed again.

    Attributes:
        phase: phase, as in a run.
        done: images processed in this phase.
        total: images of this phase.
        images_per_second: speed since the phase began.
    """

    kind: ClassVar[str] = "progress"
    phase: str = ""
    done: int = 0
    total: int = 0
    images_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class ImagesWritten(_Timed):
    """Progress of an export of images.

    Attributes:
        done: images written.
        total: images of the run.
    """

    kind: ClassVar[str] = "images"
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class TableBegun(_Timed):
    """Progress of an export of tables: the next one is being computed.

    Attributes:
        table: its name.
        done: tables computed.
        total: tables of the export.
    """

    kind: ClassVar[str] = "table"
    table: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class PartTested(_Timed):
    """A part of the self-test ended.

    Attributes:
        part: its name.
        verdict: `passed`, `failed`, `measured` or `left out`.
        words: what it found.
        seconds: time that it took.
    """

    kind: ClassVar[str] = "tested"
    part: str = ""
    verdict: str = ""
    words: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class UnknownEvent(_Timed):
    """An event of a newer version. It becomes the worker's last event and holds nothing else.

    Attributes:
        kind: kind named by its line.
    """

    kind: str


KnownEvent: TypeAlias = (
    Started
    | PhaseBegan
    | FitAdvanced
    | BatchDone
    | Warned
    | PrecisionCompared
    | EvidenceFound
    | Heartbeat
    | Finished
    | Stopped
    | Failed
    | AblationAdvanced
    | ImagesWritten
    | TableBegun
    | PartTested
)
Event: TypeAlias = KnownEvent | UnknownEvent

EVENTS: tuple[type[KnownEvent], ...] = (
    *(Started, PhaseBegan, FitAdvanced, BatchDone, Warned, PrecisionCompared, EvidenceFound, Heartbeat),
    *(Finished, Stopped, Failed, AblationAdvanced, ImagesWritten, TableBegun, PartTested),
)
"""Every kind that this version writes."""


def event_line(event: Event) -> EventLine:
    """An event as its line holds it."""
    values = ((each, getattr(event, each.name)) for each in fields(event) if each.name != "kind")
    written = {each.name: value for each, value in values if value is not None or each.metadata != _OMIT_NONE}
    return {"event": event.kind, **written}


def event_of(line: EventLine) -> Event:
    """The event that a line holds.

    Fields that this version does not know are ignored; one that is missing or of another type has its default.
    """
    kind, moment = line["event"], line["time"]
    if kind not in _READERS:
        return UnknownEvent(kind, time=moment)
    event, readers = _READERS[kind]
    values = {name: read(line.get(name)) for name, read in readers}
    known: KnownEvent = event(**{name: value for name, value in values.items() if value is not None}, time=moment)
    return known


_LARGEST = 2**53
"""Whole numbers beyond it were not written by us, and may not fit a float."""

_LONGEST = 10_000
"""Characters of a text; of a longer one the rest is left out."""


def _text(value: object) -> str | None:
    return value[:_LONGEST] if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < _LARGEST else None


def number_of(value: object) -> float | None:
    """The value if it is a finite number; None for any other."""
    return value if type(value) is float and abs(value) < _LARGEST else _whole(value)


def _number_or_nan(value: object) -> float | None:
    """The same, or NaN: of a loss it says that a fit diverged."""
    return value if type(value) is float and math.isnan(value) else number_of(value)


def _wholes(value: object) -> tuple[int, ...] | None:
    numbers = [_whole(each) for each in value] if isinstance(value, list) else [None]
    return tuple(each for each in numbers if each is not None) if None not in numbers else None


def _numbers(value: object) -> dict[str, float] | None:
    numbers = {name: number_of(each) for name, each in value.items()} if isinstance(value, dict) else {}
    return {name: each for name, each in numbers.items() if each is not None} or None


_OF_TYPE: Mapping[object, Callable[[object], object]] = {
    **{str: _text, str | None: _text},
    **{int: _whole, int | None: _whole},
    **{float: number_of, float | None: _number_or_nan},
    tuple[int, ...] | None: _wholes,
    Mapping[str, float]: _numbers,
}
"""What JSON holds as a value of an event's field, or None where it is of another type."""

_SHOWN = (Started, Warned, EvidenceFound, Failed)
"""Events whose texts people are shown: they may come from a stranger's file."""


def _shown_text(value: object) -> str | None:
    return None if (text := _text(value)) is None else plain_text(text)


def _reader(event: type[KnownEvent], kind: object) -> Callable[[object], object]:
    read = _OF_TYPE[kind]
    return _shown_text if event in _SHOWN and read is _text else read


_READERS: Mapping[str, tuple[type[Any], tuple[tuple[str, Callable[[object], object]], ...]]] = {
    event.kind: (event, tuple((each.name, _reader(event, each.type)) for each in fields(event) if each.name != "time"))
    for event in EVENTS
}
