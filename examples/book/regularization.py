"""Weight decay against overfitting, the book's third chapter: 100 hidden neurons, with it and without."""

import time

import cyclopts
from cyclopts.types import PositiveInt

from examples.book.common import QUICK_EPOCHS, QUICK_EXAMPLES, Flag, Parts, Row, load, show
from nn_any.book import network2

EPOCHS = 60
BOOK = {0.0: None, 5.0: 0.9804}


def regularization(parts: Parts, epochs: int, seed: int, lmbda: float = 5.0) -> tuple[float, float]:
    """The shares of the validation and the test images that come out right after the last epoch."""
    training, validation, test = parts
    net = network2.Network([784, 100, 10], cost=network2.CrossEntropyCost, device=training.device, seed=seed)
    net.large_weight_initializer()  # the chapter comes to better ones later
    net.SGD(
        training,
        epochs,
        10,
        0.1,
        lmbda=lmbda,
        evaluation_data=validation,
        monitor_evaluation_accuracy=True,
        monitor_training_accuracy=True,
    )
    return net.accuracy(validation) / len(validation), net.accuracy(test) / len(test)


def main(*, device: str | None = None, epochs: PositiveInt = EPOCHS, seed: int = 0, quick: Flag = False) -> None:
    """Train both and print a table."""
    parts = load(device, QUICK_EXAMPLES if quick else None)
    epochs, rows = QUICK_EPOCHS if quick else epochs, []
    for lmbda, book in BOOK.items():
        print(f"lmbda = {lmbda}")
        start = time.perf_counter()
        shares = regularization(parts, epochs, seed, lmbda)
        seconds, place = time.perf_counter() - start, str(parts[0].device)
        rows.append(Row(f"lmbda = {lmbda}", seed, epochs, *shares, seconds, place, book))
    show(rows, "the book's figure is for the validation images")


if __name__ == "__main__":
    cyclopts.run(main)
