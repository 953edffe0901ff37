"""Data of one's own from a file: NumPy's npz, or comma-separated values."""

import csv
import math
import os
import zipfile
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from nn_any.backends import Device
from nn_any.core.errors import InvalidValueError
from nn_any.datasets.dataset import Dataset

Lines = list[tuple[int, list[str]]]  # the number of each line, and its fields

_LABELS = "biuU"  # kinds of dtypes: boolean, integer, text
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "?"})
_LARGEST = float(np.finfo(np.float32).max)


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
    arrays = _read_npz(path) if kind == ".npz" else {"": _read_csv(path)}
    classes = _number_classes(path, arrays)
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


def _number_classes(path: Path, arrays: dict[str, tuple[np.ndarray, np.ndarray]]) -> int | list[Any] | None:
    """Put numbers from 0 on in the place of labels; how many there are, or what they were if they were others."""
    labelled = [part for part, (_, y) in arrays.items() if y.ndim == 1 and y.dtype.kind in _LABELS and y.size]
    if not labelled:
        return None
    names, numbers = np.unique(np.concatenate([arrays[part][1] for part in labelled]), return_inverse=True)
    for part in labelled:
        x, y = arrays[part]
        arrays[part], numbers = (x, numbers[: len(y)]), numbers[len(y) :]
    if missing := [name for name in names.tolist() if _is_missing(str(name))]:
        raise InvalidValueError(
            f"{path}: expected a class for each example, got {missing[0]!r}; leave such examples out"
        )
    if len(names) < 2:
        raise InvalidValueError(f"{path}: expected two classes or more, got {names[0]} for all examples")
    return len(names) if np.array_equal(names, np.arange(len(names))) else names.tolist()


def _split(whole: Dataset, *counts: int) -> tuple[Dataset, ...]:
    """Stratified where every class has examples enough, else merely shuffled."""
    try:
        return whole.split(*counts, seed=0)
    except ValueError:
        return whole.split(*counts, seed=0, stratify=False)


def _fractions(n: int) -> tuple[int, int, int]:
    part = max(1, n // 10)
    if n < 3:
        raise InvalidValueError(f"data: expected at least 3 examples to train, validate and test with, got {n}")
    return n - 2 * part, part, part


def _read_npz(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise InvalidValueError(
                "this is a single array, as .npy files are; write both with np.savez(path, x=x, y=y)"
            )
        with file:
            for names in ({"": ("x", "y")}, {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}):
                if all(key in file for pair in names.values() for key in pair):
                    return {part: (file[x], _column(file[y])) for part, (x, y) in names.items()}
            found = ", ".join(file.files)
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InvalidValueError(f"{path}: expected an npz file of plain arrays: {error}") from error
    raise InvalidValueError(f"{path}: expected arrays x and y, or x_train, y_train, x_test and y_test, got {found}")


def _column(y: np.ndarray) -> np.ndarray:
    """Labels (n, 1) as (n,), and bytes as text, for some archives store them so."""
    y = np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in _LABELS else y


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    lines = _lines(path)
    width = len(lines[0][1]) if lines else 0
    if lines and not any(_is_missing(field) or _number(field) is not None for field in lines[0][1]):
        lines = lines[1:]
    if not lines or width < 2:
        raise InvalidValueError(
            f"{path}: expected lines of numbers parted by commas, with the class in the last column, "
            f"got {'names alone' if width > 1 else f'{width} column(s)'}"
        )
    for number, fields in lines:
        if len(fields) != width:
            raise InvalidValueError(f"{path}, line {number}: expected {width} columns, got {len(fields)}")
        if _is_missing(fields[-1]):
            raise InvalidValueError(
                f"{path}, line {number}, column {width}: expected the class, got {fields[-1]!r}; "
                "leave such lines out, and end no line with a delimiter"
            )
    x = _numbers(path, lines, range(width - 1)).astype(np.float32)
    answers = [fields[-1].strip() for _, fields in lines]
    if any(_number(answer) is None for answer in answers):
        return x, np.array(answers)
    y = _numbers(path, lines, range(width - 1, width))[:, 0]
    whole = np.all((y == np.round(y)) & (np.abs(y) < 2**53))
    return x, y.astype(np.int64 if whole else np.float32)


def _lines(path: Path) -> Lines:
    """The lines that are not empty, parted by whichever the first has most of: commas, semicolons or tabs."""
    content = path.read_bytes()
    if b"\0" in content:
        raise InvalidValueError(
            f"{path}: expected text in UTF-8, got UTF-16 or no text at all; save it as CSV in UTF-8"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValueError(
            f"{path}: expected text in UTF-8, got another encoding, such as Latin-1 ({error}); save it as CSV in UTF-8"
        ) from error
    delimiter = max("\t;,", key=text.lstrip("\r\n").partition("\n")[0].count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise InvalidValueError(f"{path}, line {reader.line_num}: expected comma-separated values: {error}") from error


def _numbers(path: Path, lines: Lines, columns: range) -> np.ndarray:
    """Some columns of numbers, (lines, columns), float64, that float32 can hold."""
    rows = []
    for _, fields in lines:
        try:
            rows.append([float(field) for field in fields[columns.start : columns.stop]])
        except ValueError:
            rows.append([math.nan] * len(columns))
    numbers = np.array(rows)
    faulty = ~np.all(np.abs(numbers) <= _LARGEST, axis=1)
    if faulty.any():
        number, fields = lines[int(np.argmax(faulty))]
        column, fault = next((i, fault) for i in columns if (fault := _fault(fields[i])))
        raise InvalidValueError(f"{path}, line {number}, column {column + 1}: {fault}")
    return numbers


def _fault(field: str) -> str:
    """What is wrong with a field where a number belongs, if anything."""
    if _is_missing(field):
        return f"expected a number, got {field!r}; fill the gap, or leave such lines out"
    value = _number(field)
    if value is None:
        return f"expected a number such as 1.5, got {field!r}"
    return "" if abs(value) <= _LARGEST else f"expected a finite float32 number, got {field!r}"


def _is_missing(field: str) -> bool:
    return field.strip().lower() in _MISSING


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None
