"""Every experiment of the book in turn, and a table of what came out beside what the book reports."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import cyclopts
from cyclopts import Parameter
from cyclopts.types import PositiveInt

from examples.book import average_darkness, convolution, regularization, svm
from examples.book.common import QUICK_EPOCHS, QUICK_EXAMPLES, Flag, Parts, Row, load, show
from nn_any.files import write_atomically


class Experiment(NamedTuple):
    """A function of parts, epochs and seed that gives the validation and the test accuracy."""

    run: Callable[[Parts, int, int], tuple[float, float]]
    epochs: int | None
    """As many as in the book; None for what is not trained in epochs, and has no seed."""
    book: float | None


def _darkness(parts: Parts, epochs: int, seed: int) -> tuple[float, float]:
    averages = average_darkness.average_darkness(parts[0])
    validation, test = (average_darkness.right(part, averages) / len(part) for part in parts[1:])
    return validation, test


def _svm(name: str) -> Experiment:
    return Experiment(lambda parts, epochs, seed: svm.classify(parts, svm.SETTINGS[name]), None, svm.BOOK[name])


def _network(name: str) -> Experiment:
    run, epochs, book = convolution.SERIES[name]
    return Experiment(lambda *arguments: run(*arguments)[:2], epochs, book)


EXPERIMENTS = {
    "average_darkness": Experiment(_darkness, None, 0.2225),
    "svm": _svm("svm"),
    "svm_tuned": _svm("svm_tuned"),
    "regularization": Experiment(regularization.regularization, regularization.EPOCHS, regularization.BOOK[5.0]),
    **{name: _network(name) for name in convolution.SERIES},
}
Name = Literal[tuple(EXPERIMENTS)]
Many = Parameter(consume_multiple=True, negative=())


def main(
    *,
    device: str | None = None,
    only: Annotated[list[Name] | None, Many] = None,
    epochs: PositiveInt | None = None,
    seeds: Annotated[list[int] | None, Many] = None,
    quick: Flag = False,
    as_json: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Run the experiments and print a table; with the book's epochs that takes a GPU, and time.

    Parameters
    ----------
    device
        As nn_any.select_device has it: cuda, cpu, torch, jax, ...
    only
        Their names.
    epochs
        At most so many; by default as many as in the book.
    seeds
        Each experiment once for each of these; 0 by default.
    quick
        Few images and one epoch, to see that all of it runs; without the book's figures, which are for all images.
    as_json
        A file for the results, written again after each experiment.
    """
    rows: list[Row] = []
    parts = load(device, QUICK_EXAMPLES if quick else None)
    for name in only or EXPERIMENTS:
        run, most, book = EXPERIMENTS[name]
        if most is not None:
            most = min(most, QUICK_EPOCHS if quick else epochs or most)
        for seed in (None,) if most is None else seeds or [0]:
            print(f"\n{name}" + ("" if seed is None else f", seed {seed}, {most} epochs"), flush=True)
            start = time.perf_counter()
            validation, test = run(parts, most or 0, seed or 0)
            seconds = time.perf_counter() - start
            place = "the host" if most is None else str(parts[0].device)
            rows.append(Row(name, seed, most, validation, test, seconds, place, None if quick else book))
            if as_json is not None:
                write_atomically(as_json, json.dumps([row._asdict() for row in rows], indent=2).encode())
    if quick:
        show(rows, f"{QUICK_EXAMPLES} images and one epoch: they show that all of it runs, not how well it can do.")
        return
    show(
        rows,
        "validation, test: at the epoch that was best on the validation images; ensemble and regularization: after "
        "the last one. The book's figure for regularization is for the validation images.",
    )


if __name__ == "__main__":
    cyclopts.run(main)
