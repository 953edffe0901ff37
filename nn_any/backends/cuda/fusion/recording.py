"""Writing down a training step for CUDA: which calls it makes, on arrays of which shapes."""

import numpy as np

from nn_any.backends.replay.batching import Recording
from nn_any.backends.replay.program import record
from nn_any.backends.replay.recorded import RecordingNamespace, record_primitive
from nn_any.core.primitives import definition
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_map
from nn_any.core.typing import Array, Batch

WHOLE = ("one_hot", "unfold", "fold", "max_pool", "max_pool_gradient")
"""The primitives that are noted as one call each; the others become the calls that define them."""

_CUDA = RecordingNamespace()
for _name in WHOLE:
    record_primitive(_name, definition(_name), _CUDA)


def record_for_cuda(step: Step, state: TrainState, data: Batch, order: Array, rates: Array) -> Recording:
    """The calls of `step`, noted on stand-ins for the arrays of `Engine.run`: only their shapes and dtypes are read.

    Of the data, strides are read as well; none may be negative. A step that cannot be written down, since it reads a
    value or leaves the standard, is an `UnrecordableError`.
    """

    def stand_in(array: Array) -> np.ndarray:
        return np.zeros(array.shape, array.dtype)  # memory that is never touched is never given

    columns = tuple([_laid_out_as(column) for column in data])
    rows, rate = np.zeros(order.shape[1:], order.dtype), np.zeros(rates.shape[1:], rates.dtype)
    with np.errstate(all="ignore"):
        return record(step, tree_map(stand_in, state), columns, rows, rate, _CUDA)


def _laid_out_as(column: Array) -> np.ndarray:
    """Zeros with the strides of `column`."""
    reach = sum((size - 1) * stride for size, stride in zip(column.shape, column.strides, strict=True))
    memory = np.zeros(max(reach, 0) + column.itemsize, np.uint8)
    return np.ndarray(column.shape, column.dtype, memory, strides=column.strides)
