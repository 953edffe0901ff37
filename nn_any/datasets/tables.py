"""Data of one's own from a file: NumPy's npz, or comma-separated values."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from nn_any.backends import Device, select_device
from nn_any.core.errors import DataFileError, InvalidValueError
from nn_any.datasets.csv_file import is_missing, read_csv
from nn_any.datasets.dataset import Dataset
from nn_any.datasets.npz import read_npz
from nn_any.datasets.reading import prefix_path

_LABELS = "biuU"  # kinds of dtypes: boolean, integer, text
_NAMES = ("x", "y"), ("x_train", "y_train", "x_test", "y_test")
_Pairs = list[tuple[np.ndarray, np.ndarray]]


def load_table(path: str | os.PathLike[str], *, device: str | Device | None = None) -> tuple[Dataset, Dataset, Dataset]:
    """Training, validation and test data from a file.

    Parameters
    ----------
    path : path
        ``.npz`` with arrays ``x`` and ``y`` (split 80/10/10, seed 0, stratified where each class has examples enough),
        or with ``x_train``, ``y_train``, ``x_test`` and ``y_test`` (a sixth of the training data becomes the validation
        data). uint8 is taken for images and divided by 255, which the data sets' ``scale`` records. Labels must be
        integers or text, (n,); real ``y``, even 0.0 and 1.0, are numbers to predict. ``.csv``, UTF-8: one example a
        line, numbers parted by commas, semicolons or tabs, and the class in the last column, as a whole number or as
        text; numbers with decimals there are numbers to predict. A first line of names is skipped.
    device : str or Device, optional
        Where the data shall live; ``select_device(None)`` by default.

    Returns
    -------
    training, validation, test : Dataset
        Labels other than 0 … k - 1 are numbered in their sorted order, and ``class_names`` holds what they were.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of neither kind or does not hold what is expected, or has values missing or one class only.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"data: expected a file, found none at {path}")
    kind = path.suffix.lower()
    if kind not in (".npz", ".csv"):
        raise InvalidValueError(f"data: expected a file ending in .npz or .csv, got {path.name}")
    place = select_device(device)
    if kind == ".npz":
        pairs = _read_npz(path)
        classes = _number_classes(path, pairs)
    else:
        x, y, names = read_csv(path)
        pairs = [(x, y)]
        if names is not None:
            _check_classes(path, names)
        classes = names or _number_classes(path, pairs)
    with prefix_path(path):
        whole, *test = (
            Dataset(x, y, classes=classes, device=place, scale=255 if x.dtype == np.uint8 else None) for x, y in pairs
        )
        n = len(whole)
        if test:
            if n < 2:
                raise InvalidValueError(f"x_train: expected at least 2 examples to train and validate with, got {n}")
            training, validation = _split(whole, n - max(1, n // 6))
            return training, validation, test[0]
        if n < 3:
            raise InvalidValueError(f"data: expected at least 3 examples to train, validate and test with, got {n}")
        part = max(1, n // 10)
        training, validation, test_data = _split(whole, n - 2 * part, part, part)
        return training, validation, test_data


def _number_classes(path: Path, pairs: _Pairs) -> int | list[Any] | None:
    """Put numbers from 0 on in the place of labels; how many there are, or what they were if they were others."""
    labelled = [i for i, (_, y) in enumerate(pairs) if y.ndim == 1 and y.dtype.kind in _LABELS and y.size]
    if not labelled:
        return None
    names = np.unique(np.concatenate([pairs[i][1] for i in labelled]))
    if missing := [name for name in names.tolist() if is_missing(str(name))]:
        raise DataFileError(f"{path}: expected a class for each example, got {missing[0]!r}; leave such examples out")
    _check_classes(path, names.tolist())
    if np.array_equal(names, np.arange(len(names))):
        return len(names)
    for i in labelled:
        x, y = pairs[i]
        pairs[i] = x, np.searchsorted(names, y)
    return list(names.tolist())


def _check_classes(path: Path, names: list[Any]) -> None:
    if len(names) < 2:
        name = str(names[0])
        shown = name if name.isprintable() and len(name) < 80 else f"{name!r:.80}"
        raise DataFileError(f"{path}: expected two classes or more, got {shown} for all examples")


def _split(whole: Dataset, *counts: int) -> tuple[Dataset, ...]:
    """Stratified where every class has examples enough, else merely shuffled."""
    try:
        return whole.split(*counts, seed=0)
    except ValueError:
        return whole.split(*counts, seed=0, stratify=False)


def _read_npz(path: Path) -> _Pairs:
    arrays = read_npz(path, *_NAMES)
    try:
        return [(x, _column(y)) for x, y in zip(arrays[::2], arrays[1::2], strict=True)]
    except UnicodeDecodeError as error:
        raise DataFileError(f"{path}: expected classes as text in UTF-8, got other bytes ({error})") from error


def _column(y: np.ndarray) -> np.ndarray:
    """Labels (n, 1) as (n,), and bytes as text, for some archives store them so."""
    y = np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in _LABELS else y
