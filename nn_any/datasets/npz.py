"""NumPy's npz files, which may have been forged: sizes are checked before they are believed, nothing is unpickled."""

import math
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from nn_any.core.errors import DataFileError
from nn_any.datasets.reading import CHUNK, largest_content, too_large

_KINDS = {"b": "booleans", "i": "integers", "u": "integers", "f": "real numbers", "U": "text", "S": "bytes"}
_LONGEST_HEADER = 2**14
_MOST_AXES, _WIDEST = 32, 8  # a number of at most 8 bytes
_LAST_CHARACTER, _SURROGATES = 0x10FFFF, (0xD800, 0xDFFF)


def read_npz(path: Path, *choices: Sequence[str]) -> list[np.ndarray]:
    """The arrays of the first of some lists of names that the file has in full.

    They hold numbers, booleans or text, and are no larger than `largest_content`; anything else is a DataFileError.
    """
    write = f"np.savez(path, {', '.join(f'{name}={name}' for name in choices[0])})"
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise DataFileError(
                f"{path}: expected an npz file of plain arrays, got a single array, as .npy files are; write all with "
                f"{write}"
            )
        try:
            with zipfile.ZipFile(_Sparing(file)) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                names = next((names for names in choices if all(name in members for name in names)), ())
                if sum(members[name].file_size for name in names) > largest_content(path):
                    raise too_large(path, "if you trust it, write it with np.savez, which does not compress")
                arrays = [_parse_npy(_content(archive, members[name])) for name in names]
        except (DataFileError, MemoryError):
            raise
        except Exception as error:  # zipfile raises of a dozen kinds
            raise DataFileError(
                f"{path}: expected an npz file of plain arrays, got another ({error!s:.300}); write it with {write}"
            ) from error
    if not arrays:
        wanted = ", or ".join(f"{', '.join(names[:-1])} and {names[-1]}".removeprefix(" and ") for names in choices)
        found = ", ".join(list(members)[:10]) or "none"
        raise DataFileError(f"{path}: expected arrays {wanted}, got {found[:200]}; write it with {write}")
    return arrays


def read_npy(path: Path) -> np.ndarray:
    """The array of an npy file, which holds numbers, booleans or text; anything else is a DataFileError."""
    try:
        return _parse_npy(bytearray(path.read_bytes()))
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise DataFileError(
            f"{path}: expected an npy file of plain numbers, got another ({error!s:.300}); write it with "
            "np.save(path, x)"
        ) from error


def array_names(path: Path) -> list[str]:
    """The names of the arrays in an npz file; none if it is no such file."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(_Sparing(file)) as archive:
            return [info.filename.removesuffix(".npy") for info in archive.infolist()]
    except (zipfile.BadZipFile, ValueError):
        return []


class _Sparing:
    """A file that gives a mebibyte at a time, so that a forged table of contents is not read into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        if size > CHUNK:
            raise ValueError(f"a part of it claims to be of {size:,} bytes")
        return self._file.read(CHUNK if size < 0 else size)


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytearray:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is compressed in another way than NumPy does")
    content = bytearray()
    with archive.open(info) as member:  # which gives no more than the size that was checked
        while chunk := member.read(CHUNK // 2):
            content += chunk
    return content


def _parse_npy(content: bytearray) -> np.ndarray:
    head = BytesIO(content[:_LONGEST_HEADER])
    version = np.lib.format.read_magic(head)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array of version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(head)
    if dtype.kind not in _KINDS or dtype.itemsize == 0 or (dtype.kind not in "US" and dtype.itemsize > _WIDEST):
        raise ValueError(f"an array of dtype {str(dtype)[:80]}; convert it to {', '.join(sorted({*_KINDS.values()}))}")
    if len(shape) > _MOST_AXES or not all(0 <= size < 2**63 for size in shape):
        raise ValueError("an array whose shape makes no sense")
    start, count = head.tell(), math.prod(shape)
    if len(content) - start != count * dtype.itemsize:
        raise ValueError(f"an array of {count * dtype.itemsize} bytes in a part that has {len(content) - start}")
    flat = np.frombuffer(content, dtype, count, start)
    if dtype.kind == "b":
        flat = flat.view(np.uint8) != 0  # a forged byte may be neither 0 nor 1
    if dtype.kind == "U":
        codes = flat.view(dtype.byteorder.replace("|", "=") + "u4")
        if np.any((codes > _LAST_CHARACTER) | ((codes >= _SURROGATES[0]) & (codes <= _SURROGATES[1]))):
            raise ValueError("text that is not Unicode")
    return flat.reshape(shape, order="F" if fortran else "C")
