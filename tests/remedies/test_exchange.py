"""Models of scikit-learn, PyTorch and Keras."""

from functools import partial

import numpy as np
import pytest
from conftest import need
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import nn_any as nn
from nn_any.core import activations

from . import place

X, LABELS = np.random.default_rng(0).random((12, 4)), np.arange(12) % 3
few_steps = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classifier():
    return MLPClassifier((5,), max_iter=3)


# scikit-learn


@few_steps
@place("files/sklearn_model.py _steps: estimator: expected a fitted one, got {} before", "Pipeline", "its fit")
def test_an_estimator_before_fit(refused):
    estimator = make_pipeline(StandardScaler(), classifier())
    with refused:
        nn.Network.from_sklearn(estimator)
    assert nn.Network.from_sklearn(estimator.fit(X, LABELS)).class_names == (0, 1, 2)


@few_steps
@place(
    "files/sklearn_model.py _steps: estimator: expected MLPClassifier or MLPRegressor,",
    "estimator",
    "pass the fitted MLPClassifier or MLPRegressor in it, and prepare the data yourself",
)
def test_another_estimator(refused):
    estimator = make_pipeline(MinMaxScaler(), classifier()).fit(X, LABELS)
    with refused:
        nn.Network.from_sklearn(LogisticRegression().fit(X, LABELS))
    with refused:
        nn.Network.from_sklearn(estimator)
    net = nn.Network.from_sklearn(estimator[-1])
    np.testing.assert_allclose(net.predict_proba(estimator[0].transform(X)), estimator.predict_proba(X))


@place("files/sklearn_model.py write_sklearn: to_sklearn: expected one activation of {} in all", "gelu", "to_onnx")
def test_activations_that_scikit_learn_lacks(refused, tmp_path):
    mixed = nn.Network([4, nn.Dense(5, "relu"), nn.Dense(5, "tanh"), 3], loss="log_likelihood")
    gelu = nn.Network([4, 5, 5, 3], activation="gelu", loss="log_likelihood")
    with refused:
        gelu.to_sklearn()
    with pytest.raises(nn.InvalidValueError, match="relu, tanh"):
        mixed.to_sklearn()
    gelu.to_onnx(tmp_path / "net.onnx")
    nn.Network([4, 5, 5, 3], activation="relu", loss="log_likelihood").to_sklearn().predict(X)


@place(
    "files/sklearn_model.py _parts: to_sklearn: expected Dense layers, got {} in place", "BatchNorm", "of Dense layers"
)
def test_layers_that_scikit_learn_lacks(refused, tmp_path):
    net = nn.Network([4, 5, nn.BatchNorm(), 3], loss="log_likelihood")
    with refused:
        net.to_sklearn()
    net.to_onnx(tmp_path / "net.onnx")
    nn.Network([4, 5, 3], loss="log_likelihood").to_sklearn().predict(X)


@place("files/sklearn_model.py _regressor: to_sklearn: expected linear outputs, got", "exponential", "scikit-learn 1.7")
def test_counts_with_an_older_scikit_learn(refused, monkeypatch, tmp_path):
    net = nn.Network([4, 1], loss="poisson")
    with monkeypatch.context() as patch, refused:
        patch.setattr(MLPRegressor, "get_params", lambda self, deep=True: {})
        net.to_sklearn()
    net.to_onnx(tmp_path / "net.onnx")
    if "loss" in MLPRegressor().get_params():
        net.to_sklearn().predict(X)


@place(
    "files/sklearn_model.py _regressor: to_sklearn: expected linear or exponential outputs",
    "'sigmoid'",
    "loss='mean_squared_error'",
)
def test_numbers_from_sigmoids(refused):
    with refused:
        nn.Network([4, 3], loss="quadratic", task="regression").to_sklearn()
    nn.Network([4, 3], loss="mean_squared_error").to_sklearn().predict(X)


@place(
    "files/sklearn_model.py _classifier: to_sklearn: expected softmax outputs for classes,",
    "3 outputs with activation 'sigmoid'",
    "loss='log_likelihood'",
)
def test_classes_from_sigmoids(refused):
    with refused:
        nn.Network([4, 3]).to_sklearn()
    nn.Network([4, 3], loss="log_likelihood").to_sklearn().predict(X)
    nn.Network([4, 3], task="multilabel").to_sklearn().predict(X)


@place(
    "files/sklearn_model.py _classifier: to_sklearn: expected names of classes that are all",
    "'b'",
    "assign net.schema with other class_names",
)
def test_names_of_two_kinds(refused):
    net = nn.Network([4, 3], loss="log_likelihood")
    net.schema = nn.Schema(class_names=[1, "b", 2.5])
    with refused:
        net.to_sklearn()
    net.schema = nn.Schema(class_names=["1", "b", "2.5"])
    assert net.to_sklearn().classes_.tolist() == ["1", "2.5", "b"]


# PyTorch


@pytest.fixture
def modules():
    """`torch.nn`."""
    return need("torch").nn


def read(*modules, shape=(2, 9, 9)):
    """The network of these modules on images, with outputs behind them."""
    import torch

    module = torch.nn.Sequential(*modules, torch.nn.Flatten(), torch.nn.LazyLinear(2), torch.nn.Sigmoid()).eval()
    module(torch.zeros(1, *shape))
    net = nn.Network.from_torch(module, input_shape=shape)
    x = torch.randn(3, *shape)
    ours = net.predict_proba(np.moveaxis(x.numpy(), 1, -1))
    np.testing.assert_allclose(ours, module(x).detach().numpy(), atol=1e-5)
    return net


def own_module(modules):
    class Own(modules.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = modules.Linear(4, 5), modules.Linear(5, 3)

        def forward(self, x):
            return self.second(self.first(x).tanh()).sigmoid()

    return Own()


@place(
    "backends/_torch_reading.py _flattened: {}: expected torch.nn.Sequential or one of {}, got",
    "got Own",
    "put torch.nn.Sequential of such modules in its place",
)
def test_a_module_that_is_not_known(refused, modules):
    module = own_module(modules)
    with refused:
        nn.Network.from_torch(module)
    with pytest.raises(nn.InvalidTypeError, match=r"module\[1\]: .* got ELU"):
        nn.Network.from_torch(modules.Sequential(modules.Linear(2, 2), modules.ELU()))
    whole = modules.Sequential()
    whole.add_module("tail", modules.Sequential(modules.Hardtanh()))
    with pytest.raises(nn.InvalidTypeError, match=r"module.tail\[0\]: .* got Hardtanh"):
        nn.Network.from_torch(whole)
    net = nn.Network.from_torch(modules.Sequential(module.first, modules.Tanh(), module.second, modules.Sigmoid()))
    assert net.outputs == 3


@few_steps
@place(
    "backends/_torch_reading.py _flattened: {}: expected torch.nn.Sequential, got {}.{}; for",
    "MLPClassifier",
    "Network.from_sklearn",
)
def test_no_module(refused, modules):
    estimator = classifier().fit(X, LABELS)
    with refused:
        nn.Network.from_torch(estimator)
    assert nn.Network.from_sklearn(estimator).outputs == 3


def test_a_keras_model_on_pytorch(keras):
    """It is a module of PyTorch as well."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="sigmoid")])
    with pytest.raises(nn.InvalidTypeError, match=r"Network\.from_keras"):
        nn.Network.from_torch(model)
    assert nn.Network.from_keras(model).outputs == 2


@place(
    "backends/_torch_reading.py _inferred_shape: input_shape: expected the shape of one example,",
    "Conv2d",
    "pass input_shape=(channels, height, width)",
)
def test_images_of_an_unknown_size(refused, modules):
    module = modules.Sequential(modules.Conv2d(1, 2, 3), modules.Flatten(), modules.Linear(24, 2), modules.Sigmoid())
    with refused:
        nn.Network.from_torch(module)
    assert nn.Network.from_torch(module, input_shape=(1, 6, 5)).input_shape == (6, 5, 1)


@place("backends/_torch_reading.py _own_loss: loss: expected one without weights of classes, got", "weight", "to fit")
def test_a_loss_with_weights(refused, modules):
    module, weight = modules.Linear(4, 3), need("torch").ones(3)
    with refused:
        nn.Network.from_torch(module, loss=modules.CrossEntropyLoss(weight=weight))
    with pytest.raises(nn.InvalidValueError, match="BCEWithLogitsLoss"):
        nn.Network.from_torch(module, loss=modules.BCEWithLogitsLoss(pos_weight=weight))
    net = nn.Network.from_torch(module, loss=modules.CrossEntropyLoss())
    net.fit((X, LABELS), epochs=1, class_weight=[1, 2, 3])


@place(
    "backends/_torch_reading.py _own_loss: loss: expected a loss that nn_any has, got {};",
    "KLDivLoss",
    "log_likelihood",
)
def test_a_loss_that_is_not_known(refused, modules):
    with refused:
        nn.Network.from_torch(modules.Linear(4, 3), loss=modules.KLDivLoss())
    assert nn.Network.from_torch(modules.Linear(4, 3), loss="log_likelihood").task == "classification"


@place("backends/_torch_reading.py _Reader.read: expected Conv2d behind ZeroPad2d, got {}; leave", "MaxPool2d", "leave")
def test_zeros_in_front_of_no_convolution(refused, modules):
    with refused:
        read(modules.ZeroPad2d(1), modules.MaxPool2d(3))
    read(modules.MaxPool2d(3))
    read(modules.ZeroPad2d(1), modules.Conv2d(2, 3, 3))


@place(
    "backends/_torch_reading.py _Reader.read: expected LogSoftmax as the last module, since it",
    "module[2]: expected LogSoftmax as the last module, since it becomes a softmax, got Linear",
    "train it with Softmax in its place",
)
def test_logarithms_of_classes_within_a_module(refused, modules):
    first, logs, last = modules.Linear(4, 3), modules.LogSoftmax(dim=1), modules.Linear(3, 2)
    with refused:
        nn.Network.from_torch(modules.Sequential(first, logs, last), loss="mean_squared_error")
    nn.Network.from_torch(modules.Sequential(first, logs, modules.Identity()))
    nn.Network.from_torch(modules.Sequential(first, modules.Softmax(dim=1), last), loss="mean_squared_error")


@place(
    "backends/_torch_reading.py _Reader.read: expected a module with parameters, got {} before",
    "module[0]: ",
    "call the module on a batch first",
)
def test_a_module_before_its_first_batch(refused, modules):
    module = modules.Sequential(modules.LazyLinear(3), modules.Sigmoid())
    with refused:
        nn.Network.from_torch(module, input_shape=4)
    module(need("torch").zeros(1, 4))
    assert nn.Network.from_torch(module).input_shape == (4,)


@place(
    "backends/_torch_reading.py _Reader.check_order: expected Linear behind Flatten, since images of",
    "(48,)",
    "put torch.nn.Linear behind it",
)
def test_images_as_outputs(refused, modules):
    layers = [modules.Conv2d(1, 4, 3), modules.Flatten()]
    with refused:
        nn.Network.from_torch(modules.Sequential(*layers), input_shape=(1, 6, 5), loss="mean_squared_error")
    module = modules.Sequential(*layers, modules.Linear(48, 48))
    assert nn.Network.from_torch(module, input_shape=(1, 6, 5), loss="mean_squared_error").outputs == 48


@place(
    "backends/_torch_reading.py _check_settings: expected {} with {}={}, which is what nn_any has,",
    "module[0]: ",
    "with approximate='tanh'",
)
def test_settings_that_are_not_known(refused, modules):
    """The rest of them, too."""
    with refused:
        read(modules.GELU())
    read(modules.GELU(approximate="tanh"))
    for make, name, wanted, other in [
        (partial(modules.Conv2d, 2, 4, 3), "dilation", 1, 2),
        (partial(modules.Conv2d, 2, 4, 3), "groups", 1, 2),
        (partial(modules.Conv2d, 2, 4, 3, padding=1), "padding_mode", "zeros", "reflect"),
        (partial(modules.MaxPool2d, 2), "padding", 0, 1),
        (partial(modules.MaxPool2d, 2), "dilation", 1, 2),
        (partial(modules.MaxPool2d, 2), "ceil_mode", False, True),
        (partial(modules.AvgPool2d, 2), "divisor_override", None, 3),
        (partial(modules.BatchNorm2d, 2), "track_running_stats", True, False),
        (partial(modules.Flatten), "start_dim", 1, 2),
        (partial(modules.Flatten), "end_dim", -1, 2),
        (partial(modules.Softplus), "beta", 1, 2),
        (partial(modules.Softplus), "threshold", 20, 1),
    ]:
        with pytest.raises(nn.InvalidValueError, match=f"module.0.: .*train it with {name}={wanted!r}"):
            read(make(**{name: other}))
        read(make(**{name: wanted}))
    for kind in (modules.MaxPool2d, modules.AdaptiveMaxPool2d):
        with pytest.raises(nn.InvalidValueError, match="train it with return_indices=False"):
            nn.Network.from_torch(modules.Sequential(kind(2, return_indices=True)), input_shape=(2, 8, 8))


@place(
    "backends/_torch_reading.py _read_conv: expected no zeros around the image, or {} (above",
    "got ((1, 1), (1, 1))",
    "train it with padding=0, or with these zeros by torch.nn.ZeroPad2d",
)
def test_zeros_around_images(refused, modules):
    with refused:
        read(modules.Conv2d(2, 3, 5, padding=1))
    read(modules.Conv2d(2, 3, 5))
    read(modules.ZeroPad2d((2, 2, 2, 2)), modules.Conv2d(2, 3, 5))


@place(
    "backends/_torch_reading.py _read_adaptive_pooling: expected an output size that divides the images'",
    "9 × 9, got 2 × 3",
    "train it with output_size=1",
)
def test_windows_of_several_sizes(refused, modules):
    with refused:
        read(modules.AdaptiveAvgPool2d((2, 3)))
    read(modules.AdaptiveAvgPool2d(1))


@place(
    "backends/_torch_reading.py _read_batch_norm: expected {} with a momentum, got None; set",
    "BatchNorm2d",
    "set momentum=0.1",
)
def test_an_average_of_all_batches(refused, modules):
    module = modules.BatchNorm2d(2, momentum=None)
    with refused:
        read(module)
    module.momentum = 0.1
    read(module)


@place(
    "backends/_torch_reading.py _read_layer_norm: expected LayerNorm over rows of features, got it",
    "(2, 9, 9)",
    "put torch.nn.Flatten and torch.nn.LayerNorm of as many features",
)
def test_normal_images(refused, modules):
    with refused:
        read(modules.LayerNorm((2, 9, 9)))
    read(modules.Flatten(), modules.LayerNorm(162))


@place(
    "backends/_torch_reading.py _read_activation: expected {} over the classes or channels, got", "dim=2", "use dim=1"
)
def test_softmax_along_another_axis(refused, modules):
    with refused:
        read(modules.Softmax(dim=2))
    read(modules.Softmax(dim=1))


@place(
    "backends/_torch_reading.py _read_conv: expected images of {} channel(s), as Conv2d takes",
    "module[0]: expected images of 1 channel(s), as Conv2d takes them, got 8",
    "pass input_shape=(channels, height, width)",
)
def test_images_with_their_channels_last(refused, modules):
    module = modules.Sequential(modules.Conv2d(1, 2, 3), modules.Flatten(), modules.Linear(72, 2), modules.Sigmoid())
    with refused:
        nn.Network.from_torch(module, input_shape=(8, 8, 1))
    assert nn.Network.from_torch(module, input_shape=(1, 8, 8)).outputs == 2


@place(
    "core/assembly.py Assembly.add: expected arrays of shapes {} and {} for inputs of",
    "module[1]: expected arrays of shapes ((2, 54), (2,)) and () for inputs of shape (54,), got ((2, 27), (2,))",
    "make them fit what comes before, the input shape included",
)
def test_arrays_that_do_not_fit(refused, modules):
    module = modules.Sequential(modules.Flatten(), modules.Linear(27, 2), modules.Sigmoid())
    with refused:
        nn.Network.from_torch(module, input_shape=(2, 9, 3))
    assert nn.Network.from_torch(module, input_shape=(1, 9, 3)).outputs == 2


@place(
    "core/assembly.py Assembly.finish: loss: expected one, since the last layer has no",
    "None",
    "pass loss='mean_squared_error' if its outputs are numbers",
)
def test_what_may_be_logits(refused, modules):
    module = modules.Sequential(modules.Linear(4, 3))
    with refused:
        nn.Network.from_torch(module)
    assert nn.Network.from_torch(module, loss="mean_squared_error").task == "regression"
    assert nn.Network.from_torch(module, loss="log_likelihood").task == "classification"
    assert nn.Network.from_torch(module, loss="cross_entropy", task="multilabel").task == "multilabel"


@place(
    "backends/_torch_writing.py write_module: to_torch: expected inputs of up to three axes, got",
    "(2, 2, 2, 2)",
    "build",
)
def test_inputs_of_four_axes(refused, modules):
    with refused:
        nn.Network([(2, 2, 2, 2), nn.Flatten(), 3]).to_torch()
    nn.Network([16, 3]).to_torch()


class Doubled(nn.layers.Layer):
    """Twice the inputs, for tests."""

    def __eq__(self, other):
        return type(self) is type(other)

    def __hash__(self):
        return 3

    def forward(self, params, state, x, context):
        return 2 * x, state, None

    def backward(self, params, saved, delta, context):
        return 2 * delta


@place("backends/_torch_writing.py write_module: to_torch: expected layers of nn_any, got {} in", "in place 1", "Dense")
def test_a_layer_of_your_own(refused, modules):
    with refused:
        nn.Network([4, 5, Doubled(), 3]).to_torch()
    nn.Network([4, 5, nn.Dense(5), 3]).to_torch()


class Sine(activations.Activation):
    """sin z."""

    name = "sine"

    def __call__(self, z, *, xp):
        return xp.sin(z)

    def derivative(self, z, a, *, xp):
        return xp.cos(z)


class Tanh(Sine):
    """The same under a name that is taken."""

    name = "tanh"


@place(
    "backends/_torch_writing.py _activation_modules: to_torch: expected activations of nn_any, got {},", "sine", "tanh"
)
def test_an_activation_of_your_own(refused, modules):
    with refused:
        nn.Network([4, nn.Dense(5, Sine()), 3]).to_torch()
    with pytest.raises(nn.InvalidTypeError, match="one of your own"):
        nn.Network([4, nn.Dense(5, Tanh()), 3]).to_torch()
    nn.Network([4, nn.Dense(5, "tanh"), 3]).to_torch()


# Keras


@pytest.fixture
def build(keras):
    """A function that makes a model of layers for rows of four features, or inputs of another shape."""
    return lambda *layers, shape=(4,): keras.Sequential([keras.Input(shape), *layers])


@place("files/keras_model.py read_keras: model: expected keras.Sequential, got {}.{}; if", "Functional", "Sequential(")
def test_a_model_of_another_class(refused, keras):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="sigmoid")(inputs))
    with refused:
        nn.Network.from_keras(model)
    assert nn.Network.from_keras(keras.Sequential(model.layers)).outputs == 2


@place("files/keras_model.py read_keras: model: expected one that knows its input shape,", "got one before", "build")
def test_a_model_without_shapes(refused, keras):
    model = keras.Sequential([keras.layers.Dense(2, activation="sigmoid")])
    with refused:
        nn.Network.from_keras(model)
    model.build((None, 4))
    assert nn.Network.from_keras(model).input_shape == (4,)


@place("files/keras_model.py _input_shape: model: expected inputs of one shape, got {}; make", "(None, 6, 1)", "make")
def test_inputs_of_any_size(refused, keras, build):
    L = keras.layers
    layers = [L.Conv2D(3, 2), L.GlobalMaxPooling2D(), L.Dense(2, activation="sigmoid")]
    model = build(*layers, shape=(None, 6, 1))
    with refused:
        nn.Network.from_keras(model)
    fixed = build(L.Conv2D(3, 2), L.GlobalMaxPooling2D(), L.Dense(2, activation="sigmoid"), shape=(5, 6, 1))
    fixed.set_weights([weights.value for weights in model.weights])
    assert nn.Network.from_keras(fixed).input_shape == (5, 6, 1)


@place("files/keras_model.py _read: expected a layer that nn_any has, one of {}, got", "model.layers[1]: ", "Dropout")
def test_a_layer_that_is_not_known(refused, keras, build):
    L = keras.layers
    with refused:
        nn.Network.from_keras(build(L.Dense(3), L.GaussianNoise(0.1), L.Dense(2, activation="sigmoid")))
    nn.Network.from_keras(build(L.Dense(3), L.Dropout(0.1), L.Dense(2, activation="sigmoid")))


@place(
    "files/keras_model.py _check_settings: expected {} with {}={}, which is what nn_any has,",
    "model.layers[0]: ",
    "train it with axis=-1",
)
def test_settings_of_layers(refused, keras, build):
    """The rest of them, too."""
    L = keras.layers

    def read(*layers, shape=(9, 8, 10)):
        nn.Network.from_keras(build(*layers, L.Flatten(), L.Dense(2, activation="sigmoid"), shape=shape))

    with refused:
        read(L.BatchNormalization(axis=1))
    read(L.BatchNormalization(axis=-1))
    for make, name, wanted, other in [
        (partial(L.Conv2D, 4, 3), "dilation_rate", (1, 1), (2, 2)),
        (partial(L.Conv2D, 4, 3), "groups", 1, 2),
        (partial(L.Conv2D, 4, 3), "data_format", "channels_last", "channels_first"),
        (partial(L.MaxPooling2D, 2), "padding", "valid", "same"),
        (partial(L.AveragePooling2D, 2), "data_format", "channels_last", "channels_first"),
        (partial(L.Flatten), "data_format", "channels_last", "channels_first"),
        (partial(L.Dropout, 0.5), "noise_shape", None, (None, 1, 1, 1)),
        (partial(L.LayerNormalization), "axis", -1, 1),
        (partial(L.Softmax), "axis", -1, 1),
        (partial(L.ReLU), "max_value", None, 6),
        (partial(L.ReLU), "threshold", 0, 1.0),
    ]:
        with pytest.raises(nn.InvalidValueError, match="model.layers.0.: .*train it with"):
            read(make(**{name: other}))
        read(make(**{name: wanted}))


@place(
    "files/keras_model.py _read_normalization: expected Normalization with mean and variance, got", "none", "its adapt"
)
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_a_normalization_that_is_not_adapted(refused, keras, build):
    normalization = keras.layers.Normalization()
    model = build(normalization, keras.layers.Dense(2, activation="sigmoid"))
    normalization.mean = normalization.variance = None
    with refused:
        nn.Network.from_keras(model)
    normalization.adapt(X)
    net = nn.Network.from_keras(model)
    np.testing.assert_allclose(net.state.layer_state[0][0], X.mean(0), rtol=1e-5)


@place(
    "files/keras_model.py _read_activation: expected the GELU by tanh, which is what nn_any",
    "the exact one",
    "functools.partial(keras.activations.gelu, approximate=True)",
)
def test_the_exact_gelu(refused, keras, build):
    dense = keras.layers.Dense(3, activation="gelu")
    model = build(dense, keras.layers.Dense(2, activation="sigmoid"))
    before = np.asarray(model(X).detach())
    with refused:
        nn.Network.from_keras(model)
    dense.activation = partial(keras.activations.gelu, approximate=True)
    net = nn.Network.from_keras(model)
    assert 0 < np.abs(net.feedforward(X) - before).max() < 0.001


@place(
    "files/keras_model.py _read_activation: expected an activation that nn_any has, one of {},",
    "'elu'",
    "relu, sigmoid",
)
def test_an_activation_that_is_not_known(refused, keras, build):
    L = keras.layers
    with refused:
        nn.Network.from_keras(build(L.Dense(3, activation="elu"), L.Dense(2, activation="sigmoid")))
    with pytest.raises(nn.InvalidValueError, match="lambda"):
        nn.Network.from_keras(build(L.Dense(3, activation=lambda x: x), L.Dense(2, activation="sigmoid")))
    nn.Network.from_keras(build(L.Dense(3, activation="relu"), L.Dense(2, activation="sigmoid")))


@place(
    "files/keras_model.py _own_loss: loss: expected a model compiled with a loss that", "cosine_similarity", "as loss"
)
def test_a_loss_of_keras_that_is_not_known(refused, keras, build):
    model = build(keras.layers.Dense(2))
    model.compile(loss="cosine_similarity")
    with refused:
        nn.Network.from_keras(model)
    assert nn.Network.from_keras(model, loss="mean_squared_error").task == "regression"
