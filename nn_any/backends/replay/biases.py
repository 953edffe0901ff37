"""Biases of small layers, kept once for each example of a batch.

NumPy adds a column to the columns of a small matrix three times more slowly than a matrix of the same shape. So where
nothing else reads them, biases (..., outputs) lie as (..., outputs, n) in the loop, and so do the sums that change
them: they are a product of the errors with a matrix of ones.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nn_any.backends.replay.batching import Plan, Recording
from nn_any.backends.replay.buffers import aligned_like
from nn_any.backends.replay.emitter import Emitter
from nn_any.backends.replay.nodes import Layout, Node

_MOST = 64  # examples


class SpreadBiases:
    """Which biases a loop may keep so, by the nodes of their old values.

    Attributes
    ----------
    totals : dict of Node to Node
        The biases that each sum changes.
    arrays : dict of Node to ndarray
        Where they lie.
    """

    def __init__(self, notes: Recording, plan: Plan, users: Mapping[Node, list[Node]]) -> None:
        self.totals: dict[Node, Node] = {}
        self.arrays: dict[Node, np.ndarray] = {}
        for old, new in zip(notes.state, notes.new_state, strict=True):
            descends = new.ufunc is np.subtract and new.args[0] is old
            total = new.args[1] if descends else None
            if not isinstance(total, Node) or total.name != "total" or total not in plan.body:
                continue
            readers = [user for user in users.get(old, []) if user is not new]
            kept = [*notes.new_state, *plan.handed_out]
            if new in users or users.get(total) != [new] or kept.count(new) > 1 or old in kept or total in kept:
                continue
            if [user.name for user in readers] != ["affine"] or readers[0].args[2] is not old:
                continue
            if total.kwargs != {"axis": -2} or plan.body.index(readers[0]) > plan.body.index(total):
                continue
            z, delta = readers[0].layout, total.args[0].layout
            if z != delta or z.dtype != old.layout.dtype:
                continue
            if z.is_flipped and z.shape[-2] <= _MOST:
                self.totals[total] = old
                self.arrays[old] = aligned_like(self.layout(delta))

    def unrepeated(self, node: Any, place: Any) -> Any:
        """What lies at the place of an argument, as calls without a form want it."""
        return place[..., 0] if isinstance(node, Node) and node in self.arrays else place

    @staticmethod
    def layout(delta: Layout) -> Layout:
        """How the sums over the examples of errors (..., n, outputs) lie, and the biases that they change."""
        return Layout.contiguous((*delta.shape[:-2], delta.shape[-1], delta.shape[-2]), delta.dtype)

    @staticmethod
    def add_up(emit: Emitter, out: np.ndarray, delta: np.ndarray) -> None:
        """Write the sums over the examples of errors (..., n, outputs), as (..., outputs, n)."""
        n = delta.shape[-2]
        emit.kernels.product(emit, out.reshape(-1, n), delta.mT.reshape(-1, n), np.ones((n, n), delta.dtype))
