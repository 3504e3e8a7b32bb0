"""Run directories damaged at random by a seed: what no worker writes, and what a stranger's archive may hold."""

import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from psi_core.runs.chunks import read_arrays
from psi_core.runs.labels import LABEL

DEEP = 100_000


def _deep_list() -> str:
    return "[" * DEEP + "]" * DEEP


VALUES: tuple[Any, ...] = (
    *(None, True, False, [], {}, "", "x", "x" * 300_000, "\x1b]0;owned\x07", "\ud800", "[red]", "../../etc"),
    *(-1, 0, 1, 10**9, 10**12, 2**70, -(2**70), 1e308, float("nan"), float("inf"), 0.5),
    *([[]], [None], ["x"] * 50_000, [[[[[[1]]]]]], {"a": {"b": {}}}, "2026-01-01", "2026-01-01T00:00:00"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "yesterday", [1] * 100_000),
)
"""What stands in the place of a value of JSON."""

TEXTS: tuple[bytes, ...] = (
    *(b"", b"null", b"[]", b"{}", b"3", b'"x"', b"{", b"\xff\xfe\x00", b"NaN", b"\x00" * 5000, b"true"),
    *(_deep_list().encode(), (b'{"a":' * DEEP), b'"' + b"x" * 20_000_000 + b'"', b"[" + b"1," * 3_000_000 + b"1]"),
)
"""What stands in the place of a whole file."""


def mutate(directory: Path, seed: int) -> str:
    """Damages one thing in a run directory, and says what."""
    lot = random.Random(seed)
    what = lot.choice(KINDS)(directory, lot)
    for path in directory.glob("events-*.jsonl"):
        os.utime(path, (1e9, 1e9), follow_symlinks=False)  # Nobody elsewhere is at work: the log no longer grows.
    return what


_NOT_THERE = {
    "card.json": {"command": "x", "about": "x"},
    LABEL: {"format": 1, "name": "said", "tags": ["paper", "draft"], "note": "what to remember"},
}
"""What stands in files that no worker writes."""


def _json_value(directory: Path, lot: random.Random) -> str:
    name = lot.choice(("config.json", "config.json", "layers.json", "model.json", "card.json", LABEL))
    path = directory / name
    values = json.loads(path.read_text()) if path.exists() else dict(_NOT_THERE[name])
    place: Any = lot.choice(values) if isinstance(values, list) else values
    key = lot.choice(sorted(place))
    value = lot.choice(VALUES)
    if lot.random() < 0.15:
        del place[key]
        value = "gone"
    elif lot.random() < 0.2 and isinstance(place[key], list) and place[key]:
        place[key][lot.randrange(len(place[key]))] = value
    else:
        place[key] = value
    path.write_text(json.dumps(values), encoding="utf-8")
    return f"{name}: {key} is {str(value)[:40]!r}"


def _whole_text(directory: Path, lot: random.Random) -> str:
    names = ("config.json", "layers.json", "model.json", "card.json", LABEL, "events-0.jsonl", "positions.npy")
    name = lot.choice(names)
    text = lot.choice(TEXTS)
    (directory / name).write_bytes(text)
    return f"{name} is {text[:20]!r}, {len(text)} bytes"


def _other_kind(directory: Path, lot: random.Random) -> str:
    names = ("config.json", "layers.json", "model.json", "card.json", "events-0.jsonl", "positions.npy", "chunks")
    name = lot.choice((*names, LABEL, "chunks/00001.npz", "preview-0.npz", "stop", "engine-0.log", "pictures"))
    path = directory / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    kind = lot.choice(("fifo", "folder", "zero", "loop", "nowhere", "gone", "null"))
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("zero", "null"):
        path.symlink_to(f"/dev/{kind}")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "nowhere":
        path.symlink_to("/nowhere/at/all")
    return f"{name} is {kind}"


def _event_line(directory: Path, lot: random.Random) -> str:
    path = directory / "events-0.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    number = lot.randrange(4)
    if number == 0:
        with path.open("ab") as file:
            file.truncate(100_000_000)
        return "a line of 100 MB in the events"
    if number == 1:
        path.write_bytes(
            (path.read_bytes()) + b'{"event": "warning", "time": 1, "text": "' + b"x" * 30_000_000 + b'"}\n'
        )
        return "a warning of 30 MB"
    if number == 2:
        events = ("started", "phase", "batch", "fit", "warning", "precision", "evidence", "failed", "x", "finished")
        fields = ("pid", "time", "done", "total", "images_per_second", "chunks", "text", "seconds", "memory", "batch")
        odd = [
            {"event": lot.choice(events), "time": 1.0, **{field: lot.choice(VALUES) for field in fields}}
            for _ in range(30)
        ]
        odd += [{**line, "time": lot.choice((1, 1e9, 1e10, 5e10))} for line in odd]
        path.write_text("".join(json.dumps(line)[:500_000] + "\n" for line in [*lines, *odd]), encoding="utf-8")
        return "events of odd values"
    key = lot.choice(sorted(lines[0]))
    lines[0][key] = lot.choice(VALUES)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return f"started: {key} is {str(lines[0][key])[:40]!r}"


def _chunk_array(directory: Path, lot: random.Random) -> str:
    path = directory / "chunks" / f"0000{lot.randrange(3)}.npz"
    arrays = read_arrays(path, lambda name: name != "seal" or lot.random() < 0.5)
    name = lot.choice(sorted(arrays))
    old = arrays[name]
    others = {
        "no axis": np.array(3),
        "five axes": np.zeros((1, 1, 1, 1, 1)),
        "words": np.array(["x"] * max(1, old.shape[-1] if old.ndim else 1)),
        "complex": old.astype(complex),
        "half": old.astype(np.float16),
        "times 100": old * 100,
        "negative": -old.astype(np.float64) - 1,
        "infinite": np.full(old.shape, np.inf),
        "turned": old.T,
        "doubled": np.concatenate([old, old], -1) if old.ndim else old,
        "empty": old[..., :0] if old.ndim else old,
        "times": np.zeros(3, "datetime64[s]"),
        "fields": np.zeros(3, [("a", int)]),
    }
    kind = lot.choice([*others, "gone"])
    if kind == "gone":
        del arrays[name]
    else:
        arrays[name] = others[kind]
    np.savez(path, **arrays)
    return f"{path.name}: {name} is {kind}"


def _chunk_bytes(directory: Path, lot: random.Random) -> str:
    path = directory / lot.choice(("chunks/00000.npz", "chunks/00001.npz", "preview-0.npz"))
    whole = bytearray((directory / "chunks" / "00001.npz").read_bytes())
    number = lot.randrange(8)
    if number == 0:
        del whole[lot.randrange(len(whole)) :]
    elif number == 1:
        for _ in range(20):
            whole[lot.randrange(len(whole))] ^= 1 << lot.randrange(8)
    elif number == 2:
        whole = bytearray(lot.randbytes(3000))
    elif number == 3:
        whole = whole * 2
    elif number in (4, 5):
        whole = bytearray(_archive(_header((3, 3, 10**12)) if number == 4 else _header((5, 3, 25)) + b"\0" * 10, lot))
    elif number == 6:
        whole = bytearray(_bomb())
    path.write_bytes(bytes(whole))
    if number == 7:
        with path.open("rb+") as file:
            file.truncate(6_000_000_000)
    return f"{path.name}: bytes of kind {number}"


def _many_files(directory: Path, lot: random.Random) -> str:
    number = lot.randrange(4)
    if number == 0:
        for worker in range(1, 300):
            shutil.copy(directory / "events-0.jsonl", directory / f"events-{worker}.jsonl")
    elif number == 1:
        for name in ("events-²", "events-99999999999999999999", "events--1", "events-x", "events-0000"):
            (directory / f"{name}.jsonl").write_text("{}\n")
    elif number == 2:
        for name in ("000000.npz", "99999.npz", "999999999999999.npz", "00000.npz.1.tmp", "\u202e.npz"):
            shutil.copy(directory / "chunks" / "00000.npz", directory / "chunks" / name)
    else:
        np.save(directory / "positions.npy", lot.choice(_positions()))
    return f"files of kind {number}"


def _positions() -> list[Any]:
    return [
        np.zeros(60, np.int64),
        np.arange(3),
        np.arange(60)[::-1],
        np.arange(60.0),
        np.array("x"),
        np.arange(60) - 5,
    ]


def _header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def _archive(member: bytes, lot: random.Random) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("index.npy", "psi.npy", "label.npy", lot.choice(("prediction.npy", "x.npy"))):
            archive.writestr(name, member)
    return file.getvalue()


def _bomb() -> bytes:
    """A gigabyte of psi in a megabyte."""
    file, zeros = io.BytesIO(), b"\0" * 2**20
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("psi.npy", "w", force_zip64=True) as to,
    ):
        to.write(_header((2**28,)))
        for _ in range(1024):
            to.write(zeros)
    return file.getvalue()


KINDS: tuple[Callable[[Path, random.Random], str], ...] = (
    *(_json_value, _json_value, _json_value, _whole_text, _other_kind, _other_kind),
    *(_event_line, _chunk_array, _chunk_array, _chunk_bytes, _many_files),
)
