"""What comes in through Python is taken as it is meant, or refused with a remedy that works."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from conftest import need
from test_bad_data import refused

import nn_any as nn
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3
T = np.eye(3, dtype="float32")[Y]
PLAN = {"epochs": 1, "batch_size": 4, "optimizer": nn.SGD(0.1)}


def classifier(device, outputs=3, **arguments):
    return nn.Network([4, 5, outputs], device=device, seed=0, **arguments)


def regression(device, outputs=1, loss="mean_squared_error", last="linear"):
    return nn.Network([4, nn.Dense(5, "tanh"), nn.Dense(outputs, last)], loss=loss, device=device, seed=0)


def numbers(model):
    return [nn.to_numpy(leaf) for leaf in tree_leaves(model.params)]


def same(model, other):
    for a, b in zip(numbers(model), numbers(other), strict=True):
        np.testing.assert_array_equal(a, b)


# masks


def masked(array, places=2):
    mask = np.zeros(array.shape, dtype=bool)
    mask.reshape(-1)[:places] = True
    return np.ma.array(array, mask=mask)


def test_masked_entries_are_refused_with_their_number(backend):
    net = classifier(backend.device)
    calls = {
        "x": lambda: nn.Dataset(masked(X), Y, device=backend.device),
        "y": lambda: nn.Dataset(X, masked(Y), device=backend.device),
        "sample_weight": lambda: nn.Dataset(X, Y, sample_weight=masked(np.ones(12)), device=backend.device),
        "class_weight": lambda: net.fit((X, Y), class_weight=masked(np.ones(3)), **PLAN),
        "x ": lambda: net.predict(masked(X)),
        "x  ": lambda: net.predict([masked(X[0]), X[1]]),
        "x   ": lambda: net.feedforward(np.ma.masked_equal([[-9999.0, 1, 2, -9999.0]], -9999.0)),
        "y ": lambda: net.backprop(X, masked(Y)),
        "test_data: y": lambda: net.SGD((X, Y), 1, 4, 0.1, test_data=(X, masked(Y))),
        "weights[0]": lambda: net.set_weights([masked(nn.to_numpy(w)) for w in net.weights], net.biases),
        "x of data": lambda: net.evaluate([(masked(row[:, None]), 1) for row in X]),
        "y of data": lambda: net.evaluate([(row[:, None], masked(t[:, None])) for row, t in zip(X, T, strict=True)]),
        "rows": lambda: nn.Dataset(X, Y, device=backend.device).take(masked(np.arange(4))),
        "order": lambda: nn.train_steps(net, net.state, (X, Y), masked(np.zeros((2, 3), int)), 0.1),
    }
    for name, call in calls.items():
        name = name.strip().replace("[", r"\[").replace("]", r"\]")
        refused(call, ValueError, rf"{name}: expected numbers everywhere, got 2 of \d+ masked; fill them with .filled")


def test_an_array_with_nothing_masked_is_fine(backend):
    plain, unmasked = (nn.Dataset(wrap(X), wrap(Y), device=backend.device) for wrap in (np.asarray, np.ma.array))
    np.testing.assert_array_equal(nn.to_numpy(plain.x), nn.to_numpy(unmasked.x))
    filled = nn.Dataset(masked(X).filled(0), Y, device=backend.device)  # the remedy
    assert (nn.to_numpy(filled.x)[0, :2] == 0).all()


# integers as numbers


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("loss", ["mean_squared_error", "mean_absolute_error", "huber", "quadratic"])
def test_integers_are_numbers_where_numbers_are_predicted(backend, loss, outputs):
    y = np.array([-3, 5, 2, 0] * 3) if outputs == 1 else np.array([[-3, 7], [5, 0], [2, 1]] * 4)
    nets = [regression(backend.device, outputs, loss) for _ in range(2)]
    for net, given in zip(nets, (y, y.astype("float32")), strict=True):
        net.fit((X, given), validation_data=(X, given), **PLAN)
        net.update_mini_batch((X, given), 0.1)
    same(*nets)
    net = nets[0]
    outs = nn.to_numpy(net.predict(X)).astype("float64")
    target = y.reshape(12, outputs)
    each = {
        "mean_squared_error": (outs - target) ** 2,
        "mean_absolute_error": np.abs(outs - target),
        "huber": np.where(np.abs(outs - target) < 1, (outs - target) ** 2 / 2, np.abs(outs - target) - 0.5),
        "quadratic": outputs * (outs - target) ** 2 / 2,
    }
    assert net.loss((X, y)) == pytest.approx(each[loss].mean(), rel=1e-5)
    assert net.loss((X.tolist(), y.tolist())) == pytest.approx(each[loss].mean(), rel=1e-5)
    assert net.loss((backend.asarray(X), backend.asarray(y))) == pytest.approx(each[loss].mean(), rel=1e-5)
    found = net.score((X, y), "mean_squared_error")["mean_squared_error"]
    assert found == pytest.approx(((outs - target) ** 2).mean(), rel=1e-5)
    for a, b in zip(tree_leaves(net.gradients(X, y)), tree_leaves(net.gradients(X, 1.0 * y)), strict=True):
        np.testing.assert_array_equal(nn.to_numpy(a), nn.to_numpy(b))
    stepped = [nn.train_step(net, net.state, (X, given), 0.1)[1] for given in (y, 1.0 * y)]
    assert float(stepped[0]) == float(stepped[1])
    many = [nn.train_steps(net, net.state, (X, g), np.arange(12).reshape(3, 4), 0.1)[1] for g in (y, 1.0 * y)]
    np.testing.assert_array_equal(*many)


def test_integers_are_numbers_for_an_ensemble(backend):
    stack = [4, nn.Dense(5, "tanh"), nn.Dense(1, "linear")]
    ensemble = nn.Ensemble(stack, 2, loss="mean_squared_error", device=backend.device, seed=0)
    y = np.array([-3, 5, 2, 0] * 3)
    ensemble.fit((X, y), **PLAN)
    outs = nn.to_numpy(ensemble.member_outputs(X)).astype("float64")
    np.testing.assert_allclose(ensemble.losses((X, y)), ((outs[..., 0] - y) ** 2).mean(axis=1), rtol=1e-5)


def test_a_data_set_alone_takes_integers_for_labels():
    message = r"y: expected labels from 0 on, got -3; number .*, or convert numbers to predict to float32"
    refused(lambda: nn.Dataset(X, np.array([-3, 5, 2, 0] * 3)), ValueError, message)
    assert nn.Dataset(X, np.array([-3, 5, 2, 0] * 3).astype("float32")).classes is None


def test_integers_of_one_axis_are_no_rows_of_several_numbers(backend):
    net = regression(backend.device, 3)
    for y in (Y, 1.0 * Y):
        refused(lambda: net.fit((X, y), **PLAN), ValueError, r"y: expected targets \(n, 3\), .*; pass 3 column")  # noqa: B023
    refused(lambda: net.fit(nn.Dataset(X, Y, device=net.device), **PLAN), ValueError, r"y: expected targets \(n, 3\)")


# ranges of targets


RANGES = {
    "below 0": ("cross_entropy", "sigmoid", np.array([-1.0, 1.0, -1.0, 1.0] * 3)[:, None], (-1, 1)),
    "bytes": ("cross_entropy", "sigmoid", np.array([0, 255] * 6)[:, None], (0, 255)),
    "counts": ("poisson", "exponential", np.array([3, -1, 2] * 4)[:, None], (-1, 3)),
    "probabilities": ("log_likelihood", "softmax", np.array([[1.5, -0.5], [0, 1]] * 6), (-0.5, 1.5)),
}


@pytest.mark.parametrize("case", RANGES)
def test_targets_that_a_loss_has_no_meaning_for(backend, case):
    loss, last, y, (low, high) = RANGES[case]
    net = regression(backend.device, y.shape[1], loss, last)
    before = [leaf.copy() for leaf in numbers(net)]
    good = np.clip(y, 0, 1)
    ensemble = nn.Ensemble(net.layers and [4, *net.layers], 2, loss=loss, device=backend.device, seed=0)
    data = nn.Dataset(X, y.astype("float32"), device=backend.device)
    order = np.arange(12).reshape(3, 4)
    message = rf"(validation_data: )?y: expected targets .* for the loss '{loss}', got {low:g} … {high:g}; "
    for call in (
        lambda: net.fit((X, y), **PLAN),
        lambda: net.fit((X, good), validation_data=(X, y), **PLAN),
        lambda: net.fit(data, epochs=1, optimizer=nn.LBFGS()),
        lambda: net.loss(data),
        lambda: net.gradients(X, y),
        lambda: net.backprop(X, y.astype("float32")),
        lambda: net.update_mini_batch((X, y), 0.1),
        lambda: nn.train_step(net, net.state, (X, y), 0.1),
        lambda: nn.train_steps(net, net.state, (X, y), order, 0.1),
        lambda: ensemble.fit((X, y), **PLAN),
        lambda: ensemble.losses(data),
    ):
        refused(call, ValueError, message)
    assert all(np.array_equal(a, b) for a, b in zip(numbers(net), before, strict=True))
    remedy = {"below 0": (y + 1) / 2, "bytes": y / 255}.get(case)
    if remedy is not None:
        assert math.isfinite(net.loss((X, remedy)))
    else:
        other = "mean_squared_error" if loss == "poisson" else "quadratic"
        assert math.isfinite(regression(backend.device, y.shape[1], other, last).loss((X, y)))


def test_remedies_for_ranges_are_named(backend):
    net = regression(backend.device, 1, "cross_entropy", "sigmoid")
    for y, remedy in (([0, 255] * 6, "divide them by 255"), ([-1, 1] * 6, r"\(y - \(-1\)\) / 2")):
        refused(lambda: net.fit((X, np.array(y)[:, None]), **PLAN), ValueError, f"y: .*; .*{remedy}")  # noqa: B023


def test_integer_counts_below_0_in_a_data_set_made_for_labels(backend):
    net = regression(backend.device, 1, "poisson", "exponential")
    refused(lambda: net.fit((X, np.array([3, -1, 2] * 4)), **PLAN), ValueError, "y: expected targets of at least 0")
    assert len(net.fit((X, np.array([3, 1, 2] * 4)), **PLAN)) == 1


def test_rows_that_do_not_sum_to_one_count_like_weights(float64):
    """-Σ y ln a by hand; twice the row is twice the loss."""
    net = nn.Network([4, nn.Dense(3, "softmax")], loss="log_likelihood", device=float64.device, dtype="float64", seed=0)
    y = RNG.uniform(0, 2, (12, 3))
    a = nn.to_numpy(net.predict_proba(X))
    assert net.loss((X, y)) == pytest.approx(-(y * np.log(a)).sum(axis=1).mean(), rel=1e-12)
    softened = np.full((12, 3), 1 / 3, dtype="float32") * np.float32(1 + 2e-7)
    assert math.isfinite(regression(float64.device, 3, "cross_entropy", "sigmoid").loss((X, softened)))


# integers that int32 cannot hold


def test_labels_beyond_int32_do_not_wrap():
    need("jax")
    y = np.array([3_000_000_000, 1, 2, 3] * 3)
    message = r"y: expected integers that int32 can hold, the widest of jax:cpu, got 1 … 3000000000; .*from 0"
    net = classifier("jax")
    for given in (y, y.astype("uint32"), y.astype("uint64")):
        for call in (
            lambda: nn.Dataset(X, given, device="jax"),  # noqa: B023
            lambda: nn.Dataset(X, given, device="numpy").to("jax"),  # noqa: B023
            lambda: net.fit((X, given), **PLAN),  # noqa: B023
            lambda: net.backprop(X, given),  # noqa: B023
            lambda: nn.train_step(net, net.state, (X, given), 0.1),  # noqa: B023
            lambda: net.cost_derivative(np.ones((12, 3)), given),  # noqa: B023
        ):
            refused(call, ValueError, message)
    big = X.astype("int64") + 2**40
    refused(lambda: net.predict(big), ValueError, "x: expected integers that int32 can hold")
    refused(lambda: nn.Dataset(big, Y, device="numpy").to("jax"), ValueError, "x: expected integers that int32 can")
    assert net.predict(big.astype("float32")).shape == (12,)  # the remedy
    refused(lambda: nn.train_steps(net, net.state, (X, Y), [[2**32]], 0.1), ValueError, "order: expected examples")
    data = nn.Dataset(X, Y, device="jax")
    with pytest.raises(IndexError, match="rows: expected numbers in 0 … 11, got 4294967296"):
        data.take([2**32])
    refused(lambda: data.weighted(class_weight={2**32: 1.0}), ValueError, "class_weight: expected classes within 0")


def test_unsigned_labels_beyond_int64_do_not_wrap(backend):
    y = np.array([2**63 + 5, 1, 2] * 4, dtype="uint64")
    refused(
        lambda: nn.Dataset(X, y, device=backend.device), ValueError, "y: expected integers that int(32|64) can hold"
    )


def test_large_integers_are_fine_as_numbers_to_predict(backend):
    y = np.array([3_000_000_000, 1, 2, 3] * 3)
    net = regression(backend.device)
    assert net.loss((X, y)) == pytest.approx(float(np.mean(1.0 * y**2.0)), rel=1e-5)


# beyond float32


def test_numbers_beyond_float32_are_told_so(backend):
    net, real = classifier(backend.device), regression(backend.device)
    x, y = X.astype("float64"), Y.astype("float64")
    x[5, 2], y[3] = 1e39, -1e39
    beyond = "expected numbers that float32 can hold, at most 3.4e[+]38, got -?1e[+]39 at"
    for name, call in (
        ("x", lambda: net.predict(x)),
        ("x", lambda: net.fit((x, Y), **PLAN)),
        ("x", lambda: net.backprop(x, Y)),
        ("x", lambda: nn.Dataset(x.tolist(), Y, device=backend.device)),
        ("x", lambda: nn.Dataset(x, Y, dtype="float32", device=backend.device)),
        ("y", lambda: real.fit((X, y), **PLAN)),
        ("y", lambda: real.gradients(X, y)),
        ("x", lambda: net.fit(nn.Dataset(x, Y, device="numpy"), **PLAN)),
        ("y", lambda: real.loss(nn.Dataset(X, y, device="numpy"))),
        (r"weights\[0\]", lambda: net.set_weights([np.full((5, 4), 1e39), np.ones((3, 5))], net.biases)),
    ):
        refused(
            call,
            ValueError,
            f"{name}: {beyond}|{name}: expected finite" if "jax" in backend.name else f"{name}: {beyond}",
        )
    refused(lambda: net.SGD((X, Y), 1, 4, 1e39), ValueError, "learning_rate: expected a finite float32 number")
    wide = nn.Network([4, 3], dtype="float64", device="numpy", seed=0)
    assert wide.predict(x).shape == (12,)  # the remedy


# weights of examples


@pytest.mark.parametrize("weight", [1e38, 1e-50, 1e300, 5e-324, 1e-38])
def test_only_the_proportions_of_weights_matter(backend, weight):
    """As the same weights near 1: to rounding, since they reach the device after one multiplication by a power of 2."""
    ones, scaled = classifier(backend.device), classifier(backend.device)
    ones.fit((X, Y), sample_weight=np.ones(12), **PLAN)
    scaled.fit((X, Y), sample_weight=np.full(12, weight), class_weight=np.full(3, weight), **PLAN)
    for a, b in zip(numbers(ones), numbers(scaled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    data = nn.Dataset(X, Y, sample_weight=np.full(12, weight), device=backend.device)
    assert ones.loss(data) == pytest.approx(ones.loss((X, Y)), rel=1e-6)


WILD = X.copy()
WILD[[2, 7]] = [[1e38], [-3e38]]
WEIGHTS = np.where(np.isin(np.arange(12), (2, 7)), 0.0, np.arange(12) + 1.0)
KEPT = WEIGHTS > 0


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("optimizer", [nn.SGD(0.1), nn.Adam(0.01), nn.LBFGS()], ids=repr)
def test_a_row_of_weight_0_adds_nothing(backend, optimizer, engine):
    """Against the same data without those rows: whole batches, and the same average."""
    y = np.where(KEPT, 1.0 * Y, 1e20)
    expected, net = regression(backend.device), regression(backend.device)
    plan = {"epochs": 3, "optimizer": optimizer}
    sizes = {} if optimizer.whole_batch else {"batch_size": 12}
    expected.fit((X[KEPT], y[KEPT]), sample_weight=WEIGHTS[KEPT], **plan, **(sizes and {"batch_size": 10}))
    given = {"sample_weight": WEIGHTS, "engine": engine, "monitor_training": True}
    history = net.fit((WILD, y), **plan, **sizes, **given)
    for a, b in zip(numbers(net), numbers(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    data = nn.Dataset(WILD, y.astype("float32"), sample_weight=WEIGHTS, device=backend.device)
    outs = nn.to_numpy(net.predict(X[KEPT])).astype("float64")[:, 0]
    by_hand = np.average((outs - Y[KEPT]) ** 2, weights=WEIGHTS[KEPT])
    assert net.loss(data) == pytest.approx(by_hand, rel=1e-4)
    assert history["training_loss"][-1] == pytest.approx(by_hand, rel=1e-4)
    score = net.score(data, "mean_squared_error")["mean_squared_error"]
    assert score == pytest.approx(((outs - Y[KEPT]) ** 2).mean(), rel=1e-4)


def test_a_class_of_weight_0_has_no_part_in_anything(backend):
    net = classifier(backend.device)
    x = np.where((Y == 0)[:, None], np.float32(2e38), X)
    data = nn.Dataset(x, Y, device=backend.device).weighted(class_weight={0: 0})
    history = net.fit((x, Y), class_weight={0: 0}, validation_data=data, metrics=["f1"], **PLAN)
    assert all(math.isfinite(value) for value in history.records[0].values())
    kept = Y > 0
    assert net.accuracy(data) == net.accuracy((x[kept], Y[kept])) == history["validation_accuracy"][0]
    assert net.evaluate(data) == net.evaluate((x[kept], Y[kept]))
    assert net.score(data, "f1") == net.score((x[kept], Y[kept]), "f1")
    ensemble = nn.Ensemble([4, 5, 3], 2, device=backend.device, seed=0)
    assert np.isfinite(ensemble.fit(data, validation_data=data, **PLAN)["member_loss"]).all()
    np.testing.assert_array_equal(ensemble.accuracies(data), ensemble.accuracies((x[kept], Y[kept])))
    assert ensemble.accuracy(data) == ensemble.accuracy((x[kept], Y[kept]))
    _, losses = nn.train_steps(net, net.state, data, np.arange(12).reshape(3, 4), 0.1)
    assert np.isfinite(losses).all()


def test_batch_statistics_see_rows_that_count(float64):
    """In place of a row of weight 0 stands one that counts, each of them in turn."""
    stack = [4, nn.BatchNorm(momentum=1.0), nn.Dense(1, "linear")]
    net = nn.Network(stack, loss="mean_squared_error", dtype="float64", device=float64.device, seed=0)
    net.fit((WILD, 1.0 * Y), sample_weight=WEIGHTS, epochs=1, batch_size=12, optimizer=nn.SGD(1e-9))
    seen = X.astype("float64").copy()
    seen[2], seen[7] = X[0], X[1]
    np.testing.assert_allclose(nn.to_numpy(net.state.layer_state[0][0]).ravel(), seen.mean(axis=0), rtol=1e-10)


# parts


SUMS = [(0.8, 0.1, 0.1), (0.7, 0.2, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.5, 0.5), (0.6, 0.1, 0.1, 0.1, 0.1)]
OTHERS = [(0.35, 0.35, 0.29), (0.45, 0.45), (0.7, 0.2), (0.1, 0.2)]


@pytest.mark.parametrize("fractions", SUMS + OTHERS, ids=str)
def test_fractions_add_up(fractions):
    """Every part is the floor or the ceiling of its share; those that sum to 1 leave no rest."""
    whole = math.isclose(sum(fractions), 1)
    for n in range(10, 200):
        for y in (np.arange(n) / 7, np.arange(n) % 3, np.arange(n) % 2):
            parts = nn.Dataset(np.arange(n)[:, None], y, device="numpy").split(*fractions)
            sizes = [len(part) for part in parts]
            assert sum(sizes) == n
            assert len(sizes) == len(fractions) if whole else len(sizes) - len(fractions) in (0, 1)
            for size, fraction in zip(sizes, fractions, strict=False):
                assert abs(size - fraction * n) < 1, (n, sizes)
            rows = np.sort(np.concatenate([part.x[:, 0] for part in parts]))
            np.testing.assert_array_equal(rows, np.arange(n))
            if y.dtype.kind == "i" and n % 50 == 0:
                for part in parts:
                    counts = np.bincount(part.y, minlength=y.max() + 1)
                    np.testing.assert_allclose(counts, len(part) / (y.max() + 1), atol=1.5)


def test_sizes_by_the_largest_remainder():
    def sizes(n, *fractions):
        return [len(part) for part in nn.Dataset(np.zeros((n, 1)), np.zeros(n), device="numpy").split(*fractions)]

    assert sizes(13, 0.8, 0.1, 0.1) == [11, 1, 1]  # 10.4, 1.3, 1.3
    assert sizes(15, 0.8, 0.1, 0.1) == [12, 2, 1]  # 12, 1.5, 1.5
    assert sizes(10, 0.1, 0.2, 0.7) == [1, 2, 7]
    assert sizes(10, 0.01) == [1, 9]
    assert sizes(10, 0.01, 0.99) == [1, 9]
    assert sizes(20, 5, 0.5) == [5, 10, 5]


# iterators


def test_every_method_takes_iterators(backend):
    columns = [row[:, None] for row in X]
    net, ensemble = classifier(backend.device), nn.Ensemble([4, 5, 3], 2, device=backend.device, seed=0)
    for make in (lambda: zip(columns, Y, strict=True), lambda: iter(list(zip(columns, Y, strict=True)))):
        for model in (net, ensemble):
            model.SGD(make(), 2, 4, 0.1, test_data=make())
            model.fit(make(), validation_data=make(), test_data=make(), monitor_training=True, **PLAN)
            for method in ("evaluate", "accuracy", "loss"):
                assert getattr(model, method)(make()) == getattr(model, method)((X, Y))
            assert model.score(make(), "f1") == model.score((X, Y), "f1")
            nn.train_steps(net, net.state, make(), [[0, 1]], 0.1)
        for method in ("losses", "accuracies", "best"):
            np.testing.assert_array_equal(getattr(ensemble, method)(make()), getattr(ensemble, method)((X, Y)))
    refused(lambda: net.fit((iter(X), Y), **PLAN), TypeError, r"x: expected real numbers, got .*\(.*iter.*a list")
    assert len(net.fit((list(iter(X)), Y), **PLAN)) == 1  # the remedy


# classes


def test_the_network_knows_how_many_classes_there_are(backend):
    y = Y % 2
    net, expected = classifier(backend.device), classifier(backend.device)
    weight = {0: 1, 1: 2, 2: 3}
    net.fit((X, y), class_weight=weight, **PLAN)
    expected.fit((X, y), sample_weight=[weight[label] for label in y], **PLAN)
    same(net, expected)
    for given in ([1, 2, 3], nn.to_numpy([1, 2, 3])):
        other = classifier(backend.device)
        other.fit(nn.Dataset(X, y, device=backend.device), class_weight=given, **PLAN)
        same(other, expected)
    refused(
        lambda: net.fit((X, y), class_weight={3: 1}, **PLAN), ValueError, "class_weight: expected classes within 0 … 2"
    )


def test_text_labels_are_numbered_by_their_names(backend):
    x = np.arange(20.0)[:, None]
    for y in (["a", "b"] * 10, np.array(["a", "b"] * 10), np.array(["a", "b"] * 10, dtype=object)):
        for classes in (["a", "b"], ("a", "b"), np.array(["a", "b"]), sorted(set(y))):
            data = nn.Dataset(x, y, classes=classes, device=backend.device)
            np.testing.assert_array_equal(nn.to_numpy(data.y), np.arange(20) % 2)
            assert (data.class_names, data.classes) == (("a", "b"), 2)
    turned = nn.Dataset(x, ["a", "b"] * 10, classes=["b", "a", "c"], device=backend.device)
    np.testing.assert_array_equal(nn.to_numpy(turned.y), 1 - np.arange(20) % 2)
    assert turned.classes == 3
    message = "y: expected labels among the classes 'a', 'c', got 'b' at row 1; add it to classes"
    refused(lambda: nn.Dataset(x, ["a", "b"] * 10, classes=["a", "c"]), ValueError, message)
    refused(
        lambda: nn.Dataset(x, ["a", "b"] * 10, classes=["a", "a"]), ValueError, "classes: expected names that differ"
    )


def test_text_labels_without_names_are_their_own_names():
    y = np.array(["b", "a", "c"])[Y]
    net = classifier("numpy")
    net.fit((X, y), **PLAN)
    assert net.class_names == ("a", "b", "c")
    same(net, trained_on(np.array([1, 0, 2])[Y]))


def trained_on(y):
    net = classifier("numpy")
    net.fit((X, y), **PLAN)
    return net


# remedies


def fields():
    return np.array([(1.0, 2.0)] * 12, dtype=[("a", "f4"), ("b", "f4")])


def test_remedies_work():
    from numpy.lib.recfunctions import structured_to_unstructured

    days = np.array([["2026-01-01"], ["2026-01-03"]] * 6, dtype="M8[D]")
    strings = X.astype(str)
    for given, words, remedied in (
        (fields(), "fields .*; use numpy.lib.recfunctions.structured_to", structured_to_unstructured(fields())),
        (days, "dates .*; count days with", (days - days.min()) / np.timedelta64(1, "D")),
        (days - days.min(), "spans of time .*; count days with", (days - days.min()) / np.timedelta64(1, "D")),
        (X.astype("complex64"), "complex numbers .*; take their real parts with .real", X.astype("complex64").real),
        (strings, r"text .*; convert them with .astype\('float32'\)", strings.astype("float32")),
        (X.astype(object), r"Python objects .*; convert them with .astype", X.astype(object).astype("float32")),
        (set(range(12)), r"Python objects \(set\); pass an array, or a list", X),
        ((row for row in X), r"Python objects \(generator\); pass an array, or a list", list(X)),
    ):
        refused(lambda: nn.Dataset(given, Y), TypeError, f"x: expected real numbers, got {words}")  # noqa: B023
        assert len(nn.Dataset(remedied, Y)) == 12
    broken = strings.copy()
    broken[3, 2] = "many"
    refused(lambda: nn.Dataset(broken, Y), TypeError, r"x: .*text .*, such as .*'many'.* at \[3, 2\]; put numbers")
    refused(lambda: nn.Dataset([[1.0, None]] * 3, [0, 1, 2]), TypeError, r"x: .*None at \[0, 1\]; put numbers")
    net = classifier("numpy")
    column = r"y: expected integer labels .*got shape \(12, 1\); labels must .* use numpy.ravel\(y\).astype\('int64'\)"
    real = Y[:, None].astype("float32")
    for y in (Y[:, None], real, real[:, 0]):
        refused(lambda: net.fit((X, y), **PLAN), ValueError, column)  # noqa: B023
        assert len(net.fit((X, np.ravel(y).astype("int64")), **PLAN)) == 1
    refused(lambda: net.predict(X[0][:, None]), ValueError, r"x: .*got shape \(4, 1\); .*or pass x.T")
    assert net.predict(X[0][:, None].T).shape == (1,)


# arrays of other libraries and other habits


def test_tensors_of_every_kind():
    need("torch")
    import torch

    x, y = torch.asarray(X), torch.asarray(Y)
    host, own = classifier("numpy"), classifier("torch")
    expected = nn.to_numpy(own.predict(X))
    for data in ((x.to(torch.bfloat16), y), (x.requires_grad_(), y), (x.detach().T.contiguous().T, y)):
        for net in (host, own):
            assert len(net.copy().fit(data, **PLAN)) == 1
    x = x.detach()
    negative = torch.imag(torch.conj(torch.complex(torch.zeros_like(x), -x)))
    assert negative.is_neg()
    for values in (x.clone().requires_grad_(), negative, list(x.clone().requires_grad_())):
        np.testing.assert_array_equal(nn.to_numpy(own.predict(values)), expected)
        np.testing.assert_array_equal(nn.Dataset(values, Y.tolist(), device="numpy").x, X)
    for sparse in (x.to_sparse(), x[:, :2].to_sparse()):
        for call in (
            lambda: own.fit((sparse, y), **PLAN),  # noqa: B023
            lambda: host.fit((sparse, y), **PLAN),  # noqa: B023
            lambda: own.predict(sparse),  # noqa: B023
            lambda: nn.Dataset(sparse, y),  # noqa: B023
        ):
            refused(call, TypeError, r"x: expected an array of real numbers, got a sparse tensor; use .to_dense\(\)")
        assert len(nn.Dataset(sparse.to_dense(), y)) == 12
    half = nn.to_numpy(x.to(torch.bfloat16))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, X, rtol=2**-8)


def test_bfloat16_of_jax_reaches_numpy():
    need("jax")
    import jax.numpy as jnp

    data = nn.Dataset(jnp.asarray(X, dtype="bfloat16"), jnp.asarray(Y), device="numpy")
    np.testing.assert_allclose(data.x, X, rtol=2**-8)
    np.testing.assert_array_equal(nn.Dataset([jnp.asarray(row) for row in X], Y.tolist(), device="numpy").x, X)


def test_arrays_laid_out_in_other_ways(backend):
    net = classifier(backend.device)
    expected = nn.to_numpy(net.predict(X))
    readonly = X.copy()
    readonly.flags.writeable = False
    for x in (readonly, X[::-1][::-1], np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], X.astype(">f4")):
        np.testing.assert_array_equal(nn.to_numpy(net.predict(x)), expected)
        assert len(net.copy().fit((x, Y[::-1][::-1]), **PLAN)) == 1


def test_a_data_set_where_an_array_belongs(backend):
    data, net = nn.Dataset(X, Y, device=backend.device), classifier(backend.device)
    for call in (
        lambda: net.fit((data, Y), **PLAN),
        lambda: net.fit((X, data), **PLAN),
        lambda: nn.Dataset(data, Y),
        lambda: net.backprop(data, Y),
        lambda: net.backprop(X, data),
        lambda: net.predict(data),
    ):
        refused(call, TypeError, r"[xy]: expected an array, got Dataset\(12 examples")
    refused(lambda: net.evaluate(X), TypeError, r"data: expected a Dataset, .* alone; write \(x, y\)")
    refused(lambda: net.evaluate([X, Y]), TypeError, r"data: .*; write \(x, y\) instead of \[x, y\]")


def test_scikit_learns_habit_is_told_of(backend):
    for model in (classifier(backend.device), nn.Ensemble([4, 5, 3], 2, device=backend.device, seed=0)):
        refused(lambda: model.fit(X, Y, **PLAN), TypeError, r"training_data: .*got 2; .*into a tuple: \(x, y\)")  # noqa: B023
        refused(lambda: model.score(X, Y), TypeError, r"metrics: .*score\(\(x, y\), ...\)")  # noqa: B023


# dtypes


@pytest.mark.parametrize("name", ["float32", "int32", "bool", "uint8"])
def test_dtypes_of_the_library_of_numpy_and_by_name(backend, name):
    device = backend.device
    for dtype in (name, getattr(device.xp, name), np.dtype(name), np.dtype(name).type):
        for values in (X, backend.asarray(X), [[1.0, 2.0]]):
            assert nn.to_numpy(device.asarray(values, dtype=dtype)).dtype == name
    if name == "float32":
        for dtype in (device.xp.float32, np.float32, np.dtype("float32"), "f4"):
            assert nn.Network([4, 3], dtype=dtype, device=device).astype(dtype).dtype == "float32"
            data = nn.Dataset(X.astype("float64"), Y, dtype=dtype, device=device)
            assert nn.to_numpy(data.x).dtype == "float32"
            assert nn.to_numpy(next(data.batches(3, dtype=dtype))[0]).dtype == "float32"
            assert nn.Ensemble([4, 3], 2, dtype=dtype, device=device).dtype == "float32"


def test_dtypes_that_are_none(backend):
    for dtype in ("float33", "linalg", 5, "text"):
        refused(lambda: backend.device.asarray(X, dtype=dtype), TypeError, "dtype: expected one that .* has, such as")  # noqa: B023
    refused(lambda: nn.Network([4, 3], dtype="float16"), ValueError, "dtype: expected 'float32' or 'float64', got")


# the book


def test_the_book_takes_arrays_of_pairs_and_nested_lists(capsys):
    from nn_any.book import network, network2

    pairs = [(row[:, None], t[:, None]) for row, t in zip(X[:, :3], T, strict=True)]
    array = np.array(pairs)
    assert array.shape == (12, 2, 3, 1)
    ragged = np.empty((12, 2), dtype=object)
    for i, (x, y) in enumerate(zip(X, T, strict=True)):
        ragged[i] = x[:, None], y[:, None]
    nested = [[x.tolist(), y.tolist()] for x, y in pairs]
    labelled = [[x.tolist(), int(label)] for (x, _), label in zip(pairs, Y, strict=True)]
    found = []
    for training in (pairs, array, nested, iter(pairs)):
        net = network2.Network([3, 4, 3], device="numpy", seed=0)
        for evaluation in (labelled, array, nested):
            net.SGD(training if training is not None else pairs, 1, 4, 0.5, 0.1, evaluation, True, True, True, True)
            training = list(pairs) if not isinstance(training, list | np.ndarray) else training
        assert net.accuracy(array, convert=True) == net.accuracy(labelled) == net.accuracy(pairs)
        assert net.total_cost(array, 0.1) == net.total_cost(nested, 0.1, convert=True)
        net.update_mini_batch(array[:5], 0.1, 0.0, 12)
        found.append(net)
    for net in found[1:]:
        np.testing.assert_array_equal(net.weights[0], found[0].weights[0])
    first = network.Network([4, 5, 3], device="numpy", seed=0)
    first.SGD(ragged, 1, 4, 0.5, test_data=ragged)
    assert first.evaluate(ragged) == first.evaluate([(x[:, None], y) for x, y in zip(X, Y.tolist(), strict=True)])
    capsys.readouterr()


# relatives


def test_devices_themselves_take_nothing_masked_and_wrap_nothing(backend):
    refused(lambda: nn.to_numpy(masked(X)), ValueError, "array: expected numbers everywhere, got 2 of 48 masked")
    refused(lambda: nn.to_device(masked(X), backend.device), ValueError, "array: expected numbers everywhere, got 2")
    if backend.device.integer_dtype == "int32":
        for dtype in (None, "int64"):
            message = "array: expected integers that int32 can hold"
            refused(lambda: backend.device.asarray([2**40], dtype), ValueError, message)  # noqa: B023
    else:
        assert nn.to_numpy(nn.to_device([2**40], backend.device)).tolist() == [2**40]


def test_functions_of_the_book_take_nothing_masked():
    from nn_any.book import network

    refused(lambda: network.sigmoid(masked(X)), ValueError, "z: expected numbers everywhere, got 2 of 48 masked")


def test_a_batch_is_a_pair(backend):
    net = classifier(backend.device)
    data = nn.Dataset(X, Y, device=backend.device)
    message = r"batch: expected a tuple \(x, y\) of arrays, got Dataset; use nn_any.train_steps"
    refused(lambda: nn.train_step(net, net.state, data, 0.1), TypeError, message)
    assert nn.to_numpy(nn.train_steps(net, net.state, data, [[0, 1]], 0.1)[1]).shape == (1,)  # the remedy


def test_text_in_a_column_and_gaps_among_text():
    column = np.array([["a"], ["b"], ["c"]] * 4)
    np.testing.assert_array_equal(nn.Dataset(X, column, classes=["a", "b", "c"]).y, Y)
    refused(lambda: nn.Dataset(X, ["a", "b", None] * 4, classes=["a", "b"]), ValueError, "y: .*, got None at row 2")


def test_the_classes_of_a_single_column():
    """Yes and no in one column: 4 of 12 are no, so they weigh 12 / (2 * 4)."""
    data = nn.Dataset(X, (Y > 0).astype("float32")[:, None], classes=1).weighted(class_weight="balanced")
    np.testing.assert_allclose(data.sample_weight, np.where(Y > 0, 0.75, 1.5))
    assert [len(part) for part in data.split(1.0)] == [12]


@pytest.mark.parametrize("number", [Decimal("1.5"), Fraction(3, 2), 10**30, np.longdouble(1.5)], ids=type)
def test_lists_of_other_numbers_are_told_what_works_for_lists(device, number):
    """A list has no ``astype``."""
    with pytest.raises(TypeError, match=r"x: .*; convert them with numpy.asarray\(\.\.\., dtype='float32'\)") as error:
        nn.Dataset([[number], [number]], [0, 1], device=device)
    assert ".astype" not in str(error.value)
    dataset = nn.Dataset(np.asarray([[number], [number]], dtype="float32"), [0, 1], device=device)
    np.testing.assert_allclose(nn.to_numpy(dataset.x), [[float(number)]] * 2, rtol=1e-6)


@pytest.mark.parametrize("entry", ["a", b"a", None, Decimal("1.5"), np.datetime64("2020-01-01")], ids=type)
def test_a_device_takes_numbers_alone(device, entry):
    """The message is the same on all: PyTorch, JAX and array-api-strict have errors of their own."""
    with pytest.raises(TypeError, match="array: expected numbers, got dtype"):
        device.asarray([entry])
