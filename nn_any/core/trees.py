"""Functions over the tuples of tuples that parameters, gradients and states are, and over their leaves."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from array_api_compat import array_namespace

from nn_any.core.typing import Array


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply `function` to each array of `tree`, and to the arrays in the same places of `others`.

    Named tuples stay named tuples of the same type; None is a tree without arrays.

    Examples
    --------
    >>> tree_map(lambda a, b: a + b, ((1, 2), ()), ((10, 20), ()))
    ((11, 22), ())
    """
    if isinstance(tree, tuple):
        branches = [tree_map(function, *branch) for branch in zip(tree, *others, strict=True)]
        return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)
    return None if tree is None else function(tree, *others)


def tree_leaves(tree: Any) -> Iterator[Array]:
    """The arrays of `tree`, in order.

    Examples
    --------
    >>> list(tree_leaves(((1, 2), (), (3,))))
    [1, 2, 3]
    """
    if isinstance(tree, tuple):
        for branch in tree:
            yield from tree_leaves(branch)
    elif tree is not None:
        yield tree


def flattened(tree: Any) -> Array:
    """The numbers of all arrays of `tree`, which have one dtype, in order: (numbers,).

    Examples
    --------
    >>> import numpy as np
    >>> flattened((np.ones(()), (np.zeros((1, 2)),)))
    array([1., 0., 0.])
    """
    leaves = list(tree_leaves(tree))
    xp = array_namespace(*leaves)
    return xp.concat([xp.reshape(leaf, (-1,)) for leaf in leaves])


def filled(tree: Any, vector: Array) -> Any:
    """The numbers of `vector`, (numbers,), in the structure of `tree`; the opposite of `flattened`."""
    xp, start = array_namespace(vector), 0

    def place(leaf: Array) -> Array:
        nonlocal start
        first, start = start, start + math.prod(leaf.shape)
        return xp.reshape(vector[first:start], leaf.shape)

    return tree_map(place, tree)


def per_parameter(learning_rate: Array | float, parameter: Array) -> Array | float:
    """The learning rate in a shape that broadcasts against `parameter`: () and numbers stay, (m,) gains trailing axes.

    So it is with whatever else each member of an ensemble has for itself, a weight decay or a count of steps.
    """
    if isinstance(learning_rate, float) or learning_rate.ndim == 0:
        return learning_rate
    return learning_rate[(..., *(None,) * (parameter.ndim - learning_rate.ndim))]
