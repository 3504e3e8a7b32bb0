"""RobustBench: its names, its loader, its folder of weights, and how it is refused.

robustbench 1.1.1 pins timm 1.0.9 and imports `pkg_resources` and an `autoattack` that its requirements do not bring, so
that it cannot stand beside what is tested here. A package of its documented interface stands in for it: `load_model`,
`model_dicts` by data set and threat, weights at MODEL_DIR/DATASET/THREAT/NAME.pt.
"""

import sys

import numpy as np
import pytest
import torch

from psi_core import RunConfig
from psi_core.engine import analyze
from psi_core.engine.answers import model_rows
from psi_core.engine.models.sources import model_source
from psi_core.engine.preparation import prepare
from psi_core.errors import ConfigError, ModelError

ZOO = """
from enum import Enum
from torch import nn

class BenchmarkDataset(Enum):
    cifar_10 = "cifar10"
    imagenet = "imagenet"

class ThreatModel(Enum):
    Linf = "Linf"
    L2 = "L2"

def small():
    return nn.Sequential(nn.Conv2d(3, 6, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 100, 10))

model_dicts = {
    BenchmarkDataset.cifar_10: {
        ThreatModel.Linf: {"Standard": {"model": small}, "Wong2020Fast": {"model": small}},
        ThreatModel.L2: {"Rice2020Overfitting": {"model": small}},
    },
    BenchmarkDataset.imagenet: {ThreatModel.Linf: {"Salman2020Do_R18": {"model": small}}},
}
"""

UTILS = """
from pathlib import Path
import torch
from robustbench.model_zoo import BenchmarkDataset, ThreatModel, model_dicts

def load_model(model_name, model_dir="./models", dataset="cifar10", threat_model="Linf"):
    model = model_dicts[BenchmarkDataset(dataset)][ThreatModel(threat_model)][model_name]["model"]()
    path = Path(model_dir) / dataset / threat_model / f"{model_name}.pt"
    if not path.is_file():
        print("Downloading")
        raise OSError("no route to host")
    model.load_state_dict(torch.load(path, map_location="cpu")["state_dict"])
    return model.eval()
"""


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    """The stand-in, and where torch keeps downloads."""
    package = tmp_path / "packages" / "robustbench"
    package.mkdir(parents=True)
    for name, text in (("__init__", ""), ("model_zoo", ZOO), ("utils", UTILS)):
        (package / f"{name}.py").write_text(text)
    for name in [name for name in sys.modules if name.partition(".")[0] == "robustbench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield tmp_path / "torch" / "hub" / "robustbench" / "cifar10"
    for name in [name for name in sys.modules if name.partition(".")[0] == "robustbench"]:
        del sys.modules[name]


def planted(path):
    from robustbench.model_zoo import small

    network = small()
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": network.state_dict()}, path)
    return network.eval()


@pytest.mark.parametrize("name", ["Standard", "cifar10/Linf/Standard"])
def test_a_run_has_the_weights_that_its_own_loader_reads_and_pixels_in_0_to_1(name, weights, tmp_path):
    network = planted(weights / "Linf" / "Standard.pt")
    config = RunConfig(model=f"robustbench:{name}", images=6, controls="none")
    run = analyze(config, tmp_path / "runs")
    assert (run.config.size, run.config.normalize, run.config.weights) == (32, "none", "built")
    state = prepare(config).classifier.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert np.isfinite(run.psi).all()


def test_the_threat_chooses_the_weights_and_the_data_set_the_size(weights):
    planted(weights / "L2" / "Rice2020Overfitting.pt")
    model_source("robustbench:cifar10/L2/Rice2020Overfitting").build(10)
    assert model_source("robustbench:imagenet/Linf/Salman2020Do_R18").size == 224


def test_weights_that_cannot_be_downloaded_are_asked_for_by_their_place(weights):
    source = model_source("robustbench:Wong2020Fast")
    with pytest.raises(ModelError) as refusal:
        source.build(10)
    assert str(refusal.value) == (
        "model: robustbench:Wong2020Fast cannot be loaded (no route to host); "
        f"put its weights at {weights}/Linf/Wong2020Fast.pt, or name another model"
    )


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ModelError, match="2020Fats'; did you mean 'robustbench:Wong2020Fast'"):
        model_source("robustbench:Wong2020Fats")
    with pytest.raises(ModelError, match="did you mean 'robustbench:cifar10/L2/Rice2020Overfitting'"):
        model_source("robustbench:cifar10/L2/Rice2020Overfit")


def test_its_models_are_listed():
    assert [row["name"] for row in model_rows("standard")] == ["robustbench:cifar10/Linf/Standard"]


def test_other_weights_by_name_are_refused():
    with pytest.raises(ConfigError, match="comes with its own weights"):
        prepare(RunConfig(model="robustbench:Standard", weights="random"))


def test_where_robustbench_is_not_installed_or_broken_the_way_out_is_told(monkeypatch, tmp_path):
    (tmp_path / "packages" / "robustbench" / "__init__.py").write_text("import autoattack_that_is_missing")
    with pytest.raises(ModelError, match=r"robustbench cannot be imported \(No module named 'autoattack_that"):
        model_source("robustbench:Standard")
    monkeypatch.setitem(sys.modules, "robustbench", None)
    with pytest.raises(ModelError, match=r"robustbench is not installed; pip install 'psi-tui\[robustbench\]'"):
        model_source("robustbench:Standard")
