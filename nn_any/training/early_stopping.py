"""EarlyStopping: ends a run when nothing gets better any more."""

import math
from collections.abc import Iterable
from typing import Any, NoReturn

from nn_any.core import options
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.options import closest
from nn_any.core.schedules.directions import higher_is_better, monitored_value
from nn_any.core.state import Snapshot
from nn_any.files import name_tensors
from nn_any.training.run import Callback, TrainingRun
from nn_any.training.states import with_tensors


class EarlyStopping(Callback):
    """Ends a run when a measure has not become better for a while, and goes back to the best weights.

    Parameters
    ----------
    monitor : str
        A column of the history: ``"validation_loss"``, ``"validation_accuracy"``, ``"loss"``.
    patience : int
        After so many epochs without a better value the run ends.
    min_delta : float
        What a value must be better by, to count.
    mode : {"min", "max"}, optional
        Whether smaller or larger is better. If not given, a metric of the library is known, and a function of your own
        may have an attribute `higher_is_better`; the run is refused for other columns.
    restore_best : bool
        Whether the network ends with the weights of its best epoch.

    Attributes
    ----------
    best, best_epoch : float, int
        The best value of the last run, and the epoch it came from.

    Examples
    --------
    >>> import nn_any as nn
    >>> training, validation, test = nn.datasets.load_digits("cpu")
    >>> net = nn.Network([64, 30, 10], initializer="scaled_normal", device="cpu", seed=0)
    >>> stopping = EarlyStopping("validation_accuracy", patience=3)
    >>> history = net.fit(training, epochs=100, batch_size=10, optimizer=nn.SGD(3.0), validation_data=validation,
    ...                   callbacks=[stopping])
    >>> len(history) == stopping.best_epoch + 3
    True
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        if not isinstance(monitor, str):
            raise InvalidTypeError(f"monitor: expected the name of a column of the history, got {monitor!r}")
        self.monitor = monitor
        self.patience = options.integer("patience", patience)
        self.min_delta = options.number("min_delta", min_delta)
        self.mode = None if mode is None else options.choice("mode", mode, "min", "max")
        self.restore_best = options.flag("restore_best", restore_best)
        self._best_snapshot: Snapshot | None = None

    def on_train_begin(self, run: TrainingRun) -> None:
        """Look whether the run has the data that are monitored, and forget what an earlier run found."""
        data = self.monitor.partition("_")[0] + "_"
        if data in ("validation_", "test_", "training_") and not any(name.startswith(data) for name in run.columns):
            self._refuse(run.columns)
        self._up = self._is_up(run)
        self.best = -math.inf if self._up else math.inf
        self.best_epoch, self._best_snapshot, self._waited = run.network.epoch, None, 0

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Compare, and end the run if it has waited long enough."""
        if self.monitor not in run.record:  # another callback might have put it there
            self._refuse(run.record)
        value = monitored_value(run.record, self.monitor)
        gain = value - self.best if self._up else self.best - value
        if gain > self.min_delta:
            self.best, self.best_epoch, self._waited = value, run.record["epoch"], 0
            self._best_snapshot = run.network.snapshot if self.restore_best else None
        else:
            self._waited += 1
            run.stop = run.stop or self._waited >= self.patience

    def state(self) -> dict[str, Any]:
        """The best value and epoch, how long it has waited, and the best weights."""
        kept: dict[str, Any] = {"best": self.best, "best_epoch": self.best_epoch, "waited": self._waited}
        kept |= {"monitor": self.monitor, "up": self._up}
        return kept | (name_tensors(self._best_snapshot) if self._best_snapshot is not None else {})

    def restore(self, run: TrainingRun, state: dict[str, Any]) -> None:
        """Go on waiting from there."""
        self.best, self.best_epoch, self._waited = (state.pop(name) for name in ("best", "best_epoch", "waited"))
        its = state.pop("monitor", self.monitor), state.pop("up", self._up)  # files of version 0.1.0 have neither
        if its != (mine := (self.monitor, self._up)):
            one, other = (f"{name!r}, mode {'max' if up else 'min'!r}" for name, up in (its, mine))
            raise InvalidValueError(
                f"monitor: expected that of the checkpoint, {one}, got {other}; use the same, or another checkpoint"
            )
        if state:
            self._best_snapshot = with_tensors("checkpoint", run.network.snapshot, run.network.device, state)

    def _is_up(self, run: TrainingRun) -> bool:
        """Whether higher is better."""
        if self.mode is not None:
            return self.mode == "max"
        return higher_is_better(self.monitor, run.directions, columns=run.columns)

    def _refuse(self, columns: Iterable[str]) -> NoReturn:
        recorded = list(columns)
        raise InvalidValueError(
            f"monitor: expected one of {', '.join(recorded)}, got {self.monitor!r}; "
            f"for validation_… give fit validation_data{closest(self.monitor, recorded)}"
        )

    def on_train_end(self, run: TrainingRun) -> None:
        """Put the best weights back."""
        if self._best_snapshot is not None:
            run.network.copy_from(self._best_snapshot)
            self._best_snapshot = None
