"""Names of a head's classes: ImageNet's under its weights, and never for a head of something else."""

from pathlib import Path

import pytest
from safetensors.torch import save_file

from psi_core.config import RunConfig
from psi_core.engine.images import classes
from psi_core.engine.models.sources import ARCHITECTURES
from psi_core.engine.preparation import prepare
from psi_core.errors import ConfigError
from psi_core.presets import config_of
from tests.engine.imagenet_file import write_imagenet_file


@pytest.fixture
def imagenet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torchvision's cache with a stand-in for its AlexNet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return write_imagenet_file(tmp_path / "torch")


def names_of(config: RunConfig) -> list[str]:
    return list(prepare(config).card["class_names"])


def test_imagenet_weights_have_imagenets_names(imagenet_file: Path) -> None:
    names = names_of(config_of("study-imagenet", size=64, images=4))
    assert len(names) == 1000
    assert (names[0], names[207], names[999]) == ("tench", "golden retriever", "toilet tissue")


def test_digits_have_no_true_label_under_a_thousand_way_head(imagenet_file: Path) -> None:
    with pytest.raises(ConfigError, match="--labels predicted"):
        prepare(config_of("study-imagenet", labels="true", size=64, images=4))


def test_a_file_of_torchvision_is_known_by_its_hash(imagenet_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("study-imagenet", weights=str(imagenet_file), size=64, images=4)
    card = prepare(config).card
    assert card["class_names"][:2] == ["0", "1"]
    monkeypatch.setattr(classes, "_torchvision_digests", lambda: frozenset({card["sha256"][:8]}))
    assert names_of(config)[:2] == ["tench", "goldfish"]


def test_torchvisions_hashes_stand_in_its_file_names() -> None:
    starts = classes._torchvision_digests()
    assert {"7be5be79", "8a719046"} <= starts
    assert all(len(start) == 8 and set(start) <= set("0123456789abcdef") for start in starts)


@pytest.mark.parametrize("classes", [10, 1000])
def test_other_heads_are_numbered(tmp_path: Path, classes: int) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(ARCHITECTURES["lenet5"].build(classes).state_dict(), path)
    config = RunConfig(weights=str(path), labels="predicted", images=4)
    assert names_of(config) == [str(number) for number in range(classes)]
