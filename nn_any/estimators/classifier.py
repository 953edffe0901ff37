"""MLPClassifier: scikit-learn's, on any array library."""

from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted

from nn_any.estimators.base import PARAMETERS, BaseMultilayerPerceptron, takes_steps
from nn_any.estimators.compat import validate_data
from nn_any.estimators.steps import Measure, binary_log_loss, log_loss


class MLPClassifier(ClassifierMixin, BaseMultilayerPerceptron):  # type: ignore[misc]
    """Multilayer perceptron for classes."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **PARAMETERS,
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }

    def __init__(
        self,
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
        class_weight: Any = None,
        layers: Any = None,
        callbacks: Any = (),
        checkpoint: Any = None,
    ) -> None:
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
        self.class_weight = class_weight
        self.layers = layers
        self.callbacks = callbacks
        self.checkpoint = checkpoint

    def _validated(self, x: Any, y: Any, *, first: bool, incremental: bool) -> tuple[Any, np.ndarray]:
        x, y = validate_data(
            self, x, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=(np.float64, np.float32), reset=first
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            if self.warm_start:
                if set(classes) != set(self.classes_):
                    raise ValueError(
                        "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                        f"Previously got {self.classes_}, `y` has {classes}"
                    )
            elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
                )
        return x, self._label_binarizer.transform(y).astype(x.dtype)

    def _validated_held_out(self, x: Any, y: Any) -> tuple[Any, np.ndarray]:
        x, y = validate_data(
            self, x, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=(np.float64, np.float32), reset=False
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if len(unknown := np.setdiff1d(unique_labels(y), self.classes_)):
            raise ValueError(f"validation_data has classes that `y` does not have: {unknown}; leave these rows out")
        return x, self._label_binarizer.transform(y).astype(x.dtype)

    def _weighted(
        self, targets: np.ndarray, sample_weight: np.ndarray | None, *, incremental: bool
    ) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        if incremental and isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight='balanced' needs all of the data at once, and partial_fit has only a part; pass a dict "
                "such as dict(zip(classes, sklearn.utils.compute_class_weight('balanced', classes=classes, y=y)))"
            )
        weights: np.ndarray = compute_sample_weight(self.class_weight, self._answers(targets)).astype(targets.dtype)
        return weights if sample_weight is None else weights * sample_weight

    def _output(self) -> tuple[str, str, str, str, Measure]:
        if self._label_binarizer.y_type_ == "multiclass":
            return "softmax", "softmax", "log_likelihood", "classification", log_loss
        task = "classification" if self.n_outputs_ == 1 else "multilabel"
        return "logistic", "sigmoid", "cross_entropy", task, binary_log_loss

    def _validation_score(self, targets: np.ndarray, outputs: np.ndarray, sample_weight: np.ndarray | None) -> float:
        answers = self._answers(outputs)
        asked = self._label_binarizer.inverse_transform(targets)
        return float(accuracy_score(asked, answers, sample_weight=sample_weight))

    def _answers(self, outputs: np.ndarray) -> Any:
        return self._label_binarizer.inverse_transform(outputs.ravel() if self.n_outputs_ == 1 else outputs)

    def predict(self, X: Any) -> Any:
        """The predicted classes."""
        check_is_fitted(self)
        return self._answers(self._outputs(self._inputs(X)))

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class."""
        check_is_fitted(self)
        outputs = self._outputs(self._inputs(X))
        return np.hstack([1 - outputs, outputs]) if self.n_outputs_ == 1 else outputs

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithms of the probabilities."""
        return np.log(self.predict_proba(X))

    def _inputs(self, X: Any) -> Any:
        return validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)

    @available_if(takes_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "BaseMultilayerPerceptron":
        """Go once through the data."""
        self._validate_params()
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
