"""What the multilayer perceptrons for classes and for numbers have in common."""

import signal
import warnings
from abc import ABC, abstractmethod
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight

from nn_any import evaluation
from nn_any.backends import Device, is_host, select_device, to_numpy
from nn_any.core import options, specification
from nn_any.core.batches import Preparation
from nn_any.core.errors import caller_level
from nn_any.core.layers import Dense
from nn_any.core.state import HostSnapshot, Progress, Snapshot
from nn_any.datasets.network_input import Examples
from nn_any.datasets.rows import as_rows, moved
from nn_any.estimators.lbfgs import Objective, search
from nn_any.estimators.steps import Measure
from nn_any.estimators.stochastic import Convergence, Rates, as_random_state, runner, update_rule
from nn_any.estimators.weights import HandedOut
from nn_any.network import Network
from nn_any.training import TrainingInterrupted
from nn_any.training.fit import run_plan
from nn_any.training.plan import Plan
from nn_any.training.run import Callback, TrainingRun
from nn_any.training.segments import segment_length
from nn_any.training.states import placed_snapshot

try:  # scikit-learn 1.6 and later
    from sklearn.utils.validation import validate_data
except ImportError:  # pragma: no cover

    def validate_data(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """Check data as scikit-learn 1.5 does."""
        return estimator._validate_data(*args, **kwargs)


_ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
"""What scikit-learn calls the activations of hidden layers, and what they are called here."""

_STOCHASTIC = ("sgd", "adam")


class BaseMultilayerPerceptron(BaseEstimator, ABC):
    """A multilayer perceptron with the parameters and attributes of scikit-learn's.

    Subclasses say what the targets are: `_validated`, `_output` and `_validation_score`.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(_ACTIVATIONS))],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
    }

    _handed_out: HandedOut | None = None

    # what subclasses say

    @abstractmethod
    def _validated(self, x: Any, y: Any, *, first: bool, incremental: bool) -> tuple[Any, np.ndarray]:
        """Inputs and targets that scikit-learn has checked; the targets, (n,) or (n, outputs), are on the host."""

    @abstractmethod
    def _output(self) -> tuple[str, str, str, str, Measure]:
        """scikit-learn's name of the last activation, its name here, the loss and the task here, and what is told."""

    @abstractmethod
    def _validation_score(self, targets: np.ndarray, outputs: np.ndarray, sample_weight: np.ndarray | None) -> float:
        """The score of a validation set."""

    # what scikit-learn's estimators have

    @property
    def network_(self) -> Network:
        """The trained network."""
        return self._fitted_network()

    @network_.setter
    def network_(self, network: Network) -> None:
        fields: Any = vars(self)
        fields["network_"], self._handed_out = network, None

    @property
    def coefs_(self) -> list[np.ndarray]:
        """The weights of each layer: (inputs, units), NumPy; what is written into them, the network takes over."""
        return self._lists().coefs_

    @coefs_.setter
    def coefs_(self, arrays: list[np.ndarray]) -> None:
        self._lists().coefs_ = arrays

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """The biases of each layer: (units,), NumPy; what is written into them, the network takes over."""
        return self._lists().intercepts_

    @intercepts_.setter
    def intercepts_(self, arrays: list[np.ndarray]) -> None:
        self._lists().intercepts_ = arrays

    def _lists(self) -> HandedOut:
        network = self._fitted_network()
        if self._handed_out is None:
            self._handed_out = HandedOut(network)
        return self._handed_out

    def _fitted_network(self) -> Network:
        try:
            network: Network = vars(self)["network_"]
        except KeyError:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet; call fit first") from None
        if self._handed_out is not None and not self._handed_out.take_over(network):
            self._handed_out = None
        return network

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "BaseMultilayerPerceptron":
        """Fit the model to inputs X and targets y.

        Parameters
        ----------
        X : array, sparse matrix or frame, (n, features)
        y : array, (n,) or (n, outputs)
            Labels, or numbers to predict.
        sample_weight : array, (n,), optional
            How much each example counts.

        Returns
        -------
        self
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=False)

    def _fit(self, x: Any, y: Any, sample_weight: Any, *, incremental: bool) -> "BaseMultilayerPerceptron":
        sizes = self._hidden_sizes()
        first = "network_" not in vars(self) or not (self.warm_start or incremental)
        x, targets = self._validated(x, y, first=first, incremental=incremental)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, x)
        targets = targets.reshape(len(targets), -1)
        self.n_outputs_ = targets.shape[1]
        random_state = as_random_state(self.random_state)
        if first:
            self._begin(x, sizes, random_state)
        if self.solver in _STOCHASTIC:
            self._fit_stochastic(x, targets, sample_weight, random_state, first=first, incremental=incremental)
        else:
            self._fit_lbfgs(x, targets, sample_weight)
        if not evaluation.is_finite(self.network_.device, self.network_.params):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        return self

    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if np.any(np.array(sizes) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _begin(self, x: Any, sizes: list[int], random_state: np.random.RandomState) -> None:
        """The network before the first step, with the weights that scikit-learn would draw."""
        self.n_iter_, self.t_ = 0, 0
        self.out_activation_, output, loss, task, _ = self._output()
        device = select_device(None) if is_host(x) or _is_sparse(x) else Device.of(x)
        dtype = options.dtype_name(x.dtype) if self.solver in _STOCHASTIC else "float64"
        units = [int(x.shape[1]), *sizes, self.n_outputs_]
        hidden = [Dense(size, _ACTIVATIONS[self.activation]) for size in sizes]
        stack = [units[0], *hidden, Dense(self.n_outputs_, output)]
        self.n_layers_ = len(units)
        params = []
        for fan_in, fan_out in pairwise(units):
            bound = np.sqrt((2.0 if self.activation == "logistic" else 6.0) / (fan_in + fan_out))
            weights = random_state.uniform(-bound, bound, (fan_in, fan_out))
            params.append((weights.T, random_state.uniform(-bound, bound, fan_out)))
        built = specification.build(stack, "linear", "zeros", loss, dtype, 0, task=task)
        packed = tuple([layer.pack(*arrays) for layer, arrays in zip(built.layers, params, strict=True)])
        host = HostSnapshot(built, packed, built.initial_layer_state(), Progress())
        self.network_ = Network(placed_snapshot(host, device), device=device)
        if self.solver in _STOCHASTIC:
            self.loss_curve_: list[float] = []
            self._convergence = Convergence(self.tol, self.n_iter_no_change)
            self.best_loss_ = None if self.early_stopping else np.inf
            self.validation_scores_ = [] if self.early_stopping else None
            self.best_validation_score_ = -np.inf if self.early_stopping else None

    def _examples(self, x: Any, targets: np.ndarray, sample_weight: np.ndarray | None) -> Examples:
        """Data as steps take them."""
        net = self.network_
        device, dtype = net.device, net.dtype
        rows = moved(as_rows("X", x) if _is_sparse(x) else x, device, dtype)
        arrays = (rows, device.asarray(targets, dtype))
        if sample_weight is not None:
            arrays = (*arrays, device.asarray(sample_weight, dtype))
        return Examples(arrays, Preparation(dtype, self.n_outputs_))

    def _fit_lbfgs(self, x: Any, targets: np.ndarray, sample_weight: np.ndarray | None) -> None:
        net = self.network_
        objective = Objective(
            net.snapshot, net.device, self._examples(x, targets, sample_weight), self.alpha, self._output()[4]
        )
        result = search(objective, objective.start, maxfun=self.max_fun, maxiter=self.max_iter, gtol=self.tol)
        self.n_iter_, self.loss_ = result.nit, float(result.fun)
        net.snapshot = _with_params(net.snapshot, objective.params(result.x))

    def _fit_stochastic(
        self,
        x: Any,
        targets: np.ndarray,
        sample_weight: np.ndarray | None,
        random_state: np.random.RandomState,
        *,
        first: bool,
        incremental: bool,
    ) -> None:
        net = self.network_
        self._convergence.tol, self._convergence.patience = self.tol, self.n_iter_no_change
        if not (incremental and hasattr(self, "_rates")):
            betas = self.beta_1, self.beta_2
            rule = update_rule(self.solver, self.momentum, self.nesterovs_momentum, betas, self.epsilon)
            schedule = self.learning_rate if self.solver == "sgd" else "constant"
            self._rates = Rates(rule, self.learning_rate_init, schedule, self.power_t)
            net.snapshot = _started_anew(net.snapshot)
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        kept = None
        if self.early_stopping:
            training, validating = self._split(targets, random_state)
            if len(validating) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
                )
            weights = sample_weight
            kept = self._examples(
                _rows(x, validating), targets[validating], None if weights is None else weights[validating]
            )
            kept_targets = targets[validating]
            x, targets = _rows(x, training), targets[training]
            sample_weight = None if weights is None else weights[training]
        examples = self._examples(x, targets, sample_weight)
        n = examples.size
        batch_size = min(200, n) if self.batch_size == "auto" else self.batch_size
        if batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                stacklevel=caller_level(),
            )
        batch_size = min(batch_size, n)
        columns = ["epoch", "loss", "learning_rate", "seconds"]
        work = batch_size * net.specification.multiplications(net.snapshot.blocks[0].params)
        segment = segment_length(max(1, n // batch_size), work, net.device)
        plan = Plan(
            net.specification, examples, batch_size, self._rates.rule, self.shuffle, {}, {}, {}, columns, segment
        )
        score = None
        if kept is not None:
            held = None if len(kept.arrays) < 3 else to_numpy(kept.arrays[2])

            def score() -> float:
                outputs = to_numpy(evaluation.outputs(net.snapshot, net.device, kept.arrays[0]))
                return self._validation_score(kept_targets, outputs, held)

        follower = _Follower(self, n, plan.steps, score, incremental)
        if score is not None and first:  # later, what was best before counts, as in scikit-learn, only by its score
            follower.best = net.snapshot
        epochs = 1 if incremental else self.max_iter
        own = runner(random_state, self._rates, self.alpha, self._output()[4])
        self.n_iter_ = 0
        try:
            run_plan(net, plan, epochs, [follower], None, False, "auto", own)
        except KeyboardInterrupt as stopped:
            if isinstance(stopped, TrainingInterrupted) and stopped.signal != signal.SIGINT:
                raise
            warnings.warn("Training interrupted by user.", stacklevel=caller_level())
        if follower.best is not None:
            net.snapshot = _with_params(net.snapshot, follower.best.blocks[0].params)

    def _split(self, targets: np.ndarray, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """The rows to train with and those to validate with."""
        stratify = targets.astype(bool) if is_classifier(self) and self.n_outputs_ == 1 else None
        rows, how = np.arange(len(targets)), {"test_size": self.validation_fraction, "stratify": stratify}
        with config_context(skip_parameter_validation=True):  # its name is not that of the user's parameter
            parts = train_test_split(rows, random_state=random_state, **how)
        return parts[0], parts[1]

    def _outputs(self, x: Any) -> np.ndarray:
        """The outputs (n, outputs) for checked inputs, in the dtype that both have in common."""
        net = self.network_
        rows = moved(as_rows("X", x) if _is_sparse(x) else x, net.device, net.dtype)
        outputs = to_numpy(evaluation.outputs(net.snapshot, net.device, rows))
        return outputs.astype(np.result_type(options.dtype_name(x.dtype), outputs.dtype), copy=False)

    def _check_solver(self) -> bool:
        if self.solver not in ("sgd", "adam"):
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class _Follower(Callback):
    """Keeps the curves of a fit, and ends it as scikit-learn does."""

    def __init__(self, estimator: Any, n: int, steps: int, score: Any, incremental: bool) -> None:
        self._estimator, self._n, self._steps, self._score = estimator, n, steps, score
        self._incremental = incremental
        self.best: Snapshot | None = None

    def on_epoch_end(self, run: TrainingRun) -> None:
        own = self._estimator
        convergence, rates = own._convergence, own._rates
        loss = run.record["loss"]
        own.n_iter_ += 1
        own.loss_, own.t_ = loss, own.t_ + self._n
        own.loss_curve_.append(loss)
        if own.verbose:
            print(f"Iteration {own.n_iter_}, loss = {loss:.8f}")
        if self._score is None:
            convergence.hear_loss(loss)
            own.best_loss_ = convergence.best_loss
        else:
            score = self._score()
            own.validation_scores_.append(score)
            if own.verbose:
                print(f"Validation score: {score:f}")
            if convergence.hear_score(score):
                own.best_validation_score_, self.best = score, run.network.snapshot
        rates.end_epoch(self._steps, own.t_)
        if convergence.is_over:
            what = "Validation score" if self._score is not None else "Training loss"
            message = f"{what} did not improve more than tol={own.tol:f} for {own.n_iter_no_change} consecutive epochs."
            lowered = rates.stop_or_lower()
            if own.verbose:
                small = " Learning rate too small." if rates.schedule == "adaptive" and lowered is None else ""
                print(f"{message}{small} {lowered or 'Stopping.'}")
            if lowered is None:
                run.stop = True
                return
            convergence.misses = 0
        if not run.record["finite"] and self._score is None:
            run.stop = True  # and an error tells of it
        elif not self._incremental and own.n_iter_ == own.max_iter:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({own.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=caller_level(),
            )


def _is_sparse(x: Any) -> bool:
    return hasattr(x, "toarray")


def _rows(x: Any, rows: np.ndarray) -> Any:
    """Some rows of an array, or of a sparse matrix."""
    if is_host(x) or _is_sparse(x):
        return x[rows]
    device = Device.of(x)
    with device.scope():
        return device.xp.take(x, device.asarray(rows, device.integer_dtype), axis=0)


def _with_params(snapshot: Snapshot, params: Any) -> Snapshot:
    return snapshot._replace(blocks=(snapshot.blocks[0]._replace(params=params),))


def _started_anew(snapshot: Snapshot) -> Snapshot:
    return snapshot._replace(blocks=(snapshot.blocks[0]._replace(optimizer_state=None),))
