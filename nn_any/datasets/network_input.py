"""Data as a network takes them: arrays that fit its specification, on its device."""

import math
from typing import Any, NamedTuple

from nn_any import validation as check
from nn_any.backends import Device, is_host, to_numpy
from nn_any.core.batches import Preparation
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.specification import Specification
from nn_any.core.typing import Array, Batch
from nn_any.datasets.dataset import Dataset, as_dataset


class Examples(NamedTuple):
    """The examples of a data set, as a network takes them."""

    arrays: Batch
    """``(x, y)`` on the network's device as they are stored, and perhaps the examples' weights as a third."""
    prepare: Preparation
    """How rows of these arrays become reals."""

    @property
    def size(self) -> int:
        """How many examples there are."""
        return int(self.arrays[0].shape[0])


def own_array(name: str, obj: Any, device: Device, dtype: str) -> Array:
    """`obj`, from the host or on `device`, as a finite array on `device`; reals in `dtype`."""
    array = check.as_array(name, obj)
    if not is_host(array) and (here := Device.of(array)) != device:
        raise InvalidValueError(
            f"{name}: expected a NumPy array, a list, or an array on {device}, got one on {here}; "
            f"move it with nn_any.to_device(..., {str(device)!r}), or the network with net.to({str(here)!r})"
        )
    array = device.asarray(array, dtype if check.is_real(array) else None)
    check.check_finite(name, array)
    return array


def own_inputs(specification: Specification, device: Device, x: Any) -> tuple[Array, bool]:
    """`x` as a batch (n, *input_shape) on `device`, and whether it was a single example."""
    if isinstance(x, Dataset):
        real = f" as real numbers, divided by {x.scale:g}" if x.scale else ""
        raise InvalidTypeError(f"x: expected an array, got {x!r}; pass dataset.x{real}")
    array = own_array("x", x, device, specification.dtype)
    return check.check_example_or_inputs("x", array, specification.input_shape)


def own_targets(specification: Specification, device: Device, y: Array, n: int) -> Array:
    """Targets (n, outputs) as reals, or labels (n,) within range in the default integer dtype."""
    xp = device.xp
    y = check.check_targets("y", y, n, specification.outputs)
    if check.is_real(y):
        return y
    with device.scope():
        y = xp.astype(y, getattr(xp, device.integer_dtype if y.ndim == 1 else specification.dtype))
        if y.ndim == 1:
            _check_label_range(specification, int(xp.min(y)), int(xp.max(y)))
    return y


def own_batch(specification: Specification, device: Device, x: Any, y: Any) -> Examples:
    """One example or a batch, checked, on `device`."""
    inputs, single = own_inputs(specification, device, x)
    targets = own_array("y", y, device, specification.dtype)
    if single and (targets.ndim == 0 or tuple(targets.shape) == (specification.outputs,)):
        targets = targets[None, ...]  # a label, or a row of targets
    targets = own_targets(specification, device, targets, inputs.shape[0])
    return Examples((inputs, targets), preparation(specification, targets))


def own_examples(specification: Specification, device: Device, name: str, data: Any) -> Examples:
    """Data in any accepted form as arrays on `device` that fit the network."""
    dataset = as_dataset(name, data, device, specification.dtype)
    if name == "training_data" and dataset.one_class and not specification.is_regression:
        raise InvalidValueError(
            f"y: expected two classes or more to learn from, got one for all {len(dataset)} examples; "
            f"if that is meant, say nn_any.Dataset(x, y, classes={specification.outputs})"
        )
    x = check.check_inputs("x", dataset.x, specification.input_shape)
    y = check.check_targets("y", dataset.y, len(dataset), specification.outputs)
    if dataset.label_range is not None:
        _check_label_range(specification, *dataset.label_range)
    arrays: Batch = (x, y)
    if dataset.sample_weight is not None:
        w = device.asarray(dataset.sample_weight, specification.dtype)
        with device.scope():
            mean = float(to_numpy(device.xp.mean(w)))
            if not 0 < mean < math.inf:  # rows taken from weighted data may all have weight 0
                raise InvalidValueError(f"{name}: expected sample weights of a positive, finite mean, got {mean:g}")
            arrays = (x, y, w / mean)
    return Examples(arrays, preparation(specification, y, dataset.scale))


def preparation(specification: Specification, y: Array, scale: float | None = None) -> Preparation:
    """How rows become reals, where the targets are like `y`."""
    return Preparation(specification.dtype, specification.outputs, scale, labels=y.ndim == 1)


def _check_label_range(specification: Specification, smallest: int, largest: int) -> None:
    outputs = specification.outputs
    if not (specification.is_regression and outputs == 1):
        remedy = f"the network has {outputs} output(s): number the classes from 0, or build it with more"
        check.check_labels("y", smallest, largest, max(outputs, 2), remedy)
