"""scikit-learn's own checks of an estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from nn_any import MLPClassifier, MLPRegressor


def _every_check():
    """The names and values that `parametrize_with_checks` hands to pytest; a generator before scikit-learn 1.6."""
    mark = parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
    names, values = mark.args
    return names, list(values)


@pytest.mark.filterwarnings("ignore")  # the checks fit models that do not converge
@pytest.mark.parametrize(*_every_check())
def test_the_estimators_pass_scikit_learns_checks(estimator, check):
    check(estimator)
