"""NumPy's array files: what the header of one says, read before any memory is taken for its numbers."""

import io
import math
import re
import tokenize
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

_UNREADABLE = (
    *(ValueError, SyntaxError, tokenize.TokenError, TypeError, LookupError, AttributeError),
    *(OverflowError, RecursionError, MemoryError),
)

_LENGTH = r"(?:0|[1-9]\d{0,18})"
_PLAIN = re.compile(
    r"\{'descr': '([<>|][a-zA-Z]\d+)', 'fortran_order': (True|False), "
    rf"'shape': \((|{_LENGTH},|{_LENGTH}(?:, {_LENGTH}){{1,31}})\), \}} *\n?",
    re.ASCII,
)
"""Headers as NumPy writes them for numbers, which are nearly all there are."""

_LONGEST = 10_000
"""Bytes of a header; NumPy reads no longer one."""


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What stands before an array's numbers.

    Attributes:
        shape: of the array.
        is_fortran: whether its first axis is the fastest.
        dtype: of its numbers.
        length: bytes of the header itself.
    """

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def size(self) -> int:
        """Bytes of the numbers behind the header."""
        return math.prod(self.shape) * self.dtype.itemsize

    def fits(self, file_size: int) -> bool:
        """Whether a file of so many bytes holds the header and plain numbers of that shape, and nothing else."""
        is_plain = not self.dtype.hasobject and min(self.shape, default=0) >= 0
        return is_plain and self.length + self.size == file_size


def read_header(file: IO[bytes]) -> ArrayHeader:
    """The header that a file begins with; the file then stands at the first number.

    Raises:
        ValueError: it is no array file, or one of a version that plain arrays do not need.
    """
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"it is of version {'.'.join(map(str, version))} of NumPy's format")
    begin = file.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(begin, "little")
    text = file.read(min(_LONGEST + 1, length))
    try:
        # NumPy asks Python's parser, which fails now and then where two threads ask it at once (Python 3.11 and 3.12).
        found = _PLAIN.fullmatch(text.decode("latin-1"))
        if found is not None and len(text) == length:
            shape = tuple(int(length) for length in re.findall(r"\d+", found[3]))
            is_fortran, dtype = found[2] == "True", np.dtype(found[1])
        else:
            shape, is_fortran, dtype = read(io.BytesIO(begin + text))
    except _UNREADABLE as error:  # A header is Python's text, and NumPy hands on what its reader says.
        raise ValueError(f"its header cannot be read ({str(error).partition(chr(10))[0]})") from None
    return ArrayHeader(shape, is_fortran, dtype, file.tell())
