"""Themes: what is written can be read, and what has a role can be told apart, by those who see fewer colors too."""

import asyncio
import itertools

import pytest
from textual.app import App, ComposeResult
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme
from textual.widgets import Static

from psi_tui.plots.figures import Palette
from psi_tui.plots.themes import THEMES, colors_of, palette_of
from psi_tui.services.state import State

ROLES = ("benign", "attacked", "control")
COLORED = [theme for theme in BUILTIN_THEMES.values() if not theme.ansi]
EVERY_THEME = [*THEMES, *BUILTIN_THEMES.values()]
SEEN_AS = {
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    # Machado, Oliveira & Fernandes 2009, doi:10.1109/TVCG.2009.113, severity 1, on linear RGB.
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def by_name(themes: list[Theme] | tuple[Theme, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("theme", themes, ids=[theme.name for theme in themes])


def linear(color: Color) -> list[float]:
    shares = [part / 255 for part in color.rgb]
    return [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]


def contrast(one: str, other: str) -> float:
    """WCAG 2.1's contrast ratio, 1 to 21."""
    light, dark = sorted(
        (
            sum(
                weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear(Color.parse(color)), strict=True)
            )
            for color in (one, other)
        ),
        reverse=True,
    )
    return (light + 0.05) / (dark + 0.05)


def lab(color: str, seen_as: tuple[tuple[float, ...], ...]) -> tuple[float, float, float]:
    """CIE L*a*b* of a color as it is seen."""

    def product(matrix, vector):
        return [sum(weight * part for weight, part in zip(row, vector, strict=True)) for row in matrix]

    rgb = [min(1.0, max(0.0, part)) for part in product(seen_as, linear(Color.parse(color)))]
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    ratios = [part / white for part, white in zip(product(to_xyz, rgb), (0.9505, 1.0, 1.089), strict=True)]
    x, y, z = (ratio ** (1 / 3) if ratio > 0.008856 else 7.787 * ratio + 16 / 116 for ratio in ratios)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@by_name(THEMES)
@pytest.mark.parametrize("ground", ["background", "surface", "panel", "block-cursor-background"])
@pytest.mark.parametrize("role", ["foreground", *ROLES])
def test_what_is_written_can_be_read(theme, ground, role):
    variables = {**theme.to_color_system().generate(), **theme.variables}
    assert contrast(variables[role], variables[ground]) >= 4.5


@by_name(THEMES)
@pytest.mark.parametrize("ground", ["background", "surface", "panel"])
def test_warnings_series_and_quiet_words_can_be_read_too(theme, ground):
    palette, variables = palette_of(theme), theme.to_color_system().generate()
    colors = [palette.muted, *palette.other, *(variables[name] for name in ("warning", "error", "success", "primary"))]
    assert min(contrast(color, variables[ground]) for color in colors) >= 4.5


@by_name(COLORED)
@pytest.mark.parametrize(("ground", "least"), [("background", 4.5), ("surface", 4), ("panel", 3)])
def test_the_roles_can_be_read_under_every_theme_of_textual(theme, ground, least):
    variables = theme.to_color_system().generate()
    assert min(contrast(color, variables[ground]) for color in colors_of(theme).values()) >= least


@by_name(THEMES)
@pytest.mark.parametrize("seen_as", SEEN_AS)
def test_the_roles_are_told_apart_with_fewer_colors(theme, seen_as):
    palette = palette_of(theme)
    for one, other in itertools.combinations(ROLES, 2):
        places = [lab(getattr(palette, role), SEEN_AS[seen_as]) for role in (one, other)]
        distance = sum((a - b) ** 2 for a, b in zip(*places, strict=True)) ** 0.5
        assert distance >= 20, (one, other)  # 2.3 is a just noticeable difference.


@by_name(THEMES)
def test_the_styles_have_the_colors_of_the_plots(theme):
    assert colors_of(theme) == {role: theme.variables[role] for role in ROLES}
    assert colors_of(theme) == {role: getattr(palette_of(theme), role) for role in ROLES}


@by_name(EVERY_THEME)
def test_every_theme_has_a_palette_and_colors_that_styles_take(theme):
    assert isinstance(palette_of(theme), Palette)
    assert list(colors_of(theme)) == list(ROLES)
    assert all(Color.parse(color) for color in colors_of(theme).values())
    assert len(set(colors_of(theme).values())) == len(ROLES)


def test_a_first_start_has_the_first_theme():
    assert State().theme == THEMES[0].name


def test_an_app_wears_every_theme():
    class Dressed(App[None]):
        CSS = ".benign { color: $benign; } .attacked { color: $attacked; } .control { color: $control; }"

        def on_mount(self) -> None:
            for theme in THEMES:
                self.register_theme(theme)

        def get_css_variables(self) -> dict[str, str]:
            return {**super().get_css_variables(), **colors_of(self.current_theme)}

        def compose(self) -> ComposeResult:
            yield from (Static(role, classes=role) for role in ROLES)

    async def wear() -> None:
        app = Dressed()
        async with app.run_test() as pilot:
            for theme in EVERY_THEME:
                app.theme = theme.name
                await pilot.pause()
                for role in ROLES:
                    worn = app.query_one(f".{role}").styles.color
                    assert worn == Color.parse(colors_of(theme)[role])

    asyncio.run(wear())
