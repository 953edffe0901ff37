"""``nn-any evaluate``, beside scikit-learn's measures."""

import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from cli_tools import call
from sklearn import datasets

import nn_any as nn
from nn_any.datasets import load_table

CLASSES = ["setosa", "versicolor", "virginica"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NN_ANY_DEVICE", "numpy")


@pytest.fixture
def iris(capsys):
    """A table with names of classes, and a network that has learnt it a little."""
    frame = datasets.load_iris(as_frame=True).frame.rename(columns={"target": "kind"})
    frame["kind"] = [CLASSES[i] for i in frame["kind"]]
    frame.to_csv("iris.csv", index=False)
    call(capsys, "train", "--data", "iris.csv", "--epochs", "2", "--quiet", "--output", "run")
    return frame, nn.Network.load("run/model.safetensors", device="numpy")


def test_classes(iris, capsys):
    frame, net = iris
    asked, answered = frame["kind"].to_numpy(), net.predict_names(frame.drop(columns="kind").to_numpy())
    out, err = call(capsys, "evaluate", "run", "--data", "iris.csv", "--json")
    found = json.loads(out)
    assert err == ""
    assert (found["part"], found["examples"], found["target"], found["classes"]) == ("all", 150, "kind", CLASSES)
    assert found["accuracy"] == sklearn.metrics.accuracy_score(asked, answered)
    assert 0.5 < found["accuracy"] < 1
    expected = sklearn.metrics.confusion_matrix(asked, answered, labels=CLASSES)
    np.testing.assert_array_equal(found["confusion_matrix"], expected)
    report = sklearn.metrics.classification_report(asked, answered, output_dict=True)
    for each in found["each_class"]:
        theirs = report[each["class"]]
        names = {"precision": "precision", "recall": "recall", "f1": "f1-score", "examples": "support"}
        for ours, name in names.items():
            assert each[ours] == pytest.approx(theirs[name])
    labels = [CLASSES.index(name) for name in asked]
    assert found["loss"] == pytest.approx(net.loss((frame.drop(columns="kind").to_numpy(), labels)))


def test_classes_go_by_name_whatever_their_order_and_number(iris, capsys):
    frame, net = iris
    part = frame[frame["kind"] != "setosa"].sample(frac=1, random_state=0)
    expected = np.mean(net.predict_names(part.drop(columns="kind").to_numpy()) == part["kind"])
    part[[*part.columns[::-1]]].to_csv("names.csv", index=False)
    part.drop(columns="kind").assign(kind=part["kind"]).to_csv("places.csv", index=False, header=False)
    np.savez("arrays.npz", x=part.drop(columns="kind").to_numpy(), y=part["kind"].to_numpy().astype("U"))
    for file in ("names.csv", "places.csv", "arrays.npz"):
        found = json.loads(call(capsys, "evaluate", "run", file, "--json")[0])
        assert (found["accuracy"], found["examples"]) == (expected, 100)


def test_the_parts_of_a_file_are_those_of_training(iris, capsys):
    parts = load_table("iris.csv", device="numpy")
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        found = json.loads(call(capsys, "evaluate", "run", "iris.csv", "--part", name, "--json")[0])
        assert (found["part"], found["examples"]) == (name, len(part))
        assert found["loss"] == pytest.approx(iris[1].loss(part))
    with open("run/run.json") as file:
        assert found["accuracy"] == json.load(file)["test_accuracy"]


def test_a_file_with_a_part_for_tests(iris, capsys):
    frame, net = iris
    x, y = frame.drop(columns="kind").to_numpy(), frame["kind"].to_numpy().astype("U")
    np.savez("parts.npz", x_train=x[::2], y_train=y[::2], x_test=x[1::2], y_test=y[1::2])
    found = json.loads(call(capsys, "evaluate", "run", "parts.npz", "--json")[0])
    assert (found["part"], found["examples"]) == ("test", 75)
    assert found["accuracy"] == np.mean(net.predict_names(x[1::2]) == y[1::2])
    assert json.loads(call(capsys, "evaluate", "run", "parts.npz", "--part", "all", "--json")[0])["examples"] == 150


def test_words_on_a_screen(iris, capsys):
    out, _ = call(capsys, "evaluate", "run", "iris.csv")
    for part in ("predicted:", *CLASSES, "precision", "F1", "iris.csv: 150 examples", "accuracy", "(log_likelihood)"):
        assert part in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("change", "arguments", "code", "message"),
    [
        (lambda f: f.replace("setosa", "Setosa"), [], 1, "line 2, column 5 (kind): expected one of the classes of the"),
        (lambda f: f.drop(columns="kind"), [], 1, "with what the network predicts (kind), got no others"),
        (
            lambda f: f.rename(columns={"kind": "class"}),
            [],
            1,
            "got class; add it, or say which it is with --target COLUMN",
        ),
        (
            lambda f: f.replace("setosa", np.nan),
            [],
            1,
            "line 2, column 5 (kind): expected what is to be predicted, got ''",
        ),
        (lambda f: f, ["--target", "kinds"], 2, "target: expected a name"),
        (lambda f: f, ["--target", "1"], 2, "target: expected a column that is no input of the network"),
        (lambda f: f, ["--part", "half"], 2, "--part"),
    ],
)
def test_what_is_wrong(iris, capsys, change, arguments, code, message):
    change(iris[0]).to_csv("new.csv", index=False)
    _, err = call(capsys, "evaluate", "run", "new.csv", *arguments, code=code)
    assert message in err


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        ("x.txt", 2, "data: expected digits, mnist, or a file ending in .npz or .csv"),
        ("none.csv", 1, "data: expected a file, found none"),
        ("y.npz", 1, "y: expected one of the classes of the network (setosa, versicolor, virginica), got 'oak'"),
    ],
)
def test_data_that_do_not_fit(iris, capsys, data, code, message):
    np.savez("y.npz", x=np.ones((3, 4)), y=np.array(["setosa", "oak", "setosa"]))
    _, err = call(capsys, "evaluate", "run", data, code=code)
    assert message in err


def test_another_column_when_told(iris, capsys):
    iris[0].rename(columns={"kind": "class"}).to_csv("new.csv", index=False)
    found = json.loads(call(capsys, "evaluate", "run", "new.csv", "--target", "class", "--json")[0])
    assert found["examples"] == 150


def test_numbers(capsys):
    x, y = datasets.load_diabetes(return_X_y=True, as_frame=True)
    x.assign(progression=y).to_csv("diabetes.csv", index=False)
    call(capsys, "train", "--data", "diabetes.csv", "--epochs", "3", "--quiet", "--output", "run")
    answers = nn.Network.load("run/model.safetensors", device="numpy").predict(x.to_numpy())[:, 0]
    found = json.loads(call(capsys, "evaluate", "run", "diabetes.csv", "--json")[0])
    assert found["r2"] == pytest.approx(sklearn.metrics.r2_score(y, answers), rel=1e-5)
    assert found["mean_squared_error"] == pytest.approx(sklearn.metrics.mean_squared_error(y, answers), rel=1e-5)
    assert found["root_mean_squared_error"] == pytest.approx(found["mean_squared_error"] ** 0.5)
    assert found["mean_absolute_error"] == pytest.approx(sklearn.metrics.mean_absolute_error(y, answers), rel=1e-5)
    assert found["targets"] == ["progression"]
    out, _ = call(capsys, "evaluate", "run", "diabetes.csv")
    assert f"root mean squared error  {found['root_mean_squared_error']:.6g}" in out
    x.head(3).assign(progression=["1", "two", "3"]).to_csv("bad.csv", index=False)
    _, err = call(capsys, "evaluate", "run", "bad.csv", code=1)
    assert "bad.csv, line 3, column 11 (progression): expected a number such as 1.5, got 'two'" in err


def test_several_numbers_and_their_columns(capsys):
    x = np.random.default_rng(0).normal(size=(30, 2)).astype("float32")
    net = nn.Network([2, nn.Dense(2, activation="linear")], device="numpy", seed=0)
    net.schema = nn.Schema(feature_names=("a", "b"), target_names=("u", "v"))
    net.save("net.safetensors")
    y = net.predict(x) + np.array([1.0, -2.0])
    pd.DataFrame({"v": y[:, 1], "b": x[:, 1], "a": x[:, 0], "u": y[:, 0]}).to_csv("names.csv", index=False)
    pd.DataFrame(np.hstack([x, y])).to_csv("places.csv", index=False, header=False)
    np.savez("arrays.npz", x=x, y=y)
    for file in ("names.csv", "places.csv", "arrays.npz"):
        found = json.loads(call(capsys, "evaluate", "net.safetensors", file, "--json")[0])
        assert found["mean_squared_error"] == pytest.approx(2.5, rel=1e-4)
    _, err = call(capsys, "evaluate", "net.safetensors", "names.csv", "--target", "u", code=2)
    assert "target: expected none for a network of 2 outputs, got 'u'" in err


def test_answers_of_yes_or_no(capsys):
    x = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")
    y = (x > [0.0, 0.5, -0.5]).astype(int)
    np.savez("tags.npz", x=x, y=y)
    call(capsys, "train", "--data", "tags.npz", "--task", "multilabel", "--output", "run", "--epochs", "5", "--quiet")
    answers = nn.Network.load("run/model.safetensors", device="numpy").predict(x)
    found = json.loads(call(capsys, "evaluate", "run", "tags.npz", "--json")[0])
    assert found["accuracy"] == sklearn.metrics.accuracy_score(y, answers)
    scores = sklearn.metrics.precision_recall_fscore_support(y, answers, zero_division=0)
    given = [[each[name] for each in found["each_output"]] for name in ("precision", "recall", "f1", "examples")]
    np.testing.assert_allclose(given, scores)
    assert "with all outputs right" in call(capsys, "evaluate", "run", "tags.npz")[0]
    with open("run/run.json") as file:
        trained = json.load(file)
    found = json.loads(call(capsys, "evaluate", "run", "tags.npz", "--part", "test", "--json")[0])
    assert found["loss"] == pytest.approx(trained["test_loss"], rel=1e-6)


@pytest.mark.parametrize("scale", [16.0, None])
def test_digits_and_an_ensemble(capsys, scale):
    training, _, test = nn.datasets.load_digits("numpy")
    ensemble = nn.Ensemble([64, 10], 3, initializer="scaled_normal", device="numpy", seed=0)
    ensemble.fit(training, epochs=1, batch_size=20, optimizer=nn.SGD(3.0))
    ensemble.schema = nn.Schema(scale=scale)
    ensemble.save("ensemble.safetensors")
    out, err = call(capsys, "evaluate", "ensemble.safetensors", "digits", "--json")
    found = json.loads(out)
    assert (found["part"], found["examples"]) == ("test", 180)
    assert found["accuracy"] == ensemble.accuracy(test) == np.trace(found["confusion_matrix"]) / 180
    assert err == ("" if scale else "digits: integers are divided by 16: the model knows no scale\n")
    found = json.loads(call(capsys, "evaluate", "ensemble.safetensors", "digits", "--part", "all", "--json")[0])
    assert found["examples"] == 1797
    assert call(capsys, "evaluate", "ensemble.safetensors", "digits", "--header", "yes", code=2)


def test_digits_and_a_network_of_raw_numbers(capsys):
    training, _, test = nn.datasets.load_digits("numpy")
    net = nn.Network([64, nn.Standardize(), 10], loss="log_likelihood", device="numpy", seed=0)
    net.fit((training.x.astype("float32"), training.y), epochs=3, optimizer=nn.SGD(0.5))
    net.save("net.safetensors")
    out, err = call(capsys, "evaluate", "net.safetensors", "digits", "--json")
    assert json.loads(out)["accuracy"] == net.accuracy((test.x.astype("float32"), test.y)) > 0.8
    assert err == "digits: integers are taken as they are: the model knows no scale\n"


def test_many_classes_have_their_most_frequent_confusions(capsys):
    net = nn.Network([30, 30], loss="log_likelihood", device="numpy", seed=0)
    net.set_weights([20 * np.eye(30)], [np.zeros(30)])
    net.save("net.safetensors")
    wrong = [(3, 7)] * 4 + [(9, 1)] * 2
    labels = [*range(30), *(i for i, _ in wrong)]
    x = np.eye(30)[[*range(30), *(j for _, j in wrong)]]
    np.savez("many.npz", x=x, y=labels)
    lines = [line.split() for line in call(capsys, "evaluate", "net.safetensors", "many.npz")[0].splitlines()]
    assert [line for line in lines if len(line) == 3 and line[0] in "39"] == [["3", "7", "4"], ["9", "1", "2"]]
