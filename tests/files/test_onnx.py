"""ONNX files: run by onnxruntime, they give what the network gives."""

import json
import math
import os
import sys
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
import pytest

import nn_any as nn
from nn_any.core import primitives
from nn_any.files import onnx_recorded

FLOATS = {"float32": 1e-5, "float64": 1e-13}
"""How far results may lie apart, in each dtype, relative to the largest."""
IMAGES = (7, 6, 2)
A = nn.layers.Activation
LAYERS = {
    "Activation": [lambda a: [5, A(a)], lambda a: [IMAGES, A(a), nn.Flatten()]],
    "AveragePool2D": [
        lambda a: [IMAGES, nn.AveragePool2D(2), A(a), nn.Flatten()],
        lambda a: [IMAGES, nn.AveragePool2D((3, 2), stride=(1, 2)), A(a), nn.Flatten()],
    ],
    "BatchNorm": [
        lambda a: [5, nn.BatchNorm(epsilon=0.01), A(a)],
        lambda a: [(4, 3), nn.BatchNorm(), A(a), nn.Flatten()],
        lambda a: [IMAGES, nn.BatchNorm(), A(a), nn.Flatten()],
    ],
    "Conv2D": [
        lambda a: [IMAGES, nn.Conv2D(3, 2, activation=a), nn.Flatten()],
        lambda a: [IMAGES, nn.Conv2D(3, (2, 3), activation=a, stride=(1, 2)), nn.Flatten()],
        lambda a: [IMAGES, nn.Conv2D(3, 3, activation=a, padding="same"), nn.Flatten()],
        lambda a: [IMAGES, nn.Conv2D(3, (4, 3), activation=a, padding="same", stride=(3, 2)), nn.Flatten()],
    ],
    "Dense": [lambda a: [5, nn.Dense(3, activation=a)]],
    "Dropout": [lambda a: [5, nn.Dropout(0.5), A(a)], lambda a: [5, A(a), nn.Dropout(0.5)]],
    "ElasticDistortion": [lambda a: [IMAGES, nn.ElasticDistortion(), A(a), nn.Flatten()]],
    "Flatten": [
        lambda a: [IMAGES, nn.Flatten(), A(a)],
        lambda a: [IMAGES, nn.MaxPool2D(2), nn.Flatten(), A(a)],
        lambda a: [(7, 6, 1), nn.MaxPool2D(2), nn.Flatten(), A(a)],
        lambda a: [(2, 2, 3), nn.MaxPool2D(2), nn.Flatten(), A(a)],
        lambda a: [5, nn.Flatten(), A(a)],
    ],
    "LayerNorm": [
        lambda a: [5, nn.LayerNorm(epsilon=0.01), A(a)],
        lambda a: [(7, 6, 9), nn.MaxPool2D(2), nn.LayerNorm(), A(a), nn.Flatten()],
    ],
    "MaxPool2D": [
        lambda a: [IMAGES, nn.MaxPool2D(2), A(a), nn.Flatten()],
        lambda a: [IMAGES, nn.MaxPool2D((3, 2), stride=(1, 2)), A(a), nn.Flatten()],
    ],
    "RandomAffine": [lambda a: [IMAGES, nn.RandomAffine(rotation=10), A(a), nn.Flatten()]],
    "Standardize": [
        lambda a: [5, nn.Standardize(), A(a)],
        lambda a: [IMAGES, nn.Standardize(), A(a), nn.Flatten()],
        lambda a: [5, nn.Dense(3, activation=a), nn.Standardize(invert=True)],
    ],
}
"""Networks about each registered layer, with an activation in it."""
BUILT_IN = [name for name in nn.layers.names() if hasattr(nn.layers, name)]
ACTIVATIONS = [name for name in nn.activations.names() if type(nn.activations.get(name)).__module__[:6] == "nn_any"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.onnx"


@pytest.fixture(autouse=True)
def _silence(capfd):
    """Neither onnx nor onnxruntime has anything to say."""
    yield
    assert capfd.readouterr() == ("", "")


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def with_numbers(net):
    """A network whose parameters and layer states are random; variances and deviations are above 0."""
    rng = np.random.default_rng(1)

    def numbers(array):
        return net.device.asarray(0.2 + rng.random(tuple(array.shape)), net.dtype)

    layer_state = tuple(tuple(numbers(array) for array in each) for each in net.state.layer_state)
    net.set_parameters({name: rng.normal(size=tuple(a.shape)) * 0.7 for name, a in net.parameters.items()})
    net.state = net.state._replace(layer_state=layer_state)
    return net


def assert_exported(net, path, x=None, runs=session):
    """For batches of one and of five the file gives what the network gives."""
    net.to_onnx(path)
    ran = runs(path)
    x = np.random.default_rng(0).normal(size=(5, *net.input_shape)) if x is None else x
    for n in (1, 5):
        (outputs,) = ran.run(None, {"inputs": x[:n].astype(net.dtype)})
        wanted = nn.to_numpy(net.feedforward(x[:n]))
        assert outputs.dtype == wanted.dtype == net.dtype
        np.testing.assert_allclose(outputs, wanted, rtol=0, atol=FLOATS[net.dtype] * max(1e-3, np.abs(wanted).max()))


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_layer_with_every_activation(name, activation, dtype, path):
    for build in LAYERS[name]:
        assert_exported(with_numbers(nn.Network(build(activation), device="numpy", dtype=dtype, seed=1)), path)


def test_images_are_turned_where_an_operator_needs_it(path):
    layers = [(12, 12, 2), nn.Standardize(), nn.Conv2D(4, 3, activation="relu"), nn.BatchNorm(), A("softmax")]
    layers += [nn.MaxPool2D(2), nn.Conv2D(3, 2, activation="relu"), nn.AveragePool2D(2), nn.Dropout(0.5)]
    layers += [nn.Flatten(), nn.Dense(5, activation="gelu"), nn.Dense(3, activation="softmax")]
    assert_exported(with_numbers(nn.Network(layers, loss="log_likelihood", device="numpy", seed=1)), path)
    front = ["Sub", "Div", "Transpose", "Conv", "Relu", "BatchNormalization", "Softmax", "MaxPool", "Conv", "Relu"]
    assert operators(path) == [*front, "AveragePool", "Transpose", "Flatten", "Gemm", "Gelu", "Gemm", "Softmax"]


def test_what_the_file_says(path):
    net = nn.Network([(8, 8, 1), nn.Conv2D(4, 3), nn.Flatten(), 3], loss="cross_entropy", device="numpy", seed=1)
    net.to_onnx(path)
    model = onnx.load(path)
    graph = model.graph
    assert (model.producer_name, model.producer_version) == ("nn_any", nn.__version__)
    assert (model.ir_version, [(entry.domain, entry.version) for entry in model.opset_import]) == (9, [("", 20)])
    ends = [(end.name, [d.dim_param or d.dim_value for d in end.type.tensor_type.shape.dim]) for end in graph.input]
    ends += [(end.name, [d.dim_param or d.dim_value for d in end.type.tensor_type.shape.dim]) for end in graph.output]
    assert ends == [("inputs", ["n", 8, 8, 1]), ("outputs", ["n", 3])]
    assert graph.input[0].doc_string == "(n, height, width, channels)"
    assert {entry.key: json.loads(entry.value) for entry in model.metadata_props} == {"task": "classification"}
    assert [node.name for node in graph.node] == [
        *("layers.0.Transpose", "layers.0.Conv", "layers.0.Sigmoid"),
        *("layers.1.Transpose", "layers.1.Flatten", "layers.2.Gemm", "layers.2.Sigmoid"),
    ]
    names = ["layers.0.weights", "layers.0.biases", "layers.2.weights", "layers.2.biases"]
    assert [constant.name for constant in graph.initializer] == names
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(graph.initializer[2]), net.weights[1])


def test_trained_networks(path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, size=(40, 8, 8, 1)), rng.integers(3, size=40)
    layers = [(8, 8, 1), nn.Standardize(), nn.Conv2D(4, 3), nn.BatchNorm(), A("relu"), nn.MaxPool2D(2), nn.Flatten()]
    net = nn.Network([*layers, nn.Dropout(0.3), nn.LayerNorm(), 3], loss="log_likelihood", device="numpy", seed=1)
    net.fit((x, y), epochs=3, batch_size=10, optimizer=nn.Adam(0.01))
    assert_exported(net, path, x)
    targets = 1000 + 50 * rng.normal(size=(40, 2))
    net = nn.Network([64, nn.Standardize(), 5, nn.Dense(2, activation="linear"), nn.Standardize(invert=True)], seed=1)
    net.fit((x.reshape(40, -1), targets), epochs=3, batch_size=10, optimizer=nn.Adam(0.01))
    assert_exported(net, path, x.reshape(40, -1))


def test_from_every_backend(backend, path):
    layers = [(6, 6, 2), nn.Conv2D(3, 2), nn.BatchNorm(), nn.Flatten(), nn.Dense(3, activation="softmax")]
    net = nn.Network(layers, loss="log_likelihood", device=backend.device, seed=1)
    assert_exported(with_numbers(net), path)


def test_nothing_but_identities(path):
    assert_exported(nn.Network([4, nn.Dropout(0.5)], device="numpy"), path)
    assert operators(path) == ["Identity"]


def test_the_inputs_of_an_untrained_standardize_pass_on(path):
    assert_exported(nn.Network([4, nn.Standardize(), 3], device="numpy"), path)
    assert operators(path) == ["Gemm", "Sigmoid"]


# ensembles


def lose(ensemble, *lost):
    """Let members have diverged, with parameters that no mean survives."""
    progress = ensemble.snapshot.progress
    each = tuple(replace(member, diverged=i in lost) for i, member in enumerate(progress.members))
    ensemble.snapshot = ensemble.snapshot._replace(progress=replace(progress, members=each))


@pytest.mark.parametrize("dtype", FLOATS)
def test_an_ensemble_is_the_mean_of_its_members(path, dtype):
    layers = [(6, 5, 2), nn.Standardize(), nn.Conv2D(3, 2), nn.BatchNorm(), nn.Flatten(), 3]
    ensemble = with_numbers(nn.Ensemble(layers, 4, device="numpy", dtype=dtype, seed=1))
    assert_exported(ensemble, path)
    for lost in ((1, 2), (0, 1, 3), (0, 1, 2, 3)):
        lose(ensemble, *lost)
        before = path.read_bytes()
        assert_exported(ensemble, path)
        assert path.read_bytes() != before


def test_many_members(path):
    assert_exported(nn.Ensemble([20, 10, 3], 70, device="numpy", seed=1), path)
    assert operators(path)[:2] == ["Gemm", "Sigmoid"]


# data as they are stored


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_scale_is_in_the_model(path, dtype):
    net = nn.Network([(6, 6, 1), nn.Conv2D(3, 2), nn.Flatten(), 3], device="numpy", dtype=dtype, seed=1)
    net.schema = nn.Schema(scale=255, class_names=["a", "b", "ü"])
    raw = np.random.default_rng(0).integers(256, size=(5, 6, 6, 1), dtype=np.uint8)
    assert_exported(net, path, raw)
    assert operators(path)[0] == "Div"
    model = onnx.load(path)
    assert model.graph.input[0].doc_string.startswith("(n, height, width, channels), as they are stored")
    known = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert known == {"task": "classification", "class_names": ["a", "b", "ü"]}
    ensemble = nn.Ensemble([16, 5, 2], 3, task="regression", device="numpy", dtype=dtype, seed=1)
    ensemble.schema = nn.Schema(scale=16, feature_names=map(str, range(16)), target_names=["x", "y"])
    assert_exported(ensemble, path, raw[:, :4, :4, 0].reshape(5, 16))
    assert operators(path).count("Div") == 2
    known = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    names = [str(i) for i in range(16)]
    assert known == {"task": "regression", "feature_names": names, "target_names": ["x", "y"]}


# layers and activations of one's own


@dataclass(frozen=True)
class Own(nn.layers.Layer):
    """A layer that is a formula."""

    formula: object
    outputs: tuple = ()

    def output_shape(self, input_shape):
        return self.outputs or input_shape

    def init(self, rng, input_shape):
        return rng.normal(size=3), rng.normal(size=(4, 3))  # packed

    def pack(self, *arrays):
        return arrays[::-1]

    def unpack(self, params):
        return params[::-1]

    def forward(self, params, state, x, context):
        return self.formula(x, *self.unpack(params), context.xp), state, x


def own(formula, outputs=(), shape=(4,), **arguments):
    """A network of such a layer."""
    return nn.Network([shape, Own(formula, outputs), nn.Flatten()], device="numpy", seed=1, **arguments)


def of_one(name):
    inside = {"acosh": lambda x, xp: 1 + xp.abs(x)}
    inside |= dict.fromkeys(("acos", "asin", "atanh"), lambda x, xp: xp.tanh(x))
    inside |= dict.fromkeys(("log", "sqrt"), lambda x, xp: xp.abs(x))
    if name in ("logical_not", "bitwise_invert"):
        return lambda x, w, b, xp: xp.astype(getattr(xp, name)(x > 0), x.dtype)
    return lambda x, w, b, xp: getattr(xp, name)(inside.get(name, lambda x, xp: x)(x, xp))


def of_two(name):
    def formula(x, w, b, xp):
        function = getattr(xp, name)
        if name.startswith(("logical", "bitwise")):
            return xp.astype(function(x > 0, x < 0.5), x.dtype)
        if name == "pow":
            return xp.pow(xp.abs(x), x) + x**2
        return xp.astype(function(x, w[:, 0]), x.dtype)

    return formula


UNARY = {
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "bitwise_invert", "ceil", "cosh", "exp"),
    *("floor", "log", "logical_not", "negative", "round", "sign", "sin", "sinh", "sqrt", "tan", "tanh"),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", onnx_recorded._ELEMENTWISE)
def test_every_elementwise_function(name, dtype, path):
    net = own((of_one if name in UNARY else of_two)(name), dtype=dtype)
    if dtype == "float64" and onnx_recorded._ELEMENTWISE[name] in onnx_recorded._NOT_IN_DOUBLE:
        with pytest.raises(TypeError, match="float32"):
            net.to_onnx(path)
        net = net.astype("float32")
    assert_exported(net, path)


FORMULAS = {
    "cos": lambda x, w, b, xp: xp.cos(10 * x),
    "expm1": lambda x, w, b, xp: xp.expm1(x * xp.asarray([1e-6, 1e-2, 1, 20], dtype=x.dtype)),
    "log1p": lambda x, w, b, xp: xp.log1p(xp.abs(x) * xp.asarray([1e-6, 1e-2, 1, 1e6], dtype=x.dtype)),
    "defined by others": lambda x, w, b, xp: (
        xp.square(x) + xp.log2(xp.abs(x)) + xp.log10(xp.square(x)) + xp.trunc(3 * x)
    ),
    "logaddexp": lambda x, w, b, xp: xp.logaddexp(x, 30 * w[:, 0]) + xp.reciprocal(x),
    "tests": lambda x, w, b, xp: odd_tests(x, xp),
    "deviations": lambda x, w, b, xp: (x - xp.mean(x, axis=-1, keepdims=True)) / xp.std(x, axis=-1, keepdims=True),
    "variance": lambda x, w, b, xp: x * xp.var(x, axis=1, correction=1)[:, None] + xp.vecdot(x, w[:, 0])[:, None],
    "clip": lambda x, w, b, xp: xp.clip(x, -0.5, 0.5),
    "clip to arrays": lambda x, w, b, xp: xp.clip(x, w[:, 0], max=w[:, 0] + 0.5),
    "clip above": lambda x, w, b, xp: xp.clip(x, max=0.2),
    "numbers on the left": lambda x, w, b, xp: 2 - 1 / (3 + xp.abs(x)) + 2 * x,
    "where": lambda x, w, b, xp: xp.where(x > 0.1, x, xp.zeros_like(x)) + xp.where(x > w[:, 0], 1.0, x),
    "ones like": lambda x, w, b, xp: (xp.ones_like(x) + 1) * x - xp.full_like(x, 3.0),
    "zeros of that shape": lambda x, w, b, xp: xp.maximum(x, xp.zeros(x.shape, dtype=x.dtype)),
    "comparison as a number": lambda x, w, b, xp: x * xp.astype(x > 0, x.dtype),
    "not equal": lambda x, w, b, xp: xp.where(~(x == 0), x, -x),
    "sums": lambda x, w, b, xp: x - xp.sum(x, axis=-1, keepdims=True) * xp.max(x, axis=1, keepdims=True),
    "mean and product": lambda x, w, b, xp: x + xp.mean(x, axis=-1)[:, None] + xp.prod(x, axis=(-1,))[..., None],
    "count": lambda x, w, b, xp: x + xp.astype(xp.sum(xp.astype(x > 0, xp.int64), axis=-1), x.dtype)[:, None],
    "min over all but the batch": lambda x, w, b, xp: x - xp.min(x[:, None, :], axis=(1, 2), keepdims=True)[:, 0, :],
    "products": lambda x, w, b, xp: primitives.affine(x @ w, w @ w.mT @ w, w[:, 0], xp=xp),
    "a product with its transpose": lambda x, w, b, xp: (x[..., None] @ x[:, None, :]).mT[:, 0, :],
    "softmax": lambda x, w, b, xp: nn.activations.get("softmax")(x, xp=xp),
    "sigmoid": lambda x, w, b, xp: primitives.sigmoid(x, xp=xp),
    "slices": lambda x, w, b, xp: xp.concat([x[:, 2:], x[..., :1], x[:, 1::2][:, :1]], axis=-1),
    "backwards": lambda x, w, b, xp: x[..., ::-1] + x[:, -1:] + x[..., 1][..., None],
    "some and new axes": lambda x, w, b, xp: x[:, None, 1:3, None][:, 0, :, 0][:, 1, None] + x,
    "stack": lambda x, w, b, xp: xp.stack([x[:, 0], x[:, 1], -x[:, 2], x[:, 3] ** 2], axis=-1),
    "reshape": lambda x, w, b, xp: xp.reshape(xp.reshape(x, (-1, 2, 2)).mT, x.shape),
    "reshape over the batch": lambda x, w, b, xp: xp.reshape(xp.reshape(x, (x.shape[0] * 2, 2)) @ w[:2, :2], x.shape),
    "moved axes": lambda x, w, b, xp: xp.moveaxis(xp.reshape(x, (-1, 2, 2, 1)), 1, -1)[:, :, 0, 0] @ w[:2, :1] + x,
    "permuted axes": lambda x, w, b, xp: xp.permute_dims(xp.reshape(x, (-1, 2, 2)), (0, 2, 1))[:, 0, :] @ w[:2, :1] + x,
    "squeezed": lambda x, w, b, xp: xp.squeeze(xp.expand_dims(x, axis=1) * 2, axis=1),
    "take": lambda x, w, b, xp: xp.take(x, xp.asarray([3, 0, 1, 1]), axis=1),
    "broadcast": lambda x, w, b, xp: xp.broadcast_to(x[:, :1], x.shape) + x,
    "a row for each example": lambda x, w, b, xp: x + xp.broadcast_to(w[:, 0], x.shape),
    "a sum for each example": lambda x, w, b, xp: xp.broadcast_to(xp.sum(x[:1, :], axis=0), x.shape) + x,
    "a column of ones": lambda x, w, b, xp: xp.concat([x[:, :3], xp.ones((x.shape[0], 1), dtype=x.dtype)], axis=1),
    "constants alone": lambda x, w, b, xp: xp.zeros_like(x) + w[:, 0],
    "whole numbers": lambda x, w, b, xp: xp.astype(xp.astype(xp.round(5 * x), xp.int64) / 2 > 1, x.dtype) + x,
    "numbers of two dtypes": lambda x, w, b, xp: xp.astype(xp.stack([x, xp.astype(x, xp.float64)]), x.dtype)[1, ...],
    "all of the rows": lambda x, w, b, xp: x[: x.shape[0], ...] + x[0:, :],
    "two axes of examples": lambda x, w, b, xp: (
        2 * xp.reshape(xp.reshape(x[:, None, 0] * x[None, :, 1], (-1,)), (x.shape[0],) * 2) @ x
    ),
    "padding": lambda x, w, b, xp: nn_pad(x, xp)[:, 1:5] + x,
    "the same twice": lambda x, w, b, xp: xp.exp(-x * x) + xp.exp(-x * x) / (1 + xp.exp(-x * x)),
    "a long chain": lambda x, w, b, xp: chain(x),
}


def odd_tests(x, xp):
    odd = xp.where(x > 0.3, math.inf, xp.where(x < -0.3, math.nan, x))
    tests = [xp.isinf(odd), ~xp.isnan(odd), xp.isfinite(odd), odd != x]
    return sum(2**i * xp.astype(test, x.dtype) for i, test in enumerate(tests))


def nn_pad(x, xp):
    import array_api_extra as xpx

    return xpx.pad(x, [(0, 0), (2, 1)], constant_values=1.5, xp=xp)


def chain(x):
    for _ in range(300):
        x = x * 0.99 + 0.01
    return x


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_formulas(formula, dtype, path):
    assert_exported(own(formula, dtype=dtype), path)


def test_a_formula_that_changes_the_shape(path):
    assert_exported(own(lambda x, w, b, xp: (x @ w + b) / 2, (3,)), path)
    assert operators(path) == ["MatMul", "Add", "Div"]
    assert_exported(own(lambda x, w, b, xp: x * x, (), (2, 3, 4)), path)


def test_an_own_formula_between_images(path):
    layers = [IMAGES, nn.Conv2D(4, 3), Own(lambda x, w, b, xp: x @ w + b, (5, 4, 3)), nn.MaxPool2D(2), nn.Flatten()]
    assert_exported(nn.Network(layers, device="numpy", seed=1), path)


def test_an_ensemble_of_an_own_formula(path):
    layers = [4, Own(lambda x, w, b, xp: x @ w + b[..., None, :], (3,)), 2]
    assert_exported(nn.Ensemble(layers, 3, device="numpy", seed=1), path)


class Softsign(nn.activations.Activation):
    name = "softsign"

    def __call__(self, z, *, xp):
        return z / (1 + xp.abs(z))

    def derivative(self, z, a, *, xp):
        return 1 / (1 + xp.abs(z)) ** 2


class Doubled(nn.activations.ReLU):
    """It has the name of another one, and other values."""

    def __call__(self, z, *, xp):
        return 2 * super().__call__(z, xp=xp)


@pytest.mark.parametrize("activation", [Softsign(), Doubled()])
def test_an_own_activation(activation, path):
    net = nn.Network([IMAGES, nn.Conv2D(4, 3, activation=activation), nn.Flatten(), 3], device="numpy", seed=1)
    assert_exported(net, path)


REFUSED = {
    "no translation": (lambda x, w, b, xp: xp.sort(x, axis=-1), "sort"),
    "several results": (lambda x, w, b, xp: xp.unstack(x, axis=1)[0][:, None] + x, "unstack"),
    "a value is read": (lambda x, w, b, xp: x * float(xp.sum(x)), "float"),
    "a mask": (lambda x, w, b, xp: xp.where(x > 0, x, x[x > 0][0]), "mask"),
    "elements by an array": (lambda x, w, b, xp: x[:, xp.asarray([0, 1, 2, 3])], "by an array"),
    "a part is changed": (lambda x, w, b, xp: changed(x), "changes a part"),
    "the number of examples": (lambda x, w, b, xp: x / x.shape[0], "another number of examples"),
    "a constant of their number": (lambda x, w, b, xp: x + xp.arange(x.shape[0], dtype=x.dtype)[:, None], "a constant"),
    "rows from the end": (lambda x, w, b, xp: x - x[-1:, :], "other rows"),
    "as many rows as there are": (lambda x, w, b, xp: x[:3, :] * xp.ones_like(x), "other rows"),
    "twice as many rows": (
        lambda x, w, b, xp: (xp.zeros((2 * x.shape[0], 1), dtype=x.dtype) @ x[:1, :])[: x.shape[0], :],
        "a shape",
    ),
    "nothing of the inputs": (lambda x, w, b, xp: np.ones(x.shape), "does not depend on the inputs"),
    "another dtype": (lambda x, w, b, xp: xp.where(x > 0, 1.0, xp.zeros(x.shape)), "float64 for inputs of float32"),
}


def changed(x):
    x = x * 1
    x[:, 0] = 0.0
    return x


@pytest.mark.parametrize(("formula", "why"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_operators_is_refused_by_name(formula, why, path):
    path.write_bytes(b"old")
    layer = Own(formula)
    with pytest.raises(TypeError, match=why) as refused:
        nn.Network([4, 4, layer, 3], device="numpy").to_onnx(path)
    assert str(refused.value).startswith(f"layers, entry 2, {layer!r}: ")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


# what can go wrong


def test_a_file_that_fails_the_check_is_not_written(path, monkeypatch):
    from nn_any.files import onnx_model

    path.write_bytes(b"old")
    monkeypatch.setattr(onnx_model, "OPSET", 12)  # it has no LayerNormalization
    with pytest.raises(onnx.checker.ValidationError):
        nn.Network([4, nn.LayerNorm(), 3], device="numpy").to_onnx(path)
    assert path.read_bytes() == b"old"


def test_without_onnx(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match="python -m pip install onnx") as error:
        nn.Network([4, 3], device="numpy").to_onnx(path)
    assert error.value.name == "onnx"
    assert not path.exists()
