"""The server as a real process: what it answers, how it refuses, when it ends."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from psi_core import Run
from psi_core.files import plain
from psi_core.runs.chunks import read_arrays, write_arrays
from psi_core.runs.processes import start_child
from psi_core.tables.registry import TABLE_NAMES, View, table_rows
from tests.core.served import Served, endless_run
from tests.recorded import record_run, rewrite_chunk


@pytest.fixture
def served():
    with Served() as process:
        yield process


@pytest.fixture(scope="module")
def asked_often():
    """One that outlives a test, for questions that are refused before any file of a test's own is made."""
    with Served() as process:
        yield process


def test_rows_of_every_table_without_torch(served: Served, own_folders: Path) -> None:
    run = str(record_run(own_folders, silent=3))
    for table in TABLE_NAMES:
        assert served.ask("rows", run=run, table=table) == {"answer": plain(table_rows(Run(Path(run)), table))}
    fooled = served.ask("rows", run=run, table="layers", subset="fooled", bins=7)
    assert fooled == {"answer": plain(table_rows(Run(Path(run)), "layers", View(subset="fooled", bins=7)))}
    assert not served.has_torch


def test_open_chunks_count_when_asked_for(served: Served, own_folders: Path) -> None:
    directory, other = record_run(own_folders, chunks=[0], finished=False), record_run(own_folders)
    write_arrays(directory / "preview-0.npz", read_arrays(other / "chunks" / "00001.npz"))
    for preview, images in ((True, 50), (False, 25)):
        rows = served.ask("rows", run=str(directory), table="conditions", preview=preview)["answer"]
        assert rows[0]["images"] == images


def test_export_gives_the_paths(served: Served, own_folders: Path, tmp_path: Path) -> None:
    run = str(record_run(own_folders))
    answer = served.ask("export", run=run, to=str(tmp_path / "out"), format="md")["answer"]
    assert answer == [str(tmp_path / "out" / f"{table}.md") for table in TABLE_NAMES]
    assert all(Path(path).stat().st_size for path in answer)


def test_export_with_progress_tells_of_every_table_first(served: Served, own_folders: Path, tmp_path: Path) -> None:
    run = str(record_run(own_folders, images=300, chunk=300))
    question = {"id": 1, "do": "export", "run": run, "to": str(tmp_path), "format": "md", "with_progress": True}
    served.send(json.dumps(question))
    replies = [json.loads(served.receive()) for _ in range(len(TABLE_NAMES) + 1)]
    assert [reply.get("table") for reply in replies[:-2]] == [name for name in TABLE_NAMES if name != "images"]
    assert "left out of md" in replies[-2]["text"]
    assert len(replies[-1]["answer"]) == len(TABLE_NAMES) - 1


def test_answers_come_in_the_order_of_the_questions(served: Served, own_folders: Path) -> None:
    run = str(record_run(own_folders))
    tables = ["layers", "conditions", "nonsense", "study"]
    served.send(*(json.dumps({"id": n, "do": "rows", "run": run, "table": t}) for n, t in enumerate(tables)))
    replies = [json.loads(served.receive()) for _ in tables]
    assert [reply["id"] for reply in replies] == [0, 1, 2, 3]
    assert ["answer" in reply for reply in replies] == [True, True, False, True]


@pytest.mark.parametrize(
    ("do", "fields", "kind", "said"),
    [
        ("row", {}, "ConfigError", "did you mean 'rows'"),
        ("pictures", {}, "ConfigError", "did you mean 'picture'"),
        ("rows", {"table": "layer"}, "ConfigError", "did you mean 'layers'"),
        ("rows", {"table": "layers", "subset": "fool"}, "ConfigError", "did you mean 'fooled'"),
        ("rows", {"table": "layers", "color": 3}, "ConfigError", "color"),
        ("rows", {}, "ConfigError", "table"),
        ("rows", {"run": "/nowhere", "table": "layers"}, "RunError", "/nowhere"),
        ("export", {"to": "/proc/nowhere"}, "ConfigError", "cannot be made"),
        ("export", {"to": "out", "format": "cvs"}, "ConfigError", "did you mean 'csv'"),
        ("picture", {"index": 60, "condition": "benign", "width": 9, "height": 9}, "ConfigError", "0 to 59"),
    ],
)
def test_refusals_keep_their_kind(asked_often: Served, own_folders: Path, do, fields, kind, said) -> None:
    run = str(record_run(own_folders))
    reply = asked_often.ask(do, **{"run": run, **fields})
    assert reply["kind"] == kind
    assert said in reply["error"]
    assert not asked_often.has_torch


def test_a_failure_is_answered_told_in_full_on_standard_error_and_survived(served: Served, own_folders) -> None:
    run = record_run(own_folders)
    reply = served.ask("rows", run=5, table="layers")
    assert reply["kind"] == "EngineError"
    assert "TypeError" in reply["error"]
    assert "\n" not in reply["error"]
    assert "answer" in served.ask("rows", run=str(run), table="conditions")
    served.process.stdin.close()
    assert "Traceback" in served.process.stderr.read()


@pytest.mark.parametrize("line", ["nonsense", "[]", '"rows"', "", "\x00"])
def test_what_is_no_question_is_refused(asked_often: Served, line: str) -> None:
    asked_often.send(line)
    reply = json.loads(asked_often.receive())
    assert (reply["id"], reply["kind"]) == (None, "ConfigError")


def test_infinity_and_nan_are_null(served: Served, own_folders: Path) -> None:
    directory = record_run(own_folders, images=25)
    arrays = read_arrays(directory / "chunks" / "00000.npz")
    arrays["psi"][:] = np.array([0.5, 0.75, 0.5, 0.5], np.float32)[:, None, None]
    rewrite_chunk(directory, 0, arrays)
    assert table_rows(Run(directory), "layers")[1]["effect_size"] == float("inf")
    served.send(json.dumps({"id": 1, "do": "rows", "run": str(directory), "table": "layers"}))
    line = served.receive()
    assert not any(word in line for word in ("Infinity", "NaN"))
    assert json.loads(line)["answer"][1]["effect_size"] is None


def test_it_ends_with_its_standard_input(served: Served, own_folders: Path) -> None:
    served.ask("rows", run=str(record_run(own_folders)), table="conditions")
    served.process.stdin.close()
    assert served.process.wait(5) == 0


def test_what_was_asked_before_the_end_is_still_answered(served: Served, own_folders: Path) -> None:
    run = str(record_run(own_folders))
    served.ask("rows", run=run, table="conditions")
    served.send(json.dumps({"id": 2, "do": "rows", "run": run, "table": "conditions"}))
    served.process.stdin.close()
    assert json.loads(served.receive())["id"] == 2
    assert served.receive() == ""


def test_it_ends_in_the_middle_of_an_answer(served: Served, tmp_path: Path) -> None:
    assert "error" in served.ask("rows", run=str(tmp_path), table="layers")  # It is up and answers.
    run = endless_run(tmp_path / "endless")
    served.send(json.dumps({"id": 1, "do": "rows", "run": run, "table": "conditions"}))
    served.process.stdin.close()
    assert served.process.wait(5) == 0


def test_a_reader_that_is_gone_ends_it(served: Served, own_folders: Path) -> None:
    run = str(record_run(own_folders))
    served.ask("rows", run=run, table="conditions")
    served.process.stdout.close()
    served.send(json.dumps({"id": 1, "do": "rows", "run": run, "table": "conditions"}))
    assert served.process.wait(10) == 0
    assert served.process.stderr.read() == ""


_BEGINS = """
import sys, time
from pathlib import Path
from psi_core import serve
from psi_core.files import replacing
from psi_core.runs.events import Heartbeat

def slow(line, reply, has_process):
    with replacing(Path(sys.argv[1])) as half:
        half.touch()
        print("begun", file=sys.stderr, flush=True)
        sys.stdin.readline()
        for _ in range(600):
            reply.report(Heartbeat())
            time.sleep(0.1)

serve._reply_to = slow
sys.exit(serve.answer())
"""


@pytest.mark.parametrize("how", ["terminated", "nobody reads"])
def test_a_child_that_has_to_end_leaves_no_file_half_written(tmp_path, how):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    child = subprocess.Popen([sys.executable, "-c", _BEGINS, str(tmp_path / "written")], **pipes)
    with child:
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stderr.readline() == b"begun\n"
        assert len([*tmp_path.iterdir()]) == 1
        if how == "terminated":
            child.terminate()
        child.stdout.close()
        assert child.wait(30) == (143 if how == "terminated" else 0)
        assert child.stderr.read() == b""
    assert [*tmp_path.iterdir()] == []


def test_a_child_that_reports_nothing_ends_with_whoever_asked():
    child = start_child(["answer"], errors=subprocess.DEVNULL)
    child.stdin.write(json.dumps({"id": 1, "do": "bench", "rounds": 100_000}) + "\n")
    child.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(3)
    child.stdout.close()
    assert child.wait(60) == 143
