"""The kernel of max pooling, run by triton's interpreter: torch's numbers in torch's order."""

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton")

CODE = """
import torch
from torch.nn import functional as F
from psi_core.engine.kernels.pooling import fits, max_pool

torch.manual_seed(0)
cases = [
    ((2, 64, 13, 13), (3, 3), (2, 2), (0, 0)),
    ((2, 70, 9, 8), (2, 2), (2, 2), (0, 0)),
    ((1, 5, 14, 15), (3, 3), (2, 2), (1, 1)),
    ((2, 3, 9, 7), (2, 3), (3, 1), (0, 1)),
    ((1, 2, 4, 4), (4, 4), (4, 4), (2, 2)),
    ((3, 2, 6, 6), (1, 1), (2, 2), (0, 0)),
]
for shape, window, step, margin in cases:
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        images = torch.randn(shape).clamp(-0.5, 0.5)
        images[0, 0, 0, 0], images[-1, -1, -1, -1], images[0, -1] = torch.nan, -torch.inf, -torch.inf
        images = images.to(kind).contiguous(memory_format=torch.channels_last)
        assert fits(images)
        found, expected = max_pool(images, window, step, margin), F.max_pool2d(images, window, step, margin)
        assert torch.equal(found.nan_to_num(nan=7), expected.nan_to_num(nan=7)), (shape, kind)
        assert found.dtype == expected.dtype and found.is_contiguous(memory_format=torch.channels_last)
assert not fits(torch.zeros(2, 3, 4, 5)), "its channels do not lie last"
assert not fits(torch.zeros(3, 4, 5))
for shape in ((2, 1, 4, 5), (2, 3, 1, 5)):
    assert not fits(torch.zeros(shape).contiguous(memory_format=torch.channels_last)), "torch's own lies otherwise"
assert not fits(torch.zeros(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last))
"""


def test_the_kernel_gives_torchs_numbers():
    here = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("largest", "larger"),
    [
        ((2, 1022, 2048), (2, 1022, 2049)),
        ((2, 2, 699_039), (2, 2, 699_040)),
        ((65_535 * 64, 2, 2), (65_535 * 64 + 1, 2, 2)),
    ],
)
def test_no_layer_has_more_windows_or_channels_than_a_grid_has_programs_for(largest, larger):
    """With a margin a row has one window more than responses: 3 rows of 699,040 windows from 2 of 699,039."""
    from psi_core.engine.kernels.pooling import fits

    for shape in (largest, larger):
        images = torch.empty(1, *shape, device="meta").to(memory_format=torch.channels_last)
        assert fits(images) == (shape == largest)
