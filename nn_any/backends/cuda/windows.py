"""What `windows.cu` takes: the shapes of images and of their windows."""

import numpy as np

Pair = tuple[int, int]
_FIELDS = ("height", "width", "channels", "window_height", "window_width", "down", "right", "rows", "columns")
_SHAPE = np.dtype([(name, "<i4") for name in _FIELDS])


def window_shape(size: Pair, channels: int, window: Pair, stride: Pair) -> np.ndarray:
    """A record of the C struct ``Shape``, for images of a size and windows of a size that move by a stride.

    Examples
    --------
    >>> shape = window_shape((28, 28), 1, (5, 5), (1, 1))
    >>> int(shape["rows"]), int(shape["columns"])
    (24, 24)
    """
    rows, columns = ((s - w) // step + 1 for s, w, step in zip(size, window, stride, strict=True))
    return np.array((*size, channels, *window, *stride, rows, columns), dtype=_SHAPE)
