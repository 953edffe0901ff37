"""Committee: many networks side by side, which answer one by one or as one. `Ensemble` adds their training."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from nn_any import metrics as scores
from nn_any.backends import to_numpy
from nn_any.backends.blocks import block_sizes, run_blocks
from nn_any.core import evaluation, members, metrics
from nn_any.core.batches import Preparation
from nn_any.core.errors import InvalidTypeError
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.core.typing import Array, Batch, Carry
from nn_any.history import Record
from nn_any.prediction import _CHUNK_ELEMENTS
from nn_any.trainable import Trainable


def _swapped(function: Callable[[Carry, Array], Array], x: Array, carry: Carry) -> Array:
    return function(carry, x)


class Spread(NamedTuple):
    """How the members' outputs are spread."""

    mean: Array
    """(n, outputs)."""
    deviation: Array
    """The standard deviation over the members, (n, outputs)."""


class Committee(Trainable):
    """Networks of the same layers with one more leading axis on all their arrays. See `Ensemble`."""

    seeds: tuple[int, ...]
    diverged: np.ndarray
    threads: int | None
    _carries: list[Carry]
    _sizes: list[int]

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def _carry(self) -> Carry:
        """All members' state, side by side; between calls it lies in blocks of members."""
        if len(self._carries) == 1:
            return self._carries[0]
        with self.device.scope():
            carry: Carry = tree_map(lambda *leaves: self.device.xp.concat(leaves, axis=0), *self._carries)
        return carry

    @_carry.setter
    def _carry(self, carry: Carry) -> None:
        numbers = sum(math.prod(w.shape) for w in tree_leaves(carry[0])) // len(self)
        self._sizes = block_sizes(self.device, len(self), numbers * np.dtype(self.dtype).itemsize, self.threads)
        with self.device.scope():
            self._carries = [tree_map(lambda leaf, at=at: leaf[at, ...], carry) for at in self._places]

    @property
    def _places(self) -> list[slice]:
        """Which members each block has."""
        ends = np.cumsum(self._sizes)
        return [slice(int(end - size), int(end)) for size, end in zip(self._sizes, ends, strict=True)]

    def _member(self, i: int) -> Carry:
        """The state of member i."""
        block, place = next((b, i - at.start) for b, at in enumerate(self._places) if i < at.stop)
        with self.device.scope():
            carry: Carry = tree_map(lambda leaf: leaf[place, ...], self._carries[block])
        return carry

    def _chunks(self, n: int) -> Iterator[slice]:
        rows = max(1, _CHUNK_ELEMENTS // (self._architecture.footprint * len(self)))
        return (slice(start, min(start + rows, n)) for start in range(0, n, rows))

    def _in_blocks(self, function: Callable[[Carry], Any]) -> list[Any]:
        """What a function of a block's carry gives for each block, several at once where that pays."""
        jobs = [lambda carry=carry: function(carry) for carry in self._carries]
        return run_blocks(self.device, jobs, self.threads)

    def _members_chunks(self, x: Array, scale: float | None) -> Iterator[Array]:
        """The outputs of all members, (m, rows, outputs), a chunk at a time."""
        prepare = Preparation(self.dtype, self.outputs, scale)
        predict = self.device.engine.compile(evaluation.predictor(self.layers, prepare))
        for chunk in self._chunks(x.shape[0]):
            parts = self._in_blocks(partial(_swapped, predict, x[chunk, ...]))
            with self.device.scope():
                yield parts[0] if len(parts) == 1 else self.device.xp.concat(parts, axis=0)

    def _reduced(self, function: Callable[[Array], Array], x: Array, scale: float | None = None) -> Array:
        """A function of the outputs (m, n, outputs) -> (n, ...), of the members that have not diverged."""
        xp, compiled = self.device.xp, self.device.engine.compile(function)
        there = np.flatnonzero(~self.diverged)
        chosen = self.device.asarray(there) if 0 < len(there) < len(self) else None
        parts = []
        for outputs in self._members_chunks(x, scale):
            with self.device.scope():
                outputs = outputs if chosen is None else xp.take(outputs, chosen, axis=0)
            parts.append(compiled(outputs))
        with self.device.scope():
            return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)

    def _outputs(self, x: Array, scale: float | None = None) -> Array:
        """The mean of the members' outputs for a checked batch, (n, outputs)."""
        return self._reduced(members.mean, x, scale)

    def _all_outputs(self, x: Array, scale: float | None = None) -> Array:
        """The outputs of all members for a checked batch, (m, n, outputs)."""
        parts = list(self._members_chunks(x, scale))
        with self.device.scope():
            return parts[0] if len(parts) == 1 else self.device.xp.concat(parts, axis=1)

    def member_outputs(self, x: Any) -> Array:
        """The outputs of each member: (n, inputs) -> (m, n, outputs), one example (inputs,) -> (m, outputs)."""
        inputs, single = self._inputs(x)
        outputs = self._all_outputs(inputs)
        return outputs[:, 0, ...] if single else outputs

    def mean(self, x: Any) -> Array:
        """The mean of the members' outputs: (n, inputs) -> (n, outputs); the same as `feedforward`."""
        return self.feedforward(x)

    def spread(self, x: Any) -> Spread:
        """The mean and the standard deviation of the members' outputs, (n, outputs) each; a tuple.

        Examples
        --------
        >>> from nn_any import Ensemble
        >>> mean, deviation = Ensemble([2, 3, 1], 5, device="numpy", seed=0).spread([[0.5, -0.5]])
        >>> mean.shape, bool(deviation[0, 0] > 0)
        ((1, 1), True)
        """
        inputs, single = self._inputs(x)
        both = [self._reduced(function, inputs) for function in (members.mean, members.deviation)]
        return Spread(*(part[0, ...] if single else part for part in both))

    def vote(self, x: Any) -> Array:
        """The class that most members name, (n,), of equally many the one with the larger sum of outputs.

        For regression the mean of the members' outputs, (n, outputs). For one example without the n.
        """
        if self.is_regression:
            return self.feedforward(x)
        inputs, single = self._inputs(x)
        classes = self._votes(inputs)
        return classes[0, ...] if single else classes

    def _votes(self, x: Array, scale: float | None = None) -> Array:
        classes = self._reduced(members.majority, x, scale)
        with self.device.scope():
            return self.device.xp.astype(classes, self.device.xp.int32)

    def predict(self, x: Any) -> Array:
        """The `vote`: classes (n,), or for regression the mean outputs (n, outputs)."""
        return self.vote(x)

    def evaluate(self, data: Any) -> int:
        """How many examples the vote classifies rightly."""
        if self.is_regression:
            raise InvalidTypeError("evaluate: expected classifiers, got regression networks; use losses(data)")
        (x, y, *_), prepare, _ = self._columns("data", data)
        labels, votes = to_numpy(y), to_numpy(self._votes(x, prepare.scale))
        if labels.ndim == 2:
            labels = to_numpy(metrics.predicted_classes(y, xp=self.device.xp))
        return int(np.count_nonzero(votes == labels))

    def accuracy(self, data: Any) -> float:
        """The share of the examples that the vote classifies rightly, 0 … 1."""
        right, (columns, _, _) = self.evaluate(data), self._columns("data", data)
        return right / int(columns[0].shape[0])

    def loss(self, data: Any) -> float:
        """The mean of the members' losses."""
        losses = self.losses(data)
        return float(np.mean(losses[~self.diverged] if not self.diverged.all() else losses))

    def losses(self, data: Any) -> np.ndarray:
        """The loss of each member, averaged over the examples: NumPy array, (m,), float64."""
        columns, prepare, _ = self._columns("data", data)
        return self._evaluate_members(columns, prepare)[0]

    def accuracies(self, data: Any) -> np.ndarray:
        """The share of the examples that each member classifies rightly: NumPy array, (m,), float64."""
        if self.is_regression:
            raise InvalidTypeError("accuracies: expected classifiers, got regression networks; use losses(data)")
        columns, prepare, _ = self._columns("data", data)
        return self._evaluate_members(columns, prepare)[1] / int(columns[0].shape[0])

    def best(self, data: Any) -> int:
        """The number of the member with the lowest loss on these (validation) data; ``ensemble[best]`` is the network.

        Members that have diverged come last.
        """
        losses = self.losses(data)
        return int(np.argmin(np.where(self.diverged & ~self.diverged.all() | np.isnan(losses), np.inf, losses)))

    def _evaluate_members(self, columns: Batch, prepare: Preparation) -> tuple[np.ndarray, np.ndarray]:
        """The average loss and the number of right answers of each member, (m,) each."""
        n = int(columns[0].shape[0])
        evaluate = self.device.engine.compile(evaluation.evaluator(self.layers, self._loss, prepare))
        chunks = [tuple(column[chunk, ...] for column in columns) for chunk in self._chunks(n)]

        def sums(carry: Carry) -> list[np.ndarray]:
            parts = [evaluate(carry, chunk) for chunk in chunks]
            return [
                sum(np.asarray(to_numpy(part[which])).astype(dtype) for part in parts)  # type: ignore[misc]
                for which, dtype in ((0, "float64"), (1, "int64"))
            ]

        losses, correct = (np.concatenate(parts) for parts in zip(*self._in_blocks(sums), strict=True))
        return losses / n, correct

    def _evaluation(
        self, name: str, columns: Batch, prepare: Preparation, functions: Mapping[str, scores.Function]
    ) -> Record:
        losses, correct = self._evaluate_members(columns, prepare)
        found = {"loss": losses}
        if not self.is_regression:
            found |= {"correct": correct, "accuracy": correct / int(columns[0].shape[0])}
        if functions:
            outputs, targets = to_numpy(self._all_outputs(columns[0], prepare.scale)), to_numpy(columns[1])
            found |= {metric: np.array([f(targets, a) for a in outputs]) for metric, f in functions.items()}
        return self._told({f"{name}_{measure}": values for measure, values in found.items()})

    def _told(self, columns: Mapping[str, np.ndarray]) -> Record:
        """Each column's mean over the members that have not diverged, and the members' own numbers beside it."""
        record: Record = {}
        for name, values in columns.items():
            there = ~self.diverged & ~np.isnan(values.reshape(len(self), -1)).any(axis=1)
            mean = np.mean(values[there], axis=0) if there.any() else np.asarray(math.nan)
            record[name] = float(mean) if mean.ndim == 0 else mean
            record[f"member_{name}"] = values.tolist()
        return record
