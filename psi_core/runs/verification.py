"""Whether a run directory still holds what its workers wrote: digests, configuration, weights. Nothing is computed."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from psi_core.errors import RunError, first_of
from psi_core.files import TEMPORARY, file_sha256, is_file
from psi_core.plain_text import counted, plain_line
from psi_core.runs.chunks import CHUNKS, chunk_path
from psi_core.runs.event_log import EventReader, events_path, worker_numbers
from psi_core.runs.events import Started
from psi_core.runs.labels import LABEL
from psi_core.runs.loading import CONFIG_DIGEST
from psi_core.runs.run import Run

Verdict = Literal["right", "wrong", "not checked"]
Look = Callable[[], tuple[Verdict, str]]

_OWN = re.compile(rf"[0-9]{{5,}}\.npz(\.wrong[0-9]*|{TEMPORARY}|\.[0-9]+\.tmp)")
"""Names in the folder of chunks that are no chunks and yet a worker's."""


@dataclass(frozen=True, slots=True)
class Verified:
    """One part of a run that was looked at.

    Attributes:
        name: what it is.
        verdict: whether it is right.
        words: what was found, in half a sentence.
    """

    name: str
    verdict: Verdict
    words: str


def verify(run: Run) -> list[Verified]:
    """Every part of a run that files alone can tell of, the first one to look at first."""
    return [Verified(name, verdict, plain_line(words)) for name, (verdict, words) in _parts(run)]


def verdict_words(run: Run) -> str:
    """What `verify` finds, in one sentence: what is wrong, else what is right and what was not checked."""
    parts = verify(run)
    if wrong := [f"{part.name}: {part.words}" for part in parts if part.verdict == "wrong"]:
        return f"wrong: {'; '.join(wrong)}"
    by_verdict = {kind: [part.name for part in parts if part.verdict == kind] for kind in ("right", "not checked")}
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in by_verdict.items() if names)


def _parts(run: Run) -> Iterator[tuple[str, tuple[Verdict, str]]]:
    yield "configuration", _told(lambda: _configuration(run))
    yield "layers", _told(lambda: _layers(run))
    yield "chunks", _told(lambda: _chunks(run))
    yield "other files", _others(run)
    yield "weights", _told(lambda: _weights(run.model))
    if os.path.lexists(run.directory / LABEL):
        told = f"{LABEL} holds name, tags and note, which anyone may change at any time"
        yield "label", ("not checked", run.label.damage or told)


def _told(look: Look) -> tuple[Verdict, str]:
    """What looking gives; a file that cannot be read is wrong."""
    try:
        return look()
    except RunError as error:
        return "wrong", str(error)


def _configuration(run: Run) -> tuple[Verdict, str]:
    begun = run.model.get(CONFIG_DIGEST)
    if begun is None:
        return "not checked", "no digest of it was recorded: no worker has begun, or one of an older version"
    if begun != run.fingerprint:
        return "wrong", "config.json was changed after the run was begun; put it back as it was"
    return "right", "as it was when the run was begun"


def _layers(run: Run) -> tuple[Verdict, str]:
    sample = "a sample" if len(run.positions) and run.positions[-1] >= run.images else "the first ones"
    return "right", f"{counted(len(run.layers), 'layer')}; images: {sample}, {run.images} of them"


def _chunks(run: Run) -> tuple[Verdict, str]:
    wrong = run.wrong_chunks()
    finished = len(run.finished_chunks)
    count = f"{finished} of {run.chunks} finished"
    if wrong:
        return "wrong", f"{len(wrong)} of {finished} wrong: {first_of([*wrong.values()], between='; ')}"
    if finished and not run.is_sealed:
        return "not checked", f"{count}, by a version without digests; shapes and ranges are those of a run"
    return "right", f"{count}, each with the digests that its worker wrote"


def _others(run: Run) -> tuple[Verdict, str]:
    """What lies among the chunks and is none: it is never read, but somebody put it there."""
    own = {chunk_path(run.directory, number).name for number in run.finished_chunks}
    try:
        names = sorted(path.name for path in (run.directory / CHUNKS).iterdir())
    except OSError as error:
        return "wrong", f"{run.directory / CHUNKS} cannot be read ({error.strerror})"
    foreign = [name for name in names if name not in own and not _OWN.fullmatch(name)]
    for number in worker_numbers(run.directory):
        events = EventReader(events_path(run.directory, number)).events()
        of = {event.run for event in events if isinstance(event, Started)} - {None, run.id}
        if of:
            log, others = events_path(run.directory, number).name, first_of(sorted(map(str, of)))
            return "wrong", f"{log} is of another run, {others}; what it tells is not this run's"
    if foreign:
        return "wrong", f"among the chunks lie {first_of(foreign)}, which no worker wrote; they are left out"
    return "right", "none among the chunks"


def _weights(model: Mapping[str, object]) -> tuple[Verdict, str]:
    if not model:
        return "not checked", "there are none yet"
    place, digest = Path(str(model.get("source"))), str(model.get("sha256"))
    if not place.is_absolute():
        return "not checked", f"{place}, SHA-256 {digest[:12]}, is in no file that can be compared"
    if not is_file(place):
        return "not checked", f"{place}, SHA-256 {digest[:12]}, is not here"
    try:
        found = file_sha256(place)
    except OSError as error:
        return "not checked", f"{place} cannot be read ({error.strerror})"
    if found != digest:
        return "wrong", f"{place} has SHA-256 {found[:12]}, the run was begun with {digest[:12]}"
    return "right", f"{place}, SHA-256 {digest[:12]}, as the run was begun with"
