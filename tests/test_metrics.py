"""The measures against scikit-learn called by hand on the outputs; where they are taken, and under which names."""

import numpy as np
import pytest
from sklearn import metrics as sk

import nn_any as nn
from nn_any import metrics

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
