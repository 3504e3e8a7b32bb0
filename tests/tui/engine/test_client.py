"""The app's client, with real children: one after another, replaced when dead, gone when we are."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from psi_core import ConfigError, Run, RunError
from psi_core.files import plain
from psi_core.runs import processes
from psi_core.tables.registry import table_rows
from psi_tui.engine.client import Client, EngineError, start
from tests.core.served import endless_run, is_waiting
from tests.recorded import record_run

PARENT = """
import sys, time
from psi_tui.engine.client import Client
client = Client()
try:
    client.ask("rows", run="/nowhere", table="layers")
except Exception as error:
    assert "/nowhere" in str(error)
print(client._process.pid, flush=True)
client.ask("rows", run=sys.argv[1], table="conditions")
"""


@pytest.fixture
def client():
    client = Client()
    yield client
    client.close()


def pid_of(client: Client) -> int:
    return client._process.pid


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(holds, seconds: float = 30) -> float:
    """Returns how long it took until `holds`, and fails after so many seconds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "waited in vain"
        time.sleep(0.005)
    return time.monotonic() - began


def in_thread(ask) -> tuple[threading.Thread, list[object]]:
    """Asks in a thread; its answer or its error comes into the list."""
    got: list[object] = []

    def run() -> None:
        try:
            got.append(ask())
        except RunError as error:
            got.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, got


def test_one_child_answers_everything_and_starts_with_the_first_question(client, own_folders):
    run = str(record_run(own_folders))
    assert client._process is None
    pids = set()
    for table in ("conditions", "layers", "study"):
        assert client.ask("rows", run=run, table=table) == plain(table_rows(Run(Path(run)), table))
        pids.add(pid_of(client))
    (first,) = pids
    assert os.getsid(first) == first != os.getsid(0)
    assert "libtorch" not in Path(f"/proc/{first}/maps").read_text()
    environment = Path(f"/proc/{first}/environ").read_bytes().split(b"\0")
    assert {b"OMP_NUM_THREADS=1", b"OMP_WAIT_POLICY=PASSIVE"} <= set(environment)


def test_errors_keep_their_kind(client, own_folders):
    run = str(record_run(own_folders))
    with pytest.raises(ConfigError, match="did you mean 'layers'"):
        client.ask("rows", run=run, table="layer")
    with pytest.raises(RunError, match="/nowhere"):
        client.ask("rows", run="/nowhere", table="layers")
    with pytest.raises(EngineError, match="TypeError"):
        client.ask("rows", run=5, table="layers")
    assert client.ask("rows", run=run, table="conditions")


def test_threads_get_their_own_answers(client, own_folders):
    runs = [str(record_run(own_folders, images=images, chunk=25)) for images in (30, 40, 50, 60)]
    asked = [in_thread(lambda run=run: client.ask("rows", run=run, table="conditions")) for run in runs * 3]
    for thread, _ in asked:
        thread.join(60)
    assert [got[0][0]["images"] for _, got in asked] == [30, 40, 50, 60] * 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_died_between_questions_is_replaced(client, own_folders, number):
    run = str(record_run(own_folders))
    before = client.ask("rows", run=run, table="conditions")
    dead = pid_of(client)
    os.kill(dead, number)
    # Its last thread may outlive what /proc says of the process by a moment, and still hold the pipe.
    wait_until(lambda: client._process.poll() is not None)
    assert client.ask("rows", run=run, table="conditions") == before
    assert pid_of(client) != dead


def test_a_child_that_dies_over_a_question_is_an_error_and_is_replaced(client, own_folders, tmp_path):
    run = str(record_run(own_folders))
    client.ask("rows", run=run, table="conditions")
    dead = pid_of(client)
    endless = endless_run(tmp_path / "endless")
    thread, got = in_thread(lambda: client.ask("rows", run=endless, table="conditions"))
    wait_until(is_waiting)
    os.kill(dead, signal.SIGKILL)
    thread.join(30)
    assert isinstance(got[0], EngineError)
    assert "signal 9" in str(got[0])
    assert client.ask("rows", run=run, table="conditions")
    assert not is_running(dead)


def python_instead(folder, monkeypatch, script: str) -> None:
    """Puts a shell script in the place of Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_a_child_that_listens_no_more_is_replaced(client, tmp_path, monkeypatch):
    first = """read line; exec 0<&-; echo '{"id": 1, "answer": "one"}'; exec sleep 60"""
    second = """read line; echo '{"id": 1, "answer": "stale"}'; echo '{"id": 2, "answer": "two"}'"""
    python_instead(tmp_path, monkeypatch, f"if mkdir {tmp_path}/started; then {first}; else {second}; fi 2>/dev/null")
    assert client.ask("models") == "one"
    assert client.ask("models") == "two"


def test_a_child_that_does_not_answer_is_replaced_and_the_next_answers(client, tmp_path, monkeypatch):
    first = """read line; printf '{"id": 1, "ev'; exec sleep 600"""
    second = """read line; echo '{"id": 2, "answer": "two"}'; exec sleep 600"""
    python_instead(tmp_path, monkeypatch, f"if mkdir {tmp_path}/started; then {first}; else {second}; fi 2>/dev/null")
    monkeypatch.setattr(processes, "STILL_SECONDS", 0.4)
    with pytest.raises(EngineError, match=r"asked for models .* replaced, since it did nothing for .*; ask again"):
        client.ask("models")
    assert client._process is None
    monkeypatch.setattr(processes, "STILL_SECONDS", 60.0)
    assert client.ask("models") == "two"


def test_a_child_that_writes_what_is_no_reply_is_replaced_and_the_next_answers(client, tmp_path, monkeypatch):
    first = """read line; echo 'Loading ...'; read line; echo '{"id": 2, "answer": "stale"}'; exec sleep 600"""
    second = """read line; echo '{"id": 2, "answer": "two"}'; exec sleep 600"""
    python_instead(tmp_path, monkeypatch, f"if mkdir {tmp_path}/started; then {first}; else {second}; fi 2>/dev/null")
    with pytest.raises(EngineError, match=r"answered 'Loading \.\.\.'"):
        client.ask("models")
    assert client._process is None
    assert client.ask("models") == "two"


def test_an_answer_in_pieces_is_put_together(client, tmp_path, monkeypatch):
    long = "x" * 200_000
    (tmp_path / "answer").write_text(json.dumps({"id": 1, "answer": f"{long} grün"}, ensure_ascii=False) + "\n")
    event = json.dumps({"id": 1, "event": "warning", "time": 1, "text": "so"})
    script = f"read line; echo '{event}'; cat {tmp_path}/answer; exec sleep 600"
    python_instead(tmp_path, monkeypatch, script)
    told = []
    assert client.ask("models", told.append) == f"{long} grün"
    assert [event.text for event in told] == ["so"]


def test_last_words_are_quoted_and_never_reach_the_terminal(client, tmp_path, monkeypatch, capfd):
    python_instead(tmp_path, monkeypatch, "echo 1 >&2; echo 'ImportError: no torch' >&2; echo >&2; read line; exit 3")
    with pytest.raises(EngineError, match=r"status 3.*ImportError: no torch"):
        client.ask("models")
    assert capfd.readouterr() == ("", "")


def test_a_failure_s_traceback_never_reaches_the_terminal(client, capfd):
    with pytest.raises(EngineError):
        client.ask("rows", run=5, table="layers")
    assert capfd.readouterr() == ("", "")


def test_closing_ends_the_child_and_a_question_under_way(own_folders, tmp_path):
    client = Client()
    client.ask("rows", run=str(record_run(own_folders)), table="conditions")
    pid = pid_of(client)
    endless = endless_run(tmp_path / "endless")
    thread, got = in_thread(lambda: client.ask("rows", run=endless, table="conditions"))
    wait_until(is_waiting)
    began = time.monotonic()
    client.close()
    thread.join(30)
    assert time.monotonic() - began < 5
    assert isinstance(got[0], EngineError)
    assert not is_running(pid)
    with pytest.raises(EngineError, match="closing"):
        client.ask("rows", run="x", table="layers")
    assert client._process is None
    client.close()


def test_a_client_that_was_never_asked_has_nothing_to_close():
    Client().close()


def test_a_killed_app_takes_its_child_along_in_the_middle_of_an_answer(tmp_path):
    run = endless_run(tmp_path / "endless")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, run], stdout=subprocess.PIPE, text=True)
    with parent:
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    assert wait_until(lambda: not is_running(child)) < 5


def test_a_child_s_errors_go_where_they_are_told(engine, tmp_path, capfd):
    engine("import sys; sys.stderr.write('warning\\nlast words\\n'); sys.exit(4)")
    with (
        (tmp_path / "errors").open("w+b") as errors,
        pytest.raises(EngineError, match=r"status 4.*last words: last words"),
    ):
        start("start", errors)
    assert capfd.readouterr().err == ""
    with pytest.raises(EngineError, match="stands above"):
        start("start")
    assert capfd.readouterr().err == "warning\nlast words\n"


def test_a_child_that_was_asked_to_start_a_run_and_does_nothing_is_ended(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "STILL_SECONDS", 0.4)
    written = tmp_path / "pid"
    engine(f"import os, pathlib, time; pathlib.Path({str(written)!r}).write_text(str(os.getpid())); time.sleep(600)")
    with pytest.raises(EngineError, match=r"asked to resume a run it .* ended, since it did nothing for .*; try again"):
        start("resume")
    assert not written.exists() or not is_running(int(written.read_text()))


def test_a_child_that_computes_may_take_any_time_to_start_a_run(engine, monkeypatch):
    monkeypatch.setattr(processes, "LONGEST_SECONDS", 0.0)
    monkeypatch.setattr(processes.Patience, "look_seconds", 0.02)
    engine(
        """import json, time; time.sleep(0.3); print(json.dumps({"id": 1, "answer": {"run": "there"}}), flush=True)"""
    )
    directory, child = start("start")
    child.wait()
    assert directory == Path("there")
