"""The book's modules."""

import json

import numpy as np
import pytest

import nn_any as nn
from nn_any.book import mnist_loader, network, network2, network3
from nn_any.book.network3 import ConvPoolLayer, FullyConnectedLayer, SoftmaxLayer

from . import place

PAIRS = [(np.eye(2)[:, [i]], np.array([[i]])) for i in (0, 1)]


@place("book/network.py as_row: {}: expected a column (k, 1), got shape {}; use", "a: expected", "use .reshape(-1, 1)")
def test_a_row_in_place_of_a_column(refused):
    net, row = network.Network([2, 3, 1]), np.ones(2)
    with refused:
        net.feedforward(row)
    assert net.feedforward(row.reshape(-1, 1)).shape == (1, 1)


@place(
    "book/network2.py Network.__init__: cost: expected the class QuadraticCost or",
    "cost",
    "for a cost of your own use nn_any.Network(..., loss=...)",
)
def test_a_cost_by_its_name(refused):
    with refused:
        network2.Network([2, 1], cost="mean_squared_error")
    nn.Network([2, 1], loss="mean_squared_error")
    network2.Network([2, 1], cost=network2.QuadraticCost)


@place(
    "book/network2.py Network.SGD: evaluation_data: expected data to monitor or to",
    "evaluation_data",
    "pass evaluation_data=",
)
def test_monitors_without_data(refused):
    net = network2.Network([2, 1])
    with refused:
        net.SGD(PAIRS, 1, 1, 0.1, monitor_evaluation_cost=True)
    costs, *_ = net.SGD(PAIRS, 1, 1, 0.1, evaluation_data=PAIRS, monitor_evaluation_cost=True)
    assert len(costs) == 1


@pytest.fixture
def file(tmp_path):
    """A file of the book's, and what it holds."""
    network2.Network([2, 3, 1]).save(tmp_path / "net.json")
    return tmp_path / "net.json", json.loads((tmp_path / "net.json").read_text())


@place(
    "book/network2.py load: {}: expected JSON with sizes, weights, biases and",
    "net.json",
    "as network2.Network.save writes it",
)
def test_json_of_something_else(refused, file):
    path, _ = file
    path.write_text("[1, 2, 3]")
    with refused:
        network2.load(path)
    network2.Network([2, 3, 1]).save(path)
    network2.load(path)


@place(
    "book/network2.py load: {}: expected a cost that is one of {}, got {}", "net.json", "one of QuadraticCost, Cross"
)
def test_json_of_an_unknown_cost(refused, file):
    path, content = file
    path.write_text(json.dumps(content | {"cost": "HingeCost"}))
    with refused:
        network2.load(path)
    path.write_text(json.dumps(content | {"cost": "QuadraticCost"}))
    assert network2.load(path).cost is network2.QuadraticCost


@place(
    "book/network2.py load: {}: expected weights and biases that fit the sizes",
    "net.json",
    "use another copy",
)
def test_json_of_sizes_that_do_not_fit(refused, file):
    path, content = file
    path.write_text(json.dumps(content | {"sizes": [2, 4, 1]}))
    with refused:
        network2.load(path)
    path.write_text(json.dumps(content))
    network2.load(path)


@place("book/network2.py load: {}: expected finite weights and biases, got", "net.json", "use another copy")
def test_json_of_nan(refused, file):
    path, content = file
    path.write_text(json.dumps(content | {"biases": [[[np.nan]] * 3, [[0.0]]]}))
    with refused:
        network2.load(path)
    path.write_text(json.dumps(content))
    network2.load(path)


@place("book/mnist_loader.py vectorized_result: j: expected a digit within 0 … 9, got {}; use", "j: ", "use numpy.eye")
def test_a_digit_beyond_9(refused):
    with refused:
        mnist_loader.vectorized_result(10)
    assert np.eye(11)[:, [10]][10, 0] == 1
    for j in (9, np.uint8(9)):
        assert mnist_loader.vectorized_result(j).argmax() == 9
    for j in (-1, 2.0, "a"):  # -1 would be the last row
        with pytest.raises(nn.NnAnyError, match="j: expected an integer of at least 0"):
            mnist_loader.vectorized_result(j)


class Square(nn.activations.Activation):
    name = "remedy_book_square"

    def __call__(self, z, *, xp):
        return z * z

    def derivative(self, z, a, *, xp):
        return 2 * z


@place(
    "book/network3.py _activation: activation_fn: expected linear, ReLU, sigmoid,",
    "activation_fn",
    "for one of your own subclass nn_any.activations.Activation",
)
def test_a_function_for_an_activation(refused):
    with refused:
        FullyConnectedLayer(2, 3, activation_fn=np.square)
    net = network3.Network([FullyConnectedLayer(2, 3, activation_fn=Square()), SoftmaxLayer(3, 2)], 1)
    net.predict(np.eye(2))


@place("book/network3.py _sizes: {}: expected {}, got {}", "poolsize", "(height, width)")
def test_a_number_in_place_of_a_shape(refused):
    with refused:
        ConvPoolLayer((1, 1, 3, 3), (1, 1, 4, 4), poolsize=2)
    ConvPoolLayer((1, 1, 3, 3), (1, 1, 4, 4), poolsize=(2, 2))


@place(
    "book/network3.py ConvPoolLayer.__init__: activation_fn: expected an elementwise one, got",
    "activation_fn",
    "put a SoftmaxLayer at the end",
)
def test_softmax_of_images(refused):
    with refused:
        ConvPoolLayer((1, 1, 3, 3), (1, 1, 4, 4), activation_fn=network3.softmax)
    network3.Network([ConvPoolLayer((1, 1, 3, 3), (1, 1, 4, 4)), SoftmaxLayer(1, 2)], 1)


@place(
    "book/network3.py ConvPoolLayer.__init__: filter_shape: expected {} input channels, as in",
    "filter_shape",
    "expected 1 input channels",
)
def test_filters_of_other_channels(refused):
    with refused:
        ConvPoolLayer((1, 3, 3, 3), (1, 1, 4, 4))
    ConvPoolLayer((1, 1, 3, 3), (1, 1, 4, 4))


@place(
    "book/network3.py ConvPoolLayer.__init__: image_shape: expected images that a filter {} and",
    "image_shape",
    "images that a filter (1, 1, 3, 3) and then a pool (2, 2) fit into",
)
def test_images_smaller_than_filters(refused):
    with refused:
        ConvPoolLayer((1, 1, 3, 3), (1, 1, 3, 3))
    ConvPoolLayer((1, 1, 3, 3), (1, 1, 4, 4))


@place(
    "book/network3.py _stack: layers[{}]: expected a ConvPoolLayer or a",
    "layers[0]",
    "a FullyConnectedLayer of this module",
)
def test_a_layer_of_another_module(refused):
    with refused:
        network3.Network([nn.Dense(3), SoftmaxLayer(3, 2)], 1)
    network3.Network([FullyConnectedLayer(2, 3), SoftmaxLayer(3, 2)], 1)
    nn.Network([2, nn.Dense(3), nn.Dense(2, activation="softmax")], loss="log_likelihood")


@place("book/network3.py _stack: layers: expected a list that ends with a", "layers", "ends with a SoftmaxLayer")
def test_no_softmax_at_the_end(refused):
    with refused:
        network3.Network([FullyConnectedLayer(2, 3)], 1)
    with refused:
        network3.Network(SoftmaxLayer(3, 2), 1)
    network3.Network([FullyConnectedLayer(2, 3), SoftmaxLayer(3, 2)], 1)


@place("book/network3.py _stack: layers[{}]: expected inputs of shape {}, which", "layers[1]", "use n_in=1")
def test_layers_that_do_not_fit(refused):
    images = ConvPoolLayer((1, 1, 3, 3), (1, 1, 4, 4))
    with refused:
        network3.Network([images, SoftmaxLayer(9, 2)], 1)
    network3.Network([images, SoftmaxLayer(n_in=1, n_out=2)], 1)


def test_images_that_do_not_fit():
    """What the same place says of images behind images, and behind a flat layer."""
    first, last = ConvPoolLayer((2, 1, 3, 3), (1, 1, 10, 10)), SoftmaxLayer(2, 2)
    second = ConvPoolLayer((2, 1, 3, 3), (1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"shape \(2, 4, 4\), which .* put that shape into image_shape"):
        network3.Network([first, second, last], 1)
    network3.Network([first, ConvPoolLayer((2, 2, 3, 3), (1, 2, 4, 4)), last], 1)
    with pytest.raises(ValueError, match="put it first"):
        network3.Network([FullyConnectedLayer(4, 16), second, last], 1)
    network3.Network([second, FullyConnectedLayer(2, 16), SoftmaxLayer(16, 2)], 1)
