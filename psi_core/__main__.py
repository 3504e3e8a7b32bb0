"""`python -m psi_core COMMAND`: the engine as a child process. JSON in on standard input, JSON lines out.

    start --runs-dir DIR   a RunConfig in; checks it, makes the run directory, prints {"run": path}, works on
    plan --runs-dir DIR    a RunConfig in; prints what the run would cost
    work RUN_DIR           one worker; RANK and WORLD_SIZE in the environment make it one of several
    resume RUN_DIR         as start, for a run that is there
    images RUN_DIR         {"to", "formats"} in; writes the images of a run, prints how far it is
    fit                    a recipe in; prints the fit's events
    ablate                 an AblationConfig in; prints events, and at last the rows
    models [PATTERN] | layers | doctor | bench
    assist                 answers questions, one JSON line each, until its standard input ends; see psi_core.assist

A refusal is one line {"error": sentence, "kind": class} and exit code 2; a failure under way exits 1.
"""

import sys
from collections.abc import Mapping

from psi_core.assist import Answer, assist


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given == ["assist"]:
        return assist(_engine_answers)
    from psi_core.engine.commands import run_command

    return run_command(given)


def _engine_answers() -> Mapping[str, Answer]:
    from psi_core.engine.questions import engine_answers

    return engine_answers()


if __name__ == "__main__":
    sys.exit(main())
