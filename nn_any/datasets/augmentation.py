"""Augmentation once and for all: a data set with shifted copies of its images, made on its device."""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import array_api_extra as xpx
import numpy as np
from array_api_compat import array_namespace

from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.datasets.dataset import Dataset
from nn_any.datasets.rows import Rows

_BY_ONE = ((0, 1), (0, -1), (1, 0), (-1, 0))


def expand_mnist(dataset: Dataset) -> Dataset:
    """The images and each of them moved by one pixel to the right, left, down and up: five times as many.

    The book's expanded MNIST data, 250,000 images from 50,000. The images as they were come first, then all of them
    moved right, then left, down and up, in their old order.

    Parameters
    ----------
    dataset : Dataset
        x (n, height · height), square images, or (n, height, width[, channels]).

    Returns
    -------
    Dataset
        x (5 n, ...) in the images' shape and dtype, 0 where they moved away; y and any weights, five times over.

    Raises
    ------
    ValueError, TypeError
        If the data are no images.

    References
    ----------
    M. A. Nielsen, "Neural Networks and Deep Learning", Determination Press, 2015, chapter 3; its ``expand_mnist.py``.

    Examples
    --------
    >>> expand_mnist(Dataset([[1, 2, 3, 4]], [7], device="numpy")).x
    array([[1, 2, 3, 4],
           [0, 1, 0, 3],
           [2, 0, 4, 0],
           [0, 0, 1, 2],
           [3, 4, 0, 0]])
    """
    return expand_by_shifts(dataset)


def expand_by_shifts(
    dataset: Dataset, shifts: Sequence[tuple[int, int]] = _BY_ONE, image_shape: tuple[int, ...] | None = None
) -> Dataset:
    """The images as they were, then all of them moved by the first shift, then by the second, and so on.

    Parameters
    ----------
    dataset : Dataset
    shifts : sequence of pairs (down, right) of integers
        By how many pixels; negative ones move up and left.
    image_shape : (height, width) or (height, width, channels), optional
        The shape of one image, for flat ones that are not square.

    Examples
    --------
    >>> data = Dataset([[1, 2, 3, 4, 5, 6]], [0], device="numpy")
    >>> expand_by_shifts(data, [(0, 2)], image_shape=(2, 3)).x
    array([[1, 2, 3, 4, 5, 6],
           [0, 0, 1, 0, 0, 4]])
    """
    if not isinstance(dataset, Dataset):
        raise InvalidTypeError(
            f"dataset: expected a Dataset, got {type(dataset).__name__}; make one with nn_any.Dataset(x, y)"
        )
    if isinstance(dataset.x, Rows):
        raise InvalidTypeError(
            f"dataset: expected images in an array, got {dataset!r}; make them one with "
            "nn_any.Dataset(dataset.x[...], dataset.y)"
        )
    height, width = _image_size(dataset, image_shape)
    if not isinstance(shifts, Iterable):
        raise InvalidTypeError(f"shifts: expected a list of pairs (down, right), got {shifts!r}; put it in brackets")
    pairs = [_shift(shift, height, width) for shift in shifts]
    x, y, weights, n = dataset.x, dataset.y, dataset.sample_weight, len(dataset)
    xp, times = array_namespace(x), len(pairs) + 1
    edge = max((abs(by) for pair in pairs for by in pair), default=0)
    with dataset.device.scope():
        images = xp.reshape(x, (n, height, width, -1))
        padded = xpx.pad(images, [(0, 0), (edge, edge), (edge, edge), (0, 0)], xp=xp)
        starts = [(edge - down, edge - right) for down, right in pairs]
        moved = [padded[:, top : top + height, left : left + width, :] for top, left in starts]
        moved = [xp.reshape(each, tuple(x.shape)) for each in moved]
        expanded = dataset.with_arrays(xp.concat([x, *moved], axis=0), xp.concat([y] * times, axis=0))
        expanded.sample_weight = None if weights is None else xp.concat([weights] * times, axis=0)
    return expanded


def _image_size(dataset: Dataset, image_shape: Any) -> tuple[int, int]:
    """Height and width of the images."""
    shape = dataset.input_shape
    if image_shape is None:
        side = math.isqrt(shape[0])
        if len(shape) in (2, 3):
            return shape[0], shape[1]
        if len(shape) == 1 and side * side == shape[0]:
            return side, side
        raise InvalidValueError(
            f"dataset: expected images, (n, height, width[, channels]) or flat and square, got examples of shape "
            f"{shape}; pass image_shape=(height, width) for flat ones that are not square"
        )
    image = _integers(image_shape)
    if len(image) not in (2, 3) or min(image) < 1:
        raise InvalidValueError(
            f"image_shape: expected (height, width) or (height, width, channels), got {image_shape!r}"
        )
    fits = math.prod(image) == shape[0] if len(shape) == 1 else len(shape) < 4 and image in (shape, shape[:2])
    if not fits:
        raise InvalidValueError(
            f"image_shape: expected the shape of the examples, {shape}, or of flat ones, got {image_shape}"
        )
    return image[0], image[1]


def _integers(values: Any) -> tuple[int, ...]:
    """The entries of a sequence of integers, and none of any other."""
    given = tuple(values) if isinstance(values, tuple | list | np.ndarray) else ()
    whole = all(isinstance(value, Integral) and not isinstance(value, bool) for value in given)
    return tuple(map(int, given)) if whole else ()


def _shift(shift: Any, height: int, width: int) -> tuple[int, int]:
    """A pair (down, right) that leaves a part of the image in sight."""
    pair = _integers(shift)
    if len(pair) != 2:
        raise InvalidTypeError(f"shifts: expected pairs (down, right) of integers, got {shift!r}")
    if abs(pair[0]) >= height or abs(pair[1]) >= width:
        raise InvalidValueError(f"shifts: expected less than the images' {height} × {width} pixels, got {shift!r}")
    return pair[0], pair[1]
