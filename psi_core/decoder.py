"""`python -m psi_core.decoder`: a process that decodes pictures for a worker, so that decoding never holds it up.

One JSON line a request on standard input: `files`, `size`, `channels`, `resize`, `keeps_input_size`. The answer on
standard output: one JSON line, a list with the reason of each picture that cannot be read, else null, and then the
bytes of those that can, (size, size) or (size, size, 3) each. It ends with its standard input, that is with its worker,
however that ends.

One picture of a file as bytes at one size, whatever kind it is.
"""

import json
import signal
import struct
import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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


def main() -> None:
    """Answers requests until standard input ends."""
    # Slurm and a terminal send their signals to every process of a job: the worker alone decides when to leave.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        reasons: list[str | None] = []
        pictures = []
        for file in request["files"]:
            try:
                with open_picture(file) as image:
                    pictures.append(
                        pixels_of(
                            image,
                            request["size"],
                            request["channels"],
                            request["resize"],
                            keeps_input_size=request["keeps_input_size"],
                        )
                    )
            except UNREADABLE as error:
                reasons.append(reason_of(error))
            else:
                reasons.append(None)
        sys.stdout.buffer.write(json.dumps(reasons).encode() + b"\n")
        for picture in pictures:
            sys.stdout.buffer.write(np.ascontiguousarray(picture).data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
