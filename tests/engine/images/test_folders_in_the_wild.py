"""Folders as researchers bring them: parts are never classes, and no class takes another's number without a word."""

import numpy as np
import pytest
from PIL import Image

from psi_core.ablation import AblationConfig
from psi_core.decoder import UNREADABLE, open_picture
from psi_core.engine import analyze
from psi_core.engine.ablation.preparation import prepare_ablation
from psi_core.engine.images import load_dataset
from psi_core.engine.images.classes import match_classes
from psi_core.engine.preparation import prepare
from psi_core.errors import ConfigError, DataError
from tests.engine.picture_files import digit_folder
from tests.engine.processes import small_config


def pictures(root, *places, mode="L", value=100):
    for place in places:
        (root / place).mkdir(parents=True, exist_ok=True)
        Image.new(mode, (28, 28), value).save(root / place / "a.png")
    return f"folder:{root}"


PARTS = [
    *("train", "Train", "TRAINING", "training_set", "train2017", "TrainSet", "traindata", "trn"),
    *(
        "valid",
        "Val",
        "VALIDATION",
        "validation-set",
        "test",
        "Testing",
        "test_images",
        "TestData",
        "evaluation",
        "dev",
    ),
]


@pytest.mark.parametrize("part", PARTS)
def test_parts_in_any_spelling_are_never_classes(part, tmp_path):
    split = "train" if part.lower().startswith("tr") else "test"
    name = pictures(tmp_path / "a", f"{part}/cat", f"{part}/dog", "Annotations/x")
    assert load_dataset(name, split).class_names == ("cat", "dog")
    with pytest.raises(DataError, match=f"no part {'test' if split == 'train' else 'train'}"):
        load_dataset(name, "test" if split == "train" else "train")
    other = "TRAIN" if split == "test" else "valid"
    with pytest.raises(DataError, match="no part test with a folder for each class"):
        load_dataset(pictures(tmp_path / "b", part, other), "test")


@pytest.mark.parametrize(
    "name", ["train station", "test_tube", "valley", "trainer", "tester", "developer", "evaluator"]
)
def test_classes_that_begin_as_parts_do_are_classes(name, tmp_path):
    assert load_dataset(pictures(tmp_path, name, "bus"), "test").class_names == tuple(sorted((name, "bus")))


def test_test_comes_before_validation(tmp_path):
    name = pictures(tmp_path, "Valid/a", "TEST/b", "train/c", "dev/d")
    assert load_dataset(name, "test").class_names == ("b",)


@pytest.mark.parametrize(
    "places",
    [("data/cat", "data/dog"), ("set1/cat", "set1/dog", "set2/cat"), ("a/b/c", "a/b/d"), ("d/train/cat", "d/val/cat")],
)
def test_folders_of_folders_are_refused_with_the_path_of_a_part(places, tmp_path):
    name = pictures(tmp_path, *places)
    with pytest.raises(DataError, match=rf"folders of folders only .*such as {name}/{places[0].split('/')[0]}"):
        load_dataset(name, "test")


def test_a_folder_of_images_in_every_class_is_one_class_each(tmp_path):
    """As tiny-imagenet has it."""
    name = pictures(tmp_path, "n01443537/images", "n01629819/images")
    assert load_dataset(name, "test").class_names == ("n01443537", "n01629819")


def test_where_text_and_numbers_order_classes_differently_the_user_chooses(tmp_path):
    numbers = [str(number) for number in range(12)]
    name = pictures(tmp_path, *numbers)
    with pytest.raises(
        ConfigError, match=r"as text .* 0, 1, 10, \.\.\., sorted by number .*1, 2, .*--class-order text"
    ):
        match_classes(load_dataset(name, "test"), 12, "mine")
    for order, places in (("text", [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]), ("number", list(range(12)))):
        dataset = match_classes(load_dataset(name, "test", None, order), 12, "mine", order)
        label_of = {dataset.place_of(at).split("/")[0]: int(label) for at, label in enumerate(dataset.labels)}
        assert [label_of[number] for number in numbers] == places
        assert [dataset.class_names[label_of[number]] for number in numbers] == numbers


@pytest.mark.parametrize("names", [("class1", "class2", "class10"), ("1", "2", "10"), ("a 9", "a 11", "b")])
def test_names_with_numbers_may_be_in_timms_order(names, tmp_path):
    name = pictures(tmp_path, *names)
    with pytest.raises(ConfigError, match="--class-order number where by number or by timm"):
        match_classes(load_dataset(name, "test"), 3, "mine")
    by_number = match_classes(load_dataset(name, "test", None, "number"), 3, "mine", "number")
    by_text = match_classes(load_dataset(name, "test", None, "text"), 3, "mine", "text")
    assert by_number.class_names == names
    assert by_text.class_names == tuple(sorted(names))


@pytest.mark.parametrize("names", [[f"{number:02}" for number in range(12)], list("0123456789"), ["cat", "dog", "Ant"]])
def test_nothing_is_asked_where_both_orders_agree(names, tmp_path):
    dataset = match_classes(load_dataset(pictures(tmp_path, *names), "test"), len(names), "mine")
    assert dataset.class_names == tuple(sorted(names))


def test_a_subset_of_a_heads_numbers_has_one_order_only(tmp_path):
    dataset = match_classes(load_dataset(pictures(tmp_path, "2", "10", "30"), "test"), 100, "mine")
    assert sorted(dataset.labels.tolist()) == [2, 10, 30]


def test_the_option_reaches_the_run(tmp_path):
    pictures(tmp_path / "data", *map(str, range(12)))
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 5), nn.ReLU(), nn.Linear(5, 12))\n"
    )
    options = {"model": f"{tmp_path / 'net.py'}:make", "weights": "built", "size": 28, "images": 12, "epsilon": [0.1]}
    with pytest.raises(ConfigError, match="--class-order"):
        analyze(small_config(data=f"folder:{tmp_path / 'data'}", **options), tmp_path / "runs")
    for order, first in (("text", [0, 1, 2, 3]), ("number", [0, 1, 2, 3])):
        run = analyze(small_config(data=f"folder:{tmp_path / 'data'}", class_order=order, **options), tmp_path / "runs")
        assert run.labels.tolist()[:4] == first
        names = run.model["class_names"]
        assert names == (sorted(map(str, range(12))) if order == "text" else [*map(str, range(12))])


def test_an_empty_class_folder_is_named_and_shifts_no_other(tmp_path):
    name = pictures(tmp_path, "ant", "cat", "dog")
    (tmp_path / "bee").mkdir()
    (tmp_path / "cow").mkdir()
    (tmp_path / "cow" / "notes.txt").write_text("none yet")
    dataset = load_dataset(name, "test")
    matched = match_classes(dataset, 5, "mine")
    assert matched.class_names == ("ant", "bee", "cat", "cow", "dog")
    assert sorted(matched.labels.tolist()) == [0, 2, 4]
    assert match_classes(dataset, 3, "mine").class_names == ("ant", "cat", "dog")
    with pytest.raises(ConfigError, match=r"besides the empty bee, cow"):
        match_classes(dataset, 4, "mine")


def test_a_run_says_which_class_folders_are_empty(tmp_path):
    digit_folder(tmp_path, 12)
    (tmp_path / "8").mkdir(exist_ok=True)
    prepared = prepare(small_config(data=f"folder:{tmp_path}", images=12))
    assert prepared.notes == (f"data: folder:{tmp_path} has no picture in 8",)


def test_links_inside_classes_are_followed_and_never_in_a_circle(tmp_path):
    pictures(tmp_path / "far", "more", "more/deeper")
    name = pictures(tmp_path / "near", "cat", "dog")
    near = tmp_path / "near"
    (near / "cat" / "linked").symlink_to(tmp_path / "far" / "more")
    (near / "cat" / "up").symlink_to(near)
    (near / "dog" / "self").symlink_to(near / "dog")
    (near / "dog" / "cats").symlink_to(tmp_path / "far" / "more" / "deeper")
    (near / "dog" / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "far" / "more" / "back").symlink_to(tmp_path / "far")
    (near / "cow").symlink_to(tmp_path / "far" / "more")
    dataset = load_dataset(name, "test")
    places = sorted(dataset.place_of(position) for position in range(len(dataset)))
    assert places == [
        *("cat/a.png", "cat/linked/a.png", "cat/linked/deeper/a.png"),
        *("cow/a.png", "cow/deeper/a.png", "dog/a.png", "dog/cats/a.png"),
    ]


@pytest.mark.parametrize(("most", "bits"), [(4095, 12), (1023, 10), (16383, 14)])
def test_sixteen_bit_files_of_fewer_bits_are_said(most, bits, tmp_path):
    for label in "01":
        (tmp_path / label).mkdir()
        values = np.linspace(0, most, 28 * 28).reshape(28, 28).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / label / "a.png")
    (note,) = prepare(small_config(data=f"folder:{tmp_path}", images=2)).notes
    assert f"16-bit files that use {bits} bits" in note
    assert f"multiplied by {2 ** (16 - bits)}" in note
    Image.fromarray(np.full((28, 28), 65535, np.uint16)).save(tmp_path / "1" / "a.png")
    assert prepare(small_config(data=f"folder:{tmp_path}", images=2)).notes == ()


def test_an_ablation_takes_the_order_too(tmp_path):
    for part in ("train", "test"):
        pictures(tmp_path / "data" / part, *map(str, range(12)))
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2704, 12))\n"
    )
    options = {"model": f"{tmp_path / 'net.py'}:make", "weights": "built", "data": f"folder:{tmp_path / 'data'}"}
    options |= {"layer": "1", "by": "response", "size": 28, "device": "cpu"}
    with pytest.raises(ConfigError, match="--class-order"):
        prepare_ablation(AblationConfig(**options))
    ablation = prepare_ablation(AblationConfig(class_order="text", **options))
    label_of = dict(zip(ablation.training.places, ablation.training.labels.tolist(), strict=True))
    assert (label_of["10/a.png"], label_of["2/a.png"]) == (2, 4)


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", b"P7\n"]
)
def test_a_picture_is_opened_only_as_a_kind_that_is_promised(content, tmp_path):
    """Pillow starts Ghostscript for PostScript, whatever the name's ending says."""
    file = tmp_path / "0.png"
    file.write_bytes(content)
    with pytest.raises(UNREADABLE, match="cannot identify"):
        open_picture(str(file))
