"""PyTorch's CPU by NumPy's loop: large arrays, where PyTorch's own functions are called, against its plain loop."""

import numpy as np
import pytest
from conftest import need

import nn_any as nn
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(1)
X, LABELS = RNG.integers(0, 256, (230, 160)).astype("uint8"), RNG.integers(0, 3, 230)
OPTIMIZERS = {
    "sgd": nn.SGD(0.05),
    "nesterov": nn.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01, l1=1e-3, max_norm=3.0),
    "adam": nn.Adam(0.01, clip_norm=0.5),
    "rmsprop": nn.RMSprop(0.001, centered=True),
    "adagrad": nn.Adagrad(0.01),
}


def both(layers, optimizer, dtype="float64", **options):
    """The state and the history after two epochs of batches of 100, 100 and 30, by the chosen and the plain engine."""
    need("torch")
    data, ends = nn.Dataset(X, LABELS, scale=255), []
    for engine in ("auto", "eager"):
        net = nn.Network([160, *layers], device="torch:cpu", dtype=dtype, seed=2, **options)
        history = net.fit(data, epochs=2, batch_size=100, optimizer=optimizer, engine=engine)
        ends.append(([nn.to_numpy(leaf) for leaf in tree_leaves(net.state)], history))
    assert [history.engine for _, history in ends] == ["replay", "eager"]
    return ends


def assert_same(ends, rtol):
    (got, history), (expected, plain) = ends
    np.testing.assert_allclose(history["loss"], plain["loss"], rtol=rtol)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 10)


ACTIVATIONS = ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "gelu", "silu", "softplus", "exponential"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation):
    layers = [nn.Dense(300, activation=activation), nn.Dense(200, activation=activation), nn.Dense(3)]
    rate = 1e-4 if activation == "exponential" else 0.05
    assert_same(both(layers, nn.SGD(rate), initializer="scaled_normal"), rtol=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer):
    layers = [nn.Dense(300, activation="relu"), nn.LayerNorm(), nn.Dense(200), nn.Dropout(0.2), nn.Dense(3)]
    assert_same(both(layers, OPTIMIZERS[optimizer], initializer="scaled_normal"), rtol=1e-8)


def test_in_float32_to_its_rounding():
    layers = [nn.Dense(300, activation="relu"), nn.BatchNorm(), nn.Dense(200), nn.Dense(3, activation="softmax")]
    assert_same(both(layers, nn.SGD(0.1), "float32", loss="log_likelihood", initializer="he_normal"), rtol=1e-3)


def test_the_loop_calls_pytorch_where_it_is_worth_it(monkeypatch):
    need("torch")
    import torch

    called = []
    for where, name in ((torch, "mm"), (torch.Tensor, "addmm_")):
        function = getattr(where, name)

        def call(*args, _name=name, _function=function, **kwargs):
            called.append(_name)
            return _function(*args, **kwargs)

        monkeypatch.setattr(where, name, call)
    for units, expected in ((300, {"mm", "addmm_"}), (5, set())):
        called.clear()
        net = nn.Network([160, units, 200, 3], device="torch:cpu", seed=0)
        net.SGD(nn.Dataset(X, LABELS, scale=255), 1, 100, 0.1)
        assert set(called) == expected


def test_large_convolutions_are_left_to_pytorch(monkeypatch, caplog):
    """The largest windows here are those of the second convolution: 4 x 4 places of 3 x 3 x 5 numbers, for 7 images."""
    need("torch")
    layers = [
        (8, 8, 1),
        nn.Conv2D(5, 3),
        nn.Conv2D(6, 3, activation="relu"),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Dense(3),
    ]
    data, nets = nn.Dataset(X[:70, :64], LABELS[:70], scale=255), []
    for most, engine in ((7 * 16 * 45, "replay"), (7 * 16 * 45 - 1, "eager")):
        monkeypatch.setattr("nn_any.backends._torch_replay._WINDOWS", most)
        net = nn.Network(layers, device="torch:cpu", dtype="float64", seed=0)
        assert net.SGD(data, 2, 7, 0.1).engine == engine
        nets.append(net)
    assert not caplog.records  # that was a choice, not a failure
    for got, expected in zip(*(tree_leaves(net.state) for net in nets), strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), nn.to_numpy(expected), rtol=1e-9, atol=1e-12)


def test_what_numpy_cannot_hold_runs_one_by_one():
    need("torch")
    import torch

    y = torch.arange(20) % 3
    data = nn.Dataset(torch.linspace(-1, 1, 40).reshape(20, 2).to(torch.bfloat16), y)
    nets = [nn.Network([2, 4, 3], device="torch:cpu", seed=0) for _ in range(2)]
    histories = [net.SGD(data, 2, 5, 0.5, engine=mode) for net, mode in zip(nets, ("auto", "eager"), strict=True)]
    assert [history.engine for history in histories] == ["eager", "eager"]
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], rel=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_ensembles_in_blocks(threads):
    need("torch")
    ensemble = nn.Ensemble([160, 30, 3], 60, learning_rates=[0.5] * 60, seed=0, device="torch:cpu", threads=threads)
    assert len(ensemble.snapshot.blocks) > 1
    data = nn.Dataset(X, LABELS, scale=255)
    ensemble.SGD(data, 1, 10, 1.0)
    for i in (0, 59):
        net = nn.Network([160, 30, 3], device="torch:cpu", seed=i)
        net.SGD(data, 1, 10, 0.5, engine="eager")
        for got, expected in zip(ensemble[i].weights, net.weights, strict=True):
            np.testing.assert_allclose(nn.to_numpy(got), nn.to_numpy(expected), rtol=1e-4, atol=1e-5)
