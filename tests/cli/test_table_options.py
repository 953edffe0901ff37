"""``--task``, ``--target`` and ``--header``, and what a run says about its data."""

import json

import numpy as np
import pytest

import nn_any as nn
from nn_any.cli.app import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 5},{i / 7:.2f},{i * 3 % 11}" for i in range(60)]
    (tmp_path / "table.csv").write_text("\n".join(["0,1,price", *rows]))

    def command(name, *arguments, data="table.csv", code=0):
        extra = ["--seeds", "1", "--weight-decays", "0", "--learning-rates", "0.01"] if name == "sweep" else []
        with pytest.raises(SystemExit) as ended:
            main([name, "--data", data, "--epochs", "1", "--device", "numpy", *extra, *arguments])
        out, err = capsys.readouterr()
        assert ended.value.code == code, err
        return out, err

    return command


@pytest.mark.parametrize(("name", "file"), [("train", "run.json"), ("sweep", "sweep.json")])
def test_the_run_says_what_it_takes_the_data_for(run, tmp_path, name, file):
    out, err = run(name, "--output", "out", "--json")
    said = 'column "price" has 11 different whole numbers'
    hints = "--task regression if they are quantities", "--target COLUMN predicts another column than the last"
    note = "first line taken for names: 0, 1, price; --header no if it is an example"
    assert f"taken for classification: {said}\n{hints[0]}\n{hints[1]}\n{note}\n" in err
    report = json.loads((tmp_path / "out" / file).read_text())
    found = {
        "task": "classification",
        "target": 'column "price"',
        "reason": said[15:].strip(),
        "hints": list(hints),
        "notes": [note],
    }
    assert report["taken_for"] == json.loads(out)["taken_for"] == found


@pytest.mark.parametrize("name", ["train", "sweep"])
@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--task", "regression"], ("regression", 'column "price"')),
        (["--target", "0"], ("classification", 'column "0"')),
        (["--target", "-2"], ("regression", 'column "1"')),
        (["--target=-3", "--header", "yes"], ("classification", 'column "0"')),
        (["--target", "price", "--task", "classification"], ("classification", 'column "price"')),
    ],
    ids=str,
)
def test_options_decide(run, name, arguments, found):
    out, _ = run(name, "--json", "--quiet", *arguments)
    assert (json.loads(out)["taken_for"]["task"], json.loads(out)["taken_for"]["target"]) == found


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--header", "no", "--target", "2"], 1, "error: table.csv, line 1, column 3: expected"),
        (["--header", "maybe"], 2, "header"),
        (["--task", "clustering"], 2, "task"),
        (["--checkpoint", "no/run"], 2, "usage: checkpoint: expected a folder for it, found none; make "),
        (["--target", "prize"], 2, "usage: target: expected a name (0, 1, price) or a place from 1 to 3"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_the_file(run, arguments, code, message):
    _, err = run("train", *arguments, code=code)
    assert message in err


def test_the_model_knows_the_columns_by_name(run, tmp_path):
    run("train", "--output", "out", "--target", "1")
    net = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
    assert net.schema == nn.Schema(feature_names=("0", "price"), target_names=("1",))
    run("sweep", "--output", "sweep", "--quiet")
    net = nn.Network.load(tmp_path / "sweep/model.safetensors", device="numpy")
    assert (net.feature_names, net.schema.target_names) == (("0", "1"), ("price",))


@pytest.mark.parametrize(("name", "place"), [("train", "out"), ("sweep", "my runs/out")])
def test_a_run_says_how_to_go_on_and_how_large_errors_are(run, name, place):
    out, _ = run(name, "--output", place, "--target", "1", "--quiet")
    quoted = place if " " not in place else f"'{place}'"
    assert f"predict        nn-any predict {quoted} new.csv" in out.splitlines()
    assert ("test R²" in out and "mean absolute error" in out) == (name == "train")


def test_errors_of_numbers_are_those_of_the_saved_network(run, tmp_path):
    found = json.loads(run("train", "--output", "out", "--target", "1", "--json", "--quiet")[0])
    net = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
    test = nn.datasets.load_table(tmp_path / "table.csv", target="1", device="numpy")[2]
    answers, y = net.predict(test.x)[:, 0], test.y[:, 0]
    assert found["test_mean_absolute_error"] == pytest.approx(np.abs(answers - y).mean(), rel=1e-5)
    explained = 1 - ((answers - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert found["test_r2"] == pytest.approx(explained, rel=1e-4)


def test_answers_of_yes_or_no(run, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.integers(0, 2, (60, 4))
    np.savez("tags.npz", x=x, y=y)
    found = json.loads(run("train", "--task", "multilabel", "--output", "out", "--json", data="tags.npz")[0])
    assert (found["task"], found["loss"], found["taken_for"]["task"]) == ("multilabel", "cross_entropy", "multilabel")
    net = nn.Network.load(tmp_path / "out/model.safetensors", device="numpy")
    assert (net.task, net.outputs) == ("multilabel", 4)
    _, err = run("train", "--output", "numbers", data="tags.npz")
    assert (
        "taken for regression: y has 4 columns of numbers\n--task multilabel if these are answers of yes or no\n" in err
    )
    run("sweep", "--task", "multilabel", "--output", "sweep", data="tags.npz")
    assert nn.Network.load(tmp_path / "sweep/model.safetensors", device="numpy").task == "multilabel"
    _, err = run("train", "--task", "multilabel", "--loss", "log_likelihood", data="tags.npz", code=2)
    assert "usage: task: expected 'classification'" in err


@pytest.mark.parametrize("option", ["task regression", "target 1", "header yes"])
def test_options_of_files_do_not_go_with_built_in_data(run, option):
    name, value = option.split()
    _, err = run("train", f"--{name}", value, data="digits", code=2)
    assert f"usage: {name}: expected it with a file of your own, got it with digits; leave it out" in err
