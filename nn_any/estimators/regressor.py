"""MLPRegressor: scikit-learn's, on any array library."""

from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from nn_any.core.typing import Array
from nn_any.estimators.arrays import beside, real_dtypes
from nn_any.estimators.base import BaseMultilayerPerceptron, validate_data
from nn_any.estimators.steps import Measure, poisson, squared_error


class MLPRegressor(RegressorMixin, BaseMultilayerPerceptron):
    """Multilayer perceptron for numbers."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMultilayerPerceptron._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
    ):
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    def _validated(self, x, y, *, first, incremental):
        x, y = validate_data(
            self,
            x,
            beside(y, x),
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=True,
            dtype=real_dtypes(x),
            reset=first,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return x, array_namespace(y).astype(y, x.dtype, copy=False)

    def _output(self) -> tuple[str, str, str, str, Measure]:
        if self.loss == "poisson":
            return "exp", "exponential", "poisson", "regression", poisson
        return "identity", "linear", "quadratic", "regression", squared_error

    def _validation_score(self, targets, outputs, sample_weight):
        xp = array_namespace(outputs)
        if not xp.all(xp.isfinite(outputs)):
            return np.nan
        return r2_score(_squeezed(targets), _squeezed(outputs), sample_weight=sample_weight)

    def predict(self, X):
        """The predicted numbers."""
        outputs, home = self._outputs(X, "predict")
        with nullcontext() if home is None else home.scope():
            return _squeezed(outputs)

    @available_if(lambda estimator: estimator._check_solver())
    def partial_fit(self, X, y, sample_weight=None):
        """Go once through the data."""
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=True)


def _squeezed(a: Array) -> Array:
    """The numbers of a single output as (n,)."""
    return a[:, 0] if a.shape[1] == 1 else a
