"""The tensors of a model file: what they are called, and which of them an architecture must find there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, takewhile
from typing import Any

import numpy as np

from nn_any.backends import to_numpy
from nn_any.core.architecture import Architecture, HostParams
from nn_any.core.errors import ModelFileError
from nn_any.core.layers import Layer
from nn_any.core.typing import Array, Params, Shape


def name_tensors(layers: Iterable[Layer], params: Params, state: Params) -> dict[str, np.ndarray]:
    """Parameters and state as a file holds them: ``layers.0.params.1`` are the biases of the first layer."""
    tensors: dict[str, np.ndarray] = {}
    for i, (layer, p, s) in enumerate(zip(layers, params, state, strict=True)):
        tensors |= {f"layers.{i}.params.{j}": to_numpy(array) for j, array in enumerate(layer.unpack(p))}
        tensors |= {f"layers.{i}.state.{j}": to_numpy(array) for j, array in enumerate(s)}
    return tensors


def find_tensors(
    path: Any, architecture: Architecture, tensors: Mapping[str, np.ndarray]
) -> tuple[HostParams, HostParams]:
    """Parameters, packed, and state, as the tensors of a file hold them; no initial ones are drawn for it.

    Raises
    ------
    ModelFileError
        If a tensor is missing, or has another shape than the architecture asks for, or does not hold real numbers.
    """

    def find(i: int, kind: str, shapes: Sequence[Shape] | None) -> tuple[Array, ...]:
        names = (f"layers.{i}.{kind}.{j}" for j in count())
        found = [tensors[name] for name in takewhile(tensors.__contains__, names)]
        if shapes is None:  # a layer of the user's own, which does not say
            return tuple(found)
        got = [array.shape for array in found]
        wrong = next(((want, have) for want, have in zip(shapes, got, strict=False) if want != have), None)
        if wrong:
            raise ModelFileError(f"{path}: expected {kind} of shape {wrong[0]} in layer {i}, got {wrong[1]}")
        if len(found) != len(shapes):
            raise ModelFileError(f"{path}: expected {len(shapes)} {kind} in layer {i}, got {len(found)}")
        if any(array.dtype.kind != "f" for array in found):
            raise ModelFileError(f"{path}: expected {kind} of real numbers in layer {i}, got {found[0].dtype}")
        return tuple(found)

    def every(kind: str, shapes: Callable[[Layer, Shape], Any]) -> list[tuple[Array, ...]]:
        layers = zip(architecture.layers, architecture.shapes[:-1], strict=True)
        return [find(i, kind, shapes(layer, shape)) for i, (layer, shape) in enumerate(layers)]

    params = every("params", lambda layer, shape: layer.parameter_shapes(shape))
    state = every("state", lambda layer, shape: layer.state_shapes(shape))
    used = sum(map(len, params)) + sum(map(len, state))
    mine = [name for name in tensors if name.startswith("layers.")]
    if used != len(mine):
        raise ModelFileError(f"{path}: expected {used} tensors for the layers, got {len(mine)}")
    packed = tuple(layer.pack(*p) if p else () for layer, p in zip(architecture.layers, params, strict=True))
    return packed, tuple(state)
