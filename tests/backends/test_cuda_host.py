"""The CUDA sources give the definition's numbers: the very same text, built for the host with threads as fibres."""

import math

import numpy as np
import pytest
from conftest import need
from cuda_tools import HostKernel
from oracle import batch_gradients, batch_loss

import nn_any as nn
from nn_any.backends.cuda import plan_fused, window_shape
from nn_any.backends.engine import Engine
from nn_any.core import functional, primitives
from nn_any.core.batches import Preparation
from nn_any.core.state import TrainState


@pytest.fixture(autouse=True)
def _compiler():
    need("cxx")


class Fused:
    """The fused kernel on the host, used as an engine uses it on a GPU."""

    def __init__(
        self, folder, step, data, batch, *, shared_limit=227 * 1024, threads=None, order_dtype="int64", ahead=True
    ):
        columns = [(str(column.dtype), column.shape[1:]) for column in data]
        self.plan = plan_fused(step.recipe, batch, columns, shared_limit, order_dtype=order_dtype, threads=threads)
        self.kernel = HostKernel(
            folder, "fused_mlp", "fused_mlp", self.plan.macros, f"static_assert(Batch::AHEAD == {int(ahead)});"
        )
        self.data = data

    def run(self, params, order, rates, start=0, stop=None):
        """Parameters, (m, ...) for an ensemble, after the steps, and the losses (steps,) or (steps, m)."""
        stop = len(order) if stop is None else stop
        members = order.shape[1] if order.ndim == 3 else 1
        buffer = np.zeros((members, self.plan.numbers), params[0][0].dtype)
        for view, leaf in zip(self.plan.views(buffer), (leaf for layer in params for leaf in layer), strict=True):
            view[...] = leaf.reshape(view.shape)
        losses = np.full((len(order), members), np.nan, dtype=buffer.dtype)
        x, y, weights = (*self.data, None)[:3]
        strides = [np.int64(stride // order.itemsize) for stride in (*order.strides[:-1], 0)[:2]]
        assert order.strides[-1] == order.itemsize
        arguments = (buffer, x, y, weights, order, *strides, rates, np.int32(rates.ndim == 2), losses)
        self.kernel((members,), (self.plan.threads,), (*arguments, np.int32(start), np.int32(stop)))
        lead = (members,) if order.ndim == 3 else ()
        out = [view.copy().reshape(*lead, *view.shape[1:]) for view in self.plan.views(buffer)]
        for view in self.plan.views(buffer):
            view[...] = 0
        assert not buffer.any()  # what pads the rows is still zero
        losses = losses[start:stop] if order.ndim == 3 else losses[start:stop, 0]
        return tuple(zip(out[::2], out[1::2], strict=True)), losses


def make(layers, loss, data, *, dtype="float32", scale=None, initializer="scaled_normal"):
    net = nn.Network(layers, loss=loss, initializer=initializer, dtype=dtype, seed=3, device="cpu")
    labels = data[1].ndim == 1
    prepare = Preparation(dtype, net.outputs, scale, labels)
    return net, functional.train_step(net.layers, net.specification.loss, nn.SGD(1.0), prepare)


def compare(got, expected, rtol=2e-5):
    for got_layer, layer in zip(got, expected, strict=True):
        for a, b in zip(got_layer, layer, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def images(n=60, inputs=41, outputs=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, inputs)).astype("uint8"), rng.integers(0, outputs, n)


def orders(steps, batch, examples, seed=1, members=None):
    shape = (steps, batch) if members is None else (steps, members, batch)
    return np.random.default_rng(seed).integers(0, examples, shape)


def dense(*layers):
    return [nn.Dense(units, activation=activation) for units, activation in layers]


CASES = {
    "quadratic": ([41, *dense((13, "sigmoid"), (6, "sigmoid"))], "quadratic"),
    "quadratic-tanh": ([41, *dense((9, "tanh"), (7, "relu"), (6, "tanh"))], "quadratic"),
    "cross-entropy": ([41, *dense((33, "relu"), (6, "sigmoid"))], nn.losses.CrossEntropy(label_smoothing=0.2)),
    "log-likelihood": ([41, *dense((12, "tanh"), (6, "softmax"))], nn.losses.LogLikelihood(label_smoothing=0.1)),
    "leaky": ([41, *dense((12, nn.activations.LeakyReLU(0.3)), (6, "linear"))], "mean_squared_error"),
    "one-layer": ([41, *dense((6, "softmax"))], "log_likelihood"),
}


@pytest.mark.slow
@pytest.mark.parametrize("batch", [10, 7])
@pytest.mark.parametrize("case", CASES)
def test_steps_equal_the_definition(tmp_path, case, batch):
    """Each activation and loss, batches that differ, rates that change; the short batch is a kernel of its own."""
    layers, loss = CASES[case]
    data = images()
    net, step = make(layers, loss, data, scale=255)
    order, rates = orders(8, batch, 60), np.linspace(0.5, 0.05, 8, dtype="float32")
    state, losses = Engine().run(step, net.state, data, order, rates, 0, 8)
    got, got_losses = Fused(tmp_path, step, data, batch, threads=64).run(net.params, order, rates)
    np.testing.assert_allclose(got_losses, losses, rtol=2e-5)
    compare(got, state.params)
    assert abs(got[0][0] - net.params[0][0]).max() > 1e-3


def test_segments_rates_and_orders_take_effect(tmp_path):
    data = images()
    net, step = make(CASES["quadratic"][0], "quadratic", data, scale=255)
    kernel = Fused(tmp_path, step, data, 10, threads=96)
    order, rates = orders(6, 10, 60), np.full(6, 0.5, "float32")
    whole, losses = kernel.run(net.params, order, rates)
    half, first = kernel.run(net.params, order, rates, 0, 2)
    rest, second = kernel.run(half, order, rates, 2, 6)
    np.testing.assert_array_equal(np.concatenate([first, second]), losses)
    compare(rest, whole, rtol=0)
    still, _ = kernel.run(net.params, order, 0 * rates)
    compare(still, net.params, rtol=0)
    other, other_losses = kernel.run(net.params, order[::-1].copy(), rates)
    assert other_losses[0] != losses[0]
    assert abs(other[0][0] - whole[0][0]).max() > 1e-5
    slower, _ = kernel.run(net.params, order[:1], 0.5 * rates[:1])
    faster, _ = kernel.run(net.params, order[:1], rates[:1])
    moved = [2 * (s - p) - (f - p) for s, f, p in zip(slower[0], faster[0], net.params[0], strict=True)]
    assert max(abs(m).max() for m in moved) < 1e-6


@pytest.mark.parametrize("loss", ["quadratic", "cross_entropy"])
def test_steps_equal_the_book_one_example_at_a_time(tmp_path, loss):
    """In float64, against the loop over examples."""
    rng = np.random.default_rng(0)
    x, labels = rng.uniform(0, 1, (30, 11)), rng.integers(0, 4, 30)
    net, step = make([11, 8, 4], loss, (x, labels), dtype="float64")
    order, rates = orders(5, 9, 30), np.array([1.0, 0.5, 2.0, 0.1, 1.5])
    got, losses = Fused(tmp_path, step, (x, labels), 9, threads=32).run(net.params, order, rates)
    weights, biases = net.weights, net.biases
    targets = np.eye(4)[labels]
    for rows, rate, value in zip(order, rates, losses, strict=True):
        assert value == pytest.approx(batch_loss(weights, biases, x[rows], targets[rows], loss), rel=1e-12)
        nabla_b, nabla_w = batch_gradients(weights, biases, x[rows], targets[rows], loss)
        weights = [w - rate * g for w, g in zip(weights, nabla_w, strict=True)]
        biases = [b - rate * g for b, g in zip(biases, nabla_b, strict=True)]
    for (w, b), weight, bias in zip(got, weights, biases, strict=True):
        np.testing.assert_allclose(w, weight, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(b, bias, rtol=1e-11, atol=1e-13)


def stored(dtype, *shape):
    """Inputs as a data set stores them, and what they are divided by."""
    rng = np.random.default_rng(4)
    if dtype.startswith("float"):
        return rng.uniform(0, 1, shape).astype(dtype), None
    largest = 1 if dtype == "bool" else np.iinfo(dtype).max
    return rng.integers(0, largest, shape, endpoint=True).astype(dtype), float(largest)


WIDTHS = {  # inputs, hidden units, outputs: batch, the inputs' dtype, settings of the kernel
    "by-four": ([44, 13, 6], 10, "uint8", {"threads": 64}),
    "odd": ([43, 13, 5], 10, "uint8", {"threads": 64}),
    "odd-float": ([42, 15, 5], 9, "float32", {"threads": 96}),
    "by-four-float": ([20, 15, 5], 9, "float32", {"threads": 32}),
    "two-bytes": ([28, 9, 3], 6, "uint16", {"threads": 64}),
    "bool": ([24, 9, 3], 6, "bool", {"threads": 64}),
    "eight-bytes": ([12, 9, 3], 6, "float64", {"threads": 64}),
    "one-example": ([44, 13, 6], 1, "uint8", {"threads": 64}),
    "two-examples": ([44, 40, 2], 2, "uint8", {"threads": 64}),
    "one-unit": ([43, 1, 6], 5, "float32", {"threads": 64}),
    "one-input": ([1, 7, 3], 5, "float32", {"threads": 64}),
    "inputs-shared-by-warps": ([784, 7, 10], 10, "uint8", {"threads": 256}),
    "inputs-not-shared": ([784, 7, 10], 10, "uint8", {"threads": 32, "ahead": False}),
    "more-examples-than-threads": ([12, 5, 3], 40, "uint8", {"threads": 32}),
    "not-ahead": ([48, 6, 4], 33, "float32", {"threads": 32, "ahead": False}),
    "not-ahead-odd": ([47, 6, 4], 70, "uint8", {"threads": 64, "ahead": False}),
    "global": ([44, 50, 6], 10, "uint8", {"threads": 64, "shared_limit": 13_000}),
    "global-odd": ([43, 51, 5], 9, "float32", {"threads": 64, "shared_limit": 13_000}),
    "global-not-ahead": ([48, 50, 4], 33, "float32", {"threads": 32, "ahead": False, "shared_limit": 36_000}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", WIDTHS)
def test_widths_batches_and_stored_dtypes(tmp_path, case, dtype):
    """Against the book's loop over examples in float64."""
    sizes, batch, x_dtype, settings = WIDTHS[case]
    x, scale = stored(x_dtype, 50, *sizes[:1])
    labels = np.random.default_rng(6).integers(0, sizes[-1], 50)
    net, step = make(sizes, "quadratic", (x, labels), dtype=dtype, scale=scale)
    if dtype == "float64" and "shared_limit" in settings:
        settings = settings | {"shared_limit": 2 * settings["shared_limit"]}
    kernel = Fused(tmp_path, step, (x, labels), batch, **settings)
    assert f"SHARED_WEIGHTS={int('shared_limit' not in settings)}" in kernel.plan.macros
    order, rates = orders(4, batch, 50), np.array([1.0, 0.5, 2.0, 1.5], dtype)
    got, losses = kernel.run(net.params, order, rates)
    weights, biases = [[w.astype("float64") for w in kind] for kind in (net.weights, net.biases)]
    x, targets = x.astype("float64") / (scale or 1), np.eye(sizes[-1])[labels]
    rtol = 2e-5 if dtype == "float32" else 1e-11
    for rows, rate, value in zip(order, rates, losses, strict=True):
        assert value == pytest.approx(batch_loss(weights, biases, x[rows], targets[rows], "quadratic"), rel=rtol)
        nabla_b, nabla_w = batch_gradients(weights, biases, x[rows], targets[rows], "quadratic")
        weights = [w - rate * g for w, g in zip(weights, nabla_w, strict=True)]
        biases = [b - rate * g for b, g in zip(biases, nabla_b, strict=True)]
    for (w, b), weight, bias in zip(got, weights, biases, strict=True):
        np.testing.assert_allclose(w, weight, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(b, bias, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("order_dtype", ["int32", "int64"])
def test_an_order_is_read_as_it_lies(tmp_path, order_dtype):
    """Drawn member by member, (m, steps, batch), backwards, or one order for all members."""
    data = images()
    net, step = make([41, *dense((6, "sigmoid"))], "quadratic", data, scale=255)
    kernel = Fused(tmp_path, step, data, 7, threads=64, order_dtype=order_dtype)
    params = tuple(tuple(np.stack([leaf, 2 * leaf, -leaf]) for leaf in layer) for layer in net.params)
    drawn = np.random.default_rng(5).integers(0, 60, (3, 5, 9)).astype(order_dtype)
    rates = np.linspace(1, 0.2, 5, dtype="float32")
    shared = np.broadcast_to(drawn[0, :, None, :7], (5, 3, 7))
    for order in (drawn[:, :, :7].transpose(1, 0, 2), drawn[::-1, ::-1, 2:].transpose(1, 0, 2), shared):
        got, losses = kernel.run(params, order, rates)
        state = TrainState(params, ((),), (), net.state.step, np.zeros((3, 1), "int32"))
        state, expected = Engine().run(step, state, data, order, rates, 0, 5)
        np.testing.assert_allclose(losses, expected, rtol=2e-5)
        compare(got, state.params)
        in_line, _ = kernel.run(params, np.ascontiguousarray(order), rates)
        compare(in_line, got, rtol=0)


@pytest.mark.parametrize("shared_limit", [227 * 1024, 16 * 1024])
def test_the_book_network_in_shared_memory_and_out_of_it(tmp_path, shared_limit):
    data = images(50, 784 if shared_limit > 100_000 else 100, 10)
    net, step = make([data[0].shape[1], 30, 10], "quadratic", data, scale=255)
    kernel = Fused(tmp_path, step, data, 10, shared_limit=shared_limit)
    assert f"SHARED_WEIGHTS={int(shared_limit > 100_000)}" in kernel.plan.macros
    order, rates = orders(3, 10, 50), np.full(3, 3.0, "float32")
    state, losses = Engine().run(step, net.state, data, order, rates, 0, 3)
    got, got_losses = kernel.run(net.params, order, rates)
    np.testing.assert_allclose(got_losses, losses, rtol=1e-5)
    compare(got, state.params, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("own_rates", [False, True])
def test_an_ensemble_is_one_block_a_member(tmp_path, own_rates):
    """Members with orders and rates of their own; each equals its solo run exactly."""
    data = images()
    net, step = make(CASES["quadratic"][0], "quadratic", data, scale=255)
    kernel = Fused(tmp_path, step, data, 10, threads=64)
    rng = np.random.default_rng(5)
    params = tuple(tuple(rng.normal(size=(3, *leaf.shape)).astype("float32") for leaf in layer) for layer in net.params)
    order = orders(4, 10, 60, members=3)
    rates = rng.uniform(0.1, 1, (4, 3) if own_rates else 4).astype("float32")
    got, losses = kernel.run(params, order, rates)
    key = np.zeros((3, 1), "int32")
    state = TrainState(params, ((), ()), (), net.state.step, key)
    state, expected = Engine().run(step, state, data, order, rates, 0, 4)
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    compare(got, state.params)
    for member in range(3):
        own = tuple(tuple(leaf[member] for leaf in layer) for layer in params)
        solo, solo_losses = kernel.run(own, order[:, member].copy(), rates[:, member].copy() if own_rates else rates)
        np.testing.assert_array_equal(solo_losses, losses[:, member])
        compare(solo, tuple(tuple(leaf[member] for leaf in layer) for layer in got), rtol=0)


def test_weighted_examples_real_targets_and_large_batches(tmp_path):
    rng = np.random.default_rng(2)
    data = tuple(rng.normal(size=shape).astype("float32") for shape in ((40, 5), (40, 3)))
    data = (*data, rng.uniform(0, 2, 40).astype("float32"))
    net, step = make([5, *dense((8, "tanh"), (3, "linear"))], "mean_squared_error", data)
    order, rates = orders(5, 33, 40), np.full(5, 0.3, "float32")
    state, losses = Engine().run(step, net.state, data, order, rates, 0, 5)
    got, got_losses = Fused(tmp_path, step, data, 33).run(net.params, order, rates)
    np.testing.assert_allclose(got_losses, losses, rtol=2e-5)
    compare(got, state.params)


def test_one_output_and_labels(tmp_path):
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32"), np.array([0, 1, 1, 0])
    net, step = make([2, *dense((4, "sigmoid"), (1, "sigmoid"))], "quadratic", (x, y), initializer="normal")
    order, rates = np.tile(np.arange(4), (20, 1)), np.full(20, 5.0, "float32")
    state, losses = Engine().run(step, net.state, (x, y), order, rates, 0, 20)
    got, got_losses = Fused(tmp_path, step, (x, y), 4).run(net.params, order, rates)
    np.testing.assert_allclose(got_losses, losses, rtol=1e-4)
    compare(got, state.params, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["quadratic", "log-likelihood", "leaky"])
def test_a_divergent_member_shows(tmp_path, case):
    """Weights that are not a number give losses that are not, as the definition's do, and never a silent 0."""
    data = images()
    net, step = make(*CASES[case], data, scale=255)
    params = tuple(tuple(np.full_like(leaf, np.nan) for leaf in layer) for layer in net.params)
    _, losses = Fused(tmp_path, step, data, 10, threads=32).run(params, orders(1, 10, 60), np.ones(1, "float32"))
    assert np.isnan(losses).all()


def normal(*shape, seed=0, dtype="float64"):
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(dtype)


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    need("cxx")

    def build(entry):
        return HostKernel(tmp_path_factory.mktemp(entry), "windows", entry, ["REAL=float"])

    return {entry: build(entry) for entry in ("unfold", "fold", "max_pool", "max_pool_gradient")}


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [((9, 7), (3, 2), (1, 1)), ((9, 8), (3, 3), (2, 3)), ((8, 6), (2, 2), (2, 2)), ((7, 7), (2, 3), (3, 3))],
)
def test_windows_equal_their_definitions(windows, size, window, stride):
    xp = nn.select_device("numpy").xp
    shape = window_shape(size, 3, window, stride)
    rows, columns, area = int(shape["rows"]), int(shape["columns"]), math.prod(window)
    images = normal(2, 4, *size, 3, dtype="float32").round(1)  # with equals among the largest
    settings = {"window": window, "stride": stride, "xp": xp}

    def call(name, *arrays):
        out = arrays[1] if name == "max_pool" else arrays[-1]
        windows[name]((-(-out.size // 256),), (256,), (*arrays, shape, np.int64(out.size)))
        return out

    parts = call("unfold", images, np.full((2, 4, rows, columns, area, 3), np.nan, "float32"))
    np.testing.assert_array_equal(parts, primitives.definition("unfold")(images, **settings))
    parts = normal(*parts.shape, dtype="float32")
    folded = call("fold", parts, np.full_like(images, np.nan))
    expected = primitives.definition("fold")(parts, size=size, **settings)
    np.testing.assert_allclose(folded, expected, rtol=1e-6, atol=1e-6)

    places = np.full((2, 4, rows, columns, 3), -1, "int32")
    largest = call("max_pool", images, np.full(places.shape, np.nan, "float32"), places)
    expected, expected_places = primitives.definition("max_pool")(images, **settings)
    np.testing.assert_array_equal(largest, expected)
    np.testing.assert_array_equal(places, expected_places)
    delta = normal(*largest.shape, dtype="float32")
    gradient = call("max_pool_gradient", places, delta, np.full_like(images, np.nan))
    expected = primitives.definition("max_pool_gradient")(expected_places, delta, size=size, **settings)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)


def test_the_largest_of_what_is_not_a_number(windows):
    images = np.array([1, np.nan, 3, 2, 5, 4, 0, np.nan], "float32").reshape(2, 2, 2, 1)
    largest, places = np.zeros((2, 1, 1, 1), "float32"), np.zeros((2, 1, 1, 1), "int32")
    shape = window_shape((2, 2), 1, (2, 2), (2, 2))
    windows["max_pool"]((1,), (256,), (images, largest, places, shape, np.int64(2)))
    assert np.isnan(largest).all()
    assert places.ravel().tolist() == [1, 3]
