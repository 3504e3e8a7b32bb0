"""`python -m psi_core COMMAND`: the engine as a child process.

    work RUN_DIR   one worker; under torchrun or srun one of several, see psi_core.runs.processes; --trust lets it run
                   the code that the run's model names, though the run was not made here
    serve          replies to questions until its standard input ends
    answer         replies to one question; the process that starts or resumes a run then works on it

What can be asked, and how, stands in psi_core.serve. A refusal exits with 2, a failure under way with 1; `work` says
why it is refused as {"error": sentence, "kind": class} on standard output.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from psi_core.errors import PsiError
from psi_core.files import open_standard_streams
from psi_core.runs.processes import rank_of, recorded_config, share_cores
from psi_core.runs.run import Run
from psi_core.runs.trust import trust
from psi_core.serve import REFUSED, answer, serve

_LAST_SECONDS = 3
"""How long a process may take to end once its command is done."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    open_standard_streams()
    parser = argparse.ArgumentParser(prog="python -m psi_core")
    commands = parser.add_subparsers(dest="command", required=True)
    worker = commands.add_parser("work")
    worker.add_argument("run_dir", type=Path)
    worker.add_argument("--trust", action="store_true")
    for name in ("serve", "answer"):
        commands.add_parser(name)
    options = parser.parse_args(arguments)
    match options.command:
        case "serve":
            return serve()
        case "answer":
            return answer()
        case _:
            return _work(options.run_dir, is_trusted=options.trust)


def _work(run_directory: Path, *, is_trusted: bool) -> int:
    try:
        if is_trusted:
            trust(Run(run_directory.absolute()))
        share_cores(rank_of().workers, recorded_config(run_directory))
        from psi_core.engine.commands import work

        return work(run_directory)
    except PsiError as error:
        print(json.dumps({"error": str(error), "kind": type(error).__name__}), flush=True)  # noqa: T201
        return REFUSED


def _end_in_time(code: int) -> None:
    """Ends the process a little later where it does not end by itself: a model's own threads may go on for ever.

    A signal to end changes nothing any more; Python would show the error that it raises in what is called last.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def end() -> None:
        time.sleep(_LAST_SECONDS)
        with contextlib.suppress(ValueError, OSError):
            sys.stdout.flush()
        os._exit(code)

    threading.Thread(target=end, daemon=True).start()


if __name__ == "__main__":
    try:
        status: object = main()
    except SystemExit as leaving:
        status = leaving.code
    _end_in_time(status if isinstance(status, int) else 1)
    sys.exit(status)  # type: ignore[arg-type]  # What SystemExit held.
