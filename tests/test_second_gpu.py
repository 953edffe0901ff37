"""A GPU that is not the current one, and whose memory the current one cannot reach: all work stays in its scope."""

import numpy as np
import pytest
from conftest import need

import nn_any as nn
from nn_any.book import network, network2, network3

pytestmark = pytest.mark.gpu
RNG = np.random.default_rng(0)
X, Y = RNG.random((24, 6)).astype("float32"), RNG.integers(0, 3, 24)
TARGETS = np.eye(3, dtype="float32")[Y]
PIXELS = RNG.integers(0, 256, (24, 6)).astype("uint8")


@pytest.fixture(autouse=True)
def _two_gpus():
    cupy = need("cupy")
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two GPUs")


DEVICES = "cupy:cuda:1", "numpy"


def same(work):
    """`work` gives the same on the second GPU as on the host; arrays stay on the GPU."""
    import cupy

    (there, places), (here, _) = (work(device) for device in DEVICES)
    assert cupy.cuda.Device().id == 0
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(nn.to_numpy(a), nn.to_numpy(b), rtol=2e-4, atol=2e-5)
    assert {str(nn.Device.of(array)) for array in places} <= {DEVICES[0]}


@pytest.mark.parametrize(
    "optimizer", [nn.SGD(0.5), nn.SGD(0.5, momentum=0.9, clip_norm=1.0), nn.Adam(), nn.LBFGS()], ids=repr
)
def test_a_network(optimizer, tmp_path):
    def work(device):
        first = nn.Standardize()
        layers = [6, first, 5, 3] if not optimizer.whole_batch else [6, 5, 3]
        net = nn.Network(layers, device=device, seed=0)
        data = nn.Dataset(X, TARGETS, sample_weight=np.arange(1.0, 25.0), device=device)
        history = net.fit(
            data,
            epochs=3,
            **({} if optimizer.whole_batch else {"batch_size": 7}),
            optimizer=optimizer,
            validation_data=(X, Y),
            metrics=("f1",),
            callbacks=[nn.EarlyStopping("validation_loss")],
            checkpoint=tmp_path / f"{device[:2]}.safetensors",
        )
        net.save(tmp_path / f"{device[:2]}net")
        again = nn.Network.load(tmp_path / f"{device[:2]}net", device=device)
        numbers = [history["loss"], history["validation_f1"], net.loss(data), net.accuracy(data), net.evaluate((X, Y))]
        nabla_b, nabla_w = net.backprop(X, Y)
        arrays = [net.feedforward(X), net.predict(X), net.predict_proba(X), *nabla_b, *nabla_w, *again.weights]
        return [*numbers, *arrays], arrays

    same(work)


def test_single_steps_and_moves():
    def work(device):
        net = nn.Network([6, 5, 3], device="numpy", seed=0).to(device)
        net.SGD((PIXELS / 255, Y), 2, 5, 0.5, test_data=(X, Y))
        net.update_mini_batch((X, Y), 0.1)
        net.set_weights(net.weights, net.biases)
        moved, wide = net.copy().to("numpy"), net.copy().astype("float64")
        arrays = [net.cost_derivative(net.feedforward(X), TARGETS), wide.feedforward(X), *net.biases]
        return [moved.feedforward(X), *arrays], arrays

    same(work)


def test_data():
    def work(device):
        data = nn.Dataset(PIXELS, TARGETS, scale=255, device=device)
        parts = data.split(0.5, 0.5, seed=1)
        batches = [x for x, _ in data.batches(5)]
        arrays = [*batches, parts[0].x, data.take([3, 1]).y, data.to("numpy").to(device).x]
        return arrays, arrays

    same(work)


def test_an_ensemble(tmp_path):
    def work(device):
        ensemble = nn.Ensemble([6, 5, 3], 3, learning_rates=[0.1, 0.3, 0.5], device=device, seed=0)
        ensemble.fit(
            (X, TARGETS), epochs=2, batch_size=7, optimizer=nn.SGD(0.3, momentum=0.5), validation_data=(X, TARGETS)
        )
        ensemble.save(tmp_path / device[:2])
        again = nn.Ensemble.load(tmp_path / device[:2], device=device)
        member = again[1]
        arrays = [ensemble.feedforward(X), again.predict(X), member.feedforward(X), *member.weights]
        return [ensemble.accuracy((X, TARGETS)), ensemble.loss((X, Y)), *arrays], arrays

    same(work)


def test_the_book(capsys):
    pairs = [(x[:, None], y[:, None]) for x, y in zip(X, TARGETS, strict=True)]
    images = RNG.random((20, 1, 9, 9)).astype("float32"), RNG.integers(0, 3, 20)

    def work(device):
        one = network.Network([6, 5, 3], device=device, seed=0)
        one.SGD(pairs, 1, 5, 0.5, test_data=pairs)
        two = network2.Network([6, 5, 3], device=device, seed=0)
        two.SGD(pairs, 1, 5, 0.5, lmbda=0.1, evaluation_data=pairs, monitor_training_cost=True)
        layers = [
            network3.ConvPoolLayer((3, 1, 3, 3), (5, 1, 9, 9)),
            network3.FullyConnectedLayer(27, 6),
            network3.SoftmaxLayer(6, 3),
        ]
        three = network3.Network(layers, 5, device=device, seed=0)
        three.SGD(images, 1, 5, 0.1, images)
        z = nn.to_device(X[0][:, None], device)
        a = nn.to_device(TARGETS[0][:, None], device)
        arrays = [
            *(one.feedforward(pairs[0][0]), network.sigmoid(z), network.sigmoid_prime(z), network3.ReLU(z)),
            *(network2.CrossEntropyCost.delta(None, network.sigmoid(a), a), network2.QuadraticCost.delta(a, a, a)),
            *two.weights,
        ]
        return [network2.QuadraticCost.fn(a, z[:3]), *arrays], arrays

    same(work)
