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

MANY_MULTIPLICATIONS = 2_000_000_000
"""A step with more than this keeps the GPU busy for so long that nobody waits for launches."""

MOST_THREADS = 512

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
    """

    sizes: tuple[int, ...]
    first: int
    macros: tuple[str, ...]
    threads: int
    shared_bytes: int

    @property
    def options(self) -> tuple[str, ...]:
        """What NVRTC is told."""
        return ("--std=c++17", *[f"-D{macro}" for macro in self.macros])

    @property
    def shapes(self) -> list[Shape]:
        """Of the parameters, in the order in which they lie in memory: weights and biases, layer by layer."""
        return [shape for inputs, units in pairwise(self.sizes) for shape in ((units, inputs), (units,))]


def plan_fused(recipe: Any, batch: int, columns: Sequence[Column], shared_limit: int) -> FusedPlan:
    """Plan the fused kernel for a step's recipe.

    Parameters
    ----------
    recipe : core.functional.Recipe
    batch : int
        Examples a step.
    columns : the data set's inputs, targets, and perhaps the examples' weights
    shared_limit : int
        How much shared memory a block may have, in bytes.

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
    threads = _threads(sizes, batch)
    macros = {
        **_data_macros(recipe.prepare, columns, sizes[-1], batch),
        "SIZES": ",".join(map(str, sizes)),
        "ACTIVATIONS": ",".join(kind.upper() for kind in kinds),
        "SLOPES": ",".join(repr(float(getattr(layer.activation, "slope", 0.0))) for layer in dense),
        "LOSS": recipe.loss.name.upper(),
        "SMOOTHING": repr(float(getattr(recipe.loss, "label_smoothing", 0.0))),
        "BATCH": batch,
        "THREADS": threads,
    }
    itemsize = 8 if recipe.prepare.dtype == "float64" else 4
    for shared_weights in (1, 0):
        shared_bytes = itemsize * _shared_numbers(sizes, batch, shared_weights)
        if shared_bytes <= shared_limit:
            macros |= {"SHARED_WEIGHTS": shared_weights, "EXPECTED_BYTES": shared_bytes}
            items = tuple(f"{name}={value}" for name, value in macros.items())
            return FusedPlan(sizes, first, items, threads, shared_bytes)
    raise Unsuitable(f"a batch of {batch} needs {shared_bytes} bytes of shared memory, a block has {shared_limit}")


def products_fill_the_gpu(params: Any, batch: int) -> bool:
    """Whether a step's matrix products are so large that launching them one by one costs nothing."""
    numbers = sum(int(leaf.size) for layer in params for leaf in layer)
    return batch * numbers > MANY_MULTIPLICATIONS


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


def _shared_numbers(sizes: Sequence[int], batch: int, shared_weights: int) -> int:
    """How many reals lie in shared memory, as `fused_mlp.cu` adds them up."""
    weights = _up(_weights(sizes) + sum(sizes[1:]), 4) if shared_weights else 0
    forward = sum(_up(batch * size, 4) for size in sizes)
    deltas = sum(batch * _up(size, 8) for size in sizes[1:])
    return weights + forward + deltas + 2 * _up(batch * sizes[-1], 4) + 5 * batch
