"""What the multilayer perceptrons for classes and for numbers have in common."""

import operator
import os
import signal
import warnings
from abc import ABC, abstractmethod
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from nn_any import evaluation
from nn_any.backends import MODES, Device, is_host, select_device, to_numpy
from nn_any.core import activations, options, specification
from nn_any.core.batches import Preparation
from nn_any.core.errors import caller_level
from nn_any.core.layers import Dense
from nn_any.core.state import HostSnapshot, Progress, Snapshot
from nn_any.core.typing import Array
from nn_any.datasets.network_input import Examples
from nn_any.datasets.rows import Rows, as_rows, moved, taken
from nn_any.estimators import stack
from nn_any.estimators.arrays import answer, beside, check_home, home_of, is_sparse, real_dtypes
from nn_any.estimators.compat import validate_data
from nn_any.estimators.following import Follower
from nn_any.estimators.lbfgs import Objective, search
from nn_any.estimators.steps import Measure
from nn_any.estimators.stochastic import Convergence, Order, Rates, as_random_state, runner, update_rule
from nn_any.estimators.weights import HandedOut
from nn_any.network import Network
from nn_any.training import Checkpoint, TrainingInterrupted
from nn_any.training.fit import as_checkpoint, only_run, run_plan
from nn_any.training.measured import with_measurements
from nn_any.training.plan import Plan
from nn_any.training.run import as_callbacks
from nn_any.training.segments import segment_length
from nn_any.training.states import initial_snapshot, placed_snapshot

_STOCHASTIC = ("sgd", "adam")

Held = tuple[Any, np.ndarray, np.ndarray | None]
"""Inputs, targets (n, outputs) and weights of examples that are scored after each epoch."""

PARAMETERS: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [str, activations.Activation, "array-like"],
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
    "device": [str, Device, None],
    "dtype": [StrOptions({"float32", "float64"}), type, np.dtype, None],
    "engine": [StrOptions(set(MODES))],
    "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
    "layers": ["array-like", None],
    "callbacks": ["array-like"],
    "checkpoint": [str, os.PathLike, Checkpoint, None],
}
"""What each parameter of both estimators may be, as scikit-learn checks it."""


class BaseMultilayerPerceptron(BaseEstimator, ABC):  # type: ignore[misc]
    """A multilayer perceptron with the parameters and attributes of scikit-learn's.

    Subclasses say what the targets are: `_validated`, `_output` and `_validation_score`.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = PARAMETERS

    _handed_out: HandedOut | None = None

    __metadata_request__fit: ClassVar[dict[str, str]] = {"validation_data": UNUSED, "resume": UNUSED}
    _home: Device | None = None
    """Where the inputs of `fit` were, if scikit-learn let arrays of another library through."""

    # what subclasses say

    @abstractmethod
    def _validated(self, x: Any, y: Any, *, first: bool, incremental: bool) -> tuple[Any, Array]:
        """Inputs and targets that scikit-learn has checked; targets, (n,) or (n, outputs), may be on the host."""

    @abstractmethod
    def _validated_held_out(self, x: Any, y: Any) -> tuple[Any, np.ndarray]:
        """The same of a validation set, once the data that it goes with are known."""

    @abstractmethod
    def _output(self) -> tuple[str, str, str, str, Measure]:
        """scikit-learn's name of the last activation, its name here, the loss and the task here, and what is told."""

    @abstractmethod
    def _validation_score(self, targets: Array, outputs: Array, sample_weight: Array | None) -> float:
        """The score of a validation set."""

    def _checked(self, x: Any, y: Any, *, reset: bool, **how: Any) -> tuple[Any, Any]:
        """Inputs and targets as scikit-learn checks them; a column of targets becomes (n,), with its warning."""
        how |= {"accept_sparse": ["csr", "csc"], "multi_output": True, "dtype": real_dtypes(x)}
        x, y = validate_data(self, x, y, reset=reset, **how)
        return x, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

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
    def coefs_(self) -> list[Array]:
        """The weights of each layer, (inputs, units), where X was; a convolution's as the network has them.

        What is written into those of NumPy, the network takes over.
        """
        if self._home is None:
            return self._lists().coefs_
        found = [answer(w, self._home) for w in self._fitted_network().weights]
        with self._home.scope():
            return [w.mT if w.ndim == 2 else w for w in found]

    @coefs_.setter
    def coefs_(self, arrays: list[np.ndarray]) -> None:
        self._lists().coefs_ = arrays

    @property
    def intercepts_(self) -> list[Array]:
        """The biases of each layer, (units,), where X was; the network takes over what is written into NumPy's."""
        if self._home is None:
            return self._lists().intercepts_
        return [answer(b, self._home) for b in self._fitted_network().biases]

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
        try:
            kept = self._handed_out is None or self._handed_out.take_over(network)
        except (TypeError, ValueError):  # of shapes that do not fit: the next ones may
            self._handed_out = None
            raise
        if not kept:
            self._handed_out = None
        return network

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None, resume: bool = False
    ) -> "BaseMultilayerPerceptron":
        """Fit the model to inputs X and targets y.

        Parameters
        ----------
        X : array, sparse matrix or frame, (n, features)
        y : array, (n,) or (n, outputs)
            Labels, or numbers to predict.
        sample_weight : array, (n,), optional
            How much each example counts.
        validation_data : tuple ``(X, y)`` or ``(X, y, sample_weight)``, optional
            Examples that are scored after each epoch, in `validation_scores_`. With ``early_stopping=True`` they take
            the place of those that would be split off, and `validation_fraction` does not count.
        resume : bool
            If the file of `checkpoint` is there, go on where it stands, until `max_iter` epochs are done in all: the
            model is that of a fit that was never interrupted. If there is none, begin. It takes an estimator that is
            not fitted, with an integer `random_state` and otherwise the parameters of the interrupted fit.

        Returns
        -------
        self : the fitted estimator

        Raises
        ------
        ValueError, TypeError
            If a parameter is not one of those that the class describes, or the data do not fit it or each other.
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=False, validation_data=validation_data, resume=resume)

    def _fit(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        *,
        incremental: bool,
        validation_data: Any = None,
        resume: bool = False,
    ) -> "BaseMultilayerPerceptron":
        sizes = self._hidden_sizes()
        first = "network_" not in vars(self) or not (self.warm_start or incremental)
        self._check_further(validation_data, resume=resume, first=first)
        x, targets = self._validated(x, y, first=first, incremental=incremental)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(beside(sample_weight, x), x)
        targets = targets[:, None] if targets.ndim == 1 else targets
        self.n_outputs_ = int(targets.shape[1])
        sample_weight = self._weighted(targets, sample_weight, incremental=incremental)
        held = None if validation_data is None else self._held_out(validation_data)
        random_state = as_random_state(self.random_state)
        if first:
            self._begin(x, sizes, random_state)
        if self.solver in _STOCHASTIC:
            how: dict[str, Any] = {"first": first, "incremental": incremental, "held": held, "resume": resume}
            with only_run(self.network_):
                self._fit_stochastic(x, targets, sample_weight, random_state, **how)
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
        return [operator.index(size) for size in sizes]

    def _check_further(self, validation_data: Any, *, resume: bool, first: bool) -> None:
        """Raise an error if parameters that scikit-learn does not have do not go with each other."""
        stochastic_only = {
            "validation_data": validation_data is not None,
            "callbacks": len(self.callbacks) > 0,
            "checkpoint": self.checkpoint is not None,
            "dropout": self.layers is None and any(self._dropout_rates()),
        }
        given = [name for name, is_given in stochastic_only.items() if is_given]
        if self.solver not in _STOCHASTIC and given:
            raise ValueError(
                f"{given[0]} needs epochs of random steps, and solver={self.solver!r} has none; use solver='adam' or "
                "'sgd'"
            )
        if resume and not (first and isinstance(self.random_state, Integral)):
            raise ValueError(
                "resume=True needs an estimator that is not fitted, with an integer random_state, got "
                f"random_state={self.random_state!r}; use clone(estimator).set_params(random_state=0)"
            )

    def _dropout_rates(self) -> list[float]:
        return stack.dropout_rates(type(self).__name__, self.dropout, len(self._hidden_sizes()))

    def _weighted(
        self, targets: np.ndarray, sample_weight: np.ndarray | None, *, incremental: bool
    ) -> np.ndarray | None:
        """The weights of examples; classes may have a say in them."""
        return sample_weight

    def _held_out(self, given: Any) -> Held:
        """A validation set of the user's own, checked."""
        if not (isinstance(given, tuple | list) and len(given) in (2, 3)):
            raise TypeError(f"validation_data must be a tuple (X, y), or (X, y, sample_weight), got {type(given)}")
        x, targets = self._validated_held_out(*given[:2])
        weights = _check_sample_weight(given[2], x) if len(given) > 2 else None
        return x, targets[:, None] if targets.ndim == 1 else targets, weights

    def _begin(self, x: Any, sizes: list[int], random_state: np.random.RandomState) -> None:
        """The network before the first step, with the weights that scikit-learn would draw."""
        self.n_iter_, self.t_ = 0, 0
        self.out_activation_, output, loss, task, _ = self._output()
        self._home = home_of(x)
        device = (self._home or select_device(None)) if self.device is None else select_device(self.device)
        dtype = options.dtype_name(x.dtype) if self.solver in _STOCHASTIC else "float64"
        dtype = dtype if self.dtype is None else options.dtype(self.dtype)
        owner, features = type(self).__name__, int(x.shape[1])
        if self.layers is not None:
            layers = stack.own_stack(owner, self.layers, features, self.n_outputs_, output)
            seed = random_state.randint(np.iinfo(np.int32).max)
            built = specification.build(layers, "relu", "glorot_uniform", loss, dtype, seed, task=task)
            snapshot = initial_snapshot(self._named(built), device)
        else:
            kinds = stack.hidden_activations(owner, self.activation, len(sizes))
            rates = self._dropout_rates()
            layers = [features, *stack.hidden_stack(sizes, kinds, rates), Dense(self.n_outputs_, output)]
            built = specification.build(layers, "linear", "zeros", loss, dtype, 0, task=task)
            kinds = kinds or stack.hidden_activations(owner, self.activation if self.activation else "relu", 1)
            params = stack.first_params(built, kinds, random_state)
            if any(rates):
                built = replace(built, seed=random_state.randint(np.iinfo(np.int32).max))
            host = HostSnapshot(self._named(built), params, built.initial_layer_state(), Progress())
            snapshot = placed_snapshot(host, device)
        self.network_ = Network(snapshot, device=device)
        self.n_layers_ = len(self.network_.weights) + 1
        if self.solver in _STOCHASTIC:
            self.loss_curve_: list[float] = []
            self._convergence = Convergence(self.tol, self.n_iter_no_change)
            self.best_loss_ = None if self.early_stopping else np.inf
            self.validation_scores_: list[float] | None = [] if self.early_stopping else None
            self.best_validation_score_: float | None = -np.inf if self.early_stopping else None

    def _named(self, built: specification.Specification) -> specification.Specification:
        """The same network with the names of classes and features that the estimator knows."""
        classes, features = getattr(self, "classes_", None), getattr(self, "feature_names_in_", None)
        return built.with_schema(stack.known_names(built, classes, features))

    def _examples(self, x: Any, targets: Array, sample_weight: Array | None) -> Examples:
        """Data as steps take them."""
        net = self.network_
        device, dtype = net.device, net.dtype
        rows = _as_inputs(moved(as_rows("X", x) if is_sparse(x) else x, device, dtype), net)
        arrays: tuple[Any, ...] = (rows, device.asarray(targets, dtype))
        if sample_weight is not None:
            arrays = (*arrays, device.asarray(sample_weight, dtype))
        return Examples(arrays, Preparation(dtype, self.n_outputs_))

    def _fit_lbfgs(self, x: Any, targets: Array, sample_weight: Array | None) -> None:
        net = self.network_
        for layer, state in zip(net.layers, net.specification.initial_layer_state(), strict=True):
            if layer.random or (state and layer.measures is None):
                raise ValueError(
                    f"layers: {layer!r} needs random steps, and solver='lbfgs' has none; use solver='adam' or 'sgd'"
                )
        examples = self._examples(x, targets, sample_weight)
        net.snapshot = with_measurements(net.snapshot, net.device, examples)
        objective = Objective(net.snapshot, net.device, examples, self.alpha, self._output()[4])
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
        first: bool,
        incremental: bool,
        held: Held | None,
        resume: bool,
    ) -> None:
        net = self.network_
        self._convergence.tol, self._convergence.patience = self.tol, self.n_iter_no_change
        if not (incremental and hasattr(self, "_rates")):
            betas = self.beta_1, self.beta_2
            optimizer = update_rule(self.solver, self.momentum, self.nesterovs_momentum, betas, self.epsilon)
            schedule = self.learning_rate if self.solver == "sgd" else "constant"
            self._rates = Rates(optimizer, self.learning_rate_init, schedule, self.power_t)
            net.snapshot = _started_anew(net.snapshot)
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.early_stopping and held is None:
            training, validating = self._split(targets, random_state)
            if len(validating) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
                )
            held = tuple(_rows(part, validating) for part in (x, targets, sample_weight))
            x, targets, sample_weight = (_rows(part, training) for part in (x, targets, sample_weight))
        if held is not None and self.validation_scores_ is None:
            self.validation_scores_, self.best_validation_score_ = [], -np.inf
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
            net.specification, examples, batch_size, self._rates.optimizer, self.shuffle, {}, {}, {}, columns, segment
        )
        score = None
        if held is not None:
            kept, (_, asked, weights) = self._examples(*held), held
            stays = self._home is not None
            compared = (kept.arrays[1], *(kept.arrays[2:] or (None,))) if stays else (asked, weights)

            def score() -> float:
                outputs = evaluation.outputs(net.snapshot, net.device, kept.arrays[0])
                with net.device.scope():
                    return self._validation_score(compared[0], outputs if stays else to_numpy(outputs), compared[1])

        checkpoint = None if incremental else as_checkpoint(self.checkpoint, resume)
        order = Order(random_state)
        follower = Follower(
            self,
            self._convergence,
            self._rates,
            order,
            n,
            plan.steps,
            score,
            incremental=incremental,
            remembers=checkpoint is not None,
        )
        if score is not None and self.early_stopping and first:
            follower.best = net.snapshot  # later, what was best before counts by its score alone, as in scikit-learn
        epochs = 1 if incremental else self.max_iter
        own = runner(order, self._rates, self.alpha, self._output()[4])
        self.n_iter_ = 0
        following = [follower, *as_callbacks(self.callbacks)]
        try:
            run_plan(net, plan, epochs, following, checkpoint, resume, self.engine, own)
        except KeyboardInterrupt as stopped:
            if isinstance(stopped, TrainingInterrupted) and stopped.signal != signal.SIGINT:
                raise
            warnings.warn("Training interrupted by user.", stacklevel=caller_level())
        if follower.best is not None:
            net.snapshot = net.snapshot.with_parameters_of(follower.best.blocks)

    def _split(self, targets: Array, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """The rows to train with and those to validate with."""
        stratify = targets.astype(bool) if is_classifier(self) and self.n_outputs_ == 1 else None
        rows, how = np.arange(int(targets.shape[0])), {"test_size": self.validation_fraction, "stratify": stratify}
        with config_context(skip_parameter_validation=True):  # its name is not that of the user's parameter
            parts = train_test_split(rows, random_state=random_state, **how)
        return parts[0], parts[1]

    def _outputs(self, X: Any, method: str) -> tuple[Array, Device | None]:
        """The outputs (n, outputs) for inputs that scikit-learn checks first, and where they lie: None for NumPy.

        On NumPy they have the dtype that inputs and network have in common, unless the user has named one.
        """
        check_is_fitted(self)
        x = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        home, net = home_of(x), self.network_
        check_home(home, self._home, f"{type(self).__name__}.{method}")
        rows = _as_inputs(moved(as_rows("X", x) if is_sparse(x) else x, net.device, net.dtype), net)
        outputs = answer(evaluation.outputs(net.snapshot, net.device, rows), home)
        if home is None and self.dtype is None:
            outputs = outputs.astype(np.result_type(options.dtype_name(x.dtype), outputs.dtype), copy=False)
        return outputs, home

    def __sklearn_array_api_convert__(self, converter: Any) -> "BaseMultilayerPerceptron":
        """What scikit-learn moves to where `converter` brings an array."""
        there: BaseMultilayerPerceptron = clone(self)
        state: Any = self.__getstate__()
        state = dict(state)
        if hasattr(self, "network_"):
            placed = converter(self.network_.biases[0])
            state["network_"] = self.network_.copy().to(Device.of(placed))
            state |= {"_home": None if is_host(placed) else Device.of(placed), "_handed_out": None}
        there.__setstate__(state)
        return there

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags


def takes_steps(estimator: Any) -> bool:
    """Whether an estimator has `partial_fit`; scikit-learn's reason if it has not."""
    if estimator.solver not in _STOCHASTIC:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


def _as_inputs(rows: Any, net: Network) -> Any:
    """Rows (n, features) as the network takes them; images have their shape."""
    shape = net.input_shape
    if len(shape) == 1:
        return rows
    if isinstance(rows, Rows):
        return rows.reshaped(shape)
    with net.device.scope():
        return net.device.xp.reshape(rows, (rows.shape[0], *shape))


def _rows(x: Any, rows: np.ndarray) -> Any:
    """Some rows of an array, or of a sparse matrix; None of None."""
    if x is None or is_host(x) or is_sparse(x):
        return None if x is None else x[rows]
    return taken(x, rows, Device.of(x))


def _with_params(snapshot: Snapshot, params: Any) -> Snapshot:
    return snapshot._replace(blocks=(snapshot.blocks[0]._replace(params=params),))


def _started_anew(snapshot: Snapshot) -> Snapshot:
    return snapshot._replace(blocks=(snapshot.blocks[0]._replace(optimizer_state=None),))
