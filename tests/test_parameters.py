"""Parameters by name: read, set, and told apart from each other, on every backend."""

from dataclasses import dataclass

import numpy as np
import pytest

import nn_any as nn

X = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)


@dataclass(frozen=True)
class Bilinear(nn.layers.Layer):
    """z = (x A) B + b: two matrices and a vector."""

    trainable: bool = True
    parameter_names = ("left", "right", "biases")

    def init(self, rng, input_shape):
        n = input_shape[0]
        return rng.normal(size=(n, n)), rng.normal(size=(n, n)), np.zeros(n)

    def forward(self, params, state, x, context):
        left, right, biases = params
        return x @ left @ right + biases[..., None, :], state, x

    def backward(self, params, saved, delta, context):
        return delta @ params[1].mT @ params[0].mT

    def gradients(self, params, saved, delta, context):
        left, right, _ = params
        return saved.mT @ (delta @ right.mT), (saved @ left).mT @ delta, context.xp.sum(delta, axis=-2)


class Unnamed(Bilinear):
    parameter_names = None


class TwoMatrices(Unnamed):
    def init(self, rng, input_shape):
        return super().init(rng, input_shape)[:2]

    def forward(self, params, state, x, context):
        return x @ params[0] @ params[1], state, x

    def gradients(self, params, saved, delta, context):
        return super().gradients((*params, None), saved, delta, context)[:2]


MODELS = {
    "network": lambda layers, device: nn.Network(layers, device=device, seed=0),
    "ensemble": lambda layers, device: nn.Ensemble(layers, 2, device=device, seed=0),
}


@pytest.fixture(params=MODELS)
def make(request):
    return MODELS[request.param]


def shapes(arrays):
    return [tuple(array.shape) for array in arrays]


def host(arrays):
    return {name: nn.to_numpy(array) for name, array in arrays.items()}


def test_names_of_the_layers_that_come_with_the_package(make, device):
    stack = [(4, 4, 1), nn.Conv2D(2, 3), nn.BatchNorm(), nn.Flatten(), nn.LayerNorm(), nn.Dropout(0.5), 3]
    model = make(stack, device)
    assert list(model.parameters) == [
        "layers.0.weights",
        "layers.0.biases",
        "layers.1.gain",
        "layers.1.shift",
        "layers.3.gain",
        "layers.3.shift",
        "layers.5.weights",
        "layers.5.biases",
    ]
    lead = () if isinstance(model, nn.Network) else (2,)
    assert shapes(model.parameters.values()) == [
        (*lead, *own) for own in [(2, 3, 3, 1), (2,), (2,), (2,), (8,), (8,), (3, 8), (3,)]
    ]
    assert shapes(model.weights) == shapes(model.parameters.values())[::2]
    assert shapes(model.biases) == shapes(model.parameters.values())[1::2]


def test_a_matrix_is_no_bias_and_every_parameter_can_be_reached(make, device):
    model = make([3, Bilinear(), 2], device)
    before = host(model.parameters)
    assert list(before)[:3] == ["layers.0.left", "layers.0.right", "layers.0.biases"]
    lead = () if isinstance(model, nn.Network) else (2,)
    assert shapes(model.weights) == [(*lead, 2, 3)]
    assert shapes(model.biases) == [(*lead, 3), (*lead, 2)]
    nabla_b, nabla_w = model.backprop(X, [0, 1, 0, 1])
    assert (shapes(nabla_b), shapes(nabla_w)) == (shapes(model.biases), shapes(model.weights))
    new = {name: before[name] + 1 for name in ("layers.0.biases", "layers.0.right")}
    model.set_parameters(new)
    for name, array in host(model.parameters).items():
        np.testing.assert_array_equal(array, new.get(name, before[name]))


@pytest.mark.parametrize(("layer", "count"), [(Unnamed(), 3), (TwoMatrices(), 2)])
def test_a_layer_without_names_goes_by_places(make, device, layer, count):
    model = make([3, layer, 2], device)
    assert list(model.parameters)[:count] == [f"layers.0.{i}" for i in range(count)]
    assert len(model.weights) == len(model.biases) == 1
    model.set_parameters(model.parameters)
    model.set_weights(model.weights, model.biases)


def test_what_is_handed_out_is_fresh_and_what_is_set_is_copied(make, device):
    model = make([3, 2], device)
    values = np.ones(nn.to_numpy(model.parameters["layers.0.weights"]).shape, "float32")
    model.set_parameters({"layers.0.weights": values})
    values[...] = 7
    handed = model.parameters["layers.0.weights"]
    if device.library in ("numpy", "torch"):
        handed[...] = 9
    np.testing.assert_array_equal(nn.to_numpy(model.parameters["layers.0.weights"]), np.ones_like(values))


def test_all_parameters_make_an_equal_network(make, device):
    model = make([3, nn.BatchNorm(), Bilinear(), 2], device)
    other = make([3, nn.BatchNorm(), Bilinear(), nn.Dense(2, initializer="zeros")], device)
    other.set_parameters(model.parameters)
    np.testing.assert_array_equal(nn.to_numpy(other.feedforward(X)), nn.to_numpy(model.feedforward(X)))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([np.zeros((2, 3))], TypeError, r"parameters: expected a dict .*net\.parameters, got list"),
        ({"0.weights": 1}, ValueError, "parameters: expected names among layers.0.weights, layers.0.biases, got"),
        ({"layers.0.biases": np.zeros(3)}, ValueError, r"layers.0.biases: expected shape \(2,\), got \(3,\)"),
        ({"layers.0.biases": [0, np.nan]}, ValueError, "layers.0.biases: expected finite numbers"),
        ({"layers.0.biases": ["a", "b"]}, TypeError, "layers.0.biases: expected real numbers"),
        (
            {"layers.0.weights": np.ones((2, 3)), "layers.0.biases": [0.0]},
            ValueError,
            "layers.0.biases: expected shape",
        ),
    ],
)
def test_what_is_refused_changes_nothing(device, given, error, message):
    net = nn.Network([3, 2], device=device, seed=0)
    before = host(net.parameters)
    with pytest.raises(error, match=message):
        net.set_parameters(given)
    for name, array in host(net.parameters).items():
        np.testing.assert_array_equal(array, before[name])


def test_names_must_be_as_many_as_the_parameters_and_differ():
    class Short(Bilinear):
        parameter_names = ("left", "right")

    class Same(Bilinear):
        parameter_names = ("left", "left", "biases")

    for layer in (Short(), Same()):
        with pytest.raises(ValueError, match=r"layers, entry 1, .*parameter_names: expected 3 names, one a parameter"):
            nn.Network([3, layer, 2], device="numpy")


@pytest.mark.parametrize(
    ("loss", "output"),
    [
        ("cross_entropy", "sigmoid"),
        ("log_likelihood", "softmax"),
        ("poisson", "exponential"),
        ("mean_squared_error", "linear"),
        ("mean_absolute_error", "linear"),
        ("huber", "linear"),
        ("quadratic", "relu"),
    ],
)
@pytest.mark.parametrize("last", [3, nn.Dense(3)], ids=["bare", "Dense"])
def test_a_last_layer_that_names_no_activation_gets_the_one_for_the_loss(loss, output, last):
    net = nn.Network([4, 16, last], activation="relu", loss=loss, device="numpy", seed=0)
    assert [layer.activation.name for layer in net.layers] == ["relu", output]
    both = nn.Ensemble([4, 16, last], 2, activation="relu", loss=loss, device="numpy", seed=0)
    assert both.layers == net.layers


def test_an_activation_that_is_named_stays():
    layers = [4, 16, nn.Dense(1, activation="sigmoid")]
    net = nn.Network(layers, activation="relu", loss="mean_squared_error", device="numpy")
    assert net.layers[-1].activation.name == "sigmoid"
    assert [layer.activation.name for layer in nn.Network([784, 30, 10], device="numpy").layers] == ["sigmoid"] * 2
    ending = nn.Network([4, 3, nn.Activation("softmax")], activation="tanh", loss="log_likelihood", device="numpy")
    assert [layer.activation.name for layer in ending.layers] == ["tanh", "softmax"]


def test_one_output_has_no_distribution():
    with pytest.raises(ValueError, match="use one output with 'sigmoid' and loss='cross_entropy', or two outputs"):
        nn.Network([4, 1], loss="log_likelihood", device="numpy")
    nn.Network([4, 1], loss="cross_entropy", device="numpy")
    nn.Network([4, 2], loss="log_likelihood", device="numpy")


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "softplus"])
def test_outputs_that_are_no_probabilities(make, device, activation):
    model = make([3, 5, nn.Dense(2, activation=activation)], device)
    with pytest.raises(TypeError, match=rf"predict_proba: expected outputs within 0 … 1, .*{activation}.*Dense\(2, "):
        model.predict_proba(X)
    assert model.predict(X).shape == (4,)
    assert model.feedforward(X).shape == (4, 2)
    remedied = make([3, 5, nn.Dense(2, activation="sigmoid")], device)
    answers = nn.to_numpy(remedied.predict_proba(X))
    assert ((answers >= 0) & (answers <= 1)).all()


def test_a_snapshot_settles_everything_but_the_device():
    net, ensemble = nn.Network([4, 3], device="numpy"), nn.Ensemble([4, 3], 3, device="numpy", seed=0)
    words = {"activation": "sigmoid", "loss": "quadratic", "initializer": "normal", "dtype": "float32", "seed": 1}
    for name, value in words.items():
        with pytest.raises(ValueError, match=f"{name}: expected none beside a snapshot.*; leave it out"):
            nn.Network(net.snapshot, **{name: value})
    for name, value in (words | {"seeds": [1, 2, 3], "learning_rates": [1, 2, 3], "threads": 1}).items():
        with pytest.raises(ValueError, match=f"{name}: expected none beside a snapshot"):
            nn.Ensemble(ensemble.snapshot, 3, **{name: value})
    assert nn.Network(net.snapshot, device="numpy").seed == net.seed


def test_members_are_numbered_one_by_one():
    ensemble = nn.Ensemble([4, 3], 4, device="numpy", seed=10)
    assert ensemble[-1].seed == 13
    assert ensemble[np.int64(1)].seed == 11
    with pytest.raises(TypeError, match=r"use \[ensemble\[i\] for i in range\(1, 3\)\]"):
        ensemble[1:3]
    with pytest.raises(TypeError, match=r"use \[ensemble\[i\] for i in range\(0, 4, 2\)\]"):
        ensemble[::2]
    for wrong in ("a", 1.0, True, None):
        with pytest.raises(TypeError, match=f"i: expected the number of a member, an integer, got {wrong!r}"):
            ensemble[wrong]
    for i in (4, -5):
        with pytest.raises(IndexError, match=f"i: expected a member within 0 … 3, got {i}"):
            ensemble[i]


def test_the_text_of_where_training_stands_has_no_addresses():
    net = nn.Network([4, 3], device="numpy", seed=0)
    net.SGD((np.ones((4, 4)), [0, 1, 2, 0]), 3, 2, 0.1)
    assert "<Records of 3 epochs>" in repr(net.snapshot.progress)
    assert "0x" not in repr(net.snapshot.progress)


@pytest.mark.parametrize(
    ("name", "value", "remedied"),
    [("clip_norm", 1e39, 1e38), ("max_norm", 1e39, 1e38), ("weight_decay", 1e39, 0.1), ("l1", 1e300, 0.1)],
)
def test_settings_of_optimizers_beyond_float32(make, device, name, value, remedied):
    model, data = make([3, 2], device), (X, [0, 1, 0, 1])
    before = host(model.parameters)
    message = f"{name} of SGD.*: expected a number that float32 can hold, got .*; use a smaller one, or a network"
    with pytest.raises(ValueError, match=message):
        model.fit(data, epochs=1, batch_size=2, optimizer=nn.SGD(0.1, **{name: value}))
    for key, array in host(model.parameters).items():
        np.testing.assert_array_equal(array, before[key])
    model.fit(data, epochs=1, batch_size=2, optimizer=nn.SGD(0.1, **{name: remedied}))


def test_settings_that_vanish_in_float32_or_are_beyond_it():
    with pytest.raises(ValueError, match="epsilon of BatchNorm.*: expected a number that float32 can hold, got 1e-50"):
        nn.Network([3, nn.BatchNorm(epsilon=1e-50), 2], device="numpy")
    with pytest.raises(ValueError, match="threshold of .*huber.*: expected a number that float32 can hold, got 1e"):
        nn.Network([3, 2], loss=nn.losses.Huber(1e39), device="numpy")
    net = nn.Network([3, nn.BatchNorm(epsilon=1e-50), 2], device="numpy", dtype="float64")
    with pytest.raises(ValueError, match="epsilon of Adam.*use a larger one"):
        nn.Network([3, 2], device="numpy").fit(
            (X, [0, 1] * 2), epochs=1, batch_size=2, optimizer=nn.Adam(epsilon=1e-50)
        )
    net.fit((X, [0, 1] * 2), epochs=1, batch_size=2, optimizer=nn.Adam(epsilon=1e-50))
    assert np.isfinite(net.weights[0]).all()


def test_a_network_of_other_layers_is_named_by_its_sizes():
    net, other = nn.Network([4, 3], device="numpy"), nn.Network([4, 5, 3], device="numpy")
    for given in (other, other.snapshot):
        with pytest.raises(ValueError, match=r"other: expected a network of the same layers as .*, got 4-5-3$"):
            net.copy_from(given)
