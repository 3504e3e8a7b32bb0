"""Archives whose images stay in their file: the same images, fingerprints and refusals as whole in memory."""

import hashlib
import pickle
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from psi_core.engine.again.export import ImageArchive
from psi_core.engine.images import load_dataset, load_external, npz_rows
from psi_core.engine.images.npz_rows import NpzRows
from psi_core.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), np.uint8)
LABELS = np.arange(7) % 3
LAYOUTS = {
    "gray": IMAGES[..., 0].copy(),
    "last": IMAGES,
    "first": IMAGES.transpose(0, 3, 1, 2).copy(),
    "fortran": np.asfortranarray(IMAGES),
}
DIGITS = np.tile(LAYOUTS["gray"], (1, 6, 7))[:, :28, :28]
ORDERS = [[], [3], [0, 1, 2, 3, 4, 5, 6], [6, 0, 1, 1, 2, 5, 4, 3]]


def of_type(images, dtype):
    return images if dtype == "u1" else (images / np.longdouble(255)).astype(dtype)


def in_memory(images):
    """What an archive's images are, computed on the whole array."""
    if images.ndim == 4 and images.shape[3] != 3:
        images = images.transpose(0, 2, 3, 1)
    return images if images.dtype == np.uint8 else images.astype(np.float32)


def sha256(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}\n".encode() + array.tobytes())
    return digest.hexdigest()


def opened(path, save=np.savez, **arrays):
    save(path, **arrays)
    return load_dataset(f"npz:{path}", "test")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["u1", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "g"])
def test_images_and_fingerprint_are_those_of_the_whole_array(tmp_path, dtype, layout, save):
    images = of_type(LAYOUTS[layout], dtype)
    dataset, expected = opened(tmp_path / "a.npz", save, images=images, labels=LABELS), in_memory(images)
    assert isinstance(dataset.images, NpzRows) == (save is np.savez and layout != "fortran")
    assert (dataset.images.shape, dataset.images.dtype, len(dataset)) == (expected.shape, expected.dtype, 7)
    assert dataset.fingerprint == sha256(expected, LABELS)
    for order in ORDERS:
        pixels = dataset.read(np.array(order, np.int64), 28, 3).pixels
        assert pixels.dtype == expected.dtype
        assert np.array_equal(pixels, expected[order])
        assert pixels.flags.writeable
    relabeled = dataset.with_classes(2 - LABELS, ("a", "b", "c"))
    assert relabeled.fingerprint == sha256(expected, 2 - LABELS)


@pytest.mark.parametrize("block", [1, 121, 1 << 20])
@pytest.mark.parametrize("layout", ["gray", "first"])
def test_any_split_of_the_pass_gives_the_same_fingerprint_and_reads_every_image_once(
    tmp_path, monkeypatch, layout, block
):
    read, rows = [], NpzRows.rows
    monkeypatch.setattr(npz_rows, "_BLOCK_BYTES", block)
    monkeypatch.setattr(NpzRows, "rows", lambda self, *place: read.append(place[2]) or rows(self, *place))
    images = of_type(LAYOUTS[layout], "<f4")
    path = tmp_path / "a.npz"
    assert opened(path, images=images, labels=LABELS).fingerprint == sha256(in_memory(images), LABELS)
    assert load_dataset(f"npz:{path}", "test").fingerprint == sha256(in_memory(images), LABELS)
    assert sum(read) == 7


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(np.nan, "hold NaN; save numbers"), (1.5, "between 0 and 1.5"), (-2, "between -2 and ")],
)
@pytest.mark.parametrize("place", [0, 3, 6])
@pytest.mark.parametrize("dtype", ["<f2", ">f8"])
def test_one_value_out_of_range_is_found_in_any_block(tmp_path, monkeypatch, value, sentence, place, dtype):
    monkeypatch.setattr(npz_rows, "_BLOCK_BYTES", 1)
    images = of_type(IMAGES, dtype)
    images[place, 2, 1, 0] = value
    with pytest.raises(DataError, match=sentence):
        opened(tmp_path / "a.npz", images=images)


def with_damage(path, found, by=b"\x00"):
    """Overwrites the first place where the file has these bytes."""
    content = path.read_bytes()
    place = content.index(found)
    path.write_bytes(content[:place] + by + content[place + len(by) :])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("attacked", [False, True])
def test_a_damaged_byte_is_found_at_the_door(tmp_path, save, attacked):
    path, mnist = tmp_path / "a.npz", load_dataset("mnist", "test")
    save(path, images=DIGITS)
    whole = path.read_bytes()
    end = whole.index(b"PK\x01\x02")
    reason = r"Bad CRC-32 for file 'images\.npy'" if save is np.savez else ".*"
    option = "attacked" if attacked else "data"
    sentence = rf"^{option}: .*a\.npz is no whole npz of plain arrays \({reason}\); save it with np\.savez"
    first = end - DIGITS.size if save is np.savez else whole.index(b"images.npy") + 30
    for place in (first, *range(first, end, 97), end - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with pytest.raises(DataError, match=sentence):
            if attacked:
                load_external(f"npz:{path}", mnist, np.arange(7), 28, None, ())
            else:
                load_dataset(f"npz:{path}", "test")
            pytest.fail(f"byte {place} was missed")


@pytest.mark.parametrize(
    "found", [b"'descr'", b"'fortran_order': False", b"\x93NUMPY\x01", b"(7, 28, 28)", b"{'descr': '|u1', 'fo"]
)
def test_a_damaged_header_is_refused(tmp_path, found):
    path = tmp_path / "a.npz"
    np.savez(path, images=DIGITS)
    with_damage(path, found, found[:-2] + b"7" + found[-1:])
    with pytest.raises(DataError, match=r"a\.npz is no whole npz of plain arrays"):
        load_dataset(f"npz:{path}", "test")


def test_a_member_that_ends_too_early_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", DIGITS)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", (tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"no whole npz of plain arrays \(images is uint8"):
        load_dataset(f"npz:{tmp_path / 'a.npz'}", "test")


def test_a_damaged_label_is_found_too(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=IMAGES, labels=LABELS + 77)
    with_damage(path, (LABELS + 77).tobytes(), b"\x00")
    with pytest.raises(DataError, match=r"Bad CRC-32 for file 'labels\.npy'"):
        load_dataset(f"npz:{path}", "test")


@pytest.mark.parametrize("change", ["cut", "other", "gone"])
def test_a_file_that_changes_under_a_run_stops_it(tmp_path, change):
    path = tmp_path / "a.npz"
    dataset = opened(path, images=IMAGES)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:300])
    elif change == "other":
        np.savez(path, images=IMAGES[::-1], labels=LABELS)
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"a\.npz cannot be read any more .*; put it back as it was and resume the run"):
        dataset.read(np.arange(3), 28, 3)


def test_attacked_images_that_are_gone_are_named_by_their_own_option(tmp_path):
    path, mnist = tmp_path / "a.npz", load_dataset("mnist", "test")
    np.savez(path, images=DIGITS)
    images = load_external(f"npz:{path}", mnist, np.arange(7), 28, None, ())
    path.unlink()
    with pytest.raises(DataError, match=r"^attacked: .*cannot be read any more"):
        images.images[np.arange(2)]


def test_a_file_cut_short_while_it_is_read_gives_no_image(tmp_path):
    path = tmp_path / "a.npz"
    images = opened(path, images=IMAGES).images
    path.write_bytes(path.read_bytes()[:500])
    with path.open("rb") as file:
        cut = replace(images, version=npz_rows.file_version(file))
    assert np.array_equal(cut[np.array([0])], IMAGES[:1])
    with pytest.raises(DataError, match=r"cannot be read any more \(it ends too early\)"):
        cut[np.arange(7)]


def test_positions_beyond_the_images_are_an_error_and_not_the_bytes_behind_them(tmp_path):
    dataset = opened(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    for position in (-1, 7):
        with pytest.raises(IndexError):
            dataset.read(np.array([0, position]), 28, 3)


def test_a_set_may_be_pickled_and_read_in_threads_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", images=IMAGES, labels=LABELS)
    dataset = load_dataset("npz:a.npz", "test")
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(dataset))
    assert again.fingerprint == dataset.fingerprint
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda each: again.read(np.array([each % 7]), 28, 3).pixels[0], range(200)):
            assert any(np.array_equal(found, image) for image in IMAGES)


def test_other_arrays_of_an_archive_are_left_unread(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, notes=np.array([object()], dtype=object), images=IMAGES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README", "no array")
    assert np.array_equal(load_dataset(f"npz:{path}", "test").read(np.arange(7), 28, 3).pixels, IMAGES)


def test_external_images_stay_in_their_file_too(tmp_path):
    attacked, order = of_type(np.tile(IMAGES, (1, 7, 7, 1))[:, :28, :28], "<f4"), np.array([2, 0, 1, 4, 3, 6, 8])
    np.savez(tmp_path / "a.npz", images=attacked.transpose(0, 3, 1, 2).copy(), index=order)
    external = load_external(
        f"npz:{tmp_path / 'a.npz'}", load_dataset("mnist", "test"), np.arange(8), 28, None, (), may_lack=True
    )
    rows = np.array([1, 2, 0, 4, 3, -1, 5, -1])
    assert isinstance(external.images, NpzRows)
    assert external.fingerprint == sha256(attacked, rows)
    reading = external.read(np.arange(8), 28, 3)
    assert np.array_equal(reading.pixels, attacked[rows[rows >= 0]])
    assert [each.position for each in reading.unreadable] == [5, 7]


def test_the_largest_archive_takes_the_memory_of_a_few_blocks(tmp_path):
    path, batch = tmp_path / "a.npz", np.zeros((125, 64, 64, 3), np.float32)
    with ImageArchive(path, (50 * len(batch), *batch.shape[1:]), {"labels": np.zeros(50 * len(batch), int)}) as archive:
        for _ in range(50):
            archive.add(batch)
    assert path.stat().st_size > 300_000_000
    tracemalloc.start()
    try:
        dataset = load_dataset(f"npz:{path}", "test")
        assert len(dataset.fingerprint) == 64
        for first in range(0, len(dataset), 250):
            dataset.read(np.arange(first, first + 250), 64, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        path.unlink()
    assert peak < 40_000_000
