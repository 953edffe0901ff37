"""``nn-any sweep``: what is tried, the table, and the files."""

import json
import re
import signal
import sys

import numpy as np
import pytest
from cli_tools import run as run_process

import nn_any as nn
from nn_any.cli import main, search, sweep

QUICK = ["sweep", "--epochs", "2", "--quiet", "--device", "cpu"]


def run(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as ended:
        main([*QUICK, *arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == code, err
    return out, err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def grid(capsys, *more):
    arguments = ["--learning-rates", "3,0.3", "--weight-decays", "0,1e-3", "--seeds", "2", "--seed", "5"]
    return run(capsys, *arguments, "--output", "out", *more)


def test_a_grid_equals_the_networks_one_by_one(folder, capsys):
    out, err = grid(capsys, "--json")
    results, report = json.loads(out), json.loads((folder / "out" / "sweep.json").read_text())
    assert err == ""
    training, validation, test = nn.datasets.load_digits("cpu")
    pairs, values = {}, {}
    for one in report["members"]:
        alone = nn.Network([64, 30, 10], initializer="scaled_normal", device="cpu", seed=one["seed"])
        optimizer = nn.SGD(one["learning_rate"], weight_decay=one["weight_decay"])
        alone.fit(training, epochs=2, batch_size=10, optimizer=optimizer)
        assert one["validation_accuracy"] == pytest.approx(alone.accuracy(validation), abs=1 / len(validation))
        assert one["test_loss"] == pytest.approx(alone.loss(test), rel=1e-3)
        pairs.setdefault((one["learning_rate"], one["weight_decay"]), []).append(one["seed"])
        values.setdefault((one["learning_rate"], one["weight_decay"]), []).append(one["validation_accuracy"])
    assert pairs == {(rate, decay): [5, 6] for rate in (3.0, 0.3) for decay in (0.0, 1e-3)}
    for row in results["rows"]:
        mine = values[row["learning_rate"], row["weight_decay"]]
        assert row["mean"] == pytest.approx(np.mean(mine))
        assert row["spread"] == pytest.approx(abs(mine[0] - mine[1]) / np.sqrt(2))
    means = [row["mean"] for row in results["rows"]]
    assert means == sorted(means, reverse=True)
    best = results["best"]
    assert (best["learning_rate"], best["weight_decay"]) == tuple(
        results["rows"][0][name] for name in ("learning_rate", "weight_decay")
    )
    net = nn.Network.load(folder / "out" / "model.safetensors", device="cpu")
    assert net.seed == best["seed"]
    assert net.accuracy(test) == best["test_accuracy"]
    assert (folder / "out" / "sweep.png").stat().st_size > 10_000
    assert results["picture"] == "out/sweep.png"
    assert len(report["history"]["member_loss"][0]) == 8


def test_the_table_has_the_best_first(folder, capsys):
    out, _ = grid(capsys)
    lines = [line.split() for line in out.splitlines() if "±" in line]
    assert len(lines) == 4
    assert lines[0][0] == "3"
    accuracies = [float(line[2]) for line in lines]
    assert accuracies == sorted(accuracies, reverse=True)
    for part in ("best           learning rate 3, ", "time ", "8 networks, 2 epochs each", "out/sweep.png"):
        assert part in out
    _, err = run(capsys, "--output", "out", code=2)
    assert "out holds a model already" in err


def test_random_draws(folder, capsys):
    arguments = ["--random", "6", "--seeds", "1", "--learning-rates", "0.1,10", "--weight-decays", "0,1e-5,1e-3"]
    first = json.loads(run(capsys, *arguments, "--json", "--output", "a")[0])["rows"]
    again = json.loads(run(capsys, *arguments, "--json", "--output", "b")[0])["rows"]
    other = json.loads(run(capsys, *arguments, "--json", "--output", "c", "--seed", "1")[0])["rows"]
    assert first == again
    assert {row["learning_rate"] for row in first}.isdisjoint(row["learning_rate"] for row in other)
    assert len(first) == 6
    for row in [*first, *other]:
        assert 0.1 <= row["learning_rate"] <= 10
        assert 1e-5 <= row["weight_decay"] <= 1e-3


def test_equal_draws_are_one(folder, capsys):
    one = ["--learning-rates", "1", "--weight-decays", "0", "--random", "4", "--seeds", "2"]
    assert json.loads(run(capsys, *one, "--json", "--output", "one")[0])["networks"] == 2


def test_pairs_that_diverge_come_last(folder, capsys):
    """Real targets, a linear output, and a learning rate that no run survives."""
    x = np.random.default_rng(0).uniform(0, 1, (60, 3))
    np.savez("data.npz", x=x, y=x @ [1.0, 2.0, 3.0])
    arguments = ["--data", "data.npz", "--learning-rates", "0.1,1e20", "--weight-decays", "0", "--output", "out"]
    out, _ = run(capsys, *arguments, "--layers", "3,1")
    lines = [line.split() for line in out.splitlines()]
    (worst,) = [line for line in lines if line[:1] == ["1e+20"]]
    assert worst[2:] == ["diverged", "diverged", "3"]
    report = json.loads((folder / "out" / "sweep.json").read_text())
    assert [row["mean"] is None for row in report["rows"]] == [False, True]
    assert report["best"]["learning_rate"] == 0.1
    _, err = run(capsys, *arguments[:2], "--learning-rates", "1e20", "--layers", "3,1", "--output", "none", code=1)
    assert "have diverged" in err


def test_without_matplotlib_it_says_so(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    out, _ = grid(capsys)
    assert "picture        not drawn: matplotlib is not usable" in out
    assert "python -m pip install matplotlib" in out
    assert not (folder / "out" / "sweep.png").exists()
    assert (folder / "out" / "model.safetensors").exists()


def test_ctrl_c_keeps_what_was_learnt(folder, capsys, monkeypatch):
    class Impatient(nn.Callback):
        def __init__(self, *_):
            pass

        def on_epoch_end(self, run):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sweep, "ProgressDisplay", Impatient)
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--epochs", "9", "--seeds", "1", "--device", "cpu", "--output", "out"])
    assert ended.value.code == 130
    assert "interrupted    after 1 epoch\n" in capsys.readouterr().out
    assert (folder / "out" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning-rates", "0.1,0"], "learning_rates: expected numbers above 0, such as 0.1,0.3,1, got '0.1,0'"),
        (["--learning-rates", "fast"], "learning_rates: expected numbers above 0"),
        (["--weight-decays", "-1"], "weight_decays: expected numbers of at least 0"),
        (["--seeds", "0"], "seeds: expected a positive integer"),
        (["--batch-size", "0"], "batch_size: expected a positive integer, got 0"),
        (["--random", "0"], "random: expected a positive integer"),
        (["--optimizer", "adam", "--momentum", "0.9"], "momentum: expected it with sgd or rmsprop only"),
    ],
)
def test_bad_options(folder, capsys, arguments, message):
    _, err = run(capsys, *arguments, code=2)
    assert message in err
    assert not (folder / "runs").exists()


def test_members_whose_losses_overflow_count_as_diverged(folder, capsys):
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{a + 2 * b:.3f}" for a, b in rng.normal(size=(40, 2))]
    (folder / "numbers.csv").write_text("a,b,sum\n" + "\n".join(rows) + "\n")
    arguments = ["sweep", "--epochs", "1", "--quiet", "--device", "cpu", "--data", "numbers.csv", "--json"]
    arguments += ["--optimizer", "sgd", "--activation", "sigmoid", "--batch-size", "10", "--no-standardize"]
    arguments += ["--layers", "2,30,1", "--initializer", "scaled_normal"]
    arguments += ["--weight-decays", "0", "--seeds", "1", "--output", "out"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--learning-rates", "1e-2,1e4"])
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    assert [row["mean"] is None for row in found["rows"]] == [False, True]
    assert found["best"]["learning_rate"] == 0.01
    assert (folder / "out" / "model.safetensors").exists()


def targets(folder, spread):
    x = np.random.default_rng(0).uniform(0, 1, (60, 3))
    np.savez(folder / "data.npz", x=x, y=spread * (x @ [1.0, 2.0, 3.0]))
    return ["--data", "data.npz", "--layers", "3,1", "--seeds", "1", "--output", "out"]


def test_the_best_lines_name_the_measure_and_not_what_is_standardised(folder, capsys):
    out, _ = run(capsys, *targets(folder, 1.0))
    assert re.search(r"^best {11}learning rate .*, seed 0\n {15}validation loss \S+, test loss \S+$", out, re.MULTILINE)
    assert "standardised   inputs and targets: the saved network takes and gives raw numbers" in out.splitlines()


def test_the_table_is_in_line_where_the_encoding_spells_its_characters(tmp_path):
    arguments = ["sweep", "--epochs", "1", "--quiet", "--output", "out", "--seeds", "2", "--device", "cpu"]
    done = run_process(*arguments, cwd=tmp_path, PYTHONIOENCODING="ascii")
    table = [line for line in done.stdout.splitlines() if line[:1] in ("|", "+")]
    assert "+/-" in done.stdout
    assert {len(line) for line in table} == {len(table[0])}


def test_weight_decays_of_regressions_are_in_the_units_of_the_loss(folder, capsys):
    """Errors 10 times as large have 100 times the squares, and as many times the gradients."""
    decays = []
    for spread in (1.0, 10.0):
        out, _ = run(capsys, *targets(folder, spread), "--overwrite", "--json")
        decays.append(sorted({row["weight_decay"] for row in json.loads(out)["rows"]}))
    training = nn.datasets.load_table(folder / "data.npz", device="cpu")[0]
    variance = float(np.var(training.y)) / 100
    assert decays[0] == pytest.approx([0, 1e-4 * variance, 1e-3 * variance], rel=0.01)
    assert decays[1] == pytest.approx([0, 1e-2 * variance, 1e-1 * variance], rel=0.01)


def test_weight_decay_changes_a_regression(folder, capsys):
    """Before, 1e-3 beside gradients in the units of the targets left every digit of the losses as it was."""
    out, _ = run(capsys, *targets(folder, 1000.0), "--optimizer", "sgd", "--json")
    rows = json.loads(out)["rows"]
    assert len({row["mean"] for row in rows}) == len(rows) == 12


def test_one_of_each_is_no_plural(folder, capsys):
    out, _ = run(capsys, "--learning-rates", "1", "--weight-decays", "0", "--seeds", "1", "--output", "out")
    assert re.search(r"s for 1 network, 2 epochs each$", out, re.MULTILINE)


def test_of_equal_accuracies_the_lower_validation_loss_is_better():
    candidates = [search.Candidate(rate, 0.0) for rate in (0.1, 0.2, 0.3)]
    scores = [
        {**candidate._asdict(), "member": i, "seed": 0, "diverged": False}
        | {"validation_loss": loss, "test_loss": 1.0, "validation_accuracy": accuracy, "test_accuracy": 0.5}
        for i, (candidate, loss, accuracy) in enumerate(zip(candidates, (0.9, 0.2, 0.1), (1.0, 1.0, 0.9), strict=True))
    ]
    rows = search.summarize(candidates, scores, 1, False)
    assert [row["learning_rate"] for row in rows] == [0.2, 0.1, 0.3]
