"""Windows of images in NumPy: unfolding, folding and pooling, written into arrays that are given.

Each function takes first how a call is made: `now` makes it, and the replaying engine notes it for every step.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from nn_any.core.typing import Array

Pair = tuple[int, int]
Call = Callable[..., None]


def now(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Make a call, whose result is in one of its arguments."""
    function(*args, **kwargs)


def places(image: Array, element: int, window: Pair, stride: Pair, shape: Pair) -> Array:
    """The view of the pixels that are number `element` of their windows."""
    i, j = divmod(element, window[1])
    (down, right), (rows, columns) = stride, shape
    return image[..., i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * right + 1 : right, :]


def counts(size: Pair, window: Pair, stride: Pair) -> Pair:
    """How many windows there are along each axis."""
    return (size[0] - window[0]) // stride[0] + 1, (size[1] - window[1]) // stride[1] + 1


def unfold(call: Call, out: Array, x: Array, *, window: Pair, stride: Pair) -> None:
    """The windows of `x`, into (..., rows, columns, area, channels)."""
    views = np.lib.stride_tricks.sliding_window_view(x, window, axis=(-3, -2))
    views = np.moveaxis(views[..., :: stride[0], :: stride[1], :, :, :], -3, -1)
    call(np.copyto, out.reshape(views.shape), views)


def fold(call: Call, image: Array, parts: Array, *, window: Pair, stride: Pair) -> None:
    """The sum of the windows' elements over where they come from, into (..., height, width, channels)."""
    shape = parts.shape[-4], parts.shape[-3]
    call(image.fill, 0)
    for element in range(window[0] * window[1]):
        view = places(image, element, window, stride, shape)
        call(np.add, view, parts[..., element, :], view)


def max_pool(call: Call, largest: Array, which: Array, larger: Array, x: Array, *, window: Pair, stride: Pair) -> None:
    """The largest element of each window, and which one it is; `larger` is room for booleans of that shape."""
    shape = largest.shape[-3], largest.shape[-2]
    call(np.copyto, largest, places(x, 0, window, stride, shape))
    call(which.fill, 0)
    for element in range(1, window[0] * window[1]):
        part = places(x, element, window, stride, shape)
        call(np.greater, part, largest, larger)
        call(np.copyto, which, np.asarray(element, which.dtype), where=larger)
        call(np.maximum, largest, part, out=largest)


def max_pool_gradient(
    call: Call, image: Array, here: Array, which: Array, delta: Array, *, window: Pair, stride: Pair
) -> None:
    """δ where the largest elements were, into (..., height, width, channels); `here` is room for booleans."""
    shape = delta.shape[-3], delta.shape[-2]
    tiles = stride == window and tuple(image.shape[-3:-1]) == (shape[0] * stride[0], shape[1] * stride[1])
    room = None if tiles else np.empty(delta.shape, delta.dtype)
    if not tiles:
        call(image.fill, 0)
    for element in range(window[0] * window[1]):
        view = places(image, element, window, stride, shape)
        call(np.equal, which, np.asarray(element, which.dtype), here)
        if tiles:  # each pixel is in one window
            call(np.multiply, delta, here, view)
        else:
            call(np.multiply, delta, here, room)
            call(np.add, view, room, view)
