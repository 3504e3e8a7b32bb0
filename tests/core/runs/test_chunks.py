"""Chunk files: whole or absent, and a damaged one is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psi_core.errors import RunError
from psi_core.runs.chunks import (
    add_class_sums,
    chunk_count,
    chunk_path,
    chunk_range,
    finished_chunks,
    read_arrays,
    write_arrays,
)

ARRAYS = {
    "index": np.arange(4),
    "psi": np.array([[[0.25, np.nan, 1, 0]]], np.float32),
    "class_sum/conv1": np.ones((1, 2, 3)),
}


@given(st.integers(1, 10_000), st.integers(1, 3_000))
def test_chunks_cover_every_image_once_and_in_order(images, chunk):
    ranges = [chunk_range(number, images, chunk) for number in range(chunk_count(images, chunk))]
    assert [position for rows in ranges for position in rows] == list(range(images))
    assert all(len(rows) == chunk for rows in ranges[:-1])


def assert_same(one, other):
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], strict=True)


def test_what_is_written_is_read(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    assert_same(read_arrays(tmp_path / "a.npz"), ARRAYS)


def test_the_same_arrays_make_the_same_file(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    write_arrays(tmp_path / "b.npz", ARRAYS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_numpy_alone_can_open_a_chunk(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert_same({name: archive[name] for name in archive.files}, ARRAYS)


def test_every_shorter_prefix_of_a_chunk_is_refused_by_name(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    whole = (tmp_path / "a.npz").read_bytes()
    torn = tmp_path / "torn.npz"
    for length in range(len(whole)):
        torn.write_bytes(whole[:length])
        with pytest.raises(RunError, match=r"torn\.npz: the chunk is damaged .*; delete it and resume"):
            read_arrays(torn)


def test_a_changed_byte_is_refused_by_name_or_changes_no_number(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    whole = (tmp_path / "a.npz").read_bytes()
    changed = tmp_path / "changed.npz"
    refused = 0
    for place in range(len(whole)):
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            arrays = read_arrays(changed)
        except RunError as error:
            assert "changed.npz: the chunk is damaged" in str(error)
            refused += 1
        else:
            assert_same(arrays, ARRAYS)
    numbers = sum(array.nbytes for array in ARRAYS.values())
    assert refused > numbers, "at least every byte of every array is guarded"


def test_a_chunk_that_is_gone_is_refused_by_name(tmp_path):
    with pytest.raises(RunError, match=r"gone\.npz: there is no such file"):
        read_arrays(tmp_path / "gone.npz")


def test_pickled_objects_are_never_opened(tmp_path):
    np.savez(tmp_path / "a.npz", index=np.array([print], dtype=object))
    with pytest.raises(RunError, match="damaged"):
        read_arrays(tmp_path / "a.npz")


def test_only_finished_chunks_count(tmp_path):
    assert finished_chunks(tmp_path) == []
    (tmp_path / "chunks").mkdir()
    for number in (10, 0, 123456):
        write_arrays(chunk_path(tmp_path, number), ARRAYS)
    for name in ("00001.npz.77.tmp", "00002.npz.tmp", "²²²²².npz", "3.npz", "notes.npz", ".00004.npz", "00005"):
        (tmp_path / "chunks" / name).touch()
    assert finished_chunks(tmp_path) == [0, 10, 123456]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_arrays(tmp_path / "a.npz", ARRAYS)

    def fill_disk(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fill_disk)
    with pytest.raises(OSError, match="No space"):
        write_arrays(tmp_path / "a.npz", {"index": np.arange(9)})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert_same(read_arrays(tmp_path / "a.npz"), ARRAYS)


def test_what_is_written_lies_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda _file: synced.append((tmp_path / "a.npz").exists()))
    write_arrays(tmp_path / "a.npz", ARRAYS)
    assert synced == [False]


def test_two_writers_of_one_process_id_do_not_mix(tmp_path, monkeypatch):
    """Workers in containers have process ids alike; both may take over the same chunk."""
    names = []
    savez = np.savez

    def write_while_another_does(file, **arrays):
        names.append(file.name)
        if len(names) == 1:
            write_arrays(tmp_path / "a.npz", ARRAYS)
            assert_same(read_arrays(tmp_path / "a.npz"), ARRAYS)
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", write_while_another_does)
    write_arrays(tmp_path / "a.npz", ARRAYS)
    assert len(set(names)) == 2
    assert all(name.endswith(".tmp") for name in names)
    assert_same(read_arrays(tmp_path / "a.npz"), ARRAYS)


def test_only_wanted_arrays_are_read(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    name = next(iter(ARRAYS))
    assert_same(read_arrays(tmp_path / "a.npz", lambda other: other == name), {name: ARRAYS[name]})


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=1, max_size=4))
def test_class_sums_of_any_split_are_those_of_the_whole(chunks):
    def part_of(labels):
        present, counts = np.unique(labels, return_counts=True)
        sums = np.stack([np.full((2, 3), label * 10.0) * count for label, count in zip(present, counts, strict=True)])
        return {"class_labels": present, "class_counts": counts, "class_sum/conv1": sums.transpose(1, 0, 2)}

    labels, counts, sums = add_class_sums([part_of(chunk) for chunk in chunks], "conv1")
    whole = part_of([label for chunk in chunks for label in chunk])
    np.testing.assert_array_equal(labels, whole["class_labels"])
    np.testing.assert_array_equal(counts, whole["class_counts"])
    np.testing.assert_array_equal(sums, whole["class_sum/conv1"], strict=True)
