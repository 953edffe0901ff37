"""The book's ``network2``: cross-entropy, weight decay, better first weights, and monitors; whole batches on a device.

Where other ports of the program differ from the book, this is the book: `Network.total_cost` adds the squares of the
weights once, not once an example.
"""

import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import nn_any.network
from nn_any.backends import Device, to_numpy
from nn_any.book import network
from nn_any.book.mnist_loader import vectorized_result
from nn_any.book.network import as_row, sigmoid, sigmoid_prime
from nn_any.core import activations, losses, options
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.optimizers import SGD
from nn_any.core.regularization import global_norm
from nn_any.core.typing import Array
from nn_any.datasets import Dataset, as_dataset
from nn_any.files import write_atomically
from nn_any.training import Callback, EarlyStopping, TrainingRun

__all__ = ["CrossEntropyCost", "Network", "QuadraticCost", "load", "sigmoid", "sigmoid_prime", "vectorized_result"]

_SIGMOID = activations.get("sigmoid")


class _Cost:
    """A cost by its name in `nn_any.losses`, for columns."""

    loss = ""

    @classmethod
    def fn(cls, a: Any, y: Any) -> Array:
        """C for columns a and y (k, 1), NumPy or on a device: (). 0 ln 0 is 0; a certain answer that is wrong: ∞."""
        (a, y), device = _rows(a, y)
        with device.scope():
            return losses.get(cls.loss)(a, y, xp=device.xp)

    @classmethod
    def delta(cls, z: Any, a: Any, y: Any) -> Array:
        """δ = ∂C/∂z for columns z, a = σ(z) and y (k, 1): (k, 1)."""
        (a, y, z), device = _rows(a, y, a if z is None else z)
        with device.scope():
            return losses.get(cls.loss).error(_SIGMOID, z, a, y, xp=device.xp)[:, None]


def _rows(*columns: Any) -> tuple[list[Array], Device]:
    """Columns a, y, z (k, 1) as rows (k,), all where the first one is and in its dtype, and where that is."""
    rows = [as_row(name, column) for name, column in zip("ayz", columns, strict=False)]
    device = Device.of(rows[0])
    with device.scope():
        return [rows[0], *(device.xp.astype(device.asarray(row), rows[0].dtype) for row in rows[1:])], device


class QuadraticCost(_Cost):
    """C = ½ ‖a - y‖² for one example, with δ = (a - y) σ'(z) (Nielsen, chapter 1, equation 6)."""

    loss = "quadratic"


class CrossEntropyCost(_Cost):
    """C = -Σ [y ln a + (1 - y) ln(1 - a)] for one example, with δ = a - y (Nielsen, chapter 3, equation 63).

    Examples
    --------
    >>> round(float(CrossEntropyCost.fn([[0.5], [1.0]], [[1.0], [1.0]])), 4)
    0.6931
    """

    loss = "cross_entropy"


_COSTS: dict[str, type[_Cost]] = {cost.__name__: cost for cost in (QuadraticCost, CrossEntropyCost)}


class Network(network.Network):
    """The network of the book's third chapter.

    `weights`, `biases`, `feedforward` and `backprop` are those of `nn_any.book.network.Network`.

    Parameters
    ----------
    sizes : list of int
        The number of neurons in each layer: ``[784, 30, 10]``.
    cost : QuadraticCost or CrossEntropyCost
        The class itself.
    device, dtype, seed
        As for `nn_any.book.network.Network`.

    Examples
    --------
    >>> net = Network([2, 3, 1], cost=QuadraticCost, device="numpy", seed=0)
    >>> data = [([[0.0], [1.0]], [[1.0]]), ([[1.0], [1.0]], [[0.0]])]
    >>> _, _, _, training_accuracy = net.SGD(data, 1, 1, 0.5, monitor_training_accuracy=True)
    Epoch 0 training complete
    Accuracy on training data: 1 / 2
    <BLANKLINE>
    >>> training_accuracy
    [1]
    """

    def __init__(
        self,
        sizes: Sequence[int],
        cost: type[_Cost] = CrossEntropyCost,
        device: str | Device | None = None,
        dtype: str = "float32",
        seed: int | None = None,
    ) -> None:
        if cost not in _COSTS.values():
            raise InvalidTypeError(
                f"cost: expected the class QuadraticCost or CrossEntropyCost, got {cost!r}; "
                "for a cost of your own use nn_any.Network(..., loss=...)"
            )
        super().__init__(sizes, device, dtype, seed)
        self.cost = cost
        self.default_weight_initializer()

    def default_weight_initializer(self) -> None:
        """Begin anew: weights N(0, 1/inputs), biases N(0, 1), drawn from the seed."""
        self._begin("scaled_normal")

    def large_weight_initializer(self) -> None:
        """Begin anew as in the first chapter: weights and biases N(0, 1), drawn from the seed."""
        self._begin("normal")

    def _begin(self, initializer: str) -> None:
        net, loss = self.net, self.cost.loss
        self.net = nn_any.network.Network(
            self.sizes, loss=loss, initializer=initializer, device=net.device, dtype=net.dtype, seed=net.seed
        )

    def SGD(  # type: ignore[override]  # noqa: N802 - the book's name and signature
        self,
        training_data: Any,
        epochs: int,
        mini_batch_size: int,
        eta: float,
        lmbda: float = 0.0,
        evaluation_data: Any = None,
        monitor_evaluation_cost: bool = False,
        monitor_evaluation_accuracy: bool = False,
        monitor_training_cost: bool = False,
        monitor_training_accuracy: bool = False,
        early_stopping_n: int = 0,
    ) -> tuple[list[float], list[int], list[float], list[int]]:
        """Train, and after each epoch print and keep what is monitored.

        Parameters
        ----------
        training_data, evaluation_data : iterable of pairs ``(x, y)`` of columns; a zip will do
            y may be columns or integer labels. A tuple ``(x, y)`` of arrays and a `nn_any.Dataset` do as well.
        epochs, mini_batch_size : int
        eta : float
            The learning rate.
        lmbda : float
            λ of weight decay: each step multiplies the weights by 1 - η λ / n for n training examples, and leaves
            the biases alone (Nielsen, chapter 3, equation 93).
        monitor_... : bool
            What to print and return. Costs are those of `total_cost`.
        early_stopping_n : int
            Above 0: stop when the accuracy on the evaluation data has not been better for so many epochs.

        Returns
        -------
        evaluation_cost, evaluation_accuracy, training_cost, training_accuracy : lists
            One entry an epoch, empty for what is not monitored. Accuracies are numbers of examples.
        """
        lmbda = options.number("lmbda", lmbda)
        early_stopping_n = options.integer("early_stopping_n", early_stopping_n, minimum=0)
        asked = [monitor_training_cost, monitor_training_accuracy, monitor_evaluation_cost, monitor_evaluation_accuracy]
        watched = any(asked[2:]) or early_stopping_n > 0
        if watched and evaluation_data is None:
            raise InvalidValueError(
                "evaluation_data: expected data to monitor or to stop by, got None; pass evaluation_data="
            )
        place = self.net.device, self.net.dtype
        training = as_dataset("training_data", training_data, *place)
        evaluation = as_dataset("evaluation_data", evaluation_data, *place) if watched else None
        monitor = _Monitor(self, lmbda, training, evaluation, asked)
        patience = max(1, early_stopping_n)
        stopping = EarlyStopping("validation_accuracy", patience=patience, restore_best=False)
        history = self.net.fit(
            training,
            epochs=epochs,
            batch_size=mini_batch_size,
            optimizer=SGD(eta, weight_decay=lmbda / len(training)),
            validation_data=evaluation,
            callbacks=[monitor, stopping] if early_stopping_n else [monitor],
            monitor_training=any(asked[:2]),
        )
        if len(history) < epochs:
            print(f"Early stopping: no better accuracy on evaluation data in {early_stopping_n} epochs")
        training_cost, training_accuracy, *evaluated = monitor.found
        return evaluated[0], evaluated[1], training_cost, training_accuracy

    def update_mini_batch(self, mini_batch: Any, eta: float, lmbda: float = 0.0, n: int = 1) -> None:
        """One step on a list of pairs of columns, with weight decay λ / n for n training examples in all."""
        decay = options.number("lmbda", lmbda) / options.integer("n", n, minimum=1)
        before = self.net.weights if decay else []
        super().update_mini_batch(mini_batch, eta)
        if decay:
            with self.net.device.scope():
                self.weights = [w - (eta * decay) * old for w, old in zip(self.net.weights, before, strict=True)]

    def accuracy(self, data: Any, convert: bool = False) -> int:
        """How many of the examples come out right; y may be columns or labels, whatever `convert` says of it."""
        return self.net.evaluate(data)

    def total_cost(self, data: Any, lmbda: float, convert: bool = False) -> float:
        """The average cost of the examples, plus ½ λ / len(data) times the sum of the squares of all weights.

        The squares are added once (Nielsen, chapter 3, equation 87); some ports add them once an example, which
        multiplies them by the number of examples. `convert` is as for `accuracy`.
        """
        dataset = as_dataset("data", data, self.net.device, self.net.dtype)
        return self.net.loss(dataset) + weight_penalty(self, options.number("lmbda", lmbda), len(dataset))

    def save(self, filename: str | os.PathLike[str]) -> None:
        """Write the book's JSON: sizes, weights, biases and the name of the cost; whole, or not at all.

        It holds neither the seed nor where training stands; ``net.net.save`` writes a model file that does.
        """
        sizes = [int(size) for size in self.sizes]
        weights, biases = ([to_numpy(array).tolist() for array in part] for part in (self.weights, self.biases))
        content = {"sizes": sizes, "weights": weights, "biases": biases, "cost": self.cost.__name__}
        write_atomically(filename, json.dumps(content).encode())


def weight_penalty(network: Network, lmbda: float, n: int) -> float:
    """½ λ / n times the sum of the squares of all weights."""
    if not lmbda:
        return 0.0
    net = network.net
    with net.device.scope():
        norm = global_norm((tuple(net.weights),), lead=0, xp=net.device.xp)
    return 0.5 * (lmbda / n) * float(to_numpy(norm)) ** 2  # the square of a float32 may be beyond float32


_COLUMNS = ("training_loss", "training_correct", "validation_loss", "validation_correct")
"""Of the history, in the order of the book's lines."""


class _Monitor(Callback):
    """Prints the book's lines after each epoch, and keeps the numbers in them."""

    def __init__(
        self, net: Network, lmbda: float, training: Dataset, evaluation: Dataset | None, asked: Sequence[bool]
    ) -> None:
        parts = [training, training if evaluation is None else evaluation]
        self._net, self._lmbda, self._asked = net, lmbda, asked
        self._sizes, self._counts = list(map(len, parts)), list(map(network.examples_that_count, parts))
        self.found: list[list[Any]] = [[] for _ in asked]

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Print what is asked for."""
        print(f"Epoch {len(run.history) - 1} training complete")
        for i in (i for i, wanted in enumerate(self._asked) if wanted):
            part = ("training", "evaluation")[i // 2]
            value = run.record[_COLUMNS[i]]
            if i % 2:
                print(f"Accuracy on {part} data: {value} / {self._counts[i // 2]}")
            else:
                value += weight_penalty(self._net, self._lmbda, self._sizes[i // 2])
                print(f"Cost on {part} data: {value}")
            self.found[i].append(value)
        print(flush=True)


def load(filename: str | os.PathLike[str], device: str | Device | None = None, dtype: str = "float32") -> Network:
    """The network in a file that `Network.save` wrote; nothing in the file is run.

    Parameters
    ----------
    filename : path
    device, dtype
        As for `Network`; float64 for all the digits of a network that was trained so.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another kind of file, or its cost is neither of the two, or its arrays do not fit its sizes.
    """
    try:
        data = json.loads(Path(filename).read_text(encoding="utf-8"))
        sizes, weights, biases, cost = (data[key] for key in ("sizes", "weights", "biases", "cost"))
        sizes = [int(size) for size in sizes]
        weights, biases = ([np.array(array, dtype=np.float64) for array in part] for part in (weights, biases))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidValueError(
            f"{filename}: expected JSON with sizes, weights, biases and cost, as network2.Network.save writes it, "
            f"got something else ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(cost, str) or cost not in _COSTS:
        raise InvalidValueError(f"{filename}: expected a cost that is one of {', '.join(_COSTS)}, got {cost!r}")
    found = [array.shape for array in (*weights, *biases)]
    if found != [*((b, a) for a, b in pairwise(sizes)), *((b, 1) for b in sizes[1:])]:
        raise InvalidValueError(
            f"{filename}: expected weights and biases that fit the sizes {sizes}, got shapes {found}; use another copy"
        )
    if not all(np.isfinite(array).all() for array in (*weights, *biases)):
        raise InvalidValueError(f"{filename}: expected finite weights and biases, got others; use another copy")
    net = Network(sizes, _COSTS[cost], device=device, dtype=dtype)
    net.net.set_weights(weights, [column[:, 0] for column in biases])
    return net
