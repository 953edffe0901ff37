"""Specification: what a network is, whatever its numbers are; built from what a user writes, ``[784, 30, 10]``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nn_any.core import activations, initializers, losses, options, random
from nn_any.core.activations import LINEAR, Activation
from nn_any.core.errors import InvalidTypeError, InvalidValueError, prefix_errors
from nn_any.core.layers import Dense, Layer
from nn_any.core.layers.base import name_parameters
from nn_any.core.losses import Loss
from nn_any.core.schema import NO_SCHEMA, Schema
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Params, Shape

HostParams = tuple[tuple[np.ndarray, ...], ...]


_RANGES = {
    "real": "real values",
    "positive": "values above 0",
    "unit_interval": "values within 0 … 1",
    "distribution": "values that sum to 1",
}


_SUITING = {"positive": "exponential", "unit_interval": "sigmoid", "distribution": "softmax"}
"""An activation with values of each range, for a loss that says what it needs but not what suits it."""


TASKS = ("classification", "multilabel", "regression")
"""What a network can be for: one class for each example, several answers of yes or no, or numbers."""

_CONVOLUTION_COST = 16
"""One multiplication of a convolution costs about as much as 16 of a dense layer: windows are unfolded, filters few."""


@dataclass(frozen=True)
class Members:
    """What the members of an ensemble have each for themselves, by their numbers.

    Attributes
    ----------
    seeds : tuple of int
    learning_rates, weight_decays : tuple of float, or None
        None: all have the optimizer's.
    threads : int or None
        How many threads share the blocks of members; None: one per CPU.
    """

    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...] | None = None
    weight_decays: tuple[float, ...] | None = None
    threads: int | None = None

    def __len__(self) -> int:
        return len(self.seeds)


@dataclass(frozen=True)
class Specification:
    """A network without its numbers: layers that fit each other, their loss, and the seed that all draws come from.

    Attributes
    ----------
    layers : tuple of Layer
        With every default filled in.
    shapes : tuple of shapes
        The input shape, then the output shape of each layer, without the batch axis.
    loss : Loss
    dtype : str
        ``"float32"`` or ``"float64"``.
    seed : int
    members : Members or None
        None for a network; for an ensemble what its members have each for themselves.
    given_task : str or None
        One of `TASKS`, if the user said so.
    schema : Schema
        The names and the scale of the data.
    """

    layers: tuple[Layer, ...]
    shapes: tuple[Shape, ...]
    loss: Loss
    dtype: str = "float32"
    seed: int = 0
    members: Members | None = None
    given_task: str | None = None
    schema: Schema = NO_SCHEMA

    @property
    def input_shape(self) -> Shape:
        """The shape of one example."""
        return self.shapes[0]

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return self.shapes[-1][0]

    @property
    def task(self) -> str:
        """One of `TASKS`. If the user did not say, the loss decides, or else whether the outputs are linear."""
        if self.given_task is not None:
            return self.given_task
        numbers = self.output_activation == LINEAR if self.loss.task is None else self.loss.task == "numbers"
        return "regression" if numbers else "classification"

    @property
    def is_regression(self) -> bool:
        """Whether the outputs are numbers to predict."""
        return self.task == "regression"

    @property
    def is_multilabel(self) -> bool:
        """Whether each output is an answer of yes or no."""
        return self.task == "multilabel"

    @property
    def classes(self) -> int:
        """How many classes the outputs of a classifier tell apart; a single output tells two."""
        return max(self.outputs, 2)

    @property
    def gives_probabilities(self) -> bool:
        """Whether each output lies within 0 … 1, as the last activation says."""
        return self.output_activation.range in ("unit_interval", "distribution")

    @property
    def output_activation(self) -> Activation:
        """The activation that the outputs' range comes from: the last one, but for layers that keep the range."""
        activation: Activation = _output_layer(self.layers).activation
        return activation

    @property
    def footprint(self) -> int:
        """How many numbers an example takes up on its way through all layers, of all members."""
        spaces = [layer.workspace(shape) for layer, shape in zip(self.layers, self.shapes[:-1], strict=True)]
        single = sum(math.prod(shape) for shape in self.shapes) + sum(spaces)
        return single * len(self.members or (0,))

    def multiplications(self, params: Params) -> int:
        """About how long one example takes in training, forward and backward, in multiplications of dense layers."""
        work = 0
        for arrays, shape in zip(params, self.shapes[1:], strict=True):
            places = math.prod(shape[:-1])
            each = _CONVOLUTION_COST if places > 1 else 1
            work += each * places * sum(math.prod(leaf.shape) for leaf in tree_leaves(arrays))
        return 3 * work

    def with_trainable(self, trainable: bool, indices: Sequence[int]) -> "Specification":
        """The same layers with those at `indices` unfrozen or frozen; ValueError for one that cannot be."""
        layers = list(self.layers)
        for index in indices:
            try:
                layers[index] = replace(layers[index], trainable=trainable)  # type: ignore[type-var]
            except TypeError as error:
                message = f"places: {layers[index]!r} has no field trainable: bool = True; add one"
                raise InvalidValueError(message) from error
        return replace(self, layers=tuple(layers))

    def with_schema(self, schema: Schema) -> "Specification":
        """The same network for data that are called and stored otherwise.

        Raises
        ------
        ValueError
            If there are not as many names as classes, inputs or targets.
        """
        named = {
            "class_names": (schema.class_names, self.classes, "classes"),
            "feature_names": (schema.feature_names, self.input_shape[0], "inputs"),
            "target_names": (schema.target_names, 1 if self.task == "classification" else self.outputs, "targets"),
        }
        for name, (names, count, things) in named.items():
            if names is not None and len(names) != count:
                raise InvalidValueError(
                    f"{name}: expected {count}, as many as the network has {things}, got {len(names)}; "
                    "name each once, in order"
                )
        if schema.class_names is not None and self.task != "classification":
            raise InvalidValueError(
                f"class_names: expected none for {self.task}, got {schema.class_names!r:.80}; name the outputs with "
                "target_names"
            )
        if schema.feature_names is not None and len(self.input_shape) != 1:
            raise InvalidValueError(
                f"feature_names: expected none for inputs of shape {self.input_shape}, got {len(schema.feature_names)} "
                "names; leave them out"
            )
        return replace(self, schema=schema)

    def initial_params(self, seed: int) -> HostParams:
        """The initial parameters of one network: float64 on the host, layer i drawn from the stream ("weights", i)."""
        params = tuple(
            tuple(layer.init(random.stream(seed, "weights", i), shape))
            for i, (layer, shape) in enumerate(zip(self.layers, self.shapes[:-1], strict=True))
        )
        for i, (layer, own) in enumerate(zip(self.layers, params, strict=True)):
            with prefix_errors(f"layers, entry {i + 1}, {layer!r}"):
                name_parameters(layer, [array.ndim for array in (layer.unpack(own) if own else ())])
        return params

    def initial_layer_state(self) -> HostParams:
        """The initial layer states of one network: float64 on the host."""
        return tuple(tuple(layer.init_state(shape)) for layer, shape in zip(self.layers, self.shapes[:-1], strict=True))

    def member(self, i: int) -> "Specification":
        """That of member i of an ensemble, as a network."""
        assert self.members is not None
        return replace(self, seed=self.members.seeds[i], members=None)


def build(
    spec: Sequence[Any],
    activation: Any,
    initializer: Any,
    loss: Any,
    dtype: Any = "float32",
    seed: int | None = None,
    members: Members | None = None,
    task: str | None = None,
) -> Specification:
    """The network that `spec` lists, with the defaults in its open places and its shapes inferred.

    Parameters
    ----------
    spec : sequence
        The input shape (a number of features, or a tuple), then layers; a bare number is a `Dense` layer.
        A last layer that names no activation gets the one that suits the loss, if the loss says so; layers that keep
        the range, and a `Standardize` that goes back to the units of the targets, may follow it.
    activation, initializer, loss : str, or such an object
    dtype : str
        ``"float32"`` or ``"float64"``.
    seed : int, optional
        By default a new one.
    task : str, optional
        One of `TASKS`, if the user says so.

    Raises
    ------
    TypeError, ValueError
        If an entry is not a layer, or a layer does not fit what precedes it, or the outputs do not suit the loss, or
        the loss does not suit the task.
    """
    loss, activation, initializer = losses.get(loss), activations.get(activation), initializers.get(initializer)
    if isinstance(spec, str) or not isinstance(spec, Sequence | np.ndarray) or len(spec) < 2:
        raise InvalidValueError(
            f"layers: expected the input size and at least one layer, such as [784, 30, 10], got {spec!r}"
        )
    shapes = [_input_shape(spec[0])]
    layers: list[Layer] = []
    entries = [_layer(entry, place) for place, entry in enumerate(spec[1:], 1)]
    deciding = [layer.measures != "targets" and not layer.keeps_range for layer in entries]
    last = max((place for place, decides in enumerate(deciding, 1) if decides), default=1)
    for place, layer in enumerate(entries, 1):
        if place == last and loss.suits is not None:
            activation = activations.get(loss.suits)
        try:
            layer = layer.with_defaults(activation, initializer, shapes[-1])
            hash(layer)
            shapes.append(tuple(layer.output_shape(shapes[-1])))
        except ValueError as error:
            raise InvalidValueError(f"layers, entry {place}, {layer!r}: {error}") from error
        except TypeError as error:
            if "unhashable" not in str(error):  # a fault of the layer's own
                raise
            raise InvalidTypeError(
                f"layers, entry {place}: expected a hashable layer ({error}); make it a frozen dataclass"
            ) from error
        if not layer.passes_gradients and layers and layers[-1].passes_gradients:
            raise InvalidValueError(
                f"layers, entry {place}, {layer!r}: expected at the front, got it after {layers[-1]!r}; "
                "put what distorts the inputs first"
            )
        if layer.measures == "inputs" and any(other.passes_gradients for other in layers):
            twice = any(other.measures == "inputs" for other in layers)
            remedy = "leave one of them out" if twice else "put it in front of every layer but augmentation"
            raise InvalidValueError(
                f"layers, entry {place}, {layer!r}: expected at the front, where the inputs are raw, got it after "
                f"{layers[-1]!r}; {remedy}, or use nn_any.BatchNorm() here"
            )
        layers.append(layer)
    for place, layer in enumerate(layers[:-1], 1):
        if layer.measures == "targets":
            remedy = "leave one of them out" if layers[place].measures == "targets" else "put it last"
            raise InvalidValueError(
                f"layers, entry {place}, {layer!r}: expected at the end, where the outputs are, got {layers[place]!r} "
                f"after it; {remedy}"
            )
    if len(shapes[-1]) != 1:
        raise InvalidValueError(
            f"layers: expected a last layer with outputs of one axis, got {shapes[-1]}; end with Flatten and Dense"
        )
    _check_outputs(layers, shapes[-1][0], loss)
    _check_task(task, loss, _output_layer(layers).activation)
    dtype = options.dtype(dtype)
    for part in (loss, *layers, *(layer.activation for layer in layers)):
        options.check_held(part, dtype)
    seed = random.new_seed() if seed is None else options.integer("seed", seed, minimum=0)
    return Specification(tuple(layers), tuple(shapes), loss, dtype, seed, members, task)


def _output_layer(layers: Sequence[Layer]) -> Layer:
    """The last layer that decides on the range of the outputs."""
    return next((layer for layer in reversed(layers) if not layer.keeps_range), layers[0])


def _check_outputs(layers: Sequence[Layer], outputs: int, loss: Loss) -> None:
    """The last activation suits the loss, which the outputs reach in training as well, and the number of outputs."""
    output = layers[-1].activation
    suiting = loss.suits or _SUITING.get(loss.ranges[0], "linear")
    if output.range not in loss.ranges:
        raise InvalidValueError(
            f"loss: {loss.name!r} needs outputs with {_RANGES[loss.ranges[0]]}, got a last layer with activation "
            f"{output.name!r}; use nn_any.Dense({outputs}, activation={suiting!r}) as the last layer, or another loss"
        )
    output = _output_layer(layers).activation
    if output.range == "distribution" and outputs == 1:
        raise InvalidValueError(
            f"layers: expected two or more outputs for {output.name!r}, which gives 1 for a single one, got {outputs}; "
            "for yes and no use one output with 'sigmoid' and loss='cross_entropy', or two outputs"
        )


def _check_task(task: str | None, loss: Loss, output: Activation) -> None:
    """The loss and the outputs suit what the network is for."""
    if task is None:
        return
    options.choice("task", task, *TASKS)
    wanted, suiting = ("numbers", "mean_squared_error") if task == "regression" else ("classes", "cross_entropy")
    if loss.task not in (None, wanted):
        others = "'regression'" if wanted == "classes" else "'classification' or 'multilabel'"
        raise InvalidValueError(
            f"task: expected {others} for the loss {loss.name!r}, got {task!r}; use loss={suiting!r} for it"
        )
    if task == "multilabel" and output.range == "distribution":
        raise InvalidValueError(
            f"task: expected 'classification' for outputs with activation {output.name!r}, which sum to 1, got "
            "'multilabel'; use loss='cross_entropy' and sigmoid outputs for it"
        )


def _is_size(entry: Any) -> bool:
    return isinstance(entry, int | np.integer) and not isinstance(entry, bool)


def _input_shape(entry: Any) -> Shape:
    sizes = entry if isinstance(entry, tuple | list) and entry else (entry,)
    if not all(_is_size(size) and size >= 1 for size in sizes):
        raise InvalidValueError(
            f"layers, entry 0: expected a positive number of inputs, or a shape of such, got {entry!r}"
        )
    return tuple(int(size) for size in sizes)


def _layer(entry: Any, place: int) -> Layer:
    if isinstance(entry, Layer):
        return entry
    if not _is_size(entry):
        remedy = f"; make one with {entry.__name__}(...)" if isinstance(entry, type) else ""
        raise InvalidTypeError(
            f"layers, entry {place}: expected a number of units or a nn_any.layers.Layer, got {entry!r}{remedy}"
        )
    if entry < 1:
        raise InvalidValueError(f"layers, entry {place}: expected a positive number of units, got {entry!r}")
    return Dense(int(entry))
