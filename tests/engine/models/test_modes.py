"""No trace: a model comes back from an attack as it was, also after an exception."""

import copy

import pytest
import torch
from torch import nn

from psi_core.engine import fgsm
from psi_core.engine.models.taps import untouched
from tests.engine.networks import images_of, moody

LABELS = torch.tensor([0, 1, 2, 0])


def state_of(model):
    """Everything of a model, and of the random state, that a call may not change."""
    return {
        "modes": {name: module.training for name, module in model.named_modules()},
        "requires_grad": {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        "grad": {name: copy.deepcopy(parameter.grad) for name, parameter in model.named_parameters()},
        "tensors": copy.deepcopy(model.state_dict()),
        "hooks": {
            name: (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
            for name, module in model.named_modules()
        },
        "random": torch.get_rng_state(),
    }


def require_same(state, other):
    assert state.keys() == other.keys()
    for name, value in state.items():
        if isinstance(value, dict):
            require_same(value, other[name])
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, other[name]), name
        else:
            assert value == other[name], name


class Bomb(nn.Module):
    def forward(self, features):
        torch.rand(1)
        raise RuntimeError("forward failed")


def test_fgsm_leaves_no_trace():
    model, images = moody(), images_of(4)
    before, pixels = state_of(model), images.clone()
    fgsm(model, images, LABELS, 0.1)
    require_same(state_of(model), before)
    assert torch.equal(images, pixels)
    assert images.grad is None


def test_fgsm_leaves_no_trace_after_an_exception():
    model = nn.Sequential(moody(), Bomb())
    before = state_of(model)
    with pytest.raises(RuntimeError, match="forward failed"):
        fgsm(model, images_of(4), LABELS, 0.1)
    require_same(state_of(model), before)


def test_fgsm_runs_the_model_in_eval_mode():
    images = images_of(4)
    attacked = fgsm(moody(), images, LABELS, 0.1)
    assert torch.equal(attacked, fgsm(moody().eval(), images, LABELS, 0.1))


def test_a_borrowed_model_is_in_eval_mode_with_frozen_parameters():
    model = moody()
    with untouched(model):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_random_state_of_a_block_is_forgotten():
    before = torch.get_rng_state()
    with untouched(moody()):
        torch.rand(10)
    assert torch.equal(torch.get_rng_state(), before)
