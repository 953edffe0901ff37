"""What is counted on the device while a network is evaluated."""

from nn_any.core.typing import Array, Namespace


def predicted_classes(outputs: Array, *, xp: Namespace) -> Array:
    """The class that each example's outputs name: (..., n, outputs) -> (..., n), integer.

    It is the index of the largest output; for a single output, 1 where it is above ½ and 0 elsewhere.
    """
    if outputs.shape[-1] == 1:
        return xp.astype(outputs[..., 0] > 0.5, xp.int32)
    return xp.argmax(outputs, axis=-1)


def count_correct(outputs: Array, targets: Array, *, xp: Namespace) -> Array:
    """How many examples' outputs name the same class as their targets: (..., n, outputs) twice -> (...), int32."""
    right = predicted_classes(outputs, xp=xp) == predicted_classes(targets, xp=xp)
    return xp.sum(xp.astype(right, xp.int32), axis=-1, dtype=xp.int32)
