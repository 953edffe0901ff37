"""L-BFGS through `fit`: the minimum that SciPy and scikit-learn find, going on, and what it refuses."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

import nn_any as nn
from nn_any import evaluation

RNG = np.random.default_rng(0)
N, FEATURES, CLASSES, DECAY = 60, 6, 4, 0.02
X, Y = RNG.normal(size=(N, FEATURES)), RNG.integers(0, CLASSES, N)
TARGETS = np.eye(CLASSES)[Y]
LBFGS = nn.LBFGS(weight_decay=DECAY)


def regression(device="numpy", dtype="float64", **arguments):
    stack = [FEATURES, nn.Dense(CLASSES, "softmax", **arguments)]
    return nn.Network(stack, loss="log_likelihood", device=device, dtype=dtype, seed=1)


def deep(device="numpy", dtype="float64"):
    stack = [FEATURES, nn.Dense(5, "tanh"), nn.LayerNorm(), nn.Dense(CLASSES, "softmax")]
    return nn.Network(stack, loss="log_likelihood", device=device, dtype=dtype, seed=1)


def numbers(net):
    return [nn.to_numpy(a).copy() for layer in net.params for a in layer]


def largest_difference(a, b):
    return max(np.abs(x - y).max() for x, y in zip(a, b, strict=True))


def objective(flat, weights=None, decay=DECAY):
    """Softmax regression with ½ λ ‖W‖², and its gradient: W (classes, features) and then b (classes,)."""
    w, b = flat[:-CLASSES].reshape(CLASSES, FEATURES), flat[-CLASSES:]
    share = np.full(N, 1 / N) if weights is None else weights / weights.sum()
    z = X @ w.T + b
    delta = share[:, None] * (softmax(z, axis=1) - TARGETS)
    value = -np.sum(share * np.sum(TARGETS * log_softmax(z, axis=1), axis=1)) + 0.5 * decay * np.sum(w * w)
    return value, np.concatenate([(delta.T @ X + decay * w).ravel(), delta.sum(axis=0)])


def flat(net):
    return np.concatenate([a.astype("float64").ravel() for a in numbers(net)])


@cache
def minimum(decay=DECAY, weighted=False):
    weights = np.arange(N) % 5 + 0.5 if weighted else None
    start = flat(regression())
    found = minimize(objective, start, (weights, decay), "L-BFGS-B", jac=True, options={"gtol": 1e-9, "ftol": 1e-15})
    assert found.success
    return found.fun


def fit(net, epochs=500, optimizer=LBFGS, **arguments):
    return net.fit((X, Y), epochs=epochs, optimizer=optimizer, **arguments)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-6)])
def test_the_minimum_of_a_convex_problem(float64, dtype, tolerance):
    net = regression(float64.device, dtype)
    assert objective(flat(net))[0] > minimum() + 0.5
    values = []
    history = fit(net, callbacks=[lambda run: values.append(objective(flat(run.network))[0])])
    assert len(history) < 100  # it has converged, and then it stops
    assert objective(flat(net))[0] == pytest.approx(minimum(), abs=tolerance)
    assert history["loss"][-1] == pytest.approx(objective(flat(net), decay=0.0)[0], abs=1e-6)  # without the penalty
    assert history["learning_rate"] == [1.0] * len(history)
    assert net.steps == net.epoch == len(history) == int(nn.to_numpy(net.state.step))
    assert all(a > b for a, b in pairwise(values[:-1]))
    assert all(a.dtype == dtype for a in numbers(net))


def test_the_minimum_of_scikit_learn():
    """Asked to go on until the gradient is 0, it finds the same probabilities and weights."""
    net = regression()
    fit(net, optimizer=nn.LBFGS(weight_decay=DECAY, gradient_tolerance=1e-10, change_tolerance=1e-18))
    theirs = LogisticRegression(C=1 / (DECAY * N), tol=1e-10, max_iter=1000).fit(X, Y)
    np.testing.assert_allclose(net.predict_proba(X), theirs.predict_proba(X), atol=1e-7)
    np.testing.assert_allclose(net.weights[0], theirs.coef_, atol=1e-7)  # the penalty wants them to sum to 0


def test_weights_of_examples(float64):
    net = regression(float64.device)
    fit(net, sample_weight=np.arange(N) % 5 + 0.5)
    assert objective(flat(net), np.arange(N) % 5 + 0.5)[0] == pytest.approx(minimum(weighted=True), abs=1e-9)


def test_less_decay_goes_further(float64):
    net = regression(float64.device)
    fit(net, optimizer=nn.LBFGS(weight_decay=0.001))
    assert objective(flat(net), decay=0.001)[0] == pytest.approx(minimum(decay=0.001), abs=1e-8)


@pytest.mark.parametrize("make", [regression, deep])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_going_on_is_one_run(float64, make, dtype):
    """Three iterations and then four are seven, to the last bit; the curvature is remembered."""
    parts, whole = (make(float64.device, dtype) for _ in range(2))
    records = [*fit(parts, 3), *fit(parts, 4)]
    history = fit(whole, 7)
    assert largest_difference(numbers(parts), numbers(whole)) == 0
    assert [record["loss"] for record in records] == history["loss"]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4, 5, 6, 7]
    assert parts.steps == whole.steps == 7


def test_the_same_way_on_every_backend(float64):
    """Not convex, so that another step would lead elsewhere."""
    net, host = deep(float64.device), deep()
    for each in (net, host):
        fit(each, 25)
    assert largest_difference(numbers(net), numbers(host)) < 1e-7
    assert net.loss((X, Y)) < 0.5 * deep().loss((X, Y))


def test_other_weights_begin_a_new_search(float64):
    """What was learnt of the curvature belongs to the weights that it was learnt at."""
    net, fresh = regression(float64.device), regression(float64.device)
    fit(net, 5)
    net.set_weights(fresh.weights, fresh.biases)
    assert largest_difference(numbers(net), numbers(fresh)) == 0
    fit(net, 3)
    fit(fresh, 3)
    assert largest_difference(numbers(net), numbers(fresh)) == 0
    other = regression(float64.device)
    fit(other, 3)
    other.update_mini_batch((X, Y), 0.1)
    twin = other.copy()
    twin.freeze()
    twin.unfreeze()  # forgets the optimiser
    fit(other, 2)
    fit(twin, 2)
    assert largest_difference(numbers(other), numbers(twin)) == 0


def test_a_copy_and_its_original_go_their_own_ways(float64):
    net = deep(float64.device)
    fit(net, 3)
    twin = net.copy()
    before = numbers(net)
    fit(twin, 4)
    assert largest_difference(numbers(net), before) == 0
    fit(net, 4)
    assert largest_difference(numbers(net), numbers(twin)) == 0


def test_a_run_that_has_converged_stays(float64):
    net = regression(float64.device)
    fit(net)
    before = numbers(net)
    assert len(fit(net)) <= 2
    assert largest_difference(numbers(net), before) < 1e-6


def test_chunk_by_chunk(float64, monkeypatch):
    whole, parts = deep(float64.device), deep(float64.device)
    losses = fit(whole, 5)["loss"]
    monkeypatch.setattr(evaluation, "CHUNK_ELEMENTS", 7 * parts.specification.footprint)
    assert len(list(evaluation.chunks(parts.specification.footprint, N))) == 9
    assert fit(parts, 5)["loss"] == pytest.approx(losses, rel=1e-10)
    assert largest_difference(numbers(parts), numbers(whole)) < 1e-9


def test_frozen_layers_stay(float64):
    """And the others find the best that is left: with the weights fixed, the biases of a convex problem."""
    net = deep(float64.device).freeze(0, 1)
    before = numbers(net)
    fit(net, 30)
    after = numbers(net)
    assert largest_difference(after[:4], before[:4]) == 0
    assert largest_difference(after[4:], before[4:]) > 0.1
    features = net.copy()
    hidden = nn.Network([5, nn.Dense(CLASSES, "softmax")], loss="log_likelihood", dtype="float64", device="numpy")
    hidden.set_weights([after[4]], [after[5]])
    inputs = np.tanh(X @ before[0].T + before[1])
    inputs = (inputs - inputs.mean(axis=1, keepdims=True)) / np.sqrt(inputs.var(axis=1, keepdims=True) + 1e-5)
    assert features.loss((X, Y)) == pytest.approx(hidden.loss((inputs, Y)), rel=1e-12)
    nabla_b, nabla_w = hidden.backprop(inputs, Y)
    assert max(np.abs(nabla_b[0]).max(), np.abs(nabla_w[0] + DECAY * after[4]).max()) < 1e-5


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm()], ids=repr)
def test_it_refuses_a_loss_that_is_no_function_of_the_weights(backend, layer):
    net = nn.Network(
        [FEATURES, layer, nn.Dense(CLASSES, "softmax")], loss="log_likelihood", device=backend.device, seed=0
    )
    before = numbers(net)
    name = type(layer).__name__
    message = rf"optimizer: LBFGS\(.*\) needs a loss that is one function of the weights, but {name}\(.*; leave it out,"
    with pytest.raises(ValueError, match=message):
        fit(net)
    assert largest_difference(numbers(net), before) == net.epoch == 0
    if name == "BatchNorm":
        assert len(fit(net.freeze(0), 2)) == 2
    distorted = [(2, 3, 1), nn.RandomAffine(5), nn.Flatten(), nn.Dense(CLASSES, "softmax")]
    with pytest.raises(ValueError, match="but RandomAffine"):
        fit(nn.Network(distorted, loss="log_likelihood", device=backend.device))


def test_batch_sizes(backend):
    net = regression(backend.device, "float32")
    for bad in (1, N - 1):
        with pytest.raises(
            ValueError, match=rf"batch_size: expected all 60 examples for LBFGS\(.*, got {bad}; leave it"
        ):
            fit(net, 1, batch_size=bad)
    assert len(fit(net, 1, batch_size=N)) == 1


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_a_loss_that_is_not_finite(backend):
    net = nn.Network([FEATURES, nn.Dense(1, "linear")], device=backend.device, seed=0)
    before = numbers(net)
    with pytest.raises(
        nn.TrainingDivergedError, match=r"the loss became (inf|nan) in epoch 1; the weights .* are kept"
    ):
        net.fit((1e25 * X, X[:, :1]), epochs=3, optimizer=nn.LBFGS())
    assert largest_difference(numbers(net), before) == net.epoch == 0


def test_callbacks_and_validation(backend):
    net, kept = regression(backend.device, "float32"), []
    stopping = nn.EarlyStopping("validation_loss", patience=3)
    history = fit(
        net,
        callbacks=[stopping, lambda run: kept.append(numbers(run.network))],
        optimizer=nn.LBFGS(),
        validation_data=(X[::-1], (Y + 1) % CLASSES),
        metrics=["f1"],
    )
    best = int(np.argmin(history["validation_loss"]))
    assert len(history) == best + 4
    assert largest_difference(numbers(net), kept[best]) == 0
    assert "validation_f1" in history.records[0]


@pytest.mark.parametrize("shift", [-1000.0, 1000.0])
def test_the_sign_of_the_value_is_no_matter(shift):
    """Rosenbrock's function, and the same moved down and up: the same way to the same minimum."""

    def run(moved):
        def rosenbrock(x):
            a, b = 1 - x[0], x[1] - x[0] ** 2
            return a * a + 100 * b * b + moved, np.array([-2 * a - 400 * x[0] * b, 200 * b])

        lbfgs = nn.LBFGS()
        state = lbfgs.start(np.array([-1.2, 1.0]))
        while not state.converged:
            state = lbfgs.iterate(state, rosenbrock)
        return state

    here, there = run(0.0), run(shift)
    np.testing.assert_allclose(there.x, [1.0, 1.0], rtol=1e-3)
    assert abs(int(there.iterations) - int(here.iterations)) <= 3
