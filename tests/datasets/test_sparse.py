"""Sparse matrices: whatever takes inputs gives for them what it gives for the dense array, and never makes that."""

import copy
import pickle
import tracemalloc
from functools import partial
from itertools import chain

import numpy as np
import pytest
from conftest import need
from scipy import sparse

import nn_any as nn
from nn_any.core.trees import tree_leaves
from nn_any.datasets.rows import Rows, SparseRows, as_rows
from nn_any.training import segments

RNG = np.random.default_rng(0)
N, FEATURES, CLASSES = 61, 12, 3
MASK = RNG.random((N, FEATURES)) < 0.3
DENSE = np.where(MASK, RNG.normal(size=(N, FEATURES)), 0).astype("float32")
BYTES = np.where(MASK, RNG.integers(1, 256, (N, FEATURES)), 0).astype("uint8")
LABELS = RNG.integers(0, CLASSES, N)
WEIGHTS = np.where(np.arange(N) % 5 == 0, 0.0, RNG.uniform(0.5, 2.0, N))
FORMATS = ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
CHUNK = 3 * 7 * FEATURES
"""Numbers in three batches of seven."""
EACH_ENGINE = pytest.mark.backends("numpy", "strict", "torch", "jax", "cupy")
"""One backend for each way of running steps."""


@pytest.fixture
def several_chunks(monkeypatch):
    """An epoch in chunks of three steps, and the last one shorter."""
    monkeypatch.setattr(segments, "CHUNK_ELEMENTS", CHUNK)


def leaves(net):
    return [nn.to_numpy(leaf) for block in net.snapshot.blocks for leaf in tree_leaves(block)]


def same(one, other, tolerance=0.0):
    """Two networks of equal states: parameters, what layers know, and what the optimizer remembers."""
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def same_history(one, other, tolerance=0.0):
    assert one.columns == other.columns
    for name in set(one.columns) - {"seconds"}:
        np.testing.assert_allclose(one[name], other[name], rtol=tolerance, atol=tolerance)


def tolerance(backend):
    """Bit for bit on NumPy, to rounding elsewhere."""
    return 0.0 if backend.library == "numpy" else 1e-5


def network(device="numpy", layers=None, **options):
    layers = layers or [FEATURES, nn.Standardize(), nn.Dense(6, activation="tanh"), CLASSES]
    return nn.Network(layers, **{"loss": "cross_entropy", "device": device, "seed": 3, **options})


def both(make, x, y, **options):
    """Two models, one trained on the sparse matrix and one on the dense array, and their histories."""
    models = make(), make()
    options = {"epochs": 2, "batch_size": 7, "optimizer": nn.SGD(0.3), **options}
    return *models, *[model.fit((each, y), **options) for model, each in zip(models, (x, x.toarray()), strict=True)]


# what is taken


@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format(name, kind):
    x = getattr(sparse, f"{name}_{kind}")(DENSE)
    data, net = nn.Dataset(x, LABELS), network()
    assert isinstance(data.x, SparseRows)
    assert (data.x.shape, data.x.ndim, data.x.dtype, len(data), data.input_shape) == (
        (N, FEATURES), 2, np.float32, N, (FEATURES,),
    )  # fmt: skip
    np.testing.assert_array_equal(data.x[...], DENSE)
    np.testing.assert_array_equal(net.feedforward(x), net.feedforward(DENSE))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "uint16", "int64", "float32", "float64"])
def test_every_dtype(backend, dtype):
    values = BYTES.astype(dtype)
    one, other = (nn.Dataset(x, LABELS, device=backend.device) for x in (sparse.csr_array(values), values))
    assert one.x.dtype == other.x.dtype
    np.testing.assert_array_equal(nn.to_numpy(one.x[...]), nn.to_numpy(other.x))
    net = network(backend.device)
    np.testing.assert_allclose(
        nn.to_numpy(net.feedforward(sparse.csr_array(values))), nn.to_numpy(net.feedforward(values)), rtol=1e-6
    )


def test_entries_that_are_stored_twice_are_added_and_the_users_matrix_stays_as_it_was():
    values, columns, starts = np.array([1.0, 2.0, 4.0, 0.0]), np.array([2, 0, 2, 1]), np.array([0, 3, 4])
    for made in (
        sparse.csr_matrix((values.copy(), columns.copy(), starts.copy()), shape=(2, 3)),
        sparse.csc_array((values.copy(), np.array([1, 0, 1, 0]), np.array([0, 3, 3, 4])), shape=(2, 3)),
        sparse.coo_array((values.copy(), (np.array([0, 0, 0, 1]), columns.copy())), shape=(2, 3)),
    ):
        dense, kept = made.copy().toarray(), copy.deepcopy(made)
        data = nn.Dataset(made, [0, 1], dtype="float64")
        np.testing.assert_array_equal(data.x[...], dense)
        np.testing.assert_array_equal(made.data, kept.data)
        assert made.nnz == 4


def test_images():
    images = sparse.csr_matrix(DENSE)
    layers = [(4, 3, 1), nn.Conv2D(2, 2), nn.Flatten(), nn.Dense(CLASSES)]
    one, other, first, second = both(partial(network, layers=layers), images, LABELS)
    same(one, other)
    same_history(first, second)
    with pytest.raises(nn.InvalidValueError, match=r"x: expected \(n, 5\) or one example"):
        network(layers=[5, 3]).predict(images)


def test_examples_of_several_axes():
    cubes = DENSE.reshape(N, 4, 3)
    try:
        x = sparse.coo_array(cubes)
    except (ValueError, TypeError):  # SciPy has them from version 1.15 on
        return
    data = nn.Dataset(x, LABELS)
    assert data.input_shape == (4, 3)
    np.testing.assert_array_equal(data.x[3:5], cubes[3:5])


def test_one_example(backend):
    net = network(backend.device)
    ensemble = nn.Ensemble([FEATURES, CLASSES], 2, device=backend.device, seed=0)
    one = sparse.coo_array(DENSE[3])
    assert one.ndim == 1
    for model in (net, ensemble):
        np.testing.assert_array_equal(nn.to_numpy(model.feedforward(one)), nn.to_numpy(model.feedforward(DENSE[3])))
        assert model.predict(one).shape == ()
    got, wanted = (tree_leaves(net.gradients(x, 1)) for x in (one, DENSE[3]))
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(a), nn.to_numpy(b))
    pairs = nn.Network([(4, 3), nn.Flatten(), nn.Dense(2)], device=backend.device, seed=0)
    assert pairs.predict(sparse.csr_array(DENSE[3].reshape(4, 3))).shape == ()
    with pytest.raises(nn.InvalidValueError, match=r"x: expected \(n, features\) or more axes, got shape \(12,\)"):
        nn.Dataset(one, [1])


def test_sparse_targets(backend):
    one_hot = np.eye(CLASSES, dtype="uint8")[LABELS]
    for kind in (sparse.csr_matrix, sparse.coo_array):
        data = nn.Dataset(sparse.csr_array(DENSE), kind(one_hot), device=backend.device)
        assert data.classes == CLASSES
        np.testing.assert_array_equal(nn.to_numpy(data.y), one_hot)
        net = network(backend.device)
        net.update_mini_batch((sparse.csr_array(DENSE[:5]), kind(one_hot[:5])), 0.1)
        assert net.loss((sparse.csr_array(DENSE), kind(one_hot))) == net.loss((DENSE, one_hot))


# data sets


def test_a_data_set(backend):
    x = sparse.csr_array(BYTES)
    one, other = (nn.Dataset(each, LABELS, scale=255, device=backend.device) for each in (x, BYTES))
    share = f"{100 * x.nnz / (N * FEATURES):.3g}"
    described = f"sparse uint8 with {share} % of the entries"
    assert repr(one) == f"Dataset(61 examples of shape (12,), {described}, 3 classes, on {backend.device})"
    assert repr(one.x) == f"SparseRows(61 of shape (12,), {described}, on {backend.device})"
    rows = [5, 0, 60, 5]
    np.testing.assert_array_equal(nn.to_numpy(one.take(rows).x[...]), BYTES[rows])
    np.testing.assert_array_equal(nn.to_numpy(one.take(rows).y), LABELS[rows])
    for a, b in zip(one.split(0.5, 10, seed=1), other.split(0.5, 10, seed=1), strict=True):
        np.testing.assert_array_equal(nn.to_numpy(a.x[...]), nn.to_numpy(b.x))
    for (a, c), (b, d) in zip(one.batches(8, seed=2), other.batches(8, seed=2), strict=True):
        np.testing.assert_array_equal(nn.to_numpy(a), nn.to_numpy(b))
        np.testing.assert_array_equal(nn.to_numpy(c), nn.to_numpy(d))
    np.testing.assert_array_equal(nn.to_numpy(one.with_columns([3, 1, 7]).x[2:9]), BYTES[2:9, [3, 1, 7]])
    heavier = one.weighted(sample_weight=WEIGHTS)
    assert heavier.x is one.x
    assert one.to(backend.device) is one
    assert one.to("numpy").x.device == nn.select_device("numpy")
    restored = pickle.loads(pickle.dumps(one.to("numpy")))
    np.testing.assert_array_equal(restored.x[...], BYTES)
    again = nn.Dataset(one.x, LABELS)
    assert again.device == backend.device
    np.testing.assert_array_equal(nn.to_numpy(network(backend.device).feedforward(again.x)),
                                  nn.to_numpy(network(backend.device).feedforward(BYTES)))  # fmt: skip


def test_columns_with_names_and_labels_of_text():
    """Other data come with their columns and classes in another order: both are matched by name."""
    names, text = [f"word {i}" for i in range(FEATURES)], np.array(["a", "b", "c"])[LABELS]
    net = network()
    net.fit(nn.Dataset(sparse.csr_array(DENSE), text, feature_names=names), epochs=2, batch_size=7)
    assert (net.feature_names, net.class_names) == (tuple(names), ("a", "b", "c"))
    turned = nn.Dataset(sparse.csc_matrix(DENSE[:, ::-1]), text, classes=["c", "b", "a"], feature_names=names[::-1])
    assert net.loss(turned) == net.loss((DENSE, text))
    assert net.predict_names(sparse.csr_array(DENSE)).tolist() == net.predict_names(DENSE).tolist()


def test_rows_are_indexed_as_an_array_is():
    rows = nn.Dataset(sparse.csr_array(DENSE), LABELS).x
    slices = slice(3, 8), slice(None, None, 7), (slice(3, 8), ...), (2, slice(1, 4)), ...
    for key in (*slices, 5, -1, [4, 1], LABELS == 1):
        np.testing.assert_array_equal(rows[key], DENSE[key])
    assert [row.tolist() for row in rows] == DENSE.tolist()
    with pytest.raises(IndexError):
        rows[N]


def test_inputs_live_where_the_targets_do(backend):
    data = nn.Dataset(sparse.csr_array(DENSE), backend.device.asarray(LABELS))
    assert data.device == nn.Device.of(backend.device.asarray(LABELS)) == nn.Device.of(data.x[:3])
    assert nn.Dataset(sparse.csr_array(DENSE), LABELS).device == nn.select_device("numpy")


def test_padding_holds_zeros():
    rows = as_rows("x", sparse.csr_array(DENSE))
    padded = rows.dense(np.array([4, 2]), at=3, size=7)
    np.testing.assert_array_equal(padded[3:5], DENSE[[4, 2]])
    assert not padded[[0, 1, 2, 5, 6]].any()


# training


OPTIMIZERS = [
    nn.SGD(0.3),
    nn.SGD(0.1, momentum=0.9, nesterov=True),
    nn.SGD(0.1, momentum=0.5, weight_decay=0.01),
    nn.Adam(),
    nn.AdamW(),
    nn.Adagrad(),
    nn.RMSprop(),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_every_optimizer(several_chunks, optimizer):
    one, other, first, second = both(network, sparse.csr_array(DENSE), LABELS, optimizer=optimizer)
    same(one, other)
    same_history(first, second)


@EACH_ENGINE
def test_every_engine(backend, several_chunks):
    x, tol = sparse.csr_matrix(DENSE), tolerance(backend)
    options = {"optimizer": nn.SGD(0.3, momentum=0.9), "validation_data": (x[:20], LABELS[:20]), "metrics": ["f1"]}
    one, other, first, second = both(partial(network, backend.device), x, LABELS, **options)
    same(one, other, tol)
    same_history(first, second, tol)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 61, 100])
def test_batches_of_every_size(several_chunks, shuffle, batch_size):
    one, other, first, second = both(
        network, sparse.csr_array(DENSE), LABELS, batch_size=batch_size, shuffle=shuffle, optimizer=nn.Adam()
    )
    same(one, other)
    same_history(first, second)


@pytest.mark.backends("numpy", "torch")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_scale_and_callbacks(float64, several_chunks, dtype):
    """Rows of weight 0, integers with a scale, the network's dtype, batch norm, dropout, early stopping."""
    layers = [FEATURES, nn.Standardize(), nn.Dense(6, activation="relu"), nn.BatchNorm(), nn.Dropout(0.3), CLASSES]
    nets = [network(float64.device, layers, dtype=dtype) for _ in range(2)]
    histories = []
    for net, x in zip(nets, (sparse.csr_array(BYTES), BYTES), strict=True):
        data = nn.Dataset(x, LABELS, scale=255, device=float64.device, sample_weight=WEIGHTS)
        training, validation = data.split(45, seed=1)
        stop = nn.EarlyStopping(patience=2)
        options = {"validation_data": validation, "callbacks": [stop], "monitor_training": True}
        histories.append(net.fit(training, epochs=5, batch_size=7, optimizer=nn.Adam(0.05), **options))
    tol = tolerance(float64)
    same(*nets, 10 * tol)
    same_history(*histories, 10 * tol)


@pytest.mark.backends("numpy", "strict", "torch")
def test_lbfgs(float64):
    one, other, first, second = both(
        partial(network, float64.device, dtype="float64"),
        sparse.csr_array(DENSE), LABELS, optimizer=nn.LBFGS(), batch_size=None, epochs=5,
    )  # fmt: skip
    same(one, other, 1e3 * tolerance(float64))
    same_history(first, second, tolerance(float64))


def test_lbfgs_and_evaluation_in_chunks(monkeypatch):
    """The search needs all examples at once; their losses are added up over chunks, as those of dense ones are."""
    monkeypatch.setattr("nn_any.evaluation.CHUNK_ELEMENTS", 10 * network().specification.footprint)
    one, other, first, second = both(
        network, sparse.csr_array(DENSE), LABELS, optimizer=nn.LBFGS(), batch_size=None, epochs=5
    )
    same(one, other)
    same_history(first, second)
    assert one.loss((sparse.csr_array(DENSE), LABELS)) == one.loss((DENSE, LABELS))


@EACH_ENGINE
def test_ensembles(backend, several_chunks):
    """Each member has its own order."""
    check_ensemble(backend)


@pytest.mark.backends("numpy")
def test_ensembles_in_blocks(backend, several_chunks, monkeypatch):
    """Two blocks of members, on two threads."""
    monkeypatch.setattr("nn_any.training.states.block_sizes", lambda device, n, *_: [n - 1, 1])
    check_ensemble(backend, threads=2)


def check_ensemble(backend, threads=1):
    make = partial(
        nn.Ensemble, [FEATURES, nn.Standardize(), 5, CLASSES], 3, learning_rates=[0.1, 0.3, 0.5],
        device=backend.device, seed=0, threads=threads,
    )  # fmt: skip
    x, tol = sparse.csr_array(DENSE), tolerance(backend)
    one, other, first, second = both(make, x, LABELS, validation_data=(x, LABELS), optimizer=nn.SGD(1.0, momentum=0.9))
    same(one, other, tol)
    same_history(first, second, tol)
    for name in ("losses", "accuracies", "best", "evaluate", "accuracy", "loss"):
        np.testing.assert_allclose(getattr(one, name)((x, LABELS)), getattr(one, name)((DENSE, LABELS)), rtol=tol)
    for name in ("member_outputs", "feedforward", "predict", "vote", "predict_proba"):
        got, wanted = (nn.to_numpy(getattr(one, name)(each)) for each in (x, DENSE))
        np.testing.assert_allclose(got, wanted, rtol=tol)


@pytest.mark.backends("numpy", "strict", "torch")
@pytest.mark.parametrize("steps", [2, 4, 9, 13])
def test_a_run_resumed_in_mid_epoch(backend, monkeypatch, tmp_path, steps):
    """Interrupted in segments of two steps, and resumed in segments of six: in the middle of a chunk of three."""
    monkeypatch.setattr(segments, "CHUNK_ELEMENTS", CHUNK)
    monkeypatch.setattr("nn_any.training.fit.segment_length", lambda *_: 2)
    x, data = sparse.csr_array(DENSE), (sparse.csr_array(DENSE), LABELS)
    whole, options = network(backend.device), {"epochs": 3, "batch_size": 7, "optimizer": nn.Adam()}
    wanted = whole.fit((DENSE, LABELS), **options)

    class Interrupt(nn.Callback):
        def on_pause(self, run):
            if run.network.steps == steps:
                raise KeyboardInterrupt

    path, net = tmp_path / "run.safetensors", network(backend.device)
    with pytest.raises(KeyboardInterrupt):
        net.fit(data, **options, checkpoint=path, callbacks=[Interrupt()])
    monkeypatch.setattr("nn_any.training.fit.segment_length", lambda *_: 6)
    resumed = network(backend.device)
    history = resumed.fit((x, LABELS), **options, checkpoint=path, resume=True)
    same(resumed, whole, tolerance(backend))
    same_history(history, wanted, tolerance(backend))


def test_velocities_that_fade_are_flushed_at_the_same_steps(monkeypatch):
    """A feature that only the first examples have: its velocity decays to a subnormal number, and then to zero."""
    monkeypatch.setattr(segments, "CHUNK_ELEMENTS", 50 * 2 * FEATURES)  # no divisor of the steps between two flushes
    x = np.zeros((600, FEATURES), "float32")
    x[:, 1:] = RNG.normal(size=(600, FEATURES - 1))
    x[:4, 0] = 1.0
    options = {"batch_size": 2, "epochs": 1, "shuffle": False, "optimizer": nn.SGD(0.01, momentum=0.7)}
    nets, subnormal = [network(layers=[FEATURES, 4, CLASSES]) for _ in range(2)], False
    for rows in (slice(500), slice(540), slice(600)):  # 250, 270 and 300 steps, with flushes after 128 and 256
        for net, make in zip(nets, (sparse.csr_array, np.asarray), strict=True):
            net.fit((make(x[rows]), np.arange(len(x[rows])) % 3), **options)
        same(*nets)
        states = [leaf for leaf in leaves(nets[0]) if leaf.dtype == np.float32]
        subnormal |= any(((leaf != 0) & (np.abs(leaf) < np.finfo("float32").tiny)).any() for leaf in states)
    assert subnormal


class Counted(Rows):
    """Rows of an array, as a file would have them: nothing but the protocol, and a note of what was asked for."""

    def __init__(self, array, device, asked):
        self.array, self.device, self.asked = array, device, asked
        self.shape, self.dtype = array.shape, device.asarray(array[:0]).dtype

    def dense(self, rows, *, at=0, size=None):
        self.asked.append(rows.tolist())
        out = np.zeros((size or len(rows), *self.shape[1:]), self.array.dtype)
        out[at : at + len(rows)] = self.array[rows]
        return self.device.asarray(out)

    def take(self, rows):
        return Counted(self.array[rows], self.device, self.asked)

    def columns(self, places):
        return Counted(self.array[:, places], self.device, self.asked)

    def to(self, device, dtype=None):
        return Counted(self.array.astype(dtype or self.array.dtype), device, self.asked)

    def reshaped(self, shape):
        return Counted(self.array.reshape(-1, *shape), self.device, self.asked)

    def check_finite(self, name, dtype=None):
        assert np.isfinite(self.array).all()


@pytest.mark.backends("numpy", "strict-device1", "jax")
def test_training_knows_the_protocol_alone_and_takes_each_row_once_an_epoch(backend, several_chunks):
    asked, tol = [], tolerance(backend)
    data = nn.Dataset(Counted(DENSE, backend.device, asked), LABELS)
    nets = [network(backend.device, [FEATURES, 5, CLASSES]) for _ in range(2)]
    histories = [
        net.fit(given, epochs=2, batch_size=7, optimizer=nn.Adam())
        for net, given in zip(nets, (data, (DENSE, LABELS)), strict=True)
    ]
    same(*nets, tol)
    same_history(*histories, tol)
    assert [len(rows) for rows in asked] == [21, 21, 14, 5] * 2  # eight batches of seven, and one of five
    for epoch in (asked[:4], asked[4:]):
        assert sorted(chain(*epoch)) == list(range(N))
    assert "float32 in parts" in repr(data)
    asked.clear()
    assert nets[0].accuracy(data) == nets[1].accuracy((DENSE, LABELS))
    np.testing.assert_allclose(nn.to_numpy(nets[0].feedforward(data.x)), nn.to_numpy(nets[1].feedforward(DENSE)), tol)
    assert [*chain(*asked)] == [*range(N)] * 2


@pytest.mark.backends("numpy", "strict", "cupy")
def test_steps_of_ones_own(backend, several_chunks):
    net, x, tol = network(backend.device), sparse.csr_array(DENSE), tolerance(backend)
    order = np.stack([np.random.default_rng(i).permutation(N)[:7] for i in range(20)])
    states = [nn.measure(net, net.state, (each, LABELS)) for each in (x, DENSE)]
    results = [
        nn.train_steps(net, state, (each, LABELS), order, 0.1, optimizer=nn.Adam())
        for state, each in zip(states, (x, DENSE), strict=True)
    ]
    ensemble = nn.Ensemble([FEATURES, CLASSES], 2, device=backend.device, seed=0)
    orders = np.stack([order, order[::-1]], axis=1)
    results += [nn.train_steps(ensemble, ensemble.state, (each, LABELS), orders, 0.1) for each in (x, DENSE)]
    results += [nn.train_step(net, net.state, (each[:9], LABELS[:9]), 0.1) for each in (x, DENSE)]
    for (state, losses), (other, wanted) in zip(results[::2], results[1::2], strict=True):
        np.testing.assert_allclose(nn.to_numpy(losses), nn.to_numpy(wanted), rtol=tol)
        for a, b in zip(tree_leaves(state), tree_leaves(other), strict=True):
            np.testing.assert_allclose(nn.to_numpy(a), nn.to_numpy(b), rtol=tol, atol=tol)


# answers


@pytest.mark.backends("numpy", "strict", "jax")
def test_every_method_answers_as_for_the_dense_array(backend):
    net, x, tol = network(backend.device), sparse.csc_matrix(DENSE), tolerance(backend)
    net.SGD((x, LABELS), 2, 7, 0.3)
    for name in ("evaluate", "accuracy", "loss"):
        assert getattr(net, name)((x, LABELS)) == pytest.approx(getattr(net, name)((DENSE, LABELS)), rel=tol or 1e-15)
    assert net.score((x, LABELS), "f1") == net.score((DENSE, LABELS), "f1")
    for name in ("feedforward", "predict", "predict_proba"):
        got, wanted = (nn.to_numpy(getattr(net, name)(each)) for each in (x, DENSE))
        np.testing.assert_allclose(got, wanted, rtol=tol)
    got, wanted = (net.backprop(each, LABELS) for each in (x, DENSE))
    for a, b in zip(got[0] + got[1], wanted[0] + wanted[1], strict=True):
        np.testing.assert_allclose(nn.to_numpy(a), nn.to_numpy(b), rtol=tol, atol=tol)
    nets = net.copy(), net.copy()
    for each, rows in zip(nets, (x.tocsr()[:9], DENSE[:9]), strict=True):
        each.update_mini_batch((rows, LABELS[:9]), 0.2)
    same(*nets, tol)


def test_stored_integers_are_divided_by_the_networks_scale():
    net = network()
    net.fit(nn.Dataset(sparse.csr_array(BYTES), LABELS, scale=255), epochs=1, batch_size=7, optimizer=nn.SGD(0.1))
    assert net.schema.scale == 255
    wanted = net.feedforward(BYTES.astype("float32") / 255)
    np.testing.assert_allclose(net.feedforward(sparse.csr_array(BYTES)), wanted, rtol=1e-5)


def test_devices_are_timed_on_them():
    timing = nn.time_devices(network(), (sparse.csr_array(DENSE), LABELS), 7, seconds=0.01, places=["numpy"])[0]
    assert timing.error is None
    assert timing.seconds_per_step > 0


# memory


def test_a_matrix_that_memory_would_not_hold():
    """20,000 × 20,000 numbers are 1.6 GB in float32; the work takes no twentieth of that at a time."""
    n = 20_000
    rng = np.random.default_rng(0)
    places = rng.integers(0, n, (2, n * n // 1000))
    x = sparse.coo_array((rng.random(places.shape[1], dtype="float32"), tuple(places)), shape=(n, n)).tocsr()
    y = rng.integers(0, 2, n)
    net = nn.Network([n, 2], loss="cross_entropy", initializer="scaled_normal", device="numpy", seed=0)
    tracemalloc.start()
    try:
        training = nn.Dataset(x, y)
        net.fit(training.take(np.arange(2000)), epochs=1, batch_size=200, optimizer=nn.SGD(0.1))
        predicted, loss = net.predict(x), net.loss(training)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert predicted.shape == (n,)
    assert np.isfinite(loss)
    assert peak < 4 * n * n / 8
    np.testing.assert_array_equal(predicted[:50], net.predict(x[:50].toarray()))


# what is refused


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_found_where_they_are(backend, value):
    x = sparse.coo_array(DENSE).tocsr().astype("float64")
    x.data[17] = value
    row, column = np.argwhere(~np.isfinite(x.toarray()))[0]
    place = f"x: expected finite numbers, got {value} at row {row}, column {column}"
    net = network(backend.device)
    for call in (
        lambda: nn.Dataset(x, LABELS, device=backend.device),
        lambda: net.predict(x),
        lambda: net.fit((x, LABELS), epochs=1, batch_size=7, optimizer=nn.SGD(0.1)),
    ):
        with pytest.raises(nn.InvalidValueError) as caught:
            call()
        assert str(caught.value).startswith(place)
    x.data[17] = 1e300
    with pytest.raises(nn.InvalidValueError, match=f"x: .* got 1e.300 at row {row}, column {column}, which is beyond"):
        net.predict(x)
    if backend.library != "jax":
        with pytest.raises(nn.InvalidValueError, match=r"x: .*beyond float32"):
            net.loss(nn.Dataset(x, LABELS, device=backend.device))
    assert len(nn.Dataset(x, LABELS, device=backend.device, check_finite=False)) == N


@pytest.mark.backends("jax")
def test_integers_that_do_not_fit(backend):
    x = sparse.csr_array(BYTES.astype("int64"))
    x.data[5] = 2**40
    with pytest.raises(nn.InvalidValueError, match="x: expected integers that int32 can hold"):
        nn.Dataset(x, LABELS, device=backend.device)


@pytest.mark.slow
def test_other_libraries_sparse_arrays():
    need("jax")
    import jax.numpy as jnp
    from jax.experimental.sparse import BCOO, BCSR

    net = network("jax")
    wanted = nn.to_numpy(net.feedforward(DENSE))
    for kind in (BCOO, BCSR):
        x = kind.fromdense(jnp.asarray(DENSE))
        for call in (lambda: nn.Dataset(x, LABELS), lambda: net.predict(x), lambda: net.loss((x, LABELS))):  # noqa: B023
            with pytest.raises(nn.InvalidTypeError) as caught:
                call()
            what, remedy, _ = str(caught.value).replace("; use ", ", or ").split(", or ")
            assert what.startswith("x: expected an array of real numbers, got a sparse array of jax.experimental")
            remedied = eval(remedy, {"x": x}, {"scipy": __import__("scipy")})
            np.testing.assert_array_equal(nn.to_numpy(net.feedforward(remedied)), wanted)
        np.testing.assert_array_equal(nn.to_numpy(net.feedforward(x.todense())), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["coo", "csr", "csc"])
@pytest.mark.filterwarnings("ignore:Sparse CS. tensor support")
def test_sparse_tensors(layout):
    torch = need("torch")
    x = getattr(torch.asarray(DENSE), f"to_sparse_{layout}")()
    with pytest.raises(nn.InvalidTypeError) as caught:
        nn.Dataset(x, LABELS)
    first, second = str(caught.value).partition("SciPy's: ")[2].split(", and ")
    names = {"x": x, "scipy": __import__("scipy")}
    exec(first, names)
    data = nn.Dataset(eval(second, names), LABELS)
    np.testing.assert_array_equal(data.x[...], DENSE)


@pytest.mark.parametrize(
    ("module", "remedy"),
    [("cupyx.scipy.sparse._csr", "get"), ("sparse.numba_backend._coo.core", "to_scipy_sparse")],
)
def test_sparse_arrays_of_libraries_that_may_not_be_there(module, remedy):
    class Foreign:
        """What has the names of the library's own."""

        def todense(self):
            return DENSE

        def get(self):
            return sparse.csr_matrix(DENSE)

        to_scipy_sparse = get

    Foreign.__module__ = module
    with pytest.raises(nn.InvalidTypeError, match=rf"x: .*a sparse array of {module}; use \.{remedy}\(\)"):
        nn.Dataset(Foreign(), LABELS)
    np.testing.assert_array_equal(nn.Dataset(getattr(Foreign(), remedy)(), LABELS).x[...], DENSE)


def test_where_no_sparse_array_makes_sense():
    x = sparse.csr_array(DENSE)
    with pytest.raises(nn.InvalidTypeError, match=r"sample_weight: .* got a sparse matrix; use .toarray\(\)"):
        nn.Dataset(x, LABELS, sample_weight=sparse.coo_array(WEIGHTS))
    for y in (sparse.coo_array(LABELS), sparse.csr_matrix(LABELS[:, None])):
        with pytest.raises(nn.InvalidTypeError, match=r"y: expected labels .* got a sparse matrix; use .toarray\(\)"):
            nn.Dataset(x, y)
    with pytest.raises(nn.InvalidTypeError, match=r"data: expected a Dataset, .* alone; write \(x, y\)"):
        network().loss(x)
