"""Each bad argument: one clear error, which names it, what came and the remedy, before a weight changes."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import NOT_NUMPY, need

import nn_any as nn
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3
NAN = X.copy()
NAN[5, 2] = np.nan
INF = X.copy()
INF[0, 0] = -np.inf

BAD_DATA = {
    "too few features": ((X[:, :3], Y), ValueError, r"x: expected \(n, 4\) or one example \(4,\), got shape \(12, 3\)"),
    "no batch axis": ((X[0], Y[:1]), ValueError, r"x: expected .*, got shape \(4,\)"),
    "lengths differ": ((X, Y[:5]), ValueError, "x and y: expected one entry an example in each, got 12 and 5"),
    "label too large": (
        (X, Y + 1),
        ValueError,
        r"y: expected labels within 0 … 2, got labels from 1 to 3; .*number the classes from 0",
    ),
    "label negative": ((X, Y - 1), ValueError, "y: expected labels from 0 on, got -1; number the classes from 0"),
    "fractional labels": (
        (X, Y + 0.5),
        ValueError,
        r"y: expected integer labels \(n,\) .*; labels must be integers \(n,\): use numpy.ravel\(y\)",
    ),
    "a column of labels": (
        (X, Y[:, None]),
        ValueError,
        r"y: expected integer labels \(n,\) .*, got shape \(12, 1\); labels must .*: use numpy.ravel\(y\)",
    ),
    "empty": ((X[:0], Y[:0]), ValueError, "x: expected at least one example"),
    "NaN": (
        (NAN, Y),
        ValueError,
        r"x: expected finite numbers, got nan at row 5, column 2 \(1 such values in all\); drop",
    ),
    "infinity": ((INF, Y), ValueError, r"x: expected finite numbers, got -inf at row 0, column 0"),
    "NaN target": ((X, np.full((12, 3), np.nan)), ValueError, "y: expected finite numbers"),
    "text": ((X.astype(str), Y), TypeError, r"x: expected real numbers, got text .*astype\('float32'\)"),
    "objects": ((X.astype(object), Y), TypeError, "x: expected real numbers, got Python objects"),
    "complex": ((X + 1j, Y), TypeError, "x: expected real numbers, got complex numbers"),
    "ragged": (([[1.0, 2.0], [3.0]], [0, 1]), ValueError, "x: expected rows of one length, got ragged ones"),
    "wrong number of targets": (
        (X, np.zeros((12, 2))),
        ValueError,
        r"y: expected integer labels \(n,\) or targets \(n, 3\), for 3",
    ),
    "three axes of targets": (
        (X, np.zeros((12, 3, 1))),
        ValueError,
        r"y: expected labels \(n,\) or targets \(n, outputs\), got shape \(12, 3, 1\)",
    ),
}


@pytest.fixture
def net(backend):
    net = nn.Network([4, 5, 3], device=backend.device, seed=0)
    before = [nn.to_numpy(leaf).copy() for leaf in tree_leaves(net.params)]
    yield net
    for leaf, old in zip(tree_leaves(net.params), before, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(leaf), old)
    assert net.epoch == net.steps == 0


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(net, case):
    data, error, message = BAD_DATA[case]
    for call in (
        lambda: net.SGD(data, 1, 4, 0.5),
        lambda: net.fit(data, epochs=1, batch_size=4, optimizer=nn.SGD(0.5)),
        lambda: net.SGD((X, Y), 1, 4, 0.5, test_data=data),
        lambda: net.fit((X, Y), epochs=1, batch_size=4, optimizer=nn.SGD(0.5), validation_data=data),
        lambda: net.evaluate(data),
        lambda: net.accuracy(data),
        lambda: net.loss(data),
    ):
        with pytest.raises(error, match=message):
            call()


BATCH_CASES = set(BAD_DATA) - {"no batch axis"}


@pytest.mark.parametrize("case", sorted(BATCH_CASES))
def test_bad_batches(net, case):
    data, error, _ = BAD_DATA[case]
    for call in (
        lambda: net.update_mini_batch(data, 0.5),
        lambda: net.backprop(*data),
        lambda: net.gradients(*data),
    ):
        with pytest.raises(error, match=r"^[xy]( and y)?: expected "):
            call()


@pytest.mark.parametrize("case", ["too few features", "empty", "NaN", "text", "complex", "ragged"])
def test_bad_inputs(net, case):
    (x, _), error, _ = BAD_DATA[case]
    for call in (net.feedforward, net.predict, net.predict_proba):
        with pytest.raises(error, match="^x: expected "):
            call(x)


@pytest.mark.parametrize(("scale", "ending"), [(None, ""), (255, " as real numbers, divided by 255")])
def test_a_data_set_where_an_array_belongs(net, scale, ending):
    data = nn.Dataset(np.ones((2, 4), dtype=np.uint8), [0, 1], device=net.device, scale=scale)
    for call in (net.feedforward, net.predict, net.predict_proba):
        with pytest.raises(TypeError, match=rf"x: expected an array, got Dataset\(2 .*\); pass dataset.x{ending}$"):
            call(data)


def test_columns_as_the_book_has_them_are_for_the_book(net):
    with pytest.raises(ValueError, match=r"got shape \(4, 1\); for the book's columns use nn_any.book.network"):
        net.feedforward(X[0][:, None])


@pytest.mark.parametrize("data", [X, "digits", 3, {"x": X}, [X, Y], [1, 2], [(X[0], 1, 2)]], ids=str)
def test_data_of_no_known_form(net, data):
    with pytest.raises(TypeError, match=r"training_data: expected a Dataset, a tuple \(x, y\)"):
        net.SGD(data, 1, 4, 0.5)


def test_pairs_of_different_shapes_and_a_used_up_zip(net):
    with pytest.raises(
        ValueError, match=r"x of training_data: expected one shape for all, got \(4, 1\) and, at 1, \(3, 1\)"
    ):
        net.SGD([(X[0][:, None], 0), (X[0][:3, None], 1)], 1, 4, 0.5)
    used = zip(X, Y, strict=True)
    list(used)
    with pytest.raises(ValueError, match="a zip can be read only once"):
        net.SGD(used, 1, 4, 0.5)


@pytest.mark.backends(*NOT_NUMPY)
def test_arrays_of_another_library(backend):
    """Entry points that take arrays want the network's own; each message names both sides."""
    need("array_api_strict")
    places = {nn.select_device(spec) for spec in ("numpy", "array_api_strict:device1")} - {backend.device}
    x, y = backend.asarray(X), backend.asarray(Y)
    for elsewhere in places:
        net = nn.Network([4, 5, 3], device=elsewhere, seed=0)
        pattern = f"x: expected a NumPy array, a list, or an array on {elsewhere}, got one on {backend.device}; move it"
        for call in (net.feedforward, net.predict):
            with pytest.raises(ValueError, match=pattern):
                call(x)
        with pytest.raises(ValueError, match=pattern):
            net.backprop(x, Y)
        with pytest.raises(ValueError, match=pattern):
            net.update_mini_batch((x, Y), 1)
        with pytest.raises(ValueError, match=f"y: expected a NumPy array, .* got one on {backend.device}"):
            net.backprop(X, y)
        assert len(net.SGD((x, y), 1, 4, 0.5)) == 1  # data sets are moved, once


@pytest.mark.backends(*NOT_NUMPY)
def test_x_and_y_of_two_libraries_or_devices(backend):
    message = re.escape(
        f"x and y: expected arrays on one device, got x on {backend.device} and y on numpy:cpu; move one"
    )
    with pytest.raises(ValueError, match=message):
        nn.Dataset(backend.asarray(X), Y)
    if backend.name == "strict":
        with pytest.raises(ValueError, match="got x on array_api_strict:cpu and y on array_api_strict:device1"):
            nn.Dataset(backend.asarray(X), nn.to_device(Y, "array_api_strict:device1"))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "expected the input size and at least one layer"),
        ([4], "expected the input size and at least one layer"),
        (4, "expected the input size"),
        ("4,3", "expected the input size"),
        ([0, 3], "entry 0: expected a positive number of inputs"),
        ([4, 0], "entry 1: expected a positive number of units, got 0"),
        ([4, -3, 2], "entry 1: expected a positive number of units, got -3"),
        ([4.0, 3], "entry 0: expected a positive number of inputs"),
        ([True, 3], "entry 0: expected a positive number of inputs"),
        ([(2, 2), 3], r"entry 1, Dense\(units=3.*: expected inputs of one axis \(features,\), got \(2, 2\)"),
    ],
)
def test_bad_sizes(layers, message):
    with pytest.raises(ValueError, match=f"layers.*{message}"):
        nn.Network(layers, device="cpu")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"activation": "sigmoidal"},
            ValueError,
            "activation: expected one of exponential, gelu, .*, got 'sigmoidal'",
        ),
        ({"activation": 3}, TypeError, "activation: expected a name"),
        (
            {"loss": "hinge"},
            ValueError,
            "loss: expected one of cross_entropy, huber, .*, got 'hinge'; register your own with nn_any.losses",
        ),
        ({"initializer": "he"}, ValueError, "initializer: expected one of glorot_normal, .*, got 'he'"),
        ({"dtype": "float16"}, ValueError, "dtype: expected 'float32' or 'float64', got 'float16'"),
        ({"dtype": int}, ValueError, "dtype: expected 'float32' or 'float64'"),
        ({"seed": -1}, ValueError, "seed: expected an integer of at least 0, got -1"),
        ({"seed": 0.5}, TypeError, "seed: expected an integer of at least 0, got 0.5"),
        ({"device": "abacus"}, ValueError, "device: expected 'auto'"),
        (
            {"layers": [4, nn.Dense(3, activation="relu")], "loss": "cross_entropy"},
            ValueError,
            "loss: 'cross_entropy' needs outputs with values within 0 … 1",
        ),
    ],
)
def test_bad_network_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        nn.Network(**{"layers": [4, 3], "device": "cpu", **arguments})


def test_a_layer_that_is_none():
    with pytest.raises(
        TypeError, match="layers, entry 1: expected a number of units or a nn_any.layers.Layer, got 'dense'"
    ):
        nn.Network([4, "dense", 2], device="cpu")
    with pytest.raises(ValueError, match="units of a Dense layer: expected a positive integer, got 0"):
        nn.Dense(0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "epochs: expected an integer of at least 0, got -1"),
        ({"epochs": 1.5}, TypeError, "epochs: expected an integer of at least 0, got 1.5; convert it with int"),
        ({"epochs": True}, TypeError, "epochs: expected an integer"),
        ({"mini_batch_size": 0}, ValueError, "batch_size: expected a positive integer, got 0"),
        ({"mini_batch_size": "10"}, TypeError, "batch_size: expected a positive integer"),
        ({"eta": 0}, ValueError, "learning_rate: expected a positive, finite number, got 0"),
        ({"eta": -0.1}, ValueError, "learning_rate: expected a positive, finite number"),
        ({"eta": float("nan")}, ValueError, "learning_rate: expected a positive, finite number, got nan"),
        ({"eta": "3"}, TypeError, "learning_rate: expected a positive number, got '3'"),
        ({"callbacks": [3]}, TypeError, "callbacks: expected nn_any.Callback instances or functions of the run, got 3"),
    ],
)
def test_bad_training_arguments(net, arguments, error, message):
    with pytest.raises(error, match=message):
        net.SGD((X, Y), **{"epochs": 1, "mini_batch_size": 4, "eta": 0.5, **arguments})


def test_bad_optimizer_and_rates_of_single_steps(net):
    with pytest.raises(TypeError, match=r"optimizer: expected an Optimizer such as nn_any.SGD\(0.5\), got 0.5"):
        net.fit((X, Y), epochs=1, batch_size=4, optimizer=0.5)
    with pytest.raises(ValueError, match="learning_rate"):
        net.update_mini_batch((X, Y), -1.0)
    with pytest.raises(TypeError, match=r"mini_batch: expected a tuple \(x, y\) of arrays, got list"):
        net.update_mini_batch([(X, Y)], 1.0)


def test_bad_weights(net):
    weights, biases = net.weights, net.biases
    for bad, message in (
        ((weights[:1], biases), r"weights: expected 2 arrays, one a layer, got 1"),
        ((weights, [*biases, biases[0]]), r"biases: expected 2 arrays, one a layer, got 3"),
        (([weights[0].T, weights[1]], biases), r"weights\[0\]: expected shape \(5, 4\), got \(4, 5\)"),
        (
            (weights, [biases[0], np.array([1.0, np.nan, 0.0])]),
            r"biases\[1\]: expected finite numbers, got nan at index \(1,\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            net.set_weights(*bad)


def test_questions_that_make_no_sense_for_regression(backend):
    net = nn.Network([4, nn.Dense(1, activation="linear")], device=backend.device)
    for call in (net.evaluate, net.accuracy, net.predict_proba):
        with pytest.raises(TypeError, match="expected a classifier, got a regression network"):
            call((X, Y))


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_a_loss_that_explodes_stops_the_run_and_keeps_the_weights(backend):
    net = nn.Network([4, nn.Dense(1, activation="linear")], device=backend.device, seed=0)
    history = []
    net.SGD((X, X[:, :1]), 1, 4, 0.01)
    before = [nn.to_numpy(w).copy() for w in net.weights]
    with pytest.raises(
        nn.TrainingDivergedError, match=r"the loss became .* in epoch \d+, batch \d+ of 3, at learning rate 1000;"
    ):
        net.SGD((X, X[:, :1]), 50, 4, 1000.0, callbacks=[lambda run: history.append(run.network.weights)])
    kept = history[-1] if history else before
    for w, old in zip(net.weights, kept, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(w), nn.to_numpy(old))
        assert np.isfinite(nn.to_numpy(w)).all()


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_weights_that_explode_in_the_last_step_are_noticed(backend):
    """Losses are taken before their steps, so the last step of an epoch shows in the weights alone."""
    net = nn.Network([4, nn.Dense(1, activation="linear")], device=backend.device, seed=0)
    before = [nn.to_numpy(leaf).copy() for leaf in tree_leaves(net.params)]
    for call in (
        lambda: net.SGD((100 * X, X[:, :1]), 1, 12, 3e37),
        lambda: net.update_mini_batch((100 * X, X[:, :1]), 3e37),
    ):
        with pytest.raises(nn.TrainingDivergedError, match="kept. Try a smaller learning rate"):
            call()
    for call in (lambda: net.SGD((X, X[:, :1]), 1, 12, 1e300), lambda: net.update_mini_batch((X, X[:, :1]), 1e300)):
        with pytest.raises(ValueError, match=r"learning_rate: expected a finite float32 number, got 1e\+300"):
            call()
    for leaf, old in zip(tree_leaves(net.params), before, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(leaf), old)


def test_labels_too_large_for_the_device_do_not_wrap(backend):
    too_large = "labels within 0 … 2, got labels from 1 to|integers that int32 can hold, the widest of jax:cpu, got 1 …"
    with pytest.raises(ValueError, match=f"y: expected ({too_large}) 4294967296"):
        nn.Dataset(X[:2], [2**32, 1], classes=3, device=backend.device)


def test_what_is_no_list(net):
    with pytest.raises(TypeError, match="callbacks: expected a list of them"):
        net.SGD((X, Y), 1, 4, 0.5, callbacks=print)
    with pytest.raises(TypeError, match="weights: expected a list of arrays, one a layer, got NoneType"):
        net.set_weights(None, net.biases)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_data.py", "book/expand_mnist.py"])
def test_the_examples_that_draw_without_matplotlib(tmp_path, name):
    root = Path(__file__).parent.parent
    example = root / "examples" / name
    code = f"import runpy, sys; sys.modules['matplotlib'] = None; sys.path.append({str(root)!r}); "
    code += f"runpy.run_path({str(example)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{example.name} draws with matplotlib: python -m pip install matplotlib\n"
