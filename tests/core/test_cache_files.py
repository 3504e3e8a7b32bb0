"""Cache files: whole or not there, few enough, and never an error."""

import os

import pytest

from psi_core.files import keep_file, note_use


def keep(folder, name, most=3, data=b"x"):
    keep_file(folder / name, data, below=folder, most=most)


def age(path, seconds):
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_a_file_replaces_the_one_before_and_leaves_nothing_beside_it(tmp_path):
    folder = tmp_path / "deep" / "cache"
    keep(folder, "a", data=b"one")
    keep(folder, "a", data=b"two")
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert (folder / "a").read_bytes() == b"two"


def test_those_longest_unused_go_first(tmp_path):
    for number, name in enumerate("abc"):
        keep(tmp_path, name)
        age(tmp_path / name, 100 - number)
    note_use(tmp_path / "a")
    keep(tmp_path, "d")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c", "d"}


def test_folders_count_together_and_go_with_their_last_file(tmp_path):
    for number in range(4):
        keep(tmp_path, f"run{number}/picture", most=2)
        age(tmp_path / f"run{number}/picture", 100 - number)
    keep(tmp_path, "run9/picture", most=2)
    assert {path.name for path in tmp_path.iterdir()} == {"run3", "run9"}


def test_what_a_killed_process_left_goes_too(tmp_path):
    (tmp_path / "a.1-abc.tmp").touch()
    age(tmp_path / "a.1-abc.tmp", 100)
    keep(tmp_path, "a", most=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("place", ["file/cache/a", "folder"])
def test_what_cannot_be_kept_is_no_error(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    keep_file(tmp_path / place, b"x", below=tmp_path / "cache", most=3)
    note_use(tmp_path / "nowhere")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}
