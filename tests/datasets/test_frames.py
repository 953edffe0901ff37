"""Frames, series and text labels: what a Dataset makes of them, against arrays made by hand."""

import datetime
import re
from decimal import Decimal

import narwhals
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets as sklearn_datasets
from test_bad_data import refused

import nn_any as nn
from nn_any.backends import frame_columns
from nn_any.datasets import as_dataset

N = 6
X = np.random.default_rng(0).normal(size=(N, 3)).astype("float32")
Y = np.array([1, 0, 2, 1, 0, 2])
DAYS = [datetime.date(2026, 1, day) for day in (1, 3, 4, 9, 10, 31)]
WIDE = 2**40


def arrow(*dtype):
    return lambda values: pd.Series(values, dtype=pd.ArrowDtype(*dtype))


def pandas(dtype):
    return lambda values: pd.Series(values, dtype=dtype)


def polars(dtype):
    return lambda values: pl.Series(values, dtype=dtype)


def chunked(values):
    return pa.chunked_array([values[:2], values[2:]])


INTEGERS, REALS, YES = [3, 1, 2, 1, 3, WIDE], [0.5, -1.0, 2.25, 3.0, 1e-3, 1e9], [True, False, False, True, True, False]
DECIMALS = [Decimal("1.5"), Decimal("-2.25"), Decimal(3), Decimal(0), Decimal("0.5"), Decimal(7)]
NUMBERS = {
    "int64": (pandas("int64"), INTEGERS, "int64"),
    "int8": (pandas("int8"), [3, 1, 2, 1, 3, -7], "int8"),
    "uint8": (pandas("uint8"), [3, 1, 2, 1, 3, 255], "uint8"),
    "float32": (pandas("float32"), REALS, "float32"),
    "float16": (pandas("float16"), [0.5, -1.0, 2.25, 3.0, 4.0, 8.0], "float16"),
    "bool": (pandas("bool"), YES, "bool"),
    "Int64": (pandas("Int64"), INTEGERS, "int64"),
    "UInt16": (pandas("UInt16"), [3, 1, 2, 1, 3, 65535], "uint16"),
    "Float64": (pandas("Float64"), REALS, "float64"),
    "Float32": (pandas("Float32"), REALS, "float32"),
    "boolean": (pandas("boolean"), YES, "bool"),
    "category of integers": (pandas("category"), INTEGERS, "int64"),
    "category of reals": (pandas("category"), REALS, "float64"),
    "category of booleans": (pandas("category"), YES, "bool"),
    "ordered category of integers": (
        pandas(pd.CategoricalDtype([WIDE, 3, 2, 1, 9], ordered=True)),
        INTEGERS,
        "int64",
    ),
    "object of integers": (pandas("object"), INTEGERS, "int64"),
    "object of reals": (pandas("object"), REALS, "float64"),
    "object of both": (pandas("object"), [1, 2.5, 3, np.float32(4), np.int8(5), True], "float64"),
    "object of booleans": (pandas("object"), YES, "bool"),
    "object of decimals": (pandas("object"), DECIMALS, "float64"),
    "object of huge integers": (pandas("object"), [10**30, 1, 2, 3, 4, 5], "float64"),
    "sparse": (pandas(pd.SparseDtype("float64", 0.0)), [0.0, 0.0, 1.5, 0.0, 0.0, 2.0], "float64"),
    "int64[pyarrow]": (arrow(pa.int64()), INTEGERS, "int64"),
    "uint8[pyarrow]": (arrow(pa.uint8()), [3, 1, 2, 1, 3, 255], "uint8"),
    "float[pyarrow]": (arrow(pa.float32()), REALS, "float32"),
    "bool[pyarrow]": (arrow(pa.bool_()), YES, "bool"),
    "decimal[pyarrow]": (arrow(pa.decimal128(9, 3)), DECIMALS, "float64"),
    "polars Int64": (polars(pl.Int64), INTEGERS, "int64"),
    "polars Int8": (polars(pl.Int8), [3, 1, 2, 1, 3, -7], "int8"),
    "polars UInt32": (polars(pl.UInt32), [3, 1, 2, 1, 3, 2**32 - 1], "uint32"),
    "polars UInt64": (polars(pl.UInt64), [3, 1, 2, 1, 3, 2**64 - 1], "uint64"),
    "polars Float32": (polars(pl.Float32), REALS, "float32"),
    "polars Float64": (polars(pl.Float64), REALS, "float64"),
    "polars Boolean": (polars(pl.Boolean), YES, "bool"),
    "polars Decimal": (polars(pl.Decimal(scale=3)), DECIMALS, "float64"),
    "polars Object": (polars(pl.Object), INTEGERS, "int64"),
    "PyArrow int64": (chunked, INTEGERS, "int64"),
    "PyArrow double": (chunked, REALS, "float64"),
    "PyArrow bool": (chunked, YES, "bool"),
    "PyArrow dictionary": (lambda values: chunked(pa.array(values).dictionary_encode()), INTEGERS, "int64"),
}


def frame_of(**columns):
    """A frame of the library that the first column belongs to."""
    first = next(iter(columns.values()))
    kinds = {pd.Series: pd.DataFrame, pl.Series: pl.DataFrame, pa.ChunkedArray: pa.table}
    return kinds[type(first)](columns)


def lines(frame, kept):
    """The rows of a frame where `kept` is true."""
    return frame.filter(pl.Series(kept)) if isinstance(frame, pl.DataFrame) else frame[np.asarray(kept)]


@pytest.mark.parametrize("name", NUMBERS)
def test_columns_of_numbers(name):
    make, values, dtype = NUMBERS[name]
    column, expected = make(values), np.array([float(v) if isinstance(v, Decimal) else v for v in values], dtype=dtype)
    x = frame_columns("x", frame_of(a=column, b=column), None)
    assert x.dtype == dtype
    np.testing.assert_array_equal(x, np.stack([expected, expected], axis=1))
    assert frame_columns("x", column, None).dtype == dtype
    data = nn.Dataset(frame_of(a=column, b=column), Y, device="numpy")
    assert (data.feature_names, data.target_names) == (("a", "b"), None)
    np.testing.assert_array_equal(data.x, np.stack([expected, expected], axis=1))
    if expected.dtype.kind == "f":
        targets = nn.Dataset(X, column, device="numpy")
        assert (targets.classes, targets.y.shape, targets.class_names) == (None, (N, 1), None)
        np.testing.assert_array_equal(targets.y[:, 0], expected)
    np.testing.assert_array_equal(
        nn.Dataset(X, Y, sample_weight=make(values), device="numpy").sample_weight,
        nn.Dataset(X, Y, sample_weight=expected, device="numpy").sample_weight,
    ) if (expected >= 0).all() else None


@pytest.mark.skipif(not hasattr(pl, "Int128"), reason="this polars has no Int128")
def test_integers_of_128_bits():
    narrow, wide = pl.Series([1, 0, 2], dtype=pl.Int128), pl.Series([1, 0, 2**100], dtype=pl.Int128)
    assert nn.Dataset(X[:3], narrow, device="numpy").classes == 3
    np.testing.assert_array_equal(frame_columns("x", wide.to_frame(), None), [[1.0], [0.0], [2.0**100]])


NULLABLE = {name.lower(): name for name in ("Int8", "UInt8", "Int16", "Int64", "Float32", "Float64")}
FORMS = {  # how a NumPy array can stand in a column of a frame of pandas
    "plain": pd.Series,
    "nullable": lambda a: pd.Series(pd.array(a, "boolean" if a.dtype == bool else NULLABLE[a.dtype.name])),
    "arrow": lambda a: pd.Series(a, dtype=pd.ArrowDtype(pa.from_numpy_dtype(a.dtype))),
    "object": lambda a: pd.Series(a.tolist(), dtype=object),
    "category": lambda a: pd.Series(a).astype("category"),
}
DTYPES = ["int8", "uint8", "int16", "int64", "float32", "float64", "bool"]
COLUMN = st.tuples(
    st.sampled_from(DTYPES), st.sampled_from([*FORMS]), st.lists(st.integers(0, 9), min_size=4, max_size=4)
)


@settings(max_examples=25, deadline=None)
@given(st.lists(COLUMN, min_size=1, max_size=5), st.randoms(use_true_random=False), st.booleans())
def test_columns_of_several_dtypes(columns, random, turned):
    """NumPy's common dtype, and integers for integers; the index of a frame is ignored, the order of rows counts."""
    arrays = [np.array(values).astype(dtype) for dtype, _, values in columns]
    series = [FORMS[form](array) for (_, form, _), array in zip(columns, arrays, strict=True)]
    frame = pd.concat(series, axis=1, keys=[f"c{i}" for i in range(len(series))])
    frame.index = [9, 9, 0, 4]
    order = random.sample(range(len(arrays)), len(arrays))
    if turned:
        frame, arrays = frame.iloc[::-1], [array[::-1] for array in arrays]
    expected = np.stack([arrays[i] for i in order], axis=1)
    x = frame_columns("x", frame, [f"c{i}" for i in order])
    np.testing.assert_array_equal(x, expected)
    assert (x.dtype.kind in "bui") == (expected.dtype.kind in "bui")
    in_polars = pl.DataFrame({f"c{i}": array for i, array in enumerate(arrays)})
    np.testing.assert_array_equal(frame_columns("x", in_polars, [f"c{i}" for i in order]), expected)
    assert frame_columns("x", in_polars, [f"c{i}" for i in order]).dtype == expected.dtype


def test_integers_stay_integers_and_can_be_scaled():
    frame = pd.DataFrame({"a": pd.array([0, 255, 51], dtype="Int16"), "b": np.array([51, 102, 0], dtype="uint8")})
    data = nn.Dataset(frame, [0, 1, 1], scale=255, device="numpy")
    assert data.x.dtype == np.int16
    x, _ = next(data.batches(3, shuffle=False))
    np.testing.assert_allclose(x, [[0, 0.2], [1, 0.4], [0.2, 0]], rtol=1e-6)
    mixed = frame.assign(c=[0.5, 1.0, 1.5])
    assert nn.Dataset(mixed, [0, 1, 1], device="numpy").x.dtype == np.float64
    assert as_dataset("data", (mixed, [0, 1, 1]), nn.select_device("numpy"), "float32").x.dtype == np.float32


NAMES = {
    "text": (["a", "b"], ("a", "b")),
    "numbers from 0 on": (range(2), None),
    "other numbers": ([3, 1], ("3", "1")),
    "levels": (pd.MultiIndex.from_tuples([("a", "x"), ("a", 1)]), ("a.x", "a.1")),
    "both": (["a", 1], ("a", "1")),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_of_columns(case):
    columns, expected = NAMES[case]
    frame = pd.DataFrame(X[:, :2], columns=columns)
    data = nn.Dataset(frame, Y, device="numpy")
    assert data.feature_names == expected
    np.testing.assert_array_equal(data.x, X[:, :2])
    assert nn.Dataset(X, frame, device="numpy").target_names == expected


def test_names_stay_with_the_data():
    frame, y = pd.DataFrame(X, columns=["a", "b", "c"]), pd.Series(Y, name="kind")
    data = nn.Dataset(frame, y, device="numpy")
    parts = data.split(0.5, 0.5), [data.take([3, 1])], [data.to("array_api_strict:cpu"), data.weighted(np.ones(N))]
    for part in (data, data.with_arrays(data.x, data.y), *(each for several in parts for each in several)):
        assert (part.feature_names, part.target_names) == (("a", "b", "c"), ("kind",))
    np.testing.assert_array_equal(data.take([3, 1]).x, X[[3, 1]])


def test_names_of_arrays():
    data = nn.Dataset(X, X[:, :2], feature_names=["a", "b", "c"], target_names=np.array(["u", "v"]), device="numpy")
    assert (data.feature_names, data.target_names) == (("a", "b", "c"), ("u", "v"))
    assert nn.Dataset(X, Y, target_names=["kind"], device="numpy").target_names == ("kind",)
    assert nn.Dataset(X, Y, device="numpy").feature_names is None
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    some = nn.Dataset(frame, frame, feature_names=["c", "a"], target_names=["b"], device="numpy")
    np.testing.assert_array_equal(some.x, X[:, [2, 0]])
    np.testing.assert_array_equal(some.y, X[:, 1:2])
    assert (some.feature_names, some.target_names) == (("c", "a"), ("b",))
    unnamed = nn.Dataset(pd.DataFrame(X), pd.Series(Y), feature_names=["a", "b", "c"], device="numpy")
    assert (unnamed.feature_names, unnamed.target_names) == (("a", "b", "c"), None)


# labels


WORDS = ["b", "a", "c", "b", "a", "c"]
TEXT = {
    "list": WORDS,
    "tuple": tuple(WORDS),
    "bytes": [word.encode() for word in WORDS],
    "NumPy": np.array(WORDS),
    "NumPy bytes": np.array(WORDS, dtype="S"),
    "NumPy objects": np.array(WORDS, dtype=object),
    "NumPy strings": np.array(WORDS, dtype=np.dtypes.StringDType()),
    "a column": np.array(WORDS)[:, None],
    "a list of rows": [[word] for word in WORDS],
    "pandas": pd.Series(WORDS, name="kind"),
    "pandas objects": pd.Series(WORDS, dtype=object, name="kind"),
    "pandas string": pd.Series(WORDS, dtype="string", name="kind"),
    "pandas arrow": pd.Series(WORDS, dtype=pd.ArrowDtype(pa.string()), name="kind"),
    "pandas dictionary": pd.Series(WORDS, dtype=pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string())), name="kind"),
    "pandas category": pd.Series(WORDS, dtype="category", name="kind"),
    "pandas index": pd.Index(WORDS),
    "pandas frame": pd.DataFrame({"kind": WORDS}),
    "polars": pl.Series("kind", WORDS),
    "polars Categorical": pl.Series("kind", WORDS, dtype=pl.Categorical),
    "polars frame": pl.DataFrame({"kind": WORDS}),
    "PyArrow": pa.chunked_array([WORDS]),
    "PyArrow array": pa.array(WORDS),
    "PyArrow table": pa.table({"kind": WORDS}),
}


@pytest.mark.parametrize("case", TEXT)
def test_text_labels_are_classes_in_sorted_order(case):
    data = nn.Dataset(X, TEXT[case], device="numpy")
    assert (data.class_names, data.classes) == (("a", "b", "c"), 3)
    assert all(type(name) is str for name in data.class_names)
    np.testing.assert_array_equal(data.y, Y)
    assert data.target_names == (("kind",) if "kind" in repr(TEXT[case]) else None)
    if "bytes" not in case:
        turned = nn.Dataset(X, TEXT[case], classes=["c", "b", "a", "z"], device="numpy")
        np.testing.assert_array_equal(turned.y, 2 - Y)
        assert turned.class_names == ("c", "b", "a", "z")
    assert nn.Dataset(X, TEXT[case], classes=3, device="numpy").class_names == ("a", "b", "c")


FIXED = {
    "pandas": pd.Series(pd.Categorical(WORDS, categories=["c", "z", "b", "a"])),
    "pandas ordered": pd.Series(pd.Categorical(WORDS, categories=["c", "z", "b", "a"], ordered=True)),
    "pandas array": pd.Categorical(WORDS, categories=["c", "z", "b", "a"]),
    "pandas frame": pd.DataFrame({"kind": pd.Categorical(WORDS, categories=["c", "z", "b", "a"])}),
    "polars": pl.Series(WORDS, dtype=pl.Enum(["c", "z", "b", "a"])),
}


@pytest.mark.parametrize("case", FIXED)
def test_categories_are_classes_in_their_order(case):
    data = nn.Dataset(X, FIXED[case], device="numpy")
    assert (data.class_names, data.classes) == (("c", "z", "b", "a"), 4)
    np.testing.assert_array_equal(data.y, [2, 3, 0, 2, 3, 0])
    assert nn.Dataset(X, FIXED[case], classes=["a", "b", "c"], device="numpy").class_names == ("a", "b", "c")


def test_categories_that_are_no_text():
    cut = nn.Dataset(X, pd.cut(pd.Series([1, 5, 9, 1, 5, 9]), [0, 3, 6, 10, 20]), device="numpy")
    assert cut.class_names == ("(0, 3]", "(3, 6]", "(6, 10]", "(10, 20]")
    np.testing.assert_array_equal(cut.y, [0, 1, 2, 0, 1, 2])
    numbers = nn.Dataset(X, pd.Series(Y).astype("category"), device="numpy")
    assert (numbers.class_names, numbers.classes) == (None, 3)
    np.testing.assert_array_equal(numbers.y, Y)


@pytest.mark.parametrize(
    "y", [pd.Series(YES), pd.Series(YES, dtype="boolean"), pl.Series(YES), YES, np.array(YES)], ids=type
)
def test_yes_and_no_are_1_and_0(y):
    data = nn.Dataset(X, y, device="numpy")
    np.testing.assert_array_equal(data.y, np.array(YES).astype(int))
    assert (data.class_names, data.classes) == (None, 2)


def test_a_frame_of_one_column_is_a_column_of_labels():
    for frame in (pd.DataFrame({"kind": Y}), pl.DataFrame({"kind": Y}), pd.DataFrame({"kind": Y}, dtype="Int8")):
        data = nn.Dataset(X, frame, device="numpy")
        np.testing.assert_array_equal(data.y, Y)
        assert (data.target_names, data.classes) == (("kind",), 3)
    one_hot = nn.Dataset(X, pd.get_dummies(pd.Series(WORDS)), device="numpy")
    np.testing.assert_array_equal(one_hot.y, np.eye(3)[Y])
    assert (one_hot.classes, one_hot.target_names) == (3, ("a", "b", "c"))


def test_classes_may_be_a_series_or_an_index():
    for classes in (pd.Index(["c", "b", "a"]), pl.Series(["c", "b", "a"]), pd.Series(["c", "b", "a"])):
        assert nn.Dataset(X, WORDS, classes=classes, device="numpy").class_names == ("c", "b", "a")


def test_frames_beside_arrays_of_another_library():
    x = nn.to_device(X, "array_api_strict:cpu")
    for y in (pd.Series(Y), pl.Series(WORDS), WORDS, np.array(WORDS), pd.DataFrame({"kind": Y})):
        data = nn.Dataset(x, y)
        assert str(data.device) == "array_api_strict:cpu"
        np.testing.assert_array_equal(nn.to_numpy(data.y), Y)


# networks


def tables():
    for name in ("iris", "wine", "breast_cancer", "digits", "diabetes"):
        bunch = getattr(sklearn_datasets, f"load_{name}")(as_frame=True)
        numbers = name == "diabetes"
        y = (
            bunch.target
            if numbers
            else pd.Series(np.asarray(bunch.target_names).astype(str)[bunch.target], name="kind")
        )
        yield pytest.param(bunch.data, y, bunch.target.to_numpy(), numbers, id=name)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize(("x", "y", "target", "numbers"), [*tables()])
def test_from_frame_to_predictions(library, x, y, target, numbers):
    """Equal to the same fit on plain arrays, whatever the order of the columns later on."""
    outputs = 1 if numbers else len(np.unique(target))
    layers = [x.shape[1], nn.Standardize(), nn.Dense(8, "tanh"), nn.Dense(outputs, "linear" if numbers else "softmax")]
    loss = "mean_squared_error" if numbers else "log_likelihood"
    net, plain = (nn.Network(layers, loss=loss, device="numpy", seed=0) for _ in range(2))
    array = x.to_numpy()
    names = sorted(set(y))
    labels = target.astype("float32") if numbers else np.array([names.index(label) for label in y])
    plain.fit((array, labels), epochs=2)
    given = (x, y) if library == "pandas" else (pl.from_pandas(x), pl.from_pandas(y))
    net.fit(given, epochs=2)
    np.testing.assert_array_equal(net.weights[-1], plain.weights[-1])
    assert net.feature_names == tuple(x.columns)
    assert net.schema.target_names == (y.name,)
    shuffled = x[x.columns[::-1]].assign(further="text")
    shuffled = shuffled if library == "pandas" else pl.from_pandas(shuffled)
    np.testing.assert_array_equal(net.predict(shuffled), plain.predict(array))
    np.testing.assert_array_equal(net.feedforward(shuffled), plain.feedforward(array))
    row = x.iloc[3] if library == "pandas" else array[3]
    np.testing.assert_allclose(net.feedforward(row), plain.feedforward(array)[3], rtol=1e-5)
    assert net.loss((shuffled, given[1])) == pytest.approx(plain.loss((array, labels)), rel=1e-6)
    for ours, theirs in zip(net.backprop(shuffled, given[1])[1], plain.backprop(array, labels)[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if not numbers:
        assert net.class_names == tuple(names)
        assert net.evaluate((shuffled, given[1])) == plain.evaluate((array, labels))
        some = np.flatnonzero(np.asarray(y) != names[0])  # a class is missing: the network numbers them
        assert net.evaluate((lines(shuffled, np.isin(np.arange(len(x)), some)), y.to_numpy()[some])) == plain.evaluate(
            (array[some], labels[some])
        )


def test_frames_that_narwhals_wraps():
    frame = pl.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    data = nn.Dataset(
        narwhals.from_native(frame), narwhals.from_native(pl.Series("kind", WORDS), series_only=True), device="numpy"
    )
    np.testing.assert_array_equal(data.x, X[:, :2])
    assert (data.feature_names, data.target_names, data.classes) == (("a", "b"), ("kind",), 3)


def test_the_rows_of_a_frame_by_their_names():
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(town="Ulm")
    for _, row in frame[["town", "c", "a", "b"]].iterrows():
        np.testing.assert_array_equal(frame_columns("x", row, ["a", "b", "c"]), row[["a", "b", "c"]].astype("float32"))
    np.testing.assert_array_equal(frame_columns("x", pd.Series(X[0]), ["a", "b", "c"]), X[0])
    np.testing.assert_array_equal(frame_columns("x", pl.Series(X[0]), ["a", "b", "c"]), X[0])
    assert frame_columns("x", X, ["a", "b", "c"]) is X


def test_several_targets_by_their_names():
    targets = pd.DataFrame({"u": X[:, 0], "v": [3, 1, 2, 3, 1, 2]})
    net = nn.Network([3, nn.Dense(2, "linear")], loss="mean_squared_error", device="numpy", seed=0)
    net.fit((X, targets), epochs=1)
    assert net.schema.target_names == ("u", "v")
    expected = ((net.predict(X) - targets.to_numpy()) ** 2).mean()
    for y in (targets, targets[["v", "u"]], targets.assign(w="text"), targets.to_numpy()):
        assert net.loss((X, y)) == pytest.approx(expected, rel=1e-5)
    for y in (targets, targets[["v", "u"]]):
        nabla = net.backprop(X, y)[1][0]
        np.testing.assert_allclose(nabla, net.backprop(X, targets.to_numpy())[1][0], rtol=1e-6)


def test_labels_in_words_for_single_steps():
    net = nn.Network([3, 4, 3], device="numpy", seed=0)
    net.fit((X, WORDS), epochs=1)
    for y in (np.array(WORDS), pd.Series(WORDS), pd.Series(WORDS, dtype="category")):
        np.testing.assert_array_equal(net.backprop(X, y)[1][0], net.backprop(X, Y)[1][0])
        np.testing.assert_array_equal(net.backprop(X[0], y[0])[1][0], net.backprop(X[0], 1)[1][0])
        np.testing.assert_array_equal(net.cost_derivative(X, y), X - np.eye(3, dtype="float32")[Y])


# what is refused, and the remedies that the messages give


def message(call, error=Exception):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def code(text, before, after=None):
    """The expression that a message gives between these words, which end it or not."""
    found = text.partition(before)[2]
    return found if after is None else found.partition(after)[0]


GAPS = {
    "pandas": (pd.DataFrame({"a": X[:, 0], "age": [1.0, np.nan, 2, np.nan, 3, 4]}), "none"),
    "pandas Int64": (pd.DataFrame({"a": X[:, 0], "age": pd.array([1, None, 2, None, 3, 4], "Int64")}), "none"),
    "pandas boolean": (
        pd.DataFrame({"a": X[:, 0], "age": pd.array([True, None, True, None, False, False], "boolean")}),
        "none",
    ),
    "pandas object": (pd.DataFrame({"a": X[:, 0], "age": [1, None, 2, None, 3, 4.5]}, dtype=object), "none"),
    "pandas arrow": (
        pd.DataFrame({"a": X[:, 0], "age": pd.array([1, None, 2, None, 3, 4], pd.ArrowDtype(pa.int64()))}),
        "none",
    ),
    "polars null": (pl.DataFrame({"a": X[:, 0], "age": [1, None, 2, None, 3, 4]}), "none"),
    "polars NaN": (pl.DataFrame({"a": X[:, 0], "age": [1.0, np.nan, 2, np.nan, 3, 4]}), "nan"),
    "PyArrow": (pa.table({"a": X[:, 0], "age": [1, None, 2, None, 3, 4]}), "none"),
}


@pytest.mark.parametrize("case", GAPS)
def test_gaps_are_named_with_remedies_that_work(case):
    x, word = GAPS[case]
    text = message(lambda: nn.Dataset(x, Y), nn.InvalidValueError)
    assert f"got {word} in column 'age' at row 1 (2 missing in all)" in text
    filled = eval(code(text, "fill the gaps with "), {"x": x})
    np.testing.assert_array_equal(np.asarray(nn.Dataset(filled, Y).x)[[1, 3], 1], [0, 0])
    dropped = eval("x" + code(text, "drop those rows with ", " on the frame"), {"x": x})
    assert len(nn.Dataset(dropped, Y[[0, 2, 4, 5]])) == 4
    refused(lambda: nn.Network([2, 3], device="numpy").predict(x), ValueError, "x: expected a value everywhere")


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(["a", None] * 3),
        pd.Series(["a", None] * 3, dtype="category"),
        pd.Series([1, None] * 3, dtype="Int64"),
        pl.Series(["a", None] * 3),
        pl.Series([1, None] * 3),
        pl.Series(["a", None] * 3, dtype=pl.Enum(["a", "b"])),
    ],
    ids=lambda y: f"{type(y).__module__.partition('.')[0]} {y.dtype}",
)
def test_labels_that_are_missing(y):
    text = message(lambda: nn.Dataset(X, y), nn.InvalidValueError)
    assert "y: expected a value everywhere, got none at row 1 (3 missing in all)" in text
    assert "fill" not in text
    rest = eval("y" + code(text, "drop those rows with ", " on the frame"), {"y": y})
    assert len(nn.Dataset(X[::2], rest)) == 3


def test_a_column_without_any_value():
    for x in (pd.DataFrame({"a": X[:, 0], "b": [None] * N}), pl.DataFrame({"a": X[:, 0], "b": [None] * N})):
        text = message(lambda: nn.Dataset(x, Y))  # noqa: B023
        assert nn.Dataset(eval(code(text, "leave the column out with "), {"x": x}), Y).feature_names == ("a",)


DAYS_BY_HAND = [0, 2, 3, 8, 9, 30]
SPANS = [datetime.timedelta(days=day) for day in DAYS_BY_HAND]
TIMES = {
    "pandas": pd.DataFrame({"a": X[:, 0], "when": pd.to_datetime(DAYS)}),
    "pandas with a zone": pd.DataFrame({"a": X[:, 0], "when": pd.to_datetime(DAYS).tz_localize("UTC")}),
    "pandas arrow": pd.DataFrame({"a": X[:, 0], "when": pd.array(pd.to_datetime(DAYS), "timestamp[ns][pyarrow]")}),
    "pandas spans": pd.DataFrame({"a": X[:, 0], "when": pd.to_timedelta(SPANS)}),
    "polars": pl.DataFrame({"a": X[:, 0], "when": DAYS}),
    "polars times": pl.DataFrame({"a": X[:, 0], "when": [datetime.datetime(d.year, d.month, d.day) for d in DAYS]}),
    "polars spans": pl.DataFrame({"a": X[:, 0], "when": SPANS}),
    "PyArrow": pa.table({"a": X[:, 0], "when": pa.array(pd.to_datetime(DAYS))}),
}


@pytest.mark.parametrize("case", TIMES)
def test_dates_are_counted_in_days(case):
    x = TIMES[case]
    text = message(lambda: nn.Dataset(x, Y), nn.InvalidTypeError)
    assert ("spans of time" if "spans" in case else "dates") + " in column 'when', such as" in text
    days = eval(code(text, "count days with ", ", or leave"), {"x": x, "numpy": np, "polars": pl})
    np.testing.assert_allclose(nn.Dataset(days, Y).x, np.stack([X[:, 0], DAYS_BY_HAND], axis=1), rtol=1e-6)
    rest = eval(code(text, "leave it out with "), {"x": x})
    assert nn.Dataset(rest, Y).feature_names == ("a",)


def test_series_of_dates():
    for y in (pd.Series(pd.to_datetime(DAYS)), pl.Series(DAYS)):
        text = message(lambda: nn.Dataset(X, y), nn.InvalidTypeError)  # noqa: B023
        days = eval(code(text, "count days with "), {"y": y, "numpy": np})
        np.testing.assert_allclose(nn.Dataset(X, days).y[:, 0], DAYS_BY_HAND)


TOWNS = {"a": X[:, 0], "town": ["Ulm", "Bern"] * 3, "size": ["S", "M", "L"] * 2}
OTHERS = {
    "pandas": pd.DataFrame(TOWNS),
    "pandas category": pd.DataFrame(TOWNS).astype({"town": "category", "size": "category"}),
    "pandas string": pd.DataFrame(TOWNS).astype({"town": "string", "size": "object"}),
    "polars": pl.DataFrame(TOWNS),
    "polars Categorical": pl.DataFrame(TOWNS).cast({"town": pl.Categorical, "size": pl.Enum(["S", "M", "L"])}),
    "PyArrow": pa.table(TOWNS),
}


@pytest.mark.parametrize("case", OTHERS)
def test_text_becomes_dummies(case):
    x = OTHERS[case]
    text = message(lambda: nn.Dataset(x, Y), nn.InvalidTypeError)
    assert "got text in column 'town' and in 1 other column(s), such as 'Ulm' at row 0" in text
    dummies = eval(code(text, "numbers with ", ", or leave"), {"x": x, "pandas": pd})
    data = nn.Dataset(dummies, Y)
    assert set(data.feature_names) == {"a", "town_Bern", "town_Ulm", "size_S", "size_M", "size_L"}
    assert float(np.asarray(data.x)[:, 1:].sum()) == 12.0
    rest = eval(code(text, "leave it out with "), {"x": x})
    assert nn.Dataset(rest, Y).feature_names == ("a",)


def test_numbers_in_text_are_converted():
    columns = {"town": ["Ulm", "Bern"] * 3, "a": ["1.5", "2"] * 3, "b": ["1", "-1e3"] * 3}
    for x in (pd.DataFrame(columns), pl.DataFrame(columns), pd.DataFrame(columns, dtype="category")):
        text = message(lambda: nn.Dataset(x, Y), nn.InvalidTypeError)  # noqa: B023
        assert "numbers written as text in column 'a' and in 1 other column(s), such as '1.5' at row 0" in text
        converted = eval(code(text, "convert them with "), {"x": x, "polars": pl})
        np.testing.assert_array_equal(nn.Dataset(converted[["a", "b"]], Y).x, [[1.5, 1], [2, -1000]] * 3)
    for weights in (pd.Series(["1", "2"] * 3), pl.Series(["1", "2"] * 3)):
        text = message(lambda: nn.Dataset(X, Y, sample_weight=weights), nn.InvalidTypeError)  # noqa: B023
        converted = eval(code(text, "convert them with "), {"sample_weight": weights, "polars": pl})
        assert nn.Dataset(X, Y, sample_weight=converted).sample_weight is not None


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pl.Series([[1, 2]] * N), "List(Int64)"),
        (pl.Series([{"u": 1}] * N), "Struct({'u': Int64})"),
        (pl.Series([b"a"] * N), "Binary"),
        (pl.Series([datetime.time(1)] * N), "Time"),
        (pd.Series([1j] * N), "complex128"),
        (pd.Series([[1, 2]] * N), "Python objects"),
        (pd.Series(pd.period_range("2026", periods=N)), "period[D]"),
    ],
    ids=str,
)
def test_other_columns_are_left_out(column, kind):
    x = (
        frame_of(z=column).assign(a=X[:, 0])
        if isinstance(column, pd.Series)
        else pl.DataFrame({"a": X[:, 0], "z": column})
    )
    text = message(lambda: nn.Dataset(x, Y), nn.InvalidTypeError)
    assert f"got {kind} in column 'z', such as " in text
    assert nn.Dataset(eval(code(text, "leave it out with "), {"x": x}), Y).feature_names == ("a",)


def test_columns_that_a_network_misses():
    wanted = ["petal length", "petal width", "town_Ulm", "town_Bonn"]
    for kind in (pd.DataFrame, pl.DataFrame):
        x = kind({"petal_length": X[:, 0], "width": X[:, 1], "petal width": X[:, 2], "town_Bonn": X[:, 1]})
        text = message(lambda: frame_columns("x", x, wanted[:2]), nn.InvalidValueError)  # noqa: B023
        assert "got 1 missing ('petal length'), and the closest names are 'petal_length'" in text
        renamed = eval(code(text, "rename columns with "), {"x": x})
        np.testing.assert_array_equal(frame_columns("x", renamed, wanted[:2]), X[:, [0, 2]])
        text = message(lambda: frame_columns("x", renamed, wanted), KeyError)  # noqa: B023
        assert "got 1 missing ('town_Ulm'), and it has 'petal length', 'width', 'petal width', 'town_Bonn'" in text
        added = eval(code(text, "dummies that do not occur as "), {"x": renamed})
        np.testing.assert_array_equal(frame_columns("x", added, wanted), X[:, [0, 2, 2, 1]] * [1, 1, 0, 1])
        shouted = kind({"PETAL LENGTH": X[:, 0], " Petal Width ": X[:, 2]})
        text = message(lambda: frame_columns("x", shouted, wanted[:2]), KeyError)  # noqa: B023
        renamed = eval(code(text, "rename columns with "), {"x": shouted})
        np.testing.assert_array_equal(frame_columns("x", renamed, wanted[:2]), X[:, [0, 2]])
        text = message(lambda: frame_columns("x", x, ["tail", "petal width"]), KeyError)  # noqa: B023
        assert text.endswith("; add them, or rename columns")


def test_frames_that_are_no_table_of_numbers():
    refused(lambda: nn.Dataset(pd.DataFrame(index=range(N)), Y), ValueError, "x: expected at least one example and one")
    refused(lambda: nn.Dataset(pl.DataFrame({"a": []}), []), ValueError, "x: expected at least one example and one")
    refused(lambda: nn.Dataset(pd.Series(X[:, 0]), Y), ValueError, r"x: expected \(n, features\) or more axes")
    two = pd.DataFrame({"u": WORDS, "v": WORDS})
    text = message(lambda: nn.Dataset(X, two), nn.InvalidTypeError)
    assert nn.Dataset(X, eval(code(text, "such as ", ", or columns").partition("such as ")[2], {"y": two})).classes == 3
    net = nn.Network([3, 3], device="numpy")
    refused(lambda: net.fit(two, epochs=1), TypeError, "training_data: expected a Dataset, .* alone; write")


def test_labels_of_several_kinds():
    mixed = [
        ["a", 1] * 3,
        np.array(["a", 1] * 3, dtype=object),
        pd.Series(["a", 1] * 3),
        pl.Series(["a", 1] * 3, dtype=pl.Object),
    ]
    for y in mixed:
        text = message(lambda: nn.Dataset(X, y), nn.InvalidValueError)  # noqa: B023
        assert "y: expected text for every label, got 1 at row 1 (3 such labels in all)" in text
        assert nn.Dataset(X, eval(code(text, "text with "), {"y": y})).class_names == ("1", "a")
    for gap in (None, float("nan"), pd.NA):
        y = np.array(["a", gap] * 3, dtype=object)
        refused(lambda: nn.Dataset(X, y), ValueError, r"y: .*, got .* at row 1 \(3 .*; leave those rows out")  # noqa: B023
        refused(lambda: nn.Dataset(X, y.tolist()), ValueError, "y: .* at row 1 .*; leave those rows out")  # noqa: B023
        assert nn.Dataset(X[::2], y[::2]).class_names == ("a",)


def test_infinity_and_numbers_beyond_the_dtype():
    x = pd.DataFrame({"a": [1.0, np.inf] * 3})
    refused(lambda: nn.Dataset(x, Y), ValueError, "x: expected finite numbers, got inf at row 1, column 0")
    net = nn.Network([1, 3], device="numpy")
    wide = pl.DataFrame({"a": [1.0, 1e300] * 3})
    refused(lambda: net.predict(wide), ValueError, "x: expected numbers that float32 can hold, .* at row 1")
    assert nn.Network([1, 3], dtype="float64", device="numpy").predict(wide).shape == (N,)


def test_frames_are_read_without_importing_their_libraries():
    """An array of another library, a number or a list is not looked at; narwhals is there for what may be a frame."""
    import subprocess
    import sys

    check = """
import sys
import numpy as np
import nn_any as nn
net = nn.Network([4, 2], device="numpy")
net.fit((np.ones((6, 4)), ["a", "b"] * 3), epochs=1)
net.predict([[1.0] * 4])
assert "narwhals" not in sys.modules
try:
    net.predict(object())
except TypeError:
    assert not {"pandas", "polars", "pyarrow"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", check], check=True)


def test_words_in_messages_are_short():
    """However many columns there are, what a message begins with can be read."""
    frame = pd.DataFrame({f"column {i}": [0.5] * N for i in range(50)})
    text = message(lambda: frame_columns("x", frame, [f"feature {i}" for i in range(50)]))
    assert re.match(r"x: expected a column for each feature, got 50 missing \(('feature \d', ){5}…\), and", text)
