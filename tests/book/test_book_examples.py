"""The experiments of the book in their quick mode, on small files with real digits in the place of MNIST."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nn_any as nn

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
CONV = ["shallow", "basic_conv", "omit_FC", "dbl_conv", "dbl_conv_relu", "regularized_dbl_conv_relu", "expanded_data"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """scikit-learn's digits, each pixel three times as wide and high, as Keras's file: 28 × 28, 0 to 255."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8) * (255 / 16), np.ones((3, 3)))
    large = np.pad(large, [(0, 0), (2, 2), (2, 2)]).astype(np.uint8)
    path = tmp_path_factory.mktemp("mnist")
    np.savez(path / "mnist.npz", x_train=large[:1200], y_train=labels[:1200], x_test=large[1200:], y_test=labels[1200:])
    return path


@pytest.fixture
def run(folder, tmp_path):
    """Runs a script as a user does, in a folder of its own; returns what it printed."""

    def run(name, *arguments, code=0):
        environment = os.environ | {
            "NN_ANY_DATA": str(folder),
            "NN_ANY_DEVICE": "numpy",
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            "PYTHONWARNINGS": "error",
        }
        command = [sys.executable, "-m", f"examples.book.{name}", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    return run


def test_average_darkness(run):
    out = run("average_darkness", "--quick")
    assert re.search(r"guessing by darkness: \d+ / 100\n$", out), out


def test_svm(run):
    out = run("svm", "--examples", 600)
    tuned = re.search(r"svm_tuned +– +– +(\d+\.\d+)% +(\d+\.\d+)% +98\.50%", out)
    assert float(tuned[1]) > 90, out
    assert float(tuned[2]) > 90, out


def test_expand_mnist(run, tmp_path):
    assert "100 images became 500, on numpy:cpu; the picture is in expand_mnist.png" in run("expand_mnist", "--quick")
    assert (tmp_path / "expand_mnist.png").stat().st_size > 10_000


def test_regularization(run):
    out = run("regularization", "--quick")
    assert out.count("Epoch 0 training complete") == 2
    assert re.search(r"lmbda = 5\.0 +0 +1 +\d+\.\d+% +\d+\.\d+% +98\.04%", out), out


def test_convolution(run):
    out = run("convolution", *CONV, "--quick", "--seed", 3)
    for name in CONV:
        assert re.search(rf"{name} +3 +1 +\d+\.\d+% +\d+\.\d+% +(–|9\d\.\d\d%) +\d+\.\d +numpy:cpu", out), out


def test_run_all(run, tmp_path):
    names = ["average_darkness", "regularization", "shallow"]
    out = run("run_all", "--quick", "--device", "cpu", "--only", *names, "--seeds", 0, 1, "--json", "rows.json")
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert [(row["name"], row["seed"]) for row in rows] == [
        ("average_darkness", None),
        ("regularization", 0),
        ("regularization", 1),
        ("shallow", 0),
        ("shallow", 1),
    ]
    for row in rows:
        assert 0 <= row["validation"] <= 1
        assert f"{row['test']:.2%}" in out
        assert row["book"] is None  # which is for all images
    assert "they show that all of it runs, not how well it can do" in out
    assert "98.04%" not in out
    assert run("run_all", "--only", "nothing", code=2) == ""


@pytest.fixture
def convolution(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from examples.book import convolution

    return convolution


def test_the_names_of_the_series(convolution):
    assert list(convolution.SERIES) == [*CONV, "expanded_data_double_fc", "double_fc_dropout", "ensemble"]


def test_the_vote(convolution):
    """Three of five decide, and the smaller digit where two and two agree."""

    class Fixed:
        def __init__(self, *answers):
            self.answers = answers

        def predict(self, x):
            return np.array(self.answers)

    nets = [Fixed(7, 2, 0), Fixed(7, 5, 0), Fixed(7, 5, 1), Fixed(1, 2, 3), Fixed(2, 9, 4)]
    data = nn.Dataset(np.zeros((3, 4)), [7, 2, 4], classes=10, device="numpy")
    assert convolution.vote(nets, data) == pytest.approx(2 / 3)


def test_an_ensemble(convolution, folder, monkeypatch, capsys):
    from examples.book import common

    monkeypatch.setenv("NN_ANY_DATA", str(folder))
    parts = common.load("numpy", 20)
    result = convolution.ensemble(parts, 1, 4, members=2)
    first = convolution.double_fc_dropout(parts, 1, 5)
    np.testing.assert_array_equal(result.nets[1].params[4], first.nets[0].params[4])
    assert result.test == convolution.vote(result.nets, parts[2])
    assert len(parts[0]) == len(parts[2]) == 20
