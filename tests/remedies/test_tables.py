"""Data sets of one's own: arrays, npz and CSV files."""

import struct
import zipfile

import numpy as np
import pandas as pd
import pytest

import nn_any as nn
from nn_any.datasets import load_table

from . import place, places

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3


@place(
    "datasets/dataset.py Dataset.__init__: x: expected (n, features) or more axes, got shape",
    "x: ",
    "one example a row: numpy.reshape(x, (-1, 1)) for one feature, or x.to_frame() of a series",
)
def test_one_feature_without_an_axis(refused):
    x = np.arange(12.0)
    with refused:
        nn.Dataset(x, Y)
    nn.Dataset(np.reshape(x, (-1, 1)), Y)
    with refused:
        nn.Dataset(pd.Series(x), Y)
    nn.Dataset(pd.Series(x).to_frame(), Y)


@place("datasets/dataset.py Dataset.__init__: x: expected at least one example and one feature,", "x: ", "at least one")
def test_no_features(refused):
    with refused:
        nn.Dataset(X[:, :0], Y)
    nn.Dataset(X[:, :1], Y)


@place("datasets/dataset.py Dataset.__init__: y: expected labels (n,) or targets (n, outputs),", "y: ", "labels (n,)")
def test_targets_of_three_axes(refused):
    y = np.zeros((12, 3, 1))
    with refused:
        nn.Dataset(X, y)
    nn.Dataset(X, y[:, :, 0])


@place(
    "datasets/dataset.py Dataset.__init__: scale: expected None for real x, got {}; it says", "scale", "expected None"
)
def test_a_scale_for_reals(refused):
    with refused:
        nn.Dataset(X, Y, scale=255)
    nn.Dataset(X, Y, scale=None)


@place(
    "datasets/dataset.py Dataset.weighted: class_weight: expected data with classes, got real",
    "class_weight",
    "sample_weight",
)
def test_class_weights_without_classes(refused):
    data = nn.Dataset(X, X[:, :1])
    with refused:
        data.weighted(class_weight="balanced")
    data.weighted(sample_weight=np.ones(12))


@place("datasets/dataset.py Dataset._classes: classes: expected {}, one a column of y, got {}", "classes", "expected 3")
def test_classes_beside_the_columns(refused):
    with refused:
        nn.Dataset(X, np.eye(3)[Y], classes=4)
    nn.Dataset(X, np.eye(3)[Y], classes=3)


@places(
    {
        "datasets/dataset.py Dataset.take: rows: expected at least one number, got none": ("at least one number", []),
        "datasets/dataset.py Dataset.take: rows: expected integers (k,), got {} of shape {}": ("integers (k,)", [0.5]),
        "datasets/dataset.py Dataset.take: rows: expected numbers in 0 … {}, got {} to {}": ("numbers in 0 … 11", [12]),
    },
    "rows",
)
def test_rows_that_are_not_there(refused, value):
    with refused:
        nn.Dataset(X, Y).take(value)
    assert len(nn.Dataset(X, Y).take([0, 11])) == 2


@place("datasets/splitting.py split_rows: sizes: expected parts that sum to at most {}", "sizes", "at most 12 examples")
def test_parts_that_are_too_many(refused):
    with refused:
        nn.Dataset(X, Y).split(10, 6)
    assert [len(part) for part in nn.Dataset(X, Y).split(9, 3)] == [9, 3]


@place(
    "datasets/dataset.py Dataset.split: stratify: expected data with classes, got real", "stratify", "stratify=False"
)
def test_strata_of_reals(refused):
    data = nn.Dataset(X, X[:, :1])
    with refused:
        data.split(6, stratify=True)
    data.split(6, stratify=False)


@place(
    "datasets/splitting.py split_rows: sizes: expected two examples or more of each class",
    "sizes",
    "use stratify=False",
)
def test_strata_that_are_too_small(refused):
    data = nn.Dataset(X, [0] * 11 + [1])
    with refused:
        data.split(6)
    data.split(6, stratify=False)


@place(
    "datasets/splitting.py _counts: sizes: expected numbers of examples or fractions",
    "sizes",
    "fractions between 0 and 1",
)
def test_a_part_of_negative_size(refused):
    with refused:
        nn.Dataset(X, Y).split(-3)
    nn.Dataset(X, Y).split(6)
    nn.Dataset(X, Y).split(0.5)


@place(
    "datasets/network_input.py own_array: {}: expected a NumPy array, a list, or an array on",
    "x: ",
    "nn_any.to_device(..., 'numpy:cpu')",
)
def test_an_array_of_another_library(refused):
    net, x = nn.Network([4, 3], device="numpy"), nn.to_device(X, "array_api_strict:cpu")
    with refused:
        net.predict(x)
    net.predict(nn.to_device(x, "numpy:cpu"))
    net.to("array_api_strict:cpu").predict(x)


@place(
    "datasets/network_input.py own_inputs: x: expected an array, got {}; pass dataset.x{}",
    "x: ",
    "pass dataset.x as real",
)
def test_a_data_set_in_place_of_an_array(refused):
    net, data = nn.Network([4, 3]), nn.Dataset(np.arange(8, dtype="uint8").reshape(2, 4), [0, 1], scale=255)
    with refused:
        net.predict(data)
    net.predict(data.x.astype("float32") / 255)


@place("datasets/network_input.py own_examples: y: expected two classes or more to learn from, got", "y: ", "classes=3")
def test_data_of_one_class(refused):
    net, y = nn.Network([4, 3]), np.zeros(12, int)
    with refused:
        net.SGD((X, y), 1, 4, 0.1)
    net.SGD(nn.Dataset(X, y, classes=3), 1, 4, 0.1)
    with pytest.raises(ValueError, match=r"if that is meant, say .*classes=\[...\]\), with all names"):
        net.SGD((X, ["cat"] * 12), 1, 4, 0.1)
    net.SGD(nn.Dataset(X, ["cat"] * 12, classes=["bee", "cat", "dog"]), 1, 4, 0.1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.npz"


GOOD = {"x": X, "y": Y}


@place(
    "datasets/npz.py read_npz: {}: expected an npz file of plain arrays, got a", "data.npz", "np.savez(path, x=x, y=y)"
)
def test_a_single_array(refused, path):
    with path.open("wb") as file:
        np.save(file, X)
    with refused:
        load_table(path)
    np.savez(path, x=X, y=Y)
    load_table(path)


@place(
    "datasets/npz.py read_npz: {}, if you trust it, write it with np.savez, which", "data.npz", "write it with np.savez"
)
def test_an_archive_that_expands_beyond_measure(refused, path):
    x = np.zeros((2**20, 4), np.uint8)
    np.savez_compressed(path, x=x, y=np.arange(len(x)) % 2)
    with refused:
        load_table(path)
    with np.load(path) as arrays:
        np.savez(path, **arrays)
    assert len(load_table(path)[0]) > 800_000


@place(
    "datasets/npz.py read_npz: {}: expected an npz file of plain arrays, got",
    "data.npz",
    "write it with np.savez(path, x=x, y=y)",
)
def test_no_archive(refused, path):
    path.write_bytes(b"x,y")
    with refused:
        load_table(path)
    np.savez(path, **GOOD)
    load_table(path)


@place(
    "datasets/npz.py read_npz: {}: expected arrays {}, got {}; write it with {}", "data.npz", "np.savez(path, x=x, y=y)"
)
def test_arrays_of_other_names(refused, path):
    np.savez(path, inputs=X, labels=Y)
    with refused:
        load_table(path)
    np.savez(path, x=X, y=Y)
    load_table(path)


def npy(descr, shape, data, version=1):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


@places(
    {
        "datasets/npz.py _content: {} is compressed in another way than NumPy does": (
            "another way than NumPy does",
            None,
        ),
        "datasets/npz.py _parse_npy: an array of version {}": (
            "an array of version (9, 0)",
            npy("'|u1'", "(4, 2)", bytes(8), version=9),
        ),
        "datasets/npz.py _parse_npy: an array of dtype {}; convert it to {}": (
            "convert it to booleans",
            npy("'|O'", "(4, 2)", bytes(64)),
        ),
        "datasets/npz.py _parse_npy: an array whose shape makes no sense": (
            "an array whose shape",
            npy("'|u1'", "(-4, -2)", bytes(8)),
        ),
        "datasets/npz.py _parse_npy: an array of {} bytes in a part that has {}": (
            "an array of 81 bytes",
            npy("'|u1'", "(9, 9)", bytes(8)),
        ),
        "datasets/npz.py _parse_npy: text that is not Unicode": (
            "text that is not Unicode",
            npy("'<U1'", "(1, 2)", b"\xff" * 8),
        ),
    },
    "data.npz: expected an npz file of plain arrays",
)
def test_arrays_that_no_numpy_wrote(refused, value, path):
    method = zipfile.ZIP_BZIP2 if value is None else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", value or npy("'|u1'", "(4, 2)", bytes(8)))
        archive.writestr("y.npy", value or npy("'|u1'", "(4,)", bytes(4)))
    with refused:
        load_table(path)
    np.savez(path, **GOOD)
    load_table(path)


@place(
    "datasets/npz.py _Sparing.read: a part of it claims to be of {} bytes", "data.npz", "an npz file of plain arrays"
)
def test_a_table_of_contents_that_lies(refused, path):
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"x"
    directory = entry * 50_000
    path.write_bytes(directory + b"PK\x05\x06" + bytes(4) + struct.pack("<HHIIH", 65535, 65535, len(directory), 0, 0))
    with refused:
        load_table(path)
    np.savez(path, **GOOD)
    load_table(path)


LINES = [",".join([*map(str, row), f"class {label}"]) for row, label in zip(X.tolist(), Y.tolist(), strict=True)]
WHOLE = "\n".join(LINES)


@places(
    {
        "datasets/csv_lines.py check_text: {}: expected text in UTF-8, got UTF-16 or no text": WHOLE.encode("utf-16"),
        "datasets/csv_lines.py _lines: {}: expected text in UTF-8, got another encoding,": (WHOLE + "ä").encode(
            "latin1"
        ),
    },
    "data.csv",
    "save it as CSV in UTF-8",
)
def test_a_table_in_another_encoding(refused, value, path):
    path = path.with_suffix(".csv")
    path.write_bytes(value)
    with refused:
        load_table(path)
    path.write_bytes(WHOLE.encode("utf-8"))
    load_table(path)


@places(
    {
        "datasets/csv_lines.py _lines.text: a line of more than {} characters": (
            "a line of more than 4,194,304 characters",
            WHOLE + '\n"' + "1," * 2_200_000,
        ),
        "datasets/csv_lines.py _lines: {}, line {}: expected comma-separated values: {};": (
            "close each quote that is opened",
            WHOLE + '\n"1,2,3,4,5\n6,7,8,9,10',
        ),
        "datasets/csv_lines.py rows: {}, line {}: expected {} columns, got {}; give": (
            "give every line as many fields as the first",
            WHOLE + "\n1,2,class 1",
        ),
        "datasets/csv_file.py _spelling: {}, line {}, {}: expected the class, got {}; leave": (
            "leave such lines out, and end no line with a delimiter",
            WHOLE + "\n1,2,3,4,",
        ),
        "datasets/csv_file.py read_csv: {}, names alone": ("with the class in the last column", "only,names\n"),
        "datasets/csv_lines.py rows: {}, {} column(s)": ("with the class in the last column", "1\n2\n"),
        "datasets/csv_file.py _labels: {}, line {}: expected classes in {}, got more than": (
            "put the class into the last column",
            "\n".join(f"1,class {i}" for i in range(3000)),
        ),
        "datasets/csv_file.py _check_numbers: {}, line {}, {}: {}{}": (
            "line 13, column 2: expected a number such as 1.5, got 'two'; put numbers into this column",
            WHOLE + "\n1,two,3,4,class 1",
        ),
    },
    "data.csv",
)
def test_a_table_with_a_faulty_line(refused, value, path):
    path = path.with_suffix(".csv")
    path.write_text(value)
    with refused:
        load_table(path)
    path.write_text(WHOLE)
    load_table(path)


@place(
    "datasets/tables.py read_table: {}: expected numbers that differ in {}, got {} for",
    "column 2",
    "add examples with other numbers",
)
def test_a_constant_number_to_predict(refused, path):
    path = path.with_suffix(".csv")
    text = "\n".join(f"{i},1.5" for i in range(30))
    path.write_text(text)
    with refused:
        load_table(path)
    path.write_text(text + "\n30,2.5")
    load_table(path)


NUMBERS = "\n".join(f"{i / 7:.2f},{i}.5,{i % 3}" for i in range(30))


@pytest.mark.parametrize("mended", ["numbers", "classes"])
@place(
    "datasets/csv_file.py _spelling: {}, line {}, {}: {}{}",
    "line 31, column 3",
    "put numbers into this column, or leave it out, or pass task='classification'",
)
def test_a_column_of_numbers_and_text(refused, mended, path):
    path = path.with_suffix(".csv")
    text = NUMBERS.replace(".5,0", ".5,0.5") + "\n1,2,many"
    path.write_text(text)
    with refused:
        load_table(path)
    if mended == "numbers":
        path.write_text(text.replace("many", "9"))
        assert load_table(path)[0].classes is None
    else:
        assert load_table(path, task="classification")[0].classes == 4


@place(
    "datasets/csv_file.py _is_above: {}, first line: expected names or an example, got",
    "first line",
    "pass header=True (--header yes), else header=False (--header no)",
)
def test_a_line_that_may_be_names(refused, path):
    path = path.with_suffix(".csv")
    path.write_text("400.5,401.5,kind\n" + "\n".join(f"{i},{i / 3:.1f},{'ab'[i % 2]}" for i in range(30)))
    with refused:
        load_table(path)
    assert load_table(path, header=True)[0].classes == 2
    assert load_table(path, header=False)[0].classes == 3


@places(
    {
        "datasets/csv_file.py find_target: target: expected a name that one column of {} has,": (
            "pass the place, such as 1",
            ("a", 1),
        ),
        "datasets/csv_file.py find_target: target: expected {}a place from 1 to {}, or from": (
            "expected a name (a, a, kind) or a place from 1 to 3",
            ("Kind", "kind"),
        ),
        "datasets/tables.py read_table: target: expected the name of a column, or its": (
            "or its place, such as -1",
            (1.5, -1),
        ),
    },
    "target",
)
def test_a_target_that_is_not_there(refused, value, path):
    bad, good = value
    path = path.with_suffix(".csv")
    path.write_text("a,a,kind\n" + NUMBERS)
    with refused:
        load_table(path, target=bad)
    load_table(path, target=good)


@places(
    {
        "datasets/tables.py read_table: {}: expected it for .csv files only, got {} for": (
            "leave it out",
            ({"target": 1}, {}, GOOD),
        ),
        "datasets/tables.py _decide: {}: expected numbers in {} for regression, got": (
            "or leave task out",
            ({"task": "regression"}, {}, {"x": X, "y": np.array(["a", "b", "c"])[Y]}),
        ),
        "datasets/tables.py _found: task: expected {} for y, which {}, got {}; give y": (
            "expected 'classification' for y, which has 3 columns",
            ({"task": "regression"}, {"task": "classification"}, {"x": X, "y": np.eye(3)[Y]}),
        ),
    },
    "expected",
)
def test_arrays_that_are_not_what_was_asked_for(refused, value, path):
    bad, good, arrays = value
    np.savez(path, **arrays)
    with refused:
        load_table(path, **bad)
    load_table(path, **good)


@place("datasets/tables.py read_table: data: expected a file, found none at {}", "data", "expected a file")
def test_a_table_that_is_not_there(refused, path):
    with refused:
        load_table(path)
    np.savez(path, **GOOD)
    load_table(path)


@place("datasets/tables.py read_table: data: expected a file ending in .npz or .csv, got", "data", ".npz or .csv")
def test_a_table_of_another_kind(refused, path):
    other = path.with_suffix(".txt")
    other.write_text(WHOLE)
    with refused:
        load_table(other)
    other.rename(path.with_suffix(".csv"))
    load_table(path.with_suffix(".csv"))


SPLIT = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}


@places(
    {
        "datasets/tables.py split_table: x_train: expected at least 2 examples to train and": (
            "at least 2 examples to train and validate with",
            (SPLIT | {"x_train": X[:1], "y_train": Y[:1]}, SPLIT),
        ),
        "datasets/tables.py split_table: data: expected at least 3 examples to train,": (
            "at least 3 examples to train, validate and test with",
            ({"x": X[:2], "y": Y[:2]}, GOOD),
        ),
        "datasets/tables.py _number_classes: {}: expected a class for each example, got {};": (
            "leave such examples out",
            ({"x": X, "y": np.array(["", *"abcabcabcab"])}, {"x": X[1:], "y": np.array([*"abcabcabcab"])}),
        ),
        "datasets/tables.py _check_classes: {}: expected two classes or more, got {} for all": (
            "two classes or more",
            ({"x": X, "y": Y * 0}, GOOD),
        ),
        "datasets/tables.py read_arrays: {}: expected classes as text in UTF-8, got other": (
            "classes as text in UTF-8",
            ({"x": X, "y": np.array([b"\xff", b"a"] * 6)}, {"x": X, "y": np.array(["\xff", "a"] * 6)}),
        ),
    },
    "data",
)
def test_a_table_of_too_little(refused, value, path):
    bad, good = value
    np.savez(path, **bad)
    with refused:
        load_table(path)
    np.savez(path, **good)
    load_table(path)


@place("datasets/dataset.py Dataset.__init__: {}: expected an array, got {}; pass dataset.{}", "x: ", "pass dataset.x")
def test_a_data_set_of_a_data_set(refused):
    data = nn.Dataset(X, Y)
    with refused:
        nn.Dataset(data, Y)
    nn.Dataset(data.x, Y)


@place(
    "datasets/labels.py number_labels: classes: expected names that differ, got {}; name",
    "classes",
    "name each class once",
)
def test_a_class_named_twice(refused):
    labels = ["a", "b"] * 6
    with refused:
        nn.Dataset(X, labels, classes=["a", "b", "a"])
    assert nn.Dataset(X, labels, classes=["a", "b"]).classes == 2


@place(
    "datasets/labels.py number_labels: y: expected labels among the classes {}, got {} at",
    "y: ",
    "add it to classes, or leave that row out",
)
def test_a_class_without_a_name(refused):
    labels = [*"ababababab", "c", "a"]
    with refused:
        nn.Dataset(X, labels, classes=["a", "b"])
    assert nn.Dataset(X, labels, classes=["a", "b", "c"]).classes == 3
    rest = np.array([label != "c" for label in labels])
    nn.Dataset(X[rest], np.array(labels)[rest], classes=["a", "b"])


@place(
    "datasets/network_input.py own_array: {}: expected an array, got {}; pass its arrays,",
    "y: ",
    "pass its arrays, dataset.x and dataset.y",
)
def test_a_data_set_in_place_of_targets(refused):
    net, data = nn.Network([4, 3]), nn.Dataset(X, Y)
    with refused:
        net.gradients(X, data)
    net.gradients(data.x, data.y)


@place(
    "datasets/network_input.py _weighted_arrays: {}: expected sample weights of a positive, finite",
    "training_data",
    "take rows that have a weight above 0",
)
def test_rows_of_weight_0_alone(refused):
    net, data = nn.Network([4, 3]), nn.Dataset(X, Y, sample_weight=[0.0] * 6 + [1.0] * 6)
    with refused:
        net.SGD(data.take(range(6)), 1, 4, 0.1)
    net.SGD(data.take(np.flatnonzero(data.sample_weight > 0)), 1, 4, 0.1)
