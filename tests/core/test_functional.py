"""The maths against independent answers: a per-example float64 loop, central differences, PyTorch."""

import numpy as np
import oracle
import pytest
from conftest import need

import nn_any as nn
from nn_any.core import functional, losses
from nn_any.core.batches import Preparation
from nn_any.core.layers import Dense
from nn_any.core.optimizers import SGD
from nn_any.core.random import draw_key
from nn_any.core.state import TrainState

SIZES = [5, 4, 3]


def network(backend, dtype, loss, n, sizes=SIZES):
    x, y, labels, weights, biases = oracle.random_batch(n, sizes)
    net = nn.Network(sizes, loss=loss, device=backend.device, dtype=dtype, seed=0)
    net.set_weights(weights, biases)
    return net, x, y, labels, weights, biases


@pytest.mark.parametrize("loss", ["quadratic", "cross_entropy"])
@pytest.mark.parametrize("n", [1, 7, 100])
def test_backprop_equals_the_books_loop_over_examples(float64, loss, n):
    net, x, y, labels, weights, biases = network(float64, "float64", loss, n)
    expected_b, expected_w = oracle.batch_gradients(weights, biases, x, y, loss)
    for targets in (float64.asarray(y), float64.asarray(labels)):
        nabla_b, nabla_w = net.backprop(float64.asarray(x), targets)
        for got, expected in zip([*nabla_b, *nabla_w], [*expected_b, *expected_w], strict=True):
            np.testing.assert_allclose(nn.to_numpy(got), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("loss", ["quadratic", "cross_entropy"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "linear"])
def test_backprop_equals_central_differences(float64, loss, activation):
    x, y, _, weights, biases = oracle.random_batch(7, SIZES, seed=3)
    stack = [
        5,
        Dense(4, activation=activation),
        Dense(3, activation="sigmoid" if loss == "cross_entropy" else activation),
    ]
    net = nn.Network(stack, loss=loss, device=float64.device, dtype="float64", seed=0)

    def loss_of_weights():
        net.set_weights(weights, biases)
        return net.loss((x, y))

    expected = oracle.central_differences(loss_of_weights, [*biases, *weights])
    net.set_weights(weights, biases)
    nabla_b, nabla_w = net.backprop(x, y)
    for got, gradient in zip([*nabla_b, *nabla_w], expected, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), gradient, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", ["quadratic", "cross_entropy"])
def test_float32_gradients_are_close_to_the_float64_loop(backend, loss):
    net, x, y, _, weights, biases = network(backend, "float32", loss, 20)
    expected_b, expected_w = oracle.batch_gradients(weights, biases, x, y, loss)
    nabla_b, nabla_w = net.backprop(x, y)
    for got, expected in zip([*nabla_b, *nabla_w], [*expected_b, *expected_w], strict=True):
        assert nn.to_numpy(got).dtype == np.float32
        np.testing.assert_allclose(nn.to_numpy(got), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["quadratic", "cross_entropy"])
def test_loss_and_outputs_equal_the_loop(float64, loss):
    net, x, y, labels, weights, biases = network(float64, "float64", loss, 9)
    assert net.loss((x, y)) == pytest.approx(oracle.batch_loss(weights, biases, x, y, loss), rel=1e-12)
    outputs = [oracle.feedforward(weights, biases, row) for row in x]
    np.testing.assert_allclose(nn.to_numpy(net.feedforward(x)), outputs, rtol=1e-12)
    assert net.evaluate((x, labels)) == int(np.sum(np.argmax(outputs, axis=1) == labels))


def test_gradients_equal_pytorch_autograd():
    torch = need("torch")
    x, y, _, weights, biases = oracle.random_batch(11, [6, 5, 4, 3], seed=5)
    net = nn.Network([6, 5, 4, 3], loss="cross_entropy", device="numpy", dtype="float64", seed=0)
    net.set_weights(weights, biases)
    ws = [torch.tensor(w, requires_grad=True) for w in weights]
    bs = [torch.tensor(b, requires_grad=True) for b in biases]
    a = torch.tensor(x)
    for w, b in zip(ws, bs, strict=True):
        a = torch.sigmoid(torch.nn.functional.linear(a, w, b))
    torch.nn.functional.binary_cross_entropy(a, torch.tensor(y), reduction="sum").div(len(x)).backward()
    nabla_b, nabla_w = net.backprop(x, y)
    for got, leaf in zip([*nabla_b, *nabla_w], [*bs, *ws], strict=True):
        np.testing.assert_allclose(got, leaf.grad.numpy(), rtol=1e-10)


def test_a_step_moves_the_weights_against_the_gradient(float64):
    net, x, y, _, weights, biases = network(float64, "float64", "quadratic", 10)
    nabla_b, nabla_w = oracle.batch_gradients(weights, biases, x, y, "quadratic")
    net.update_mini_batch((x, y), 0.25)
    for got, old, gradient in zip(net.weights, weights, nabla_w, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), old - 0.25 * gradient, rtol=1e-12)
    for got, old, gradient in zip(net.biases, biases, nabla_b, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), old - 0.25 * gradient, rtol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("per_member_rates", [True, False])
def test_extra_leading_axis_is_many_networks_at_once(float64, shared, per_member_rates):
    """An axis in front of parameters (and data) trains members that equal their solo runs."""
    m, n, xp = 3, 6, float64.xp
    layers = nn.Network(SIZES, device="numpy", seed=0).layers
    step = functional.train_step(layers, losses.get("cross_entropy"), SGD(1.0), Preparation("float64", 3))
    members = [oracle.random_batch(n, SIZES, seed=i) for i in range(m)]
    rates = np.array([0.5, 1.0, 2.0]) if per_member_rates else np.full(m, 0.5)

    def state(arrays):
        params = tuple(tuple(float64.asarray(a) for a in layer) for layer in arrays)
        return TrainState(params, ((), ()), (), float64.asarray(0, "int32"), float64.asarray(draw_key(0)))

    def params_of(i):
        return [(members[i][3][layer], members[i][4][layer]) for layer in (0, 1)]

    def data_of(i):
        source = members[0 if shared else i]
        return source[0], source[1]

    stacked = [tuple(np.stack([params_of(i)[layer][k] for i in range(m)]) for k in (0, 1)) for layer in (0, 1)]
    columns = data_of(0) if shared else tuple(np.stack([data_of(i)[k] for i in range(m)]) for k in (0, 1))
    batch = tuple(float64.asarray(column) for column in columns)
    rate = float64.asarray(rates if per_member_rates else 0.5)
    together, loss = step(state(stacked), batch, rate)
    assert tuple(loss.shape) == (m,)
    for i in range(m):
        alone, solo_loss = step(
            state(params_of(i)), tuple(float64.asarray(column) for column in data_of(i)), float64.asarray(rates[i])
        )
        assert float(nn.to_numpy(loss)[i]) == pytest.approx(float(nn.to_numpy(solo_loss)), rel=1e-12)
        for layer in (0, 1):
            for k in (0, 1):
                got = nn.to_numpy(xp.asarray(together[0][layer][k]))[i]
                np.testing.assert_allclose(got, nn.to_numpy(alone[0][layer][k]), rtol=1e-12, atol=1e-14)


def test_page_is_at_most_200_lines():
    from pathlib import Path

    assert len(Path(functional.__file__).read_text(encoding="utf-8").splitlines()) <= 200


def test_one_rate_for_all_members_keeps_their_norms_apart(float64):
    """With a rate () each member of an ensemble is clipped by its own norm, as in its solo run."""
    m, n = 3, 6
    layers = nn.Network(SIZES, device="numpy", seed=0).layers
    optimizer = nn.Adam(clip_norm=0.01, max_norm=0.5, weight_decay=0.1)
    step = functional.train_step(layers, losses.get("cross_entropy"), optimizer, Preparation("float64", 3))
    members = [oracle.random_batch(n, SIZES, seed=i) for i in range(m)]
    rate = float64.asarray(0.1)

    def run(params, columns, key):
        params = tuple(tuple(float64.asarray(a) for a in layer) for layer in params)
        state = TrainState(params, ((), ()), optimizer.init(params), float64.asarray(0, "int32"), float64.asarray(key))
        return step(state, tuple(float64.asarray(column) for column in columns), rate)[0].params

    def params_of(i):
        return [(members[i][3][layer], members[i][4][layer]) for layer in (0, 1)]

    stacked = [tuple(np.stack([params_of(i)[layer][k] for i in range(m)]) for k in (0, 1)) for layer in (0, 1)]
    columns = tuple(np.stack([members[i][k] for i in range(m)]) for k in (0, 1))
    together = run(stacked, columns, np.stack([draw_key(0)] * m))
    for i in range(m):
        alone = run(params_of(i), members[i][:2], draw_key(0))
        for layer, k in ((0, 0), (0, 1), (1, 0), (1, 1)):
            got, expected = nn.to_numpy(together[layer][k])[i], nn.to_numpy(alone[layer][k])
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
