"""`python -m psi_core COMMAND`: the engine as a child process. JSON in on standard input, JSON lines out.

    start --runs-dir DIR   a RunConfig in; checks it, makes the run directory, prints {"run": path}, works on
    queue --runs-dir DIR   as start, but leaves the work to others
    plan --runs-dir DIR    a RunConfig in; prints what the run would cost
    work RUN_DIR           one worker; under torchrun or srun one of several, see psi_core.runs.processes
    resume RUN_DIR         as start, for a run that is there
    images RUN_DIR         {"to", "formats"} in; writes the images of a run, prints how far it is
    fit                    a recipe in; prints the fit's events
    ablate                 an AblationConfig in; prints events, and at last the rows
    models [PATTERN] | layers | doctor | bench
    assist                 answers questions, one JSON line each, until its standard input ends; see psi_core.serve

A refusal is one line {"error": sentence, "kind": class} and exit code 2; a failure under way exits 1.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from psi_core.errors import ConfigError
from psi_core.runs.processes import rank_of, worker_environment
from psi_core.serve import Answer, assist

_REFUSED = 2


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given == ["assist"]:
        return assist(_engine_answers)
    if given[:1] in (["work"], ["resume"]):
        try:
            _adapt_to_neighbors(Path(given[-1]))
        except ConfigError as error:
            print(json.dumps({"error": str(error), "kind": type(error).__name__}), flush=True)  # noqa: T201
            return _REFUSED
    from psi_core.engine.commands import run_command

    return run_command(given)


def _adapt_to_neighbors(run_directory: Path) -> None:
    """Sets what a worker needs that shares its machine: OpenMP reads it once, when torch is loaded."""
    config = None
    with contextlib.suppress(OSError, ValueError):  # What is amiss with the run is said by whoever opens it.
        config = json.loads((run_directory / "config.json").read_text(encoding="utf-8"))
    for name, value in worker_environment(rank_of().workers, config).items():
        os.environ.setdefault(name, value)


def _engine_answers() -> Mapping[str, Answer]:
    from psi_core.engine.answers import engine_answers

    return engine_answers()


if __name__ == "__main__":
    sys.exit(main())
