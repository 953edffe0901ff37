"""Pictures as the inputs of networks, beside what Pillow and arithmetic make of them."""

import builtins
import sys

import numpy as np
import pytest
from PIL import Image

import nn_any as nn
from nn_any.datasets.image_file import picture_shape, read_picture

GREY = np.random.default_rng(0).integers(0, 256, (6, 9), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture
def read(tmp_path):
    """The pixels and the notes of a picture that is saved first."""

    def run(image, channels=1, size=None, name="picture.png", invert=False, **options):
        path = tmp_path / name
        image.save(path, **options)
        height, width = size or (image.height, image.width)
        return read_picture(path, (height, width, channels), invert=invert)

    return run


def test_shapes():
    assert picture_shape((64,)) == (8, 8, 1)
    assert picture_shape((28, 20)) == (28, 20, 1)
    assert picture_shape((28, 20, 1)) == (28, 20, 1)
    assert picture_shape((28, 20, 3)) == (28, 20, 3)
    for shape in ((13,), (28, 28, 2), (2, 2, 2, 1)):
        with pytest.raises(nn.InvalidValueError, match="expected a network of images"):
            picture_shape(shape)


def test_grey_and_colour(read):
    pixels, notes = read(Image.fromarray(GREY))
    np.testing.assert_array_equal(pixels[:, :, 0], GREY.astype("float32") / np.float32(255))
    assert notes == ()
    np.testing.assert_allclose(read(Image.fromarray(COLOUR), 3).pixels, COLOUR / 255, atol=1e-6)
    np.testing.assert_allclose(read(Image.fromarray(COLOUR)).pixels[:, :, 0], COLOUR @ LUMA / 255, atol=1e-6)
    np.testing.assert_allclose(
        read(Image.fromarray(GREY), 3).pixels, np.repeat(GREY[:, :, None], 3, 2) / 255, atol=1e-6
    )
    np.testing.assert_allclose(read(Image.fromarray(GREY), invert=True).pixels[:, :, 0], 1 - GREY / 255, atol=1e-6)


def test_sixteen_bits_are_not_cut_off(read):
    deep = np.linspace(0, 65535, 54).astype("uint16").reshape(6, 9)
    for channels in (1, 3):
        pixels = read(Image.fromarray(deep), channels).pixels
        np.testing.assert_allclose(pixels, np.repeat(deep[:, :, None], channels, 2) / 65535, atol=1e-6)


def test_palettes_and_single_bits(read):
    palette = Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    np.testing.assert_allclose(read(palette, 3).pixels, np.asarray(palette.convert("RGB")) / 255, atol=1e-6)
    bits = Image.fromarray(GREY > 128)
    assert bits.mode == "1"
    np.testing.assert_array_equal(read(bits).pixels[:, :, 0], GREY > 128)


@pytest.mark.parametrize(("invert", "ground"), [(False, 0.0), (True, 1.0)])
def test_what_is_transparent_lies_on_a_ground(read, invert, ground):
    alpha = np.full((6, 9), 255, np.uint8)
    alpha[:3] = 0
    alpha[3] = 51
    given = Image.fromarray(np.dstack([COLOUR, alpha]))
    expected = COLOUR / 255 * alpha[:, :, None] / 255 + ground * (1 - alpha[:, :, None] / 255)
    pixels = read(given, 3, invert=invert).pixels
    np.testing.assert_allclose(pixels, 1 - expected if invert else expected, atol=1e-6)
    grey = Image.fromarray(np.dstack([GREY, alpha]))
    assert grey.mode == "LA"
    expected = GREY / 255 * alpha / 255 + ground * (1 - alpha / 255)
    np.testing.assert_allclose(
        read(grey, invert=invert).pixels[:, :, 0], 1 - expected if invert else expected, atol=1e-6
    )
    indexed = Image.fromarray(GREY % 4).convert("P")
    found = read(indexed, invert=invert, name="indexed.png", transparency=2).pixels[:, :, 0]
    np.testing.assert_array_equal(found[GREY % 4 == 2], 0)  # the ground, which becomes black if it is inverted


def test_jpg_in_grey_and_for_print(read):
    smooth = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (32, 1))
    pixels = read(Image.fromarray(smooth), name="picture.jpg", quality=95).pixels
    np.testing.assert_allclose(pixels[:, :, 0], smooth / 255, atol=0.02)
    printed = Image.fromarray(np.repeat(smooth[:, :, None], 3, 2)).convert("CMYK")
    assert read(printed, 3, name="print.JPEG", quality=95).pixels.shape == (32, 32, 3)


def test_a_camera_that_was_turned(read):
    turned = Image.fromarray(GREY).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise to see it
    pixels, notes = read(turned, size=(6, 9), exif=exif)
    np.testing.assert_array_equal(pixels[:, :, 0], GREY.astype("float32") / np.float32(255))
    assert notes == ()


def test_the_first_frame_of_an_animation(read):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    pixels, notes = read(frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(pixels[:, :, 0], GREY / 255, atol=1e-6)
    assert notes == ("the first of 2 frames",)


def test_another_size(read):
    large = np.kron(GREY, np.ones((20, 20), np.uint8))
    pixels, notes = read(Image.fromarray(large), size=(6, 9))
    assert notes == ("resized from 180 × 120 to 9 × 6",)
    assert np.abs(pixels[:, :, 0] - GREY / 255).mean() < 0.1
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    stripes = np.zeros((64, 64), np.uint8)
    stripes[::2] = 255  # a filter that only picks pixels gives 0 or 1
    np.testing.assert_allclose(read(Image.fromarray(stripes), size=(8, 8)).pixels, 0.5, atol=0.1)
    _, notes = read(Image.fromarray(large), size=(8, 8))
    assert notes == ("resized from 180 × 120 to 8 × 8, which changes its proportions",)


@pytest.mark.parametrize("paper", [0, 255])
def test_dark_ink_on_paper_is_told(read, paper):
    drawn = np.full((8, 8), paper, np.uint8)
    drawn[2:6, 3:5] = 255 - paper
    hint = "dark on light: add --invert if the network was trained on light on dark, as of digits and mnist"
    assert read(Image.fromarray(drawn)).notes == ((hint,) if paper else ())
    assert read(Image.fromarray(drawn), invert=True).notes == ()


@pytest.mark.parametrize("kind", ["cut", "text", "empty", "gif", "huge"])
def test_no_picture(tmp_path, monkeypatch, kind):
    path = tmp_path / "picture.png"
    Image.fromarray(np.kron(GREY, np.ones((20, 20), np.uint8))).save(path, "gif" if kind == "gif" else "png")
    content = {"cut": path.read_bytes()[:200], "text": b"words", "empty": b""}.get(kind)
    if content is not None:
        path.write_bytes(content)
    if kind == "huge":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(nn.DataFileError, match=r"picture\.png: expected a png or jpg picture, got another file"):
        read_picture(path, (6, 9, 1))


def test_without_pillow(tmp_path, monkeypatch):
    Image.fromarray(GREY).save(tmp_path / "picture.png")
    usual = builtins.__import__

    def without(name, *rest):
        if name == "PIL":
            raise ImportError("no module named PIL")
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="install it with: python -m pip install pillow"):
        read_picture(tmp_path / "picture.png", (6, 9, 1))


def test_pillow_is_not_loaded_before():
    import subprocess

    code = "import sys, nn_any.cli; print('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
