"""Seals: a chunk that is damaged, moved, of another run or changed is named, and its numbers are never averaged in."""

import json
import shutil

import numpy as np
import pytest

from psi_core.errors import RunError
from psi_core.runs.chunks import SEAL, chunk_path, read_arrays, write_arrays
from psi_core.runs.finding import load_run
from psi_core.runs.loading import CONFIG_DIGEST
from psi_core.runs.run import Run
from tests.recorded import make_older, record_run, rewrite_chunk


@pytest.fixture
def directory(own_folders):
    return record_run(own_folders)


def everything(path):
    """Every array of a file, the seal too."""
    return {name: array.copy() for name, array in read_arrays(path, lambda _name: True).items()}


def edited(path, change):
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def times(name, factor):
    def change(arrays):
        arrays[name] = (arrays[name] * factor).astype(arrays[name].dtype)

    return change


def put(name, value):
    def change(arrays):
        arrays[name][..., 0] = value

    return change


def reordered(arrays):
    arrays["index"] = arrays["index"][::-1].copy()


def flip_a_bit(arrays):
    arrays["psi"].view(np.uint32)[0, 0, 0] ^= 1


def shortened(arrays):
    arrays["psi"] = arrays["psi"][..., :-1]


DAMAGES = {
    "psi times 100": times("psi", 100),
    "infinite psi": put("psi", np.inf),
    "negative psi": put("psi", -0.5),
    "infinite response": put("mean_response", np.inf),
    "confidence above 1": put("confidence", 1.5),
    "negative linf": put("linf", -0.1),
    "infinite l2": put("l2", np.inf),
    "negative index": put("index", -1),
    "index of another chunk": put("index", 55),
    "index twice": put("index", 26),
    "index in another order": reordered,
    "negative label": put("label", -1),
    "negative prediction": put("prediction", -1),
    "other images": shortened,
    "one condition less": lambda arrays: arrays.update(psi=arrays["psi"][1:]),
    "one layer less": lambda arrays: arrays.update(psi=arrays["psi"][:, 1:]),
    "psi of another type": lambda arrays: arrays.update(psi=arrays["psi"].astype(np.int64)),
    "psi as words": lambda arrays: arrays.update(psi=arrays["psi"].astype(str)),
    "no index": lambda arrays: arrays.pop("index"),
    "infinite class sums": put("class_sum/conv1", np.inf),
    "class sums of other channels": lambda arrays: arrays.update({"class_sum/conv1": np.zeros((4, 9, 50))}),
}
"""What no worker writes, with a seal or without one."""

SEALED_ALONE = {
    "psi times 1.01": times("psi", 1.01),
    "one bit": flip_a_bit,
    "other labels": times("label", 0),
    "an array more": lambda arrays: arrays.update(mood=np.zeros(3)),
    "an array less": lambda arrays: arrays.pop("square_sum/conv1"),
    "no seal": lambda arrays: arrays.pop(SEAL),
    "a torn seal": lambda arrays: arrays.update({SEAL: arrays[SEAL][:-9]}),
    "a seal of words": lambda arrays: arrays.update({SEAL: np.array("seal")}),
    "a seal of a list": lambda arrays: arrays.update({SEAL: np.frombuffer(b"[]", np.uint8)}),
}
"""What only the digests tell."""


def read_all(run):
    """All that readers take from chunks."""
    for name in ("index", "label", "prediction", "confidence", "linf", "l2", *run.measures):
        run.array(name)
    for layer in run.layers:
        run.class_sums(layer)
        run.square_sums(layer)


@pytest.mark.parametrize("change", [*DAMAGES.values(), *SEALED_ALONE.values()], ids=[*DAMAGES, *SEALED_ALONE])
def test_what_no_worker_wrote_is_named_and_never_averaged_in(directory, change):
    path = chunk_path(directory, 1)
    arrays = everything(path)
    change(arrays)
    write_arrays(path, arrays)
    with pytest.raises(RunError, match=r"00001\.npz"):
        read_all(load_run(directory))
    assert [*Run(directory).wrong_chunks()] == [1]


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_an_older_run_is_held_to_what_its_numbers_can_be(directory, change):
    make_older(directory)
    assert load_run(directory).psi.shape[-1] == 60
    path = chunk_path(directory, 1)
    arrays = everything(path)
    change(arrays)
    write_arrays(path, arrays)
    with pytest.raises(RunError, match=r"00001\.npz"):
        read_all(load_run(directory))


@pytest.mark.parametrize("is_older", [False, True], ids=["sealed", "older"])
def test_a_chunk_copied_over_another_is_named(directory, is_older):
    if is_older:
        make_older(directory)
    shutil.copyfile(chunk_path(directory, 0), chunk_path(directory, 1))
    with pytest.raises(RunError, match=r"00001\.npz: is not chunk 1 of this run"):
        _ = load_run(directory).psi


@pytest.mark.parametrize("options", [{}, {"seed": 8}, {"epsilon": 0.1}], ids=["the same", "another", "other options"])
def test_a_chunk_of_another_run_is_named(own_folders, directory, options):
    other = record_run(own_folders.parent / "other", **options)
    shutil.copyfile(chunk_path(other, 1), chunk_path(directory, 1))
    with pytest.raises(RunError, match=f"it is of run '{other.name}'"):
        _ = load_run(directory).psi


@pytest.mark.parametrize("name", ["000000.npz", "0000000001.npz", "00009.npz", "0.npz", "00000.NPZ", "00001 (1).npz"])
def test_a_file_beside_the_chunks_is_none(directory, name):
    before = load_run(directory)
    shutil.copyfile(chunk_path(directory, 0), chunk_path(directory, 0).with_name(name))
    after = load_run(directory)
    np.testing.assert_array_equal(after.index, np.arange(60))
    np.testing.assert_array_equal(after.psi, before.psi)
    np.testing.assert_array_equal(after.class_sums("conv1")[1], before.class_sums("conv1")[1])


@pytest.mark.parametrize("is_older", [False, True], ids=["sealed", "older"])
def test_no_flipped_bit_of_an_archives_directory_drops_an_array(directory, is_older):
    if is_older:
        make_older(directory)
    path = chunk_path(directory, 1)
    whole, arrays = path.read_bytes(), everything(path)
    run = Run(directory)
    for place in range(whole.index(b"PK\x01\x02"), len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            found = run.read_chunk(1)
        except RunError:
            continue
        assert {*found} == {*arrays} - {SEAL}, place


@pytest.mark.parametrize("key", ["seed", "precision", "data", "batch", "created"])
def test_a_configuration_that_was_edited_is_named(directory, key):
    other = {
        "seed": 5,
        "precision": "bf16",
        "data": "npz:/tmp/x.npz",
        "batch": 24,
        "created": "2026-01-01T00:00:00+00:00",
    }
    edited(directory / "config.json", lambda values: values.update({key: other[key]}))
    with pytest.raises(RunError, match=r"was made by another config\.json than the run has now"):
        _ = load_run(directory).psi
    with pytest.raises(RunError, match=r"another config\.json"):
        Run(directory).wrong_chunks()


def test_a_run_can_be_named_anew(directory):
    edited(directory / "config.json", lambda values: values.update(name="anew"))
    assert load_run("anew").psi.shape[-1] == 60


def test_a_run_that_was_begun_is_not_gone_on_with_under_another_configuration(directory):
    Run(directory).require_unchanged()
    edited(directory / "model.json", lambda values: values.update({CONFIG_DIGEST: Run(directory).fingerprint}))
    Run(directory).require_unchanged()
    edited(directory / "config.json", lambda values: values.update(seed=5))
    with pytest.raises(RunError, match=r"config\.json: was changed after the run was begun; put it back"):
        Run(directory).require_unchanged()


@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        ("layers.json", lambda layers: layers.reverse(), "layers than layers.json"),
        ("layers.json", lambda layers: layers[0].update(name="conv9"), "layers than layers.json"),
        ("model.json", lambda model: model.update(sha256="1" * 64), "weights than model.json"),
    ],
)
def test_other_layers_or_weights_than_the_chunks_were_made_with_are_named(directory, file, change, what):
    edited(directory / file, change)
    with pytest.raises(RunError, match=what):
        _ = load_run(directory).psi


def test_a_chunk_without_an_image_is_one(directory):
    arrays = read_arrays(chunk_path(directory, 1))
    empty = {
        name: array[..., :0] if "class" not in name and "sum" not in name else array for name, array in arrays.items()
    }
    empty |= {"class_labels": np.zeros(0, np.int64), "class_counts": np.zeros(0, np.int64)}
    empty |= {f"class_sum/{each.name}": np.zeros((4, 0, each.channels)) for each in Run(directory).layer_infos}
    rewrite_chunk(directory, 1, empty)
    assert load_run(directory).psi.shape[-1] == 35


def test_a_chunk_without_an_image_copied_over_another_is_named(directory):
    test_a_chunk_without_an_image_is_one(directory)
    shutil.copyfile(chunk_path(directory, 1), chunk_path(directory, 2))
    with pytest.raises(RunError, match=r"00002\.npz: is not chunk 2 of this run \(it is chunk 1\)"):
        _ = load_run(directory).psi


def test_a_renamed_array_of_an_older_run_is_not_taken_for_one_that_is_missing(directory):
    make_older(directory)
    path = chunk_path(directory, 1)
    whole = path.read_bytes()
    place = whole.rindex(b"square_sum/conv1")  # In the archive's directory, behind all members.
    path.write_bytes(whole[:place] + b"t" + whole[place + 1 :])
    with pytest.raises(RunError, match=r"its list of arrays names 'tquare_sum/conv1\.npy', which is not there"):
        load_run(directory).square_sums("conv1")
