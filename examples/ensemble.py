"""Twenty networks at once: five learning rates, four seeds each, and what they know together."""

import numpy as np
from rich.console import Console
from rich.table import Table

import nn_any as nn

RATES = [0.3, 1.0, 3.0, 6.0, 10.0]
SEEDS = [0, 1, 2, 3]


def main():
    training, validation, test = nn.datasets.load_digits()
    ensemble = nn.Ensemble(
        [64, 30, 10],
        len(RATES) * len(SEEDS),
        learning_rates=[rate for rate in RATES for _ in SEEDS],
        seeds=SEEDS * len(RATES),
        initializer="scaled_normal",
    )
    history = ensemble.fit(
        training, epochs=10, batch_size=10, optimizer=nn.SGD(1.0), validation_data=validation, verbose=True
    )

    table = Table(caption=f"{len(ensemble)} networks in {sum(history['seconds']):.1f} s on {ensemble.device}")
    for column in ("learning rate", "validation accuracy", "± over seeds", "test accuracy"):
        table.add_column(column, justify="right")
    found = [ensemble.accuracies(data).reshape(len(RATES), len(SEEDS)) for data in (validation, test)]
    for rate, on_validation, on_test in zip(RATES, *found, strict=True):
        spread = np.std(on_validation, ddof=1)
        table.add_row(f"{rate:g}", f"{on_validation.mean():.1%}", f"{spread:.1%}", f"{on_test.mean():.1%}")
    Console().print(table)

    best = ensemble.best(validation)
    print(
        f"the best alone, at {ensemble.learning_rates[best]:g}: {ensemble[best].accuracy(test):.1%} of the test digits"
    )
    print(f"the vote of all: {ensemble.accuracy(test):.1%}")


if __name__ == "__main__":
    main()
