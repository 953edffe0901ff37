"""The book's ``network3`` against the same network in PyTorch, channels first as the book has it, on every backend."""

import math

import numpy as np
import oracle
import pytest
from conftest import need

import nn_any as nn
from nn_any.book import network3
from nn_any.book.network3 import ConvPoolLayer, FullyConnectedLayer, ReLU, SoftmaxLayer, linear, sigmoid, softmax, tanh
from nn_any.core import random

FUNCTIONS = {"linear": linear, "relu": ReLU, "sigmoid": sigmoid, "tanh": tanh, "softmax": softmax}


def data(n, shape=(1, 9, 9), classes=3, seed=0):
    """Images, channels first, with a bright bar at the height that is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    bars = np.arange(shape[1]) // 3 == labels[:, None]
    return rng.uniform(0, 1, (n, *shape)) + bars[:, None, :, None], labels


def tiny(device, dtype="float32", channels=1, dropout=(0.0, 0.0), seed=3, functions=(tanh, ReLU)):
    layers = [
        ConvPoolLayer((3, channels, 3, 3), (5, channels, 9, 9), activation_fn=functions[0]),
        ConvPoolLayer((4, 3, 2, 2), (5, 3, 3, 3), poolsize=(1, 2), activation_fn=functions[1]),
        FullyConnectedLayer(n_in=4 * 2 * 1, n_out=6, p_dropout=dropout[0]),
        SoftmaxLayer(n_in=6, n_out=3, p_dropout=dropout[1]),
    ]
    return network3.Network(layers, 5, device=device, dtype=dtype, seed=seed)


def draw_all(net):
    """Other weights than the softmax layer's zeros, the same on each backend."""
    rng = np.random.default_rng(1)
    arrays = [rng.normal(0, 0.5, tuple(array.shape)) for array in net.params]
    net.net.set_weights(arrays[0::2], arrays[1::2])
    return arrays


def torch_network(torch, arrays, channels_first, masks):
    """The book's layers one by one; our kernels and rows have their channels last, so they are turned round here."""
    one, b1, two, b2, w3, b3, w4, b4 = arrays
    functional, n = torch.nn.functional, len(channels_first)
    x = torch.tanh(functional.max_pool2d(functional.conv2d(channels_first, one.permute(0, 3, 1, 2), b1), (2, 2)))
    x = torch.relu(functional.max_pool2d(functional.conv2d(x, two.permute(0, 3, 1, 2), b2), (1, 2)))
    w3 = w3.reshape(6, 2, 1, 4).permute(0, 3, 1, 2).reshape(6, 8)
    first, second = (1.0, 1.0) if masks is None else masks
    if masks is not None:
        first = first.reshape(n, 2, 1, 4).permute(0, 3, 1, 2).reshape(n, 8)
    x = torch.sigmoid(functional.linear(x.reshape(n, 8) * first, w3, b3))
    return functional.linear(x * second, w4, b4)


@pytest.mark.parametrize("dropout", [(0.0, 0.0), (0.25, 0.5)], ids=str)
@pytest.mark.parametrize("channels", [1, 2])
def test_the_same_network_in_pytorch(float64, channels, dropout, capsys):
    """Outputs, and two epochs with weight decay on all but the biases, the last batch of each a short one."""
    need("torch")
    import torch

    eta, lmbda, n = 0.3, 2.0, 12
    x, y = data(n, (channels, 9, 9))
    net = tiny(float64.device, "float64", channels, dropout)
    arrays = [torch.tensor(array, requires_grad=True) for array in draw_all(net)]
    images, labels = torch.tensor(x), torch.tensor(y)
    last = np.transpose(x, (0, 2, 3, 1))
    with torch.no_grad():
        expected = torch.softmax(torch_network(torch, arrays, images, None), dim=1).numpy()
    np.testing.assert_allclose(nn.to_numpy(net.net.feedforward(last)), expected, rtol=1e-10)
    for form in (x, x.reshape(n, -1), last):
        np.testing.assert_array_equal(nn.to_numpy(net.predict(form)), expected.argmax(axis=1))

    history = net.SGD((x, y), 2, 5, eta, (x, y), lmbda=lmbda)
    places = [i for i, layer in enumerate(net.net.layers) if isinstance(layer, nn.layers.Dropout)]
    key, step, losses = int(random.draw_key(3)[0]), 0, []
    for epoch in range(2):
        order, total = random.epoch_order(3, epoch, n), 0.0
        for start in range(0, n, 5):
            rows = order[start : start + 5]
            masks = None
            if places:
                shapes = [(len(rows), 8), (len(rows), 6)]
                drawn = [
                    oracle.dropout_mask(key, place, step, shape, rate)
                    for place, shape, rate in zip(places, shapes, dropout, strict=True)
                ]
                assert not np.array_equal(drawn[0][:, :6] == 0, drawn[1] == 0)
                masks = [torch.tensor(mask) for mask in drawn]
            loss = torch.nn.functional.cross_entropy(torch_network(torch, arrays, images[rows], masks), labels[rows])
            decay = 0.5 * lmbda / n * sum((w**2).sum() for w in arrays[0::2])
            gradients = torch.autograd.grad(loss + decay, arrays)
            with torch.no_grad():
                for array, gradient in zip(arrays, gradients, strict=True):
                    array -= eta * gradient
            step, total = step + 1, total + float(loss.detach()) * len(rows)
        losses.append(total / n)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-9)
    for got, array in zip(net.params, arrays, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), array.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_the_first_weights():
    layers = [
        ConvPoolLayer((40, 20, 5, 5), (10, 20, 12, 12)),
        FullyConnectedLayer(40 * 4 * 4, 100),
        SoftmaxLayer(100, 10),
    ]
    nets = [network3.Network(layers, 10, device="numpy", seed=seed) for seed in (0, 0, 1)]
    kernels, b1, weights, b2, last, b3 = nets[0].params
    assert kernels.shape == (40, 5, 5, 20)
    assert np.std(kernels) == pytest.approx(math.sqrt(1 / (40 * 25 / 4)), rel=0.02)
    assert np.std(weights) == pytest.approx(math.sqrt(1 / 100), rel=0.02)
    assert np.std(np.concatenate([b1, b2])) == pytest.approx(1, rel=0.15)
    assert not np.any(last)
    assert not np.any(b3)
    for a, b, c in zip(*(net.params[:4] for net in nets), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert [array.dtype for array in nets[0].params] == [np.float32] * 6


def test_the_layers_underneath():
    net = tiny("numpy", dropout=(0.25, 0.5)).net
    kinds = [type(layer).__name__ for layer in net.layers]
    conv = ["Conv2D", "MaxPool2D", "Activation"]
    assert kinds == [*conv, *conv, "Flatten", "Dropout", "Dense", "Dropout", "Dense"]
    assert net.layers[0].activation.name == "linear"
    assert "loss log_likelihood" in repr(net)


def test_training_its_lines_and_its_history(backend, capsys):
    """A run that learns; the lines say what the history has."""
    training, validation, test = data(60), data(30, seed=1), data(20, seed=2)
    layers = [ConvPoolLayer((6, 1, 3, 3), (7, 1, 9, 9)), FullyConnectedLayer(54, 20, tanh), SoftmaxLayer(20, 3)]
    net = network3.Network(layers, 7, device=backend.device, seed=0)
    history = net.SGD(training, 4, 7, 0.3, validation, test, lmbda=0.1)
    assert net.net.device == backend.device
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["validation_accuracy"][-1] > 0.9
    best, lines = -1.0, []
    for epoch, (accuracy, shown) in enumerate(
        zip(history["validation_accuracy"], history["test_accuracy"], strict=True)
    ):
        lines.append(f"Epoch {epoch}: validation accuracy {accuracy:.2%}")
        if accuracy >= best:
            best, at, then = accuracy, epoch, shown
            lines += [
                "This is the best validation accuracy to date.",
                f"The corresponding test accuracy is {shown:.2%}",
            ]
    lines += [
        "Finished training network.",
        f"Best validation accuracy of {best:.2%} obtained at iteration {9 * (at + 1) - 1}, epoch {at}",
        f"Corresponding test accuracy of {then:.2%}",
    ]
    assert capsys.readouterr().out.splitlines() == lines
    assert network3.best_epoch(history) == at
    x, y = test
    assert history["test_accuracy"][-1] == np.mean(nn.to_numpy(net.predict(x)) == y)


def test_without_test_data_and_without_epochs(capsys):
    net = tiny("numpy")
    history = net.SGD(data(20), 2, 5, 1e-9, data(10))
    assert "test_accuracy" not in history.records[0]
    assert network3.best_epoch(history) == 1  # equal ones: the last
    out = capsys.readouterr().out
    assert "test accuracy" not in out
    assert out.endswith("obtained at iteration 7, epoch 1\n")
    assert len(net.SGD(data(20), 0, 5, 0.1, data(10))) == 0
    assert capsys.readouterr().out == "Finished training network.\n"


@pytest.mark.parametrize("channels", [1, 2])
def test_data_in_any_form_are_the_same_run(backend, channels, capsys):
    x, y = data(20, (channels, 9, 9))
    x = (x * 100).astype(np.uint8)
    last = np.transpose(x, (0, 2, 3, 1)).copy()
    forms = [
        (x / np.float32(255), y),
        nn.Dataset(x, y, scale=255, device=backend.device),
        nn.Dataset(last, y, scale=255, device=backend.device),
        zip((x / np.float32(255)).reshape(20, -1, 1), y.tolist(), strict=True),
    ]
    runs = []
    for form in forms:
        net = tiny(backend.device, channels=channels)
        history = net.SGD(form, 2, 6, 0.3, (x / np.float32(255), y))
        runs.append((history["loss"], nn.to_numpy(net.params[0])))
    for losses, kernels in runs[1:]:
        np.testing.assert_allclose(losses, runs[0][0], rtol=1e-5)
        np.testing.assert_allclose(kernels, runs[0][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activation_functions(float64, name):
    z = np.linspace(-3, 3, 12).reshape(3, 4)
    rows = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = {"linear": z, "relu": np.maximum(z, 0), "sigmoid": oracle.sigmoid(z), "tanh": np.tanh(z)} | {
        "softmax": rows
    }
    for values in (float64.asarray(z), z, z.tolist()):
        np.testing.assert_allclose(nn.to_numpy(FUNCTIONS[name](values)), expected[name], rtol=1e-12)
    for choice in (FUNCTIONS[name], name, nn.activations.get(name)):
        assert FullyConnectedLayer(2, 2, choice).activation_fn is nn.activations.get(name)


def test_load_data_shared(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (12, 28, 28), dtype=np.uint8), np.arange(12) % 10
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    monkeypatch.setenv("NN_ANY_DATA", str(tmp_path))
    for parts in (network3.load_data_shared(tmp_path, "numpy"), network3.load_data_shared(device="numpy")):
        assert [(len(part), part.scale, str(part.device)) for part in parts] == [
            (n, 255, "numpy:cpu") for n in (10, 2, 12)
        ]


FITTING = [ConvPoolLayer((3, 1, 3, 3), (5, 1, 9, 9)), FullyConnectedLayer(27, 6), SoftmaxLayer(6, 3)]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], r"layers: expected a list that ends with a SoftmaxLayer, got \[\]"),
        (FITTING[:2], "layers: expected a list that ends with a SoftmaxLayer"),
        (
            [FITTING[0], FullyConnectedLayer(28, 6), FITTING[2]],
            r"layers\[1\]: expected inputs of shape \(3, 3, 3\), which layers\[0\] gives, got a FullyConnectedLayer "
            r"for \(28,\); use n_in=27",
        ),
        (
            [*FITTING[:2], SoftmaxLayer(7, 3)],
            r"layers\[2\]: expected inputs of shape \(6,\).*SoftmaxLayer for \(7,\); use n_in=6",
        ),
        (
            [FITTING[0], ConvPoolLayer((2, 4, 2, 2), (5, 4, 3, 3)), SoftmaxLayer(2, 3)],
            r"layers\[1\]: expected inputs of shape \(3, 3, 3\), .* for \(4, 3, 3\); put that shape into image_shape",
        ),
        ([FITTING[1], FITTING[0], SoftmaxLayer(27, 3)], r"layers\[1\]: expected inputs of shape \(6,\).*put it first"),
    ],
)
def test_layers_that_do_not_fit(layers, message):
    with pytest.raises(ValueError, match=message):
        network3.Network(layers, 5, device="numpy")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ConvPoolLayer((3, 3, 3), (5, 1, 9, 9)), ValueError, r"filter_shape: expected \(filters, input chan"),
        (lambda: ConvPoolLayer((3, 1, 3, 0), (5, 1, 9, 9)), ValueError, "filter_shape, entry 3: expected a positive"),
        (lambda: ConvPoolLayer((3, 1, 3, 3), 9), ValueError, r"image_shape: expected \(mini_batch_size, input chan"),
        (lambda: ConvPoolLayer((3, 2, 3, 3), (5, 1, 9, 9)), ValueError, "filter_shape: expected 1 input channels"),
        (lambda: ConvPoolLayer((3, 1, 3, 3), (5, 1, 3, 3)), ValueError, "image_shape: expected images that a filter"),
        (lambda: ConvPoolLayer((3, 1, 3, 3), (5, 1, 9, 9), 2), ValueError, r"poolsize: expected \(height, width\)"),
        (lambda: ConvPoolLayer((3, 1, 3, 3), (5, 1, 9, 9), (2, 2), softmax), ValueError, "elementwise one, got softm"),
        (lambda: FullyConnectedLayer(3, 2, np.tanh), TypeError, "activation_fn: expected linear, ReLU, .*ufunc 'tanh'"),
        (lambda: FullyConnectedLayer(0, 2), ValueError, "n_in: expected a positive integer, got 0"),
        (lambda: SoftmaxLayer(3, 2, p_dropout=1.0), ValueError, "p_dropout: expected a finite number .*below 1, got 1"),
        (lambda: network3.Network(FITTING, 0), ValueError, "mini_batch_size: expected a positive integer, got 0"),
        (lambda: tiny("numpy").SGD(data(9), 1, 5, 0.1, data(9), lmbda=-1), ValueError, "lmbda: expected a finite num"),
        (lambda: tiny("numpy").predict(np.zeros((2, 5))), ValueError, r"x: expected \(n, 9, 9, 1\)"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
