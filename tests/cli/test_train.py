"""``nn-any train`` as a process: what it prints, what it saves, JSON, a terminal and signals."""

import json
import re
import signal
import subprocess
import time

import numpy as np
import pytest
from cli_tools import NN_ANY, on_terminal, posix, run
from conftest import need

import nn_any as nn
from nn_any.cli import main


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_same_command_is_the_same_model(tmp_path):
    for name in ("a", "b"):
        assert run("train", "--epochs", "1", "--quiet", "--output", name, cwd=tmp_path).returncode == 0
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


@pytest.mark.slow
def test_quiet_and_environment(tmp_path):
    need("array_api_strict")
    done = run("train", "--epochs", "1", "--quiet", cwd=tmp_path, NN_ANY_DEVICE="array_api_strict:device1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "array_api_strict:device1" in done.stdout


@pytest.mark.slow
def test_options_reach_the_network(tmp_path):
    options = "--activation tanh --loss cross_entropy --initializer normal --batch-size 32 --learning-rate 0.2"
    options += " --dtype float64 --epochs 1 --output out --json"
    done = run("train", *options.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    net = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
    assert [layer.activation.name for layer in net.layers] == ["tanh", "sigmoid"]
    assert (net.specification.loss.name, net.dtype, net.steps) == ("cross_entropy", "float64", 45)


@pytest.mark.slow
def test_without_options_it_is_the_network_as_ever(tmp_path):
    assert run("train", "--epochs", "2", "--quiet", "--output", "out", cwd=tmp_path).returncode == 0
    training, *_ = nn.datasets.load_digits("numpy")
    net = nn.Network([64, 30, 10], initializer="scaled_normal", device="numpy", seed=0)
    net.SGD(training, 2, 10, 3.0)
    saved = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
    for a, b in zip(net.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_the_whole_choice_of_the_library(tmp_path):
    options = "--layers 64,40,20,10 --activation gelu --loss log_likelihood --initializer he_normal --dropout 0.1"
    options += " --optimizer adamw --weight-decay 0.001 --learning-rate 0.01 --schedule cosine --epochs 4 --json"
    done = run("train", *options.split(), "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [results[name] for name in ("optimizer", "learning_rate", "weight_decay", "schedule")] == [
        *("adamw", 0.01, 0.001, "cosine")
    ]
    assert (results["scale"], results["classes"]) == (16, list(range(10)))
    rates = json.loads((tmp_path / "out/run.json").read_text())["history"]["learning_rate"]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < rates[0] < 0.01
    net = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
    gelu, drop, softmax = nn.activations.get("gelu"), nn.Dropout(0.1), nn.activations.get("softmax")
    kinds = [layer.activation if isinstance(layer, nn.Dense) else type(layer)(layer.rate) for layer in net.layers]
    assert kinds == [gelu, drop, gelu, drop, softmax]
    assert {layer.initializer.name for layer in net.layers if isinstance(layer, nn.Dense)} == {"he_normal"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        "--optimizer sgd --momentum 0.5 --schedule halving --learning-rate 1",
        "--optimizer rmsprop --momentum 0.5 --schedule one-cycle",
        "--optimizer adam",
        "--optimizer adagrad --learning-rate 0.1",
        "--optimizer lbfgs --loss cross_entropy --weight-decay 0.0001",
    ],
)
def test_every_optimizer_learns(tmp_path, options):
    done = run("train", "--epochs", "20", "--json", "--quiet", *options.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["test_accuracy"] > 0.8
    assert results["learning_rate"] == {"rmsprop": 0.01, "adam": 0.001, "adagrad": 0.1}.get(results["optimizer"], 1.0)
    assert results["batch_size"] == (1437 if "lbfgs" in options else 10)


def test_patience_keeps_the_best_weights_and_their_figures(tmp_path):
    options = "--patience 2 --optimizer adam --learning-rate 0.03 --loss cross_entropy --epochs 100 --output out"
    done = run("train", *options.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out/run.json").read_text())
    losses = report["history"]["validation_loss"]
    assert report["epochs"] == len(losses) < 100
    assert report["saved_epoch"] == losses.index(min(losses)) + 1 == len(losses) - 2
    assert f"after epoch {report['saved_epoch']}, the best on the validation data, which is saved" in done.stdout
    net, test = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy"), nn.datasets.load_digits("numpy")[2]
    assert net.accuracy(test) == report["test_accuracy"]
    assert net.loss(test) == pytest.approx(report["test_loss"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "loss", "last"),
    [
        ("classes.npz", "quadratic", "sigmoid"),
        ("classes.npz", "cross_entropy", "sigmoid"),
        ("classes.npz", "log_likelihood", "softmax"),
        ("numbers.npz", "quadratic", "linear"),
        ("numbers.npz", "huber", "linear"),
        ("numbers.npz", "poisson", "exponential"),
        ("classes.npz", "huber", "loss: expected one for classes, as the data have them, got huber, for numbers"),
        ("numbers.npz", "log_likelihood", "loss: expected one for numbers, as the data have them, got log_likelihood"),
    ],
)
def test_the_last_activation_follows_the_loss(tmp_path, data, loss, last):
    x = np.random.default_rng(0).random((40, 2)).astype("float32")
    np.savez(tmp_path / "classes.npz", x=x, y=np.arange(40) % 2)
    np.savez(tmp_path / "numbers.npz", x=x, y=x.sum(axis=1))
    options = ["--data", data, "--loss", loss, "--learning-rate", "0.01", "--epochs", "1", "--output", "out"]
    done = run("train", *options, cwd=tmp_path)
    if ":" in last:
        assert (done.returncode, last in done.stderr) == (2, True)
    else:
        assert done.returncode == 0, done.stderr
        net = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
        assert net.layers[-1].activation.name == last


@pytest.mark.slow
def test_what_a_saved_network_must_be_told_is_recorded(tmp_path):
    """How raw integers became reals, and what the classes are called."""
    rng = np.random.default_rng(0)
    y = np.array(["oak", "ash"])[rng.integers(0, 2, 60)]
    x = rng.integers(0, 100, (60, 3), dtype=np.uint8) + np.uint8(100) * (y == "oak")[:, None]
    np.savez(tmp_path / "TREES.NPZ.npz", x=x, y=y)
    (tmp_path / "TREES.NPZ.npz").rename(tmp_path / "TREES.NPZ")
    done = run("train", "--data", "TREES.NPZ", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "inputs         divided by 255, as whatever you give the saved network must be" in done.stdout
    report = json.loads((tmp_path / "out/run.json").read_text())
    assert (report["scale"], report["classes"]) == (255, ["ash", "oak"])
    net = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
    answers = np.array(report["classes"])[net.predict(x / report["scale"])]
    assert np.mean(answers == y) > 0.95


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_fastest_device_is_measured(tmp_path):
    done = run("train", "--device", "fastest", "--epochs", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    device = json.loads(done.stdout)["device"]
    assert f"device {device} (" in done.stderr
    assert "measured, for 144 steps with compiling: " in done.stderr
    done = run("train", "--device", "fastest", "--engine", "eager", "--epochs", "1", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["engine"] == "eager"
    done = run("train", "--device", "fastest", "--optimizer", "lbfgs", cwd=tmp_path)
    assert (done.returncode, "optimizer: expected one that takes batches" in done.stderr) == (2, True)


@pytest.mark.slow
@posix
def test_a_terminal_gets_a_live_display_in_colour(tmp_path):
    text, code = on_terminal(["train", "--epochs", "40"], tmp_path)
    assert code == 0
    assert "\x1b[" in text
    assert "training" in text
    assert "left" in text
    assert "epoch  40" in text


@pytest.mark.slow
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


@pytest.mark.slow
@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_ended_and_resumed_is_as_one_that_was_not(tmp_path, number, code):
    command = [*NN_ANY, "train", "--epochs", "60", "--optimizer", "adam", "--patience", "50", "--device", "numpy"]
    process = subprocess.Popen(
        [*command, "--output", "ended", "--checkpoint", "here"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if re.match(r"epoch +3 ", line):
            break
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert json.loads((tmp_path / "ended/run.json").read_text())["epochs"] < 60
    for output, options in (("resumed", ["--checkpoint", "here", "--resume", "--quiet"]), ("whole", ["--quiet"])):
        subprocess.run([*command, "--output", output, *options], cwd=tmp_path, check=True, timeout=120)
    resumed, whole = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("resumed", "whole"))
    for name in ("test_loss", "validation_accuracy", "loss", "epoch"):
        assert resumed["history"][name] == whole["history"][name]
    assert (tmp_path / "resumed/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


def test_resume_wants_a_checkpoint(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["train", "--resume", "--output", str(tmp_path / "out")])
    assert exit_.value.code == 2
    assert "resume: expected --checkpoint FILE with it, got none" in capsys.readouterr().err


@pytest.mark.slow
@posix
def test_ctrl_c_within_the_first_epoch(tmp_path):
    np.savez(
        tmp_path / "long.npz", x=np.random.default_rng(0).random((300_000, 4), "float32"), y=np.arange(300_000) % 2
    )
    process = subprocess.Popen(
        [*NN_ANY, "train", "--data", "long.npz", "--batch-size", "1", "--output", "out", "--device", "numpy"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("device"):
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"after 0 epochs, \d+,000 steps; what was learnt is saved", out)
    net = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
    assert net.epoch == 0
    assert 0 < net.steps < 240_000
