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

    A step that cannot be written down, since it reads a value or leaves the standard, is an `UnrecordableError`.
    """

    def stand_in(array: Array) -> np.ndarray:
        return np.zeros(array.shape, array.dtype)  # memory that is never touched is never given

    columns = tuple([stand_in(column) for column in data])
    rows, rate = np.zeros(order.shape[1:], order.dtype), np.zeros(rates.shape[1:], rates.dtype)
    with np.errstate(all="ignore"):
        return record(step, tree_map(stand_in, state), columns, rows, rate, _CUDA)
