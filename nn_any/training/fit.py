"""The parts of fit: a plan of what is asked for, once it is checked, and the run of its epochs."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any
from weakref import WeakSet

from nn_any import evaluation
from nn_any import metrics as measures
from nn_any.backends import Engine
from nn_any.core import functional, options
from nn_any.core.errors import InvalidTypeError, InvalidValueError, NetworkBusyError, prefix_errors
from nn_any.core.optimizers import SGD, Adam, Optimizer
from nn_any.core.specification import Specification
from nn_any.core.state import Record, Snapshot
from nn_any.datasets.network_input import own_examples
from nn_any.training.checkpoint import Checkpoint
from nn_any.training.history import History
from nn_any.training.loop import run_epochs
from nn_any.training.measured import with_measurements
from nn_any.training.members import MEMBERS, with_member_records
from nn_any.training.mini_batch import MINI_BATCHES
from nn_any.training.plan import EpochRunner, Plan
from nn_any.training.run import Callback, Trainable, TrainingRun
from nn_any.training.segments import segment_length
from nn_any.training.states import with_optimizer
from nn_any.training.whole_batch import WHOLE_BATCH

_BATCH_SIZE = 32
"""How many examples a step takes if nobody says."""


def usual_optimizer(specification: Specification) -> Optimizer:
    """The optimizer of a run that names none: Adam, or plain SGD for an ensemble with learning rates of its own."""
    members = specification.members
    if members is not None and members.learning_rates is not None:
        return SGD(members.learning_rates[0])
    return Adam()


def make_plan(
    network: Trainable,
    specification: Specification,
    training_data: Any,
    evaluated_data: Mapping[str, Any],
    batch_size: int | None,
    optimizer: Optimizer,
    shuffle: bool,
    metrics: Iterable[measures.Metric],
) -> Plan:
    """Check what a run is given, move the data to the device, and settle what the run needs.

    The specification is the network's, with the schema of the training data. `evaluated_data` are evaluated after each
    epoch unless None; their columns in the history begin with their names.
    """
    _check_optimizer(optimizer)
    device = network.device
    if not optimizer.whole_batch:  # those compute on the host in float64
        options.check_held(optimizer, specification.dtype)
    shuffle = options.flag("shuffle", shuffle)
    functions = measures.resolve(metrics, specification.task, specification.outputs)
    examples = own_examples(specification, device, "training_data", training_data, training=True)
    batch_size = _batch_size(batch_size, optimizer, examples.size)
    evaluated = {}
    for name, data in evaluated_data.items():
        if data is not None:
            with prefix_errors(f"{name}_data"):
                evaluated[name] = own_examples(specification, device, f"{name}_data", data)
    if not any(functional.trainable_params(specification.layers, network.snapshot.blocks[0].params)):
        raise InvalidValueError(
            "layers: expected at least one to train, got none or only frozen ones; use net.unfreeze()"
        )
    if functions and not evaluated:
        raise InvalidValueError("metrics: expected data to measure as well, got none; give validation_data")
    names = ["loss", *([] if specification.is_regression else ["correct", "accuracy"]), *functions]
    columns = ["epoch", "loss", "learning_rate", "seconds"]
    columns += [f"{name}_{measure}" for name in evaluated for measure in names]
    directions = measures.directions(functions)
    optimizer = optimizer.begin(columns, directions)
    seen = {f"{name}_data": data for name, data in evaluated.items()} | {"training_data": examples}
    evaluation.warn_of_unclear_targets(specification, device, seen)
    work = batch_size * specification.multiplications(network.snapshot.blocks[0].params)
    segment = segment_length(examples.size // batch_size, work, device)
    return Plan(
        specification, examples, batch_size, optimizer, shuffle, evaluated, functions, directions, columns, segment
    )


def run_plan(
    network: Trainable,
    plan: Plan,
    epochs: int,
    callbacks: list[Callback],
    checkpoint: Checkpoint | None,
    resume: bool,
    engine: str,
    runner: EpochRunner | None = None,
) -> History:
    """Run the epochs; if anything refuses the run before the first of them, the network is as it was.

    `runner` trains the epochs, by default as the optimizer and the network want it.
    """
    device, specification = network.device, plan.specification
    if runner is None:
        runner = WHOLE_BATCH if plan.optimizer.whole_batch else MINI_BATCHES
        runner = runner if specification.members is None else MEMBERS
    engines = network.training_engines(engine)
    history = History(engines[0].name, str(device))
    before: list[Snapshot] = [network.snapshot]
    own: list[Snapshot] = []  # what the run itself assigned last
    start = with_optimizer(network.snapshot._replace(specification=plan.specification), plan.optimizer)
    if checkpoint is not None:
        settings = {
            "optimizer": repr(plan.optimizer),
            "batch_size": plan.batch_size,
            "shuffle": plan.shuffle,
            "examples": plan.examples.size,
        }
        if not options.dtype_name(plan.examples.arrays[0].dtype).startswith("float"):
            settings["scale"] = plan.examples.prepare.scale
        start = checkpoint.open(start, device, settings, plan, epochs, callbacks, resume)
        callbacks = [*callbacks, checkpoint]
    run = TrainingRun(network, history, epochs, plan.columns, callbacks, plan.directions)

    def train_epoch(pause: Callable[[], None]) -> None:
        before.clear()  # nothing is refused from here on, and the old parameters can be freed
        if (given := network.snapshot) is not own.pop():  # a callback's may have measured nothing, and know no names
            named = given.specification.with_schema(plan.specification.schema)
            network.snapshot = with_measurements(given._replace(specification=named), device, plan.examples)
        _train_epoch(run, runner, engines, plan, pause)
        own.append(network.snapshot)

    try:
        if epochs:
            start = with_measurements(start, device, plan.examples)
        network.snapshot = runner.begin(start, device, plan)
        own.append(network.snapshot)
        del start  # so that old arrays can be freed
        run_epochs(run, train_epoch, lambda: runner.is_finished(network.snapshot))
    except BaseException:
        if not run.begun:  # a callback has refused
            network.snapshot = before[0]
        raise
    finally:
        if checkpoint is not None:
            checkpoint.close()
    return history


def _train_epoch(
    run: TrainingRun, runner: EpochRunner, engines: list[Engine], plan: Plan, pause: Callable[[], None]
) -> None:
    """Train one epoch, evaluate, and add the record to the history and to the network's progress."""
    network, history = run.network, run.history
    record: Record = {"epoch": network.snapshot.progress.epoch + 1}
    record |= _trained_epoch(network, runner, engines, plan, pause)
    history.engine = engines[0].name
    history.compile_seconds = sum(one.compile_seconds for one in engines)
    try:
        for name, examples in plan.evaluated.items():
            record |= evaluation.record(name, network.snapshot, network.device, examples, plan.metrics)
    except BaseException:  # the epoch itself is done: what was not measured is NaN
        record |= {name: math.nan for name in plan.columns if name not in record}
        raise
    finally:
        progress = network.snapshot.progress
        progress = replace(progress, records=progress.records.and_then(record))
        if progress.members:
            progress = with_member_records(progress, record)
        network.snapshot = network.snapshot._replace(progress=progress)
        history.append(record)


def _trained_epoch(
    network: Trainable, runner: EpochRunner, engines: list[Engine], plan: Plan, pause: Callable[[], None]
) -> Record:
    """Train one epoch and assign the network's snapshot at each pause; return the epoch's record."""
    earlier = network.snapshot.progress.unfinished
    goes_on = earlier is not None and earlier.fits(plan.examples.size, plan.batch_size, plan.shuffle)
    seconds = earlier.seconds if earlier is not None and goes_on else 0.0
    while True:
        # a callback may have assigned a snapshot with another optimizer
        given, begun = (network.device, engines, plan), time.perf_counter()
        for snapshot, record in runner.run_epoch(with_optimizer(network.snapshot, plan.optimizer), *given):
            seconds += time.perf_counter() - begun
            if (unfinished := snapshot.progress.unfinished) is not None:
                progress = replace(snapshot.progress, unfinished=unfinished._replace(seconds=seconds))
                snapshot = snapshot._replace(progress=progress)
            network.snapshot = snapshot
            if record is not None:
                return record | {"seconds": seconds}
            pause()
            begun = time.perf_counter()
            if (changed := network.snapshot) is not snapshot:  # by a callback: the epoch goes on from there
                changed = with_measurements(changed, network.device, plan.examples)
                changed = with_optimizer(changed, plan.optimizer)  # before the next line: it begins an epoch anew
                progress = replace(changed.progress, unfinished=snapshot.progress.unfinished)
                network.snapshot = changed._replace(progress=progress)
                break


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise InvalidTypeError(f"optimizer: expected an Optimizer such as nn_any.SGD(0.5), got {optimizer!r}")
    if type(optimizer).__hash__ is None:
        raise InvalidTypeError(f"optimizer: expected a hashable one, got {optimizer!r}; make it a frozen dataclass")


def _batch_size(batch_size: int | None, optimizer: Optimizer, examples: int) -> int:
    """How many examples a step takes."""
    if optimizer.whole_batch and batch_size is None:
        return examples
    batch_size = _BATCH_SIZE if batch_size is None else options.integer("batch_size", batch_size)
    if optimizer.whole_batch and batch_size < examples:
        raise InvalidValueError(
            f"batch_size: expected all {examples} examples for {optimizer!r}, got {batch_size}; leave it out"
        )
    return batch_size


def as_checkpoint(checkpoint: Any, resume: bool) -> Checkpoint | None:
    """What writes the checkpoint of one run, if there is to be one."""
    options.flag("resume", resume)
    if checkpoint is None:
        if resume:
            raise InvalidValueError("resume: expected a checkpoint to resume from, got none; pass checkpoint=PATH")
        return None
    return checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


_busy, _busy_lock = WeakSet[Any](), Lock()


@contextmanager
def only_run(network: Any) -> Iterator[None]:
    """Refuse another run of the same network, from another thread or from a callback, with a NetworkBusyError."""
    with _busy_lock:
        if network in _busy:
            raise NetworkBusyError(
                "network: expected one that is not being trained, got one that another call of fit is training; "
                "wait for it to end, or train or move a copy: net.copy()"
            )
        _busy.add(network)
    try:
        yield
    finally:
        with _busy_lock:
            _busy.discard(network)
