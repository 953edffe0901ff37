"""The pure functions that an ensemble needs beside those of one network: over the axis of its m members, the first."""

from array_api_compat import array_namespace

from nn_any.core.metrics import predicted_classes, predicted_labels
from nn_any.core.primitives import one_hot
from nn_any.core.state import TrainState
from nn_any.core.trees import per_parameter, tree_leaves, tree_map
from nn_any.core.typing import Array, Params


def members_finite(params: Params) -> Array:
    """For each member whether all its parameters are finite numbers: (m,), bool."""
    leaves = list(tree_leaves(params))
    xp = array_namespace(*leaves)
    return xp.all(xp.stack([xp.all(xp.isfinite(xp.reshape(w, (w.shape[0], -1))), axis=1) for w in leaves]), axis=0)


def choose(mask: Array, new: TrainState, old: TrainState) -> TrainState:
    """Each member's state from `new` where `mask`, (m,) bool, is true, else from `old`."""
    xp = array_namespace(mask)
    chosen: TrainState = tree_map(lambda a, b: xp.where(per_parameter(mask, a), a, b), new, old)
    return chosen


def mean(outputs: Array) -> Array:
    """The mean over the members: (m, n, outputs) -> (n, outputs)."""
    return array_namespace(outputs).mean(outputs, axis=0)


def deviation(outputs: Array) -> Array:
    """The standard deviation over the members, of m and not m - 1: (m, n, outputs) -> (n, outputs)."""
    return array_namespace(outputs).std(outputs, axis=0)


def majority(outputs: Array) -> Array:
    """The class that most members name, else the one with the larger sum of outputs: (m, n, outputs) -> (n,), integer.

    Examples
    --------
    >>> import numpy as np
    >>> a = np.asarray([[[0.6, 0.4]], [[0.3, 0.7]]])
    >>> majority(a)
    array([1])
    """
    xp = array_namespace(outputs)
    chosen = predicted_classes(outputs, xp=xp)
    if outputs.shape[-1] == 1:
        outputs = xp.concat([1 - outputs, outputs], axis=-1)
    votes = xp.sum(one_hot(chosen, classes=outputs.shape[-1], dtype=outputs.dtype, xp=xp), axis=0)
    sums = xp.sum(outputs, axis=0)
    first = votes == xp.max(votes, axis=-1, keepdims=True)
    smallest = xp.min(sums, axis=-1, keepdims=True) - 1
    return xp.argmax(xp.where(first, sums, smallest), axis=-1)


def majority_labels(outputs: Array) -> Array:
    """For each output whether more members say yes than no: (m, n, outputs) -> (n, outputs), int32.

    Where as many say yes, their mean output decides.

    Examples
    --------
    >>> import numpy as np
    >>> majority_labels(np.asarray([[[0.6, 0.4]], [[0.3, 0.7]]]))
    array([[0, 1]], dtype=int32)
    """
    xp = array_namespace(outputs)
    answers = predicted_labels(outputs, xp=xp)
    more = 2 * xp.sum(answers, axis=0, dtype=xp.int32) - outputs.shape[0]
    return xp.where(more == 0, predicted_labels(mean(outputs), xp=xp), xp.astype(more > 0, xp.int32))
