"""Epochs of a network: steps along the gradients of one mini-batch each."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nn_any.backends import Device, Engine
from nn_any.core import evaluation as pure
from nn_any.core import functional, random
from nn_any.core.errors import OutOfMemoryError, TrainingDivergedError
from nn_any.core.state import Progress, Snapshot, TrainState, UnfinishedEpoch
from nn_any.training.plan import EpochRunner, Pauses, Plan, check_schedule, place_rates
from nn_any.training.segments import batch_sizes, run_segments
from nn_any.training.states import update_rule, with_optimizer_state

_ACTIVATIONS = 3
"""Training holds about three times the activations of a batch: their errors and what else leads back through them."""


def begin(snapshot: Snapshot, device: Device, plan: Plan) -> Snapshot:
    """The snapshot itself, once the learning rates and what they depend on have been checked."""
    place_rates(_learning_rates(snapshot.progress, plan), device, snapshot.specification.dtype)
    check_schedule(plan.optimizer, plan)
    return snapshot


def run_epoch(snapshot: Snapshot, device: Device, engines: list[Engine], plan: Plan) -> Pauses:
    """Train one epoch, or the rest of one that was interrupted.

    The record has the loss, averaged over the examples, each taken before its step, and the last learning rate.
    """
    snapshot = with_optimizer_state(snapshot, device)
    specification, progress = snapshot.specification, snapshot.progress
    update = update_rule(specification, plan.optimizer)
    step = functional.train_step(specification.layers, specification.loss, update, plan.examples.prepare)
    n = plan.examples.size
    kind = n, plan.batch_size, plan.shuffle
    rates = _learning_rates(progress, plan)
    unfinished = progress.unfinished
    losses = unfinished.losses if unfinished is not None and unfinished.fits(*kind) else np.empty(0)
    all_finite = device.engine.compile(pure.all_finite)
    segments = run_segments(
        device,
        engines[0],
        step,
        snapshot.blocks[0],
        plan.examples.arrays,
        random.epoch_order(specification.seed, progress.epoch, n, shuffle=plan.shuffle),
        place_rates(rates, device, specification.dtype),
        plan.batch_size,
        lambda state: all_finite(pure.learned(specification.layers, state)),
        begin=len(losses),
        length=plan.segment,
    )
    for state, values, sound in _within_memory(segments, snapshot, device, plan):
        _check_finite(bool(sound), values, rates, len(losses), progress.epoch + 1)
        losses = np.concatenate([losses, values])
        steps, record = progress.steps + len(values), None
        if len(losses) < plan.steps:
            progress = replace(progress, steps=steps, unfinished=UnfinishedEpoch(*kind, losses))
        else:
            progress = replace(progress, steps=steps, epoch=progress.epoch + 1, unfinished=None)
            loss = np.average(losses, weights=batch_sizes(n, plan.batch_size))
            record = {"loss": float(loss), "learning_rate": float(rates[-1])}
        snapshot = Snapshot(specification, (state,), progress)
        yield snapshot, record


def is_finished(snapshot: Snapshot) -> bool:
    """Whether the schedule says that training should end."""
    progress = snapshot.progress
    return progress.optimizer is not None and progress.optimizer.finished(progress.records)


MINI_BATCHES = EpochRunner(begin, run_epoch, is_finished)


def _learning_rates(progress: Progress, plan: Plan) -> np.ndarray:
    """The learning rates of the next epoch, (steps,)."""
    return plan.optimizer.rates(len(progress.records), plan.steps, progress.records)


def _within_memory(
    segments: Iterator[tuple[TrainState, np.ndarray, np.ndarray]], snapshot: Snapshot, device: Device, plan: Plan
) -> Iterator[tuple[TrainState, np.ndarray, np.ndarray]]:
    """The segments; if memory runs out, an error that says how much a batch takes and what fits."""
    specification, epoch = snapshot.specification, snapshot.progress.epoch + 1
    del snapshot  # its arrays may be freed while the epoch runs
    try:
        yield from segments
    except Exception as error:
        if not device.is_out_of_memory(error):
            raise
        example = _ACTIVATIONS * specification.footprint * np.dtype(specification.dtype).itemsize
        needed, free = example * plan.batch_size, device.free_memory()
        remedy = "use a smaller batch_size"
        if free is not None:
            fitting = max(1, min(free // example, plan.batch_size // 2))
            remedy = f"{free / 1e6:,.0f} MB are free now, so batch_size={fitting} should fit"
        raise OutOfMemoryError(
            f"{device} ran out of memory in epoch {epoch}: a batch of {plan.batch_size} takes about "
            f"{needed / 1e6:,.0f} MB beside data and weights; {remedy}. The weights are those from before"
        ) from error


def _check_finite(sound: bool, losses: np.ndarray, rates: np.ndarray, before: int, epoch: int) -> None:
    """Raise an error unless the losses of a segment, after `before` batches, are finite, and its state is `sound`."""
    finite = np.isfinite(losses)
    if not finite.all():
        batch = before + int(np.argmin(finite))
        raise TrainingDivergedError(
            f"the loss became {losses[batch - before]} in epoch {epoch}, batch {batch + 1} of {len(rates)}, at "
            f"learning rate {rates[batch]:g}; the weights from {_moment(before)} are kept"
        )
    if not sound:
        raise TrainingDivergedError(
            f"weights or running averages became infinite or NaN in epoch {epoch}; "
            f"those from {_moment(before)} are kept"
        )


def _moment(batches: int) -> str:
    return f"after its batch {batches}" if batches else "before that epoch"
