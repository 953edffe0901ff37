"""Weights of examples and classes: against repeated examples, the formula by hand, and scikit-learn."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

import nn_any as nn

RNG = np.random.default_rng(0)
N = 14
X, Y = RNG.normal(size=(N, 4)), np.array([0, 0, 1, 2] * 3 + [0, 0])
TIMES = RNG.integers(0, 4, N)
WEIGHTS = RNG.uniform(0, 3, N)
STACKS = {
    "log_likelihood": [4, nn.Dense(5, "tanh"), nn.Dense(3, "softmax")],
    "quadratic": [4, nn.Dense(5, "tanh"), nn.Dense(3, "sigmoid")],
    "mean_squared_error": [4, nn.LayerNorm(), nn.Dense(3, "linear")],
}
EXACT = {"rtol": 1e-12, "atol": 1e-14}


def network(device="numpy", loss="log_likelihood", dtype="float64"):
    return nn.Network(STACKS[loss], loss=loss, device=device, dtype=dtype, seed=0)


def numbers(net):
    return [nn.to_numpy(a).copy() for layer in net.params for a in layer]


def same(net, other, **tolerance):
    for a, b in zip(numbers(net), numbers(other), strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or EXACT))


def trained(net, data, batch_size, optimizer, epochs=5, **arguments):
    net.fit(data, epochs=epochs, batch_size=batch_size, optimizer=optimizer, **arguments)
    return net


@pytest.mark.parametrize("loss", STACKS)
@pytest.mark.parametrize("optimizer", [nn.SGD(0.3), nn.SGD(0.3, 0.9, weight_decay=0.1), nn.Adam(0.01)], ids=repr)
def test_a_weight_of_three_is_an_example_three_times(float64, loss, optimizer):
    """Whole batches: the same sums in another way; a weight of 0 leaves the example out."""
    repeated = np.repeat(X, TIMES, axis=0), np.repeat(Y, TIMES)
    if loss == "mean_squared_error":
        repeated = repeated[0], np.eye(3)[repeated[1]]
    y = np.eye(3)[Y] if loss == "mean_squared_error" else Y
    expected = trained(network("numpy", loss), repeated, int(TIMES.sum()), optimizer)
    net = trained(network(float64.device, loss), (X, y), N, optimizer, sample_weight=TIMES)
    same(net, expected)
    assert np.abs(numbers(net)[0] - numbers(trained(network("numpy", loss), (X, y), N, optimizer))[0]).max() > 1e-3
    data = nn.Dataset(X, y, sample_weight=TIMES, device=float64.device)
    assert net.loss(data) == pytest.approx(expected.loss(repeated), rel=1e-12)
    same(trained(network(float64.device, loss), data, N, optimizer), expected)


@pytest.mark.parametrize("batch_size", [N, 5])
def test_only_proportions_matter(float64, batch_size):
    nets = [
        trained(network(float64.device), (X, Y), batch_size, nn.SGD(0.3), sample_weight=factor * WEIGHTS)
        for factor in (1, 2, 0.25)
    ]
    losses = [nets[0].loss(nn.Dataset(X, Y, sample_weight=factor * WEIGHTS)) for factor in (1, 1e-9, 1e9)]
    same(nets[0], nets[1])
    same(nets[0], nets[2])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-12)
    equal = trained(network(float64.device), (X, Y), batch_size, nn.SGD(0.3), sample_weight=np.full(N, 7.0))
    same(equal, trained(network(float64.device), (X, Y), batch_size, nn.SGD(0.3)))


def test_mini_batches_by_hand(float64):
    """A step is down the gradient of Σ w l / b over the batch, with w brought to mean 1 over all the data."""
    data = nn.Dataset(X, Y, sample_weight=WEIGHTS, device=float64.device)
    net = trained(network(float64.device), data, 5, nn.SGD(0.3), epochs=1, shuffle=False)
    by_hand, w = network(), WEIGHTS / WEIGHTS.mean()
    for start in range(0, N, 5):
        rows = range(start, min(start + 5, N))
        total = [np.zeros_like(p) for p in numbers(by_hand)]
        for i in rows:
            gradients = by_hand.gradients(X[i : i + 1], Y[i : i + 1])
            total = [t + w[i] * g for t, g in zip(total, (g for layer in gradients for g in layer), strict=True)]
        moved = [p - 0.3 * t / len(rows) for p, t in zip(numbers(by_hand), total, strict=True)]
        by_hand.set_weights(moved[::2], moved[1::2])
    same(net, by_hand)


def test_the_loss_of_weighted_data_by_hand(float64):
    """Σ w l / Σ w, whatever the chunks; how many are right does not ask for weights."""
    net, host = network(float64.device), network()
    each = np.array([host.loss((X[i : i + 1], Y[i : i + 1])) for i in range(N)])
    data = nn.Dataset(X, Y, sample_weight=WEIGHTS, device=float64.device)
    assert net.loss(data) == pytest.approx(np.average(each, weights=WEIGHTS), rel=1e-12)
    assert net.accuracy(data) == net.accuracy((X, Y))
    history = net.fit(data, epochs=1, batch_size=N, optimizer=nn.SGD(1e-9), validation_data=data, monitor_training=True)
    record = history.records[0]
    assert record["loss"] == pytest.approx(np.average(each, weights=WEIGHTS), rel=1e-12)
    assert record["training_loss"] == record["validation_loss"] == net.loss(data)


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize(
    "class_weight", ["balanced", {0: 0.5, 2: 3}, {1: 0}, {}, [1, 0.25, 4], np.array([0.0, 1, 1])], ids=str
)
def test_class_weights_as_scikit_learn(float64, class_weight, one_hot):
    y = np.eye(3)[Y] if one_hot else Y
    theirs = class_weight if isinstance(class_weight, str | dict) else dict(enumerate(class_weight))
    expected = compute_sample_weight(theirs, Y)
    weighted = nn.Dataset(X, y, device=float64.device).weighted(class_weight=class_weight)
    np.testing.assert_allclose(nn.to_numpy(weighted.sample_weight), expected, rtol=1e-14)
    net = trained(network(float64.device), (X, y), 5, nn.SGD(0.3), class_weight=class_weight)
    same(net, trained(network(float64.device), (X, y), 5, nn.SGD(0.3), sample_weight=expected))


def test_balanced_where_a_class_has_no_examples():
    data = nn.Dataset(X, Y, classes=5, device="numpy").weighted(class_weight="balanced")
    expected = compute_class_weight("balanced", classes=np.unique(Y), y=Y)[Y]
    np.testing.assert_allclose(data.sample_weight, expected, rtol=1e-14)


def test_weights_multiply(float64):
    data = nn.Dataset(X, Y, sample_weight=WEIGHTS, device=float64.device)
    expected = WEIGHTS * (TIMES + 1) * np.array([1, 2, 1])[Y]
    both = data.weighted(TIMES + 1, {1: 2})
    np.testing.assert_allclose(nn.to_numpy(both.sample_weight), expected, rtol=1e-14)
    np.testing.assert_array_equal(nn.to_numpy(data.sample_weight), WEIGHTS)
    same(
        trained(network(float64.device), data, 5, nn.SGD(0.3), sample_weight=TIMES + 1, class_weight={1: 2}),
        trained(network(float64.device), (X, Y), 5, nn.SGD(0.3), sample_weight=expected),
    )


def test_one_output_has_two_classes(float64):
    yes = (Y > 0).astype(int)
    net = nn.Network([4, nn.Dense(1)], loss="cross_entropy", device=float64.device, dtype="float64", seed=0)
    twin = net.copy()
    trained(net, (X, yes), 5, nn.SGD(0.3), class_weight="balanced")
    trained(twin, (X, yes), 5, nn.SGD(0.3), sample_weight=compute_sample_weight("balanced", yes))
    same(net, twin)


def test_weights_go_with_their_examples(backend):
    """In parts and on other devices each example has its own weight; the order is told by a column of numbers."""
    weights = (np.arange(N) + 1).astype("float32")
    x = np.stack([weights, -weights], axis=1)
    data = nn.Dataset(backend.asarray(x), backend.asarray(Y), sample_weight=weights, device=backend.device)
    parts = [*data.split(0.5, seed=3), data.take([5, 0, 0]), data.to("numpy"), data.to(backend.device), data.weighted()]
    assert [len(part) for part in parts] == [7, 7, 3, N, N, N]
    for part in parts:
        np.testing.assert_array_equal(nn.to_numpy(part.sample_weight), nn.to_numpy(part.x)[:, 0])
        assert nn.to_numpy(part.sample_weight).dtype == np.float32
        assert nn.Device.of(part.sample_weight) == part.device
    assert nn.Dataset(x, Y, device=backend.device).take([1]).sample_weight is None


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_networks_of_either_dtype_take_weights_of_the_data(float64, dtype):
    """Lists, integers and arrays of the library will do; what is computed has the network's dtype."""
    x = (10 * np.abs(X)).astype(dtype)
    for each in ("float32", "float64"):
        nets = [network(float64.device, dtype=each) for _ in range(3)]
        for net, weights in zip(nets, (TIMES.tolist(), TIMES, float64.asarray(TIMES, "float32")), strict=True):
            trained(net, nn.Dataset(x, Y, sample_weight=weights, device=float64.device), 5, nn.SGD(0.01))
            assert all(p.dtype == each for p in numbers(net))
        same(nets[0], nets[1])
        same(nets[0], nets[2])


BAD = [
    ({"sample_weight": WEIGHTS[:5]}, ValueError, r"sample_weight: expected one weight .*\(14,\), got shape \(5,\)"),
    ({"sample_weight": WEIGHTS[:, None]}, ValueError, r"sample_weight: .*got shape \(14, 1\)"),
    ({"sample_weight": -WEIGHTS}, ValueError, "sample_weight: expected weights of 0 or more, and not all 0, got -"),
    ({"sample_weight": np.zeros(N)}, ValueError, "sample_weight: .* not all 0, got 0 … 0"),
    (
        {"sample_weight": np.full(N, np.nan)},
        ValueError,
        r"sample_weight: expected finite numbers, got nan at index \(0,",
    ),
    ({"sample_weight": ["much"] * N}, TypeError, "sample_weight: expected real numbers, got text"),
    ({"class_weight": "even"}, ValueError, "class_weight: expected 'balanced', a dict or a sequence, got 'even'"),
    ({"class_weight": {3: 1.0}}, ValueError, "class_weight: expected classes within 0 … 2, got 3"),
    ({"class_weight": {"0": 1.0}}, ValueError, "class_weight: expected classes within 0 … 2, got '0'"),
    ({"class_weight": {0: "much"}}, TypeError, "class_weight: expected a number for class 0, got 'much'"),
    ({"class_weight": {0: None}}, TypeError, "class_weight: expected a number for class 0, got None"),
    ({"class_weight": {0: -1}}, ValueError, "class_weight: expected weights of 0 or more, and not all 0, got -1"),
    ({"class_weight": {0: np.inf}}, ValueError, r"class_weight: expected finite numbers, got inf at index \(0,\)"),
    ({"class_weight": [1, 2]}, ValueError, r"class_weight: expected one weight .*\(3,\), got shape \(2,\)"),
    ({"class_weight": 2}, ValueError, r"class_weight: expected one weight .*, got shape \(\)"),
    ({"sample_weight": Y == 0, "class_weight": {0: 0}}, ValueError, "sample_weight: .* not all 0"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_weights(arguments, error, message):
    net = network()
    before = numbers(net)
    calls = [
        lambda: net.fit((X, Y), epochs=1, batch_size=5, optimizer=nn.SGD(0.1), **arguments),
        lambda: nn.Dataset(X, Y, device="numpy").weighted(**arguments),
    ]
    if "class_weight" not in arguments:
        calls.append(lambda: nn.Dataset(X, Y, device="numpy", **arguments))
    for call in calls:
        with pytest.raises(error, match=f"^{message}"):
            call()
    assert all(np.array_equal(a, b) for a, b in zip(numbers(net), before, strict=True))


def test_class_weights_want_classes():
    net = network(loss="mean_squared_error")
    with pytest.raises(
        ValueError, match="class_weight: expected data with classes, got real targets; use sample_weight"
    ):
        net.fit((X, X[:, :3]), epochs=1, batch_size=5, optimizer=nn.SGD(0.1), class_weight="balanced")


def test_rows_that_all_have_weight_zero(backend):
    """A part of weighted data may be left with none: an error, not NaN."""
    data = nn.Dataset(X.astype("float32"), Y, sample_weight=(Y > 0) * 1.0, device=backend.device).take([0, 1])
    net = network(backend.device, dtype="float32")
    for call in (lambda: net.loss(data), lambda: net.fit(data, epochs=1, batch_size=2, optimizer=nn.SGD(0.1))):
        with pytest.raises(ValueError, match=r"data: expected sample weights of a positive, finite mean, got "):
            call()
