"""scikit-learn's estimators and this package's, given the same to do."""

import contextlib
import io
import warnings

import numpy as np
import scipy.sparse
import sklearn
from sklearn import neural_network
from sklearn.utils.fixes import parse_version

import nn_any

VERSION = parse_version(sklearn.__version__)
WEIGHTED = parse_version("1.7") <= VERSION  # sample weights in fit, and Poisson's loss
THEIRS = {"MLPClassifier": neural_network.MLPClassifier, "MLPRegressor": neural_network.MLPRegressor}
OURS = {"MLPClassifier": nn_any.MLPClassifier, "MLPRegressor": nn_any.MLPRegressor}
OWN_WARNINGS = ("Got `batch_size`", "Stochastic Optimizer", "Training interrupted")  # scikit-learn raises the others
ATTRIBUTES = (
    "loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_", "n_iter_", "t_", "n_layers_",
    "n_outputs_", "out_activation_", "classes_", "n_features_in_", "feature_names_in_", "coefs_", "intercepts_",
)  # fmt: skip


def told(action, *args, **kwargs):
    """What came of it: the result, the error, the warnings and the lines on standard output."""
    out, error, result = io.StringIO(), None, None
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(out):
        warnings.simplefilter("always")
        try:
            result = action(*args, **kwargs)
        except Exception as problem:
            error = problem
    # what NumPy says of overflow depends on who multiplies
    noise = RuntimeWarning, DeprecationWarning
    heard = [(w.category, str(w.message), w.filename) for w in caught if not issubclass(w.category, noise)]
    return result, error, heard, out.getvalue()


def assert_alike(theirs, ours, rtol):
    """Hold the attributes of two fitted estimators together."""
    for name in ATTRIBUTES:
        assert hasattr(theirs, name) == hasattr(ours, name), name
        if not hasattr(theirs, name):
            continue
        a, b = getattr(theirs, name), getattr(ours, name)
        if a is None or isinstance(a, (int, str)):
            assert a == b, name
            assert isinstance(b, type(a)), name
        elif name in ("coefs_", "intercepts_"):
            assert len(a) == len(b)
            scale = max(np.max(np.abs(u), initial=0) for u in a)
            for u, v in zip(a, b, strict=True):
                assert u.dtype == v.dtype, name
                np.testing.assert_allclose(v, u, rtol=rtol, atol=rtol * scale, err_msg=name)
        elif name in ("classes_", "feature_names_in_"):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype if isinstance(a, np.ndarray) else type(a) is type(b)
        else:
            np.testing.assert_allclose(b, a, rtol=rtol, atol=rtol, err_msg=name)


def assert_same_answers(theirs, ours, x, y, rtol):
    """Hold what two fitted estimators predict together."""
    for name in ("predict", "predict_proba", "predict_log_proba"):
        assert hasattr(theirs, name) == hasattr(ours, name), name
        if not hasattr(theirs, name):
            continue
        with np.errstate(divide="ignore"):
            a, b = getattr(theirs, name)(x), getattr(ours, name)(x)
        assert a.shape == b.shape, name
        assert a.dtype == b.dtype, name
        if scipy.sparse.issparse(a):  # as the targets were
            a, b = a.toarray(), b.toarray()
        if a.dtype.kind == "f" and name != "predict_log_proba":
            np.testing.assert_allclose(b, a, rtol=rtol, atol=rtol * np.max(np.abs(a)), err_msg=name)
        elif name == "predict_log_proba":
            np.testing.assert_allclose(b, a, rtol=100 * rtol, atol=100 * rtol, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b)
    a, b = told(theirs.score, x, y), told(ours.score, x, y)
    assert type(a[1]) is type(b[1])
    if a[1] is None:
        np.testing.assert_allclose(b[0], a[0], rtol=10 * rtol, atol=rtol)


class Pair:
    """One estimator of each, with the same parameters; what is done to one is done to the other."""

    def __init__(self, kind, **parameters):
        parameters = {"max_iter": 5, "random_state": 3, "hidden_layer_sizes": (7, 5), **parameters}
        twin = dict(parameters)
        if isinstance(state := parameters.get("random_state"), np.random.RandomState):
            twin["random_state"] = np.random.RandomState()
            twin["random_state"].set_state(state.get_state())
        self.theirs, self.ours = THEIRS[kind](**parameters), OURS[kind](**twin)

    def do(self, method, *args, rtol=1e-9, **kwargs):
        """Call a method of both, and hold what comes of it together."""
        a = told(getattr(self.theirs, method), *args, **kwargs)
        b = told(getattr(self.ours, method), *args, **kwargs)
        if not WEIGHTED and str(b[1]).startswith("The validation set is too small"):
            return self  # older ones go on with one example, or fail to
        assert (a[1] is None) == (b[1] is None), (a[1], b[1])
        if a[1] is not None:
            assert type(b[1]) is type(a[1]), (a[1], b[1])
            assert str(b[1]).partition(" must be ")[0] == str(a[1]).partition(" must be ")[0]  # sets follow
            return self
        assert [w[:2] for w in a[2]] == [w[:2] for w in b[2]]
        own = [filename for _, message, filename in b[2] if message.startswith(OWN_WARNINGS)]
        assert all(filename == __file__ for filename in own), own  # they point at the caller's line
        assert a[3] == b[3]
        assert_alike(self.theirs, self.ours, rtol)
        return self

    def answer(self, x, y, rtol=1e-9):
        """Hold the predictions and scores together."""
        assert_same_answers(self.theirs, self.ours, x, y, rtol)
        return self
