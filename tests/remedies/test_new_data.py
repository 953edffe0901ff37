"""The commands that use a trained model, and the new data that they read."""

import builtins
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nn_any as nn
from nn_any.cli.app import app
from nn_any.datasets import load_table

from . import place, places

X = np.random.default_rng(0).normal(size=(12, 2)).astype("float32")
LINES = ["a,b,kind", *(f"{a},{b},{kind}" for (a, b), kind in zip(X.tolist(), ["no", "yes"] * 6, strict=True))]
PICTURE = np.zeros((2, 2), np.uint8)


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Models, and data that fit them."""
    monkeypatch.chdir(tmp_path)
    net = nn.Network([2, 2], loss="log_likelihood", device="numpy", seed=0)
    net.schema = nn.Schema(class_names=("no", "yes"), feature_names=("a", "b"), target_names=("kind",))
    Path("run").mkdir()
    net.save("run/model.safetensors")
    net = nn.Network([2, nn.Dense(2, activation="linear")], device="numpy", seed=0)
    net.schema = nn.Schema(feature_names=("a", "b"), target_names=("u", "v"))
    net.save("numbers.safetensors")
    nn.Network([4, 2], device="numpy", seed=0).save("images.safetensors")
    net = nn.Network([4, nn.Standardize(), 2], device="numpy", seed=0)
    net.fit((np.arange(40.0).reshape(10, 4) + 121, np.arange(10) % 2), epochs=1)
    net.save("bright.safetensors")
    Path("new.csv").write_text("\n".join(LINES))
    np.savez("new.npz", x=X, y=np.array(["no", "yes"] * 6))
    np.save("new.npy", X)
    Image.fromarray(PICTURE).save("new.png")


def command(line):
    """A command; its errors as they are."""
    return app(line.split(), exit_on_error=False, print_error=False, result_action="return_value")


@places(
    {
        "cli/models.py find_model: model: expected a model file, or the folder of a": (
            "found none at gone",
            ("predict gone new.csv", "predict run new.csv"),
        ),
        "cli/models.py find_model: model: expected a model, got {}, a file of data;": (
            "got new.csv, a file of data; name the model first",
            ("predict new.csv new.csv", "predict run new.csv"),
        ),
        "cli/models.py find_model: model: expected {} in the folder, found none in": (
            "name a run in it, such as run",
            ("info .", "info run"),
        ),
        "cli/evaluate.py _load: data: expected digits, mnist, or a file ending in": (
            "a file ending in .npz or .csv",
            ("evaluate run new.npy", "evaluate run new.npz"),
        ),
        "cli/options.py argument_errors: {}": (
            "expected a name (a, b, kind) or a place",
            ("evaluate run new.csv --target price", "evaluate run new.csv --target kind"),
        ),
        "cli/predict.py _check_options: files: expected files to predict, ending in {}, or": (
            "or - for standard input",
            ("predict run", "predict run new.csv"),
        ),
        "cli/predict.py _check_options: files: expected files ending in {}, or - for": (
            "ending in .csv, .npz",
            ("predict run new.txt", "predict run new.csv"),
        ),
        "cli/predict.py _check_options: csv: expected --csv or --json, got both; leave one": (
            "leave one of them out",
            ("predict run new.csv --csv --json", "predict run new.csv --json"),
        ),
        "cli/predict.py _check_options: output: expected a file ending in .csv or .json,": (
            "ending in .csv or .json, got 'out.xlsx'",
            ("predict run new.csv --output out.xlsx", "predict run new.csv --output out.csv"),
        ),
        "cli/predict.py _wants_probabilities: probabilities: expected a classifier with outputs": (
            "leave it out",
            ("predict numbers.safetensors new.npy --probabilities", "predict numbers.safetensors new.npy"),
        ),
        "cli/predict.py _check_white: white: expected what white was in training, where": (
            "where a pixel was 142 on average, got none; add --white 255",
            ("predict bright.safetensors new.png", "predict bright.safetensors new.png --white 255"),
        ),
        "datasets/csv_columns.py read_columns: target: expected none for a network of {} outputs,": (
            "leave it out",
            ("evaluate numbers.safetensors uv.csv --target u", "evaluate numbers.safetensors uv.csv"),
        ),
        "datasets/csv_columns.py _by_name: target: expected a column that is no input of the": (
            "pass another, such as kind",
            ("predict run new.csv --target a", "predict run new.csv --target kind"),
        ),
        "datasets/new_examples.py _check_kind: {}: expected a file, found none at {}": (
            "expected a file",
            ("predict run gone.csv", "predict run new.csv"),
        ),
    },
    "expected ",
)
def test_words_of_a_command(refused, value):
    bad, good = value
    Path("uv.csv").write_text("a,b,u,v\n1,2,3,4\n4,3,2,1\n")
    with refused:
        command(bad)
    assert command(good) == 0


@places(
    {
        "cli/predict.py _check_options: output: {} is there already; choose another file,": (
            "or add --overwrite",
            "predict run new.csv --output",
        ),
        "cli/export.py export: onnx: {} is there already; choose another file, or": (
            "or add --overwrite",
            "export run --onnx",
        ),
    },
    "choose another file",
)
def test_files_that_are_there(refused, value):
    Path("mine").write_text("mine")
    with refused:
        command(f"{value} mine")
    assert command(f"{value} other") == command(f"{value} mine --overwrite") == 0


@place("cli/predict.py _check_options: files: expected - once, for standard input is read", "files", "leave the others")
def test_standard_input_twice(refused, monkeypatch):
    with refused:
        command("predict run - -")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(LINES).encode())))
    assert command("predict run -") == 0


@place("cli/predict.py _named: {}, {}", "standard input, line 2, column 1 (a)", "fill the gap")
def test_a_gap_in_standard_input(refused, monkeypatch):
    def predict(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return command("predict run -")

    with refused:
        predict("a,b\n,2\n")
    assert predict("a,b\n1,2\n") == 0


@places(
    {
        "datasets/csv_columns.py read_columns: {}, line {}, {}: {}": (
            "put numbers into this column",
            ("predict", "a,b\n1,two\n", "a,b\n1,2\n"),
        ),
        "datasets/csv_lines.py check_truths: {}, line {}, {}: {}": (
            "put numbers into this column",
            ("predict", "a,b\n1,True\n1,2\n", "a,b\n1,1\n1,2\n"),
        ),
        "datasets/csv_columns.py read_columns: {}, line {}, {}: expected what is to be predicted,": (
            "leave such lines out",
            ("evaluate", "a,b,kind\n1,2,no\n2,1,\n", "a,b,kind\n1,2,no\n"),
        ),
        "datasets/csv_columns.py read_columns: {}, names alone": (
            "write an example a line",
            ("predict", "a,b\n", "a,b\n1,2\n"),
        ),
        "datasets/csv_columns.py _by_name: {}: expected a column for each of the {} inputs of": (
            "add what is missing, or rename columns",
            ("predict", "a,c\n1,2\n", "a,b\n1,2\n"),
        ),
        "datasets/csv_columns.py _by_name: {}: expected one column {}, got {}; rename the": (
            "rename the others",
            ("predict", "a,b,b\n1,2,3\n", "a,b,c\n1,2,3\n"),
        ),
        "datasets/csv_columns.py _by_name: {}, {}, {}": (
            "add it, or say which it is",
            ("evaluate", "a,b\n1,2\n", "a,b,kind\n1,2,no\n"),
        ),
        "datasets/csv_columns.py _by_place: {}: expected {} columns, {}, got {}; {}{}": (
            "give the file a first line with their names (a, b)",
            ("predict", "1,2,3\n4,5,6\n", "a,b,c\n1,2,3\n"),
        ),
        "datasets/new_examples.py _targets_of: {}, line {}, {}: {}; leave such lines out, or": (
            "leave such lines out, or rename the class",
            ("evaluate", "a,b,kind\n1,2,No\n", "a,b,kind\n1,2,no\n"),
        ),
    },
    "data.csv",
)
def test_lines_that_do_not_fit(refused, value):
    name, bad, good = value
    Path("data.csv").write_text(bad)
    with refused:
        command(f"{name} run data.csv")
    Path("data.csv").write_text(good)
    assert command(f"{name} run data.csv") == 0


def test_the_target_by_its_place():
    Path("data.csv").write_text("1,2,no\n3,4,yes\n")
    assert command("predict run data.csv --target -1") == 0


@place(
    "datasets/new_examples.py _targets_of: {}, line {}, {}: expected a number such as 1.5,",
    "data.csv, line 2",
    "put numbers into this column, or leave such lines out",
)
def test_text_in_place_of_a_number(refused):
    Path("data.csv").write_text("a,b,u,v\n1,2,x,3\n1,2,3,4\n")
    with refused:
        command("evaluate numbers.safetensors data.csv")
    Path("data.csv").write_text("a,b,u,v\n1,2,3,4\n")
    assert command("evaluate numbers.safetensors data.csv") == 0


@place(
    "datasets/new_examples.py _targets_in: y: {}; leave such examples out, or rename the",
    "y: expected one of the classes of the network (no, yes), got 'No'",
    "leave such examples out, or rename the class",
)
def test_a_class_that_is_not_known(refused):
    np.savez("data.npz", x=X, y=np.array(["No", "yes"] * 6))
    with refused:
        command("evaluate run data.npz")
    np.savez("data.npz", x=X[1::2], y=np.array(["yes"] * 6))
    assert command("evaluate run data.npz") == 0


@place("datasets/npz.py read_npy: {}: expected an npy file of plain numbers, got", "data.npy", "np.save(path, x)")
def test_no_npy_file(refused):
    Path("data.npy").write_bytes(b"\x93NUMPY and no more")
    with refused:
        command("predict run data.npy")
    np.save("data.npy", X)
    assert command("predict run data.npy") == 0


@place(
    "datasets/new_examples.py _check_kind: {}: expected a file ending in {} or {}, got {};",
    "data.txt",
    "write it as one of these",
)
def test_a_file_of_another_kind(refused):
    from nn_any.datasets.new_examples import read_inputs

    specification = nn.Network([2, 2], device="numpy").specification
    with refused:
        read_inputs(Path("data.txt"), specification)
    assert len(read_inputs(Path("new.npy"), specification).x) == 12


@places(
    {
        "datasets/image_file.py picture_shape: expected a network of images, whose inputs are": "run new.npy",
        "datasets/new_examples.py _read_pictures: {}: {}": "images.safetensors new.png",
    },
    "expected a network of images",
    "give it a .csv, .npz or .npy file",
)
def test_a_picture_for_a_table(refused, value):
    with refused:
        command("predict run new.png")
    assert command(f"predict {value}") == 0


@place(
    "datasets/image_file.py read_picture: {}: expected a png or jpg picture, got another",
    "data.png",
    "save it anew",
)
def test_no_picture(refused):
    Path("data.png").write_text("words")
    with refused:
        command("predict images.safetensors data.png")
    Image.fromarray(PICTURE).save("data.png")
    assert command("predict images.safetensors data.png") == 0


@place(
    "datasets/image_file.py read_picture: {}: expected Pillow to read it, got none ({});",
    "new.png",
    "install it with: python -m pip install pillow",
)
def test_no_pillow(refused, monkeypatch):
    usual = builtins.__import__

    def without(name, *rest):
        if name == "PIL":
            raise ImportError("no module named PIL")
        return usual(name, *rest)

    with monkeypatch.context() as patch, refused:
        patch.setattr(builtins, "__import__", without)
        command("predict images.safetensors new.png")
    assert command("predict images.safetensors new.png") == 0


@places(
    {
        "datasets/tables.py _decide: {}: expected targets of 0 and 1, a column for each": (
            "give a .npz file with y of (n, outputs)",
            np.arange(12) % 2,
        ),
        "datasets/tables.py _found: task: expected y of 0 and 1 for 'multilabel', got": (
            "give 1 for each yes and 0 for each no",
            np.eye(3)[np.arange(12) % 3] * 2,
        ),
    },
    "expected",
)
def test_targets_that_are_no_answers(refused, value):
    np.savez("data.npz", x=X, y=value)
    with refused:
        load_table("data.npz", task="multilabel")
    np.savez("data.npz", x=X, y=np.eye(3)[np.arange(12) % 3])
    assert load_table("data.npz", task="multilabel")[0].classes == 3
