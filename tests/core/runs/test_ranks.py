"""Which worker a process is, by what torchrun, srun or nobody put into its environment."""

import json
import os
import subprocess
import sys

import pytest

from psi_core import __main__
from psi_core.errors import ConfigError
from psi_core.runs.processes import ALONE, Rank, rank_of

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
SBATCH = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "4"}
SRUN = {**SBATCH, "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        pytest.param({}, ALONE, id="alone"),
        pytest.param(TORCHRUN, Rank(5, 8, 1), id="torchrun"),
        pytest.param({"RANK": "1", "WORLD_SIZE": "2"}, Rank(1, 2, 1), id="set by hand"),
        pytest.param(SRUN, Rank(3, 4, 1), id="srun"),
        pytest.param({**SRUN, **TORCHRUN}, Rank(5, 8, 1), id="torchrun inside srun"),
        pytest.param(SBATCH, ALONE, id="sbatch script, outside srun"),
        pytest.param({**SRUN, "WORLD_SIZE": "4"}, Rank(3, 4, 1), id="srun, and a variable for other programs"),
    ],
)
def test_a_rank_is_what_the_launcher_says(environment: dict[str, str], rank: Rank) -> None:
    assert rank_of(environment) == rank


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "0"}, "RANK: it is set and WORLD_SIZE is not; leave both to torchrun, or unset RANK"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE: it is set and RANK is not; leave both to torchrun, or unset WORLD_SIZE"),
        ({**TORCHRUN, "RANK": "x"}, "RANK: 'x' is no whole number; leave it to torchrun, or unset it"),
        ({**TORCHRUN, "RANK": "-1"}, "RANK: '-1' is no whole number"),
        ({**TORCHRUN, "WORLD_SIZE": ""}, "WORLD_SIZE: '' is no whole number"),
        ({**TORCHRUN, "LOCAL_RANK": "1.5"}, "LOCAL_RANK: '1.5' is no whole number"),
        ({**TORCHRUN, "RANK": "8"}, "RANK: 8 is not below WORLD_SIZE 8; leave both to torchrun"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "RANK: 0 is not below WORLD_SIZE 0"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "SLURM_STEP_NUM_TASKS: it is set and SLURM_PROCID is not; leave both to srun"),
        ({**SRUN, "SLURM_PROCID": "4"}, "SLURM_PROCID: 4 is not below SLURM_STEP_NUM_TASKS 4; leave both to srun"),
    ],
    ids=str,
)
def test_what_makes_no_rank_is_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        rank_of(environment)
    assert str(refusal.value).startswith(said)


@pytest.mark.parametrize(("environment", "policy"), [({}, None), ({"RANK": "1", "WORLD_SIZE": "2"}, "PASSIVE")])
def test_threads_of_several_workers_do_not_spin(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], policy: str | None
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    seen = []
    commands = type(sys)("psi_core.engine.commands")
    commands.work = lambda _run: seen.append(os.environ.get("OMP_WAIT_POLICY"))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "psi_core.engine.commands", commands)
    monkeypatch.setenv("OMP_WAIT_POLICY", "before")  # Put back afterwards, whatever the command sets.
    monkeypatch.delenv("OMP_WAIT_POLICY")
    __main__.main(["work", "somewhere"])
    assert seen == [policy]


def test_a_worker_of_no_rank_is_refused_before_torch_is_loaded() -> None:
    code = (
        "import sys; from psi_core.__main__ import main; "
        "print(main(['work', 'nowhere']), any(name in sys.modules for name in ('torch', 'psi_core.engine')))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env={"RANK": "2"}, capture_output=True, text=True, timeout=60, check=True
    )
    answer, outcome = told.stdout.splitlines()
    assert json.loads(answer)["kind"] == "ConfigError"
    assert "WORLD_SIZE" in json.loads(answer)["error"]
    assert outcome == "2 False"
