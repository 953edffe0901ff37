"""Trainable: what `Network` and `Ensemble` share: the calls that train, and what they check and lay out."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any, NamedTuple

from nn_any import metrics as scores
from nn_any import validation as check
from nn_any.backends import MODES, Engine
from nn_any.callbacks import Callback, Progress, as_callbacks
from nn_any.checkpoints import Checkpoint
from nn_any.core import functional, options
from nn_any.core.errors import InvalidTypeError, InvalidValueError, naming
from nn_any.core.lbfgs import LBFGS
from nn_any.core.optimizers import SGD, Optimizer
from nn_any.core.typing import Batch
from nn_any.datasets import as_dataset
from nn_any.history import History, Record
from nn_any.mini_batches import MiniBatches
from nn_any.resuming import Resumable
from nn_any.training import TrainingRun, exclusively, train
from nn_any.whole_batches import WholeBatches


class Plan(NamedTuple):
    """What a call of ``fit`` has checked and laid out before the first epoch."""

    columns: Batch
    prepare: Any
    batch_size: int
    optimizer: Optimizer
    tests: Mapping[str, tuple[Batch, Any]]
    metrics: Mapping[str, scores.Function]
    shuffle: bool
    engines: list[Engine]


Epoch = Callable[[Callable[[], None]], Record]
"""Runs an epoch, and calls what it is given between segments of steps."""


def _saver(checkpoint: Any, resume: bool) -> Checkpoint | None:
    """What writes the checkpoint of one run."""
    options.flag("resume", resume)
    if checkpoint is None:
        if resume:
            raise InvalidValueError("resume: expected a checkpoint to resume from, got none; pass checkpoint=PATH")
        return None
    return checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


class Trainable(Resumable):
    """What `Network` and `Ensemble` share: the calls that train, and what they check and lay out."""

    def SGD(  # noqa: N802 - the book's name
        self,
        training_data: Any,
        epochs: int,
        mini_batch_size: int,
        eta: float,
        test_data: Any = None,
        *,
        validation_data: Any = None,
        callbacks: Iterable[Any] = (),
        shuffle: bool = True,
        verbose: bool = False,
        engine: str = "auto",
    ) -> History:
        """Train by stochastic gradient descent with learning rate `eta`, as the book calls it.

        With `test_data` the history holds ``test_loss``, ``test_correct`` and ``test_accuracy`` after each epoch. The
        other arguments are those of `fit`.
        """
        evaluations = {"validation": validation_data, "test": test_data}
        return self._train(
            training_data,
            epochs,
            mini_batch_size,
            SGD(eta),
            evaluations,
            callbacks,
            shuffle=shuffle,
            verbose=verbose,
            engine=engine,
        )

    def fit(
        self,
        training_data: Any,
        *,
        epochs: int,
        batch_size: int | None = None,
        optimizer: Optimizer,
        validation_data: Any = None,
        test_data: Any = None,
        callbacks: Iterable[Any] = (),
        shuffle: bool = True,
        verbose: bool = False,
        engine: str = "auto",
        sample_weight: Any = None,
        class_weight: Any = None,
        metrics: Iterable[scores.Metric] = (),
        monitor_training: bool = False,
        checkpoint: Checkpoint | str | PathLike[str] | None = None,
        resume: bool = False,
    ) -> History:
        """Train.

        Parameters
        ----------
        training_data, validation_data, test_data : Dataset, tuple ``(x, y)`` of arrays, or iterable of pairs of columns
            Moved to the network's device once. After each epoch the validation and test data are evaluated.
        epochs : int
            How many more epochs; 0 does nothing. Epochs are counted through, so ``fit(epochs=2)`` and then
            ``fit(epochs=3)`` is the same as ``fit(epochs=5)``.
        batch_size : int
            Examples a step; the last batch of an epoch may be shorter. L-BFGS takes them all and wants none.
        optimizer : Optimizer
            Such as ``nn_any.SGD(learning_rate=0.5)`` or ``nn_any.Adam()``. Its state and its schedule go on unless
            another one is given.
        callbacks : iterable
            `Callback` instances, or functions of the `TrainingRun` that are called after each epoch.
        shuffle : bool
            Draw a new order each epoch, keyed by the seed and the epoch.
        verbose : bool
            Show progress on standard error.
        engine : {"auto", "eager", "compiled"}
            How the steps are run. ``"auto"``: replayed or compiled where that is quicker, else one by one; if they
            should be and cannot, a warning is logged that says why. ``"compiled"``: an `EngineError` instead of that.
            The history names what it was.
        sample_weight : array, (n,), optional
            How much each training example counts; only the proportions matter, for they are brought to a mean of 1.
        class_weight : dict, sequence (classes,), or "balanced", optional
            How much the training examples of each class count, as `Dataset.weighted` has it.
        metrics : iterable of str or function
            Further measures of the evaluated data, as `nn_any.metrics` has them: ``["f1", "top_5_accuracy"]``.
        monitor_training : bool
            Evaluate the training data as well after each epoch, as ``training_loss`` and ``training_accuracy``.
        checkpoint : path or Checkpoint, optional
            Where to write down, after each epoch and when the run ends, all that it takes to go on.
        resume : bool
            If the checkpoint's file is there, go on where it stands, to the very batch, until `epochs` epochs are done
            in all: the result is that of a run that was never interrupted. If there is none, begin.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            For bad arguments and bad data, before any weight changes.
        TrainingDivergedError
            If the loss stops being finite; the last finite weights are kept.
        TrainingInterrupted
            On Ctrl-C or SIGTERM, once the steps at hand are done and the checkpoint is written. It is a
            `KeyboardInterrupt`; the network has what was learnt.

        Examples
        --------
        >>> import nn_any as nn
        >>> net = nn.Network([2, 4, 1], device="cpu", seed=1)
        >>> history = net.fit(([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]), epochs=2000, batch_size=4,
        ...                   optimizer=nn.SGD(learning_rate=5.0))
        >>> net.predict([[0, 0], [0, 1], [1, 0], [1, 1]])
        array([0, 1, 1, 0], dtype=int32)
        """
        if not isinstance(optimizer, Optimizer):
            raise InvalidTypeError(f"optimizer: expected an Optimizer such as nn_any.SGD(0.5), got {optimizer!r}")
        if type(optimizer).__hash__ is None:
            raise InvalidTypeError(f"optimizer: expected a hashable one, got {optimizer!r}; make it a frozen dataclass")
        if monitor_training or sample_weight is not None or class_weight is not None:
            training_data = as_dataset("training_data", training_data, self.device, self.dtype)
        if sample_weight is not None or class_weight is not None:
            training_data = training_data.weighted(sample_weight, class_weight)
        training = training_data if monitor_training else None
        evaluations = {"training": training, "validation": validation_data, "test": test_data}
        return self._train(
            training_data,
            epochs,
            batch_size,
            optimizer,
            evaluations,
            callbacks,
            shuffle=shuffle,
            verbose=verbose,
            engine=engine,
            metrics=metrics,
            checkpoint=checkpoint,
            resume=resume,
        )

    @exclusively
    def _train(
        self,
        training_data: Any,
        epochs: int,
        batch_size: int | None,
        optimizer: Optimizer,
        evaluations: dict[str, Any],
        callbacks: Iterable[Any],
        *,
        shuffle: bool,
        verbose: bool,
        engine: str,
        metrics: Iterable[scores.Metric] = (),
        checkpoint: Checkpoint | str | PathLike[str] | None = None,
        resume: bool = False,
    ) -> History:
        epochs = check.check_integer("epochs", epochs, minimum=0)
        options.choice("engine", engine, *MODES)
        shuffle, verbose = options.flag("shuffle", shuffle), options.flag("verbose", verbose)
        watching: list[Callback] = as_callbacks(callbacks) + ([Progress()] if verbose else [])
        functions = scores.resolve(metrics, self.is_regression, self.outputs)
        columns, prepare, dataset = self._columns("training_data", training_data)
        if optimizer.whole_batch and batch_size is None:
            batch_size = len(dataset)
        batch_size = check.check_integer("batch_size", batch_size, minimum=1)
        if optimizer.whole_batch and batch_size < len(dataset):
            raise InvalidValueError(
                f"batch_size: expected all {len(dataset)} examples for {optimizer!r}, got {batch_size}; leave it out"
            )
        tests = {}
        for name, data in evaluations.items():
            if data is not None:
                with naming(f"{name}_data"):
                    tests[name] = self._columns(f"{name}_data", data)[:2]
        if not any(functional.trained(self.layers, self.params)):  # held by no name, lest old parameters stay
            raise InvalidValueError(
                "layers: expected at least one to train, got none or only frozen ones; use net.unfreeze()"
            )
        if functions and not tests:
            raise InvalidValueError("metrics: expected data to measure as well, got none; give validation_data")
        saver = _saver(checkpoint, resume)
        settings = {
            "optimizer": repr(optimizer),
            "batch_size": batch_size,
            "shuffle": shuffle,
            "examples": len(dataset),
        }
        engines = self._engines(engine)
        plan = Plan(columns, prepare, batch_size, optimizer, tests, functions, shuffle, engines)
        history = History(engines[0].name, str(self.device))
        before = dict(vars(self))
        if optimizer != self._optimizer:
            self._begin(optimizer)
        try:
            if saver is not None:
                saver.open(self, settings, self._history_columns(plan), watching, resume)
            one_epoch, finished = (self._whole_batches if optimizer.whole_batch else self._mini_batches)(plan)
        except Exception:  # refused: the optimiser that was there goes on as if nothing had been asked
            vars(self).update(before)
            raise

        def evaluated_epoch(pulse: Callable[[], None]) -> None:
            before.clear()  # nothing is refused from here on, and the old parameters may go
            start = time.perf_counter()
            record = {"epoch": self.epoch + 1, **one_epoch(pulse)}
            record["seconds"] = time.perf_counter() - start
            history.engine = engines[0].name
            history.compile_seconds = sum(one.compile_seconds for one in engines)
            try:
                for name, (test_columns, test_prepare) in tests.items():
                    record |= self._evaluation(name, test_columns, test_prepare, functions)
            except BaseException:  # the epoch itself is done: what was not measured is NaN
                record |= {name: math.nan for name in run.columns if name not in record}
                raise
            finally:
                self._keep(record)
                history.append(record)

        run = TrainingRun(self, history, epochs, self._history_columns(plan))
        try:
            return train(run, evaluated_epoch, watching, finished, saver)
        except BaseException:
            if not run.begun:  # a callback has refused
                vars(self).update(before)
            raise

    def _engines(self, mode: str) -> list[Engine]:
        """What runs the steps of this run."""
        return [self.device.training_engine(mode, self._compiled)]

    def _begin(self, optimizer: Optimizer) -> None:
        """Let another optimiser begin."""
        self._optimizer, self._records, self._search, self._stale = optimizer, [], None, True
        self._partial = None

    def _keep(self, record: Record) -> None:
        """Keep what is known of an epoch, for schedules that look at it."""
        self._records.append(record)

    def _history_columns(self, plan: Plan) -> list[str]:
        """The names of what the history will hold."""
        measures = ["loss", *([] if self.is_regression else ["correct", "accuracy"]), *plan.metrics]
        evaluated = [f"{name}_{measure}" for name in plan.tests for measure in measures]
        return ["epoch", "loss", "learning_rate", "seconds", *evaluated]

    def _whole_batches(self, plan: Plan) -> tuple[Epoch, Callable[[], bool]]:
        """What runs an iteration on all examples, and tells its loss; and what tells whether to end."""
        assert isinstance(plan.optimizer, LBFGS)
        search = WholeBatches(self, plan.optimizer, plan.columns, plan.prepare, self._search)

        def one_epoch(pulse: Callable[[], None]) -> Record:
            record = search.epoch()
            self._search = search.state
            return record

        return one_epoch, lambda: bool(search.state.converged)

    def _mini_batches(self, plan: Plan) -> tuple[Epoch, Callable[[], bool]]:
        """What runs an epoch of steps, and tells its loss and learning rate; and what tells whether to end."""
        batches = MiniBatches(
            self, plan.optimizer, plan.engines[0], plan.columns, plan.prepare, plan.batch_size, plan.shuffle
        )
        batches.check_columns(self._history_columns(plan))
        return batches.epoch, lambda: plan.optimizer.finished(self._records)
