"""The original job, [784, 30, 10] on MNIST in batches of 10: a loop over single examples against nn_any.

``python -m benchmarks.book_loop [--epochs 3] [--devices numpy jax torch]`` takes the epochs of all sides in turn, so
that a change in the machine's speed meets them alike, and prints medians and ratios. MNIST comes from NN_ANY_DATA, or
is downloaded. ``--json FILE`` keeps the figures.
"""

import argparse
import json
import os
import platform
import statistics
import time
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import nn_any as nn
from nn_any.datasets.mnist import mnist_arrays

SIZES, BATCH, RATE = [784, 30, 10], 10, 3.0


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


class ExampleLoop:
    """Stochastic gradient descent as the book's first chapter sets it out: one example after another, in float64."""

    def __init__(self, sizes, rng):
        self.rng = rng
        self.weights = [rng.standard_normal((n, m)) for m, n in pairwise(sizes)]
        self.biases = [rng.standard_normal((n, 1)) for n in sizes[1:]]

    def epoch(self, examples):
        order = self.rng.permutation(len(examples))
        for start in range(0, len(order), BATCH):
            self.step([examples[i] for i in order[start : start + BATCH]])

    def step(self, batch):
        """Sum the examples' gradients, then move against the average."""
        sums = [np.zeros_like(p) for p in (*self.weights, *self.biases)]
        for x, y in batch:
            sums = [s + g for s, g in zip(sums, self.gradients(x, y), strict=True)]
        moved = [p - RATE / len(batch) * s for p, s in zip((*self.weights, *self.biases), sums, strict=True)]
        self.weights, self.biases = moved[: len(self.weights)], moved[len(self.weights) :]

    def gradients(self, x, y):
        """Backpropagation for one example: the gradients of all weights, then of all biases."""
        nabla_w, nabla_b = [np.zeros(w.shape) for w in self.weights], [np.zeros(b.shape) for b in self.biases]
        zs, activations = [], [x]
        for w, b in zip(self.weights, self.biases, strict=True):
            zs.append(np.dot(w, activations[-1]) + b)
            activations.append(sigmoid(zs[-1]))
        delta = (activations[-1] - y) * sigmoid(zs[-1]) * (1 - sigmoid(zs[-1]))
        for layer in reversed(range(len(zs))):
            nabla_b[layer] = delta
            nabla_w[layer] = np.dot(delta, activations[layer].T)
            if layer:
                slope = sigmoid(zs[layer - 1]) * (1 - sigmoid(zs[layer - 1]))
                delta = np.dot(self.weights[layer].T, delta) * slope
        return [*nabla_w, *nabla_b]

    def accuracy(self, x, labels):
        a = x.T
        for w, b in zip(self.weights, self.biases, strict=True):
            a = sigmoid(w @ a + b)
        return float(np.mean(a.argmax(axis=0) == labels))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--devices", nargs="+", default=["numpy"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    (x, y), _, (test_x, test_y) = mnist_arrays()
    targets = np.eye(10)[:, :, None]
    examples = list(zip((x / 255.0)[:, :, None], targets[y], strict=True))
    loop = ExampleLoop(SIZES, np.random.default_rng(0))
    sides = {}
    for spec in options.devices:
        device = nn.select_device(spec)
        data = nn.Dataset(x, y, classes=10, scale=255, device=device)
        net = nn.Network(SIZES, device=device, seed=0)
        net.copy().SGD(data, 1, BATCH, RATE)  # compiles what there is to compile
        sides[str(device)] = (net, data)

    seconds = {name: [] for name in ["loop over examples", *sides]}
    for _ in range(options.epochs):
        start = time.perf_counter()
        loop.epoch(examples)
        seconds["loop over examples"].append(time.perf_counter() - start)
        for name, (net, data) in sides.items():
            start = time.perf_counter()
            net.SGD(data, 1, BATCH, RATE)
            seconds[name].append(time.perf_counter() - start)

    test = nn.Dataset(test_x, test_y, classes=10, scale=255, device="numpy")
    accuracy = {"loop over examples": loop.accuracy(test_x / 255.0, test_y)}
    accuracy |= {name: net.accuracy(test) for name, (net, _) in sides.items()}
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    base = medians["loop over examples"]
    table = Table(
        "side", "s an epoch", "µs a step", "ratio", "test accuracy", title="[784, 30, 10], batch 10, 50,000 images"
    )
    for name, median in medians.items():
        step = median / (len(x) / BATCH) * 1e6
        table.add_row(name, f"{median:.2f}", f"{step:.0f}", f"{median / base:.3f}", f"{100 * accuracy[name]:.2f} %")
    Console().print(table)
    if options.json:
        machine = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
        machine |= {"python": platform.python_version(), "numpy": np.__version__, "nn_any": nn.__version__}
        report = {
            "date": date.today().isoformat(),
            "machine": machine,
            "seconds": seconds,
            "median": medians,
            "accuracy": accuracy,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
