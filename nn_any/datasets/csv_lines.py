"""The lines of comma-separated values, one at a time, and what their fields are."""

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from nn_any.core.errors import DataFileError
from nn_any.datasets.reading import CHUNK

_MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "-nan", "null", "?"})
LARGEST = float(np.finfo(np.float32).max)
_TRUTHS = {"true": 1.0, "false": 0.0}
_LONGEST_LINE = 2**22  # characters
LONGEST_NAME = 100

GAP, TEXT, BROKEN, CODE, DECIMAL, WHOLE = range(6)  # what a field can be; see `kind_of`
_WHOLE_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]{0,14})")  # float64 tells all of them apart
DIGITS = re.compile(r"[+-]?[0-9]+")
_BROKEN_NUMBER = re.compile(r"[+-]?[$€£]? ?[0-9]*([.,' ][0-9]+)* ?[%$€£]?")
_WITH_COMMA = re.compile(r"\s*[+-]?[0-9]*,[0-9]+\s*")


def is_missing(field: str) -> bool:
    """Whether a field says that there is nothing in it."""
    return field.strip().lower() in _MISSING


def is_truth(field: str) -> bool:
    """Whether a field is True or False, in small letters, too."""
    return field.strip().lower() in _TRUTHS


def check_text(path: Path) -> None:
    """Raise an error for a file that is no text in UTF-8 or a kin of it."""
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


def rows(path: Path, least: int = 2) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty and their numbers, each with as many columns as the first, and `least` at least."""
    width = 0
    for number, fields in _lines(path):
        width = width or len(fields)
        if width < least:
            break
        if len(fields) != width:
            raise DataFileError(
                f"{path}, line {number}: expected {width} columns, got {len(fields)}; "
                "give every line as many fields as the first, or quote fields with a delimiter in them"
            )
        yield number, fields
    if width < least:
        raise unusable(path, f"{width} column(s)", last=", with the class in the last column" if least > 1 else "")


def unusable(path: Path, found: str, last: str = ", with the class in the last column") -> DataFileError:
    """The error for a file without examples."""
    return DataFileError(
        f"{path}: expected lines of numbers parted by commas{last}, got {found}; "
        "write an example a line, its fields parted by commas, semicolons or tabs"
    )


def kind_of(field: str) -> int:
    """What a field is: a gap, text, a number that is spelled in another way, a code such as 01, a number."""
    field = field.strip()
    if _WHOLE_NUMBER.fullmatch(field):
        return WHOLE
    if is_missing(field):
        return GAP
    if number_of(field) is not None:
        return CODE if DIGITS.fullmatch(field) else DECIMAL
    return BROKEN if any(map(str.isdigit, field)) and _BROKEN_NUMBER.fullmatch(field) else TEXT


def kind_as_input(field: str) -> int:
    """What a field is where an input may stand: as `kind_of`, but True and False are numbers."""
    return WHOLE if is_truth(field) else kind_of(field)


def number_of(field: str) -> float | None:
    """The number that a field is: Python alone would take digits of all scripts, and 1_0 for ten."""
    try:
        return float(field) if field.isascii() and "_" not in field else None
    except ValueError:
        return None


def numbers_of(fields: list[str], truths: set[int] | None = None) -> list[float] | None:
    """The numbers that all fields are; True is 1, and False is 0, and `truths` takes the places where these stand."""
    text = "".join(fields)
    try:
        return [float(field) for field in fields] if text.isascii() and "_" not in text else None
    except ValueError:
        values = [_TRUTHS[field.strip().lower()] if is_truth(field) else number_of(field) for field in fields]
        if truths is not None:
            truths.update(i for i, field in enumerate(fields) if is_truth(field))
    found = [value for value in values if value is not None]
    return found if len(found) == len(values) else None


def check_truths(
    path: Path, begin: int, x: np.ndarray, truths: set[int], places: Sequence[int], called: Callable[[int], str]
) -> None:
    """Columns with True or False in them, numbered in `x`, hold nothing else but 0 and 1."""
    for i in sorted(truths):
        if np.all((x[:, i] == 0) | (x[:, i] == 1)):
            continue
        lines = ((number, fields[places[i]]) for number, fields in islice(rows(path, 1), begin, None))
        number, field = next((number, field) for number, field in lines if is_truth(field))
        raise DataFileError(f"{path}, line {number}, {called(places[i])}: {fault_of(field)}")


def show_name(name: str) -> str:
    """A column's name as messages show it."""
    name = name.strip().removeprefix("#").strip()
    return name if name.isprintable() and len(name) <= LONGEST_NAME else f"{name!r:.80}"


def list_names(names: list[str], most: int) -> str:
    """The first so many names of columns."""
    return ", ".join(show_name(name) or "''" for name in names[:most]) + (", …" if len(names) > most else "")


def counts_up(fields: Sequence[str]) -> bool:
    """Whether fields count 0, 1, 2, …"""
    return [field.strip() for field in fields] == [str(i) for i in range(len(fields))]


def fault_of(field: str) -> str:
    """What is wrong with a field where a number belongs, if anything."""
    if is_missing(field):
        return f"expected a number, got {field!r}; fill the gap, or leave such lines out"
    value = number_of(field)
    if value is None and kind_of(field) == BROKEN:
        return (
            f"expected a number such as 1.5, got {field!r:.80}; write numbers with a decimal point, "
            "and without thousands separators or signs such as %"
        )
    if value is None:
        return f"expected a number such as 1.5, got {field!r:.80}; put numbers into this column, or leave it out"
    if abs(value) <= LARGEST:
        return ""
    smaller = "" if math.isinf(value) else ", or divide the column by a number"
    return f"expected a finite float32 number, got {field!r:.80}; leave such lines out{smaller}"


def is_index(name: str, column: np.ndarray) -> bool:
    """Whether a column merely numbers the lines, as pandas writes it."""
    unnamed = not name.strip() or name.strip() == "Unnamed: 0"
    return unnamed and bool(np.all(column % 1 == 0)) and len(np.unique(column)) == len(column)
