"""The book's modules, name for name: its cells run as they stand, on every device."""

import gzip

import numpy as np
import oracle
import pytest

import nn_any as nn
from nn_any.book import mnist_loader, network
from nn_any.datasets import mnist

SIZES = [6, 4, 3]


def pairs(n=20, seed=0):
    x, y, labels, weights, biases = oracle.random_batch(n, SIZES, seed)
    columns = [row[:, None] for row in x]
    return (
        [(c, t[:, None]) for c, t in zip(columns, y, strict=True)],
        list(zip(columns, labels.tolist(), strict=True)),
        weights,
        biases,
    )


def test_the_cells_of_the_book(tmp_path, monkeypatch, capsys, backend):
    """Small files in MNIST's format; 784 pixels, as the cells say."""
    rng = np.random.default_rng(0)
    shapes = {"train": 60, "t10k": 20}
    for name in mnist.SHA256:
        n = shapes[name.split("-")[0]]
        array = (
            rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) if "images" in name else np.arange(n, dtype=np.uint8) % 10
        )
        header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(header + array.tobytes()))
    monkeypatch.setenv("NN_ANY_DATA", str(tmp_path))
    monkeypatch.setenv("NN_ANY_DEVICE", backend.spec)
    original = mnist.mnist_arrays
    monkeypatch.setattr(mnist_loader, "mnist_arrays", lambda folder: original(folder, verify=False))

    training_data, validation_data, test_data = mnist_loader.load_data_wrapper()
    net = network.Network([784, 30, 10])
    net.SGD(training_data, 3, 10, 0.1, test_data=test_data)

    assert net.net.device == backend.device
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"Epoch 2: {net.evaluate(test_data)} / 20"
    assert [line.split(":")[0] for line in lines] == ["Epoch 0", "Epoch 1", "Epoch 2"]
    assert [len(data) for data in (training_data, validation_data, test_data)] == [50, 10, 20]
    (x, y), (_, label) = training_data[0], test_data[3]
    assert (x.shape, y.shape, label) == ((784, 1), (10, 1), 3)
    assert (x.dtype, y.dtype, type(label)) == (np.float32, np.float64, int)
    assert 0 <= x.min() <= x.max() <= 1


def test_load_data_gives_arrays(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (12, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=np.arange(12) % 10, x_test=x, y_test=np.arange(12) % 10)
    training, validation, test = mnist_loader.load_data(tmp_path)
    assert [part[0].shape for part in (training, validation, test)] == [(10, 784), (2, 784), (12, 784)]
    np.testing.assert_allclose(test[0], x.reshape(12, 784) / 255, rtol=1e-6)
    np.testing.assert_array_equal(training[1], np.arange(10))
    np.testing.assert_array_equal(mnist_loader.vectorized_result(7).ravel(), np.eye(10)[7])


def test_names_and_shapes(backend):
    net = network.Network(SIZES, device=backend.device, seed=0)
    assert (net.num_layers, net.sizes) == (3, SIZES)
    assert [tuple(w.shape) for w in net.weights] == [(4, 6), (3, 4)]
    assert [tuple(b.shape) for b in net.biases] == [(4, 1), (3, 1)]
    (x, y), *_ = pairs()[0]
    assert tuple(net.feedforward(x).shape) == (3, 1)
    nabla_b, nabla_w = net.backprop(x, y)
    assert [tuple(g.shape) for g in nabla_b] == [(4, 1), (3, 1)]
    assert [tuple(g.shape) for g in nabla_w] == [(4, 6), (3, 4)]
    assert tuple(net.cost_derivative(net.feedforward(x), y).shape) == (3, 1)
    assert "Network([6, 4, 3]" in repr(net)


def test_values_are_the_books(float64):
    data, labelled, weights, biases = pairs()
    net = network.Network(SIZES, device=float64.device, dtype="float64", seed=0)
    net.weights, net.biases = weights, [b[:, None] for b in biases]
    x, y = data[3]
    expected = oracle.feedforward(weights, biases, x[:, 0])
    np.testing.assert_allclose(nn.to_numpy(net.feedforward(x))[:, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(
        nn.to_numpy(net.cost_derivative(expected[:, None], y))[:, 0], expected - y[:, 0], rtol=1e-12
    )
    expected_b, expected_w = oracle.backprop(weights, biases, x[:, 0], y[:, 0], "quadratic")
    nabla_b, nabla_w = net.backprop(x, y)
    for got, gradient in zip([*nabla_b, *nabla_w], [*[b[:, None] for b in expected_b], *expected_w], strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), gradient, rtol=1e-12, atol=1e-15)
    right = sum(int(np.argmax(oracle.feedforward(weights, biases, x[:, 0]))) == label for x, label in labelled)
    assert net.evaluate(labelled) == net.evaluate(data) == net.evaluate(iter(labelled)) == right
    batch = data[:7]
    xs, ys = (np.stack([pair[k][:, 0] for pair in batch]) for k in (0, 1))
    sum_b, sum_w = oracle.batch_gradients(weights, biases, xs, ys, "quadratic")
    net.update_mini_batch(batch, 3.0)
    for got, old, gradient in zip(net.weights, weights, sum_w, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), old - 3.0 * gradient, rtol=1e-12)
    for got, old, gradient in zip(net.biases, biases, sum_b, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got)[:, 0], old - 3.0 * gradient, rtol=1e-12)


def test_lists_zips_and_generators_are_the_same_run(backend, capsys):
    data, labelled, *_ = pairs()
    nets = [network.Network(SIZES, device=backend.device, seed=1) for _ in range(3)]
    nets[0].SGD(data, 3, 6, 1.0)
    nets[1].SGD(
        zip([x for x, _ in data], [y for _, y in data], strict=True),
        3,
        6,
        1.0,
        test_data=zip(*zip(*labelled, strict=True), strict=True),
    )
    nets[2].SGD((pair for pair in data), 3, 6, 1.0, test_data=data)
    for net in nets[1:]:
        np.testing.assert_array_equal(nn.to_numpy(net.weights[0]), nn.to_numpy(nets[0].weights[0]))
    out = capsys.readouterr().out
    assert "Epoch 2 complete\n" in out
    assert out.count(" / 20\n") == 6


def test_the_same_built_from_scikit_learn_pieces(backend, capsys):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import OneHotEncoder

    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16, y, random_state=0)
    encoder = OneHotEncoder(sparse_output=False).fit(y_train.reshape(-1, 1))
    targets = [row.reshape(10, 1) for row in encoder.transform(y_train.reshape(-1, 1))]
    training_data = zip([row.reshape(64, 1) for row in x_train], targets, strict=True)
    test_data = zip([row.reshape(64, 1) for row in x_test], y_test, strict=True)
    net = network.Network([64, 30, 10], device=backend.device, seed=0)
    history = net.SGD(training_data, 8, 10, 3.0, test_data=test_data)
    assert history["test_correct"][-1] > 360
    assert capsys.readouterr().out.splitlines()[-1] == f"Epoch 7: {history['test_correct'][-1]} / 450"


def test_sigmoid_and_its_slope(float64):
    z = np.linspace(-6, 6, 13)
    for values in (float64.asarray(z), z.tolist()):
        np.testing.assert_allclose(nn.to_numpy(network.sigmoid(values)), oracle.sigmoid(z), rtol=1e-12)
        slope = oracle.sigmoid(z) * (1 - oracle.sigmoid(z))
        np.testing.assert_allclose(nn.to_numpy(network.sigmoid_prime(values)), slope, rtol=1e-10)
    assert float(network.sigmoid(0)) == 0.5
    assert float(network.sigmoid_prime(0.0)) == 0.25
    assert network.sigmoid(np.float32([-1e4, 1e4])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("name", ["x", "y"])
def test_rows_are_refused_with_the_remedy(name):
    net = network.Network(SIZES, device="numpy", seed=0)
    (x, y), *_ = pairs()[0]
    arguments = {"x": x, "y": y}
    arguments[name] = arguments[name][:, 0]
    with pytest.raises(ValueError, match=rf"{name}: expected a column \(k, 1\), got shape .*; use .reshape\(-1, 1\)"):
        net.backprop(**arguments)
