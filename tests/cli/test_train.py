"""``nn-any train`` as a process: what it prints, what it saves, JSON, a terminal and signals."""

import json
import os
import re
import signal
import subprocess
import sys
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
    assert f"after epoch {report['saved_epoch']}, saved as the best on validation data" in done.stdout
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
    assert "inputs         whole numbers, which the saved network divides by 255 itself" in done.stdout
    assert "predict        nn-any predict out new.npz" in done.stdout
    report = json.loads((tmp_path / "out/run.json").read_text())
    assert (report["scale"], report["classes"]) == (255, ["ash", "oak"])
    net = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
    np.testing.assert_array_equal(net.predict_names(x), np.array(report["classes"])[net.predict(x / report["scale"])])
    assert np.mean(net.predict_names(x) == y) > 0.95


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


def command(capsys, *arguments, code=0):
    """What the command writes, in this process."""
    with pytest.raises(SystemExit) as ended:
        main(["train", "--device", "cpu", *arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == code, err
    return out, err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_checkpoint_is_not_overwritten_unasked(folder, capsys):
    keeps = ["--checkpoint", "run.safetensors"]
    command(capsys, "--epochs", "3", *keeps, "--output", "a")
    content = (folder / "run.safetensors").read_bytes()
    _, err = command(capsys, "--epochs", "1", *keeps, code=2)
    assert "usage: checkpoint: run.safetensors is there already; add --resume to go on with its run, or --overw" in err
    assert (folder / "run.safetensors").read_bytes() == content
    assert {file.name for file in folder.iterdir()} == {"a", "run.safetensors"}
    command(capsys, "--epochs", "1", *keeps, "--output", "b", "--overwrite")
    assert nn.Network.load(folder / "run.safetensors").epoch == 1
    _, err = command(capsys, "--epochs", "2", *keeps, "--output", "b", "--overwrite", "--resume")
    assert "run.safetensors: resumes at epoch 2 of 2, batch 1 of 144\n" in err
    _, err = command(capsys, "--epochs", "2", *keeps, "--output", "c", "--resume")
    assert "run.safetensors: all 2 epochs are done; to go on, ask for more (epochs=, --epochs)\n" in err
    _, err = command(capsys, "--epochs", "3", *keeps, "--output", "d", "--resume", "--seed", "7", code=2)
    assert "usage: seed: expected 0, as in the checkpoint, got 7; add --seed 0, or choose another checkpoint" in err
    assert not (folder / "d").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "there",
            "checkpoint: expected a file, got the folder there; name a file in it, such as there/run.safetensors",
        ),
        ("data.csv", "checkpoint: expected no file or a checkpoint, got data.csv, which is none; choose another path"),
        ("out/model.safetensors", "checkpoint: expected another file than the model, out/model.safetensors; choose"),
    ],
)
def test_what_a_checkpoint_cannot_be(folder, capsys, path, message):
    (folder / "there").mkdir()
    (folder / "data.csv").write_text("a,b\n1,x\n")
    _, err = command(capsys, "--checkpoint", path, "--output", "out", "--overwrite", code=2)
    assert message in err
    assert (folder / "data.csv").read_text() == "a,b\n1,x\n"
    assert not (folder / "out").exists()


def strict_json(text):
    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.filterwarnings("ignore:overflow")
def test_numbers_that_are_not_finite_are_null_and_told_of(folder, capsys, monkeypatch):
    """The test data overflow, the training data do not."""
    y = np.random.default_rng(0).normal(size=(20, 1)).astype("float32")
    parts = [nn.Dataset(np.full((20, 1), value, "float32"), y) for value in (0.0, 0.0, 3e38)]
    monkeypatch.setattr("nn_any.cli.options.load_data", lambda *_, **__: (tuple(parts), None))
    arguments = ["--layers", "1,1", "--learning-rate", "0.1", "--epochs", "2", "--output", "out"]
    out, _ = command(capsys, *arguments, "--json", "--quiet")
    results, report = strict_json(out), strict_json((folder / "out/run.json").read_text())
    assert (results["test_loss"], report["history"]["test_loss"]) == (None, [None, None])
    lost = {"test_loss": "Infinity", "test_mean_absolute_error": "Infinity", "test_r2": "NaN"}
    assert results["not_finite"] == lost
    assert report["not_finite"] == {**lost, "history.test_loss": "Infinity"}


def test_json_of_every_kind_of_number():
    from nn_any.cli.console import to_json

    values = {"a": float("nan"), "b": {"c": [1.5, float("-inf")]}, "d": np.float32("inf"), "e": np.array([[1, 2]])}
    assert strict_json(to_json(values)) == {
        "a": None,
        "b": {"c": [1.5, None]},
        "d": None,
        "e": [[1, 2]],
        "not_finite": {"a": "NaN", "b.c": "-Infinity", "d": "Infinity"},
    }
    assert strict_json(to_json({"a": 1})) == {"a": 1}


@pytest.mark.parametrize("output", [[], ["--output", "a/b/c"]])
def test_a_run_that_diverges_leaves_no_folder(folder, capsys, output):
    rng = np.random.default_rng(0)
    np.savez("data.npz", x=rng.normal(size=(60, 3)), y=1e30 * rng.normal(size=60))
    _, err = command(capsys, "--data", "data.npz", "--learning-rate", "1e9", *output, code=1)
    assert "error: the loss became" in err
    assert [file.name for file in folder.iterdir()] == ["data.npz"]


@pytest.mark.slow
@posix
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_loses_nothing(tmp_path, encoding):
    """Words and numbers are those of UTF-8 but for characters that the encoding does not have."""
    spelled = {"ascii": "+/-", "latin-1": "±", "utf-8": "±"}[encoding]
    environment = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "NN_ANY_DEVICE": "cpu", "COLUMNS": "100"}
    sweep = ["sweep", "--epochs", "1", "--seeds", "2", "--learning-rates", "3", "--weight-decays", "0"]
    for arguments, words in (
        ([*sweep, "--output", "Ä…s"], ["72.78 %", "71.39 % " + spelled + " 5.11", "model.safetensors"]),
        (["train", "--epochs", "1", "--output", "Ä…t"], ["70.00 %", "model.safetensors"]),
        (["devices"], ["numpy:cpu", "auto is"]),
        (["train", "--help"], ["--learning-rate"]),
    ):
        done = subprocess.run(
            [*NN_ANY, *arguments], cwd=tmp_path, env=os.environ | environment, capture_output=True, timeout=120
        )
        out = done.stdout.decode(encoding)
        assert done.returncode == 0, done.stderr
        assert [word for word in words if word not in out] == []
        assert "Traceback" not in done.stderr.decode(encoding)
    done = subprocess.run(
        [*NN_ANY, "train", "--data", "σ…é.csv"], cwd=tmp_path, env=os.environ | environment, capture_output=True
    )
    assert done.returncode == 1
    error = {"ascii": "sigma...\\xe9.csv", "latin-1": "sigma...é.csv", "utf-8": "σ…é.csv"}[encoding]
    assert error in done.stderr.decode(encoding)


@pytest.mark.slow
@posix
@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_poor_terminal_gets_every_line(tmp_path, environment):
    text, code = on_terminal(["train", "--epochs", "3", "--output", "out"], tmp_path, **environment)
    assert code == 0
    for words in ("epoch   1", "epoch   3", "test accuracy", "out/model.safetensors"):
        assert words in text


def refused(capsys, *arguments):
    """What an in-process command says before it exits for usage."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--quiet", "--device", "numpy"])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize("name", ["run.json", "sweep.json"])
def test_results_alone_are_not_overwritten(tmp_path, capsys, command, name):
    (tmp_path / name).write_text("{}")
    said = refused(capsys, command, "--epochs", "1", "--output", str(tmp_path))
    assert f"holds {name} already; choose another folder, or add --overwrite" in said
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "{}")]
    with pytest.raises(SystemExit) as ended:
        main([command, "--epochs", "1", "--output", str(tmp_path), "--overwrite", "--quiet", "--device", "numpy"])
    assert ended.value.code == 0


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path, capsys, monkeypatch, command):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(nn.Network, "fit", None)
    monkeypatch.setattr(nn.Ensemble, "fit", None)
    places = [tmp_path / "file", tmp_path / "file" / "in"]
    if os.path.isdir("/proc/self"):
        places += ["/proc/self"]  # there is nothing that root cannot write elsewhere
    for place in places:
        said = refused(capsys, command, "--epochs", "1", "--output", str(place))
        assert f"output: expected a folder that can be written, got {place}" in said
        assert "choose another folder" in said
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@posix
def test_two_runs_do_not_save_in_one_folder(tmp_path, capsys):
    code = "import sys; from nn_any.files import claim; claim(sys.argv[1]); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    arguments = ["train", "--epochs", "1", "--output", str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "model.safetensors")], **pipes) as other:
        other.stdout.readline()
        said = refused(capsys, *arguments)
        other.kill()
    assert f"output: {tmp_path} is in use by another run; wait for its end, or choose another folder" in said
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--quiet", "--device", "numpy"])
    assert ended.value.code == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.safetensors", "run.json"]
    assert "for 1 epoch\n" in capsys.readouterr().out


def test_a_resumed_run_does_not_claim_the_epochs_before_it(tmp_path, capsys):
    arguments = ["train", "--quiet", "--device", "numpy", "--checkpoint", str(tmp_path / "run.st"), "--resume"]
    for epochs, run_here in ((3, "3 epochs"), (4, "1 epoch"), (4, "0 epochs")):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--epochs", str(epochs), "--output", str(tmp_path / "out"), "--overwrite"])
        assert ended.value.code == 0
        assert f" s for {run_here}\n" in capsys.readouterr().out
