"""`python -m psi_core.decoder`: a process that decodes pictures for a worker, so that decoding never holds it up.

One JSON line a request on standard input: `files`, `size`, `channels`, `resize`, `keeps_input_size`. The answer on
standard output: one JSON line, a list with the reason of each picture that cannot be read, else null, and then the
bytes of those that can, (size, size) or (size, size, 3) each. It ends with its standard input, that is with its worker,
however that ends.
"""

import json
import signal
import struct
import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from psi_core.decoding import decoded

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
                with Image.open(file) as image:
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
