"""Writing the outcome of a step over the state that it began with, as graphs do."""

from collections.abc import Callable
from typing import Any

from nn_any.core.state import TrainState
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.core.typing import Array

Memory = Callable[[Array], tuple[int, int]]
"""Where the memory that an array is a view of begins and ends, in bytes, however little of it the array shows."""


def apart(tree: Any, others: Any, memory: Memory, copy: Callable[[Array], Array]) -> Any:
    """`tree`, with a copy in the place of each array that shares memory with an array of the tree `others`."""
    taken = [memory(leaf) for leaf in tree_leaves(others)]

    def separate(leaf: Array) -> Array:
        first, last = memory(leaf)
        return copy(leaf) if any(first < end and begin < last for begin, end in taken) else leaf

    return tree_map(separate, tree)


def changes(
    state: TrainState, new: TrainState, memory: Memory, copy: Callable[[Array], Array]
) -> list[tuple[Array, Array]]:
    """What to write, in any order, so that the arrays of `state` hold what those of `new` do.

    A new array may be an old one from another place, such as the weights of the step before, or a view of one. It is
    copied here, before anything is written.

    Parameters
    ----------
    state : TrainState, of arrays that stay where they are
    new : TrainState, what a step made of it

    Returns
    -------
    pairs : an array of `state`, and what goes into it, of the same shape and dtype; arrays that stay are left out

    Raises
    ------
    TypeError
        If the step changes a shape or dtype of its state.
    """
    pairs = [(own, leaf) for own, leaf in zip(tree_leaves(state), tree_leaves(new), strict=True) if leaf is not own]
    for own, leaf in pairs:
        if own.dtype != leaf.dtype or own.shape != leaf.shape:
            raise TypeError(f"a step turns {own.dtype} {own.shape} of its state into {leaf.dtype} {leaf.shape}")
    sources = apart(tuple([leaf for _, leaf in pairs]), state, memory, copy)
    return [(own, source) for (own, _), source in zip(pairs, sources, strict=True)]
