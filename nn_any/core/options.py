"""Checks of single options: plain numbers, flags and words, as users pass them to layers, optimisers and `fit`."""

import math
import numbers
import os
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from nn_any.core.errors import InvalidTypeError, InvalidValueError


def integer(name: str, value: Any, *, minimum: int = 1) -> int:
    """Return `value` as an int if it is an integer of at least `minimum`."""
    expected = "a positive integer" if minimum == 1 else f"an integer of at least {minimum}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InvalidTypeError(f"{name}: expected {expected}, got {value!r}{_conversion(value, 'int')}")
    if value < minimum:
        raise InvalidValueError(f"{name}: expected {expected}, got {value!r}")
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
        raise InvalidTypeError(f"{name}: expected a number, got {value!r}{_conversion(value, 'float')}")
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


def _conversion(value: Any, target: str) -> str:
    """How one number of another type becomes one of the target's; nothing for other values."""
    single = isinstance(value, numbers.Number) or getattr(value, "shape", None) == ()
    try:
        fits = single and not isinstance(value, bool | np.bool_ | str) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        fits = False
    return f"; convert it with {target}(...)" if fits else ""


positive = partial(number, above=True)
below_one = partial(number, maximum=1.0, below=True)


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise InvalidTypeError(f"{name}: expected True or False, got {value!r}")
    return value


def path(name: str, value: Any, example: str) -> Path:
    """A path, as text or an object that stands for one."""
    if not isinstance(value, str | os.PathLike):
        raise InvalidTypeError(f"{name}: expected a path, such as {example!r}, got {value!r}")
    return Path(value)


def closest(word: Any, known: Iterable[str]) -> str:
    """The words "; did you mean …?" for a word that is not known; "" if none is like it."""
    like = get_close_matches(word, list(known), n=1) if isinstance(word, str) else []
    return f"; did you mean {like[0]!r}?" if like and like[0] != word else ""


def choice(name: str, value: Any, *choices: str) -> str:
    """One of a few words."""
    if value not in choices:
        raise InvalidValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")
    return str(value)


def dtype_name(value: Any) -> str:
    """The name of a dtype: of a name, a dtype of NumPy, or one of any array library."""
    try:
        return _dtype_name(value)
    except TypeError:  # it cannot be hashed, so it is none
        return str(value)


@lru_cache(maxsize=128, typed=True)  # some libraries warn where their dtypes are compared with others
def _dtype_name(value: Any) -> str:
    try:
        return "" if value is None else np.dtype(value).name  # NumPy reads None as float64
    except TypeError:
        return str(getattr(value, "__name__", str(value).rpartition(".")[2]))


def dtype(value: Any) -> str:
    """The name of a dtype that networks can have."""
    name = dtype_name(value)
    if name not in ("float32", "float64"):
        raise InvalidValueError(f"dtype: expected 'float32' or 'float64', got {value!r}; use one of these names")
    return name


def check_held(owner: Any, dtype: str) -> None:
    """Raise an error if a setting, the learning rate aside, is infinite in the dtype, or an epsilon is 0 there."""
    settings = {f.name: getattr(owner, f.name) for f in fields(owner)} if is_dataclass(owner) else {}
    largest, smallest = float(np.finfo(dtype).max), float(np.finfo(dtype).smallest_normal)
    for name, value in settings.items():
        if name == "learning_rate" or not isinstance(value, float):
            continue
        if abs(value) > largest or (name == "epsilon" and value < smallest):
            remedy = "a smaller one" if abs(value) > 1 else "a larger one"
            raise InvalidValueError(
                f"{name} of {owner!r}: expected a number that {dtype} can hold, got {value:g}; "
                f"use {remedy}, or a network with dtype='float64'"
            )


def validate_fields(owner: Any, about: str = "", **checks: Callable[[str, Any], Any]) -> None:
    """Set fields of a frozen dataclass to what their checks return; messages call them by their names and `about`."""
    for name, check in checks.items():
        object.__setattr__(owner, name, check(f"{name}{about}", getattr(owner, name)))
