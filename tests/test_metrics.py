"""The measures against scikit-learn called by hand on the outputs; where they are taken, and under which names."""

from functools import partial

import numpy as np
import pytest
from sklearn import metrics as sk

import nn_any as nn
from nn_any import metrics
from nn_any.core.metrics import count_correct

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype("float32")
CLASSES, YES, REAL = RNG.integers(0, 3, 60), RNG.integers(0, 2, 60), RNG.normal(size=(60, 2))
NAMED = ("accuracy", "precision", "recall", "f1", "confusion_matrix")


def network(kind, device="numpy"):
    arguments = {"device": device, "dtype": "float32", "seed": 2}
    if kind == "classes":
        return nn.Network([4, nn.Dense(3, activation="softmax")], loss="log_likelihood", **arguments)
    if kind == "yes":
        return nn.Network([4, nn.Dense(1, activation="sigmoid")], loss="cross_entropy", **arguments)
    return nn.Network([4, nn.Dense(2, activation="linear")], loss="huber", **arguments)


def by_scikit_learn(outputs, answers, labels, average):
    arguments = {"average": average, "zero_division": 0}
    return {
        "accuracy": sk.accuracy_score(labels, answers),
        "precision": sk.precision_score(labels, answers, **arguments),
        "recall": sk.recall_score(labels, answers, **arguments),
        "f1": sk.f1_score(labels, answers, **arguments),
        "confusion_matrix": sk.confusion_matrix(labels, answers, labels=range(max(2, outputs.shape[1]))),
    }


def same(got, expected):
    assert set(got) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12, err_msg=name)


def forms(backend, labels, outputs):
    """Labels, and the same as rows of targets: one-hot, or a column."""
    rows = labels[:, None] if outputs == 1 else np.eye(outputs)[labels]
    yield backend.asarray(X), backend.asarray(labels)
    yield backend.asarray(X), backend.asarray(rows, "float32")


def test_of_several_classes(backend):
    net = network("classes", backend.device)
    outputs = nn.to_numpy(net.feedforward(backend.asarray(X)))
    expected = by_scikit_learn(outputs, outputs.argmax(axis=1), CLASSES, "macro")
    expected |= {f"top_{k}_accuracy": sk.top_k_accuracy_score(CLASSES, outputs, k=k) for k in (1, 2)}
    expected["top_3_accuracy"] = 1.0
    assert 0 < expected["f1"] < 0.9
    for data in forms(backend, CLASSES, 3):
        same(net.score(data, *expected), expected)
        assert net.score(data, "accuracy") == {"accuracy": pytest.approx(net.accuracy(data), rel=1e-12)}


def test_of_yes_and_no(backend):
    net = network("yes", backend.device)
    outputs = nn.to_numpy(net.feedforward(backend.asarray(X)))
    expected = by_scikit_learn(outputs, (outputs[:, 0] > 0.5).astype(int), YES, "binary")
    assert 0 < expected["f1"] < 0.9
    for data in forms(backend, YES, 1):
        same(net.score(data, *NAMED), expected)


def test_of_numbers(backend):
    net = network("numbers", backend.device)
    targets, outputs = REAL.astype("float32"), nn.to_numpy(net.feedforward(backend.asarray(X)))
    expected = {
        "r2": sk.r2_score(targets, outputs),
        "mean_squared_error": sk.mean_squared_error(targets, outputs),
        "mean_absolute_error": sk.mean_absolute_error(targets, outputs),
    }
    got = net.score((backend.asarray(X), backend.asarray(targets)), *expected)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-5)
    single = nn.Network([4, nn.Dense(1, activation="linear")], device=backend.device, seed=2)
    outputs = nn.to_numpy(single.feedforward(backend.asarray(X)))[:, 0]
    got = single.score((backend.asarray(X), backend.asarray(targets[:, 0])), "r2")
    assert got["r2"] == pytest.approx(sk.r2_score(targets[:, 0], outputs), rel=1e-5)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_averages_and_classes_that_are_never_named(average):
    """A class that nobody names counts 0, without a warning; one that is in neither does not count."""
    outputs, labels = np.eye(5)[[0, 0, 1, 1, 0, 1]], np.array([0, 1, 1, 2, 2, 0])
    for function, oracle in (
        (metrics.precision, sk.precision_score),
        (metrics.recall, sk.recall_score),
        (metrics.f1, sk.f1_score),
    ):
        expected = oracle(labels, outputs.argmax(axis=1), average=average, zero_division=0)
        assert function(labels, outputs, average) == pytest.approx(expected, rel=1e-12)
    assert metrics.confusion_matrix(labels, outputs).shape == (5, 5)
    assert metrics.precision(labels, outputs) == metrics.precision(labels, outputs, "macro")


def test_top_k():
    """Ties go to the first class, as in argmax."""
    outputs = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    assert metrics.top_k_accuracy(np.array([0, 2]), outputs, k=1) == 1.0
    assert metrics.top_k_accuracy(np.array([1, 2]), outputs, k=1) == 0.5
    assert metrics.top_k_accuracy(np.array([2, 0]), outputs, k=2) == 0.0
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"k: expected 1 … 3, as many as there are outputs, got {k}"):
            metrics.top_k_accuracy(np.array([0, 1]), outputs, k=k)


def shape_of_both(targets, outputs):
    assert type(targets) is type(outputs) is np.ndarray
    return targets.shape, outputs.shape


def largest_output(targets, outputs):
    return outputs.max()


def test_functions_of_ones_own_and_a_data_sets_scale(backend):
    images = RNG.integers(0, 256, (30, 4), dtype="uint8")
    labels = RNG.integers(0, 3, 30)
    net = network("classes", backend.device)
    data = nn.Dataset(images, labels, scale=255, device=backend.device)
    got = net.score(data, shape_of_both, largest_output, metrics.f1)
    assert got["shape_of_both"] == ((30,), (30, 3))
    outputs = nn.to_numpy(net.feedforward(images.astype("float32") / np.float32(255)))
    assert got["largest_output"] == pytest.approx(outputs.max(), rel=1e-6)
    assert got["f1"] == pytest.approx(sk.f1_score(labels, outputs.argmax(axis=1), average="macro"), rel=1e-12)
    assert net.score(data) == {}


def test_columns_of_the_history(backend, tmp_path):
    """Each set of data has each measure after each epoch, and the last are those of the final weights."""
    net = network("classes", backend.device)
    validation = X[:20], CLASSES[:20]
    chosen = ["f1", "top_2_accuracy", "confusion_matrix", shape_of_both]
    history = net.fit(
        (X, CLASSES),
        epochs=2,
        batch_size=20,
        optimizer=nn.SGD(0.5),
        validation_data=validation,
        metrics=chosen,
        monitor_training=True,
    )
    for name, data in (("training", (X, CLASSES)), ("validation", validation)):
        outputs = nn.to_numpy(net.feedforward(data[0]))
        last = {column: value for column, value in history.records[-1].items() if column.startswith(f"{name}_")}
        assert list(last) == [
            f"{name}_{measure}"
            for measure in ("loss", "correct", "accuracy", "f1", "top_2_accuracy", "confusion_matrix", "shape_of_both")
        ]
        answers = outputs.argmax(axis=1)
        assert last[f"{name}_f1"] == pytest.approx(sk.f1_score(data[1], answers, average="macro"), rel=1e-12)
        np.testing.assert_array_equal(last[f"{name}_confusion_matrix"], sk.confusion_matrix(data[1], answers))
        assert last[f"{name}_accuracy"] == net.accuracy(data) == last[f"{name}_correct"] / len(data[0])
        assert last[f"{name}_loss"] == pytest.approx(net.loss(data), rel=1e-6)
    assert history["validation_f1"][0] != history["validation_f1"][1] or history["loss"][0] > history["loss"][1]
    assert "confusion_matrix [[" in repr(history)
    assert len(history.table().splitlines()) == 3
    history.to_csv(tmp_path / "history.csv")


def test_measures_of_regression_in_the_history(float64):
    net = nn.Network([4, nn.Dense(2, "linear")], loss="huber", device=float64.device, dtype="float64", seed=0)
    data = X.astype("float64"), REAL
    history = net.fit(
        data, epochs=1, batch_size=20, optimizer=nn.SGD(0.1), validation_data=data, metrics=["r2", "mean_squared_error"]
    )
    outputs = nn.to_numpy(net.feedforward(data[0]))
    assert history["validation_r2"] == [pytest.approx(sk.r2_score(REAL, outputs), rel=1e-12)]
    assert history["validation_mean_squared_error"] == [pytest.approx(sk.mean_squared_error(REAL, outputs), rel=1e-12)]
    assert "validation_accuracy" not in history.records[0]


BAD = [
    ("classes", ["auc"], ValueError, r"expected some of accuracy, .*, top_K_accuracy for classification, .* got 'auc'"),
    ("classes", ["r2"], ValueError, "for classification, .* got 'r2'"),
    ("numbers", ["accuracy"], ValueError, "expected some of r2, .* for regression, .* got 'accuracy'"),
    ("numbers", ["top_2_accuracy"], ValueError, "got 'top_2_accuracy'"),
    ("classes", ["top_0_accuracy"], ValueError, "got 'top_0_accuracy'"),
    ("classes", ["top_4_accuracy"], ValueError, "expected at most top_3_accuracy for 3 outputs, got 'top_4_accuracy'"),
    ("classes", [3], ValueError, "functions of targets and outputs, got 3"),
    ("classes", [lambda t, a: 0, lambda t, a: 1], ValueError, "names of their own, got '<lambda>', which is taken"),
]


@pytest.mark.parametrize(("kind", "chosen", "error", "message"), BAD)
def test_bad_measures_are_noticed_before_a_weight_changes(kind, chosen, error, message):
    net, y = network(kind), REAL if kind == "numbers" else CLASSES
    before = net.weights[0]
    for call in (
        lambda: net.score((X, y), *chosen),
        lambda: net.fit((X, y), epochs=1, batch_size=20, optimizer=nn.SGD(0.1), validation_data=(X, y), metrics=chosen),
    ):
        with pytest.raises(error, match=f"^metrics: .*{message}"):
            call()
    np.testing.assert_array_equal(net.weights[0], before)


def loss(targets, outputs):
    return 0.0


def test_names_that_stand_for_something_else():
    net = network("classes")
    with pytest.raises(ValueError, match="metrics: expected functions with names of their own, got 'loss'"):
        net.score((X, CLASSES), loss)
    assert list(net.score((X, CLASSES), "f1", metrics.f1)) == ["f1"]  # the same one twice is once
    for bad in ("f1", None, 3):
        with pytest.raises(
            TypeError, match="metrics: expected a list of names and functions, got .*; put it in brackets"
        ):
            net.fit((X, CLASSES), epochs=1, batch_size=20, optimizer=nn.SGD(0.1), metrics=bad)


def test_top_one_of_a_single_output_is_accuracy(backend):
    """Above ½ is yes; as many examples are right by hand, by scikit-learn, by name and by the network."""
    net = network("yes", backend.device)
    outputs = nn.to_numpy(net.feedforward(backend.asarray(X)))
    expected = sk.accuracy_score(YES, outputs[:, 0] > 0.5)
    assert expected not in (np.mean(YES == 0), 0, 1)
    assert metrics.top_k_accuracy(YES, outputs, k=1) == pytest.approx(expected)
    for data in forms(backend, YES, 1):
        assert net.score(data, "top_1_accuracy")["top_1_accuracy"] == pytest.approx(expected)
        assert net.accuracy(data) == pytest.approx(expected)
    assert metrics.top_k_accuracy(np.array([0, 1, 1, 0]), np.array([[0.9], [0.8], [0.1], [0.5]]), k=1) == 0.5


BAD = {
    "infinite": np.array([[np.inf, 0.0], [0.0, 1.0], [-np.inf, np.inf]]),
    "nan": np.array([[np.nan, 0.0], [0.0, 1.0], [np.nan, np.nan]]),
    "vast": np.array([[3e38, 0.0], [0.0, -3e38], [1.0, 3e38]], "float32"),
}


@pytest.mark.parametrize("outputs", BAD.values(), ids=BAD)
def test_measures_of_numbers_that_are_not_finite_or_vast(outputs):
    targets = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 0.0]])
    got = {
        name: getattr(metrics, name)(targets, outputs) for name in ("r2", "mean_squared_error", "mean_absolute_error")
    }
    errors = outputs.astype("float64") - targets
    if not np.isfinite(outputs).all():
        expected = {"r2": np.nan, "mean_squared_error": np.mean(errors**2), "mean_absolute_error": np.mean(abs(errors))}
    else:
        explained = 1 - np.sum(errors**2, axis=0) / np.sum((targets - targets.mean(axis=0)) ** 2, axis=0)
        expected = {
            "r2": explained.mean(),
            "mean_squared_error": np.mean(errors**2),
            "mean_absolute_error": np.mean(abs(errors)),
        }
    same(got, expected)


def test_of_one_example_there_is_no_r2():
    assert np.isnan(metrics.r2(np.array([1.0]), np.array([[2.0]])))


def test_outputs_that_are_nan_name_no_class(backend):
    """They are wrong; the others are counted as ever. By hand."""
    outputs, labels = np.array([[np.nan, 0.9], [0.2, 0.8], [0.7, 0.3], [np.nan] * 2]), np.array([0, 1, 0, 0])
    assert metrics.accuracy(labels, outputs) == metrics.top_k_accuracy(labels, outputs, k=1) == 0.5
    assert metrics.top_k_accuracy(labels, outputs, k=2) == 0.5
    assert (metrics.precision(labels, outputs), metrics.recall(labels, outputs)) == (1.0, (1 / 3 + 1) / 2)
    assert metrics.confusion_matrix(labels, outputs).tolist() == [[1, 0], [0, 1]]
    single, answers = np.array([[np.nan], [0.2], [0.7], [0.9]]), np.array([0, 0, 1, 0])
    assert metrics.accuracy(answers, single) == metrics.top_k_accuracy(answers, single, k=1) == 0.5
    assert (metrics.precision(answers, single), metrics.recall(answers, single)) == (0.5, 1.0)
    infinite = np.array([[np.inf, 0.0], [-np.inf, 0.0]])
    assert metrics.accuracy(np.array([0, 1]), infinite) == metrics.f1(np.array([0, 1]), infinite) == 1.0

    rows = backend.asarray(outputs, "float32"), backend.asarray(np.eye(2)[labels], "float32")
    with backend.device.scope():
        assert int(count_correct(*rows, xp=backend.xp)) == 2


@pytest.mark.parametrize("name", ["accuracy", "top_1_accuracy", "precision", "recall", "f1", "confusion_matrix"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_measure_of_classes_fails_on_what_is_not_finite(name, outputs, value):
    (function,) = metrics.resolve([name], "classification", outputs).values()
    found = function(np.arange(6) % max(2, outputs), np.full((6, outputs), value))
    assert np.isfinite(found).all()
    assert name == "confusion_matrix" or not np.isnan(value) or found == 0


def fails(targets, outputs):
    raise ZeroDivisionError("mine")


def nothing(targets, outputs):
    return None


def test_a_measure_that_raises_is_named():
    net, ensemble = network("classes"), nn.Ensemble([4, 3], 2, device="numpy", seed=0)
    data, given = (X, CLASSES), {"epochs": 1, "batch_size": 10, "optimizer": nn.SGD(0.1)}
    calls = [
        lambda: net.score(data, fails),
        lambda: ensemble.score(data, fails),
        lambda: net.fit(data, **given, validation_data=data, metrics=["f1", fails]),
        lambda: ensemble.fit(data, **given, validation_data=data, metrics=[fails]),
    ]
    for call in calls:
        with pytest.raises(ZeroDivisionError, match="mine") as caught:
            call()
        assert caught.value.__notes__ == ["raised by the metric 'fails', with targets (60,) and outputs (60, 3)"]
    with pytest.raises(
        TypeError, match="metrics: expected a number, .* for each member from 'nothing', got None; return"
    ):
        ensemble.fit(data, **given, validation_data=data, metrics=[nothing])


MULTI_HOT = (X > 0)[:, :3]
UNCLEAR = "y: expected one class in each row of targets, got rows with none or several .*loss, or by a metric"


def sigmoids(device="numpy", several=False):
    arguments = {"activation": "sigmoid", "loss": "cross_entropy", "device": device, "seed": 0}
    return nn.Ensemble([4, 3], 2, **arguments) if several else nn.Network([4, 3], **arguments)


def exact(targets, outputs):
    return float(np.mean((outputs > 0.5) == (targets > 0.5)))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_targets_with_none_or_several_classes_are_told_of(backend, several, dtype):
    """How many rows they are is counted by hand; a row that sums to 1 or has one entry above ½ names a class."""
    net, data = sigmoids(backend.device, several), (backend.asarray(X), backend.asarray(MULTI_HOT, dtype))
    count = np.count_nonzero(MULTI_HOT.sum(axis=1) != 1)
    assert 0 < count < 60
    ask = [net.evaluate, net.accuracy, lambda d: net.score(d, "f1"), lambda d: net.score(d, metrics.accuracy)]
    ask += [net.accuracies] if several else []
    for each in ask:
        with pytest.warns(UserWarning, match=UNCLEAR) as caught:
            each(data)
        assert [f"({count} of 60 in data)" in str(one.message) for one in caught] == [True]
        assert caught[0].filename == __file__
    net.loss(data), net.score(data, exact)  # these do not count classes
    given = {"epochs": 2, "batch_size": 10, "optimizer": nn.SGD(0.5), "validation_data": data}
    with pytest.warns(UserWarning, match=UNCLEAR) as caught:
        history = net.fit(data, **given, monitor_training=True, metrics=[exact])
    assert [str(one.message).count(f"{count} of 60 in ") for one in caught] == [2]
    assert "validation_accuracy" in history.columns
    with pytest.warns(UserWarning, match=UNCLEAR) as caught:
        net.SGD(data, 1, 10, 0.5)
    assert [one.filename for one in caught] == [__file__]


SOFT = {
    "one-hot": np.eye(3)[CLASSES],
    "smoothed": 0.9 * np.eye(3)[CLASSES] + 0.1 / 3,
    "smoothed for sigmoids": 0.8 * np.eye(3)[CLASSES] + 0.1,
    "mixed": 0.5 * np.eye(3)[CLASSES] + 0.5 * np.eye(3)[CLASSES[::-1]],
    "from -1 to 1": 2 * np.eye(3)[CLASSES] - 1,
}


@pytest.mark.parametrize("targets", SOFT.values(), ids=SOFT)
def test_targets_that_name_a_class_or_a_mixture_are_nothing_to_tell_of(targets):
    net = nn.Network([4, 3], device="numpy", seed=0)
    data = X, targets.astype("float32")
    net.fit(data, epochs=1, batch_size=10, optimizer=nn.SGD(0.1), validation_data=data)
    net.score(data, "f1")


def test_numbers_and_single_outputs_have_no_classes_to_tell_of():
    network("numbers").fit((X, REAL), epochs=1, batch_size=10, optimizer=nn.SGD(0.01), validation_data=(X, REAL))
    soft = RNG.random((60, 1))
    network("yes").fit((X, soft), epochs=1, batch_size=10, optimizer=nn.SGD(0.01), validation_data=(X, soft))


class Nearness:
    """A metric that is an object, with a number as an array (), and a direction of NumPy's."""

    higher_is_better = np.True_

    def __call__(self, targets, outputs):
        return np.array(-np.mean(np.abs(outputs)))


def test_metrics_that_are_no_plain_functions(tmp_path):
    """Their columns have names without addresses, and can be monitored."""
    micro, data = partial(metrics.f1, average="micro"), (X, CLASSES)
    for monitor in ("validation_f1", "validation_Nearness"):
        saver = nn.Checkpoint(tmp_path / "run", best=monitor, overwrite=True)
        given = {"epochs": 2, "batch_size": 10, "optimizer": nn.SGD(0.1), "validation_data": data, "checkpoint": saver}
        net = network("classes")
        history = net.fit(data, **given, metrics=[micro, Nearness()], callbacks=[nn.EarlyStopping(monitor)])
        assert history.columns[-2:] == ["validation_f1", "validation_Nearness"]
    assert net.score(data, micro)["f1"] == pytest.approx(net.accuracy(data))
    with pytest.raises(
        ValueError, match="metrics: expected functions with names of their own, got 'f1', which is taken"
    ):
        net.score(data, micro, partial(metrics.f1, average="macro"))
