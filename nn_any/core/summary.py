"""A network as text: its layers in a table."""

import math
from collections.abc import Sequence
from typing import Any

from nn_any.core.layers import Layer
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Params, Shape


def summary_table(layers: Sequence[Layer], shapes: Sequence[Shape], params: Params) -> str:
    """A line a layer, counted from 0: what it is, its activation, its output shape and its number of parameters."""
    lines = [("layer", "activation", "output", "parameters"), ("input", "", shape_text(shapes[0]), "")]
    for i, (layer, p) in enumerate(zip(layers, params, strict=True)):
        about = layer.activation.name + ("" if layer.trainable or layer.measures else ", frozen")
        lines.append((f"{i} {type(layer).__name__}", about, shape_text(shapes[i + 1]), f"{parameter_count(p):,}"))
    lines.append(("total", "", "", f"{parameter_count(params):,}"))
    a, b, c, d = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        f"{kind:{a}}  {about:{b}}  {shape:{c}}  {count:>{d}}".rstrip() for kind, about, shape, count in lines
    )


def parameter_count(tree: Any) -> int:
    """How many numbers the arrays of a tree hold."""
    return sum(math.prod(array.shape) for array in tree_leaves(tree))


def shape_text(shape: Shape) -> str:
    """A shape as people write it: ``28 × 28 × 1``."""
    return " × ".join(map(str, shape))
