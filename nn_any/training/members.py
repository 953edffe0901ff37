"""Epochs of an ensemble: blocks of members, each member with its own order, learning rate and weight decay."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from nn_any import evaluation
from nn_any.backends import Device, Engine
from nn_any.backends.blocks import run_blocks
from nn_any.core import functional, random
from nn_any.core import members as pure
from nn_any.core.errors import InvalidValueError, TrainingDivergedError
from nn_any.core.evaluation import learned
from nn_any.core.state import Progress, Record, Snapshot, TrainState
from nn_any.core.typing import Array
from nn_any.training.plan import EpochRunner, Pauses, Plan, check_schedule, place_rates
from nn_any.training.segments import batch_sizes, run_segments
from nn_any.training.states import block_slices, update_rule, with_optimizer_state

_logger = logging.getLogger("nn_any")

_DRAWN_TOGETHER = 32
"""How many orders a thread draws at a time, so that handing them over costs little."""


def begin(snapshot: Snapshot, device: Device, plan: Plan) -> Snapshot:
    """The snapshot itself, once the optimizer and the learning rates have been checked."""
    if plan.optimizer.whole_batch:
        raise InvalidValueError(
            f"optimizer: expected one that takes steps in mini-batches, got {plan.optimizer!r}; use nn_any.Adam()"
        )
    members = snapshot.progress.members
    place_rates(_learning_rates(snapshot.progress, plan), device, snapshot.specification.dtype)
    assert members[0].optimizer is not None
    check_schedule(members[0].optimizer, plan)
    _check_any_trains(snapshot.progress)
    return snapshot


def run_epoch(snapshot: Snapshot, device: Device, engines: list[Engine], plan: Plan) -> Pauses:
    """Train one epoch of all members that are still training; a member that diverges keeps its state from before it.

    The record has each member's loss and last learning rate, NaN where it rested, and their means.
    """
    _check_any_trains(snapshot.progress)
    snapshot = with_optimizer_state(snapshot, device)
    specification, progress = snapshot.specification, snapshot.progress
    update = update_rule(specification, plan.optimizer)
    step = functional.train_step(specification.layers, specification.loss, update, plan.examples.prepare)
    active = ~_resting(progress)
    rates = np.where(active, _learning_rates(progress, plan), 0.0)
    device_rates = place_rates(rates, device, specification.dtype)
    members_finite = device.engine.compile(pure.members_finite)
    own, slices = specification.members, block_slices(snapshot)
    assert own is not None

    def finite(state: TrainState) -> Array:
        """Which members are finite: (members,), bool."""
        found: Array = members_finite(learned(specification.layers, state))
        return found

    def train(i: int) -> tuple[TrainState, np.ndarray, np.ndarray]:
        """An epoch of block i: its state, the losses (steps, members), and which members are finite or rest."""
        old, members = snapshot.blocks[i], slices[i]
        order = _orders(own.seeds[members], progress.members[members], plan, threaded=len(engines) == 1)
        given = plan.examples.arrays, order, device_rates[:, members], plan.batch_size
        ran = list(run_segments(device, engines[i], step, old, *given, finite))
        (state, _, sound), losses = ran[-1], np.concatenate([values for _, values, _ in ran])
        healthy = np.isfinite(losses).all(axis=0) & sound
        if not (keep := healthy & active[members]).all():  # the others stay as they were
            state = device.engine.compile(pure.choose)(device.asarray(keep), state, old)
        return state, losses, healthy | ~active[members]

    busy = [i for i, members in enumerate(slices) if active[members].any()]
    blocks, losses, healthy = list(snapshot.blocks), np.full((plan.steps, len(active)), np.nan), ~active
    for i, ran in zip(busy, run_blocks(device, [partial(train, i) for i in busy], own.threads), strict=True):
        blocks[i], losses[:, slices[i]], healthy[slices[i]] = ran
    updated, lost = active & healthy, active & ~healthy
    progress = _count(progress, plan.steps, updated, lost)
    snapshot = Snapshot(specification, tuple(blocks), progress)
    if all(member.diverged for member in progress.members):
        yield snapshot, None
        raise TrainingDivergedError(
            f"all {len(active)} members have diverged, the last of them in epoch {progress.epoch + 1} at learning "
            f"rate {rates[-1, lost].min():g}; each keeps its weights from before that"
        )
    averages = np.average(losses, axis=0, weights=batch_sizes(plan.examples.size, plan.batch_size))
    found = {"loss": averages, "learning_rate": rates[-1]}
    columns = {name: np.where(updated, values, np.nan) for name, values in found.items()}
    yield snapshot, evaluation.member_record(columns, evaluation.diverged(snapshot))


def is_finished(snapshot: Snapshot) -> bool:
    """Whether no member trains any more."""
    return bool(_resting(snapshot.progress).all())


MEMBERS = EpochRunner(begin, run_epoch, is_finished)


def with_member_records(progress: Progress, record: Record) -> Progress:
    """The progress with what a record says of each member that trained, as its own history would have it."""
    names = [name for name in record if name.startswith("member_")]
    members = list(progress.members)
    for i, member in enumerate(members):
        if not np.isnan(record["member_loss"][i]):
            own = {name.removeprefix("member_"): record[name][i] for name in names}
            own = {"epoch": member.epoch, "seconds": record["seconds"], **own}
            members[i] = replace(member, records=member.records.and_then(own))
    return replace(progress, members=tuple(members))


def _check_any_trains(progress: Progress) -> None:
    if all(member.diverged for member in progress.members):
        raise TrainingDivergedError(
            f"all {len(progress.members)} members have diverged before, and rest; begin with a new ensemble"
        )


def _resting(progress: Progress) -> np.ndarray:
    """Which members train no more, since they have diverged or their schedule has ended: (m,), bool."""
    return np.array(
        [
            member.diverged or (member.optimizer is not None and member.optimizer.finished(member.records))
            for member in progress.members
        ]
    )


def _learning_rates(progress: Progress, plan: Plan) -> np.ndarray:
    """Each member's learning rates in the next epoch: (steps, m)."""
    rates = [
        member.optimizer.rates(len(member.records), plan.steps, member.records)
        for member in progress.members
        if member.optimizer is not None
    ]
    return np.stack(rates, axis=1)


def _orders(seeds: tuple[int, ...], members: tuple[Progress, ...], plan: Plan, *, threaded: bool) -> np.ndarray:
    """Each member's order of the examples in its next epoch: (members, n), int32."""
    n = plan.examples.size
    orders = np.empty((len(seeds), n), dtype="int32")

    def draw(first: int) -> None:
        for i in range(first, min(first + _DRAWN_TOGETHER, len(seeds))):
            orders[i] = random.epoch_order(seeds[i], members[i].epoch, n, shuffle=plan.shuffle)

    starts = range(0, len(seeds), _DRAWN_TOGETHER)
    if not threaded:  # the blocks have threads of their own
        list(map(draw, starts))
        return orders
    with ThreadPoolExecutor() as pool:  # NumPy releases Python's lock while it draws
        list(pool.map(draw, starts))
    return orders


def _count(progress: Progress, steps: int, updated: np.ndarray, lost: np.ndarray) -> Progress:
    """The progress after an epoch of the members that trained; those that were lost have diverged."""
    members = []
    for i, member in enumerate(progress.members):
        if lost[i]:
            _logger.info("member %d has diverged in its epoch %d and rests", i, member.epoch + 1)
            member = replace(member, diverged=True)
        elif updated[i]:
            member = replace(member, epoch=member.epoch + 1, steps=member.steps + steps)
        members.append(member)
    progress = replace(progress, members=tuple(members))
    if updated.any():
        progress = replace(progress, epoch=progress.epoch + 1, steps=progress.steps + steps)
    return progress
