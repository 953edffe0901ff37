"""The book's ``network``: columns in, columns out, and the same names; underneath, whole batches on a device."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import numpy as np

import nn_any.network
from nn_any import validation as check
from nn_any.backends import Device, is_host, to_numpy
from nn_any.core import activations
from nn_any.core.errors import InvalidValueError
from nn_any.core.typing import Array
from nn_any.datasets import Dataset, as_dataset
from nn_any.training.history import History
from nn_any.training.run import Callback, TrainingRun


class BookLines(Callback):
    """Prints the book's line after each epoch: ``Epoch 0: 9095 / 10000`` with test data, else ``Epoch 0 complete``.

    Parameters
    ----------
    test_examples : int or None
        How many test examples count, if there are any.
    file : text stream, optional
        Standard output by default.
    """

    def __init__(self, test_examples: int | None = None, file: TextIO | None = None) -> None:
        self._n, self._file = test_examples, file

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Print one line."""
        epoch = len(run.history) - 1
        found = " complete" if self._n is None else f": {run.record['test_correct']} / {self._n}"
        print(f"Epoch {epoch}{found}", file=self._file or sys.stdout, flush=True)


_SIGMOID = activations.get("sigmoid")


class Network:
    """The network of the book's first chapter: sigmoid neurons, quadratic cost, N(0, 1) weights and biases.

    Parameters
    ----------
    sizes : list of int
        The number of neurons in each layer: ``[784, 30, 10]``.
    device : str or Device, optional
        As `nn_any.select_device` has it; by default the best device of the machine.
    dtype : str
        ``"float32"`` or ``"float64"``.
    seed : int, optional
        The same seed is the same run on every device; a new one by default, as in the book.

    Attributes
    ----------
    num_layers, sizes : int, list of int
    biases : list of arrays (y, 1), one a layer after the first; assign a whole list to change them
    weights : list of arrays (y, x), likewise
    net : nn_any.Network
        The network underneath.

    Examples
    --------
    >>> net = Network([2, 3, 1], device="numpy", seed=0)
    >>> [w.shape for w in net.weights], [b.shape for b in net.biases]
    ([(3, 2), (1, 3)], [(3, 1), (1, 1)])
    """

    def __init__(
        self, sizes: Sequence[int], device: str | Device | None = None, dtype: str = "float32", seed: int | None = None
    ) -> None:
        self.net = nn_any.network.Network(sizes, device=device, dtype=dtype, seed=seed)
        self.sizes = list(sizes)
        self.num_layers = len(self.sizes)

    @property
    def biases(self) -> list[Array]:
        """The biases as columns (y, 1), fresh arrays on the device."""
        return [b[:, None] for b in self.net.biases]

    @biases.setter
    def biases(self, columns: Iterable[Any]) -> None:
        self.net.set_weights(self.net.weights, [as_row("biases", column) for column in columns])

    @property
    def weights(self) -> list[Array]:
        """The weights (y, x), fresh arrays on the device."""
        return self.net.weights

    @weights.setter
    def weights(self, weights: Iterable[Any]) -> None:
        self.net.set_weights(list(weights), self.net.biases)

    def feedforward(self, a: Any) -> Array:
        """The output column (outputs, 1) for an input column (inputs, 1)."""
        return self.net.feedforward(as_row("a", a))[:, None]

    def SGD(  # noqa: N802 - the book's name
        self,
        training_data: Iterable[tuple[Any, Any]],
        epochs: int,
        mini_batch_size: int,
        eta: float,
        test_data: Iterable[tuple[Any, Any]] | None = None,
    ) -> History:
        """Train on pairs of columns, and after each epoch print how many test examples come out right.

        Parameters
        ----------
        training_data : iterable of pairs ``(x, y)`` of columns (inputs, 1) and (outputs, 1); a zip will do
        epochs, mini_batch_size : int
        eta : float
            The learning rate.
        test_data : iterable of pairs, optional
            Its y may be columns or integer labels.
        """
        device, dtype = self.net.device, self.net.dtype
        training = as_dataset("training_data", training_data, device, dtype)
        test = None if test_data is None else as_dataset("test_data", test_data, device, dtype)
        lines = BookLines(None if test is None else examples_that_count(test))
        return self.net.SGD(training, epochs, mini_batch_size, eta, test, callbacks=[lines])

    def update_mini_batch(self, mini_batch: Iterable[tuple[Any, Any]], eta: float) -> None:
        """One step of gradient descent on a list of pairs of columns, with learning rate `eta`."""
        self.net.update_mini_batch(check.as_columns("mini_batch", list(mini_batch)), eta)

    def backprop(self, x: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """The gradients ``(nabla_b, nabla_w)`` for one example of columns, in the shapes of `biases` and `weights`."""
        nabla_b, nabla_w = self.net.backprop(as_row("x", x), as_row("y", y))
        return [b[:, None] for b in nabla_b], nabla_w

    def evaluate(self, test_data: Iterable[tuple[Any, Any]]) -> int:
        """How many of the test pairs come out right; their y may be columns or integer labels."""
        return self.net.evaluate(test_data)

    def cost_derivative(self, output_activations: Any, y: Any) -> Array:
        """∂C/∂a for columns a and y: ``a - y``."""
        return self.net.cost_derivative(as_row("output_activations", output_activations), as_row("y", y))[:, None]

    def __repr__(self) -> str:
        return f"{type(self).__module__}.Network({self.sizes}, device={str(self.net.device)!r}, seed={self.net.seed})"


def examples_that_count(data: Dataset) -> int:
    """How many examples have a weight above 0."""
    return len(data) if data.sample_weight is None else int(np.count_nonzero(to_numpy(data.sample_weight)))


def as_row(name: str, column: Any) -> Array:
    """A column (k, 1) as (k,), of the dtype of reals."""
    array = check.as_array(name, column)
    shape = tuple(array.shape)
    if len(shape) != 2 or shape[1] != 1:
        raise InvalidValueError(f"{name}: expected a column (k, 1), got shape {shape}; use .reshape(-1, 1)")
    return array[:, 0].astype("float64") if is_host(array) else array[:, 0]


def as_reals(z: Any) -> tuple[Array, Device]:
    """`z` and where it lies; lists and numbers as NumPy arrays, integers as reals."""
    array = check.as_array("z", z)
    if is_host(array) and array.dtype.kind != "f":
        array = array.astype("float64")
    return array, Device.of(array)


def sigmoid(z: Any) -> Array:
    """1 / (1 + exp(-z)), elementwise, for an array of any library or a number."""
    z, device = as_reals(z)
    with device.scope():
        return _SIGMOID(z, xp=device.xp)


def sigmoid_prime(z: Any) -> Array:
    """The derivative of the sigmoid, σ(z) (1 - σ(z)), elementwise."""
    z, device = as_reals(z)
    with device.scope():
        return _SIGMOID.derivative(z, _SIGMOID(z, xp=device.xp), xp=device.xp)
