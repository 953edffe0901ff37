"""Checkpoints: where a run stands, in a file, so that it can go on as if nothing had happened."""

import json
import logging
import math
import os
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from nn_any.backends import Device, to_numpy
from nn_any.backends.blocks import join
from nn_any.core import functional, options
from nn_any.core.errors import InvalidTypeError, InvalidValueError, ModelFileError, caller_level
from nn_any.core.optimizers import Optimizer
from nn_any.core.options import closest
from nn_any.core.schedules.directions import higher_is_better, monitored_value
from nn_any.core.specification import HostParams, Specification
from nn_any.core.state import HostSnapshot, Records, Snapshot, UnfinishedEpoch
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.files import claim, describe, find_params, load_model, name_tensors, read_description, save_model
from nn_any.training.plan import Plan
from nn_any.training.run import Callback, TrainingRun
from nn_any.training.states import member_optimizers, placed_snapshot

_logger = logging.getLogger("nn_any")

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
        The last state. If the file exists, the run starts there if `fit` is told to resume, and else is refused.
    every : int
        Write after every so many epochs. The file is also written when the run ends, early or not.
    every_steps : int, optional
        Write after about every so many steps as well: at the next pause between segments of steps.
    best : str, optional
        A column of the history, such as ``"validation_loss"``: the state of its best epoch is kept beside the last
        one, in ``NAME-best.safetensors``.
    mode : {"min", "max"}, optional
        Whether smaller or larger values of that column are better, as for `EarlyStopping`.
    keep_every : int, optional
        Keep the state after every so many epochs, in ``NAME-epoch0010.safetensors``.
    overwrite : bool
        Let a run that begins replace the checkpoints of another one, at `path` and beside it. Files that are no
        checkpoints are never replaced. What the new run does not write again stays.

    Attributes
    ----------
    start : str or None
        Where a resumed run takes up, in words.

    Examples
    --------
    >>> Checkpoint("run.safetensors", best="validation_loss", keep_every=10)
    Checkpoint('run.safetensors', every=1, every_steps=None, best='validation_loss', keep_every=10, overwrite=False)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        every_steps: int | None = None,
        best: str | None = None,
        mode: str | None = None,
        keep_every: int | None = None,
        overwrite: bool = False,
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
        self.mode = None if mode is None else options.choice("mode", mode, "min", "max")
        self.overwrite = options.flag("overwrite", overwrite)
        self.start: str | None = None
        self.ready = False
        """Whether the run has begun, or goes on: before that the file is not touched."""
        self._settings: dict[str, Any] = {}  # what a run must have in common with the one that it continues
        self._opened = False
        self._found: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None  # the file's run and its tensors
        self._best_value, self._up = math.nan, False
        self._written_at = 0  # steps
        self._epochs_seen = 0
        self._release: Callable[[], None] | None = None

    def __repr__(self) -> str:
        names = ("every", "every_steps", "best", "keep_every", "overwrite")
        return f"Checkpoint({str(self.path)!r}, {', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def open(
        self,
        snapshot: Snapshot,
        device: Device,
        settings: dict[str, Any],
        plan: Plan,
        epochs: int,
        callbacks: Sequence[Callback],
        resume: bool,
    ) -> Snapshot:
        """Check that the file can be written; return where the run starts: the file's snapshot if it is to resume.

        `snapshot` is the network with the optimizer of the run; `settings` are what a run must have in common with the
        one that it continues. ValueError or FileNotFoundError if the run cannot be the file's, or something is missing.
        Nobody else can open the file until `close` is called.
        """
        folder = self.path.absolute().parent
        if not folder.is_dir():
            raise FileNotFoundError(f"checkpoint: expected a folder, found none; make {folder}")
        release = claim(self.path)
        if release is None:
            raise InvalidValueError(
                f"checkpoint: expected a file that no other run writes, got {self.path}, which one is writing; wait "
                "for it to end, or choose another path"
            )
        self._release = release
        with ExitStack() as refused:
            refused.callback(self.close)
            self.ready, self._opened, self._found, self.start = False, True, None, None
            self._settings = json.loads(json.dumps(settings))
            self._check_run(plan, resume)
            if resume and self.path.exists():
                snapshot = self._read(snapshot, device, epochs, plan.steps, callbacks)
            refused.pop_all()
        return snapshot

    def close(self) -> None:
        """Let others open the file."""
        if self._release is not None:
            self._release()
        self._release, self._found = None, None

    def in_the_way(self, resume: bool) -> Path | None:
        """A file that a run would replace unasked, if there is one.

        Raises
        ------
        ValueError
            If what stands in a file's place is no checkpoint.
        """
        goes_on = resume and self.path.exists()
        beside = [] if self.best is None else [self._beside("best")]
        for path in (self.path, *beside):
            if path.is_dir():
                raise InvalidValueError(
                    f"checkpoint: expected a file, got the folder {path}; name a file in it, such as "
                    f"{path / 'run.safetensors'}"
                )
            replaced = path != self.path if goes_on else self.overwrite
            if replaced and path.exists() and not _is_checkpoint(path):
                raise InvalidValueError(
                    f"checkpoint: expected no file or a checkpoint, got {path}, which is none; choose another path"
                )
        if goes_on or self.overwrite:
            return None
        numbered = re.compile(re.escape(f"{self.path.stem}-epoch") + r"\d{4,}" + re.escape(self.path.suffix))
        folder = self.path.absolute().parent
        kept = [] if self.keep_every is None else filter(numbered.fullmatch, sorted(os.listdir(folder)))
        return next((path for path in (self.path, *beside, *map(folder.joinpath, kept)) if path.exists()), None)

    def _check_run(self, plan: Plan, resume: bool) -> None:
        """The run records what is monitored, can be recognized, and replaces no file unasked."""
        if self.best is not None and self.best not in plan.columns:
            near = closest(self.best, plan.columns)
            raise InvalidValueError(f"best: expected one of {', '.join(plan.columns)}, got {self.best!r}{near}")
        if self.best is not None:
            up = self.mode == "max" if self.mode else higher_is_better(self.best, plan.directions, name="best")
            self._up = up
        if " at 0x" in (optimizer := self._settings["optimizer"]):
            raise InvalidValueError(
                "optimizer: expected one whose text is the same in every process, so that a run can be recognized, "
                f"got {optimizer}; make it, or its schedule, a frozen dataclass"
            )
        if (path := self.in_the_way(resume)) is not None:
            raise InvalidValueError(
                f"checkpoint: expected a path where nothing is, got {path}, which is there already; say resume=True to "
                "go on with its run, or nn_any.Checkpoint(..., overwrite=True) to replace it, or choose another path"
            )

    def _read(
        self, snapshot: Snapshot, device: Device, epochs: int, steps: int, callbacks: Sequence[Callback]
    ) -> Snapshot:
        """The file's snapshot, once its run has turned out to be this one."""
        about, tensors = load_model(self.path)
        try:
            self._found = self._check(snapshot, about, callbacks), tensors
            self.start = self._describe_start(*self._found, epochs, steps)
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
            order = training.get("columns", run.columns)  # the file's text is sorted; version 0.1.0 has no order
            for record in training["history"]:
                run.history.append(
                    {name: _from_json(name, record[name]) for name in (*order, *record) if name in record}
                )
            run.stop = training["stop"]
            if training.get("best_of", best_of := [self.best, self._up]) == best_of:  # version 0.1.0 has none
                self._best_value = training["best"]
            _logger.info("%s", self.start)
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
            value = monitored_value(run.record, self.best, name="best")
            better = value > self._best_value if self._up else value < self._best_value
            if (better or math.isnan(self._best_value)) and self._write(run, self._beside("best")):
                self._best_value = value
        if self.keep_every is not None and epoch % self.keep_every == 0:
            self._write(run, self._beside(f"epoch{epoch:04d}"))
        if done % self.every == 0 or done == run.epochs or run.stop:  # last, so that it names no file that is missing
            self.save(run)

    def _describe_start(self, training: dict[str, Any], tensors: dict[str, np.ndarray], epochs: int, steps: int) -> str:
        done = len(training["history"])
        if training["stop"] and done < epochs:
            return f"{self.path}: the run ended by itself after epoch {done}, so nothing is left to do"
        if done >= epochs:
            return f"{self.path}: all {epochs} epochs are done; to go on, ask for more (epochs=, --epochs)"
        taken = 0 if training["partial"] is None else len(tensors["training.losses"])
        return f"{self.path}: resumes at epoch {done + 1} of {epochs}, batch {taken + 1} of {steps}"

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
            "columns": run.history.columns,
            "stop": run.stop,
            "best": self._best_value,
            "best_of": [self.best, self._up],
            "callbacks": remembered,
            **about,
        }
        as_json = json.loads(json.dumps(training, default=_to_json))
        try:
            save_model(path, {**describe(snapshot), "training": as_json}, name_tensors(snapshot) | tensors)
        except (OSError, ValueError) as error:  # a full disk; or a history that is longer than a file may describe
            message = f"the checkpoint could not be written, training goes on: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=caller_level())
            return False
        return True

    def _check(self, snapshot: Snapshot, about: dict[str, Any], callbacks: Sequence[Callback]) -> dict[str, Any]:
        """What the file says of its run, once it has turned out to be this one."""
        training: Any = about.get("training")
        if not isinstance(training, dict):
            raise InvalidValueError(
                f"{self.path}: expected a checkpoint, got a model file without a training run's state; train on from "
                f"nn_any.{'Ensemble' if 'ensemble' in about else 'Network'}.load, with another path for the checkpoint"
            )
        for part in _PARTS:
            training[part]  # a KeyError before anything has changed
        own = json.loads(json.dumps(describe(snapshot)))
        mine, its = self._settings | _kind(own), training["settings"] | _kind(about)
        if not ("scale" in mine and "scale" in its):  # real numbers have none, and older files do not say
            mine.pop("scale", None), its.pop("scale", None)
        schemas = own.get("schema", {}), about.get("schema", {})
        columns = () if snapshot.specification.task == "classification" else ("target_names",)
        for name in ("scale", "class_names", "feature_names", *columns):
            if all(name in schema for schema in schemas):  # older files have none
                mine[name], its[name] = (schema[name] for schema in schemas)
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


def _is_checkpoint(path: Path) -> bool:
    try:
        return isinstance(load_model(path)[0].get("training"), dict)
    except (FileNotFoundError, ModelFileError):
        return False


def _with_state(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks that have a state; the others may come and go."""
    return [callback for callback in callbacks if type(callback).state is not Callback.state]


def _kind(description: dict[str, Any]) -> dict[str, Any]:
    """What two networks must have in common for one to go on from the other's checkpoint."""
    kind = {name: description.get(name) for name in ("input_shape", "layers", "loss", "task", "dtype")}
    if "ensemble" in description:
        members = description["ensemble"]
        kind |= {"members": len(members["seeds"])}
        kind |= {name: members[name] for name in ("learning_rates", "weight_decays")}
    return kind


def _to_json(value: Any) -> Any:
    """A metric's result as JSON can hold it."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)


def _from_json(column: str, value: Any) -> Any:
    """What a column of the history has had, from JSON: a list is an array, but for numbers of an ensemble's members."""
    return np.asarray(value) if isinstance(value, list) and not column.startswith("member_") else value


def _describe_training(snapshot: Snapshot, device: Device) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Where training stands beyond the weights: as JSON can hold it, and as arrays on the host."""
    progress, optimizer_state = snapshot.progress, join(device, snapshot.blocks).optimizer_state
    arrays = {f"optimizer.{i}": to_numpy(leaf) for i, leaf in enumerate(tree_leaves(optimizer_state))}
    about: dict[str, Any] = {"records": list(progress.records), "stale": optimizer_state is None, "partial": None}
    if (unfinished := progress.unfinished) is not None:
        about["partial"] = [unfinished.examples, unfinished.batch_size, unfinished.shuffle]
        about["partial_seconds"] = unfinished.seconds
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
    known = {name: value for name, value in vars(snapshot.specification.schema).items() if value is not None}
    specification = snapshot.specification.with_schema(replace(its.schema, **known))
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
        seconds = training.get("partial_seconds", 0.0)  # version 0.1.0 has none
        unfinished = UnfinishedEpoch(examples, batch_size, shuffle, arrays["losses"], seconds)
        progress = replace(progress, unfinished=unfinished)
    if "search.x" in arrays:
        start = optimizer.start(arrays["search.x"])
        progress = replace(
            progress, line_search=start._replace(**{name: arrays[f"search.{name}"] for name in start._fields})
        )
    optimizer_state = None if training["stale"] else _optimizer_state(path, specification, optimizer, params, arrays)
    return placed_snapshot(HostSnapshot(specification, params, layer_state, progress, optimizer_state), device)


def _optimizer_state(
    path: Path, specification: Specification, optimizer: Optimizer, params: HostParams, arrays: dict[str, np.ndarray]
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
            raise ModelFileError(
                f"{path}: expected an array {name} of shape {tuple(leaf.shape)} for {optimizer!r}, found none; use "
                "another copy"
            )
        return arrays[name]

    return tree_map(find, first)
