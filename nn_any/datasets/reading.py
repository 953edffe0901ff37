"""What the readers of data files share: bounds on what a file may expand to, and one kind of error."""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nn_any.core.errors import DataFileError, InvalidTypeError, InvalidValueError

_GZIP = b"\x1f\x8b"
CHUNK = 2**20


def largest_content(path: Path) -> int:
    """How many bytes a compressed file may expand to: 50 times its own and a mebibyte; a bomb reaches 1,000 times."""
    return 50 * path.stat().st_size + 2**20


def too_large(path: Path, remedy: str) -> DataFileError:
    """The error for a file that would expand to more than `largest_content`."""
    return DataFileError(
        f"{path}: expected at most {largest_content(path):,} bytes when decompressed, got more; {remedy}"
    )


def read_bytes(path: Path) -> bytes | bytearray:
    """The content of a file, decompressed if it is gzip, whatever it is called; at most `largest_content` then."""
    with path.open("rb") as file:
        if file.read(2) != _GZIP:
            return path.read_bytes()
        file.seek(0)
        content, most = bytearray(), largest_content(path)
        try:
            with gzip.GzipFile(fileobj=file) as unzipped:
                while chunk := unzipped.read(CHUNK):
                    content += chunk
                    if len(content) > most:
                        raise too_large(path, "if you trust it, decompress it with gunzip first")
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataFileError(
                f"{path}: expected a whole gzip file, got a damaged one ({error}); fetch it again"
            ) from error
    return content


@contextmanager
def prefix_path(path: str | os.PathLike[str]) -> Iterator[None]:
    """Around the making of data sets from a file: what is wrong with the data is an error that names the file."""
    try:
        yield
    except DataFileError:
        raise
    except (InvalidValueError, InvalidTypeError) as error:
        raise DataFileError(f"{path}: {error}") from error
