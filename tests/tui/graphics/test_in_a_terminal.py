"""Pictures as a real app sends them to a terminal: asked once, decoded from its bytes, and gone with it."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from psi_core.pictures import Picture, keep_picture
from psi_core.runs.finding import load_run
from psi_tui.services.state import State, state_path
from tests.recorded import record_run
from tests.tui.graphics.decoded import PLACEHOLDER, sixel_pixels
from tests.tui.graphics.picture_terminal import KITTY, SIXELS, PictureTerminal
from tests.tui.terminal import psi_tui

CONDITION = "fgsm@0.03"
ENVIRONMENT = {"COLORTERM": "truecolor", "TMUX": "", "TERM_PROGRAM": ""}
WIDE = (140, 45)
MULTIPLE = 44 * 8 // 28
"""Pixels of the terminal for one of the image, where a picture has 44 columns of 8 pixels."""


@pytest.fixture
def picture(own_folders):
    """The picture of the first image of a run, for which no engine is needed."""
    run = load_run(record_run(own_folders, name="mine"))
    generator = np.random.default_rng(1)
    benign = generator.uniform(0, 1, (28, 28)).astype(np.float16)
    made = Picture(benign, benign[::-1], (benign[::-1] - benign), 0.03, 1.0, 7, 0.5)
    State(results_tab="images", condition=CONDITION).save(state_path())
    for image in run.index:
        keep_picture(run, int(image), CONDITION, made)
    return made


def whole(pixels):
    """Gray from 0 to 255, as large as it is shown."""
    return np.rint(255 * pixels.astype(float)).astype(int).repeat(MULTIPLE, 0).repeat(MULTIPLE, 1)


def shows(terminal, picture, count=3):
    """Waits until the terminal has the three pictures of the image and no other, each where its cells are."""
    terminal.wait_for(lambda _: len(terminal.kitty.pictures) == count)
    held = [*terminal.kitty.pictures.values()]
    cells = sum(shown.rows * shown.columns for shown in held)
    terminal.wait_for(lambda text: text.count(PLACEHOLDER) == cells)
    assert_is([shown.pixels for shown in held], picture)


def assert_is(shown, picture):
    """Benign and attacked are there, pixel for pixel."""
    side = 28 * MULTIPLE
    there = [pixels[:side, :side, 0] for pixels in shown]
    for pixels in (picture.benign, picture.attacked):
        assert any(np.array_equal(each, whole(pixels)) for each in there)


def shows_half_blocks(terminal):
    terminal.wait_for(lambda text: text.count("▀") >= 3 * 28 * 14)
    assert not terminal.kitty.pictures
    assert PLACEHOLDER not in terminal.text


def is_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def exit_code(terminal):
    """How the program ends, its last words read."""
    deadline = time.monotonic() + 30
    while terminal.process.poll() is None and time.monotonic() < deadline:
        terminal.pump()
    terminal.pump(0.2)
    return terminal.process.poll()


def test_kitty_gets_the_picture_while_it_is_seen_and_is_left_without(picture):
    with PictureTerminal(KITTY, command=psi_tui("open", "mine"), size=WIDE, environment=ENVIRONMENT) as terminal:
        terminal.wait_for("rows 1-")
        terminal.send("\r")
        shows(terminal, picture)
        os.kill(terminal.process.pid, signal.SIGTSTP)  # A shell has the terminal now.
        terminal.wait_for(lambda _: not terminal.kitty.pictures)
        terminal.wait_for(lambda _: is_stopped(terminal.process.pid))  # No shell wakes it sooner.
        terminal.screen.reset()  # What others wrote meanwhile is as unknown.
        os.kill(terminal.process.pid, signal.SIGCONT)
        shows(terminal, picture)
        terminal.send("q")
        terminal.wait_for(lambda text: PLACEHOLDER not in text and not terminal.kitty.pictures)
        terminal.send("\r")
        shows(terminal, picture)
        terminal.send("\x10")  # All actions, over the pictures.
        terminal.wait_for(lambda text: PLACEHOLDER not in text)
        assert terminal.kitty.pictures, "they are there for the way back"
        terminal.send("quit")
        terminal.wait_for("quit")
        terminal.send("\r")
        assert exit_code(terminal) == 0
        assert not terminal.kitty.pictures
        assert terminal.kitty.questions == 1, "it is asked once"


def test_a_silent_terminal_gets_half_blocks_and_a_late_answer_types_nothing(picture):
    options = {"command": psi_tui("open", "mine"), "size": WIDE, "environment": ENVIRONMENT}
    with PictureTerminal(KITTY, late=True, **options) as terminal:
        terminal.wait_for("rows 1-")
        terminal.send("\r")
        shows_half_blocks(terminal)
        assert len(terminal.asked) == len(KITTY)
        terminal.answer()
        shows(terminal, picture)
        assert "image 0, fgsm@0.03" in terminal.text, "no answer was taken for keys"


@pytest.mark.long
def test_sixels_are_painted_where_their_cells_are(picture):
    with PictureTerminal(SIXELS, command=psi_tui("open", "mine"), size=WIDE, environment=ENVIRONMENT) as terminal:
        terminal.wait_for("rows 1-")
        terminal.send("\r")
        painted = re.compile(r"\x1b7\x1b\[(\d+);(\d+)H\x1bP0;1;0q([^\x1b]*)\x1b\\\x1b8")
        terminal.wait_for(lambda _: len({match[2] for match in painted.finditer(terminal.sent)}) == 3)
        side = 28 * MULTIPLE
        shown = {int(match[2]): sixel_pixels(match[3])[:side, :side, 0] for match in painted.finditer(terminal.sent)}
        for pixels, column in zip((picture.benign, picture.attacked), sorted(shown), strict=False):
            assert np.array_equal(shown[column], np.rint(whole(pixels) / 2.55))
        assert not terminal.kitty.pictures


@pytest.mark.long
@pytest.mark.parametrize("passes", [True, False])
def test_tmux_hands_pictures_on_only_where_it_may(picture, passes, tmp_path):
    if shutil.which("tmux") is None:
        pytest.skip("there is no tmux")
    tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    start = [*tmux, "set", "-g", "allow-passthrough", "on" if passes else "off", ";", "new-session"]
    environment = {**ENVIRONMENT, "TERM": "xterm-256color"}
    try:
        with PictureTerminal(
            KITTY, command=[*start, *psi_tui("open", "mine")], size=(WIDE[0], WIDE[1] + 1), environment=environment
        ) as terminal:
            terminal.wait_for("rows 1-")
            terminal.send("\r")
            if passes:
                shows(terminal, picture)
            else:
                shows_half_blocks(terminal)
            terminal.send("q")
            terminal.wait_for(lambda text: "esc leaves" not in text and PLACEHOLDER not in text)
            assert "rows 1-" in terminal.text, "no answer was taken for keys"
            terminal.send("q")
            assert exit_code(terminal) == 0
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)
