"""Windows of images in NumPy: unfolding, folding and pooling, written into arrays that are given.

Each function takes first how its calls are made: `now` makes them, and the replaying engine notes them for every step.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nn_any.core.typing import Array

Pair = tuple[int, int]
_SHORT = 16  # elements of a window's line
_CACHED = 2**20  # bytes of windows
_PORTIONS = 4


class Work:
    """How calls are made, and where room for a portion of the images comes from: at once, and from NumPy."""

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Make a call, whose result is in one of its arguments."""
        function(*args, **kwargs)

    def room(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array for the portion at hand."""
        return np.empty(shape, dtype)

    def done(self) -> None:
        """Nothing needs the latest room any more."""

    def product(self, out: Array, a: Array, b: Array, *, add: bool = False) -> None:
        """``a @ b`` into a matrix, or added to it."""
        if add:
            out += a @ b
        else:
            np.matmul(a, b, out=out)


now = Work()


def places(image: Array, element: int, window: Pair, stride: Pair, shape: Pair) -> Array:
    """The view of the pixels that are number `element` of their windows."""
    i, j = divmod(element, window[1])
    (down, right), (rows, columns) = stride, shape
    return image[..., i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * right + 1 : right, :]


def counts(size: Pair, window: Pair, stride: Pair) -> Pair:
    """How many windows there are along each axis."""
    return (size[0] - window[0]) // stride[0] + 1, (size[1] - window[1]) // stride[1] + 1


def unfolded(work: Work, x: Array, *, window: Pair, stride: Pair) -> Array:
    """Room for the windows of `x`: (..., rows, columns, area, channels).

    Each window lies in one piece, unless its lines are so short that it takes less time to copy the images line by
    line: then each element of all windows does.
    """
    lead, channels = x.shape[:-3], x.shape[-1]
    places, parts = counts(x.shape[-3:-1], window, stride), (window[0] * window[1], channels)
    if window[1] * channels >= _SHORT or stride[1] > 1:
        return work.room((*lead, *places, *parts), x.dtype)
    return np.moveaxis(work.room((*parts, *lead, *places), x.dtype), (0, 1), (-2, -1))


def unfold(work: Work, out: Array, x: Array, *, window: Pair, stride: Pair) -> None:
    """The windows of `x`, into an array such as `unfolded` makes."""
    views = np.lib.stride_tricks.sliding_window_view(x, window, axis=(-3, -2))
    views = np.moveaxis(views[..., :: stride[0], :: stride[1], :, :, :], -3, -1)
    work(np.copyto, out.reshape(views.shape), views)


def _portions(x: Array, window: Pair, stride: Pair) -> Iterator[slice]:
    """Images whose windows stay in the cache, some at a time: few of a batch's, since they are so much larger."""
    rows, columns = counts(x.shape[-3:-1], window, stride)
    size = _CACHED // (rows * columns * window[0] * window[1] * x.shape[-1] * x.itemsize)
    size = max(1, min(size, math.ceil(len(x) / _PORTIONS)))
    return (slice(start, start + size) for start in range(0, len(x), size))


def _matrix(parts: Array) -> Array:
    """Windows (n, rows, columns, area, channels) as rows of a matrix, which shows their memory however they lie."""
    return parts.reshape(math.prod(parts.shape[:3]), -1)


def _unfolded_portions(work: Work, x: Array, **how: Any) -> Iterator[tuple[slice, Array]]:
    """Which images, and their windows as rows of a matrix, whose memory the next portion has again."""
    for at in _portions(x, **how):
        parts = unfolded(work, x[at], **how)
        unfold(work, parts, x[at], **how)
        yield at, _matrix(parts)
        work.done()


def convolve(work: Work, z: Array, x: Array, kernels: Array, *, stride: Pair) -> None:
    """The windows of `x` (n, height, width, channels) times the kernels, into `z` (n, rows, columns, filters)."""
    filters, height, width, _ = kernels.shape
    how: Any = {"window": (height, width), "stride": stride}
    for at, parts in _unfolded_portions(work, x, **how):
        work.product(z[at].reshape(-1, filters), parts, kernels.reshape(filters, -1).mT)


def kernels_gradient(work: Work, out: Array, x: Array, delta: Array, *, stride: Pair, **_: Any) -> None:
    """δᵀ times the windows of `x`, summed over the images, into `out` (filters, height, width, channels).

    It is added up as windowsᵀ δ: for this transpose, of fewer columns than rows, BLAS takes up to a half less time.
    """
    filters, height, width, _ = out.shape
    how: Any = {"window": (height, width), "stride": stride}
    turned = work.room((out.size // filters, filters), out.dtype)
    if not len(x):
        work(turned.fill, 0)
    for at, parts in _unfolded_portions(work, x, **how):
        work.product(turned, parts.mT, delta[at].reshape(-1, filters), add=at.start > 0)
    work(np.copyto, out.reshape(filters, -1), turned.mT)
    work.done()


def inputs_gradient(work: Work, image: Array, delta: Array, kernels: Array, *, stride: Pair, **_: Any) -> None:
    """δ (n, rows, columns, filters) spread back through the kernels, into `image` (n, height, width, channels)."""
    filters, height, width, channels = kernels.shape
    how: Any = {"window": (height, width), "stride": stride}
    for at in _portions(image, **how):
        some = delta[at]
        parts = work.room((*some.shape[:3], height * width, channels), some.dtype)
        work.product(_matrix(parts), some.reshape(-1, filters), kernels.reshape(filters, -1))
        fold(work, image[at], parts, **how)
        work.done()


def fold(work: Work, image: Array, parts: Array, *, window: Pair, stride: Pair, **_: Any) -> None:
    """The sum of the windows' elements over where they come from, into (..., height, width, channels)."""
    rows, columns = parts.shape[-4:-2]
    (height, width), (down, right), channels = window, stride, image.shape[-1]
    lines = parts.reshape(*parts.shape[:-2], height, width * channels)
    if not np.may_share_memory(lines, parts):  # broadcast parts cannot be viewed so; a copy made now would grow stale
        lines = np.empty(lines.shape, lines.dtype)
        work(np.copyto, lines.reshape(parts.shape), parts)
    pixels = image.reshape(*image.shape[:-2], -1)
    work(image.fill, 0)
    for i in range(height):
        for j in range(columns):  # a line of a window lies in one piece in both
            start = j * right * channels
            view = pixels[..., i : i + (rows - 1) * down + 1 : down, start : start + width * channels]
            work(np.add, view, lines[..., j, i, :], view)


def _together(images: Array) -> int:
    """How many images stay in the cache while each element of their windows is looked at; all rows of a single one."""
    return max(1, _CACHED // max(1, images[:1].nbytes) if images.ndim > 3 else len(images))


def max_pool(work: Work, out: tuple[Array, Array], x: Array, *, window: Pair, stride: Pair) -> None:
    """The largest element of each window, and which one it is, into two arrays."""
    largest, which = out
    shape, size = largest.shape[-3:-1], _together(x)
    room = work.room((min(size, len(which)), *which.shape[1:]), which.dtype)
    for at in [slice(start, start + size) for start in range(0, len(x), size)]:
        most, number = (largest[at], which[at]) if x.ndim > 3 else (largest, which)
        larger = room[: len(number)]
        work(np.copyto, most, places(x[at], 0, window, stride, shape))
        work(number.fill, 0)
        for element in range(1, window[0] * window[1]):
            part = places(x[at], element, window, stride, shape)
            work(np.greater, part, most, larger)
            work(np.multiply, larger, np.asarray(element, which.dtype), larger)
            work(np.maximum, number, larger, out=number)  # the last one that was larger has the largest number
            work(np.maximum, most, part, out=most)


def max_pool_gradient(
    work: Work, image: Array, which: Array, delta: Array, *, window: Pair, stride: Pair, **_: Any
) -> None:
    """δ where the largest elements were, into (..., height, width, channels)."""
    shape, size = delta.shape[-3:-1], _together(image)
    tiles = stride == window and image.shape[-3:-1] == (shape[0] * stride[0], shape[1] * stride[1])
    room = (min(size, len(delta)), *delta.shape[1:])
    masks, several = work.room(room, np.bool_), None if tiles else work.room(room, delta.dtype)
    for at in [slice(start, start + size) for start in range(0, len(image), size)]:
        errors, number = (delta[at], which[at]) if image.ndim > 3 else (delta, which)
        here = masks[: len(errors)]
        if several is not None:
            work(image[at].fill, 0)
        for element in range(window[0] * window[1]):
            view = places(image[at], element, window, stride, shape)
            work(np.equal, number, np.asarray(element, which.dtype), here)
            if several is None:  # each pixel is in one window
                work(np.multiply, errors, here, view)
            else:
                work(np.multiply, errors, here, several[: len(errors)])
                work(np.add, view, several[: len(errors)], view)


def _convolved(x: Array, kernels: Array, *, stride: Pair) -> tuple[tuple[int, ...], np.dtype]:
    return (len(x), *counts(x.shape[1:3], kernels.shape[1:3], stride), len(kernels)), x.dtype


ROUTINES: dict[str, tuple[Callable[..., None], Callable[..., tuple[tuple[int, ...], np.dtype]]]] = {
    "convolve": (convolve, _convolved),
    "convolve_kernels_gradient": (
        kernels_gradient,
        lambda x, delta, *, kernel_size, **_: ((delta.shape[-1], *kernel_size, x.shape[-1]), delta.dtype),
    ),
    "convolve_inputs_gradient": (
        inputs_gradient,
        lambda delta, kernels, *, size, **_: ((len(delta), *size, kernels.shape[-1]), delta.dtype),
    ),
    "fold": (fold, lambda parts, *, size, **_: ((*parts.shape[:-4], *size, parts.shape[-1]), parts.dtype)),
    "max_pool_gradient": (
        max_pool_gradient,
        lambda which, delta, *, size, **_: ((*delta.shape[:-3], *size, delta.shape[-1]), delta.dtype),
    ),
}
"""By a primitive's name: what writes it into a given array, and the shape and dtype of that for the same arguments."""
