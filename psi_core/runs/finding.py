"""Finding runs: by path, id, unique name, unique prefix, the end of an id, or `latest`."""

import contextlib
import os
from pathlib import Path
from typing import TypeAlias

from psi_core.errors import RunError, missing_file, unknown_name
from psi_core.files import examples_directory, is_file, runs_directory, typed_path
from psi_core.runs.run import Run

PathText: TypeAlias = str | os.PathLike[str]

_SHORTEST_END = 6
"""Characters of an id's end that find it: those by which the runs of one second differ."""


def load_run(run: PathText, runs_dir: PathText | None = None, *, preview: bool = False) -> Run:
    """A run by path, id, unique name, unique prefix, the end of an id, or `latest`; the first that fits.

    Args:
        run: what to look for.
        runs_dir: the folder of run directories; default $PSI_RUNS_DIR, else the user's data folder.
        preview: whether to merge the open chunks of running workers.

    Raises:
        RunError: nothing fits, or several do; `run` is no text and no path.
    """
    return Run(find_run(run, runs_dir), preview=preview)


def list_runs(runs_dir: PathText | None = None, *, examples: bool = True) -> list[Run]:
    """Every readable run, newest first, the shipped examples last."""
    own = sorted(_looked_at(runs_directory(runs_dir))[0], key=lambda run: (run.created_at, run.id), reverse=True)
    shipped = sorted(_looked_at(examples_directory())[0], key=lambda run: run.name) if examples else []
    return own + shipped


def damaged_runs(runs_dir: PathText | None = None) -> dict[Path, str]:
    """Run directories that cannot be read, and why, in a sentence each."""
    return _looked_at(runs_directory(runs_dir))[1]


def find_run(run: PathText, runs_dir: PathText | None = None) -> Path:
    """The directory of the run that `load_run` would load."""
    text = run if isinstance(run, str) else os.fspath(run) if isinstance(run, os.PathLike) else None
    if not isinstance(text, str):
        raise RunError(f"run: {run!r} is no text; write a run's folder, id or name, or latest")
    with contextlib.suppress(OSError):  # The current folder may be gone.
        path = typed_path(text)
        if text and is_file(path / "config.json"):
            return path.absolute()
    everything = list_runs(runs_dir)
    own = [known for known in everything if not known.is_example]
    identified = [known for known in own if known.id == text]
    named = [known for known in everything if known.name == text]
    prefixed = [known for known in own if known.id.startswith(text) or known.name.startswith(text)]
    ended = [known for known in own if len(text) >= _SHORTEST_END and known.id.endswith(text)]
    for found in (identified, named, prefixed if text not in ("", "latest") else [], ended):
        if len(found) == 1:
            return found[0].directory
        if found:
            ids = [known.id for known in found]
            # Two copies of one run are told apart by their places alone.
            told = [known.id if ids.count(known.id) == 1 else str(known.directory) for known in found]
            listed = ", ".join(told[:5]) + (", ..." if len(found) > 5 else "")
            raise RunError(f"run: {text!r} fits {len(found)} runs ({listed}); write one id, or a path")
    if text == "latest" and own:
        return own[0].directory
    with contextlib.suppress(OSError, ValueError):
        inside = runs_directory(runs_dir) / text
        if Path(text).name == text and looks_like_run(inside):
            return inside  # It is damaged: whoever opens it says how.
        if sentence := _no_run_at(text):
            raise RunError(sentence)
    if text == "latest" or not everything:
        raise RunError(f"run: there is none yet in {runs_directory(runs_dir)}; start one with psi-tui run")
    names = [known.name for known in everything] + [known.id for known in own]
    raise RunError(unknown_name("run", text, list(dict.fromkeys([*names, "latest"]))))


def _no_run_at(text: str) -> str:
    """Why there is no run at a path, in one sentence; empty where the text is none."""
    path, advice = typed_path(text), "write a run's folder, id or name; psi-tui runs lists them"
    try:
        is_folder, entries = path.is_dir(), [*path.iterdir()] if text and path.is_dir() else []
    except PermissionError as error:
        return f"run: {text} cannot be looked into ({error.strerror}); check who owns it"
    if text and is_folder:
        found = next(filter(looks_like_run, entries), None)
        if found is None:
            return f"run: {text} is a folder without a run in it; {advice}"
        return f"run: {text} is a folder of runs; write one of them, such as {found}; psi-tui runs --runs-dir {text}"
    if text and (os.path.lexists(path) or "/" in text):
        return missing_file("run", path, advice, "folder")
    return ""


def looks_like_run(directory: Path) -> bool:
    """Whether a directory has a configuration, or lets nobody see whether it has."""
    try:
        (directory / "config.json").lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _looked_at(folder: Path) -> tuple[list[Run], dict[Path, str]]:
    """The runs of a folder, and the damaged ones. Names with a leading dot are runs half made or half deleted."""
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return [], {}
    except OSError as error:
        raise RunError(f"runs-dir: {folder} cannot be read ({error.strerror}); name another with --runs-dir") from None
    runs, damaged = [], {}
    for path in paths:
        try:
            runs.append(Run(path))
        except RunError as error:
            if looks_like_run(path):
                damaged[path] = str(error)
    return runs, damaged
