"""Network: what its methods give back, on every backend."""

import copy
import pickle
from functools import partial

import numpy as np
import oracle
import pytest

import nn_any as nn
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3


@pytest.fixture
def net(backend):
    return nn.Network([4, 5, 3], device=backend.device, seed=0)


def numbers(net):
    return [nn.to_numpy(leaf).copy() for leaf in tree_leaves(net.params)]


def test_shapes_follow_the_contract(net, backend):
    assert [tuple(w.shape) for w in net.weights] == [(5, 4), (3, 5)]
    assert [tuple(b.shape) for b in net.biases] == [(5,), (3,)]
    assert isinstance(net.params, tuple)
    assert len(net.params) == 2
    assert tuple(net.feedforward(X).shape) == (12, 3)
    assert tuple(net.feedforward(X[0]).shape) == (3,)
    assert tuple(net.feedforward(X[:1]).shape) == (1, 3)
    assert tuple(net.predict(X).shape) == (12,)
    assert tuple(net.predict(X[0]).shape) == ()
    nabla_b, nabla_w = net.backprop(backend.asarray(X), backend.asarray(Y))
    assert [tuple(g.shape) for g in nabla_w] == [(5, 4), (3, 5)]
    assert [tuple(g.shape) for g in nabla_b] == [(5,), (3,)]
    gradients = net.gradients(X, Y)
    assert [[tuple(g.shape) for g in layer] for layer in gradients] == [[(5, 4), (5,)], [(3, 5), (3,)]]


def test_feedforward_takes_lists_numpy_and_own_arrays(net, backend):
    expected = nn.to_numpy(net.feedforward(X))
    for inputs in (X.tolist(), X.astype("float64"), backend.asarray(X)):
        np.testing.assert_allclose(nn.to_numpy(net.feedforward(inputs)), expected, rtol=1e-6)
    np.testing.assert_allclose(nn.to_numpy(net.feedforward(X[3])), expected[3], rtol=1e-5)
    for labels in (Y, Y.tolist(), backend.asarray(Y), Y.astype("uint8"), np.eye(3, dtype=int)[Y]):
        np.testing.assert_allclose(nn.to_numpy(net.backprop(X, labels)[0][0]), nn.to_numpy(net.backprop(X, Y)[0][0]))
    integers = RNG.integers(0, 3, (5, 4))
    np.testing.assert_allclose(
        nn.to_numpy(net.feedforward(integers)), nn.to_numpy(net.feedforward(integers.astype("float32"))), rtol=1e-6
    )


def test_a_single_example_takes_a_label_or_a_row_of_targets(net):
    expected = [nn.to_numpy(g) for g in net.backprop(X[:1], Y[:1])[1]]
    for y in (Y[0], int(Y[0]), [int(Y[0])], np.eye(3)[Y[0]], np.eye(3, dtype=int)[Y[0]].tolist()):
        for got, gradient in zip(net.backprop(X[0], y)[1], expected, strict=True):
            np.testing.assert_allclose(nn.to_numpy(got), gradient, rtol=1e-6)


def test_booleans_are_labels(backend):
    net = nn.Network([4, 1], device=backend.device, seed=0)
    got, expected = (net.backprop(X, y)[1][0] for y in (X[:, 0] > 0, (X[:, 0] > 0).astype(int)))
    np.testing.assert_array_equal(nn.to_numpy(got), nn.to_numpy(expected))


def test_answers_agree_with_the_outputs(net):
    outputs = nn.to_numpy(net.feedforward(X))
    np.testing.assert_array_equal(nn.to_numpy(net.predict(X)), outputs.argmax(axis=1))
    np.testing.assert_array_equal(nn.to_numpy(net.predict_proba(X)), outputs)
    right = int(np.sum(outputs.argmax(axis=1) == Y))
    assert net.evaluate((X, Y)) == right
    assert type(net.evaluate((X, Y))) is int
    assert net.accuracy((X, np.eye(3)[Y])) == pytest.approx(right / 12)
    assert type(net.loss((X, Y))) is float


def test_one_output_is_a_threshold(backend):
    net = nn.Network([4, 1], device=backend.device, seed=0)
    outputs = nn.to_numpy(net.feedforward(X))[:, 0]
    labels = (X[:, 0] > 0).astype(int)
    np.testing.assert_array_equal(nn.to_numpy(net.predict(X)), outputs > 0.5)
    right = int(np.sum((outputs > 0.5) == labels))
    for y in (labels, labels[:, None], labels.astype(bool), labels.astype("float32")):
        assert net.evaluate((X, y)) == right
    expected = np.mean(0.5 * (outputs - labels) ** 2)
    assert net.loss((X, labels)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="y: expected labels within 0 … 1, got labels from 0 to 2"):
        net.evaluate((X, Y))


def test_regression_fits_a_plane(backend):
    net = nn.Network([4, nn.Dense(2, activation="linear")], initializer="scaled_normal", device=backend.device, seed=0)
    slopes = np.array([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 1.0, -1.0]])
    y = X @ slopes.T + np.array([0.5, -0.5])
    history = net.fit((X, y), epochs=400, batch_size=6, optimizer=nn.SGD(0.1), validation_data=(X, y))
    assert history["loss"][-1] < 1e-4 < history["loss"][0]
    assert "validation_accuracy" not in history.records[0]
    np.testing.assert_allclose(nn.to_numpy(net.weights[0]), slopes, atol=0.05)
    np.testing.assert_allclose(nn.to_numpy(net.predict(X)), y, atol=0.1)


def test_regression_with_one_output_takes_plain_numbers(backend):
    net = nn.Network([4, nn.Dense(1, activation="linear")], device=backend.device, seed=0)
    for y in (X[:, 0], X[:, :1], np.arange(12)):
        assert net.loss((X, y)) > 0
        net.update_mini_batch((X, y), 0.01)


def test_evaluation_in_chunks_is_the_same(net, monkeypatch):
    from nn_any import evaluation

    whole = net.loss((X, Y)), net.evaluate((X, Y)), nn.to_numpy(net.feedforward(X))
    monkeypatch.setattr(evaluation, "CHUNK_ELEMENTS", 60)  # 5 rows at a time
    assert [len(range(*chunk.indices(12))) for chunk in evaluation.chunks(net.specification.footprint, 12)] == [5, 5, 2]
    assert net.loss((X, Y)) == pytest.approx(whole[0], rel=1e-6)
    assert net.evaluate((X, Y)) == whole[1]
    np.testing.assert_allclose(nn.to_numpy(net.feedforward(X)), whole[2], rtol=1e-6)


@pytest.mark.parametrize("loss", ["quadratic", "cross_entropy"])
def test_cost_derivative(float64, loss):
    net = nn.Network([4, 3], loss=loss, device=float64.device, dtype="float64", seed=0)
    a, y = RNG.uniform(0.1, 0.9, (6, 3)), np.eye(3)[Y[:6]]
    expected = a - y if loss == "quadratic" else (a - y) / (a * (1 - a))
    for targets in (y, Y[:6]):
        np.testing.assert_allclose(nn.to_numpy(net.cost_derivative(a, targets)), expected, rtol=1e-12)
    for targets in (y[0], Y[0]):
        np.testing.assert_allclose(nn.to_numpy(net.cost_derivative(a[0], targets)), expected[0], rtol=1e-12)
    with pytest.raises(ValueError, match=r"output_activations: expected \(n, 3\), got shape \(6, 2\)"):
        net.cost_derivative(a[:, :2], y)


def test_set_weights_weights_and_biases_round_trip(net, backend):
    weights, biases = [RNG.normal(size=w.shape) for w in net.weights], [RNG.normal(size=b.shape) for b in net.biases]
    for given in ((weights, biases), ([backend.asarray(w) for w in weights], [b.tolist() for b in biases])):
        net.set_weights(*given)
        for got, expected in zip([*net.weights, *net.biases], [*weights, *biases], strict=True):
            np.testing.assert_allclose(nn.to_numpy(got), expected, rtol=1e-6)
            assert nn.Device.of(got) == backend.device
    np.testing.assert_allclose(nn.to_numpy(net.feedforward(X[0])), oracle.feedforward(weights, biases, X[0]), rtol=1e-4)


def test_copy_is_independent_and_goes_on_alike(net):
    net.SGD((X, Y), 1, 4, 0.5)
    twin = net.copy()
    kept = numbers(twin)
    net.SGD((X, Y), 2, 4, 0.5)
    assert any((old != new).any() for old, new in zip(kept, numbers(net), strict=True))
    for old, new in zip(kept, numbers(twin), strict=True):
        np.testing.assert_array_equal(old, new)
    twin.SGD((X, Y), 2, 4, 0.5)
    for a, b in zip(numbers(net), numbers(twin), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (twin.epoch, twin.steps) == (net.epoch, net.steps) == (3, 9)


def test_astype_copies_to_another_dtype(float64):
    net = nn.Network([4, 5, 3], device=float64.device, seed=0)
    wide = net.astype("float64")
    assert {leaf.dtype.name for leaf in numbers(wide)} == {"float64"}
    assert {leaf.dtype.name for leaf in numbers(net)} == {"float32"}
    np.testing.assert_allclose(nn.to_numpy(wide.feedforward(X)), nn.to_numpy(net.feedforward(X)), rtol=1e-5)
    wide.SGD((X, Y), 1, 4, 0.5)
    assert {leaf.dtype.name for leaf in numbers(wide)} == {"float64"}


def test_a_seed_is_drawn_and_told():
    nets = [nn.Network([4, 3], device="numpy") for _ in range(2)]
    assert nets[0].seed != nets[1].seed
    again = nn.Network([4, 3], device="numpy", seed=nets[0].seed)
    np.testing.assert_array_equal(again.weights[0], nets[0].weights[0])


def test_repr_and_summary(backend):
    net = nn.Network([(2, 2), Flat(), 3], device=backend.device, seed=0)
    assert repr(net) == (
        f"Network(2 × 2-4-3, loss quadratic, 15 parameters, float32 on {backend.device}, 0 epochs trained)"
    )
    assert net.summary().splitlines() == [
        "layer    activation  output  parameters",
        "input                2 × 2",
        "0 Flat   linear      4                0",
        "1 Dense  sigmoid     3               15",
        "total                                15",
    ]


class Flat(nn.layers.Layer):
    """A layer from outside: without parameters, for the shape alone."""

    def __eq__(self, other):
        return isinstance(other, Flat)

    def __hash__(self):
        return hash(Flat)

    def output_shape(self, input_shape):
        return (int(np.prod(input_shape)),)

    def forward(self, params, state, x, context):
        return context.xp.reshape(x, (x.shape[0], -1)), state, x.shape

    def backward(self, params, saved, delta, context):
        return context.xp.reshape(delta, saved)


def test_images_run_through_a_layer_that_flattens_them(backend):
    flat, image = (
        nn.Network([shape, *start, 3], device=backend.device, seed=0) for shape, start in ((4, []), ((2, 2), [Flat()]))
    )
    image.set_weights(flat.weights, flat.biases)
    flat.update_mini_batch((X, Y), 0.5)
    image.update_mini_batch((X.reshape(12, 2, 2), Y), 0.5)
    np.testing.assert_array_equal(nn.to_numpy(flat.weights[0]), nn.to_numpy(image.weights[0]))
    assert len(image.weights) == 1
    assert image.params[0] == ()


def test_an_unhashable_layer_is_refused():
    class Mutable(nn.layers.Layer):
        __hash__ = None

    with pytest.raises(TypeError, match="layers, entry 1: expected a hashable layer .*make it a frozen dataclass"):
        nn.Network([4, Mutable(), 3], device="cpu")


class Faulty(nn.layers.Layer):
    """A layer from outside, with a fault of its own."""

    def output_shape(self, input_shape):
        return input_shape + 1


def test_a_fault_of_a_layer_is_not_taken_for_one_of_its_hash():
    with pytest.raises(TypeError, match="concatenate") as caught:
        nn.Network([4, Faulty(), 3], device="numpy")
    assert caught.traceback[-1].name == "output_shape"


@pytest.mark.parametrize("again", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_made_outside_are_the_same_network(again, tmp_path):
    """Activations, losses and initialisers are equal by value, so that fused losses and files know them again."""
    softmax = [4, nn.Dense(3, activation=nn.activations.Softmax())]
    for stack, loss in ((softmax, "log_likelihood"), ([4, nn.Dense(2, activation="linear")], "quadratic")):
        net = nn.Network(stack, loss=loss, device="numpy", seed=0)
        net.set_weights([1e3 * w for w in net.weights], net.biases)
        other = again(net)
        assert other.is_regression == net.is_regression == (loss == "quadratic")
        data = (X[:, :4], Y % net.outputs) if loss != "quadratic" else (X[:, :4], X[:, :2])
        assert np.isfinite(net.loss(data))
        assert other.loss(data) == net.loss(data)
        other.save(tmp_path / "model")
        assert nn.Network.load(tmp_path / "model", device="numpy").layers == net.layers


IMAGE = (2, 2, 1)
ENDS = {
    "dropout": ([4, nn.Dense(3, activation="sigmoid"), nn.Dropout(0.5)], False),
    "two dropouts": ([4, nn.Dense(3, activation="softmax"), nn.Dropout(0.5), nn.Dropout(0.5)], False),
    "flat images": ([IMAGE, nn.Conv2D(3, 2, activation="sigmoid"), nn.Flatten()], False),
    "pools": (
        [IMAGE, nn.Conv2D(3, 1, activation="sigmoid"), nn.MaxPool2D(1), nn.AveragePool2D(2), nn.Flatten()],
        False,
    ),
    "linear": ([4, nn.Dense(3, activation="linear"), nn.Dropout(0.5)], True),
    "an activation of its own": ([4, nn.Dense(3), nn.Activation("linear"), nn.Dropout(0.5)], True),
    "a normalization": ([4, nn.Dense(3), nn.LayerNorm(), nn.Dropout(0.5)], True),
    "numbers in their units": ([4, nn.Dense(3), nn.Dropout(0.5), nn.Standardize(invert=True)], True),
    "pixels": ([IMAGE, nn.Flatten()], True),
}


@pytest.mark.parametrize(("layers", "numbers"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("kind", [nn.Network, partial(nn.Ensemble, n=2)], ids=["network", "ensemble"])
def test_layers_that_keep_the_range_do_not_turn_classes_into_numbers(kind, layers, numbers):
    net = kind(layers, device="numpy", seed=0)
    assert net.is_regression == numbers
    assert net.specification.gives_probabilities != numbers
    x, labels = X[:, :4].reshape(-1, *net.input_shape), Y % net.outputs
    if numbers:
        with pytest.raises(TypeError, match="expected a classifier"):
            net.accuracy((x, np.eye(net.outputs)[labels]))
        return
    outputs = np.asarray(net.predict_proba(x))
    assert outputs.min() >= 0
    assert outputs.max() <= 1
    history = net.fit((x, labels), epochs=1, batch_size=5, optimizer=nn.SGD(0.1), validation_data=(x, labels))
    assert "validation_accuracy" in history.columns
    assert net.accuracy((x, labels)) == np.mean(np.asarray(net.predict(x)) == labels)


@pytest.mark.parametrize("last", [nn.Dropout(0.5), nn.Dropout(0.0)], ids=repr)
def test_a_bare_number_before_a_dropout_gets_what_suits_the_loss(last):
    assert nn.Network([4, 5, 1, last], loss="mean_squared_error").layers[1].activation.name == "linear"
    assert nn.Network([4, 5, 1, last]).layers[1].activation.name == "sigmoid"


def test_dropout_at_the_end_of_a_softmax():
    """In training it leaves the range that the loss needs; a single softmax output is 1 whatever follows it."""
    with pytest.raises(ValueError, match=r"use nn_any.Dense\(3, activation='softmax'\) as the last layer"):
        nn.Network([4, nn.Dense(3, activation="softmax"), nn.Dropout(0.5)], loss="log_likelihood")
    with pytest.raises(ValueError, match="two or more outputs for 'softmax'"):
        nn.Network([4, nn.Dense(1, activation="softmax"), nn.Dropout(0.5)])


def test_a_copy_has_a_schedule_of_its_own():
    """What a copy goes through does not let the original's learning rate fall."""
    optimizer = nn.SGD(nn.schedules.StepDecay(0.1, every=1))
    net = nn.Network([4, 3], device="numpy", seed=0)
    net.fit((X[:, :4], Y % 3), epochs=1, batch_size=4, optimizer=optimizer)
    net.copy().fit((X[:, :4], Y % 3), epochs=3, batch_size=4, optimizer=optimizer)
    history = net.fit((X[:, :4], Y % 3), epochs=1, batch_size=4, optimizer=optimizer)
    assert history["learning_rate"] == [pytest.approx(0.01)]


def test_channels_first_images_are_refused():
    net = nn.Network([(8, 6, 3), nn.Flatten(), 2], device="numpy", seed=0)
    image = np.zeros((5, 8, 6, 3), dtype="float32")
    assert net.feedforward(image).shape == net.feedforward(image.reshape(5, -1)).shape == (5, 2)
    with pytest.raises(ValueError, match=r"x: expected \(n, 8, 6, 3\), got shape .*; images are channels-last"):
        net.feedforward(np.moveaxis(image, -1, 1))
    gray = nn.Network([(8, 6, 1), nn.Flatten(), 2], device="numpy", seed=0)
    assert gray.feedforward(np.zeros((5, 1, 8, 6))).shape == gray.feedforward(np.zeros((5, 8, 6))).shape == (5, 2)


def test_exactly_half_is_no(backend):
    """A single output says yes above ½; with zeros for weights a sigmoid is ½ whatever it is asked."""
    net = nn.Network([2, 1], initializer="zeros", device=backend.device)
    assert nn.to_numpy(net.predict([[1.0, 2.0], [3.0, 4.0]])).tolist() == [0, 0]
    assert net.evaluate(([[1.0, 2.0], [3.0, 4.0]], [0, 1])) == 1


def test_a_grey_image_needs_no_axis_for_its_channel(backend):
    net = nn.Network([(3, 4, 1), nn.Flatten(), 2], device=backend.device, seed=0)
    image = np.random.default_rng(0).random((3, 4))
    outputs = nn.to_numpy(net.feedforward(image))
    assert outputs.shape == (2,)
    np.testing.assert_array_equal(outputs, nn.to_numpy(net.feedforward(image[..., None])))
