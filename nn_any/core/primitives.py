"""The few named operations that a backend may replace by a faster equal.

The body of each function here is its definition, in terms of the Array API alone. A backend registers a
replacement for its own namespace with `replace`; ``tests/core/test_primitives.py`` holds the two together.
"""

import functools
from collections.abc import Callable
from typing import TypeVar

import array_api_extra as xpx

from nn_any.core.typing import Array, Namespace

F = TypeVar("F", bound=Callable[..., Array])

_definitions: dict[str, Callable[..., Array]] = {}
_replacements: dict[tuple[str, Namespace], Callable[..., Array]] = {}


def primitive(definition: F) -> F:
    """Make `definition` an operation that backends may replace; it takes the namespace as keyword ``xp``."""
    name = definition.__name__
    _definitions[name] = definition

    @functools.wraps(definition)
    def call(*args: Array, xp: Namespace, **kwargs: object) -> Array:
        return _replacements.get((name, xp), definition)(*args, xp=xp, **kwargs)

    return call  # type: ignore[return-value]


def replace(name: str, xp: Namespace, function: Callable[..., Array]) -> None:
    """Let `function` stand for the primitive called `name` on arrays of namespace `xp`."""
    if name not in _definitions:
        raise ValueError(f"name: expected a primitive ({', '.join(sorted(_definitions))}), got {name!r}")
    _replacements[name, xp] = function


@primitive
def sigmoid(z: Array, *, xp: Namespace) -> Array:
    """The logistic function ``1 / (1 + exp(-z))``, without overflow for any z.

    Parameters
    ----------
    z : array, any shape, real floating

    Returns
    -------
    array, same shape and dtype, in [0, 1]
    """
    small = xp.exp(-xp.abs(z))  # in (0, 1]: the exponential never overflows
    return xp.where(z >= 0, xp.ones_like(z), small) / (1 + small)


@primitive
def one_hot(labels: Array, *, classes: int, dtype: object, xp: Namespace) -> Array:
    """Row i holds 1 in column ``labels[i]`` and 0 elsewhere.

    Parameters
    ----------
    labels : array, (..., n), integer, each in 0 … classes - 1 (not checked here)
    classes : int
    dtype : dtype of the result, of namespace `xp`

    Returns
    -------
    array, (..., n, classes)
    """
    return xpx.one_hot(labels, classes, dtype=dtype, xp=xp)


@primitive
def sgd_update(
    weights: Array, delta: Array, inputs: Array, alpha: Array, beta: Array | None = None, *, xp: Namespace
) -> Array:
    """``beta * weights + alpha * deltaᵀ @ inputs``: a step of gradient descent that never forms the gradient.

    Parameters
    ----------
    weights : array, (..., units, inputs)
    delta : array, (..., n, units)
    inputs : array, (..., n, inputs)
    alpha : array, () or (m, 1, 1) for an ensemble
    beta : array of such a shape, optional
        1 if not given.

    Returns
    -------
    array, in the shape and dtype of `weights`, sharing memory with none of the arguments
    """
    kept = weights if beta is None else beta * weights
    return kept + (alpha * delta.mT) @ inputs
