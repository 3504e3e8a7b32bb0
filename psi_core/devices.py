"""A device by its text: what runs, events and screens name. What torch knows about devices is in `engine.devices`."""

import re
from typing import Any, Literal

from pydantic_core import CoreSchema, core_schema


class Device(str):
    """One device, `cpu` or `cuda:K`; `cuda` is the first CUDA device. It is its own text, in JSON as in torch's calls.

    Raises:
        ValueError: the text names no device.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "Device":  # noqa: D102
        if re.fullmatch("cpu|cuda(:[0-9]+)?", text) is None:
            raise ValueError(f"device: there is no {text!r}; write cpu, cuda, or cuda:K such as cuda:0")
        return super().__new__(cls, "cuda:0" if text == "cuda" else text)

    @classmethod
    def cuda(cls, index: int) -> "Device":
        """The CUDA device of that number, from 0."""
        return cls(f"cuda:{index}")

    @property
    def kind(self) -> Literal["cpu", "cuda"]:
        """What it is, as torch calls it."""
        return "cuda" if self.is_cuda else "cpu"

    @property
    def number(self) -> int:
        """Its number among those of its kind, from 0."""
        return int(self[len("cuda:") :]) if self.is_cuda else 0

    @property
    def is_cuda(self) -> bool:
        """Whether it is a GPU of CUDA."""
        return self != "cpu"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: Any) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


CPU = Device("cpu")
