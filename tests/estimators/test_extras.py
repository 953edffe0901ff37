"""What the estimators have beyond scikit-learn's parameters, each against a network or weights made by hand."""

import math
import re
import signal

import numpy as np
import pytest
from conftest import need
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.preprocessing import scale
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.class_weight import compute_sample_weight

import nn_any as nn
from nn_any import MLPClassifier, MLPRegressor

X, Y = load_iris(return_X_y=True)
X = scale(X)
ONE_HOT = np.eye(3)[Y]
SHORT = {"hidden_layer_sizes": (7, 5), "max_iter": 3, "random_state": 0, "batch_size": 30}

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


def classifier(**given):
    return MLPClassifier(**{**SHORT, **given})


def same(a, b):
    for one, other in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_array_equal(one, other)


# device, dtype, engine


@pytest.mark.parametrize(
    ("device", "solver"),
    [("array_api_strict", "adam"), ("torch:cpu", "sgd"), pytest.param("jax", "adam", marks=pytest.mark.slow)],
)
def test_device(device, solver):
    need(device.partition(":")[0])
    own = {"solver": solver, "dropout": 0.2, "dtype": "float32"}
    on_numpy, there = classifier(**own, device="numpy").fit(X, Y), classifier(**own, device=device).fit(X, Y)
    assert str(there.network_.device).startswith(device)
    np.testing.assert_allclose(there.loss_curve_, on_numpy.loss_curve_, rtol=1e-5)
    assert isinstance(there.predict(X), np.ndarray)
    np.testing.assert_allclose(there.predict_proba(X), on_numpy.predict_proba(X), rtol=1e-4)


def test_dtype():
    assert classifier().fit(X, Y).coefs_[0].dtype == np.float64
    assert classifier().fit(X.astype("float32"), Y).coefs_[0].dtype == np.float32
    narrow = classifier(dtype="float32").fit(X, Y)
    assert narrow.coefs_[0].dtype == narrow.predict_proba(X).dtype == np.float32
    same(narrow, classifier().fit(X.astype("float32"), Y))
    assert classifier(dtype=np.float64).fit(X.astype("float32"), Y).coefs_[0].dtype == np.float64


def test_engine():
    fits = [classifier(engine=engine, dropout=0.3).fit(X, Y) for engine in ("auto", "eager", "compiled")]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.loss_curve_, fits[0].loss_curve_, rtol=1e-12)


# layers


def test_dropout_changes_training_only():
    plain, dropped = (
        MLPRegressor(hidden_layer_sizes=50, max_iter=1, random_state=0, dropout=rate) for rate in (0.0, 0.5)
    )
    for estimator in (plain, dropped):
        estimator.fit(X, X[:, 0])
    assert [type(layer).__name__ for layer in dropped.network_.layers] == ["Dense", "Dropout", "Dense"]
    assert plain.loss_ != dropped.loss_
    weights = [*zip(dropped.coefs_, dropped.intercepts_, strict=True)]
    by_hand = np.maximum(X @ weights[0][0] + weights[0][1], 0) @ weights[1][0] + weights[1][1]
    np.testing.assert_allclose(dropped.predict(X), by_hand[:, 0], rtol=1e-12)
    np.testing.assert_array_equal(dropped.predict(X), dropped.predict(X))


def test_dropout_of_each_layer_and_its_seed():
    fits = [classifier(dropout=(0.0, 0.4), random_state=seed).fit(X, Y) for seed in (0, 0, 1)]
    assert [type(layer).__name__ for layer in fits[0].network_.layers] == ["Dense", "Dense", "Dropout", "Dense"]
    same(*fits[:2])
    assert fits[0].network_.seed != fits[2].network_.seed


def test_the_first_weights_are_scikit_learns_with_dropout_too():
    small = {"max_iter": 1, "learning_rate_init": 1e-300, "random_state": 4}
    theirs = TheirClassifier((7, 5), **small).fit(X, Y)
    same(theirs, MLPClassifier((7, 5), dropout=0.5, **small).fit(X, Y))


def test_losses_with_dropout_are_those_of_the_masked_network():
    mlp = MLPRegressor(
        hidden_layer_sizes=9, dropout=0.5, max_iter=1, batch_size=150, alpha=0.0, learning_rate_init=1e-300
    )
    mlp.set_params(random_state=3).fit(X, X[:, :2])
    before = nn.Network([4, nn.Dense(9, "relu"), nn.Dropout(0.5), nn.Dense(2, "linear")], device="numpy",
                        dtype="float64", seed=mlp.network_.seed, loss="quadratic")  # fmt: skip
    before.set_weights(mlp.network_.weights, mlp.network_.biases)
    order = np.random.RandomState(3)
    for size in ((4, 9), 9, (9, 2), 2):
        order.uniform(size=size)
    order.randint(np.iinfo(np.int32).max)
    from sklearn.utils import shuffle

    rows = shuffle(np.arange(150), random_state=order)
    history = before.fit((X[rows], X[rows, :2]), epochs=1, batch_size=150, optimizer=nn.SGD(1e-30), shuffle=False)
    assert math.isclose(mlp.loss_, history.records[0]["loss"] / 2, rel_tol=1e-12)  # they average over the outputs


@pytest.mark.parametrize("kinds", [["tanh", "logistic"], ["gelu", nn.activations.LeakyReLU(0.2)]])
def test_an_activation_of_each_layer(kinds):
    mlp = classifier(activation=kinds).fit(X, Y)
    names = ["sigmoid" if kind == "logistic" else kind for kind in kinds]
    net = nn.Network([4, nn.Dense(7, names[0]), nn.Dense(5, names[1]), 3], loss="log_likelihood", dtype="float64",
                     device="numpy")  # fmt: skip
    net.set_weights(mlp.network_.weights, mlp.network_.biases)
    np.testing.assert_allclose(mlp.predict_proba(X), net.predict_proba(X), rtol=1e-12)


def test_a_list_of_one_kind_is_that_kind():
    for kind in ("logistic", "relu"):
        theirs = TheirClassifier(**{**SHORT, "activation": kind}).fit(X, Y)
        ours = classifier(activation=[kind, kind]).fit(X, Y)
        np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-12)
    assert classifier(activation="silu").fit(X, Y).network_.layers[1].activation.name == "silu"


def test_layers_of_ones_own():
    stack = [nn.Dense(7, "relu"), nn.Dropout(0.5), nn.BatchNorm(), 5]
    mlp = classifier(layers=stack, max_iter=30, learning_rate_init=0.02).fit(X, Y)
    kinds = [type(layer).__name__ for layer in mlp.network_.layers]
    assert kinds == ["Dense", "Dropout", "BatchNorm", "Dense", "Dense"]
    assert mlp.network_.layers[3].activation.name == "relu"
    assert mlp.n_layers_ == len(mlp.coefs_) + 1 == 5
    assert mlp.score(X, Y) > 0.8
    start = classifier(layers=stack, learning_rate_init=1e-300).fit(X, Y)
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    by_hand = nn.Network([4, *stack, 3], activation="relu", loss="log_likelihood", initializer="glorot_uniform",
                         dtype="float64", device="numpy", seed=seed)  # fmt: skip
    for mine, its in zip(start.network_.weights, by_hand.weights, strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize(
    ("end", "count"), [([], 2), ([nn.Dense(3)], 2), ([nn.Dense(3, "softmax")], 2), ([nn.Dense(3, "relu")], 3), ([3], 2)]
)
def test_the_outputs_are_added_unless_they_are_there(end, count):
    layers = classifier(layers=[nn.Dense(6, "tanh"), *end]).fit(X, Y).network_.layers
    assert len(layers) == count
    assert (layers[-1].units, layers[-1].activation.name) == (3, "softmax")


def test_images_from_flat_rows():
    x, y = load_digits(return_X_y=True)
    x, y = x[:300] / 16, y[:300]
    stack = [(8, 8, 1), nn.Conv2D(4, 3, activation="relu"), nn.MaxPool2D(2), nn.Flatten()]
    mlp = MLPClassifier(layers=stack, max_iter=15, random_state=0, learning_rate_init=0.01).fit(x, y)
    assert mlp.score(x, y) > 0.8
    assert [w.shape for w in mlp.coefs_] == [(4, 3, 3, 1), (36, 10)]
    np.testing.assert_array_equal(mlp.network_.predict(x), mlp.predict(x))
    from scipy.sparse import csr_matrix

    np.testing.assert_allclose(mlp.predict_proba(csr_matrix(x)), mlp.predict_proba(x), rtol=1e-6)


def test_standardized_at_both_ends():
    x, y = X * [1e3, 1, 1, 1] + 50, 1e4 * X[:, 0] - 3
    layers = [nn.Standardize(), nn.Dense(10, "tanh"), nn.Standardize(invert=True)]
    adam = MLPRegressor(layers=layers, max_iter=200, random_state=0, learning_rate_init=0.02, alpha=0.0).fit(x, y)
    assert isinstance(adam.network_.layers[-1], nn.Standardize)
    lbfgs = MLPRegressor(layers=layers[:2], solver="lbfgs", max_iter=2000, random_state=0).fit(x, y / 1e4)
    assert min(adam.score(x, y), lbfgs.score(x, y / 1e4)) > 0.95


# data


@pytest.mark.filterwarnings("ignore:lbfgs")
@pytest.mark.parametrize("given", ["balanced", {0: 3.0, 2: 0.5}])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_class_weight_is_a_sample_weight(given, solver):
    x, y = X[20:], Y[20:]
    own = np.random.default_rng(0).random(len(y))
    weighted = classifier(class_weight=given, solver=solver, max_iter=20).fit(x, y, own)
    same(weighted, classifier(solver=solver, max_iter=20).fit(x, y, own * compute_sample_weight(given, y)))


def test_class_weight_by_name_and_in_parts():
    names = np.array(["a", "b", "c"])[Y]
    weights = {"a": 2.0, "b": 1.0, "c": 0.25}
    one, other = classifier(class_weight=weights), classifier()
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        one.partial_fit(X[rows], names[rows], classes=[*weights])
        other.partial_fit(X[rows], names[rows], [weights[name] for name in names[rows]], classes=[*weights])
    same(one, other)


def test_validation_data():
    x, held_x, y, held_y = train_test_split(X, Y, random_state=0, stratify=Y)
    scores = []

    def score(run):
        scores.append(accuracy_score(held_y, nn.to_numpy(run.network.predict(held_x))))

    mlp = classifier(max_iter=6, callbacks=[score])
    mlp.fit(x, y, validation_data=(held_x, held_y))
    assert mlp.validation_scores_ == scores
    assert mlp.best_validation_score_ == max(scores)
    same(mlp, classifier(max_iter=6).fit(x, y))  # it only looks on
    assert math.isfinite(mlp.best_loss_)


def test_validation_data_stop_early():
    x, held_x, y, held_y = train_test_split(X, X[:, 0] ** 2, random_state=0)
    mlp = MLPRegressor(hidden_layer_sizes=20, early_stopping=True, n_iter_no_change=3, tol=0.05, random_state=0)
    mlp.fit(x, y, validation_data=(held_x, held_y, np.arange(len(held_y))))
    assert 3 < mlp.n_iter_ < 200
    scores = mlp.validation_scores_
    assert len(scores) == mlp.n_iter_
    gains = [score >= max([-np.inf, *scores[:epoch]]) + 0.05 for epoch, score in enumerate(scores)]
    assert not any(gains[-4:])
    assert gains[-5]
    best = r2_score(held_y, mlp.predict(held_x), sample_weight=np.arange(len(held_y)))
    assert math.isclose(best, max(scores), rel_tol=1e-12)
    assert mlp.t_ == len(y) * mlp.n_iter_  # all rows were trained with


def test_weights_that_do_not_fit_are_let_go():
    mlp = classifier().fit(X, Y)
    before, good = mlp.predict_proba(X), [w * 2 for w in mlp.coefs_]
    mlp.coefs_ = [w[:2] for w in good]
    with pytest.raises(ValueError, match="expected shape"):
        mlp.predict(X)
    np.testing.assert_array_equal(mlp.predict_proba(X), before)
    mlp.coefs_ = good
    np.testing.assert_array_equal(mlp.network_.weights[0].T, good[0])


def test_the_best_weights_go_with_their_averages():
    held = np.arange(0, len(X), 3)
    x, y = np.delete(X, held, axis=0), np.delete(Y, held)
    mlp = classifier(
        layers=[16, nn.BatchNorm(), 16, nn.BatchNorm()],
        learning_rate_init=0.1,
        early_stopping=True,
        max_iter=20,
        callbacks=[lambda run: kept.append(run.network.predict_proba(X[held]))],
    )
    kept: list[np.ndarray] = []
    mlp.fit(x, y, validation_data=(X[held], Y[held]))
    best = int(np.argmax(mlp.validation_scores_))
    assert best < mlp.n_iter_ - 1
    np.testing.assert_array_equal(mlp.predict_proba(X[held]), kept[best])


def test_refused_validation_data():
    with pytest.raises(ValueError, match="does not have"):
        classifier().fit(X[:100], Y[:100], validation_data=(X, Y))
    with pytest.raises(ValueError, match="3 features"):
        classifier().fit(X, Y, validation_data=(X[:, :3], Y))
    with pytest.raises(TypeError, match="validation_data"):
        classifier().fit(X, Y, validation_data=X)


# runs


def test_callbacks():
    class Counting(nn.Callback):
        begun, epochs, ended = 0, 0, 0

        def on_train_begin(self, run):
            self.begun += 1

        def on_epoch_end(self, run):
            self.epochs += 1
            run.stop = run.record["epoch"] == 2

        def on_train_end(self, run):
            self.ended += 1

    counting, losses = Counting(), []
    mlp = classifier(max_iter=5, callbacks=[counting, lambda run: losses.append(run.record["loss"])]).fit(X, Y)
    assert (counting.begun, counting.epochs, counting.ended) == (1, 2, 1)
    assert losses == mlp.loss_curve_
    assert mlp.n_iter_ == 2


@pytest.mark.parametrize(
    "own",
    [
        {"dropout": 0.3, "early_stopping": True, "validation_fraction": 0.2},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.2, "n_iter_no_change": 2, "learning_rate_init": 0.1},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
    ],
    ids=["adam", "adaptive", "invscaling"],
)
def test_a_resumed_fit_is_the_one_that_was_never_interrupted(tmp_path, own):
    whole = classifier(max_iter=12, **own).fit(X, Y)
    path = tmp_path / "run.safetensors"

    class Fault(Exception):
        pass

    def fail(run):
        if run.record["epoch"] == 5:
            raise Fault

    with pytest.raises(Fault):
        classifier(max_iter=12, checkpoint=path, callbacks=[fail], **own).fit(X, Y)
    assert nn.Network.load(path, "numpy").epoch == 5
    resumed = classifier(max_iter=12, checkpoint=path, **own).fit(X, Y, resume=True)
    same(resumed, whole)
    for name in ("loss_curve_", "n_iter_", "t_", "loss_", "best_loss_", "validation_scores_", "best_validation_score_"):
        assert getattr(resumed, name) == getattr(whole, name), name
    again = classifier(max_iter=12, checkpoint=path, **own).fit(X, Y, resume=True)  # nothing is left to do
    same(again, whole)
    assert again.loss_curve_ == whole.loss_curve_


def test_signals(tmp_path):
    path = tmp_path / "run.safetensors"

    def send(which):
        def at_epoch_2(run):
            if run.record["epoch"] == 2:
                signal.raise_signal(which)

        return at_epoch_2

    mlp = classifier(max_iter=4, callbacks=[send(signal.SIGINT)])
    with pytest.warns(UserWarning, match="interrupted by user"):
        assert mlp.fit(X, Y).n_iter_ == 2
    with pytest.raises(nn.TrainingInterrupted, match="SIGTERM"):
        classifier(max_iter=4, callbacks=[send(signal.SIGTERM)], checkpoint=path).fit(X, Y)
    same(classifier(max_iter=4, checkpoint=path).fit(X, Y, resume=True), classifier(max_iter=4).fit(X, Y))


def test_a_checkpoint_of_another_fit(tmp_path):
    path = tmp_path / "run.safetensors"
    classifier(checkpoint=str(path)).fit(X, Y)
    with pytest.raises(ValueError, match="resume=True"):
        classifier(checkpoint=path).fit(X, Y)
    with pytest.raises(ValueError, match=re.escape("alpha=0.0001, got 0.1")):
        classifier(checkpoint=path, alpha=0.1).fit(X, Y, resume=True)
    classifier(checkpoint=nn.Checkpoint(path, overwrite=True)).fit(X, Y)


def test_what_lbfgs_refuses(tmp_path):
    for own in (
        {"dropout": 0.5},
        {"callbacks": [print]},
        {"checkpoint": tmp_path / "run"},
        {"layers": [nn.BatchNorm()]},
    ):
        with pytest.raises(ValueError, match="lbfgs"):
            classifier(solver="lbfgs", **own).fit(X, Y)


# scikit-learn's manners


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", 3),
        ("dtype", "float16"),
        ("engine", "fast"),
        ("dropout", 1.0),
        ("dropout", [0.5]),
        ("dropout", [0.5, "much"]),
        ("class_weight", "even"),
        ("activation", "rely"),
        ("activation", ["relu"]),
        ("activation", ["relu", 3]),
        ("layers", 3),
        ("layers", [(2, 3), nn.Dense(3)]),
        ("callbacks", print),
        ("checkpoint", 3),
    ],
)
def test_wrong_values(name, value):
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter of MLPClassifier must"):
        classifier(**{name: value}).fit(X, Y)


def test_clones_and_searches():
    own = {"layers": [nn.Dense(6, "tanh"), nn.Dropout(0.1)], "device": "numpy", "callbacks": [nn.Callback()]}
    mlp = classifier(**own, class_weight={0: 2.0})
    same(clone(mlp).fit(X, Y), mlp.fit(X, Y))
    search = GridSearchCV(classifier(), {"dropout": [0.0, 0.2], "activation": [["tanh", "gelu"]]}, cv=2)
    search.fit(X, Y)
    same(search.best_estimator_, classifier(**search.best_params_).fit(X, Y))


# the network


def test_the_network_can_be_used(tmp_path):
    import pandas

    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    names = np.array(["setosa", "versicolor", "virginica"])[Y]
    mlp = classifier(max_iter=20).fit(frame, names)
    net = mlp.network_
    assert (net.task, net.class_names) == ("classification", ("setosa", "versicolor", "virginica"))
    assert net.feature_names == ("a", "b", "c", "d")
    assert (net.predict_names(frame) == mlp.predict(frame)).all()
    net.save(tmp_path / "net.safetensors")
    loaded = nn.Network.load(tmp_path / "net.safetensors", "numpy")
    assert (loaded.predict_names(frame[["d", "c", "b", "a"]]) == mlp.predict(frame)).all()
    theirs = net.to_sklearn()
    np.testing.assert_allclose(theirs.predict_proba(frame), mlp.predict_proba(frame), rtol=1e-12)
    back = nn.Network.from_sklearn(TheirClassifier(**SHORT).fit(X, Y), device="numpy")
    np.testing.assert_allclose(back.predict_proba(X), classifier().fit(X, Y).predict_proba(X), rtol=1e-9)


def test_the_network_leaves_as_onnx(tmp_path):
    import onnxruntime

    mlp = MLPRegressor(hidden_layer_sizes=5, max_iter=3, random_state=0, dtype="float32").fit(X, X[:, :2])
    assert mlp.network_.task == "regression"
    mlp.network_.to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession((tmp_path / "net.onnx").read_bytes())
    (outputs,) = session.run(None, {"inputs": X.astype("float32")})
    np.testing.assert_allclose(outputs, mlp.predict(X), atol=1e-6)


def test_names_that_a_network_cannot_hold():
    assert classifier().fit(X[:100], Y[:100].astype(bool)).network_.class_names == (False, True)
    assert classifier().fit(X, (ONE_HOT > 0).astype(int)).network_.task == "multilabel"
    assert classifier().fit(X[:40], Y[:40]).network_.class_names is None  # there is only one
