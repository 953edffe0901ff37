"""Assembly: a network put together from the layers and arrays of a model that another library has trained."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nn_any.core import losses, specification
from nn_any.core.activations import LINEAR
from nn_any.core.errors import InvalidValueError
from nn_any.core.layers import Activation, Conv2D, Dense, Layer, Standardize
from nn_any.core.losses import CrossEntropy, Loss
from nn_any.core.schema import Schema
from nn_any.core.state import HostSnapshot, Progress
from nn_any.core.typing import Shape


class Assembly:
    """Layers with their arrays, one behind the other.

    Parameters
    ----------
    input_shape : tuple of int
        The shape of one example.

    Examples
    --------
    >>> made = Assembly((2,))
    >>> made.add(Dense(1, "linear"), (np.ones((1, 2)), np.zeros(1)))
    >>> made.add(Activation("sigmoid"))
    >>> made.finish(dtype="float32", seed=0).specification.layers
    (Dense(units=1, activation=<activation sigmoid>, initializer=<initializer glorot_uniform>, trainable=True),)
    """

    def __init__(self, input_shape: Shape) -> None:
        self.input_shape = self.shape = input_shape
        self._layers: list[Layer] = []
        self._params: list[tuple[np.ndarray, ...]] = []
        self._states: list[tuple[np.ndarray, ...]] = []

    def add(self, layer: Layer, params: Sequence[np.ndarray] = (), state: Sequence[np.ndarray] = ()) -> None:
        """Put a layer behind the others, with its parameters as users see them, and its state.

        An activation becomes that of the layer before it, and two standardisations in a row become one.

        Raises
        ------
        ValueError
            If the layer, or its arrays, do not fit what the layers before it give.
        """
        before = self._layers[-1] if self._layers else None
        if isinstance(layer, Activation) and isinstance(before, Dense | Conv2D) and before.activation == LINEAR:
            self._layers[-1] = replace(before, activation=layer.activation)
            return
        if isinstance(layer, Standardize) and isinstance(before, Standardize) and layer.invert == before.invert:
            self._states[-1] = _composed(self._states[-1], state, layer.invert)
            return
        output_shape = tuple(layer.output_shape(self.shape))
        wanted = (layer.parameter_shapes(self.shape), layer.state_shapes(self.shape))
        given = (tuple(map(np.shape, params)), tuple(map(np.shape, state)))
        if given != wanted:
            raise InvalidValueError(
                f"expected arrays of shapes {wanted[0]} and {wanted[1]} for inputs of shape {self.shape}, got "
                f"{given[0]} and {given[1]}; make them fit what comes before, the input shape included"
            )
        self.shape = output_shape
        self._layers.append(layer)
        self._params.append(tuple(layer.pack(*params)) if params else ())
        self._states.append(tuple(state))

    def finish(
        self,
        *,
        loss: str | Loss | None = None,
        task: str | None = None,
        named: bool = False,
        logits: bool = True,
        dtype: str,
        seed: int | None,
        schema: Schema | None = None,
    ) -> HostSnapshot:
        """The network, before its first step.

        Parameters
        ----------
        loss : str or Loss, optional
            If the last layer has no activation, it gets the one that suits the loss: its outputs were logits. None: the
            loss that goes with the last activation.
        task : str, optional
            What the network is for. None: several outputs under the cross-entropy are answers of yes or no each.
        named : bool
            Whether the user named the loss as this package does. Then the task is None as in `nn_any.Network`.
        logits : bool
            False: outputs without an activation are what they are, whatever the loss.
        dtype : str
        seed : int, optional
        schema : Schema, optional

        Raises
        ------
        ValueError
            If the layers do not fit each other or the loss, or if there is no loss and the outputs may be logits.
        """
        deciding = next((layer for layer in reversed(self._layers) if not layer.keeps_range), Layer())
        output = deciding.activation
        if loss is None:
            if output == LINEAR and deciding.measures != "targets":
                raise InvalidValueError(
                    "loss: expected one, since the last layer has no activation, got None; pass "
                    "loss='mean_squared_error' if its outputs are numbers, 'log_likelihood' if they are logits of "
                    "classes, or 'cross_entropy' if each is the logit of a yes"
                )
            suiting = {"distribution": "log_likelihood", "unit_interval": "cross_entropy"}
            loss = "poisson" if output.name == "exponential" else suiting.get(output.range, "mean_squared_error")
        loss = losses.get(loss)
        if logits and output == LINEAR and loss.suits not in (None, "linear"):
            self.add(Activation(loss.suits))
        if task is None and not named and isinstance(loss, CrossEntropy) and math.prod(self.shape) > 1:
            task = "multilabel"
        layers = [self.input_shape, *self._layers]
        built = specification.build(layers, LINEAR, "glorot_uniform", loss, dtype, seed, task=task)
        built = built.with_schema(schema or Schema())
        return HostSnapshot(built, tuple(self._params), tuple(self._states), Progress())


def measured(mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The state of a `Standardize` layer whose mean and deviation, of one shape, are known."""
    return mean, deviation, np.ones(())


def _composed(first: Sequence[np.ndarray], second: Sequence[np.ndarray], invert: bool) -> tuple[np.ndarray, ...]:
    """The state of one `Standardize` layer in place of two."""
    (mean, deviation, _), (next_mean, next_deviation, _) = first, second
    if invert:
        return measured(next_mean + next_deviation * mean, next_deviation * deviation)
    return measured(mean + deviation * next_mean, deviation * next_deviation)
