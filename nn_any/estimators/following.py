"""What an estimator keeps of the epochs of its fit, and when the fit ends."""

import warnings
from collections.abc import Callable
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from nn_any.core.errors import caller_level
from nn_any.core.state import Snapshot
from nn_any.estimators.stochastic import Convergence, Order, Rates
from nn_any.files import name_tensors
from nn_any.training.run import Callback, TrainingRun
from nn_any.training.states import with_tensors

_CURVES = (
    "n_iter_",
    "t_",
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
)

_MAY_DIFFER = {"max_iter", "verbose", "warm_start", "device", "engine", "layers", "callbacks", "checkpoint"}
"""Parameters that a fit may have otherwise than the one that it resumes; layers are compared by the checkpoint."""


class Follower(Callback):
    """Keeps the curves of an estimator's fit, ends it as scikit-learn does, and remembers both for a checkpoint.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Its attributes, such as `loss_curve_`, grow with each epoch.
    convergence, rates, order
        What the solver knows of its course.
    n, steps : int
        How many examples and steps an epoch has.
    score : callable, optional
        The score of the validation set.
    incremental : bool
        Whether this is `partial_fit`, which ends after an epoch without a word.
    remembers : bool
        Whether there is a checkpoint to remember for.

    Attributes
    ----------
    best : Snapshot or None
        The network with the best score so far, where the fit stops early.
    """

    def __init__(
        self,
        estimator: Any,
        convergence: Convergence,
        rates: Rates,
        order: Order,
        n: int,
        steps: int,
        score: Callable[[], float] | None,
        *,
        incremental: bool,
        remembers: bool,
    ) -> None:
        self._estimator, self._n, self._steps, self._score = estimator, n, steps, score
        self._convergence, self._rates, self._order, self._incremental = convergence, rates, order, incremental
        self._remembers, self._kept = remembers, dict[str, Any]()
        self.best: Snapshot | None = None

    def on_train_begin(self, run: TrainingRun) -> None:
        """Remember where the fit begins."""
        self._remember()

    def state(self) -> dict[str, Any]:
        """What the estimator was after the last epoch."""
        return self._kept | (name_tensors(self.best) if self.best is not None else {})

    def restore(self, run: TrainingRun, state: dict[str, Any]) -> None:
        """Let the estimator be as it was."""
        own, mine = self._estimator, _settings(self._estimator)
        for name, its in state.pop("settings").items():
            if mine.get(name) != its:
                raise ValueError(
                    f"resume=True needs the parameters of the interrupted fit, {name}={its}, got {mine.get(name)}; "
                    "use the same, or another checkpoint"
                )
        if (state["validation_scores_"] is None) != (self._score is None):
            raise ValueError(
                "resume=True needs validation_data if the interrupted fit had it, and only then; use the same, or "
                "another checkpoint"
            )
        for name in _CURVES:
            setattr(own, name, state.pop(name))
        self._convergence.restore(state.pop("convergence"))
        self._rates.restore(state.pop("rates"))
        self._order.restore(state.pop("order"), state.pop("generator"), state.pop("drawn"))
        if state:
            self.best = with_tensors("checkpoint", run.network.snapshot, run.network.device, state)
        self._remember()

    def _remember(self) -> None:
        """Put down what a checkpoint needs; in mid-epoch the order has been drawn already."""
        if not self._remembers:
            return
        own = self._estimator
        kept = {name: getattr(own, name, None) for name in _CURVES}
        kept = {name: list(value) if isinstance(value, list) else value for name, value in kept.items()}
        self._kept = kept | self._order.state() | {"settings": _settings(own)}
        self._kept |= {"convergence": self._convergence.state(), "rates": self._rates.state()}

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Take down the epoch, and end the fit if it has learned enough."""
        self._hear(run)
        self._remember()

    def _hear(self, run: TrainingRun) -> None:
        own = self._estimator
        convergence, rates = self._convergence, self._rates
        loss = run.record["loss"]
        own.n_iter_ += 1
        own.loss_, own.t_ = loss, own.t_ + self._n
        own.loss_curve_.append(loss)
        if own.verbose:
            print(f"Iteration {own.n_iter_}, loss = {loss:.8f}")
        if self._score is not None:
            score = self._score()
            own.validation_scores_.append(score)
            if own.verbose:
                print(f"Validation score: {score:f}")
            if score > own.best_validation_score_:
                own.best_validation_score_ = score
        if own.early_stopping and self._score is not None:
            if convergence.hear_score(score):
                self.best = run.network.snapshot
        else:
            convergence.hear_loss(loss)
            own.best_loss_ = convergence.best_loss
        rates.end_epoch(self._steps, own.t_)
        if convergence.is_over:
            what = "Validation score" if own.early_stopping else "Training loss"
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


def _settings(estimator: Any) -> dict[str, str]:
    """The parameters that a fit must have in common with the one that it resumes."""
    return {name: repr(value) for name, value in estimator.get_params().items() if name not in _MAY_DIFFER}
