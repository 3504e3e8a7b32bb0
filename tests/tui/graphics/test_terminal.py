"""Which way pictures take in which terminal, and that they leave it as it was."""

import threading

import numpy as np
import pytest

from psi_core.errors import ConfigError
from psi_tui.graphics.terminal import BLOCKS, Graphics, Way, wish_of
from tests.tui.graphics.decoded import KITTY, Kitty, passed_by_tmux

OK = b"\x1b_Gi=31;OK\x1b\\"
CELL = b"\x1b[6;20;10t"
SIXELS, NO_SIXELS = b"\x1b[?62;4c", b"\x1b[?62c"
PLAIN = {"TERM": "xterm-256color"}
CELLS = (10, 20)


def called(name):
    return b"\x1bP>|" + name.encode() + b"\x1b\\"


def opened(environment=PLAIN, wish="auto", answers=b""):
    """A terminal that has answered, and what it was sent."""
    sent = []
    graphics = Graphics(wish, environment)
    graphics.opened(sent.append)
    graphics.listener.typed(answers)
    return graphics, sent


@pytest.fixture(autouse=True)
def no_size_of_our_own(monkeypatch):
    """The terminal of the tests has a size in pixels or not; here it is never asked."""

    def fail(*_):
        raise OSError("no terminal")

    monkeypatch.setattr("psi_tui.graphics.terminal.fcntl.ioctl", fail)


@pytest.mark.parametrize(
    ("answers", "way"),
    [
        (b"", BLOCKS),
        (NO_SIXELS, BLOCKS),
        (OK + called("kitty(0.28.0)") + CELL + NO_SIXELS, Way("kitty", CELLS)),
        (OK + called("kitty(0.28.0)") + NO_SIXELS, Way("kitty", (10, 20))),
        (OK + called("ghostty 1.2.3") + CELL + NO_SIXELS, Way("kitty", CELLS)),
        (OK + called("kitty(0.26.5)") + CELL + NO_SIXELS, BLOCKS),
        (OK + called("WezTerm 20240203-110809-5046fc22") + CELL + SIXELS, Way("sixel", CELLS)),
        (OK + CELL + NO_SIXELS, BLOCKS),
        (called("XTerm(379)") + CELL + SIXELS, Way("sixel", CELLS)),
        (called("XTerm(379)") + SIXELS, BLOCKS),
    ],
)
def test_the_best_way_that_the_terminal_is_known_to_have(answers, way):
    assert opened(answers=answers)[0].way == way


@pytest.mark.parametrize(
    ("wish", "way"), [("blocks", BLOCKS), ("kitty", Way("kitty", (10, 20))), ("sixel", BLOCKS), ("auto", BLOCKS)]
)
def test_a_wish_asks_nothing(wish, way):
    graphics, sent = opened(wish=wish)
    assert graphics.way == way
    assert bool(sent) == (wish == "auto")
    graphics.listener.typed(CELL + OK + called("kitty(0.40.0)") + SIXELS)
    assert graphics.way.method == {"auto": "kitty"}.get(wish, wish)


def test_without_a_terminal_there_are_half_blocks():
    assert Graphics("kitty").way == BLOCKS


@pytest.mark.parametrize(
    "environment",
    [
        {"TERM": "screen-256color"},
        {"TERM": "tmux-256color"},
        {"TERM": "linux"},
        {**PLAIN, "TERM_PROGRAM": "Apple_Terminal"},
    ],
)
def test_some_terminals_are_asked_nothing(environment):
    graphics, sent = opened(environment, answers=SIXELS + CELL)
    assert not sent
    assert environment["TERM"] not in ("screen-256color", "tmux-256color") or graphics.way == BLOCKS


def test_only_the_first_opening_asks():
    graphics, sent = opened()
    assert len(sent) == 1
    assert sent[0].endswith("\x1b[c")
    graphics.closing()
    graphics.opened(sent.append)
    assert len(sent) == 1


@pytest.fixture
def tmux(tmp_path, monkeypatch):
    """A terminal inside a tmux that says this of itself."""

    def inside(*words, answers=b""):
        path = tmp_path / "bin" / "tmux"
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + "".join(f"echo '{word}'\n" for word in words), encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(path.parent), prepend=":")
        graphics, sent = opened({"TERM": "tmux-256color", "TMUX": "/tmp/tmux"}, answers=answers)
        assert graphics.way == BLOCKS, "as long as tmux has not been asked"
        assert not KITTY.search("".join(sent)), "tmux would take it for a title"
        graphics.look_at_tmux()
        return graphics, sent

    return inside


@pytest.mark.parametrize(
    ("words", "answers", "way"),
    [
        (("on", "kitty(0.31.0)", "xterm-kitty", "", "9", "21"), b"", Way("kitty", (9, 21))),
        (("1", "ghostty 1.1.0", "xterm-ghostty", "", "0", "0"), CELL, Way("kitty", CELLS)),
        (("all", "", "xterm-kitty", "", "", ""), b"", Way("kitty", (10, 20))),
        (("off", "kitty(0.31.0)", "xterm-kitty", "", "9", "21"), b"", BLOCKS),
        (("0", "kitty(0.31.0)", "xterm-kitty", "", "9", "21"), b"", BLOCKS),
        (("", "kitty(0.31.0)", "xterm-kitty", "", "9", "21"), b"", BLOCKS),
        (("on", "kitty(0.26.5)", "xterm-kitty", "", "9", "21"), b"", BLOCKS),
        (("on", "XTerm(379)", "xterm", "256,sixel,title", "9", "21"), SIXELS, Way("sixel", (9, 21))),
        (("on", "XTerm(379)", "xterm", "256,sixel,title", "9", "21"), NO_SIXELS, BLOCKS),
        (("on", "XTerm(379)", "xterm", "256,title", "9", "21"), SIXELS, BLOCKS),
        ((), SIXELS, BLOCKS),
    ],
)
def test_inside_tmux_only_what_it_passes(tmux, words, answers, way):
    assert tmux(*words, answers=answers)[0].way == way


def test_inside_tmux_messages_are_wrapped(tmux):
    graphics, sent = tmux("on", "kitty(0.31.0)", "xterm-kitty", "", "9", "21")
    sent.clear()
    pixels = np.random.default_rng(1).integers(0, 256, (50, 60, 4), np.uint8)
    number = graphics.new_number()
    assert not graphics.put(number, pixels, 6, 5), "tmux may have dropped it"
    (shown,) = Kitty().take(passed_by_tmux("".join(sent))).pictures.values()
    assert np.array_equal(shown.pixels, pixels)
    graphics.listener.typed(b"\x1b_Gi=%d;OK\x1b\\" % (number + 1) + b"\x1b_Gi=%d;ENOSPC:full\x1b\\" % number)
    assert not graphics.put(number, pixels, 6, 5)
    assert graphics.listener.typed(b"\x1b_Gi=%d;OK\x1b\\" % number) == b""
    assert graphics.put(number, pixels, 6, 5)
    assert len(sent) == 1, "it is sent once"


def test_a_picture_is_sent_once_freed_once_and_sent_again_after_a_pause():
    graphics, sent = opened(wish="kitty")
    pixels = np.zeros((20, 10, 4), np.uint8)
    one, other = graphics.new_number(), graphics.new_number()
    for _ in range(2):
        assert graphics.put(one, pixels, 1, 1)
    graphics.put(other, pixels, 1, 1)
    assert sorted(Kitty().take("".join(sent)).pictures) == sorted([one, other])
    assert len(sent) == 2
    graphics.free(one)
    graphics.free(one)
    assert Kitty().take("".join(sent)).forgotten == [one]
    graphics.closing()  # As before a shell gets the terminal.
    kitty = Kitty().take("".join(sent))
    assert (kitty.pictures, kitty.forgotten) == ({}, [one, other])
    graphics.put(other, pixels, 1, 1)
    assert not Kitty().take("".join(sent)).pictures
    graphics.opened(sent.append)
    graphics.put(other, pixels, 1, 1)
    assert list(Kitty().take("".join(sent)).pictures) == [other]


def test_whoever_leaves_at_once_waits_for_the_answers_lest_the_shell_gets_them(monkeypatch):
    monkeypatch.setattr("psi_tui.graphics.terminal._YOUNG_SECONDS", 60.0)
    monkeypatch.setattr("psi_tui.graphics.terminal._WAITING_SECONDS", 60.0)
    graphics, _ = opened()
    reader = threading.Timer(0.05, graphics.listener.typed, [NO_SIXELS])
    reader.start()
    graphics.closing()
    assert graphics.listener.has_answered.is_set()
    reader.join()


def test_nobody_waits_for_a_terminal_that_stays_silent(monkeypatch):
    graphics, _ = opened()
    monkeypatch.setattr("psi_tui.graphics.terminal._YOUNG_SECONDS", 0.0)
    graphics.listener.has_answered.wait = pytest.fail
    graphics.closing()


def test_a_wish_that_there_is_not_is_refused():
    assert [wish_of({}), wish_of({"PSI_PICTURES": ""}), wish_of({"PSI_PICTURES": "kitty"})] == ["auto", "auto", "kitty"]
    with pytest.raises(ConfigError, match=r"PSI_PICTURES.*did you mean 'sixel'"):
        wish_of({"PSI_PICTURES": "sixels"})
