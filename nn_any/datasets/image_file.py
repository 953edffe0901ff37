"""Pictures, png and jpg, as the inputs of a network. Pillow reads them; it is an optional extra."""

import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nn_any.backends.libraries import INSTALL
from nn_any.core.errors import DataFileError, InvalidValueError
from nn_any.core.summary import shape_text
from nn_any.core.typing import Shape

SUFFIXES = (".png", ".jpg", ".jpeg")
"""How the names of pictures end."""
_FORMATS = ("PNG", "JPEG")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_GREY = ("1", "L", "LA", "La")
_BRIGHT = 0.6


class Picture(NamedTuple):
    """A picture in the shape of a network's inputs."""

    pixels: np.ndarray  # (height, width, channels), float32, 0 for black … 1 for white
    notes: tuple[str, ...]  # what was done to it


def picture_shape(shape: Shape) -> tuple[int, int, int]:
    """The height, width and channels of inputs of this shape.

    Raises
    ------
    ValueError
        If no picture has so many numbers.
    """
    side = math.isqrt(shape[0])
    if len(shape) == 1 and side * side == shape[0]:
        return side, side, 1
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) == 3 and shape[2] in (1, 3):
        return shape[0], shape[1], shape[2]
    raise InvalidValueError(
        f"expected a network of images, whose inputs are (height, width, 1 or 3), or a square number in a row, got "
        f"one with inputs of shape {shape_text(shape)}; give it a .csv, .npz or .npy file"
    )


def read_picture(path: Path, shape: tuple[int, int, int], *, invert: bool = False) -> Picture:
    """A picture of `shape`, (height, width, channels): grey or in colour, resized where it is of another size.

    It is the first frame of an animation. What is transparent becomes black, or white where `invert` makes that black.

    Raises
    ------
    DataFileError
        If it is no picture, or a damaged one.
    ModuleNotFoundError
        If Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{path}: expected Pillow to read it, got none ({error}); install it with: {INSTALL['pillow']}"
        ) from error
    notes = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if getattr(image, "n_frames", 1) > 1:
                    notes.append(f"the first of {image.n_frames} frames")
                whole = ImageOps.exif_transpose(image)
                pixels = _to_reals(whole, shape[2], ground=1.0 if invert else 0.0)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises of a dozen kinds
        raise DataFileError(
            f"{path}: expected a png or jpg picture, got another file, a damaged one, or one of too many pixels "
            f"({type(error).__name__}: {error!s:.200}); save it anew with a program that shows it"
        ) from error
    if shape[2] == 1 and not invert and _is_dark_on_light(pixels):
        notes.append("dark on light: add --invert if the network was trained on light on dark, as of digits and mnist")
    pixels = 1 - pixels if invert else pixels
    height, width = shape[:2]
    if pixels.shape[:2] != (height, width):
        kept = pixels.shape[0] * width == pixels.shape[1] * height
        notes.append(
            f"resized from {pixels.shape[1]} × {pixels.shape[0]} to {width} × {height}"
            + ("" if kept else ", which changes its proportions")
        )
        pixels = _resized(pixels, height, width)
    return Picture(np.ascontiguousarray(pixels, dtype=np.float32), tuple(notes))


def _to_reals(image: Any, channels: int, ground: float) -> np.ndarray:
    """The pixels of a picture of any mode, (height, width, channels), 0 … 1, on a ground where it is transparent."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        deep = np.asarray(image).astype(np.float32)[:, :, None] / 65535
        return np.repeat(np.clip(deep, 0, 1), channels, axis=2)
    transparent = "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa")
    pixels = np.asarray(image.convert("RGBA" if transparent else "RGB")).astype(np.float32) / 255
    colours = pixels[:, :, :3]
    if transparent:
        opaque = pixels[:, :, 3:]
        colours = colours * opaque + ground * (1 - opaque)
    grey: np.ndarray = colours[:, :, :1] if image.mode in _GREY else (colours @ _LUMA)[:, :, None]
    return colours if channels == 3 else grey


def _is_dark_on_light(pixels: np.ndarray) -> bool:
    """Whether the edge of a picture is bright, and something within it is dark."""
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool(np.median(edge) > _BRIGHT and pixels.min() < 1 - _BRIGHT)


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture in another size, by Lanczos' filter, which averages where it becomes smaller."""
    from PIL import Image

    size, lanczos = (width, height), Image.Resampling.LANCZOS
    planes = [Image.fromarray(np.ascontiguousarray(pixels[:, :, k])) for k in range(pixels.shape[2])]
    resized: np.ndarray = np.stack([np.asarray(plane.resize(size, lanczos)) for plane in planes], axis=2)
    return resized.clip(0, 1)
