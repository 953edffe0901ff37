"""What is counted on the device while a network is evaluated."""

from array_api_compat import array_namespace

from nn_any.core.typing import Array, Namespace


def predicted_classes(outputs: Array, *, xp: Namespace) -> Array:
    """The class that each example's outputs name: (..., n, outputs) -> (..., n), integer.

    It is the index of the largest output; for a single output, 1 where it is above ½ and 0 elsewhere.
    """
    if outputs.shape[-1] == 1:
        return xp.astype(outputs[..., 0] > 0.5, xp.int32)
    return xp.argmax(outputs, axis=-1)


def predicted_labels(outputs: Array, *, xp: Namespace) -> Array:
    """The answers of a multilabel network: (..., n, outputs), int32, 1 where an output is above ½ and 0 elsewhere."""
    return xp.astype(outputs > 0.5, xp.int32)


def count_correct(outputs: Array, targets: Array, *, multilabel: bool = False, xp: Namespace) -> Array:
    """How many examples' outputs name the same class as their targets: (..., n, outputs) twice -> (...), int32.

    Outputs that are NaN name no class. With `multilabel`, all outputs of an example must be on the targets' side of ½.
    """
    if multilabel:
        right = xp.all(predicted_labels(outputs, xp=xp) == predicted_labels(targets, xp=xp), axis=-1)
    else:
        right = predicted_classes(outputs, xp=xp) == predicted_classes(targets, xp=xp)
    largest = xp.max(outputs, axis=-1)  # NaN if any output is
    return xp.sum(xp.astype(right & (largest == largest), xp.int32), axis=-1, dtype=xp.int32)


def count_unclear(targets: Array) -> Array:
    """How many rows of targets (n, outputs), of any real or integer dtype, do not name exactly one class: (), int32.

    A row names one if exactly one entry is above ½, or if it sums to 1, as a mixture of classes does.
    """
    xp = array_namespace(targets)
    targets = xp.astype(targets, xp.float32)
    yes = xp.sum(xp.astype(targets > 0.5, xp.int32), axis=-1, dtype=xp.int32)
    mixed = xp.abs(xp.sum(targets, axis=-1) - 1.0) < 1e-2
    return xp.sum(xp.astype((yes != 1) & ~mixed, xp.int32), dtype=xp.int32)
