"""NumPy's logistic function for few and for many numbers, against SciPy's in float64."""

import array_api_compat.numpy as xp
import numpy as np
import pytest
from scipy.special import expit

import nn_any as nn
from nn_any.backends import _numpy_sigmoid
from nn_any.backends._numpy_windows import now
from nn_any.core import primitives

RNG = np.random.default_rng(0)
ARRAYS = {
    "few": lambda: RNG.normal(size=(7, 9)),
    "many": lambda: RNG.normal(size=(70, 9)) * 20,
    "in portions": lambda: RNG.normal(size=(3, 40_000)),
    "transposed": lambda: RNG.normal(size=(500, 90)).T,
    "transposed matrices": lambda: RNG.normal(size=(4, 50, 9)).mT,
    "with gaps": lambda: RNG.normal(size=(80, 40))[:, ::3],
    "in one row": lambda: RNG.normal(size=100_001),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 5e-7), ("float64", 5e-16)])
def test_as_exact_as_its_exponential(name, dtype, rtol):
    nn.select_device("numpy")
    z = ARRAYS[name]().astype(dtype)
    expected = expit(z.astype(np.float64))
    got = primitives.sigmoid(z, xp=xp)
    assert got.dtype == z.dtype
    np.testing.assert_allclose(got, expected, rtol=rtol)
    out = np.full_like(z, np.nan)
    _numpy_sigmoid.sigmoid(now, out, z)
    np.testing.assert_array_equal(out, got)
    _numpy_sigmoid.sigmoid(now, z, z)
    np.testing.assert_array_equal(z, got)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_farthest_numbers(dtype):
    """No warning, no NaN but for NaN."""
    nn.select_device("numpy")
    z = np.tile(np.array([-np.inf, -1e4, -700, -87, 0, 87, 1e4, np.inf, np.nan], dtype), 100)
    got = primitives.sigmoid(z, xp=xp)
    np.testing.assert_allclose(got, expit(z.astype(np.float64)), rtol=1e-5, atol=1e-37)
    assert got[0] == 0
    assert got[7] == 1
