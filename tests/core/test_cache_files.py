"""Cache files: whole or not there, few enough, never an error, and nothing touched that the cache did not make."""

import os
from pathlib import Path

import pytest

from psi_core.errors import missing_file
from psi_core.files import Cache, cache_directory, flush, forget_empty_folders, note_use

CACHE = Cache("tried", r"(?:run[0-9]/)?[a-z]+", most=3)


@pytest.fixture
def folder() -> Path:
    return cache_directory() / "tried"


def keep(name: str, most: int = 3, data: bytes = b"x") -> None:
    Cache(CACHE.folder, CACHE.pattern, most).keep(name, data)


def age(path: Path, seconds: float) -> None:
    then = path.lstat().st_mtime - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def test_a_file_replaces_the_one_before_and_leaves_nothing_beside_it(folder: Path) -> None:
    keep("a", data=b"one")
    keep("a", data=b"two")
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert (folder / "a").read_bytes() == b"two"


def test_those_longest_unused_go_first(folder: Path) -> None:
    for number, name in enumerate("abc"):
        keep(name)
        age(folder / name, 100 - number)
    note_use(folder / "a")
    keep("d")
    assert {path.name for path in folder.iterdir()} == {"a", "c", "d"}


def test_folders_count_together_and_go_with_their_last_file(folder: Path) -> None:
    for number in range(4):
        keep(f"run{number}/picture", most=2)
        age(folder / f"run{number}/picture", 100 - number)
    keep("run9/picture", most=2)
    assert {path.name for path in folder.iterdir()} == {"run3", "run9"}


def test_what_a_killed_process_left_goes_too(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "a.1-abcdef.tmp").touch()
    age(folder / "a.1-abcdef.tmp", 100)
    keep("a", most=1)
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_files_that_it_did_not_make_stay_and_do_not_count(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "run1").mkdir(parents=True)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    foreign = [folder / "NOTES.txt", folder / "run1" / "thesis.tex", tmp_path / "elsewhere" / "a", folder / "b.tmp"]
    for path in foreign:
        path.touch()
        age(path, 1000)
    for name in "cdef":
        keep(name)
    assert all(path.exists() for path in foreign)
    assert sum(path.name in "cdef" for path in folder.iterdir()) == 3


@pytest.mark.parametrize("name", ["../a", "/tmp/a", "", "run1/../../a", "run1//a", "a\n", "A"])
def test_no_name_leads_out_of_its_folder(name: str) -> None:
    with pytest.raises(ValueError, match="names no file"):
        keep(name)


@pytest.mark.parametrize("has_call", [True, False])
def test_a_file_is_flushed_as_far_as_the_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_call: bool
) -> None:
    """On macOS fsync alone leaves the bytes in the disk's own memory."""
    asked: list[object] = []
    monkeypatch.setattr("fcntl.F_FULLFSYNC", 51, raising=False)

    def full_sync(descriptor: int, call: int) -> None:
        asked.append(call)
        if not has_call:
            raise OSError("no such call")

    monkeypatch.setattr("fcntl.fcntl", full_sync)
    monkeypatch.setattr("os.fsync", lambda descriptor: asked.append("fsync"))
    with (tmp_path / "a").open("wb") as file:
        file.write(b"x")
        flush(file)
        assert (tmp_path / "a").read_bytes() == b"x"
    assert asked == ([51] if has_call else [51, "fsync"])


def test_an_empty_variable_of_a_folder_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("TORCH_HOME", "/somewhere")
    forget_empty_folders()
    assert "XDG_CACHE_HOME" not in os.environ
    assert os.environ["TORCH_HOME"] == "/somewhere"


NEAR = {
    "images-fgsm@0.3.npz": "images-fgsm@0.03.npz",
    "weights.pht": "weights.pth",
    "images-begnin.npz": "images-benign.npz",
    "README.npz": None,
    "digist": None,
}


@pytest.mark.parametrize(("written", "near"), NEAR.items(), ids=NEAR)
def test_a_file_that_is_not_there_is_answered_with_the_nearest_name(
    tmp_path: Path, written: str, near: str | None
) -> None:
    for name in ("images-benign.npz", "images-fgsm@0.03.npz", "weights.pth", "README.md"):
        (tmp_path / name).touch()
    (tmp_path / "digits").mkdir()
    told = missing_file("data", tmp_path / written, "write npz: and the path of one")
    way_out = f"did you mean {tmp_path / near}?" if near else "write npz: and the path of one"
    assert told == f"data: there is no file {tmp_path / written}; {way_out}"
    folder = missing_file("data", tmp_path / "digist", "write one", "folder")
    assert folder.endswith(f"did you mean {tmp_path / 'digits'}?")
    assert missing_file("data", tmp_path / "gone" / "a.npz", "write one").endswith("; write one")


def test_what_cannot_be_kept_is_no_error(folder: Path) -> None:
    (folder / "a" / "inside").mkdir(parents=True)
    (folder / "run1").touch()
    for name in ("a", "run1/a"):
        keep(name)
    note_use(folder / "nowhere")
    assert {path.name for path in folder.iterdir()} == {"a", "run1"}
