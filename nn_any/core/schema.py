"""Schema: what people call the data of a network, and how these data are stored."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from nn_any.core import options
from nn_any.core.errors import InvalidTypeError, InvalidValueError

_PLAIN = str | int | float | bool
_KINDS: dict[str, tuple[Any, str]] = {
    "class_names": (_PLAIN, "text or numbers"),
    "feature_names": (str, "text"),
    "target_names": (str, "text"),
}


@dataclass(frozen=True)
class Schema:
    """What a network has to know of its data beside the numbers, so that a trained one can be used.

    `fit` takes it from the training data, and model files hold it.

    Parameters
    ----------
    scale : float, optional
        What stored integers are divided by, such as 255 for 8-bit images. Real numbers are taken as they are.
    class_names : sequence of str, int, float or bool, optional
        What the classes are called, in the order of their numbers.
    feature_names : sequence of str, optional
        What the inputs are called, in their order, where an example has one axis.
    target_names : sequence of str, optional
        What is predicted: the name of the column of labels, or a name for each output.

    Raises
    ------
    ValueError, TypeError
        If the scale is not positive, or names are not of these types or occur twice.

    Examples
    --------
    >>> Schema(scale=255, class_names=["cat", "dog"])
    Schema(scale=255.0, class_names=('cat', 'dog'))
    """

    scale: float | None = None
    class_names: tuple[str | int | float | bool, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.scale is not None:
            object.__setattr__(self, "scale", options.positive("scale", self.scale))
        for name in _KINDS:
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _names(name, given))

    def __repr__(self) -> str:
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return f"Schema({', '.join(f'{name}={value!r}' for name, value in said.items() if value is not None)})"


NO_SCHEMA = Schema()


def _names(name: str, given: Any) -> tuple[Any, ...]:
    """Names of the type that belongs, each once."""
    kind, expected = _KINDS[name]
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InvalidTypeError(f"{name}: expected a sequence of names, got {given!r}; put it in brackets")
    if isinstance(given, Set | Mapping):
        raise InvalidTypeError(
            f"{name}: expected names in an order, got {type(given).__name__} {given!r:.80}; pass a list of them"
        )
    names = tuple(each.item() if isinstance(each, np.generic) else each for each in given)
    for each in names:
        if not isinstance(each, kind):
            raise InvalidTypeError(f"{name}: expected {expected}, got {each!r}; convert it with str(...)")
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise InvalidValueError(f"{name}: expected names that differ, got {twice!r} twice; use each name once")
    return names
