"""What networks and PyTorch modules have in common, and the modules that PyTorch lacks.

PyTorch has the channels of an image in front, (n, channels, height, width), and this package has them last. So the axes
of kernels are moved, and the columns of the first `Dense` layer behind a `Flatten` are put into another order.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from nn_any.core.typing import Shape


class Standardize(nn.Module):  # type: ignore[misc]
    """``(x - mean) / deviation``, or with `invert` the way back, ``mean + deviation * x``.

    Parameters
    ----------
    mean, deviation : tensors in the shape of an example, channels first; they are buffers
    invert : bool
    measured : tensor, ()
        Whether they have been measured, 0 or 1; a buffer too.
    """

    def __init__(self, mean: Any, deviation: Any, measured: Any, invert: bool = False) -> None:
        super().__init__()
        self.invert = invert
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.register_buffer("measured", measured)

    def forward(self, x: Any) -> Any:
        """Tensors (n, ...) of the shape of the buffers."""
        return self.mean + self.deviation * x if self.invert else (x - self.mean) / self.deviation

    def extra_repr(self) -> str:
        """What its text shows in brackets."""
        return f"{tuple(self.mean.shape)}, invert={self.invert}"


class Exponential(nn.Module):  # type: ignore[misc]
    """``exp(x)``."""

    def forward(self, x: Any) -> Any:
        """A tensor of any shape."""
        return torch.exp(x)


class ChannelLayerNorm(nn.LayerNorm):  # type: ignore[misc]
    """Layer normalisation over the channels of each place in an image, (n, channels, ...)."""

    def forward(self, x: Any) -> Any:
        """The same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelsLastFlatten(nn.Module):  # type: ignore[misc]
    """Images (n, channels, ...) as rows in which the channels of a place stand side by side."""

    def forward(self, x: Any) -> Any:
        """(n, numbers)."""
        return x.movedim(1, -1).flatten(1)


ACTIVATIONS: dict[type, str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Softplus: "softplus",
    nn.Softmax: "softmax",
    nn.LogSoftmax: "softmax",
    Exponential: "exponential",
}
"""What the activations are called here; of two modules with one name the first is made of it."""


def pytorch_order(shape: Shape) -> np.ndarray:
    """Where each element of an example of our shape stands in the row that PyTorch makes of it."""
    return np.moveaxis(np.arange(math.prod(shape)).reshape(shape[-1], *shape[:-1]), 0, -1).reshape(-1)
