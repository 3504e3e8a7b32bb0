"""Lines for several workers, in a shell and in the app: each in its room, what is wrong first and by word."""

import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import PhaseBegan
from psi_tui.runs.progress import Progress, percent_words, rest_words, time_words
from psi_tui.shell.bar import _bar
from psi_tui.widgets.progress_panel import worker_lines
from tests.tui.apps import NARROW, WIDE, running, text_of, until
from tests.tui.worker_runs import ELSEWHERE, many, record_workers, say

STATES = ("waiting", "running", "helping", "finished", "left", "failed", "lost")
PHASES = ("load", "fit", "compile", "run")
RUNNING = [("running", 3100)] * 12


def drawn(workers, width, lines):
    return [line.plain for line in worker_lines(workers, width, lines)]


def shell(workers, *, width=80, height=24, hint="Ctrl-C leaves"):
    output = io.StringIO()
    console = Console(file=output, width=width, height=height)
    whole = Progress("running", "run", 30, 60, 10.0, 25, workers=workers)
    console.print(_bar(whole, (98.9, 34.2), hint, height))
    return [line.rstrip() for line in output.getvalue().splitlines()]


@pytest.mark.parametrize("state", [state for state in STATES if state != "running"])
def test_a_state_is_told_by_word(state):
    (worker,) = many((state, 0))
    assert percent_words(worker) == time_words(worker) == state
    for width, lines in ((78, 1), (138, 4)):
        assert state in "".join(drawn(many((state, 0), ("running", 1)), width, lines))
    assert any("worker 0" in line and line.endswith(state) for line in shell(many((state, 0), ("running", 1))))


def test_who_does_not_measure_yet_says_what_it_does():
    for phase, word in (("load", "loading"), ("fit", "fitting"), ("compile", "compiling")):
        (worker,) = many(("running", 0), phase=phase)
        assert percent_words(worker) == time_words(worker) == word


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(STATES), st.integers(0, 5000)), min_size=2, max_size=70),
    st.sampled_from(PHASES),
    st.integers(40, 200),
    st.sampled_from([1, 4]),
)
def test_no_line_is_wider_than_its_room(facts, phase, width, lines):
    workers = many(*facts, phase=phase)
    told = drawn(workers, width, lines)
    assert 1 <= len(told) <= lines
    assert max(map(len, told)) <= width, told
    assert all("\n" not in line for line in told)


@given(st.lists(st.tuples(st.sampled_from(STATES), st.integers(0, 5000)), max_size=40), st.integers(4, 60))
def test_the_shell_shows_no_more_lines_than_it_has(facts, height):
    told = shell(many(*facts), height=height)
    assert len(told) < max(5, height)
    assert max(map(len, told)) <= 80
    assert sum("worker " in line for line in told) <= 8


def test_a_shell_has_a_line_for_each_worker_and_one_for_those_without_room():
    assert not any("worker" in line for line in shell(()))
    assert [line.split()[1] for line in shell(many(*RUNNING[:3])) if line.startswith("worker")] == ["0", "1", "2"]
    told = shell(many(*RUNNING[:11], ("lost", 4000)))
    assert [line.split()[1] for line in told if line.startswith("worker")] == ["11", *"0123456"]
    assert "and 4 more" in told
    assert "320 images/s" in told[2]
    assert "3,100/5,000" in told[2]


def test_what_has_no_room_is_counted_and_the_broken_among_it_named():
    workers = many(*RUNNING[:3], ("lost", 0), ("lost", 0), ("failed", 0))
    assert rest_words(workers, workers) == ""
    assert rest_words(workers, workers[:1]) == "and 5 more, 2 lost, 1 failed"
    assert rest_words(workers, []) == "6 workers, 2 lost, 1 failed"


@pytest.mark.parametrize("lines", [1, 4])
def test_one_worker_has_no_line(lines):
    assert worker_lines((), 138, lines) == []


def test_a_low_app_has_short_bars_on_one_line():
    (line,) = drawn(many(("running", 3100), ("lost", 2400)), 78, 1)
    assert line.split()[0] == "0"
    assert "62 %" in line
    assert "lost" in line
    (line,) = drawn(many(*RUNNING), 78, 1)
    assert line.count("62 %") >= 4
    assert line.endswith(" more")


def test_a_tall_app_has_a_line_for_each_of_four_and_shows_all_of_a_dozen():
    assert [line[:8] for line in drawn(many(*RUNNING[:4]), 138, 4)] == [f"worker {number}" for number in range(4)]
    lines = drawn(many(*RUNNING), 138, 4)
    assert len(lines) == 4
    assert sum(line.count("62 %") for line in lines) == 12
    assert sum(line.count("images/s") for line in lines) == 12


@pytest.mark.parametrize(("size", "lines"), [(NARROW, 3), (WIDE, 4)], ids=str)
async def test_the_head_of_one_worker_is_as_it_was(own_folders, size, lines, alive):
    directory = record_workers(own_folders, workers=1, chunks=[0], identity=alive)
    say(directory, 0, done=30, total=60, chunk=5, open=5, seconds={"benign": 1.0, "gradient": 1.0, "attacked": 2.0})
    async with running(own_folders, size, open_directory=directory) as (app, _):
        head = app.screen.query_one("#progress")
        assert head.size.height == lines
        assert "worker" not in head.render().plain


async def test_a_line_of_the_head_that_stays_the_same_is_not_drawn_again(own_folders, monkeypatch, alive):
    directory = record_workers(own_folders, workers=2, chunks=[0], identity=alive)
    say(directory, 0, done=9, total=30, chunk=2, open=4)
    async with running(own_folders, WIDE, open_directory=directory) as (app, _):
        head, drawn_again = app.screen.query_one("#progress"), []
        monkeypatch.setattr(head, "refresh", lambda *regions, **_: drawn_again.append([region.y for region in regions]))
        first, second = app.snapshot.progress.workers
        for share in (first, replace(first, done=first.done - 4)):
            now = replace(app.snapshot.progress, workers=(share, second))
            head.show(replace(app.snapshot, progress=now), (None, None), "fgsm@0.03")
            head.show(replace(app.snapshot, progress=now), (None, None), "fgsm@0.03")
        assert drawn_again[-1] == [2]
        assert len(drawn_again) <= 2


@pytest.mark.parametrize("workers", [2, 12])
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=str)
async def test_the_head_of_a_live_run_stays_within_its_lines(own_folders, size, workers, alive, dead):
    directory = record_workers(own_folders, workers=workers, chunks=[0], images=240, identity=alive)
    say(directory, 0, done=7, total=240 // workers, chunk=workers, open=2)
    say(directory, 1, identity=dead, workers=workers, done=3, total=240 // workers, chunk=1, open=3)
    for number in range(2, workers):
        say(directory, number, identity=ELSEWHERE, workers=workers, done=3, total=20, chunk=number, open=3)
    async with running(own_folders, size, open_directory=directory) as (app, pilot):
        await until(pilot, lambda: "lost" in text_of(app), "the lost worker")
        head = app.screen.query_one("#progress")
        lines = head.render().plain.splitlines()
        assert head.size.height == len(lines)
        assert max(map(len, lines)) <= head.size.width
        assert "…" not in "".join(text_of(app).splitlines()[: len(lines) + 1])
        EventLog(events_path(directory, workers - 2)).write(PhaseBegan(phase="compile"))
        await until(pilot, lambda: "compiling" in text_of(app), "the phase")
        assert head.size.height == len(head.render().plain.splitlines())
