"""Which examples go into which part of a data set that is divided."""

import math

import numpy as np

from nn_any.core import random
from nn_any.core.errors import InvalidValueError


def split_rows(n: int, sizes: tuple[float, ...], labels: np.ndarray | None, seed: int) -> list[np.ndarray]:
    """The numbers of the examples of each part, shuffled, and those of the rest, if there is any.

    Parameters
    ----------
    n : int
        How many examples there are.
    sizes : tuple of int or float
        Numbers of examples, or fractions, as `Dataset.split` has them.
    labels : NumPy array, (n,), integer, or None
        The classes, whose proportions each part keeps.
    seed : int

    Returns
    -------
    parts : list of NumPy arrays of integers

    Raises
    ------
    ValueError
        If the sizes exceed the data, or a class has one example and cannot be divided.
    """
    from sklearn.model_selection import train_test_split

    counts = _counts(sizes, n)
    if not counts or sum(counts) > n:
        raise InvalidValueError(
            f"sizes: expected parts that sum to at most {n} examples, one in each at least, got {sizes}; "
            "use smaller or fewer parts"
        )
    rest, parts = np.arange(n), []
    for i, count in enumerate(counts):
        strata = None if labels is None else labels[rest]
        if count == len(rest):
            part, rest = rest, rest[:0]
        elif labels is not None and strata is not None and _too_fine(strata, count):
            if (sizes_of_classes := np.bincount(labels))[labels].min() < 2:
                alone = int(np.argmax(sizes_of_classes == 1))
                raise InvalidValueError(
                    f"sizes: expected two examples or more of each class to divide, got one of class {alone}; "
                    "use stratify=False"
                )
            part, rest = _drawn(random.stream(seed, "split", i), rest, strata, count)
        else:
            part, rest = train_test_split(rest, train_size=count, stratify=strata, random_state=seed % 2**32)
        parts.append(part)
    return [part for part in [*parts, rest] if len(part)]


def _counts(sizes: tuple[float, ...], n: int) -> list[int]:
    """Numbers of examples of n, given as such or as fractions."""
    for size in sizes:
        fraction = isinstance(size, float | np.floating) and 0 < size <= 1
        if not fraction and (isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1):
            raise InvalidValueError(
                f"sizes: expected numbers of examples or fractions between 0 and 1, got {size!r}; use such numbers"
            )
    fractions = [float(size) for size in sizes if isinstance(size, float | np.floating)]
    left = 1 - math.fsum(fractions)
    if left < -1e-6:
        return [n + 1]
    numbers = _apportioned(n * np.array([*fractions, max(left, 0.0)]), n)
    while 0 in numbers[:-1] and max(numbers) > 1:  # each part has an example, the rest need not
        numbers[numbers.index(max(numbers))] -= 1
        numbers[numbers.index(0)] += 1
    rounded = iter(numbers)
    return [max(1, next(rounded)) if isinstance(size, float | np.floating) else int(size) for size in sizes]


def _apportioned(shares: np.ndarray, total: int) -> list[int]:
    """Whole numbers near the shares that sum to `total`: the largest remainders are rounded up."""
    shares = np.round(shares, 6)  # 0.1 + 0.2 is a little above 0.3
    whole = np.floor(shares).astype(int)
    order = np.argsort(whole - shares, kind="stable")
    whole[order[: total - int(whole.sum())]] += 1
    return [int(number) for number in whole]


def _too_fine(strata: np.ndarray, count: int) -> bool:
    """Whether scikit-learn refuses to divide classes so: one has a single example, or a part has fewer than classes."""
    sizes = np.bincount(strata)
    return bool(sizes[sizes > 0].min() < 2 or min(count, len(strata) - count) < np.count_nonzero(sizes))


def _drawn(rng: np.random.Generator, rows: np.ndarray, strata: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` of the rows, as many of each class as its share allows, and the others; both shuffled."""
    sizes = np.bincount(strata)
    shuffled = rng.permutation(len(rows))
    chosen = []
    for label, wanted in enumerate(_apportioned(sizes * (count / len(rows)), count)):
        chosen.append(shuffled[strata[shuffled] == label][:wanted])
    part = np.isin(shuffled, np.concatenate(chosen))
    return rows[shuffled[part]], rows[shuffled[~part]]
