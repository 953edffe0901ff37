"""Epochs of mini-batches as scikit-learn's solvers "sgd" and "adam" take them: orders, rates, and when they end."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nn_any import evaluation
from nn_any.backends import Device, Engine
from nn_any.core.optimizers import Optimizer
from nn_any.core.state import Snapshot
from nn_any.estimators.rules import AdamRule, SGDRule
from nn_any.estimators.steps import Measure, solver_step
from nn_any.training.plan import EpochRunner, Pauses, Plan, place_rates
from nn_any.training.segments import batch_sizes, run_segments
from nn_any.training.states import with_optimizer_state

_SMALLEST_RATE = 1e-6
"""Where scikit-learn's adaptive learning rate ends."""


@dataclass
class Rates:
    """The learning rates of a solver, step by step, as scikit-learn's optimizers have them.

    Attributes
    ----------
    schedule : str
        ``"constant"``, ``"invscaling"`` or ``"adaptive"``; for Adam ``"constant"``.
    rate : float
        The rate of the next epoch.
    updates : int
        How many steps were taken, which corrects the bias of Adam.
    """

    optimizer: Optimizer
    initial: float
    schedule: str = "constant"
    power: float = 0.5
    rate: float = field(init=False)
    updates: int = 0

    def __post_init__(self) -> None:
        self.rate = self.initial

    def of_epoch(self, steps: int) -> np.ndarray:
        """The rates of the steps of the next epoch: float64, (steps,)."""
        if not isinstance(self.optimizer, AdamRule):
            return np.full(steps, self.rate)
        t = self.updates + 1 + np.arange(steps)
        rates: np.ndarray = self.initial * np.sqrt(1 - self.optimizer.beta_2**t) / (1 - self.optimizer.beta_1**t)
        return rates

    def end_epoch(self, steps: int, examples_seen: int) -> None:
        """Count the steps, and lower the rate if it is scaled by the examples seen so far."""
        self.updates += steps
        if self.schedule == "invscaling":
            self.rate = self.initial / (examples_seen + 1) ** self.power

    def state(self) -> dict[str, float]:
        """What a checkpoint is to remember of it."""
        return {"rate": self.rate, "updates": self.updates}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` has left off."""
        self.rate, self.updates = state["rate"], state["updates"]

    def stop_or_lower(self) -> str | None:
        """What happens when the loss improves no more: None if the solver ends, else what to say of the new rate."""
        if self.schedule != "adaptive" or self.rate <= _SMALLEST_RATE:
            return None
        self.rate /= 5.0
        return f"Setting learning rate to {self.rate:f}"


def update_rule(solver: str, momentum: float, nesterov: bool, betas: tuple[float, float], epsilon: float) -> Optimizer:
    """How a solver moves the weights."""
    return SGDRule(momentum, nesterov) if solver == "sgd" else AdamRule(*betas, epsilon)


class Order:
    """The order of the examples, which each epoch shuffles further, as scikit-learn does.

    Parameters
    ----------
    random_state : numpy.random.RandomState
        What all draws come from.
    """

    def __init__(self, random_state: np.random.RandomState) -> None:
        self._random_state, self._rows = random_state, np.arange(0)

    def begin(self, n: int) -> None:
        """Put n examples into their own order."""
        self._rows = np.arange(n, dtype=int)

    def draw(self, *, shuffled: bool) -> np.ndarray:
        """The order of the next epoch, integers (n,)."""
        if shuffled:
            moves = np.arange(len(self._rows))
            self._random_state.shuffle(moves)
            self._rows = self._rows[moves]
        return self._rows

    def state(self) -> dict[str, Any]:
        """What a checkpoint is to remember of it."""
        given: Any = self._random_state.get_state()
        name, words, *drawn = given
        return {"order": self._rows, "generator": words.astype("int64"), "drawn": [name, *drawn]}

    def restore(self, order: np.ndarray, generator: np.ndarray, drawn: list[Any]) -> None:
        """Go on where `state` has left off."""
        self._rows = order
        self._random_state.set_state((drawn[0], generator.astype("uint32"), *drawn[1:]))


def runner(order: Order, rates: Rates, alpha: float, measure: Measure) -> EpochRunner:
    """What trains epochs; the orders of the examples are drawn as scikit-learn draws them, one after another."""

    def begin(snapshot: Snapshot, device: Device, plan: Plan) -> Snapshot:
        order.begin(plan.examples.size)
        return snapshot

    def run_epoch(snapshot: Snapshot, device: Device, engines: list[Engine], plan: Plan) -> Pauses:
        snapshot = with_optimizer_state(snapshot, device)
        specification, progress = snapshot.specification, snapshot.progress
        step = solver_step(
            specification.layers, specification.loss, rates.optimizer, plan.examples.prepare, alpha, measure
        )
        rows = order.draw(shuffled=plan.shuffle)
        of_epoch = rates.of_epoch(plan.steps)
        segments = run_segments(
            device,
            engines[0],
            step,
            snapshot.blocks[0],
            plan.examples.arrays,
            rows,
            place_rates(of_epoch, device, specification.dtype),
            plan.batch_size,
            lambda state: True,  # numbers that are not finite show in the loss of the next epoch, or at the end
        )
        ran = list(segments)
        losses = np.concatenate([values for _, values, _ in ran]).astype(np.float64)
        sizes = batch_sizes(plan.examples.size, plan.batch_size)
        loss = float(np.sum(losses * sizes)) / plan.examples.size
        # scikit-learn goes on from a loss that overflows
        sound = math.isfinite(loss) or evaluation.is_finite(device, ran[-1][0].params)
        progress = replace(progress, steps=progress.steps + plan.steps, epoch=progress.epoch + 1, unfinished=None)
        record = {"loss": loss, "learning_rate": float(of_epoch[-1]), "finite": sound}
        yield Snapshot(specification, (ran[-1][0],), progress), record

    return EpochRunner(begin, run_epoch, lambda snapshot: False)


@dataclass
class Convergence:
    """When scikit-learn's solvers have learned enough: after epochs that did not improve the loss, or the score.

    Attributes
    ----------
    misses : int
        How many epochs in a row did not improve by `tol`.
    best_loss, best_score : float
    """

    tol: float
    patience: float
    misses: int = 0
    best_loss: float = math.inf
    best_score: float = -math.inf

    def hear_loss(self, loss: float) -> None:
        """Count an epoch by its training loss."""
        self.misses = self.misses + 1 if loss > self.best_loss - self.tol else 0
        self.best_loss = min(self.best_loss, loss) if not math.isnan(loss) else self.best_loss

    def hear_score(self, score: float) -> bool:
        """Count an epoch by its validation score; whether it is the best."""
        self.misses = self.misses + 1 if score < self.best_score + self.tol else 0
        if best := score > self.best_score:
            self.best_score = score
        return best

    def state(self) -> dict[str, float]:
        """What a checkpoint is to remember of it."""
        return {"misses": self.misses, "best_loss": self.best_loss, "best_score": self.best_score}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` has left off."""
        self.misses, self.best_loss, self.best_score = state["misses"], state["best_loss"], state["best_score"]

    @property
    def is_over(self) -> bool:
        """Whether too many epochs have not improved."""
        return self.misses > self.patience


def as_random_state(random_state: Any) -> np.random.RandomState:
    """The generator that a parameter `random_state` means."""
    from sklearn.utils import check_random_state

    state: np.random.RandomState = check_random_state(random_state)
    return state
