"""What the multilayer perceptrons for classes and for numbers have in common."""

import warnings
from abc import ABC, abstractmethod
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from nn_any import evaluation
from nn_any.backends import Device, is_host, select_device, to_numpy
from nn_any.core import options, specification
from nn_any.core.batches import Preparation
from nn_any.core.errors import caller_level
from nn_any.core.layers import Dense
from nn_any.core.state import HostSnapshot, Progress, Snapshot
from nn_any.core.typing import Array
from nn_any.datasets.network_input import Examples
from nn_any.datasets.rows import as_rows, moved, taken
from nn_any.estimators.arrays import answer, beside, check_home, home_of, is_sparse
from nn_any.estimators.lbfgs import Objective, search
from nn_any.estimators.steps import Measure
from nn_any.estimators.stochastic import Convergence, Rates, as_random_state, runner, update_rule
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

    # what subclasses say

    @abstractmethod
    def _validated(self, x: Any, y: Any, *, first: bool, incremental: bool) -> tuple[Any, Array]:
        """Inputs and targets that scikit-learn has checked; targets, (n,) or (n, outputs), may be on the host."""

    @abstractmethod
    def _output(self) -> tuple[str, str, str, str, Measure]:
        """scikit-learn's name of the last activation, its name here, the loss and the task here, and what is told."""

    @abstractmethod
    def _validation_score(self, targets: Array, outputs: Array, sample_weight: Array | None) -> float:
        """The score of a validation set."""

    # what scikit-learn's estimators have

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each layer: (inputs, units), where X was, else NumPy."""
        weights = self._fitted_network().weights
        if self._home is None:
            return [np.ascontiguousarray(to_numpy(w).T) for w in weights]
        with self._home.scope():
            return [answer(w, self._home).mT for w in weights]

    @property
    def intercepts_(self) -> list[Array]:
        """The biases of each layer: (units,), where X was, else NumPy."""
        return [answer(b, self._home) for b in self._fitted_network().biases]

    def _fitted_network(self) -> Network:
        try:
            network: Network = self.__dict__["network_"]
        except KeyError:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet; call fit first") from None
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
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        x, targets = self._validated(x, y, first=first, incremental=incremental)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(beside(sample_weight, x), x)
        targets = targets[:, None] if targets.ndim == 1 else targets
        self.n_outputs_ = int(targets.shape[1])
        random_state = as_random_state(self.random_state)
        if first:
            self._begin(x, sizes, random_state)
        if self.solver in _STOCHASTIC:
            self._fit_stochastic(x, targets, sample_weight, random_state, incremental=incremental)
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
        self._home = home_of(x)
        device = self._home or select_device("numpy")
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

    def _examples(self, x: Any, targets: Array, sample_weight: Array | None) -> Examples:
        """Data as steps take them."""
        net = self.network_
        device, dtype = net.device, net.dtype
        rows = moved(as_rows("X", x) if is_sparse(x) else x, device, dtype)
        arrays: tuple[Any, ...] = (rows, device.asarray(targets, dtype))
        if sample_weight is not None:
            arrays = (*arrays, device.asarray(sample_weight, dtype))
        return Examples(arrays, Preparation(dtype, self.n_outputs_))

    def _fit_lbfgs(self, x: Any, targets: Array, sample_weight: Array | None) -> None:
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
        targets: Array,
        sample_weight: Array | None,
        random_state: np.random.RandomState,
        *,
        incremental: bool,
    ) -> None:
        net = self.network_
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
            kept_targets, kept_weight = _rows(targets, validating), _rows(sample_weight, validating)
            kept = self._examples(_rows(x, validating), kept_targets, kept_weight)
            x, targets, sample_weight = (_rows(part, training) for part in (x, targets, sample_weight))
        examples = self._examples(x, targets, sample_weight)
        n = examples.size
        batch_size = min(200, n) if self.batch_size == "auto" else self.batch_size
        if batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=3
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
            held = kept.arrays if home_of(x) is not None else (None, kept_targets, kept_weight)

            def score() -> float:
                outputs = evaluation.outputs(net.snapshot, net.device, kept.arrays[0])
                with net.device.scope():
                    own = to_numpy(outputs) if held[0] is None else outputs
                    return self._validation_score(held[1], own, held[2] if len(held) > 2 else None)

        follower = _Follower(self, n, plan.steps, score, incremental)
        epochs = 1 if incremental else self.max_iter
        own = runner(random_state, self._rates, self.alpha, self._output()[4])
        self.n_iter_ = 0
        try:
            run_plan(net, plan, epochs, [follower], None, False, "auto", own)
        except TrainingInterrupted:
            warnings.warn("Training interrupted by user.", stacklevel=3)
        if follower.best is not None:
            net.snapshot = follower.best

    def _split(self, targets: Array, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """The rows to train with and those to validate with."""
        stratify = targets.astype(bool) if is_classifier(self) and self.n_outputs_ == 1 else None
        n = int(targets.shape[0])
        parts = train_test_split(
            np.arange(n), random_state=random_state, test_size=self.validation_fraction, stratify=stratify
        )
        return parts[0], parts[1]

    def _outputs(self, X: Any, method: str) -> tuple[Array, Device | None]:
        """The outputs (n, outputs) for inputs that scikit-learn checks first, and where they lie: None for NumPy."""
        check_is_fitted(self)
        x = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        home, net = home_of(x), self.network_
        check_home(home, self._home, f"{type(self).__name__}.{method}")
        rows = moved(as_rows("X", x) if is_sparse(x) else x, net.device, net.dtype)
        return answer(evaluation.outputs(net.snapshot, net.device, rows), home), home

    def __sklearn_array_api_convert__(self, converter: Any) -> "BaseMultilayerPerceptron":
        """What scikit-learn moves to where `converter` brings an array."""
        there: BaseMultilayerPerceptron = clone(self)
        state: Any = self.__getstate__()
        state = dict(state)
        if hasattr(self, "network_"):
            placed = converter(self.network_.biases[0])
            state["network_"] = self.network_.copy().to(Device.of(placed))
            state["_home"] = None if is_host(placed) else Device.of(placed)
        there.__setstate__(state)
        return there

    def _check_solver(self) -> bool:
        if self.solver not in ("sgd", "adam"):
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags


class _Follower(Callback):
    """Keeps the curves of a fit, and ends it as scikit-learn does."""

    def __init__(self, estimator: Any, n: int, steps: int, score: Any, incremental: bool) -> None:
        self._estimator, self._n, self._steps, self._score = estimator, n, steps, score
        self._incremental = incremental
        self.best: Snapshot | None = None

    def on_train_begin(self, run: TrainingRun) -> None:
        if self._score is not None:
            self.best = run.network.snapshot

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
        if not run.record["finite"]:
            run.stop = True
        elif not self._incremental and own.n_iter_ == own.max_iter:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({own.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=caller_level(),
            )


def _rows(x: Any, rows: np.ndarray) -> Any:
    """Some rows of an array, or of a sparse matrix; None of None."""
    if x is None or is_host(x) or is_sparse(x):
        return None if x is None else x[rows]
    return taken(x, rows, Device.of(x))


def _with_params(snapshot: Snapshot, params: Any) -> Snapshot:
    return snapshot._replace(blocks=(snapshot.blocks[0]._replace(params=params),))


def _started_anew(snapshot: Snapshot) -> Snapshot:
    return snapshot._replace(blocks=(snapshot.blocks[0]._replace(optimizer_state=None),))
