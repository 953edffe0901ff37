"""Support vector machines, scikit-learn's, as another thing to compare with: about 94 % as they come, 98.5 % tuned."""

import time

import cyclopts
from cyclopts.types import PositiveInt
from sklearn.svm import SVC

import nn_any as nn
from examples.book.common import QUICK_EXAMPLES, Flag, Parts, Row, load, show

SETTINGS = {
    "svm": {"gamma": "auto"},  # 1 / features, which was the default when the book was written
    "svm_tuned": {"C": 5.0, "gamma": 0.02},
}
BOOK = {"svm": 0.9435, "svm_tuned": 0.985}


def classify(parts: Parts, settings: dict) -> tuple[float, float]:
    """The shares of the validation and the test images that come out right."""
    (x, y), *others = (next(part.batches(len(part), shuffle=False)) for part in parts)
    machine = SVC(**settings).fit(nn.to_numpy(x), nn.to_numpy(y))
    validation, test = (machine.score(nn.to_numpy(images), nn.to_numpy(digits)) for images, digits in others)
    return validation, test


def main(*, examples: PositiveInt | None = None, quick: Flag = False) -> None:
    """Train both on the training images, which takes some minutes, and print a table.

    Parameters
    ----------
    examples
        So many images of each part instead of all.
    quick
        Few images.
    """
    parts, rows = load("cpu", QUICK_EXAMPLES if quick else examples), []
    for name, settings in SETTINGS.items():
        start = time.perf_counter()
        shares = classify(parts, settings)
        rows.append(Row(name, None, None, *shares, time.perf_counter() - start, "scikit-learn", BOOK[name]))
    show(rows, f"{len(parts[0]):,} training images")


if __name__ == "__main__":
    cyclopts.run(main)
