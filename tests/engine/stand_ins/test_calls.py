"""Stand-ins are called as what they stand for is: by place, by every name of torch's, and from a module."""

import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from psi_core.engine.measure import step
from psi_core.engine.measure.reducer import Reducer
from psi_core.engine.models.activations import RELU_FUNCTIONS, RELU_FUNCTIONS_IN_PLACE
from psi_core.engine.stand_ins import STAND_INS, standing_in

WEIGHT = torch.rand(40, 2, 3, 3)


class ByName(nn.Module):
    """Calls everything with names, as some networks do."""

    def forward(self, images):
        found = F.conv2d(input=images, weight=WEIGHT, bias=None, stride=1, padding=1, dilation=1, groups=1)
        found = F.relu(input=found, inplace=True)
        found = torch.max_pool2d(input=found, kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
        found = F.interpolate(input=found, size=None, scale_factor=2, mode="bilinear", align_corners=False)
        found = torch.relu(input=found)
        return F.max_pool2d(
            input=found, kernel_size=2, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
        )


@pytest.mark.parametrize("with_gradient", [True, False])
def test_calls_by_name_are_taken(with_gradient):
    images = torch.rand(2, 2, 16, 16).requires_grad_(with_gradient)
    with standing_in(images.device):
        found = ByName()(images)
    assert torch.equal(found, ByName()(images))


@pytest.mark.parametrize("function", [F.relu, torch.relu])
def test_relus_are_taken_by_name(function):
    values = torch.randn(2, 3, 8, 8)
    relu = step._relus(Reducer())[function]
    assert torch.equal(relu(input=values), function(input=values))
    assert torch.equal(relu(values.clone()), function(values))


def test_every_relu_of_torchs_has_one():
    assert step._relus(Reducer()).keys() == RELU_FUNCTIONS | RELU_FUNCTIONS_IN_PLACE
    for function in RELU_FUNCTIONS_IN_PLACE:
        values = torch.randn(2, 3, 8, 8)
        expected = values.relu()
        given = step._relus(Reducer())[function](values)
        assert given is values
        assert torch.equal(values, expected)


def test_the_first_argument_is_called_as_torch_calls_it():
    assert {next(iter(inspect.signature(each).parameters)) for each in STAND_INS.values()} == {"input"}


def test_on_a_gpu_all_but_interpolation_is_torchs_own():
    for device, functions in (("cuda", {F.interpolate}), ("cpu", {*STAND_INS})):
        with standing_in(torch.device(device)):
            (mode,) = torch.overrides._get_current_function_mode_stack()
            assert {*mode._stand_ins} == functions
