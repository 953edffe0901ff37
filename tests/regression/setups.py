"""Trainings that between them use all of the library, by its public names alone.

Each set-up is a function of a device, an engine and a folder for files, and returns every number it leads to. The same
file runs with older and newer code, see `side_by_side`, so it imports nothing of the tests and nothing private.
"""

import contextlib
import copy
import io
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import nn_any as nn
from nn_any.book import network, network2, network3

from .recording import Recording, Results

SETUPS: dict[str, Callable[..., Results]] = {}


def setup(function):
    """Enter a function of a run and its recording among the set-ups."""

    def call(device: str, engine: str, folder: Path, brief: bool = False) -> Results:
        recording = Recording(folder, brief)
        run = SimpleNamespace(
            device=device, engine=engine, folder=folder, where={"device": device}, by={"engine": engine}
        )
        function(run, recording)
        return recording.results

    SETUPS[function.__name__] = call
    return function


# data


@cache
def stored():
    """The digits as they are stored, in a fixed order: uint8 (n, 64) of 0 … 16, and their labels; read-only."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(labels))  # a stream that NumPy promises to keep
    x, y = images.astype("uint8")[order], labels.astype("int64")[order]
    x.flags.writeable = y.flags.writeable = False
    return x, y


def digits(n, start=0, dtype="float32"):
    """`n` digits as reals of 0 … 1, (n, 64), and their labels (n,)."""
    x, y = (part[start : start + n] for part in stored())
    x = (x / 16).astype(dtype)
    x.flags.writeable = False
    return x, y


def dataset(device, n, start=0):
    """`n` digits as a Dataset of whole numbers and a scale."""
    x, y = (part[start : start + n] for part in stored())
    return nn.Dataset(x, y, classes=10, scale=16, device=device)


def one_hot(y, classes=10):
    """Targets (n, classes) for labels (n,)."""
    return np.eye(classes, dtype="float32")[y]


def pairs(n, start=0, labels=False):
    """Digits as the book has them: pairs of columns."""
    x, y = digits(n, start)
    targets = y if labels else one_hot(y)[:, :, None]
    return list(zip(x[:, :, None], targets, strict=True))


HELD = 1500, 1600  # digits that no set-up trains on


def held(dtype="float32"):
    """100 digits to ask about."""
    return digits(HELD[1] - HELD[0], HELD[0], dtype)


# networks


def dense(run, sizes=(64, 20, 10), **others):
    """A network of dense layers with softmax outputs."""
    *front, last = sizes
    given = {"activation": "relu", "initializer": "he_normal", "loss": "log_likelihood", "seed": 1, **run.where}
    return nn.Network([*front, nn.Dense(last, activation="softmax")], **(given | others))


def convolutional(run, **others):
    """A network with one layer of most kinds."""
    layers = [
        (8, 8, 1),
        nn.RandomAffine(rotation=5, translation=0.5, scale=0.05),
        nn.ElasticDistortion(strength=4, smoothness=2),
        nn.Conv2D(4, 3, padding="same"),
        nn.BatchNorm(),
        nn.Activation("relu"),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Dense(10, activation="softmax"),
    ]
    given = {"activation": "linear", "initializer": "he_normal", "loss": "log_likelihood", "seed": 4}
    return nn.Network(layers, **(given | run.where | others))


# what interrupts


@dataclass(frozen=True)
class Interrupting(nn.schedules.Schedule):
    """A constant rate; in the second epoch Ctrl-C comes, once, before the first step."""

    rate: float

    def __call__(self, epoch, steps, records=()):
        if _ARMED and len(records) == 1 and records[0]["loss"] > 0:
            _ARMED.clear()
            signal.raise_signal(signal.SIGINT)
        return np.full(steps, self.rate)


_ARMED: list[bool] = []


@contextlib.contextmanager
def interrupted(recording, name):
    """Around a fit that Ctrl-C ends, and after which things go on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    _ARMED[:] = [True]
    try:
        yield
    except nn.TrainingInterrupted as error:
        recording.history(name, error.history)
    else:
        raise AssertionError("expected TrainingInterrupted, got nothing")
    finally:
        _ARMED.clear()
        signal.signal(signal.SIGINT, before)


def interrupt(run):
    """A callback that raises Ctrl-C at the end of the second epoch."""
    if len(run.history) == 2 and _ARMED:
        _ARMED.clear()
        signal.raise_signal(signal.SIGINT)


# the set-ups: gradient descent


@setup
def dense_sgd(run, recording):
    net = nn.Network([64, 30, 10], initializer="scaled_normal", seed=0, **run.where)
    recording.put("initial", net.weights + net.biases)
    history = net.SGD(dataset(run.device, 300), 3, 10, 3.0, dataset(run.device, *(100, 1500)), **run.by)
    recording.history("history", history)
    recording.network("net", net, *held())


@setup
def dense_wide(run, recording):
    net = dense(run, (64, 256, 128, 10), seed=2)
    history = net.fit(digits(512), epochs=2, batch_size=128, optimizer=nn.SGD(0.1), **run.by)
    recording.history("history", history)
    recording.network("net", net, *held())


@setup
def momentum(run, recording):
    for nesterov in (False, True):
        net = dense(run, activation="tanh")
        optimizer = nn.SGD(0.05, momentum=0.9, nesterov=nesterov, weight_decay=1e-3, l1=1e-5)
        history = net.fit(digits(200), epochs=3, batch_size=16, optimizer=optimizer, **run.by)
        recording.history(f"{nesterov}.history", history)
        recording.state(f"{nesterov}.net", net)


@setup
def short_last_batch(run, recording):
    for n, batch_size in ((52, 7), (30, 64)):
        net = dense(run, (64, 12, 10))
        optimizer = nn.SGD(0.1, momentum=0.5)
        history = net.fit(dataset(run.device, n), epochs=3, batch_size=batch_size, optimizer=optimizer, **run.by)
        recording.history(f"{n}.history", history)
        recording.state(f"{n}.net", net)


# optimisers


@setup
def adam(run, recording):
    x, y = digits(200)
    layers = [64, nn.Dense(20, activation="gelu"), nn.LayerNorm(), nn.Dense(12, activation="silu"), 10]
    net = nn.Network(layers, initializer="glorot_uniform", loss="cross_entropy", seed=3, **run.where)
    history = net.fit((x, one_hot(y)), epochs=3, batch_size=32, optimizer=nn.Adam(0.01), **run.by)
    recording.history("history", history)
    recording.network("net", net, *held())


@setup
def adamw_schedules(run, recording):
    for name, schedule in (
        ("one_cycle", nn.schedules.OneCycle(0.02, epochs=3)),
        ("warm_up", nn.schedules.WarmUp(nn.schedules.Cosine(0.02, epochs=3), epochs=0.5)),
    ):
        net = dense(run)
        optimizer = nn.AdamW(schedule, weight_decay=0.05)
        history = net.fit(digits(200), epochs=3, batch_size=25, optimizer=optimizer, **run.by)
        recording.history(f"{name}.history", history)
        recording.network(f"{name}.net", net, *held())


@setup
def rmsprop_and_adagrad(run, recording):
    optimizers = [nn.RMSprop(0.005, centered=True, momentum=0.5), nn.Adagrad(nn.schedules.ExponentialDecay(0.05, 0.9))]
    for i, optimizer in enumerate(optimizers):
        net = dense(run, activation="leaky_relu")
        history = net.fit(digits(150), epochs=2, batch_size=25, optimizer=optimizer, **run.by)
        recording.history(f"{i}.history", history)
        recording.state(f"{i}.net", net)


@setup
def lbfgs(run, recording):
    net, path = dense(run, (64, 8, 10), activation="tanh"), run.folder / "run.safetensors"
    optimizer = nn.LBFGS(history=4, weight_decay=1e-4)
    recording.history("first", net.fit(digits(150), epochs=3, optimizer=optimizer, checkpoint=path, **run.by))
    recording.file("checkpoint", path)
    recording.history("second", net.fit(digits(150), epochs=2, optimizer=optimizer, **run.by))
    recording.network("net", net, *held())
    other = dense(run, (64, 8, 10), activation="tanh", seed=9)
    history = other.fit(digits(150), epochs=5, optimizer=optimizer, checkpoint=path, resume=True, **run.by)
    recording.history("resumed", history)
    recording.state("resumed_net", other)


@setup
def clipping_and_max_norm(run, recording):
    for name, options in (
        ("norm", {"clip_norm": 0.5, "max_norm": 1.5}),
        ("value", {"clip_value": 0.01, "weight_decay": 1e-3}),
    ):
        net = dense(run)
        optimizer = nn.SGD(0.3, momentum=0.5, **options)
        history = net.fit(digits(150), epochs=2, batch_size=20, optimizer=optimizer, **run.by)
        recording.history(f"{name}.history", history)
        recording.network(f"{name}.net", net, *held())


# layers and losses


@setup
def convolution(run, recording):
    net = convolutional(run)
    history = net.fit(
        dataset(run.device, 110),
        epochs=2,
        batch_size=20,
        optimizer=nn.SGD(0.05, momentum=0.9),
        validation_data=held(),
        **run.by,
    )
    recording.history("history", history)
    recording.network("net", net, *held())


@setup
def convolution_strided(run, recording):
    layers = [
        (8, 8, 1),
        nn.Conv2D(6, (3, 2), stride=2, activation="tanh"),
        nn.AveragePool2D(2, stride=1),
        nn.Conv2D(5, 2, activation="relu"),
        nn.Flatten(),
        nn.LayerNorm(),
        nn.Dense(10, activation="softmax"),
    ]
    net = nn.Network(layers, loss="log_likelihood", initializer="orthogonal", seed=5, **run.where)
    history = net.fit(digits(100), epochs=2, batch_size=20, optimizer=nn.Adam(0.01), **run.by)
    recording.history("history", history)
    recording.network("net", net, *held())


@setup
def regression(run, recording):
    x, _ = digits(150)
    y = np.stack([x.mean(axis=1), x[:, 20] - x[:, 44]], axis=1)
    asked = held()[0]
    answers = np.stack([asked.mean(axis=1), asked[:, 20] - asked[:, 44]], axis=1)
    for loss in ("mean_squared_error", "mean_absolute_error", "huber"):
        net = nn.Network(
            [64, 10, nn.Dense(2, activation="linear")], activation="softplus", loss=loss, seed=6, **run.where
        )
        history = net.fit(
            (x, y),
            epochs=3,
            batch_size=20,
            optimizer=nn.SGD(0.002),
            validation_data=(asked, answers),
            metrics=["r2", "mean_absolute_error"],
            **run.by,
        )
        recording.history(f"{loss}.history", history)
        recording.state(f"{loss}.net", net)
    recording.network("net", net, asked, answers)


@setup
def binary(run, recording):
    x, y = digits(150)
    net = nn.Network([64, 8, 1], loss="cross_entropy", initializer="scaled_normal", seed=7, **run.where)
    history = net.fit((x, y % 2), epochs=3, batch_size=20, optimizer=nn.SGD(0.5), monitor_training=True, **run.by)
    recording.history("history", history)
    asked, labels = held()
    recording.network("net", net, asked, labels % 2)


@setup
def float64(run, recording):
    net = dense(run, dtype="float64")
    data = digits(150, dtype="float64")
    recording.history("history", net.fit(data, epochs=2, batch_size=20, optimizer=nn.Adam(0.01), **run.by))
    recording.network("net", net, *held("float64"))
    images = convolutional(run, dtype="float64")
    recording.history("images.history", images.fit(data, epochs=1, batch_size=30, optimizer=nn.SGD(0.1), **run.by))
    recording.network("images.net", images, *held("float64"))


# options of fit


@setup
def freezing(run, recording):
    def change(training):
        if len(training.history) == 1:
            training.network.freeze(0)
        if len(training.history) == 3:
            training.network.unfreeze()

    net = dense(run, (64, 16, 12, 10))
    optimizer = nn.Adam(nn.schedules.StepDecay(0.01, every=2, factor=0.5))
    history = net.fit(digits(150), epochs=4, batch_size=25, optimizer=optimizer, callbacks=[change], **run.by)
    recording.history("history", history)
    recording.network("net", net, *held())
    images = convolutional(run).freeze(3, 4)
    history = images.fit(digits(100), epochs=1, batch_size=25, optimizer=nn.SGD(0.1, momentum=0.9), **run.by)
    recording.history("images.history", history)
    recording.state("images.net", images)


@setup
def weighted_examples(run, recording):
    data, weights = dataset(run.device, 150), np.linspace(0.5, 1.5, 150)
    for name, options in (
        ("sample", {"sample_weight": weights}),
        ("balanced", {"class_weight": "balanced"}),
        ("both", {"sample_weight": weights, "class_weight": {3: 2.0, 8: 0.5}}),
    ):
        net = dense(run)
        optimizer = nn.SGD(0.1, momentum=0.9)
        history = net.fit(data, epochs=2, batch_size=20, optimizer=optimizer, **options, **run.by)
        recording.history(f"{name}.history", history)
        recording.network(f"{name}.net", net, *held())
    recording.put("weighted_loss", net.loss(data.weighted(weights)))


@setup
def early_stopping(run, recording):
    net, path = dense(run), run.folder / "run.safetensors"
    stopping = nn.EarlyStopping("validation_loss", patience=2)
    options = {"batch_size": 20, "optimizer": nn.Adam(0.05), "validation_data": held(), **run.by}
    saver = nn.Checkpoint(path, every=2, best="validation_loss", keep_every=3)
    history = net.fit(digits(150), epochs=20, callbacks=[stopping], checkpoint=saver, **options)
    recording.history("history", history)
    recording.put("best", [stopping.best, stopping.best_epoch])
    recording.network("net", net, *held())
    for file in sorted(run.folder.glob("run*")):
        recording.file(file.stem, file)


@setup
def metrics_and_monitoring(run, recording):
    def margin(targets, outputs):
        largest = np.sort(outputs, axis=1)
        return float(np.mean(largest[:, -1] - largest[:, -2]))

    schedules = [
        nn.schedules.ReduceOnPlateau(0.5, monitor="validation_loss", patience=0, factor=0.5, threshold=0.2),
        nn.schedules.HalveOnNoImprovement(2.0, monitor="validation_accuracy", patience=1, until=0.4),
    ]
    for i, schedule in enumerate(schedules):
        net = dense(run)
        history = net.fit(
            digits(150),
            epochs=8,
            batch_size=20,
            optimizer=nn.SGD(schedule),
            validation_data=held(),
            test_data=dataset(run.device, 50, 1600),
            metrics=["f1", "top_2_accuracy", nn.metrics.confusion_matrix, margin],
            monitor_training=True,
            **run.by,
        )
        recording.history(f"{i}.history", history)
        recording.network(f"{i}.net", net, *held())
        recording.put(f"{i}.score", net.score(held(), "precision", "recall", nn.metrics.confusion_matrix))


@setup
def going_on(run, recording):
    options = {"batch_size": 20, "optimizer": nn.Adam(nn.schedules.Cosine(0.02, epochs=6)), **run.by}
    net, whole = dense(run), dense(run)
    recording.history("two", net.fit(digits(150), epochs=2, **options))
    recording.history("three", net.fit(digits(150), epochs=3, **options))
    recording.history("five", whole.fit(digits(150), epochs=5, **options))
    recording.network("net", net, *held())
    recording.put("whole", whole.weights + whole.biases)
    options["optimizer"] = nn.SGD(0.1, momentum=0.9)
    recording.history("other_optimizer", net.fit(digits(100, 150), epochs=1, **options))
    recording.history("unshuffled", net.fit(digits(100, 150), epochs=1, shuffle=False, **options))
    recording.history("other_batches", net.fit(digits(100, 150), epochs=1, **(options | {"batch_size": 30})))
    recording.history("none", net.fit(digits(100, 150), epochs=0, **options))
    recording.network("end", net, *held())


@setup
def diverging(run, recording):
    net = dense(run)
    recording.history("before", net.fit(digits(100), epochs=1, batch_size=20, optimizer=nn.SGD(0.1), **run.by))
    try:
        net.fit(digits(100), epochs=3, batch_size=20, optimizer=nn.SGD(1e25), **run.by)
    except nn.TrainingDivergedError as error:
        recording.put("error", type(error).__name__)
    recording.network("net", net, *held())
    recording.history("after", net.fit(digits(100), epochs=1, batch_size=20, optimizer=nn.SGD(0.1), **run.by))
    recording.put("end", net.weights + net.biases)


# single steps and other changes by hand


@setup
def single_steps(run, recording):
    x, y = digits(60)
    net = dense(run)
    for start in range(0, 60, 10):
        net.update_mini_batch((x[start : start + 10], y[start : start + 10]), 0.1)
    recording.network("net", net, *held())
    net.fit((x, y), epochs=1, batch_size=20, optimizer=nn.Adam(0.01), **run.by)
    net.update_mini_batch((x[:10], y[:10]), 0.1)
    twins = {"copy": net.copy(), "deepcopy": copy.deepcopy(net)}
    if nn.select_device(run.device).library in ("numpy", "torch"):
        twins["pickle"] = pickle.loads(pickle.dumps(net))
    other = dense(run, seed=8)
    other.copy_from(net)
    twins["copy_from"] = other
    changed = dense(run, seed=9)
    changed.set_weights([2 * nn.to_numpy(w) for w in net.weights], [b + 1 for b in map(nn.to_numpy, net.biases)])
    twins["set_weights"] = changed
    twins["moved"] = net.copy().to("numpy").to(run.device)
    twins["net"] = net
    for name, twin in twins.items():
        history = twin.fit((x, y), epochs=1, batch_size=20, optimizer=nn.Adam(0.01), **run.by)
        recording.history(f"{name}.history", history)
        recording.state(f"{name}.end", twin)
    recording.put("cost_derivative", net.cost_derivative(net.feedforward(x[:5]), y[:5]))
    recording.put("device", str(net.copy().to("numpy").device))


@setup
def other_dtype(run, recording):
    net = dense(run)
    net.fit(digits(60), epochs=1, batch_size=20, optimizer=nn.Adam(0.01), **run.by)
    double = net.astype("float64")
    recording.network("double", double, *held("float64"))
    data = digits(60, dtype="float64")
    recording.history("history", double.fit(data, epochs=1, batch_size=20, optimizer=nn.Adam(0.01), **run.by))
    recording.network("single", double.astype("float32"), *held())


# interrupted, and gone on


@nn.layers.register
@dataclass(frozen=True)
class Ballast(nn.layers.Layer):
    """Adds the mean of many numbers: by the library's estimate so much work that an epoch has pauses, and little."""

    numbers: int

    def init(self, rng, input_shape):
        return (rng.standard_normal(self.numbers),)

    def forward(self, params, state, x, context):
        return x + context.xp.mean(params[0]), state, params[0]

    def gradients(self, params, saved, delta, context):
        return (saved * 0 + context.xp.sum(delta) / self.numbers,)


def with_pauses(run, numbers=2_000, seed=11):
    """A network whose epochs of 30 batches of 10 have a pause on a CPU, and `enlarged` digits for it."""
    layers = [(64, 64, 1), Ballast(numbers), nn.MaxPool2D(8), nn.Flatten(), nn.BatchNorm(), nn.Dropout(0.2)]
    layers += [nn.Dense(10, activation="softmax")]
    return nn.Network(layers, loss="log_likelihood", initializer="he_normal", seed=seed, **run.where)


def enlarged(n):
    """Digits of 64 by 64 pixels."""
    x, y = digits(n)
    return np.kron(x.reshape(-1, 8, 8), np.ones((8, 8), "float32"))[..., None], y


@setup
def interruption(run, recording):
    """Ctrl-C in the second epoch, which stops at its first pause; the run is taken up in three ways."""
    x, y = enlarged(305)
    numbers = 2_000 if nn.select_device(run.device).name == "cpu" else 100_000
    path = run.folder / "run.safetensors"
    options = {"batch_size": 10, "optimizer": nn.SGD(Interrupting(0.01), momentum=0.9), **run.by}
    net = with_pauses(run, numbers)
    with interrupted(recording, "interrupted"):
        net.fit((x, y), epochs=2, checkpoint=nn.Checkpoint(path, every_steps=7), **options)
    assert 31 < net.steps < 62, net.steps
    recording.state("stopped", net)
    recording.file("checkpoint", path)
    twin = net.copy()
    for name, one in (("gone_on", net), ("twin", twin)):
        recording.history(name, one.fit((x, y), epochs=1, **options))
        recording.state(f"{name}.end", one)
    resumed = with_pauses(run, numbers, seed=12)
    recording.history("resumed", resumed.fit((x, y), epochs=2, checkpoint=path, resume=True, **options))
    recording.state("resumed.end", resumed)
    recording.put("loss", resumed.loss((x, y)))
    recording.put("predict", resumed.predict(x))


@setup
def checkpoints(run, recording):
    """A callback ends a run, and another network takes it up."""

    def fail(training):
        if len(training.history) == 2:
            raise OSError("no more")

    path = run.folder / "run.safetensors"
    options = {"batch_size": 30, "optimizer": nn.Adam(0.01), "validation_data": held(), "metrics": ["f1"], **run.by}
    net = convolutional(run)
    with contextlib.suppress(OSError):
        net.fit(digits(100), epochs=3, checkpoint=path, callbacks=[fail], **options)
    recording.file("checkpoint", path)
    loaded = nn.Network.load(path, device=run.device)
    recording.state("loaded", loaded)
    resumed = convolutional(run, seed=12)
    recording.history("resumed", resumed.fit(digits(100), epochs=4, checkpoint=path, resume=True, **options))
    recording.network("net", resumed, *held())
    recording.file("end", path)


@setup
def early_stopping_resumed(run, recording):
    """A run that Ctrl-C ends between two epochs, with best weights that a callback remembers."""
    path, data = run.folder / "run.safetensors", digits(150)
    options = {"batch_size": 20, "optimizer": nn.AdamW(0.05), "validation_data": held(), "checkpoint": path, **run.by}
    with interrupted(recording, "interrupted"):
        dense(run).fit(data, epochs=12, callbacks=[nn.EarlyStopping(patience=3), interrupt], **options)
    recording.file("checkpoint", path)
    net, stopping = dense(run, seed=12), nn.EarlyStopping(patience=3)
    recording.history("resumed", net.fit(data, epochs=12, callbacks=[stopping], resume=True, **options))
    recording.put("best", [stopping.best, stopping.best_epoch])
    recording.network("net", net, *held())
    recording.file("end", path)


# ensembles


def ensemble(run, n=4, sizes=(64, 12, 10), **others):
    """Networks with softmax outputs, side by side."""
    *front, last = sizes
    given = {"activation": "relu", "initializer": "he_normal", "loss": "log_likelihood", "threads": 2, **run.where}
    return nn.Ensemble([*front, nn.Dense(last, activation="softmax")], n, **(given | others))


@setup
def ensemble_own_options(run, recording):
    """Rates and weight decays of the members' own, one of which diverges."""
    together = ensemble(
        run, learning_rates=[0.1, 0.3, 1e25, 0.05], weight_decays=[0, 1e-3, 0, 1e-2], seeds=[3, 4, 4, 9]
    )
    history = together.fit(
        dataset(run.device, 150),
        epochs=3,
        batch_size=20,
        optimizer=nn.SGD(nn.schedules.Cosine(0.2, epochs=4), momentum=0.9),
        validation_data=held(),
        metrics=["f1"],
        **run.by,
    )
    recording.history("history", history)
    recording.network("ensemble", together, *held())
    member = together[1]
    recording.state("member", member)
    options = {"batch_size": 20, "optimizer": together.optimizers[1], **run.by}
    recording.history("member.history", member.fit(digits(100), epochs=1, **options))
    recording.state("member.end", member)


@setup
def ensemble_in_blocks(run, recording):
    together = ensemble(run, 44, (64, 100, 10), seed=20)
    data = digits(120)
    history = together.fit(data, epochs=2, batch_size=20, optimizer=nn.SGD(0.1), validation_data=held(), **run.by)
    recording.history("history", history)
    recording.put("weights", together.weights + together.biases)
    recording.members("ensemble", together, *held())
    recording.put("vote", together.vote(held()[0]))
    recording.history("adam", together.fit(data, epochs=1, batch_size=20, optimizer=nn.Adam(0.01), **run.by))
    recording.put("end", together.weights + together.biases)


@setup
def ensemble_of_images(run, recording):
    layers = [(8, 8, 1), nn.Conv2D(3, 3, activation="relu"), nn.BatchNorm(), nn.MaxPool2D(2), nn.Flatten()]
    layers += [nn.Dropout(0.2), nn.Dense(10, activation="softmax")]
    together = nn.Ensemble(layers, 3, loss="log_likelihood", initializer="he_normal", seed=5, threads=2, **run.where)
    history = together.fit(digits(90), epochs=2, batch_size=20, optimizer=nn.AdamW(0.01, clip_norm=1.0), **run.by)
    recording.history("history", history)
    recording.network("ensemble", together, *held())


@setup
def ensemble_resumed(run, recording):
    path, data = run.folder / "run.safetensors", digits(150)
    options = {"batch_size": 20, "validation_data": held(), "checkpoint": path, **run.by}
    options["optimizer"] = nn.Adam(nn.schedules.ReduceOnPlateau(0.02, patience=0, threshold=0.3))
    given = {"learning_rates": [0.02, 0.002, 0.05, 0.01], "weight_decays": [0, 0, 1e-3, 1e-2]}
    first = ensemble(run, seed=30, **given)
    with interrupted(recording, "interrupted"):
        first.fit(data, epochs=4, callbacks=[interrupt], **options)
    recording.file("checkpoint", path)
    resumed = ensemble(run, seed=40, **given)
    recording.history("resumed", resumed.fit(data, epochs=4, resume=True, **options))
    recording.network("ensemble", resumed, *held())
    recording.file("end", path)
    twin = resumed.copy()
    options.pop("checkpoint")
    recording.history("twin", twin.fit(data, epochs=1, **options))
    recording.put("twin.end", [twin.weights, twin.biases])


@setup
def ensemble_frozen(run, recording):
    together = ensemble(run, 3, seed=50, weight_decays=[0.0, 1e-3, 1e-2])
    options = {"batch_size": 20, "optimizer": nn.SGD(0.1, momentum=0.9), **run.by}
    recording.history("whole", together.fit(digits(100), epochs=1, **options))
    together.freeze(0)
    recording.history("frozen", together.fit(digits(100), epochs=1, **options))
    recording.network("ensemble", together, *held())
    together.update_mini_batch(digits(10), 0.1)
    recording.put("end", together.weights + together.biases)


# extensions


class Softsign(nn.activations.Activation):
    """z / (1 + |z|)."""

    name = "test_regression_softsign"

    def __call__(self, z, *, xp):
        return z / (1 + xp.abs(z))

    def derivative(self, z, a, *, xp):
        return 1 / (1 + xp.abs(z)) ** 2


nn.activations.register("test_regression_softsign", Softsign())


@nn.layers.register
@dataclass(frozen=True)
class RegressionGain(nn.layers.Layer):
    """A factor for each feature, and a running mean of the inputs."""

    start: float = 1.0

    def init(self, rng, input_shape):
        return (np.full(input_shape, self.start),)

    def init_state(self, input_shape):
        return (np.zeros(input_shape),)

    def forward(self, params, state, x, context):
        if context.training:
            state = (0.9 * state[0] + 0.1 * context.xp.mean(x, axis=-2),)
        return x * params[0][..., None, :], state, x

    def backward(self, params, saved, delta, context):
        return delta * params[0][..., None, :]

    def gradients(self, params, saved, delta, context):
        return (context.xp.sum(delta * saved, axis=-2),)


@dataclass(frozen=True)
class HeavyBall(nn.optimizers.Optimizer):
    """Momentum as an optimiser of one's own."""

    learning_rate: float
    momentum: float = 0.9

    def init(self, params):
        return nn.optimizers.tree_map(lambda p: p * 0, params)

    def update(self, gradients, state, params, learning_rate):
        def velocity(v, g):
            return self.momentum * v - nn.optimizers.per_parameter(learning_rate, g) * g

        state = nn.optimizers.tree_map(velocity, state, gradients)
        return nn.optimizers.tree_map(lambda p, v: p + v, params, state), state


@setup
def extensions(run, recording):
    layers = [64, RegressionGain(), 16, nn.Dense(10, activation="softmax")]
    given = {
        "activation": "test_regression_softsign",
        "initializer": "lecun_normal",
        "loss": "log_likelihood",
        **run.where,
    }
    net, together = nn.Network(layers, seed=13, **given), nn.Ensemble(layers, 2, seed=13, **given)
    options = {"epochs": 2, "batch_size": 20, "optimizer": HeavyBall(0.02), **run.by}
    recording.history("history", net.fit(digits(100), **options))
    recording.network("net", net, *held())
    recording.history("ensemble.history", together.fit(digits(100), **options))
    recording.put("ensemble", together.weights + together.biases)


# the book


@setup
def book_network(run, recording):
    net = network.Network([64, 12, 10], seed=14, **run.where)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        history = net.SGD(pairs(150), 2, 10, 3.0, test_data=pairs(50, 1500, labels=True))
        net.SGD(pairs(50), 1, 10, 3.0)
    recording.printed("printed", printed.getvalue())
    recording.history("history", history)
    net.update_mini_batch(pairs(10), 1.0)
    recording.put("weights", net.weights + net.biases)
    recording.put("backprop", net.backprop(*pairs(1)[0]))
    recording.put("feedforward", net.feedforward(pairs(1)[0][0]))
    recording.put("evaluate", net.evaluate(pairs(100, 1500, labels=True)))
    recording.put("cost_derivative", net.cost_derivative(net.feedforward(pairs(1)[0][0]), pairs(1)[0][1]))


@setup
def book_network2(run, recording):
    for cost in (network2.QuadraticCost, network2.CrossEntropyCost):
        net = network2.Network([64, 12, 10], cost=cost, seed=15, **run.where)
        asked = ("evaluation_cost", "evaluation_accuracy", "training_cost", "training_accuracy")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            found = net.SGD(
                pairs(150),
                6,
                10,
                1.0,
                lmbda=2.0,
                evaluation_data=pairs(50, 1500),
                **{f"monitor_{name}": True for name in asked},
                early_stopping_n=2,
            )
        name, path = cost.__name__, run.folder / f"{cost.__name__}.json"
        recording.printed(f"{name}.printed", printed.getvalue())
        recording.put(f"{name}.found", dict(zip(asked, map(np.asarray, found), strict=True)))
        net.update_mini_batch(pairs(10), 0.5, lmbda=2.0, n=150)
        recording.put(f"{name}.weights", net.weights + net.biases)
        recording.put(f"{name}.total_cost", net.total_cost(pairs(50), 2.0))
        recording.put(f"{name}.accuracy", net.accuracy(pairs(50)))
        net.save(path)
        recording.put(f"{name}.file", path.read_text())
        recording.put(f"{name}.loaded", network2.load(path, **run.where).weights)


@setup
def book_network3(run, recording):
    layers = [
        network3.ConvPoolLayer((4, 1, 3, 3), (10, 1, 8, 8), activation_fn=network3.ReLU),
        network3.FullyConnectedLayer(n_in=4 * 3 * 3, n_out=16, activation_fn=network3.tanh, p_dropout=0.2),
        network3.SoftmaxLayer(n_in=16, n_out=10, p_dropout=0.2),
    ]
    net = network3.Network(layers, 10, seed=16, **run.where)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        history = net.SGD(digits(120), 2, 10, 0.1, held(), digits(50, 1600), lmbda=0.1)
    recording.printed("printed", printed.getvalue())
    recording.history("history", history)
    recording.put("params", net.params)
    recording.put("predict", net.predict(held()[0]))
