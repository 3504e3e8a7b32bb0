"""Statistics computed once: what a run's finished chunks gave is kept as JSON in the user's cache folder.

A file is found by run and question; it is valid as long as the chunks and this package's code are those it was made by.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from psi_core.files import Cache, note_use
from psi_core.runs.chunks import CHUNKS
from psi_core.runs.run import Run

CACHE = Cache("statistics", r"[A-Za-z]+-[0-9a-f]{16}\.json", most=200)
"""Answers about all runs."""


def remembered(run: Run, question: tuple[str | int, ...], compute: Callable[[], Any]) -> Any:
    """What `compute` gives, or gave before for the same run, question, chunks and code.

    Args:
        run: the run whose results `compute` reads.
        question: what distinguishes this answer from others of the run, a word of letters first.
        compute: gives something that JSON holds.
    """
    made_by = None if run.has_preview else _made_by(run)
    if made_by is None:
        return compute()
    name = _name(run, question)
    path = CACHE.path(name)
    found = _read(path, made_by)
    if found is not None:
        note_use(path)
        return found["answer"]
    answer = compute()
    # Chunks that were finished meanwhile may be in it or not.
    if _made_by(run) == made_by:
        content = {"made_by": made_by, "crc32": _checksum(answer), "answer": answer}
        CACHE.keep(name, json.dumps(content).encode())
    return answer


def _name(run: Run, question: tuple[str | int, ...]) -> str:
    identity = json.dumps([str(run.directory.resolve()), run.id, *question])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    word = re.fullmatch("[A-Za-z]+", str(question[0]))
    return f"{word[0] if word else 'answer'}-{digest}.json"


def _read(path: Path, made_by: str) -> dict[str, Any] | None:
    """The file's content, or None where it is missing, damaged, or made by other chunks or code."""
    try:
        content = json.loads(path.read_bytes())
        is_sound = content["made_by"] == made_by and content["crc32"] == _checksum(content["answer"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if is_sound else None


def _checksum(answer: Any) -> int:
    return zlib.crc32(json.dumps(answer).encode())


def _made_by(run: Run) -> str | None:
    """What distinguishes these chunks and this code from all others; None where a chunk vanished while we looked."""
    try:
        files = sorted((run.directory / CHUNKS).glob("*.npz"))
        chunks = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    except OSError:
        return None
    return hashlib.sha256(json.dumps([chunks, _code_digest()]).encode()).hexdigest()


@cache
def _code_digest() -> str:
    """Of every file that statistics and tables may depend on: a mended formula must not leave its old numbers."""
    digest = hashlib.sha256()
    for path in code_files():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def code_files() -> list[Path]:
    """Every source file of psi_core outside the engine, in whatever folder."""
    package = Path(__file__).parents[1]
    return sorted(path for path in package.rglob("*.py") if package / "engine" not in path.parents)
