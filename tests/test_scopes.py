"""All work on a device goes on in its scope, which is what makes a second GPU current for CuPy.

array_api_strict stands for CuPy: each array that it makes on its device1 is looked at.
"""

import contextlib
import threading
import traceback

import numpy as np
import pytest
from conftest import need

import nn_any as nn
from nn_any.backends import engine
from nn_any.backends._standard import StandardBackend
from nn_any.book import network, network2, network3
from nn_any.datasets.augmentation import expand_by_shifts

RNG = np.random.default_rng(0)
X, Y = RNG.random((24, 6)).astype("float32"), RNG.integers(0, 3, 24)
TARGETS = np.eye(3, dtype="float32")[Y]
PIXELS = RNG.integers(0, 256, (24, 6)).astype("uint8")
PAIRS = [(x[:, None], y[:, None]) for x, y in zip(X, TARGETS, strict=True)]
WEIGHTS = np.arange(24.0)
DEVICE = "array_api_strict:device1"


class Watch:
    """How deep in scopes each thread is, and what was done outside of them."""

    def __init__(self):
        self._local, self.found = threading.local(), []

    @property
    def depth(self):
        return getattr(self._local, "depth", 0)

    @contextlib.contextmanager
    def scope(self):
        self._local.depth = self.depth + 1
        try:
            with engine.quiet():
                yield
        finally:
            self._local.depth -= 1

    def inside(self, function):
        """The function, run as in a scope: a view is no work, and CuPy's backend moves arrays in scopes of its own."""

        def call(*args, **kwargs):
            with self.scope():
                return function(*args, **kwargs)

        return call

    def look(self, device):
        if self.depth == 0 and device is not None and "device1" in str(device):
            frames = [f for f in traceback.extract_stack() if "nn_any/" in f.filename.replace("\\", "/")]
            frames = [f for f in frames if "/tests/" not in f.filename]
            if frames:
                self.found.append(f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}")


def _is_view(key):
    """Whether an index makes a view."""
    return all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in np.index_exp[key])


@pytest.fixture
def watch(monkeypatch):
    """Watches array_api_strict; the test fails if work on device1 went on outside of its scope."""
    need("array_api_strict")
    from array_api_strict._array_object import Array

    watch = Watch()
    new, getitem = Array.__dict__["_new"].__func__, Array.__getitem__
    viewed = watch.inside(getitem)

    def watched(cls, x, /, device):
        watch.look(device)
        return new(cls, x, device)

    monkeypatch.setattr(Array, "_new", classmethod(watched))
    monkeypatch.setattr(Array, "__getitem__", lambda self, key: (viewed if _is_view(key) else getitem)(self, key))
    monkeypatch.setattr(StandardBackend, "scope", lambda self, name: watch.scope())
    monkeypatch.setattr(engine.Engine, "scope", lambda self: watch.scope())
    for name in ("from_host", "to_host", "move"):
        monkeypatch.setattr(StandardBackend, name, watch.inside(getattr(StandardBackend, name)))
    yield watch
    assert not watch.found, "outside of the device's scope:\n" + "\n".join(dict.fromkeys(watch.found))


def placed(array):
    return nn.to_device(array, DEVICE)


def test_the_watch_sees_work_outside_of_a_scope(watch):
    net = nn.Network([6, 3], device=DEVICE, seed=0)
    data = nn.Dataset(X, TARGETS, device=DEVICE)
    assert not watch.found
    net.specification.loss(data.y, data.y, xp=data.device.xp)
    assert any("losses.py" in found for found in watch.found)
    watch.found.clear()


@pytest.mark.parametrize(
    "optimizer",
    [nn.SGD(0.5), nn.SGD(0.5, momentum=0.9, clip_norm=1.0, weight_decay=0.1), nn.Adam(), nn.LBFGS(weight_decay=0.1)],
    ids=repr,
)
@pytest.mark.parametrize("y", [Y, TARGETS], ids=["labels", "targets"])
def test_fit(watch, optimizer, y, tmp_path):
    first = [] if optimizer.whole_batch else [nn.Standardize(), nn.BatchNorm()]
    net = nn.Network([6, *first, 5, 3], device=DEVICE, seed=0)
    given = {"epochs": 3, "optimizer": optimizer} | ({} if optimizer.whole_batch else {"batch_size": 7})
    given |= {"validation_data": (X, y), "test_data": nn.Dataset(PIXELS, y, scale=255), "metrics": ("f1",)}
    given |= {"checkpoint": tmp_path / "run", "monitor_training": True}
    stopping = nn.EarlyStopping("validation_loss")
    net.fit((X, y), sample_weight=WEIGHTS, class_weight="balanced", callbacks=[stopping], **given)
    stopping, given["epochs"] = nn.EarlyStopping("validation_loss"), 4
    net.fit((X, y), sample_weight=WEIGHTS, class_weight="balanced", callbacks=[stopping], resume=True, **given)
    net.fit(nn.Dataset(PIXELS, y, scale=255, device=DEVICE), **given | {"checkpoint": None}, engine="eager")


@pytest.mark.parametrize("y", [Y, TARGETS], ids=["labels", "targets"])
def test_answers(watch, y):
    net = nn.Network([6, nn.Dropout(0.5), 5, 3], device=DEVICE, seed=0)
    net.SGD((X, y), 2, 5, 0.5, test_data=(placed(X), placed(y)))
    for x, own in ((X, y), (placed(X), placed(y)), (placed(X.astype("float64")), placed(y))):
        net.feedforward(x), net.feedforward(x[0, :]), net.predict(x), net.predict(x[0, :]), net.predict_proba(x)
        net.loss((x, own)), net.accuracy((x, own)), net.evaluate((x, own)), net.score((x, own), "f1")
        net.backprop(x, own), net.gradients(x, own, training=True), net.update_mini_batch((x, own), 0.1)
        net.cost_derivative(net.feedforward(x), own)
    net.summary(), repr(net)
    numbers = nn.Network([6, 5, 2], loss="mean_squared_error", device=DEVICE, seed=0)
    numbers.SGD((X, X[:, :2]), 2, 5, 0.01, test_data=(X, PIXELS[:, :2]))
    numbers.predict(placed(PIXELS)), numbers.score((PIXELS, PIXELS[:, :2]), "r2")
    one = nn.Network([6, 1], device=DEVICE, seed=0)
    one.SGD((X, Y > 0), 2, 5, 0.01, test_data=(X, Y[:, None] > 0))
    one.predict(X), one.evaluate((X, 1.0 * (Y[:, None] > 0)))


def test_parameters_moves_and_files(watch, tmp_path):
    net = nn.Network([(6, 6, 1), nn.Conv2D(2, 3), nn.MaxPool2D(2), nn.BatchNorm(), nn.Flatten(), 3], device=DEVICE)
    images = RNG.random((9, 36))
    net.SGD((images, Y[:9]), 1, 4, 0.1)
    net.set_parameters(net.parameters), net.set_weights(net.weights, net.biases), net.copy_from(net.copy())
    net.freeze(0).unfreeze()
    net.state, net.snapshot = net.state, net.snapshot
    net.save(tmp_path / "net")
    nn.Network.load(tmp_path / "net", device=DEVICE).astype("float64").feedforward(images)
    nn.Network(net.snapshot, device=DEVICE).to("numpy").to(DEVICE).to("array_api_strict:cpu").to(DEVICE)


def test_steps_of_ones_own(watch):
    net = nn.Network([6, nn.Standardize(), 5, 3], device=DEVICE, seed=0)
    state = nn.measure(net, net.state, (X, Y))
    state, _ = nn.train_step(net, state, (X, Y), 0.5, optimizer=nn.Adam())
    state, _ = nn.train_steps(net, state, (placed(X), placed(Y)), np.arange(24).reshape(4, 6), 0.5)
    net.state = state
    nn.time_devices(net, (X, Y), 5, seconds=0.001, places=[DEVICE])


def test_an_ensemble(watch, tmp_path):
    several = {"learning_rates": [0.1, 0.3, 1e30], "weight_decays": [0.0, 0.1, 0.2]}
    ensemble = nn.Ensemble([6, nn.Standardize(), 5, 3], 3, **several, device=DEVICE, seed=0)
    for y in (Y, TARGETS):
        given = {"epochs": 2, "batch_size": 7, "validation_data": (X, y), "metrics": ("f1",)}
        ensemble.fit((X, y), optimizer=nn.SGD(0.3, momentum=0.5), checkpoint=tmp_path / f"{y.ndim}", **given)
        ensemble.spread(X), ensemble.losses((X, y)), ensemble.accuracies((X, y)), ensemble.best((X, y))
        ensemble.accuracy((X, y)), ensemble.evaluate((X, y)), ensemble.loss((X, y)), ensemble.score((X, y), "f1")
        ensemble.backprop(X, y), ensemble.gradients(X, y), ensemble.update_mini_batch((X, y), 0.1)
        ensemble.cost_derivative(TARGETS, y)
    assert ensemble.diverged.any()
    for x in (X, X[0]):
        ensemble.feedforward(x), ensemble.mean(x), ensemble.predict(x), ensemble.predict_proba(x)
        ensemble.member_outputs(x), ensemble.vote(x), ensemble.spread(x)
    ensemble.set_parameters(ensemble.parameters), ensemble.summary(), repr(ensemble), list(ensemble)
    ensemble.save(tmp_path / "ensemble")
    nn.Ensemble.load(tmp_path / "ensemble", device=DEVICE)[1].feedforward(X)
    ensemble.copy().to("numpy").to(DEVICE).astype("float64").predict(X)
    ensemble.copy_from(ensemble), ensemble.freeze(1)
    nn.train_step(ensemble, ensemble.state, (X, Y), 0.1, optimizer=nn.Adam())
    nn.train_steps(ensemble, ensemble.state, (X, Y), np.zeros((2, 3, 4), int), 0.1, optimizer=nn.Adam())


@pytest.mark.parametrize("y", [Y, TARGETS, X], ids=["labels", "targets", "numbers"])
def test_data(watch, y):
    here = nn.Dataset(PIXELS, y, scale=255, sample_weight=WEIGHTS, device=DEVICE)
    for data in (here, nn.Dataset(placed(X), placed(y), sample_weight=placed(WEIGHTS)), nn.Dataset(X.tolist(), y)):
        data = data.to(DEVICE)
        for part in data.split(0.5, 0.25, seed=1):
            part.to("numpy").to(DEVICE), part.to("array_api_strict:cpu").to(DEVICE)
        data.take([3, 1]), data.weighted(WEIGHTS + 1), list(data.batches(5)), repr(data)
    if y.ndim == 1:
        here.weighted(class_weight="balanced")
    nn.Dataset(placed(X), placed(y)[:, 0] * 1.0 if y.ndim > 1 else placed(y))
    expand_by_shifts(here, [(0, 1), (1, 0)], image_shape=(2, 3))


@pytest.mark.parametrize("layer", [nn.RandomAffine(rotation=5.0), nn.ElasticDistortion()], ids=repr)
def test_augmentation(watch, layer):
    layers = [(3, 2, 1), layer, nn.Conv2D(2, 2), nn.LayerNorm(), nn.AveragePool2D(1), nn.Flatten(), 3]
    net = nn.Network(layers, device=DEVICE, seed=0)
    net.SGD((X, Y), 1, 5, 0.1)
    net.feedforward(X)


def test_the_book(watch, tmp_path, capsys):
    column, target = placed(X[0][:, None]), placed(TARGETS[0][:, None])
    for one in (network.Network([6, 5, 3], device=DEVICE), network2.Network([6, 5, 3], device=DEVICE)):
        one.SGD(PAIRS, 1, 5, 0.5, **({"test_data": PAIRS} if type(one) is network.Network else {}))
        one.weights, one.biases = one.weights, one.biases
        one.feedforward(column), one.feedforward(PAIRS[0][0]), one.evaluate(PAIRS), one.backprop(column, target)
        one.cost_derivative(target, target)
        one.update_mini_batch(PAIRS[:5], 0.1)
        one.update_mini_batch([(column, target)], 0.1)
    monitored = {f"monitor_{part}_{what}": True for part in ("training", "evaluation") for what in ("cost", "accuracy")}
    one.SGD(PAIRS, 2, 5, 0.5, lmbda=0.1, evaluation_data=PAIRS, early_stopping_n=1, **monitored)
    one.update_mini_batch(PAIRS[:5], 0.1, lmbda=0.1, n=24)
    one.total_cost(PAIRS, 0.1), one.accuracy(PAIRS), one.large_weight_initializer(), one.save(tmp_path / "net")
    network2.load(tmp_path / "net", device=DEVICE)
    for z in (column, target):
        network.sigmoid(z), network.sigmoid_prime(z)
    for cost in (network2.QuadraticCost, network2.CrossEntropyCost):
        cost.fn(network.sigmoid(target), target), cost.delta(target, network.sigmoid(target), PAIRS[0][1])
        cost.delta(None, network.sigmoid(target), target)
    for function in (network3.linear, network3.ReLU, network3.sigmoid, network3.tanh, network3.softmax):
        function(column), function(placed(X))
    layers = [
        network3.ConvPoolLayer((3, 2, 2, 2), (5, 2, 3, 3)),
        network3.FullyConnectedLayer(3, 6, network3.ReLU, p_dropout=0.5),
        network3.SoftmaxLayer(6, 3),
    ]
    images = RNG.random((20, 2, 3, 3)).astype("float32")
    three = network3.Network(layers, 5, device=DEVICE)
    three.SGD((images, Y[:20]), 1, 5, 0.1, (placed(images), placed(Y[:20])), (images, Y[:20]), lmbda=0.1)
    three.predict(images), three.predict(placed(images)), three.params


def test_pauses_and_snapshots_of_callbacks(watch, monkeypatch):
    monkeypatch.setattr("nn_any.training.fit.segment_length", lambda *_: 1)
    net = nn.Network([6, 5, 3], device=DEVICE, seed=0)

    def halve(run):
        run.network.set_parameters({name: 0.5 * nn.to_numpy(a) for name, a in run.network.parameters.items()})

    net.fit((X, Y), epochs=2, batch_size=7, optimizer=nn.Adam(), callbacks=[halve])
