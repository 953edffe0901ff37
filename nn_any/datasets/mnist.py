"""MNIST: 70,000 handwritten digits of 28 × 28 pixels, from a folder, or downloaded and cached."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from nn_any.backends import Device, select_device
from nn_any.core import options
from nn_any.core.errors import DataFileError
from nn_any.datasets.dataset import Dataset
from nn_any.datasets.idx import parse_idx
from nn_any.datasets.npz import read_npz
from nn_any.datasets.pickled import parse_pickle
from nn_any.datasets.reading import prefix_path, read_bytes

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""The four files, and the SHA-256 of each one's decompressed content (archives differ from mirror to mirror)."""

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")

Arrays = tuple[np.ndarray, np.ndarray]


def load_mnist(
    folder: str | os.PathLike[str] | None = None, *, device: str | Device | None = None, verify: bool = True
) -> tuple[Dataset, Dataset, Dataset]:
    """MNIST as the book splits it: 50,000 training, 10,000 validation and 10,000 test images.

    Parameters
    ----------
    folder : path, optional
        A folder with the four IDX files, plain or gzip; or the book's ``mnist.pkl.gz``; or Keras's ``mnist.npz``. By
        default the folder that the environment variable ``NN_ANY_DATA`` names, else the files are downloaded once and
        cached.
    device : str or Device, optional
        Where the data shall live; ``select_device(None)`` by default.
    verify : bool
        Check the SHA-256 of IDX files. Switch it off for other data in the same format; the last sixth of the training
        files is then the validation data.

    Returns
    -------
    training, validation, test : Dataset
        x uint8 (n, 784), scaled to 0 … 1 as batches are taken (float32 from ``mnist.pkl.gz``); y labels 0 … 9.

    Raises
    ------
    FileNotFoundError
        If the folder lacks a file.
    ValueError
        If a file is damaged or is not the original.
    ConnectionError
        If nothing can be downloaded; it names the addresses, the cache and what to do.
    """
    place, parts = select_device(device), mnist_arrays(folder, verify=verify)
    with prefix_path(folder or os.environ.get("NN_ANY_DATA") or "MNIST"):
        training, validation, test = (
            Dataset(x, y, classes=10, device=place, scale=255 if x.dtype == np.uint8 else None) for x, y in parts
        )
    return training, validation, test


def mnist_arrays(folder: str | os.PathLike[str] | None = None, *, verify: bool = True) -> tuple[Arrays, Arrays, Arrays]:
    """What `load_mnist` loads, as NumPy arrays: three pairs of images (n, 784) and labels (n,)."""
    chosen = folder if folder is not None else os.environ.get("NN_ANY_DATA")
    if not chosen:
        return _split({name: _download(name) for name in SHA256}, verify)
    path = options.path("folder", chosen, "mnist")
    if path.is_dir():
        files = {name: file for name in SHA256 if (file := _find(path, name))}
        if len(files) == len(SHA256):
            return _split(files, verify)
        others = [path / "mnist.pkl.gz", path / "mnist.npz"]
        path = next((other for other in others if other.is_file()), path)
    if path.is_file() and path.name.endswith((".pkl.gz", ".pkl")):
        return read_mnist_pickle(path)
    if path.is_file() and path.suffix == ".npz":
        return read_mnist_npz(path)
    origin = "folder" if folder is not None else "NN_ANY_DATA"
    raise FileNotFoundError(
        f"{origin}: expected the files {', '.join(SHA256)} (plain or .gz), mnist.pkl.gz or mnist.npz in {chosen}; "
        "leave it out to download MNIST"
    )


def _find(folder: Path, name: str) -> Path | None:
    """The file called `name`, with or without .gz, and with the dot that some archives have for the last dash."""
    dotted = name.replace("-idx", ".idx")
    candidates = (folder / spelt for spelt in (name, f"{name}.gz", dotted, f"{dotted}.gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _split(files: dict[str, Path], verify: bool) -> tuple[Arrays, Arrays, Arrays]:
    arrays = []
    for name, path in files.items():
        content = read_bytes(path)
        if verify and hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise DataFileError(
                f"{path}: expected the original MNIST file, whose SHA-256 is {SHA256[name]}, got another; "
                "fetch it again, or pass verify=False for other data in this format"
            )
        arrays.append(parse_idx(content, str(path)))
    return _arranged(path.parent, *arrays)


def _download(name: str) -> Path:
    """The path of a cached file, downloaded from the first mirror that has it."""
    import pooch

    cache, reasons = Path(pooch.os_cache("nn_any")) / "mnist", []
    path = cache / f"{name}.gz"
    pooch.get_logger().setLevel("WARNING")
    for mirror in MIRRORS:
        try:
            pooch.retrieve(mirror + path.name, known_hash=None, fname=path.name, path=cache)
            if hashlib.sha256(read_bytes(path)).hexdigest() == SHA256[name]:
                return path
            reasons.append(f"{mirror}: the content is not the original")
        except (OSError, ValueError) as error:
            reasons.append(f"{mirror}: {error}")
        path.unlink(missing_ok=True)
    raise ConnectionError(
        f"MNIST could not be downloaded ({'; '.join(reasons)}). Get {', '.join(f'{n}.gz' for n in SHA256)} from one of "
        f"{' or '.join(MIRRORS)}, put them in {cache} or in any folder, and name that folder: load_mnist(folder) or "
        "the environment variable NN_ANY_DATA"
    )


def read_mnist_pickle(path: str | os.PathLike[str]) -> tuple[Arrays, Arrays, Arrays]:
    """The book's ``mnist.pkl.gz``: three pairs of images (n, 784), float32 in 0 … 1, and labels (n,).

    A pickle that holds anything but arrays, or arrays of other shapes, is a DataFileError; nothing of it is run.
    """
    path = options.path("path", path, "mnist.pkl.gz")
    content = bytes(read_bytes(path))
    try:
        parts = parse_pickle(content)
    except ValueError as error:
        raise DataFileError(
            f"{path}: expected a pickle of three pairs of arrays, got another ({error}); fetch it again"
        ) from error
    if not isinstance(parts, tuple) or len(parts) != 3:
        raise DataFileError(f"{path}: expected three pairs of arrays, got {type(parts).__name__}; fetch it again")
    return tuple(_pair(path, part) for part in parts)  # type: ignore[return-value]


def _pair(path: Path, part: Any) -> Arrays:
    if isinstance(part, tuple) and len(part) == 2 and all(isinstance(column, np.ndarray) for column in part):
        x, y = part
        if x.ndim == 2 and x.size and x.dtype.kind == "f" and y.shape == (len(x),) and y.dtype.kind in "iu":
            return x, y
    raise DataFileError(
        f"{path}: expected pairs of images (n, 784) and labels (n,), got something else; fetch it again"
    )


def read_mnist_npz(path: str | os.PathLike[str]) -> tuple[Arrays, Arrays, Arrays]:
    """Keras's ``mnist.npz``, split as the book does: three pairs of images (n, 784), uint8, and labels (n,)."""
    path = options.path("path", path, "mnist.npz")
    return _arranged(path, *read_npz(path, ("x_train", "y_train", "x_test", "y_test")))


def _arranged(
    path: Path, x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray
) -> tuple[Arrays, Arrays, Arrays]:
    """Training, validation (the last sixth) and test data, with the images flat."""
    for images, labels in ((x, y), (test_x, test_y)):
        if images.ndim < 2 or 0 in images.shape or labels.shape != (len(images),):
            raise DataFileError(
                f"{path}: expected as many labels as images, got {labels.shape} and {images.shape}; "
                "use files that belong together"
            )
    if len(x) < 6 or x.shape[1:] != test_x.shape[1:]:
        raise DataFileError(
            f"{path}: expected six training images or more, and test images of their size, got {x.shape} and "
            f"{test_x.shape}"
        )
    cut = len(x) - len(x) // 6
    x, test_x = x.reshape(len(x), -1), test_x.reshape(len(test_x), -1)
    return (x[:cut], y[:cut]), (x[cut:], y[cut:]), (test_x, test_y)
