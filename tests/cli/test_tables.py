import json

import numpy as np
import pytest
from sklearn import datasets

import nn_any as nn
from benchmarks.tables import CLASSES, compare
from nn_any.cli.app import main


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--device", "numpy", "--json"])
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    return json.loads(out), err


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_learnt_as_well_as_by_scikit_learn(name):
    ours, peers = compare(name)
    assert ours.mean() >= peers.mean() - 0.02


@pytest.mark.slow
def test_diabetes_is_learnt_as_well_as_by_ridge():
    ours, peers = compare("diabetes")
    assert ours.mean() >= peers.mean() - 0.05


def test_three_targets_are_learnt_without_diverging(tmp_path, capsys):
    x, y = datasets.load_linnerud(return_X_y=True)
    np.savez(tmp_path / "linnerud.npz", x=x, y=y)
    found, err = run(capsys, "train", "--data", tmp_path / "linnerud.npz", "--output", tmp_path / "out")
    assert found["standardized"] == ["inputs", "targets"]
    assert "inputs and targets standardised" in err
    net = nn.Network.load(tmp_path / "out" / "model.safetensors", device="numpy")
    assert np.all(np.abs(net.predict(x) - y.mean(axis=0)) < 6 * y.std(axis=0))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["standardized"] == ["inputs", "targets"]


RULES = ["sgd", "rmsprop", "adagrad", "lbfgs"]
LOSSES = ["cross_entropy", "quadratic", "huber", "mean_absolute_error"]
OPTIONS = [("wine", option) for option in [*RULES, *LOSSES[:2]]]
OPTIONS += [("diabetes", option) for option in [*RULES, *LOSSES[1:]]]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_one_option_leaves_the_others_sensible(tmp_path, capsys, name, option):
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    np.savez(tmp_path / "table.npz", x=x, y=y)
    kind = "--loss" if option in LOSSES else "--optimizer"
    run(capsys, "train", "--data", tmp_path / "table.npz", kind, option, "--output", tmp_path / "out")
    net = nn.Network.load(tmp_path / "out" / "model.safetensors", device="numpy")
    if name == "wine":
        assert net.accuracy((x, y)) > 0.93
    else:
        assert np.mean((net.predict(x)[:, 0] - y) ** 2) < 0.6 * y.var()


@pytest.mark.parametrize("name", ["wine", "diabetes"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_sweep_suits_tables_too(tmp_path, capsys, name, optimizer):
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    np.savez(tmp_path / "table.npz", x=x, y=y)
    arguments = ["--optimizer", optimizer, "--seeds", "1", "--weight-decays", "0", "--output", tmp_path / "out"]
    found, _ = run(capsys, "sweep", "--data", tmp_path / "table.npz", *arguments)
    assert not any(row["diverged"] for row in found["rows"])
    best = found["best"]
    assert best["test_accuracy"] > 0.9 if name == "wine" else best["test_loss"] < 0.7 * y.var()


def test_no_standardize_and_images_have_no_such_layer(tmp_path, capsys):
    x, y = datasets.load_digits(return_X_y=True)
    np.savez(tmp_path / "table.npz", x=x, y=y)
    np.savez(tmp_path / "images.npz", x=(x * 15).astype("uint8"), y=y)
    for file, *options in (("table.npz", "--no-standardize"), ("images.npz",)):
        arguments = ["--epochs", "1", "--output", tmp_path / f"out-{file}", *options]
        found, err = run(capsys, "train", "--data", tmp_path / file, *arguments)
        assert found["standardized"] == []
        assert "standardised" not in err
    assert (found["optimizer"], found["learning_rate"], found["layers"]) == ("sgd", 3.0, [64, 30, 10])


@pytest.mark.parametrize("name", ["diabetes", "iris"])
def test_lines_fit_on_a_terminal_of_80_columns(tmp_path, capsys, name):
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    np.savez(tmp_path / "table.npz", x=x, y=y)
    for command in (["train", "--epochs", "30", "--patience", "5"], ["sweep", "--epochs", "2", "--seeds", "2"]):
        arguments = [*command, "--data", f"{tmp_path}/table.npz", "--output", f"{tmp_path}/out", "--overwrite"]
        with pytest.raises(SystemExit):
            main([*arguments, "--device", "numpy"])
        for line in "".join(capsys.readouterr()).splitlines():
            assert len(line) <= 80 or str(tmp_path) in line
