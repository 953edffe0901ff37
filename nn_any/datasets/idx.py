"""The IDX format of the MNIST files: a magic number, the sizes of the axes, then the bytes.

Reference: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits".
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from nn_any.core.errors import InvalidValueError

_GZIP = b"\x1f\x8b"
_UNSIGNED_BYTES = 0x08


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed if it is gzip, whatever it is called."""
    content = path.read_bytes()
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidValueError(
            f"{path}: expected a whole gzip file, got a damaged one ({error}); fetch it again"
        ) from error


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """The array in an IDX file of unsigned bytes.

    Parameters
    ----------
    content : bytes, decompressed
    name : str
        What to call it in messages.

    Returns
    -------
    array, uint8, read-only

    Raises
    ------
    ValueError
        If it is not such a file, or is cut short or too long.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTES:
        raise InvalidValueError(
            f"{name}: expected an IDX file of unsigned bytes, got one that starts with {content[:4]!r}"
        )
    axes, start = content[3], 4 + 4 * content[3]
    if axes == 0 or len(content) < start:
        raise InvalidValueError(f"{name}: expected an IDX header of {axes} axes, got {len(content)} bytes in all")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", axes, 4))
    if len(content) - start != math.prod(shape):
        raise InvalidValueError(
            f"{name}: expected {math.prod(shape)} bytes of data for shape {shape}, got {len(content) - start}; "
            "the file is damaged, fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
