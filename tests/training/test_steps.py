"""Steps for a training loop of one's own: against the loop over examples, and against fit."""

import numpy as np
import oracle
import pytest

import nn_any as nn
from nn_any.core.random import epoch_order
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 4)), RNG.integers(0, 3, 40)
T = np.eye(3)[Y]


def network(device, dtype="float64", seed=3):
    return nn.Network([4, 5, 3], device=device, dtype=dtype, seed=seed)


def host(arrays):
    return [nn.to_numpy(array).copy() for array in arrays]


def equal(one, other):
    for a, b in zip(tree_leaves(one), tree_leaves(other), strict=True):
        np.testing.assert_array_equal(nn.to_numpy(a), nn.to_numpy(b))


def test_a_step_is_that_of_the_loop_over_examples(float64):
    net = network(float64.device)
    weights, biases = host(net.weights), host(net.biases)
    state, loss = nn.train_step(net, net.state, (X[:8], Y[:8]), 0.7)
    assert float(loss) == pytest.approx(oracle.batch_loss(weights, biases, X[:8], T[:8], "quadratic"), rel=1e-12)
    nabla_b, nabla_w = oracle.batch_gradients(weights, biases, X[:8], T[:8], "quadratic")
    for got, old in zip(net.weights, weights, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(got), old)  # the network itself has not changed
    net.state = state
    assert net.steps == 1
    for got, old, nabla in zip(net.weights + net.biases, weights + biases, nabla_w + nabla_b, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), old - 0.7 * nabla, rtol=1e-12, atol=1e-14)


def test_weight_decay_acts_on_weights_alone(float64):
    """Not on biases, nor on gains and shifts: a step with it differs from one without by η λ w, and by nothing else."""
    layers = [(5, 5, 1), nn.Conv2D(2, 2), nn.BatchNorm(), nn.Flatten(), 4, nn.LayerNorm(), 3]
    net = nn.Network(layers, device=float64.device, dtype="float64", seed=3)
    x = RNG.normal(size=(8, 5, 5, 1))
    plain, decayed = (
        nn.train_step(net, net.state, (x, Y[:8]), 0.7, optimizer=nn.SGD(0.7, weight_decay=decay))[0].params
        for decay in (0.0, 0.1)
    )
    for place, (old, one, other) in enumerate(zip(net.params, plain, decayed, strict=True)):
        for i, arrays in enumerate(zip(*map(host, (old, one, other)), strict=True)):
            before, without, with_decay = arrays
            factor = 0.7 * 0.1 if i == 0 and place in (0, 3, 5) else 0.0
            np.testing.assert_allclose(with_decay, without - factor * before, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimizer", [nn.SGD(0.5), nn.SGD(0.5, momentum=0.9), nn.Adam(0.5)], ids=repr)
def test_many_steps_are_those_of_an_epoch_of_fit(backend, optimizer):
    fitted, net = network(backend.device, "float32"), network(backend.device, "float32")
    history = fitted.fit((X, Y), epochs=1, batch_size=10, optimizer=optimizer)
    order = epoch_order(net.seed, 0, len(X)).reshape(4, 10)
    state, losses = nn.train_steps(net, net.state, (X, Y), order, 0.5, optimizer=optimizer)
    equal(state, fitted.state)
    assert losses.shape == (4,)
    assert losses.astype("float64").mean() == pytest.approx(history["loss"][0], rel=1e-6)
    twice = net.state
    for rows in order:
        twice, _ = nn.train_step(net, twice, (X[rows], Y[rows]), 0.5, optimizer=optimizer)
    for a, b in zip(tree_leaves(twice), tree_leaves(state), strict=True):
        np.testing.assert_allclose(nn.to_numpy(a), nn.to_numpy(b), rtol=1e-4, atol=1e-5)


def test_rates_may_differ_from_step_to_step():
    net, order = network("numpy"), np.arange(40).reshape(4, 10)
    weights, biases = host(net.weights), host(net.biases)
    state, losses = nn.train_steps(net, net.state, (X, Y), order, [0.1, 0.2, 0.4, 0.8])
    for rows, rate, loss in zip(order, (0.1, 0.2, 0.4, 0.8), losses, strict=True):
        assert loss == pytest.approx(oracle.batch_loss(weights, biases, X[rows], T[rows], "quadratic"), rel=1e-10)
        nabla_b, nabla_w = oracle.batch_gradients(weights, biases, X[rows], T[rows], "quadratic")
        weights = [w - rate * g for w, g in zip(weights, nabla_w, strict=True)]
        biases = [b - rate * g for b, g in zip(biases, nabla_b, strict=True)]
    net.state = state
    for got, expected in zip(net.weights + net.biases, weights + biases, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), expected, rtol=1e-10, atol=1e-12)


def test_the_optimizer_of_the_last_fit_goes_on():
    net, other = network("numpy"), network("numpy")
    for one in (net, other):
        one.fit((X, Y), epochs=1, batch_size=40, optimizer=nn.SGD(0.1, momentum=0.9), shuffle=False)
    other.fit((X, Y), epochs=1, batch_size=40, optimizer=nn.SGD(0.1, momentum=0.9), shuffle=False)
    state, _ = nn.train_step(net, net.state, (X, Y), 0.1)
    for a, b in zip(tree_leaves(state), tree_leaves(other.state), strict=True):
        np.testing.assert_allclose(nn.to_numpy(a), nn.to_numpy(b), rtol=1e-12, atol=1e-14)


def test_an_ensemble_steps_with_all_its_members(backend):
    ensemble = nn.Ensemble([4, 5, 3], 3, device=backend.device, seed=7)
    order = np.stack([epoch_order(seed, 0, len(X)) for seed in ensemble.seeds]).reshape(3, 4, 10).swapaxes(0, 1)
    state, losses = nn.train_steps(ensemble, ensemble.state, (X, Y), order, 0.5)
    assert losses.shape == (4, 3)
    for i, seed in enumerate(ensemble.seeds):
        alone = nn.Network([4, 5, 3], device=backend.device, seed=seed)
        alone.SGD((X, Y), 1, 10, 0.5)
        for a, b in zip(tree_leaves(state.params), tree_leaves(alone.params), strict=True):
            np.testing.assert_allclose(nn.to_numpy(a)[i], nn.to_numpy(b), rtol=1e-4, atol=1e-5)
    ensemble.state = state
    assert (ensemble.steps, ensemble[1].steps) == (4, 4)


ORDERS = [
    ([[0, 40]], ValueError, "order: expected examples within 0 … 39, got 0 … 40"),
    ([[-1, 3]], ValueError, "order: expected examples within 0 … 39, got -1 … 3"),
    ([0, 1], ValueError, r"order: expected integers \(steps, batch_size\), got int64 of shape \(2,\)"),
    ([[0.5]], ValueError, "order: expected integers"),
]


@pytest.mark.parametrize(("order", "kind", "message"), ORDERS)
def test_orders_that_cannot_be(order, kind, message):
    net = network("numpy")
    with pytest.raises(kind, match=message):
        nn.train_steps(net, net.state, (X, Y), order, 0.5)


@pytest.mark.parametrize("rate", [0, -1.0, float("nan"), float("inf")])
def test_learning_rates_that_cannot_be(rate):
    net = network("numpy")
    with pytest.raises(ValueError, match="learning_rate: expected"):
        nn.train_step(net, net.state, (X, Y), rate)
    with pytest.raises(ValueError, match="learning_rate: expected"):
        nn.train_steps(net, net.state, (X, Y), [[0, 1]], rate)


def test_states_and_optimizers_that_cannot_be():
    net, batch = network("numpy"), (X[:4], Y[:4])
    strangers = nn.Network([4, 6, 3], device="numpy", dtype="float64"), network("numpy", "float32")
    for other in strangers:
        with pytest.raises(ValueError, match="state: expected the shapes and dtypes"):
            nn.train_step(net, other.state, batch, 0.5)
        with pytest.raises(ValueError, match="state: expected the shapes and dtypes"):
            nn.train_steps(net, other.state, (X, Y), [[0, 1]], 0.5)
    with pytest.raises(TypeError, match="state: expected a nn_any.TrainState, such as net.state, got NoneType"):
        nn.train_step(net, None, batch, 0.5)
    for optimizer in ("adam", nn.LBFGS()):
        with pytest.raises(TypeError, match="optimizer: expected one that takes steps"):
            nn.train_step(net, net.state, batch, 0.5, optimizer=optimizer)
    with pytest.raises(ValueError, match="learning_rate: expected a positive number, or 1 of them"):
        nn.train_steps(net, net.state, (X, Y), [[0, 1]], [0.1, 0.2])
