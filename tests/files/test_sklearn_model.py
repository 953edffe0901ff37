"""Estimators of scikit-learn become networks and networks become estimators, with the same predictions."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

import nn_any as nn

IRIS, IRIS_CLASSES = load_iris(return_X_y=True)
CANCER, IS_BENIGN = load_breast_cancer(return_X_y=True)
DIABETES, PROGRESSION = load_diabetes(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
RNG = np.random.default_rng(0)
SETTINGS = {"learning_rate_init": 0.01, "max_iter": 15, "random_state": 0}


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # a few steps do


def assert_equal(ours, theirs, tolerance=1e-5):
    assert np.shape(ours) == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1, np.abs(theirs).max()))


CLASSIFIERS = {
    "numbers": (IRIS, IRIS_CLASSES, {}),
    "text": (IRIS, NAMES[IRIS_CLASSES], {"activation": "tanh"}),
    "logistic": (IRIS, IRIS_CLASSES + 5, {"activation": "logistic", "hidden_layer_sizes": (9,)}),
    "identity": (IRIS, IRIS_CLASSES, {"activation": "identity"}),
    "no hidden layer": (IRIS, IRIS_CLASSES, {"hidden_layer_sizes": ()}),
    "two": (CANCER / CANCER.max(0), IS_BENIGN, {}),
    "two of text": (CANCER / CANCER.max(0), np.array(["malignant", "benign"])[IS_BENIGN], {}),
    "two of truth": (CANCER / CANCER.max(0), IS_BENIGN.astype(bool), {}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name, dtype):
    x, y, settings = CLASSIFIERS[name]
    x = x.astype(dtype)
    mlp = MLPClassifier(**{"hidden_layer_sizes": (7, 5), **SETTINGS, **settings}).fit(x, y)
    net = nn.Network.from_sklearn(mlp)
    assert net.dtype == dtype == net.to_sklearn().coefs_[0].dtype
    assert net.task == "classification"
    assert net.class_names == tuple(mlp.classes_.tolist())
    assert [type(each) for each in net.class_names] == [type(each) for each in mlp.classes_.tolist()]
    probabilities = mlp.predict_proba(x)
    wanted = probabilities if len(mlp.classes_) > 2 else probabilities[:, 1:]
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert_equal(net.predict_proba(x), wanted, tolerance)
    np.testing.assert_array_equal(mlp.classes_[net.predict(x)], mlp.predict(x))
    np.testing.assert_array_equal(net.predict_names(x), mlp.predict(x))
    back = net.to_sklearn()
    assert_equal(back.predict_proba(x), probabilities, tolerance)
    np.testing.assert_array_equal(back.predict(x), mlp.predict(x))
    assert back.classes_.dtype == mlp.classes_.dtype
    assert back.score(x, y) == mlp.score(x, y)


def test_answers_that_do_not_exclude_each_other():
    x = RNG.normal(size=(60, 4))
    y = (x @ RNG.normal(size=(4, 3)) > 0).astype(int)
    mlp = MLPClassifier((6,), **SETTINGS | {"max_iter": 100}).fit(x, y)
    net = nn.Network.from_sklearn(mlp)
    assert net.task == "multilabel"
    assert_equal(net.predict_proba(x), mlp.predict_proba(x))
    np.testing.assert_array_equal(net.predict(x), mlp.predict(x))
    back = net.to_sklearn()
    assert_equal(back.predict_proba(x), mlp.predict_proba(x))
    np.testing.assert_array_equal(back.predict(x), mlp.predict(x))
    assert back.score(x, y) == mlp.score(x, y) == net.accuracy((x, y)) > 0.5
    back.partial_fit(x, y)


REGRESSORS = {
    "one number": (PROGRESSION / 100, {}),
    "three numbers": (PROGRESSION[:, None] / [100, 50, -20], {"activation": "tanh"}),
    "counts": (PROGRESSION // 50, {"loss": "poisson", "activation": "logistic"}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name, dtype):
    y, settings = REGRESSORS[name]
    if not settings.keys() <= MLPRegressor().get_params().keys():
        pytest.skip("needs scikit-learn 1.7, for its loss 'poisson'")
    x = (DIABETES * 20).astype(dtype)
    mlp = MLPRegressor(hidden_layer_sizes=(6, 3), **SETTINGS, **settings).fit(x, y)
    net = nn.Network.from_sklearn(mlp)
    assert (net.dtype, net.task) == (dtype, "regression")
    assert net.specification.loss.name == ("poisson" if settings.get("loss") else "mean_squared_error")
    wanted = mlp.predict(x)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert_equal(net.predict(x), wanted.reshape(len(x), -1), tolerance)
    back = net.to_sklearn()
    assert_equal(back.predict(x), wanted, tolerance)
    assert back.score(x, y) == pytest.approx(mlp.score(x, y), rel=1e-4)
    assert back.partial_fit(x, y).predict(x).shape == wanted.shape


SCALED = {
    "inputs": make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(4,), **SETTINGS)),
    "centred": make_pipeline(
        StandardScaler(with_std=False), "passthrough", MLPRegressor(hidden_layer_sizes=(4,), **SETTINGS)
    ),
    "scaled": make_pipeline(StandardScaler(with_mean=False), MLPRegressor(hidden_layer_sizes=(4,), **SETTINGS)),
    "twice": make_pipeline(
        StandardScaler(with_std=False), StandardScaler(), MLPRegressor(hidden_layer_sizes=(4,), **SETTINGS)
    ),
    "targets": TransformedTargetRegressor(
        MLPRegressor(hidden_layer_sizes=(4,), **SETTINGS), transformer=StandardScaler()
    ),
    "both": TransformedTargetRegressor(
        make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(4,), **SETTINGS)), transformer=StandardScaler()
    ),
    "both, the other way": make_pipeline(
        StandardScaler(),
        TransformedTargetRegressor(MLPRegressor(hidden_layer_sizes=(4,), **SETTINGS), transformer=StandardScaler()),
    ),
}


@pytest.mark.parametrize("y", [PROGRESSION, PROGRESSION[:, None] / [1, -9]], ids=["a number", "two numbers"])
@pytest.mark.parametrize("name", SCALED)
def test_scalers(name, y):
    x = DIABETES * [3, 100, 1, 1, 1, 1, 1, 1, 1, 5] + np.arange(10)
    estimator = clone(SCALED[name]).fit(x, y)
    net = nn.Network.from_sklearn(estimator)
    wanted = estimator.predict(x)
    assert_equal(net.predict(x), wanted.reshape(len(x), -1), 1e-12)
    back = net.to_sklearn()
    check_is_fitted(back)
    assert_equal(back.predict(x), wanted, 1e-12)
    assert_equal(nn.Network.from_sklearn(back).predict(x), net.predict(x), 1e-12)
    assert_equal(pickle.loads(pickle.dumps(back)).predict(x), wanted, 1e-12)
    assert_equal(clone(back).fit(x, y).predict(x).shape, wanted.shape)


def test_names_of_features():
    frame = load_iris(as_frame=True)
    for estimator in (
        MLPClassifier((5,), **SETTINGS),
        make_pipeline(StandardScaler(), MLPClassifier((5,), **SETTINGS)),
    ):
        estimator.fit(frame.data, frame.target)
        net = nn.Network.from_sklearn(estimator)
        assert net.feature_names == tuple(frame.data.columns)
        back = net.to_sklearn()
        assert list(back.feature_names_in_) == list(frame.data.columns)
        assert_equal(back.predict_proba(frame.data), estimator.predict_proba(frame.data), 1e-12)
    regressor = TransformedTargetRegressor(
        MLPRegressor(hidden_layer_sizes=(3,), **SETTINGS), transformer=StandardScaler()
    )
    regressor.fit(frame.data, frame.target)
    back = nn.Network.from_sklearn(regressor).to_sklearn()
    assert list(back.feature_names_in_) == list(frame.data.columns)
    assert_equal(back.predict(frame.data), regressor.predict(frame.data), 1e-12)


def trained(layers, y=IRIS_CLASSES, x=IRIS, **options):
    net = nn.Network([x.shape[1], *layers], seed=1, initializer="glorot_uniform", dtype="float64", **options)
    net.fit((x, y), epochs=5, optimizer=nn.Adam(0.01))
    return net


def test_networks_become_estimators():
    net = trained(
        [nn.Standardize(), nn.Dense(6, "linear"), nn.Activation("relu"), nn.Dropout(0.3), 5, 3],
        activation="relu", loss="log_likelihood",
    )  # fmt: skip
    net.schema = nn.Schema(class_names=["c", "a", "b"])
    pipeline = net.to_sklearn()
    assert pipeline.classes_.tolist() == ["a", "b", "c"]
    assert_equal(pipeline.predict_proba(IRIS), net.predict_proba(IRIS)[:, [1, 2, 0]], 1e-12)
    np.testing.assert_array_equal(pipeline.predict(IRIS), net.predict_names(IRIS))
    assert pipeline[-1].n_iter_ == 5
    assert pipeline[-1].get_params()["hidden_layer_sizes"] == [6, 5]


def test_two_classes_have_one_output():
    y = IRIS_CLASSES % 2
    names = nn.Schema(class_names=["yes", "no"])
    softmax = trained([4, 2], y, activation="tanh", loss="log_likelihood")
    sigmoid = trained([4, 1], y, activation="tanh", loss="cross_entropy")
    for net in (softmax, sigmoid):
        first = net.to_sklearn()
        net.schema = names
        second = net.to_sklearn()
        assert second.classes_.tolist() == ["no", "yes"]
        probability = net.predict_proba(IRIS)[:, -1]
        assert_equal(first.predict_proba(IRIS), np.stack([1 - probability, probability], 1), 1e-12)
        assert_equal(second.predict_proba(IRIS), np.stack([probability, 1 - probability], 1), 1e-12)
        np.testing.assert_array_equal(second.predict(IRIS), net.predict_names(IRIS))


def test_images_and_rows():
    x = RNG.random((30, 4, 3, 2)).astype("float32")
    net = nn.Network(
        [(4, 3, 2), nn.RandomAffine(3), nn.Standardize(), nn.Flatten(), 5, 1], loss="mean_squared_error", seed=0
    )
    net.fit((x, RNG.random(30)), epochs=2)
    assert_equal(net.to_sklearn().predict(x.reshape(30, 24)), net.predict(x)[:, 0])


def test_one_answer_of_yes_or_no():
    net = trained([4, 1], IRIS_CLASSES[:, None] % 2, loss="cross_entropy", task="multilabel")
    assert_equal(net.to_sklearn().predict_proba(IRIS)[:, 1:], net.predict_proba(IRIS), 1e-12)


def test_estimators_go_on():
    """They pickle, train on, and begin from the network's weights with a warm start; nobody shares memory."""
    net = trained([8, 3], activation="tanh", loss="log_likelihood")
    wanted = net.predict_proba(IRIS)
    made = net.to_sklearn()
    check_is_fitted(made)
    assert_equal(pickle.loads(pickle.dumps(made)).predict_proba(IRIS), wanted, 1e-12)
    before, weights = made.score(IRIS, IRIS_CLASSES), made.coefs_[0].copy()
    made.partial_fit(IRIS, IRIS_CLASSES)
    assert np.abs(made.coefs_[0] - weights).max() == pytest.approx(made.learning_rate_init, rel=1e-3)  # Adam's first
    for _ in range(299):
        made.partial_fit(IRIS, IRIS_CLASSES)
    assert made.score(IRIS, IRIS_CLASSES) > max(before, 0.9)
    assert made.t_ == 300 * len(IRIS)
    np.testing.assert_array_equal(net.predict_proba(IRIS), wanted)
    warm = net.to_sklearn().set_params(warm_start=True, learning_rate_init=1e-9, max_iter=12, tol=1.0)
    assert_equal(warm.fit(IRIS, IRIS_CLASSES).predict_proba(IRIS), wanted)
    cold = clone(net.to_sklearn()).set_params(max_iter=30, tol=1.0, random_state=0).fit(IRIS, IRIS_CLASSES)
    assert np.abs(cold.predict_proba(IRIS) - wanted).max() > 0.01


def test_making_one_draws_nothing_from_the_global_stream():
    net = trained([8, 3], loss="log_likelihood")
    np.random.seed(3)
    wanted = np.random.random()
    np.random.seed(3)
    net.to_sklearn()
    assert np.random.random() == wanted


def test_networks_go_on():
    mlp = MLPClassifier((10,), **SETTINGS | {"max_iter": 2}).fit(IRIS, NAMES[IRIS_CLASSES])
    net = nn.Network.from_sklearn(mlp, seed=0)
    before, weights = net.loss((IRIS, IRIS_CLASSES)), mlp.coefs_[0].copy()
    net.fit((IRIS, IRIS_CLASSES), epochs=60, optimizer=nn.Adam(0.01))
    assert net.loss((IRIS, IRIS_CLASSES)) < before / 2
    assert net.class_names == tuple(NAMES.tolist())
    np.testing.assert_array_equal(mlp.coefs_[0], weights)
    assert net.to_sklearn().score(IRIS, NAMES[IRIS_CLASSES]) == net.accuracy((IRIS, IRIS_CLASSES))


@pytest.mark.every_backend
def test_on_every_backend(float64, device):
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((7,), **SETTINGS)).fit(IRIS, NAMES[IRIS_CLASSES])
    net = nn.Network.from_sklearn(pipeline, device=device)
    assert net.device == device
    wanted = pipeline.predict_proba(IRIS)
    assert_equal(nn.to_numpy(net.predict_proba(IRIS)), wanted, 1e-12)
    assert_equal(net.to_sklearn().predict_proba(IRIS), wanted, 1e-12)


def test_the_model_file_holds_it_all(tmp_path):
    frame = pd.DataFrame(IRIS.astype("float32"), columns=list("abcd"))
    mlp = MLPClassifier((5,), **SETTINGS).fit(frame, NAMES[IRIS_CLASSES])
    nn.Network.from_sklearn(mlp).save(tmp_path / "model")
    loaded = nn.Network.load(tmp_path / "model")
    back = loaded.to_sklearn()
    assert list(back.feature_names_in_) == list("abcd")
    np.testing.assert_array_equal(back.predict(frame), mlp.predict(frame))
