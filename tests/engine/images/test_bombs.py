"""Archives that claim more than they hold, or hold more than memory does, are refused before memory is taken."""

import io
import os
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from psi_core.engine.images import load_dataset
from psi_core.engine.images.npz import read_npy
from psi_core.engine.models.factories import find_factory
from psi_core.engine.models.weight_files import read_values
from psi_core.errors import DataError, ModelError
from psi_core.files import typed_path


def header(shape, descr="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


IMAGES = header((10, 28, 28)) + bytes(7840)
LABELS = header((10,), "<i8") + np.arange(10).tobytes()


def archive(path: Path, **members: bytes) -> str:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return f"npz:{path}"


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        (
            {"images": header((10**9, 28, 28)), "labels": LABELS},
            r"no whole npz .*images is uint8 \(1000000000, 28, 28\)",
        ),
        ({"images": IMAGES, "labels": header((10**12,), "<i8")}, r"no whole npz .*labels is int64 \(10{12},\)"),
        ({"images": IMAGES, "labels": LABELS, "index": header((10**12,), "<i8")}, r"index is int64 \(10{12},\)"),
        ({"images": IMAGES, "labels": LABELS, "class_names": header((10**9,), "<U90")}, "class_names is <U90"),
        ({"images": IMAGES, "labels": header((10,), "<i8") + np.full(10, 10**12).tobytes()}, "more classes than any"),
        ({"images": header((2**40, 2**40, 2**40)), "labels": LABELS}, "images is uint8"),
    ],
    ids=["images", "labels", "index", "names", "classes", "overflow"],
)
def test_what_a_header_claims_is_not_believed(tmp_path, members, sentence):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=sentence):
        load_dataset(archive(tmp_path / "a.npz", **members), "test", None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


def test_a_gigabyte_in_a_megabyte_is_no_image(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("images.npy", "w", force_zip64=True) as member:
            member.write(header((1100, 1024, 1024)))
            for _ in range(1100):
                member.write(bytes(2**20))
        file.writestr("labels.npy", LABELS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"images in .*a\.npz unpacks to 1\.2 GB from 1\.\d MB"):
        load_dataset(f"npz:{tmp_path / 'a.npz'}", "test", None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


def test_images_that_unpack_to_more_than_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("psi_core.engine.images.npz.available_memory", lambda: 10_000_000)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", header((20_000, 28, 28)) + bytes(20_000 * 784))
        file.writestr("labels.npy", header((20_000,), "<i8") + bytes(160_000))
    with pytest.raises(DataError, match=r"images in .*a\.npz takes 0\.0 GB of memory.*uncompressed"):
        load_dataset(f"npz:{tmp_path / 'a.npz'}", "test", None)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["npz", "npy", "folder", "weights", "code"])
@pytest.mark.parametrize("place", ["pipe", "n" * 300, "~nobody-of-that-name/n", "/dev/zero"])
def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch, kind, place):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.py")
    ask = {
        "npz": lambda: load_dataset(f"npz:{place}", "test"),
        "npy": lambda: read_npy(typed_path(place), None, None),
        "folder": lambda: load_dataset(f"folder:{place}", "test"),
        "weights": lambda: read_values(typed_path(place)),
        "code": lambda: find_factory(f"{place}.py:made"),
    }
    with pytest.raises((DataError, ModelError)) as refused:
        ask[kind]()
    assert "[Errno" not in str(refused.value)
