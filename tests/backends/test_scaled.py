"""Numbers that move from the inputs of products to the products: where they can, and where they must not."""

import numpy as np
import pytest
from array_api_compat import array_namespace
from conftest import need

import nn_any as nn
from nn_any.backends.replay.engine import ReplayEngine
from nn_any.backends.replay.kernels import BothKernels, Kernels, ScipyKernels
from nn_any.core import primitives
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(0)
DATA = (RNG.integers(1, 10, (60, 30)),)
ORDER, RATES = RNG.permutation(60)[:50].reshape(5, 10), np.linspace(0.5, 1.0, 5)
STATE = (RNG.normal(size=(20, 30)), RNG.normal(size=20))
HALF = np.asarray(0.5)


def affine(x, w, b):
    return primitives.affine(x, w, b, xp=array_namespace(x))


def descent(w, delta, x, *factors):
    return primitives.sgd_update(w, delta, x, *factors, xp=array_namespace(x))


def one(x, w, b, more=None):
    """A layer's forward product and its descent, by errors that are made of it."""
    z = affine(x, w, b)
    return (descent(w, z * 0.01, x), b * 0.9), array_namespace(x).sum(z if more is None else more)


def seen_by_all(x, w, b):
    """The product of the inputs with themselves."""
    return (w, b), array_namespace(x).sum(affine(x, x, b[:10]))


def forwards_only(x, w, b):
    z = affine(x, w[:, -x.shape[1] :], b)
    return (w * 0.9, b * 0.9), array_namespace(x).sum(z * z)


def rolled(x, w, b):
    """Weights that no form writes, so that they are another array in each step, and no form can read them."""
    return one(x * 0.5, array_namespace(x).roll(w, 1, axis=0), b)


def reshaped(x, w, b):
    xp = array_namespace(x)
    return one(xp.reshape(xp.reshape(x, (10, 5, 6)) * 0.5, (10, 30)), w, b)


STEPS = {  # what a step does with its inputs (n, 30), and how many products have a factor then
    "a number behind": (lambda x, w, b: one(x * 0.5, w, b), 2),
    "a number in front": (lambda x, w, b: one(0.5 * x, w, b), 2),
    "an integer": (lambda x, w, b: one(x * 3, w, b), 2),
    "less than nothing": (lambda x, w, b: one(x * -0.5, w, b), 2),
    "a quotient": (lambda x, w, b: one(x / 255.0, w, b), 2),
    "an array filled with it": (lambda x, w, b: one(x * array_namespace(x).full_like(x, 0.5), w, b), 2),
    "a view of it": (reshaped, 2),
    "part of it": (lambda x, w, b: forwards_only((x * 0.5)[:, 10:], w, b), 1),
    "forwards only": (lambda x, w, b: forwards_only(x * 0.5, w, b), 1),
    "weights without a form": (rolled, 2),
    "two numbers": (lambda x, w, b: one(x * 0.5 * 3.0, w, b), 0),
    "a number that it divides": (lambda x, w, b: one(0.5 / x, w, b), 0),
    "an array of one number": (lambda x, w, b: one(x * array_namespace(x).asarray(HALF), w, b), 0),
    "a row": (lambda x, w, b: one(x * w[0, :], w, b), 0),
    "fewer rows": (lambda x, w, b: one(x[:1, :] * array_namespace(x).full_like(x, 0.5), w, b), 0),
    "reals": (lambda x, w, b: one(array_namespace(x).tanh(x) * 0.5, w, b), 0),
    "nothing": (lambda x, w, b: one(x * 0.0, w, b), 0),
    "next to nothing": (lambda x, w, b: one(x * 1e-30, w, b), 0),
    "the inputs are read as well": (lambda x, w, b: one(x * 0.5, w, b, x * x), 0),
    "it is read as well": (lambda x, w, b: one(x * 0.5, w, b, x * 0.5 + 1.0), 0),
    "it is what is found": (lambda x, w, b: one(x * 0.5, w, b, x * 0.5), 0),
    "it is left": (lambda x, w, b: ((one(x * 0.5, w, b)[0][0], (x * 0.5)[0, :20]), None), 0),
    "it is the weights, too": (lambda x, w, b: seen_by_all(x * 0.5, w, b), 0),
    "a descent with factors": (lambda x, w, b: ((descent(w, affine(x * 0.5, w, b), x * 0.5, -0.1), b), None), 0),
}


def kernels(name):
    if name != "torch":
        return {"numpy": Kernels, "both": BothKernels, "scipy": ScipyKernels}[name]()
    need("torch")
    from nn_any.backends._torch_replay import TorchKernels

    return TorchKernels()


@pytest.mark.parametrize("whose", ["numpy", "both", "scipy", "torch"])
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("stored", ["int8", "uint16", "int32"])
def test_a_step_of_ones_own(name, whose, stored, monkeypatch):
    nn.select_device("numpy")  # its primitives
    chosen = kernels(whose)
    monkeypatch.setattr("nn_any.backends.replay.batching._AHEAD_BYTES", 0)  # as if the batch were large
    function, factors = STEPS[name]

    def step(state, batch, rate):
        after, read = function(array_namespace(rate).astype(batch[0], rate.dtype), *state)
        return after, rate * 1.0 if read is None else read * rate

    engine = ReplayEngine("compiled", choose=lambda **_: chosen)
    data = (DATA[0].astype(stored),)
    got, losses = engine.run(step, STATE, data, ORDER, RATES, 0, 5)
    state, expected = STATE, []
    for rows, rate in zip(ORDER, RATES, strict=True):
        state, loss = step(state, (data[0][rows],), rate[...])
        expected.append(loss)
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    for a, b in zip(got, state, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    (program,) = engine.programs.values()
    moved = sum("scale" in node.kwargs for node in program._plan.body)
    assert moved == (0 if stored == "int32" else factors)  # large numbers might overflow


def test_half_precision_is_left_alone():
    """Products of pixels that are not scaled would leave its range."""
    x, w = np.full((20, 784), 255, dtype="uint8"), np.full((3, 784), 0.1, dtype="float16")

    def step(state, batch, rate):
        z = affine(array_namespace(rate).astype(batch[0], rate.dtype) / 255, *state)
        return state, array_namespace(rate).max(z)

    order, rates = np.arange(20).reshape(1, 20), np.ones(1, dtype="float16")
    _, losses = ReplayEngine("compiled").run(step, (w, w[:, 0] * 0), (x,), order, rates, 0, 1)
    np.testing.assert_allclose(losses, 78.4, rtol=1e-2)


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 2e-4), ("float64", 1e-10)])
@pytest.mark.parametrize("device", ["numpy", "torch:cpu"])
@pytest.mark.parametrize("units", [20, 300])
@pytest.mark.parametrize("members", [None, 5])
def test_pixels_go_into_the_product_as_they_are_stored(members, units, device, dtype, rtol):
    if device != "numpy":
        need("torch")
    data = nn.Dataset(RNG.integers(0, 256, (210, 784)).astype("uint8"), np.arange(210) % 3, scale=255)
    ends = []
    for engine in ("auto", "eager"):
        how = {"device": device, "dtype": dtype, "initializer": "scaled_normal"}
        layers = [784, units, 3]
        net = nn.Ensemble(layers, members, seed=1, threads=2, **how) if members else nn.Network(layers, seed=1, **how)
        net.SGD(data, 2, 100, 0.5, engine=engine)
        ends.append(net)
    programs = [program for cache in ends[0]._programs for program in cache.values()]
    assert programs
    assert all(any("scale" in node.kwargs for node in program._plan.body) for program in programs)
    for got, expected in zip(*(tree_leaves(net.state) for net in ends), strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), nn.to_numpy(expected), rtol=rtol, atol=rtol / 100)
