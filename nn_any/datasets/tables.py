"""Data of one's own from a file: NumPy's npz, or comma-separated values."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nn_any.backends import Device, select_device, to_numpy
from nn_any.core import options
from nn_any.core.errors import DataFileError, InvalidTypeError, InvalidValueError
from nn_any.core.specification import TASKS
from nn_any.datasets.csv_file import read_csv
from nn_any.datasets.csv_lines import is_missing
from nn_any.datasets.dataset import Dataset
from nn_any.datasets.npz import read_npz
from nn_any.datasets.reading import prefix_path

_LABELS = "biuU"  # kinds of dtypes: boolean, integer, text
_NAMES = ("x", "y"), ("x_train", "y_train", "x_test", "y_test")
_FEW, _MANY, _EACH = 20, 1_000, 10
_Pairs = list[tuple[np.ndarray, np.ndarray]]
Splits = tuple[Dataset, Dataset, Dataset]


@dataclass(frozen=True)
class Reading:
    """What a file was taken for, and why."""

    task: str
    """``"classification"``, ``"multilabel"`` or ``"regression"``."""
    target: str
    """The column that is to be predicted, or ``y``."""
    reason: str
    hints: tuple[str, ...] = ()
    """How to say otherwise."""
    notes: tuple[str, ...] = ()
    """What else was guessed."""

    def lines(self) -> list[str]:
        """What to tell the user."""
        return [f"taken for {self.task}: {self.target} {self.reason}", *self.hints, *self.notes]


def load_table(
    path: str | os.PathLike[str],
    *,
    device: str | Device | None = None,
    task: str | None = None,
    target: str | int | None = None,
    header: bool | None = None,
) -> Splits:
    """Training, validation and test data from a file.

    Parameters
    ----------
    path : path
        ``.npz`` with arrays ``x`` and ``y`` (split 80/10/10, seed 0, stratified where each class has examples enough),
        or with ``x_train``, ``y_train``, ``x_test`` and ``y_test`` (a sixth of the training data becomes the validation
        data). uint8 is taken for images and divided by 255, which the data sets' ``scale`` records. ``.csv``, UTF-8:
        one example a line, fields parted by commas, semicolons or tabs. All columns but the target must be numbers
        without gaps. An unnamed first column that numbers the lines is left out.
    device : str or Device, optional
        Where the data shall live; ``select_device(None)`` by default.
    task : {"classification", "multilabel", "regression"}, optional
        Whether the targets are classes, columns of answers, 0 and 1 (in a ``.npz`` file), or numbers. By default text
        is classes, and so are whole numbers if few are different: two, at most 20 that occur twice or more on average,
        or at most 1,000 that occur ten times or more. Numbers with decimals, even ``151.0``, and real arrays are
        numbers to predict.
    target : str or int, optional
        The column of a ``.csv`` file to predict: its name, or its place, counted from 1, or from the end as -1, -2, …
        By default the last one. Text that is a name and a place is taken for the name.
    header : bool, optional
        Whether the first line of a ``.csv`` file has the names of the columns. By default it does if it is all text, if
        a column has text there and numbers everywhere else, if its fields count 0, 1, 2, …, or if its class occurs
        there only.

    Returns
    -------
    training, validation, test : Dataset
        Labels other than 0 … k - 1 are numbered in their sorted order, and ``class_names`` holds what they were.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of neither kind or does not hold what is expected, or has values missing or one class only; if
        there is no such target; if the first line may be names or an example.
    """
    return read_table(path, device=device, task=task, target=target, header=header)[0]


def read_table(
    path: str | os.PathLike[str],
    *,
    device: str | Device | None = None,
    task: str | None = None,
    target: str | int | None = None,
    header: bool | None = None,
) -> tuple[Splits, Reading]:
    """What `load_table` gives, and what the file was taken for."""
    path = options.path("path", path, "data.csv")
    if not path.is_file():
        raise FileNotFoundError(f"data: expected a file, found none at {path}")
    kind = path.suffix.lower()
    if kind not in (".npz", ".csv"):
        raise InvalidValueError(f"data: expected a file ending in .npz or .csv, got {path.name}")
    if task is not None:
        options.choice("task", task, *TASKS)
    if header is not None:
        options.flag("header", header)
    if isinstance(target, bool) or not isinstance(target, str | int | None):
        raise InvalidTypeError(f"target: expected the name of a column, or its place, such as -1, got {target!r}")
    place = select_device(device)
    notes: tuple[str, ...] = ()
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None
    if kind == ".npz":
        for name, value in (("target", target), ("header", header)):
            if value is not None:
                raise InvalidValueError(
                    f"{name}: expected it for .csv files only, got {value!r} for .npz; leave it out"
                )
        pairs, column, names = read_arrays(path, task), "y", []
    else:
        table = read_csv(path, task=task, target=target, header=header)
        pairs, column, names, notes = [(table.x, table.y)], table.target, table.classes, table.notes
        feature_names, target_name = table.names, table.target_name
    reading: Reading | None = None
    classes: int | list[Any] | None = None
    if all(y.ndim == 1 and y.size for _, y in pairs):
        targets = _together([y for _, y in pairs])
        reading = _decide(path, column, targets, task, text=bool(names) or targets.dtype.kind == "U", notes=notes)
        if kind == ".csv" and target is None and not names:
            hint = "--target COLUMN predicts another column than the last"
            reading = replace(reading, hints=(*reading.hints, hint))
        if names:
            _check_classes(path, names)
            classes = names
        elif reading.task == "regression":
            if len(targets) > 1 and np.all(targets == targets[0]):
                raise DataFileError(
                    f"{path}: expected numbers that differ in {column}, got {targets[0]} for all examples; "
                    "add examples with other numbers"
                )
            targets = targets.astype(np.float32) if kind == ".csv" or targets.dtype.kind in _LABELS else targets
        elif targets.dtype.kind in _LABELS or np.all(np.isfinite(targets)):
            targets, classes = _number_classes(path, targets)
        parts = np.split(targets, np.cumsum([len(y) for _, y in pairs])[:-1])
        pairs = [(x, part) for (x, _), part in zip(pairs, parts, strict=True)]
    elif task == "multilabel":
        classes = {y.shape[-1] for _, y in pairs}.pop()
    with prefix_path(path):
        named: dict[str, Any] = {
            "feature_names": feature_names,
            "target_names": None if target_name is None else (target_name,),
        }
        whole, *test = (
            Dataset(x, y, classes=classes, device=place, scale=255 if x.dtype == np.uint8 else None, **named)
            for x, y in pairs
        )
    reading = reading or _found(whole, task)
    largest = max(int(x.max()) for x, _ in pairs) if pairs[0][0].dtype == np.uint8 else 255
    if largest < 128:
        notes = (
            f"x is uint8 and divided by 255, though its largest number is {largest}",
            "store x as float32 to keep its numbers",
        )
        reading = replace(reading, notes=(*reading.notes, *notes))
    with prefix_path(path):
        return split_table(whole, *test), reading


def _together(parts: list[np.ndarray]) -> np.ndarray:
    """The targets of all parts; integers stay integers, whatever their signs."""
    targets = np.concatenate(parts)
    return (
        targets.astype(np.int64) if targets.dtype.kind == "f" and all(y.dtype.kind in "biu" for y in parts) else targets
    )


def _decide(
    path: Path, column: str, targets: np.ndarray, task: str | None, *, text: bool, notes: tuple[str, ...]
) -> Reading:
    """Whether targets (n,) are classes or numbers; the docstring of `load_table` has the rules."""
    if task == "multilabel":
        raise DataFileError(
            f"{path}: expected targets of 0 and 1, a column for each output, for 'multilabel', got {column} alone; "
            "give a .npz file with y of (n, outputs), or leave task out"
        )
    n, different = len(targets), len(np.unique(targets))
    values = f"{different:,} different value{'s' * (different != 1)}"
    if text:
        if task == "regression":
            raise DataFileError(
                f"{path}: expected numbers in {column} for regression, got text such as {str(targets[0])!r:.80}; "
                "convert it to numbers, or leave task out"
            )
        return Reading("classification", column, f"has text, {values}", notes=notes)
    whole = targets.dtype.kind in "biu"
    kind = "whole numbers" if whole else "numbers with decimals"
    if not whole and np.all(targets == np.round(targets)):
        kind = "whole numbers written with decimals" if column != "y" else "whole numbers in a real array"
    if task is not None:
        return Reading(task, column, f"has {kind}, {values}, and the task was given", notes=notes)
    enough = n >= 2 * different if different <= _FEW else n >= _EACH * different and different <= _MANY
    if whole and (different <= 2 or enough):
        reason = f"has {different:,} different whole numbers"
        return Reading("classification", column, reason, ("--task regression if they are quantities",), notes)
    found = f"{different:,} different whole numbers in {n:,} examples" if whole else f"{kind}, {values}"
    hints = ("--task classification if they are classes",)
    return Reading("regression", column, f"has {found}", () if kind == "numbers with decimals" else hints, notes)


def _found(data: Dataset, task: str | None) -> Reading:
    """What targets (n, outputs) are."""
    found = "classification" if data.classes else "regression"
    columns = int(data.y.shape[-1])
    binary = bool(np.isin(to_numpy(data.y), (0, 1)).all())
    if task == "multilabel":
        if not binary:
            raise InvalidValueError(
                "task: expected y of 0 and 1 for 'multilabel', got other numbers; give 1 for each yes and 0 for each no"
            )
        return Reading(task, "y", f"has {columns} columns of 0 and 1, and the task was given")
    shape = f"has {columns} columns with a single 1 a row" if data.classes else f"has {columns} columns of numbers"
    if task not in (None, found):
        raise InvalidValueError(f"task: expected {found!r} for y, which {shape}, got {task!r}; give y as (n,) for that")
    answers = binary and not data.classes
    return Reading(found, "y", shape, ("--task multilabel if these are answers of yes or no",) if answers else ())


def _number_classes(path: Path, targets: np.ndarray) -> tuple[np.ndarray, int | list[Any]]:
    """Numbers from 0 on in the place of labels; and how many there are, or what they were if they were others."""
    if targets.dtype.kind == "f" and np.all((targets == np.round(targets)) & (np.abs(targets) < 2**53)):
        targets = targets.astype(np.int64)
    names = np.unique(targets)
    if missing := [name for name in names.tolist() if is_missing(str(name))]:
        raise DataFileError(f"{path}: expected a class for each example, got {missing[0]!r}; leave such examples out")
    _check_classes(path, names.tolist())
    labels = np.searchsorted(names, targets)
    return labels, len(names) if np.array_equal(names, np.arange(len(names))) else list(names.tolist())


def _check_classes(path: Path, names: list[Any]) -> None:
    if len(names) < 2:
        name = str(names[0])
        shown = name if name.isprintable() and len(name) < 80 else f"{name!r:.80}"
        raise DataFileError(f"{path}: expected two classes or more, got {shown} for all examples")


def split_table(whole: Dataset, test: Dataset | None = None) -> Splits:
    """Training, validation and test data of a file: a tenth each for the last two, or a sixth for the second alone."""
    n = len(whole)
    if test is not None:
        if n < 2:
            raise InvalidValueError(f"x_train: expected at least 2 examples to train and validate with, got {n}")
        training, validation = _split(whole, n - max(1, n // 6))
        return training, validation, test
    if n < 3:
        raise InvalidValueError(f"data: expected at least 3 examples to train, validate and test with, got {n}")
    part = max(1, n // 10)
    training, validation, test = _split(whole, n - 2 * part, part, part)
    return training, validation, test


def _split(whole: Dataset, *counts: int) -> tuple[Dataset, ...]:
    """Stratified where every class has examples enough, else merely shuffled."""
    try:
        return whole.split(*counts, seed=0)
    except ValueError:
        return whole.split(*counts, seed=0, stratify=False)


def read_arrays(path: Path, task: str | None = None) -> _Pairs:
    """Inputs and targets of an npz file: of all examples, or of those to train and to test with."""
    arrays = read_npz(path, *_NAMES)
    try:
        return [(x, _column(y, task)) for x, y in zip(arrays[::2], arrays[1::2], strict=True)]
    except UnicodeDecodeError as error:
        raise DataFileError(f"{path}: expected classes as text in UTF-8, got other bytes ({error})") from error


def _column(y: np.ndarray, task: str | None) -> np.ndarray:
    """Labels (n, 1) as (n,), and bytes as text, for some archives store them so."""
    y = np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y
    labels = task != "multilabel" and (y.dtype.kind in _LABELS or task == "classification")
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 and labels else y
