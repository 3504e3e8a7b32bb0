"""Stamps of a run's files: values that differ where the files do, taken while workers replace and remove them."""

from pathlib import Path
from typing import Any

from psi_core.chunks import finished_chunks


def file_stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def results_stamp(directory: Path, *, with_preview: bool) -> tuple[Any, ...]:
    """Of a run's finished chunks, and of its open ones where those count; empty while there are none.

    Args:
        directory: of the run.
        with_preview: whether open chunks count.
    """
    previews = sorted(directory.glob("preview-*.npz")) if with_preview else []
    stamps = (file_stamp(preview) for preview in previews)
    return (*finished_chunks(directory), *(stamp for stamp in stamps if stamp is not None))
