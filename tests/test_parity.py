"""The same seed is the same run on every backend: weights bit for bit, order identical, the rest to rounding."""

import numpy as np
import oracle
import pytest

import nn_any as nn
from nn_any.core.random import epoch_order

STEPS = 1000
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}


@pytest.fixture(scope="module")
def example_loop(digits):
    """Weights after 1,000 steps of the book's algorithm in float64, one example at a time, from the package's start."""
    x, _, y, _ = digits
    net = nn.Network([64, 30, 10], device="numpy", dtype="float64", seed=7)
    weights, biases = [w.copy() for w in net.weights], [b.copy() for b in net.biases]
    targets, epoch, step = np.eye(10)[y], 0, 0
    while step < STEPS:
        order = epoch_order(7, epoch, len(x))
        for start in range(0, len(x), 10):
            rows = order[start : start + 10]
            nabla_b, nabla_w = oracle.batch_gradients(weights, biases, x[rows], targets[rows], "quadratic")
            weights = [w - 3.0 * g for w, g in zip(weights, nabla_w, strict=True)]
            biases = [b - 3.0 * g for b, g in zip(biases, nabla_b, strict=True)]
            step += 1
            if step == STEPS:
                break
        epoch += 1
    return weights, biases


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_thousand_steps_end_at_the_same_weights(float64, dtype, digits, example_loop):
    """Against the float64 loop, and through it against every other backend."""
    x, _, y, _ = digits
    net = nn.Network([64, 30, 10], device=float64.device, dtype=dtype, seed=7)
    epochs, rest = divmod(STEPS, -(-len(x) // 10))
    data = (float64.asarray(x), float64.asarray(y))
    net.SGD(data, epochs, 10, 3.0)
    order = epoch_order(7, epochs, len(x))
    for i in range(rest):
        rows = order[10 * i : 10 * i + 10]
        net.update_mini_batch((x[rows], y[rows]), 3.0)
    assert net.steps == STEPS
    for got, expected in zip([*net.weights, *net.biases], [*example_loop[0], *example_loop[1]], strict=True):
        difference = np.max(np.abs(nn.to_numpy(got) - expected)) / np.max(np.abs(expected))
        assert difference <= TOLERANCE[dtype]


@pytest.mark.parametrize("initializer", ["normal", "scaled_normal"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initial_weights_are_the_same_bits(float64, initializer, dtype):
    here = nn.Network([20, 7, 3], initializer=initializer, device=float64.device, dtype=dtype, seed=11)
    host = nn.Network([20, 7, 3], initializer=initializer, device="numpy", dtype=dtype, seed=11)
    for got, expected in zip([*here.weights, *here.biases], [*host.weights, *host.biases], strict=True):
        assert nn.to_numpy(got).tobytes() == expected.tobytes()


def test_initial_weights_have_the_spread_of_their_initializer():
    for initializer, deviation in (("normal", 1.0), ("scaled_normal", 1 / np.sqrt(400))):
        net = nn.Network([400, 300, 10], initializer=initializer, device="numpy", seed=0)
        assert np.std(net.weights[0]) == pytest.approx(deviation, rel=0.02)
        assert abs(np.mean(net.weights[0])) < 0.02 * deviation
        assert 0.8 < np.std(net.biases[0]) < 1.2


def test_float32_weights_are_the_float64_ones_rounded():
    single, double = (nn.Network([9, 4, 2], device="numpy", dtype=dtype, seed=5) for dtype in ("float32", "float64"))
    for narrow, wide in zip(single.weights, double.weights, strict=True):
        np.testing.assert_array_equal(narrow, wide.astype("float32"))


def test_batches_come_in_the_same_order_everywhere(backend):
    x = np.arange(23.0)[:, None]
    data = nn.Dataset(x, np.arange(23) % 3, device=backend.device)
    got = [nn.to_numpy(batch)[:, 0] for batch, _ in data.batches(5, seed=4, epoch=2)]
    assert [len(part) for part in got] == [5, 5, 5, 5, 3]
    np.testing.assert_array_equal(np.concatenate(got), epoch_order(4, 2, 23).astype("float32"))


@pytest.mark.parametrize("first", [1, 2])
def test_going_on_is_the_same_as_going_through(backend, digits, first):
    x, _, y, _ = digits
    data = nn.Dataset(x[:100], y[:100], device=backend.device)
    through, in_two = (nn.Network([64, 8, 10], device=backend.device, seed=1) for _ in range(2))
    through.fit(data, epochs=3, batch_size=16, optimizer=nn.SGD(2.0))
    in_two.fit(data, epochs=first, batch_size=16, optimizer=nn.SGD(2.0))
    in_two.fit(data, epochs=3 - first, batch_size=16, optimizer=nn.SGD(2.0))
    for a, b in zip(through.weights, in_two.weights, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(a), nn.to_numpy(b))


def test_a_network_moves_between_devices_in_mid_training(backend, digits):
    x, _, y, _ = digits
    stays, moves = (nn.Network([64, 8, 10], device="numpy", seed=1) for _ in range(2))
    stays.SGD((x[:200], y[:200]), 4, 10, 3.0)
    moves.SGD((x[:200], y[:200]), 2, 10, 3.0)
    assert moves.to(backend.device) is moves
    moves.SGD((x[:200], y[:200]), 2, 10, 3.0)
    assert nn.Device.of(moves.weights[0]) == backend.device
    for a, b in zip(stays.weights, moves.weights, strict=True):
        np.testing.assert_allclose(a, nn.to_numpy(b), rtol=1e-4, atol=1e-5)
