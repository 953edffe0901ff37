"""MLPRegressor: scikit-learn's, on any array library."""

from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from nn_any.core.typing import Array
from nn_any.estimators.arrays import beside
from nn_any.estimators.base import PARAMETERS, BaseMultilayerPerceptron, takes_steps
from nn_any.estimators.steps import Measure, poisson, squared_error


class MLPRegressor(RegressorMixin, BaseMultilayerPerceptron):  # type: ignore[misc]
    """A regressor with scikit-learn's parameters and attributes: a multilayer perceptron on any array library.

    The parameters up to `max_fun` are those of ``sklearn.neural_network.MLPRegressor``, with its meanings. What
    follows them goes further, and its defaults change nothing. It minimises half the squared error, or the Poisson
    deviance, averaged over the examples, and ½ α Σ w² / n.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        ``"poisson"`` is for counts; the outputs are then exp(z).
    hidden_layer_sizes : int or array-like of int, default=(100,)
        How many units each hidden layer has.
    activation : str, Activation, or a list of them, default="relu"
        What follows the hidden layers, one for all or one for each: ``"identity"``, ``"logistic"``, ``"tanh"``,
        ``"relu"``, or any other of this package, such as ``"gelu"`` or ``nn_any.activations.LeakyReLU(0.2)``.
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        How the weights are found: in steps of mini-batches, or from all examples at once by SciPy's L-BFGS-B.
    alpha : float, default=0.0001
        The strength of the L2 penalty.
    batch_size : int or "auto", default="auto"
        Examples a step; ``"auto"`` is 200, or all if there are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        How the rate of ``"sgd"`` changes: not at all, as 1 / t ** `power_t` with the t examples seen, or to a fifth of
        it whenever `n_iter_no_change` epochs have not improved.
    learning_rate_init : float, default=0.001
        The rate of the first step.
    power_t : float, default=0.5
        The exponent of ``"invscaling"``.
    max_iter : int, default=200
        The most epochs, or for ``"lbfgs"`` iterations.
    shuffle : bool, default=True
        Whether each epoch has an order of its own.
    random_state : int, RandomState or None, default=None
        Where all draws come from: first weights, splits, orders, dropout. The same one is the same model as
        scikit-learn's.
    tol : float, default=0.0001
        What counts as an improvement of the loss, or with `early_stopping` of the score.
    verbose : bool or int, default=False
        Whether to print losses and scores.
    warm_start : bool, default=False
        Whether `fit` goes on from where the last one ended.
    momentum : float, default=0.9
        How much of its last step ``"sgd"`` repeats.
    nesterovs_momentum : bool, default=True
        Whether it is Nesterov's.
    early_stopping : bool, default=False
        Whether to end when the score of a validation set improves no more, and to keep the best weights. The set is
        split off, unless `fit` is given one.
    validation_fraction : float, default=0.1
        The share of the examples that is split off.
    beta_1, beta_2 : float, default=0.9 and 0.999
        How slowly the two averages of ``"adam"`` decay.
    epsilon : float, default=1e-8
        What keeps ``"adam"`` from division by zero.
    n_iter_no_change : int, default=10
        How many epochs may pass without an improvement.
    max_fun : int, default=15000
        The most evaluations of the loss by ``"lbfgs"``.
    device : str, Device or None, default=None
        Where to compute, as `nn_any.select_device` has it. By default where X is, if it is an array of another library
        than NumPy; else ``NN_ANY_DEVICE``, a CUDA GPU that works, or the CPU.
    dtype : {"float32", "float64"} or None, default=None
        That of weights and arithmetic; by default that of X.
    engine : {"auto", "eager", "compiled"}, default="auto"
        How steps are run, as for `Network.fit`.
    dropout : float or list of float, default=0.0
        The share of a hidden layer's outputs that each step leaves out, one for all layers or one for each. It is for
        ``"sgd"`` and ``"adam"``. Losses are then those of the thinned network, as training saw them.
    layers : list or None, default=None
        The layers between inputs and outputs, any of this package: ``[nn_any.Dense(50, "relu"), nn_any.Dropout(0.5)]``;
        then `hidden_layer_sizes`, `activation` and `dropout` do not count. A number is a dense layer, and a layer that
        names no activation gets ``"relu"``. A tuple in front is the shape of an example, such as ``(8, 8, 1)``, which
        the rows of X are brought to. A dense layer for the outputs is added, unless the last one is it already.
    callbacks : list, default=()
        `nn_any.Callback` instances, or functions of the `TrainingRun` that are called after each epoch.
    checkpoint : path, Checkpoint or None, default=None
        Where `fit` writes down, after each epoch, all that it takes to resume.

    Attributes
    ----------
    loss_ : float
        The loss of the last epoch, the penalty included.
    best_loss_ : float or None
        The smallest loss; None with `early_stopping`.
    loss_curve_ : list of float
        The loss of each epoch; not for ``"lbfgs"``.
    validation_scores_ : list of float or None
        The score of the validation set after each epoch, if there is one.
    best_validation_score_ : float or None
        The best of them.
    t_ : int
        How many examples training has seen, repeated ones included.
    coefs_ : list of ndarray, (inputs, units) each
        The weights, layer by layer: NumPy. Those of convolutions are (filters, height, width, channels), as the network
        has them.
    intercepts_ : list of ndarray, (units,) each
        The biases.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, (features,)
        If X has named columns.
    n_iter_ : int
        How many epochs, or iterations, were run.
    n_layers_ : int
        How many layers have weights, and one for the inputs.
    n_outputs_ : int
    out_activation_ : str
        What follows the last layer, in scikit-learn's words.
    network_ : Network
        The trained network: it saves, exports, and predicts without scikit-learn.

    See Also
    --------
    MLPClassifier : the same for classes.
    Network : what trains.

    References
    ----------
    D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", 2014, arXiv:1412.6980.

    Examples
    --------
    >>> import numpy as np
    >>> from nn_any import MLPRegressor
    >>> X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    >>> y = X[:, 0] * X[:, 1]
    >>> mlp = MLPRegressor(hidden_layer_sizes=(20,), activation="tanh", solver="lbfgs", random_state=0).fit(X, y)
    >>> mlp.score(X, y) > 0.95
    True
    """

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
        x, y = self._checked(x, beside(y, x), reset=first, y_numeric=True)
        return x, array_namespace(y).astype(y, x.dtype, copy=False)

    def _validated_held_out(self, x: Any, y: Any) -> tuple[Any, np.ndarray]:
        x, targets = self._validated(x, y, first=False, incremental=True)
        if (*targets.shape, 1)[1] != self.n_outputs_:
            raise ValueError(
                f"validation_data: y must have {self.n_outputs_} outputs, got {targets.shape}; pass all of them"
            )
        return x, targets

    def _output(self) -> tuple[str, str, str, str, Measure]:
        if self.loss == "poisson":
            return "exp", "exponential", "poisson", "regression", poisson
        return "identity", "linear", "quadratic", "regression", squared_error

    def _validation_score(self, targets: Array, outputs: Array, sample_weight: Array | None) -> float:
        xp = array_namespace(outputs)
        if not xp.all(xp.isfinite(outputs)):
            return np.nan
        return float(r2_score(_squeezed(targets), _squeezed(outputs), sample_weight=sample_weight))

    def predict(self, X: Any) -> Array:
        """The predicted numbers.

        Parameters
        ----------
        X : array, sparse matrix or frame, (n, features)

        Returns
        -------
        y : array, (n,) or (n, outputs), of the network's dtype
            Where X lies, if scikit-learn lets arrays of other libraries through; else NumPy.
        """
        outputs, home = self._outputs(X, "predict")
        with nullcontext() if home is None else home.scope():
            return _squeezed(outputs)

    @available_if(takes_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "BaseMultilayerPerceptron":
        """Go once through the data, as a part of more to come; for ``"sgd"`` and ``"adam"``.

        Parameters
        ----------
        X : array, sparse matrix or frame, (n, features)
        y : array, (n,) or (n, outputs)
        sample_weight : array, (n,), optional
            How much each example counts.

        Returns
        -------
        self : the estimator after one epoch
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=True)


def _squeezed(a: Array) -> Array:
    """The numbers of a single output as (n,)."""
    return a[:, 0] if a.shape[1] == 1 else a
