"""Every kind of bad input on every backend: the message, the family of the error, and weights as they were."""

import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import NOT_NUMPY, need

import nn_any as nn
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3
T = np.eye(3, dtype="float32")[Y]


def with_one(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


NUMBERS = {  # numbers that every library can hold: given as its own arrays as well as NumPy's
    "NaN": (with_one(X, (5, 2), np.nan), Y, ValueError, r"x: expected finite numbers, got nan at row 5, column 2 \(1 "),
    "infinity": (
        with_one(X, (0, 3), -np.inf),
        Y,
        ValueError,
        "x: expected finite numbers, got -inf at row 0, col",
    ),
    "NaN in targets": (
        X,
        with_one(T, (11, 0), np.nan),
        ValueError,
        "y: expected finite numbers, got nan at row 11",
    ),
    "NaN in images": (
        with_one(X, (7, 1), np.nan).reshape(12, 2, 2),
        Y,
        ValueError,
        r"x: expected finite numbers, got nan at index \(7, 0, 1\)",
    ),
    "too few features": (X[:, :3], Y, ValueError, r"x: expected \(n, 4\) or one example \(4,\), got shape \(12, 3\)"),
    "too many features": (np.hstack([X, X]), Y, ValueError, r"x: expected \(n, 4\) .*, got shape \(12, 8\)"),
    "one axis": (
        X[:, 0],
        Y,
        ValueError,
        r"x: expected \(n, features\) or more axes, got shape \(12,\); one",
    ),
    "no axis": (X[0, 0], Y, ValueError, r"x: expected \(n, features\) or more axes, got shape \(\)"),
    "three axes of targets": (
        X,
        T[:, :, None],
        ValueError,
        r"y: expected labels .* got shape \(12, 3, 1\)",
    ),
    "lengths differ": (X, Y[:7], ValueError, "x and y: expected one entry an example in each, got 12 and 7"),
    "complex": (X.astype("complex64"), Y, TypeError, "x: expected real numbers, got complex"),
    "complex targets": (X, T.astype("complex64"), TypeError, "y: expected real numbers, got complex"),
    "negative labels": (X, Y - 1, ValueError, "y: expected labels from 0 on, got -1; number the"),
    "fractional labels": (
        X,
        (Y + 0.5).astype("float32"),
        ValueError,
        "y: expected integer labels .*labels must be",
    ),
    "labels out of range": (
        X,
        Y + 1,
        ValueError,
        "y: expected labels within 0 … 2, got labels from 1 to 3; .*3 out",
    ),
    "too few targets": (
        X,
        T[:, :2],
        ValueError,
        r"y: expected .*targets \(n, 3\), .*got shape \(12, 2",
    ),
    "no examples": (X[:0], Y[:0], ValueError, r"x: expected at least one example and one feature, got shape \(0, 4\)"),
    "no features": (X[:, :0], Y, ValueError, r"x: expected at least one example and one feature, got shape \(12, 0\)"),
}
OBJECTS = {  # what only NumPy and lists can hold
    "objects": (
        X.astype(object),
        Y,
        TypeError,
        r"x: expected real numbers, got Python objects .*\.astype\(",
    ),
    "long doubles": (X.astype("longdouble"), Y, TypeError, "x: expected real numbers, got float(96|128)"),
    "text": (X.astype(str), Y, TypeError, "x: expected real numbers, got text"),
    "bytes": (X.astype("S4"), Y, TypeError, "x: expected real numbers, got bytes"),
    "dates": (X.astype("int64").astype("M8[s]"), Y, TypeError, "x: expected real numbers, got dates .*; count days"),
    "a gap among text labels": (
        X,
        np.array(["a", None, "c"])[Y],
        ValueError,
        r"y: expected text for every label, got None at row 1 \(4 ",
    ),
    "objects as labels": (X, Y.astype(object), TypeError, "y: expected real numbers, got Python objects"),
    "None among numbers": (
        [[1.0, None, 2.0, 3.0]] * 3,
        [0, 1, 2],
        TypeError,
        "x: expected real numbers, got Python objects",
    ),
    "ragged": ([[1.0, 2.0, 3.0, 4.0], [3.0]], [0, 1], ValueError, "x: expected rows of one length, got ragged ones"),
    "text as data": ("data.csv", Y, TypeError, "x: expected real numbers, got text"),
    "nothing": (None, Y, TypeError, "x: expected real numbers, got Python objects"),
    "an empty list": ([], [], ValueError, "x: expected .*, got shape"),
}
if np.dtype("longdouble").itemsize == 8:  # Windows has none
    del OBJECTS["long doubles"]
CASES = [(name, own) for own in (False, True) for name in (NUMBERS if own else NUMBERS | OBJECTS)]


@pytest.fixture
def net(backend):
    """A network that must come out of the test as it went in."""
    net = nn.Network([4, 5, 3], device=backend.device, seed=0)
    before = [nn.to_numpy(leaf).copy() for leaf in tree_leaves(net.state)]
    yield net
    for leaf, old in zip(tree_leaves(net.state), before, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(leaf), old)
    assert (net.epoch, net.steps, net.snapshot.progress.optimizer) == (0, 0, None)


def refused(call, kind, message):
    """The error is of the built-in kind and of the family, and its message begins with this."""
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, nn.NnAnyError)
    assert re.match(message, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(("case", "own"), CASES, ids=lambda value: {True: "own", False: "host"}.get(value, value))
def test_bad_data(net, backend, case, own):
    x, y, kind, message = (NUMBERS | OBJECTS)[case]
    if own:
        x, y = backend.asarray(x), backend.asarray(y)
    for call in (
        lambda: net.fit((x, y), epochs=1, batch_size=4, optimizer=nn.SGD(0.5)),
        lambda: net.SGD((x, y), 1, 4, 0.5),
        lambda: net.evaluate((x, y)),
    ):
        refused(call, kind, message)
    plan = {"epochs": 1, "batch_size": 4, "optimizer": nn.SGD(0.5)}
    named = f"(?=validation_data: )(validation_data: )?({message})"
    refused(lambda: net.fit((X, Y), **plan, validation_data=(x, y)), kind, named)


LENIENT = {"too few features", "too many features", "fractional labels", "labels out of range", "too few targets"}


@pytest.mark.parametrize("case", sorted(set(NUMBERS) - LENIENT))
def test_bad_data_sets(backend, case):
    """What no network is needed for to see is seen when the data set is made."""
    x, y, kind, message = NUMBERS[case]
    for device in (None, backend.device):
        refused(lambda: nn.Dataset(backend.asarray(x), backend.asarray(y), device=device), kind, message)  # noqa: B023


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_check_for_finite_numbers_can_be_switched_off(backend, value):
    x = with_one(X, (5, 2), value)
    data = nn.Dataset(x, Y, device=backend.device, check_finite=False)
    np.testing.assert_array_equal(nn.to_numpy(data.x), x)
    refused(lambda: nn.Dataset(x, Y, check_finite="no"), TypeError, "check_finite: expected True or False, got 'no'")


@pytest.mark.parametrize("place", [0, 1_000_000, 1_599_999])
def test_a_large_array_is_looked_at_in_parts(backend, place):
    """The first number, one in the middle, and the last, each found and named rightly."""
    x = np.zeros((40_000, 40), dtype="float32")
    y = np.arange(len(x)) % 2
    nn.Dataset(x, y, device=backend.device)
    x.reshape(-1)[place] = np.nan
    where = f"x: expected finite numbers, got nan at row {place // 40}, column {place % 40} \\(1 such"
    refused(lambda: nn.Dataset(x, y, device=backend.device), ValueError, where)


def test_integers_too_large_for_the_device_do_not_wrap():
    need("jax")
    x = with_one(X.astype("int64"), (3, 3), 2**40)
    message = r"x: expected integers that int32 can hold, the widest of jax:cpu, got -?\d+ … 1099511627776; convert"
    refused(lambda: nn.Dataset(x, Y, device="jax:cpu"), ValueError, message)
    np.testing.assert_array_equal(nn.Dataset(x, Y, device="numpy").x, x)


def test_half_precision_is_welcome_everywhere(backend):
    data = nn.Dataset(X.astype("float16"), Y, device=backend.device)
    np.testing.assert_array_equal(nn.to_numpy(data.x).astype("float64"), X.astype("float16").astype("float64"))
    assert len(nn.Network([4, 3], device=backend.device, seed=0).SGD(data, 1, 4, 0.5)) == 1


def test_integers_need_no_check(backend, monkeypatch):
    def forbidden(*arguments):
        raise AssertionError("looked for NaN among integers")

    monkeypatch.setattr(nn.validation, "is_finite", forbidden)
    nn.Dataset(np.ones((12, 4), dtype="uint8"), Y, device=backend.device)


@pytest.mark.parametrize("label", [0, 2])
def test_one_class_only(net, backend, label):
    y = np.full(12, label)
    message = r"y: expected two classes or more to learn from, got one for all 12 examples; .*classes=3\)"
    for data in ((X, y), (backend.asarray(X), backend.asarray(y)), nn.Dataset(X, y, device=net.device)):
        refused(lambda: net.SGD(data, 1, 4, 0.5), ValueError, message)  # noqa: B023
    assert net.evaluate((X, y)) >= 0  # what is only looked at may be of one class


def test_one_class_that_is_meant(backend):
    net = nn.Network([4, 5, 3], device=backend.device, seed=0)
    data = nn.Dataset(X, np.full(12, 2), classes=3, device=backend.device)
    assert len(net.SGD(data, 1, 4, 0.5)) == 1
    assert len(net.SGD(nn.Dataset(X, Y, device=backend.device).take([2, 5]), 1, 4, 0.5)) == 1
    assert len(net.SGD((X[:1], Y[:1]), 1, 4, 0.5)) == 1  # a single example
    linear = nn.Network([4, nn.Dense(1, activation="linear")], device=backend.device, seed=0)
    assert len(linear.SGD((X, np.full(12, 2)), 1, 4, 0.01)) == 1  # numbers to predict


PLANS = {
    "batch size 0": ({"batch_size": 0}, ValueError, "batch_size: expected a positive integer, got 0"),
    "negative batch size": ({"batch_size": -4}, ValueError, "batch_size: expected a positive integer, got -4"),
    "fractional batch size": ({"batch_size": 2.0}, TypeError, "batch_size: expected a positive integer, got 2.0"),
    "negative epochs": ({"epochs": -1}, ValueError, "epochs: expected an integer of at least 0, got -1"),
    "fractional epochs": ({"epochs": 0.5}, TypeError, "epochs: expected an integer of at least 0, got 0.5"),
    "epochs NaN": ({"epochs": float("nan")}, TypeError, "epochs: expected an integer of at least 0, got nan"),
    "shuffle": ({"shuffle": "no"}, TypeError, "shuffle: expected True or False, got 'no'"),
    "verbose": ({"verbose": 1}, TypeError, "verbose: expected True or False, got 1"),
    "engine": ({"engine": "fast"}, ValueError, "engine: expected one of 'auto', 'eager', 'compiled', got 'fast'"),
}


@pytest.mark.parametrize("case", PLANS)
def test_bad_plans(net, case):
    changes, kind, message = PLANS[case]
    plan = {"epochs": 1, "batch_size": 4, "optimizer": nn.SGD(0.5)} | changes
    refused(lambda: net.fit((X, Y), **plan), kind, message)


@pytest.mark.parametrize(
    ("rate", "kind", "message"),
    [
        (0, ValueError, "learning_rate: expected a positive, finite number, got 0"),
        (-0.5, ValueError, "learning_rate: expected a positive, finite number, got -0.5"),
        (float("nan"), ValueError, "learning_rate: expected a positive, finite number, got nan"),
        (float("inf"), ValueError, "learning_rate: expected a positive, finite number, got inf"),
        (10**400, ValueError, "learning_rate: expected a finite number above 0, got 1000"),
        (1e39, ValueError, "learning_rate: expected a finite float32 number, got 1e\\+39"),
        ("0.5", TypeError, "learning_rate: expected a positive number, got '0.5'"),
        (None, TypeError, "learning_rate: expected a positive number, got None"),
        (True, TypeError, "learning_rate: expected a positive number, got True"),
    ],
)
def test_bad_rates(net, rate, kind, message):
    refused(lambda: net.fit((X, Y), epochs=1, batch_size=4, optimizer=nn.SGD(rate)), kind, message)
    refused(lambda: net.SGD((X, Y), 1, 4, rate), kind, message)


@pytest.mark.parametrize("epochs", [0])
def test_no_epochs_do_nothing(net, epochs):
    for history in (
        net.fit((X, Y), epochs=epochs, batch_size=4, optimizer=nn.SGD(0.5), validation_data=(X, Y)),
        net.SGD((X, Y), epochs, 4, 0.5),
    ):
        assert len(history) == 0
        assert list(history) == []
    progress = replace(net.snapshot.progress, optimizer=None)  # which one was asked for may be remembered
    net.snapshot = net.snapshot._replace(progress=progress)


SIZES = {
    "no inputs": ([0, 3], ValueError, "layers, entry 0: expected a positive number of inputs"),
    "fewer than no units": ([4, -3], ValueError, "layers, entry 1: expected a positive number of units, got -3"),
    "half a unit": (
        [4, 2.5],
        TypeError,
        "layers, entry 1: expected a number of units or a .*, got 2.5",
    ),
    "nothing": ([], ValueError, "layers: expected the input size and at least one layer"),
    "axes that do not fit": ([(2, 2), 3], ValueError, "layers, entry 1, .*put a Flatten layer before"),
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes_that_make_no_sense(backend, case):
    layers, kind, message = SIZES[case]
    refused(lambda: nn.Network(layers, device=backend.device), kind, message)


@pytest.mark.backends(*NOT_NUMPY)
def test_mixed_libraries(net, backend):
    """Data of two libraries, and arrays of another library where the network's own belong."""
    message = re.escape(f"x and y: expected arrays on one device, got x on {backend.device} and y on numpy:cpu; move")
    refused(lambda: net.SGD((backend.asarray(X), Y), 1, 4, 0.5), ValueError, message)
    host = nn.Network([4, 5, 3], device="numpy", seed=0)
    message = f"x: expected a NumPy array, a list, or an array on numpy:cpu, got one on {backend.device}; move it with"
    for call in (host.predict, host.feedforward, lambda x: host.backprop(x, Y)):
        refused(lambda: call(backend.asarray(X)), ValueError, message)  # noqa: B023


def test_mixed_devices():
    need("array_api_strict")
    x, y = nn.to_device(X, "array_api_strict:cpu"), nn.to_device(Y, "array_api_strict:device1")
    message = "x and y: expected arrays on one device, got x on array_api_strict:cpu and y on array_api_strict:device1"
    refused(lambda: nn.Dataset(x, y), ValueError, message)
    net = nn.Network([4, 5, 3], device="array_api_strict:device1", seed=0)
    refused(lambda: net.predict(x), ValueError, "x: expected .* on array_api_strict:device1, got one on array")


def test_float64_where_the_device_has_none():
    need("jax")
    message = "dtype: device jax:cpu has no float64; .*jax_enable_x64.*JAX_ENABLE_X64=1.*dtype='float32'"
    refused(lambda: nn.Network([4, 3], dtype="float64", device="jax:cpu"), TypeError, message)
    refused(lambda: nn.Dataset(X, Y, dtype="float64", device="jax:cpu"), TypeError, message)
    net = nn.Network([4, 3], dtype="float64", device="numpy", seed=0)
    before = net.weights[0]
    refused(lambda: net.to("jax:cpu"), TypeError, message)
    assert str(net.device) == "numpy:cpu"
    np.testing.assert_array_equal(net.weights[0], before)


def test_one_family():
    family = {nn.InvalidValueError: ValueError, nn.InvalidTypeError: TypeError, nn.ModelFileError: ValueError}
    family |= {nn.DataFileError: ValueError, nn.DeviceNotAvailableError: RuntimeError, nn.EngineError: RuntimeError}
    for error, kind in family.items():
        assert issubclass(error, nn.NnAnyError)
        assert issubclass(error, kind)
    refused(lambda: nn.select_device("abacus"), ValueError, "device: expected 'auto'")
    refused(lambda: nn.select_device("cupy:77"), RuntimeError, "device 'cupy:77' is not available")
