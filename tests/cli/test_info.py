"""``nn-any info``: networks, ensembles and checkpoints in words and as JSON."""

import json

import numpy as np
import pytest
from cli_tools import call

import nn_any as nn

X = np.random.default_rng(0).normal(size=(30, 3)).astype("float32")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def both(capsys, *arguments):
    return call(capsys, "info", *arguments)[0], json.loads(call(capsys, "info", *arguments, "--json")[0])


def test_a_network(capsys):
    layers = [3, nn.Standardize(), nn.Dense(5, activation="relu"), 2]
    net = nn.Network(layers, loss="log_likelihood", device="numpy", dtype="float64", seed=7)
    net.fit((X, np.arange(30) % 2), epochs=2, batch_size=10, optimizer=nn.Adam())
    net.schema = nn.Schema(
        class_names=("ash", "oak"), feature_names=("height", "age", "girth"), target_names=("tree",), scale=255
    )
    net.save("model.safetensors")
    text, found = both(capsys, "model.safetensors")
    expected = {
        "model": "model.safetensors",
        "kind": "network",
        "task": "classification",
        "input_shape": [3],
        "outputs": 2,
        "parameters": 32,
        "loss": "log_likelihood",
        "dtype": "float64",
        "seed": 7,
        "epochs": 2,
        "steps": 6,
        "standardized": ["inputs"],
        "scale": 255.0,
        "classes": ["ash", "oak"],
        "features": ["height", "age", "girth"],
        "targets": ["tree"],
        "checkpoint": None,
    }
    assert {name: found[name] for name in expected} == expected
    assert [(each["layer"], each["parameters"]) for each in found["layers"]] == [
        ("Standardize", 0),
        ("Dense", 20),
        ("Dense", 12),
    ]
    for line in (
        "task           classification of tree into 2 classes",
        "classes        ash, oak",
        "inputs         height, age, girth",
        "               whole numbers are divided by 255",
        "standardised   inputs: it takes and gives raw numbers",
        "trained        2 epochs, 6 steps, seed 7",
        *net.summary().splitlines(),
    ):
        assert line in text.splitlines()


def test_an_ensemble(capsys):
    ensemble = nn.Ensemble([3, 4], 3, learning_rates=[0.1, 0.2, 0.3], device="numpy", seeds=[4, 5, 9])
    ensemble.save("model.safetensors")
    text, found = both(capsys, ".")
    about = [found[name] for name in ("kind", "members", "seeds", "learning_rates", "diverged", "parameters")]
    assert about == ["ensemble", 3, [4, 5, 9], [0.1, 0.2, 0.3], [False] * 3, 16]
    assert "ensemble of 3 networks, float32, loss quadratic" in text
    assert "3 networks, each:" in text
    assert "0, 1, 2, 3" in text


def test_a_checkpoint_and_numbers(capsys):
    net = nn.Network([3, nn.Dense(2, activation="linear")], device="numpy", seed=0)
    net.fit((X, X[:, :2]), epochs=4, batch_size=10, optimizer=nn.Adam(0.5), checkpoint="run.ckpt")
    text, found = both(capsys, "run.ckpt")
    assert (found["task"], found["classes"], found["checkpoint"]["epochs"]) == ("regression", None, 4)
    assert "regression, 2 outputs" in text
    assert "of a run of 4 epochs so far, Adam(learning_rate=0.5" in text


def test_long_lists_fit_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    net = nn.Network([300, 40], loss="log_likelihood", device="numpy", seed=0)
    net.schema = nn.Schema(feature_names=[f"feature {i}" for i in range(300)], class_names=[f"c{i}" for i in range(40)])
    net.save("model.safetensors")
    text, found = both(capsys, "model.safetensors")
    assert max(map(len, text.splitlines())) <= 80
    assert "… (300)" in text
    assert len(found["features"]) == 300


@pytest.mark.parametrize(
    ("model", "message"), [("none", "found none at none"), ("text", "expected a model file of nn_any, got one that is")]
)
def test_no_model(capsys, model, message):
    with open("text", "w") as file:
        file.write("words")
    assert message in call(capsys, "info", model, code=1)[1]
