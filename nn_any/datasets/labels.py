"""Labels as text, and the numbers of their classes."""

from numbers import Number
from typing import Any

import numpy as np

from nn_any import validation as check
from nn_any.backends import is_host, read_frame
from nn_any.core.errors import InvalidValueError


def text_labels(y: Any) -> list[Any] | None:
    """Labels (n,) or (n, 1) in a list, if there is text among them; None for any other y."""
    frame = read_frame("y", y)
    if frame is None and (not is_host(y) or check.is_sparse(y)):
        return None
    labels = check.as_host_array("y", y) if frame is None else frame.targets()[0]
    if labels.ndim == 0 or labels.dtype.kind not in "OUST" or labels.shape[1:] not in ((), (1,)):
        return None
    if isinstance(y, list | tuple):
        labels = np.asarray(y, dtype=object)  # NumPy would have made text of numbers that stand beside text
    listed: list[Any] = labels.ravel().tolist()
    return listed if any(isinstance(label, str | bytes) for label in listed) else None


def named_classes(classes: Any) -> tuple[Any, ...] | None:
    """The names of classes, if they were given."""
    if (frame := read_frame("classes", classes)) is not None:
        classes = frame.targets()[0]
    if isinstance(classes, np.ndarray) and classes.ndim == 1:
        return tuple(classes.tolist())
    return tuple(classes) if isinstance(classes, list | tuple) else None


def number_labels(
    labels: list[Any], names: tuple[Any, ...] | None, classes: Any = None
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Text labels by the place of their names, and these; without names, they are what the labels say, sorted."""
    if names is None:
        labels = [_decoded(label) for label in labels]
        for row, label in enumerate(labels):
            if not isinstance(label, str):
                count = sum(not isinstance(each, str) for each in labels)
                known = isinstance(label, Number | np.bool_) and label == label
                remedy = "make all of them text with [str(label) for label in y]" if known else "leave those rows out"
                raise InvalidValueError(
                    f"y: expected text for every label, got {label!r} at row {row} ({count} such labels in all); "
                    f"{remedy}"
                )
        names = tuple(sorted(set(labels)))
    if isinstance(classes, int | np.integer) and classes != len(names):
        raise InvalidValueError(
            f"classes: expected {len(names)}, for so many are named, got {classes}; list all names: "
            f"classes={[*names[:3]]!r}{' + …' if len(names) > 3 else ''}"
        )
    numbers = {name: i for i, name in enumerate(names)}
    if len(numbers) < len(names):
        raise InvalidValueError(f"classes: expected names that differ, got {names}; name each class once")
    for row, label in enumerate(labels):
        if label not in numbers:
            raise InvalidValueError(
                f"y: expected labels among the classes {', '.join(map(repr, names))}, got {label!r} at row {row}; "
                "add it to classes, or leave that row out"
            )
    return np.array([numbers[label] for label in labels], dtype="int64"), names


def _decoded(label: Any) -> Any:
    """Bytes as text; other labels as they are."""
    try:
        return label.decode() if isinstance(label, bytes) else label
    except UnicodeDecodeError as error:
        raise InvalidValueError(
            f"y: expected labels in UTF-8, got {label!r}; decode them, as with [label.decode('latin-1') for label in y]"
        ) from error
