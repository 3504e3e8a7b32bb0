"""Answers of the terminal are taken out of what is typed, however they are cut, and nothing that is typed is lost."""

import pytest

from psi_tui.graphics.answers import SIXEL, Answers, Listener

KITTY = b"\x1b_Gi=31;OK\x1b\\"
VERSION = b"\x1bP>|kitty(0.31.0)\x1b\\"
CELL = b"\x1b[6;21;9t"
ATTRIBUTES = b"\x1b[?62;4;22c"

TYPED = (
    *(b"a", b"\x1b[A", b"\x1b[6~", b"\x1b[6;5~", b"\x1b[<35;6;7M", b"\x1b[?2026;2$y", b"\x1b[?1u"),
    *(b"\x1bP", b"\x1b_", b"\xc3\xa9", b"\x1b[48;24;80;0;0t", b"\x1bOP"),
)
ALL = Answers(True, set(), "kitty(0.31.0)", (9, 21), frozenset({62, SIXEL, 22}))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def asked(clock):
    listener = Listener(clock)
    listener.has_answered.clear()
    return listener


@pytest.mark.parametrize("key", TYPED)
def test_any_cut_takes_the_answers_out_and_leaves_the_keys(clock, key):
    stream = key + KITTY + b"b" + VERSION + CELL + key + ATTRIBUTES + b"c" + key + b"d"
    for cut in range(len(stream) + 1):
        listener = Listener(clock)
        listener.has_answered.clear()
        typed = listener.typed(stream[:cut]) + listener.typed(stream[cut:])
        assert typed == key + b"b" + key + b"c" + key + b"d"
        assert listener.answers == ALL
        assert listener.has_answered.is_set()


def test_byte_by_byte_too(asked):
    stream = b"x" + KITTY + b"\x1b[A" + VERSION + CELL + ATTRIBUTES + b"y"
    assert b"".join(asked.typed(bytes([byte])) for byte in stream) == b"x\x1b[Ay"
    assert asked.answers == ALL


@pytest.mark.parametrize("answer", [KITTY, VERSION, CELL, ATTRIBUTES])
def test_an_answer_after_the_last_one_types_nothing(asked, answer):
    asked.typed(ATTRIBUTES)
    assert asked.typed(b"q" + answer) == b"q"
    assert asked.typed(answer[:4]) + asked.typed(answer[4:]) == b""


@pytest.mark.parametrize("beginning", [b"\x1b", b"\x1b_", b"\x1bP", b"\x1b["])
def test_a_key_that_begins_like_an_answer_waits_a_moment_and_only_while_answers_are_due(asked, clock, beginning):
    assert asked.typed(beginning) == b""
    assert asked.overdue() == b""
    clock.now = 0.11
    assert asked.overdue() == beginning
    assert asked.overdue() == b""
    asked.typed(ATTRIBUTES)
    assert asked.typed(beginning) == beginning


def test_what_looks_like_an_answer_and_never_ends_was_typed(asked, clock):
    assert asked.typed(b"a\x1b[6;5") == b"a"
    clock.now = 0.5
    assert asked.overdue() == b""
    clock.now = 1.1
    assert asked.overdue() == b"\x1b[6;5"
    assert asked.typed(b"~") == b"~"


def test_each_answer_is_told(asked):
    told = []
    asked.heard = lambda: told.append(asked.answers.cell)
    asked.typed(KITTY + CELL + ATTRIBUTES)
    assert told == [None, (9, 21), (9, 21)]


@pytest.mark.parametrize("refusal", [b"\x1b_Gi=31;ENOTSUP:no\x1b\\", b"\x1b_Gi=31;EINVAL\x1b\\", b"\x1b[6;0;0t"])
def test_a_refusal_is_no(asked, refusal):
    assert asked.typed(refusal) == b""
    assert asked.answers == Answers()
