"""Checkpoints: where a run stands, in a file, so that it can go on as if nothing had happened."""

import json
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from nn_any.backends import Device, to_numpy
from nn_any.backends.blocks import join
from nn_any.core import functional, options
from nn_any.core.errors import InvalidTypeError, InvalidValueError, ModelFileError
from nn_any.core.optimizers import Optimizer
from nn_any.core.schedules.monitoring import higher_is_better
from nn_any.core.specification import HostParams, Specification
from nn_any.core.state import HostSnapshot, Records, Snapshot, UnfinishedEpoch
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.files import describe, find_params, load_model, name_tensors, read_description, save_model
from nn_any.training.run import Callback, TrainingRun
from nn_any.training.states import member_optimizers, placed_snapshot

_PARTS = ("settings", "history", "stop", "best", "callbacks", "records", "stale", "partial")
"""What a checkpoint holds of its run, as version 0.1.0 named it."""


class Checkpoint(Callback):
    """When and where `fit` writes down where it stands.

    The file is a model file that `Network.load` reads, with the optimizer's state, the place in the epoch, the history
    and what the callbacks remember. It is written whole or not at all; if that fails, the old one stays, training
    goes on, and a warning says why.

    Parameters
    ----------
    path : path
        The last state. An existing file is replaced, or is where the run starts if `fit` is told to resume.
    every : int
        Write after every so many epochs. The file is also written when the run ends, early or not.
    every_steps : int, optional
        Write after about every so many steps as well: at the next pause between segments of steps.
    best : str, optional
        A column of the history, such as ``"validation_loss"``: the state of its best epoch is kept beside the last
        one, in ``NAME-best.safetensors``.
    keep_every : int, optional
        Keep the state after every so many epochs, in ``NAME-epoch0010.safetensors``.

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
        self.every = options.integer("every", every)
        self.every_steps = None if every_steps is None else options.integer("every_steps", every_steps)
        self.keep_every = None if keep_every is None else options.integer("keep_every", keep_every)
        if not (best is None or isinstance(best, str)):
            raise InvalidTypeError(f"best: expected the name of a column of the history, or None, got {best!r}")
        self.best = best
        self.ready = False
        """Whether the run has begun, or goes on: before that the file is not touched."""
        self._settings: dict[str, Any] = {}  # what a run must have in common with the one that it continues
        self._opened = False
        self._found: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None  # the file's run and its tensors
        self._best_value = math.nan
        self._written_at = 0  # steps
        self._epochs_seen = 0

    def __repr__(self) -> str:
        names = ("every", "every_steps", "best", "keep_every")
        return f"Checkpoint({str(self.path)!r}, {', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def open(
        self,
        snapshot: Snapshot,
        device: Device,
        settings: dict[str, Any],
        columns: Sequence[str],
        callbacks: Sequence[Callback],
        resume: bool,
    ) -> Snapshot:
        """Check that the file can be written; return where the run starts: the file's snapshot if it is to resume.

        `snapshot` is the network with the optimizer of the run; `settings` are what a run must have in common with the
        one that it continues. ValueError or FileNotFoundError if the run cannot be the file's, or something is missing.
        """
        self.ready, self._opened, self._found = False, True, None
        self._settings = json.loads(json.dumps(settings))
        if not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(f"checkpoint: expected a folder, found none; make {self.path.absolute().parent}")
        if self.best is not None and self.best not in columns:
            raise InvalidValueError(f"best: expected one of {', '.join(columns)}, got {self.best!r}")
        if " at 0x" in settings["optimizer"]:
            raise InvalidValueError(
                "optimizer: expected one whose text is the same in every process, so that a run can be recognized, "
                f"got {settings['optimizer']}; make it, or its schedule, a frozen dataclass"
            )
        if not (resume and self.path.exists()):
            return snapshot
        about, tensors = load_model(self.path)
        try:
            self._found = self._check(snapshot, about, callbacks), tensors
            return _read_snapshot(self.path, snapshot, device, about, tensors)
        except (LookupError, TypeError, AttributeError) as error:
            raise ModelFileError(
                f"{self.path}: expected a checkpoint, got one whose parts do not fit together "
                f"({type(error).__name__}: {error!s:.300}); use another copy"
            ) from error

    def on_train_begin(self, run: TrainingRun) -> None:
        """Give history and callbacks what the file has of them."""
        if not self._opened:
            raise InvalidValueError(f"callbacks: expected no checkpoint, got {self!r}; pass it as fit(checkpoint=...)")
        self._best_value, self._written_at = math.nan, run.network.steps
        if self._found is not None:
            training, tensors = self._found
            for i, (callback, kept) in enumerate(zip(_with_state(run.callbacks), training["callbacks"], strict=True)):
                prefix = f"callback.{i}."
                arrays = {name.removeprefix(prefix): a for name, a in tensors.items() if name.startswith(prefix)}
                callback.restore(run, {name: value for name, value in kept.items() if name != "type"} | arrays)
            run.history.records.extend(training["history"])
            run.stop, self._best_value = training["stop"], training["best"]
        self._opened, self._found, self._epochs_seen, self.ready = False, None, len(run.history), True

    def on_pause(self, run: TrainingRun) -> None:
        """Write what the epoch that has just ended calls for, or the last state if enough steps were taken."""
        if len(run.history) > self._epochs_seen:
            self._epochs_seen = len(run.history)
            self._after_epoch(run)
        elif self.every_steps is not None and run.network.steps - self._written_at >= self.every_steps:
            self.save(run)

    def on_train_error(self, run: TrainingRun) -> None:
        """Write the last state, unless the run was refused."""
        if self.ready:
            self.save(run)

    def save(self, run: TrainingRun) -> None:
        """Write the last state."""
        self._write(run, self.path)
        self._written_at = run.network.steps

    def _after_epoch(self, run: TrainingRun) -> None:
        done, epoch = len(run.history), run.record["epoch"]
        if self.best is not None:
            value = run.record[self.best]
            better = value > self._best_value if higher_is_better(self.best) else value < self._best_value
            if (better or math.isnan(self._best_value)) and self._write(run, self._beside("best")):
                self._best_value = value
        if self.keep_every is not None and epoch % self.keep_every == 0:
            self._write(run, self._beside(f"epoch{epoch:04d}"))
        if done % self.every == 0 or done == run.epochs or run.stop:  # last, so that it names no file that is missing
            self.save(run)

    def _beside(self, what: str) -> Path:
        return self.path.with_name(f"{self.path.stem}-{what}{self.path.suffix}")

    def _write(self, run: TrainingRun, path: Path) -> bool:
        """Write a file; whether that went well."""
        snapshot: Snapshot = run.network.snapshot
        about, arrays = _describe_training(snapshot, run.network.device)
        tensors = {f"training.{name}": array for name, array in arrays.items()}
        remembered = []
        for i, callback in enumerate(_with_state(run.callbacks)):
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
        as_json = json.loads(json.dumps(training, default=_to_json))
        try:
            save_model(path, {**describe(snapshot), "training": as_json}, name_tensors(snapshot) | tensors)
        except (OSError, ValueError) as error:  # a full disk; or a history that is longer than a file may describe
            message = f"the checkpoint could not be written, training goes on: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            return False
        return True

    def _check(self, snapshot: Snapshot, about: dict[str, Any], callbacks: Sequence[Callback]) -> dict[str, Any]:
        """What the file says of its run, once it has turned out to be this one."""
        training: Any = about.get("training")
        if not isinstance(training, dict):
            raise InvalidValueError(
                f"{self.path}: expected a checkpoint, got a model file without a training run's state"
            )
        for part in _PARTS:
            training[part]  # a KeyError before anything has changed
        mine = self._settings | _kind(json.loads(json.dumps(describe(snapshot))))
        its = training["settings"] | _kind(about)
        for name in mine | its:
            if mine.get(name) != its.get(name):
                raise InvalidValueError(
                    f"resume: expected {name} as in {self.path}, {its.get(name)!r}, got {mine.get(name)!r}; "
                    "use the same, or another checkpoint"
                )
        kinds = [kept["type"] for kept in training["callbacks"]]
        if kinds != (given := [type(callback).__name__ for callback in _with_state(callbacks)]):
            raise InvalidValueError(
                f"resume: expected the callbacks of {self.path}, {kinds}, got {given}; use the same"
            )
        return training


def _with_state(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks that have a state; the others may come and go."""
    return [callback for callback in callbacks if type(callback).state is not Callback.state]


def _kind(description: dict[str, Any]) -> dict[str, Any]:
    """What two networks must have in common for one to go on from the other's checkpoint."""
    kind = {name: description[name] for name in ("input_shape", "layers", "loss", "dtype")}
    if "ensemble" in description:
        members = description["ensemble"]
        kind |= {"members": len(members["seeds"])}
        kind |= {name: members[name] for name in ("learning_rates", "weight_decays")}
    return kind


def _to_json(value: Any) -> Any:
    """A metric's result as JSON can hold it."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)


def _describe_training(snapshot: Snapshot, device: Device) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Where training stands beyond the weights: as JSON can hold it, and as arrays on the host."""
    progress, optimizer_state = snapshot.progress, join(device, snapshot.blocks).optimizer_state
    arrays = {f"optimizer.{i}": to_numpy(leaf) for i, leaf in enumerate(tree_leaves(optimizer_state))}
    about: dict[str, Any] = {"records": list(progress.records), "stale": optimizer_state is None, "partial": None}
    if (unfinished := progress.unfinished) is not None:
        about["partial"] = [unfinished.examples, unfinished.batch_size, unfinished.shuffle]
        arrays["losses"] = unfinished.losses
    if progress.line_search is not None:
        arrays |= {f"search.{name}": array for name, array in progress.line_search._asdict().items()}
    if progress.members:
        about["member_records"] = [list(member.records) for member in progress.members]
    return about, arrays


def _read_snapshot(
    path: Path, snapshot: Snapshot, device: Device, about: dict[str, Any], tensors: dict[str, np.ndarray]
) -> Snapshot:
    """The snapshot that a checkpoint holds, of a network like that of `snapshot`."""
    training = about["training"]
    its, progress = read_description(about)
    specification = snapshot.specification
    if specification.members is None or its.members is None:
        specification = replace(specification, seed=its.seed)
    else:
        specification = replace(specification, members=replace(specification.members, seeds=its.members.seeds))
    optimizer = snapshot.progress.optimizer
    assert optimizer is not None
    params, layer_state = find_params(path, specification, tensors)
    arrays = {name.removeprefix("training."): array for name, array in tensors.items() if name.startswith("training.")}
    progress = replace(progress, optimizer=optimizer, records=Records(training["records"]))
    if specification.members is not None:
        own = zip(
            progress.members, member_optimizers(specification, optimizer), training["member_records"], strict=True
        )
        members = [replace(member, optimizer=each, records=Records(records)) for member, each, records in own]
        progress = replace(progress, members=tuple(members))
    if training["partial"] is not None:
        examples, batch_size, shuffle = training["partial"]
        progress = replace(progress, unfinished=UnfinishedEpoch(examples, batch_size, shuffle, arrays["losses"]))
    if "search.x" in arrays:
        start = optimizer.start(arrays["search.x"])
        progress = replace(
            progress, line_search=start._replace(**{name: arrays[f"search.{name}"] for name in start._fields})
        )
    optimizer_state = None if training["stale"] else _optimizer_state(specification, optimizer, params, arrays)
    return placed_snapshot(HostSnapshot(specification, params, layer_state, progress, optimizer_state), device)


def _optimizer_state(
    specification: Specification, optimizer: Optimizer, params: HostParams, arrays: dict[str, np.ndarray]
) -> Any:
    """The optimizer's state among the arrays of a checkpoint, which `optimizer.init` says the structure of."""
    members = specification.members
    if members is not None:
        params = tree_map(lambda leaf: leaf[0, ...], params)
    first = optimizer.update_rule().init(functional.trainable_params(specification.layers, params))
    if members is not None:
        first = tree_map(lambda leaf: np.empty((len(members), *leaf.shape), np.uint8), first)
        if members.weight_decays is not None:
            first = np.empty(len(members), np.uint8), first
    places = count()

    def find(leaf: Any) -> np.ndarray:
        name = f"optimizer.{next(places)}"
        if name not in arrays or arrays[name].shape != tuple(leaf.shape):
            raise InvalidValueError(f"checkpoint: expected an array {name} of shape {tuple(leaf.shape)}, found none")
        return arrays[name]

    return tree_map(find, first)
