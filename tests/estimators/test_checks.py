"""scikit-learn's own checks of an estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from nn_any import MLPClassifier, MLPRegressor


@pytest.mark.filterwarnings("ignore")  # the checks fit models that do not converge
@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
def test_the_estimators_pass_scikit_learns_checks(estimator, check):
    check(estimator)
