"""The script of `psi-tui run --slurm`, run by bash with stand-ins for Slurm's own commands."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from psi_core.engine import analyze
from psi_core.engine.commands import queue
from psi_core.engine.work.worker import Worker
from psi_core.runs.run import Run
from tests.engine.gated_runs import GATE, gated_network, has_begun, send, starts
from tests.engine.processes import assert_same_results, small_config, wait_until

# As many tasks as --ntasks says, else the job, each with the variables of its step; the worst exit code.
SRUN = """#!/bin/bash
tasks=$SLURM_NTASKS
while [[ $1 == --* ]]; do
    [[ $1 == --ntasks=* ]] && tasks=${1#*=}
    shift
done
for ((task = 0; task < tasks; task++)); do
    SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_STEP_NUM_TASKS=$tasks "$@" &
    pids+=($!)
done
worst=0
for pid in "${pids[@]}"; do
    wait "$pid" || worst=$?
done
exit "$worst"
"""
SCONTROL = '#!/bin/bash\necho "$@" >>requeued\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the run is typed, with srun and scontrol on the path."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "my folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def start_job(script: str, tasks: int, restarts: int) -> subprocess.Popen[str]:
    """The script as Slurm starts it, for the first time or again."""
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": str(tasks), "SLURM_PROCID": "0", "SLURM_RESTART_COUNT": str(restarts)}
    environment = {**os.environ, **job, "SLURM_SUBMIT_DIR": str(Path.cwd())}
    return subprocess.Popen(["bash", "-c", script], env=environment, cwd="/", stdout=subprocess.PIPE, text=True)


def test_a_job_whose_time_is_up_queues_again_and_goes_on(
    folder: Path, own_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = gated_network(folder)
    (folder / "spec.toml").write_text('images = 90\nchunk = 14\nbatch = 5\nthreads = 1\nweights = "built"\n')
    typed = ["--model", "network.py:net", "--size", "28", "--normalize", "none", "--epsilon", "0,0.1"]
    command = [Path(sys.executable).with_name("psi-tui"), "run", "spec.toml", *typed]
    written = subprocess.run(
        [*command, "--device", "cpu", "--devices", "2", "--slurm"], capture_output=True, text=True, check=True
    )
    assert not own_folders.exists()
    monkeypatch.setenv(GATE, str(tmp_path / "gate"))
    first = start_job(written.stdout, 1, 0)
    wait_until(lambda: any(own_folders.glob("2*")))
    (directory,) = own_folders.glob("2*")
    wait_until(lambda: has_begun(directory, 0))
    send(directory, 0, signal.SIGUSR1)
    output, _ = first.communicate(timeout=60)
    assert (first.returncode, (folder / "requeued").read_text()) == (0, "requeue 7\n"), output
    (tmp_path / "gate").touch()
    again = start_job(written.stdout, 2, 1)
    output, _ = again.communicate(timeout=60)
    assert (again.returncode, (folder / "requeued").read_text()) == (0, "requeue 7\n"), output
    assert list(own_folders.iterdir()) == [directory]
    assert [event["workers"] for event in starts(directory, 0)] == [1, 2]
    assert [event["workers"] for event in starts(directory, 1)] == [2]
    assert_same_results(directory, analyze(small_config(**options), tmp_path).directory)


def test_a_queued_run_waits_for_any_worker(own_folders: Path) -> None:
    run = Run(queue(small_config(images=10).model_dump(mode="json"))["run"])
    assert (run.status, run.directory.parent) == ("queued", own_folders)
    assert Worker(run.directory).work() == "finished"
    assert run.status == "done"
