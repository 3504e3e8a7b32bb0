"""Classes of a data set and of a network's head: matched, or refused."""

import dataclasses

import numpy as np
import pytest

from psi_core.engine.images.classes import imagenet_names, match_classes
from psi_core.engine.images.dataset import ArrayDataset
from psi_core.errors import ConfigError
from psi_core.files import PACKAGE_DATA

WNIDS = (PACKAGE_DATA / "imagenet_wnids.txt").read_text().split()


def named(*names):
    """Two images a class, in order."""
    labels = np.repeat(np.arange(len(names)), 2)
    return ArrayDataset("mine", np.zeros((len(labels), 8, 8), np.uint8), labels, names)


def labels(dataset):
    return dataset.labels[::2].tolist()


def test_wordnet_ids_are_a_thousand_in_order():
    assert len(set(WNIDS)) == 1000
    assert sorted(WNIDS) == WNIDS
    assert (WNIDS[0], WNIDS[999]) == ("n01440764", "n15075141")


def test_a_hundred_folders_keep_the_numbers_of_the_thousand_way_head():
    chosen = list(range(5, 1000, 10))
    matched = match_classes(named(*(WNIDS[place] for place in chosen)), 1000, "resnet18")
    assert labels(matched) == chosen
    assert len(matched.class_names) == 1000
    assert matched.class_names[5] == WNIDS[5]
    assert matched.class_names[6] == imagenet_names()[6]


def test_names_are_matched_whatever_their_case_and_spelling():
    matched = match_classes(named("goldfish", "Great_White_Shark", "tench"), 1000, "resnet18")
    assert labels(matched) == [1, 2, 0]


@pytest.mark.parametrize(
    "names",
    [("a", "b", "c"), tuple(f"class{i:03}" for i in range(100)), tuple("0123456789"), tuple(map(str, range(100)))],
)
def test_others_under_a_thousand_way_head_are_refused(names):
    with pytest.raises(ConfigError, match=r"cannot be matched.*; call them by WordNet id or by ImageNet's .*predicted"):
        match_classes(named(*names), 1000, "resnet18")


def test_a_thousand_unknown_names_are_not_taken_for_imagenets():
    with pytest.raises(ConfigError, match="cannot be matched"):
        match_classes(named(*(f"class{i:04}" for i in range(1000))), 1000, "resnet18")


def test_numbers_are_the_heads_own():
    assert labels(match_classes(named("3", "7"), 10, "lenet5")) == [3, 7]
    assert labels(match_classes(named("0", "1", "10", "2"), 11, "mine")) == [0, 1, 10, 2]
    with pytest.raises(
        ConfigError, match=r"cannot be matched.*; name a network of as many classes, or take .* its 10,"
    ):
        match_classes(named("3", "12"), 10, "lenet5")


def test_as_many_names_as_classes_are_taken_in_sorted_order():
    dataset = named("cat", "dog", "frog")
    assert match_classes(dataset, 3, "mine") is dataset
    with pytest.raises(ConfigError, match=r"mine has 10 classes and mine 3 \(cat, dog, frog\).*own numbers, 0 to 9,"):
        match_classes(dataset, 10, "mine")


def test_images_without_labels_match_nothing():
    with pytest.raises(ConfigError, match="add --labels predicted"):
        match_classes(dataclasses.replace(named("a"), class_names=("unlabeled",)), 1, "mine")


def test_imagenets_own_names_are_taken_as_they_are():
    dataset = named(*imagenet_names())
    assert match_classes(dataset, 1000, "resnet18") is dataset
    assert labels(match_classes(named("Cardigan", "cardigan"), 1000, "resnet18")) == [264, 474]


@pytest.mark.parametrize("names", [("CARDIGAN", "tench"), ("Crane", "crane"), ("tench", "n01440764")])
def test_names_that_could_be_two_classes_or_the_same_are_refused(names):
    with pytest.raises(ConfigError, match="cannot be matched"):
        match_classes(named(*names), 1000, "resnet18")
