"""The CuPy engine on a GPU: fused kernel and captured graph give the eager results, and write nothing of others."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import need
from own_optimizers import HeavyBall

import nn_any as nn
from nn_any.backends.engine import EngineError
from nn_any.core import functional, primitives
from nn_any.core.batches import Preparation
from nn_any.core.state import TrainState
from nn_any.core.trees import tree_leaves, tree_map

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _gpu():
    need("cupy")


@pytest.fixture
def device():
    return nn.select_device("cupy")


def images(device, n=50, shape=(20,), classes=4):
    rng = np.random.default_rng(0)
    arrays = rng.integers(0, 256, (n, *shape)).astype("uint8"), rng.integers(0, classes, n)
    return tuple(device.asarray(array) for array in arrays)


def make(device, layers, optimizer, loss="quadratic", dtype="float32"):
    net = nn.Network(layers, loss=loss, initializer="scaled_normal", seed=1, device=device, dtype=dtype)
    rule = optimizer.update_rule()
    prepare = Preparation(dtype, net.outputs, 255.0, True)
    params, state, _, count, key = net.state
    return functional.train_step(net.layers, net.specification.loss, rule, prepare), TrainState(
        params, state, rule.init(params), count, key
    )


def host(tree):
    return tree_map(lambda leaf: np.array(nn.to_numpy(leaf)), tree)


def equal(got, expected, rtol):
    for a, b in zip(tree_leaves(got), tree_leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def equals_eager(device, name, *arguments):
    """The compiled engine is called `name`, and has the state and the losses of the eager one."""
    engine = device.training_engine("compiled")
    (got, losses), (expected, wanted) = (e.run(*arguments) for e in (engine, device.training_engine("eager")))
    assert engine.name == name
    np.testing.assert_allclose(nn.to_numpy(losses), nn.to_numpy(wanted), rtol=1e-4)
    equal(host(got), host(expected), 1e-4)


def orders(device, steps, batch, members=None, seed=2):
    shape = (steps, batch) if members is None else (steps, members, batch)
    return device.asarray(np.random.default_rng(seed).integers(0, 50, shape))


RATES = np.linspace(0.5, 0.1, 37, dtype="float32")

CONVOLUTION = [
    (9, 9, 1),
    nn.Conv2D(6, 3, activation="relu"),
    nn.MaxPool2D(2),
    nn.Conv2D(3, 2, activation="relu", padding="same"),
    nn.Flatten(),
    nn.Dropout(0.2),
    nn.Dense(4, activation="softmax"),
]
OVERLAPPING = [(9, 9, 1), nn.Conv2D(4, 3), nn.MaxPool2D(3, stride=1), nn.BatchNorm(), nn.Flatten(), nn.Dense(4)]

CASES = {
    "fused": ("cupy fused kernel", [20, 8, 4], nn.SGD(1.0), "quadratic"),
    "fused-cross-entropy": ("cupy fused kernel", [20, 8, 4], nn.SGD(1.0), "cross_entropy"),
    "fused-book": ("cupy fused kernel", [784, 30, 10], nn.SGD(1.0), "quadratic"),
    "fused-softmax": ("cupy fused kernel", [20, 70, nn.Dense(4, activation="softmax")], nn.SGD(1.0), "log_likelihood"),
    "graph-momentum": ("cupy graph", [20, 8, 4], nn.SGD(1.0, momentum=0.9), "quadratic"),
    "graph-adam": ("cupy graph", [20, 8, 4], nn.Adam(), "cross_entropy"),
    "graph-convolution": ("cupy graph", CONVOLUTION, nn.SGD(1.0), "log_likelihood"),
    "graph-normalised": ("cupy graph", OVERLAPPING, nn.SGD(1.0, weight_decay=0.01), "quadratic"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_equals_eager(device, case, dtype):
    """Segments, other rates, other batches, a short last batch; what callers hold stays as it is."""
    name, layers, optimizer, loss = CASES[case]
    step, state = make(device, layers, optimizer, loss, dtype)
    shape = layers[0] if isinstance(layers[0], tuple) else (layers[0],)
    data = images(device, shape=shape)
    rates = device.asarray(0.1 * RATES, dtype)
    fast, eager = device.training_engine("compiled"), device.training_engine("eager")
    kept, rtol = host(state), {"float32": 2e-4, "float64": 1e-10}[dtype]
    results = []
    for steps, batch, factor, seed in ((37, 5, 1.0, 2), (37, 5, 0.5, 2), (37, 5, 0.5, 3), (1, 3, 1.0, 2)):
        order, now, wanted = orders(device, steps, batch, seed=seed), state, state
        for start, stop in ((0, 18), (18, 37)) if steps > 1 else ((0, 1),):
            now, losses = fast.run(step, now, data, order, factor * rates, start, stop)
            wanted, expected = eager.run(step, wanted, data, order, factor * rates, start, stop)
            np.testing.assert_allclose(nn.to_numpy(losses), nn.to_numpy(expected), rtol=rtol)
        results.append((now, host(now)))
        equal(results[-1][1], host(wanted), rtol)
        assert fast.name == name
    equal(host(state), kept, 0)
    for now, then in results:
        equal(host(now), then, 0)
    first, slower, other = (then[0][-1][0] for _, then in results[:3])
    assert abs(first - slower).max() > 1e-4
    assert abs(slower - other).max() > 1e-5
    assert fast.compile_seconds > 0
    assert eager.name == "eager"


class OwnTanh(nn.layers.Layer):
    """A layer that calls CuPy by its name: it can be captured, but not written down."""

    def forward(self, params, state, x, context):
        import cupy

        a = cupy.tanh(x)
        return a, state, a

    def backward(self, params, saved, delta, context):
        return delta * (1 - saved * saved)


@pytest.mark.parametrize("layer", [nn.Activation("tanh"), OwnTanh()], ids=["compiled", "as-it-is"])
def test_a_new_state_that_is_an_array_of_the_old_one(device, layer):
    """Each state is overwritten after all that reads it."""
    step, state = make(device, [20, layer, 5, 4], HeavyBall())
    data, order, rates = images(device), orders(device, 30, 4), device.asarray(np.full(30, 0.1, "float32"))
    equals_eager(device, "cupy graph", step, state, data, order, rates, 0, 30)


@pytest.mark.parametrize("own_rates", [False, True])
@pytest.mark.parametrize("name", ["cupy fused kernel", "cupy graph"])
def test_an_ensemble(device, name, own_rates):
    optimizer = nn.SGD(1.0) if "fused" in name else nn.SGD(1.0, momentum=0.9)
    step, (params, state, _, count, _) = make(device, [20, 8, 4], optimizer)
    xp = device.xp
    several = tree_map(lambda leaf: xp.stack([leaf, leaf + 0.1, -leaf]), params)
    state = TrainState(several, state, optimizer.init(several), count, xp.zeros((3, 1), dtype=xp.int32))
    rates = RATES[:20, None] * np.array([1, 2, 0.5], "float32") if own_rates else RATES[:20]
    arguments = step, state, images(device), orders(device, 20, 5, 3), device.asarray(rates), 0, 20
    equals_eager(device, name, *arguments)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_an_order_as_it_was_drawn(device, dtype):
    """Drawn member by member, (m, steps, batch), and turned without a copy."""
    step, (params, state, _, count, _) = make(device, [20, 8, 4], nn.SGD(1.0))
    xp = device.xp
    several = tree_map(lambda leaf: xp.stack([leaf, leaf + 0.1, -leaf]), params)
    state = TrainState(several, state, (), count, xp.zeros((3, 1), dtype=xp.int32))
    drawn = device.asarray(np.random.default_rng(5).integers(0, 50, (3, 20, 5)).astype(dtype))
    order, data, rates = xp.permute_dims(drawn, (1, 0, 2)), images(device), device.asarray(RATES[:20])
    equals_eager(device, "cupy fused kernel", step, state, data, order, rates, 0, 20)


def test_the_graphs_memory_is_its_own(device):
    """Much that is allocated, written and freed between replays changes nothing."""
    import cupy

    step, state = make(device, CONVOLUTION, nn.SGD(1.0), "log_likelihood")
    data, order, rates = images(device, shape=(9, 9, 1)), orders(device, 32, 5), device.asarray(0.1 * RATES[:32])
    engine = device.training_engine("compiled")
    expected = host(engine.run(step, state, data, order, rates, 0, 32))
    for size in (64, 512, 4096, 65_536, 1_000_000):
        noise = [cupy.full(size, float("nan"), dtype="float32") for _ in range(20)]
        del noise
        cupy.get_default_memory_pool().free_all_blocks()
        equal(host(engine.run(step, state, data, order, rates, 0, 32)), expected, 1e-5)


@pytest.mark.parametrize("layers", [[20, 8, 4], CONVOLUTION])
def test_a_segment_moves_nothing_between_host_and_device(device, layers, monkeypatch):
    import cupy

    convolution = layers is CONVOLUTION
    step, state = make(device, layers, nn.SGD(1.0), "log_likelihood" if convolution else "quadratic")
    data = images(device, shape=(9, 9, 1) if convolution else (20,))
    order, rates = orders(device, 20, 5), device.asarray(0.1 * RATES[:20])
    engine = device.training_engine("compiled")
    engine.run(step, state, data, order, rates, 0, 20)

    def refuse(*args, **kwargs):
        raise AssertionError("a transfer within a segment")

    for function in ("asnumpy", "array", "asarray"):
        monkeypatch.setattr(cupy, function, refuse)
    engine.run(step, state, data, order, rates, 0, 20)


def test_falling_back_is_told(device, caplog):
    class Reading(nn.layers.Layer):
        """A layer that reads a value, which no graph can."""

        def forward(self, params, state, x, context):
            return x * (1.0 if float(x.sum()) > -1e30 else 0.0), state, x

    step, state = make(device, [20, Reading(), nn.Dense(4)], nn.SGD(1.0))
    arguments = step, state, images(device), orders(device, 3, 5), device.asarray(RATES[:3]), 0, 3
    engine = device.training_engine("auto")
    with caplog.at_level(logging.WARNING, logger="nn_any"):
        got, _ = engine.run(*arguments)
    assert engine.name == "eager"
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("cupy graph cannot run these steps, they run eagerly: ")
    expected, _ = device.training_engine("eager").run(*arguments)
    equal(host(got), host(expected), 1e-5)
    with pytest.raises(EngineError, match="'compiled' was asked for, but"):
        device.training_engine("compiled").run(*arguments)


def test_more_outputs_than_a_thread_sums(device):
    """The library sums them; the steps stay in a graph."""
    step, state = make(device, [20, nn.Dense(4200, activation="sigmoid")], nn.SGD(0.01, momentum=0.9))
    arguments = step, state, images(device), orders(device, 3, 5), device.asarray(0.01 * RATES[:3]), 0, 3
    equals_eager(device, "cupy graph", *arguments)


PRODUCTS = {
    "vectors": ((7,), (7,)),
    "vector-first": ((7,), (7, 4)),
    "vector-last": ((4, 7), (7,)),
    "vector-of-many": ((7,), (3, 7, 4)),
    "tall": ((10, 784), (784, 30)),
    "wide": ((300, 70), (70, 500)),
    "batch": ((5, 33, 17), (5, 17, 65)),
    "one-for-all": ((5, 33, 17), (17, 65)),
    "all-for-one": ((33, 17), (5, 17, 65)),
    "two-axes": ((2, 1, 3, 4), (5, 4, 6)),
    "three-axes": ((1, 3, 7, 7), (2, 3, 7, 3)),
    "row": ((1, 7), (7, 1)),
    "column": ((7, 1), (1, 7)),
    "number": ((1, 1), (1, 1)),
}


def forms(array, xp):
    """The same matrices with other strides: of a transpose, of every other row and column, of a part, of a turn."""
    yield array
    if array.ndim < 2:
        return
    yield xp.asarray(array.mT, copy=True).mT
    wide = xp.zeros((*array.shape[:-2], 2 * array.shape[-2], 3 * array.shape[-1]), dtype=array.dtype)
    wide[..., ::2, ::3] = array
    yield wide[..., ::2, ::3]
    wide[..., : array.shape[-2], 1 : array.shape[-1] + 1] = array
    yield wide[..., : array.shape[-2], 1 : array.shape[-1] + 1]
    yield xp.asarray(array[..., ::-1, :], copy=True)[..., ::-1, :]


@pytest.mark.parametrize("shapes", PRODUCTS.values(), ids=PRODUCTS)
@pytest.mark.parametrize("math", ["float32", "tf32", "bfloat16", "float64"])
def test_products_that_a_graph_can_hold(device, math, shapes):
    """Any strides, in each arithmetic: sums in the dtype, operands rounded at most as much as the arithmetic says."""
    from nn_any.backends._cupy_products import Products, using

    rng, dtype = np.random.default_rng(0), "float64" if math == "float64" else "float32"
    unit = {"float32": 2**-24, "tf32": 2**-11, "bfloat16": 2**-8, "float64": 2**-53}[math]
    a, b = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    expected = a.astype("float64") @ b.astype("float64")
    bound = 2 * (a.shape[-1] + 2) * unit * (abs(a).astype("float64") @ abs(b).astype("float64"))
    products = Products("float32" if math == "float64" else math)
    for left in forms(device.asarray(a), device.xp):
        for right in forms(device.asarray(b), device.xp):
            with using(products):
                got = nn.to_numpy(primitives.matmul(left, right, xp=device.xp))
            assert got.dtype == dtype
            assert got.shape == expected.shape
            assert (abs(got - expected) <= bound).all()


def check(device, step, state, data, order, rates, name):
    """What an engine of its own gives is what the eager engine gives. Returns the engine."""
    engine, steps = device.training_engine(), order.shape[0]
    got, losses = engine.run(step, state, data, order, rates, 0, steps)
    expected, wanted = device.training_engine("eager").run(step, state, data, order, rates, 0, steps)
    assert engine.name == name
    np.testing.assert_allclose(nn.to_numpy(losses), nn.to_numpy(wanted), rtol=1e-4)
    equal(host(got), host(expected), 1e-4)
    return engine


def test_several_launches_of_the_fused_kernel(device, monkeypatch):
    from nn_any.backends import _cupy_fused

    monkeypatch.setattr(_cupy_fused, "steps_a_launch", lambda *_: 3)
    step, state = make(device, [20, 8, 4], nn.SGD(1.0))
    check(device, step, state, images(device), orders(device, 37, 5), device.asarray(RATES), "cupy fused kernel")


def test_orders_are_copied_only_if_examples_of_a_batch_lie_apart(device, monkeypatch):
    import cupy

    step, (params, state, _, count, _) = make(device, [20, 8, 4], nn.SGD(1.0))
    xp, contiguous, copies = device.xp, cupy.ascontiguousarray, []
    several = tree_map(lambda leaf: xp.stack([leaf, leaf + 0.1, -leaf]), params)
    state = TrainState(several, state, (), count, xp.zeros((3, 1), dtype=xp.int32))
    drawn, rates = orders(device, 5, 5, 5), device.asarray(RATES[:5])
    monkeypatch.setattr(cupy, "ascontiguousarray", lambda a, dtype=None: copies.append(a.ndim) or contiguous(a, dtype))
    for axes, copied in (((1, 0, 2), False), ((2, 0, 1), True)):
        order = xp.permute_dims(drawn, axes)[:, :3, :]
        check(device, step, state, images(device), order, rates, "cupy fused kernel")
        assert (3 in copies) == copied


@pytest.mark.parametrize("inputs", [20, 21])
def test_inputs_that_begin_anywhere(device, inputs):
    """Rows that are read by four have to begin where that can be done; others need not."""
    step, state = make(device, [inputs, 4], nn.SGD(1.0))
    x, y = images(device, shape=(inputs,))
    memory = device.xp.zeros(x.size + 1, dtype=x.dtype)
    memory[1:] = device.xp.reshape(x, -1)
    x = device.xp.reshape(memory[1:], x.shape)
    assert x.data.ptr % 4 == 1
    name = "cupy graph" if inputs == 20 else "cupy fused kernel"
    engine = check(device, step, state, (x, y), orders(device, 6, 5), device.asarray(RATES[:6]), name)
    assert ("do not begin at a multiple of 4 bytes" in engine.fused_reason) == (inputs == 20)


def test_a_fused_kernel_that_cuda_refuses_is_told(device, monkeypatch, caplog):
    import cupy

    from nn_any.backends import _cupy_fused

    def refuse(*args):
        raise RuntimeError("CUDA_ERROR_INVALID_VALUE")

    monkeypatch.setattr(_cupy_fused, "cupy", SimpleNamespace(**{**vars(cupy), "RawKernel": refuse}))
    step, state = make(device, [20, 8, 4], nn.SGD(1.0))
    with caplog.at_level(logging.WARNING, logger="nn_any"):
        check(device, step, state, images(device), orders(device, 5, 5), device.asarray(RATES[:5]), "cupy graph")
    reason = "RuntimeError: CUDA_ERROR_INVALID_VALUE"
    assert caplog.messages == [f"cupy fused kernel cannot run these steps, a graph is tried: {reason}"]


def test_a_capture_that_fails_leaves_the_stream(device, monkeypatch):
    """It ends, so that work of others on any stream is not taken for a part of it."""
    import cupy

    from nn_any.backends._cupy_graph import CapturedSteps

    advance, streams = CapturedSteps._advance, []

    def refuse(self, steps):
        if self._stream.is_capturing():
            streams.append(self._stream)
            raise ZeroDivisionError
        advance(self, steps)

    monkeypatch.setattr(CapturedSteps, "_advance", refuse)
    step, state = make(device, [20, 8, 4], nn.Adam())
    arguments = step, state, images(device), orders(device, 5, 5), device.asarray(RATES[:5]), 0, 5
    with pytest.raises(EngineError, match="'compiled' was asked for, but ZeroDivisionError"):
        device.training_engine("compiled").run(*arguments)
    assert not streams[0].is_capturing()
    streams[0].synchronize()
    assert float(cupy.arange(3).sum()) == 3


def test_an_arithmetic_that_there_is_not(device, monkeypatch):
    monkeypatch.setenv("NN_ANY_CUDA_MATH", "tf16")
    with pytest.raises(ValueError, match="NN_ANY_CUDA_MATH"):
        device.training_engine()


def test_fit_names_its_engine(device, digits):
    x, _, y, _ = digits
    histories = {}
    for engine in ("auto", "eager"):
        net = nn.Network([64, 30, 10], initializer="scaled_normal", device=device, seed=0)
        history = net.fit((x, y), epochs=2, batch_size=10, optimizer=nn.SGD(3.0), engine=engine)
        histories[engine] = history
    assert histories["auto"].engine == "cupy fused kernel"
    assert histories["auto"].compile_seconds > 0
    assert histories["eager"].engine == "eager"
    losses = [[record["loss"] for record in history.records] for history in histories.values()]
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_chunks_of_a_stream_of_data_run_in_one_program(device):
    """A graph and a kernel read where the first chunk lay: the others are copied there."""
    step, state = make(device, [20, 8, 4], nn.SGD(1.0, momentum=0.9))
    chunks = [images(device), tuple(column[::-1, ...].copy() for column in images(device))]
    order, rates = orders(device, 37, 5), device.asarray(0.1 * RATES)
    fast, eager = device.training_engine("compiled"), device.training_engine("eager")
    got, wanted = state, state
    for start, stop, chunk in ((0, 18, chunks[0]), (18, 30, chunks[1]), (30, 37, images(device))):
        kept = host(chunk)
        wanted, expected = eager.run(step, wanted, eager.feed(chunk), order, rates, start, stop)
        got, losses = fast.run(step, got, fast.feed(chunk), order, rates, start, stop)
        np.testing.assert_allclose(nn.to_numpy(losses), nn.to_numpy(expected), rtol=1e-4)
        equal(kept, host(fast.feed(chunk)), 0)
    equal(host(got), host(wanted), 1e-4)
    assert len(fast.programs) == 1
