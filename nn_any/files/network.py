"""What a model file says of a network or an ensemble, and what the file's content makes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import count, takewhile
from os import PathLike
from typing import Any

import numpy as np

from nn_any import validation as check
from nn_any.backends import to_numpy
from nn_any.core import layers, losses, options, specification
from nn_any.core.errors import InvalidValueError, ModelFileError
from nn_any.core.layers import Layer
from nn_any.core.schema import Schema
from nn_any.core.specification import HostParams, Specification
from nn_any.core.state import HostSnapshot, Progress, Snapshot
from nn_any.core.trees import tree_map
from nn_any.core.typing import Array, Params, Shape
from nn_any.files.model import ANOTHER_COPY, as_model_file_errors, load_model


def describe(snapshot: Snapshot) -> dict[str, Any]:
    """What a model file says beside the tensors, as JSON can hold it."""
    spec, progress = snapshot.specification, snapshot.progress
    description: dict[str, Any] = {
        "input_shape": spec.input_shape,
        "layers": [layers.to_config(layer) for layer in spec.layers],
        "loss": losses.to_config(spec.loss),
        "dtype": spec.dtype,
        "seed": spec.seed,
        "epoch": progress.epoch,
        "steps": progress.steps,
    }
    if spec.given_task is not None:
        description["task"] = spec.given_task
    if schema := {name: value for name, value in asdict(spec.schema).items() if value is not None}:
        description["schema"] = schema
    if spec.members is not None:
        description["ensemble"] = {
            "seeds": spec.members.seeds,
            "learning_rates": spec.members.learning_rates,
            "weight_decays": spec.members.weight_decays,
            "epochs": [member.epoch for member in progress.members],
            "member_steps": [member.steps for member in progress.members],
            "diverged": [member.diverged for member in progress.members],
        }
    return description


def name_tensors(snapshot: Snapshot) -> dict[str, np.ndarray]:
    """Parameters and layer states on the host, named by their places: ``layers.0.params.1``.

    Those of member i of an ensemble have the prefix ``members.i.``.
    """
    stack = snapshot.specification.layers
    if snapshot.specification.members is None:
        return _name_layer_tensors(stack, *snapshot.blocks[0][:2])
    tensors: dict[str, np.ndarray] = {}
    number = count()
    for block in snapshot.blocks:
        together = _name_layer_tensors(stack, *block[:2])
        for i in range(block.key.shape[0]):
            prefix = f"members.{next(number)}"
            tensors |= {f"{prefix}.{name}": array[i] for name, array in together.items()}
    return tensors


def find_params(path: Any, spec: Specification, tensors: dict[str, np.ndarray]) -> tuple[HostParams, HostParams]:
    """Parameters and layer states as `name_tensors` named them; those of an ensemble are stacked.

    Raises
    ------
    ModelFileError
        If the tensors are not those of the specification.
    """
    if spec.members is None:
        return _find_layer_tensors(path, spec, tensors)
    each = [_find_layer_tensors(path, spec, _of_member(i, tensors)) for i in range(len(spec.members))]
    params, layer_state = tree_map(lambda *leaves: np.stack(leaves), *each)
    return params, layer_state


def load_host_snapshot(path: str | PathLike[str], *, ensemble: bool) -> HostSnapshot:
    """The network in a model file, or the ensemble.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If it is damaged, of another kind, from a newer version, or does not fit together.
    """
    about, tensors = load_model(path)
    if ensemble and "ensemble" not in about:
        raise ModelFileError(f"{path}: expected an ensemble, got one network; use nn_any.Network.load")
    if not ensemble and "ensemble" in about:
        raise ModelFileError(f"{path}: expected one network, got an ensemble; use nn_any.Ensemble.load")
    with as_model_file_errors(path):
        spec, progress = read_description(about)
        return HostSnapshot(spec, *find_params(path, spec, tensors), progress)


def host_snapshot(snapshot: Snapshot) -> HostSnapshot:
    """The snapshot of one network with its arrays on the host, as other formats take them; they may share memory."""
    params, layer_state = tree_map(to_numpy, tuple(snapshot.blocks[0][:2]))
    return HostSnapshot(snapshot.specification, params, layer_state, snapshot.progress)


def read_description(about: dict[str, Any]) -> tuple[Specification, Progress]:
    """The specification and the progress that `describe` described."""
    stack = [tuple(about["input_shape"]), *(layers.from_config(config) for config in about["layers"])]
    loss, dtype = losses.from_config(about["loss"]), options.dtype(about["dtype"])
    epoch, steps, seed = (options.integer(name, about[name], minimum=0) for name in ("epoch", "steps", "seed"))
    members, progress = None, Progress(epoch, steps)
    if "ensemble" in about:
        own = about["ensemble"]
        members = check.check_members(len(own["seeds"]), own["seeds"], own["learning_rates"], own["weight_decays"])
        standing = zip(own["epochs"], own["member_steps"], own["diverged"], strict=True)
        each = tuple([Progress(int(e), int(s), diverged=bool(lost)) for e, s, lost in standing])
        progress = Progress(epoch, steps, members=each)
        seed = members.seeds[0]
        if len(each) != len(members):
            raise InvalidValueError(f"epochs: expected those of {len(members)} members, got {len(each)}")
    built = specification.build(stack, "sigmoid", "normal", loss, dtype, seed, members, about.get("task"))
    return built.with_schema(Schema(**about.get("schema", {}))), progress


def _of_member(i: int, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of one member, under the names that they have in the file of a network."""
    mine = f"members.{i}."
    return {name.removeprefix(mine): array for name, array in tensors.items() if name.startswith(mine)}


def _name_layer_tensors(layers: Iterable[Layer], params: Params, state: Params) -> dict[str, np.ndarray]:
    """Parameters and state as a file holds them: ``layers.0.params.1`` are the biases of the first layer."""
    tensors: dict[str, np.ndarray] = {}
    for i, (layer, p, s) in enumerate(zip(layers, params, state, strict=True)):
        tensors |= {f"layers.{i}.params.{j}": to_numpy(array) for j, array in enumerate(layer.unpack(p))}
        tensors |= {f"layers.{i}.state.{j}": to_numpy(array) for j, array in enumerate(s)}
    return tensors


def _find_layer_tensors(
    path: Any, specification: Specification, tensors: Mapping[str, np.ndarray]
) -> tuple[HostParams, HostParams]:
    """Parameters, packed, and state, as the tensors of a file hold them; no initial ones are drawn for it.

    Raises
    ------
    ModelFileError
        If a tensor is missing, or has another shape than the specification asks for, or does not hold real numbers.
    """

    def find(i: int, kind: str, shapes: Sequence[Shape] | None) -> tuple[Array, ...]:
        names = (f"layers.{i}.{kind}.{j}" for j in count())
        found = [tensors[name] for name in takewhile(tensors.__contains__, names)]
        if shapes is None:  # a layer of the user's own, which does not say
            return tuple(found)
        got = [array.shape for array in found]
        wrong = next(((want, have) for want, have in zip(shapes, got, strict=False) if want != have), None)
        if wrong:
            raise ModelFileError(
                f"{path}: expected {kind} of shape {wrong[0]} in layer {i}, got {wrong[1]}; {ANOTHER_COPY}"
            )
        if len(found) != len(shapes):
            raise ModelFileError(
                f"{path}: expected {len(shapes)} {kind} in layer {i}, got {len(found)}; {ANOTHER_COPY}"
            )
        if any(array.dtype.kind != "f" for array in found):
            raise ModelFileError(
                f"{path}: expected {kind} of real numbers in layer {i}, got {found[0].dtype}; {ANOTHER_COPY}"
            )
        return tuple(found)

    def every(kind: str, shapes: Callable[[Layer, Shape], Any]) -> list[tuple[Array, ...]]:
        layers = zip(specification.layers, specification.shapes[:-1], strict=True)
        return [find(i, kind, shapes(layer, shape)) for i, (layer, shape) in enumerate(layers)]

    params = every("params", lambda layer, shape: layer.parameter_shapes(shape))
    state = every("state", lambda layer, shape: layer.state_shapes(shape))
    used = sum(map(len, params)) + sum(map(len, state))
    mine = [name for name in tensors if name.startswith("layers.")]
    if used != len(mine):
        raise ModelFileError(f"{path}: expected {used} tensors for the layers, got {len(mine)}; {ANOTHER_COPY}")
    packed = tuple(layer.pack(*p) if p else () for layer, p in zip(specification.layers, params, strict=True))
    return packed, tuple(state)
