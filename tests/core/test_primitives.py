"""Each primitive: its definition against an independent answer, and each backend's replacement against it."""

import numpy as np
import pytest
from scipy.special import expit

import nn_any as nn
from nn_any.core import primitives


def definition(name):
    return primitives._definitions[name]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_is_exact_and_stable(float64, dtype):
    z = np.array([-1e4, -750.0, -100.0, -37.5, -1.0, -1e-3, 0.0, 1e-3, 1.0, 37.5, 100.0, 750.0, 1e4], dtype=dtype)
    rtol = 4 * np.finfo(dtype).eps
    tiny = float(np.finfo(dtype).tiny)  # libraries may flush what lies below to zero
    for function in (definition("sigmoid"), primitives.sigmoid):
        got = nn.to_numpy(function(float64.asarray(z), xp=float64.xp))
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expit(z.astype("float64")), rtol=rtol, atol=tiny)


def test_one_hot_replacement_equals_its_definition(backend):
    labels = backend.asarray([3, 0, 2, 2, 1], "int64" if backend.library != "jax" else "int32")
    expected = np.eye(4, dtype="float32")[[3, 0, 2, 2, 1]]
    for function in (definition("one_hot"), primitives.one_hot):
        got = function(labels, classes=4, dtype=backend.xp.float32, xp=backend.xp)
        np.testing.assert_array_equal(nn.to_numpy(got), expected)
        assert nn.to_numpy(got).dtype == np.float32


def test_replacements_are_registered_by_namespace():
    with pytest.raises(ValueError, match=r"name: expected a primitive \(one_hot, sigmoid\), got 'sigmoidal'"):
        primitives.replace("sigmoidal", np, np.tanh)
