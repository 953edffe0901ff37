"""Arrays that scikit-learn's array API dispatch lets through to the estimators."""

import numpy as np
import pytest
import sklearn
from conftest import need

import nn_any as nn

from . import place

X, LABELS = np.random.default_rng(0).random((30, 4)), np.arange(30) % 3


@place(
    "estimators/arrays.py check_home: X: inputs of {}() must use the same namespace and",
    "array_api_strict:device1",
    "nn_any.to_device(X, 'array_api_strict:device1')",
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_inputs_from_elsewhere(refused, monkeypatch):
    need("array_api_strict")
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    with sklearn.config_context(array_api_dispatch=True):
        x = nn.to_device(X, "array_api_strict:device1")
        estimator = nn.MLPClassifier(max_iter=2, random_state=0).fit(x, LABELS)
        with refused:
            estimator.predict(X)
        assert estimator.predict(nn.to_device(X, "array_api_strict:device1")).shape == (30,)
