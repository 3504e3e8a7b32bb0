"""256 colors and 16: what must be told apart is told apart there too, as capture-pane shows it."""

import os
import re
import subprocess

import numpy as np
import pytest
from rich.color import Color, ColorSystem

from psi_tui.plots.themes import colors_from, palette_of, themes_for
from psi_tui.screens.results.images.pixels import Picture
from tests.engine.processes import wait_until
from tests.recorded import record_run
from tests.tui.apps import running
from tests.tui.terminal import ROOT, psi_tui

SYSTEMS = {"256": ColorSystem.EIGHT_BIT, "16": ColorSystem.STANDARD}
THEMES = [(colors, theme) for colors in SYSTEMS for theme in themes_for(colors)]


def shown(colors, color):
    return Color.parse(color).downgrade(SYSTEMS[colors]).number


@pytest.mark.parametrize(("colors", "theme"), THEMES, ids=[f"{colors} {theme.name}" for colors, theme in THEMES])
def test_grounds_lines_and_roles_stay_apart(colors, theme):
    grounds = {shown(colors, theme.background), shown(colors, theme.panel)}
    assert len(grounds) == 2
    assert shown(colors, theme.variables["separator"]) != shown(colors, theme.background)
    assert shown(colors, theme.variables["block-cursor-background"]) != shown(colors, theme.background)
    palette = palette_of(theme)
    roles = [shown(colors, color) for color in (palette.benign, palette.attacked, palette.control)]
    assert len({*roles, shown(colors, theme.background)}) == 4
    red, green, blue = Color.parse(theme.success).get_truecolor()
    assert green > red and green > blue  # What is done is green.


def test_every_terminal_has_its_colors():
    assert [colors_from(system) for system in ("truecolor", "256", "standard", "windows", None)] == [
        "truecolor",
        "256",
        "16",
        "16",
        "16",
    ]


async def test_a_difference_has_steps_that_256_colors_keep_apart(own_folders):
    async with running(own_folders) as (app, _pilot):
        app.use_colors("256")
        picture = Picture("difference")
        await app.screen.mount(picture)
        picture.pixels = np.array([[-1.0, -0.7, -0.4, -0.2, 0.0, 0.2, 0.4, 0.7, 1.0]])
        numbers = [
            Color.from_rgb(*color).downgrade(ColorSystem.EIGHT_BIT).number
            for color in picture._colors(picture.pixels)[0].tolist()
        ]
        assert len(set(numbers)) == len(numbers)
        app.use_colors("16")
        assert not picture.has_color


def test_in_tmux_lines_are_seen_and_what_is_done_is_green(own_folders):
    record_run(own_folders, name="mine")
    socket = ["tmux", "-L", f"psi-colors-{os.getpid()}", "-f", "/dev/null"]
    command = f"TERM=screen-256color COLORTERM= {' '.join(psi_tui('open', 'mine'))}"
    subprocess.run([*socket, "new-session", "-d", "-x", "140", "-y", "45", "-c", str(ROOT), command], check=True)
    try:

        def lines() -> list[str]:
            done = subprocess.run([*socket, "capture-pane", "-p", "-e"], capture_output=True, text=True, check=True)
            return done.stdout.splitlines()

        wait_until(lambda: any("AUROC" in line for line in lines()), 60)
        wait_until(lambda: any("✓ done" in line for line in lines()), 30)
        (head,) = [line for line in lines() if "✓ done" in line]
        assert "38;5;114m" in head.partition("✓ done")[0].rpartition("\x1b")[2]
        colors = {match for line in lines() for match in re.findall(r"38;5;(\d+)m(?:\x1b\[[\d;]*m)*[│─]{1}", line)}
        grounds = {match for line in lines() for match in re.findall(r"48;5;(\d+)m", line)}
        assert "242" in colors
        assert not colors & grounds
    finally:
        subprocess.run([*socket, "kill-server"], check=False)
