"""Activation: a nonlinearity as a layer of its own, to follow a normalisation."""

from dataclasses import dataclass
from typing import Any

from nn_any.core import activations
from nn_any.core.layers.base import Layer, register


@register
@dataclass(frozen=True)
class Activation(Layer):
    """a = σ(x), for where another layer stands between the weighted inputs and their activation.

    Parameters
    ----------
    activation : str or nn_any.activations.Activation

    Examples
    --------
    >>> Activation("relu").output_shape((24, 24, 20))
    (24, 24, 20)
    """

    activation: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", activations.get(self.activation))
