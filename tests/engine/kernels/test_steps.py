"""The kernels of steps and noise, run by triton's interpreter: the images of the code that runs everywhere."""

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton")

CODE = """
import torch
from psi_core.engine.attacks import attacks, controls
from psi_core.engine.attacks.attacks import Batch
from psi_core.engine.attacks.gradients import change_norms
from psi_core.engine.attacks.noise import Noise
from psi_core.engine.kernels import steps

torch.manual_seed(0)
for shape in ((3, 3, 20, 21), (2, 1, 28, 28), (2, 3, 37, 17)):
    images = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    images[0, 0, :3] = 0
    gradient = torch.randn_like(images)
    gradient[0, 0, 0, :4] = 0
    noise = Noise(5, torch.tensor([0, 7, 2**40])[: shape[0]], 0xDEADBEEF)
    assert steps.fits(images, gradient)
    for epsilon in (0.03, 8 / 255):
        lent = lambda: Batch(images.clone(), gradient.clone(), noise, torch.zeros(len(images), dtype=torch.int64))
        found = attacks.fgsm(lent(), epsilon)
        assert torch.equal(steps.sign_step(images, gradient, epsilon), found)
        assert torch.equal(steps.sign_step(images, gradient, -epsilon), controls.anti_fgsm(lent(), epsilon))
        noisy = controls.sign_noise(lent(), epsilon)
        assert torch.equal(steps.sign_step(images, None, epsilon, noise.keys()), noisy)
        linf, l2 = change_norms(found, images)
        mine = steps.norms(found, images)
        assert torch.equal(mine[0], linf)
        torch.testing.assert_close(mine[1], l2, rtol=1e-6, atol=0)
        for normalization in (([0.0], [1.0]), ([0.1307], [0.3081]), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])):
            mean, sd = (torch.tensor(each).view(1, -1, 1, 1) for each in normalization)
            if mean.numel() not in (1, shape[1]):
                continue
            inputs, norms = steps.ready(found, images, mean, sd)
            assert torch.equal(inputs, (found - mean) / sd) and inputs.stride() == images.stride()
            assert inputs.data_ptr() != found.data_ptr()
            assert torch.equal(norms[0], mine[0]) and torch.equal(norms[1], mine[1])
        batch = lent()
        object.__setattr__(batch, "l2", l2)
        expected = controls.gaussian(batch, epsilon)
        gaussian = steps.gaussian(images, noise.keys(), l2, 1e-6, 100)
        torch.testing.assert_close(gaussian, expected, rtol=0, atol=2e-6)
        torch.testing.assert_close(change_norms(gaussian, images)[1], l2, rtol=1e-5, atol=0)
odd = torch.full((1, 1, 2, 2), torch.nan).contiguous(memory_format=torch.channels_last)
assert steps.sign_step(torch.zeros_like(odd), odd, 0.1).isnan().all()
assert not steps.fits(torch.rand(2, 3, 4, 4)) and not steps.fits(images.double())
"""


def test_the_kernels_give_the_same_images_and_norms():
    here = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_image_has_more_values_than_a_grid_has_programs_for():
    from psi_core.engine.kernels.steps import fits

    for more in (0, 1):
        images = torch.empty(1, 1, 65_535 * 1024 + more, 1, device="meta").to(memory_format=torch.channels_last)
        assert fits(images) == (not more)
