"""Liveness of real processes, and how a child is started."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from psi_core.runs import processes
from psi_core.runs.event_log import log_path
from psi_core.runs.events import Started, event_of
from psi_core.runs.processes import (
    STALE_SECONDS,
    is_alive,
    is_paused,
    own_identity,
    python_command,
    share_cores,
    start_child,
    worker_environment,
)
from tests.core.living import Worker
from tests.recorded import record_run

NO_LOG = "the process table answers; the log is not asked"


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.bury()


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "events-0.jsonl"
    path.touch()
    return path


def make_old(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_this_process_lives(tmp_path):
    assert is_alive(Started(**own_identity()), tmp_path / NO_LOG)


def test_a_child_lives_until_it_exits_though_nobody_waits_for_it(worker, tmp_path):
    assert is_alive(Started(**worker.identity), tmp_path / NO_LOG)
    worker.end()
    os.kill(worker.identity["pid"], 0)  # A zombie answers signals: that is why they are not asked.
    assert not is_alive(Started(**worker.identity), tmp_path / NO_LOG)
    worker.bury()
    assert not is_alive(Started(**worker.identity), tmp_path / NO_LOG)


def test_a_fresh_log_does_not_wake_the_dead(worker, log):
    worker.bury()
    assert not is_alive(Started(**worker.identity), log)


def test_another_process_with_the_same_id_is_not_the_worker(worker, tmp_path):
    earlier = Started(**{**worker.identity, "process_start": worker.identity["process_start"] - 1})
    assert not is_alive(earlier, tmp_path / NO_LOG)


@pytest.mark.parametrize("command", [") Z 1 (", "a b) (c", "Z"])
def test_a_command_of_any_name_lives(command, tmp_path):
    worker = Worker(command)
    try:
        assert is_alive(Started(**worker.identity), tmp_path / NO_LOG)
    finally:
        worker.bury()


@pytest.mark.parametrize("elsewhere", [{"boot_id": "other"}, {"pid_namespace": "pid:[1]"}, {"boot_id": ""}])
def test_elsewhere_a_heartbeat_of_the_last_minute_is_life(elsewhere, log):
    identity = Started(**{**own_identity(), "host": "elsewhere", **elsewhere})
    make_old(log, STALE_SECONDS - 5)
    assert is_alive(identity, log)
    make_old(log, STALE_SECONDS + 5)
    assert not is_alive(identity, log)
    log.unlink()
    assert not is_alive(identity, log)


def test_without_a_process_table_the_heartbeat_answers(log, monkeypatch):
    monkeypatch.setattr("psi_core.runs.processes._boot_id", lambda: "")
    monkeypatch.setattr("psi_core.runs.processes._pid_namespace", lambda: "")
    identity = Started(pid=os.getpid())
    assert is_alive(identity, log)
    make_old(log, STALE_SECONDS + 5)
    assert not is_alive(identity, log)


@pytest.fixture
def without_proc(tmp_path, monkeypatch):
    """A system as macOS is: no /proc, and a `sysctl` that tells of the boot."""
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "sysctl").write_text('#!/bin/sh\n[ "$*" = "-n kern.bootsessionuuid" ] && echo 1F2E-3D4C\n')
    (commands / "sysctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(processes, "_PROC", tmp_path / "proc")
    processes._boot_by_sysctl.cache_clear()
    yield processes._process_by_ps.cache_clear
    processes._boot_by_sysctl.cache_clear()
    processes._process_by_ps.cache_clear()


@pytest.mark.skipif(shutil.which("ps") is None, reason="the system has no ps")
def test_where_there_is_no_proc_the_systems_commands_tell_of_processes(without_proc, log):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        own = own_identity()
        assert own["boot_id"] == "1F2E-3D4C"
        assert abs(time.time() - own["process_start"]) < 86400 * 10
        identity = {**own, "pid": child.pid, "process_start": processes._process_start(child.pid)}
        make_old(log, STALE_SECONDS + 5)
        assert is_alive(Started(**identity), log), "the log is not asked"
        assert not is_alive(Started(**{**identity, "process_start": identity["process_start"] - 60}), log), "another's"
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        without_proc()
        assert is_paused(Started(**identity))
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        without_proc()
        assert not is_alive(Started(**identity), log), "a zombie"
        child.wait()
        without_proc()
        assert not is_alive(Started(**identity), log)
    finally:
        child.kill()
        child.wait()


def test_without_such_commands_the_heartbeat_answers(without_proc, log, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    identity = own_identity()
    assert (identity["boot_id"], identity["process_start"]) == ("", None)
    assert is_alive(Started(**identity), log)
    make_old(log, STALE_SECONDS + 5)
    assert not is_alive(Started(**identity), log)


@pytest.mark.parametrize("pid", [None, "x", -1, 2**40])
def test_an_impossible_process_is_dead(pid, tmp_path):
    assert not is_alive(event_of({"event": "started", "time": 0, **own_identity(), "pid": pid}), tmp_path / NO_LOG)


def test_a_child_is_psi_core_in_a_session_of_its_own(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\necho "$@" "$PSI_TEST" "$PSI_RUNS_DIR"; echo "$(cat)" >&2\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with (tmp_path / "output").open("w+") as output:
        child = start_child(["work", "a b"], environment={"PSI_TEST": "planted"}, output=output)
        assert os.getsid(child.pid) == child.pid != os.getsid(0)
        child.communicate("asked")
        output.seek(0)
        assert output.read() == f"-P -m psi_core work a b planted {os.environ['PSI_RUNS_DIR']}\nasked\n"
    piped = start_child(["inspect"], output=subprocess.DEVNULL)
    assert piped.communicate("")[0] is None
    answered = start_child(["inspect"])
    assert answered.communicate("")[0].startswith("-P -m psi_core inspect")
    with (tmp_path / "errors").open("w+") as errors:
        apart = start_child(["inspect"], errors=errors)
        assert apart.communicate("asked")[0].startswith("-P -m psi_core inspect")
        errors.seek(0)
        assert errors.read() == "asked\n"


@pytest.mark.parametrize(
    ("workers", "config", "shares"),
    [
        (1, None, False),
        (1, {"data": "mnist"}, False),
        (2, {"data": "mnist"}, True),
        (1, {"data": "folder:pictures"}, True),
        (1, {"data": "torchvision:CIFAR10"}, True),
        (1, {"data": "npz:images.npz", "attacked": "folder:attacked"}, True),
    ],
)
def test_threads_do_not_spin_on_cores_that_others_need(workers, config, shares):
    assert ("OMP_WAIT_POLICY" in worker_environment(workers, config)) is shares


@pytest.mark.parametrize(
    ("workers", "policy"), [("1", None), (1, None), ("2", "PASSIVE"), (2, "PASSIVE"), ("two", None)]
)
def test_workers_that_share_cores_do_not_spin(monkeypatch, workers, policy):
    monkeypatch.setenv("OMP_WAIT_POLICY", "before")  # Put back afterwards.
    monkeypatch.delenv("OMP_WAIT_POLICY")
    share_cores(workers, {"data": "mnist"})
    assert os.environ.get("OMP_WAIT_POLICY") == policy
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    share_cores(2, {})
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE", "what a user set stays"


@pytest.mark.parametrize("module", ["psi_core", "psi_core.decoder"])
def test_no_file_beside_the_user_takes_the_place_of_a_library(module, tmp_path, monkeypatch):
    for name in ("random", "json", "re", "typing", "numpy", "torch", "pydantic", "PIL", "psi_core"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'hijacked')!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    path = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*path, str(Path(__file__).parents[3])]))
    if module == "psi_core":
        child = start_child(["answer"], errors=subprocess.DEVNULL)
        output, _ = child.communicate(json.dumps({"do": "rows", "run": "nowhere", "table": "layers"}))
        assert "there is no such file" in output
    else:
        done = subprocess.run(python_command(module), input=b"", capture_output=True, check=True)
        assert done.stderr == b""
    assert not (tmp_path / "hijacked").exists()


@pytest.mark.parametrize("module", ["psi_core", "psi_core.decoder", "psi_tui"])
def test_nor_where_others_start_one_of_our_modules(module, tmp_path, monkeypatch):
    for name in ("argparse", "contextlib", "json", "typing", "importlib", "numpy", "torch"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'hijacked')!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    done = subprocess.run([sys.executable, "-m", module, "--help"], input=b"", capture_output=True, check=False)
    assert not (tmp_path / "hijacked").exists()
    assert done.returncode == 0


def test_a_worker_that_others_start_loads_torch_from_the_library(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text(f"open({str(tmp_path / 'hijacked')!r}, 'w').close()")
    directory = record_run(tmp_path / "runs", chunks=[], data="npz:/nowhere.npz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    command = [sys.executable, "-m", "psi_core", "work", str(directory)]
    subprocess.run(command, capture_output=True, check=False)
    assert "nowhere.npz" in log_path(directory, 0).read_text()
    assert not (tmp_path / "hijacked").exists()


_COMPUTES = """
import sys, time
while time.process_time() < 0.1:
    pass
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells what a process has computed")
def test_what_a_child_of_a_process_computes_counts_as_its_own():
    command = [sys.executable, "-c", _COMPUTES]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        own, tenth = sum(os.times()[:2]), os.sysconf("SC_CLK_TCK") // 10
        assert processes._processor_ticks(child.pid) >= tenth - 2
        assert processes._processor_ticks(os.getpid()) >= own * os.sysconf("SC_CLK_TCK") + tenth - 3
        child.stdin.close()
