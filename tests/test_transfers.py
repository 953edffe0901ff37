"""No array crosses between host and device within an epoch; data of any kind come in unharmed."""

import copy

import numpy as np
import pytest
from conftest import need

import nn_any as nn
from nn_any.core import functional, losses
from nn_any.core.batches import Preparation
from nn_any.core.optimizers import SGD
from nn_any.core.trees import tree_leaves, tree_map


def state_and_batch(device, n=10):
    net = nn.Network([64, 30, 10], device=device, seed=0)
    rng = np.random.default_rng(0)
    x = device.asarray(rng.integers(0, 17, (n, 64), dtype="uint8"))
    y = device.asarray(rng.integers(0, 10, n), device.integer_dtype)
    step = functional.train_step(net.layers, losses.get("quadratic"), SGD(1.0), Preparation("float32", 10, 16.0, True))
    return step, net.state, (x, y), device.asarray(0.5, "float32")


class Escape(AssertionError):
    """An array's values were read on the host."""


def guard(monkeypatch, array_class, names):
    def escape(self, *args, **kwargs):
        raise Escape(f"values of a {array_class.__name__} were read on the host")

    for name in names:
        monkeypatch.setattr(array_class, name, escape, raising=False)


READERS = [
    "__array__",
    "__dlpack__",
    "__buffer__",
    "__float__",
    "__int__",
    "__bool__",
    "__index__",
    "__complex__",
    "__iter__",
]


@pytest.mark.parametrize("device_name", ["device1", "device2"])
def test_an_epoch_on_a_strict_device_reads_nothing(monkeypatch, device_name):
    need("array_api_strict")
    device = nn.select_device(f"array_api_strict:{device_name}")
    step, state, batch, _ = state_and_batch(device, n=50)
    order = device.asarray(np.arange(50).reshape(5, 10), device.integer_dtype)
    rates = device.asarray(np.full(5, 0.5), "float32")
    guard(monkeypatch, type(order), READERS)
    after, values = device.engine.run(step, state, batch, order, rates, 0, 5)
    monkeypatch.undo()
    assert nn.to_numpy(values).shape == (5,)
    assert all(nn.Device.of(leaf) == device for leaf in tree_leaves(after))


def test_the_guard_itself_would_notice(monkeypatch):
    need("array_api_strict")
    array = nn.select_device("array_api_strict:device1").asarray([1.0])
    guard(monkeypatch, type(array), READERS)
    for read in (float, bool, np.from_dlpack, list):
        with pytest.raises(Escape):
            read(array)


def test_checks_read_a_few_values_a_run_and_none_an_epoch(monkeypatch):
    """An epoch reads its losses, and whether all that was learned is finite; a step reads whether x and y are."""
    need("torch")
    from nn_any.backends._torch import Backend

    device, reads = nn.select_device("torch:cpu"), []
    read = Backend.to_host
    monkeypatch.setattr(Backend, "to_host", lambda self, array: reads.append(array) or read(self, array))
    rows = np.random.default_rng(0).random((60, 4)), np.eye(3)[[0, 1, 2] * 20]
    x, y = (device.asarray(part, "float32") for part in rows)
    data = nn.Dataset(x, y, sample_weight=np.arange(60) % 3)

    def count(work, *args, **arguments):
        reads.clear()
        work(*args, **arguments)
        return len(reads)

    net = nn.Network([4, nn.Standardize(), nn.BatchNorm(), 5, 3], loss="cross_entropy", device=device, seed=0)
    one, two, three = (
        count(net.copy().fit, data, epochs=epochs, batch_size=10, optimizer=nn.SGD(0.1)) for epochs in (1, 2, 3)
    )
    assert three - two == two - one == 2
    assert one - 2 <= 6  # weights twice, the range, rows with several classes, whether it has measured, and what
    assert count(nn.train_step, net, net.state, (x, y), 0.1) == 2
    assert count(net.predict, x) == 1


def test_a_step_on_the_meta_device_reads_nothing():
    """PyTorch's meta tensors have shapes and no values, so whatever looks at one fails."""
    need("torch")
    import torch

    step, state, batch, rate = state_and_batch(nn.select_device("torch:cpu"))

    def to_meta(tree):
        return tree_map(lambda leaf: leaf.to("meta"), tree)

    after, loss = step(to_meta(state), to_meta(batch), rate.to("meta"))
    assert all(leaf.device == torch.device("meta") for leaf in tree_leaves(after))
    assert loss.shape == ()
    assert [tuple(leaf.shape) for leaf in tree_leaves(after.params)] == [(30, 64), (30,), (10, 30), (10,)]


@pytest.mark.slow
def test_a_step_under_jit_reads_nothing():
    """A traced value has no number either: float(), int(), bool() and iteration raise."""
    need("jax")
    import jax

    step, state, batch, rate = state_and_batch(nn.select_device("jax:cpu"))
    with jax.transfer_guard("disallow"):
        after, loss = jax.jit(step)(state, batch, rate)
    eager, eager_loss = step(state, batch, rate)
    assert float(loss) == pytest.approx(float(eager_loss), rel=1e-6)
    for a, b in zip(tree_leaves(after.params), tree_leaves(eager[0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_array_of_a_step_keeps_the_dtype(float64, dtype):
    device = float64.device
    net = nn.Network([6, 5, 3], device=device, dtype=dtype, seed=0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 6)).astype("float32"), rng.integers(0, 3, 12)
    net.SGD((x, y), 2, 5, 0.5)
    results = [*net.weights, *net.biases, net.feedforward(x), net.predict_proba(x), *net.backprop(x, y)[0]]
    results += [*net.backprop(x, y)[1], net.cost_derivative(net.feedforward(x), y)]
    assert {nn.to_numpy(array).dtype.name for array in results} == {dtype}
    assert all(nn.Device.of(array) == device for array in results)


def test_inputs_are_never_changed(backend):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 6)).astype("float32"), rng.integers(0, 3, 20)
    kept = copy.deepcopy((x, y))
    own_x, own_y = backend.asarray(x), backend.asarray(y)
    net = nn.Network([6, 5, 3], device=backend.device, seed=0)
    weights, biases, params = net.weights, net.biases, net.params
    before = [nn.to_numpy(array).copy() for array in [*weights, *biases, *tree_leaves(params)]]
    for data in ((x, y), (own_x, own_y)):
        net.SGD(data, 2, 4, 1.0)
        net.update_mini_batch(data, 1.0)
        net.backprop(*data)
        net.evaluate(data)
        net.predict(data[0])
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])
    np.testing.assert_array_equal(nn.to_numpy(own_x), kept[0])
    for array, old in zip([*weights, *biases, *tree_leaves(params)], before, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(array), old)


def test_what_weights_hands_out_is_nobody_elses():
    net = nn.Network([4, 3, 2], device="numpy", seed=0)
    given = [w + 1 for w in net.weights], [b + 1 for b in net.biases]
    net.set_weights(*given)
    outputs = net.feedforward(np.ones(4)).copy()
    for array in [*given[0], *given[1], *net.weights, *net.biases]:
        array[...] = 99.0
    np.testing.assert_array_equal(net.feedforward(np.ones(4)), outputs)
    assert all(array.flags.c_contiguous and array.flags.owndata for array in [*net.weights, *net.biases])


def _strided(x):
    wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    wide[::2, ::3] = x
    return wide[::2, ::3]


def _readonly(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        _strided,
        _readonly,
        lambda x: x[::-1][::-1],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.astype(">f4"),
    ],
    ids=["fortran", "strided", "readonly", "view", "negative-stride", "big-endian"],
)
def test_memory_layout_makes_no_difference(backend, change):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 6)).astype("float32"), rng.integers(0, 3, 20)
    nets = [nn.Network([6, 5, 3], device=backend.device, seed=0) for _ in range(2)]
    changed = change(x)
    np.testing.assert_array_equal(changed, x)
    nets[0].SGD((x, y), 2, 4, 1.0)
    nets[1].SGD((changed, y), 2, 4, 1.0)
    for a, b in zip(nets[0].weights, nets[1].weights, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(a), nn.to_numpy(b))
    np.testing.assert_array_equal(nn.to_numpy(nets[0].feedforward(x)), nn.to_numpy(nets[1].feedforward(changed)))
