"""The layers that an estimator's parameters say, the numbers they begin with, and what their data are called."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils._param_validation import InvalidParameterError

from nn_any.core import activations
from nn_any.core.activations import Activation
from nn_any.core.layers import Dense, Dropout, Layer
from nn_any.core.schema import Schema
from nn_any.core.specification import HostParams, Specification

ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid"}
"""What scikit-learn calls activations of hidden layers that have another name here."""

_PLAIN = (str, int, float, bool)


def for_each_layer(owner: str, name: str, value: Any, count: int) -> list[Any]:
    """A parameter's value for each of `count` hidden layers: one for all, or a list with one for each."""
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return [value] * count
    if len(value) != count:
        raise InvalidParameterError(
            f"The {name!r} parameter of {owner} must be one for all hidden layers, or a list of {count}, one for each "
            f"entry of hidden_layer_sizes. Got {value!r} instead."
        )
    return list(value)


def hidden_activations(owner: str, value: Any, count: int) -> list[Activation]:
    """The activation of each hidden layer."""
    found = []
    for each in for_each_layer(owner, "activation", value, count):
        try:
            found.append(activations.get(ACTIVATIONS.get(each, each) if isinstance(each, str) else each))
        except (TypeError, ValueError) as error:
            names = sorted({*ACTIVATIONS, *activations.names()})
            raise InvalidParameterError(
                f"The 'activation' parameter of {owner} must be a str among {names}, an instance of Activation, or a "
                f"list of them. Got {value!r} instead."
            ) from error
    return found


def dropout_rates(owner: str, value: Any, count: int) -> list[float]:
    """The share of each hidden layer's outputs that are left out."""
    rates = for_each_layer(owner, "dropout", value, count)
    try:
        return [Dropout(float(rate)).rate for rate in rates]
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(
            f"The 'dropout' parameter of {owner} must be a float in the range [0.0, 1.0), or a list of them. "
            f"Got {value!r} instead."
        ) from error


def hidden_stack(sizes: Sequence[int], kinds: Sequence[Activation], rates: Sequence[float]) -> list[Layer]:
    """Dense layers of these sizes, each followed by dropout if it has any."""
    stack: list[Layer] = []
    for size, kind, rate in zip(sizes, kinds, rates, strict=True):
        stack += [Dense(size, kind), *([Dropout(rate)] if rate else [])]
    return stack


def own_stack(owner: str, layers: Any, features: int, outputs: int, activation: str) -> list[Any]:
    """The layers of the user's own, with the input shape in front and a `Dense` layer for the outputs at the end."""
    shaped = len(layers) > 0 and isinstance(layers[0], tuple | list)
    shape = tuple(layers[0]) if shaped else (features,)
    if shaped and np.prod(shape) != features:
        raise InvalidParameterError(
            f"The 'layers' parameter of {owner} must begin with a shape of {features} numbers, as many as X has "
            f"features, or with a layer. Got {layers[0]!r} instead."
        )
    body = [Dense(int(each)) if isinstance(each, int | np.integer) else each for each in layers[int(shaped) :]]
    tail = [body.pop()] if body and getattr(body[-1], "measures", None) == "targets" else []
    last, kind = (body[-1] if body else None), activations.get(activation)
    if isinstance(last, Dense) and last.units == outputs and last.activation in (None, kind):
        body.pop()
        made = Dense(outputs, kind, last.initializer, trainable=last.trainable)
    else:
        made = Dense(outputs, kind)
    return [shape, *body, made, *tail]


def first_params(built: Specification, kinds: Sequence[Activation], random_state: np.random.RandomState) -> HostParams:
    """The weights and biases that scikit-learn would draw, layer by layer.

    `kinds` are the activations of the hidden layers; the weights of the outputs are drawn as those of the last of them.
    """
    params: list[tuple[np.ndarray, ...]] = []
    coming = iter([*kinds, kinds[-1]])
    for layer, shape, next_shape in zip(built.layers, built.shapes[:-1], built.shapes[1:], strict=True):
        if not isinstance(layer, Dense):
            params.append(())
            continue
        fan_in, fan_out = shape[0], next_shape[0]
        bound = np.sqrt((2.0 if next(coming) == activations.get("sigmoid") else 6.0) / (fan_in + fan_out))
        weights = random_state.uniform(-bound, bound, (fan_in, fan_out))
        params.append(tuple(layer.pack(weights.T, random_state.uniform(-bound, bound, fan_out))))
    return tuple(params)


def known_names(built: Specification, classes: Any, features: Any) -> Schema:
    """The names of classes and features, as far as a network can hold them."""
    return Schema(
        class_names=_names(classes, built.classes) if built.task == "classification" else None,
        feature_names=_names(features, built.input_shape[0]) if len(built.input_shape) == 1 else None,
    )


def _names(given: Any, count: int) -> tuple[Any, ...] | None:
    """Plain values that differ, or None."""
    names = () if given is None else tuple(each.item() if isinstance(each, np.generic) else each for each in given)
    plain = all(isinstance(each, _PLAIN) for each in names)
    return names if plain and len(names) == count and len(set(names)) == count else None
