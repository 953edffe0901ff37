"""scikit-learn's own checks of an estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from nn_any import MLPClassifier, MLPRegressor


def _every_check():
    """What `parametrize_with_checks` hands to pytest, in a list: pytest takes no generator."""
    quick = {"hidden_layer_sizes": (20,), "learning_rate_init": 0.02, "max_iter": 25}
    mark = parametrize_with_checks([MLPClassifier(**quick), MLPRegressor(**quick)])
    names, values = mark.args
    return pytest.mark.parametrize(names, list(values), ids=mark.kwargs["ids"])


@pytest.mark.filterwarnings("ignore")  # the checks fit models that do not converge
@_every_check()
def test_the_estimators_pass_scikit_learns_checks(estimator, check):
    check(estimator)
