"""One read of every response on a GPU: channel sums, sum of squares and count of positives of each image.

Of a ReLU's input the same read also makes its output. Triton kernels, imported only where there is a GPU. The reducer's
own sums are the reference, and what runs where these do not fit. Partial sums are float32, at most 32 additions deep,
then float64, in an order that only the shape decides.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from psi_core.engine.kernels.launching import LARGEST_GRID, launch

_POSITIONS, _CHANNELS = 32, 64
"""Positions and channels of a tile."""

_DEPTH = 16
"""Tiles that are added up in float32: with the 5 additions that join a tile's 32 positions, 21 additions deep."""

_FLAT_CHANNELS = 256
"""Channels of a tile of a flat layer."""

_PROGRAMS = 2048
"""Programs that keep a large GPU busy; small batches of large maps are split for it."""

_TILES = 8
"""The least tiles of a program: below that its start would cost more than its work."""

RECTIFICATIONS = {"none": 0, "relu": 1, "abs": 2}


@triton.jit
def _rectified(v, rectification: tl.constexpr):
    if rectification == 1:
        v = tl.where(v <= 0, 0.0, v)  # NaN stays NaN, and -0 becomes 0.
    elif rectification == 2:
        v = tl.abs(v)
    return v


@triton.jit
def _sum_tiles(
    responses,
    rectified,
    sums,
    squares,
    active,
    positions,
    channels,
    parts,
    splits,
    rows,
    rectification: tl.constexpr,
    high: tl.constexpr,
    wide: tl.constexpr,
    deep: tl.constexpr,
    writes: tl.constexpr,
):
    """Sums over the positions of one split and the channels of one part, of one image; may write what is summed."""
    n, part, split = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    c = part * wide + tl.arange(0, wide)
    in_channels = (c < channels)[None, :]
    base = n * positions * channels
    total = tl.zeros([wide], tl.float64)
    square = tl.zeros([wide], tl.float64)
    count = tl.zeros([high, wide], tl.int32)
    first = split * rows
    last = tl.minimum(first + rows, positions)
    for group in range(first, last, high * deep):
        # Every thread adds up what it reads; threads join their sums once a group. Joined with every tile, that took
        # more instructions than the sums, most of all in 16 bits, where a thread reads twice as many channels at once.
        sums_here = tl.zeros([high, wide], tl.float32)
        squares_here = tl.zeros([high, wide], tl.float32)
        for start in range(group, tl.minimum(group + high * deep, last), 2 * high):
            # Two tiles are asked for before either is added: one alone, in 16 bits, leaves the memory waiting.
            p, q = start + tl.arange(0, high), start + high + tl.arange(0, high)
            p_at, p_here = base + p[:, None].to(tl.int64) * channels + c[None, :], (p < last)[:, None] & in_channels
            q_at, q_here = base + q[:, None].to(tl.int64) * channels + c[None, :], (q < last)[:, None] & in_channels
            v, w = tl.load(responses + p_at, p_here, 0.0), tl.load(responses + q_at, q_here, 0.0)
            v, w = _rectified(v.to(tl.float32), rectification), _rectified(w.to(tl.float32), rectification)
            if writes:
                tl.store(rectified + p_at, v.to(rectified.dtype.element_ty), p_here)
                tl.store(rectified + q_at, w.to(rectified.dtype.element_ty), q_here)
            sums_here += v
            squares_here += v * v
            count += (v > 0).to(tl.int32)
            sums_here += w
            squares_here += w * w
            count += (w > 0).to(tl.int32)
        total += tl.sum(sums_here, 0).to(tl.float64)
        square += tl.sum(squares_here, 0).to(tl.float64)
    place = n * splits + split
    tl.store(sums + place * channels + c, total, mask=c < channels)
    tl.store(squares + place * parts + part, tl.sum(square, 0))
    tl.store(active + place * parts + part, tl.sum(tl.sum(count, 0), 0))


@triton.jit
def _add_tiles(
    sums,
    squares,
    active,
    means,
    moments,
    images,
    positions,
    channels,
    parts,
    splits,
    faint,
    wide: tl.constexpr,
    many: tl.constexpr,
):
    """The sums of all splits and parts of one image."""
    n = tl.program_id(0).to(tl.int64)
    total = tl.zeros([wide], tl.float64)
    for start in range(0, channels, wide):
        c = start + tl.arange(0, wide)
        in_channels = c < channels
        of_channel = tl.zeros([wide], tl.float64)
        for split in range(0, splits):
            of_channel += tl.load(sums + (n * splits + split) * channels + c, mask=in_channels, other=0.0)
        tl.store(means + n * channels + c, of_channel / positions, mask=in_channels)
        total += of_channel
    square = tl.zeros([many], tl.float64)
    count = tl.zeros([many], tl.int64)
    every = parts * splits
    for start in range(0, every, many):
        p = start + tl.arange(0, many)
        square += tl.load(squares + n * every + p, mask=p < every, other=0.0)
        count += tl.load(active + n * every + p, mask=p < every, other=0).to(tl.int64)
    whole = tl.sum(total, 0)
    power = tl.sum(square, 0)
    # A sum that float32 has lost: 0, from which measures become NaN.
    power = tl.where((power < faint) & (whole > 0), 0.0, power)
    tl.store(moments + n, whole)
    tl.store(moments + images + n, power)
    tl.store(moments + 2 * images + n, tl.sum(count, 0).to(tl.float64))


def fits(output: Tensor) -> bool:
    """Whether the kernels read such a layer: flat, or its channels last in memory; of 32 or 16 bits."""
    if output.dtype not in (torch.float32, torch.bfloat16, torch.float16) or not output.numel():
        return False
    if output.shape[1] > LARGEST_GRID * (_FLAT_CHANNELS if output[0, 0].numel() == 1 else _CHANNELS):
        return False
    if output.dim() == 4:
        return output.is_contiguous(memory_format=torch.channels_last)
    return (output.dim() == 2 and output.is_contiguous()) or (output.dim() == 3 and output.mT.is_contiguous())


def one_pass(output: Tensor, rectify: str, faint: float, into: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sums of one layer.

    Args:
        output: (batch, channel, ...), as `fits` wants it.
        rectify: one of RECTIFICATIONS.
        faint: sum of squares below which float32 may have lost some.
        into: what the rectified responses are written into, laid out and of the type as the output, which it may be;
            None to keep none.

    Returns:
        Total, squares and count of the positive responses, float64 (3, batch); mean response of every channel, float64
        (batch, channel).
    """
    images, channels = output.shape[:2]
    positions = output[0, 0].numel()
    is_flat = positions == 1
    wide = min(_FLAT_CHANNELS if is_flat else _CHANNELS, triton.next_power_of_2(channels))
    high = 1 if is_flat else min(_POSITIONS, triton.next_power_of_2(positions))
    parts = triton.cdiv(channels, wide)
    splits = max(1, min(triton.cdiv(_PROGRAMS, images * parts), triton.cdiv(positions, _TILES * high)))
    rows = triton.cdiv(triton.cdiv(positions, splits), high) * high
    splits = triton.cdiv(positions, rows)
    new = output.new_empty
    sums = new((images, splits, channels), dtype=torch.float64)
    squares, active = (new((images, splits * parts), dtype=kind) for kind in (torch.float64, torch.int32))
    means, moments = new((images, channels), dtype=torch.float64), new((3, images), dtype=torch.float64)
    shape = positions, channels, parts, splits
    launch(
        *(_sum_tiles, (images, parts, splits)),
        *(output, output if into is None else into, sums, squares, active),
        *(*shape, rows, RECTIFICATIONS[rectify], high, wide, _DEPTH, into is not None),
    )
    launch(_add_tiles, (images,), sums, squares, active, means, moments, images, *shape, faint, 256, 64)
    return moments, means


def is_right_on(device: torch.device) -> bool:
    """Whether small examples give what they must on a device: maps in 32 and 16 bits, rectified on the way, and flat.

    These are what a run meets; what is compiled for them it needs again.
    """
    numbers = torch.linspace(-1, 1, 2 * 8 * 8 * 64, dtype=torch.float32, device=device)
    maps = numbers.view(2, 8, 8, 64).permute(0, 3, 1, 2)
    for output in (maps, maps.bfloat16(), numbers.view(2, -1)):
        written = torch.empty_like(output) if output.dim() > 2 else None
        moments, means = one_pass(output, "relu", 0.0, written)
        responses = output.double().relu().flatten(1)
        expected = torch.stack([responses.sum(1), responses.square().sum(1), (responses > 0).sum(1)])
        expected_means = responses.view(*output.shape[:2], -1).mean(2)
        if not torch.allclose(moments, expected, rtol=1e-5) or not torch.allclose(means, expected_means, rtol=1e-5):
            return False
        if written is not None and not torch.equal(written, output.relu()):
            return False
    return True
