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
_replacements: dict[str, dict[Namespace, Callable[..., Array]]] = {}


def primitive(definition: F) -> F:
    """Make `definition` an operation that backends may replace; it takes the namespace as keyword ``xp``."""
    _definitions[definition.__name__] = definition
    choose = _replacements.setdefault(definition.__name__, {}).get

    @functools.wraps(definition)
    def call(*args: Array, xp: Namespace, **kwargs: object) -> Array:
        return choose(xp, definition)(*args, xp=xp, **kwargs)

    return call  # type: ignore[return-value]


def definition(name: str) -> Callable[..., Array]:
    """The body that defines a primitive, for a replacement that does not cover every case."""
    return _definitions[name]


def replace(name: str, xp: Namespace, function: Callable[..., Array]) -> None:
    """Let `function` stand for the primitive called `name` on arrays of namespace `xp`."""
    if name not in _definitions:
        raise ValueError(f"name: expected a primitive ({', '.join(sorted(_definitions))}), got {name!r}")
    _replacements[name][xp] = function


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
def affine(x: Array, weights: Array, biases: Array, *, xp: Namespace) -> Array:
    """``x @ weightsᵀ + biases`` for each row of x.

    Parameters
    ----------
    x : array, (..., n, inputs)
    weights : array, (..., units, inputs)
    biases : array, (..., units)

    Returns
    -------
    array, (..., n, units)
    """
    return x @ weights.mT + biases[..., None, :]


@primitive
def total(x: Array, *, axis: int, xp: Namespace) -> Array:
    """The sum over one axis, in the dtype of `x`."""
    return xp.sum(x, axis=axis)


@primitive
def sgd_update(
    weights: Array,
    delta: Array,
    inputs: Array,
    alpha: Array | float = -1.0,
    beta: Array | float = 1.0,
    *,
    xp: Namespace,
) -> Array:
    """``beta * weights + alpha * deltaᵀ @ inputs``: a step of gradient descent that never forms the gradient.

    Parameters
    ----------
    weights : array, (..., units, inputs)
    delta : array, (..., n, units)
    inputs : array, (..., n, inputs)
    alpha, beta : float, or array () or (m, 1, 1)

    Returns
    -------
    array, in the shape and dtype of `weights`, sharing memory with none of the arguments
    """
    return beta * weights + alpha * (delta.mT @ inputs)
