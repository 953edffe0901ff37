"""The book's ``network3``: convolution, pooling, ReLU, softmax and dropout; whole batches on any device.

Layers take the shapes of the book, channels first; underneath, images are (n, height, width, channels) and the network
is `nn_any.network.Network`. Three things differ from the book's program on purpose:

- weight decay is λ / n for n training examples, as in the book's text and in `network2`; the program divides λ by the
  number of mini-batches, so for a λ of its own say ``lmbda=λ * mini_batch_size`` here;
- dropout masks differ from layer to layer and from step to step; the program seeds every layer of a run alike;
- examples that do not fill a mini-batch make a shorter last one; the program leaves them out.
"""

import math
import os
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import nn_any.network
from nn_any import validation as check
from nn_any.backends import Device
from nn_any.book.network import as_reals
from nn_any.core import activations, options, random
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.layers import Activation, Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D
from nn_any.core.optimizers import SGD
from nn_any.core.typing import Array, Shape
from nn_any.datasets import Dataset, as_dataset, load_mnist
from nn_any.training import History, TrainingRun


def load_data_shared(
    folder: str | os.PathLike[str] | None = None, device: str | Device | None = None
) -> tuple[Dataset, Dataset, Dataset]:
    """MNIST for training, validation and test; `folder` and `device` are those of `nn_any.datasets.load_mnist`."""
    return load_mnist(folder, device=device)


class _Function:
    """An activation function: call it on an array of any library, or give it to a layer as its activation_fn."""

    def __init__(self, name: str) -> None:
        self.activation = activations.get(name)

    def __call__(self, z: Any) -> Array:
        z, device = as_reals(z)
        with device.scope():
            return self.activation(z, xp=device.xp)


linear, ReLU, sigmoid = _Function("linear"), _Function("relu"), _Function("sigmoid")
tanh, softmax = _Function("tanh"), _Function("softmax")


def _activation(activation_fn: Any) -> activations.Activation:
    if not isinstance(activation_fn, _Function | str | activations.Activation):
        raise InvalidTypeError(
            f"activation_fn: expected linear, ReLU, sigmoid, tanh or softmax of this module, got {activation_fn!r}; "
            "for one of your own subclass nn_any.activations.Activation"
        )
    return activation_fn.activation if isinstance(activation_fn, _Function) else activations.get(activation_fn)


def _sizes(name: str, shape: Any, meaning: str) -> tuple[int, ...]:
    """A shape of as many positive integers as `meaning` names."""
    if not isinstance(shape, tuple | list) or len(shape) != meaning.count(",") + 1:
        raise InvalidValueError(f"{name}: expected {meaning}, got {shape!r}")
    return tuple(options.integer(f"{name}, entry {i}", size) for i, size in enumerate(shape))


class ConvPoolLayer:
    """A convolution, max-pooling, and then the activation.

    Pooling comes before the activation, as in the book's program: for one that grows with z it is the same the other
    way round, and more work. Kernels begin as N(0, 1/n_out) with n_out = filters · height · width / pool area, biases
    as N(0, 1).

    Parameters
    ----------
    filter_shape : (filters, input channels, height, width)
    image_shape : (mini-batch size, input channels, height, width)
        The first entry is not looked at.
    poolsize : (height, width)
        Rows and columns that fill no window are left out.
    activation_fn : function of this module, or activation of nn_any

    Examples
    --------
    >>> ConvPoolLayer(filter_shape=(20, 1, 5, 5), image_shape=(10, 1, 28, 28)).output_shape
    (12, 12, 20)
    """

    def __init__(
        self, filter_shape: Any, image_shape: Any, poolsize: Any = (2, 2), activation_fn: Any = sigmoid
    ) -> None:
        self.filter_shape = _sizes("filter_shape", filter_shape, "(filters, input channels, height, width)")
        self.image_shape = _sizes("image_shape", image_shape, "(mini_batch_size, input channels, height, width)")
        self.poolsize = _sizes("poolsize", poolsize, "(height, width)")
        self.activation_fn = _activation(activation_fn)
        if self.activation_fn is softmax.activation:
            raise InvalidValueError(
                "activation_fn: expected an elementwise one, got softmax; put a SoftmaxLayer at the end"
            )
        filters, channels, *kernel = self.filter_shape
        if channels != self.image_shape[1]:
            raise InvalidValueError(
                f"filter_shape: expected {self.image_shape[1]} input channels, as in image_shape {self.image_shape}, "
                f"got {channels} in {self.filter_shape}"
            )
        sizes = zip(self.image_shape[2:], kernel, self.poolsize, strict=True)
        pooled = [(size - window + 1) // pool for size, window, pool in sizes]
        if min(pooled) < 1:
            raise InvalidValueError(
                f"image_shape: expected images that a filter {self.filter_shape} and then a pool {self.poolsize} fit "
                f"into, got {self.image_shape}"
            )
        self.input_shape: Shape = (*self.image_shape[2:], channels)
        self.output_shape: Shape = (*pooled, filters)

    def stack(self) -> list[Layer]:
        """The layers of nn_any that do this."""
        filters, _, *kernel = self.filter_shape
        return [Conv2D(filters, kernel, "linear"), MaxPool2D(self.poolsize), Activation(self.activation_fn)]

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The first kernels (filters, height, width, channels) and biases (filters,), float64."""
        filters, channels, *kernel = self.filter_shape
        n_out = filters * math.prod(kernel) / math.prod(self.poolsize)
        return rng.standard_normal((filters, *kernel, channels)) / math.sqrt(n_out), rng.standard_normal(filters)


class FullyConnectedLayer:
    """A fully connected layer, with dropout on its inputs. Weights begin as N(0, 1/n_out), biases as N(0, 1).

    Parameters
    ----------
    n_in, n_out, activation_fn
    p_dropout : float
        The probability that an input is left out in a step of training, below 1.
    """

    def __init__(self, n_in: int, n_out: int, activation_fn: Any = sigmoid, p_dropout: float = 0.0) -> None:
        self.n_in, self.n_out = options.integer("n_in", n_in), options.integer("n_out", n_out)
        self.activation_fn = _activation(activation_fn)
        self.p_dropout = options.number("p_dropout", p_dropout, maximum=1.0, below=True)
        self.input_shape: Shape = (self.n_in,)
        self.output_shape: Shape = (self.n_out,)

    def stack(self) -> list[Layer]:
        """The layers of nn_any that do this."""
        return [*([Dropout(self.p_dropout)] if self.p_dropout else []), Dense(self.n_out, self.activation_fn)]

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The first weights (n_out, n_in) and biases (n_out,), float64."""
        return rng.standard_normal((self.n_out, self.n_in)) / math.sqrt(self.n_out), rng.standard_normal(self.n_out)


class SoftmaxLayer(FullyConnectedLayer):
    """The last layer, a `FullyConnectedLayer` with softmax. Weights and biases begin as 0."""

    def __init__(self, n_in: int, n_out: int, p_dropout: float = 0.0) -> None:
        super().__init__(n_in, n_out, softmax, p_dropout)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Zeros."""
        return np.zeros((self.n_out, self.n_in)), np.zeros(self.n_out)


class Network:
    """The network of the book's sixth chapter, with the log-likelihood cost.

    Parameters
    ----------
    layers : list of ConvPoolLayer and FullyConnectedLayer, and a SoftmaxLayer at the end
    mini_batch_size : int
        For the likeness with the book; `SGD` is told again.
    device, dtype, seed
        As for `nn_any.Network`, which `net` is, underneath.

    Notes
    -----
    Inputs are flat (n, channels · height · width) or (n, channels, height, width), as in the book, or
    (n, height, width, channels). After a ConvPoolLayer the weights of a row are in the order height, width, channels.

    Examples
    --------
    >>> net = Network([
    ...     ConvPoolLayer(filter_shape=(20, 1, 5, 5), image_shape=(10, 1, 28, 28)),
    ...     FullyConnectedLayer(n_in=20 * 12 * 12, n_out=100, activation_fn=ReLU),
    ...     SoftmaxLayer(n_in=100, n_out=10)], 10, device="numpy", seed=0)
    >>> [tuple(array.shape) for array in net.params]
    [(20, 5, 5, 1), (20,), (100, 2880), (100,), (10, 100), (10,)]
    """

    def __init__(
        self,
        layers: Sequence[ConvPoolLayer | FullyConnectedLayer],
        mini_batch_size: int,
        device: str | Device | None = None,
        dtype: str = "float32",
        seed: int | None = None,
    ) -> None:
        stack = _stack(layers)
        self.layers, self.mini_batch_size = list(layers), options.integer("mini_batch_size", mini_batch_size)
        self.net = nn_any.network.Network(
            stack, loss="log_likelihood", initializer="zeros", device=device, dtype=dtype, seed=seed
        )
        drawn = (layer.draw(random.stream(self.net.seed, "weights", i)) for i, layer in enumerate(self.layers))
        self.net.set_weights(*zip(*drawn, strict=True))

    @property
    def params(self) -> list[Array]:
        """Weights and biases in turn, layer by layer, in the shapes of nn_any: fresh arrays on the device."""
        return [array for pair in zip(self.net.weights, self.net.biases, strict=True) for array in pair]

    def SGD(  # noqa: N802 - the book's name
        self,
        training_data: Any,
        epochs: int,
        mini_batch_size: int,
        eta: float,
        validation_data: Any,
        test_data: Any = None,
        lmbda: float = 0.0,
    ) -> History:
        """Train, and after each epoch print the accuracies.

        Parameters
        ----------
        training_data, validation_data, test_data : Dataset, tuple ``(x, y)`` of arrays, or iterable of pairs
        epochs, mini_batch_size : int
        eta, lmbda : float
            Each step of learning rate η also multiplies the weights by 1 - η λ / n, for n training examples.

        Returns
        -------
        History
            With ``validation_accuracy`` and, for test data, ``test_accuracy`` among its columns.
        """
        data = self._data
        training, validation = data("training_data", training_data), data("validation_data", validation_data)
        lines = partial(_print_epoch, None if test_data is None else data("test_data", test_data))
        sgd = SGD(eta, weight_decay=options.number("lmbda", lmbda) / len(training))
        history = self.net.fit(
            training,
            epochs=epochs,
            batch_size=mini_batch_size,
            optimizer=sgd,
            validation_data=validation,
            callbacks=[lines],
        )
        print("Finished training network.")
        if len(history):
            epoch = best_epoch(history)
            iteration = (epoch + 1) * -(-len(training) // mini_batch_size) - 1
            best = f"{history['validation_accuracy'][epoch]:.2%}"
            print(f"Best validation accuracy of {best} obtained at iteration {iteration}, epoch {epoch}")
            if test_data is not None:
                print(f"Corresponding test accuracy of {history['test_accuracy'][epoch]:.2%}")
        return history

    def predict(self, x: Any) -> Array:
        """The class of each input: (n,)."""
        return self.net.predict(self._images(check.as_array("x", x)))

    def _data(self, name: str, data: Any) -> Dataset:
        dataset = as_dataset(name, data, self.net.device, self.net.dtype)
        x = self._images(dataset.x)
        return dataset if x is dataset.x else dataset.with_arrays(x, dataset.y)

    def _images(self, x: Array) -> Array:
        """Inputs with the channels last, if there are several and they are first."""
        shape, given = self.net.input_shape, tuple(x.shape[1:])
        if len(shape) == 1 or shape[2] == 1 or given == shape or math.prod(given) != math.prod(shape):
            return x
        device = Device.of(check.as_array("x", x))
        with device.scope():
            images = device.xp.reshape(x, (x.shape[0], shape[2], *shape[:2]))
            return device.xp.permute_dims(images, (0, 2, 3, 1))


def _stack(book: Sequence[ConvPoolLayer | FullyConnectedLayer]) -> list[Any]:
    """The input shape and the layers of nn_any, once each layer of the book fits the one before it."""
    if not isinstance(book, list | tuple) or not book or not isinstance(book[-1], SoftmaxLayer):
        raise InvalidValueError(f"layers: expected a list that ends with a SoftmaxLayer, got {book!r}")
    for i, layer in enumerate(book):
        if not isinstance(layer, ConvPoolLayer | FullyConnectedLayer):
            raise InvalidTypeError(
                f"layers[{i}]: expected a ConvPoolLayer or a FullyConnectedLayer of this module, got {layer!r}; "
                "for others use nn_any.Network"
            )
    stack = [book[0].input_shape, *book[0].stack()]
    for i, (before, layer) in enumerate(pairwise(book), 1):
        images, flat = len(before.output_shape) == 3, len(layer.input_shape) == 1
        inputs = (math.prod(before.output_shape),) if flat else before.output_shape
        if layer.input_shape != inputs:
            # the book's shapes, channels first
            given, taken = ((shape[-1], *shape[:-1]) for shape in (before.output_shape, layer.input_shape))
            remedy = f"use n_in={inputs[0]}" if flat else "put that shape into image_shape"
            raise InvalidValueError(
                f"layers[{i}]: expected inputs of shape {given}, which layers[{i - 1}] gives, got a "
                f"{type(layer).__name__} for {taken}; {remedy if flat or images else 'put it first'}"
            )
        stack += [*([Flatten()] if flat and images else []), *layer.stack()]
    return stack


def best_epoch(history: History) -> int:
    """The epoch, counted from 0, with the best validation accuracy; of equal ones the last."""
    accuracies = history["validation_accuracy"]
    return max(range(len(accuracies)), key=lambda epoch: (accuracies[epoch], epoch))


def _print_epoch(test: Dataset | None, run: TrainingRun) -> None:
    """Print the book's lines after an epoch; the test accuracy goes into the history."""
    if test is not None:
        run.record["test_accuracy"] = run.network.accuracy(test)
    epoch = len(run.history) - 1
    print(f"Epoch {epoch}: validation accuracy {run.record['validation_accuracy']:.2%}", flush=True)
    if best_epoch(run.history) == epoch:
        print("This is the best validation accuracy to date.")
        if test is not None:
            print(f"The corresponding test accuracy is {run.record['test_accuracy']:.2%}", flush=True)
