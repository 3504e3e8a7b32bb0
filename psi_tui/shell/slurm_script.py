"""The sbatch script of a run: made where the run was typed, without the engine, for people to edit."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from psi_core.config import RunConfig, is_factory
from psi_core.options import flag_of

_CPUS = 8
_INDENT = " \\\n        "

_ABOUT = """
# Written by psi-tui run --slurm: edit what you like, then hand it to sbatch. Two minutes before its time is up each
# worker gets USR1 and leaves after its batch; the job queues again and goes on, until every chunk is there.
most_requeues=50

# The environment and the folder that this was written in."""

_MAKE_RUN = """
# srun does not take this from sbatch by itself since Slurm 22.05.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

# The run is made once, as one task, so that device, batch and threads suit a worker; --ntasks, not --devices, says how
# many workers there are. A requeued job keeps its number, and so finds the run again.
kept=$SLURM_SUBMIT_DIR/psi-tui-$SLURM_JOB_ID.run
if [ ! -s "$kept" ]; then
    srun --nodes=1 --ntasks=1 """

_WORK = """ >"$kept" || exit
fi
run=$(tail -n 1 "$kept")
rm -f "$run/stop"
echo "run: $run"

# One that dies must not end the others: they make its chunks.
srun --kill-on-bad-exit=0 --wait=0 python -m psi_core work {trust}"$run"
code=$?

if python -c 'import sys, psi_core; sys.exit(bool(psi_core.load_run(sys.argv[1]).missing_chunks))' "$run"; then
    echo "done"
    exit 0
elif [ "$code" -ne 0 ]; then
    echo "a worker failed, see $run/engine-*.log; go on with: scontrol requeue $SLURM_JOB_ID"
    exit "$code"
elif [ -e "$run/stop" ]; then
    echo "stopped; go on with: scontrol requeue $SLURM_JOB_ID"
    exit 0
elif [ "${SLURM_RESTART_COUNT:-0}" -ge "$most_requeues" ]; then
    echo "requeued $most_requeues times and not whole; go on with: scontrol requeue $SLURM_JOB_ID"
    exit 1
fi
echo "the workers left in time; the job queues again"
scontrol requeue "$SLURM_JOB_ID"
"""


def slurm_script(
    config: RunConfig, typed: Mapping[str, Any], folder: Path, *, spec: str | None = None, preset: str | None = None
) -> str:
    """A script for sbatch that makes a run, works on it with one task a device, and requeues itself until it is whole.

    Args:
        config: the run, for the number of tasks and what each asks for.
        typed: the options that were typed, as `psi-tui run` takes them.
        folder: where the run directories lie.
        spec: the SPEC.toml that was typed.
        preset: the preset that was typed.
    """
    is_cpu = config.device == "cpu"
    asked = {
        "job-name": config.name.replace(" ", "-") or "psi-tui",
        "ntasks": config.devices,
        **({} if is_cpu else {"gpus-per-task": 1}),
        "cpus-per-task": _CPUS if config.threads == "auto" else config.threads,
        "time": "04:00:00",
        "signal": "USR1@120",
    }
    header = [f"#SBATCH --{name}={value}" for name, value in asked.items()]
    header += ["#SBATCH --requeue", "#SBATCH --open-mode=append", "#SBATCH --output=psi-tui-%j.log"]
    place = [
        f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
        "export PYTHONSAFEPATH=1  # No file of that folder takes the place of a library.",
        f"cd {shlex.quote(str(Path.cwd()))} || exit",
    ]
    command = _INDENT.join(_queue_command(typed, folder, spec, preset))
    # Code that was typed here is trusted on nodes too, whose homes need not know of the run.
    work = _WORK.replace("{trust}", "--trust " if is_factory(config.model) else "")
    return "\n".join(["#!/bin/bash", *header, _ABOUT, *place]) + "\n" + _MAKE_RUN + command + work


def _queue_command(typed: Mapping[str, Any], folder: Path, spec: str | None, preset: str | None) -> list[str]:
    """`psi-tui run --queue` with what was typed, shell-quoted, one option a line."""
    words = ["psi-tui run" if spec is None else f"psi-tui run {shlex.quote(str(Path(spec).absolute()))}"]
    others = {name: value for name, value in typed.items() if name != "devices"}
    options = {"preset": preset, **others, "devices": 1, "runs-dir": folder}
    for name, value in options.items():
        option = flag_of(name)
        if value is True:
            words.append(option)
        elif value is not None:
            words.append(shlex.quote(f"{option}={value}"))
    return [*words, "--queue"]
