"""Comma-separated values, read a line at a time, so that memory stays in proportion to the file."""

import csv
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nn_any.core.errors import DataFileError, InvalidValueError
from nn_any.datasets.reading import CHUNK

_MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "-nan", "null", "?"})
_LARGEST = float(np.finfo(np.float32).max)
_LONGEST_LINE = 2**22  # characters
_LONGEST_NAME = 100
_FEW_CLASSES = 20

_GAP, _TEXT, _BROKEN, _CODE, _DECIMAL, _WHOLE = range(6)  # what a field can be; see `_kind`
_WHOLE_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]{0,14})")  # float64 tells all of them apart
_DIGITS = re.compile(r"[+-]?[0-9]+")
_BROKEN_NUMBER = re.compile(r"[+-]?[$€£]? ?[0-9]*([.,' ][0-9]+)* ?[%$€£]?")
_WITH_COMMA = re.compile(r"\s*[+-]?[0-9]*,[0-9]+\s*")


class Table(NamedTuple):
    """What a file holds."""

    x: np.ndarray  # (n, columns - 1), float32
    y: np.ndarray  # (n,): int64 for whole numbers and for text, whose places in `classes` they are; else float64
    classes: list[str]  # of text, in sorted order
    target: str  # what to call the target
    notes: tuple[str, ...]  # what else was guessed


@dataclass(frozen=True)
class _Layout:
    """Where a file has what."""

    path: Path
    first: list[str]
    target: int
    begin: int  # 1 where the first line has the names

    def column(self, place: int) -> str:
        """What messages call a column."""
        name = _show(self.first[place]) if self.begin else ""
        return f"column {place + 1}" + (f" ({name})" if name else "")

    def row(self, row: int) -> tuple[int, list[str]]:
        """The number of a line and its fields; 0 is the first line that is not empty."""
        return next(islice(_rows(self.path), row, None))


def read_csv(
    path: Path, *, task: str | None = None, target: str | int | None = None, header: bool | None = None
) -> Table:
    """The examples of a file and their targets.

    A DataFileError names the line and the column that is not what is expected.
    """
    _check_text(path)
    first = next(_rows(path))[1]
    names = _begins_with_names(first, target) if header is None else header
    layout = _Layout(path, first, _find_target(path, first, target, names), int(bool(names)))
    inputs, answers, kinds = array("f"), array("d"), bytearray()
    unlike = {i for i, field in enumerate(first) if names is None and _kind(field) == _TEXT}  # text above numbers
    for _, fields in _rows(path):
        field = fields.pop(layout.target)
        kinds.append(_kind(field))
        answers.append(float(field) if kinds[-1] >= _CODE else math.nan)
        numbers = _numbers(fields)
        inputs.extend([math.nan] * len(fields) if numbers is None else numbers)
        if unlike and len(kinds) > 1 and (numbers is None or kinds[-1] < _CODE):
            fields.insert(layout.target, field)
            unlike = {i for i in unlike if is_missing(fields[i]) or _number(fields[i]) is not None}
    x = np.frombuffer(inputs, np.float32).reshape(len(answers), len(first) - 1)
    y, spelled = np.frombuffer(answers, np.float64), np.frombuffer(kinds, np.uint8)
    if names is None and _is_above(layout, unlike, x, spelled):
        layout = replace(layout, begin=1)
    elif names is None and isinstance(target, str):  # which is no name then
        return read_csv(path, task=task, target=target, header=False)
    begin = layout.begin
    if len(answers) == begin:
        raise _unusable(path, "names alone")
    spelling = _spelling(layout, spelled, task)
    _check_numbers(layout, x, [i for i in range(len(first)) if i != layout.target])
    if spelling == "text":
        y, classes, _ = _labels(layout, len(answers), len(answers) if task == "classification" else _FEW_CLASSES)
    else:
        _check_numbers(layout, y[:, None], [layout.target])
        y, classes = y[begin:], []
        y = y.astype(np.int64) if spelling == "whole" else y
    x, notes = x[begin:], []
    if begin and header is None and any(_kind(field) not in (_TEXT, _BROKEN) for field in first):
        notes.append(f"first line taken for names: {_list(first, 4)}; --header no if it is an example")
    if begin and layout.target and len(first) > 2 and _is_index(first[0], x[:, 0]):
        x = np.ascontiguousarray(x[:, 1:])
        notes.append("column 1, which has no name and numbers the lines, left out; give it a name to keep it")
    name = _show(first[layout.target]) if begin else ""
    return Table(x, y, classes, f'column "{name}"' if name else layout.column(layout.target), tuple(notes))


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
    taken = whole = 0

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
            reader = csv.reader(text(), delimiter=_delimiter(first), skipinitialspace=True, strict=True)
            for fields in reader:
                taken, whole = 0, reader.line_num
                if fields:
                    yield reader.line_num, fields
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{path}: expected text in UTF-8, got another encoding, such as Latin-1 ({error}); save it as CSV in UTF-8"
        ) from error
    except csv.Error as error:
        raise DataFileError(
            f"{path}, line {whole + 1}: expected comma-separated values: {error}; close each quote that is opened, and "
            "write quotes within quotes twice"
        ) from error


def _delimiter(line: str) -> str:
    """Whichever a line has most of outside quotes; commas between semicolons may be in numbers."""
    line = re.sub(r'"[^"]*"', "", line)
    parts = line.rstrip("\r\n").split(";")
    if len(parts) > 1 and all("," not in part or _WITH_COMMA.fullmatch(part) for part in parts):
        return ";"
    return max("\t;,", key=line.count)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty, each with as many columns as the first, and two at least."""
    width = 0
    for number, fields in _lines(path):
        width = width or len(fields)
        if width < 2:
            break
        if len(fields) != width:
            raise DataFileError(
                f"{path}, line {number}: expected {width} columns, got {len(fields)}; "
                "give every line as many fields as the first, or quote fields with a delimiter in them"
            )
        yield number, fields
    if width < 2:
        raise _unusable(path, f"{width} column(s)")


def _unusable(path: Path, found: str) -> DataFileError:
    return DataFileError(
        f"{path}: expected lines of numbers parted by commas, with the class in the last column, got {found}; "
        "write an example a line, its fields parted by commas, semicolons or tabs"
    )


def _kind(field: str) -> int:
    """What a field is: a gap, text, a number that is spelled in another way, a code such as 01, a number."""
    field = field.strip()
    if _WHOLE_NUMBER.fullmatch(field):
        return _WHOLE
    if is_missing(field):
        return _GAP
    if _number(field) is not None:
        return _CODE if _DIGITS.fullmatch(field) else _DECIMAL
    return _BROKEN if any(map(str.isdigit, field)) and _BROKEN_NUMBER.fullmatch(field) else _TEXT


def _number(field: str) -> float | None:
    """The number that a field is: Python alone would take digits of all scripts, and 1_0 for ten."""
    try:
        return float(field) if field.isascii() and "_" not in field else None
    except ValueError:
        return None


def _numbers(fields: list[str]) -> list[float] | None:
    """The numbers that all fields are."""
    text = "".join(fields)
    try:
        return [float(field) for field in fields] if text.isascii() and "_" not in text else None
    except ValueError:
        return None


def _show(name: str) -> str:
    """A column's name as messages show it."""
    name = name.strip().removeprefix("#").strip()
    return name if name.isprintable() and len(name) <= _LONGEST_NAME else f"{name!r:.80}"


def _list(names: list[str], most: int) -> str:
    """The first so many names of columns."""
    return ", ".join(_show(name) or "''" for name in names[:most]) + (", …" if len(names) > most else "")


def _counts(fields: Sequence[str]) -> bool:
    """Whether fields count 0, 1, 2, …"""
    return [field.strip() for field in fields] == [str(i) for i in range(len(fields))]


def _begins_with_names(first: list[str], target: str | int | None) -> bool | None:
    """Whether the first line has names, by itself; None where the lines below must tell."""
    if any(len(field) > _LONGEST_NAME for field in first):
        return False
    named = isinstance(target, str) and not _DIGITS.fullmatch(target.strip()) and target.strip() in map(_show, first)
    if named or first[0].lstrip().startswith("#"):
        return True
    kinds = [_kind(field) for field in first]
    if _TEXT not in kinds:
        counting = first[1:] if kinds[0] == _GAP else first
        return _counts(counting) and (len(counting) > 2 or None)
    return all(kind == _TEXT for kind in kinds) or None


def _is_above(layout: _Layout, unlike: set[int], x: np.ndarray, kinds: np.ndarray) -> bool:
    """Whether the first line has names, by the lines below it; `unlike` are its texts above numbers."""
    first, target, rest = layout.first, layout.target, kinds[1:]
    if not len(rest):
        return False
    if all(_kind(field) != _TEXT for field in first):  # 0 and 1, which are names above numbers with decimals
        return bool(np.all(rest == _DECIMAL) or np.any(np.mean(x[1:] % 1 != 0, axis=0) > 0.5))
    numbers = [field for field in first if _kind(field) in (_CODE, _DECIMAL, _WHOLE)]
    if not unlike:
        if _kind(first[target]) != _TEXT or not np.any(rest < _DECIMAL):
            return False
        labels, _, counts = _labels(layout, len(kinds), len(kinds))
        others = np.delete(counts, labels[0])
        if counts[labels[0]] > 1 or not (np.all(others > 1) or (len(numbers) > 1 and _counts(numbers))):
            return False
    if any(_kind(field) == _DECIMAL for field in numbers):
        text = next(field for field in first if _kind(field) == _TEXT)
        raise DataFileError(
            f"{layout.path}, first line: expected names or an example, got {_show(text)!r} beside numbers with "
            "decimals; if these are names, pass header=True (--header yes), else header=False (--header no)"
        )
    return True


def _find_target(path: Path, first: list[str], target: str | int | None, names: bool | None) -> int:
    """The place of the column to predict, from 0."""
    width = len(first)
    if target is None:
        return width - 1
    known = [] if names is False else [_show(field) for field in first]
    listed = _list(first, 20)
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
    gaps = kinds == _GAP
    if gaps.any():
        number, fields = layout.row(begin + int(np.argmax(gaps)))
        raise DataFileError(
            f"{path}, line {number}, {layout.column(target)}: expected the class, got {fields[target]!r}; "
            "leave such lines out, and end no line with a delimiter"
        )
    spoilt, found = kinds <= _BROKEN, set(np.unique(kinds).tolist())
    if task == "regression" or (task is None and ((_DECIMAL in found) or (_BROKEN in found and _TEXT not in found))):
        if spoilt.any():
            row = begin + int(np.argmax(spoilt))
            number, fields = layout.row(row)
            remedy = _if_names(layout, row, target)
            remedy = remedy or ", or pass task='classification' (--task classification) if these are classes"
            raise DataFileError(f"{path}, line {number}, {layout.column(target)}: {_fault(fields[target])}{remedy}")
        return "decimal" if _DECIMAL in found else "whole"
    return "text" if spoilt.any() or _CODE in found else "decimal" if _DECIMAL in found else "whole"


def _labels(layout: _Layout, n: int, most: int) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Classes that are text, numbered in sorted order, their names, and how often each occurs."""
    places: dict[str, int] = {}
    labels = array("q")
    n -= layout.begin
    for number, fields in islice(_rows(layout.path), layout.begin, None):
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
        faulty = ~np.all(np.abs(numbers[start : start + step]) <= _LARGEST, axis=1)
        if faulty.any():
            row = start + int(np.argmax(faulty))
            number, fields = layout.row(row)
            column, fault = next((i, fault) for i in columns if (fault := _fault(fields[i])))
            remedy = _if_names(layout, row, column)
            if not remedy and _kind(fields[column]) == _TEXT:
                remedy = f"; if it has the classes, pass target={column + 1} (--target {column + 1})"
            raise DataFileError(f"{layout.path}, line {number}, {layout.column(column)}: {fault}{remedy}")


def _if_names(layout: _Layout, row: int, column: int) -> str:
    """What to do about text in a first line that was taken for an example, above what is no text."""
    begin = [fields[column] for _, fields in islice(_rows(layout.path), 2)]
    alone = not row and _kind(begin[0]) == _TEXT and (len(begin) == 1 or _kind(begin[1]) != _TEXT)
    return "; if this line has names, pass header=True (--header yes)" if alone else ""


def _fault(field: str) -> str:
    """What is wrong with a field where a number belongs, if anything."""
    if is_missing(field):
        return f"expected a number, got {field!r}; fill the gap, or leave such lines out"
    value = _number(field)
    if value is None and _kind(field) == _BROKEN:
        return (
            f"expected a number such as 1.5, got {field!r:.80}; write numbers with a decimal point, "
            "and without thousands separators or signs such as %"
        )
    if value is None:
        return f"expected a number such as 1.5, got {field!r:.80}; put numbers into this column, or leave it out"
    if abs(value) <= _LARGEST:
        return ""
    smaller = "" if math.isinf(value) else ", or divide the column by a number"
    return f"expected a finite float32 number, got {field!r:.80}; leave such lines out{smaller}"


def _is_index(name: str, column: np.ndarray) -> bool:
    """Whether a column merely numbers the lines, as pandas writes it."""
    unnamed = not name.strip() or name.strip() == "Unnamed: 0"
    return unnamed and bool(np.all(column % 1 == 0)) and len(np.unique(column)) == len(column)
