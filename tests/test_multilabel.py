"""Networks whose outputs are answers of yes or no, each by itself."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

import nn_any as nn
from nn_any import metrics

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4)).astype("float32")
Y = (X @ RNG.standard_normal((4, 3)) + 0.5 * RNG.standard_normal((60, 3)) > 0).astype("float32")
MEASURES = ("accuracy", "precision", "recall", "f1")
EACH = tuple(f"output_{name}" for name in MEASURES)


def network(device="numpy", loss="cross_entropy", **arguments):
    stack, settings = [4, 8, 3], {"loss": loss, "task": "multilabel", "device": device, "seed": 0}
    return nn.Network(stack, **settings | arguments)


def fit(net, y=Y, **arguments):
    return net.fit((X, y), **{"epochs": 20, "batch_size": 10, "optimizer": nn.SGD(0.5)} | arguments)


def oracle(y, answers):
    """scikit-learn's measures of 0 and 1, (n, outputs) twice."""
    found = {"accuracy": sklearn.metrics.accuracy_score(y, answers)}
    found["output_accuracy"] = np.mean(y == answers, axis=0)
    for name in MEASURES[1:]:
        score = getattr(sklearn.metrics, f"{name}_score")
        found[name] = score(y, answers, average="macro", zero_division=0)
        found[f"output_{name}"] = score(y, answers, average=None, zero_division=0)
    return found


@pytest.mark.parametrize("loss", ["cross_entropy", "quadratic"])
def test_each_output_is_an_answer(device, loss):
    net = network(device, loss)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of rows with several classes, or none
        history = fit(net, validation_data=(X, Y), metrics=[*MEASURES[1:], *EACH])
    assert net.task == "multilabel"
    outputs = nn.to_numpy(net.feedforward(X))
    answers = nn.to_numpy(net.predict(X))
    np.testing.assert_array_equal(answers, outputs > 0.5)
    assert answers.shape == (60, 3)
    np.testing.assert_array_equal(nn.to_numpy(net.predict(X[0])), answers[0])
    np.testing.assert_array_equal(nn.to_numpy(net.predict_proba(X)), outputs)
    right = int((answers == Y).all(axis=1).sum())
    assert 10 < right < 60
    assert net.evaluate((X, Y)) == right == history["validation_correct"][-1]
    assert net.accuracy((X, Y)) == right / 60
    wanted = oracle(Y, answers)
    scores = net.score((X, Y), *MEASURES, *EACH)
    for name, value in wanted.items():
        np.testing.assert_allclose(scores[name], value, rtol=1e-6, err_msg=name)
        if name != "accuracy":
            np.testing.assert_allclose(history[f"validation_{name}"][-1], value, rtol=1e-6, err_msg=name)


def test_integers_are_answers_too(device):
    net, other = network(device), network(device)
    fit(net, Y.astype("int64"))
    fit(other)
    for ours, its in zip(net.weights, other.weights, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(ours), nn.to_numpy(its))
    assert net.accuracy((X, Y.astype(bool))) == net.accuracy((X, Y))


def test_one_output_is_one_answer(device):
    net = nn.Network([4, 1], loss="cross_entropy", task="multilabel", device=device, seed=0)
    fit(net, Y[:, :1])
    answers = nn.to_numpy(net.predict(X))
    assert answers.shape == (60, 1)
    assert net.accuracy((X, Y[:, :1])) == np.mean(answers == Y[:, :1])
    assert net.accuracy((X, Y[:, 0].astype("int64"))) == np.mean(answers == Y[:, :1])


def test_an_ensemble_takes_the_vote_of_each_answer(device):
    ensemble = nn.Ensemble([4, 8, 3], 4, loss="cross_entropy", task="multilabel", device=device, seed=0)
    fit(ensemble, epochs=3)
    outputs = nn.to_numpy(ensemble.member_outputs(X))
    yes = (outputs > 0.5).sum(axis=0)
    assert (yes == 2).any()
    wanted = np.where(yes == 2, outputs.mean(axis=0) > 0.5, yes > 2)
    np.testing.assert_array_equal(nn.to_numpy(ensemble.predict(X)), wanted)
    assert ensemble.accuracy((X, Y)) == np.mean((wanted == Y).all(axis=1))
    np.testing.assert_allclose(ensemble.accuracies((X, Y)), ((outputs > 0.5) == Y).all(axis=2).mean(axis=1))
    mean = oracle(Y, outputs.mean(axis=0) > 0.5)
    np.testing.assert_allclose(ensemble.score((X, Y), "output_f1")["output_f1"], mean["output_f1"], rtol=1e-6)


def test_answers_have_names(device):
    net = network(device)
    fit(net)
    net.schema = nn.Schema(target_names=["red", "green", "blue"])
    answers = nn.to_numpy(net.predict(X))
    names = net.predict_names(X)
    assert names == [tuple(np.array(["red", "green", "blue"])[row > 0].tolist()) for row in answers]
    assert net.predict_names(X[0]) == names[0]


def test_the_file_has_the_task(tmp_path, device):
    net = network(device)
    fit(net, epochs=1)
    net.save(tmp_path / "net")
    loaded = nn.Network.load(tmp_path / "net", device=device)
    assert loaded.task == "multilabel"
    np.testing.assert_array_equal(nn.to_numpy(loaded.predict(X)), nn.to_numpy(net.predict(X)))
    ensemble = nn.Ensemble([4, 3], 2, task="multilabel", device=device)
    ensemble.save(tmp_path / "ensemble")
    assert nn.Ensemble.load(tmp_path / "ensemble").task == ensemble[0].task == "multilabel"


def test_outputs_that_are_nan_answer_nothing():
    outputs = np.array([[0.9, np.nan], [0.9, 0.1]])
    targets = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert metrics.subset_accuracy(targets, outputs) == 0.5
    np.testing.assert_array_equal(metrics.output_accuracy(targets, outputs), [1.0, 0.5])


def test_quantities_for_one_output_of_yes_or_no_are_warned_of():
    x, y = np.random.default_rng(0).normal(size=(12, 3)), np.linspace(25, 346, 12)
    net = nn.Network([3, 1], device="numpy", seed=0)
    with pytest.warns(
        UserWarning, match=r"^y: expected 0 for no .* from 25 to 346 in training_data; .*loss='mean_squa"
    ):
        net.fit((x, y), epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.fit((x, y / 346), epochs=1)
        net.fit((x, np.arange(12) % 2), epochs=1)
        nn.Network([3, 1], loss="mean_squared_error", device="numpy", seed=0).fit((x, y), epochs=1)


@pytest.mark.parametrize("loss", ["cross_entropy", "quadratic"])
def test_a_network_that_was_not_told_is_warned(device, loss):
    net, told = network(device, loss, task=None), network(device, loss)
    assert net.task == "classification"
    with pytest.warns(UserWarning, match="expected one class in each row of targets, .*task='multilabel'"):
        fit(net, epochs=2)
    fit(told, epochs=2)
    for ours, its in zip(net.weights, told.weights, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(ours), nn.to_numpy(its))


def test_the_task_decides_where_the_loss_does_not():
    assert nn.Network([4, 3], task="regression").is_regression
    linear = [4, nn.Dense(3, activation="linear")]
    assert nn.Network(linear).task == "regression"
    classifier = nn.Network(linear, task="classification", device="numpy", seed=0)
    assert classifier.predict(X).shape == (60,)
    assert nn.Network(linear, task="multilabel", device="numpy").predict(X).shape == (60, 3)


@pytest.mark.parametrize("task", ["classes", "", 1])
def test_other_tasks_are_refused(task):
    with pytest.raises(ValueError, match="task: expected one of 'classification', 'multilabel', 'regression', got"):
        network(task=task)


@pytest.mark.parametrize("y", [np.arange(60) % 3, Y[:, :2], Y[:, 0]])
def test_targets_of_another_shape_are_refused(y):
    with pytest.raises(ValueError, match=r"y: expected targets \(n, 3\), for 3 output\(s\), got shape"):
        fit(network(), y)


def test_measures_of_one_class_are_those_of_answers():
    net = network()
    fit(net)
    assert net.score((X, Y), metrics.accuracy) == net.score((X, Y), "accuracy")
    with pytest.raises(
        ValueError, match="metrics: expected some of .*output_f1 for multilabel, .*got 'confusion_matrix'"
    ):
        net.score((X, Y), metrics.confusion_matrix)
    for ranked in (metrics.top_k_accuracy, partial(metrics.top_k_accuracy, k=2)):
        with pytest.raises(ValueError, match="for multilabel, .*got 'top_k_accuracy'"):
            net.score((X, Y), ranked)


def test_histories_have_a_number_for_each_output(tmp_path):
    given = {"validation_data": (X, Y), "metrics": ["output_f1"]}
    history = fit(network(), epochs=3, **given)
    fit(network(), epochs=2, checkpoint=tmp_path / "run", **given)
    resumed = fit(network(), epochs=3, checkpoint=tmp_path / "run", resume=True, **given)
    for one in (history, resumed):
        assert [each.shape for each in one["validation_output_f1"]] == [(3,)] * 3
        np.testing.assert_array_equal(one["validation_output_f1"], history["validation_output_f1"])
    history.to_csv(tmp_path / "history.csv")
    table = pd.read_csv(tmp_path / "history.csv")
    columns = [f"validation_output_f1[{i}]" for i in range(3)]
    np.testing.assert_allclose(table[columns], history["validation_output_f1"])
