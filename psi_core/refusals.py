"""What pydantic complains about, in one sentence with the way out."""

from collections.abc import Iterable

from pydantic_core import ErrorDetails

from psi_core.errors import unknown_name

_FITTING = {
    "int": "a whole number",
    "float": "a number such as 0.03, which is 7.65/255",
    "finite": "a whole number",
    "string": "text",
    "tuple": "a list, or text with commas",
    "bool": "true or false",
}
"""What fits a field, by the first word of pydantic's complaint."""

_OR_AUTO = {
    **dict.fromkeys(("batch", "chunk", "threads"), "a whole number of at least 1, or auto"),
    "step_size": "a share of epsilon such as 0.25, or auto",
}
"""What fits fields that can be left to the engine."""


def refusal(detail: ErrorDetails, known: Iterable[str]) -> str:
    """One sentence for a complaint of pydantic's, in our own words.

    Args:
        detail: the complaint.
        known: names of all fields.
    """
    field = str(detail["loc"][0]) if detail["loc"] else "config"
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_name("config key", field, known)
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error" and "'auto'" not in context["expected"]:
        choices = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return unknown_name(field, str(detail["input"]), choices)
    if kind.startswith(("greater_than", "less_than")):
        bounds = detail["msg"].removeprefix("Input should be ")
        return f"{field}: {str(detail['input']).strip()} is out of range; write a number {bounds}"
    fitting = _OR_AUTO.get(field) or _FITTING[kind.partition("_")[0]]
    return f"{field}: {detail['input']!r} does not fit; write {fitting}"
