"""The words that type hints use: an array of any library, its namespace, and the parameters of a network."""

from typing import Any, TypeAlias

Array: TypeAlias = Any
"""An array of any library that follows the Python Array API standard."""

Namespace: TypeAlias = Any
"""The standard's functions for such an array: what ``array_namespace(x)`` returns."""

LayerParams: TypeAlias = tuple[Array, ...]
"""The parameters of one layer, packed as that layer likes."""

Params: TypeAlias = tuple[LayerParams, ...]
"""The parameters of a network: one entry a layer, ``()`` for a layer that has none."""

LayerOutput: TypeAlias = tuple[Array, LayerParams, Any]
"""What the `forward` of a layer returns: z, the layer's new state, and what its way back wants to find again."""

Shape: TypeAlias = tuple[int, ...]
"""A shape without the batch axis."""

Batch: TypeAlias = tuple[Array, ...]
"""Rows of a data set: ``(x, y)`` as they are stored, and perhaps the examples' weights (n,) as a third."""

Targets: TypeAlias = tuple[Array, Array | None]
"""What a batch should have for an answer: targets (..., n, outputs), and the examples' weights (..., n) or None."""
