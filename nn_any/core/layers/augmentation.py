"""Augmentation: images distorted at random, anew in each step of training, on the device."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import array_api_compat

from nn_any.core import options
from nn_any.core.layers.base import Context, Layer, image_shape, register
from nn_any.core.primitives import clip, matmul
from nn_any.core.typing import Array, LayerOutput, LayerParams, Namespace, Shape


@dataclass(frozen=True)
class _Distortion(Layer):
    """What both kinds share: every pixel is looked up somewhere else in its image, and only while training.

    The draws are made on the device and are the same for a seed, step and place in the stack on every backend.
    """

    passes_gradients = False
    random = True

    def output_shape(self, input_shape: Shape) -> Shape:
        """The input shape, for images."""
        return image_shape(input_shape)

    def places(self, shape: tuple[int, int, int], dtype: Any, context: Context) -> tuple[Array, Array]:
        """Where each pixel of n images, (n, height, width), is looked up: rows and columns, (..., n, height, width)."""
        raise NotImplementedError(f"{type(self).__name__} must define places(shape, dtype, context)")

    def forward(self, params: LayerParams, state: LayerParams, x: Array, context: Context) -> LayerOutput:
        """The distorted images in training, else the images."""
        if not context.training:
            return x, state, None
        n, height, width = x.shape[-4:-1]
        rows, columns = self.places((n, height, width), x.dtype, context)
        return sample(x, rows, columns, xp=context.xp), state, None

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """There is none: nothing that is trained may stand before this layer."""
        raise NotImplementedError(f"{type(self).__name__} has no backward; put it in front of every trained layer")


@register
@dataclass(frozen=True)
class RandomAffine(_Distortion):
    """Each image turned, shifted, scaled and sheared by amounts drawn evenly within the given bounds.

    Pixels are looked up between their neighbours (bilinear), and outside the image they are 0.

    Parameters
    ----------
    rotation : float
        At most so many degrees, either way.
    translation : float
        At most so many pixels, along each axis and either way.
    scale : float
        By a factor between 1 - scale and 1 + scale; below 1.
    shear : float
        At most so many degrees, either way.

    Examples
    --------
    >>> RandomAffine(rotation=10, translation=2)
    RandomAffine(rotation=10.0, translation=2.0, scale=0.0, shear=0.0)
    """

    rotation: float = 0.0
    translation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0

    def __post_init__(self) -> None:
        half_turn = partial(options.number, maximum=180.0)
        right_angle = partial(options.number, maximum=90.0, below=True)
        kind, number, below_one = " of a RandomAffine layer", options.number, options.below_one
        options.validate_fields(self, kind, rotation=half_turn, translation=number, scale=below_one, shear=right_angle)

    def places(self, shape: tuple[int, int, int], dtype: Any, context: Context) -> tuple[Array, Array]:
        """The inverse of the map: x' = R(θ) S(φ) x / s + t, about the centre of the image."""
        xp, (n, height, width) = context.xp, shape
        draws = context.random_fractions(5 * n, dtype) * 2 - 1
        draws = xp.reshape(draws, (*draws.shape[:-1], n, 5))[..., None, None, :]
        turn, slant = (draws[..., i] * math.radians(most) for i, most in ((0, self.rotation), (1, self.shear)))
        factor = 1 + draws[..., 2] * self.scale
        across = _centred(width, dtype, context)
        down = _centred(height, dtype, context)[:, None]
        slanted = across + down * xp.tan(slant)
        rows = (xp.sin(turn) * slanted + xp.cos(turn) * down) / factor + draws[..., 3] * self.translation
        columns = (xp.cos(turn) * slanted - xp.sin(turn) * down) / factor + draws[..., 4] * self.translation
        return rows + (height - 1) / 2, columns + (width - 1) / 2


@register
@dataclass(frozen=True)
class ElasticDistortion(_Distortion):
    """Each pixel displaced by a random field that changes smoothly over the image, as if it were rubber.

    The field is drawn evenly from -1 … 1 along each axis, smoothed by a Gaussian, and multiplied by `strength`.

    Parameters
    ----------
    strength : float
        How far pixels move, before the smoothing takes most of it away; α in the paper.
    smoothness : float
        The standard deviation of the Gaussian, in pixels; σ in the paper.

    References
    ----------
    P. Y. Simard, D. Steinkraus and J. C. Platt, "Best practices for convolutional neural networks applied to visual
    document analysis", ICDAR 2003.

    Examples
    --------
    >>> ElasticDistortion()
    ElasticDistortion(strength=34.0, smoothness=4.0)
    """

    strength: float = 34.0
    smoothness: float = 4.0

    def __post_init__(self) -> None:
        kind = " of an ElasticDistortion layer"
        options.validate_fields(self, kind, strength=options.number, smoothness=options.positive)

    def places(self, shape: tuple[int, int, int], dtype: Any, context: Context) -> tuple[Array, Array]:
        """Each pixel's own place plus α (G ∗ u), with u the even draws and G the Gaussian."""
        xp, (n, height, width) = context.xp, shape
        field = context.random_fractions(2 * n * height * width, dtype) * 2 - 1
        field = xp.reshape(field, (*field.shape[:-1], n, 2, height, width))
        field = matmul(self._gaussian(height, dtype, context), field, xp=xp)
        field = matmul(field, self._gaussian(width, dtype, context).mT, xp=xp)
        down, across = (_centred(length, dtype, context) + (length - 1) / 2 for length in (height, width))
        return field[..., 0, :, :] * self.strength + down[:, None], field[..., 1, :, :] * self.strength + across

    def _gaussian(self, length: int, dtype: Any, context: Context) -> Array:
        """The matrix (length, length) that smooths along one axis; beyond the edge there is nothing."""
        reach = 2 * self.smoothness**2
        whole = sum(math.exp(-k * k / reach) for k in range(1 - length, length))
        places = _centred(length, dtype, context)
        distance = places[:, None] - places
        return context.xp.exp(-distance * distance / reach) / whole


def _centred(length: int, dtype: Any, context: Context) -> Array:
    """-(length - 1) / 2 … (length - 1) / 2, (length,)."""
    device = array_api_compat.device(context.key)
    return context.xp.astype(context.xp.arange(length, dtype=context.xp.int32, device=device), dtype) - (length - 1) / 2


def sample(x: Array, rows: Array, columns: Array, *, xp: Namespace) -> Array:
    """Images looked up at given places, between the neighbours (bilinear), and 0 outside.

    Images (..., n, height, width, channels), rows and columns (..., n, height', width'), real -> (..., n, height',
    width', channels), in the dtype of `x`.
    """
    height, width, channels = x.shape[-3:]
    x = xp.broadcast_to(x, (*rows.shape[:-2], height, width, channels))
    count = math.prod(rows.shape[:-2])
    flat = xp.reshape(x, (count * height * width, channels))
    first = xp.arange(count, dtype=xp.int32, device=array_api_compat.device(x)) * (height * width)
    first = xp.reshape(first, (*rows.shape[:-2], 1, 1))
    # beyond a neighbour of the edge everything is 0 alike; so far out, an integer might not hold the place
    rows, columns = clip(rows, low=-1.0, high=1.0 * height, xp=xp), clip(columns, low=-1.0, high=1.0 * width, xp=xp)
    top, left = xp.floor(rows), xp.floor(columns)
    image = None
    for row, part_down in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for column, part_across in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
            share = xp.where(inside, part_down * part_across, xp.zeros_like(part_down))
            i = xp.astype(clip(row, low=0.0, high=height - 1.0, xp=xp), xp.int32)
            j = xp.astype(clip(column, low=0.0, high=width - 1.0, xp=xp), xp.int32)
            pixels = xp.take(flat, xp.reshape(first + i * width + j, (-1,)), axis=0)
            part = xp.reshape(pixels, (*rows.shape, channels)) * share[..., None]
            image = part if image is None else image + part
    return image
