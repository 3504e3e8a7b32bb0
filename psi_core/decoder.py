"""`python -m psi_core.decoder`: a process that reads pictures for a worker, so that nothing of that holds it up.

One JSON line a request on standard input: `do`, `files`, and what that takes. `pixels` takes `size`, `channels`,
`resize` and `keeps_input_size` and gives bytes, (size, size) or (size, size, 3); `digest` takes `most` and gives the
length of a file and the SHA-256 of its middle; `bits` gives how many a picture's largest value has. The answer on
standard output, file by file as each is done: FRAME, that is whether it could be read and how long the rest is, and
then that, else the reason. The process ends with its standard input, that is with its worker, however that ends.

One picture of a file as bytes at one size, whatever kind it is.
"""

import hashlib
import json
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from psi_core.files import middle

FRAME = struct.Struct("<?Q")
"""Before each answer: whether the file could be read, and how many bytes follow."""

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""Pillow's modes of gray with more than 8 bits; 65535 is white."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Kinds of pictures that are opened, by Pillow's names. Some of the others start programs, as PostScript does."""

_ORIENTATION = 0x0112
"""EXIF's tag of how the camera was held."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_picture(file: str) -> Image.Image:
    """A picture of one of FORMATS by its content, not yet loaded; its name's ending tells nothing.

    Raises:
        OSError: it is of no such kind; as everything in UNREADABLE.
    """
    return Image.open(file, formats=FORMATS)


def decoded(image: Image.Image, size: int, channels: int, resize: int | None) -> NDArray[np.uint8]:
    """Bytes (size, size), or (size, size, 3) for a network that takes color.

    Turned as EXIF says, to RGB or gray, the shorter edge brought to `resize` bilinearly (antialiased, as torchvision
    does with pictures), the center cut out. Transparency is dropped.

    Args:
        image: opened, not yet loaded.
        size: in pixels.
        channels: channels of the network's input.
        resize: shorter edge in pixels, at least `size`; None for `size`.
    """
    upright = _upright(image)
    shown = _eight_bits(upright).convert("L" if channels == 1 else "RGB")
    edge = resize or size
    shorter = min(shown.size)
    if shorter != edge:
        width, height = (edge if length == shorter else int(edge * length / shorter) for length in shown.size)
        shown = shown.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (round((length - size) / 2) for length in shown.size)
    return np.asarray(shown.crop((left, top, left + size, top + size)), np.uint8)


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF says; as it is where that cannot be read."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except (struct.error, ValueError, SyntaxError, TypeError, LookupError, OverflowError):
        orientation = None
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floats of unknown range")
    if image.mode not in SIXTEEN_BITS:
        return image
    return Image.fromarray(np.rint(np.asarray(image, np.float64).clip(0, 65535) / 257).astype(np.uint8))


UNREADABLE = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, OverflowError, LookupError, MemoryError, AttributeError),
    *(struct.error, Image.DecompressionBombError),
)
"""What Pillow raises over a damaged file; SyntaxError over a broken PNG, the last ones over hostile TIFF and JPEG."""


def pixels_of(
    image: Image.Image, size: int, channels: int, resize: int | None, *, keeps_input_size: bool
) -> NDArray[np.uint8]:
    """A picture's bytes as the network takes them; one of its very size as it is, where these are to be kept."""
    is_ready = keeps_input_size and image.size == (size, size)
    return decoded(image, size, channels, None if is_ready else resize)


def reason_of(error: Exception) -> str:
    """Why a picture cannot be read, in a line."""
    return str(error).partition("\n")[0] or type(error).__name__


def file_digest(file: str, most: int | None) -> bytes:
    """Length of a file (8 bytes), and SHA-256 of all or so many of its bytes, from the middle.

    Raises:
        OSError: it cannot be read, or is empty.
    """
    with Path(file).open("rb", buffering=0) as opened:
        length = opened.seek(0, 2)
        if not length:
            raise OSError("it is empty")
        part = middle(length, most)
        opened.seek(part.start)
        return length.to_bytes(8, "little") + hashlib.sha256(opened.read(part.stop - part.start)).digest()


def bits_used(file: str) -> int:
    """Bits of the largest value of a picture with more than 8 bits; 0 for others."""
    with open_picture(file) as image:
        return int(np.max(np.asarray(image))).bit_length() if image.mode in SIXTEEN_BITS else 0


def _answer(do: str, file: str, options: dict[str, Any]) -> bytes | memoryview:
    if do == "digest":
        return file_digest(file, **options)
    if do == "bits":
        return bytes([bits_used(file)])
    with open_picture(file) as image:
        return np.ascontiguousarray(pixels_of(image, **options)).data.cast("B")


def main() -> None:
    """Answers requests until standard input ends."""
    # Slurm and a terminal send their signals to every process of a job: the worker alone decides when to leave.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        do, files = request.pop("do"), request.pop("files")
        for file in files:
            try:
                answer = _answer(do, file, request)
            except UNREADABLE as error:
                reason = reason_of(error).encode("utf-8", errors="replace")
                sys.stdout.buffer.write(FRAME.pack(False, len(reason)) + reason)
            else:
                sys.stdout.buffer.write(FRAME.pack(True, len(answer)))
                sys.stdout.buffer.write(answer)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
