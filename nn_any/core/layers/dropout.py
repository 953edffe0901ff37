"""Dropout: neurons that are left out at random while training."""

import math
from dataclasses import dataclass
from typing import Any

from nn_any.core import options
from nn_any.core.layers.base import Context, ShapedLayer, register
from nn_any.core.typing import Array, LayerOutput, LayerParams


@register
@dataclass(frozen=True)
class Dropout(ShapedLayer):
    """In training each element is zero with probability `rate`, else divided by 1 - rate; otherwise a = x.

    The masks are drawn on the device, and are the same for a seed, step and place in the stack on every backend.

    Parameters
    ----------
    rate : float
        0 ≤ rate < 1.

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> Dropout(0.5)
    Dropout(rate=0.5)
    """

    rate: float
    random = True
    keeps_range = True

    def __post_init__(self) -> None:
        options.validate_fields(self, " of a Dropout layer", rate=options.below_one)

    def forward(self, params: LayerParams, state: LayerParams, x: Array, context: Context) -> LayerOutput:
        """``x * mask``; the mask, which holds 0 and 1 / (1 - rate), is saved, and None means no dropout."""
        if not context.training or self.rate == 0:
            return x, state, None
        xp, shape = context.xp, x.shape[-self.axes - 1 :]
        words = (context.random_bits(math.prod(shape)) >> 8) & 0xFFFFFF
        keep = 1.0 - self.rate
        mask = xp.astype(words < round(keep * 2**24), x.dtype) * (1.0 / keep)
        mask = xp.reshape(mask, (*words.shape[:-1], *shape))
        return x * mask, state, mask

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """``δ * mask``."""
        return delta if saved is None else delta * saved
