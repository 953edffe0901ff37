"""From 97.8 % to 99.67 %: the networks of the book's sixth chapter, one step after the other."""

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import cyclopts
import numpy as np
from cyclopts.types import PositiveInt

import nn_any as nn
from examples.book.common import QUICK_EPOCHS, QUICK_EXAMPLES, Flag, Parts, Row, load, show
from nn_any.book.network3 import (
    ConvPoolLayer,
    FullyConnectedLayer,
    Network,
    ReLU,
    SoftmaxLayer,
    best_epoch,
    sigmoid,
)

MINI_BATCH_SIZE = 10
LMBDA = 0.1 * MINI_BATCH_SIZE  # the book's 0.1, which its program divides by the number of mini-batches


class Result(NamedTuple):
    """The shares of the validation and the test images that come out right, and the networks."""

    validation: float
    test: float
    nets: list[Network]


def train(layers, parts: Parts, epochs: int, seed: int, eta: float, lmbda: float = 0.0) -> Result:
    """A trained network, and its accuracies at the epoch that was best on the validation images."""
    training, validation, test = parts
    net = Network(layers, MINI_BATCH_SIZE, device=training.device, seed=seed)
    history = net.SGD(training, epochs, MINI_BATCH_SIZE, eta, validation, test, lmbda=lmbda)
    best = best_epoch(history)
    return Result(history["validation_accuracy"][best], history["test_accuracy"][best], [net])


def first(activation_fn=sigmoid) -> ConvPoolLayer:
    """20 features of 5 × 5 pixels: 28 × 28 images become 12 × 12."""
    return ConvPoolLayer((20, 1, 5, 5), (MINI_BATCH_SIZE, 1, 28, 28), activation_fn=activation_fn)


def second(activation_fn=sigmoid) -> ConvPoolLayer:
    """40 features of 5 × 5 of those: 12 × 12 become 4 × 4."""
    return ConvPoolLayer((40, 20, 5, 5), (MINI_BATCH_SIZE, 20, 12, 12), activation_fn=activation_fn)


def shallow(parts: Parts, epochs: int, seed: int) -> Result:
    """One hidden layer of 100 neurons."""
    return train([FullyConnectedLayer(784, 100), SoftmaxLayer(100, 10)], parts, epochs, seed, 0.1)


def basic_conv(parts: Parts, epochs: int, seed: int) -> Result:
    """A convolution before it."""
    layers = [first(), FullyConnectedLayer(20 * 12 * 12, 100), SoftmaxLayer(100, 10)]
    return train(layers, parts, epochs, seed, 0.1)


def omit_FC(parts: Parts, epochs: int, seed: int) -> Result:  # noqa: N802 - the book's name
    """The convolution alone."""
    return train([first(), SoftmaxLayer(20 * 12 * 12, 10)], parts, epochs, seed, 0.1)


def dbl_conv(parts: Parts, epochs: int, seed: int) -> Result:
    """Two convolutions."""
    layers = [first(), second(), FullyConnectedLayer(40 * 4 * 4, 100), SoftmaxLayer(100, 10)]
    return train(layers, parts, epochs, seed, 0.1)


def _rectified(fully_connected):
    return [first(ReLU), second(ReLU), *fully_connected]


def _one_hundred():
    return _rectified([FullyConnectedLayer(40 * 4 * 4, 100, ReLU), SoftmaxLayer(100, 10)])


def dbl_conv_relu(parts: Parts, epochs: int, seed: int) -> Result:
    """Two convolutions with rectified linear units."""
    return train(_one_hundred(), parts, epochs, seed, 0.03)


def regularized_dbl_conv_relu(parts: Parts, epochs: int, seed: int) -> Result:
    """The same with weight decay."""
    return train(_one_hundred(), parts, epochs, seed, 0.03, LMBDA)


def expanded_data(parts: Parts, epochs: int, seed: int) -> Result:
    """The same on five times as many images."""
    return train(_one_hundred(), _expanded(parts), epochs, seed, 0.03, LMBDA)


def expanded_data_double_fc(parts: Parts, epochs: int, seed: int) -> Result:
    """The same with a second fully connected layer."""
    hidden = [FullyConnectedLayer(40 * 4 * 4, 100, ReLU), FullyConnectedLayer(100, 100, ReLU)]
    return train(_rectified([*hidden, SoftmaxLayer(100, 10)]), _expanded(parts), epochs, seed, 0.03, LMBDA)


def double_fc_dropout(parts: Parts, epochs: int, seed: int) -> Result:
    """Two fully connected layers of 1,000 neurons, with dropout instead of weight decay."""
    hidden = [FullyConnectedLayer(40 * 4 * 4, 1000, ReLU, 0.5), FullyConnectedLayer(1000, 1000, ReLU, 0.5)]
    return train(_rectified([*hidden, SoftmaxLayer(1000, 10, 0.5)]), _expanded(parts), epochs, seed, 0.03)


def ensemble(parts: Parts, epochs: int, seed: int, members: int = 5) -> Result:
    """Five of those, which vote."""
    nets = [net for member in range(members) for net in double_fc_dropout(parts, epochs, seed + member).nets]
    return Result(vote(nets, parts[1]), vote(nets, parts[2]), nets)


def vote(nets: list[Network], data: nn.Dataset) -> float:
    """The share of the images that most networks get right; of digits with as many votes the smaller one counts."""
    x, y = next(data.batches(len(data), shuffle=False))
    votes = np.stack([nn.to_numpy(net.predict(x)) for net in nets])
    counts = np.stack([np.sum(votes == digit, axis=0) for digit in range(10)])
    return float(np.mean(counts.argmax(axis=0) == nn.to_numpy(y)))


def _expanded(parts: Parts) -> Parts:
    return nn.datasets.expand_mnist(parts[0]), *parts[1:]


class Experiment(NamedTuple):
    """A function of parts, epochs and seed, the book's number of epochs, and what the book reports."""

    run: Callable[[Parts, int, int], Result]
    epochs: int
    book: float | None


SERIES = {
    experiment.run.__name__: experiment
    for experiment in (
        Experiment(shallow, 60, 0.9780),
        Experiment(basic_conv, 60, 0.9878),
        Experiment(omit_FC, 60, None),
        Experiment(dbl_conv, 60, 0.9906),
        Experiment(dbl_conv_relu, 60, None),
        Experiment(regularized_dbl_conv_relu, 60, 0.9923),
        Experiment(expanded_data, 60, 0.9937),
        Experiment(expanded_data_double_fc, 60, 0.9943),
        Experiment(double_fc_dropout, 40, 0.9960),
        Experiment(ensemble, 40, 0.9967),
    )
}
Name = Literal[tuple(SERIES)]


def main(
    *names: Name, device: str | None = None, epochs: PositiveInt | None = None, seed: int = 0, quick: Flag = False
) -> None:
    """Train the networks with these names, or all of them, and print a table.

    Parameters
    ----------
    names
        As in the book's conv.py.
    device
        As nn_any.select_device has it.
    epochs
        At most so many; by default as many as in the book.
    seed
        Of weights, order and dropout.
    quick
        Few images and one epoch.
    """
    parts, rows = load(device, QUICK_EXAMPLES if quick else None), []
    for name in names or SERIES:
        run, most, book = SERIES[name]
        most = min(most, QUICK_EPOCHS if quick else epochs or most)
        print(f"\n{name}: {run.__doc__}")
        start = time.perf_counter()
        validation, test, _ = run(parts, most, seed)
        seconds, place = time.perf_counter() - start, str(parts[0].device)
        rows.append(Row(name, seed, most, validation, test, seconds, place, book))
    show(rows, "test: at the epoch that was best on the validation images; ensemble: after the last one")


if __name__ == "__main__":
    cyclopts.run(main)
