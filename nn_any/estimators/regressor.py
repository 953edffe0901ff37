"""MLPRegressor: scikit-learn's, on any array library."""

from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from nn_any.estimators.base import PARAMETERS, BaseMultilayerPerceptron, takes_steps
from nn_any.estimators.compat import validate_data
from nn_any.estimators.steps import Measure, poisson, squared_error


class MLPRegressor(RegressorMixin, BaseMultilayerPerceptron):  # type: ignore[misc]
    """Multilayer perceptron for numbers."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **PARAMETERS,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: Any = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: Any = 0.001,
        power_t: Any = 0.5,
        max_iter: Any = 200,
        shuffle: Any = True,
        random_state: Any = None,
        tol: Any = 1e-4,
        verbose: Any = False,
        warm_start: Any = False,
        momentum: Any = 0.9,
        nesterovs_momentum: Any = True,
        early_stopping: Any = False,
        validation_fraction: Any = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: Any = 15000,
        device: Any = None,
        dtype: Any = None,
        engine: Any = "auto",
        dropout: Any = 0.0,
        layers: Any = None,
        callbacks: Any = (),
        checkpoint: Any = None,
    ) -> None:
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
        self.device = device
        self.dtype = dtype
        self.engine = engine
        self.dropout = dropout
        self.layers = layers
        self.callbacks = callbacks
        self.checkpoint = checkpoint

    def _validated(self, x: Any, y: Any, *, first: bool, incremental: bool) -> tuple[Any, np.ndarray]:
        x, y = validate_data(
            self,
            x,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=True,
            dtype=(np.float64, np.float32),
            reset=first,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return x, y.astype(x.dtype, copy=False)

    def _validated_held_out(self, x: Any, y: Any) -> tuple[Any, np.ndarray]:
        x, targets = self._validated(x, y, first=False, incremental=True)
        if targets.reshape(len(targets), -1).shape[1] != self.n_outputs_:
            raise ValueError(f"validation_data: y must have {self.n_outputs_} outputs, got {targets.shape}; pass them")
        return x, targets

    def _output(self) -> tuple[str, str, str, str, Measure]:
        if self.loss == "poisson":
            return "exp", "exponential", "poisson", "regression", poisson
        return "identity", "linear", "quadratic", "regression", squared_error

    def _validation_score(self, targets: np.ndarray, outputs: np.ndarray, sample_weight: np.ndarray | None) -> float:
        if not np.isfinite(outputs).all():
            return np.nan
        answers = outputs.ravel() if outputs.shape[1] == 1 else outputs
        asked = targets.ravel() if targets.shape[1] == 1 else targets
        return float(r2_score(asked, answers, sample_weight=sample_weight))

    def predict(self, X: Any) -> Any:
        """The predicted numbers."""
        check_is_fitted(self)
        outputs = self._outputs(validate_data(self, X, accept_sparse=["csr", "csc"], reset=False))
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    @available_if(takes_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "BaseMultilayerPerceptron":
        """Go once through the data."""
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=True)
