"""Event logs: every prefix reads, torn lines are closed, progress keeps its pace."""

import json
import threading
import time

import pytest

from psi_core.runs.events import EventLog, EventReader, events_path, log_path, preview_path, worker_numbers


def written(path):
    log = EventLog(path)
    log.write("started", pid=7, device="cpu")
    log.write("phase", phase="läuft\n\x00 ")
    log.write("batch", done=25, total=60)
    return EventReader(path).poll()


def test_events_come_back_in_order_with_their_time(tmp_path):
    before = time.time()
    events = written(tmp_path / "events-0.jsonl")
    assert [event["event"] for event in events] == ["started", "phase", "batch"]
    assert all(before - 0.001 <= event["time"] <= time.time() + 0.001 for event in events)
    assert events[1]["phase"] == "läuft\n\x00 "


def test_every_prefix_gives_its_whole_lines_and_the_rest_comes_later(tmp_path):
    path = tmp_path / "events-0.jsonl"
    events = written(path)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        reader = EventReader(path)
        first = reader.poll()
        assert first == events[: whole[:length].count(b"\n")]
        path.write_bytes(whole)
        assert first + reader.poll() == events
        assert reader.poll() == []


def test_a_torn_line_is_closed_by_the_next_writer(tmp_path):
    path = tmp_path / "events-0.jsonl"
    events = written(path)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        EventLog(path).write("started", pid=8)
        after = EventReader(path).poll()
        assert after[-1]["pid"] == 8
        # A line torn just before its end of line is whole once that is added.
        complete = [n for n in range(3) if length >= len(b"".join(lines[: n + 1])) - 1]
        assert after[:-1] == events[: len(complete)]


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"\x00" * 40, b"\xff\xfe", b"null", b"[]", b"3", b'"started"', b"{}", b"{"),
        *(b'{"event": 3, "time": 1}', b'{"event": "x"}', b'{"event": "x", "time": "now"}'),
    ],
)
def test_lines_that_are_no_events_are_passed_over(tmp_path, line):
    path = tmp_path / "events-0.jsonl"
    events = written(path)
    path.write_bytes(line + b"\n" + path.read_bytes() + line + b"\n")
    assert EventReader(path).poll() == events


def test_no_log_has_no_events_until_there_is_one(tmp_path):
    reader = EventReader(tmp_path / "events-0.jsonl")
    assert reader.poll() == []
    assert written(reader.path) == reader.poll()


def test_threads_write_whole_lines(tmp_path):
    path = tmp_path / "events-0.jsonl"
    log = EventLog(path)

    def write_twenty():
        for _ in range(20):
            log.write("heartbeat", text="x" * 500)

    threads = [threading.Thread(target=write_twenty) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line)["event"] for line in path.read_bytes().splitlines()] == ["heartbeat"] * 80


def test_progress_is_at_most_two_lines_a_second_and_never_lacks_its_last(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("psi_core.runs.events.time.monotonic", lambda: now)
    log = EventLog(tmp_path / "events-0.jsonl")
    for step in range(101):
        now = 1000 + step / 10
        log.progress("batch", done=step)
    log.progress("batch", done=101, is_last=True)
    done = [event["done"] for event in EventReader(log.path).poll()]
    assert done == [*range(0, 101, 5), 101]


def test_each_worker_has_files_of_its_own(tmp_path):
    assert worker_numbers(tmp_path / "missing") == []
    for number in (10, 2):
        events_path(tmp_path, number).touch()
    for name in ("events-x.jsonl", "events-.jsonl", "events-3.jsonl.tmp", "engine-4.log"):
        (tmp_path / name).touch()
    assert worker_numbers(tmp_path) == [2, 10]
    assert [path.name for path in (log_path(tmp_path, 2), preview_path(tmp_path, 2))] == [
        "engine-2.log",
        "preview-2.npz",
    ]
