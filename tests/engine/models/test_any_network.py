"""Any network: measured as a plain float64 reference measures it, or refused in a sentence before any work."""

import re
import sys
import types

import numpy as np
import pytest
import torch

from psi_core import RunConfig
from psi_core.ablation import AblationConfig
from psi_core.engine import analyze
from psi_core.engine.ablation.masking import run_ablation
from psi_core.engine.ablation.preparation import prepare_ablation
from psi_core.engine.again.pictures import PictureMaker
from psi_core.engine.images import load_dataset, network_inputs
from psi_core.engine.preparation import prepare
from psi_core.errors import ConfigError, ModelError
from psi_core.evidence import checks_of
from psi_core.runs.trust import trust
from tests.engine.models.cases import PRELUDE, RIGHT
from tests.engine.models.doubtful_cases import DOUBTED, REFUSED

EPSILON, IMAGES = 0.05, 7

BINARY = {
    "a logit": "return z",
    "a flat logit": "return z.squeeze(1)",
    "squeezed": "return z.squeeze()",
    "a sigmoid": "return torch.sigmoid(z * 5)",
    "a flat sigmoid in place": "return z.flatten().mul(5).sigmoid_()",
}
"""Ways to give one number for two classes."""

Z = {name: torch.logit if "sigmoid" in name else lambda given: given for name in BINARY}


@pytest.fixture
def config_of(tmp_path, monkeypatch):
    """The configuration of a run of one case's network: three batches, the last of one image."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def configured(source, **options):
        (tmp_path / "net.py").write_text(f"{PRELUDE}\n{source}")
        values = {"images": IMAGES, "order": "first", "batch": 3, "controls": "none", "epsilon": EPSILON, **options}
        return RunConfig(model=f"{tmp_path}/net.py:Net", **values)

    return configured


def reference(source, prepared, images, labels):
    """PSI (layer, image), predictions, and the same under fgsm, in float64 by nothing but torch."""
    module = types.ModuleType("reference")
    exec(f"{PRELUDE}\n{source}", module.__dict__)
    network = module.Net().double().eval()
    for own, run in zip(network.state_dict().values(), plain_tensors(prepared, network), strict=True):
        own.copy_(run)
    pixels = images.double().contiguous()

    def answer(inputs):
        module.SEEN.clear()
        given = network(inputs.clone())
        logits = given["logits"] if isinstance(given, dict) else getattr(given, "logits", given)
        return logits, torch.stack([sparseness(each) for each in module.SEEN]).numpy()

    inputs = pixels.clone().requires_grad_()
    logits, benign = answer(inputs)
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    (gradient,) = torch.autograd.grad((others - own).sum(), inputs)
    with torch.no_grad():
        attacked_logits, attacked = answer((pixels + EPSILON * gradient.sign()).clamp(0, 1))
    return benign, logits.argmax(1).numpy(), attacked, attacked_logits.argmax(1).numpy()


def plain_tensors(prepared, network):
    """The run's weights in the order of the reference's, but for counts that wrappers keep."""
    state = prepared.classifier.network.state_dict()
    names = [name.replace("module.", "") for name in network.state_dict()]
    return [state.get(name, torch.zeros(())) for name in names]


def sparseness(responses):
    flat = responses.flatten(1)
    units = flat.shape[1]
    return (1 - flat.mean(1).square() / flat.square().mean(1)) / (1 - 1 / units)


@pytest.mark.parametrize("name", RIGHT)
def test_a_network_is_measured_as_a_plain_reference_measures_it(name, config_of, tmp_path):
    config = config_of(RIGHT[name])
    run = analyze(config, tmp_path / "runs")
    dataset = load_dataset("mnist", "test")
    channels = prepare(config).trace.channels
    images = network_inputs(torch.from_numpy(dataset.images[:IMAGES].copy()), 12, channels)
    labels = torch.from_numpy(dataset.labels[:IMAGES])
    benign, predicted, attacked, attacked_predicted = reference(RIGHT[name], prepare(config), images, labels)
    np.testing.assert_allclose(run.psi[0], benign, atol=2e-5)
    assert (run.predictions[0] == predicted).all()
    assert np.nanmedian(np.abs(run.psi[1] - attacked)) < 2e-4
    assert (np.isnan(run.psi[1]) == np.isnan(attacked)).all()
    assert (run.predictions[1] == attacked_predicted).all()


def test_what_a_network_keeps_of_the_first_look_at_its_images_takes_gradients(config_of, tmp_path):
    run = analyze(config_of(RIGHT["a grid kept for each number of images"], batch=4), tmp_path)
    assert run.status == "done"


def test_a_gradient_of_its_own_is_taken_in_ablations_and_pictures_too(config_of, tmp_path):
    config = config_of(RIGHT["a gradient of its own"])
    run = analyze(config, tmp_path / "runs")
    trust(run)
    picture = PictureMaker().make(run, 0, run.condition_details[1])
    assert picture.prediction == run.predictions[1, 0]
    options = {"model": config.model, "images": IMAGES, "layer": "relu", "keep": "50"}
    with pytest.raises(ConfigError, match=r"2 layers \(=relu, relu#2\); write one of them"):
        prepare_ablation(AblationConfig(**options))
    rows = run_ablation(prepare_ablation(AblationConfig(**options | {"layer": "=relu"}))).rows
    assert {row["images"] for row in rows} == {IMAGES}


@pytest.mark.filterwarnings("ignore")  # Of torch.jit and of quantization, which are on their way out.
@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_cannot_be_measured_is_refused_in_a_sentence(name, config_of):
    source, sentence = REFUSED[name]
    with pytest.raises(ModelError, match=sentence) as refusal:
        prepare(config_of(source))
    assert "\n" not in str(refusal.value)


@pytest.fixture
def checks_of_network(config_of, tmp_path):
    def checked(source, **options):
        run = analyze(config_of(source, **options), tmp_path / "runs")
        return {check.name: check for check in checks_of(run)}, run

    return checked


@pytest.mark.filterwarnings("ignore")  # Of torch.jit, which is on its way out.
@pytest.mark.parametrize("name", DOUBTED)
def test_what_the_engine_sees_of_a_network_stands_in_the_evidence(name, checks_of_network):
    source, options, check, status, sentence = DOUBTED[name]
    checks, _ = checks_of_network(source, **options)
    assert (checks[check].status, bool(re.search(sentence, checks[check].sentence))) == (status, True), checks[check]


def test_a_plain_network_is_not_doubted(checks_of_network):
    checks, _ = checks_of_network("Net = Base")
    assert checks["alone"].status == checks["activations"].status == "green"
    assert checks["activations"].sentence == "measured 2 of 2 activations"
    assert not {"outputs", "normalized once"} & checks.keys()


def test_activations_of_tensors_of_a_class_of_its_own_are_seen(checks_of_network):
    checks, _ = checks_of_network("""
class Own(torch.Tensor):
    pass

class Net(Base):
    def forward(self, x):
        return super().forward(x.as_subclass(Own))
""")
    assert checks["activations"].sentence == "measured 2 of 2 activations"


def test_modules_that_a_network_does_not_hold_are_said(config_of):
    notes = "".join(prepare(config_of(RIGHT["layers in a plain list"])).notes)
    assert "it calls modules that it does not hold (Linear), as layers in a plain list are" in notes
    inline = "class Net(Base):\n    def forward(self, x):\n        return nn.ReLU()(super().forward(x))"
    assert prepare(config_of(inline)).notes == ()


def test_the_sigmoid_of_one_logit_is_no_doubtful_output(checks_of_network):
    source = "class Net(Base):\n    def forward(self, x):\n        return super().forward(x)[:, :1].sigmoid()"
    checks, run = checks_of_network(source, labels="predicted")
    assert len(run.model["class_names"]) == 2
    assert "outputs" not in checks


def test_colors_are_refused_by_a_network_of_other_channels(config_of, tmp_path):
    source = (
        "class Net(Base):\n    input_size = (4, 12, 12)\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv1 = nn.Conv2d(4, 6, 3, padding=1)"
    )
    images = np.zeros((7, 12, 12, 3), np.uint8)
    np.savez(tmp_path / "colors.npz", images=images, labels=np.arange(7))
    with pytest.raises(ModelError, match=r"takes 4 channels, and images of .* have 3; .* input_size = \(3, 12, 12\)"):
        prepare(config_of(source, data=f"npz:{tmp_path}/colors.npz"))
    assert prepare(config_of(source)).trace.channels == 4


def test_a_layer_made_at_the_first_forward_is_the_same_in_every_process(config_of):
    source = (
        "class Net(Base):\n    def forward(self, x):\n        x = self.features(x).flatten(1)\n"
        "        if not hasattr(self, 'head'):\n            self.head = nn.Linear(x.shape[1], 10)\n"
        "        return self.head(x)"
    )
    digests = set()
    for seed in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            digests.add(prepare(config_of(source)).card["sha256"])
    assert len(digests) == 1


@pytest.mark.parametrize("name", BINARY)
def test_one_logit_is_taken_as_the_second_of_two(name, config_of, tmp_path):
    source = (
        f"class Net(Base):\n    def forward(self, x):\n        z = super().forward(x)[:, 3:4]\n        {BINARY[name]}"
    )
    rows = load_dataset("mnist", "test")
    keep = np.flatnonzero(rows.labels < 2)[:IMAGES]
    np.savez(tmp_path / "two.npz", images=rows.images[keep], labels=rows.labels[keep])
    config = config_of(source, data=f"npz:{tmp_path}/two.npz", images=IMAGES)
    run = analyze(config, tmp_path / "runs")
    assert any("logits 0 and z of two classes" in note for note in prepare(config).notes)
    network = prepare(config).classifier.network
    with torch.no_grad():
        z = Z[name](network(network_inputs(torch.from_numpy(rows.images[keep]), 12, 3))).flatten()
    np.testing.assert_array_equal(run.predictions[0], (z > 0).numpy())
    assert (run.array("linf")[1] > 0.04).all()
    confidence = torch.where(torch.tensor(rows.labels[keep]) == 1, z.sigmoid(), (-z).sigmoid())
    np.testing.assert_allclose(run.array("confidence")[0], confidence, atol=1e-5)
