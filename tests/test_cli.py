"""The command line as a process: exit codes, JSON, pipe and terminal."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import nn_any as nn

NN_ANY = [sys.executable, "-m", "nn_any"]


def run(*arguments, cwd, **environment):
    env = {k: v for k, v in os.environ.items() if k not in ("NN_ANY_DEVICE", "NO_COLOR", "FORCE_COLOR")}
    env |= {"NN_ANY_DEVICE": "cpu", "PYTHONWARNINGS": "error", "PYTHONUTF8": "1", "COLUMNS": "100", **environment}
    return subprocess.run(
        [*NN_ANY, *arguments], cwd=cwd, env=env, capture_output=True, text=True, encoding="utf-8", timeout=120
    )


def test_train_without_options(tmp_path):
    done = run("train", "--epochs", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for part in (
        "test accuracy",
        "best epoch",
        "chosen on the test data",
        "time",
        "device",
        "numpy:cpu",
        "saved",
        "model.safetensors",
    ):
        assert part in done.stdout
    lines = done.stderr.splitlines()
    assert lines[0] == "[64, 30, 10] on digits: 1,437 training, 180 validation, 180 test examples"
    assert lines[1].startswith("device numpy:cpu (")
    assert [line[:11] for line in lines[2:]] == ["epoch   1  ", "epoch   2  ", "epoch   3  "]
    assert "\x1b" not in done.stdout + done.stderr
    (model,) = tmp_path.glob("runs/digits-*/model.safetensors")
    assert str(model.relative_to(tmp_path)) in done.stdout
    assert nn.Network.load(model, device="numpy").accuracy(nn.datasets.load_digits("numpy")[2]) > 0.8


def test_json_alone_on_stdout(tmp_path):
    done = run(
        "train", "--json", "--epochs", "2", "--seed", "4", "--output", "here", "--layers", "64,20,10", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["device"] == "numpy:cpu"
    assert results["seconds"] > 0
    assert 0 < results["test_accuracy"] <= results["best_test_accuracy"] <= 1
    assert (results["epochs"], results["seed"], results["layers"]) == (2, 4, [64, 20, 10])
    net = nn.Network.load(tmp_path / "here" / "model.safetensors", device="numpy")
    assert net.accuracy(nn.datasets.load_digits("numpy")[2]) == results["test_accuracy"]
    report = json.loads((tmp_path / "here" / "run.json").read_text())
    assert len(report["history"]["loss"]) == 2
    assert report["test_accuracy"] == results["test_accuracy"]


def test_the_same_command_is_the_same_model(tmp_path):
    for name in ("a", "b"):
        assert run("train", "--epochs", "1", "--quiet", "--output", name, cwd=tmp_path).returncode == 0
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


def test_quiet_and_environment(tmp_path):
    pytest.importorskip("array_api_strict")
    done = run("train", "--epochs", "1", "--quiet", cwd=tmp_path, NN_ANY_DEVICE="array_api_strict:device1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "array_api_strict:device1" in done.stdout


def test_options_reach_the_network(tmp_path):
    options = "--activation tanh --loss cross_entropy --initializer normal --batch-size 32 --learning-rate 0.2"
    options += " --dtype float64 --epochs 1 --output out --json"
    done = run("train", *options.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    net = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
    assert [layer.activation.name for layer in net.layers] == ["tanh", "sigmoid"]
    assert (net._loss.name, net.dtype, net.steps) == ("cross_entropy", "float64", 45)


def test_a_model_is_not_overwritten_unasked(tmp_path):
    arguments = ("train", "--epochs", "1", "--quiet", "--output", "out")
    assert run(*arguments, cwd=tmp_path).returncode == 0
    before = (tmp_path / "out/model.safetensors").read_bytes()
    refused = run(*arguments, "--seed", "1", cwd=tmp_path)
    assert refused.returncode == 2
    assert "out holds a model already; choose another folder, or add --overwrite" in refused.stderr
    assert (tmp_path / "out/model.safetensors").read_bytes() == before
    assert run(*arguments, "--seed", "1", "--overwrite", cwd=tmp_path).returncode == 0
    assert (tmp_path / "out/model.safetensors").read_bytes() != before


@pytest.mark.parametrize("target", ["labels", "numbers"])
def test_a_file_of_ones_own(tmp_path, target):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 3)).astype("float32")
    np.savez(
        tmp_path / "mine.npz", x=x, y=(x[:, 0] > 0).astype(int) if target == "labels" else x @ [[1.0], [2.0], [0.5]]
    )
    done = run("train", "--data", "mine.npz", "--learning-rate", "0.1", "--epochs", "20", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    if target == "labels":
        assert results["test_accuracy"] >= 0.8
    else:
        assert results["test_accuracy"] is None
        assert results["test_loss"] < 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--colour", "red"], 2, "Unknown option"),
        (["train", "--epochs", "many"], 2, "--epochs"),
        (["train", "--epochs", "-1"], 2, "epochs: expected an integer of at least 0, got -1"),
        (["train", "--batch-size", "0"], 2, "batch_size: expected an integer of at least 1"),
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
        (["train", "--data", "none.npz"], 1, "error: data: expected a file, found none at none.npz"),
        (["train", "--device", "array_api_strict:device9"], 1, "device 'array_api_strict:device9' is not available"),
        (["train", "--output", "a-file/sub"], 1, "error: "),
    ],
)
def test_exit_codes(tmp_path, arguments, code, message):
    (tmp_path / "a-file").touch()
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_version_help_and_devices(tmp_path):
    assert run("--version", cwd=tmp_path).stdout.strip() == nn.__version__
    for arguments in ([], ["--help"]):
        done = run(*arguments, cwd=tmp_path)
        assert (done.returncode, "train" in done.stdout, "devices" in done.stdout) == (0, True, True)
    assert "--learning-rate" in run("train", "--help", cwd=tmp_path).stdout
    done = run("devices", cwd=tmp_path, PYTHONWARNINGS="default")
    assert done.returncode == 0
    assert "numpy:cpu" in done.stdout
    assert "auto is " in done.stdout
    for report in nn.backends.survey():
        assert report.library in done.stdout


posix = pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")


def on_terminal(arguments, cwd, **environment):
    """What the command writes on a terminal of 100 columns, and its exit code."""
    import pty

    leader, follower = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k not in ("NN_ANY_DEVICE", "NO_COLOR")}
    env |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **environment}
    process = subprocess.Popen(
        [*NN_ANY, *arguments], cwd=cwd, env=env, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    chunks = []
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(leader)
    return b"".join(chunks).decode("utf-8"), process.wait(timeout=60)


@posix
def test_a_terminal_gets_a_live_display_in_colour(tmp_path):
    text, code = on_terminal(["train", "--epochs", "40"], tmp_path)
    assert code == 0
    assert "\x1b[" in text
    assert "training" in text
    assert "left" in text
    assert "epoch  40" in text


@posix
def test_no_color_is_honoured(tmp_path):
    text, code = on_terminal(["train", "--epochs", "5"], tmp_path, NO_COLOR="1")
    assert code == 0
    assert not re.search(r"\x1b\[(3|4|9|10)\d", text)  # colours; moving the cursor is fine


@posix
def test_ctrl_c_keeps_what_was_learnt(tmp_path):
    process = subprocess.Popen(
        [*NN_ANY, "train", "--epochs", "100000", "--output", "out"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if re.match(r"epoch +2 ", line):
            break
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in out
    net = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
    assert net.epoch >= 2
    assert net.accuracy(nn.datasets.load_digits("numpy")[2]) > 0.8


@posix
def test_ctrl_c_before_the_training(tmp_path):
    process = subprocess.Popen(
        [*NN_ANY, "train"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)  # the latter while Python itself is starting
