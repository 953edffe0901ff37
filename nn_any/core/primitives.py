"""The few named operations that a backend may replace by a faster equal.

The body of each function here is its definition, in terms of the Array API alone. A backend registers a
replacement for its own namespace with `replace`; ``tests/core/test_primitives.py`` holds the two together.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import array_api_extra as xpx

from nn_any.core.errors import InvalidValueError
from nn_any.core.typing import Array, Namespace

F = TypeVar("F", bound=Callable[..., Any])
Pair = tuple[int, int]

_definitions: dict[str, Callable[..., Any]] = {}
_replacements: dict[str, dict[Namespace, Callable[..., Any]]] = {}


def primitive(definition: F) -> F:
    """Make `definition` an operation that backends may replace; it takes the namespace as keyword ``xp``."""
    _definitions[definition.__name__] = definition
    choose = _replacements.setdefault(definition.__name__, {}).get

    @functools.wraps(definition)
    def call(*args: Array, xp: Namespace, **kwargs: object) -> Any:
        return choose(xp, definition)(*args, xp=xp, **kwargs)

    return call  # type: ignore[return-value]


def definition(name: str) -> Callable[..., Any]:
    """The body that defines a primitive, for a replacement that does not cover every case."""
    return _definitions[name]


def replace(name: str, xp: Namespace, function: Callable[..., Any]) -> None:
    """Let `function` stand for the primitive called `name` on arrays of namespace `xp`."""
    if name not in _definitions:
        raise InvalidValueError(f"name: expected a primitive ({', '.join(sorted(_definitions))}), got {name!r}")
    _replacements[name][xp] = function


@primitive
def sigmoid(z: Array, *, xp: Namespace) -> Array:
    """The logistic function ``1 / (1 + exp(-z))``, without overflow for any z, in the shape and dtype of `z`."""
    small = xp.exp(-xp.abs(z))  # in (0, 1]: the exponential never overflows
    return xp.where(z >= 0, xp.ones_like(z), small) / (1 + small)


@primitive
def one_hot(labels: Array, *, classes: int, dtype: object, xp: Namespace) -> Array:
    """A row for each label, 1 in its column and 0 elsewhere: (..., n), in 0 … classes - 1 -> (..., n, classes)."""
    return xpx.one_hot(labels, classes, dtype=dtype, xp=xp)


@primitive
def sigmoid_gradient(a: Array, delta: Array, *, xp: Namespace) -> Array:
    """``delta * a * (1 - a)``: from ∂C/∂a to ∂C/∂z for a = sigmoid(z); shapes and dtypes are alike."""
    return delta * (a * (1 - a))


@primitive
def relu(z: Array, *, xp: Namespace) -> Array:
    """``max(z, 0)``, in the shape and dtype of `z`."""
    return xp.maximum(z, xp.zeros_like(z))


@primitive
def relu_gradient(z: Array, delta: Array, *, xp: Namespace) -> Array:
    """``delta`` where z > 0 and 0 elsewhere: from ∂C/∂a to ∂C/∂z for a = relu(z); shapes and dtypes are alike."""
    return delta * xp.astype(z > 0, z.dtype)


@primitive
def matmul(a: Array, b: Array, *, xp: Namespace) -> Array:
    """``a @ b``: (..., m, k) and (..., k, n) -> (..., m, n)."""
    return a @ b


@primitive
def vecdot(a: Array, b: Array, *, xp: Namespace) -> Array:
    """The sum of ``a * b`` over the last axis: (..., n) twice -> (...)."""
    return xp.vecdot(a, b, axis=-1)


@primitive
def affine(x: Array, weights: Array, biases: Array, *, xp: Namespace) -> Array:
    """``x @ weightsᵀ + biases``: (..., n, inputs), (..., units, inputs) and (..., units) -> (..., n, units)."""
    return matmul(x, weights.mT, xp=xp) + biases[..., None, :]


@primitive
def total(x: Array, *, axis: int, xp: Namespace) -> Array:
    """The sum over one axis, in the dtype of `x`."""
    return xp.sum(x, axis=axis)


@primitive
def clip(x: Array, *, low: float | None = None, high: float | None = None, xp: Namespace) -> Array:
    """Each element of `x` brought within low … high; None is no bound."""
    return xp.clip(x, low, high)


@primitive
def sgd_update(
    weights: Array,
    delta: Array,
    inputs: Array,
    alpha: Array | float = -1.0,
    beta: Array | float = 1.0,
    *,
    xp: Namespace,
) -> Array:
    """``beta * weights + alpha * deltaᵀ @ inputs``: a step of gradient descent that never forms the gradient.

    Weights are (..., units, inputs), `delta` (..., n, units), `inputs` (..., n, inputs), `alpha` and `beta` numbers or
    arrays, () or (m, 1, 1). The result is like the weights and shares memory with none of the arguments.
    """
    return beta * weights + alpha * matmul(delta.mT, inputs, xp=xp)


@primitive
def unfold(x: Array, *, window: Pair, stride: Pair, xp: Namespace) -> Array:
    """The windows of images, row by row, and each window's elements side by side.

    Images (..., height, width, channels) -> (..., rows, columns, window[0] * window[1], channels), with
    ``rows = (height - window[0]) // stride[0] + 1``, and columns likewise.
    """
    (height, width), (down, right) = window, stride
    rows, columns = (x.shape[-3] - height) // down + 1, (x.shape[-2] - width) // right + 1
    last_row, last_column = (rows - 1) * down + 1, (columns - 1) * right + 1
    places = [(i, j) for i in range(height) for j in range(width)]
    return xp.stack([x[..., i : i + last_row : down, j : j + last_column : right, :] for i, j in places], axis=-2)


@primitive
def fold(parts: Array, *, window: Pair, stride: Pair, size: Pair, xp: Namespace) -> Array:
    """The transpose of `unfold`: every window's elements put back where they came from, and summed where they overlap.

    Parts (..., rows, columns, window[0] * window[1], channels) -> images (..., *size, channels).
    """
    (height, width), (down, right) = window, stride
    *lead, rows, columns, _, channels = parts.shape
    still = [(0, 0)] * len(lead)
    if stride == window:  # nothing overlaps: the windows are tiles
        tiles = xp.reshape(parts, (*lead, rows, columns, height, width, channels))
        tiles = xp.reshape(xp.moveaxis(tiles, -3, -4), (*lead, rows * height, columns * width, channels))
        rest = (0, size[0] - rows * height), (0, size[1] - columns * width)
        return tiles if rest == ((0, 0), (0, 0)) else xpx.pad(tiles, [*still, *rest, (0, 0)], xp=xp)
    image = None
    for element in range(height * width):
        i, j = divmod(element, width)
        part = _spread(_spread(parts[..., element, :], down, -3, xp), right, -2, xp)
        before = (i, size[0] - i - part.shape[-3]), (j, size[1] - j - part.shape[-2])
        part = xpx.pad(part, [*still, *before, (0, 0)], xp=xp)
        image = part if image is None else image + part
    return image


def _spread(x: Array, step: int, axis: int, xp: Namespace) -> Array:
    """``step - 1`` zeros between neighbours along an axis, counted from the end."""
    if step == 1:
        return x
    x = xp.moveaxis(x, axis, -1)
    apart = xp.stack([x, *[xp.zeros_like(x)] * (step - 1)], axis=-1)
    flat = xp.reshape(apart, (*x.shape[:-1], x.shape[-1] * step))
    return xp.moveaxis(flat[..., : 1 - step], -1, axis)


@primitive
def convolve(x: Array, kernels: Array, *, stride: Pair, xp: Namespace) -> tuple[Array, Any]:
    """The sum over each window of an image times each kernel, without padding.

    Images (..., n, height, width, channels), kernels (..., filters, window height, window width, channels) -> z
    (..., n, rows, columns, filters), and what `convolve_kernels_gradient` wants to find again.
    """
    filters, *window, channels = kernels.shape[-4:]
    parts = unfold(x, window=tuple(window), stride=stride, xp=xp)
    *lead, n, rows, columns, area, _ = parts.shape
    patches = xp.reshape(parts, (*lead, n * rows * columns, area * channels))
    z = matmul(patches, xp.reshape(kernels, (*kernels.shape[:-4], filters, area * channels)).mT, xp=xp)
    return xp.reshape(z, (*z.shape[:-2], n, rows, columns, filters)), patches


@primitive
def convolve_kernels_gradient(residual: Any, delta: Array, *, kernel_size: Pair, stride: Pair, xp: Namespace) -> Array:
    """∂C/∂kernels for δ = ∂C/∂z (..., n, rows, columns, filters), in the shape of the kernels."""
    *lead, n, rows, columns, filters = delta.shape
    gradient = matmul(xp.reshape(delta, (*lead, n * rows * columns, filters)).mT, residual, xp=xp)
    return xp.reshape(gradient, (*gradient.shape[:-1], *kernel_size, gradient.shape[-1] // math.prod(kernel_size)))


@primitive
def convolve_inputs_gradient(delta: Array, kernels: Array, *, stride: Pair, size: Pair, xp: Namespace) -> Array:
    """∂C/∂x for δ = ∂C/∂z (..., n, rows, columns, filters) and images of the given height and width."""
    filters, *window, channels = kernels.shape[-4:]
    *lead, n, rows, columns, _ = delta.shape
    flat = xp.reshape(delta, (*lead, n * rows * columns, filters))
    area = math.prod(window)
    patches = matmul(flat, xp.reshape(kernels, (*kernels.shape[:-4], filters, area * channels)), xp=xp)
    parts = xp.reshape(patches, (*patches.shape[:-2], n, rows, columns, area, channels))
    return fold(parts, window=tuple(window), stride=stride, size=size, xp=xp)


@primitive
def max_pool(x: Array, *, window: Pair, stride: Pair, xp: Namespace) -> tuple[Array, Any]:
    """The largest element of each window, channel by channel.

    Images (..., height, width, channels) -> (..., rows, columns, channels), and what `max_pool_gradient` wants to find
    again.
    """
    parts = unfold(x, window=window, stride=stride, xp=xp)
    return xp.max(parts, axis=-2), xp.argmax(parts, axis=-2)


@primitive
def max_pool_gradient(residual: Any, delta: Array, *, window: Pair, stride: Pair, size: Pair, xp: Namespace) -> Array:
    """∂C/∂x for δ (..., rows, columns, channels): in each window the first of the largest elements has it all."""
    hits = one_hot(residual, classes=math.prod(window), dtype=delta.dtype, xp=xp)
    parts = xp.moveaxis(hits, -1, -2) * delta[..., None, :]
    return fold(parts, window=window, stride=stride, size=size, xp=xp)
