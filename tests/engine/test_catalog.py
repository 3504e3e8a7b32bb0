"""The catalog of models: every name of torchvision's and timm's with the family it belongs to."""

import importlib.util
import sys

import pytest
import timm
import torchvision

from psi_core import ModelError
from psi_core.config import MODEL_NAMES
from psi_core.engine.answers import model_rows


def test_bundled_models_come_first_then_every_one_of_torchvision_s_and_of_timm_s() -> None:
    names = [row["name"] for row in model_rows()]
    torchvisions = [f"torchvision:{name}" for name in torchvision.models.list_models(module=torchvision.models)]
    assert names == [*MODEL_NAMES, *torchvisions, *(f"timm:{name}" for name in timm.list_models())]


def test_where_timm_is_not_installed_the_list_ends_with_torchvision_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "timm", None)
    assert {row["name"].partition(":")[0] for row in model_rows()} == {*MODEL_NAMES, "torchvision"}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("lenet5", "bundled"),
        ("torchvision:alexnet", "alexnet"),
        ("torchvision:vgg16_bn", "vgg"),
        ("torchvision:densenet121", "densenet"),
        ("torchvision:wide_resnet50_2", "resnet"),
        ("torchvision:resnext101_32x8d", "resnet"),
        ("torchvision:inception_v3", "inception"),
        ("timm:resnet10t", "timm"),
    ],
)
def test_families(name: str, family: str) -> None:
    (row,) = [row for row in model_rows(name) if row["name"] == name]
    assert row["family"] == family


def test_a_pattern_narrows_the_list() -> None:
    assert {row["family"] for row in model_rows("resnet1")} == {"resnet", "timm"}
    with pytest.raises(ModelError):
        model_rows("nonsense")
