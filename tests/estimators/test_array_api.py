"""Arrays that scikit-learn's array API dispatch lets through stay in their library and on their device."""

import os
import subprocess
import sys
from functools import partial

import cuda_host
import numpy as np
import pytest
from conftest import need

import nn_any as nn

sklearn = pytest.importorskip("sklearn", minversion="1.9")
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_iris, make_multilabel_classification, make_regression  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils._array_api import get_namespace_and_device, move_estimator_to  # noqa: E402
from sklearn.utils.estimator_checks import estimator_checks_generator  # noqa: E402

from nn_any import MLPClassifier, MLPRegressor  # noqa: E402
from nn_any.backends.libraries import get_backend  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
PLACES = ["array_api_strict:device1", pytest.param("torch:cpu", marks=pytest.mark.slow)]
ELSEWHERE = {"xpu", "mps", "dpnp"} | (set() if cuda_host.gpu() else {"cuda", "cupy"})
CHECKED = {
    "classifier": MLPClassifier(max_iter=3),
    "classifier, early stopping": MLPClassifier(max_iter=3, early_stopping=True),
    "regressor": MLPRegressor(max_iter=3),
    "regressor, early stopping": MLPRegressor(max_iter=3, early_stopping=True),
    "regressor, lbfgs": MLPRegressor(max_iter=3, solver="lbfgs"),
}


@pytest.fixture(autouse=True)
def dispatch(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    with sklearn.config_context(array_api_dispatch=True):
        yield


def device_of(place):
    need(place.split(":")[0])
    return nn.select_device(place)


def checks():
    """scikit-learn's own, of the estimators that support arrays of other libraries."""
    for name, estimator in CHECKED.items():
        for one, check in estimator_checks_generator(estimator):
            said = ", ".join(map(str, getattr(check, "keywords", {}).values()))
            if "array_api" not in str(check) or any(place in said for place in ELSEWHERE):
                continue
            quick = "numpy" in said or "strict" in said
            slow = [] if quick and "torch" not in said and "early" not in name else [pytest.mark.slow]
            yield pytest.param(one, check, id=f"{name}: {said}", marks=slow)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learns_checks_pass(estimator, check):
    text = str(check)
    for library in ("array_api_strict", "torch", "cupy"):
        if library in text:
            need(library)
    check(estimator)


def problem(kind):
    """An estimator, X and y on the host, and weights."""
    few = {"max_iter": 4, "random_state": 0, "batch_size": 40}
    x, y = load_iris(return_X_y=True)
    weights = np.linspace(0.5, 2, 150)
    numbers = make_regression(150, 4, random_state=0)[1] / 100
    return {
        "classes": (MLPClassifier(**few), x, y, None),
        "weights": (MLPClassifier(**few), x, y, weights),
        "early stopping": (MLPClassifier(**few, early_stopping=True), x, y, weights),
        "binary": (MLPClassifier(**few, early_stopping=True), x, y > 0, None),
        "labels apart": (MLPClassifier(**few), x, y * 2.0 - 1, None),
        "lbfgs": (MLPClassifier(**few, solver="lbfgs"), x, y, None),
        "outputs": (MLPClassifier(**few, early_stopping=True), *make_multilabel_classification(150, 4), None),
        "numbers": (MLPRegressor(**few, early_stopping=True), x, numbers, weights),
        "many numbers": (MLPRegressor(**few), x, np.stack([numbers, numbers**2], axis=1), None),
        "counts": (MLPRegressor(loss="poisson", **few), x, numbers**2, None),
    }[kind]


KINDS = [
    "classes",
    "weights",
    "early stopping",
    "binary",
    "labels apart",
    "lbfgs",
    "outputs",
    "numbers",
    "many numbers",
    "counts",
]


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        *((place, kind) for kind in KINDS for place in PLACES[:1]),
        *(pytest.param("torch:cpu", kind, marks=pytest.mark.slow) for kind in KINDS),
        pytest.param("cupy", "numbers", marks=pytest.mark.slow),  # CuPy sorts labels on GPUs only
    ],
)
def test_answers_are_those_of_numpy_and_lie_where_x_does(kind, place):
    device = device_of(place)
    estimator, x, y, weights = problem(kind)
    theirs = clone(estimator).fit(x, y, weights)
    own_x, own_y = device.asarray(x), device.asarray(y)
    estimator.fit(own_x, own_y, None if weights is None else device.asarray(weights))
    assert estimator.network_.device == device
    np.testing.assert_allclose(estimator.loss_, theirs.loss_, rtol=1e-9)
    if estimator.early_stopping:
        np.testing.assert_allclose(estimator.validation_scores_, theirs.validation_scores_, rtol=1e-9)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        if hasattr(theirs, method):
            answer, expected = getattr(estimator, method)(own_x), getattr(theirs, method)(x)
            assert nn.Device.of(answer) == device
            assert nn.to_numpy(answer).dtype == expected.dtype
            np.testing.assert_allclose(nn.to_numpy(answer), expected, rtol=1e-7, atol=1e-12)
    assert estimator.score(own_x, own_y) == pytest.approx(theirs.score(x, y), rel=1e-6)  # PyTorch's mean is float32
    for ours, other in zip(estimator.coefs_ + estimator.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert nn.Device.of(ours) == device
        np.testing.assert_allclose(nn.to_numpy(ours), other, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["classes", "outputs", "numbers", "many numbers"])
def test_validation_data_may_lie_there(kind, place):
    device = device_of(place)
    estimator, x, y, _ = problem(kind)
    weights = np.linspace(0.5, 2, 50)
    theirs = clone(estimator).fit(x, y, validation_data=(x[::3], y[::3], weights))
    there = tuple(map(device.asarray, (x[::3], y[::3], weights)))
    estimator.fit(device.asarray(x), device.asarray(y), validation_data=there)
    np.testing.assert_allclose(estimator.validation_scores_, theirs.validation_scores_, rtol=1e-9)


def test_names_of_classes_stay_on_the_host():
    device = device_of("array_api_strict:device1")
    x, y = load_iris(return_X_y=True)
    names = load_iris().target_names[y]
    estimator = MLPClassifier(max_iter=3, random_state=0).fit(device.asarray(x), names)
    theirs = clone(estimator).fit(x, names)
    assert (estimator.predict(device.asarray(x)) == theirs.predict(x)).all()


def test_partial_fit_takes_arrays():
    device = device_of("array_api_strict:device1")
    x, y = load_iris(return_X_y=True)
    estimator = MLPClassifier(random_state=0)
    for _ in range(2):
        estimator.partial_fit(device.asarray(x), device.asarray(y), classes=device.asarray(np.arange(3)))
    theirs = MLPClassifier(random_state=0).partial_fit(x, y, classes=[0, 1, 2]).partial_fit(x, y)
    assert estimator.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-12)


def forbid(monkeypatch, device, columns):
    """Arrays with so many columns must not be read on the host; the sizes of all others that were."""
    sizes, array_class = [], type(device.asarray([1.0]))

    def watched(read):
        def wrapped(self, *args, **kwargs):
            assert self.shape[-1:] != (columns,), f"{read.__name__} of {self.shape}"
            return read(self, *args, **kwargs)

        return wrapped

    for name in ("__array__", "__dlpack__", "__buffer__", "__iter__"):
        if hasattr(array_class, name):
            monkeypatch.setattr(array_class, name, watched(getattr(array_class, name)))
    kind = type(get_backend(device.library))
    to_host = kind.to_host

    def noted(self, array):
        assert array.shape[-1:] != (columns,), f"{array.shape} came to the host"
        sizes.append(int(np.prod(array.shape)))
        return to_host(self, array)

    monkeypatch.setattr(kind, "to_host", noted)
    return sizes


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_inputs_never_come_to_the_host(monkeypatch, kind, place):
    device = device_of(place)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 7))
    y = x[:, 0] if kind == "regressor" else (x[:, 0] > 0) + 2 * (x[:, 1] > 0)
    x, y, weights = (device.asarray(part) for part in (x, y, rng.random(120)))
    make = MLPRegressor if kind == "regressor" else MLPClassifier
    estimator = make(hidden_layer_sizes=5, max_iter=3, random_state=0, early_stopping=True)
    sizes = forbid(monkeypatch, device, 7)
    estimator.fit(x, y, weights)
    labels = [size for size in sizes if size >= 108]
    assert labels == ([] if kind == "regressor" else [120])  # the labels, once
    sizes.clear()
    estimator.predict(x)
    assert max(sizes, default=0) <= 1
    estimator.score(x, y, weights)


def test_the_guard_would_notice(monkeypatch):
    device = device_of("array_api_strict:device1")
    forbid(monkeypatch, device, 7)
    with pytest.raises(AssertionError, match="came to the host"):
        nn.to_numpy(device.asarray(np.zeros((2, 7))))


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")  # of StandardScaler
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["early stopping", "numbers"])
def test_a_search_over_a_pipeline_keeps_arrays(monkeypatch, kind, place):
    device = device_of(place)
    estimator, x, y, _ = problem(kind)
    x = np.c_[x, x[:, :3] ** 2]  # seven columns, which nothing else has

    def search():
        name = type(estimator).__name__.lower()
        steps = make_pipeline(StandardScaler(), clone(estimator))
        return GridSearchCV(steps, {f"{name}__alpha": [1e-4, 10.0]}, cv=3, error_score="raise")

    theirs = search().fit(x, y)
    own_x, own_y = device.asarray(x), device.asarray(y)
    forbid(monkeypatch, device, 7)
    ours = search().fit(own_x, own_y)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-6, atol=1e-9
    )
    assert ours.best_estimator_[-1].network_.device == device
    assert nn.Device.of(ours.predict(own_x)) == device
    assert ours.score(own_x, own_y) == pytest.approx(theirs.score(x, y), rel=1e-6)


def test_inputs_from_elsewhere_are_refused_and_can_be_moved():
    device = device_of("array_api_strict:device1")
    x, y = load_iris(return_X_y=True)
    estimator = MLPClassifier(max_iter=3, random_state=0).fit(device.asarray(x), device.asarray(y))
    with pytest.raises(ValueError, match=r"MLPClassifier.predict\(\) must use the same namespace"):
        estimator.predict(x)
    answer = estimator.predict(nn.to_device(x, "array_api_strict:device1"))
    moved = move_estimator_to(estimator, *get_namespace_and_device(x)[::2])
    np.testing.assert_array_equal(moved.predict(x), nn.to_numpy(answer))
    assert isinstance(moved.coefs_[0], np.ndarray)
    assert nn.Device.of(estimator.coefs_[0]) == device


@pytest.mark.slow
def test_without_dispatch_other_arrays_become_numpys():
    need("torch")
    import torch

    x, y = load_iris(return_X_y=True)
    with sklearn.config_context(array_api_dispatch=False):
        estimator = MLPClassifier(max_iter=3, random_state=0).fit(torch.asarray(x), torch.asarray(y))
        assert estimator.network_.device == nn.select_device("numpy")
        assert isinstance(estimator.predict(torch.asarray(x)), np.ndarray)


@pytest.mark.slow
def test_steps_are_replayed_where_scipy_wraps_its_functions():
    """SCIPY_ARRAY_API is read when SciPy is imported."""
    script = (
        "import numpy as np, nn_any as nn\n"
        "net = nn.Network([4, 3, 2], device='numpy', seed=0)\n"
        "history = net.SGD((np.eye(4), np.arange(4) % 2), 1, 2, 0.5)\n"
        "assert history.engine == 'replay', history.engine"
    )
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    run = partial(subprocess.run, capture_output=True, text=True, timeout=120, check=False)
    done = run([sys.executable, "-c", script], env=environment)
    assert (done.returncode, done.stderr) == (0, "")
