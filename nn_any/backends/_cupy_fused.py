"""Many whole training steps in one launch of `cuda/fused_mlp.cu`, for networks that fit on one multiprocessor."""

import math
from itertools import accumulate
from typing import Any

import cupy
import numpy as np

from nn_any.backends.cuda import Unsuitable, plan_fused, source
from nn_any.backends.engine import Step
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Array, Batch, Carry

_STEPS_A_LAUNCH = 2_000  # a launch of seconds would freeze a GPU that draws a screen as well


class FusedSteps:
    """The fused kernel, compiled for one step function, data set and batch size.

    Raises
    ------
    Unsuitable
        If the step is none for the kernel.
    """

    name = "cupy fused kernel"

    def __init__(self, step: Step, data: Batch, order: Array) -> None:
        recipe = getattr(step, "recipe", None)
        if recipe is None:
            raise Unsuitable("nothing says what the step is made from")
        if not all(column.flags.c_contiguous for column in data):
            raise Unsuitable("the data are not contiguous")
        columns = [(column.dtype.name, column.shape[1:]) for column in data]
        limit = cupy.cuda.Device().attributes.get("MaxSharedMemoryPerBlockOptin", 48 * 1024)
        self._plan = plan_fused(recipe, order.shape[-1], columns, limit)
        self._ends = list(accumulate(math.prod(shape) for shape in self._plan.shapes))
        self._columns = (*data, None)[:3]  # inputs, targets, and weights or a null pointer
        self._real = np.dtype(recipe.prepare.dtype)
        self._kernel = cupy.RawKernel(source("fused_mlp"), "fused_mlp", self._plan.options)
        self._kernel.max_dynamic_shared_size_bytes = self._plan.shared_bytes  # compiles, too

    def run(self, carry: Carry, order: Array, rates: Array, start: int, stop: int) -> tuple[Carry, Array]:
        """The steps number `start` … `stop` - 1, as `Engine.run` has them."""
        params, state, optimizer_state, step, key = carry
        members = order.shape[1] if order.ndim == 3 else 1
        lead = order.shape[1:-1]
        flat = self._packed(params, members)
        order = cupy.ascontiguousarray(order, dtype=np.int64)
        rates = cupy.ascontiguousarray(rates, dtype=self._real)
        losses = cupy.empty((order.shape[0], *lead), self._real)
        for first in range(start, stop, _STEPS_A_LAUNCH):
            last = min(first + _STEPS_A_LAUNCH, stop)
            self._kernel(
                (members,),
                (self._plan.threads,),
                (
                    flat,
                    *self._columns,
                    order,
                    rates,
                    np.int32(rates.ndim == 2),
                    losses,
                    np.int64(first),
                    np.int64(last),
                ),
                shared_mem=self._plan.shared_bytes,
            )
        moved = self._unpacked(flat, params, lead)
        return (moved, state, optimizer_state, step + (stop - start), key), losses[start:stop, ...]

    def _places(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """Where each parameter lies in a member's row of the kernel's buffer, and its shape."""
        return list(zip([0, *self._ends[:-1]], self._ends, self._plan.shapes, strict=True))

    def _packed(self, params: Any, members: int) -> Array:
        """The parameters in one buffer, (m, ...), which the kernel writes into; concatenating may ask the host."""
        flat = cupy.empty((members, self._ends[-1]), self._real)
        for (a, b, _), leaf in zip(self._places(), tree_leaves(params), strict=True):
            flat[:, a:b] = leaf.reshape(members, -1)
        return flat

    def _unpacked(self, flat: Array, params: Any, lead: tuple[int, ...]) -> Any:
        """Fresh parameters in the structure of `params`, from the kernel's one buffer."""
        leaves = iter([flat[:, a:b].reshape(*lead, *shape).copy() for a, b, shape in self._places()])
        return tuple([tuple([next(leaves) for _ in layer]) for layer in params])
