"""Frames and text labels; `test_frames.py` of the data sets carries these remedies out for every library and dtype."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import nn_any as nn

from . import place, places

X = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
Y = np.array([1, 0, 1, 1, 0, 0])
FRAME = pd.DataFrame(X, columns=["width", "petal length"])


@place(
    "backends/frames.py Frame._refuse: {}: expected numbers, got {}{}{}, such as {} at",
    "x: expected numbers, got text in column 'town'",
    "pandas.get_dummies(x, columns=['town'], dtype='float32'), or leave it out with x.drop(columns=['town'])",
)
def test_a_column_of_text(refused):
    x = FRAME.assign(town=["Ulm", "Bern"] * 3)
    with refused:
        nn.Dataset(x, Y)
    assert nn.Dataset(pd.get_dummies(x, columns=["town"], dtype="float32"), Y).input_shape == (4,)
    assert nn.Dataset(x.drop(columns=["town"]), Y).input_shape == (2,)


@place(
    "backends/frames.py Frame._refuse_gaps: {}: expected a value everywhere, got {}{} at row",
    "got none in column 'width' at row 2 (1 missing in all)",
    "drop those rows with .dropna() on the frame that x and y come from, or fill the gaps with x.fillna(0)",
)
def test_a_gap_in_a_frame(refused):
    frame = FRAME.assign(kind=Y)
    frame.loc[2, "width"] = np.nan
    x, y = frame[["width", "petal length"]], frame["kind"]
    with refused:
        nn.Dataset(x, y)
    whole = frame.dropna()
    assert len(nn.Dataset(whole[["width", "petal length"]], whole["kind"])) == 5
    assert len(nn.Dataset(x.fillna(0), y)) == 6


@place(
    "backends/frames.py Frame._places: {}: expected a column for each {}, got {} missing",
    "got 1 missing ('petal length'), and the closest names are 'petal_length'",
    "rename columns with x.rename({'petal_length': 'petal length'})",
)
def test_a_column_of_another_name(refused):
    net = nn.Network([2, 3, 2], device="numpy", seed=0)
    net.fit((FRAME, Y), epochs=1)
    x = pl.from_pandas(FRAME).rename({"petal length": "petal_length"})
    with refused:
        net.predict(x)
    np.testing.assert_array_equal(net.predict(x.rename({"petal_length": "petal length"})), net.predict(X))


def test_a_column_of_targets_of_another_name():
    net = nn.Network([2, 2], loss="mean_squared_error", device="numpy", seed=0)
    net.fit((FRAME, FRAME), epochs=1)
    y = FRAME.set_axis(["u", "v"], axis=1)
    message = "for each target, .* add them, or pass arrays, whose columns have no names: y.to_numpy()"
    with pytest.raises(KeyError, match=message.replace("()", r"\(\)")):
        net.loss((X, y))
    assert net.loss((X, y.to_numpy())) == net.loss((X, X))


@place(
    "backends/frames.py _check_names: {}: expected columns of different names, got {}",
    "'a' twice",
    "rename them with x.set_axis([...], axis=1)",
)
def test_two_columns_of_one_name(refused):
    x = FRAME.set_axis(["a", "a"], axis=1)
    with refused:
        nn.Dataset(x, Y)
    assert nn.Dataset(x.set_axis(["a", "b"], axis=1), Y).feature_names == ("a", "b")


def test_two_columns_of_one_name_in_a_table_of_pyarrow():
    x = pa.table([X[:, 0], X[:, 1]], names=["a", "a"])
    with pytest.raises(nn.InvalidValueError, match=r"'a' twice; rename them with x.rename_columns\(\[...\]\)"):
        nn.Dataset(x, Y)
    assert nn.Dataset(x.rename_columns(["a", "b"]), Y).feature_names == ("a", "b")


@place(
    "backends/frames.py read_frame: {}: expected a frame in memory, got {}, a lazy", "x: ", "read it with x.collect()"
)
def test_a_lazy_frame(refused):
    x = pl.from_pandas(FRAME).lazy()
    with refused:
        nn.Dataset(x, Y)
    assert nn.Dataset(x.collect(), Y).feature_names == ("width", "petal length")


@places(
    {
        "datasets/labels.py number_labels: y: expected text for every label, got {} at row {}": (
            "make all of them text with [str(label) for label in y]",
            ["a", 1] * 3,
        ),
        "datasets/labels.py _decoded: y: expected labels in UTF-8, got {}; decode them,": (
            "[label.decode('latin-1') for label in y]",
            [b"a", "ä".encode("latin-1")] * 3,
        ),
    },
    "y: expected",
)
def test_labels_that_are_partly_text(refused, value):
    with refused:
        nn.Dataset(X, value)
    remedied = [label.decode("latin-1") if isinstance(label, bytes) else str(label) for label in value]
    assert nn.Dataset(X, remedied).classes == 2


@place(
    "datasets/labels.py number_labels: classes: expected {}, for so many are named, got",
    "classes: expected 2",
    "list all names: classes=['no', 'yes']",
)
def test_more_classes_than_names(refused):
    with refused:
        nn.Dataset(X, ["no", "yes"] * 3, classes=3)
    assert nn.Dataset(X, ["no", "yes"] * 3, classes=["no", "yes", "perhaps"]).classes == 3


@place(
    "validation.py check_named: {}: expected {}, got {} for {} of shape {}; name",
    "feature_names: expected 2 names, one a column of x, got 3",
    "name each column once",
)
def test_more_names_than_columns(refused):
    with refused:
        nn.Dataset(X, Y, feature_names=["a", "b", "c"])
    assert nn.Dataset(X, Y, feature_names=["a", "b"]).feature_names == ("a", "b")
