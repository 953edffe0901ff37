"""Functions over the tuples of tuples that parameters, gradients and states are, and over their leaves."""

from collections.abc import Callable, Iterator
from typing import Any

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


def per_parameter(learning_rate: Array | float, parameter: Array) -> Array | float:
    """The learning rate in a shape that broadcasts against `parameter`: () and numbers stay, (m,) gains trailing axes.

    So it is with whatever else each member of an ensemble has for itself, a weight decay or a count of steps.
    """
    if isinstance(learning_rate, float) or learning_rate.ndim == 0:
        return learning_rate
    return learning_rate[(..., *(None,) * (parameter.ndim - learning_rate.ndim))]
