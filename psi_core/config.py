"""The configuration of a run: RunConfig as it is asked for, ResolvedConfig as it is computed. Both are immutable.

An option is one field of RunOptions; its `Option` holds what the command line and the form show of it.
"""

import json
import math
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from psi_core.conditions import (
    ATTACK_NAMES,
    ATTACKS,
    CONTROL_NAMES,
    DEFAULT_CONTROLS,
    FOOLBOX,
    Condition,
    Epsilon,
    attack_row,
    conditions_of,
    epsilon_text,
)
from psi_core.devices import CPU, Device
from psi_core.errors import ConfigError, missing_file, unknown_name
from psi_core.measures import DEFAULT_MEASURES, MEASURE_NAMES
from psi_core.option_values import NPY_PLACE, Epsilons, Names, parse_channel_axis
from psi_core.options import Option, option_of, parse_mean_sd, refusal, require_known
from psi_core.plain_text import is_plain
from psi_core.typed_names import looks_like_option, plain_name, typable_name, way_out

MODEL_NAMES: tuple[str, ...] = ("lenet5", "alexnet", "vgg11")
"""The bundled models. The engine's table of architectures holds the same names."""

WEIGHTS_NAMES: tuple[str, ...] = ("fitted", "random", "imagenet", "built")
"""Weights that have a name. Any others are a file."""

DATA_NAMES: tuple[str, ...] = ("mnist", "folder:PATH", "npz:PATH", "torchvision:NAME")
"""Data sets: the bundled one by name, others by kind and place."""

_DATA_KINDS = ("folder", "npz", "torchvision")

_ITERATED = " and ".join(", ".join(row.name for row in ATTACKS if row.is_iterated).rsplit(", ", 1))

Count = Annotated[int, Field(ge=1)]
Pixels = Annotated[int, Field(ge=1, le=16_384)]
AutoCount = Count | Literal["auto"]
Loss = Literal["margin", "cross-entropy"]
Unit = Literal["neuron", "channel", "token"]
MemoryFormat = Literal["channels_last", "contiguous"]
Order = Literal["sample", "first"]
_COUNT_OR_AUTO = "a whole number of at least 1, or auto"


class RunOptions(BaseModel):
    """Every option of a run: model, data, conditions, measures and how they are computed.

    Raises:
        ConfigError: a key is unknown or a value cannot stand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    model: Annotated[str, Option("What is measured", suggestions=MODEL_NAMES)] = Field(
        "lenet5",
        description="lenet5, alexnet, vgg11, torchvision:NAME, timm:NAME, or a factory package.module:f, file.py:f; "
        "hf:PLACE, robustbench:NAME",
    )
    weights: Annotated[str, Option("What is measured", suggestions=WEIGHTS_NAMES)] = Field(
        "fitted", description="fitted, random, imagenet, built, or a .safetensors, .pt or .pth file"
    )
    data: Annotated[str, Option("What is measured")] = Field(
        "mnist", description="mnist (bundled), folder:PATH (a folder a class), npz:PATH, torchvision:NAME[@ROOT]"
    )
    split: Annotated[Literal["test", "train"], Option("What is measured")] = Field(
        "test", description="which part of the data"
    )
    images: Annotated[Count | None, Option("What is measured", where_empty="all")] = Field(
        None, description="how many images; order says which (default: all)"
    )
    order: Annotated[
        Order,
        Option(
            "What is measured",
            about={
                "sample": "sample: every class's share, by seed",
                "first": "first: of a folder every class in turn",
            },
        ),
    ] = Field("sample", description="which images: a sample drawn by the seed, every class its share, or the first")
    size: Annotated[Pixels | None, Option("What is measured", where_empty="the model's own")] = Field(
        None, description="network input in pixels (default: the model's own)"
    )
    resize: Annotated[Pixels | None, Option("What is measured", where_empty="the network's input size")] = Field(
        None, description="shorter edge of pictures in pixels, before the center is cut out (default: size)"
    )
    normalize: Annotated[str, Option("What is measured", suggestions=("auto", "none", "imagenet"))] = Field(
        "auto", description="none, imagenet, or MEAN/SD; inside the model"
    )
    layers: Annotated[Names, Option("Layers")] = Field(("relu",), description="names, globs, module paths, relu, all")
    unit: Annotated[Unit, Option("Layers")] = Field(
        "neuron",
        description="what a unit is: every scalar, a channel's mean over positions, or a token's over channels",
    )
    channel_axis: Annotated[Names, Option("Layers", label="axis", where_empty="found")] = Field(
        (), description="where channels lie, as PATTERN=AXIS with commas (default: as the network's calls tell)"
    )
    rectify: Annotated[Literal["none", "relu", "abs"], Option("Layers")] = Field(
        "none", description="how signed layers are made non-negative"
    )
    attack: Annotated[
        Names,
        Option("Attack", names=(*ATTACK_NAMES, f"{FOOLBOX}NAME", "none")),
    ] = Field(("fgsm",), description=f"attacks, with commas, or none: {', '.join(ATTACK_NAMES)}, {FOOLBOX}NAME")
    epsilon: Annotated[Epsilons, Option("Attack")] = Field(
        (0.03,), description="largest pixel changes in 0..1, with commas"
    )
    target: Annotated[
        Literal["none", "least-likely", "random", "next"],
        Option(
            "Attack in detail",
            about={
                "none": "none: away from the label",
                "least-likely": "least-likely: the network's last choice",
                "random": "random: any class but the label",
                "next": "next: the class after the label",
            },
        ),
    ] = Field("none", description="class that the attacks are to reach, instead of leaving the label")
    steps: Annotated[int, Field(ge=1, le=10_000), Option("Attack in detail")] = Field(
        10, description=f"steps of {_ITERATED}"
    )
    step_size: Annotated[
        Annotated[float, Field(gt=0, le=1)] | Literal["auto"],
        Option("Attack in detail", fits="a share of epsilon such as 0.25, or auto"),
    ] = Field("auto", description="size of these steps, as a share of epsilon (auto: 2.5/steps, mi-fgsm 1/steps)")
    restarts: Annotated[int, Field(ge=1, le=1000), Option("Attack in detail")] = Field(
        1, description="random starts of pgd; the worst one counts"
    )
    loss: Annotated[Loss, Option("Attack in detail")] = Field(
        "margin", description="what attacks climb: the cross-entropy's gradient cancels where the network is sure"
    )
    attacked: Annotated[str, Option("Attack", below="controls", where_empty="none")] = Field(
        "", description="images attacked elsewhere, as one more condition: npz:PATH or folder:PATH"
    )
    controls: Annotated[Names, Option("Attack", names=(*CONTROL_NAMES, "none"))] = Field(
        DEFAULT_CONTROLS, description=f"controls at every epsilon, with commas, or none: {', '.join(CONTROL_NAMES)}"
    )
    measures: Annotated[Names, Option("Layers", names=MEASURE_NAMES)] = Field(
        DEFAULT_MEASURES, description=f"measures per image and layer, with commas: {', '.join(MEASURE_NAMES)}"
    )
    labels: Annotated[Literal["true", "predicted"], Option("Attack")] = Field(
        "true", description="true labels, or the network's own predictions"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63), Option("Attack")] = Field(0, description="seed of every random number")
    precision: Annotated[Literal["exact", "tf32", "bf16"], Option("Computing", below="devices")] = Field(
        "exact", description="exact is IEEE fp32, deterministic"
    )
    device: Annotated[str, Option("Computing", choices=("auto", CPU))] = Field(
        "auto", description="auto, cpu, cuda or cuda:K"
    )
    devices: Annotated[int, Field(ge=1, le=4096), Option("Computing")] = Field(
        1, description="workers, one per device (on a CPU too)"
    )
    batch: Annotated[AutoCount, Option("Computing", fits=_COUNT_OR_AUTO)] = Field(
        "auto", description="images per batch"
    )
    chunk: Annotated[AutoCount, Option("Computing", fits=_COUNT_OR_AUTO)] = Field(
        "auto", description="images per chunk file"
    )
    threads: Annotated[
        Annotated[int, Field(ge=1, le=1024)] | Literal["auto"],
        Option("Computing", fits="a whole number from 1 to 1024, or auto"),
    ] = Field("auto", description="CPU threads per worker; auto: a core each, or OMP_NUM_THREADS")
    compile: Annotated[bool, Option("Computing")] = Field(
        False, description="compile the step, about a minute, before the first image"
    )
    class_order: Annotated[
        Literal["auto", "text", "number"],
        Option(
            "Run",
            label="classes",
            fits="auto, text or number",
            about={
                "auto": "auto: where both agree",
                "text": "text: 1, 10, 2, as ImageFolder sorts folders",
                "number": "number: 1, 2, 10, as timm does",
            },
        ),
    ] = Field(
        "auto", description="order of a folder's classes: text (1, 10, 2; ImageFolder) or number (1, 2, 10; timm)"
    )
    skip_unreadable: Annotated[bool, Option("Run", label="skip bad")] = Field(
        False, description="leave out pictures that cannot be read, instead of stopping"
    )
    name: Annotated[str, Option("Run", where_empty="none")] = Field("", description="a name for the run")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(refusal(error.errors()[0], type(self).model_fields, way_out)) from None

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: object, info: ValidationInfo) -> object:
        parts = value if isinstance(value, list | tuple) else (value,)
        is_flag = cls.model_fields[str(info.field_name)].annotation is bool
        if not is_flag and any(isinstance(part, bool) for part in parts):
            raise ValueError(
                f"{info.field_name}: true and false do not fit; write the value itself, or leave the key out"
            )
        return value

    @field_validator("model", "weights", "data", "attacked")
    @classmethod
    def _plain(cls, value: str, info: ValidationInfo) -> str:
        if not is_plain(value):
            raise ValueError(
                f"{info.field_name}: {value!r} holds control characters; write a name or path without them"
            )
        return value

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str) -> str:
        if value in MODEL_NAMES or (":" in value and ".ipynb" not in value):
            return value
        raise ValueError(way_out("model", value) or unknown_name("model", value, MODEL_NAMES))

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, value: str) -> str:
        is_place = Path(value).suffix or "/" in value or os.path.exists(value)  # noqa: PTH110 - it takes any text
        if value and (value in WEIGHTS_NAMES or is_place):
            return value
        names = (*WEIGHTS_NAMES, "the path of a .safetensors, .pt or .pth file")
        raise ValueError(way_out("weights", value) or unknown_name("weights", value, names))

    @field_validator("data")
    @classmethod
    def _known_data(cls, value: str) -> str:
        kind, _, place = value.partition(":")
        if value == "mnist" or (kind in _DATA_KINDS and place):
            return value
        raise ValueError(way_out("data", value) or unknown_name("data", value, DATA_NAMES))

    @field_validator("attacked")
    @classmethod
    def _known_attacked(cls, value: str) -> str:
        kind, _, place = value.partition(":")
        if not value or (kind in ("folder", "npz") and place) or (kind == "npy" and NPY_PLACE.fullmatch(place)):
            return value
        raise ValueError(
            way_out("attacked", value) or unknown_name("attacked", value, ("npz:PATH", "folder:PATH", "npy:PATH[A:B]"))
        )

    @field_validator("*")
    @classmethod
    def _known_names(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        known = option_of(cls.model_fields[name]).names
        if not known:
            return value
        if sentence := next(filter(None, (way_out(name, each) for each in value if each not in known)), None):
            raise ValueError(sentence)
        return require_known(name, value, known)

    @field_validator("measures")
    @classmethod
    def _psi_first(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("psi", *value)))

    @field_validator("epsilon")
    @classmethod
    def _epsilon_in_range(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value:
            raise ValueError("epsilon: the list is empty; write at least one, such as 0.03")
        for epsilon in value:
            if math.isnan(epsilon):
                raise ValueError("epsilon: NaN is not a number of pixel units; write one from 0 to 1, such as 0.03")
            if not 0 <= epsilon <= 1:
                text = epsilon_text(epsilon)
                advice = f"{text}/255" if 1 < epsilon <= 255 and "/" not in text else "one such as 0.03 or 8/255"
                raise ValueError(f"epsilon: {text} lies outside 0 to 1; pixels are scaled to 0..1, so write {advice}")
        # abs: -0.0 would name a condition fgsm@-0. A fraction of 0 is 0.
        return tuple(dict.fromkeys(each if isinstance(each, Epsilon) and each else abs(each) for each in value))

    @field_validator("layers")
    @classmethod
    def _some_layer(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("layers: the list is empty; write names such as conv1,fc2, or relu, or all")
        return tuple(dict.fromkeys(value))

    @field_validator("channel_axis")
    @classmethod
    def _known_axes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_channel_axis(text)
        return value

    @field_validator("normalize")
    @classmethod
    def _known_normalization(cls, value: str) -> str:
        if value not in ("auto", "none", "imagenet"):
            parse_mean_sd(value)
        return value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        try:
            if value != "auto":
                Device(value)
        except ValueError:
            raise ValueError(
                f"device: there is no {value!r}; write auto, cpu, cuda, or cuda:K such as cuda:0"
            ) from None
        return value

    _plain_name = field_validator("name")(plain_name)

    @model_validator(mode="before")
    @classmethod
    def _factory_keeps_its_weights(cls, values: Any) -> Any:
        if isinstance(values, dict) and "weights" not in values:
            model = values.get("model", "")
            if isinstance(model, str) and ":" in model and not model.startswith(("torchvision:", "timm:")):
                return {**values, "weights": "built"}
        return values

    @field_validator("attack", mode="before")
    @classmethod
    def _no_attack_by_name(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip(", "):
            raise ValueError(f"attack: nothing is named; write one of {', '.join(ATTACK_NAMES)}, or none")
        return value

    @model_validator(mode="after")
    def _default_controls_fit(self) -> "RunOptions":
        """Controls that nobody named: none beside benign alone, and none that copy an attack's size without one."""
        if not self.attack and "controls" not in self.model_fields_set:
            sized = tuple(name for name in self.controls if not attack_row(name).copies_l2)
            self.__dict__["controls"] = sized if self.attacked else ()
        return self

    @model_validator(mode="after")
    def _controls_can_be_made(self) -> "RunOptions":
        sized = next((name for name in self.controls if attack_row(name).copies_l2), None)
        if sized is not None and not self.attack:
            raise ValueError(
                f"controls: {sized} takes its size from an attack, and there is none; "
                "leave it out, or name one with --attack"
            )
        paired = next((name for name in self.controls if attack_row(name).pairs_images), None)
        if paired is not None and self.compile:
            raise ValueError(f"controls: {paired} pairs the images of a batch, which --compile pads; leave one out")
        if paired is not None and isinstance(self.batch, int) and self.batch % 2:
            raise ValueError(f"batch: {paired} pairs the images of a batch; write an even number, not {self.batch}")
        return self

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The run's conditions in order, benign first."""
        own = getattr(self, "own_distances", True)
        return conditions_of(
            self.attack, self.epsilon, self.controls, has_external=bool(self.attacked), has_own_distances=own
        )


class RunConfig(RunOptions):
    """A run as it is asked for. The engine chooses what is left out or `auto`.

    The fields are the long options of `psi-tui run` in snake case, and the keys of a SPEC.toml. Lists may be text with
    commas.

    Raises:
        ConfigError: a key is unknown or a value cannot stand.
    """

    @field_validator("name", mode="before")
    @classmethod
    def _typable_name(cls, value: Any) -> Any:
        """A name that a shell can hand on; runs of older versions keep theirs."""
        return typable_name(value) if isinstance(value, str) else value

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], **typed: Any) -> "RunConfig":
        """The run that a SPEC.toml describes. Values in `typed` beat the file's.

        Raises:
            ConfigError: the file cannot be read, is no TOML, or holds a wrong key or value.
        """
        is_model = str(path) in MODEL_NAMES or ":" in str(path)
        advice = f"write --model {path}" if is_model else "write the path of a TOML file with keys such as epsilon"
        try:
            with Path(path).open("rb") as file:  # A pipe too, such as the shell's <(...); a device may never end.
                data = file.read(1_000_001)
            if len(data) > 1_000_000:
                raise ValueError("it has more than 1 MB")
            values = tomllib.loads(data.decode())
        except FileNotFoundError:
            raise ConfigError(missing_file("spec", Path(path), advice)) from None
        except OSError as error:
            raise ConfigError(f"spec: {path} cannot be read ({error.strerror}); {advice}") from None
        except (TypeError, ValueError, RecursionError) as error:  # The first is open()'s, of what is no path.
            raise ConfigError(f"{path}: not a TOML file ({error}); write lines such as epsilon = [0.03, 0.1]") from None
        return cls(**{**values, **typed})

    def to_toml(self) -> str:
        """The text of a SPEC.toml that `from_toml` reads as the same run."""
        values = self.model_dump(mode="json", exclude_none=True)
        # JSON's texts, numbers and lists of these are TOML too.
        return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())


class ResolvedConfig(RunOptions):
    """A run as it is computed. Nothing is left to choose, so that all workers compute alike.

    Layers stand by their exact names, files by their absolute paths. No option chooses `memory_format`: the network
    does. Runs of older versions name none of the last three, and are read as they were computed.

    Raises:
        ConfigError: a key is unknown or missing, or a value cannot stand.
    """

    images: Count
    size: Count
    device: Device
    batch: Count
    chunk: Count
    threads: Count
    memory_format: MemoryFormat = "channels_last"
    own_distances: bool = False
    abreast: Count = 1  # Batches at once, each computed by one thread.

    def asked(self, **changes: Any) -> RunConfig:
        """The configuration that asks for this run, with some options changed, without a name that cannot be."""
        values = self.model_dump(exclude={"memory_format", "own_distances", "abreast"})
        return RunConfig(**{**values, "name": "" if looks_like_option(self.name) else self.name, **changes})


def is_factory(model: str) -> bool:
    """Whether a model is a function of somebody's code, `file.py:function` or `package.module:function`."""
    return model not in MODEL_NAMES and not model.startswith(("torchvision:", "timm:", "hf:", "robustbench:"))
