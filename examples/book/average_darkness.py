"""Guessing a digit by how dark its image is: the baseline of the book's first chapter, 2,225 right of 10,000."""

import cyclopts
import numpy as np

import nn_any as nn
from examples.book.common import QUICK_EXAMPLES, Flag, load


def average_darkness(training: nn.Dataset) -> np.ndarray:
    """For each digit how dark its training images are on average: (10,)."""
    darkness, digits = _darkness(training), nn.to_numpy(training.y)
    return np.array([darkness[digits == digit].mean() for digit in range(10)])


def guess(data: nn.Dataset, averages: np.ndarray) -> np.ndarray:
    """For each image the digit whose average is nearest: (n,)."""
    return np.abs(_darkness(data)[:, None] - averages).argmin(axis=1)


def right(data: nn.Dataset, averages: np.ndarray) -> int:
    """How many guesses are right."""
    return int(np.sum(guess(data, averages) == nn.to_numpy(data.y)))


def _darkness(data: nn.Dataset) -> np.ndarray:
    return nn.to_numpy(data.x).sum(axis=1, dtype=np.float64)


def main(*, quick: Flag = False) -> None:
    """Print how many test images come out right."""
    training, _, test = load("cpu", QUICK_EXAMPLES if quick else None)
    averages = average_darkness(training)
    print("average darkness, 0 to 9:", *(f"{average:.0f}" for average in averages))
    print(f"guessing by darkness: {right(test, averages)} / {len(test)}")


if __name__ == "__main__":
    cyclopts.run(main)
