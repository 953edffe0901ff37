"""The command line: the errors that ``nn-any`` prints after "usage:" or "error:"."""

import sys
from pathlib import Path

import numpy as np
import pytest

import nn_any as nn
from nn_any.cli.app import app

from . import place, places

X = np.random.default_rng(0).normal(size=(30, 4)).astype("float32")


@pytest.fixture
def train(tmp_path, monkeypatch):
    """``nn-any train`` on a small table; its errors as they are."""
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x=X, y=np.arange(30) % 3)

    def run(*options, data="data.npz"):
        return app(
            ["train", "--data", data, "--epochs", "1", "--quiet", *options],
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )

    return run


@places(
    {
        "cli/options.py usage_errors: {}": ("'cpu'", ("--device abacus", "--device cpu")),
        "cli/options.py build_layers: layers: expected {} first and {} last, as the data": (
            "expected 4 first and 3 last",
            ("--layers 5,3", "--layers 4,3"),
        ),
        "cli/options.py build_layers: dropout: expected a hidden layer to put it after,": (
            "a hidden layer to put it after",
            ("--dropout 0.5 --layers 4,3", "--dropout 0.5 --layers 4,5,3"),
        ),
        "cli/options.py build_layers: loss: expected one for {}, as the data have them,": (
            "expected one for classes",
            ("--loss mean_squared_error", "--loss cross_entropy --learning-rate 0.1"),
        ),
        "cli/options.py _parse_sizes: layers: expected sizes such as 784,30,10, got {}": (
            "sizes such as 784,30,10",
            ("--layers four", "--layers 4,3"),
        ),
        "cli/options.py build_optimizer: {}: expected it with {} only, got it with {}": (
            "with sgd or rmsprop only",
            ("--optimizer adam --momentum 0.9", "--optimizer sgd --momentum 0.9"),
        ),
        "cli/options.py with_schedule: schedule: expected constant for lbfgs, which": (
            "expected constant for lbfgs",
            ("--optimizer lbfgs --schedule cosine", "--optimizer lbfgs --schedule constant"),
        ),
        "cli/options.py check_batch_size: batch_size: expected none for lbfgs, which takes": (
            "expected none for lbfgs",
            ("--optimizer lbfgs --batch-size 10", "--optimizer lbfgs"),
        ),
        "cli/options.py check_batch_size: dropout: expected none for lbfgs, whose loss must": (
            "use adam",
            ("--optimizer lbfgs --dropout 0.5", "--optimizer adam --dropout 0.5"),
        ),
        "cli/train.py train: resume: expected --checkpoint FILE with it, got": (
            "--checkpoint FILE with it",
            ("--resume", "--resume --checkpoint run"),
        ),
    },
    ": expected ",
)
def test_options_that_do_not_fit(refused, value, train):
    bad, good = value
    with refused:
        train(*bad.split())
    assert train(*good.split()) == 0


@place("cli/options.py _parse_integer: expected an integer, got {}", "--seed", "an integer")
def test_a_fraction_of_epochs(refused, train):
    with refused:
        train("--seed", "1.5")
    assert train("--seed", "1") == 0


@place(
    "cli/options.py check_free: output: {} holds {} already; choose another",
    "output",
    "choose another folder, or add --overwrite",
)
def test_a_model_that_is_there_already(refused, train):
    train("--output", "model")
    with refused:
        train("--output", "model")
    assert train("--output", "other") == train("--output", "model", "--overwrite") == 0


@place(
    "cli/options.py load_data: data: expected digits, mnist, or a file ending in",
    "data",
    "a file ending in .npz or .csv",
)
def test_data_of_another_kind(refused, train):
    with refused:
        train(data="data.txt")
    assert train(data="data.npz") == 0


@place("cli/options.py load_data: {}: expected it with a file of your own, got it", "target", "leave it out")
def test_a_target_in_built_in_data(refused, train):
    with refused:
        train("--target", "1", data="digits")
    assert train(data="digits") == 0


@place(
    "cli/options.py parse_numbers: {}: expected numbers {}, such as 0.1,0.3,1, got {}",
    "learning_rates",
    "such as 0.1,0.3,1",
)
def test_rates_that_are_no_numbers(refused, train):
    def sweep(rates):
        options = ["--data", "data.npz", "--epochs", "1", "--seeds", "1", "--quiet", "--learning-rates", rates]
        return app(["sweep", *options], exit_on_error=False, print_error=False, result_action="return_value")

    with refused:
        sweep("low,high")
    assert sweep("0.1,0.3,1") == 0


@places(
    {
        "cli/console.py print_text: standard output is closed": None,
        "cli/console.py print_text: {} ({}){}": None,
    },
    "results",
    "the model is saved: runs",
)
def test_results_that_cannot_be_printed(refused, value, train, monkeypatch):
    with monkeypatch.context() as patch, refused:
        patch.setattr(sys, "stdout", value)
        train("--json")
    [saved] = Path("runs").glob("*/model.safetensors")
    assert nn.Network.load(saved).epoch == 1


@place(
    "cli/train.py _checkpoint: checkpoint: expected another file than the model,",
    "checkpoint",
    "choose another name",
)
def test_a_checkpoint_in_place_of_the_model(refused, train):
    with refused:
        train("--output", "model", "--checkpoint", "model/model.safetensors")
    assert train("--output", "model", "--checkpoint", "model/run.safetensors") == 0


@place("cli/train.py _checkpoint: checkpoint: expected a folder for it, found none;", "checkpoint", "make ")
def test_a_checkpoint_in_no_folder(refused, train):
    with refused:
        train("--checkpoint", "runs-of-mine/run")
    Path("runs-of-mine").mkdir()
    assert train("--checkpoint", "runs-of-mine/run") == 0


@place(
    "cli/train.py _checkpoint: checkpoint: {} is there already; add --resume to",
    "checkpoint",
    "add --resume to go on with its run, or --overwrite to replace it",
)
def test_a_checkpoint_that_is_there_already(refused, train):
    train("--checkpoint", "run")
    with refused:
        train("--checkpoint", "run")
    assert train("--checkpoint", "run", "--resume") == train("--checkpoint", "run", "--overwrite") == 0


@place(
    "cli/train.py _Beginning.on_train_begin: seed: expected {}, as in the checkpoint, got {};",
    "seed",
    "add --seed 3, or choose another checkpoint",
)
def test_a_run_that_goes_on_with_another_seed(refused, train):
    train("--checkpoint", "run", "--seed", "3")
    with refused:
        train("--checkpoint", "run", "--resume")
    assert train("--checkpoint", "run", "--resume", "--seed", "3") == train("--checkpoint", "other", "--resume") == 0
