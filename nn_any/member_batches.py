"""Training an ensemble in mini-batches: blocks of members, each with its own order, rate and weight decay."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from nn_any.backends import Engine, to_numpy
from nn_any.backends.blocks import run_blocks
from nn_any.core import functional, members, random
from nn_any.core.batches import Preparation
from nn_any.core.optimizers import Optimizer
from nn_any.core.optimizers.members import OwnDecays
from nn_any.core.trees import tree_map
from nn_any.core.typing import Array, Batch, Carry
from nn_any.differentiation import REMEDY
from nn_any.training import TrainingDivergedError, run_epoch

_logger = logging.getLogger("nn_any")

Ran = tuple[Carry, np.ndarray, np.ndarray]
"""What an epoch leaves of a block: its carry, the losses (steps, members), and which members stayed finite."""


class MemberBatches:
    """Epochs of steps of all members of an ensemble that are still training.

    A member that diverges goes back to its state from before the epoch, and stays there.

    Parameters
    ----------
    ensemble : Ensemble
        Its parameters move with every epoch.
    optimizer : Optimizer
        The one that ``ensemble.optimizers`` are made from.
    engines : list of Engine
        One a block.
    columns, prepare : the data on the device, and how their rows become reals
    batch_size : int
    shuffle : bool
    """

    def __init__(
        self,
        ensemble: Any,
        optimizer: Optimizer,
        engines: list[Engine],
        columns: Batch,
        prepare: Preparation,
        batch_size: int,
        shuffle: bool,
    ) -> None:
        self._ensemble, self._engines, self._columns = ensemble, engines, columns
        self._batch_size, self._shuffle = batch_size, shuffle
        self._n = int(columns[0].shape[0])
        self._steps = -(-self._n // batch_size)
        self._rule = optimizer.rule()
        if ensemble.weight_decays is not None:
            self._rule = OwnDecays(self._rule)
        self._step = functional.train_step(ensemble.layers, ensemble._loss, self._rule, prepare)
        ensemble._rates(self._next_rates())

    def _next_rates(self) -> np.ndarray:
        """Each member's learning rates in the next epoch: (steps, m)."""
        ensemble = self._ensemble
        each = zip(ensemble.optimizers, ensemble._member_records, strict=True)
        rates = [optimizer.rates(len(records), self._steps, records) for optimizer, records in each]
        return np.stack(rates, axis=1)

    def check_columns(self, columns: list[str]) -> None:
        """Raise if the schedule monitors what the history will not hold."""
        self._ensemble.optimizers[0].rates(1, self._steps, [dict.fromkeys(columns, 0.0)])

    def finished(self) -> np.ndarray:
        """Which members train no more, for they diverged or their schedule has ended: (m,), bool."""
        ensemble = self._ensemble
        each = zip(ensemble.optimizers, ensemble._member_records, strict=True)
        over = [optimizer.finished(records) for optimizer, records in each]
        resting: np.ndarray = np.logical_or(over, ensemble.diverged)
        return resting

    def epoch(self) -> dict[str, np.ndarray]:
        """One epoch: each member's loss, averaged over the examples, and last learning rate, NaN where it rested."""
        ensemble = self._ensemble
        self._renew_state()
        training = ~self.finished()
        rates = np.where(training, self._next_rates(), 0.0)
        device_rates = ensemble._rates(rates)
        blocks = ensemble._places
        at_work = [i for i, block in enumerate(blocks) if training[block].any()]
        jobs = [self._job(i, blocks[i], device_rates[:, blocks[i]], training[blocks[i]]) for i in at_work]
        carries, losses, healthy = list(ensemble._carries), np.full((self._steps, len(training)), np.nan), ~training
        for i, ran in zip(at_work, run_blocks(ensemble.device, jobs, ensemble.threads), strict=True):
            carries[i], losses[:, blocks[i]], healthy[blocks[i]] = ran
        ensemble._carries = carries
        trained = training & healthy
        self._settle(trained, training & ~healthy, rates)
        weights = np.full(self._steps, self._batch_size)
        weights[-1] = self._n - self._batch_size * (self._steps - 1)
        averages = np.average(losses, axis=0, weights=weights)
        return {
            "loss": np.where(trained, averages, np.nan),
            "learning_rate": np.where(trained, rates[-1], np.nan),
        }

    def _job(self, i: int, block: slice, rates: Array, training: np.ndarray) -> Callable[[], Ran]:
        """An epoch of one block; those of its members that rest, or that diverge, stay as they were."""
        device, old = self._ensemble.device, self._ensemble._carries[i]

        def run() -> Ran:
            order = self._orders(block)
            engine, size = self._engines[i], self._batch_size
            carry, losses = run_epoch(device, engine, self._step, old, self._columns, order, rates, size)
            healthy = np.isfinite(losses).all(axis=0) & to_numpy(
                device.engine.compile(members.members_finite)(carry[0])
            )
            if not (keep := healthy & training).all():
                carry = device.engine.compile(members.choose)(device.asarray(keep), carry, old)
            return carry, losses, healthy | ~training

        return run

    def _orders(self, block: slice) -> np.ndarray:
        """Each member's order of the examples in its next epoch: (members, n)."""

        def draw(seed: int, epoch: int) -> np.ndarray:
            return random.epoch_order(seed, epoch, self._n, shuffle=self._shuffle).astype("int32")

        streams = self._ensemble.seeds[block], self._ensemble.epochs[block]
        if len(self._engines) > 1:  # the blocks have threads of their own
            return np.stack(list(map(draw, *streams)))
        with ThreadPoolExecutor() as pool:  # NumPy lets go of Python's lock, and a thousand orders take a second
            return np.stack(list(pool.map(draw, *streams)))

    def _settle(self, trained: np.ndarray, lost: np.ndarray, rates: np.ndarray) -> None:
        """Count the epoch for those that trained, and tell those that diverged from then on."""
        ensemble = self._ensemble
        ensemble.epochs = tuple(epoch + int(did) for epoch, did in zip(ensemble.epochs, trained, strict=True))
        ensemble.diverged = ensemble.diverged | lost
        for i in np.flatnonzero(lost):
            _logger.info("member %d has diverged in its epoch %d and rests", i, ensemble.epochs[i] + 1)
        if trained.any():
            ensemble.epoch, ensemble.steps = ensemble.epoch + 1, ensemble.steps + self._steps
        if ensemble.diverged.all():
            raise TrainingDivergedError(
                f"all {len(lost)} members have diverged, the last of them in epoch {ensemble.epoch + 1} at learning "
                f"rate {rates[-1, lost].min():g}; each keeps its weights from before that. {REMEDY}"
            )

    def _renew_state(self) -> None:
        """The optimiser's first state, if it is a new one, or other layers are frozen now."""
        ensemble = self._ensemble
        if ensemble._stale:
            ensemble._carries = [self._fresh(carry, i) for i, carry in enumerate(ensemble._carries)]
            ensemble._stale = False

    def _fresh(self, carry: Carry, i: int) -> Carry:
        """A block's carry with the optimiser's first state, member by member and then side by side."""
        ensemble, xp = self._ensemble, self._ensemble.device.xp
        moving = functional.trained(ensemble.layers, carry[0])
        base = self._rule.base if isinstance(self._rule, OwnDecays) else self._rule
        first = ensemble.device.engine.compile(base.init)
        size = ensemble._sizes[i]
        states = [first(tree_map(lambda leaf, k=k: leaf[k, ...], moving)) for k in range(size)]
        with ensemble.device.scope():
            state = tree_map(lambda *leaves: xp.stack(leaves), *states)
        if isinstance(self._rule, OwnDecays):
            decays = np.asarray(ensemble.weight_decays[ensemble._places[i]])
            state = (ensemble.device.asarray(decays, ensemble.dtype), state)
        return (*carry[:2], state, *carry[3:])
