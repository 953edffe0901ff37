"""The oracle of the estimators is scikit-learn's own, with the same random_state."""

import copy
import pickle
from itertools import product

import numpy as np
import pytest
import scipy.sparse
from estimators.pairs import OURS, THEIRS, VERSION, WEIGHTED, Pair, told
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_multilabel_classification,
    make_regression,
)
from sklearn.preprocessing import scale
from sklearn.utils.fixes import parse_version

needs_weights = pytest.mark.skipif(not WEIGHTED, reason="scikit-learn before 1.7 takes no sample weights")


def _data(kind):
    rng = np.random.default_rng(1)
    if kind in ("multiclass", "binary", "names"):
        x, y = load_iris(return_X_y=True)
        rows = rng.permutation(150)[:90]
        x, y = scale(x)[rows], y[rows]
        y = y if kind == "multiclass" else np.array(["other", "setosa"])[(y == 0) * 1] if kind == "names" else y == 2
        return "MLPClassifier", x, y * 1 if kind == "binary" else y
    if kind == "multilabel":
        x, y = make_multilabel_classification(90, n_features=6, n_classes=4, random_state=0)
        return "MLPClassifier", scale(x), y
    x, y = make_regression(90, 5, n_targets=2 if kind == "outputs" else 1, random_state=0)
    y = y / 50
    return "MLPRegressor", x, np.abs(y) if kind == "poisson" else y


KINDS = ["multiclass", "binary", "names", "multilabel", "numbers", "outputs"] + ["poisson"] * WEIGHTED


def kinds(*quick):
    """All kinds of targets; those that are not named are slow."""
    marks = {kind: () if kind in quick else pytest.mark.slow for kind in KINDS}
    return pytest.mark.parametrize("kind", [pytest.param(kind, marks=marks[kind]) for kind in KINDS])


SOLVERS = [
    {"solver": "adam", "learning_rate_init": 0.01},
    {"solver": "adam", "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3, "activation": "tanh"},
    *(
        {"solver": "sgd", "learning_rate": rate, "nesterovs_momentum": nesterov, "learning_rate_init": 0.05}
        for rate, nesterov in product(("constant", "invscaling", "adaptive"), (True, False))
    ),
    {"solver": "sgd", "momentum": 0, "power_t": 0.3, "learning_rate": "invscaling", "activation": "logistic"},
    {"solver": "lbfgs", "max_iter": 5},
]
OPTIONS = [
    {"batch_size": 20},
    {"early_stopping": True, "batch_size": 16, "n_iter_no_change": 1, "max_iter": 8},
    {"shuffle": False, "batch_size": 7, "alpha": 0.1, "activation": "identity"},
    {"alpha": 0, "activation": "logistic", "hidden_layer_sizes": ()},
    {"tol": 0.5, "n_iter_no_change": 1, "max_iter": 60, "verbose": True, "hidden_layer_sizes": 9},
]


def _fixed(kind, parameters):
    return {**parameters, "loss": "poisson"} if kind == "poisson" else parameters


@kinds("multiclass", "numbers")
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_every_solver_takes_the_same_steps(kind, options):
    name, x, y = _data(kind)
    for solver in SOLVERS:
        parameters = _fixed(kind, {**solver, **options})
        if parameters["solver"] == "lbfgs":
            parameters = {**parameters, "max_iter": 5, "verbose": False}
        pair = Pair(name, **parameters)
        with np.errstate(all="ignore"):
            pair.do("fit", x, y).answer(x, y)


@needs_weights
@kinds("binary", "outputs")
@pytest.mark.parametrize("solver", [SOLVERS[0], SOLVERS[2], SOLVERS[-1]], ids=lambda solver: solver["solver"])
def test_sample_weights_count_the_same(kind, solver):
    name, x, y = _data(kind)
    weights = np.random.default_rng(0).random(len(x))
    weights[::7] = 0
    for options in ({}, {"early_stopping": True}, {"batch_size": 11}):
        Pair(name, **_fixed(kind, {**solver, **options})).do("fit", x, y, sample_weight=weights).answer(x, y)
    Pair(name, **_fixed(kind, solver)).do("fit", x, y, list(weights))
    Pair(name, **_fixed(kind, solver)).do("fit", x, y, 2.0)
    Pair(name, **_fixed(kind, solver)).do("fit", x, y, weights[1:])
    Pair(name, **_fixed(kind, solver)).do("fit", x, y, np.full(len(x), np.nan))


@kinds("names")
@pytest.mark.parametrize("solver", [SOLVERS[0], SOLVERS[4], SOLVERS[6], SOLVERS[-1]], ids=lambda s: s["solver"])
def test_a_warm_start_goes_on_the_same(kind, solver):
    name, x, y = _data(kind)
    pair = Pair(name, **_fixed(kind, {**solver, "warm_start": True, "batch_size": 30}))
    for _ in range(3):
        pair.do("fit", x, y).answer(x, y)
    pair.theirs.set_params(tol=0.3, n_iter_no_change=2, alpha=0.01, max_iter=30)
    pair.ours.set_params(tol=0.3, n_iter_no_change=2, alpha=0.01, max_iter=30)
    pair.do("fit", x, y).answer(x, y)


@pytest.mark.parametrize("kind", ["multiclass", "numbers"])
def test_a_warm_start_that_stops_early_goes_on_the_same(kind):
    name, x, y = _data(kind)
    parameters = {"early_stopping": True, "warm_start": True, "n_iter_no_change": 2, "learning_rate_init": 0.05}
    pair = Pair(name, **parameters, max_iter=30, batch_size=10)
    for _ in range(4):
        pair.do("fit", x, y).answer(x, y)


@kinds("multiclass", "numbers")
@pytest.mark.parametrize("solver", [*SOLVERS[:1], *SOLVERS[2:8]], ids=lambda s: s["solver"])
def test_partial_fit_takes_the_same_steps(kind, solver):
    name, x, y = _data(kind)
    pair = Pair(name, **_fixed(kind, solver), max_iter=1 if kind == "binary" else 8, verbose=kind == "numbers")
    classes = {"classes": np.arange(4) if y.ndim > 1 else np.unique(y)} if name == "MLPClassifier" else {}
    for start in range(5):
        pair.do("partial_fit", x[start::5], y[start::5], **classes)
        classes = {}
    pair.answer(x, y)
    pair.do("fit", x, y).do("partial_fit", x, y).answer(x, y)


def test_partial_fit_is_there_only_for_solvers_that_step():
    _, x, y = _data("numbers")
    for name in OURS:
        assert hasattr(OURS[name](solver="sgd"), "partial_fit")
        assert not hasattr(OURS[name](solver="lbfgs"), "partial_fit") or name == "MLPRegressor"
    for kind, arguments in {
        "multiclass": [{}, {"classes": [0, 1]}, {"classes": [0, 1, 2, 3]}],
        "multilabel": [{"classes": [0, 1, 2, 3]}],
    }.items():
        name, x, y = _data(kind)
        for given in arguments:
            pair = Pair(name).do("partial_fit", x, y, **given)
    name, x, y = _data("multiclass")
    pair = Pair(name).do("partial_fit", x, y, classes=[0, 1, 2]).do("partial_fit", x, y, classes=[0, 1, 3])
    pair.do("partial_fit", x, y + 1).do("partial_fit", x[:, 1:], y)


@kinds("multilabel", "numbers")
def test_float32_stays_float32(kind):
    name, x, y = _data(kind)
    x = x.astype(np.float32)
    for solver in (*SOLVERS[:3], SOLVERS[-1]):
        pair = Pair(name, **_fixed(kind, solver))
        pair.do("fit", x, y, rtol=1e-3).answer(x, y, rtol=1e-3)
    pair = Pair(name, **_fixed(kind, {"early_stopping": True}))
    pair.do("fit", x, y, rtol=1e-3).answer(x, y, rtol=1e-3).answer(x.astype(float), y, rtol=1e-3)
    Pair(name, **_fixed(kind, {})).do("fit", x.astype(float), y).answer(x, y, rtol=1e-3)


@pytest.mark.parametrize("kind", ["multiclass", "numbers"])
@pytest.mark.parametrize("layout", ["csr_matrix", "csc_array", "coo_matrix"])
def test_sparse_inputs_train_the_same(kind, layout):
    name, x, y = _data(kind)
    x = x * (np.abs(x) > 0.5)
    given = getattr(scipy.sparse, layout)(x)
    for solver in (*SOLVERS[:1], SOLVERS[-1]):
        for options in ({"early_stopping": True}, {"shuffle": False, "batch_size": 13}):
            pair = Pair(name, **{**solver, **options})
            pair.do("fit", given, y).answer(given, y)
            pair.answer(x, y)


def test_frames_give_names_to_features():
    pandas = pytest.importorskip("pandas")
    name, x, y = _data("names")
    frame = pandas.DataFrame(x, columns=list("abcd"))
    pair = Pair(name).do("fit", frame, pandas.Series(y)).answer(frame, y)
    pair.do("fit", frame.rename(columns={"a": "z"}), y)
    for one in (pair.theirs, pair.ours):
        _, error, heard, _ = told(one.predict, frame)
        assert "feature names should match" in str(error)
        _, error, heard, _ = told(one.predict, x)
        assert [message for _, message, _ in heard] == [
            f"X does not have valid feature names, but {name} was fitted with feature names"
        ]


BAD_DATA = {
    "shape": (np.ones(5), np.ones(5)),
    "lengths": (np.ones((5, 2)), [0, 1, 0, 1]),
    "nan": (np.full((4, 2), np.nan), [0, 1, 0, 1]),
    "infinite": (np.full((4, 2), np.inf), [0, 1, 0, 1]),
    "words": (np.array([["a"], ["b"]]), [0, 1]),
    "empty": (np.ones((0, 2)), []),
    "no features": (np.ones((3, 0)), [0, 1, 1]),
    "complex": (np.ones((3, 1), complex), [0, 1, 1]),
    "no targets": (np.ones((3, 1)), None),
    "nan targets": (np.ones((4, 1)), [0, 1, np.nan, 1]),
    "real classes": (np.ones((4, 1)), [0.5, 1.5, 2.5, 1.0]),
    "three axes": (np.ones((4, 1, 2)), [0, 1, 0, 1]),
    "rows of classes": (np.arange(4.0)[:, None], [[0, 2], [1, 1], [2, 0], [1, 2]]),
    "one class": (np.arange(4.0)[:, None], [1, 1, 1, 1]),
    "few": (np.arange(2.0)[:, None], [0, 1]),
    "one row": (np.ones((1, 2)), [1]),
    "a column": (np.arange(6.0)[:, None], np.array([[0], [1], [2], [0], [1], [2]])),
    "huge": (np.full((6, 1), 1e300), [0, 1, 0, 1, 0, 1]),
}


def _odd_targets():
    _, x, y = _data("multiclass")
    several = _data("multilabel")
    yield "MLPClassifier", x, y == 1
    yield "MLPClassifier", x, [["a", "b", "c"][i] for i in y]
    yield "MLPClassifier", x, np.array(["a", "b", 3], dtype=object)[y]
    yield "MLPClassifier", x, np.array(["a", "b", "c"], dtype=object)[y]
    yield "MLPClassifier", x, y.astype(np.uint8)
    yield "MLPClassifier", x, y * 1.0
    yield "MLPClassifier", x.tolist(), y.tolist()
    yield "MLPClassifier", (x * 3).astype(int), y
    yield "MLPClassifier", (x * 3).astype(np.float16), y
    yield "MLPClassifier", x.astype(object), y
    yield "MLPClassifier", np.asfortranarray(x)[::2, ::-1], y[::2]
    yield "MLPClassifier", several[1], several[2].astype(bool)
    yield "MLPClassifier", several[1], several[2][:, :1]
    yield "MLPClassifier", several[1], several[2] * 2
    yield "MLPClassifier", several[1], scipy.sparse.csr_matrix(several[2])
    yield "MLPClassifier", several[1], several[2].tolist()
    yield "MLPRegressor", x, y
    yield "MLPRegressor", x, y == 1
    yield "MLPRegressor", x, y.astype(np.float32)
    yield "MLPRegressor", x, np.stack([y, y, -y], 1)
    yield "MLPRegressor", x, y.astype(complex)


def test_odd_kinds_of_data_mean_the_same():
    for name, x, y in _odd_targets():
        for options in ({"max_iter": 3, "early_stopping": True}, {"solver": "lbfgs", "max_iter": 2}):
            pair = Pair(name, **options).do("fit", x, y)
            if hasattr(pair.theirs, "coefs_"):
                pair.answer(x, y, rtol=1e-3)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("what", BAD_DATA)
def test_odd_data_meet_the_same_answer(name, what):
    x, y = BAD_DATA[what]
    for options in ({}, {"solver": "sgd"}, {"solver": "lbfgs"}, {"early_stopping": True}):
        Pair(name, **options, max_iter=3).do("fit", x, y)


BAD_PARAMETERS = [
    {"hidden_layer_sizes": -1}, {"hidden_layer_sizes": (3, 0)}, {"hidden_layer_sizes": "many"}, {"activation": "none"},
    {"solver": "rmsprop"}, {"alpha": -1}, {"batch_size": 0}, {"batch_size": "all"}, {"learning_rate": "cosine"},
    {"learning_rate_init": 0}, {"power_t": -1}, {"max_iter": 0}, {"max_iter": 1.5}, {"shuffle": "yes"},
    {"random_state": "x"}, {"tol": -1}, {"verbose": -1}, {"warm_start": 1}, {"momentum": 2}, {"nesterovs_momentum": 2},
    {"early_stopping": "no"}, {"validation_fraction": 1}, {"beta_1": 1}, {"beta_2": -1}, {"epsilon": 0},
    {"n_iter_no_change": 0}, {"n_iter_no_change": 2.5}, {"max_fun": 0},
]  # fmt: skip


@pytest.mark.parametrize("given", BAD_PARAMETERS, ids=str)
def test_bad_parameters_meet_the_same_error(given):
    for kind in ("multiclass", "numbers"):
        name, x, y = _data(kind)
        pair = Pair(name, **given).do("fit", x, y)
        if pair.ours.solver in ("sgd", "adam"):
            pair.do("partial_fit", x, y)
        assert told(pair.ours.fit, x, y)[1] is not None


def test_half_a_unit_meets_the_same_error():
    name, x, y = _data("multiclass")
    Pair(name, hidden_layer_sizes=(3.5,)).do("fit", x, y)


def test_odd_parameters_are_as_good_as_there():
    name, x, y = _data("multiclass")
    for given in (
        {"n_iter_no_change": np.inf, "tol": 0}, {"batch_size": 1000}, {"hidden_layer_sizes": np.array([4, 3])},
        {"hidden_layer_sizes": [6]}, {"validation_fraction": 0.5, "early_stopping": True}, {"tol": 10.0, "verbose": 2},
        {"max_iter": np.int64(4)}, {"momentum": 1, "solver": "sgd"}, {"beta_1": 0.0, "beta_2": 0.0},
        {"validation_fraction": 0.0, "early_stopping": True}, {"validation_fraction": 0.01, "early_stopping": True},
        {"learning_rate": "adaptive", "solver": "sgd", "tol": 10, "max_iter": 150, "verbose": True},
        {"learning_rate": "adaptive", "early_stopping": True, "n_iter_no_change": 1, "max_iter": 40, "solver": "sgd",
         "verbose": True},
    ):  # fmt: skip
        Pair(name, **given).do("fit", x, y)


def test_a_random_state_is_drawn_from_on_and_on():
    name, x, y = _data("multiclass")
    pair = Pair(name, random_state=np.random.RandomState(5))
    for _ in range(2):
        pair.do("fit", x, y).answer(x, y)
    np.random.seed(7)
    theirs = THEIRS[name](max_iter=4)
    told(theirs.fit, x, y)
    np.random.seed(7)
    ours = OURS[name](max_iter=4)
    told(ours.fit, x, y)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_)


def test_saturated_outputs_have_finite_losses():
    _, x, y = _data("binary")
    for kind, targets in (("MLPClassifier", y), ("MLPClassifier", y + (x[:, 0] > 0))):
        pair = Pair(kind, solver="sgd", learning_rate_init=50, max_iter=5, hidden_layer_sizes=(3,), momentum=0)
        pair.do("fit", x * 100, targets)


def test_huge_targets_overflow_the_same():
    name, x, y = _data("numbers")
    for dtype in (np.float64, np.float32):
        Pair(name, solver="sgd", learning_rate_init=0.5, max_iter=20).do("fit", x.astype(dtype), y * 1e30, rtol=1e-3)
    Pair(name, max_iter=4).do("fit", x.astype(np.float32), y.astype(np.float32) * 1e20, rtol=1e-3)


def test_weights_can_be_given_by_hand():
    name, x, y = _data("multiclass")
    pair = Pair(name, warm_start=True).do("fit", x, y)
    rng = np.random.default_rng(0)
    coefs, intercepts = ([rng.standard_normal(a.shape) for a in b] for b in (pair.ours.coefs_, pair.ours.intercepts_))
    for one in (pair.theirs, pair.ours):
        one.coefs_ = [w.copy() for w in coefs]
        one.intercepts_ = [b.copy() for b in intercepts]
    pair.answer(x, y)
    pair.do("fit", x, y).answer(x, y)
    for one in (pair.theirs, pair.ours):
        one.coefs_[0][1, 2] = 3.0
        one.coefs_[1] = np.ones_like(one.coefs_[1])
        one.intercepts_[-1][:] += 1
    pair.answer(x, y)
    pair.do("fit", x, y).answer(x, y)


@pytest.mark.parametrize("kind", ["multiclass", "numbers"])
def test_copies_are_equal_and_independent(kind):
    name, x, y = _data(kind)
    pair = Pair(name).do("fit", x, y)
    ours = pair.ours
    before = ours.predict(x)
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), copy.copy(ours)):
        np.testing.assert_array_equal(other.predict(x), before)
        assert other.loss_curve_ == ours.loss_curve_
    other = copy.deepcopy(ours)
    told(other.partial_fit, x, y)
    theirs = copy.deepcopy(pair.theirs)
    told(theirs.partial_fit, x, y)
    np.testing.assert_allclose(other.coefs_[0], theirs.coefs_[0], rtol=1e-9)
    np.testing.assert_array_equal(ours.predict(x), before)
    assert not hasattr(clone(ours), "coefs_")


def test_parameters_are_scikit_learns():
    for name in OURS:
        theirs, ours = THEIRS[name](alpha=0.5), OURS[name](alpha=0.5)
        given = ours.get_params()
        if not WEIGHTED:
            given.pop("loss", None)
        assert {key: given[key] for key in theirs.get_params()} == theirs.get_params()
        assert repr(ours) == repr(theirs) == f"{name}(alpha=0.5)"
        ours.set_params(alpha=0.1, hidden_layer_sizes=(3,))
        assert (ours.alpha, ours.hidden_layer_sizes) == (0.1, (3,))
        a, b = told(theirs.set_params, nonsense=1)[1], told(ours.set_params, nonsense=1)[1]
        assert type(a) is type(b)
    _, x, _ = _data("multiclass")
    for name in OURS:
        a, b = told(THEIRS[name]().predict, x)[1], told(OURS[name]().predict, x)[1]
        assert type(a) is type(b)
        assert str(a) == str(b)


def test_ctrl_c_ends_a_fit_with_a_warning():
    import signal
    import threading

    _, x, y = _data("multiclass")
    for name, kinds in (("theirs", THEIRS), ("ours", OURS)):
        estimator = kinds["MLPClassifier"](max_iter=100_000, tol=0, n_iter_no_change=np.inf, random_state=0)
        timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
        timer.start()
        _, error, heard, _ = told(estimator.fit, x, y)
        timer.join()
        assert error is None, name
        assert [w[:2] for w in heard] == [(UserWarning, "Training interrupted by user.")], name
        assert heard[0][2].endswith("pairs.py") or name == "theirs"
        assert 0 < estimator.n_iter_ == len(estimator.loss_curve_)
        assert estimator.score(x, y) > 0.5


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_digits])
def test_lbfgs_takes_the_same_iterations_on_standardised_tables(load):
    x, y = load(return_X_y=True)
    pair = Pair("MLPClassifier", solver="lbfgs", hidden_layer_sizes=(100,), max_iter=200)
    for one in (pair.theirs, pair.ours):
        assert told(one.fit, scale(x), y)[1] is None
    assert pair.ours.n_iter_ == pair.theirs.n_iter_
    np.testing.assert_allclose(pair.ours.loss_, pair.theirs.loss_, rtol=1e-6)


class _Nudged(THEIRS["MLPClassifier"]):
    """scikit-learn's, started one unit in the last place aside."""

    nudge = None

    def _init_coef(self, *args):
        coefs, intercepts = super()._init_coef(*args)
        return np.nextafter(coefs, self.nudge.choice([-9, 9], coefs.shape)), intercepts


@pytest.mark.slow
@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_digits])
def test_lbfgs_stays_within_the_spread_of_scikit_learns_own_starts(load):
    x, y = load(return_X_y=True)
    parameters = {"solver": "lbfgs", "random_state": 0, "hidden_layer_sizes": (10,), "max_iter": 100}
    ours = OURS["MLPClassifier"](**parameters)
    told(ours.fit, x, y)
    losses, counts = [], []
    for seed in range(11):
        theirs = _Nudged(**parameters) if seed else THEIRS["MLPClassifier"](**parameters)
        _Nudged.nudge = np.random.default_rng(seed)
        told(theirs.fit, x, y)
        losses.append(theirs.loss_)
        counts.append(theirs.n_iter_)
    width = max(np.ptp(losses), 1e-6 * np.median(losses))
    assert min(losses) - width <= ours.loss_ <= max(losses) + width
    assert min(counts) - np.ptp(counts) <= ours.n_iter_ <= max(counts) + np.ptp(counts)


def test_lbfgs_says_the_same():
    name, x, y = _data("multiclass")
    Pair(name, solver="lbfgs", max_iter=3).do("fit", x, y)
    Pair(name, solver="lbfgs", max_fun=3).do("fit", x, y)
    Pair(name, solver="lbfgs", tol=10.0).do("fit", x, y)
    if parse_version("1.8") <= VERSION:
        Pair(name, solver="lbfgs", max_iter=3, verbose=True).do("fit", x, y)
