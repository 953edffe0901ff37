"""The host's side of the CuPy engine, with NumPy in the place of CuPy and our CUDA kernels built for the host."""

import importlib
import logging
import sys
from types import SimpleNamespace

import fake_cupy
import numpy as np
import pytest
from conftest import need

import nn_any as nn
from nn_any.backends.engine import Engine, EngineError
from nn_any.core import functional, primitives
from nn_any.core.batches import Preparation
from nn_any.core.state import TrainState
from nn_any.core.trees import tree_leaves, tree_map


@pytest.fixture
def cupy(monkeypatch, tmp_path):
    """The modules of the CuPy backend, on the stand-in."""
    need("cxx")
    compute_types = fake_cupy.install(monkeypatch, tmp_path)
    names = ("kernels", "fused", "graph", "engine")
    modules = {name: importlib.import_module(f"nn_any.backends._cupy_{name}") for name in names}
    CapturedSteps = modules["graph"].CapturedSteps
    monkeypatch.setattr(modules["fused"], "_address", lambda array: array.ctypes.data)

    def captured(self, steps):
        """In the place of a graph: its work done anew at each launch."""

        def launch(stream):
            assert stream is self._stream
            with self._private():
                self._advance(steps)

        return SimpleNamespace(launch=launch)

    real = CapturedSteps._captured
    monkeypatch.setattr(CapturedSteps, "_captured", captured)
    yield SimpleNamespace(**modules, compute_types=compute_types, real_captured=real)
    for name in names:
        sys.modules.pop(f"nn_any.backends._cupy_{name}", None)


def images(n=50, shape=(20,), classes=4):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, *shape)).astype("uint8"), rng.integers(0, classes, n)


def make(layers, optimizer, loss="quadratic"):
    net = nn.Network(layers, loss=loss, initializer="scaled_normal", seed=1, device="cpu")
    rule = optimizer.update_rule()
    prepare = Preparation("float32", net.outputs, 255.0, True)
    step = functional.train_step(net.layers, net.specification.loss, rule, prepare)
    params, state, _, count, key = net.state
    return step, TrainState(params, state, rule.init(params), count, key)


def equal(got, expected, rtol=1e-5):
    for a, b in zip(tree_leaves(got), tree_leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def check_engine(engine, step, state, data, order, rates, name, cut):
    """Segments of an epoch, twice at other rates: as the eager engine has it, and nothing written that callers hold."""
    kept = tree_map(np.copy, state)
    for factor in (1.0, 0.5):
        now, wanted = state, state
        for start, stop in sorted({(0, cut), (cut, len(order))} - {(cut, cut)}):
            now, losses = engine.run(step, now, data, order, (factor * rates).astype("float32"), start, stop)
            wanted, expected = Engine().run(step, wanted, data, order, factor * rates, start, stop)
            np.testing.assert_allclose(losses, expected, rtol=1e-4)
            before = tree_map(np.copy, now)
        equal(now, wanted, 1e-4)
        equal(state, kept, 0)
        engine.run(step, state, data, order[::-1].copy(), rates, 0, len(order))
        equal(now, before, 0)  # the arrays that were handed out are the caller's, whatever runs later
    assert engine.name == name


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_the_fused_kernel_reads_orders_as_they_were_drawn(cupy, monkeypatch, dtype):
    """Without a copy, unless the examples of a batch do not lie side by side."""
    step, (params, state, none, count, _) = make([20, 8, 4], nn.SGD(1.0))
    several = tree_map(lambda leaf: np.stack([leaf, leaf + 0.1, -leaf]), params)
    state = TrainState(several, state, none, count, np.zeros((3, 1), "int32"))
    drawn = np.random.default_rng(3).integers(0, 50, (3, 4, 5)).astype(dtype)
    engine, copies = cupy.engine.CupyEngine(0), []
    monkeypatch.setattr(cupy.fused.cupy, "ascontiguousarray", lambda a, dtype=None: copies.append(a.ndim) or a.copy())
    check_engine(engine, step, state, images(), drawn.transpose(1, 0, 2), RATES[:4], "cupy fused kernel", 2)
    assert 3 not in copies
    data, turned = images(), drawn.transpose(1, 0, 2)
    first, _ = engine.run(step, state, data, turned, RATES[:4], 0, 4)
    second, _ = engine.run(step, state, data, turned.astype("int64"), RATES[:4], 0, 4)
    equal(first, second, 0)  # one kernel, whichever of the two dtypes it was compiled for
    check_engine(engine, step, state, images(), drawn.transpose(2, 0, 1)[:4, :, :3], RATES[:4], "cupy fused kernel", 2)
    assert 3 in copies


@pytest.mark.parametrize("inputs", [20, 21])
def test_inputs_that_begin_anywhere(cupy, inputs):
    """Rows that are read by four have to begin where that can be done; others need not."""
    step, state = make([inputs, 4], nn.SGD(1.0))
    x, y = images(shape=(inputs,))
    memory = np.zeros(x.size + 1, "uint8")
    memory[1:] = x.ravel()
    x = memory[1:].reshape(x.shape)
    assert x.ctypes.data % 4 == 1
    engine = cupy.engine.CupyEngine(0)
    name = "cupy graph" if inputs == 20 else "cupy fused kernel"
    check_engine(engine, step, state, (x, y), orders(6, 5), RATES[:6], name, 2)
    assert ("do not begin at a multiple of 4 bytes" in engine.fused_reason) == (inputs == 20)


def orders(steps, batch, members=None):
    shape = (steps, batch) if members is None else (steps, members, batch)
    return np.random.default_rng(2).integers(0, 50, shape)


RATES = np.linspace(0.5, 0.1, 37, dtype="float32")


def test_the_fused_kernel(cupy, monkeypatch):
    monkeypatch.setattr(cupy.fused, "steps_a_launch", lambda nanoseconds, members, multiprocessors: 3)
    step, state = make([20, 8, 4], nn.SGD(1.0))
    engine = cupy.engine.CupyEngine(0)
    check_engine(engine, step, state, images(), orders(37, 5), RATES, "cupy fused kernel", 4)
    check_engine(engine, step, state, images(), orders(1, 3), RATES[:1], "cupy fused kernel", 1)
    assert engine.compile_seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize("own_rates", [False, True])
def test_the_fused_kernel_on_an_ensemble(cupy, own_rates):
    step, (params, state, none, count, _) = make([(4, 5, 1), nn.Flatten(), 8, 4], nn.SGD(1.0))
    several = tree_map(lambda leaf: np.stack([leaf, leaf + 0.1, -leaf]), params)
    state = TrainState(several, state, none, count, np.zeros((3, 1), "int32"))
    rates = RATES[:6, None] * np.array([1, 2, 0.5], "float32") if own_rates else RATES[:6]
    engine = cupy.engine.CupyEngine(0)
    check_engine(engine, step, state, images(shape=(4, 5, 1)), orders(6, 5, 3), rates, "cupy fused kernel", 2)


CONVOLUTION = [
    (7, 7, 1),
    nn.Conv2D(3, 3, activation="relu"),
    nn.MaxPool2D(2),
    nn.Flatten(),
    nn.Dropout(0.2),
    nn.Dense(4, activation="softmax"),
]


def test_a_graph(cupy):
    """Momentum, dropout, the step's counter; whole launches of sixteen steps and single ones."""
    step, state = make(CONVOLUTION, nn.SGD(1.0, momentum=0.9), "log_likelihood")
    engine, data = cupy.engine.CupyEngine(0), images(shape=(7, 7, 1))
    check_engine(engine, step, state, data, orders(37, 5), 0.2 * RATES, "cupy graph", 18)
    check_engine(engine, step, state, data, orders(1, 3), 0.2 * RATES[:1], "cupy graph", 1)
    assert "plain SGD" in engine.fused_reason


def test_a_graph_of_an_ensemble(cupy):
    step, (params, state, _, count, _) = make([20, 8, 4], nn.Adam(0.01))
    several = tree_map(lambda leaf: np.stack([leaf, leaf + 0.1, -leaf]), params)
    state = TrainState(several, state, nn.Adam(0.01).init(several), count, np.zeros((3, 1), "int32"))
    rates = 0.1 * RATES[:6, None] * np.array([1, 2, 0.5], "float32")
    check_engine(cupy.engine.CupyEngine(0), step, state, images(), orders(6, 5, 3), rates, "cupy graph", 2)


def test_large_products_are_left_to_cublas(cupy, monkeypatch, caplog):
    monkeypatch.setattr("nn_any.backends.cuda.recipes.MANY_MULTIPLICATIONS", 100)
    step, state = make([20, 8, 4], nn.SGD(1.0, momentum=0.9))
    check_engine(
        cupy.engine.CupyEngine(0), step, state, images(), orders(5, 5), RATES[:5], "eager, large products by cuBLAS", 2
    )
    engine = cupy.engine.CupyEngine(0, "compiled")
    check_engine(engine, step, state, images(), orders(5, 5), RATES[:5], "cupy graph", 2)
    assert not caplog.records


def test_falling_back_is_told(cupy, monkeypatch, caplog):
    def refuse(self, steps):
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")

    monkeypatch.setattr(cupy.graph.CapturedSteps, "_captured", refuse)
    step, state = make([20, 8, 4], nn.SGD(1.0, momentum=0.9))
    with caplog.at_level(logging.WARNING, logger="nn_any"):
        check_engine(cupy.engine.CupyEngine(0), step, state, images(), orders(5, 5), RATES[:5], "eager", 2)
    assert caplog.messages == [
        "cupy graph cannot run these steps, they run eagerly: "
        "NotImplementedError: calling cuBLAS API during stream capture is currently unsupported"
    ]
    with pytest.raises(EngineError, match="'compiled' was asked for, but NotImplementedError: calling cuBLAS"):
        cupy.engine.CupyEngine(0, "compiled").run(step, state, images(), orders(5, 5), RATES[:5], 0, 5)
    engine = cupy.engine.CupyEngine(0, "eager")
    check_engine(engine, step, state, images(), orders(5, 5), RATES[:5], "eager", 2)


def test_a_fused_kernel_that_cuda_refuses_is_told(cupy, monkeypatch, caplog):
    def refuse(*args):
        raise RuntimeError("CUDA_ERROR_INVALID_VALUE")

    monkeypatch.setattr(sys.modules["cupy"], "RawKernel", refuse)
    step, state = make([20, 8, 4], nn.SGD(1.0))
    engine = cupy.engine.CupyEngine(0)
    with caplog.at_level(logging.WARNING, logger="nn_any"):
        engine.run(step, state, images(), orders(5, 5), RATES[:5], 0, 5)
    reason = "RuntimeError: CUDA_ERROR_INVALID_VALUE"
    assert caplog.messages == [f"cupy fused kernel cannot run these steps, a graph is tried: {reason}"]
    assert engine.name == "cupy graph"


def test_a_capture_that_fails_leaves_the_stream(cupy):
    graph = cupy.graph
    steps = graph.CapturedSteps.__new__(graph.CapturedSteps)
    steps._stream, steps._pool, steps._arithmetic = fake_cupy.Stream(), fake_cupy.MemoryPool(), "float32"
    steps._advance = lambda count: 1 / 0
    with pytest.raises(ZeroDivisionError):
        cupy.real_captured(steps, 1)
    assert not steps._stream.capturing


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16"])
def test_our_product_stands_for_the_primitives(cupy, arithmetic):
    """With operands that bfloat16 holds exactly, all arithmetics agree."""
    xp, rng = nn.select_device("numpy").xp, np.random.default_rng(0)
    x, weights, biases, delta = (
        rng.integers(-8, 9, shape).astype("float32") for shape in ((10, 9), (3, 6, 9), (3, 6), (3, 10, 6))
    )
    replaced = cupy.kernels.REPLACEMENTS
    calls = {
        "matmul": (delta, weights),
        "affine": (x, weights, biases),
        "sgd_update": (weights, delta, np.stack([x] * 3)),
        "vecdot": (delta, delta),
        "sigmoid_gradient": (delta, delta + 1),
        "relu": (delta,),
        "relu_gradient": (delta, delta + 1),
    }
    for name, arrays in calls.items():
        expected = primitives.definition(name)(*arrays, xp=xp)
        with cupy.kernels.own_products(arithmetic):
            got = replaced[name](*arrays, xp=xp)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(replaced[name](*arrays, xp=xp), expected)
    with cupy.kernels.own_products(arithmetic):
        got = replaced["sgd_update"](weights, delta, np.stack([x] * 3), -0.5, 2.0, xp=xp)
        factors = np.full((3, 1, 1), -0.5, "float32"), np.full((3, 1, 1), 2.0, "float32")
        np.testing.assert_array_equal(got, replaced["sgd_update"](weights, delta, np.stack([x] * 3), *factors, xp=xp))


@pytest.mark.slow
def test_windows_stand_for_the_primitives(cupy):
    xp = nn.select_device("numpy").xp
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 7, 2)).astype("float32")
    settings = {"window": (3, 2), "stride": (2, 1), "xp": xp}
    definition, replaced = primitives.definition, cupy.kernels.REPLACEMENTS
    parts = definition("unfold")(x, **settings)
    np.testing.assert_array_equal(replaced["unfold"](x, **settings), parts)
    whole = definition("fold")(parts, size=(8, 7), **settings)
    np.testing.assert_allclose(replaced["fold"](parts, size=(8, 7), **settings), whole, rtol=1e-6)
    (largest, places), (got, got_places) = definition("max_pool")(x, **settings), replaced["max_pool"](x, **settings)
    np.testing.assert_array_equal(got, largest)
    gradient = definition("max_pool_gradient")(places, largest, size=(8, 7), **settings)
    got = replaced["max_pool_gradient"](got_places, largest, size=(8, 7), **settings)
    np.testing.assert_allclose(got, gradient, rtol=1e-6)


def test_cublas_multiplies_in_tf32_for_the_steps_alone(cupy, monkeypatch):
    with cupy.kernels.eager_products("tf32"):
        assert cupy.compute_types["now"] == "tf32"
    assert cupy.compute_types["now"] == "default"
    with cupy.kernels.eager_products("bfloat16"):
        assert cupy.kernels._own_products.get() == "bfloat16"
    assert cupy.kernels._own_products.get() is None
    monkeypatch.setenv("NN_ANY_CUDA_MATH", "tf16")
    with pytest.raises(ValueError, match="NN_ANY_CUDA_MATH"):
        cupy.engine.CupyEngine(0)
