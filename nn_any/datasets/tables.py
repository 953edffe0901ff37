"""Data of one's own from a file: NumPy's npz, or comma-separated values."""

import csv
import os
import zipfile
from pathlib import Path

import numpy as np

from nn_any.backends import Device
from nn_any.datasets.dataset import Dataset


def load_table(path: str | os.PathLike[str], *, device: str | Device | None = None) -> tuple[Dataset, Dataset, Dataset]:
    """Training, validation and test data from a file.

    Parameters
    ----------
    path : path
        ``.npz`` with arrays ``x`` and ``y`` (split 80/10/10, seed 0, stratified where each class has examples enough),
        or with ``x_train``, ``y_train``, ``x_test`` and ``y_test`` (a sixth of the training data becomes the validation
        data). uint8 is taken for images and divided by 255. ``.csv``: one example a line, numbers, and the class in the
        last column, as a number or as text; a first line of names is skipped.
    device : str or Device, optional
        Where the data shall live; ``select_device(None)`` by default.

    Returns
    -------
    training, validation, test : Dataset

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of neither kind or does not hold what is expected.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"data: expected a file, found none at {path}")
    if path.suffix == ".npz":
        arrays = _read_npz(path)
    elif path.suffix == ".csv":
        arrays = {"": _read_csv(path)}
    else:
        raise ValueError(f"data: expected a file ending in .npz or .csv, got {path.name}")
    labels = [y for _, y in arrays.values() if y.ndim == 1 and y.dtype.kind in "iu" and y.size]
    classes = int(max(y.max() for y in labels)) + 1 if labels else None
    sets = {
        part: Dataset(x, y, classes=classes, device=device, scale=255 if x.dtype == np.uint8 else None)
        for part, (x, y) in arrays.items()
    }
    if "test" in sets:
        training, validation = _split(sets["train"], len(sets["train"]) - len(sets["train"]) // 6)
        return training, validation, sets["test"]
    whole = sets[""]
    training, validation, test = _split(whole, *_fractions(len(whole)))
    return training, validation, test


def _split(whole: Dataset, *counts: int) -> tuple[Dataset, ...]:
    """Stratified where every class has examples enough, else merely shuffled."""
    try:
        return whole.split(*counts, seed=0)
    except ValueError:
        return whole.split(*counts, seed=0, stratify=False)


def _fractions(n: int) -> tuple[int, int, int]:
    part = max(1, n // 10)
    if n < 3:
        raise ValueError(f"data: expected at least 3 examples to train, validate and test with, got {n}")
    return n - 2 * part, part, part


def _read_npz(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            for names in ({"": ("x", "y")}, {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}):
                if all(key in file for pair in names.values() for key in pair):
                    return {part: (file[x], _column(file[y])) for part, (x, y) in names.items()}
            found = ", ".join(file.files)
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: expected an npz file of plain arrays: {error}") from error
    raise ValueError(f"{path}: expected arrays x and y, or x_train, y_train, x_test and y_test, got {found}")


def _column(y: np.ndarray) -> np.ndarray:
    """Labels (n, 1), as some archives store them, as (n,)."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in "iu" else y


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [(number, line) for number, line in enumerate(csv.reader(file), 1) if line]
    if lines and not any(_is_number(cell) for cell in lines[0][1][:-1]):
        lines = lines[1:]
    if not lines or len(lines[0][1]) < 2:
        raise ValueError(f"{path}: expected lines of numbers with the class in the last column, got none")
    rows = []
    for number, line in lines:
        try:
            rows.append([float(cell) for cell in line[:-1]])
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: expected numbers before the last column: {error}") from error
        if len(line) != len(lines[0][1]):
            raise ValueError(f"{path}, line {number}: expected {len(lines[0][1])} columns, got {len(line)}")
    answers = [line[-1].strip() for _, line in lines]
    if all(_is_number(answer) for answer in answers):
        numbers = np.array([float(answer) for answer in answers])
        whole = np.all(numbers == np.round(numbers))
        return np.array(rows, dtype=np.float32), numbers.astype(np.int64) if whole else numbers.astype(np.float32)
    return np.array(rows, dtype=np.float32), np.unique(answers, return_inverse=True)[1]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
