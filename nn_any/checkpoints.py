"""Checkpoints: where a training run stands, in a file, so that it can go on as if nothing had happened."""

import json
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nn_any import validation as check
from nn_any.backends import to_numpy
from nn_any.callbacks import Callback
from nn_any.core.errors import InvalidTypeError, InvalidValueError, ModelFileError
from nn_any.core.schedules.monitoring import grows
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.files import load_model, save_model
from nn_any.training import TrainingRun

_PARTS = ("settings", "history", "stop", "best", "callbacks", "records", "stale", "partial")


class Checkpoint:
    """When and where `fit` writes down where it stands.

    The file is a model file that `Network.load` reads, with the optimiser's state, the place in the epoch, the history
    and what the callbacks remember beside it. It is written whole or not at all; if that fails, the old one stays,
    training goes on, and a warning says why.

    Parameters
    ----------
    path : path
        The last state. An existing file is replaced, or taken up if `fit` is told to resume.
    every : int
        Write after so many epochs. It is also written when the run ends, early or not.
    every_steps : int, optional
        Write after about so many steps as well: at the next pause between segments of steps.
    best : str, optional
        A column of the history, such as ``"validation_loss"``: its best epoch's state is kept beside the last one, in
        ``NAME-best.safetensors``.
    keep_every : int, optional
        Keep the state after each so many epochs, in ``NAME-epoch0010.safetensors``.

    Examples
    --------
    >>> Checkpoint("run.safetensors", best="validation_loss", keep_every=10)
    Checkpoint('run.safetensors', every=1, every_steps=None, best='validation_loss', keep_every=10)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        every_steps: int | None = None,
        best: str | None = None,
        keep_every: int | None = None,
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise InvalidTypeError(f"checkpoint: expected a path, or a Checkpoint, got {path!r}")
        self.path = Path(path)
        self.every = check.check_integer("every", every, minimum=1)
        self.every_steps = None if every_steps is None else check.check_integer("every_steps", every_steps, minimum=1)
        self.keep_every = None if keep_every is None else check.check_integer("keep_every", keep_every, minimum=1)
        if not (best is None or isinstance(best, str)):
            raise InvalidTypeError(f"best: expected the name of a column of the history, or None, got {best!r}")
        self.best = best
        self.ready = False
        """Whether the run has begun, or gone on: before that the file is not touched."""
        self._settings: dict[str, Any] = {}  # what a run must have in common with the one it takes up
        self._training: dict[str, Any] | None = None  # what there is to take up
        self._tensors: dict[str, np.ndarray] = {}
        self._best_value = math.nan
        self._saved_at = 0

    def __repr__(self) -> str:
        names = ("every", "every_steps", "best", "keep_every")
        return f"Checkpoint({str(self.path)!r}, {', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    # what a run calls

    def open(
        self,
        network: Any,
        settings: dict[str, Any],
        columns: Sequence[str],
        callbacks: Sequence[Callback],
        resume: bool,
    ) -> None:
        """Look whether the file can be written; let the network take up what is in it, if that is wanted.

        `settings` are what a run must have in common with the one it takes up.

        Raises
        ------
        ValueError, FileNotFoundError
            If the run cannot be that of the file, or there is no such folder or column; nothing has changed then.
        """
        self.ready, self._training, self._tensors = False, None, {}
        self._settings = json.loads(json.dumps(settings))
        if not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(f"checkpoint: expected a folder, found none; make {self.path.absolute().parent}")
        if self.best is not None and self.best not in columns:
            raise InvalidValueError(f"best: expected one of {', '.join(columns)}, got {self.best!r}")
        if " at 0x" in settings["optimizer"]:
            raise InvalidValueError(
                "optimizer: expected one whose text is the same in every process, to tell a run from another by, "
                f"got {settings['optimizer']}; make it, or its schedule, a frozen dataclass"
            )
        if resume and self.path.exists():
            about, self._tensors = load_model(self.path)
            try:
                self._training = self._check(network, about, callbacks)
                network._take_up(self.path, about, self._tensors, self._training)
            except (LookupError, TypeError, AttributeError) as error:
                raise ModelFileError(
                    f"{self.path}: expected a checkpoint, got one whose parts do not fit together "
                    f"({type(error).__name__}: {error!s:.300}); use another copy"
                ) from error

    def begin(self, run: TrainingRun, callbacks: Sequence[Callback]) -> None:
        """Give history and callbacks what the file has of them."""
        self._best_value, self._saved_at = math.nan, run.network.steps
        if self._training is not None:
            states = self._training["callbacks"]
            for i, (callback, kept) in enumerate(zip(_remembering(callbacks), states, strict=True)):
                prefix = f"callback.{i}."
                arrays = {name.removeprefix(prefix): a for name, a in self._tensors.items() if name.startswith(prefix)}
                callback.restore(run, {name: value for name, value in kept.items() if name != "type"} | arrays)
            run.history.records.extend(self._training["history"])
            run.stop, self._best_value = self._training["stop"], self._training["best"]
        self._training, self._tensors, self.ready = None, {}, True

    def between(self, run: TrainingRun, callbacks: Sequence[Callback]) -> None:
        """Write if enough steps were taken since the last time."""
        if self.every_steps is not None and run.network.steps - self._saved_at >= self.every_steps:
            self.save(run, callbacks)

    def after_epoch(self, run: TrainingRun, callbacks: Sequence[Callback]) -> None:
        """Write what the epoch that has just ended calls for."""
        done, epoch = len(run.history), run.record["epoch"]
        if self.best is not None:
            value = run.record[self.best]
            better = value > self._best_value if grows(self.best) else value < self._best_value
            if (better or math.isnan(self._best_value)) and self._write(run, callbacks, self._beside("best")):
                self._best_value = value
        if self.keep_every is not None and epoch % self.keep_every == 0:
            self._write(run, callbacks, self._beside(f"epoch{epoch:04d}"))
        if (
            done % self.every == 0 or done == run.epochs or run.stop
        ):  # last, so that it tells of nothing that is not there
            self.save(run, callbacks)

    def save(self, run: TrainingRun, callbacks: Sequence[Callback]) -> None:
        """Write the last state."""
        self._write(run, callbacks, self.path)
        self._saved_at = run.network.steps

    # the file

    def _beside(self, what: str) -> Path:
        return self.path.with_name(f"{self.path.stem}-{what}{self.path.suffix}")

    def _write(self, run: TrainingRun, callbacks: Sequence[Callback], path: Path) -> bool:
        """Write a file; whether that went well."""
        network = run.network
        about, parts = network._training_state()
        tensors = {f"training.{name}": array for name, array in parts.items()}
        remembered = []
        for i, callback in enumerate(_remembering(callbacks)):
            kept = callback.state()
            arrays = {name: value for name, value in kept.items() if isinstance(value, np.ndarray)}
            tensors |= {f"callback.{i}.{name}": array for name, array in arrays.items()}
            rest = {name: value for name, value in kept.items() if name not in arrays}
            remembered.append({"type": type(callback).__name__, **rest})
        training = {
            "settings": self._settings,
            "history": run.history.records,
            "stop": run.stop,
            "best": self._best_value,
            "callbacks": remembered,
            **about,
        }
        plain = json.loads(json.dumps(training, default=_plain))
        try:
            save_model(path, {**network._description(), "training": plain}, network._tensors() | tensors)
        except (OSError, ValueError) as error:  # a full disk; or a history that is longer than a file may describe
            message = f"the checkpoint could not be written, training goes on: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            return False
        return True

    def _check(self, network: Any, about: dict[str, Any], callbacks: Sequence[Callback]) -> dict[str, Any]:
        """What the file says of its run, once it has shown to be this one."""
        training: Any = about.get("training")
        if not isinstance(training, dict):
            raise InvalidValueError(
                f"{self.path}: expected a checkpoint, got a model file without a training run's state"
            )
        for part in _PARTS:
            training[part]  # a KeyError before anything has changed
        mine = self._settings | _kind(json.loads(json.dumps(network._description())))
        its = training["settings"] | _kind(about)
        for name in mine | its:
            if mine.get(name) != its.get(name):
                raise InvalidValueError(
                    f"resume: expected {name} as in {self.path}, {its.get(name)!r}, got {mine.get(name)!r}; "
                    "use the same, or another checkpoint"
                )
        kinds = [kept["type"] for kept in training["callbacks"]]
        if kinds != (given := [type(callback).__name__ for callback in _remembering(callbacks)]):
            raise InvalidValueError(
                f"resume: expected the callbacks of {self.path}, {kinds}, got {given}; use the same"
            )
        return training


def _remembering(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks that have a state; the others may come and go."""
    return [callback for callback in callbacks if type(callback).state is not Callback.state]


def _kind(description: dict[str, Any]) -> dict[str, Any]:
    """What makes two networks trainable by one another's checkpoints."""
    kind = {name: description[name] for name in ("input_shape", "layers", "loss", "dtype")}
    if "ensemble" in description:
        members = description["ensemble"]
        kind |= {"members": len(members["seeds"])}
        kind |= {name: members[name] for name in ("learning_rates", "weight_decays")}
    return kind


def _plain(value: Any) -> Any:
    """A metric's result as JSON can hold it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def leaves(tree: Any, prefix: str) -> dict[str, np.ndarray]:
    """The arrays of a tree on the host, by their places."""
    return {f"{prefix}.{i}": to_numpy(leaf) for i, leaf in enumerate(tree_leaves(tree))}


def with_leaves(tree: Any, prefix: str, tensors: dict[str, np.ndarray]) -> Any:
    """A tree like `tree` of the arrays that `leaves` gave."""
    count = iter(range(10**9))

    def one(leaf: Any) -> np.ndarray:
        name = f"{prefix}.{next(count)}"
        if name not in tensors or tensors[name].shape != tuple(leaf.shape):
            raise InvalidValueError(f"checkpoint: expected an array {name} of shape {tuple(leaf.shape)}, found none")
        return tensors[name]

    return tree_map(one, tree)
