"""Scripts after scikit-learn's user guide and gallery, with its estimators and with this package's."""

import warnings

import numpy as np
import pytest
from estimators.pairs import OURS, THEIRS, assert_alike
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import (
    load_diabetes,
    load_digits,
    load_iris,
    make_circles,
    make_classification,
    make_friedman1,
    make_moons,
)
from sklearn.ensemble import BaggingRegressor, StackingClassifier, VotingClassifier
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, QuantileTransformer, StandardScaler


def both(script):
    """Run a script with each: what it makes of them are numbers, and estimators whose attributes are held together."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, ours = script(**THEIRS), script(**OURS)
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        if hasattr(a, "coefs_"):
            assert_alike(a, b, 1e-6)
        else:
            a, b = np.asarray(a), np.asarray(b)
            assert a.shape == b.shape
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)  # scores within a point are asked for
    return ours


def test_the_first_steps_of_the_user_guide():
    def script(MLPClassifier, MLPRegressor):
        x, y = [[0.0, 0.0], [1.0, 1.0]], [0, 1]
        clf = MLPClassifier(solver="lbfgs", alpha=1e-5, hidden_layer_sizes=(5, 2), random_state=1)
        clf.fit(x, y)
        news = [[2.0, 2.0], [-1.0, -2.0]]
        assert [coef.shape for coef in clf.coefs_] == [(2, 5), (5, 2), (2, 1)]
        several = MLPClassifier(solver="lbfgs", alpha=1e-5, hidden_layer_sizes=(15,), random_state=1)
        several.fit(x, [[0, 1], [1, 1]])
        warm = MLPClassifier(hidden_layer_sizes=(15,), random_state=1, max_iter=1, warm_start=True)
        for _ in range(10):
            warm.fit(x, y)
        names = MLPClassifier(random_state=0, max_iter=50).fit(x, ["no", "yes"])
        answers = clf.predict(news), clf.predict_proba(news), several.predict([[1.0, 2.0]]), several.predict([[0, 0]])
        regressor = MLPRegressor(random_state=1, max_iter=100, tol=0.1).fit(x, y)
        return *answers, warm, names, names.predict(x) == "yes", regressor, regressor.predict(news)

    ours = both(script)
    np.testing.assert_array_equal(ours[0], [1, 0])
    np.testing.assert_array_equal(ours[2], [[1, 1]])


@pytest.mark.slow
def test_training_curves():
    def script(MLPClassifier, MLPRegressor):
        tables = [load_iris(return_X_y=True), load_digits(return_X_y=True)]
        tables += [make_circles(noise=0.2, factor=0.5, random_state=1), make_moons(noise=0.3, random_state=0)]
        ways = [
            {"learning_rate": "constant", "momentum": 0, "learning_rate_init": 0.2},
            {"learning_rate": "constant", "momentum": 0.9, "nesterovs_momentum": False, "learning_rate_init": 0.2},
            {"learning_rate": "constant", "momentum": 0.9, "nesterovs_momentum": True, "learning_rate_init": 0.2},
            {"learning_rate": "invscaling", "momentum": 0, "learning_rate_init": 0.2},
            {"learning_rate": "invscaling", "momentum": 0.9, "learning_rate_init": 0.2},
            {"learning_rate": "invscaling", "momentum": 0.9, "nesterovs_momentum": False, "learning_rate_init": 0.2},
        ]
        results = []
        for i, (x, y) in enumerate(tables):
            x = MinMaxScaler().fit_transform(x)
            for way in [*ways, {"solver": "adam", "learning_rate_init": 0.01}]:
                mlp = MLPClassifier(random_state=0, max_iter=15 if i == 1 else 60, **{"solver": "sgd", **way})
                mlp.fit(x, y)
                results += [mlp, mlp.score(x, y), mlp.loss_curve_]
        return results

    both(script)


@pytest.mark.slow
def test_weights_of_the_first_layer_and_regularisation():
    def script(MLPClassifier, MLPRegressor):
        x, y = load_digits(return_X_y=True)
        parts = train_test_split(x / 16, y, random_state=0, test_size=0.3)
        mlp = MLPClassifier((40,), max_iter=8, alpha=1e-4, solver="sgd", random_state=1, learning_rate_init=0.2)
        mlp.fit(parts[0], parts[2])
        images = [coef.reshape(8, 8) for coef in mlp.coefs_[0].T]
        results = [mlp, mlp.score(parts[1], parts[3]), images]
        for alpha in np.logspace(-1, 1, 5):
            clf = make_pipeline(
                StandardScaler(),
                MLPClassifier([10, 10], solver="lbfgs", alpha=alpha, random_state=1, max_iter=60),
            )
            for x, y in (make_moons(noise=0.3, random_state=0), make_circles(noise=0.2, factor=0.5, random_state=1)):
                clf.fit(x[:60], y[:60])
                results.append(clf.score(x[60:], y[60:]))
        return results

    both(script)


@pytest.mark.slow
def test_a_comparison_of_classifiers():
    def script(MLPClassifier, MLPRegressor):
        apart = make_classification(n_features=2, n_redundant=0, random_state=1, n_clusters_per_class=1)
        results = []
        for x, y in (
            apart,
            make_moons(noise=0.3, random_state=0),
            make_circles(noise=0.2, factor=0.5, random_state=1),
        ):
            parts = train_test_split(x, y, test_size=0.4, random_state=42)
            clf = make_pipeline(StandardScaler(), MLPClassifier(alpha=1, max_iter=300, random_state=42))
            clf.fit(parts[0], parts[2])
            assert not hasattr(clf, "decision_function")
            grid = np.stack(np.meshgrid(np.linspace(-2, 2, 9), np.linspace(-2, 2, 9)), -1).reshape(-1, 2)
            results += [clf.score(parts[1], parts[3]), clf.predict_proba(grid)[:, 1], clf[-1]]
        return results

    both(script)


@pytest.mark.slow
def test_partial_dependence_and_importance():
    pandas = pytest.importorskip("pandas")

    def script(MLPClassifier, MLPRegressor):
        x, y = make_friedman1(400, noise=0.5, random_state=0)
        frame = pandas.DataFrame(x, columns=[f"x{i}" for i in range(10)])
        frame["season"] = np.where(frame.x9 > 0.5, "summer", "winter")
        numbers = [f"x{i}" for i in range(9)]
        preprocess = ColumnTransformer(
            [("numbers", QuantileTransformer(n_quantiles=50), numbers), ("words", OneHotEncoder(), ["season"])]
        )
        mlp = MLPRegressor(
            hidden_layer_sizes=(30, 15), learning_rate_init=0.01, early_stopping=True, random_state=0, max_iter=80
        )
        model = make_pipeline(preprocess, mlp).fit(frame, y)
        curve = partial_dependence(model, frame, ["x3"], grid_resolution=5)["average"]
        importance = permutation_importance(model, frame, y, n_repeats=2, random_state=0).importances
        return model.score(frame, y), curve, importance, model[-1]

    both(script)


@pytest.mark.slow
def test_what_selects_and_combines_models():
    def script(MLPClassifier, MLPRegressor):
        x, y = load_iris(return_X_y=True)
        mlp = MLPClassifier((10,), max_iter=30, random_state=0, learning_rate_init=0.02)
        pipe = make_pipeline(StandardScaler(), mlp)
        grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__hidden_layer_sizes": [(4,), (8, 4)]}
        search = GridSearchCV(pipe, grid, cv=3, return_train_score=True).fit(x, y)
        drawn = RandomizedSearchCV(pipe, grid, n_iter=2, random_state=0, cv=3).fit(x, y)
        results = [search.cv_results_["mean_test_score"], search.best_score_, drawn.best_score_]
        results.append(search.best_index_)
        measured = cross_validate(pipe, x, y, scoring=["accuracy", "neg_log_loss", "roc_auc_ovr"], cv=3)
        results += [measured[key] for key in measured if key.startswith("test_")]
        results += [cross_val_predict(pipe, x, y, method="predict_proba", cv=3)]
        results += learning_curve(pipe, x, y, cv=3, train_sizes=[0.5, 1.0], shuffle=True, random_state=0)[1:]
        logistic = LogisticRegression()
        for model in (
            CalibratedClassifierCV(pipe, cv=2),
            VotingClassifier([("mlp", pipe), ("logistic", logistic)], voting="soft"),
            StackingClassifier([("mlp", pipe), ("logistic", logistic)], cv=2),
            OneVsRestClassifier(pipe),
        ):
            results.append(model.fit(x, y).predict_proba(x))
        x, y = load_diabetes(return_X_y=True)
        numbers = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(10,), max_iter=40, random_state=0))
        target = TransformedTargetRegressor(numbers, transformer=StandardScaler()).fit(x, y)
        results += [target.predict(x), target.score(x, y)]
        results.append(BaggingRegressor(numbers, 3, random_state=0).fit(x, y).predict(x))
        results.append(MultiOutputRegressor(numbers).fit(x, np.stack([y, -y], 1)).predict(x))
        return results

    both(script)


@pytest.mark.slow
def test_learning_out_of_core():
    def script(MLPClassifier, MLPRegressor):
        x, y = load_digits(return_X_y=True)
        clf, scaler = MLPClassifier((30,), random_state=0), MinMaxScaler()
        for start in range(0, 1500, 100):
            scaler.partial_fit(x[start : start + 100])
            clf.partial_fit(scaler.transform(x[start : start + 100]), y[start : start + 100], classes=np.arange(10))
        return clf, clf.score(scaler.transform(x[1500:]), y[1500:])

    both(script)
