"""Bars of one line, drawn in eighths of a column."""

from textual.content import Content

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(share: float, width: int, style: str, empty: str = "─") -> Content:
    """A bar that is filled to a share of its width.

    Args:
        share: 0..1; what lies outside counts as its nearer end.
        width: in columns.
        style: of the filled part.
        empty: what stands where nothing is filled.
    """
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    filled = "█" * full + (_EIGHTHS[rest] if rest else "")
    return Content.assemble((filled, style), (empty * (width - len(filled)), "$foreground 30%"))
