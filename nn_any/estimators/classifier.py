"""MLPClassifier: scikit-learn's, on any array library."""

import numpy as np
from array_api_compat import array_namespace
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from nn_any.backends import Device, to_numpy
from nn_any.core import options
from nn_any.estimators.arrays import on_host, real_dtypes
from nn_any.estimators.base import BaseMultilayerPerceptron, validate_data
from nn_any.estimators.steps import Measure, binary_log_loss, log_loss


class MLPClassifier(ClassifierMixin, BaseMultilayerPerceptron):
    """Multilayer perceptron for classes."""

    def __init__(
        self,
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
        y = on_host(y)
        x, y = validate_data(
            self, x, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=real_dtypes(x), reset=first
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
        return x, self._label_binarizer.transform(y).astype(options.dtype_name(x.dtype))

    def _output(self) -> tuple[str, str, str, str, Measure]:
        if self._label_binarizer.y_type_ == "multiclass":
            return "softmax", "softmax", "log_likelihood", "classification", log_loss
        task = "classification" if self.n_outputs_ == 1 else "multilabel"
        return "logistic", "sigmoid", "cross_entropy", task, binary_log_loss

    def _validation_score(self, targets, outputs, sample_weight):
        xp = array_namespace(outputs)
        if self.out_activation_ == "softmax":
            right = xp.argmax(outputs, axis=1) == xp.argmax(targets, axis=1)
        else:
            right = xp.all((outputs > 0.5) == (targets > 0.5), axis=1)
        if sample_weight is None:
            return int(xp.count_nonzero(right)) / right.shape[0]
        weights = xp.astype(sample_weight, xp.float64) if Device.of(outputs).supports("float64") else sample_weight
        return float(xp.sum(weights * xp.astype(right, weights.dtype)) / xp.sum(weights))

    def predict(self, X):
        """The predicted classes."""
        outputs, home = self._outputs(X, "predict")
        if home is None:
            return self._label_binarizer.inverse_transform(outputs.ravel() if self.n_outputs_ == 1 else outputs)
        with home.scope():
            xp = home.xp
            if self.out_activation_ == "softmax":
                numbers = xp.argmax(outputs, axis=1)
            else:
                numbers = xp.astype(outputs > 0.5, getattr(xp, home.integer_dtype))
                if self.n_outputs_ > 1:
                    return numbers
                numbers = xp.clip(numbers[:, 0], 0, len(self.classes_) - 1)
            if self.classes_.dtype.kind not in "biuf":  # names, which only the host has
                return self.classes_[to_numpy(numbers)]
            return xp.take(home.asarray(self.classes_), numbers, axis=0)

    def predict_proba(self, X):
        """The probability of each class."""
        return self._probabilities(X, "predict_proba")[0]

    def predict_log_proba(self, X):
        """The logarithms of the probabilities."""
        found, home = self._probabilities(X, "predict_log_proba")
        if home is None:
            return np.log(found)
        with home.scope():
            return home.xp.log(found)

    def _probabilities(self, X, method):
        outputs, home = self._outputs(X, method)
        if self.n_outputs_ > 1:
            return outputs, home
        if home is None:
            return np.hstack([1 - outputs, outputs]), home
        with home.scope():
            return home.xp.concat([1 - outputs, outputs], axis=1), home

    @available_if(lambda estimator: estimator._check_solver())
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Go once through the data."""
        self._validate_params()
        y, classes = on_host(y), on_host(classes)
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
