"""History: what happened in a training run, epoch by epoch."""

import csv
import math
from collections.abc import Iterator
from io import StringIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from nn_any.core.errors import InvalidKeyError
from nn_any.core.options import closest
from nn_any.core.state import Record
from nn_any.files import write_atomically


class History:
    """What happened, epoch by epoch.

    Attributes
    ----------
    engine : str
        What ran the steps: ``"eager"``, ``"jax.lax.fori_loop"``, …
    compile_seconds : float
        How much of the time went into compiling, before the first step of a kind.
    device : str
        Where.
    records : list of dict
        One an epoch: ``epoch`` (counted from 1), ``loss`` (the average over the epoch's examples, each taken before its
        step), ``learning_rate`` (of the last step), ``seconds`` (training alone; of all parts of an epoch in parts),
        and for validation and test data ``…_loss``, for classes ``…_correct`` and ``…_accuracy``, and whatever metrics
        were asked for.

    Examples
    --------
    >>> history = History("eager", "numpy:cpu")
    >>> history.append({"epoch": 1, "loss": 0.5})
    >>> history["loss"], len(history)
    ([0.5], 1)
    """

    def __init__(self, engine: str, device: str) -> None:
        self.engine, self.device = engine, device
        self.compile_seconds = 0.0
        self.records: list[Record] = []

    def append(self, record: Record) -> None:
        """Add the record of one epoch."""
        self.records.append(record)

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in the order in which they first come."""
        return list(dict.fromkeys(name for record in self.records for name in record))

    def __getitem__(self, column: str) -> list[Any]:
        """One column over all epochs; NaN for an epoch that has none, as where a run went on with other data."""
        if self.records and column not in (columns := self.columns):
            raise InvalidKeyError(
                f"column: expected one of {', '.join(columns)}, got {column!r}{closest(column, columns)}"
            )
        first: Any = next((record[column] for record in self.records if column in record), None)
        missing = [math.nan] * len(first) if _is_of_members(column, first) else math.nan
        return [record.get(column, missing) for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __repr__(self) -> str:
        last = (
            ", ".join(f"{key} {_text(value)}" for key, value in self.records[-1].items()) if self.records else "empty"
        )
        epochs = f"{len(self)} epoch{'' if len(self) == 1 else 's'}"
        return f"History({epochs} on {self.device}, engine {self.engine}; last: {last})"

    def to_dict(self) -> dict[str, list[Any]]:
        """The columns by name."""
        return {column: self[column] for column in self.columns}

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write a line an epoch, with the columns' names first: whole, or not at all.

        A column that has a number for each member of an ensemble, or for each output, becomes as many:
        ``member_loss[0]``, … What an epoch does not have is left blank.
        """
        columns: dict[str, list[Any]] = {}
        for name in self.columns:
            first = next(record[name] for record in self.records if name in record)
            if _is_of_members(name, first) or (isinstance(first, np.ndarray) and first.ndim == 1):
                for i in range(len(first)):
                    columns[f"{name}[{i}]"] = [record[name][i] if name in record else "" for record in self.records]
            else:
                columns[name] = [record.get(name, "") for record in self.records]
        with StringIO(newline="") as text:
            writer = csv.writer(text)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
            write_atomically(Path(path), text.getvalue().encode())

    def table(self) -> str:
        """The epochs as lines of text, numbers in columns; without those of an ensemble's members, one by one.

        What an epoch does not have is left blank.

        Examples
        --------
        >>> history = History("eager", "numpy:cpu")
        >>> history.append({"epoch": 1, "loss": 0.5, "test_accuracy": 0.9444})
        >>> history.append({"epoch": 2, "loss": 0.25, "test_accuracy": 0.95})
        >>> print(history.table())
        epoch  loss  test_accuracy
            1   0.5         0.9444
            2  0.25           0.95
        """
        single = [name for name, values in self.to_dict().items() if not _is_of_members(name, values[0])]
        columns = [
            [name, *(_text(record[name]) if name in record else "" for record in self.records)] for name in single
        ]
        widths = [max(map(len, column)) for column in columns]
        lines = zip(*columns, strict=True)
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
        )


def _is_of_members(column: str, value: Any) -> bool:
    """Whether a column has a list with an entry for each member of an ensemble."""
    return column.startswith("member_") and isinstance(value, list)


def _text(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else " ".join(str(value).split())
