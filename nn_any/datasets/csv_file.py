"""Comma-separated values, read a line at a time, so that memory stays in proportion to the file."""

import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nn_any.core.errors import DataFileError, InvalidValueError
from nn_any.datasets.csv_lines import (
    BROKEN,
    CODE,
    DECIMAL,
    DIGITS,
    GAP,
    LARGEST,
    LONGEST_NAME,
    TEXT,
    WHOLE,
    check_text,
    check_truths,
    counts_up,
    fault_of,
    is_index,
    is_missing,
    is_truth,
    kind_as_input,
    kind_of,
    list_names,
    numbers_of,
    rows,
    show_name,
    unusable,
)
from nn_any.datasets.reading import CHUNK

_FEW_CLASSES = 20


class Table(NamedTuple):
    """What a file holds."""

    x: np.ndarray  # (n, columns - 1), float32
    y: np.ndarray  # (n,): int64 for whole numbers and for text, whose places in `classes` they are; else float64
    classes: list[str]  # of text, in sorted order
    target: str  # what to call the target
    notes: tuple[str, ...]  # what else was guessed
    names: tuple[str, ...] | None  # of the inputs, where each column has a name of its own
    target_name: str | None


@dataclass(frozen=True)
class _Layout:
    """Where a file has what."""

    path: Path
    first: list[str]
    target: int
    begin: int  # 1 where the first line has the names

    def column(self, place: int) -> str:
        """What messages call a column."""
        name = show_name(self.first[place]) if self.begin else ""
        return f"column {place + 1}" + (f" ({name})" if name else "")

    def row(self, row: int) -> tuple[int, list[str]]:
        """The number of a line and its fields; 0 is the first line that is not empty."""
        return next(islice(rows(self.path), row, None))


def read_csv(
    path: Path, *, task: str | None = None, target: str | int | None = None, header: bool | None = None
) -> Table:
    """The examples of a file and their targets.

    A DataFileError names the line and the column that is not what is expected.
    """
    check_text(path)
    first = next(rows(path))[1]
    names = _begins_with_names(first, target) if header is None else header
    layout = _Layout(path, first, find_target(path, first, target, names), int(bool(names)))
    inputs, answers, kinds, truths = array("f"), array("d"), bytearray(), set[int]()
    unlike = {
        i for i, field in enumerate(first) if names is None and kind_as_input(field) == TEXT
    }  # text above numbers
    for _, fields in rows(path):
        field = fields.pop(layout.target)
        kinds.append(kind_of(field))
        answers.append(float(field) if kinds[-1] >= CODE else math.nan)
        numbers = numbers_of(fields, truths)
        inputs.extend([math.nan] * len(fields) if numbers is None else numbers)
        if unlike and len(kinds) > 1 and (numbers is None or kinds[-1] < CODE):
            fields.insert(layout.target, field)
            unlike = {i for i in unlike if is_missing(fields[i]) or numbers_of([fields[i]]) is not None}
    x = np.frombuffer(inputs, np.float32).reshape(len(answers), len(first) - 1)
    y, spelled = np.frombuffer(answers, np.float64), np.frombuffer(kinds, np.uint8)
    if names is None and _is_above(layout, unlike, x, spelled):
        layout = replace(layout, begin=1)
    elif names is None and isinstance(target, str):  # which is no name then
        return read_csv(path, task=task, target=target, header=False)
    begin = layout.begin
    if len(answers) == begin:
        raise unusable(path, "names alone")
    spelling = _spelling(layout, spelled, task)
    columns = [i for i in range(len(first)) if i != layout.target]
    _check_numbers(layout, x, columns)
    check_truths(path, begin, x[begin:], truths, columns, layout.column)
    if spelling == "text":
        y, classes, _ = _labels(layout, len(answers), len(answers) if task == "classification" else _FEW_CLASSES)
    else:
        _check_numbers(layout, y[:, None], [layout.target])
        y, classes = y[begin:], []
        y = y.astype(np.int64) if spelling == "whole" else y
    x, notes = x[begin:], []
    unclear = any(kind_of(field) not in (TEXT, BROKEN) for field in first)
    if begin and header is None and unclear and not _is_from_pandas(first):
        notes.append(f"first line taken for names: {list_names(first, 4)}; --header no if it is an example")
    known = [show_name(field) for i, field in enumerate(first) if i != layout.target]
    if layout.target and len(first) > 2 and begin and is_index(first[0], x[:, 0]):
        x, known = np.ascontiguousarray(x[:, 1:]), known[1:]
        notes.append("column 1, which has no name and numbers the lines, left out; give it a name to keep it")
    elif layout.target and len(first) > 2 and not begin and _counts_lines(x):
        notes.append("column 1 counts the lines: if that is no property of the examples, write the file without it")
    name = show_name(first[layout.target]) if begin else ""
    distinct = begin and all(known) and len({*known, name}) == len(known) + 1
    target = f'column "{name}"' if name else layout.column(layout.target)
    return Table(x, y, classes, target, tuple(notes), tuple(known) if distinct else None, name or None)


def _is_from_pandas(first: list[str]) -> bool:
    """Whether a line has the names of columns after an index without a name, as pandas writes it."""
    return len(first) > 1 and not first[0].strip() and all(kind_of(field) == TEXT for field in first[1:])


def _counts_lines(x: np.ndarray) -> bool:
    """Whether the first column counts 0, 1, 2, … or 1, 2, 3, …, and no other column does so."""
    steps = np.all(np.diff(x, axis=0) == 1, axis=0)
    return len(x) > 2 and x[0, 0] in (0, 1) and bool(steps[0]) and not bool(np.any(steps[1:]))


def _begins_with_names(first: list[str], target: str | int | None) -> bool | None:
    """Whether the first line has names, by itself; None where the lines below must tell."""
    if any(len(field) > LONGEST_NAME for field in first):
        return False
    named = isinstance(target, str) and not DIGITS.fullmatch(target.strip()) and target.strip() in map(show_name, first)
    if named or first[0].lstrip().startswith("#"):
        return True
    kinds = [kind_as_input(field) for field in first]
    if TEXT not in kinds:
        counting = first[1:] if kinds[0] == GAP else first
        return counts_up(counting) and (len(counting) > 2 or None)
    return all(kind == TEXT for kind in kinds) or None


def _is_above(layout: _Layout, unlike: set[int], x: np.ndarray, kinds: np.ndarray) -> bool:
    """Whether the first line has names, by the lines below it; `unlike` are its texts above numbers."""
    first, target, rest = layout.first, layout.target, kinds[1:]
    if not len(rest):
        return False
    if all(kind_of(field) != TEXT for field in first):  # 0 and 1, which are names above numbers with decimals
        return bool(np.all(rest == DECIMAL) or np.any(np.mean(x[1:] % 1 != 0, axis=0) > 0.5))
    numbers = [field for field in first if kind_of(field) in (CODE, DECIMAL, WHOLE)]
    if not unlike:
        if kind_of(first[target]) != TEXT or not np.any(rest < DECIMAL):
            return False
        labels, _, counts = _labels(layout, len(kinds), len(kinds))
        others = np.delete(counts, labels[0])
        if counts[labels[0]] > 1 or not (np.all(others > 1) or (len(numbers) > 1 and counts_up(numbers))):
            return False
    if any(kind_of(field) == DECIMAL for field in numbers):
        text = next(field for field in first if kind_of(field) == TEXT)
        raise DataFileError(
            f"{layout.path}, first line: expected names or an example, got {show_name(text)!r} beside numbers with "
            "decimals; if these are names, pass header=True (--header yes), else header=False (--header no)"
        )
    return True


def find_target(path: Path, first: list[str], target: str | int | None, names: bool | None) -> int:
    """The place of the column to predict, from 0."""
    width = len(first)
    if target is None:
        return width - 1
    known = [] if names is False else [show_name(field) for field in first]
    listed = list_names(first, 20)
    if names and isinstance(target, str) and known.count(target.strip()) > 1:
        places = [i + 1 for i, name in enumerate(known) if name == target.strip()]
        raise InvalidValueError(
            f"target: expected a name that one column of {path} has, got {target!r}, which columns "
            f"{', '.join(map(str, places))} have; pass the place, such as {places[0]}"
        )
    if isinstance(target, str) and target.strip() in known:
        return known.index(target.strip())
    place = int(target) if isinstance(target, int) or re.fullmatch(r"[+-]?[0-9]{1,9}", target.strip()) else 0
    if not 1 <= abs(place) <= width:
        shown = "" if names is False else f"a name ({listed}) or "
        unnamed = "; the first line has no names" if isinstance(target, str) and names is False else ""
        raise InvalidValueError(
            f"target: expected {shown}a place from 1 to {width}, or from -{width} to -1 counted from the end, "
            f"as {path} has columns, got {target!r}{unnamed}"
        )
    return place - 1 if place > 0 else width + place


def _spelling(layout: _Layout, kinds: np.ndarray, task: str | None) -> str:
    """How the targets are spelled; none is missing, and what spoils a column of numbers is refused."""
    path, begin, target = layout.path, layout.begin, layout.target
    kinds = kinds[begin:]
    gaps = kinds == GAP
    if gaps.any():
        number, fields = layout.row(begin + int(np.argmax(gaps)))
        raise DataFileError(
            f"{path}, line {number}, {layout.column(target)}: expected the class, got {fields[target]!r}; "
            "leave such lines out, and end no line with a delimiter"
        )
    spoilt, found = kinds <= BROKEN, set(np.unique(kinds).tolist())
    if task == "regression" or (task is None and ((DECIMAL in found) or (BROKEN in found and TEXT not in found))):
        if spoilt.any():
            row = begin + int(np.argmax(spoilt))
            number, fields = layout.row(row)
            remedy = _if_names(layout, row, target)
            remedy = remedy or ", or pass task='classification' (--task classification) if these are classes"
            raise DataFileError(f"{path}, line {number}, {layout.column(target)}: {fault_of(fields[target])}{remedy}")
        return "decimal" if DECIMAL in found else "whole"
    return "text" if spoilt.any() or CODE in found else "decimal" if DECIMAL in found else "whole"


def _labels(layout: _Layout, n: int, most: int) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Classes that are text, numbered in sorted order, their names, and how often each occurs."""
    places: dict[str, int] = {}
    labels = array("q")
    n -= layout.begin
    for number, fields in islice(rows(layout.path), layout.begin, None):
        labels.append(places.setdefault(fields[layout.target].strip(" \t"), len(places)))
        if len(places) > max(most, n // 2):
            raise DataFileError(
                f"{layout.path}, line {number}: expected classes in {layout.column(layout.target)}, got more than "
                f"{len(places) - 1:,} different ones in {n:,} lines; put the class into the last column, or a number "
                "to predict, or pass target= (--target) with the column that has it; if these are classes, pass "
                "task='classification' (--task classification)"
            )
    names = sorted(places)
    order = np.empty(len(names), np.int64)
    order[[places[name] for name in names]] = np.arange(len(names))
    numbered = order[np.frombuffer(labels, np.int64)]
    return numbered, names, np.bincount(numbered, minlength=len(names))


def _check_numbers(layout: _Layout, numbers: np.ndarray, columns: Sequence[int]) -> None:
    """Some columns, (lines, columns), hold numbers that float32 can hold."""
    step = max(1, CHUNK // len(columns))
    for start in range(layout.begin, len(numbers), step):
        faulty = ~np.all(np.abs(numbers[start : start + step]) <= LARGEST, axis=1)
        if faulty.any():
            row = start + int(np.argmax(faulty))
            number, fields = layout.row(row)
            faults = ((i, fault_of(fields[i])) for i in columns if not is_truth(fields[i]))
            column, fault = next((i, fault) for i, fault in faults if fault)
            remedy = _if_names(layout, row, column)
            if not remedy and kind_of(fields[column]) == TEXT:
                remedy = f"; if it has the classes, pass target={column + 1} (--target {column + 1})"
            raise DataFileError(f"{layout.path}, line {number}, {layout.column(column)}: {fault}{remedy}")


def _if_names(layout: _Layout, row: int, column: int) -> str:
    """What to do about text, or a gap beside text, in a first line that was taken for an example, above a number."""
    first, *below = [fields for _, fields in islice(rows(layout.path), 2)]
    above = kind_of(first[column]) == TEXT and not any(kind_of(fields[column]) == TEXT for fields in below)
    names = not row and (above or _is_from_pandas(first))
    return "; if this line has names, pass header=True (--header yes)" if names else ""
