"""The name of a device, as configurations, events and screens hold it. `engine.devices` has what torch knows of it."""

import re
from typing import Any, Literal

from pydantic_core import CoreSchema, core_schema


class Device(str):
    """One device: `cpu` or `cuda:K`; `cuda` means `cuda:0`. It is a str, so that JSON and torch take it as it is.

    Raises:
        ValueError: the text names no device.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "Device":  # noqa: D102
        if re.fullmatch("cpu|cuda(:[0-9]+)?", text) is None:
            raise ValueError(f"device: there is no {text!r}; write cpu, cuda, or cuda:K such as cuda:0")
        return super().__new__(cls, "cuda:0" if text == "cuda" else text)

    @classmethod
    def cuda(cls, number: int) -> "Device":
        """The CUDA device of a number, from 0."""
        return cls(f"cuda:{number}")

    @property
    def kind(self) -> Literal["cpu", "cuda"]:
        """Torch's word for its type."""
        return "cuda" if self.is_cuda else "cpu"

    @property
    def number(self) -> int:
        """Its number among those of its kind, from 0."""
        return int(self[len("cuda:") :]) if self.is_cuda else 0

    @property
    def is_cuda(self) -> bool:
        """Whether it is a CUDA GPU."""
        return self != "cpu"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: Any) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


CPU = Device("cpu")
