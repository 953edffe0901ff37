"""What a snapshot of a network gives: outputs, losses, measures and gradients. Functions of values; nothing is kept."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from nn_any import metrics as measures
from nn_any.backends import Device, to_numpy
from nn_any.backends.blocks import join, run_blocks
from nn_any.core import evaluation, members
from nn_any.core.batches import Preparation
from nn_any.core.errors import InvalidTypeError, caller_level
from nn_any.core.metrics import count_unclear, predicted_classes
from nn_any.core.specification import Specification
from nn_any.core.state import Record, Snapshot, TrainState
from nn_any.core.typing import Array, Batch, Params
from nn_any.datasets.network_input import Examples
from nn_any.datasets.rows import Rows

CHUNK_ELEMENTS = 2**23
"""How many numbers evaluation and prediction hold at a time, in all layers together."""


def chunks(footprint: int, n: int, most: int = CHUNK_ELEMENTS) -> list[slice]:
    """Slices of n examples, at most so many each, and so short that the layers' outputs fit in memory."""
    rows = max(1, min(CHUNK_ELEMENTS // footprint, most))
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]


def pieces(device: Device, columns: Batch, slices: list[slice]) -> Iterator[Batch]:
    """The columns, one slice of them after another.

    Where rows come from the host, the next ones are made while the device is at work on those before, and no more of
    them than these two wait there.
    """
    for rows in slices:
        piece = tuple([column[rows, ...] for column in columns])
        if isinstance(columns[0], Rows):
            device.synchronize()
        yield piece


def outputs(snapshot: Snapshot, device: Device, x: Array, scale: float | None = None) -> Array:
    """The outputs for a checked batch: (n, outputs); (m, n, outputs) for an ensemble of m networks."""
    return map_outputs(lambda part: part, snapshot, device, x, scale, axis=-2)


def map_outputs(
    function: Callable[[Array], Array],
    snapshot: Snapshot,
    device: Device,
    x: Array,
    scale: float | None = None,
    axis: int = 0,
) -> Array:
    """A function of the outputs, applied to one chunk of examples after another; the results joined along `axis`."""
    return _concat(device, [function(part) for part in _output_chunks(snapshot, device, x, scale)], axis)


def reduced_outputs(
    function: Callable[[Array], Array], snapshot: Snapshot, device: Device, x: Array, scale: float | None = None
) -> Array:
    """A function of the outputs (m, n, outputs) -> (n, ...) of those members of an ensemble that have not diverged."""
    there = np.flatnonzero(~diverged(snapshot))
    chosen = device.asarray(there) if 0 < len(there) < len(snapshot.progress.members) else None
    compiled = device.engine.compile(function)

    def reduce(part: Array) -> Array:
        if chosen is not None:
            with device.scope():
                part = device.xp.take(part, chosen, axis=0)
        return compiled(part)

    return map_outputs(reduce, snapshot, device, x, scale)


def votes(snapshot: Snapshot, device: Device, x: Array, scale: float | None = None) -> Array:
    """The class that most members predict, (n,), int32; of a multilabel ensemble the answers, (n, outputs)."""
    count = members.majority_labels if snapshot.specification.is_multilabel else members.majority
    classes = reduced_outputs(count, snapshot, device, x, scale)
    with device.scope():
        return device.xp.astype(classes, device.xp.int32)


def correct_votes(snapshot: Snapshot, device: Device, examples: Examples) -> int:
    """How many examples the votes of an ensemble classify correctly."""
    x, y, *_ = examples.arrays
    labels, voted = to_numpy(y), to_numpy(votes(snapshot, device, x, examples.prepare.scale))
    if snapshot.specification.is_multilabel:
        return int(np.count_nonzero((voted == (labels.reshape(voted.shape) > 0.5)).all(axis=1)))
    if labels.ndim == 2:
        with device.scope():
            labels = to_numpy(predicted_classes(y, xp=device.xp))
    return int(np.count_nonzero(voted == labels))


def named(specification: Specification, answers: np.ndarray) -> Any:
    """What a classifier answers, in names.

    Classes (n,) become an array of their names; answers of a multilabel network, (n, outputs), become a tuple for each
    example, with the names of the outputs that are 1. One example has one name, or one tuple.
    """
    schema = specification.schema
    if specification.is_multilabel:
        each = np.array(schema.target_names or [str(i) for i in range(specification.outputs)])
        rows = [tuple(each[row > 0].tolist()) for row in answers.reshape(-1, specification.outputs)]
        return rows if answers.ndim == 2 else rows[0]
    if schema.class_names is None:
        return answers if answers.ndim else int(answers)
    if not answers.ndim:
        return schema.class_names[int(answers)]
    alike = len(set(map(type, schema.class_names))) == 1
    return np.array(schema.class_names, dtype=None if alike else object)[answers]


def losses_and_correct(snapshot: Snapshot, device: Device, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """The average loss, float64, and the number of right answers, int64: () each; (m,) for an ensemble."""
    specification = snapshot.specification
    kind = specification.layers, specification.loss, examples.prepare
    evaluate = device.engine.compile(evaluation.evaluator(*kind, multilabel=specification.is_multilabel))
    found = [
        _map_blocks(lambda state: evaluate(state, part), snapshot, device)  # noqa: B023
        for part in pieces(device, examples.arrays, chunks(specification.footprint, examples.size))
    ]  # the device works through all parts before it is waited for
    sums = [tuple(zip(*block, strict=True)) for block in zip(*found, strict=True)]
    losses = [_total(device, losses, "float64") for losses, _ in sums]
    correct = [_total(device, correct, "int64") for _, correct in sums]
    if specification.members is None:
        return losses[0] / examples.size, correct[0]
    return np.concatenate(losses) / examples.size, np.concatenate(correct)


def scores(
    snapshot: Snapshot, device: Device, examples: Examples, functions: Mapping[str, measures.Function]
) -> dict[str, Any]:
    """Measures of the outputs, on the host, by their names; for an ensemble an array with one entry per member."""
    if not functions:
        return {}
    x, y, *_ = examples.arrays
    answers, targets = to_numpy(outputs(snapshot, device, x, examples.prepare.scale)), to_numpy(y)
    if snapshot.specification.members is None:
        return measures.measure(functions, targets, answers)
    each = [measures.measure(functions, targets, member) for member in answers]
    return {name: _of_members(name, [found[name] for found in each]) for name in functions}


def _of_members(name: str, values: list[Any]) -> np.ndarray:
    """What a metric gave for each member of an ensemble as one array."""
    try:
        array = np.array(values)
    except ValueError:  # of several shapes
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise InvalidTypeError(
            f"metrics: expected a number, or arrays of one shape, for each member from {name!r}, got {values[0]!r}; "
            "return a number"
        )
    return array


def warn_of_unclear_targets(specification: Specification, device: Device, given: Mapping[str, Examples]) -> None:
    """Warn once if targets (n, outputs) of a classifier have rows that do not name exactly one class.

    `given` are the examples by the names of the arguments that they came from. A number or two of each is read back.
    """
    if specification.task != "classification":
        return
    if specification.outputs == 1:
        _warn_of_quantities(specification, device, given)
        return
    count, found = device.engine.compile(count_unclear), []
    for name, examples in given.items():
        y = examples.arrays[1]
        if y.ndim == 2 and (unclear := int(to_numpy(count(y)))):
            found.append(f"{unclear} of {examples.size} in {name}")
    if found:
        warnings.warn(
            f"y: expected one class in each row of targets, got rows with none or several entries above 1/2 that do "
            f"not sum to 1 ({', '.join(found)}); accuracy, f1 and whatever else counts classes takes the largest "
            "entry for the class: if each output is an answer of yes or no, build the network with task='multilabel'; "
            "else go by the loss, or by a metric function of your own",
            stacklevel=caller_level(),
        )


def _warn_of_quantities(specification: Specification, device: Device, given: Mapping[str, Examples]) -> None:
    """Warn once if targets (n, 1) lie beyond what the one output of a classifier can give."""
    if not specification.gives_probabilities:
        return
    for name, examples in given.items():
        y = examples.arrays[1]
        if y.ndim != 2:
            continue
        smallest, largest = to_numpy(device.engine.compile(evaluation.extremes)(y)).tolist()
        if smallest < 0 or largest > 1 + 1e-6:
            warnings.warn(
                f"y: expected 0 for no and 1 for yes, since the output of the network is within 0 … 1, got numbers "
                f"from {smallest:g} to {largest:g} in {name}; if they are quantities, build the network with "
                "loss='mean_squared_error'",
                stacklevel=caller_level(),
            )
            return


def record(
    name: str, snapshot: Snapshot, device: Device, examples: Examples, functions: Mapping[str, measures.Function]
) -> Record:
    """What a history holds of these data after an epoch, such as ``validation_loss``."""
    losses, correct = losses_and_correct(snapshot, device, examples)
    found: dict[str, Any] = {"loss": losses}
    if not snapshot.specification.is_regression:
        found |= {"correct": correct, "accuracy": correct / examples.size}
    found |= scores(snapshot, device, examples, functions)
    columns = {f"{name}_{measure}": value for measure, value in found.items()}
    if snapshot.specification.members is not None:
        return member_record(columns, diverged(snapshot))
    numbers = {"loss": float, "correct": int, "accuracy": float}
    return columns | {f"{name}_{m}": number(found[m]) for m, number in numbers.items() if m in found}


def member_record(columns: Mapping[str, np.ndarray], diverged: np.ndarray) -> Record:
    """For each column the mean over the members that have not diverged, and beside it each member's own number."""
    record: Record = {}
    for name, values in columns.items():
        there = ~diverged & ~np.isnan(values.reshape(len(diverged), -1)).any(axis=1)
        mean = np.mean(values[there], axis=0) if there.any() else np.asarray(np.nan)
        record[name] = float(mean) if mean.ndim == 0 else mean
        record[f"member_{name}"] = values.tolist()
    return record


def diverged(snapshot: Snapshot) -> np.ndarray:
    """Which members of an ensemble have diverged: (m,), bool."""
    return np.array([member.diverged for member in snapshot.progress.members], dtype=bool)


def gradients(snapshot: Snapshot, device: Device, examples: Examples, *, training: bool = False) -> Params:
    """The gradients of the loss, averaged over the examples, in the structure of the parameters."""
    specification = snapshot.specification
    differentiate = evaluation.differentiator(
        specification.layers, specification.loss, examples.prepare, training=training
    )
    found: Params = device.engine.compile(differentiate)(join(device, snapshot.blocks), examples.arrays)[1]
    return found


def is_finite(device: Device, params: Params) -> bool:
    """Whether every parameter is finite; one value is read back."""
    return bool(to_numpy(device.engine.compile(evaluation.all_finite)(params)))


def _output_chunks(snapshot: Snapshot, device: Device, x: Array, scale: float | None) -> Iterator[Array]:
    """The outputs for some examples at a time: (rows, outputs), or (m, rows, outputs)."""
    specification = snapshot.specification
    prepare = Preparation(specification.dtype, specification.outputs, scale)
    predict = device.engine.compile(evaluation.predictor(specification.layers, prepare))
    for (rows,) in pieces(device, (x,), chunks(specification.footprint, x.shape[0])):
        yield _concat(device, _map_blocks(lambda state: predict(state, rows), snapshot, device), axis=0)  # noqa: B023


def _map_blocks(function: Callable[[TrainState], Any], snapshot: Snapshot, device: Device) -> list[Any]:
    """A function of each block's state; several blocks at once where that pays."""
    if (ensemble := snapshot.specification.members) is None:
        return [function(snapshot.blocks[0])]
    return run_blocks(device, [partial(function, state) for state in snapshot.blocks], ensemble.threads)


def _concat(device: Device, parts: list[Array], axis: int) -> Array:
    if len(parts) == 1:
        return parts[0]
    with device.scope():
        return device.xp.concat(parts, axis=axis)


def _total(device: Device, parts: tuple[Array, ...], dtype: str) -> np.ndarray:
    """The sum of the parts, added up in `dtype` on the host, which reads them at once."""
    if len(parts) == 1:
        return np.asarray(to_numpy(parts[0]).astype(dtype))
    with device.scope():
        together = device.xp.stack(parts)
    return np.asarray(sum(to_numpy(together).astype(dtype)))
