"""Columns of models and of a model's layers, for rows as the engine answers them."""

from psi_core.tables.columns import Column
from psi_tui.text.columns import ScreenColumn, screen_columns
from psi_tui.text.formatting import format_shape

MODEL_FACTS: tuple[Column, ...] = (
    Column("name", "model", "text", "What --model takes."),
    Column("family", "family", "text", "Networks of one design."),
    Column("size", "input", "count", "Height and width of the network's input in pixels."),
    Column("classes", "classes", "count", "Outputs."),
    Column("layers", "layers", "count", "Layers that a run taps unless told otherwise."),
    Column("parameters", "parameters", "large", "Trained numbers."),
)
"""Of a model; all but the first may be unknown."""

LAYER_FACTS: tuple[Column, ...] = (
    Column("name", "layer", "text", "What --layers takes."),
    Column("module", "module", "text", "Path of the module inside the network."),
    Column("kind", "kind", "text", "Class of the module, or name of the function."),
    Column("shape", "shape", "text", "Of the output for one image.", on_screen="output"),
    Column("units", "units", "count", "Responses per image."),
    Column("channels", "channels", "count", "Channels of the output."),
    Column("parameters", "parameters", "large", "Trained numbers."),
    Column("multiply_adds", "multiply-adds", "large", "Of one image."),
)
"""Of a layer."""

CHANNEL_AXIS = ScreenColumn(
    "channel axis", lambda row: f"{row['channel_axis']}{'' if row.get('is_axis_known', True) else '?'}", 8
)
"""Axis of a layer's output (batch, ...) along which its channels lie; 1? where the network does not tell."""


def layer_fact_columns(*, is_beside: bool = False) -> dict[str, ScreenColumn]:
    """Columns of LAYER_FACTS by name.

    Args:
        is_beside: as `screen_columns` takes it.
    """
    named = screen_columns(LAYER_FACTS, is_beside=is_beside)
    shape = ScreenColumn(named["shape"].title, lambda row: format_shape(row.get("shape") or ()), is_text=True)
    return {**named, "shape": shape}
