"""Event logs: every prefix reads, torn lines are closed, progress keeps its pace."""

import json
import threading
import time
import tracemalloc

import pytest

from psi_core.runs import event_log
from psi_core.runs.event_log import EventLog, EventReader, events_path, log_path, preview_path, worker_numbers
from psi_core.runs.events import (
    EVENTS,
    BatchDone,
    Failed,
    Finished,
    FitAdvanced,
    PhaseBegan,
    Started,
    UnknownEvent,
    Warned,
    event_line,
    event_of,
)


def written(path):
    log = EventLog(path)
    log.write(Started(pid=7, device="cpu"))
    log.write(PhaseBegan(phase="läuft\n\x00 "))
    log.write(BatchDone(done=25, total=60))
    return EventReader(path).poll()


def test_events_come_back_in_order_with_their_time(tmp_path):
    before = time.time()
    events = written(tmp_path / "events-0.jsonl")
    assert [event.kind for event in events] == ["started", "phase", "batch"]
    assert all(before - 0.001 <= event.time <= time.time() + 0.001 for event in events)
    assert events[1].phase == "läuft\n\x00 "


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
        EventLog(path).write(Started(pid=8))
        after = EventReader(path).poll()
        assert after[-1].pid == 8
        # A line torn just before its end of line is whole once that is added.
        complete = [n for n in range(3) if length >= len(b"".join(lines[: n + 1])) - 1]
        assert after[:-1] == events[: len(complete)]


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"\x00" * 40, b"\xff\xfe", b"null", b"[]", b"3", b'"started"', b"{}", b"{"),
        *(
            b'{"event": 3, "time": 1}',
            b'{"event": "x"}',
            b'{"event": "x", "time": "now"}',
            b'{"event": "x", "time": NaN}',
            b"[" * 100_000,
        ),
    ],
)
def test_lines_that_are_no_events_are_passed_over(tmp_path, line):
    path = tmp_path / "events-0.jsonl"
    events = written(path)
    path.write_bytes(line + b"\n" + path.read_bytes() + line + b"\n")
    assert EventReader(path).poll() == events


# As they stand in the logs of earlier runs: names, order, null and what is left out are all part of the format.
LINES = (
    '{"event": "started", "time": 1795502390.252, "host": "h", "boot_id": "b", "pid_namespace": "p", "pid": 7, '
    '"process_start": 9, "device": "cpu", "device_name": "AMD EPYC, 2 cores", "python": "3.11.7", "torch": "2.14.1", '
    '"torchvision": "0.29.1", "cuda": null, "driver": null, "worker": 0, "workers": 1}',
    '{"event": "phase", "time": 1.5, "phase": "load"}',
    '{"event": "fit", "time": 2, "phase": "test", "done": 3, "total": 4, "accuracy": null, '
    '"images_per_second": 63.518273934917445, "loss": 0.02940964624285698, "epoch": 1}',
    '{"event": "fit", "time": 2, "phase": "fit", "done": 3, "total": 4, "accuracy": 0.5, "images_per_second": 6.5, '
    '"loss": NaN, "epoch": 1}',
    '{"event": "batch", "time": 3, "done": 10, "total": 10, "chunk": 0, "open": 0, "images_per_second": 6.405, '
    '"batch": 128, "memory": 2784899072, "seconds": {"benign": 179.344, "gradient": 253.005, "attacked": 1117.772}}',
    '{"event": "warning", "time": 4, "text": "a note"}',
    '{"event": "warning", "time": 4, "text": "out of memory", "chunks": [3], "batch": 2}',
    '{"event": "warning", "time": 4, "text": "left out", "chunks": [3], "images": [70, 71]}',
    '{"event": "precision", "time": 5, "policy": "bf16", "sign_agreement": 0.92}',
    '{"event": "precision", "time": 5, "policy": "bf16", "sign_agreement": null}',
    '{"event": "evidence", "time": 6, "images": 8, "pixels": 5, "training_modules": 0, "repeat_difference": 0.0, '
    '"finite_difference_error": 1.2e-08, "gradient_error": 3e-06, "seconds": 0.25, '
    '"copies": 2, "copy_positions": [3, 17]}',
    '{"event": "evidence", "time": 6, "images": 8, "pixels": 5, "training_modules": 0, "repeat_reason": "why", '
    '"gradient_reason": "why", "seconds": 0.25}',
    '{"event": "evidence", "time": 6, "images": 8, "repeat_difference": 0.0, "gradient_repeat_difference": 1e-07}',
    '{"event": "evidence", "time": 6, "images": 8, "repeat_difference": 0.0, "gradient_repeat_reason": "why"}',
    '{"event": "heartbeat", "time": 7}',
    '{"event": "finished", "time": 7}',
    '{"event": "left", "time": 7}',
    '{"event": "failed", "time": 7, "error": "conv1: NaN", "error_type": "RunError"}',
    '{"event": "progress", "time": 8, "phase": "run", "done": 3, "total": 4, "images_per_second": 6.5}',
    '{"event": "images", "time": 8, "done": 3, "total": 4}',
    '{"event": "table", "time": 8, "table": "layers", "done": 1, "total": 12}',
    '{"event": "tested", "time": 8, "part": "bits", "verdict": "passed", "words": "all alike", "seconds": 1.5}',
)


@pytest.mark.parametrize("line", LINES, ids=lambda line: json.loads(line)["event"])
def test_an_event_is_read_and_written_byte_for_byte(line):
    assert json.dumps(event_line(event_of(json.loads(line)))) == line


def test_every_kind_has_its_line_here_and_is_read_as_its_class():
    kinds = [event.kind for event in EVENTS]
    assert sorted(set(kinds)) == sorted(kinds)
    assert {json.loads(line)["event"] for line in LINES} == set(kinds)
    for line in LINES:
        assert type(event_of(json.loads(line))) in EVENTS


def test_a_line_shows_what_a_newer_version_wrote_and_its_event_does_not(tmp_path):
    path = tmp_path / "events-0.jsonl"
    lines = [{"event": "batch", "time": 1, "done": 5, "color": "red"}, {"event": "dreamt", "time": 2, "done": 5}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert EventReader(path).lines() == lines
    assert EventReader(path).poll() == [BatchDone(done=5, time=1), UnknownEvent("dreamt", time=2)]


@pytest.mark.parametrize(
    "value",
    [None, "many", True, [3], {"a": 3}, 2.5, 2**70],
    ids=["null", "text", "truth", "list", "map", "part", "huge"],
)
def test_a_field_of_another_type_has_its_default(value):
    told = {"event": "batch", "time": 1.0, "done": value, "chunk": value, "batch": 4}
    assert event_of(told) == BatchDone(time=1.0, batch=4)


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (
            {"event": "batch", "seconds": {"benign": "long", "gradient": 2.5}},
            BatchDone(seconds={"gradient": 2.5}, time=1),
        ),
        ({"event": "batch", "seconds": 3}, BatchDone(time=1)),
        ({"event": "warning", "text": 3, "chunks": [1, "two"]}, Warned(time=1)),
        ({"event": "failed", "error": None}, Failed(time=1)),
        ({"event": "fit", "loss": "small", "images_per_second": 3}, FitAdvanced(images_per_second=3, time=1)),
        ({"event": "finished", "paths": ["a"]}, Finished(time=1)),
    ],
)
def test_what_is_senseless_or_unknown_is_passed_over(line, event):
    assert event_of({"time": 1, **line}) == event


def test_no_log_has_no_events_until_there_is_one(tmp_path):
    reader = EventReader(tmp_path / "events-0.jsonl")
    assert reader.poll() == []
    assert written(reader.path) == reader.poll()


def test_threads_write_whole_lines(tmp_path):
    path = tmp_path / "events-0.jsonl"
    log = EventLog(path)

    def write_twenty():
        for _ in range(20):
            log.write(Warned("x" * 500))

    threads = [threading.Thread(target=write_twenty) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line)["event"] for line in path.read_bytes().splitlines()] == ["warning"] * 80


def test_progress_is_at_most_two_lines_a_second_and_never_lacks_its_last(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("psi_core.runs.event_log.time.monotonic", lambda: now)
    log = EventLog(tmp_path / "events-0.jsonl")
    for step in range(101):
        now = 1000 + step / 10
        log.progress(BatchDone(done=step))
    log.progress(BatchDone(done=101), is_last=True)
    done = [event.done for event in EventReader(log.path).poll()]
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


def test_a_long_log_is_never_in_memory_as_a_whole(tmp_path):
    path = tmp_path / "events-0.jsonl"
    line = json.dumps(event_line(Warned(text="x" * 300)))
    path.write_text(f"{line}\n" * 12_000)
    tracemalloc.start()
    try:
        assert sum(isinstance(event, Warned) for event in EventReader(path).events()) == 12_000
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size
    finally:
        tracemalloc.stop()


def test_lines_that_nobody_took_come_at_the_next_look(tmp_path):
    written(path := tmp_path / "events-0.jsonl")
    reader = EventReader(path)
    assert next(reader.events()).kind == "started"
    assert [event.kind for event in reader.poll()] == ["phase", "batch"]


def test_of_a_log_that_no_worker_could_have_written_the_end_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(event_log, "_LARGEST", 2**20)
    path = events_path(tmp_path, 0)
    with path.open("wb") as file:
        file.truncate(2**34)  # Zeros that take no disk, and long to read.
        file.seek(0, 2)
        file.write(b"\n" + json.dumps({"event": "finished", "time": 2.0}).encode() + b"\n")
    began = time.process_time()
    assert [event.kind for event in EventReader(path).poll()] == ["finished"]
    assert time.process_time() - began < 2
