"""Data as a network takes them: arrays that fit its specification, on its device."""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from nn_any import validation as check
from nn_any.backends import Device, frame_columns, is_host, read_frame, to_numpy
from nn_any.core import options
from nn_any.core.batches import Preparation
from nn_any.core.errors import InvalidTypeError, InvalidValueError, caller_level
from nn_any.core.schema import Schema
from nn_any.core.specification import Specification
from nn_any.core.typing import Array, Batch, Shape
from nn_any.datasets.dataset import Dataset, as_dataset
from nn_any.datasets.labels import number_labels, text_labels
from nn_any.datasets.rows import Rows, are_rows, as_rows, taken


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


class Inputs(NamedTuple):
    """Inputs without targets, as a network takes them."""

    x: Array
    """(n, *input_shape), on the network's device as they are stored; or `Rows` for it."""
    scale: float | None
    """What they are divided by."""
    single: bool
    """Whether they came as a single example."""


def network_data(specification: Specification, device: Device, name: str, data: Any) -> Dataset:
    """Data in any accepted form as a `Dataset` on `device`, stored and called as the network knows it.

    Where the network predicts numbers, integers y are numbers. Labels and columns that have names are put into the
    order of the network's names.
    """
    schema = specification.schema
    numbers, names = specification.is_regression, schema.class_names
    dataset = as_dataset(
        name,
        data,
        device,
        specification.dtype,
        numbers=numbers,
        class_names=names,
        feature_names=schema.feature_names,
        target_names=_target_names(specification),
    )
    _check_no_classes(specification, dataset)
    if not isinstance(data, Dataset) and dataset.class_names and name != "training_data":
        _known_names(specification, dataset.class_names[0])
    dataset = _with_targets_of(specification, _with_classes_of(specification, _with_features_of(schema, dataset)))
    if not isinstance(data, Dataset):
        _warn_of_numbers_as_names(schema, data, dataset)
    if dataset.scale is None and schema.scale is not None:
        if _is_scaled(dataset.x):
            return dataset.with_scale(schema.scale)
        if not isinstance(data, Dataset):
            _warn_of_stored_reals(schema.scale, dataset.x)
    return dataset


def _warn_of_numbers_as_names(schema: Schema, data: Any, dataset: Dataset) -> None:
    """Warn of integer labels that may be meant as names, where classes are called by other integers than their numbers.

    They are looked at where the host has them.
    """
    names, y = schema.class_names, data[1] if isinstance(data, tuple) and len(data) == 2 else None
    if names is None or not dataset.has_labels or not is_host(y) or text_labels(y) is not None:
        return
    labels = set(np.unique(check.as_array("y", y)).tolist())
    whole = all(isinstance(name, int) and not isinstance(name, bool) for name in names)
    if whole and names != (*range(len(names)),) and labels <= set(names):
        warnings.warn(
            f"y: expected numbers of classes from 0 on, got {min(labels)} … {max(labels)}, which may be the names "
            f"{', '.join(map(str, names)):.200} and are taken for numbers; if they are names, pass "
            "[net.class_names.index(label) for label in y]",
            stacklevel=caller_level(),
        )


def _warn_of_stored_reals(scale: float, x: Any) -> None:
    """Warn of real numbers that look like stored ones, which the scale would have brought to 0 … 1.

    They are looked at where the host has them, so nothing is waited for.
    """
    if is_host(x) and check.is_real(x) and (largest := float(np.max(x))) > max(1.5, scale / 2):
        warnings.warn(
            f"x: expected real numbers divided by {scale:g}, as the network was trained with, got {largest:g} among "
            f"them, which are taken as they are; pass integers, which the network divides itself, or x / {scale:g}",
            stacklevel=caller_level(),
        )


def _check_no_classes(specification: Specification, dataset: Dataset) -> None:
    """A network that tells no classes apart gets no labels of classes that have names: their numbers say nothing."""
    if specification.task == "classification" or dataset.class_names is None or not dataset.has_labels:
        return
    expected = "columns of 0 and 1" if specification.is_multilabel else "numbers"
    names = ", ".join(map(repr, dataset.class_names))
    raise InvalidValueError(
        f"y: expected {expected} for {specification.task}, got labels of the classes {names:.200}; build the network "
        "for classification, or give their numbers: nn_any.Dataset(dataset.x, dataset.y)"
    )


def learned_schema(specification: Specification, dataset: Dataset) -> Schema:
    """The network's schema after it has been trained on these data; what they do not say stays."""
    known, names, targets = specification.schema, dataset.class_names, dataset.target_names
    columns = 1 if dataset.has_labels else int(dataset.y.shape[1])
    if specification.task == "multilabel":
        names, targets = None, targets or names
    elif specification.task == "classification" and columns > 1:  # a column a class
        names, targets = (names or targets) if columns == specification.outputs else None, None
    elif dataset.one_class:  # which is refused before it is learnt
        names = None
    elif names is not None and len(names) != specification.classes:
        raise InvalidValueError(
            f"classes: expected {specification.classes} names, as many as the network tells apart, got {len(names)}, "
            f"{', '.join(map(repr, names)):.200}; build the network with {len(names)} outputs, or name all classes: "
            "nn_any.Dataset(x, y, classes=[...])"
        )
    if targets is not None and columns != (1 if specification.task == "classification" else specification.outputs):
        targets = None  # such data are refused before they are learnt
    features = dataset.feature_names if specification.input_shape == dataset.input_shape else None
    return Schema(
        scale=dataset.scale or known.scale,
        class_names=known.class_names or (None if names is None else tuple(map(_plain, names))),
        feature_names=known.feature_names or features,
        target_names=targets if targets is not None else known.target_names,
    )


def _plain(name: Any) -> str | int | float | bool:
    """The name of a class as a file can hold it."""
    name = name.item() if isinstance(name, np.generic) else name
    return name if isinstance(name, str | int | float | bool) else str(name)


def _is_scaled(x: Array) -> bool:
    """Whether a scale applies to an array: to integers, but not to real numbers and booleans."""
    return not check.is_real(x) and options.dtype_name(x.dtype) != "bool"


def _with_features_of(schema: Schema, dataset: Dataset) -> Dataset:
    """The data set with its columns in the order of the network's, if both have names."""
    own, its = schema.feature_names, dataset.feature_names
    if own is None or its is None or own == its:
        return dataset
    if missing := [name for name in own if name not in its]:
        raise InvalidValueError(
            f"x: expected the columns {', '.join(own):.200}, got none named {missing[0]!r}; rename the columns, or "
            "pass an array without names"
        )
    return dataset.with_columns([its.index(name) for name in own])


def _with_classes_of(specification: Specification, dataset: Dataset) -> Dataset:
    """The data set with its classes numbered as the network numbers them, if both have names.

    Columns of targets, a class each, that come from a frame have its names.
    """
    own, columns = specification.schema.class_names, dataset.target_names
    its = None if dataset.class_names is None else tuple(map(_plain, dataset.class_names))
    if own is not None and its is None and columns is not None and not dataset.has_labels:
        its = _classes_of_columns(own, columns)
    if own is None or its is None or own == its:
        return dataset
    if unknown := [name for name in its if name not in own]:
        raise InvalidValueError(
            f"classes: expected some of the network's, {', '.join(map(repr, own)):.200}, got {unknown[0]!r}; leave its "
            "examples out, or train a network that knows it"
        )
    dataset = dataset.with_arrays(dataset.x, dataset.y)
    dataset.class_names = its
    return dataset.with_classes(own)


def _classes_of_columns(own: tuple[Any, ...], columns: tuple[str, ...]) -> tuple[Any, ...]:
    """Which of the network's classes columns of targets are, by their names; a single column is none of them."""
    if len(columns) == 1:
        return own
    known = {str(name): name for name in own}
    if unknown := [name for name in columns if name not in known]:
        raise InvalidValueError(
            f"y: expected columns named as the network's classes, {', '.join(known):.200}, got {unknown[0]!r}; rename "
            "the columns, or pass an array without names, a column a class in that order"
        )
    return tuple([known[name] for name in columns])


def _with_targets_of(specification: Specification, dataset: Dataset) -> Dataset:
    """The data set with its columns of targets in the order of the network's, if both have names and are several."""
    own, its = _target_names(specification), dataset.target_names or dataset.class_names
    if own is None or its is None or own == its or len(own) == 1 or dataset.has_labels:
        return dataset
    if missing := [name for name in own if name not in its]:
        raise InvalidValueError(
            f"y: expected the columns {', '.join(own):.200}, got none named {missing[0]!r}; rename the columns, or "
            "pass an array without names"
        )
    places = np.array(list(map(its.index, own)))
    other = dataset.with_arrays(dataset.x, taken(dataset.y, places, dataset.device, axis=1))
    other.target_names, other.class_names = own, None
    return other


def weighted(specification: Specification, dataset: Dataset, sample_weight: Any, class_weight: Any) -> Dataset:
    """The data set with weights; the network says how many classes there are, not the labels at hand."""
    if specification.is_multilabel and class_weight is not None:
        raise InvalidValueError(
            f"class_weight: expected none for a multilabel network, got {class_weight!r:.80}; use sample_weight"
        )
    classes = None if specification.is_regression else specification.classes
    return dataset.weighted(sample_weight, class_weight, classes=classes)


def own_array(
    name: str, obj: Any, device: Device, dtype: str, *, numbers: bool = False, check_finite: bool = True
) -> Array:
    """`obj`, from the host or on `device`, as a finite array on `device`; reals, and all `numbers`, in `dtype`."""
    if isinstance(obj, Dataset):
        raise InvalidTypeError(f"{name}: expected an array, got {obj!r}; pass its arrays, dataset.x and dataset.y")
    array = check.as_array(name, obj)
    if not is_host(array) and (here := Device.of(array)) != device:
        raise InvalidValueError(
            f"{name}: expected a NumPy array, a list, or an array on {device}, got one on {here}; "
            f"move it with nn_any.to_device(..., {str(device)!r}), or the network with net.to({str(here)!r})"
        )
    real = numbers or check.is_real(array)
    if not real:
        check.check_integers_fit(name, array, device)
    own = device.asarray(array, dtype if real else None)
    if check_finite:
        check.check_finite(name, own, array)
    return own


def plain_targets(specification: Specification, y: Any) -> Any:
    """`y` without frames and without text: labels that are text by their places among the network's names."""
    if (frame := read_frame("y", y)) is not None:
        own, names = specification.schema.class_names, _target_names(specification)
        several = names is not None and len(names) > 1  # then a series is a row of a frame
        y = frame.select(names).entries(names if several else None).targets()[0]
        if own is not None and frame.names is not None and len(frame.names) > 1 and y.ndim == 2:
            columns = [own.index(name) for name in _classes_of_columns(own, frame.names)]
            given, y = y, np.zeros((len(y), len(own)), y.dtype)
            y[:, columns] = given
    labels = [y] if isinstance(y, str) else text_labels(y)
    if specification.task != "classification" or labels is None:
        return y
    places = number_labels(labels, _known_names(specification, labels[0]))[0]
    return places[0] if isinstance(y, str) else places


def _target_names(specification: Specification) -> tuple[str, ...] | None:
    """The names by which the columns of y are picked from a frame; labels are one column, whatever it is called."""
    return None if specification.task == "classification" else specification.schema.target_names


def _known_names(specification: Specification, label: Any) -> tuple[Any, ...]:
    """The network's names of classes, without which text labels say nothing."""
    if (names := specification.schema.class_names) is None:
        raise InvalidValueError(
            f"y: expected numbers of classes, since the network knows no names, got {label!r}; say what they are "
            "called: net.schema = nn_any.Schema(class_names=[...])"
        )
    return names


def own_inputs(specification: Specification, device: Device, x: Any) -> Inputs:
    """`x` as a batch (n, *input_shape) on `device`."""
    if isinstance(x, Dataset):
        real = f" as real numbers, divided by {x.scale:g}" if x.scale not in (None, specification.schema.scale) else ""
        raise InvalidTypeError(f"x: expected an array, got {x!r}; pass dataset.x{real}")
    shape = specification.input_shape
    if are_rows(x) and (isinstance(x, Rows) or tuple(x.shape) != shape):
        rows, single = as_rows("x", x), False
        rows.check_finite("x", specification.dtype)
        array = _fitted(rows.to(device, specification.dtype), shape)
    else:
        x = x.toarray() if check.is_sparse(x) else frame_columns("x", x, specification.schema.feature_names)
        array = own_array("x", x, device, specification.dtype)
        array, single = check.check_example_or_inputs("x", array, shape)
        if specification.schema.scale is not None:
            _warn_of_stored_reals(specification.schema.scale, array)
    return Inputs(array, specification.schema.scale if _is_scaled(array) else None, single)


def own_targets(specification: Specification, device: Device, y: Array, n: int, given: Any = None) -> Array:
    """Targets (n, outputs) as reals, or labels (n,) within range in the default integer dtype.

    `given` is what `y` was cast from, if nobody has seen yet that all numbers are finite.
    """
    xp = device.xp
    y = check.check_targets("y", y, n, specification)
    if check.is_real(y):
        if not check.check_range("y", y, specification.loss) and given is not None:
            check.check_finite("y", y, given)
        return y
    if y.ndim == 1:
        check.check_integers_fit("y", y, device, device.integer_dtype)
    with device.scope():
        y = xp.astype(y, getattr(xp, device.integer_dtype if y.ndim == 1 else specification.dtype))
        if y.ndim == 1:
            _check_label_range(specification, int(xp.min(y)), int(xp.max(y)))
        else:
            check.check_range("y", y, specification.loss)
    return y


def own_batch(specification: Specification, device: Device, x: Any, y: Any) -> Examples:
    """One example or a batch, checked, on `device`."""
    inputs, scale, single = own_inputs(specification, device, x)
    inputs = inputs[...] if isinstance(inputs, Rows) else inputs
    y, numbers = plain_targets(specification, y), specification.is_regression
    targets = own_array("y", y, device, specification.dtype, numbers=numbers, check_finite=False)
    if single and (targets.ndim == 0 or tuple(targets.shape) == (specification.outputs,)):
        targets = targets[None, ...]  # a label, or a row of targets
    targets = own_targets(specification, device, targets, inputs.shape[0], y)
    return Examples((inputs, targets), preparation(specification, targets, scale))


def own_examples(
    specification: Specification, device: Device, name: str, data: Any, *, training: bool = False
) -> Examples:
    """Data in any accepted form as arrays on `device` that fit the network.

    Rows of weight 0 are left out; for `training`, where rows have numbers, others stand in their places.
    """
    dataset = network_data(specification, device, name, data)
    if name == "training_data" and dataset.one_class and not specification.is_regression:
        known = "[...]), with all names" if dataset.class_names else f"{specification.outputs})"
        raise InvalidValueError(
            f"y: expected two classes or more to learn from, got one for all {len(dataset)} examples; "
            f"if that is meant, say nn_any.Dataset(x, y, classes={known}"
        )
    arrays: Batch = (dataset.x, dataset.y)
    if dataset.sample_weight is not None:
        arrays = _weighted_arrays(name, dataset, specification.dtype, training=training)
    x = _fitted(arrays[0], specification.input_shape)
    y = check.check_targets("y", arrays[1], x.shape[0], specification)
    if isinstance(data, Dataset) and specification.dtype == "float32":
        for each, array in (("x", x), ("y", y)):
            if array.dtype == device.xp.float64:  # steps cast rows as they come
                if isinstance(array, Rows):
                    array.check_finite(each, "float32")
                else:
                    check.check_finite(each, device.asarray(array, "float32"), array)
    if dataset.label_range is not None:
        _check_label_range(specification, *dataset.label_range)
    else:
        check.check_range("y", y, specification.loss)
    return Examples((x, y, *arrays[2:]), preparation(specification, y, dataset.scale))


def _weighted_arrays(name: str, dataset: Dataset, dtype: str, *, training: bool) -> Batch:
    """``(x, y, weights)``, the weights of mean 1; no row of weight 0 counts, whatever its numbers.

    While training, a row of weight 0 has the numbers of one that counts (each of these in turn), so that the examples
    keep their places and a `BatchNorm` sees data that are meant. Elsewhere rows of weight 0 are left out.
    """
    device, xp = dataset.device, dataset.device.xp
    with device.scope():
        x, y, w = dataset.x, dataset.y, device.asarray(dataset.sample_weight, dtype)
        mean, smallest = to_numpy(xp.stack([xp.mean(w), xp.min(w)])).tolist()
        if not 0 < mean < math.inf:  # rows taken from weighted data may all have weight 0
            raise InvalidValueError(
                f"{name}: expected sample weights of a positive, finite mean, got {mean:g}; "
                "take rows that have a weight above 0"
            )
        if smallest == 0:
            counts = to_numpy(w) > 0
            rows = there = np.flatnonzero(counts)
            if training:
                rows = np.arange(len(counts))
                rows[~counts] = np.resize(there, len(counts) - len(there))
            index = device.asarray(rows, device.integer_dtype)
            x, y = taken(x, rows, device), xp.take(y, index, axis=0)
            if not training:
                w, mean = xp.take(w, index, axis=0), mean * len(counts) / len(there)
        return x, y, w / mean


def _fitted(x: Any, input_shape: Shape) -> Any:
    """An array (n, ...), or `Rows`, with examples of this shape, whose numbers are as many."""
    if not isinstance(x, Rows):
        return check.check_inputs("x", x, input_shape)
    check.check_input_shape("x", x.shape, input_shape)
    return x.reshaped(input_shape)


def preparation(specification: Specification, y: Array, scale: float | None = None) -> Preparation:
    """How rows become reals, where the targets are like `y`."""
    return Preparation(specification.dtype, specification.outputs, scale, labels=y.ndim == 1)


def _check_label_range(specification: Specification, smallest: int, largest: int) -> None:
    outputs = specification.outputs
    if specification.is_regression:
        check.check_extremes("y", smallest, largest, specification.loss)
    else:
        remedy = f"the network has {outputs} output(s): number the classes from 0, or build it with more"
        check.check_labels("y", smallest, largest, specification.classes, remedy)
