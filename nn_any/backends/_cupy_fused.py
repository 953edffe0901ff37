"""Many whole training steps in one launch of `cuda/fused_mlp.cu`, for networks that fit on one multiprocessor."""

import math
from itertools import accumulate
from typing import Any

import cupy
import numpy as np

from nn_any.backends.cuda import Unsuitable, plan_fused, source
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Array, Batch

_STEPS_A_LAUNCH = 2_000  # a launch of seconds would freeze a GPU that draws a screen as well


class FusedSteps:
    """The fused kernel, compiled for one step function, data set and batch size; `Unsuitable` says why it is not."""

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
        ends = list(accumulate(map(math.prod, self._plan.shapes)))
        self._places = list(zip([0, *ends[:-1]], ends, self._plan.shapes, strict=True))
        """Where each parameter lies in a member's row of the kernel's buffer, and its shape."""
        self._columns = (*data, None)[:3]  # inputs, targets, and weights or a null pointer
        self._real = np.dtype(recipe.prepare.dtype)
        self._kernel = cupy.RawKernel(source("fused_mlp"), "fused_mlp", self._plan.options)
        self._kernel.max_dynamic_shared_size_bytes = self._plan.shared_bytes  # compiles, too

    def run(self, state: TrainState, order: Array, rates: Array, start: int, stop: int) -> tuple[TrainState, Array]:
        """The steps number `start` … `stop` - 1, as `Engine.run` has them."""
        members = order.shape[1] if order.ndim == 3 else 1
        lead = order.shape[1:-1]
        flat = self._packed(state.params, members)
        order = cupy.ascontiguousarray(order, dtype=np.int64)
        rates = cupy.ascontiguousarray(rates, dtype=self._real)
        losses = cupy.empty((order.shape[0], *lead), self._real)
        arguments = (flat, *self._columns, order, rates, np.int32(rates.ndim == 2), losses)
        for first in range(start, stop, _STEPS_A_LAUNCH):
            steps = np.int64(first), np.int64(min(first + _STEPS_A_LAUNCH, stop))
            size = self._plan.shared_bytes
            self._kernel((members,), (self._plan.threads,), (*arguments, *steps), shared_mem=size)
        params = self._unpacked(flat, state.params, lead)
        return state._replace(params=params, step=state.step + (stop - start)), losses[start:stop, ...]

    def _packed(self, params: Any, members: int) -> Array:
        """The parameters in one buffer, (m, ...), which the kernel writes into; concatenating may ask the host."""
        flat = cupy.empty((members, self._places[-1][1]), self._real)
        for (a, b, _), leaf in zip(self._places, tree_leaves(params), strict=True):
            flat[:, a:b] = leaf.reshape(members, -1)
        return flat

    def _unpacked(self, flat: Array, params: Any, lead: tuple[int, ...]) -> Any:
        """Fresh parameters in the structure of `params`, from the kernel's one buffer."""
        leaves = iter([flat[:, a:b].reshape(*lead, *shape).copy() for a, b, shape in self._places])
        return tuple([tuple([next(leaves) for _ in layer]) for layer in params])
