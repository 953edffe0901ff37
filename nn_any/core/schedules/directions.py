"""Whether more or less of a recorded measure is better: the one place that knows it."""

import numbers
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from nn_any.core.errors import InvalidValueError
from nn_any.core.options import closest

_HIGHER_IS_BETTER = {
    **dict.fromkeys(("accuracy", "correct", "top_k_accuracy", "precision", "recall", "f1", "r2"), True),
    **dict.fromkeys(("loss", "mean_squared_error", "mean_absolute_error", "seconds"), False),
}
_DATA = r"(member_)?(training_|validation_|test_)?"
_NOTHING: Mapping[str, bool] = MappingProxyType({})


def higher_is_better(
    column: str, own: Mapping[str, bool] = _NOTHING, *, name: str = "monitor", columns: Iterable[str] = ()
) -> bool:
    """Return whether higher values of a column of the history are better.

    Parameters
    ----------
    column : str
        Such as ``"validation_loss"`` or ``"member_test_accuracy"``.
    own : mapping from str to bool
        What metric functions say of themselves, by their names.
    name : str
        How an error calls the column.
    columns : iterable of str
        The columns that there are; an error suggests one.

    Raises
    ------
    ValueError
        If neither the library nor `own` knows the measure. A name alone says nothing: more of ``kappa_loss`` may be
        worse and more of ``neg_log_loss`` better.

    Examples
    --------
    >>> higher_is_better("validation_accuracy"), higher_is_better("validation_loss")
    (True, False)
    >>> higher_is_better("validation_kappa", {"kappa": True})
    True
    """
    measure = re.sub(f"^{_DATA}", "", column)
    known = {**_HIGHER_IS_BETTER, **own}
    measure = "top_k_accuracy" if measure not in known and re.fullmatch(r"top_\d+_accuracy", measure) else measure
    if measure not in known:
        raise InvalidValueError(
            f"{name}: expected a column of which it is known whether higher or lower is better, got {column!r}; say "
            "mode='max' or mode='min', or give the metric's function an attribute higher_is_better = True or False"
            f"{closest(column, columns)}"
        )
    return known[measure]


def monitored_value(record: Mapping[str, Any], column: str, *, name: str = "monitor") -> float:
    """The number in a column of a record; ValueError if it holds something else, such as a matrix."""
    value = record[column]
    value = value[()] if isinstance(value, np.ndarray) else value  # the number in an array of shape ()
    if not isinstance(value, numbers.Real):
        raise InvalidValueError(
            f"{name}: expected a column with one number an epoch, got {column!r}, which holds a "
            f"{type(value).__name__}; choose another, such as 'loss'"
        )
    return float(value)
