"""The workloads, and a job: one of them with its data and first weights, the same for every side."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

import nn_any as nn
from nn_any.core.random import epoch_order
from nn_any.datasets.mnist import mnist_arrays


@dataclass(frozen=True)
class Workload:
    """A network and how it is trained. A timed stretch is `epochs` epochs of the first `rows` training images."""

    name: str
    title: str
    layers: tuple[Any, ...]
    batch: int
    rate: float
    rows: int
    loss: str = "log_likelihood"
    initializer: str = "he_normal"
    epochs: int = 1
    members: int = 1

    @property
    def steps(self):
        return self.rows // self.batch * self.epochs

    @property
    def check_rows(self):
        """How many rows the first steps take, after which every side has to have the same loss."""
        return min(self.batch * (20 if self.batch <= 10 else 4), self.rows)

    def quick(self, steps):
        """A shorter stretch, for a first look and for the tests."""
        return replace(self, rows=min(self.rows, steps * self.batch), epochs=1)

    def figures(self):
        """What the JSON file says of it; the working bytes are a batch's activations, the parameters, and the order."""
        shape, parameters = self.layers[0], 0
        shape = shape if isinstance(shape, tuple) else (shape,)
        activations = math.prod(shape)
        for layer in self.layers[1:]:
            after = layer.output_shape(shape)
            activations += math.prod(after)
            if isinstance(layer, nn.Dense):
                parameters += (math.prod(shape) + 1) * layer.units
            elif isinstance(layer, nn.Conv2D):
                parameters += (math.prod(layer.kernel_size) * shape[-1] + 1) * layer.filters
            shape = after
        working = (4 * (self.batch * activations + parameters) + 8 * self.rows) * self.members
        fields = ("name", "title", "batch", "rate", "loss", "rows", "epochs", "members", "steps")
        return {field: getattr(self, field) for field in fields} | {"parameters": parameters, "working_bytes": working}

    def tiny(self):
        """The same kinds of layers with two units each, and two steps: it loads what a side's first steps load."""
        hidden = [_narrow(layer) for layer in self.layers[1:-1]]
        layers = (self.layers[0], *hidden, self.layers[-1])
        return replace(self, layers=layers, batch=10, rows=20, epochs=1, members=min(self.members, 2))


def _narrow(layer):
    if isinstance(layer, nn.Dense):
        return replace(layer, units=2)
    return replace(layer, filters=2) if isinstance(layer, nn.Conv2D) else layer


def _convolutional():
    return (
        (28, 28, 1),
        nn.Conv2D(20, 5, activation="relu"),
        nn.MaxPool2D(2),
        nn.Conv2D(40, 5, activation="relu"),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Dense(100, activation="relu"),
        nn.Dense(10, activation="softmax"),
    )


def _dense(*units):
    hidden = [nn.Dense(n, activation="relu") for n in units]
    return (784, *hidden, nn.Dense(10, activation="softmax"))


def workloads(device):
    """The workloads by name, for the CPU or for a GPU, which gets longer stretches and a wider L."""
    sigmoid = tuple(nn.Dense(n, activation="sigmoid") for n in (30, 10))
    small = {"layers": (784, *sigmoid), "batch": 10, "rate": 3.0, "loss": "quadratic", "initializer": "normal"}
    gpu = device == "cuda"
    every = 50_000
    wide = (8192, 16384, 49_152, 10) if gpu else (1024, 512, 49_664, 1)
    units, batch, rows, epochs = wide
    members = 1024 if gpu else 64
    found = [
        Workload("S", "784-30-10, sigmoid, batch 10", rows=every, **small),
        Workload("M", "784-512-512-10, relu, batch 128", _dense(512, 512), 128, 0.1, 49_920),
        Workload(
            "L", f"784-{units}-{units}-10, relu, batch {batch}", _dense(units, units), batch, 0.1, rows, epochs=epochs
        ),
        Workload("C10", "two convolutions, batch 10", _convolutional(), 10, 0.03, every if gpu else 2_000),
        Workload("C128", "two convolutions, batch 128", _convolutional(), 128, 0.1, 49_920 if gpu else 2_560),
        Workload("E", f"{members} networks of S, a learning rate each", rows=10_000, members=members, **small),
    ]
    return {workload.name: workload for workload in found}


class Job:
    """A workload, the real MNIST for it, and the weights that every side starts from."""

    def __init__(self, workload, device="cpu", threads=1, arrays=None):
        self.workload, self.device, self.threads = workload, device, threads
        x, y = mnist_arrays()[0] if arrays is None else arrays
        shape = workload.layers[0]
        self.x = x.reshape(len(x), *(shape if isinstance(shape, tuple) else (shape,)))
        self.y = y.astype(np.int64)
        first = self.network("numpy")
        self.layers = first.layers
        self.weights, self.biases = first.weights, first.biases

    def network(self, device, dtype="float32", seed=0):
        """The workload's network, untrained: its seed's weights, the same on every device."""
        w = self.workload
        return nn.Network(list(w.layers), loss=w.loss, initializer=w.initializer, device=device, dtype=dtype, seed=seed)

    def varied(self, **changes):
        """The same data and sizes with another loss or rate, for a peer that cannot do this one."""
        return Job(replace(self.workload, **changes), self.device, self.threads, (self.x, self.y))

    @cached_property
    def real(self):
        """The images as float32 in 0 … 1, which is what the peers take."""
        return self.x.astype(np.float32) / np.float32(255)

    @cached_property
    def one_hot(self):
        return np.eye(10, dtype=np.float32)[self.y]

    def dataset(self, rows, device):
        """The first rows as users have them: uint8, with the scale that `load_mnist` gives."""
        return nn.Dataset(self.x[:rows], self.y[:rows], classes=10, scale=255, device=device)

    def order(self, first_epoch, rows, epochs=1, seed=0):
        """Which rows each step takes, (steps, batch): nn_any's own order, which the peers are given."""
        orders = [epoch_order(seed, first_epoch + i, rows).reshape(-1, self.workload.batch) for i in range(epochs)]
        return np.concatenate(orders)

    @cached_property
    def rates(self):
        """A learning rate for each member of an ensemble."""
        return np.geomspace(self.workload.rate, self.workload.rate / 10, self.workload.members)

    def judge(self):
        """A network in float64 and a thousand images, on which every side's weights are judged alike."""
        return self.network("numpy", "float64"), self.dataset(1000, "numpy")

    def loss(self, weights, biases):
        """The loss of these weights on those images, computed in float64."""
        net, data = self.judge()
        net.set_weights([w.astype(np.float64) for w in weights], [b.astype(np.float64) for b in biases])
        return net.loss(data)

    @cached_property
    def reference(self):
        """The loss after the first steps in float64."""
        net, data = self.judge()
        w = self.workload
        net.SGD(self.dataset(w.check_rows, "numpy"), 1, w.batch, w.rate, engine="eager")
        return net.loss(data)
