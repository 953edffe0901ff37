"""The book's ``mnist_loader``: MNIST as arrays, or as lists of pairs of columns."""

import os

import numpy as np

from nn_any.core import options
from nn_any.core.errors import InvalidValueError
from nn_any.datasets.mnist import Arrays, mnist_arrays

Pairs = list[tuple[np.ndarray, np.ndarray]]
LabelledPairs = list[tuple[np.ndarray, int]]


def load_data(folder: str | os.PathLike[str] | None = None) -> tuple[Arrays, Arrays, Arrays]:
    """MNIST as three pairs ``(images, labels)``: 50,000 for training, 10,000 for validation, 10,000 for test.

    Parameters
    ----------
    folder : path, optional
        As for `nn_any.datasets.load_mnist`: by default the environment variable ``NN_ANY_DATA``, else a download.

    Returns
    -------
    training_data, validation_data, test_data : pairs of arrays
        Images (n, 784), float32 in 0 … 1; labels (n,), integer.
    """
    training, validation, test = (
        (x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x, y.astype(np.int64))
        for x, y in mnist_arrays(folder)
    )
    return training, validation, test


def load_data_wrapper(folder: str | os.PathLike[str] | None = None) -> tuple[Pairs, LabelledPairs, LabelledPairs]:
    """MNIST as lists of pairs ``(x, y)``, the form that ``network.Network.SGD`` takes in the book.

    Returns
    -------
    training_data : list of 50,000 pairs
        x (784, 1), float32; y (10, 1), float64, 1.0 in the row of the digit.
    validation_data, test_data : lists of 10,000 pairs
        x as above; y the digit, an integer.
    """
    training, validation, test = load_data(folder)
    digits = [vectorized_result(j) for j in range(10)]
    training_pairs = [(x, digits[y].copy()) for x, y in zip(_columns(training[0]), training[1], strict=True)]
    validation_pairs, test_pairs = (
        [(x, int(y)) for x, y in zip(_columns(xs), ys, strict=True)] for xs, ys in (validation, test)
    )
    return training_pairs, validation_pairs, test_pairs


def _columns(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1, 1)


def vectorized_result(j: int) -> np.ndarray:
    """The column (10, 1), float64, that is 1.0 in row `j` and 0.0 elsewhere: what the network should answer for j.

    Examples
    --------
    >>> vectorized_result(2).ravel()
    array([0., 0., 1., 0., 0., 0., 0., 0., 0., 0.])
    """
    column = np.zeros((10, 1))
    if options.integer("j", j, minimum=0) > 9:
        raise InvalidValueError(f"j: expected a digit within 0 … 9, got {j}; use numpy.eye for more classes")
    column[j] = 1.0
    return column
