"""Commands that start the engine, against scripts in its place that keep to the protocol."""

import json
import os
import re
import signal
import threading
import time
from importlib import import_module
from pathlib import Path

import pytest

from psi_core.config import RunConfig
from psi_core.errors import ModelError
from psi_core.runs.finding import list_runs, load_run
from psi_core.runs.status import STOP_FILE
from psi_tui.runs.progress import Progress
from psi_tui.screens.new_run.screen import plan_sentence
from psi_tui.shell import bar
from psi_tui.shell.bar import progress_line
from tests.recorded import record_run

run_command = import_module("psi_tui.commands.run")  # The package names the command itself so.

ECHO = """
import json, sys
question = json.loads(sys.stdin.readline())
identity = question.pop("id")
open({path!r}, "w").write(json.dumps(question))
print(json.dumps({{"id": identity, "error": "model: that is all", "kind": "ModelError"}}))
sys.exit(2)
"""

WORKER = """
import json, sys, time
from pathlib import Path
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import BatchDone, Failed, Finished, Stopped, PhaseBegan, Started, Warned
from psi_core.runs.processes import own_identity
from psi_core.runs.status import STOP_FILE
from tests.recorded import record_run

question = json.loads(sys.stdin.readline())
if question["do"] == "start":
    directory = record_run(Path(question["runs_dir"]), finished=False, chunks=CHUNKS)
else:
    directory = Path(question["run"])
    (directory / STOP_FILE).unlink(missing_ok=True)
log = EventLog(events_path(directory, 0))
log.write(Started(**own_identity(), device="cpu"))
print(json.dumps({"id": question["id"], "answer": {"run": str(directory)}}), flush=True)
log.write(PhaseBegan(phase="run"))
log.write(Warned(text="batch 512 -> 256"))
seconds = {"benign": 1.0, "gradient": 2.0, "attacked": 1.0}
log.write(BatchDone(done=25, total=60, images_per_second=50.0, batch=25, memory=0, seconds=seconds))
END
"""

FINISH = "time.sleep(0.6); log.write(Finished())"
FAIL = "log.write(Failed(error='conv1: NaN in image 7'))"
VANISH = "(directory / 'engine-0.log').write_text('one\\nlast words\\n')"
OBEY = """
while not (directory / STOP_FILE).exists():
    time.sleep(0.05)
log.write(Stopped())
"""
IGNORE = "time.sleep(60)"


def worker(end: str, chunks: str = "None") -> str:
    return WORKER.replace("CHUNKS", chunks).replace("END", end)


@pytest.fixture
def question(engine, tmp_path):
    """What the engine was asked by the last command: but for the id."""
    engine(ECHO.format(path=str(tmp_path / "question.json")))
    return lambda: json.loads((tmp_path / "question.json").read_text())


@pytest.fixture
def interrupt():
    """Presses Ctrl-C as often as asked, as soon as somebody listens."""
    threads = []

    def press(times: int) -> None:
        deaf = signal.getsignal(signal.SIGINT)

        def wait_and_press() -> None:
            deadline = time.monotonic() + 120
            while signal.getsignal(signal.SIGINT) is deaf and time.monotonic() < deadline:
                time.sleep(0.02)
            if signal.getsignal(signal.SIGINT) is deaf:
                return  # Nobody came to listen: the press would end the tests themselves.
            for _ in range(times):
                time.sleep(0.4)
                os.kill(os.getpid(), signal.SIGINT)

        threads.append(threading.Thread(target=wait_and_press, daemon=True))
        threads[-1].start()

    yield press
    for thread in threads:
        thread.join(120)


def test_only_what_was_typed_is_passed_and_it_beats_the_file(psi, question, own_folders, tmp_path):
    (tmp_path / "spec.toml").write_text('epsilon = [0.1]\nmodel = "vgg11"\nseed = 3\n')
    outcome = psi("run", tmp_path / "spec.toml", "--epsilon", "0.01,0.02", "--images", "200", "--batch", "auto")
    assert (outcome.code, outcome.err) == (2, "psi-tui: model: that is all\n")
    values = {"epsilon": [0.01, 0.02], "model": "vgg11", "seed": 3, "images": 200, "batch": "auto"}
    assert question() == {"do": "start", "config": values, "runs_dir": str(own_folders)}
    psi("run", "--runs-dir", "/elsewhere")
    assert question() == {"do": "start", "config": {}, "runs_dir": "/elsewhere"}


def test_what_was_typed_in_vain_is_said_and_what_a_preset_says_is_not(psi, question):
    outcome = psi("run", "--attack", "none", "--controls", "none", "--epsilon", "0.1")
    assert "warning: epsilon: has no effect, because there is no attack and no control\n" in outcome.err
    assert question()["config"]["epsilon"] == [0.1]
    assert "warning" not in psi("run", "--preset", "evidence", "--attack", "none", "--controls", "none").err


def test_doctor_says_a_thing_once(psi, engine, own_folders):
    folders = {"runs_directory": str(own_folders), "cache_directory": "/somewhere"}
    facts = {"device": "cpu", "cuda": None, "cuda_devices": [], **folders}
    engine(f"print({json.dumps(json.dumps({'id': 1, 'answer': facts}))})")
    outcome = psi("doctor")
    names = [line.partition(" ")[0] for line in outcome.out.splitlines()]
    assert len(names) == len(set(names))
    assert outcome.out.count(str(own_folders)) == 1
    assert "None" not in outcome.out
    told = json.loads(psi("doctor", "--json").out)
    assert told | folders == told


@pytest.mark.parametrize("field", RunConfig.model_fields)
def test_every_field_of_the_configuration_is_an_option(psi, field):
    assert f"--{field.replace('_', '-')}" in psi("run", "--help").out


def test_other_questions(psi, question):
    psi("fit", "--model", "alexnet", "--epochs", "2", "--from", "imagenet")
    assert question() == {"do": "fit", "model": "alexnet", "epochs": "2", "from": "imagenet"}
    psi("models", "res")
    assert question() == {"do": "models", "pattern": "res"}
    psi("layers", "vgg11", "--size", "64", "--all")
    assert question() == {"do": "layers", "model": "vgg11", "size": "64", "layers": ["all"]}
    psi("run", "--plan")
    assert question()["do"] == "plan"


def test_a_finished_run_prints_its_table(psi, engine):
    engine(worker(FINISH))
    outcome = psi("run")
    assert outcome.code == 0
    assert outcome.out == psi("show", "latest").out
    assert "warning: batch 512 -> 256" in outcome.err
    assert "done: 60 images" in outcome.err
    assert f"psi-tui show {load_run('latest').id}" in outcome.err


def test_quiet_says_only_what_went_wrong(psi, engine):
    engine(worker(FINISH))
    outcome = psi("run", "--quiet")
    assert (outcome.code, outcome.err) == (0, "warning: batch 512 -> 256\n")
    assert outcome.out == ""


def test_a_log_file_is_told_now_and_then_how_far_a_run_is(psi, engine, monkeypatch):
    monkeypatch.setattr(bar, "LINE_SECONDS", 0.0)
    engine(worker(FINISH))
    lines = [line for line in psi("run").err.splitlines() if " %  " in line]
    assert lines
    assert all(re.search(r"\d+ %  [\d,]+/60", line) for line in lines), lines
    assert not [line for line in psi("run", "--quiet").err.splitlines() if " %  " in line]


def test_a_line_of_progress_says_what_is_known():
    line = progress_line(Progress("running", "run", 1200, 10_000, 320.0), (98.9, 34.2))
    assert re.search(r"12 %  1,200/10,000  320 images/s  .* left  accuracy 98.9 → 34.2 %", line)
    assert "%" not in progress_line(Progress("running", "load"))


def test_detach_prints_the_path_and_returns(psi, engine):
    engine(worker(IGNORE))
    outcome = psi("run", "--detach")
    assert outcome.code == 0
    assert Path(outcome.out.strip()) == load_run("latest").directory
    assert load_run("latest").status == "running"


def test_a_failed_run_exits_with_1_its_error_and_its_log(psi, engine):
    engine(worker(FAIL, "[0]"))
    outcome = psi("run")
    assert (outcome.code, outcome.out) == (1, "")
    assert "conv1: NaN in image 7" in outcome.err
    assert "engine-0.log" in outcome.err


def test_a_lost_run_shows_the_last_words_of_its_log(psi, engine):
    engine(worker(VANISH, "[0]"))
    outcome = psi("run")
    assert outcome.code == 1
    assert outcome.err.rstrip().endswith("last words")
    assert "psi-tui resume" in outcome.err


def test_an_engine_that_says_nothing_is_a_failure(psi, engine):
    engine("import sys; sys.exit(3)")
    outcome = psi("run")
    assert (outcome.code, outcome.out) == (1, "")
    assert "ended with status 3" in outcome.err
    engine("print('hello')")
    assert "answered 'hello'" in psi("run").err


def test_the_first_interrupt_stops_the_run_and_resume_goes_on(psi, engine, interrupt):
    engine(worker(OBEY, "[0]"))
    interrupt(1)
    outcome = psi("run")
    run = load_run("latest")
    assert outcome.code == 130
    assert run.status == "stopped"
    assert "stopping after the open chunk" in outcome.err
    assert f"psi-tui resume {run.id}" in outcome.err
    interrupt(1)
    assert psi("resume", "latest").code == 130
    assert len(list_runs(examples=False)) == 1


def test_the_second_interrupt_ends_the_workers(psi, engine, interrupt):
    engine(worker(IGNORE, "[0]"))
    interrupt(2)
    outcome = psi("run")
    assert outcome.code == 130
    assert "psi-tui resume" in outcome.err
    deadline = time.monotonic() + 10
    while load_run("latest").status == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert load_run("latest").status == "stopped"


def test_a_viewer_leaves_the_run_alone(psi, engine, interrupt):
    engine(worker(IGNORE, "[0]"))
    psi("run", "--detach")
    interrupt(1)
    outcome = psi("watch", "latest")
    assert outcome.code == 130
    assert "the run goes on" in outcome.err
    assert load_run("latest").status == "running"
    assert not (load_run("latest").directory / STOP_FILE).exists()
    assert psi("resume", "latest").code == 2
    assert psi("delete", "latest", "--yes").code == 2
    assert psi("stop", "latest").code == 0
    assert (load_run("latest").directory / STOP_FILE).exists()


def test_what_is_finished_needs_no_resuming(psi, own_folders):
    record_run(own_folders, name="mine")
    assert psi("resume", "mine").code == 0
    assert psi("watch", "mine").code == 0
    assert psi("delete", "mine", "--yes").code == 0
    assert list_runs(examples=False) == []


FIT = """
import json, signal, sys, time
say = lambda **line: print(json.dumps({"id": 1, "time": 0, **line}), flush=True)
def save(*_):
    sys.exit(130)
signal.signal(signal.SIGINT, save)
say(event="fit", phase="fit", done=30, total=60, loss=0.5, accuracy=0.9, images_per_second=100.0, epoch=1)
say(event="warning", text="slow")
END
say(answer={"checkpoint": "/weights.safetensors", "test_accuracy": 0.987, "seconds": 12.0, "cached": False})
"""


def test_fit_prints_the_checkpoint(psi, engine):
    engine(FIT.replace("END", ""))
    outcome = psi("fit", "--model", "lenet5")
    assert (outcome.code, outcome.out) == (0, "/weights.safetensors\n")
    assert outcome.err == "warning: slow\nfitted in 12 s, test accuracy 98.70 %\n"


def test_an_interrupted_fit_says_how_to_go_on(psi, engine, interrupt):
    engine(FIT.replace("END", "time.sleep(60)"))
    interrupt(1)
    outcome = psi("fit", "--model", "lenet5")
    assert (outcome.code, outcome.out) == (130, "")
    assert "same command" in outcome.err


def test_plan_says_what_a_run_would_cost(psi, engine):
    plan = {
        "images": 10000, "conditions": ["benign", "fgsm@0.03"], "layers": ["conv1", "fc2"], "units": 6508,
        "chunks": 20, "batch": 256, "device": "cpu", "devices": 2, "disk_bytes": 12_345_678, "seconds": 95.0,
        "fit_needed": True, "completeness": "measured 11 of 52 activations: 41 Hardswish left out",
    }  # fmt: skip
    engine(f"print({json.dumps(json.dumps({'id': 1, 'answer': plan}))})")
    outcome = psi("run", "--plan")
    assert outcome.code == 0
    assert plan_sentence(plan).endswith("12.3 MB; weights are fitted first; " + str(plan["completeness"]))
    assert f"complete    {plan['completeness']}" in outcome.out
    for fact in ("10,000 in chunks of 500", "fgsm@0.03", "6,508 units", "2 workers", "1 min 35 s", "12.3 MB", "fitted"):
        assert fact in outcome.out


def test_layers_say_what_a_run_of_them_leaves_out(psi, engine):
    row = {"name": "0", "module": "0", "kind": "ReLU", "shape": [4], "units": 4, "channels": 4, "channel_axis": 1}
    said = "measured 1 of 2 activations: 1 GELU left out (--layers NAMES --rectify relu)"
    rows = [{**row, "parameters": 0, "multiply_adds": 0, "default": True, "completeness": said}]
    engine(f"print({json.dumps(json.dumps({'id': 1, 'answer': rows}))})")
    outcome = psi("layers", "net.py:Net")
    assert (outcome.code, said in " ".join(outcome.err.split())) == (0, True)


def test_a_live_bar_tells_phase_rate_and_shares(psi, engine, monkeypatch, capsys):
    monkeypatch.setattr(bar, "_can_move", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    engine(worker(FINISH))
    outcome = psi("run")
    assert outcome.code == 0
    for part in ("measuring", "50 images/s", "batch 25", "benign + PSI 25 %", "gradient 50 %", "accuracy", "Ctrl-C"):
        assert part in outcome.err
    assert "\x1b[?25h" in outcome.err, "the cursor is shown again"


def test_what_the_table_needs_is_loaded_while_the_engine_starts(monkeypatch):
    loading = threading.Event()
    monkeypatch.setattr(run_command, "import_module", lambda name: loading.set() if name == "scipy.stats" else None)

    def start(do, **fields):
        assert loading.wait(30), "the worker would wait for its cores"
        raise ModelError("model: that is all")

    monkeypatch.setattr(run_command, "start", start)
    with pytest.raises(ModelError, match="that is all"):
        run_command.start_and_follow("start", detach=False, quiet=False)
