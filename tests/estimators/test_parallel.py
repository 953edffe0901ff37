"""Estimators in parallel searches and threads, copied and pickled, and what else scikit-learn asks of them."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")
from joblib import parallel_config  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_validate  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils import estimator_html_repr  # noqa: E402

from nn_any import MLPClassifier, MLPRegressor  # noqa: E402
from nn_any.core.errors import NetworkBusyError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = load_iris(return_X_y=True)
WEIGHTS = np.linspace(0.1, 3, len(Y))
ESTIMATORS = {
    "adam": MLPClassifier(max_iter=5, random_state=0),
    "early stopping": MLPClassifier(max_iter=5, random_state=0, early_stopping=True),
    "sgd": MLPRegressor(max_iter=5, random_state=0, solver="sgd"),
    "lbfgs": MLPRegressor(max_iter=5, random_state=0, solver="lbfgs"),
}


def searched(**options):
    """The scores of a search over a pipeline."""
    steps = make_pipeline(StandardScaler(), MLPClassifier(max_iter=10, random_state=0))
    search = GridSearchCV(steps, {"mlpclassifier__alpha": [1e-4, 10.0]}, cv=3, error_score="raise", **options)
    return search.fit(X, Y).cv_results_["mean_test_score"]


def test_a_search_in_threads_finds_the_same_scores():
    expected = searched()
    with parallel_config("threading"):
        np.testing.assert_array_equal(searched(n_jobs=2), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs were given:UserWarning")
def test_a_search_in_processes_finds_the_same_scores():
    expected = searched()
    with parallel_config("loky"):
        np.testing.assert_array_equal(searched(n_jobs=2), expected)


@pytest.mark.slow
def test_a_search_with_dask_finds_the_same_scores():
    distributed = pytest.importorskip("distributed")
    expected = searched()
    with (
        distributed.Client(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None),
        parallel_config("dask"),
    ):
        np.testing.assert_array_equal(searched(n_jobs=2), expected)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
def test_copies_answer_and_learn_as_the_original_does(copied, name):
    original = clone(ESTIMATORS[name])
    np.testing.assert_array_equal(copied(original).fit(X, Y).predict(X), original.fit(X, Y).predict(X))
    twin = copied(original)
    np.testing.assert_array_equal(twin.predict(X), original.predict(X))
    if name in ("adam", "sgd"):
        for one in (original, twin):
            one.random_state = 1
            one.partial_fit(X, Y)
        np.testing.assert_array_equal(twin.coefs_[0], original.coefs_[0])
    with_warm_start = [one.set_params(warm_start=True).fit(X, Y) for one in (original, twin)]
    np.testing.assert_array_equal(with_warm_start[0].coefs_[0], with_warm_start[1].coefs_[0])


def test_a_clone_has_the_parameters_and_nothing_that_was_learned():
    original = clone(ESTIMATORS["adam"]).fit(X, Y)
    twin = clone(original)
    assert twin.get_params() == original.get_params()
    assert not hasattr(twin, "network_")
    assert not hasattr(twin, "coefs_")


def test_fits_and_answers_in_threads_are_those_of_one_thread():
    expected = [clone(ESTIMATORS["adam"]).set_params(random_state=i).fit(X, Y).predict_proba(X) for i in range(8)]
    shared = clone(ESTIMATORS["adam"]).set_params(random_state=0).fit(X, Y)
    with ThreadPoolExecutor(4) as pool:
        fitted = list(pool.map(lambda i: clone(ESTIMATORS["adam"]).set_params(random_state=i).fit(X, Y), range(8)))
        answers = list(pool.map(lambda _: shared.predict_proba(X), range(8)))
    for i in range(8):
        np.testing.assert_array_equal(fitted[i].predict_proba(X), expected[i])
        np.testing.assert_array_equal(answers[i], expected[0])


def test_one_estimator_learns_in_one_thread_at_a_time():
    x, y = load_iris(return_X_y=True)

    def learn_elsewhere(run):
        with ThreadPoolExecutor(1) as pool, pytest.raises(NetworkBusyError, match="wait for it to end"):
            pool.submit(mlp.partial_fit, x, y).result()
        refused.append(run)

    refused = []
    mlp = MLPClassifier((5,), max_iter=3, random_state=0, callbacks=[learn_elsewhere])
    mlp.fit(x, y)
    assert len(refused) == mlp.n_iter_ == len(mlp.loss_curve_) == 3
    mlp.set_params(callbacks=()).partial_fit(x, y)


def test_sample_weights_are_routed_through_pipeline_and_search():
    pytest.importorskip("sklearn", minversion="1.6")  # before, a Pipeline asks for weights of its own to score with
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = MLPClassifier(max_iter=5, random_state=0).set_fit_request(sample_weight=True)
        estimator.set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        search = GridSearchCV(make_pipeline(scaler, estimator), {"mlpclassifier__alpha": [1e-4]}, cv=3)
        search.fit(X, Y, sample_weight=WEIGHTS)
    weighted = clone(estimator).fit(StandardScaler().fit_transform(X), Y, WEIGHTS)
    np.testing.assert_array_equal(search.best_estimator_[-1].coefs_[0], weighted.coefs_[0])
    plain = clone(estimator).fit(StandardScaler().fit_transform(X), Y)
    assert (plain.coefs_[0] != weighted.coefs_[0]).any()


def test_weights_that_nobody_asked_for_are_refused():
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"),
    ):
        cross_validate(MLPClassifier(max_iter=2), X, Y, params={"sample_weight": WEIGHTS}, error_score="raise")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_tags_and_requests_are_those_of_scikit_learns(name):
    pytest.importorskip("sklearn", minversion="1.6")
    from sklearn import neural_network
    from sklearn.utils import get_tags

    ours = ESTIMATORS[name]
    theirs = getattr(neural_network, type(ours).__name__)(solver=ours.solver)
    mine, expected = get_tags(ours), get_tags(theirs)
    mine.array_api_support = expected.array_api_support
    assert mine == expected
    assert str(ours.get_metadata_routing()) == str(theirs.get_metadata_routing())
    for method in ("set_output", "transform", "predict_proba", "set_predict_request"):
        assert hasattr(ours, method) == hasattr(theirs, method)


def test_html_shows_parameters_and_whether_it_is_fitted():
    estimator = MLPClassifier(alpha=0.25, max_iter=3)
    text = estimator_html_repr(estimator)
    assert "MLPClassifier" in text
    assert "0.25" in text
    assert "Not fitted" in text
    assert "Not fitted" not in estimator_html_repr(estimator.fit(X, Y))
    assert repr(estimator) == "MLPClassifier(alpha=0.25, max_iter=3)"
