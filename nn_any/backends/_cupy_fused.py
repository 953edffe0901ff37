"""Many whole training steps in one launch of `cuda/fused_mlp.cu`, for networks that fit on one multiprocessor."""

import math
from typing import Any

import cupy
import numpy as np

from nn_any.backends.cuda import Unsuitable, plan_fused, source, steps_a_launch
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Array, Batch


class FusedSteps:
    """The fused kernel, compiled for one step function, data set and batch size; `Unsuitable` says why it is not."""

    name = "cupy fused kernel"

    def __init__(self, step: Step, data: Batch, order: Array) -> None:
        recipe = getattr(step, "recipe", None)
        if recipe is None:
            raise Unsuitable("nothing says what the step is made from")
        if not all(column.flags.c_contiguous for column in data):
            raise Unsuitable("the data are not contiguous")
        bytes_at_once = min(16, 4 * data[0].itemsize)  # rows of a multiple of four numbers are read by four
        if math.prod(data[0].shape[1:]) % 4 == 0 and data[0].data.ptr % bytes_at_once:
            raise Unsuitable(f"the inputs do not begin at a multiple of {bytes_at_once} bytes")
        columns = [(column.dtype.name, column.shape[1:]) for column in data]
        attributes = cupy.cuda.Device().attributes
        limit = attributes.get("MaxSharedMemoryPerBlockOptin", 48 * 1024)
        self._multiprocessors = attributes["MultiProcessorCount"]
        self._order_dtype = np.dtype("int32" if order.dtype == "int32" else "int64")
        self._plan = plan_fused(recipe, order.shape[-1], columns, limit, order_dtype=self._order_dtype.name)
        self._columns = (*data, None)[:3]  # inputs, targets, and weights or a null pointer
        self._real = np.dtype(recipe.prepare.dtype)
        self._kernel = cupy.RawKernel(source("fused_mlp"), "fused_mlp", self._plan.options)
        self._kernel.max_dynamic_shared_size_bytes = self._plan.shared_bytes  # compiles, too

    def run(self, state: TrainState, order: Array, rates: Array, start: int, stop: int) -> tuple[TrainState, Array]:
        """The steps number `start` … `stop` - 1, as `Engine.run` has them."""
        members = order.shape[1] if order.ndim == 3 else 1
        lead = order.shape[1:-1]
        buffer = self._packed(state.params, members)
        order, strides = self._readable(order)
        rates = cupy.ascontiguousarray(rates, dtype=self._real)
        losses = cupy.empty((order.shape[0], *lead), self._real)
        arguments = (buffer, *self._columns, order, *strides, rates, np.int32(rates.ndim == 2), losses)
        steps = steps_a_launch(self._plan.step_nanoseconds, members, self._multiprocessors)
        for first in range(start, stop, steps):
            ends = np.int32(first), np.int32(min(first + steps, stop))
            size = self._plan.shared_bytes
            self._kernel((members,), (self._plan.threads,), (*arguments, *ends), shared_mem=size)
        params = self._unpacked(buffer, state.params, lead)
        return state._replace(params=params, step=state.step + (stop - start)), losses[start:stop, ...]

    def _readable(self, order: Array) -> tuple[Array, list[np.int64]]:
        """The order as the kernel reads it, and the strides of steps and members; copied only if a batch has gaps."""
        order = order.astype(self._order_dtype, copy=False)
        if order.strides[-1] != order.itemsize:
            order = cupy.ascontiguousarray(order)
        step, member = (*[stride // order.itemsize for stride in order.strides[:-1]], 0)[:2]
        return order, [np.int64(step), np.int64(member)]

    def _packed(self, params: Any, members: int) -> Array:
        """The parameters in one buffer, (m, ...), which the kernel writes into."""
        buffer = cupy.zeros((members, self._plan.numbers), self._real)
        for view, leaf in zip(self._plan.views(buffer), tree_leaves(params), strict=True):
            view[...] = leaf.reshape(view.shape)
        return buffer

    def _unpacked(self, buffer: Array, params: Any, lead: tuple[int, ...]) -> Any:
        """Fresh parameters in the structure of `params`, from the kernel's one buffer."""
        leaves = iter([view.copy().reshape(*lead, *view.shape[1:]) for view in self._plan.views(buffer)])
        return tuple([tuple([next(leaves) for _ in layer]) for layer in params])
