"""The book's ``network2`` against its own algorithm, one example at a time in float64, on every backend."""

import json
import re

import numpy as np
import oracle
import pytest

import nn_any as nn
from nn_any.book import network, network2

SIZES = [6, 4, 3]
COSTS = {"quadratic": network2.QuadraticCost, "cross_entropy": network2.CrossEntropyCost}


def columns(n=20, seed=0):
    """Pairs of columns, pairs with labels, weights, and biases as columns."""
    x, y, labels, weights, biases = oracle.random_batch(n, SIZES, seed)
    xs = [row[:, None] for row in x]
    pairs = list(zip(xs, [row[:, None] for row in y], strict=True))
    return pairs, list(zip(xs, labels.tolist(), strict=True)), weights, [b[:, None] for b in biases]


def oracle_step(weights, biases, pairs, loss, eta, lmbda, n):
    """The book's update: w (1 - η λ / n) - η / m Σ ∇C, and b - η / m Σ ∇C; biases as rows."""
    sum_b, sum_w = [np.zeros_like(b) for b in biases], [np.zeros_like(w) for w in weights]
    for x, y in pairs:
        nabla_b, nabla_w = oracle.backprop(weights, biases, x[:, 0], y[:, 0], loss)
        sum_b = [total + g for total, g in zip(sum_b, nabla_b, strict=True)]
        sum_w = [total + g for total, g in zip(sum_w, nabla_w, strict=True)]
    keep, rate = 1 - eta * lmbda / n, eta / len(pairs)
    return (
        [keep * w - rate * g for w, g in zip(weights, sum_w, strict=True)],
        [b - rate * g for b, g in zip(biases, sum_b, strict=True)],
    )


def make(loss, device, dtype="float64", **arguments):
    net = network2.Network(SIZES, cost=COSTS[loss], device=device, dtype=dtype, seed=3, **arguments)
    pairs, labelled, weights, biases = columns()
    net.weights, net.biases = weights, biases
    return net, pairs, labelled, weights, [b[:, 0] for b in biases]


def assert_parameters(net, weights, biases, rtol=1e-12):
    for got, expected in zip(net.weights, weights, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), expected, rtol=rtol, atol=rtol / 100)
    for got, expected in zip(net.biases, biases, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got)[:, 0], expected, rtol=rtol, atol=rtol / 100)


@pytest.mark.parametrize("loss", COSTS)
def test_costs_on_columns(float64, loss):
    rng = np.random.default_rng(0)
    z, y = rng.normal(0, 2, (5, 1)), np.eye(5)[:, 2:3]
    a = oracle.sigmoid(z)
    if loss == "quadratic":
        value, delta = 0.5 * np.sum((a - y) ** 2), (a - y) * a * (1 - a)
    else:
        value, delta = -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)), a - y
    cost = COSTS[loss]
    for place in (np.asarray, float64.asarray, lambda array: array.tolist()):
        np.testing.assert_allclose(nn.to_numpy(cost.fn(place(a), place(y))), value, rtol=1e-12)
        np.testing.assert_allclose(nn.to_numpy(cost.delta(place(z), place(a), place(y))), delta, rtol=1e-12)
    mixed = cost.delta(float64.asarray(z), float64.asarray(a), y)
    assert nn.Device.of(mixed) == float64.device
    np.testing.assert_allclose(nn.to_numpy(mixed), delta, rtol=1e-12)


def test_costs_at_the_ends():
    certain = np.array([[1.0], [0.0]])
    assert network2.CrossEntropyCost.fn(certain, certain) == 0
    np.testing.assert_array_equal(network2.CrossEntropyCost.delta(None, certain, 1 - certain), [[1.0], [-1.0]])
    with pytest.raises(ValueError, match=r"y: expected a column \(k, 1\), got shape \(2,\)"):
        network2.QuadraticCost.fn(certain, certain[:, 0])


def test_names_shapes_and_starts(backend):
    net = network2.Network(SIZES, device=backend.device, seed=0)
    assert (net.num_layers, net.sizes, net.cost) == (3, SIZES, network2.CrossEntropyCost)
    assert [tuple(w.shape) for w in net.weights] == [(4, 6), (3, 4)]
    assert [tuple(b.shape) for b in net.biases] == [(4, 1), (3, 1)]
    assert "network2.Network([6, 4, 3]" in repr(net)
    default = [nn.to_numpy(w) for w in net.weights]
    net.large_weight_initializer()
    for large, small, inputs in zip(net.weights, default, SIZES, strict=False):
        np.testing.assert_allclose(nn.to_numpy(large), small * np.sqrt(inputs), rtol=1e-6)
    net.SGD(columns()[0], 1, 5, 1.0)
    net.default_weight_initializer()
    for again, first in zip(net.weights, default, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(again), first)


def test_the_scale_of_the_first_weights():
    net = network2.Network([400, 100, 10], device="numpy", seed=0)
    assert abs(np.std(net.weights[0]) * 20 - 1) < 0.02
    assert abs(np.std(net.biases[0]) - 1) < 0.2
    net.large_weight_initializer()
    assert abs(np.std(net.weights[0]) - 1) < 0.02


@pytest.mark.parametrize("loss", COSTS)
def test_backprop_and_updates(float64, loss):
    net, pairs, _, weights, biases = make(loss, float64.device)
    x, y = pairs[3]
    expected = oracle.feedforward(weights, biases, x[:, 0])
    np.testing.assert_allclose(nn.to_numpy(net.feedforward(x))[:, 0], expected, rtol=1e-12)
    expected_b, expected_w = oracle.backprop(weights, biases, x[:, 0], y[:, 0], loss)
    nabla_b, nabla_w = net.backprop(x, y)
    for got, gradient in zip([*nabla_b, *nabla_w], [*(b[:, None] for b in expected_b), *expected_w], strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), gradient, rtol=1e-12, atol=1e-15)
    for lmbda in (0.0, 2.5):
        weights, biases = oracle_step(weights, biases, pairs[:7], loss, 0.8, lmbda, 20)
        net.update_mini_batch(pairs[:7], 0.8, lmbda, 20)
        assert_parameters(net, weights, biases)


@pytest.mark.parametrize("loss", COSTS)
def test_training_with_weight_decay_and_the_four_monitors(float64, loss, capsys):
    """Batches in the order that the seed gives, the last one short; everything monitored after each epoch."""
    eta, lmbda = 0.5, 1.5
    net, pairs, labelled, weights, biases = make(loss, float64.device)
    evaluation = columns(11, seed=5)[1]
    found = net.SGD(pairs, 2, 6, eta, lmbda, evaluation, True, True, True, True)

    def cost(data):
        targets = [np.eye(3)[y] if isinstance(y, int) else y[:, 0] for _, y in data]
        losses = [
            oracle.example_loss(weights, biases, x[:, 0], t, loss) for (x, _), t in zip(data, targets, strict=True)
        ]
        return np.mean(losses) + 0.5 * lmbda / len(data) * sum(np.sum(w**2) for w in weights)

    def right(data):
        answers = [int(np.argmax(oracle.feedforward(weights, biases, x[:, 0]))) for x, _ in data]
        return sum(answer == y for answer, (_, y) in zip(answers, data, strict=True))

    expected = [[], [], [], []]
    for epoch in range(2):
        order = nn.core.random.epoch_order(3, epoch, 20)
        for start in range(0, 20, 6):
            batch = [pairs[i] for i in order[start : start + 6]]
            weights, biases = oracle_step(weights, biases, batch, loss, eta, lmbda, 20)
        for column, value in zip(
            expected, [cost(evaluation), right(evaluation), cost(pairs), right(labelled)], strict=True
        ):
            column.append(value)
    assert_parameters(net, weights, biases, rtol=1e-10)
    for got, column in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, column, rtol=1e-10)
    np.testing.assert_allclose(net.total_cost(evaluation, lmbda), expected[0][-1], rtol=1e-10)
    np.testing.assert_allclose(net.total_cost(pairs, lmbda, convert=True), expected[2][-1], rtol=1e-10)
    assert net.accuracy(evaluation) == expected[1][-1]
    assert net.accuracy(pairs, convert=True) == net.accuracy(labelled) == expected[3][-1]
    lines = []
    for epoch, values in enumerate(zip(*found, strict=True)):
        lines += [
            f"Epoch {epoch} training complete",
            f"Cost on training data: {values[2]}",
            f"Accuracy on training data: {values[3]} / 20",
            f"Cost on evaluation data: {values[0]}",
            f"Accuracy on evaluation data: {values[1]} / 11",
            "",
        ]
    assert capsys.readouterr().out.splitlines() == lines


def test_the_squares_count_once_and_not_without_lmbda(backend):
    net, pairs, labelled, weights, _ = make("cross_entropy", backend.device, "float32")
    squares = sum(np.sum(w**2) for w in weights)
    bare = net.total_cost(pairs, 0.0)
    assert net.total_cost(labelled, 3.0) == pytest.approx(bare + 0.5 * 3.0 / 20 * squares, rel=1e-5)


def test_lists_zips_data_sets_and_single_monitors_are_the_same_run(backend, capsys):
    pairs, labelled, *_ = columns()
    x, y = np.stack([x[:, 0] for x, _ in pairs]), np.array([y for _, y in labelled])
    forms = [
        pairs,
        zip([x for x, _ in pairs], [y for _, y in pairs], strict=True),
        (pair for pair in labelled),
        (x.astype("float32"), y),
        nn.Dataset(x, y, device=backend.device, dtype="float32"),
    ]
    runs = []
    for form in forms:
        net = network2.Network(SIZES, device=backend.device, seed=1)
        runs.append((net.SGD(form, 3, 6, 0.5, lmbda=0.1, monitor_training_cost=True), nn.to_numpy(net.weights[0])))
    (costs, first), *others = runs
    assert [len(column) for column in costs] == [0, 0, 3, 0]
    for found, weights in others:
        assert found == costs
        np.testing.assert_array_equal(weights, first)
    assert capsys.readouterr().out.count("Cost on training data: ") == 15


def test_going_on_is_one_run(backend, capsys):
    nets = [network2.Network(SIZES, device=backend.device, seed=1) for _ in range(2)]
    pairs = columns()[0]
    nets[0].SGD(pairs, 4, 6, 0.5, lmbda=0.1)
    nets[1].SGD(pairs, 1, 6, 0.5, lmbda=0.1)
    nets[1].SGD(pairs, 3, 6, 0.5, lmbda=0.1)
    np.testing.assert_array_equal(*(nn.to_numpy(net.weights[0]) for net in nets))
    assert nets[0].SGD(pairs, 0, 6, 0.5) == ([], [], [], [])


def test_early_stopping(backend, capsys):
    """So small a rate changes no answer, so the first epoch stays the best."""
    pairs, labelled, *_ = columns()
    net = network2.Network(SIZES, device=backend.device, seed=1)
    _, accuracy, *_ = net.SGD(
        pairs, 30, 6, 1e-6, evaluation_data=labelled, monitor_evaluation_accuracy=True, early_stopping_n=4
    )
    assert len(accuracy) == 5
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Early stopping: no better accuracy on evaluation data in 4 epochs"
    )
    assert net.SGD(pairs, 3, 6, 1e-6, evaluation_data=labelled, early_stopping_n=9) == ([], [], [], [])
    assert "Early stopping" not in capsys.readouterr().out


@pytest.mark.parametrize("loss", COSTS)
def test_the_json_of_the_book(tmp_path, float64, loss):
    net, pairs, *_ = make(loss, float64.device)
    path = tmp_path / "net.json"
    net.save(path)
    content = json.loads(path.read_text())
    assert list(content) == ["sizes", "weights", "biases", "cost"]
    assert (content["sizes"], content["cost"]) == (SIZES, COSTS[loss].__name__)
    assert np.shape(content["biases"][0]) == (4, 1)
    loaded = network2.load(str(path), device=float64.device, dtype="float64")
    assert loaded.cost is COSTS[loss]
    for old, new in zip([*net.weights, *net.biases], [*loaded.weights, *loaded.biases], strict=True):
        np.testing.assert_array_equal(nn.to_numpy(new), nn.to_numpy(old))
    x, y = pairs[0]
    np.testing.assert_array_equal(*(nn.to_numpy(n.backprop(x, y)[1][0]) for n in (net, loaded)))
    assert nn.to_numpy(network2.load(path, device=float64.device).weights[0]).dtype == np.float32
    assert [file.name for file in tmp_path.iterdir()] == ["net.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cost": "os.system"}, "expected a cost that is one of QuadraticCost, CrossEntropyCost, got 'os.system'"),
        ({"cost": ["QuadraticCost"]}, "expected a cost that is one of"),
        ({"sizes": [6, 5, 3]}, r"expected weights and biases that fit the sizes \[6, 5, 3\], got shapes \[\(4, 6\)"),
        ({"sizes": []}, "expected weights and biases that fit"),
        ({"sizes": 6}, "expected JSON with sizes"),
        ({"weights": [[[1.0], [2.0, 3.0]]]}, "expected JSON with sizes, weights, biases and cost.*ValueError"),
        ({"weights": None}, "expected JSON with sizes"),
        (
            {"biases": [[[0.0]] * 4, [[float("nan")]] * 3]},
            r"expected finite weights and biases, got others; use another copy",
        ),
    ],
    ids=str,
)
def test_files_of_another_kind(tmp_path, change, message):
    net = network2.Network(SIZES, device="numpy", seed=0)
    path = tmp_path / "net.json"
    net.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        network2.load(path, device="numpy")
    for text in ("", "[1, 2]", "{}", "\x00"):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"{re.escape(str(path))}: expected JSON"):
            network2.load(path)
    with pytest.raises(FileNotFoundError):
        network2.load(tmp_path / "none.json")


def test_a_save_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    net = network2.Network(SIZES, device="numpy", seed=0)
    path = tmp_path / "net.json"
    net.save(path)
    old = path.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space left"):
        net.save(path)
    assert path.read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lmbda": -1.0}, ValueError, "lmbda: expected a finite number of at least 0, got -1.0"),
        ({"early_stopping_n": -1}, ValueError, "early_stopping_n: expected an integer of at least 0, got -1"),
        ({"early_stopping_n": 2}, ValueError, "evaluation_data: expected data to monitor or to stop by, got None"),
        ({"monitor_evaluation_cost": True}, ValueError, "evaluation_data: expected data to monitor"),
        ({"eta": 0.0}, ValueError, "learning_rate"),
    ],
)
def test_errors_of_sgd(arguments, error, message):
    net = network2.Network(SIZES, device="numpy", seed=0)
    with pytest.raises(error, match=message):
        net.SGD(columns()[0], **({"epochs": 1, "mini_batch_size": 5, "eta": 0.1} | arguments))


def test_other_errors():
    with pytest.raises(TypeError, match=r"cost: expected the class QuadraticCost or CrossEntropyCost, got 'quadratic'"):
        network2.Network(SIZES, cost="quadratic")
    net = network2.Network(SIZES, device="numpy", seed=0)
    with pytest.raises(ValueError, match="n: expected a positive integer, got 0"):
        net.update_mini_batch(columns()[0], 0.1, 1.0, 0)
    with pytest.raises(ValueError, match="lmbda: expected a finite number"):
        net.total_cost(columns()[0], -1.0)


def test_the_modules_small_functions():
    np.testing.assert_array_equal(network2.vectorized_result(7).ravel(), np.eye(10)[7])
    assert float(network2.sigmoid(0)) == 0.5
    assert float(network2.sigmoid_prime(0)) == 0.25


def test_the_book_s_lines_count_the_examples_that_count(device, capsys):
    """Rows of weight 0 are left out of what is right, and of how many there are."""
    weighted = nn.Dataset([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1], sample_weight=[1, 1, 0, 2], device=device)
    for book in (network, network2):
        net = book.Network([1, 2], device=device, seed=0)
        if book is network:
            net.SGD(weighted, 1, 2, 0.1, test_data=weighted)
        else:
            asked = {"monitor_training_accuracy": True, "monitor_evaluation_accuracy": True}
            net.SGD(weighted, 1, 2, 0.1, evaluation_data=weighted, **asked)
        lines = [line for line in capsys.readouterr().out.splitlines() if " / " in line]
        assert [line.endswith(" / 3") for line in lines] == [True] * (1 if book is network else 2)
