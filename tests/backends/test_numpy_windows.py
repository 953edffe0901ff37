"""Windows of images in NumPy, some images at a time, against loops over the windows."""

from itertools import product

import numpy as np
import pytest

import nn_any as nn
from nn_any.backends.replay.buffers import Pool
from nn_any.backends.replay.emitter import Emitter
from nn_any.backends.replay.kernels import ScipyKernels
from nn_any.core import primitives

RNG = np.random.default_rng(0)
HOW = [((2, 2), (2, 2)), ((3, 2), (1, 1)), ((2, 1), (3, 2))]  # windows and strides: tiles, overlaps, gaps


@pytest.fixture(params=[1, 600, 2**20], ids=["one image", "two images", "all"])
def xp(request, monkeypatch):
    """NumPy's namespace, with so many bytes together of images of 288."""
    monkeypatch.setattr("nn_any.backends._numpy_windows._CACHED", request.param)
    return nn.select_device("numpy").xp


@pytest.mark.parametrize("lead", [(5,), (2, 3), (0,), ()])
@pytest.mark.parametrize(("window", "stride"), HOW)
def test_pooling(xp, window, stride, lead):
    x = RNG.integers(0, 9, (*lead, 6, 6, 2)).astype("float32")  # of few values, so that some are as large as others
    largest, residual = primitives.max_pool(x, window=window, stride=stride, xp=xp)
    rows, columns = largest.shape[-3:-1]
    delta = RNG.normal(size=largest.shape).astype("float32")
    expected, spread = np.empty(largest.shape), np.zeros(x.shape)
    for at in product(*map(range, lead), range(rows), range(columns), range(2)):
        *image, i, j, c = at
        down, right = i * stride[0], j * stride[1]
        part = x[(*image, slice(down, down + window[0]), slice(right, right + window[1]), c)]
        k, m = np.unravel_index(np.argmax(part), window)
        expected[at] = part[k, m]
        spread[(*image, down + k, right + m, c)] += delta[at]
    np.testing.assert_array_equal(largest, expected)
    got = primitives.max_pool_gradient(residual, delta, window=window, stride=stride, size=(6, 6), xp=xp)
    np.testing.assert_allclose(got, spread, rtol=1e-6, atol=1e-6)
    assert got.dtype == largest.dtype == np.float32


@pytest.mark.parametrize(("window", "stride"), HOW)
def test_gradient_of_kernels(xp, window, stride):
    x = RNG.normal(size=(7, 6, 6, 2))
    places = [(size - w) // s + 1 for size, w, s in zip((6, 6), window, stride, strict=True)]
    delta, expected = RNG.normal(size=(7, *places, 3)), np.zeros((3, *window, 2))
    for n, i, j in product(range(7), *map(range, places)):
        down, right = i * stride[0], j * stride[1]
        part = x[n, down : down + window[0], right : right + window[1]]
        expected += delta[n, i, j][:, None, None, None] * part
    nothing = primitives.convolve(x[:0], np.zeros(expected.shape), stride=stride, xp=xp)[1]
    got = primitives.convolve_kernels_gradient(nothing, delta[:0], kernel_size=window, stride=stride, xp=xp)
    np.testing.assert_array_equal(got, np.zeros(expected.shape))
    residual = primitives.convolve(x, np.zeros(expected.shape), stride=stride, xp=xp)[1]
    got = primitives.convolve_kernels_gradient(residual, delta, kernel_size=window, stride=stride, xp=xp)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert got.flags.c_contiguous


@pytest.mark.parametrize("shape", [(20, 2**16), (20, 2**16 - 4), (20, 2**16 - 1), (600, 1024), (3, 64)])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_long_rows(shape, flipped, dtype):
    rows = RNG.integers(-8, 9, shape).astype(dtype)  # whole numbers, whose sums are exact in any order
    rows = np.ascontiguousarray(rows.mT).mT if flipped else rows
    out, emit = np.empty(len(rows), dtype), Emitter(ScipyKernels(), Pool())
    emit.kernels.sums(emit, out, rows)
    emit.loop([], ["step"])([0])
    np.testing.assert_array_equal(out, rows.astype("int64").sum(axis=1))
