"""``--task``, ``--target`` and ``--header``, and what a run says about its data."""

import json

import pytest

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
        (["--target", "prize"], 1, "error: target: expected a name (0, 1, price) or a place from 1 to 3"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_the_file(run, arguments, code, message):
    _, err = run("train", *arguments, code=code)
    assert message in err


@pytest.mark.parametrize("option", ["task regression", "target 1", "header yes"])
def test_options_of_files_do_not_go_with_built_in_data(run, option):
    name, value = option.split()
    _, err = run("train", f"--{name}", value, data="digits", code=2)
    assert f"usage: {name}: expected it with a file of your own, got it with digits; leave it out" in err
