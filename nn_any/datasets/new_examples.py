"""New examples for a trained network, from files: its inputs by their names, its classes by theirs."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nn_any import validation as check
from nn_any.backends import Device
from nn_any.core.errors import DataFileError, InvalidValueError
from nn_any.core.specification import Specification
from nn_any.datasets.csv_columns import Columns, Wanted, read_columns
from nn_any.datasets.csv_lines import list_names, number_of
from nn_any.datasets.dataset import Dataset
from nn_any.datasets.image_file import SUFFIXES as PICTURES
from nn_any.datasets.image_file import picture_shape, read_picture
from nn_any.datasets.npz import array_names, read_npy, read_npz
from nn_any.datasets.reading import prefix_path
from nn_any.datasets.tables import read_arrays, split_table

PARTS = ("training", "validation", "test", "all")
"""Which examples of a file are meant."""
SUFFIXES = (".csv", ".npz", ".npy", *PICTURES)
"""How the names of files to predict end."""


class FileInputs(NamedTuple):
    """What a file holds to predict from."""

    x: np.ndarray
    """(n, ...): integers as they are stored, for the network to divide by its scale, or real numbers."""
    notes: tuple[str, ...]
    """What was done to them."""


class FileExamples(NamedTuple):
    """What a file holds to evaluate a network on."""

    data: Dataset
    part: str
    """Which part of the file it is, one of `PARTS`."""
    notes: tuple[str, ...]


def read_inputs(
    path: Path,
    specification: Specification,
    *,
    target: str | int | None = None,
    header: bool | None = None,
    invert: bool = False,
    white: float | None = None,
) -> FileInputs:
    """The inputs in a .csv, .npz, .npy, .png or .jpg file, as a network takes them.

    Parameters
    ----------
    path : Path
    specification : Specification
        The network's.
    target : str or int, optional
        The column of a .csv file that is predicted, and so no input, where its name does not tell.
    header : bool, optional
        Whether the first line of a .csv file has the names of the columns.
    invert : bool
        Make the black of pictures white.
    white : float, optional
        What white is in the inputs; by default 1, as the network's scale makes it.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is of another kind, damaged, or does not fit the network.
    """
    kind = _check_kind("files", path, *SUFFIXES)
    if kind in PICTURES:
        return _read_pictures(path, specification, invert, white)
    if kind == ".csv":
        columns = read_columns(path, _wanted(specification), target=target, header=header)
        x, notes = _as_stored(columns.x, specification)
        return FileInputs(x, (*columns.notes, *notes))
    x, others = _only_array(path) if kind == ".npz" else (read_npy(path), [])
    left_out = [f"array{'s' * (len(others) > 1)} {', '.join(others[:5])} left out"] if others else []
    with prefix_path(path):
        x = check.as_array("x", x)
        x, _ = check.check_example_or_inputs("x", x, specification.input_shape)
        if check.is_real(x):
            check.check_finite("x", x)
    return FileInputs(x, (*left_out, *_unscaled(x, specification)))


def read_examples(
    path: Path,
    specification: Specification,
    device: Device,
    *,
    target: str | int | None = None,
    header: bool | None = None,
    part: str | None = None,
) -> FileExamples:
    """The examples of a .csv or .npz file to evaluate a network on: all, or the part that training has held out.

    Classes are numbered as the network numbers them, whatever their order in the file.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is of another kind, damaged, or does not fit the network.
    """
    kind = _check_kind("data", path, ".csv", ".npz")
    if kind == ".csv":
        outputs = 1 if specification.task == "classification" else specification.outputs
        columns = read_columns(path, replace(_wanted(specification), outputs=outputs), target=target, header=header)
        x, said = _as_stored(columns.x, specification)
        pairs, notes = [(x, _targets_of(path, columns, specification))], (*columns.notes, *said)
    else:
        with prefix_path(path):
            pairs = [(x, _targets_in(y, specification)) for x, y in read_arrays(path, specification.task)]
        notes = _unscaled(pairs[0][0], specification)
    part = part or ("all" if len(pairs) == 1 else "test")
    with prefix_path(path):
        if part == "all":
            x, y = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
            return FileExamples(_as_dataset(x, y, specification, device), part, notes)
        sets = [_as_dataset(x, y, specification, device) for x, y in pairs]
        return FileExamples(split_table(*sets)[PARTS.index(part)], part, notes)


def _only_array(path: Path) -> tuple[np.ndarray, list[str]]:
    """The inputs in an npz file, and the names of the other arrays."""
    [x] = read_npz(path, ("x",), ("arr_0",))
    taken = "x" if "x" in (names := array_names(path)) else "arr_0"
    return x, [name for name in names if name != taken]


def _check_kind(name: str, path: Path, *suffixes: str) -> str:
    """How the name of a file ends that is there."""
    kind = path.suffix.lower()
    if kind not in suffixes:
        raise InvalidValueError(
            f"{name}: expected a file ending in {', '.join(suffixes[:-1])} or {suffixes[-1]}, got {path.name}; "
            "write it as one of these"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{name}: expected a file, found none at {path}")
    return kind


def _wanted(specification: Specification) -> Wanted:
    schema = specification.schema
    classes = frozenset(map(str, schema.class_names or ()))
    return Wanted(math.prod(specification.input_shape), schema.feature_names, schema.target_names, classes=classes)


def _as_stored(x: np.ndarray, specification: Specification) -> tuple[np.ndarray, tuple[str, ...]]:
    """Columns of numbers as a network takes them: whole numbers count as stored ones if it has a scale for these."""
    scale = specification.schema.scale
    if scale is None or not np.all((x == np.round(x)) & (np.abs(x) < 2**31)):
        return x, ()
    return x.astype(np.int32), (f"whole numbers are divided by {scale:g}, as when the network was trained",)


def _read_pictures(path: Path, specification: Specification, invert: bool, white: float | None) -> FileInputs:
    """A picture as one example. Reals of 0 … 1 are what the scale makes of the integers that are stored."""
    try:
        shape = picture_shape(specification.input_shape)
    except InvalidValueError as error:
        raise DataFileError(f"{path}: {error}") from error
    picture, notes = read_picture(path, shape, invert=invert), list[str]()
    if (names := specification.schema.feature_names) is not None:
        notes.append(f"its pixels are taken for the inputs {list_names(list(names), 4)}, row by row")
    if specification.schema.scale is None and white is None:
        notes += ["white is 1: the model does not say what it was in training; --white 255 if it was 255"]
    pixels = picture.pixels * np.float32(1 if white is None else white)
    return FileInputs(pixels.reshape(1, *specification.input_shape), (*picture.notes, *notes))


def _targets_of(path: Path, columns: Columns, specification: Specification) -> np.ndarray:
    """What is to be predicted: the numbers of classes (n,), or numbers (n, outputs)."""
    numbers = [[number_of(field) for field in fields] for fields in columns.targets]
    if specification.task != "classification":
        for line, fields, values in zip(columns.lines, columns.targets, numbers, strict=True):
            if bad := [field for field, value in zip(fields, values, strict=True) if value is None]:
                raise DataFileError(
                    f"{path}, line {line}, {columns.target}: expected a number such as 1.5, got {bad[0]!r:.80}; put "
                    "numbers into this column, or leave such lines out"
                )
        return np.array(numbers, dtype=np.float32)
    places = _places(specification)
    words = {str(name): place for name, place in places.items()}
    labels = []
    for line, (field,), (value,) in zip(columns.lines, columns.targets, numbers, strict=True):
        place = words.get(field, places.get(value))
        if place is None:
            raise DataFileError(
                f"{path}, line {line}, {columns.target}: {_unknown(field, places)}; leave such lines out, or rename "
                "the class"
            )
        labels.append(place)
    return np.array(labels, dtype=np.int64)


def _targets_in(y: np.ndarray, specification: Specification) -> np.ndarray:
    """Targets as a network has them: the numbers of classes (n,) for their names, or numbers (n, outputs)."""
    if specification.task != "classification":
        return y.astype(np.float32) if y.dtype.kind in "biu" else y
    if y.ndim != 1:
        return y
    places = _places(specification)
    given, each = np.unique(y, return_inverse=True)
    found = [places.get(name) for name in given.tolist()]
    if None in found:
        name = given.tolist()[found.index(None)]
        raise InvalidValueError(f"y: {_unknown(name, places)}; leave such examples out, or rename the class")
    return np.array(found, dtype=np.int64)[each.reshape(-1)]


def _places(specification: Specification) -> dict[Any, int]:
    """The numbers of the classes, by their names."""
    names = specification.schema.class_names or range(specification.classes)
    return {name: place for place, name in enumerate(names)}


def _unknown(name: Any, places: dict[Any, int]) -> str:
    """What is wrong with a class that the network does not know."""
    known = ", ".join(map(str, list(places)[:20])) + (", …" if len(places) > 20 else "")
    return f"expected one of the classes of the network ({known}), got {name!r:.80}"


def _unscaled(x: np.ndarray, specification: Specification) -> tuple[str, ...]:
    """What to tell of integers where the network knows no scale."""
    if x.dtype.kind not in "iu" or specification.schema.scale is not None:
        return ()
    return ("integers are taken as they are: the model knows no scale",)


def _as_dataset(x: np.ndarray, y: np.ndarray, specification: Specification, device: Device) -> Dataset:
    """Inputs and targets as a network has them."""
    schema = specification.schema
    classes: int | list[Any] | None = None
    if specification.task == "classification":
        classes = list(schema.class_names) if schema.class_names is not None else specification.classes
    elif specification.is_multilabel:
        classes = specification.outputs  # or else the file is split otherwise than for training
    return Dataset(x, y, classes=classes, scale=schema.scale if x.dtype.kind in "iu" else None, device=device)
