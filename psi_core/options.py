"""Run options: what a field of a configuration tells command line, form and refusals, and values as they are typed."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from psi_core.errors import unknown_name

Group = Literal["What is measured", "Layers", "Attack", "Attack in detail", "Computing", "Run"]

REST: Group = "Run"
"""The group of options that belong to no other; the command lists them beside its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """What is known of an option besides its type, its default and its description.

    Attributes:
        group: heading above it in the form and in the command's help.
        below: option that it is shown below, where that is not the one before it.
        label: what stands before it in the form, where its name is too long for that.
        where_empty: what it means when it is left empty.
        names: all names that it may list; `foolbox:NAME` stands for any that begins so. Empty: any text.
        choices: values that the form offers, where the type names none; others may be typed.
        suggestions: values that the form completes what is typed with.
        about: words about a choice, by choice, where the choices alone do not say enough.
        fits: what fits, for a refusal, where the type alone does not say it.
    """

    group: Group = REST
    below: str = ""
    label: str = ""
    where_empty: str = ""
    names: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    fits: str = ""


def option_of(info: FieldInfo) -> Option:
    """What is known of the option of a field, which has an `Option` in its annotation or needs none."""
    return next((known for known in info.metadata if isinstance(known, Option)), Option())


def option_groups(fields: Mapping[str, FieldInfo]) -> dict[str, tuple[str, ...]]:
    """Names of the options by heading, in the order of the screen."""
    groups: dict[str, list[str]] = {}
    for name, info in fields.items():
        groups.setdefault(option_of(info).group, []).append(name)
    for name, info in fields.items():
        option = option_of(info)
        if option.below:
            names = groups[option.group]
            names.remove(name)
            names.insert(names.index(option.below) + 1, name)
    return {heading: tuple(names) for heading, names in groups.items()}


def choices_of(info: FieldInfo) -> tuple[str, ...]:
    """All values that an option may have, where its type names them."""
    return tuple(map(str, get_args(info.annotation))) if get_origin(info.annotation) is Literal else ()


def flag_of(name: str) -> str:
    """An option as it is typed after the command, `--step-size`."""
    return f"--{name.replace('_', '-')}"


def option_text(value: object) -> str:
    """An option's value as it is typed."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


_FREE = r"[A-Za-z_]\w*(:\w+=[\w.+-]+)*"
"""A free name and its settings, `L2CarliniWagnerAttack:steps=100`. It becomes part of a file's name: no path."""


def require_known(option: str, value: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The names that an option lists, each once; `none`, where it is known, stands alone and is no name.

    Raises:
        ValueError: one of them is not known.
    """
    if "none" in value and "none" in known:
        if value != ("none",):
            others = ", ".join(name for name in value if name != "none")
            raise ValueError(f"{option}: none stands alone; write none, or {others}")
        return ()
    beginnings = tuple(name.removesuffix("NAME") for name in known if name.endswith(":NAME"))
    for name in value:
        is_free = any(name.startswith(each) and re.fullmatch(_FREE, name.removeprefix(each)) for each in beginnings)
        if name not in known and not is_free:
            raise ValueError(unknown_name(option, name, known))
    return tuple(dict.fromkeys(value))


_FITTING = {
    "int": "a whole number",
    "float": "a number such as 0.03, or 8/255",
    "finite": "a whole number",
    "string": "text",
    "tuple": "a list, or text with commas",
    "bool": "true or false",
}
"""What fits a type, by the first word of pydantic's complaint."""


def refusal(detail: ErrorDetails, fields: Mapping[str, FieldInfo], way_out: Callable[[str, str], str | None]) -> str:
    """One sentence for a complaint of pydantic's, with what to write instead.

    Args:
        detail: the complaint.
        fields: fields of the configuration, by name.
        way_out: the sentence for an option and a name that is known for something else, or None.
    """
    name = str(detail["loc"][0]) if detail["loc"] else "config"
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return f"{name}: it is missing; a run that is computed names every option"
    if kind == "extra_forbidden":
        return unknown_name("config key", name, fields)
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error" and "'auto'" not in context["expected"]:
        choices = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return way_out(name, str(detail["input"])) or unknown_name(name, detail["input"], choices)
    if kind.startswith(("greater_than", "less_than")):
        bounds = detail["msg"].removeprefix("Input should be ")
        return f"{name}: {str(detail['input']).strip()} is out of range; write a number {bounds}"
    fits = option_of(fields[name]).fits or _FITTING[kind.partition("_")[0]]
    return f"{name}: {detail['input']!r} does not fit; write {fits}"


def split_list(value: object) -> object:
    """A list from text with commas, and from a single number; any other value as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, Real) else value


def parse_mean_sd(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel from `MEAN/SD`; each is one number, or several with commas.

    Raises:
        ValueError: the text has another form, or a standard deviation is not above 0.
    """
    try:
        mean, sd = (tuple(float(part) for part in side.split(",")) for side in text.split("/"))
        if len(mean) == len(sd) and all(math.isfinite(m) for m in mean) and all(0 < s < math.inf for s in sd):
            return mean, sd
    except ValueError:
        pass
    raise ValueError(f"normalize: {text!r} does not fit; write none, imagenet, or MEAN/SD such as 0.1307/0.3081")
