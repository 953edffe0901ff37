"""The columns of a CSV file that a trained network takes: by their names, or by their places."""

from array import array
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nn_any.core.errors import DataFileError, InvalidValueError
from nn_any.core.options import closest
from nn_any.datasets.csv_file import find_target
from nn_any.datasets.csv_lines import (
    LARGEST,
    TEXT,
    check_text,
    check_truths,
    counts_up,
    fault_of,
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


class Columns(NamedTuple):
    """What a file holds for a network."""

    x: np.ndarray  # (n, inputs), float32
    targets: list[tuple[str, ...]]  # the fields of the columns to predict, line by line; none if none were wanted
    lines: list[int]  # the numbers of those lines
    target: str  # what to call the columns to predict
    notes: tuple[str, ...]  # what was left out


@dataclass(frozen=True)
class Wanted:
    """What a network asks of a file."""

    inputs: int
    """How many columns are its inputs."""
    names: tuple[str, ...] | None = None
    """What they are called, in order."""
    targets: tuple[str, ...] | None = None
    """What the columns are called that it predicts."""
    outputs: int = 0
    """How many columns to predict the file must have; 0 if it need not have them."""
    classes: frozenset[str] = frozenset()
    """What its classes are called: such text belongs to an example."""


def read_columns(path: Path, wanted: Wanted, *, target: str | int | None = None, header: bool | None = None) -> Columns:
    """The inputs of a network from a file, and the fields of what it predicts.

    A DataFileError names the line and the column that is not what is expected.
    """
    check_text(path)
    first, *below = [fields for _, fields in islice(rows(path, 1), 2)]
    named = _has_names(first, below, wanted) if header is None else header
    places = None if target is None else [find_target(path, first, target, named)]
    if places is not None and wanted.outputs > 1:
        raise InvalidValueError(
            f"target: expected none for a network of {wanted.outputs} outputs, got {target!r}; leave it out, and put "
            "their columns after the inputs, or name them as the network does"
        )
    if named and places is None and wanted.targets is not None:
        known = [show_name(field) for field in first]
        if all(known.count(name) == 1 for name in wanted.targets):
            places = [known.index(name) for name in wanted.targets]
    if named and wanted.names is not None:
        taken, places, notes = _by_name(path, first, wanted, wanted.names, places)
    else:
        taken, places, notes = _by_place(path, first, wanted, places, named)
    if not wanted.outputs:
        places = []
    numbers, targets, lines, truths = array("f"), [], [], set[int]()
    for number, fields in islice(rows(path, 1), int(named), None):
        values = numbers_of([fields[place] for place in taken], truths)
        if values is None or not all(abs(value) <= LARGEST for value in values):
            place = next(place for place in taken if fault_of(fields[place]) and not is_truth(fields[place]))
            raise DataFileError(f"{path}, line {number}, {_column(first, place, named)}: {fault_of(fields[place])}")
        numbers.extend(values)
        if places:
            gap = next((place for place in places if is_missing(fields[place])), None)
            if gap is not None:
                raise DataFileError(
                    f"{path}, line {number}, {_column(first, gap, named)}: expected what is to be predicted, got "
                    f"{fields[gap]!r}; leave such lines out"
                )
            targets.append(tuple([fields[place].strip(" \t") for place in places]))
            lines.append(number)
    if not numbers:
        raise unusable(path, "names alone", last="")
    x = np.frombuffer(numbers, np.float32).reshape(-1, len(taken))
    check_truths(path, int(named), x, truths, taken, lambda place: _column(first, place, named))
    called = " and ".join(_column(first, place, named) for place in places)
    return Columns(x, targets, lines, called, tuple(notes))


def _has_names(first: list[str], below: list[list[str]], wanted: Wanted) -> bool:
    """Whether the first line has the names of the columns rather than an example."""
    names = wanted.names
    kinds, shown = [kind_as_input(field) for field in first], {show_name(field) for field in first}
    if (names and shown >= set(names)) or first[0].lstrip().startswith("#"):
        return True
    if TEXT not in kinds:
        counting = first if first[0].strip() else first[1:]
        return not names and len(counting) > 2 and counts_up(counting)
    if any(kind_of(name) == TEXT for name in shown.intersection(names or ())):
        return True
    unlike = [i for i, kind in enumerate(kinds) if kind == TEXT and first[i].strip() not in wanted.classes]
    above = [any(kind_as_input(row[i]) != TEXT for row in below) for i in unlike]
    return any(above) or all(kind == TEXT or not field.strip() for kind, field in zip(kinds, first, strict=True))


def _by_name(
    path: Path, first: list[str], wanted: Wanted, names: tuple[str, ...], places: list[int] | None
) -> tuple[list[int], list[int], list[str]]:
    """The places of the inputs and of the columns to predict, and what is left out."""
    shown = [show_name(field) for field in first]
    if missing := [name for name in names if name not in shown]:
        raise DataFileError(
            f"{path}: expected a column for each of the {len(names)} inputs of the network, got none for "
            f"{list_names(missing, 20)}; add what is missing, or rename columns ({list_names(shown, 20)})"
            f"{closest(missing[0], [name for name in shown if name not in (*names, *(wanted.targets or ()))])}"
        )
    if twice := [name for name in names if shown.count(name) > 1]:
        raise DataFileError(f"{path}: expected one column {twice[0]}, got {shown.count(twice[0])}; rename the others")
    taken = [shown.index(name) for name in names]
    others, notes = [i for i in range(len(first)) if i not in taken], list[str]()
    if places is None and wanted.outputs:
        candidates = [i for i in others if shown[i]]
        if len(candidates) != wanted.outputs or wanted.targets is not None:
            raise _no_target(path, wanted, list_names([shown[i] for i in candidates], 20) or "no others")
        places = candidates
        notes.append(f"{_columns([shown[place] for place in places])} taken for what the network predicts")
    places = places or []
    taken_too = [shown[place] for place in places if place in taken]
    if taken_too:
        raise InvalidValueError(
            f"target: expected a column that is no input of the network, got {taken_too[0]}; pass another, such as "
            f"{list_names([shown[i] for i in others], 5) or 'none'}"
        )
    return taken, places, notes + _left_out(shown, [i for i in others if i not in places], places, wanted)


def _by_place(
    path: Path, first: list[str], wanted: Wanted, places: list[int] | None, named: bool
) -> tuple[list[int], list[int], list[str]]:
    """The same for columns without names, or for a network that knows none."""
    given = places is not None
    others = [i for i in range(len(first)) if i not in (places or ())]
    count = wanted.inputs + (0 if given else wanted.outputs)
    index = named and len(others) == count + 1 and show_name(first[others[0]]) in ("", "Unnamed: 0")
    dropped = [others.pop(0)] if index else []
    if len(others) != count:
        names = list_names(list(wanted.names or ()), 5)
        known = f"give the file a first line with their names ({names}), or " if names else ""
        remedy = "leave the others out" if len(others) > count else "give it all that the network was trained with"
        if not given and not wanted.outputs and len(others) == count + 1:
            remedy = "if the last one is what the network predicts, add --target -1"
        raise DataFileError(
            f"{path}: expected {count} columns, {_parts(wanted, given)}, got {len(others)}; {known}{remedy}"
        )
    if not given and wanted.outputs:
        others, places = others[: wanted.inputs], others[wanted.inputs :]
    places = places or []
    shown = [show_name(field) if named else "" for field in first]
    return others, places, _left_out(shown, dropped, places, wanted)


def _parts(wanted: Wanted, given: bool) -> str:
    """What the columns of a file are."""
    inputs = "one for each input of the network"
    return inputs if given or not wanted.outputs else f"{inputs} and what it predicts after them"


def _no_target(path: Path, wanted: Wanted, found: str) -> DataFileError:
    """The error for a file of which nobody can tell what is to be predicted."""
    names = f" ({list_names(list(wanted.targets), 5)})" if wanted.targets else ""
    return DataFileError(
        f"{path}: expected {wanted.outputs} column(s) beside the inputs, with what the network predicts{names}, got "
        f"{found}; add it, or say which it is with --target COLUMN"
    )


def _left_out(shown: list[str], others: list[int], places: list[int], wanted: Wanted) -> list[str]:
    """What to tell of the columns that are not used, by their names."""
    notes = []
    if places and not wanted.outputs:
        names = [shown[place] or f"{place + 1}" for place in places]
        notes.append(f"{_columns(names)} left out: what the network predicts")
    if others:
        names = [shown[i] or f"{i + 1} (no name)" for i in others]
        notes.append(f"{_columns(names)} left out: no input of the network")
    return notes


def _columns(names: list[str]) -> str:
    """Columns as notes list them."""
    return f"column{'s' * (len(names) > 1)} {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"


def _column(first: list[str], place: int, named: bool) -> str:
    """What messages call a column."""
    name = show_name(first[place]) if named else ""
    return f"column {place + 1}" + (f" ({name})" if name else "")
