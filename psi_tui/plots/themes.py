"""The app's two themes, and the colors of benign, attacked and control under these and under all of Textual's."""

from dataclasses import replace
from typing import Literal

from textual.theme import Theme

from psi_tui.plots.figures import TERMINAL_PALETTE, Palette

_DARK = Palette(
    benign="#6cb6ff",
    attacked="#ffa657",
    control="#a3bfa0",
    other=("#c9a6f5", "#f596b8", "#e3d26f", "#a9c7d9", "#c0d98a"),
    muted="#939fad",
)
_LIGHT = Palette(
    benign="#0550ae",
    attacked="#9a4200",
    control="#505e46",
    other=("#6a3fb5", "#a12a63", "#6b5800", "#46586a", "#47660f"),
    muted="#55606d",
)
_TERMINAL_LIGHT = Palette(
    benign="blue", attacked="red", control="magenta", other=("cyan", "green", "bright_black", "black"), muted="default"
)

PSI_DARK = Theme(
    name="psi-dark",
    dark=True,
    primary=_DARK.benign,
    secondary=_DARK.control,
    accent=_DARK.attacked,
    warning="#e8c266",
    error="#ff8a80",
    success=_DARK.control,
    foreground="#dbe2ea",
    background="#0f1419",
    surface="#161c24",
    panel="#1e2631",
    variables={
        "benign": _DARK.benign,
        "attacked": _DARK.attacked,
        "control": _DARK.control,
        "border": "#5b7a99",
        "border-blurred": "#33404e",
        "block-cursor-background": "#26405b",
        "block-cursor-foreground": "#f4f7fa",
        "block-cursor-blurred-background": "#243040",
        "block-cursor-blurred-foreground": "#dbe2ea",
        "footer-key-foreground": _DARK.benign,
        "input-selection-background": "#6cb6ff 30%",
        "scrollbar": "#3b4858",
        "scrollbar-hover": "#4d5d70",
        "scrollbar-active": "#5b7a99",
        "scrollbar-background": "#161c24",
        "scrollbar-background-hover": "#161c24",
        "scrollbar-background-active": "#161c24",
        "scrollbar-corner-color": "#161c24",
    },
)

PSI_LIGHT = Theme(
    name="psi-light",
    dark=False,
    primary=_LIGHT.benign,
    secondary=_LIGHT.control,
    accent=_LIGHT.attacked,
    warning="#7a5200",
    error="#b3261e",
    success=_LIGHT.control,
    foreground="#1b232c",
    background="#fbfcfd",
    surface="#f2f5f8",
    panel="#e7ecf1",
    variables={
        "benign": _LIGHT.benign,
        "attacked": _LIGHT.attacked,
        "control": _LIGHT.control,
        "border": "#5f7f9f",
        "border-blurred": "#b6c2ce",
        "block-cursor-background": "#cde1f7",
        "block-cursor-foreground": "#0d141b",
        "block-cursor-blurred-background": "#dde4eb",
        "block-cursor-blurred-foreground": "#1b232c",
        "footer-key-foreground": _LIGHT.benign,
        "input-selection-background": "#0550ae 25%",
        "scrollbar": "#b6c2ce",
        "scrollbar-hover": "#94a3b2",
        "scrollbar-active": "#5f7f9f",
        "scrollbar-background": "#f2f5f8",
        "scrollbar-background-hover": "#f2f5f8",
        "scrollbar-background-active": "#f2f5f8",
        "scrollbar-corner-color": "#f2f5f8",
    },
)

THEMES = (PSI_DARK, PSI_LIGHT)
"""The app's own themes; the first is the one that a new user sees."""


Colors = Literal["truecolor", "256", "16"]
"""What a terminal can show."""

_FEW: dict[Colors, dict[bool, dict[str, str]]] = {
    "256": {
        True: {
            "background": "#121212",
            "surface": "#1c1c1c",
            "panel": "#303030",
            "separator": "#6c6c6c",
            "foreground": "#dadada",
            "benign": "#5fafff",
            "attacked": "#ffaf5f",
            "control": "#87d787",
            "warning": "#ffd75f",
            "error": "#ff8787",
            "cursor": "#005f87",
            "cursor-text": "#ffffff",
            "muted": "#9e9e9e",
        },
        False: {
            "background": "#ffffff",
            "surface": "#eeeeee",
            "panel": "#dadada",
            "separator": "#8a8a8a",
            "foreground": "#1c1c1c",
            "benign": "#005faf",
            "attacked": "#af5f00",
            "control": "#005f00",
            "warning": "#875f00",
            "error": "#af0000",
            "cursor": "#afd7ff",
            "cursor-text": "#000000",
            "muted": "#585858",
        },
    },
    "16": {
        True: {
            "background": "#000000",
            "surface": "#000000",
            "panel": "#555555",
            "separator": "#aaaaaa",
            "foreground": "#ffffff",
            "benign": "#55ffff",
            "attacked": "#ffff55",
            "control": "#55ff55",
            "warning": "#ffff55",
            "error": "#ff5555",
            "cursor": "#0000aa",
            "cursor-text": "#ffffff",
            "muted": "#aaaaaa",
        },
        False: {
            "background": "#ffffff",
            "surface": "#ffffff",
            "panel": "#aaaaaa",
            "separator": "#555555",
            "foreground": "#000000",
            "benign": "#0000aa",
            "attacked": "#aa0000",
            "control": "#00aa00",
            "warning": "#aa5500",
            "error": "#aa0000",
            "cursor": "#55ffff",
            "cursor-text": "#000000",
            "muted": "#555555",
        },
    },
}
"""Colors that the terminal has as they are: others would become one and the same there, background and lines first."""

_FEW_OTHERS: dict[bool, tuple[str, ...]] = {
    True: ("#d787ff", "#ff87af", "#ffff5f", "#87d7d7", "#afd75f"),
    False: ("#5f00af", "#af005f", "#5f5f00", "#005f5f", "#5f8700"),
}


def colors_from(color_system: str | None) -> Colors:
    """What a terminal can show, from what rich calls it."""
    return {"truecolor": "truecolor", "256": "256"}.get(color_system or "", "16")  # type: ignore[return-value]


def themes_for(colors: Colors) -> tuple[Theme, ...]:
    """The app's own themes in colors that a terminal has."""
    return THEMES if colors == "truecolor" else tuple(_with_few(theme, colors) for theme in THEMES)


def _with_few(theme: Theme, colors: Colors) -> Theme:
    few = _FEW[colors][theme.dark]
    cursors = {f"block-cursor-{state}background": few["cursor"] for state in ("", "blurred-")}
    texts = {f"block-cursor-{state}foreground": few["cursor-text"] for state in ("", "blurred-")}
    bars = {name: few["panel"] for name in theme.variables if name.startswith("scrollbar-background")}
    handles = dict.fromkeys(("scrollbar", "scrollbar-hover", "scrollbar-active"), few["separator"])
    roles = {role: few[role] for role in ("benign", "attacked", "control", "separator")}
    lines = {"border": few["separator"], "border-blurred": few["separator"], "footer-key-foreground": few["benign"]}
    return replace(
        theme,
        primary=few["benign"],
        secondary=few["control"],
        accent=few["attacked"],
        success=few["control"],
        warning=few["warning"],
        error=few["error"],
        foreground=few["foreground"],
        background=few["background"],
        surface=few["surface"],
        panel=few["panel"],
        variables={"colors": colors, **theme.variables, **cursors, **texts, **bars, **handles, **roles, **lines},
    )


def colors_in(theme: Theme) -> Colors:
    """What a terminal must show for a theme to look as it is meant."""
    return {"256": "256", "16": "16"}.get(theme.variables.get("colors", ""), "truecolor")  # type: ignore[return-value]


def palette_of(theme: Theme) -> Palette:
    """Colors of plots under a theme: the same for all dark ones and for all light ones.

    Under a theme of the terminal's own colors they are the terminal's too.
    """
    if theme.ansi:
        return TERMINAL_PALETTE if theme.dark else _TERMINAL_LIGHT
    colors = colors_in(theme)
    if colors != "truecolor":
        few = _FEW[colors][theme.dark]
        return Palette(few["benign"], few["attacked"], few["control"], _FEW_OTHERS[theme.dark], few["muted"])
    return _DARK if theme.dark else _LIGHT


def colors_of(theme: Theme) -> dict[str, str]:
    """The colors `benign`, `attacked` and `control` under a theme, as CSS has them: variables that most themes lack."""
    palette = palette_of(theme)
    names = {"benign": palette.benign, "attacked": palette.attacked, "control": palette.control}
    return {role: color if color.startswith("#") else f"ansi_{color}" for role, color in names.items()}
