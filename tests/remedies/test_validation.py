"""What comes in from outside: arrays, pairs, weights."""

import numpy as np
import pandas as pd
import pytest
from conftest import need
from numpy.lib import recfunctions
from sklearn import preprocessing

import nn_any as nn
from nn_any.book import network

from . import place

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3
BYTES = np.arange(8, dtype="uint8").reshape(2, 4)


@pytest.fixture
def net():
    return nn.Network([4, 5, 3], seed=0)


@place("validation.py check_scale: scale: expected a positive number (255 for 8-bit", "scale", "255 for 8-bit images")
def test_a_scale_that_is_no_number(refused):
    with refused:
        nn.Dataset(BYTES, [0, 1], scale="255")
    nn.Dataset(BYTES, [0, 1], scale=255)


@place("validation.py check_scale: scale: expected a positive, finite number (255 for", "scale", "255 for 8-bit images")
def test_a_scale_out_of_range(refused):
    with refused:
        nn.Dataset(BYTES, [0, 1], scale=0)
    nn.Dataset(BYTES, [0, 1], scale=255)


@place("validation.py as_host_array: {}: expected rows of one length, got ragged ones", "x: ", "pad or cut them")
def test_ragged_rows(refused):
    with refused:
        nn.Dataset([[1.0, 2.0], [3.0]], [0, 1])
    nn.Dataset([[1.0, 2.0], [3.0, 0.0]], [0, 1])
    nn.Dataset([[1.0], [3.0]], [0, 1])
    tags = [["red"], ["green", "blue"]]
    with pytest.raises(
        nn.InvalidValueError, match=r"^y: .*; make columns of 0 and 1 with sklearn.*fit_transform\(y\)$"
    ):
        nn.Dataset([[1.0], [3.0]], tags)
    assert nn.Dataset([[1.0], [3.0]], preprocessing.MultiLabelBinarizer().fit_transform(tags)).y.shape == (2, 3)


@place(
    "validation.py check_integers_fit: {}: expected integers that {} can hold, the widest",
    "x: ",
    "convert them to float32",
)
def test_integers_that_jax_cannot_hold(refused):
    need("jax")
    large = np.array([[3_000_000_000], [1]])
    with refused:
        nn.Dataset(large, [0, 1], device="jax:cpu")
    assert float(nn.Dataset(large.astype("float32"), [0, 1], device="jax:cpu").x[0, 0]) == 3e9


@place(
    "validation.py check_same_place: {} and {}: expected arrays on one device, got {}",
    "x and y",
    "move one of them with nn_any.to_device(..., 'array_api_strict:cpu')",
)
def test_arrays_of_two_libraries(refused):
    x = nn.to_device(X, "array_api_strict:cpu")
    with refused:
        nn.Dataset(x, Y)
    nn.Dataset(x, nn.to_device(Y, "array_api_strict:cpu"))


@place(
    "validation.py check_finite: {}: expected finite numbers, got {} at {} ({} such", "x: ", "drop those rows or fill"
)
def test_numbers_that_are_not_finite(refused):
    x = X.copy()
    x[3, 1] = np.nan
    with refused:
        nn.Dataset(x, Y)
    whole = np.isfinite(x).all(axis=1)
    nn.Dataset(x[whole], Y[whole])
    nn.Dataset(np.nan_to_num(x), Y)


@place(
    "validation.py check_input_shape: {}: expected (n, {}) or one example {}, got shape",
    "x: ",
    "use nn_any.book.network, or pass x.T",
)
def test_a_column_in_place_of_a_row(refused, net):
    column = X[0][:, None]
    with refused:
        net.predict(column)
    net.predict(column.T)
    network.Network([4, 5, 3]).feedforward(column)


@place(
    "validation.py check_input_shape: {}: expected at least one example, got shape {}", "x: ", "at least one example"
)
def test_no_example(refused, net):
    with refused:
        net.predict(X[:0])
    net.predict(X[:1])


@place(
    "validation.py check_input_shape: {}: expected (n, {}), got shape {}; images are", "x: ", "np.moveaxis(x, 1, -1)"
)
def test_images_with_the_channels_first(refused):
    net = nn.Network([(4, 5, 3), nn.Flatten(), 2])
    x = np.zeros((6, 3, 4, 5), "float32")
    with refused:
        net.predict(x)
    net.predict(np.moveaxis(x, 1, -1))


@place(
    "validation.py check_same_length: {} and {}: expected one entry an example in each,",
    "x and y",
    "one entry an example",
)
def test_labels_that_are_too_few(refused):
    with refused:
        nn.Dataset(X, Y[:5])
    nn.Dataset(X[:5], Y[:5])


@place(
    "validation.py check_labels: {}: expected labels from 0 on, got {}; number the", "y: ", "number the classes from 0"
)
def test_labels_below_0(refused):
    with refused:
        nn.Dataset(X, Y - 1)
    nn.Dataset(X, Y)


@place(
    "validation.py check_labels: {}: expected labels within 0 … {}, got labels from",
    "y: ",
    "the network has 3 output(s): number the classes from 0, or build it with more",
)
def test_labels_beyond_the_outputs(refused, net):
    with refused:
        net.loss((X, Y + 1))
    net.loss((X, Y))
    nn.Network([4, 5, 4]).loss((X, Y + 1))


@place("validation.py check_targets: {}: expected {}targets (n, {}), for {} output(s),", "y: ", "use numpy.ravel(y)")
def test_a_column_of_labels(refused, net):
    y = Y[:, None]
    with refused:
        net.loss((X, y))
    net.loss((X, np.ravel(y).astype("int64")))
    for real in (y.astype("float32"), pd.Series(y[:, 0].astype("float32"), name="kind"), Y.astype("float32").tolist()):
        with refused:
            net.fit((X, real), epochs=1)
        net.fit((X, np.ravel(real).astype("int64")), epochs=1)


@place("validation.py check_weights: {}: expected one weight for each {}, ({},), got", "sample_weight", "(12,)")
def test_weights_that_are_too_few(refused):
    with pytest.raises(nn.InvalidValueError, match=r"use .ravel\(\)"):
        nn.Dataset(X, Y, sample_weight=np.ones((12, 1)))
    nn.Dataset(X, Y, sample_weight=np.ones((12, 1)).ravel())
    with refused:
        nn.Dataset(X, Y, sample_weight=[1.0, 2.0])
    nn.Dataset(X, Y, sample_weight=np.ones(12))


@place("validation.py check_weights: {}: expected weights of 0 or more, and not all 0,", "sample_weight", "0 or more")
def test_weights_below_0(refused):
    weights = np.arange(12.0) - 3
    with refused:
        nn.Dataset(X, Y, sample_weight=weights)
    nn.Dataset(X, Y, sample_weight=np.maximum(weights, 0))


def weigh(class_weight):
    return nn.Dataset(X, Y).weighted(class_weight=class_weight).sample_weight


@place("validation.py check_class_weight: class_weight: expected 'balanced', a dict or a", "class_weight", "'balanced'")
def test_a_word_for_class_weights(refused):
    with refused:
        weigh("equal")
    np.testing.assert_allclose(weigh("balanced"), 1)


@place(
    "validation.py check_class_weight: class_weight: expected classes within 0 … {}{},",
    "class_weight",
    "within 0 … 2",
)
def test_a_weight_for_no_class(refused):
    with refused:
        weigh({3: 2.0})
    weigh({2: 2.0})


@place(
    "validation.py check_class_weight: class_weight: expected a number for class {}, got", "class_weight", "a number"
)
def test_a_class_weight_that_is_no_number(refused):
    with refused:
        weigh({2: "double"})
    weigh({2: 2.0})


PAIRS = [(row[:, None], label) for row, label in zip(X, Y.tolist(), strict=True)]


def in_every_form(net):
    return [net.loss(data) for data in (nn.Dataset(X, Y), (X, Y), PAIRS)]


@place("validation.py as_columns: {}: expected {}, got {}; write (x, y)", "data", "write (x, y)")
def test_data_of_no_form(refused, net):
    with refused:
        net.loss({"x": X, "y": Y})
    net.loss((X, Y))
    np.testing.assert_allclose(in_every_form(net), net.loss((X, Y)))


@place("validation.py as_columns: {}: expected {}, got {} as entry {}; {}", "data", "make each entry a pair (x, y)")
def test_pairs_that_are_none(refused, net):
    with refused:
        net.loss([*PAIRS, X])
    np.testing.assert_allclose(in_every_form(net), net.loss((X, Y)))


@place(
    "validation.py as_columns: {}: expected at least one (x, y) pair, got none; a",
    "data",
    "a zip can be read only once",
)
def test_a_zip_that_is_used_up(refused, net):
    pairs = zip(X, Y, strict=True)
    list(pairs)
    with refused:
        net.loss(pairs)
    net.loss(zip(X, Y, strict=True))


@place("validation.py _stack: {}: expected one shape for all, got {} and, at {},", "x of data", "one shape for all")
def test_pairs_of_different_shapes(refused, net):
    with refused:
        net.loss([*PAIRS, (np.ones((3, 1)), 0)])
    net.loss([*PAIRS, (np.ones((4, 1)), 0)])


@place("validation.py _one_per_member: {}: expected {} of them, one a member, got {};", "learning_rates", "pass a list")
def test_one_rate_for_all_members(refused):
    with refused:
        nn.Ensemble([4, 3], 2, learning_rates=0.1)
    nn.Ensemble([4, 3], 2, learning_rates=[0.1, 0.1])


@place(
    "validation.py _one_per_member: {}: expected {} of them, one a member, got {}",
    "learning_rates",
    "expected 2 of them",
)
def test_rates_for_some_members(refused):
    with refused:
        nn.Ensemble([4, 3], 2, learning_rates=[0.1])
    nn.Ensemble([4, 3], 2, learning_rates=[0.1, 0.2])


@place("validation.py as_array: {}: expected real numbers, got {}", "x: ", "convert them with numpy.asarray(")
def test_text_for_numbers(refused):
    listed = X.astype(str).tolist()
    with refused:
        nn.Dataset(listed, Y)
    np.testing.assert_array_equal(nn.Dataset(np.asarray(listed, dtype="float32"), Y).x, X)


class Sparse:
    """What passes for a sparse matrix."""

    def toarray(self):
        return X


@pytest.mark.parametrize(
    ("x", "remedy", "carry_out"),
    [
        (X.astype(str), r"convert them with .astype('float32')", lambda x: x.astype("float32")),
        (X * 1j, "take their real parts with .real", lambda x: x.real),
        (X.astype("longdouble"), "convert them with .astype('float32')", lambda x: x.astype("float32")),
        (Sparse(), "use .toarray()", lambda x: x.toarray()),
        (np.array([[1, None]] * 12), "put numbers in the place of such entries", lambda x: x[:, :1].astype(float)),
        (
            np.arange("2026-01-01", "2026-01-13", dtype="M8[D]")[:, None],
            "count days with (x - x.min()) / np.timedelta64(1, 'D')",
            lambda x: (x - x.min()) / np.timedelta64(1, "D"),
        ),
        (
            np.arange(12).astype("m8[D]")[:, None],
            "count days with x / np.timedelta64(1, 'D')",
            lambda x: x / np.timedelta64(1, "D"),
        ),
        (
            np.array([(1.0, 2.0)] * 12, dtype=[("a", float), ("b", float)]),
            "use numpy.lib.recfunctions.structured_to_unstructured",
            lambda x: recfunctions.structured_to_unstructured(x),
        ),
    ],
    ids=["text", "complex", "longdouble", "sparse", "objects", "dates", "times", "fields"],
)
def test_what_holds_no_real_numbers(x, remedy, carry_out):
    """What the place of the test before says of other kinds."""
    if isinstance(x, np.ndarray) and x.dtype == np.float64:
        pytest.skip("no wider reals here")
    with pytest.raises(nn.InvalidTypeError) as caught:
        nn.Dataset(x, Y)
    assert remedy in str(caught.value)
    assert len(nn.Dataset(carry_out(x), Y)) == 12


@place(
    "validation.py _check_taken: {}: expected an array of real numbers, got {}; {}",
    "x: ",
    "use .to_dense()",
)
def test_a_sparse_tensor(refused):
    torch = need("torch")
    x = torch.asarray(X).to_sparse()
    with refused:
        nn.Dataset(x, Y)
    nn.Dataset(x.to_dense(), torch.asarray(Y))


@place("validation.py as_array: {}: expected real numbers, got {}{}; {}", "x: ", "take their real parts")
def test_complex_numbers_of_another_library(refused):
    strict = nn.select_device("array_api_strict").xp
    x = strict.asarray(X * 1j)
    with refused:
        nn.Dataset(x, Y)
    nn.Dataset(strict.real(x), strict.asarray(Y))


@place(
    "validation.py check_finite: {}: expected numbers that {} can hold, at most {},",
    "x: ",
    "scale them down, or use dtype='float64'",
)
def test_numbers_beyond_float32(refused, net):
    x = X.astype("float64")
    x[3, 1] = 1e39
    with refused:
        net.predict(x)
    net.predict(x / 1e39)
    nn.Network([4, 5, 3], dtype="float64").predict(x)


@place("validation.py check_extremes: {}: expected targets {} for the loss {}, got {} …", "y: ", "divide them by 255")
def test_targets_beyond_1(refused):
    net, y = nn.Network([4, 1], loss="cross_entropy"), np.array([[0.0], [255.0]] * 6)
    with refused:
        net.loss((X, y))
    net.loss((X, y / 255))


@pytest.mark.parametrize(
    ("loss", "y", "remedy", "carry_out"),
    [
        ("cross_entropy", [-1.0, 1.0] * 6, r"bring them there with \(y - \(-1\)\) / 2", lambda y: (y + 1) / 2),
        ("poisson", [-1.0, 1.0] * 6, "use a loss .* such as 'mean_squared_error'", None),
        ("cross_entropy", [-1.0, -1.0] * 6, "use a loss .* such as 'quadratic'", None),
    ],
)
def test_targets_below_0(loss, y, remedy, carry_out):
    """What the same place says of others."""
    y = np.array(y)
    with pytest.raises(nn.InvalidValueError, match=remedy):
        nn.Network([4, 1], loss=loss).loss((X, y))
    if carry_out is not None:
        nn.Network([4, 1], loss=loss).loss((X, carry_out(y)))
    else:
        nn.Network([4, 1], loss=remedy.rpartition(" ")[2].strip("'")).loss((X, y))


@place("validation.py as_columns: {}: expected {}, got {} alone; write (x, y)", "data", "write (x, y)")
def test_inputs_alone(refused, net):
    with refused:
        net.loss(X)
    net.loss((X, Y))
