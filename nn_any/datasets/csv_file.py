"""Comma-separated values, read a line at a time, so that memory stays in proportion to the file."""

import csv
import math
from array import array
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from nn_any.core.errors import DataFileError
from nn_any.datasets.reading import CHUNK

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "?"})
_LARGEST = float(np.finfo(np.float32).max)
_LONGEST_LINE = 2**22  # characters
_FEW_CLASSES = 1_000


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """Examples (n, columns - 1), float32, and their answers (n,): float32 for numbers, int64 for classes.

    For classes that are text the third result is what the labels 0, 1, … stand for, in sorted order; else None. A
    DataFileError names the line and the column that is not what is expected.
    """
    _check_text(path)
    inputs, answers, textual, width = array("f"), array("d"), False, 0
    for _, fields in _examples(path):
        width = len(fields)
        try:
            inputs.extend([float(field) for field in fields[:-1]])
        except ValueError:
            inputs.extend([math.nan] * (width - 1))
        answer = _number(fields[-1])
        textual = textual or answer is None
        answers.append(math.nan if answer is None else answer)
    x = np.frombuffer(inputs, np.float32).reshape(len(answers), width - 1)
    _check_numbers(path, x, range(width - 1))
    if textual:
        return x, *_labels(path, len(answers))
    y = np.frombuffer(answers, np.float64)
    _check_numbers(path, y[:, None], range(width - 1, width))
    whole = np.all((y == np.round(y)) & (np.abs(y) < 2**53))
    return x, y.astype(np.int64 if whole else np.float32), None


def is_missing(field: str) -> bool:
    """Whether a field says that there is nothing in it."""
    return field.strip().lower() in _MISSING


def _check_text(path: Path) -> None:
    with path.open("rb") as file:
        binary = any(b"\0" in chunk for chunk in iter(partial(file.read, CHUNK), b""))
    if binary:
        raise DataFileError(f"{path}: expected text in UTF-8, got UTF-16 or no text at all; save it as CSV in UTF-8")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the fields of each line that is not empty."""
    taken = 0

    def text() -> Iterator[str]:
        nonlocal taken
        while line := file.readline(_LONGEST_LINE + 1):
            taken += len(line)
            if taken > _LONGEST_LINE:
                raise csv.Error(f"a line of more than {_LONGEST_LINE:,} characters")
            yield line

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next((line for line in iter(partial(file.readline, _LONGEST_LINE), "") if line.strip("\r\n")), "")
            file.seek(0)
            delimiter = max("\t;,", key=first.count)  # whichever the first line has most of
            reader = csv.reader(text(), delimiter=delimiter)
            for fields in reader:
                taken = 0
                if fields:
                    yield reader.line_num, fields
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{path}: expected text in UTF-8, got another encoding, such as Latin-1 ({error}); save it as CSV in UTF-8"
        ) from error
    except csv.Error as error:
        raise DataFileError(f"{path}, line {reader.line_num}: expected comma-separated values: {error}") from error


def _examples(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines without a first one of names, each with as many columns as the first, and a class in the last one."""
    width, some = 0, False
    for number, fields in _lines(path):
        if not width:
            width = len(fields)
            if width > 1 and not any(is_missing(field) or _number(field) is not None for field in fields):
                continue
        if width < 2:
            break
        if len(fields) != width:
            raise DataFileError(f"{path}, line {number}: expected {width} columns, got {len(fields)}")
        if is_missing(fields[-1]):
            raise DataFileError(
                f"{path}, line {number}, column {width}: expected the class, got {fields[-1]!r}; "
                "leave such lines out, and end no line with a delimiter"
            )
        some = True
        yield number, fields
    if not some:
        raise DataFileError(
            f"{path}: expected lines of numbers parted by commas, with the class in the last column, "
            f"got {'names alone' if width > 1 else f'{width} column(s)'}"
        )


def _labels(path: Path, n: int) -> tuple[np.ndarray, list[str]]:
    """Classes that are text, numbered in sorted order, and their names."""
    places: dict[str, int] = {}
    labels = array("q")
    for number, fields in _examples(path):
        labels.append(places.setdefault(fields[-1].strip(), len(places)))
        if len(places) > max(_FEW_CLASSES, n // 2):
            raise DataFileError(
                f"{path}, line {number}: expected classes in the last column, got more than {len(places) - 1:,} "
                f"different ones in {n:,} lines; put the class into the last column, or a number to predict"
            )
    names = sorted(places)
    order = np.empty(len(names), np.int64)
    order[[places[name] for name in names]] = np.arange(len(names))
    return order[np.frombuffer(labels, np.int64)], names


def _check_numbers(path: Path, numbers: np.ndarray, columns: range) -> None:
    """Some columns, (lines, columns), hold numbers that float32 can hold."""
    step = max(1, CHUNK // len(columns))
    for start in range(0, len(numbers), step):
        faulty = ~np.all(np.abs(numbers[start : start + step]) <= _LARGEST, axis=1)
        if faulty.any():
            row = start + int(np.argmax(faulty))
            number, fields = next(islice(_examples(path), row, None))
            column, fault = next((i, fault) for i in columns if (fault := _fault(fields[i])))
            raise DataFileError(f"{path}, line {number}, column {column + 1}: {fault}")


def _fault(field: str) -> str:
    """What is wrong with a field where a number belongs, if anything."""
    if is_missing(field):
        return f"expected a number, got {field!r}; fill the gap, or leave such lines out"
    value = _number(field)
    if value is None:
        return f"expected a number such as 1.5, got {field!r:.80}"
    return "" if abs(value) <= _LARGEST else f"expected a finite float32 number, got {field!r:.80}"


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None
