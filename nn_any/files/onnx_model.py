"""Models of ONNX, which other programs run.

Reference: https://onnx.ai/onnx/intro.
"""

import json
import os
import sys
from itertools import count, takewhile
from typing import Any

import numpy as np

from nn_any.backends.libraries import INSTALL
from nn_any.core.errors import InvalidValueError
from nn_any.core.specification import Specification
from nn_any.core.state import Snapshot
from nn_any.files.atomic import as_path, write_atomically
from nn_any.files.network import name_tensors
from nn_any.files.onnx_graph import Graph
from nn_any.files.onnx_layers import Part, Value, write_layer

OPSET = 20
"""The version of the operators: the first one with `Gelu`."""
IR_VERSION = 9
"""The version of the file format that goes with it."""
LARGEST = 2**31 - 2**24
"""The bytes of all parameters that a file can hold: protobuf ends at 2 GiB, and the graph itself takes some."""


def save_onnx(path: str | os.PathLike[str], snapshot: Snapshot) -> None:
    """Write a network, or an ensemble as the mean of its members, as a model of ONNX: whole, or not at all.

    The model takes ``inputs``, (n, *input_shape), in the network's dtype and as they are stored, and gives ``outputs``,
    (n, outputs), for any n. Images are (n, height, width, channels) as everywhere in this package.

    Raises
    ------
    ModuleNotFoundError
        If onnx is not installed.
    TypeError
        If a layer or an activation of the user's own cannot be translated; the message names it.
    ValueError
        If the parameters take 2 GiB or more.
    OSError
        If the file cannot be written; a file that was there stays as it was.
    """
    path = as_path(path)
    try:
        import onnx
    except ImportError as error:
        raise ModuleNotFoundError(
            f"to_onnx: expected the library onnx, found none ({error}); install it with: {INSTALL['onnx']}", name="onnx"
        ) from error
    tensors = name_tensors(snapshot)
    size = sum(tensor.nbytes for tensor in tensors.values())
    if size > LARGEST:
        raise InvalidValueError(
            f"path: expected parameters of at most {LARGEST:,} bytes, for an ONNX file ends at 2 GiB, got {size:,}; "
            "export a network with fewer units, a single member of an ensemble, or the float32 of float64 by "
            "astype('float32')"
        )
    model = _model(snapshot, tensors)
    onnx.checker.check_model(model, full_check=True)
    write_atomically(path, model.SerializeToString())


def _model(snapshot: Snapshot, tensors: dict[str, np.ndarray]) -> Any:
    from onnx import helper

    spec = snapshot.specification
    graph = _graph(snapshot, tensors)
    number = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    ends = [
        helper.make_tensor_value_info(name, number, ["n", *shape], text)
        for name, shape, text in (("inputs", spec.shapes[0], _told(spec)), ("outputs", spec.shapes[-1], ""))
    ]
    made = helper.make_graph(graph.nodes, "nn_any", ends[:1], ends[1:], graph.constants)
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nn_any",
        producer_version=str(sys.modules["nn_any"].__version__),  # a file of this floor does not import the package
    )
    helper.set_model_props(model, _properties(spec))
    return model


def _told(spec: Specification) -> str:
    """What a user of the model must know of its inputs."""
    sizes = "height, width, channels" if len(spec.input_shape) == 3 else ", ".join(map(str, spec.input_shape))
    scale = spec.schema.scale
    return f"(n, {sizes}){'' if scale is None else f', as they are stored: the model divides them by {scale:g}'}"


def _properties(spec: Specification) -> dict[str, str]:
    """What is known of the data, as JSON."""
    schema = spec.schema
    known: dict[str, Any] = {"task": spec.task, "class_names": schema.class_names}
    known |= {"feature_names": schema.feature_names, "target_names": schema.target_names}
    return {name: json.dumps(value) for name, value in known.items() if value is not None}


def _graph(snapshot: Snapshot, tensors: dict[str, np.ndarray]) -> Graph:
    """The nodes of a network, or of the members of an ensemble side by side.

    Side by side, since each member is then the graph of its network, and a convolution has no axis for members.
    """
    spec, members = snapshot.specification, snapshot.progress.members
    graph = Graph()
    x = Value("inputs", spec.input_shape)
    if (scale := spec.schema.scale) is not None:
        x = x._replace(name=graph.add("Div", x.name, graph.constant(np.asarray(scale, spec.dtype), "scale")))
    if spec.members is None:
        graph.finish(_network(graph, spec, tensors, "", snapshot.progress.steps, x), "outputs")
        return graph
    going = [i for i, member in enumerate(members) if not member.diverged] or [*range(len(members))]
    outputs = [_network(graph, spec.member(i), tensors, f"members.{i}.", members[i].steps, x) for i in going]
    graph.scope = ""
    number = graph.constant(np.asarray(len(going), spec.dtype), "members")
    graph.finish(graph.add("Div", graph.add("Sum", *outputs), number), "outputs")
    return graph


def _network(graph: Graph, spec: Specification, tensors: dict[str, np.ndarray], at: str, steps: int, x: Value) -> str:
    """The name of the outputs of a network, whose tensors have the prefix `at`."""
    for place, (layer, shape) in enumerate(zip(spec.layers, spec.shapes[1:], strict=True)):
        graph.scope = f"{at}layers.{place}."
        params, state = (_found(tensors, f"{graph.scope}{kind}.") for kind in ("params", "state"))
        x = write_layer(graph, Part(layer, place, params, state, shape, spec.dtype, spec.seed, steps), x)
    return x.name


def _found(tensors: dict[str, np.ndarray], prefix: str) -> list[np.ndarray]:
    names = takewhile(tensors.__contains__, (f"{prefix}{j}" for j in count()))
    return [tensors[name] for name in names]
