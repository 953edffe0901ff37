"""A network as text: its layers in a table."""

import math
from collections.abc import Sequence
from typing import Any

from nn_any.core.layers import Layer
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Params, Shape


def summary_table(layers: Sequence[Layer], shapes: Sequence[Shape], params: Params) -> str:
    """A line a layer: what it is, its activation, its output shape and its number of parameters."""
    lines = [("layer", "activation", "output", "parameters"), ("input", "", shape_text(shapes[0]), "")]
    for i, (layer, p) in enumerate(zip(layers, params, strict=True)):
        about = [layer.activation.name, *([] if layer.trainable else ["frozen"])]
        lines.append(
            (f"{i + 1} {type(layer).__name__}", ", ".join(about), shape_text(shapes[i + 1]), f"{parameter_count(p):,}")
        )
    lines.append(("total", "", "", f"{parameter_count(params):,}"))
    widths = [max(len(line[i]) for line in lines) + 2 for i in range(3)]
    last = max(len(line[3]) for line in lines)
    rows = [[cell.ljust(width) for cell, width in zip(line, widths, strict=False)] for line in lines]
    return "\n".join(("".join(row) + line[3].rjust(last)).rstrip() for row, line in zip(rows, lines, strict=True))


def parameter_count(tree: Any) -> int:
    """How many numbers the arrays of a tree hold."""
    return sum(math.prod(array.shape) for array in tree_leaves(tree))


def shape_text(shape: Shape) -> str:
    """A shape as people write it: ``28 × 28 × 1``."""
    return " × ".join(map(str, shape))
