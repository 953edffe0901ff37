"""Biases as a column of the weights, in the loop on PyTorch's CPU: where they can be, and where they must not."""

import numpy as np
import pytest
from array_api_compat import array_namespace
from conftest import need

import nn_any as nn
from nn_any.backends.replay.engine import ReplayEngine
from nn_any.core import primitives
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(0)
DATA = (RNG.normal(size=(60, 30)),)
ORDER, RATES = RNG.permutation(60)[:50].reshape(5, 10) % 60, np.linspace(0.5, 1.0, 5)
STATE = (RNG.normal(size=(20, 30)), RNG.normal(size=20), RNG.normal(size=(20, 20)), RNG.normal(size=20))
MIXED = RNG.normal(size=(30, 30)) * 0.2


def affine(x, w, b):
    return primitives.affine(x, w, b, xp=array_namespace(x))


def sums(delta):
    return primitives.total(delta, axis=-2, xp=array_namespace(delta))


def descent(w, delta, x, *factors):
    return primitives.sgd_update(w, delta, x, *factors, xp=array_namespace(x))


def one(x, w, b):
    """Errors, and weights and biases after a descent."""
    delta = affine(x, w, b) * 0.01
    return delta, descent(w, delta, x), b - sums(delta)


def two_layers(x, w, b, u, c):
    a = affine(x, w, b) * 0.5
    delta = affine(a, u, c) * 0.01
    before = primitives.matmul(delta, u, xp=array_namespace(x)) * 0.5
    return (descent(w, before, x), b - sums(before), descent(u, delta, a), c - sums(delta)), None


def backwards(x, w, b, u, c):
    """Errors that lie backwards."""
    delta = array_namespace(x).flip(affine(x, w, b) * 0.01, axis=0)
    return (descent(w, delta, x), b - sums(delta), u, c), None


def rolled(x, w, b, u, c):
    """Errors that no form writes, so that they are another array in each step."""
    delta = array_namespace(x).roll(affine(x, w, b) * 0.01, 1, axis=0)
    return (descent(w, delta, x), b - sums(delta), u, c), None


def computed_anew(x, w, b, u, c):
    """Inputs by a form that wants arrays which stay where they are, and gets another one in each step."""
    xp = array_namespace(x)
    x = affine(xp.roll(x, 1, axis=0), xp.asarray(MIXED), xp.asarray(MIXED[0]))
    return (*one(x, w, b)[1:], u, c), None


STEPS = {  # the state after a step of inputs (n, 30), and what is read of it; and how many layers are joined
    "one layer": (lambda x, w, b, u, c: ((*one(x, w, b)[1:], u, c), None), 1),
    "two layers": (two_layers, 2),
    "errors that lie backwards": (backwards, 1),
    "errors without a form": (rolled, 1),
    "inputs without a form": (computed_anew, 1),
    "the loss reads the errors": (lambda x, w, b, u, c: ((*one(x, w, b)[1:], u, c), one(x, w, b)[0]), 1),
    "the loss reads the weights": (lambda x, w, b, u, c: ((*one(x, w, b)[1:], u, c), w * 2.0), 1),
    "the loss reads the new weights": (lambda x, w, b, u, c: ((*one(x, w, b)[1:], u, c), one(x, w, b)[1] * 2.0), 0),
    "the loss reads the biases": (lambda x, w, b, u, c: ((*one(x, w, b)[1:], u, c), b * 2.0), 0),
    "the last weights": (lambda x, w, b, u, c: ((*one(x, w, b)[1:], w[:, :20], c), None), 0),
    "the last biases": (lambda x, w, b, u, c: ((*one(x, w, b)[1:], u, b), None), 0),
    "the sums": (lambda x, w, b, u, c: ((*one(x, w, b)[1:], u, sums(one(x, w, b)[0])), None), 0),
    "twice": (lambda x, w, b, u, c: ((*one(x, w, b)[1:], u, one(x, w, b)[2]), None), 0),
    "the loss reads the inputs": (lambda x, w, b, u, c: ((*one(x, w, b)[1:], u, c), x), 1),
    "inputs that stay": (lambda x, w, b, u, c: ((*one(x, w, b)[1:], u, x[0, :20] * 1.0), None), 1),
    "other errors": (lambda x, w, b, u, c: ((one(x, w, b)[1], b - sums(one(x, w, b)[0] * 2.0), u, c), None), 0),
    "other inputs": (
        lambda x, w, b, u, c: ((descent(w, one(x, w, b)[0], x * 2.0), one(x, w, b)[2], u, c), None),
        0,
    ),
    "half of it": (lambda x, w, b, u, c: ((descent(w, one(x, w, b)[0], x, -0.5), one(x, w, b)[2], u, c), None), 0),
    "biases alone": (lambda x, w, b, u, c: ((w, one(x, w, b)[2], u, c), None), 0),
    "weights alone": (lambda x, w, b, u, c: ((one(x, w, b)[1], b, u, c), None), 0),
}


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_ones_own(name, flipped, monkeypatch):
    need("torch")
    nn.select_device("numpy"), nn.select_device("torch:cpu")  # their primitives
    from nn_any.backends._torch_replay import TorchKernels

    monkeypatch.setattr("nn_any.backends.replay.batching._SERIAL", 0)  # as if the layers were large
    monkeypatch.setattr("nn_any.backends.replay.batching._AHEAD_BYTES", 0)  # and the batch, too
    function, layers = STEPS[name]

    def step(state, batch, rate):
        xp = array_namespace(rate)
        x = affine(batch[0], xp.asarray(MIXED), xp.asarray(MIXED[0])) if flipped else batch[0]
        after, read = function(xp.tanh(x) * rate, *state)
        return after, rate * 1.0 if read is None else xp.sum(read, dtype=rate.dtype)

    engine = ReplayEngine("compiled", choose=lambda **_: TorchKernels())
    got, losses = engine.run(step, STATE, DATA, ORDER, RATES, 0, 5)
    state, expected = STATE, []
    for rows, rate in zip(ORDER, RATES, strict=True):
        state, loss = step(state, (DATA[0][rows],), rate[...])
        expected.append(loss)
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    for a, b in zip(got, state, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    (program,) = engine.programs.values()
    assert sum(array.ndim == 2 and not array.flags.c_contiguous for array in program._state) == layers


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "linear"])
@pytest.mark.parametrize("stored", ["uint8", "float32"])
def test_a_network(activation, stored):
    need("torch")
    x = RNG.integers(0, 256, (210, 160))
    x, scale = (x.astype(stored), 255) if stored == "uint8" else ((x / 255).astype(stored), None)
    data = nn.Dataset(x, np.arange(210) % 3, scale=scale)
    ends = []
    for engine in ("auto", "eager"):
        layers = [nn.Dense(300, activation=activation), nn.Dense(200, activation=activation), nn.Dense(3)]
        net = nn.Network([160, *layers], device="torch:cpu", dtype="float64", initializer="scaled_normal", seed=2)
        net.SGD(data, 3, 100, 0.05, engine=engine)
        ends.append(net)
    (cache,) = ends[0]._programs
    programs = cache.values()
    assert any(not array.flags.c_contiguous for program in programs for array in program._state)
    for got, expected in zip(*(tree_leaves(net.state) for net in ends), strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), nn.to_numpy(expected), rtol=1e-9, atol=1e-12)
