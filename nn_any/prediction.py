"""Predictor: a model that answers: outputs, classes, and how right they are. `Network` adds the training."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nn_any import metrics as scores
from nn_any import validation as check
from nn_any.backends import to_numpy
from nn_any.core import evaluation, metrics
from nn_any.core.batches import Preparation
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.typing import Array, Batch
from nn_any.datasets import Dataset, as_dataset
from nn_any.saving import Savable

_CHUNK_ELEMENTS = 2**23  # what evaluation and prediction hold at a time, in all layers together


class Predictor(Savable):
    """A model with its forward side. See `Network` for the parameters and for the forms that data may have."""

    def _inputs(self, x: Any) -> tuple[Array, bool]:
        if isinstance(x, Dataset):
            real = f" as real numbers, divided by {x.scale:g}" if x.scale else ""
            raise InvalidTypeError(f"x: expected an array, got {x!r}; pass dataset.x{real}")
        return check.check_example_or_inputs("x", self._own_array("x", x), self.input_shape)

    def _check_label_range(self, lowest: int, highest: int) -> None:
        classes = max(self.outputs, 2)
        if not (self.is_regression and self.outputs == 1):
            remedy = f"the network has {self.outputs} output(s): number the classes from 0, or build it with more"
            check.check_labels("y", lowest, highest, classes, remedy)

    def _columns(self, name: str, data: Any) -> tuple[Batch, Preparation, Dataset]:
        """Data in any form as columns on the device that fit this network, and how their rows become reals."""
        dataset = as_dataset(name, data, self.device, self.dtype)
        if name == "training_data" and dataset.one_class and not self.is_regression:
            raise InvalidValueError(
                f"y: expected two classes or more to learn from, got one for all {len(dataset)} examples; "
                f"if that is meant, say nn_any.Dataset(x, y, classes={self.outputs})"
            )
        x = check.check_inputs("x", dataset.x, self.input_shape)
        y = check.check_targets("y", dataset.y, len(dataset), self.outputs)
        if dataset.label_range is not None:
            self._check_label_range(*dataset.label_range)
        columns: Batch = (x, y)
        if dataset.sample_weight is not None:
            w = self.device.asarray(dataset.sample_weight, self.dtype)
            with self.device.scope():
                mean = float(to_numpy(self.device.xp.mean(w)))
                if not 0 < mean < math.inf:  # rows taken from weighted data may all have weight 0
                    raise InvalidValueError(f"{name}: expected sample weights of a positive, finite mean, got {mean:g}")
                columns = (x, y, w / mean)
        return columns, self._preparation(y, dataset.scale), dataset

    def _preparation(self, y: Array, scale: float | None = None) -> Preparation:
        return Preparation(self.dtype, self.outputs, scale, labels=y.ndim == 1)

    def _chunks(self, n: int) -> Iterator[slice]:
        rows = max(1, _CHUNK_ELEMENTS // self._architecture.footprint)
        return (slice(start, min(start + rows, n)) for start in range(0, n, rows))

    def _outputs(self, x: Array, scale: float | None = None) -> Array:
        """The outputs for a checked batch, (n, outputs), a chunk at a time."""
        prepare = Preparation(self.dtype, self.outputs, scale)
        predict = self.device.engine.compile(evaluation.predictor(self.layers, prepare))
        parts = [predict(self._carry, x[chunk, ...]) for chunk in self._chunks(x.shape[0])]
        with self.device.scope():
            return parts[0] if len(parts) == 1 else self.device.xp.concat(parts, axis=0)

    def feedforward(self, a: Any) -> Array:
        """The outputs for inputs `a`: (n, inputs) -> (n, outputs), one example (inputs,) -> (outputs,).

        Parameters
        ----------
        a : array, NumPy or on the network's device, or nested list; images may have the input shape or be flat

        Returns
        -------
        array on the network's device, in its dtype

        Examples
        --------
        >>> from nn_any import Network
        >>> Network([2, 3, 1], device="numpy", seed=0).feedforward([0.5, -0.5]).shape
        (1,)
        """
        x, single = self._inputs(a)
        outputs = self._outputs(x)
        return outputs[0, ...] if single else outputs

    def predict(self, x: Any) -> Array:
        """The predicted classes (n,), or for regression the outputs (n, outputs); for one example without the n.

        The class is the index of the largest output; for a single output, whether it is above ½.
        """
        outputs = self.feedforward(x)
        with self.device.scope():
            return outputs if self.is_regression else metrics.predicted_classes(outputs, xp=self.device.xp)

    def predict_proba(self, x: Any) -> Array:
        """The outputs of a classifier, (n, outputs): sigmoids lie in 0 … 1 each but need not sum to 1."""
        if self.is_regression:
            raise InvalidTypeError("predict_proba: expected a classifier, got a regression network; use predict")
        return self.feedforward(x)

    def evaluate(self, data: Any) -> int:
        """How many examples the network classifies rightly."""
        if self.is_regression:
            raise InvalidTypeError("evaluate: expected a classifier, got a regression network; use loss(data)")
        columns, prepare, _ = self._columns("data", data)
        return self._evaluate(columns, prepare)[1]

    def accuracy(self, data: Any) -> float:
        """The share of the examples that the network classifies rightly, 0 … 1."""
        if self.is_regression:
            raise InvalidTypeError("accuracy: expected a classifier, got a regression network; use loss(data)")
        columns, prepare, dataset = self._columns("data", data)
        return self._evaluate(columns, prepare)[1] / len(dataset)

    def loss(self, data: Any) -> float:
        """The loss, averaged over the examples, by their weights if the `Dataset` has any."""
        columns, prepare, _ = self._columns("data", data)
        return self._evaluate(columns, prepare)[0]

    def _evaluate(self, columns: Batch, prepare: Preparation) -> tuple[float, int]:
        """The average loss and the number of right answers; the device is waited for once, at the end."""
        n = columns[0].shape[0]
        evaluate: Callable[..., tuple[Array, Array]] = self.device.engine.compile(
            evaluation.evaluator(self.layers, self._loss, prepare)
        )
        parts = [evaluate(self._carry, tuple(column[chunk, ...] for column in columns)) for chunk in self._chunks(n)]
        sums = [(float(to_numpy(loss)), int(to_numpy(correct))) for loss, correct in parts]
        return sum(loss for loss, _ in sums) / n, sum(correct for _, correct in sums)

    def score(self, data: Any, *metrics: scores.Metric) -> dict[str, Any]:
        """Further measures of how right the network is, on the host.

        Parameters
        ----------
        data : Dataset, tuple ``(x, y)`` of arrays, or iterable of pairs of columns
        *metrics : str or function
            As `nn_any.metrics` has them: ``"f1"``, ``"top_5_accuracy"``, ``nn_any.metrics.confusion_matrix``, or a
            function of NumPy arrays, targets and outputs.

        Returns
        -------
        dict
            By the metrics' names.

        Examples
        --------
        >>> import nn_any as nn
        >>> net = nn.Network([2, 3], device="numpy", seed=0)
        >>> sorted(net.score(([[0.0, 1.0], [1.0, 0.0]], [0, 2]), "f1", "top_2_accuracy"))
        ['f1', 'top_2_accuracy']
        """
        columns, prepare, _ = self._columns("data", data)
        return self._scores(columns, prepare, scores.resolve(metrics, self.is_regression, self.outputs))

    def _scores(self, columns: Batch, prepare: Preparation, functions: Mapping[str, scores.Function]) -> dict[str, Any]:
        if not functions:
            return {}
        x, y, *_ = columns
        outputs, targets = to_numpy(self._outputs(x, prepare.scale)), to_numpy(y)
        return {name: function(targets, outputs) for name, function in functions.items()}

    def _evaluation(
        self, name: str, columns: Batch, prepare: Preparation, functions: Mapping[str, scores.Function]
    ) -> dict[str, Any]:
        loss, correct = self._evaluate(columns, prepare)
        record: dict[str, Any] = {f"{name}_loss": loss}
        if not self.is_regression:
            record |= {f"{name}_correct": correct, f"{name}_accuracy": correct / columns[0].shape[0]}
        found = self._scores(columns, prepare, functions)
        return record | {f"{name}_{metric}": value for metric, value in found.items()}
