"""Reads damaged run directories by every reading command, in one process, and prints what went wrong as JSON lines.

python -m tests.tui.mutation_reader RUNS_DIR SECONDS_AT_MOST FIRST_SEED COUNT
"""

import contextlib
import io
import json
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from psi_core.errors import PsiError
from psi_tui.cli import main
from psi_tui.runs.open_run import RunReader
from psi_tui.runs.run_list import RunList
from tests.core.mutations import mutate
from tests.recorded import record_run

_BYTES = 1_000_000_000


def _read_all(runs: Path, run: str, out: Path) -> dict[str, Callable[[], Any]]:
    """Every way in which a run is read, by name."""

    def command(*arguments: str) -> Callable[[], Any]:
        return lambda: main([*arguments, "--runs-dir", str(runs)])

    def listed() -> None:
        followed = RunList(runs)
        followed.poll()
        followed.poll()

    def opened() -> None:
        with contextlib.suppress(PsiError, OSError):
            RunReader(runs / run).poll()

    path = str(runs / run)
    tables = ("layers", "classes", "conditions", "evidence", "images", "channels")
    return {
        "list": listed,
        "open": opened,
        "runs": command("runs"),
        "runs --json": command("runs", "--json"),
        **{f"show {table}": command("show", path, "--table", table) for table in tables},
        "show": command("show", path),
        "plot": command("show", path, "--plot", "conv1"),
        "watch": command("watch", path),
        "verify": command("verify", path),
        "compare": command("compare", path, "whole"),
        "export": command("export", path, "--to", str(out / "export")),
        "report": command("report", path, "--to", str(out / "report.md"), "--replace"),
        "label": command("label", path),
        "label --tag": command("label", path, "--tag", "seen", "--note", "read"),
        "delete": command("delete", path, "--yes"),
    }


def _late(*_: object) -> None:
    raise TimeoutError("it took too long")


def _try(name: str, act: Callable[[], Any], seconds: int, codes: tuple[int, ...] = (0, 1, 2)) -> str:
    """What went wrong; empty where nothing did."""
    out, err = io.StringIO(), io.StringIO()
    signal.alarm(seconds)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = act()
    except BaseException:  # noqa: BLE001 - whatever comes is what the test is after.
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    if code is not None and code not in codes:
        return f"exit code {code}: {err.getvalue()}"
    if "Traceback" in err.getvalue():
        return err.getvalue()
    raw = [character for character in out.getvalue() + err.getvalue() if character < " " and character not in "\n\t"]
    return f"control characters in the output: {set(raw)}" if raw and "json" not in name else ""


def _tell(seed: int, what: str, how: str, wrong: str) -> None:
    line = json.dumps({"seed": seed, "what": what, "how": how, "wrong": wrong[-1500:]})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _main(folder: Path, seconds: int, first: int, count: int) -> None:
    signal.signal(signal.SIGALRM, _late)
    pristine = record_run(folder / "pristine")
    record_run(folder / "untouched", name="whole")
    untouched = shutil.copytree(pristine, folder / "untouched" / pristine.name)
    for name, act in _read_all(folder / "untouched", untouched.name, folder / "out").items():
        if wrong := _try(name, act, seconds, codes=(0,)):
            _tell(-1, "nothing", name, wrong)
    for seed in range(first, first + count):
        runs = folder / f"runs-{seed}"
        record_run(runs, name="whole")
        directory = runs / pristine.name
        shutil.copytree(pristine, directory)
        what = mutate(directory, seed)
        for name, act in _read_all(runs, directory.name, folder / f"out-{seed}").items():
            began = time.monotonic()
            if wrong := _try(name, act, seconds):
                _tell(seed, what, name, wrong)
            elif time.monotonic() - began > seconds:
                _tell(seed, what, name, "slow")
        shutil.rmtree(runs)
        shutil.rmtree(folder / f"out-{seed}", ignore_errors=True)


if __name__ == "__main__":
    import scipy.stats  # noqa: F401 - before memory is bounded: what libraries map is not what a run takes.

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _BYTES, used + _BYTES))
    _main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
