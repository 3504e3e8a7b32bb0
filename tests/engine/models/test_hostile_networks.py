"""Networks that would put numbers under a wrong name: refused in a sentence, or measured right; never misaligned."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from psi_core import RunConfig
from psi_core.engine import SparsenessMeter, analyze, population_sparseness
from psi_core.engine.images import load_dataset, network_inputs
from psi_core.engine.preparation import prepare
from psi_core.errors import ModelError, PsiError
from tests.engine.networks import Fickle, Functional, images_of, perceptron, seeded

NETWORKS = """
import torch
from torch import nn
from torch.nn import functional as F

class Base(nn.Module):
    input_size = 8

    def __init__(self):
        super().__init__()
        self.forwards = 0
        self.act, self.gate = nn.ReLU(), nn.ReLU()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)

class Skips(Base):
    '''Its one ReLU runs three times in the dry forward, twice from then on: what was #3 would be called #2.'''
    def forward(self, images):
        self.forwards += 1
        flat = images.flatten(1)
        if self.forwards == 1:
            flat = self.act(flat)
        return self.head(self.act(self.second(self.act(self.first(flat)))))

class Swaps(Base):
    '''Two modules change places.'''
    def __init__(self):
        super().__init__()
        self.other = nn.ReLU()
    def forward(self, images):
        self.forwards += 1
        acts = [self.act, self.other]
        a, b = acts if self.forwards == 1 else acts[::-1]
        return self.head(b(self.second(a(self.first(images.flatten(1))))))

class Constant(Base):
    '''A ReLU of the weights, one row whatever the batch.'''
    def forward(self, images):
        scale = self.gate(self.first.weight[:1])
        return self.head(self.act(images.flatten(1)) * scale)

class Patches(Base):
    '''A ReLU over rows of the image.'''
    def forward(self, images):
        rows = self.gate(images.reshape(-1, 8))
        return self.head(self.act(self.first(rows.reshape(-1, 64))))

class Tuple(Base):
    def forward(self, images):
        logits = self.head(self.act(images.flatten(1)))
        return logits, logits

class Dictionary(Base):
    def forward(self, images):
        return {"scores": self.head(self.act(images.flatten(1)))}

class OneImage(Base):
    def forward(self, images):
        return self.head(self.act(images.reshape(1, 64)))

class Transformer(Base):
    '''torch's encoder, which has a fast path around its ReLU.'''
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    def forward(self, images):
        return self.head(self.encoder(images[:, 0]).flatten(1))
"""


@pytest.fixture
def networks(tmp_path):
    (tmp_path / "hostile.py").write_text(NETWORKS)
    return lambda name, **options: RunConfig(
        **{"model": f"{tmp_path}/hostile.py:{name}", "images": 5, "batch": 2, "controls": "none", **options}
    )


@pytest.mark.parametrize(("name", "layers"), [("Swaps", "relu"), *(("Skips", n) for n in ("relu", "act", "act#2"))])
def test_a_network_that_runs_otherwise_from_batch_to_batch_fails_the_run(name, layers, networks, tmp_path):
    with pytest.raises(PsiError, match="only networks that run alike for every batch can be measured"):
        analyze(networks(name, layers=layers), tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "Tuple",
            r"its output is tuple for 2 images, not logits .*; wrap it to return those, such as its \[0\]",
        ),
        ("Dictionary", "its output is dict for 2 images, not logits"),
        ("OneImage", "it takes 1 image at a time and no other number"),
    ],
)
def test_an_output_that_is_no_row_of_logits_per_image_is_refused(name, text, networks):
    with pytest.raises(ModelError, match=text):
        prepare(networks(name))


@pytest.mark.parametrize("name", ["Constant", "Patches"])
def test_a_relu_without_a_row_per_image_is_passed_over_and_refused_by_name(name, networks, tmp_path):
    for layers in ("relu", "[ag]*", "all"):
        run = analyze(networks(name, layers=layers, rectify="abs"), tmp_path)
        assert "act" in run.layers
        assert "gate" not in run.layers
    with pytest.raises(ModelError, match="layers: gate does not give a row of responses per image; leave it out"):
        prepare(networks(name, layers="act,gate"))


def test_the_fast_path_of_torchs_transformer_is_not_taken(networks, tmp_path):
    config = networks("Transformer", epsilon=0, order="first")
    run = analyze(config, tmp_path)
    assert run.layers == ["encoder.layers.0.relu", "encoder.layers.1.relu"]
    assert (run.psi[0] == run.psi[1]).all()
    network = prepare(config).classifier.network
    hidden = []
    for layer in network.encoder.layers:
        layer.activation = lambda features: hidden.append(features.clamp_min(0)) or hidden[-1]
        layer.activation_relu_or_gelu = 0  # So that torch takes the slow path here.
    with torch.no_grad():
        network(inputs_of(5))
    expected = torch.stack([population_sparseness(output.flatten(1)) for output in hidden])
    np.testing.assert_allclose(run.psi[0], expected, atol=2e-6)


def inputs_of(count):
    """The first digits at 8 pixels."""
    return network_inputs(torch.tensor(load_dataset("mnist", "test").images[:count]), 8, 1)


@pytest.mark.parametrize("change", ["fewer", "more", "order"])
def test_the_meter_refuses_to_join_calls_that_ran_other_layers(change):
    network = seeded(lambda: Fickle(change))
    with torch.no_grad(), SparsenessMeter(network) as meter:
        network(images_of(3))
        assert len(meter.psi) == 2
        network(images_of(2))
    with pytest.raises(ModelError, match="layers: the module's calls differ in the layers they ran"):
        _ = meter.psi


def test_the_meter_forgets_a_call_that_failed_on_the_way():
    network = seeded(Functional)
    head = network.head
    with torch.no_grad(), SparsenessMeter(network) as meter:
        network(images_of(2))
        network.head = Failing()
        with pytest.raises(RuntimeError, match="out of memory"):
            network(images_of(7))
        network.head = head
        network(images_of(3))
    assert {len(psi) for psi in meter.psi.values()} == {5}


class Failing(nn.Module):
    def forward(self, _features):
        raise RuntimeError("out of memory")


def test_the_meter_passes_over_a_relu_without_a_row_per_image():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.ones(1, 64))

        def forward(self, images):
            return F.relu(images.flatten(1) + self.bias.relu())

    network = Constant()
    with torch.no_grad(), SparsenessMeter(network) as meter:
        network(images=images_of(3))
    assert list(meter.psi) == ["relu#2"]
    with pytest.raises(ModelError, match="relu does not give a row"), SparsenessMeter(network, ["relu"]):
        network(images_of(3))


def test_the_meter_measures_parts_of_a_module_too():
    network = perceptron()
    with torch.no_grad(), SparsenessMeter(network) as meter:
        network[:3](images_of(3))
    assert [len(psi) for psi in meter.psi.values()] == [3]


STUDENT = """
from torch import nn

class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(320, 10)

    def forward(self, images):
        maps = self.pool(self.conv2(self.pool(self.conv1(images)).relu())).relu()
        return self.fc(maps.view(-1, 320))
"""


def test_a_view_of_another_size_is_told_from_one_of_a_fixed_number_of_images(tmp_path):
    (tmp_path / "student.py").write_text(STUDENT)
    values = {"model": f"{tmp_path}/student.py:Student", "weights": "random", "images": 5}
    with pytest.raises(ModelError, match=r"^size: .* 1 x 32 x 32 .*; write --size 28, which it takes$"):
        prepare(RunConfig(size=32, **values))
    assert prepare(RunConfig(size=28, **values)).config.size == 28


RENAMED = """
import torch
from torch import nn

class Renamed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def state_dict(self, *args, **kwargs):
        return {f"net.{name}": tensor.clone() for name, tensor in super().state_dict(*args, **kwargs).items()}

    def forward(self, images):
        return self.layer(images.flatten(1).relu())
"""


def test_a_state_dict_of_renamed_copies_takes_no_weights_without_a_word(tmp_path):
    (tmp_path / "renamed.py").write_text(RENAMED)
    torch.save({"net.layer.weight": torch.ones(10, 784), "net.layer.bias": torch.ones(10)}, tmp_path / "renamed.pt")
    values = {"model": f"{tmp_path}/renamed.py:Renamed", "weights": str(tmp_path / "renamed.pt"), "size": 28}
    with pytest.raises(ModelError, match=r"gives net\.layer\.weight as a copy of what it computes with"):
        prepare(RunConfig(images=5, **values))


BORROWED = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(784, 16), nn.Linear(16, 10)

    def forward(self, images):
        weights = {name: 2 * tensor for name, tensor in self.layer.named_parameters()}
        return self.head(torch.func.functional_call(self.layer, weights, images.flatten(1)).relu())
"""


def test_a_held_layer_with_other_weights_for_one_call_is_no_stranger(tmp_path):
    (tmp_path / "borrowed.py").write_text(BORROWED)
    prepared = prepare(RunConfig(model=f"{tmp_path}/borrowed.py:Net", weights="random", size=28, images=5))
    assert not any("does not hold" in note for note in prepared.notes)


def test_a_part_that_is_imported_late_is_each_projects_own(tmp_path):
    for name, outputs in (("one", 10), ("two", 20)):
        (tmp_path / name / "nets").mkdir(parents=True)
        (tmp_path / name / "nets" / "__init__.py").write_text("")
        (tmp_path / name / "nets" / "sub.py").write_text(f"OUTPUTS = {outputs}\n")
        (tmp_path / name / "main.py").write_text(
            "import nets\nfrom torch import nn\n\ndef net():\n    from nets.sub import OUTPUTS\n"
            "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, OUTPUTS))\n"
        )
    for name, outputs in (("one", 10), ("two", 20)):
        values = {"weights": "random", "size": 28, "images": 5, "labels": "predicted"}
        prepared = prepare(RunConfig(model=f"{tmp_path / name}/main.py:net", **values))
        assert prepared.classifier.network[-1].out_features == outputs
