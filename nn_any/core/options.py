"""Checks of what users write into layers, losses and optimisers: plain numbers, looked at when the object is made."""

import math
from typing import Any

import numpy as np

from nn_any.core.errors import InvalidTypeError, InvalidValueError


def integer(name: str, value: Any, *, minimum: int = 1) -> int:
    """An integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        what = "a positive integer" if minimum == 1 else f"an integer of at least {minimum}"
        raise InvalidValueError(f"{name}: expected {what}, got {value!r}")
    return int(value)


def pair(name: str, value: Any, *, minimum: int = 1) -> tuple[int, int]:
    """An integer for both height and width, or one for each."""
    both = value if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2:
        raise InvalidValueError(f"{name}: expected an integer, or a pair (height, width), got {value!r}")
    return integer(name, both[0], minimum=minimum), integer(name, both[1], minimum=minimum)


def number(
    name: str, value: Any, *, minimum: float = 0.0, maximum: float = math.inf, above: bool = False, below: bool = False
) -> float:
    """A finite number from `minimum` to `maximum`; `above` and `below` leave the ends out."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise InvalidTypeError(f"{name}: expected a number, got {value!r}")
    try:
        real = float(value)
    except OverflowError:  # an integer beyond all reals
        real = math.inf
    fits = (value > minimum if above else value >= minimum) and (value < maximum if below else value <= maximum)
    if not (math.isfinite(real) and fits):
        ends = [] if minimum == -math.inf else [f"{'above' if above else 'of at least'} {minimum:g}"]
        ends += [] if maximum == math.inf else [f"{'below' if below else 'at most'} {maximum:g}"]
        raise InvalidValueError(f"{name}: expected a finite number {' and '.join(ends)}, got {value!r}")
    return real


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise InvalidTypeError(f"{name}: expected True or False, got {value!r}")
    return value


def choice(name: str, value: Any, *choices: str) -> str:
    """One of a few words."""
    if value not in choices:
        raise InvalidValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")
    return str(value)
