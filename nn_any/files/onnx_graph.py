"""A graph of ONNX while it is being written: nodes and constants, with names that say which layer they belong to."""

from itertools import chain, count
from typing import Any

import numpy as np


class Graph:
    """The nodes and constants of a model.

    Attributes
    ----------
    scope : str
        What the names of new nodes and constants begin with, such as ``"layers.0."``.
    nodes, constants : lists of NodeProto and TensorProto, in order
    """

    def __init__(self) -> None:
        import onnx

        self._onnx = onnx
        self.scope = ""
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._taken = {"inputs", "outputs"}
        self._known: dict[Any, str] = {}

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, which has one output; its name, returned, is that of the node too: ``"layers.0.Gemm"``."""
        name = self._unused(operator)
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: np.ndarray, name: str | None = None) -> str:
        """Add a constant and return its name; nameless ones that are equal share one."""
        array = np.asarray(array, order="C")
        key = None if name else (self.scope, array.dtype.str, array.shape, array.tobytes())
        if key is None or key not in self._known:
            made = self._unused(name or "constant")
            self.constants.append(self._onnx.numpy_helper.from_array(array, made))
            self._known[key] = made
        return self._known[key]

    def cast(self, x: str, dtype: Any) -> str:
        """Add a node that changes the dtype."""
        return self.add("Cast", x, to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def finish(self, x: str, name: str) -> None:
        """Call the result `x` by another name."""
        last = next((node for node in self.nodes if node.output[0] == x), None)
        if last is None:
            self.nodes.append(self._onnx.helper.make_node("Identity", [x], [name], name=name))
        else:
            last.output[0] = name

    def _unused(self, name: str) -> str:
        names = (f"{self.scope}{name}{suffix}" for suffix in chain([""], (f"_{i}" for i in count(2))))
        unused = next(name for name in names if name not in self._taken)
        self._taken.add(unused)
        return unused
