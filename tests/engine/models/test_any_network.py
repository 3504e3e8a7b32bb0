"""Any network: measured as a plain float64 reference measures it, or refused in a sentence before any work."""

import sys
import types

import numpy as np
import pytest
import torch

from psi_core import RunConfig
from psi_core.engine import analyze
from psi_core.engine.images import load_dataset, network_inputs
from psi_core.engine.preparation import prepare
from psi_core.errors import ModelError
from tests.engine.models.cases import PRELUDE, REFUSED, RIGHT

EPSILON, IMAGES = 0.05, 7


@pytest.fixture
def config_of(tmp_path, monkeypatch):
    """The configuration of a run of one case's network: three batches, the last of one image."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def configured(source, **options):
        (tmp_path / "net.py").write_text(f"{PRELUDE}\n{source}")
        values = {"images": IMAGES, "batch": 3, "controls": "none", "epsilon": EPSILON, **options}
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
    images = network_inputs(torch.from_numpy(dataset.images[:IMAGES].copy()), 12, 3)
    labels = torch.from_numpy(dataset.labels[:IMAGES])
    benign, predicted, attacked, attacked_predicted = reference(RIGHT[name], prepare(config), images, labels)
    np.testing.assert_allclose(run.psi[0], benign, atol=2e-5)
    assert (run.predictions[0] == predicted).all()
    assert np.nanmedian(np.abs(run.psi[1] - attacked)) < 2e-4
    assert (np.isnan(run.psi[1]) == np.isnan(attacked)).all()
    assert (run.predictions[1] == attacked_predicted).all()


@pytest.mark.filterwarnings("ignore")  # Of torch.jit and of quantization, which are on their way out.
@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_cannot_be_measured_is_refused_in_a_sentence(name, config_of):
    source, sentence = REFUSED[name]
    with pytest.raises(ModelError, match=sentence) as refusal:
        prepare(config_of(source))
    assert "\n" not in str(refusal.value)
