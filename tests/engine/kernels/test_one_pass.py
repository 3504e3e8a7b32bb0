"""The kernels of a GPU, run by triton's interpreter: the sums of the reducer."""

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton")

CODE = """
import torch
from psi_core.engine.kernels import one_pass as kernels
from psi_core.engine.kernels.one_pass import fits, one_pass
from psi_core.engine.measure.reducer import FAINT, Reducer

torch.manual_seed(0)
shapes = [(3, 64, 19, 21), (2, 17, 7, 5), (1, 3, 65, 47), (3, 120), (2, 300), (2, 8, 9), (2, 1, 1, 1)]
for shape in shapes:
    for kind in (torch.float32, torch.bfloat16):
        for rectify in ("none", "relu", "abs"):
            output = torch.randn(shape).to(kind)
            output = output.relu() if rectify == "none" else output
            if output.dim() == 4:
                output = output.contiguous(memory_format=torch.channels_last)
            if output.dim() == 3:
                output = output.mT.contiguous().mT
            assert fits(output)
            (total, squares, active), means = one_pass(output, rectify, FAINT)
            expected, expected_means = Reducer(rectify=rectify, in_parts=False)(output)
            torch.testing.assert_close(total, expected.total, rtol=1e-6, atol=1e-12)
            torch.testing.assert_close(squares, expected.squares, rtol=1e-6, atol=1e-12)
            assert torch.equal(active, expected.active)
            torch.testing.assert_close(means, expected_means, rtol=1e-6, atol=1e-7)
            for into in (output.clone(memory_format=torch.preserve_format), torch.full_like(output, torch.nan)):
                values = into if into.isfinite().all() else output
                again, means_again = one_pass(values, rectify, FAINT, into)
                assert torch.equal(again, torch.stack([total, squares, active])) and torch.equal(means_again, means)
                written = {"none": output, "relu": output.relu(), "abs": output.abs()}[rectify]
                assert torch.equal(into, written) and into.stride() == output.stride()
kernels._PROGRAMS = 1  # As with many images: one program sums all positions of an image, in groups of tiles.
large = torch.rand(1, 5, 65, 47).contiguous(memory_format=torch.channels_last)
for output in (large, large.bfloat16()):
    (total, squares, active), means = one_pass(output, "none", FAINT)
    exact = output.double()
    torch.testing.assert_close(total, exact.sum((1, 2, 3)), rtol=3e-7, atol=0)
    torch.testing.assert_close(squares, exact.square().sum((1, 2, 3)), rtol=3e-7, atol=0)
    torch.testing.assert_close(means, exact.mean((2, 3)), rtol=1e-6, atol=0)
    assert active == (output > 0).sum()
silent, faint, odd = torch.zeros(1, 40), torch.full((1, 40), 1e-20), torch.full((1, 40), torch.nan)
(total, squares, active), _ = one_pass(torch.cat([silent, faint, odd]), "relu", FAINT)
assert total[0] == squares[0] == active[0] == 0
assert total[1] > 0 and squares[1] == 0
assert total[2].isnan() and squares[2].isnan()
assert not fits(torch.zeros(2, 3, 4, 5)), "its channels do not lie last"
assert not fits(torch.zeros(2, 3, dtype=torch.float64))
"""


def test_the_kernels_give_the_reducers_sums():
    here = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("units", "places"), [(65_535 * 256, ()), (65_535 * 64, (2, 1))], ids=["flat", "maps"])
def test_no_layer_has_more_units_than_a_grid_has_programs_for(units, places):
    from psi_core.engine.kernels.one_pass import fits

    for more in (0, 1):
        output = torch.empty(1, units + more, *places, device="meta")
        output = output.to(memory_format=torch.channels_last) if places else output
        assert fits(output) == (not more)
