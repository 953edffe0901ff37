"""Which training steps the fused kernel can run, and how it is compiled for them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nn_any.backends.cuda.sources import C_TYPES
from nn_any.core import activations, losses
from nn_any.core.layers import Dense, Flatten
from nn_any.core.typing import Shape

Column = tuple[str, Shape]
"""The dtype of a data set's column and the shape of one of its rows."""

MOST_MULTIPLICATIONS = 3_000_000
"""A step with more multiplications than this, forward alone, is faster on the whole GPU than on one multiprocessor."""

MOST_THREADS = 512

LAUNCH_NANOSECONDS = 150_000_000
"""About how long a launch may last: seconds would freeze a GPU that draws a screen as well, or be cut off."""

MOST_STEPS_A_LAUNCH = 4_000

_ACTIVATIONS = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "softmax")
_LOSSES = ("quadratic", "mean_squared_error", "cross_entropy", "log_likelihood")


class Unsuitable(Exception):  # noqa: N818 - a finding rather than an error
    """Something other than the fused kernel must run these steps; the message says why."""


@dataclass(frozen=True)
class FusedPlan:
    """How the fused kernel is compiled and launched for a network, a batch size and a data set.

    Attributes
    ----------
    sizes : tuple of int
        The numbers of inputs and of each layer's units.
    first : int
        The place of the first dense layer: what is in front only flattens.
    macros : tuple of str
        ``"NAME=value"``, for the compiler.
    threads, shared_bytes : int
        Threads a block, and the dynamic shared memory of one.
    itemsize : int
        Bytes a number.
    step_nanoseconds : float
        What a step of one network takes on a slow GPU.
    """

    sizes: tuple[int, ...]
    first: int
    macros: tuple[str, ...]
    threads: int
    shared_bytes: int
    itemsize: int
    step_nanoseconds: float

    @property
    def options(self) -> tuple[str, ...]:
        """What NVRTC is told."""
        return ("--std=c++17", *[f"-D{macro}" for macro in self.macros])

    @property
    def shapes(self) -> list[Shape]:
        """Of the parameters, in the order in which they lie in memory: weights and biases, layer by layer."""
        return [shape for inputs, units in pairwise(self.sizes) for shape in ((units, inputs), (units,))]

    @property
    def numbers(self) -> int:
        """How many numbers one network's parameters take in memory, with what pads them."""
        return _numbers(self.sizes, self.itemsize)

    def views(self, buffer: Any) -> list[Any]:
        """Views of the parameters in the kernel's `buffer` (m, numbers): (m, *shape) each, in the order of `shapes`.

        Rows of weights are padded, so that each begins where the kernel can read 16 bytes at once.
        """
        views, end = [], 0
        for inputs, units in pairwise(self.sizes):
            stride = _stride(inputs, self.itemsize)
            begin, middle, end = end, end + units * stride, end + units * stride + _up(units, 4)
            views.append(buffer[:, begin:middle].reshape(-1, units, stride)[:, :, :inputs])
            views.append(buffer[:, middle : middle + units])
        return views


def plan_fused(
    recipe: Any,
    batch: int,
    columns: Sequence[Column],
    shared_limit: int,
    *,
    order_dtype: str = "int64",
    threads: int | None = None,
) -> FusedPlan:
    """Plan the fused kernel for a step's recipe.

    Parameters
    ----------
    recipe : core.functional.Recipe
    batch : int
        Examples a step.
    columns : the data set's inputs, targets, and perhaps the examples' weights
    shared_limit : int
        How much shared memory a block may have, in bytes.
    order_dtype : {"int64", "int32"}
        How the order of the examples is stored.
    threads : int, optional
        Threads a block, a multiple of 32. As many as there is work for if omitted.

    Raises
    ------
    Unsuitable
        If the kernel cannot run such steps, or not faster than other engines.
    """
    if not recipe.optimizer.plain:
        raise Unsuitable(f"it is for plain SGD, not for {recipe.optimizer!r}")
    first, dense = _dense_layers(recipe.layers)
    sizes = (math.prod(columns[0][1]), *[layer.units for layer in dense])
    kinds = _kinds(dense, recipe.loss)
    if batch * _weights(sizes) > MOST_MULTIPLICATIONS:
        raise Unsuitable(f"{batch} examples a step through layers of {sizes} are too much work for one multiprocessor")
    threads = threads or _threads(sizes, batch)
    itemsize = 8 if recipe.prepare.dtype == "float64" else 4
    macros = {
        **_data_macros(recipe.prepare, columns, sizes[-1], batch),
        "ORDER_TYPE": C_TYPES[order_dtype],
        "SIZES": ",".join(map(str, sizes)),
        "ACTIVATIONS": ",".join(kind.upper() for kind in kinds),
        "SLOPES": ",".join(repr(float(getattr(layer.activation, "slope", 0.0))) for layer in dense),
        "LOSS": recipe.loss.name.upper(),
        "SMOOTHING": repr(float(getattr(recipe.loss, "label_smoothing", 0.0))),
        "BATCH": batch,
        "THREADS": threads,
        "EXPECTED_PARAMS": _numbers(sizes, itemsize),
    }
    for shared_weights in (1, 0):
        shared_bytes = _shared_bytes(sizes, batch, recipe.prepare.labels, threads, itemsize, shared_weights)
        if shared_bytes <= shared_limit:
            macros |= {"SHARED_WEIGHTS": shared_weights, "EXPECTED_BYTES": shared_bytes}
            items = tuple(f"{name}={value}" for name, value in macros.items())
            nanoseconds = _step_nanoseconds(sizes, batch, itemsize)
            return FusedPlan(sizes, first, items, threads, shared_bytes, itemsize, nanoseconds)
    raise Unsuitable(f"a batch of {batch} needs {shared_bytes} bytes of shared memory, a block has {shared_limit}")


def steps_a_launch(step_nanoseconds: float, members: int, multiprocessors: int) -> int:
    """How many steps of `members` networks a launch of the fused kernel may take; one at least, however long it lasts.

    Examples
    --------
    >>> steps_a_launch(50_000, members=1, multiprocessors=100)
    3000
    >>> steps_a_launch(50_000, members=1_001, multiprocessors=100)  # the last one waits for ten others
    272
    >>> steps_a_launch(1e9, members=1, multiprocessors=100)
    1
    """
    rounds = -(-members // multiprocessors)
    return max(1, min(MOST_STEPS_A_LAUNCH, int(LAUNCH_NANOSECONDS / (step_nanoseconds * rounds))))


def _dense_layers(layers: Sequence[Any]) -> tuple[int, list[Any]]:
    """The place of the first dense layer, and all of them."""
    first = next((i for i, layer in enumerate(layers) if type(layer) is not Flatten), len(layers))
    for layer in layers[first:]:
        if type(layer) is not Dense:
            raise Unsuitable(f"it is for dense layers, not for {layer!r}")
        if not layer.trainable:
            raise Unsuitable("it trains every layer, and some are frozen")
    if first == len(layers):
        raise Unsuitable("there is no dense layer")
    return first, list(layers[first:])


def _weights(sizes: Sequence[int]) -> int:
    return sum(inputs * units for inputs, units in pairwise(sizes))


def _kinds(dense: Sequence[Any], loss: Any) -> list[str]:
    """The names of the activations, if they and the loss are the package's own and go together."""
    kinds = [str(layer.activation.name) for layer in dense]
    for layer, kind in zip(dense, kinds, strict=True):
        if kind not in _ACTIVATIONS or type(layer.activation) is not type(activations.get(kind)):
            raise Unsuitable(f"it does not know {layer.activation!r}")
    if loss.name not in _LOSSES or type(loss) is not type(losses.get(loss.name)):
        raise Unsuitable(f"it does not know {loss!r}")
    wanted = {"cross_entropy": "sigmoid", "log_likelihood": "softmax"}.get(loss.name)
    if wanted not in (None, kinds[-1]) or "softmax" in kinds[:-1] or (kinds[-1] == "softmax" and wanted != "softmax"):
        raise Unsuitable(f"it does not know {loss!r} after {', '.join(kinds)}")
    return kinds


def _data_macros(prepare: Any, columns: Sequence[Column], outputs: int, batch: int) -> dict[str, Any]:
    """How the data set's columns are stored, and how they become reals."""
    (x_dtype, _), (y_dtype, y_shape), *weights = columns
    for dtype in (x_dtype, y_dtype):
        if dtype not in C_TYPES:
            raise Unsuitable(f"it does not read {dtype}")
    if y_shape != (() if prepare.labels else (outputs,)):
        raise Unsuitable(f"targets of shape (n, {', '.join(map(str, y_shape))}) do not fit {outputs} outputs")
    if weights and batch > MOST_THREADS:
        raise Unsuitable(f"it weighs {MOST_THREADS} examples a step at most, not {batch}")
    if weights and weights[0] != (prepare.dtype, ()):
        raise Unsuitable(f"examples' weights of {weights[0][0]} do not fit a network of {prepare.dtype}")
    return {
        "REAL": C_TYPES[prepare.dtype],
        "X_TYPE": C_TYPES[x_dtype],
        "Y_TYPE": C_TYPES[y_dtype],
        "W_TYPE": C_TYPES[prepare.dtype],
        "LABELS": int(prepare.labels),
        "WEIGHTED": int(bool(weights)),
        "INVERSE_SCALE": repr(1.0 if prepare.scale is None else 1.0 / prepare.scale),
    }


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _threads(sizes: Sequence[int], batch: int) -> int:
    """As many warps as there are tiles to work on or rows to bring, from 4 to 16."""
    tiles = [-(-units // 8) * -(-inputs // 128) for inputs, units in pairwise(sizes)]
    warps = max(*tiles, -(-batch * max(sizes) // 512), -(-batch // 32), 4)
    return min(32 * warps, MOST_THREADS)


def _step_nanoseconds(sizes: Sequence[int], batch: int, itemsize: int) -> float:
    """A step's time on a slow GPU; many multiply float64 at a thirtieth of the rate of float32 or less."""
    a_nanosecond = 10 if itemsize == 4 else 1
    return 20_000 + 3 * batch * _weights(sizes) / a_nanosecond


def _stride(size: int, itemsize: int) -> int:
    """How many numbers a row of `size` takes in the kernel's memory: an odd multiple of 64 bytes."""
    half = 64 // itemsize
    return _up(size - half, 2 * half) + half


def _numbers(sizes: Sequence[int], itemsize: int) -> int:
    return sum(units * _stride(inputs, itemsize) + _up(units, 4) for inputs, units in pairwise(sizes))


def _shared_bytes(
    sizes: Sequence[int], batch: int, labels: bool, threads: int, itemsize: int, shared_weights: int
) -> int:
    """How much lies in shared memory, as `fused_mlp.cu` adds it up."""
    row_tiles = -(-batch // 16)
    rows = -(-batch // (2 * row_tiles))
    most_columns = min(16, 32 // rows)
    partial_sums = 0
    for inputs, units in pairwise(sizes):
        vectors = -(-inputs * itemsize // 16)
        spread = min(threads // 32 // row_tiles, -(-units // 2)) if vectors < 64 else 1
        tiles = row_tiles * max(spread, -(-units // (2 * most_columns)))
        parts = min(threads // 32 // tiles, vectors // 32)
        columns = -(-units // (2 * (tiles // row_tiles)))
        sums = next(n for n in (8, 16, 32) if rows * columns <= n)
        partial_sums = max(partial_sums, parts * tiles * 4 * sums if parts > 1 else 0)
    strides = [_stride(size, itemsize) for size in sizes]
    activations, deltas = 2 * rows * row_tiles * sum(strides), batch * sum(strides[1:])
    examples = _up(batch * (1 if labels else sizes[-1]), 4) + _up(batch * sizes[-1], 4) + 4 * batch
    weights = _numbers(sizes, itemsize) if shared_weights else 0
    return itemsize * (weights + activations + deltas + partial_sums + examples) + 16 * batch
