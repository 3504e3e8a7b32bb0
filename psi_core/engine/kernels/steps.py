"""Changed images in one pass on a GPU: steps along signs, Gaussian noise of a given size, norms, a network's inputs.

A batch is float32 (image, channel, y, x), its channels last in memory. Random numbers are those of Noise in
`psi_core.engine.attacks`: element e of an image, counted in row-major order, has the same wherever it lies.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from psi_core.engine.kernels.launching import LARGEST_GRID, launch

_VALUES = 1024
"""Values of a program of steps and norms."""

_TILE = 2048
"""Values at a time of a program that takes a whole image through many rounds."""

_FIRST_SIGNS = [bool((0xE220A8397B1DCDAF >> bit) & 1) for bit in range(64)]
"""Which of the first signs of the key 0 are above 0: the first word of splitmix64 (Steele et al. 2014,
doi:10.1145/2714064.2660195)."""


@triton.jit
def _mixed(word):
    word = (word ^ ((word >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    word = (word ^ ((word >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return word ^ ((word >> 31) & 0x1FFFFFFFF)


@triton.jit
def _step_tiles(
    images, direction, keys, changed, step, positions, channels, takes_noise: tl.constexpr, values: tl.constexpr
):
    """One tile of one image, one step along the signs of a direction, or along random signs."""
    n, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i = part * values + tl.arange(0, values)
    here = i < positions * channels
    at = n * positions * channels + i
    x = tl.load(images + at, mask=here, other=0.0)
    if takes_noise:
        e = ((i % channels) * positions + i // channels).to(tl.int64)
        word = _mixed(tl.load(keys + n) + (e // 64 + 1) * -7046029254386353131)
        sign = ((word >> (e % 64)) & 1).to(tl.float32) * 2 - 1
    else:
        d = tl.load(direction + at, mask=here, other=0.0)
        sign = tl.where(d > 0, 1.0, tl.where(d < 0, -1.0, d))  # NaN stays NaN, as sign() leaves it.
    y = x + sign * step
    tl.store(changed + at, tl.where(y < 0, 0.0, tl.where(y > 1, 1.0, y)), mask=here)


@triton.jit
def _norm_tiles(changed, images, largest, squares, elements, parts, values: tl.constexpr):
    """The largest change of a tile, and the sum of the squares of its changes."""
    n, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i = part * values + tl.arange(0, values)
    here = i < elements
    at = n * elements + i
    change = tl.load(changed + at, mask=here, other=0.0) - tl.load(images + at, mask=here, other=0.0)
    tl.store(largest + n * parts + part, tl.max(tl.abs(change), 0))
    tl.store(squares + n * parts + part, tl.sum(change * change, 0).to(tl.float64))


@triton.jit
def _ready_tiles(
    changed, images, mean, sd, inputs, largest, squares, elements, channels, means, parts, values: tl.constexpr
):
    """As `_norm_tiles`, and the changed images normalized on the way."""
    n, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i = part * values + tl.arange(0, values)
    here = i < elements
    at = n * elements + i
    y = tl.load(changed + at, mask=here, other=0.0)
    change = y - tl.load(images + at, mask=here, other=0.0)
    c = (i % channels) % means
    # Rounded as torch rounds it: the plain division of kernels is not.
    normalized = tl.div_rn(y - tl.load(mean + c, mask=here, other=0.0), tl.load(sd + c, mask=here, other=1.0))
    tl.store(inputs + at, normalized, mask=here)
    tl.store(largest + n * parts + part, tl.max(tl.abs(change), 0))
    tl.store(squares + n * parts + part, tl.sum(change * change, 0).to(tl.float64))


@triton.jit
def _normal(keys, n, e, elements):
    """Standard normal numbers of elements of an image, by Box and Muller, in float64."""
    gamma = -7046029254386353131
    key = tl.load(keys + n)
    one = (_mixed(key + (e + 1) * gamma) >> 11) & 0x1FFFFFFFFFFFFF
    two = (_mixed(key + (elements + e + 1) * gamma) >> 11) & 0x1FFFFFFFFFFFFF
    scale = 1.1102230246251565e-16
    radius = tl.sqrt(-2.0 * tl.log(1.0 - one.to(tl.float64) * scale))
    return (radius * tl.cos(two.to(tl.float64) * scale * 6.283185307179586)).to(tl.float32)


@triton.jit
def _gaussian_images(
    images, keys, wanted, normal, changed, start, near, positions, channels, most, values: tl.constexpr
):
    """One image with Gaussian noise, whose scale is sought until the change has the L2 wanted, clipping included."""
    n = tl.program_id(0).to(tl.int64)
    elements = positions * channels
    base = n * elements
    goal = tl.load(wanted + n)
    scale = goal * start
    rounds = 0
    is_off = True
    while is_off & (rounds < most):
        square = tl.zeros([values], tl.float64)
        for first in range(0, elements, values):
            i = first + tl.arange(0, values)
            here = i < elements
            x = tl.load(images + base + i, mask=here, other=0.0)
            if rounds == 0:
                e = ((i % channels) * positions + i // channels).to(tl.int64)
                z = _normal(keys, n, e, elements)
                tl.store(normal + base + i, z, mask=here)
            else:
                z = tl.load(normal + base + i, mask=here, other=0.0)
            y = x + z * scale
            y = tl.where(y < 0, 0.0, tl.where(y > 1, 1.0, y))
            change = tl.where(here, y - x, 0.0)
            square += (change * change).to(tl.float64)
        realized = tl.sqrt(tl.sum(square, 0)).to(tl.float32)
        is_off = tl.abs(realized - goal) > near * goal
        rounds += 1
        if is_off & (realized > 0) & (rounds < most):
            scale = scale * goal / realized
    for first in range(0, elements, values):
        i = first + tl.arange(0, values)
        here = i < elements
        x = tl.load(images + base + i, mask=here, other=0.0)
        y = x + tl.load(normal + base + i, mask=here, other=0.0) * scale
        tl.store(changed + base + i, tl.where(y < 0, 0.0, tl.where(y > 1, 1.0, y)), mask=here)


def fits(*batches: Tensor) -> bool:
    """Whether the kernels read these: float32, channels last, of no more values an image than a grid has tiles for."""
    return all(
        each.dtype == torch.float32
        and each.dim() == 4
        and each.is_contiguous(memory_format=torch.channels_last)
        and 0 < each[:1].numel() <= _VALUES * LARGEST_GRID
        for each in batches
    )


def sign_step(images: Tensor, direction: Tensor | None, step: float, keys: Tensor | None = None) -> Tensor:
    """Images one step along the signs of a direction, or along random ones of these keys, in 0..1."""
    count, channels, height, width = images.shape
    changed = torch.empty_like(images)
    grid = (count, triton.cdiv(channels * height * width, _VALUES))
    others = (images if direction is None else direction), (images if keys is None else keys)
    launch(_step_tiles, grid, images, *others, changed, step, height * width, channels, keys is not None, _VALUES)
    return changed


def norms(changed: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """L-infinity and L2 norm of each image's change, float32 (batch,)."""
    elements = images[0].numel()
    largest, squares = _tiles_of(images)
    grid = tuple(largest.shape)
    launch(_norm_tiles, grid, changed, images, largest, squares, elements, grid[1], _VALUES)
    return largest.amax(1), squares.sum(1).sqrt().float()


def ready(changed: Tensor, images: Tensor, mean: Tensor, sd: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What a network takes, (changed - mean) / sd, a tensor of its own, and the norms of the changes, bit for bit.

    Args:
        changed: changed images.
        images: what they were.
        mean: float32, of every channel or of all.
        sd: likewise.
    """
    elements, channels = images[0].numel(), images.shape[1]
    inputs = torch.empty_like(images)
    largest, squares = _tiles_of(images)
    grid = tuple(largest.shape)
    shape = elements, channels, mean.numel(), grid[1]
    launch(_ready_tiles, grid, changed, images, mean, sd, inputs, largest, squares, *shape, _VALUES)
    return inputs, (largest.amax(1), squares.sum(1).sqrt().float())


def _tiles_of(images: Tensor) -> tuple[Tensor, Tensor]:
    """Where the tiles of every image write their largest change and their sum of squares."""
    tiles = len(images), triton.cdiv(images[0].numel(), _VALUES)
    return images.new_empty(tiles), images.new_empty(tiles, dtype=torch.float64)


def gaussian(images: Tensor, keys: Tensor, l2: Tensor, near: float, most: int) -> Tensor:
    """Images with Gaussian noise of these keys, each scaled until its change has its L2 within a share, in 0..1."""
    count, channels, height, width = images.shape
    normal, changed = torch.empty_like(images), torch.empty_like(images)
    start = (channels * height * width) ** -0.5
    size = height * width, channels
    launch(
        *(_gaussian_images, (count,), images, keys, l2, normal, changed, start, near, *size, most, _TILE), num_warps=8
    )
    return changed


def is_right_on(device: torch.device) -> bool:
    """Whether small examples of each kernel give what they must on a device."""
    numbers = torch.linspace(-1, 1, 2 * 8 * 8 * 3, dtype=torch.float32, device=device)
    direction = numbers.view(2, 8, 8, 3).permute(0, 3, 1, 2)
    images, keys = direction.sin() / 4 + 0.5, torch.zeros(2, dtype=torch.int64, device=device)
    mean, sd = (numbers[:3] + shift for shift in (1, 2))
    mean, sd = mean.view(1, 3, 1, 1), sd.view(1, 3, 1, 1)
    changed = sign_step(images, direction, 0.1)
    inputs, (linf, l2) = ready(changed, images, mean, sd)
    noisy = sign_step(images, None, 0.1, keys)
    drawn = (noisy - images).flatten(1)[:, :64] > 0
    found = norms(changed, images), norms(gaussian(images, keys, l2, 1e-6, 100), images)
    change = (changed - images).flatten(1)
    return (
        torch.equal(changed, images + direction.sign() * 0.1)
        and torch.equal(inputs, (changed - mean) / sd)
        and torch.equal(linf, change.abs().amax(1))
        and torch.equal(found[0][0], linf)
        and torch.allclose(l2, torch.linalg.vector_norm(change, dim=1), rtol=1e-5)
        and torch.allclose(found[0][1], l2, rtol=1e-5)
        and torch.allclose(found[1][1], l2, rtol=1e-4)
        and bool((drawn == torch.tensor(_FIRST_SIGNS, device=device)).all())
    )
