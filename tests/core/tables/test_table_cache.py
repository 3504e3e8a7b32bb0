"""The cache of statistics: the same rows, sooner; anew after any change; never an error."""

import json
import os
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest

from psi_core import ConfigError, Run, RunError, load_run
from psi_core.files import cache_directory, plain
from psi_core.runs.chunks import chunk_path, read_arrays, write_arrays
from psi_core.runs.event_log import preview_path
from psi_core.tables.cache import CACHE, remembered
from psi_core.tables.registry import TABLE_NAMES, View, cached_rows, table_rows
from tests.recorded import copy_chunk, record_run


@pytest.fixture
def directory(own_folders: Path) -> Path:
    return record_run(own_folders, silent=3)


def cache_files() -> list[Path]:
    return sorted((cache_directory() / "statistics").glob("*"))


def planted(directory: Path, table: str = "conditions", **options: object) -> list[dict[str, object]]:
    """Rows put into the cache in place of the true ones: whoever gets them was answered from there."""
    before = set(cache_files())
    cached_rows(Run(directory), table, View(**options))
    (path,) = set(cache_files()) - before
    rows: list[dict[str, object]] = [{"planted": str(path)}]
    content = {**json.loads(path.read_text()), "answer": rows, "crc32": crc32(json.dumps(rows).encode())}
    path.write_text(json.dumps(content))
    return rows


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_cached_rows_are_the_rows(directory: Path, table: str) -> None:
    expected = plain(table_rows(Run(directory), table))
    assert cached_rows(Run(directory), table) == expected
    assert cached_rows(Run(directory), table) == expected


def test_the_second_answer_comes_from_the_cache(directory: Path) -> None:
    rows = planted(directory)
    assert cached_rows(Run(directory), "conditions") == rows


@pytest.mark.parametrize("table", ["images", "channels"])
def test_large_tables_are_not_cached(directory: Path, table: str) -> None:
    cached_rows(Run(directory), table)
    assert cache_files() == []


def test_every_question_has_its_own_answer(directory: Path) -> None:
    rows = planted(directory, "layers", subset="all", bins=20)
    for other in ({"subset": "fooled"}, {"bins": 21}):
        assert cached_rows(Run(directory), "layers", View(**other)) != rows
    assert cached_rows(Run(directory), "measures") != rows
    assert cached_rows(Run(directory), "layers") == rows


def test_two_runs_of_one_identity_do_not_share(directory: Path, tmp_path: Path) -> None:
    rows = planted(directory)
    moved = directory.rename(tmp_path / "moved")
    assert cached_rows(Run(moved), "conditions") != rows


@pytest.mark.parametrize("change", ["more", "other", "newer", "code"])
def test_other_chunks_or_code_are_computed_anew(own_folders: Path, change: str, monkeypatch) -> None:
    directory = record_run(own_folders, chunks=[0, 1], finished=False)
    rows = planted(directory)
    path = chunk_path(directory, 1)
    if change == "more":
        copy_chunk(record_run(own_folders.parent / "other"), directory, 2)
    elif change == "other":
        path.unlink()
    elif change == "newer":
        os.utime(path, (1, 1))
    else:
        monkeypatch.setattr("psi_core.tables.cache._code_digest", lambda: "another")
    assert cached_rows(Run(directory), "conditions") == plain(table_rows(Run(directory), "conditions")) != rows
    assert len(cache_files()) == 1, "the new answer takes the place of the old"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace("60", "61"),
        lambda text: "\0" * len(text),
    ],
    ids=["torn", "empty", "other", "flipped", "zeros"],
)
def test_a_damaged_file_is_computed_anew(directory: Path, damage) -> None:
    expected = cached_rows(Run(directory), "conditions")
    (path,) = cache_files()
    whole = path.read_text()
    path.write_text(damage(whole))
    assert cached_rows(Run(directory), "conditions") == expected
    assert path.read_text() == whole, "and mended"


def test_open_chunks_are_never_cached(own_folders: Path) -> None:
    directory = record_run(own_folders, chunks=[0], finished=False)
    other = record_run(own_folders)
    arrays = read_arrays(chunk_path(other, 1))
    write_arrays(preview_path(directory, 0), arrays)
    rows = cached_rows(Run(directory, preview=True), "conditions")
    assert (rows[0]["images"], cache_files()) == (50, [])
    assert cached_rows(Run(directory), "conditions")[0]["images"] == 25
    preview_path(directory, 0).unlink()
    assert cached_rows(Run(directory, preview=True), "conditions")[0]["images"] == 25
    assert len(cache_files()) == 1


def test_a_chunk_finished_meanwhile_keeps_the_answer_out(own_folders: Path) -> None:
    directory = record_run(own_folders, chunks=[0], finished=False)

    def compute() -> int:
        write_arrays(chunk_path(directory, 1), read_arrays(chunk_path(directory, 0)))
        return 1

    assert remembered(Run(directory), ("word",), compute) == 1
    assert cache_files() == []


def test_a_folder_that_takes_nothing_is_no_error(directory: Path) -> None:
    cache_directory().parent.mkdir(parents=True, exist_ok=True)
    cache_directory().touch()
    assert cached_rows(Run(directory), "conditions") == plain(table_rows(Run(directory), "conditions"))


def test_files_stay_few(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psi_core.tables.cache.CACHE", replace(CACHE, most=3))
    rows = planted(directory)
    for bins in range(1, 8):
        for path in cache_files():
            os.utime(path, (bins, bins))
        assert cached_rows(Run(directory), "conditions") == rows, "what is used stays"
        cached_rows(Run(directory), "study", View(bins=bins))
    assert len(cache_files()) == 3


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        ("layer", {}, "did you mean 'layers'"),
        ("layers", {"subset": "fool"}, "did you mean 'fooled'"),
        ("classes", {"subset": "fooled"}, "has all images"),
        ("histogram", {"bins": 0}, "1 to 1000"),
    ],
)
def test_wrong_words_are_answered(directory: Path, table: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        cached_rows(Run(directory), table, View(**options))


def test_a_run_without_results_says_so(own_folders: Path) -> None:
    with pytest.raises(RunError, match="no results yet"):
        cached_rows(load_run(record_run(own_folders, chunks=[], finished=False)), "layers")
    assert cache_files() == []
