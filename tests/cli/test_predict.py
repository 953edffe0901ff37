"""``nn-any predict``: from a file to predictions, in every format."""

import csv
import io
import json
import os
import subprocess
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cli_tools import NN_ANY, call, on_terminal, posix
from PIL import Image
from sklearn import datasets

import nn_any as nn
from nn_any.cli import main

CLASSES = ["barolo", "grignolino", "barbera"]


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    """A model that the command line has trained on a table, the table, and the network."""
    folder = tmp_path_factory.mktemp("wine")
    frame = datasets.load_wine(as_frame=True).frame.rename(columns={"target": "grape"})
    frame["grape"] = [CLASSES[i] for i in frame["grape"]]
    frame.to_csv(folder / "wine.csv", index=False)
    options = ["--epochs", "20", "--quiet", "--device", "numpy", "--output", str(folder / "run")]
    with pytest.raises(SystemExit):
        main(["train", "--data", str(folder / "wine.csv"), *options])
    net = nn.Network.load(folder / "run/model.safetensors", device="numpy")
    return SimpleNamespace(folder=folder, frame=frame, run=folder / "run", net=net)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NN_ANY_DEVICE", "numpy")


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_table_comes_back_in_names_and_probabilities(wine, capsys):
    x = wine.frame.drop(columns="grape").to_numpy()
    out, err = call(capsys, "predict", wine.run, wine.folder / "wine.csv")
    found = rows(out)
    assert [row["grape"] for row in found] == wine.net.predict_names(x).tolist()
    assert np.mean([row["grape"] for row in found] == wine.frame["grape"]) > 0.97
    names = sorted(CLASSES)
    assert list(found[0]) == ["grape", *(f"probability_{name}" for name in names)]
    given = np.array([[float(row[f"probability_{name}"]) for name in names] for row in found])
    np.testing.assert_allclose(given, wine.net.predict_proba(x), atol=1e-6)
    assert err == f"{wine.folder}/wine.csv: column grape left out: what the network predicts\n"


@pytest.mark.parametrize("kept", ["index", "no index", "others", "places"])
def test_columns_are_found_by_name(wine, capsys, kept):
    part = wine.frame.drop(columns="grape").sample(9, random_state=0)
    expected = wine.net.predict_names(part.to_numpy()).tolist()
    if kept == "others":
        part = part.assign(vintage="1982", buyer=None)
    shuffled = part.sample(frac=1, axis=1, random_state=1) if kept != "places" else part
    shuffled.to_csv("new.csv", index=kept == "index", header=kept != "places")
    out, err = call(capsys, "predict", wine.run, "new.csv", "--no-probabilities")
    assert [row["grape"] for row in rows(out)] == expected
    told = {"index": "column 1 (no name)", "others": "columns vintage, buyer"}
    left_out = [f"new.csv: {told[kept]} left out: no input of the network\n"] if kept in told else []
    if kept == "others" and shuffled.columns.get_loc("buyer") < shuffled.columns.get_loc("vintage"):
        left_out = ["new.csv: columns buyer, vintage left out: no input of the network\n"]
    assert err == "".join(left_out)


def test_the_target_without_a_name_is_left_out_when_told(wine, capsys):
    wine.frame.iloc[:4].to_csv("new.csv", index=False, header=False)
    _, err = call(capsys, "predict", wine.run, "new.csv", code=1)
    assert "error: new.csv: expected 13 columns, one for each input of the network, got 14" in err
    assert "if the last one is what the network predicts, add --target -1" in err
    out, err = call(capsys, "predict", wine.run, "new.csv", "--target", "-1", "--no-probabilities")
    assert out.splitlines() == ["grape", *["barolo"] * 4]
    assert err == "new.csv: column 14 left out: what the network predicts\n"


@pytest.mark.parametrize(
    "classes", [["A", "?", "?"], ["A", "1", "B"], ["1", "?", "B"], ["?", "?", "?"], ["A", "B", "1"]]
)
def test_a_class_in_the_first_line_is_no_name(capsys, classes):
    x = np.random.default_rng(0).normal(size=(30, 2)).round(3)
    kinds = np.array(["A", "B", "1"] * 10)
    pd.DataFrame(x).assign(kind=kinds).to_csv("known.csv", index=False, header=False)
    call(capsys, "train", "--data", "known.csv", "--epochs", "1", "--quiet", "--output", "run")
    pd.DataFrame(x[:3]).assign(kind=classes).to_csv("new.csv", index=False, header=False)
    out, _ = call(capsys, "predict", "run", "new.csv", "--target", "-1")
    net = nn.Network.load("run/model.safetensors", device="numpy")
    assert [row["prediction"] for row in rows(out)] == net.predict_names(x[:3].astype("float32")).tolist()
    found = json.loads(call(capsys, "evaluate", "run", "known.csv", "--json")[0])
    assert (found["examples"], found["accuracy"]) == (30, net.accuracy((x.astype("float32"), kinds)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns=["ash", "hue"]), "got none for ash, hue; add what is missing, or rename columns"),
        (lambda f: f.rename(columns={"ash": "Ash"}), "did you mean 'Ash'?"),
        (
            lambda f: f.reindex([0, 999]),
            "new.csv, line 3, column 1 (alcohol): expected a number, got ''; fill the gap",
        ),
        (lambda f: f.assign(hue="red"), "new.csv, line 2, column 11 (hue): expected a number such as 1.5, got 'red'"),
        (lambda f: f.assign(hue=1e39), "column 11 (hue): expected a finite float32 number, got '1e+39'"),
        (lambda f: f.iloc[:0], "got names alone"),
        (lambda f: pd.concat([f, f["ash"]], axis=1), "expected one column ash, got 2; rename the others"),
    ],
)
def test_what_is_wrong_with_a_file(wine, capsys, change, message):
    change(wine.frame.drop(columns="grape").head(3)).to_csv("new.csv", index=False)
    out, err = call(capsys, "predict", wine.run, "new.csv", code=1)
    assert out == ""
    assert message in err


def test_json_says_it_all(wine, capsys):
    wine.frame.head(2).to_csv("a.csv", index=False)
    wine.frame.tail(1).to_csv("b.csv", index=False)
    out, _ = call(capsys, "predict", wine.run, "a.csv", "b.csv", "--json")
    found = json.loads(out)
    about = [str(wine.run / "model.safetensors"), "classification", "grape", sorted(CLASSES)]
    assert [found[name] for name in ("model", "task", "target", "classes")] == about
    predictions = found["predictions"]
    assert [(row["file"], row["row"]) for row in predictions] == [("a.csv", 1), ("a.csv", 2), ("b.csv", 1)]
    assert [row["prediction"] for row in predictions] == ["barolo", "barolo", "barbera"]
    best = [found["classes"][int(np.argmax(row["probabilities"]))] for row in predictions]
    assert best == ["barolo", "barolo", "barbera"]


def test_several_files_and_an_output_file(wine, capsys):
    wine.frame.head(2).to_csv("a.csv", index=False)
    np.save("b.npy", wine.frame.drop(columns="grape").tail(1).to_numpy())
    out, err = call(
        capsys, "predict", wine.run, "a.csv", "b.npy", "--output", "out.csv", "--no-probabilities", "--quiet"
    )
    assert (out, err) == ("", "3 predictions in out.csv\n")
    with open("out.csv") as file:
        assert file.read().splitlines() == ["file,row,grape", "a.csv,1,barolo", "a.csv,2,barolo", "b.npy,1,barbera"]
    _, err = call(capsys, "predict", wine.run, "a.csv", "--output", "out.csv", code=2)
    assert "usage: output: out.csv is there already; choose another file, or add --overwrite" in err
    call(capsys, "predict", wine.run, "a.csv", "--output", "out.csv", "--overwrite")
    call(capsys, "predict", wine.run, "a.csv", "--output", "out.json")
    with open("out.json") as file:
        assert len(json.load(file)["predictions"]) == 2


def test_standard_input(wine, capsys, monkeypatch):
    text = wine.frame.head(2).to_csv(index=False)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    out, err = call(capsys, "predict", wine.run, "-", "--no-probabilities")
    assert out.splitlines() == ["grape", "barolo", "barolo"]
    assert err == "standard input: column grape left out: what the network predicts\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.replace("14.23", "?").encode())))
    _, err = call(capsys, "predict", wine.run, "-", code=1)
    assert "error: standard input, line 2, column 1 (alcohol): expected a number, got '?'" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "files: expected files to predict, ending in .csv"),
        (["new.txt"], 2, "files: expected files ending in .csv"),
        (["-", "-"], 2, "files: expected - once"),
        (["none.csv"], 1, "error: files: expected a file, found none at none.csv"),
        (["new.csv", "--csv", "--json"], 2, "csv: expected --csv or --json, got both"),
        (["new.csv", "--white", "0"], 2, "white: expected a finite number above 0"),
        (["new.csv", "--target", "ash"], 2, "target: expected a column that is no input of the network, got ash"),
        (["new.csv", "--target", "taste"], 2, "target: expected a name (alcohol"),
        (["new.csv", "--device", "abacus"], 2, "device: expected"),
        (["picture.png"], 1, "expected a network of images"),
    ],
)
def test_options_that_do_not_fit(wine, capsys, arguments, code, message):
    wine.frame.head(2).to_csv("new.csv", index=False)
    open("picture.png", "w").close()
    _, err = call(capsys, "predict", wine.run, *arguments, code=code)
    assert message in err


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("none", "model: expected a model file, or the folder of a run, found none at none"),
        (".", "found none in .; name the folder of a run"),
        ("..", "name a run in it, such as"),
    ],
)
def test_no_model(wine, capsys, monkeypatch, model, message):
    if model == "..":
        (wine.folder / "below").mkdir(exist_ok=True)
        monkeypatch.chdir(wine.folder / "below")
    _, err = call(capsys, "predict", model, "new.csv", code=1)
    assert message in err


def test_numbers_and_their_name(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(60, 2)).astype("float32")
    frame = pd.DataFrame(x, columns=["a", "b"]).assign(price=100 * x[:, 0] + 7)
    frame.to_csv("houses.csv", index=False)
    call(capsys, "train", "--data", "houses.csv", "--output", "run", "--epochs", "3", "--quiet")
    net = nn.Network.load("run/model.safetensors", device="numpy")
    out, _ = call(capsys, "predict", "run", "houses.csv")
    np.testing.assert_allclose([float(row["price"]) for row in rows(out)], net.predict(x)[:, 0], rtol=1e-6)
    found = json.loads(call(capsys, "predict", "run", "houses.csv", "--json")[0])
    assert (found["targets"], found["predictions"][0]["prediction"]) == (["price"], float(rows(out)[0]["price"]))
    _, err = call(capsys, "predict", "run", "houses.csv", "--probabilities", code=2)
    assert "got one that predicts numbers; leave it out" in err


def test_answers_of_a_multilabel_network(capsys):
    x = np.random.default_rng(0).normal(size=(80, 3)).astype("float32")
    np.savez("tags.npz", x=x, y=(x > [0.0, 0.5, -0.5]).astype(int))
    call(capsys, "train", "--data", "tags.npz", "--task", "multilabel", "--output", "run", "--epochs", "9", "--quiet")
    net = nn.Network.load("run/model.safetensors", device="numpy")
    assert net.task == "multilabel"
    net.schema = nn.Schema(target_names=("rain", "wind", "sun"))
    net.save("named.safetensors")
    np.save("new.npy", x[:5])
    found = rows(call(capsys, "predict", "named.safetensors", "new.npy")[0])
    given = np.array([[int(row[name]) for name in ("rain", "wind", "sun")] for row in found])
    np.testing.assert_array_equal(given, net.predict(x[:5]))
    listed = json.loads(call(capsys, "predict", "named.safetensors", "new.npy", "--json")[0])["predictions"]
    assert [tuple(row["prediction"]) for row in listed] == net.predict_names(x[:5])


def test_a_picture_for_a_table_is_told(capsys):
    net = nn.Network([4, 2], loss="log_likelihood", device="numpy", seed=0)
    net.schema = nn.Schema(scale=255, feature_names=["a", "b", "c", "d"])
    net.save("net.safetensors")
    Image.fromarray(np.arange(4, dtype="uint8").reshape(2, 2)).save("small.png")
    _, err = call(capsys, "predict", "net.safetensors", "small.png")
    assert err == "small.png: its pixels are taken for the inputs a, b, c, d, row by row\n"


def test_two_classes_of_one_output_have_two_probabilities(capsys):
    net = nn.Network([2, 1], loss="cross_entropy", device="numpy", seed=0)
    net.schema = nn.Schema(class_names=("no", "yes"))
    net.save("net.safetensors")
    np.save("x.npy", x := np.array([[0.3, -2.0], [4.0, 1.0]]))
    found = rows(call(capsys, "predict", "net.safetensors", "x.npy")[0])
    assert [row["prediction"] for row in found] == net.predict_names(x).tolist()
    yes = [float(row["probability_yes"]) for row in found]
    np.testing.assert_allclose(yes, net.predict_proba(x)[:, 0], rtol=1e-6)
    np.testing.assert_allclose([float(row["probability_no"]) for row in found], 1 - np.array(yes), atol=1e-6)


def test_outputs_that_are_no_probabilities(capsys):
    nn.Network([2, nn.Dense(3, activation="tanh")], device="numpy", seed=0).save("net.safetensors")
    np.save("x.npy", np.eye(2))
    assert call(capsys, "predict", "net.safetensors", "x.npy")[0].splitlines()[0] == "prediction"
    _, err = call(capsys, "predict", "net.safetensors", "x.npy", "--probabilities", code=2)
    assert "probabilities: expected a classifier with outputs within 0 … 1, got tanh; leave it out" in err


def test_an_ensemble_predicts_as_one(capsys):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    ensemble = nn.Ensemble([3, 5, 4], 3, loss="log_likelihood", device="numpy", seed=0)
    ensemble.save("ensemble.safetensors")
    np.savez("x.npz", x)
    found = rows(call(capsys, "predict", "ensemble.safetensors", "x.npz")[0])
    assert [int(row["prediction"]) for row in found] == ensemble.predict(x).tolist()
    given = np.array([[float(row[f"probability_{k}"]) for k in range(4)] for row in found])
    np.testing.assert_allclose(given, ensemble.predict_proba(x), atol=1e-6)


@posix
def test_a_terminal_gets_a_table(wine, tmp_path):
    pd.concat([wine.frame] * 2).to_csv("new.csv", index=False)
    text, code = on_terminal(["predict", str(wine.run), "new.csv", "--device", "numpy"], tmp_path)
    assert code == 0
    assert "barolo" in text
    assert " %" in text
    assert "and 256 rows more: --csv or --output FILE gives all" in text
    assert "probability_" not in text


@posix
def test_a_reader_that_leaves(wine, tmp_path):
    """As in ``nn-any predict ... | head -1``."""
    pd.concat([wine.frame] * 20).to_csv("new.csv", index=False)
    process = subprocess.Popen(
        [*NN_ANY, "predict", str(wine.run), "new.csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert (process.wait(timeout=60), err) == (0, "new.csv: column grape left out: what the network predicts\n")


def test_a_column_that_is_an_input_is_not_meant_for_another(tmp_path, capsys):
    names = ("petal width", "sepal width", "age")
    net = nn.Network([3, 2], loss="log_likelihood", device="numpy", seed=0)
    net.schema = nn.Schema(feature_names=names, target_names=("page",))
    net.save("net.safetensors")
    for there, meant in (
        ("sepal width,age,page", ""),
        ("sepal width,age,petal_width", "; did you mean 'petal_width'?"),
    ):
        (tmp_path / "new.csv").write_text(f"{there}\n1,2,3\n")
        err = call(capsys, "predict", "net.safetensors", "new.csv", code=1)[1]
        assert err.strip().endswith(
            f"got none for petal width; add what is missing, or rename columns ({there.replace(',', ', ')}){meant}"
        )
