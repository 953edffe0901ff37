"""The estimators against scikit-learn's: the time of `fit` for the same work, taken in turns in one process.

Run ``OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.estimators``. MNIST lies in the folder that
``NN_ANY_DATA`` names, or is downloaded.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.datasets import load_digits, load_iris
from sklearn.neural_network import MLPClassifier as Theirs

from nn_any import MLPClassifier as Ours
from nn_any.datasets import load_mnist

TARGETS = {"mnist": 0.85, "digits": 0.75, "iris": 1.8}
"""The highest ratio of times that is promised, by data set."""


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """The training images as rows within 0 … 1, float64, and the labels."""
    training, *_ = load_mnist()
    x, y = np.asarray(training.x), np.asarray(training.y)
    return x.reshape(len(x), -1) / 255.0, y


WORKLOADS: dict[str, tuple[Callable[[], tuple[np.ndarray, np.ndarray]], dict[str, Any], int]] = {
    "mnist": (mnist, {"max_iter": 2}, 3),
    "digits": (lambda: load_digits(return_X_y=True), {}, 5),
    "iris": (lambda: load_iris(return_X_y=True), {}, 9),
    "one epoch of iris": (lambda: load_iris(return_X_y=True), {"max_iter": 1}, 60),
}
"""Data, what is not the default, and how often both fit."""


def seconds(estimator: Any, x: np.ndarray, y: np.ndarray) -> float:
    """How long a fit takes."""
    begun = time.perf_counter()
    estimator.fit(x, y)
    return time.perf_counter() - begun


def measurements(names: list[str]) -> Iterator[tuple[str, float, float, float]]:
    """Of each workload the median times of theirs and ours, and the median of the ratios."""
    for name in names:
        load, parameters, rounds = WORKLOADS[name]
        x, y = load()
        for estimator in (Theirs, Ours):  # the first fit of a process loads libraries
            estimator(max_iter=1).fit(x[:500], y[:500])
        pairs = []
        for seed in range(rounds):
            sides = [(0, Theirs), (1, Ours)] if seed % 2 else [(1, Ours), (0, Theirs)]
            times = {side: seconds(make(random_state=seed, **parameters), x, y) for side, make in sides}
            pairs.append((times[0], times[1]))
        theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        yield name, theirs, ours, statistics.median(b / a for a, b in pairs)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(WORKLOADS), metavar="name", help=", ".join(WORKLOADS))
    names = parser.parse_args().names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that fits have not converged
        print(f"{'':20}{'theirs, s':>12}{'ours, s':>12}{'ratio':>8}{'promised':>10}")
        for name, theirs, ours, ratio in measurements(names):
            print(f"{name:20}{theirs:12.4f}{ours:12.4f}{ratio:8.2f}{TARGETS.get(name, ''):>10}", flush=True)


if __name__ == "__main__":
    main()
