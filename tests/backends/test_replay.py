"""NumPy's replaying engine: the recorded loop against the step itself, run one by one."""

import copy
import gc
import logging
import pickle
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
from array_api_compat import array_namespace
from conftest import need

import nn_any as nn
from nn_any.backends.replay import imagined, program
from nn_any.backends.replay.engine import ReplayEngine
from nn_any.backends.replay.nodes import Layout, is_flipped
from nn_any.core import primitives
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (37, 6, 6, 2)).astype("uint8")
LABELS = RNG.integers(0, 3, 37)
NUMBERS = RNG.normal(size=(37, 2))
SHAPE = (6, 6, 2)
STACKS = {
    "dense": [nn.Dense(7), nn.Dense(5, activation="tanh"), nn.Dense(3)],
    "one layer": [nn.Dense(3)],
    "wide": [nn.Dense(80), nn.Dense(70), nn.Dense(3)],
    "relus": [nn.Dense(9, activation="relu"), nn.Dense(8, activation="leaky_relu"), nn.Dense(3)],
    "smooth": [nn.Dense(9, activation="gelu"), nn.Dense(8, activation="silu"), nn.Dense(7, activation="softplus"), 3],
    "convolution": [nn.Conv2D(4, 3, activation="relu"), nn.MaxPool2D(2), nn.Flatten(), nn.Dense(3)],
    "strides": [nn.Conv2D(3, (3, 2), stride=(2, 1), padding="same"), nn.MaxPool2D(2, stride=1), nn.Flatten(), 3],
    "gaps": [nn.MaxPool2D(2, stride=3), nn.AveragePool2D((2, 1)), nn.Flatten(), nn.Dense(3)],
    "random": [nn.Dropout(0.3), nn.Flatten(), nn.Dense(8, activation="relu"), nn.Dropout(0.5), nn.Dense(3)],
    "distorted": [nn.RandomAffine(rotation=10), nn.ElasticDistortion(), nn.Flatten(), nn.Dense(3)],
    "normal": [nn.Conv2D(4, 3), nn.BatchNorm(), nn.Flatten(), nn.Dense(6), nn.BatchNorm(), nn.LayerNorm(), nn.Dense(3)],
    "frozen": [nn.Dense(7, trainable=False), nn.Dense(5), nn.Dense(3)],
}
for _stack in STACKS.values():
    if not any(isinstance(layer, nn.Flatten) for layer in _stack):
        _stack.insert(0, nn.Flatten())
OPTIMIZERS = [
    nn.SGD(0.3),
    nn.SGD(0.3, momentum=0.9, nesterov=True, weight_decay=0.01),
    nn.SGD(0.3, l1=0.01, max_norm=0.8),
    nn.Adam(0.01, clip_norm=0.1),
    nn.AdamW(0.01, clip_value=0.01),
    nn.RMSprop(0.01, centered=True, momentum=0.5),
    nn.Adagrad(0.01),
    nn.SGD(nn.schedules.Cosine(0.5, epochs=2)),
]


def both(layers, data, optimizer, **options):
    """The network after the eager and after the replaying engine, and their histories."""
    ends = []
    for engine in ("eager", "compiled"):
        net = nn.Network([SHAPE, *layers], dtype="float64", device="numpy", seed=3, **options)
        history = net.fit(data, epochs=2, batch_size=8, optimizer=optimizer, engine=engine)
        ends.append((net, history))
    return ends


def assert_same(ends, rtol=1e-9):
    (eager, eager_history), (replayed, history) = ends
    assert (eager_history.engine, history.engine) == ("eager", "replay")
    np.testing.assert_allclose(history["loss"], eager_history["loss"], rtol=rtol)
    for got, expected in zip(tree_leaves(replayed.state), tree_leaves(eager.state), strict=True):
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-11)


@pytest.mark.parametrize("name", STACKS)
def test_every_layer_replays(name):
    assert_same(both(STACKS[name], nn.Dataset(X, LABELS, scale=255), nn.SGD(0.3)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("name", ["dense", "normal"])
def test_every_optimizer_replays(name, optimizer):
    assert_same(both(STACKS[name], nn.Dataset(X, LABELS, scale=255), optimizer))


@pytest.mark.parametrize(
    ("loss", "activation", "y"),
    [
        ("quadratic", "sigmoid", LABELS),
        ("cross_entropy", "sigmoid", LABELS),
        (nn.losses.CrossEntropy(0.1), "sigmoid", LABELS),
        ("log_likelihood", "softmax", LABELS),
        (nn.losses.LogLikelihood(0.1), "softmax", LABELS),
        ("quadratic", "softmax", LABELS),
        ("quadratic", "linear", NUMBERS),
        ("mean_squared_error", "linear", NUMBERS),
        ("mean_absolute_error", "tanh", NUMBERS),
        ("huber", "linear", NUMBERS),
        ("poisson", "exponential", np.abs(NUMBERS)),
        ("cross_entropy", "sigmoid", (LABELS > 1).astype(int)),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_loss_replays(loss, activation, y, weighted):
    outputs = 1 if y.max() == 1 else 3 if y.ndim == 1 else 2
    data = nn.Dataset(X, y, scale=255)
    if weighted:
        data = data.weighted(np.linspace(0.5, 1.5, 37), None)
    layers = [nn.Flatten(), nn.Dense(5), nn.Dense(outputs, activation=activation)]
    assert_same(both(layers, data, nn.SGD(0.05), loss=loss, initializer="scaled_normal"))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 36, 37, 100])
@pytest.mark.parametrize("sizes", [[72, 5, 3], [72, 1, 3], [72, 4, 1], [72, 1, 1, 1]], ids=str)
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_batch_size_replays(batch_size, sizes, shuffle):
    ends = []
    for engine in ("eager", "compiled"):
        net = nn.Network(sizes, dtype="float64", device="numpy", seed=3)
        data = nn.Dataset(X.reshape(37, 72) / 255.0, LABELS if sizes[-1] == 3 else (LABELS > 1).astype(int))
        history = net.fit(data, epochs=3, batch_size=batch_size, optimizer=nn.SGD(0.7), shuffle=shuffle, engine=engine)
        ends.append((net, history))
    assert_same(ends)


NUMBERS_0_TO_7 = (np.arange(8.0),)


def replay(step, state, data=NUMBERS_0_TO_7, steps=5):
    """The state and losses of an engine, and of the step in a loop, over batches of two."""
    order = np.arange(2 * steps).reshape(steps, 2) % 8
    rates = np.linspace(1.0, 2.0, steps)
    given = [np.copy(leaf) for leaf in tree_leaves(state)]
    got, got_losses = ReplayEngine("compiled").run(step, state, data, order, rates, 0, steps)
    for leaf, kept in zip(tree_leaves(state), given, strict=True):
        np.testing.assert_array_equal(leaf, kept)  # what the caller holds is as it was
    losses = []
    for rows, rate in zip(order, rates, strict=True):
        state, loss = step(state, tuple(column[rows] for column in data), rate)
        losses.append(loss)
    np.testing.assert_allclose(got_losses, losses, rtol=1e-14)
    for leaf, expected in zip(tree_leaves(got), tree_leaves(state), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-14)
    return got


A, B = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])
STEPS = {
    "swap": lambda c, x, rate: ((c[1], c[0]), rate * 1.0),
    "swap and change": lambda c, x, rate: ((c[1] + 1, c[0] * 0.5), rate + x[0]),
    "one into both": lambda c, x, rate: ((c[0] + c[1], c[0] + c[1]), x[1] - x[0]),
    "the old one later": lambda c, x, rate: ((c[0] + 1, c[0] + c[1] * rate), rate * 2),
    "transposed": lambda c, x, rate: ((c[0].mT, c[1] + c[0]), rate * 1.0),
    "a row of the other": lambda c, x, rate: ((c[0] + c[1][0, ...], c[1] + c[0][:, 0]), rate * 1.0),
    "nothing": lambda c, x, rate: (c, rate * 1.0),
    "the loss is a state": lambda c, x, rate: ((c[0] + rate, c[1]), (c[0] + rate)[0, 0]),
    "a loss of the old state": lambda c, x, rate: ((c[0] + rate, c[1]), c[0][0, 0]),
    "the last one, kept": lambda c, x, rate: ((c[0] + x[0], c[0]), rate * 1.0),
    "new and old": lambda c, x, rate: ((c[0] * 0.5, c[1] + (c[0] * 0.5 - c[0])), rate * 1.0),
    "a constant": lambda c, x, rate: ((c[0] * 0 + 3, c[1] + c[0]), rate * 1.0),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_is_updated_in_place_is_not_read_again(name):
    function = STEPS[name]
    replay(lambda state, batch, rate: function(state, batch[0], rate), (A.copy(), B.copy()))


def test_rates_and_rows_reach_every_step():
    data = (np.arange(8.0), np.arange(8.0) ** 2)

    def step(state, batch, rate):
        x, squares = batch
        return (state[0] + rate * (x[0, ...] + x[1, ...]), state[1] * 1), squares[1, ...] - squares[0, ...]

    got = replay(step, (A, B), data)
    order = np.arange(10).reshape(5, 2) % 8
    rates = np.linspace(1.0, 2.0, 5)
    np.testing.assert_allclose(got[0], A + (rates * order.sum(axis=1)).sum(), rtol=1e-14)


@dataclass(frozen=True)
class Peeking(nn.layers.Layer):
    """Looks at a value, which no compiled step can."""

    def forward(self, params, state, x, context):
        return (x if float(context.xp.max(x)) > -1e9 else x * 2), state, x


def test_what_reads_a_value_runs_eagerly_and_says_so(caplog):
    data = nn.Dataset(X.reshape(37, 72), LABELS, scale=255)
    nets = [nn.Network([72, Peeking(), 5, 3], device="numpy", seed=0) for _ in range(2)]
    with caplog.at_level(logging.WARNING, logger="nn_any"):
        histories = [
            net.fit(data, epochs=2, batch_size=10, optimizer=nn.SGD(1.0), engine=engine)
            for net, engine in zip(nets, ("auto", "eager"), strict=True)
        ]
    assert [history.engine for history in histories] == ["eager", "eager"]
    (record,) = [record for record in caplog.records if record.name == "nn_any"]
    assert "run eagerly: the step reads a value (float of an array)" in record.message
    assert histories[0]["loss"] == histories[1]["loss"]


@dataclass(frozen=True)
class OnlyNumPy(nn.layers.Layer):
    """Uses a method that NumPy's arrays have and the standard's have not."""

    def forward(self, params, state, x, context):
        return x * x.clip(0, 1).any(), state, x


def test_what_is_beyond_the_standard_runs_eagerly_and_is_told_once(caplog):
    net = nn.Network([72, OnlyNumPy(), 3], device="numpy", seed=0)
    data = nn.Dataset(X.reshape(37, 72), LABELS, scale=255)
    with caplog.at_level(logging.WARNING, logger="nn_any"):
        histories = [net.fit(data, epochs=1, batch_size=10, optimizer=nn.SGD(1.0)) for _ in range(3)]
    assert [history.engine for history in histories] == ["eager"] * 3
    assert [history.compile_seconds > 0 for history in histories] == [True, False, False]
    (record,) = [record for record in caplog.records if record.name == "nn_any"]
    assert "AttributeError: the standard's arrays have no attribute 'clip'" in record.message
    with caplog.at_level(logging.WARNING, logger="nn_any"):
        for size in (9, 8, 7, 10, 9):
            net.fit(data, epochs=1, batch_size=size, optimizer=nn.SGD(1.0))
    assert len([record for record in caplog.records if record.name == "nn_any"]) == 1
    with pytest.raises(nn.EngineError, match="no attribute 'clip'"):
        net.fit(data, epochs=1, batch_size=10, optimizer=nn.SGD(1.0), engine="compiled")


@dataclass(frozen=True)
class Odd(nn.layers.Layer):
    """Does to the inputs what only users do."""

    what: str

    def forward(self, params, state, x, context):
        xp, t = context.xp, context.step
        h = x * 2
        if self.what == "unstack":
            e = xp.tanh(xp.exp(h * 0.1) * 3 + h)
            z = e + xp.stack(list(xp.unstack(h)))
        elif self.what == "broadcast_arrays":
            a, b = xp.broadcast_arrays(h, h[:1, :])
            z = xp.tanh(xp.exp(h * 0.1) * 3 + h) + a + b
        elif self.what == "clip":
            z = xp.clip(h, 0.1, 0.5)
        elif self.what == "concat":
            z = xp.reshape(xp.concat([h, h], axis=None)[: h.shape[0] * h.shape[1]], h.shape)
        elif self.what == "the step's half":
            z = h + xp.astype(t / 2, x.dtype) * 0.01
        elif self.what == "a mask's half":
            z = h + (h > 0.5) * 0.5
        elif self.what == "whole numbers":
            z = h + xp.astype((t + 1) * 3 - t // 2, x.dtype) * 0.01
        elif self.what == "mask":
            y = xp.asarray(h, copy=True)
            y[h > 0.5] = 0
            z = y
        else:
            y = xp.asarray(h, copy=True)
            y[:, 1] = 0
            z = y
        return z, state, x

    def backward(self, params, saved, delta, context):
        return delta


ODD = [
    "unstack",
    "broadcast_arrays",
    "clip",
    "concat",
    "the step's half",
    "a mask's half",
    "whole numbers",
    "mask",
    "column",
]


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_of_the_users_own_are_right_compiled_or_not(what, dtype):
    nets = [nn.Network([72, 6, Odd(what), 5, 3], dtype=dtype, device="numpy", seed=0) for _ in range(2)]
    for net, engine in zip(nets, ("auto", "eager"), strict=True):
        net.fit((X.reshape(37, 72) / 255.0, LABELS), epochs=2, batch_size=10, optimizer=nn.SGD(0.1), engine=engine)
    for a, b in zip(nets[0].weights, nets[1].weights, strict=True):
        np.testing.assert_allclose(
            a, b, rtol=1e-4 if dtype == "float32" else 1e-10, atol=1e-5 if dtype == "float32" else 1e-11
        )


def test_compiled_or_nothing():
    net = nn.Network([72, Peeking(), 3], device="numpy", seed=0)
    before = net.weights[0]
    with pytest.raises(nn.EngineError, match=r"'compiled' was asked for, but the step reads a value .*engine='auto'"):
        net.fit((X.reshape(37, 72), LABELS), epochs=1, batch_size=10, optimizer=nn.SGD(1.0), engine="compiled")
    np.testing.assert_array_equal(net.weights[0], before)
    with pytest.raises(ValueError, match=r"engine: expected .*'eager'.*, got 'fast'"):
        net.fit((X, LABELS), epochs=1, batch_size=10, optimizer=nn.SGD(1.0), engine="fast")


@pytest.mark.parametrize("name", ["dense", "relus", "convolution", "normal"])
def test_large_products_replay(name, monkeypatch):
    """All products by one BLAS, with as many threads as there are: what small networks do not need."""
    monkeypatch.setattr("nn_any.backends.replay.batching._SERIAL", 0)
    assert_same(both(STACKS[name], nn.Dataset(X, LABELS, scale=255), nn.SGD(0.3)))
    assert_same(both(STACKS[name], nn.Dataset(X, LABELS, scale=255), nn.Adam(0.01)))


def test_small_work_has_one_thread(monkeypatch):
    """While a small network trains, BLAS has one thread; afterwards what it had."""
    from threadpoolctl import threadpool_info, threadpool_limits

    seen = []
    errstate = np.errstate  # entered within the limit

    def look(**options):
        seen.append({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})
        return errstate(**options)

    with threadpool_limits(2, user_api="blas"):
        before = [pool["num_threads"] for pool in threadpool_info()]
        net = nn.Network([72, 5, 3], device="numpy", seed=0)
        monkeypatch.setattr(np, "errstate", look)
        net.fit((X.reshape(37, 72), LABELS), epochs=1, batch_size=37, optimizer=nn.SGD(1.0))
        assert [pool["num_threads"] for pool in threadpool_info()] == before
    assert {1} in seen


def test_two_trainings_at_once_leave_the_threads_as_they_were():
    import threading

    from threadpoolctl import threadpool_info, threadpool_limits

    def work(seed):
        net = nn.Network([72, 5, 3], device="numpy", seed=seed)
        net.fit((X.reshape(37, 72), LABELS), epochs=20 + 10 * seed, batch_size=5, optimizer=nn.SGD(1.0))

    with threadpool_limits(2, user_api="blas"):
        before = [pool["num_threads"] for pool in threadpool_info()]
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [pool["num_threads"] for pool in threadpool_info()] == before


@pytest.mark.slow
def test_memory_is_a_few_batches_of_activations():
    """No copy of an epoch, and no more than three times what a batch's activations and the parameters take."""
    import tracemalloc

    n, batch = 20_000, 500
    x = np.zeros((n, 100), "uint8")
    net = nn.Network([100, 300, 300, 10], device="numpy", seed=0)
    data = nn.Dataset(x, np.zeros(n, "int64"), scale=255, classes=10, device="numpy")
    net.SGD(data, 1, batch, 0.1)
    tracemalloc.start()
    try:
        net.SGD(data, 2, batch, 0.1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    activations, parameters = 4 * batch * (100 + 300 + 300 + 10), sum(leaf.nbytes for leaf in tree_leaves(net.params))
    order = 2 * 8 * n  # and the epoch's order, as drawn and as laid out
    assert peak < 3 * (activations + parameters) + order


def test_compiling_is_reported_and_not_done_twice():
    net = nn.Network([72, 5, 3], device="numpy", seed=0)
    data, seen = nn.Dataset(X.reshape(37, 72), LABELS, scale=255), []

    def fit(optimizer):
        watch = [lambda run: seen.append(run.history.compile_seconds)]
        return net.fit(data, epochs=3, batch_size=10, optimizer=optimizer, callbacks=watch).compile_seconds

    first = fit(nn.SGD(1.0))
    assert seen == [first] * 3
    assert first > 0
    assert fit(nn.SGD(0.5)) == 0  # the rate is not part of a step
    assert fit(nn.Adam()) > 0


COPIES = {
    "copy": lambda net: net.copy(),
    "astype": lambda net: net.astype("float64"),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "moved": lambda net: net.to("numpy"),
}


@pytest.mark.parametrize("name", COPIES)
def test_what_is_compiled_is_one_networks_own(name):
    net = nn.Network([72, 5, 3], dtype="float64", device="numpy", seed=0)
    data = nn.Dataset(X.reshape(37, 72), LABELS, scale=255)
    net.SGD(data, 1, 10, 1.0)
    other, twin = COPIES[name](net), nn.Network([72, 5, 3], dtype="float64", device="numpy", seed=0)
    assert other.SGD(data, 1, 10, 1.0).compile_seconds > 0
    twin.SGD(data, 2, 10, 1.0, engine="eager")
    for got, expected in zip(other.weights, twin.weights, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_other_data_of_the_same_shape_take_effect():
    nets = [nn.Network([72, 5, 3], dtype="float64", device="numpy", seed=0) for _ in range(2)]
    x = X.reshape(37, 72)
    for part in (slice(0, 20), slice(17, 37), slice(0, 30)):
        data = nn.Dataset(x[part], LABELS[part], scale=255, classes=3)
        for net, engine in zip(nets, ("compiled", "eager"), strict=True):
            net.SGD(data, 2, 10, 1.0, engine=engine)
    for got, expected in zip(*(net.weights for net in nets), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_no_data_are_kept():
    net = nn.Network([72, 5, 3], device="numpy", seed=0)
    x = X.reshape(37, 72).copy()
    gone = weakref.ref(x)
    net.SGD(nn.Dataset(x, LABELS, scale=255), 1, 10, 1.0)
    del x
    gc.collect()
    assert gone() is None


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [nn.SGD(0.3), nn.Adam(0.01)], ids=repr)
@pytest.mark.parametrize("name", STACKS)
def test_what_is_imagined_is_laid_out_as_what_is_computed(monkeypatch, name, optimizer):
    monkeypatch.setattr(imagined, "_SMALL", 0)
    original, seen = program._recorded, {True: [], False: []}
    for imagining, notes in seen.items():

        def record(*args, as_told=imagining, kept=notes, **_):
            kept.append(original(*args, imagining=as_told))
            return kept[-1]

        monkeypatch.setattr(program, "_recorded", record)
        net = nn.Network([SHAPE, *STACKS[name]], device="numpy", seed=3)
        net.fit(nn.Dataset(X, LABELS, scale=255), epochs=1, batch_size=8, optimizer=optimizer, engine="compiled")
    told = [[[(n.name, n.layout, n.layouts) for n in one.nodes] for one in notes] for notes in seen.values()]
    assert told[0] == told[1]


def test_what_is_imagined_may_fail_where_numbers_would_not(caplog):
    def step(state, batch, rate):
        xp = array_namespace(rate)
        places = xp.astype(1 / (state[0] * 0 + 1)[0, :], xp.int64)  # 1, but of zeros no index
        return (xp.take(state[0], places, axis=0) * 1.0,), rate * 1.0

    with caplog.at_level(logging.DEBUG, logger="nn_any"):
        replay(step, (np.arange(1600.0).reshape(40, 40),))
    assert [record.message for record in caplog.records if "imagined" in record.message]


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (3, 4), (2, 1, 3), (2, 3, 1), (2, 3, 4), (5,)], ids=str)
def test_layouts_and_arrays_are_flipped_alike(shape):
    arrays = [np.zeros(shape)] + ([np.zeros((*shape[:-2], shape[-1], shape[-2])).mT] if len(shape) > 1 else [])
    found = [is_flipped(array) for array in arrays]
    assert [Layout.of(array).is_flipped for array in arrays] == found
    assert found == [False, 1 not in shape[-2:]][: len(found)]


def test_layers_of_the_same_kind_are_computed_together():
    def calls(layers):
        net = nn.Network([72, *layers], device="numpy", seed=0)
        net.SGD(nn.Dataset(X.reshape(37, 72), LABELS, scale=255), 1, 37, 0.5)
        (compiled,) = net._programs[0].values()
        return compiled._loop.source.count("\n")

    two, three = calls([nn.Dense(5), nn.Dense(3)]), calls([nn.Dense(6), nn.Dense(5), nn.Dense(3)])
    assert three - two == 6  # two products, biases, sigmoid, its derivative times the error, and the descent of weights


def test_a_counter_that_nothing_reads_is_added_to_behind():
    def step(state, batch, rate):
        return (state[0] + batch[0][0, ...], state[1] + 3, state[2] + 1), state[0] * 1.0 + state[2]

    start = np.zeros(()), np.asarray(5, dtype=np.int32), np.asarray(7, dtype=np.int32)
    _, counted, read = replay(step, start)
    assert (int(counted), int(read)) == (5 + 3 * 5, 7 + 5)


W, BIASES = np.linspace(-1, 1, 12).reshape(3, 4), np.linspace(0, 1, 3)
OTHERS = np.linspace(1, 2, 9).reshape(3, 3)
KEPT = {
    "what was counted": lambda n, w, b, v, old, x, rate: (n + 1, w, b, v, n),
    "the last biases": lambda n, w, b, v, old, x, rate: (n, w, b - _sums(x, w, b), v, b),
    "the last sums": lambda n, w, b, v, old, x, rate: (n, w, b - (t := _sums(x, w, b)), v, t),
    "sums of the other axis": lambda n, w, b, v, old, x, rate: (n, w, b - _sums(x, w, b, -1), v, old),
    "how far the weights went": lambda n, w, b, v, old, x, rate: (n, u := _descent(x, w, b), b, v, (u - w)[:, 0]),
    "biases that are read late": lambda n, w, b, v, old, x, rate: (
        n,
        w,
        b - _sums(x, w, b),
        v,
        old + primitives.affine(x, w, b, xp=_xp(x))[0, ...],
    ),
    "two layers": lambda n, w, b, v, old, x, rate: (
        n,
        w,
        b - _sums(x, w, b),
        v,
        old - _sums(primitives.affine(x, w, b, xp=_xp(x)), v, old),
    ),
}


def _xp(x):
    return array_namespace(x)


def _sums(x, w, b, axis=-2):
    return primitives.total(primitives.affine(x, w, b, xp=_xp(x)) * 0.01, axis=axis, xp=_xp(x))


def _descent(x, w, b):
    return primitives.sgd_update(w, primitives.affine(x, w, b, xp=_xp(x)) * 0.01, x, xp=_xp(x))


@pytest.mark.parametrize("name", KEPT)
def test_what_a_step_of_ones_own_keeps(name):
    def step(state, batch, rate):
        x = _xp(rate).stack([batch[0] + i for i in range(4)], axis=-1)
        x = _xp(rate).concat([x, x[:1, ...]], axis=0)  # three examples, as many as outputs
        after = KEPT[name](*state, x, rate)
        return after, rate * 1.0

    count = np.asarray(3, dtype=np.int32)
    last = count * 0 if name == "what was counted" else BIASES * 0.5
    replay(step, (count, W.copy(), BIASES.copy(), OTHERS.copy(), last))


def test_small_counters_wrap():
    (got,) = replay(lambda c, x, rate: ((c[0] + 100,), rate * 1.0), (np.zeros(2, dtype=np.int8),))
    assert got.tolist() == [500 - 512] * 2


@pytest.mark.parametrize("device", ["numpy", "torch:cpu"])
@pytest.mark.parametrize("members", [None, 2])
def test_velocities_that_fade_do_not_stay_subnormal(device, members):
    """A pixel that is seen once leaves a velocity which decays until 0.9 of the smallest number rounds to itself."""
    if device != "numpy":
        need("torch")
    x = np.random.default_rng(0).random((2000, 70)).astype("float32")
    x[1:, :35] = 0
    data, ends = nn.Dataset(x, np.arange(2000) % 3), []
    for engine in ("eager", "auto"):
        how = {"device": device, "seed": 0, "initializer": "scaled_normal"}
        net = nn.Ensemble([70, 20, 3], members, **how) if members else nn.Network([70, 20, 3], **how)
        net.fit(data, epochs=1, batch_size=1, optimizer=nn.SGD(0.01, momentum=0.9), shuffle=False, engine=engine)
        ends.append([nn.to_numpy(leaf) for leaf in tree_leaves(net.state)])
    subnormal = [
        sum(((leaf != 0) & (np.abs(leaf) < 1e-38)).sum() for leaf in end if leaf.dtype.kind == "f") for end in ends
    ]
    assert subnormal[0] > 500
    assert subnormal[1] == 0
    for got, expected in zip(*ends, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cut", [1, 127, 128, 300, 999])
def test_an_epoch_in_two_parts_is_the_same_bit_for_bit(cut):
    """What fades is flushed at the same steps."""
    x = np.random.default_rng(0).normal(size=(1200, 40)).astype("float32")
    x[2:, :20] = 0

    def step(state, batch, rate):
        weights, velocity = state
        xp = array_namespace(rate)
        velocity = velocity * 0.9 + batch[0].mT @ xp.tanh(batch[0] @ weights)
        return (weights - velocity * rate, velocity), rate * 1.0

    start = (np.random.default_rng(1).normal(size=(40, 40)).astype("float32"), np.zeros((40, 40), "float32"))
    rows, rates = np.arange(1200).reshape(1200, 1), np.full(1200, 1e-3, "float32")
    whole, _ = ReplayEngine("compiled").run(step, start, (x,), rows, rates, 0, 1200)
    first, _ = ReplayEngine("compiled").run(step, start, (x,), rows, rates, 0, cut)
    both, _ = ReplayEngine("compiled").run(step, first, (x,), rows, rates, cut, 1200)
    assert [a.tobytes() for a in whole] == [a.tobytes() for a in both]
    assert (whole[1][:20] == 0).all()
