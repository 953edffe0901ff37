"""The IDX format of the MNIST files: a magic number, the sizes of the axes, then the bytes.

Reference: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits".
"""

import math

import numpy as np

from nn_any.core.errors import DataFileError

_UNSIGNED_BYTES = 0x08
_MOST_AXES = 8
_AGAIN = "fetch it again"


def parse_idx(content: bytes | bytearray, name: str) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, uint8, read-only; any other is a DataFileError that names it."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTES:
        magic = bytes(content[:4])
        raise DataFileError(
            f"{name}: expected an IDX file of unsigned bytes, got one that starts with {magic!r}; {_AGAIN}"
        )
    axes, start = content[3], 4 + 4 * content[3]
    if not 1 <= axes <= _MOST_AXES or len(content) < start:
        raise DataFileError(
            f"{name}: expected an IDX header of 1 to {_MOST_AXES} axes, got {axes} axes and {len(content)} bytes in "
            f"all; {_AGAIN}"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", axes, 4))
    if len(content) - start != math.prod(shape):
        raise DataFileError(
            f"{name}: expected {math.prod(shape)} bytes of data for shape {shape}, got {len(content) - start}; "
            f"the file is damaged, {_AGAIN}"
        )
    if 0 in shape:
        raise DataFileError(f"{name}: expected at least one example and one pixel, got shape {shape}; {_AGAIN}")
    return np.frombuffer(memoryview(content).toreadonly(), np.uint8, offset=start).reshape(shape)
