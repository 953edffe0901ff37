"""Each primitive: its definition against an independent answer, and each backend's replacement against it."""

import numpy as np
import pytest
from scipy.special import expit

import nn_any as nn
from nn_any.core import primitives

pytestmark = pytest.mark.every_backend


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_is_exact_and_stable(float64, dtype):
    z = np.array([-1e4, -750.0, -100.0, -37.5, -1.0, -1e-3, 0.0, 1e-3, 1.0, 37.5, 100.0, 750.0, 1e4], dtype=dtype)
    rtol = 4 * np.finfo(dtype).eps
    tiny = float(np.finfo(dtype).tiny)  # libraries may flush what lies below to zero
    for function in (primitives.definition("sigmoid"), primitives.sigmoid):
        got = nn.to_numpy(function(float64.asarray(z), xp=float64.xp))
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expit(z.astype("float64")), rtol=rtol, atol=tiny)


def test_one_hot_replacement_equals_its_definition(backend):
    labels = backend.asarray([3, 0, 2, 2, 1], "int64" if backend.library != "jax" else "int32")
    expected = np.eye(4, dtype="float32")[[3, 0, 2, 2, 1]]
    for function in (primitives.definition("one_hot"), primitives.one_hot):
        got = function(labels, classes=4, dtype=backend.xp.float32, xp=backend.xp)
        np.testing.assert_array_equal(nn.to_numpy(got), expected)
        assert nn.to_numpy(got).dtype == np.float32


def test_replacements_are_registered_by_namespace():
    with pytest.raises(
        ValueError,
        match=r"name: expected a primitive \(affine, .*one_hot, .*sigmoid, .*\), got 'sigmoidal'",
    ):
        primitives.replace("sigmoidal", np, np.tanh)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("factors", [(), (-0.3, 0.9), ("arrays",)])
def test_sgd_update_equals_the_formula(float64, members, factors):
    rng = np.random.default_rng(0)
    lead = () if members is None else (members,)
    weights, delta, inputs = (rng.normal(size=(*lead, *shape)) for shape in ((4, 6), (5, 4), (5, 6)))
    if factors == ("arrays",):
        factors = tuple(rng.normal(size=() if members is None else (members, 1, 1)) for _ in range(2))
    alpha, beta = factors or (-1.0, 1.0)
    expected = beta * weights + alpha * np.einsum("...nu,...ni->...ui", delta, inputs)
    arrays = [float64.asarray(array) for array in (weights, delta, inputs)]
    factors = [factor if isinstance(factor, float) else float64.asarray(factor) for factor in factors]
    for function in (primitives.definition("sgd_update"), primitives.sgd_update):
        got = nn.to_numpy(function(*arrays, *factors, xp=float64.xp))
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
    for array, values in zip(arrays, (weights, delta, inputs), strict=True):
        np.testing.assert_array_equal(nn.to_numpy(array), values)


@pytest.mark.parametrize(("x_lead", "lead"), [((), ()), ((), (3,)), ((3,), (3,))])
def test_affine_equals_the_formula(float64, x_lead, lead):
    rng = np.random.default_rng(0)
    x, weights, biases = rng.normal(size=(*x_lead, 5, 6)), rng.normal(size=(*lead, 4, 6)), rng.normal(size=(*lead, 4))
    expected = np.einsum("...ni,...ui->...nu", x, weights) + biases[..., None, :]
    for function in (primitives.definition("affine"), primitives.affine):
        got = function(float64.asarray(x), float64.asarray(weights), float64.asarray(biases), xp=float64.xp)
        np.testing.assert_allclose(nn.to_numpy(got), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("a_lead", "b_lead"), [((), ()), ((3,), (3,)), ((3,), ()), ((), (3,))])
@pytest.mark.parametrize("transposed", [False, True])
def test_matmul_equals_the_formula(float64, a_lead, b_lead, transposed):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(*a_lead, 5, 6)), rng.normal(size=(*b_lead, 6, 4))
    expected = np.einsum("...mk,...kn->...mn", a, b)
    if transposed:
        a = np.swapaxes(a, -1, -2)
    for function in (primitives.definition("matmul"), primitives.matmul):
        left = float64.asarray(a)
        got = function(left.mT if transposed else left, float64.asarray(b), xp=float64.xp)
        np.testing.assert_allclose(nn.to_numpy(got), expected, rtol=1e-12, atol=1e-14)


def test_vecdot_equals_the_formula(float64):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 5, 6)), rng.normal(size=(3, 1, 6))
    for function in (primitives.definition("vecdot"), primitives.vecdot):
        got = function(float64.asarray(a), float64.asarray(b), xp=float64.xp)
        np.testing.assert_allclose(nn.to_numpy(got), np.einsum("...n,...n->...", a, b), rtol=1e-12, atol=1e-14)


def test_the_ways_back_through_sigmoid_and_relu_are_their_slopes(float64):
    """Against central differences, away from relu's corner; at the corner itself the slope is 0."""
    z, delta = np.array([-3.0, -0.5, 0.25, 2.0]), np.array([2.0, -1.0, 0.5, 3.0])
    step = 1e-6
    xp, asarray = float64.xp, float64.asarray
    sigmoid_slope = (expit(z + step) - expit(z - step)) / (2 * step)
    relu_slope = (np.maximum(z + step, 0) - np.maximum(z - step, 0)) / (2 * step)
    for kind in (primitives.definition, lambda name: getattr(primitives, name)):
        got = kind("sigmoid_gradient")(asarray(expit(z)), asarray(delta), xp=xp)
        np.testing.assert_allclose(nn.to_numpy(got), delta * sigmoid_slope, rtol=1e-8)
        got = kind("relu_gradient")(asarray(z), asarray(delta), xp=xp)
        np.testing.assert_allclose(nn.to_numpy(got), delta * relu_slope, rtol=1e-8)
        np.testing.assert_array_equal(nn.to_numpy(kind("relu")(asarray(z), xp=xp)), np.maximum(z, 0))
        zero = asarray(np.zeros(1))
        assert nn.to_numpy(kind("relu_gradient")(zero, zero + 1, xp=xp))[0] == 0
        assert np.isnan(nn.to_numpy(kind("relu")(zero + np.nan, xp=xp))[0])


@pytest.mark.parametrize("axis", [-1, -2])
def test_total_is_the_sum_in_the_same_dtype(backend, axis):
    x = np.random.default_rng(0).normal(size=(3, 5, 6)).astype("float32")
    for function in (primitives.definition("total"), primitives.total):
        got = nn.to_numpy(function(backend.asarray(x), axis=axis, xp=backend.xp))
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, x.astype("float64").sum(axis=axis), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_plain_descent_equals_the_way_through_the_gradients(float64, activation):
    """The fused path of plain SGD against the optimiser's own update."""
    from nn_any.core import evaluation, functional, losses
    from nn_any.core.batches import Preparation

    net = nn.Network([5, 4, 3], activation=activation, device=float64.device, dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    batch = float64.asarray(rng.normal(size=(7, 5))), float64.asarray(rng.normal(size=(7, 3)))
    rate = float64.asarray(0.7)
    prepare = Preparation("float64", 3)
    fused = functional.train_step(net.layers, losses.get("quadratic"), nn.SGD(1.0), prepare)(net.state, batch, rate)
    differentiate = evaluation.differentiator(net.layers, losses.get("quadratic"), prepare, training=True)
    _, gradients = differentiate(net.state, batch)
    updated, _ = nn.SGD(1.0).update(gradients, (), net.params, rate)
    for got_layer, layer in zip(fused[0][0], updated, strict=True):
        for got, expected in zip(got_layer, layer, strict=True):
            np.testing.assert_allclose(nn.to_numpy(got), nn.to_numpy(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (None, 0.25), (0.0, None)])
def test_clip(backend, low, high):
    x = np.linspace(-1, 1, 7, dtype="float32")
    for function in (primitives.definition("clip"), primitives.clip):
        got = nn.to_numpy(function(backend.asarray(x), low=low, high=high, xp=backend.xp))
        assert got.dtype == np.float32
        at_least, at_most = -9.0 if low is None else low, 9.0 if high is None else high
        np.testing.assert_array_equal(got, np.array([min(max(v, at_least), at_most) for v in x], "float32"))
