"""The application: exit codes, help, and streams that are closed."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from cli_tools import NN_ANY, posix, run

import nn_any as nn
from nn_any.cli import main


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--colour", "red"], 2, "Unknown option"),
        (["train", "--epochs", "many"], 2, "--epochs"),
        (["train", "--epochs", "1.5"], 2, "Invalid value for --epochs: expected an integer, got '1.5'"),
        (["train", "--batch-size", "2.5"], 2, "Invalid value for --batch-size: expected an integer, got '2.5'"),
        (["train", "--seed", "0.5"], 2, "Invalid value for --seed: expected an integer, got '0.5'"),
        (["train", "--patience", "1.5"], 2, "Invalid value for --patience: expected an integer, got '1.5'"),
        (["train", "--patience", "0"], 2, "patience: expected a positive integer, got 0"),
        (["train", "--dropout", "1"], 2, "rate of a Dropout layer: expected a finite number of at least 0 and below 1"),
        (["train", "--layers", "64,10", "--dropout", "0.1"], 2, "dropout: expected a hidden layer to put it after"),
        (["train", "--optimizer", "adam", "--momentum", "0.9"], 2, "momentum: expected it with sgd or rmsprop only"),
        (["train", "--optimizer", "lbfgs", "--batch-size", "9"], 2, "batch_size: expected none for lbfgs"),
        (["train", "--optimizer", "lbfgs", "--dropout", "0.1"], 2, "dropout: expected none for lbfgs"),
        (["train", "--optimizer", "lbfgs", "--schedule", "cosine"], 2, "schedule: expected constant for lbfgs"),
        (["train", "--epochs", "-1"], 2, "epochs: expected an integer of at least 0, got -1"),
        (["train", "--batch-size", "0"], 2, "batch_size: expected a positive integer"),
        (["train", "--learning-rate", "0"], 2, "learning_rate: expected a positive, finite number"),
        (["train", "--layers", "64"], 2, "layers: expected sizes such as 784,30,10, got '64'"),
        (
            ["train", "--layers", "784,30,10"],
            2,
            "layers: expected 64 first and 10 last, as the data have it, got 784,30,10",
        ),
        (["train", "--loss", "hinge"], 2, "--loss"),
        (["train", "--data", "picture.png"], 2, "data: expected digits, mnist, or a file ending in .npz or .csv"),
        (["train", "--device", "abacus"], 2, "device: expected 'auto'"),
        (["train", "--seed", "-1"], 2, "seed: expected an integer of at least 0"),
        (["fly"], 2, "fly"),
        (["train", "flowers.csv"], 2, "a file to train on goes with --data: --data flowers.csv"),
        (["train", "--data", "none.npz"], 1, "error: data: expected a file, found none at none.npz"),
        (["train", "--device", "array_api_strict:device9"], 1, "device 'array_api_strict:device9' is not available"),
        (
            ["train", "--output", "a-file/sub"],
            2,
            "usage: output: expected a folder that can be written, got a-file/sub",
        ),
    ],
)
def test_exit_codes(tmp_path, arguments, code, message):
    (tmp_path / "a-file").touch()
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("arguments", "code"), [("train --colour red", 2), ("train --data none.npz", 1)])
def test_failures_and_usage_have_codes_of_their_own(tmp_path, monkeypatch, arguments, code):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == code


@pytest.mark.slow
def test_version_and_help(tmp_path):
    assert run("--version", cwd=tmp_path).stdout.strip() == nn.__version__
    for arguments in ([], ["--help"]):
        done = run(*arguments, cwd=tmp_path)
        assert (done.returncode, "train" in done.stdout, "devices" in done.stdout) == (0, True, True)
    done = run("train", "--help", cwd=tmp_path)
    assert "--learning-rate" in done.stdout
    for module in (nn.activations, nn.losses, nn.initializers):
        names = {name for name in module.names() if not name.startswith("test_")}  # other tests' own
        assert names <= set(re.findall(r"\w+", done.stdout))


def test_a_fault_inside_the_training_is_no_fault_of_usage(tmp_path, monkeypatch, capsys):
    def faulty(*arguments, **options):
        raise TypeError("a fault of ours")

    monkeypatch.setattr(nn.Network, "fit", faulty)
    with pytest.raises(SystemExit) as caught:
        main(["train", "--output", str(tmp_path)])
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: a fault of ours\n"


@pytest.mark.slow
@posix
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_does_not_end_the_training(tmp_path, unbuffered):
    """As in ``nn-any train 2>&1 | head -1``."""
    process = subprocess.Popen(
        [*NN_ANY, "train", "--epochs", "40", "--output", "out"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered, "NN_ANY_DEVICE": "numpy"},
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 1  # the results could not be printed
    assert nn.Network.load(tmp_path / "out/model.safetensors", device="numpy").epoch == 40


@pytest.mark.slow
@posix
@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        (
            ">&-",
            1,
            "error: the results could not be printed (standard output is closed); the model is saved: out/model",
        ),
        (
            ">&- --json",
            1,
            "error: the results could not be printed (standard output is closed); the model is saved: out",
        ),
        ("2>&-", 0, ""),
    ],
)
def test_closed_streams(tmp_path, redirection, code, message):
    shell = f'"{sys.executable}" -m nn_any train --epochs 2 --output out {redirection}'
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "test accuracy" in done.stdout) == (code, not code)
    assert message in done.stderr
    assert (tmp_path / "out/run.json").exists()


@posix
def test_ctrl_c_before_the_training(tmp_path):
    process = subprocess.Popen(
        [*NN_ANY, "train"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)  # the latter while Python itself is starting
