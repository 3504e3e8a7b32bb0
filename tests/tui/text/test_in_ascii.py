"""`--ascii`: whatever a line holds, it comes out as ASCII, cell for cell where it was."""
# ruff: noqa: RUF001 characters that look alike are what these tests are about

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import ControlType, Segment
from rich.style import Style
from textual.app import App, ComposeResult
from textual.color import Color
from textual.widgets import Static

from psi_tui.app.wire import AsciiFilter
from psi_tui.text.in_ascii import UNKNOWN, to_ascii

NO_CONTROL = st.characters(exclude_categories=("Cc", "Cs"))
JOINING = "a猫👩🚀▶❤é\u0301\u200d\ufe0f\u200b🏽🇳→"
BACKGROUND = Color(0, 0, 0)


@given(st.text(NO_CONTROL) | st.text(st.sampled_from(JOINING)))
def test_a_line_becomes_ascii_of_the_same_width(text):
    assert to_ascii(text).isascii()
    assert cell_len(to_ascii(text)) == cell_len(text)


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_stays_as_it_is(text):
    assert to_ascii(text) == text


@given(st.lists(st.tuples(st.text(NO_CONTROL), st.sampled_from([None, Style(bold=True), Style(color="red")]))))
def test_styles_and_widths_of_segments_stay(parts):
    segments = [Segment(text, style) for text, style in parts]
    filtered = AsciiFilter().apply(segments, BACKGROUND)
    assert [(segment.style, segment.cell_length) for segment in filtered] == [
        (segment.style, segment.cell_length) for segment in segments
    ]


def test_control_segments_pass():
    bell = Segment("→", None, [(ControlType.BELL,)])
    assert AsciiFilter().apply([bell], BACKGROUND) == [bell]


def characters(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


@pytest.mark.parametrize(
    ("first", "last", "allowed"),
    [
        (0x2500, 0x257F, "+-|/\\X"),  # Box drawing.
        (0x2580, 0x259F, "# .:"),  # Blocks, shades, quadrants.
        (0x2800, 0x28FF, " .:#"),  # Braille.
        (0x1FB00, 0x1FB3B, "# "),  # Sextants.
    ],
)
def test_what_draws_is_drawn(first, last, allowed):
    assert set(to_ascii(characters(first, last))) <= set(allowed)


def test_a_block_is_filled_from_one_half_on():
    assert to_ascii("▁▂▃▄▅▆▇█") == "   #####"
    assert to_ascii("▏▎▍▌▋▊▉█") == "   #####"
    assert to_ascii("▖▚▙") == " ##"
    assert to_ascii("🬀🬁🬂🬆🬻") == "   ##"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("╭─┬─╮│x│╰━┷━╯", "+-+-+|x|+-+-+"),
        ("98.9 → 34.2", "98.9 > 34.2"),
        ("0.5120 ± 0.0131", "0.5120 ~ 0.0131"),
        ("▲▼◀▶←↑↓", "^v<><^v"),
        ("✓✗●○■□×…·", "vx*o#.x.."),
        ("∞ Δ ε σ µ ≤ ≥", "8 d e s u < >"),
        ("−0.01 – 5 ‘a’ “b”", "-0.01 - 5 'a' \"b\""),
        ("Müller, Čapek", "Muller, Capek"),
        ("猫 ж 👩\u200d🚀", "?? ? ??"),
        ("≮", UNKNOWN),
    ],
)
def test_what_the_app_writes(text, shown):
    assert to_ascii(text) == shown


def test_a_full_screen_takes_milliseconds():
    lines = [[Segment(f"│{row:5} 0.51 ± {column:3}│▁▄█ é猫", None) for column in range(20)] for row in range(45)]
    before = time.process_time()
    for line in lines:
        AsciiFilter().apply(line, BACKGROUND)
    assert time.process_time() - before < 0.1


def test_an_app_with_the_filter_shows_ascii_alone():
    class Framed(App[None]):
        CSS = "Static { border: round red; height: 5; }"

        def compose(self) -> ComposeResult:
            yield Static("98.9 → 34.2 猫 ± 0.1")

        def get_line_filters(self):
            return [*super().get_line_filters(), AsciiFilter()]

    async def shown() -> list[str]:
        app = Framed()
        async with app.run_test(size=(30, 8)) as pilot:
            await pilot.pause()
            return [strip.text for strip in app.screen._compositor.render_strips()]

    lines = asyncio.run(shown())
    assert lines[0].startswith("+---")
    assert "98.9 > 34.2 ?? ~ 0.1" in lines[1]
    assert all(line.isascii() and cell_len(line) == 30 for line in lines)
