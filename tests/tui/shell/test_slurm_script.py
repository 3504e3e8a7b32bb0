"""`psi-tui run --slurm`: what the script asks Slurm for, what it types, and when it queues again."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from psi_core.config import RunConfig
from psi_core.runs.status import STOP_FILE
from psi_tui.shell.slurm_script import slurm_script
from tests.recorded import record_run


def parts_of(script: str) -> tuple[dict[str, str], list[str]]:
    """The options for sbatch by name, and the words of the command that makes the run."""
    asked = [line.removeprefix("#SBATCH --").partition("=") for line in script.splitlines() if "#SBATCH" in line]
    command = script.partition("--ntasks=1 ")[2].partition(' >"$kept"')[0].replace("\\\n", " ")
    return {name: value for name, _, value in asked}, shlex.split(command)


def test_the_script_asks_for_a_device_a_task(psi, own_folders):
    outcome = psi("run", "--devices", 4, "--slurm")
    asked, command = parts_of(outcome.out)
    assert (asked["ntasks"], asked["gpus-per-task"], asked["job-name"]) == ("4", "1", "psi-tui")
    assert (asked["signal"], asked["requeue"], asked["open-mode"]) == ("USR1@120", "", "append")
    assert command == ["psi-tui", "run", "--devices=1", f"--runs-dir={own_folders}", "--queue"]
    assert outcome.out.startswith("#!/bin/bash\n#SBATCH")
    assert subprocess.run(["bash", "-n"], input=outcome.out, text=True, check=False).returncode == 0
    assert (outcome.err, own_folders.exists()) == ("", False)


def test_on_a_cpu_it_asks_for_no_gpu(psi):
    asked, _ = parts_of(psi("run", "--device", "cpu", "--threads", 3, "--name", "my run", "--slurm").out)
    assert "gpus-per-task" not in asked
    assert (asked["cpus-per-task"], asked["job-name"], asked["ntasks"]) == ("3", "my-run", "1")


def test_what_was_typed_comes_back_from_the_shell(psi, tmp_path, monkeypatch):
    folder = tmp_path / "it's a $HOME"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "a spec.toml").write_text('devices = 3\nmodel = "vgg11"\n')
    typed = ["--data", "folder:$(pictures) 'here'", "--epsilon", "0.03,0.1", "--skip-unreadable"]
    script = psi("run", "a spec.toml", "--preset", "evidence", *typed, "--runs-dir", "my runs", "--slurm").out
    asked, command = parts_of(script)
    assert asked["ntasks"] == "3"
    assert command == [
        "psi-tui",
        "run",
        str(folder / "a spec.toml"),
        "--preset=evidence",
        "--data=folder:$(pictures) 'here'",
        "--epsilon=0.03,0.1",
        "--skip-unreadable",
        "--devices=1",
        f"--runs-dir={folder / 'my runs'}",
        "--queue",
    ]
    assert f"\ncd {shlex.quote(str(folder))} || exit\n" in script


def test_workers_elsewhere_trust_the_code_that_was_typed_here_and_no_other(psi):
    assert 'psi_core work --trust "$run"' in psi("run", "--model", "mine.py:small", "--slurm").out
    for model in ("vgg11", "torchvision:resnet18", "hf:google/vit"):
        script = psi("run", "--model", model, "--slurm").out
        assert 'psi_core work "$run"' in script and "--trust" not in script


@pytest.mark.parametrize(
    ("worked", "stopped", "restarts", "is_whole", "outcome"),
    [
        pytest.param(0, False, 0, False, (0, True), id="left in time"),
        pytest.param(0, False, 0, True, (0, False), id="done"),
        pytest.param(137, False, 0, True, (0, False), id="done in spite of one that was killed"),
        pytest.param(1, False, 0, False, (1, False), id="failed"),
        pytest.param(0, True, 0, False, (0, False), id="stopped by hand"),
        pytest.param(0, False, 50, False, (1, False), id="left for the fifty-first time"),
    ],
)
def test_it_queues_again_only_when_the_workers_left_in_time(
    tmp_path: Path, worked: int, stopped: bool, restarts: int, is_whole: bool, outcome: tuple[int, bool]
) -> None:
    run = record_run(tmp_path / "runs", finished=is_whole, chunks=None if is_whole else [0])
    work = f"touch {run / STOP_FILE}; exit {worked}" if stopped else f"exit {worked}"
    commands = {
        "srun": f'case "$*" in *--queue) echo {run};; *) {work};; esac',
        "scontrol": f'[ "$*" = "requeue 7" ] && touch {tmp_path / "requeued"}',
    }
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_RESTART_COUNT": str(restarts),
    }
    script = slurm_script(RunConfig(), {}, tmp_path / "runs")
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, (tmp_path / "requeued").exists()) == outcome, done
    assert done.stderr == ""


def test_queue_prints_the_path_and_starts_no_worker(psi, engine):
    answer = '{"id": 1, "answer": {"run": "/runs/1"}}'
    engine(f"import json, sys; print({answer!r}) if json.loads(input())['do'] == 'queue' else sys.exit(1)")
    outcome = psi("run", "--queue", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "/runs/1\n", "")


def test_a_run_ends_in_one_way(psi):
    outcome = psi("run", "--queue", "--slurm", "--detach")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "psi-tui: --detach, --queue, --slurm: exclude each other; write one of them\n"


def test_a_run_that_is_refused_ends_the_job(tmp_path: Path) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\nexit 2\n")
    (tmp_path / "srun").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/bin:/usr/bin", "SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(tmp_path)}
    script = slurm_script(RunConfig(), {}, tmp_path)
    assert subprocess.run(["bash", "-c", script], env=environment, check=False).returncode == 2
