"""Keras models become networks with the same predictions."""

import warnings
from functools import partial

import numpy as np
import pytest

import nn_any as nn
from nn_any.files import keras_model

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
"""What Keras 3.15 does with tensors of PyTorch."""

ROWS = 6
SHAPE = (11, 8, 2)


def images(*behind):
    """Layers behind a convolution with a kernel that is not square, and in front of three outputs."""
    return lambda L: [L.Conv2D(3, (4, 3)), *[make(L) for make in behind], L.Flatten(), L.Dense(3)]


MODELS = {
    "dense": ((5,), lambda L: [L.Dense(7, activation="tanh"), L.Dense(3, use_bias=False)]),
    "flatten": (SHAPE, lambda L: [L.Flatten(), L.Dense(3)]),
    "dropout": ((5,), lambda L: [L.Dropout(0.3), L.Dense(3)]),
    "valid": (SHAPE, images(lambda L: L.Conv2D(4, (2, 3), strides=(3, 2), use_bias=False))),
    "same": (SHAPE, lambda L: [L.Conv2D(3, (2, 5), padding="same", activation="relu"), L.Flatten(), L.Dense(3)]),
    "same, strides": (SHAPE, lambda L: [L.Conv2D(3, (4, 3), strides=(3, 2), padding="same"), L.Flatten(), L.Dense(3)]),
    "same, small": (SHAPE, lambda L: [L.Conv2D(3, (2, 1), strides=3, padding="same"), L.Flatten(), L.Dense(3)]),
    "largest": (SHAPE, images(lambda L: L.MaxPooling2D((3, 2), strides=(2, 1)))),
    "average": (SHAPE, images(lambda L: L.AveragePooling2D((2, 3)))),
    "pooled, same": (SHAPE, images(lambda L: L.MaxPooling2D((4, 3), padding="same"))),
    "largest of all": (SHAPE, lambda L: [L.Conv2D(4, 3), L.GlobalMaxPooling2D(), L.Dense(3)]),
    "average of all": (SHAPE, images(lambda L: L.GlobalAveragePooling2D(keepdims=True))),
    "normal images": (SHAPE, images(lambda L: L.BatchNormalization(momentum=0.7), lambda L: L.ReLU())),
    "normal rows": (
        (5,),
        lambda L: [L.Dense(4), L.BatchNormalization(scale=False), L.LayerNormalization(center=False), L.Dense(3)],
    ),
    "normal channels": (SHAPE, images(lambda L: L.LayerNormalization(epsilon=0.01), lambda L: L.Softmax())),
    "standardised": (
        SHAPE,
        lambda L: [
            L.Rescaling(1 / 255, offset=-0.5),
            L.Normalization(mean=[0.1, -0.2], variance=[0.3, 4.0]),
            L.Flatten(),
            L.Dense(3),
            L.Normalization(mean=[1.0, -2.0, 3.0], variance=[4.0, 0.3, 9.0], invert=True),
            L.Normalization(mean=[-1.0, 0.5, 2.0], variance=[0.5, 2.0, 3.0], invert=True),
        ],
    ),
    "leaky": ((5,), lambda L: [L.Dense(4), L.LeakyReLU(0.2), L.Dense(4), L.ReLU(negative_slope=0.3), L.Dense(3)]),
    "leaky by name": ((5,), lambda L: [L.Dense(4, activation="leaky_relu"), L.Dense(3)]),
    "a layer": ((5,), lambda L: [L.Dense(4, activation=L.LeakyReLU(0.1)), L.Dense(3)]),
    "nested": ((5,), lambda L: [type_of_model()([L.Dense(4, activation="relu"), L.Dense(6)]), L.Dense(3)]),
    **{
        name: ((5,), lambda L, name=name: [L.Dense(4, activation=name), L.Activation(name), L.Dense(3)])
        for name in keras_model._ACTIVATIONS
    },
    "gelu": ((5,), lambda L: [L.Dense(4, activation=approximate_gelu()), L.Dense(3)]),
}


def type_of_model():
    import keras

    return keras.Sequential


def approximate_gelu():
    import keras

    return partial(keras.activations.gelu, approximate=True)


@pytest.fixture
def trained(keras):
    """A function that makes a model of the table and trains it for some steps; it returns inputs, too."""

    def train(name, dtype="float32"):
        shape, make = MODELS[name]
        keras.config.set_dtype_policy(dtype)
        keras.utils.set_random_seed(len(name))
        model = keras.Sequential([keras.Input(shape), *make(keras.layers)])
        x = np.random.default_rng(1).normal(0, 1, (ROWS, *shape)).astype(dtype)
        model.compile(optimizer=keras.optimizers.Adam(0.05), loss="mean_squared_error", jit_compile=False)
        for _ in range(3):
            model.train_on_batch(x, np.ones((ROWS, 3), dtype))
        return model, x

    yield train
    keras.config.set_dtype_policy("float32")


def predict(model, x):
    return np.asarray(model(x, training=False).detach().cpu())


def assert_equal(ours, theirs, tolerance=1e-5):
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    assert np.abs(theirs).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1, np.abs(theirs).max()))


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_and_activation(trained, name):
    model, x = trained(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = nn.Network.from_keras(model)
    assert net.input_shape == x.shape[1:]
    assert net.specification.loss.name == "mean_squared_error"
    assert_equal(net.feedforward(x), predict(model, x))


def test_a_model_that_computes_something_else(keras):
    class Doubled(keras.Sequential):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs)

    class Named(keras.Sequential):
        pass

    layers = [keras.Input((5,)), keras.layers.Dense(3, activation="softmax")]
    for model in (Doubled(layers), keras.Sequential([layers[0], Doubled(layers)])):
        with pytest.raises(nn.InvalidTypeError, match="got .*Doubled"):
            nn.Network.from_keras(model)
    x, model = np.ones((2, 5), "float32"), Named(layers)
    assert_equal(nn.Network.from_keras(model).feedforward(x), predict(model, x))


def test_every_layer_has_been_tried(keras):
    tried = {"InputLayer"}  # which `Sequential` does not list
    for _, make in MODELS.values():
        tried |= {type(layer).__name__ for layer in make(keras.layers)}
    assert tried >= set(keras_model._READINGS)


@pytest.mark.parametrize("name", ["same, strides", "normal images", "standardised"])
def test_float64(trained, name):
    model, x = trained(name, "float64")
    net = nn.Network.from_keras(model)
    assert net.dtype == "float64"
    assert_equal(net.feedforward(x), predict(model, x))  # Keras multiplies in float32 nevertheless
    kernels = [np.asarray(layer.kernel.value.detach()) for layer in model.layers if hasattr(layer, "kernel")]
    weights = [array for array in net.weights if array.ndim > 1]
    for ours, theirs in zip(weights, kernels, strict=True):
        assert ours.dtype == theirs.dtype == np.float64
        np.testing.assert_array_equal(ours, np.moveaxis(theirs, -1, 0))


def test_raw_images(keras):
    """Stored integers and the same numbers as reals are scaled by the network, as by the model."""
    L = keras.layers
    model = keras.Sequential([keras.Input((4, 3, 1)), L.Rescaling(1 / 255), L.Flatten(), L.Dense(3), L.Softmax()])
    x = np.random.default_rng(1).integers(0, 256, (ROWS, 4, 3, 1)).astype("uint8")
    net = nn.Network.from_keras(model)
    assert_equal(net.predict_proba(x), predict(model, x))
    assert_equal(net.predict_proba(x.astype("float32")), predict(model, x))


@pytest.mark.every_backend
def test_on_every_backend(float64, device, trained):
    model, x = trained("normal images", "float64")
    net = nn.Network.from_keras(model, device=device)
    assert net.device == device
    assert_equal(nn.to_numpy(net.feedforward(x)), predict(model, x))


def test_onwards_to_pytorch(trained):
    """A model of Keras becomes a module of PyTorch."""
    import torch

    model, x = trained("normal channels")
    module = nn.Network.from_keras(model).to_torch()
    with torch.no_grad():
        there = module(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy()
    assert_equal(there, predict(model, x))


def losses(keras):
    """Losses that a model can be compiled with, the last activation, the factor between the two, and the task."""
    own = keras.losses
    return {
        "categorical_crossentropy": ("softmax", 1, "classification"),
        own.SparseCategoricalCrossentropy(from_logits=True): (None, 1, "classification"),
        own.CategoricalCrossentropy(label_smoothing=0.2): ("softmax", 1, "classification"),
        own.sparse_categorical_crossentropy: ("softmax", 1, "classification"),
        own.BinaryCrossentropy(from_logits=True, label_smoothing=0.1): (None, 3, "multilabel"),
        "binary_crossentropy": ("sigmoid", 3, "multilabel"),
        "mse": ("tanh", 1, "regression"),
        own.MeanAbsoluteError(): (None, 1, "regression"),
        own.Huber(delta=0.3): (None, 1, "regression"),
        "poisson": ("exponential", 1, "regression"),
    }


@pytest.mark.parametrize("place", range(10))
def test_losses(keras, place):
    loss, (activation, factor, task) = list(losses(keras).items())[place]
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, activation=activation)])
    model.compile(loss=loss, optimizer="sgd", jit_compile=False)
    net = nn.Network.from_keras(model)
    assert net.task == task
    x = np.random.default_rng(2).normal(0, 1, (ROWS, 5)).astype("float32")
    labels = np.arange(ROWS) % 3
    y = np.random.default_rng(3).random((ROWS, 3)).astype("float32")
    if task == "classification":
        y = labels if "sparse" in str(getattr(loss, "name", getattr(loss, "__name__", loss))) else np.eye(3)[labels]
    theirs = float(model.test_on_batch(x, y)) * factor
    assert net.loss((x, labels if task == "classification" else y)) == pytest.approx(theirs, rel=1e-5)


def test_a_loss_of_the_callers(keras):
    """It goes before the compiled one, and says what logits are."""
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    x = np.random.default_rng(2).normal(0, 1, (ROWS, 5)).astype("float32")
    for compiled in (False, True):
        if compiled:
            model.compile(loss="mse")
        net = nn.Network.from_keras(model, loss="log_likelihood")
        assert_equal(net.predict_proba(x), np.asarray(keras.ops.softmax(model(x)).detach()))
    sigmoid = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, activation="sigmoid")])
    assert nn.Network.from_keras(sigmoid).task == "multilabel"
    assert nn.Network.from_keras(sigmoid, loss="cross_entropy").task == "classification"
    assert nn.Network.from_keras(sigmoid, task="classification").task == "classification"


def test_frozen_layers_stay_frozen(keras):
    L = keras.layers
    model = keras.Sequential([keras.Input((5,)), L.Dense(4), L.BatchNormalization(), L.Dense(3, activation="softmax")])
    model.layers[0].trainable = model.layers[1].trainable = False
    net = nn.Network.from_keras(model)
    kernel = np.asarray(model.layers[0].kernel.numpy())
    net.fit((np.random.default_rng(0).random((9, 5)), np.arange(9) % 3), epochs=3, optimizer=nn.Adam(0.1))
    np.testing.assert_array_equal(net.weights[0], kernel.T)
    np.testing.assert_array_equal(net.state.layer_state[1][0], np.zeros(4))
    assert np.abs(net.weights[2] - np.asarray(model.layers[2].kernel.numpy()).T).max() > 0.01


def test_running_averages_go_on_alike(keras):
    """Keras names the share of the old average; its variance is that of the batch, here it is the unbiased one."""
    model = keras.Sequential([keras.Input((5,)), keras.layers.BatchNormalization(momentum=0.8), keras.layers.Dense(1)])
    model.compile(loss="mse", optimizer=keras.optimizers.SGD(0.0), jit_compile=False)
    x = np.random.default_rng(0).normal(3, 2, (ROWS, 5)).astype("float32")
    net = nn.Network.from_keras(model)
    net.fit((x, np.zeros(ROWS)), epochs=1, batch_size=ROWS, optimizer=nn.SGD(1e-9))
    model.train_on_batch(x, np.zeros((ROWS, 1)))
    mean, variance = (np.asarray(v.numpy()) for v in model.layers[0].non_trainable_variables)
    ours = net.state.layer_state[0]
    np.testing.assert_allclose(ours[0], mean, rtol=1e-5)
    np.testing.assert_allclose((ours[1] - 0.8) * (ROWS - 1) / ROWS, variance - 0.8, rtol=1e-4)
