"""The catalog of models: every name of torchvision's with the family it belongs to."""

import pytest
import torchvision

from psi_core import ModelError
from psi_core.config import MODEL_NAMES
from psi_core.engine.catalog import model_rows


def test_bundled_models_come_first_then_every_one_of_torchvision_s() -> None:
    names = [row["name"] for row in model_rows()]
    known = torchvision.models.list_models(module=torchvision.models)
    assert names == [*MODEL_NAMES, *(f"torchvision:{name}" for name in known)]


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
    ],
)
def test_families(name: str, family: str) -> None:
    (row,) = [row for row in model_rows(name) if row["name"] == name]
    assert row["family"] == family


def test_a_pattern_narrows_the_list() -> None:
    assert {row["family"] for row in model_rows("resnet1")} == {"resnet"}
    with pytest.raises(ModelError):
        model_rows("nonsense")
