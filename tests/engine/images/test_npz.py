"""Archives of images, as data sets and as images attacked elsewhere."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from psi_core.engine import analyze, fgsm
from psi_core.engine.again.export import export_images
from psi_core.engine.images import load_dataset, load_external, network_inputs
from psi_core.engine.images.npz import read_npy, read_npz
from psi_core.engine.models.sources import ARCHITECTURES, build_classifier, model_source
from psi_core.engine.preparation import prepare
from psi_core.engine.work.worker import Worker
from psi_core.errors import ConfigError, DataError
from psi_core.files import PACKAGE_DATA
from psi_core.runs.finding import load_run
from psi_core.tables.registry import table_rows
from tests.engine.picture_files import DIGITS, colored, digit_folder
from tests.engine.processes import small_config


def saved(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


FIRST = {"images": 40, "order": "first"}
ALL = np.arange(40)


def digits(images=40, **others):
    return {"images": DIGITS.images[:images], "labels": DIGITS.labels[:images], **others}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.float16])
@pytest.mark.parametrize("layout", ["gray", "last", "first"])
def test_bytes_and_floats_in_any_layout_are_the_same_images(tmp_path, dtype, layout):
    images = DIGITS.images[:5] if layout == "gray" else np.stack([colored(position) for position in range(5)])
    if dtype != np.uint8:
        images = (images / 255).astype(dtype)
    if layout == "first":
        images = images.transpose(0, 3, 1, 2)
    dataset = load_dataset(saved(tmp_path / "a.npz", images=images, labels=DIGITS.labels[:5]), "test")
    found = network_inputs(torch.from_numpy(dataset.read(np.arange(5), 28, 3).pixels), 28, 3)
    expected = np.stack([colored(position) for position in range(5)]) if layout != "gray" else DIGITS.images[:5].copy()
    expected = network_inputs(torch.from_numpy(expected), 28, 3)
    torch.testing.assert_close(found, expected, atol=1e-7 if dtype != np.float16 else 3e-4, rtol=0)


def test_a_run_over_an_archive_gives_what_the_bundled_digits_give(tmp_path):
    options = {**FIRST, "epsilon": [0.1]}
    mine = analyze(small_config(data=saved(tmp_path / "a.npz", **digits(80)), **options), tmp_path / "runs")
    bundled = analyze(small_config(**options), tmp_path / "runs")
    assert (mine.psi == bundled.psi).all()
    assert (mine.labels == bundled.labels).all()


IMAGES = DIGITS.images[:4]


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"pictures": IMAGES}, r"no array images but \['pictures'\]"),
        ({"images": IMAGES[0]}, r"images in .* are \(28, 28\)"),
        ({"images": IMAGES.astype(np.int32)}, "are int32"),
        ({"images": IMAGES.astype(np.float32)}, r"between 0 and 25.; save floats in 0\.\.1"),
        ({"images": np.full((4, 28, 28), np.nan)}, "images in .* hold NaN; save numbers alone"),
        ({"images": IMAGES[:0]}, "holds no image"),
        ({"images": IMAGES, "labels": np.zeros(3, int)}, "one for each of the 4 images"),
        ({"images": IMAGES, "labels": np.zeros(4)}, "labels in .* are float64"),
        ({"images": IMAGES, "labels": np.array([0, 1, -1, 2])}, "go down to -1; save class numbers from 0 on"),
        ({"images": IMAGES, "index": np.array([0, 1, 1, 2])}, "data: index in .* has 1 2 times; save each"),
        ({"images": (IMAGES > 127).astype(np.uint8)}, "bytes of 0 and 1, .* save them times 255"),
        ({"images": IMAGES / 254.9999}, r"between 0 and 1\.000000\d+; save floats"),
        ({"images": IMAGES, "labels": np.arange(4), "class_names": np.array(["a", "b"])}, "up to 3 and 2 class_names"),
        ({"images": np.array([object()], dtype=object)}, "no whole npz of plain arrays"),
    ],
)
def test_arrays_that_cannot_be_images_are_refused(tmp_path, arrays, sentence):
    with pytest.raises(DataError, match=sentence):
        load_dataset(saved(tmp_path / "a.npz", **arrays), "test")


def test_files_that_are_no_archive_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"nothing")
    np.save(tmp_path / "b.npy", IMAGES)
    whole = tmp_path / "c.npz"
    np.savez(whole, images=IMAGES)
    whole.write_bytes(whole.read_bytes()[:-50])
    for name in ("a.npz", "b.npy", "c.npz", "missing.npz"):
        with pytest.raises(DataError, match=name):
            load_dataset(f"npz:{tmp_path / name}", "test")
    with pytest.raises(DataError, match="no train part"):
        load_dataset(saved(tmp_path / "d.npz", **digits()), "train")


def test_without_labels_only_predictions_can_stand_in(tmp_path):
    path = tmp_path / "ten.safetensors"
    save_file(ARCHITECTURES["lenet5"].build(10).state_dict(), path)
    options = {"data": saved(tmp_path / "a.npz", images=DIGITS.images[:20]), "images": 20, "weights": str(path)}
    with pytest.raises(ConfigError, match="add --labels predicted"):
        analyze(small_config(**options), tmp_path / "runs")
    run = analyze(small_config(labels="predicted", **options), tmp_path / "runs")
    assert (run.labels == run.predictions[0]).all()


@pytest.fixture
def attacked():
    """FGSM at 0.1 of the first 40 digits by the network that small_config measures, float32 (40, 28, 28, 1)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        source = model_source("lenet5")
        classifier = build_classifier(source, 10, source.normalization)
    images = network_inputs(torch.from_numpy(DIGITS.images[:40].copy()), 28, 1)
    return fgsm(classifier, images, torch.from_numpy(DIGITS.labels[:40]), 0.1).permute(0, 2, 3, 1).contiguous().numpy()


def test_images_that_are_not_square_are_said_to_be_stretched(tmp_path):
    for shape, said in (((20, 28, 28), []), ((20, 24, 28), ["24 x 28 pixels, which are stretched to 28 x 28"])):
        place = saved(tmp_path / "a.npz", images=np.zeros(shape, np.uint8), labels=np.arange(20) % 10)
        notes = [each for each in prepare(small_config(data=place, images=20)).notes if each.startswith("data:")]
        assert [part in note for part, note in zip(said, notes, strict=True)] == [True] * len(said)


def test_external_images_are_a_condition_like_the_attack_that_made_them(tmp_path, attacked):
    place = saved(tmp_path / "attacked.npz", images=attacked, labels=DIGITS.labels[:40])
    run = analyze(small_config(**FIRST, epsilon=[0.1], attacked=place), tmp_path / "runs")
    assert run.conditions == ["benign", "fgsm@0.1", "attacked", "sign-noise@0.1", "gaussian@0.1", "anti-fgsm@0.1"]
    for name in ("psi", "prediction", "linf", "l2"):
        made, external = run.array(name)[1], run.array(name)[2]
        assert np.allclose(made, external, atol=1e-6, equal_nan=True), name
    row = table_rows(run, "conditions")[2]
    assert row["epsilon"] is None
    assert row["linf_mean"] == pytest.approx(0.1, abs=1e-6)
    layer = next(row for row in table_rows(run, "layers") if row["condition"] == "attacked")
    assert layer["control"] == "sign-noise@0.1", "the control that has their size"
    assert layer["verdict"]


def test_external_images_need_no_attack_of_our_own(tmp_path, attacked):
    place = saved(tmp_path / "attacked.npz", images=attacked)
    run = analyze(small_config(**FIRST, attack="none", controls="none", attacked=place), tmp_path / "runs")
    assert run.conditions == ["benign", "attacked"]


def test_positions_in_an_archive_pair_its_images(tmp_path, attacked):
    order = np.random.default_rng(0).permutation(40)
    dataset = load_dataset("mnist", "test")
    place = saved(tmp_path / "a.npz", images=attacked[order], labels=DIGITS.labels[order], index=order)
    assert (
        load_external(place, dataset, ALL, 28, None, [dataset.labels]).read(np.arange(40), 28, 1).pixels == attacked
    ).all()
    with pytest.raises(DataError, match=r"none for image 30, one of 10 without a partner.*--skip-unreadable"):
        load_external(saved(tmp_path / "b.npz", images=attacked[:30]), dataset, ALL, 28, None, [dataset.labels])
    with pytest.raises(DataError, match=r"labels in .* are not those of mnist"):
        load_external(
            saved(tmp_path / "c.npz", images=attacked, labels=DIGITS.labels[order]),
            dataset,
            ALL,
            28,
            None,
            [dataset.labels],
        )
    with pytest.raises(DataError, match=r"attacked: index in .* is float64"):
        load_external(
            saved(tmp_path / "d.npz", images=attacked, index=np.arange(40.0)), dataset, ALL, 28, None, [dataset.labels]
        )


def test_a_folder_is_paired_by_file_names_whatever_their_ending(tmp_path):
    order = digit_folder(tmp_path / "benign", 20)
    for position in order:
        label = DIGITS.labels[position]
        (tmp_path / "attacked" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - DIGITS.images[position]).save(tmp_path / "attacked" / str(label) / f"{position:05}.bmp")
    dataset = load_dataset(f"folder:{tmp_path / 'benign'}", "test")
    external = load_external(f"folder:{tmp_path / 'attacked'}", dataset, np.arange(20), 28, None, [dataset.labels])
    assert (external.read(np.arange(20), 28, 1).pixels == 255 - DIGITS.images[order]).all()
    (tmp_path / "attacked" / "7" / "00000.bmp").unlink()
    with pytest.raises(DataError, match=r"no picture for 7/00000\.png, one of 1 without a partner"):
        load_external(f"folder:{tmp_path / 'attacked'}", dataset, np.arange(20), 28, None, [dataset.labels])
    with pytest.raises(DataError, match="mnist has no file names"):
        load_external(f"folder:{tmp_path / 'attacked'}", load_dataset("mnist", "test"), np.arange(20), 28, None, ())


def test_labels_tell_in_which_of_its_two_orders_an_archive_has_a_folders_images(tmp_path):
    order = np.array(digit_folder(tmp_path / "benign", 20))
    dataset = load_dataset(f"folder:{tmp_path / 'benign'}", "test")
    class_by_class = np.argsort(dataset.labels, kind="stable")
    assert (class_by_class != np.arange(20)).any()
    options = (dataset, np.arange(20), 28, None, [dataset.labels])
    for some in (np.arange(20), class_by_class):
        place = saved(tmp_path / "a.npz", images=255 - DIGITS.images[order[some]], labels=dataset.labels[some])
        assert (load_external(place, *options).read(np.arange(20), 28, 1).pixels == 255 - DIGITS.images[order]).all()
    np.save(tmp_path / "b.npy", DIGITS.images[order])
    for place in (saved(tmp_path / "b.npz", images=DIGITS.images[order]), f"npy:{tmp_path / 'b.npy'}"):
        with pytest.raises(DataError, match=r"neither index nor labels .* class by class in torchvision, one of each"):
            load_external(place, *options)
    shuffled = saved(tmp_path / "c.npz", images=DIGITS.images[order[::-1]], labels=dataset.labels[::-1])
    first = class_by_class[:7]
    part = saved(tmp_path / "d.npz", images=255 - DIGITS.images[order[first]], labels=dataset.labels[first])
    for expected in ([dataset.labels], []):  # Labels tell the order also where they are not what images count by.
        with pytest.raises(DataError, match="are not those of folder"):
            load_external(shuffled, *options[:-1], expected)
        found = load_external(part, *options[:-1], expected, may_lack=True).read(np.sort(first), 28, 1)
        assert (found.pixels == 255 - DIGITS.images[order[np.sort(first)]]).all()


def test_images_without_a_partner_are_left_out_on_request(tmp_path, attacked):
    place = saved(tmp_path / "a.npz", images=np.delete(attacked, 7, 0), index=np.delete(np.arange(40), 7))
    options = {**FIRST, "attack": "none", "controls": "none"}
    with pytest.raises(DataError, match=r"none for image 7, one of 1 .*--skip-unreadable"):
        analyze(small_config(attacked=place, **options), tmp_path / "runs")
    run = analyze(small_config(attacked=place, skip_unreadable=True, **options), tmp_path / "runs")
    assert run.index.tolist() == [*range(7), *range(8, 40)]


def test_two_archives_are_paired_by_the_index_of_both(tmp_path, attacked):
    keys = np.arange(100, 140)
    data = saved(tmp_path / "benign.npz", **digits(40, index=keys))
    place = saved(tmp_path / "attacked.npz", images=attacked[::-1], labels=DIGITS.labels[:40][::-1], index=keys[::-1])
    external = load_external(place, load_dataset(data, "test"), ALL, 28, None, [DIGITS.labels[:40]])
    assert (external.read(np.arange(40), 28, 1).pixels == attacked).all()


def test_another_size_than_the_networks_or_the_datas_own_is_refused(tmp_path):
    dataset = load_dataset("mnist", "test")
    for edge, sizes in ((28, [28, 64]), (64, [64])):
        place = saved(tmp_path / f"{edge}.npz", images=np.zeros((40, edge, edge), np.float32))
        for size in sizes:
            assert load_external(place, dataset, ALL, size, None, ()).images.shape == (40, edge, edge)
    with pytest.raises(DataError, match="are 64 x 64 pixels; save them at 28 x 28 or 32 x 32, for another size"):
        load_external(place, dataset, ALL, 32, None, ())


def test_external_pictures_of_the_input_size_are_not_resized_again(tmp_path):
    order = digit_folder(tmp_path / "benign", 20)
    dataset = load_dataset(f"folder:{tmp_path / 'benign'}", "test", resize=56)
    external = load_external(f"folder:{tmp_path / 'benign'}", dataset, np.arange(20), 28, 56, ())
    assert (external.read(np.arange(20), 28, 1).pixels == DIGITS.images[order]).all()
    assert (dataset.read(np.arange(20), 28, 1).pixels != DIGITS.images[order]).any()


def test_an_export_of_an_archive_in_another_order_pairs_with_it(tmp_path):
    """The data set's own index is written, not positions; without one, an archive is in the order of the run."""
    order = np.random.default_rng(1).permutation(40)
    data = saved(tmp_path / "data.npz", images=DIGITS.images[:40][order], index=order)
    options = {"images": 40, "labels": "predicted", "weights": str(PACKAGE_DATA / "lenet5.safetensors")}
    run = analyze(small_config(data=data, epsilon=[0.1], **options), tmp_path / "runs")
    export_images(run, tmp_path / "out", ["npz"], lambda done, total: None)
    exported = np.load(tmp_path / "out" / "images-fgsm@0.1.npz")
    assert (exported["index"] == order).all()
    plain = saved(tmp_path / "plain.npz", images=exported["images"])
    for place in (f"npz:{tmp_path / 'out' / 'images-fgsm@0.1.npz'}", plain):
        again = analyze(
            small_config(data=data, attack="none", controls="none", attacked=place, **options), tmp_path / "runs"
        )
        assert (again.psi[1] == run.psi[1]).all()


def test_labels_may_be_the_data_sets_or_the_networks_numbers(tmp_path, attacked):
    dataset = load_dataset("mnist", "test")
    own, mapped = dataset.labels[:40], dataset.labels[:40] + 5
    for labels in (own, mapped):
        load_external(saved(tmp_path / "a.npz", images=attacked, labels=labels), dataset, ALL, 28, None, [own, mapped])
    with pytest.raises(DataError, match="are not those of mnist"):
        load_external(saved(tmp_path / "a.npz", images=attacked, labels=own + 1), dataset, ALL, 28, None, [own, mapped])


def test_files_that_differ_in_their_ending_only_cannot_be_paired(tmp_path):
    digit_folder(tmp_path / "benign", 20)
    digit_folder(tmp_path / "attacked", 20)
    dataset = load_dataset(f"folder:{tmp_path / 'benign'}", "test")
    Image.fromarray(DIGITS.images[0]).save(tmp_path / "attacked" / "7" / "00000.bmp")
    with pytest.raises(DataError, match=r"7/00000\.bmp and 7/00000\.png in .* cannot be told apart"):
        load_external(f"folder:{tmp_path / 'attacked'}", dataset, np.arange(20), 28, None, ())


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_relative_places_resume_from_anywhere_with_any_precision(tmp_path, monkeypatch, attacked, kind):
    digit_folder(tmp_path / "digits", 20)
    digit_folder(tmp_path / "external", 20)
    np.savez(tmp_path / "external.npz", images=attacked[:20], index=np.arange(20))
    monkeypatch.chdir(tmp_path)
    external = {"npz": "npz:external.npz", "folder": "folder:external"}[kind]
    options = {"data": "folder:digits", "images": 20, "attacked": external, "precision": "bf16", "batch": 40}
    run = analyze(small_config(**options), tmp_path / "runs")
    before = run.psi
    (run.directory / "chunks" / "00001.npz").unlink()
    monkeypatch.chdir("/")
    assert Worker(run.directory).work() == "finished"
    assert np.array_equal(load_run(str(run.directory)).psi, before, equal_nan=True)


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_a_folder_in_the_place_of_a_file_is_told_in_plain_words(tmp_path, kind):
    read = (lambda: read_npz(tmp_path, "data")) if kind == "npz" else (lambda: read_npy(tmp_path, None, None))
    with pytest.raises(DataError, match=rf"{tmp_path} cannot be read \(Is a directory\); name an {kind} file that can"):
        read()
