"""Model: what a network and an ensemble have in common."""

import copy
from collections.abc import Iterable
from os import PathLike
from typing import Any, Self

from nn_any import evaluation
from nn_any import metrics as measures
from nn_any.backends import MODES, Device, Engine, ProgramCache, select_device, to_numpy
from nn_any.backends.blocks import block_engines, join
from nn_any.core import options
from nn_any.core.errors import InvalidIndexError, InvalidTypeError, InvalidValueError
from nn_any.core.layers import Layer
from nn_any.core.optimizers import SGD, Optimizer
from nn_any.core.schema import Schema
from nn_any.core.specification import Specification
from nn_any.core.state import Snapshot, TrainState
from nn_any.core.summary import parameter_count, shape_text
from nn_any.core.typing import Array, Params
from nn_any.datasets.network_input import (
    Examples,
    learned_schema,
    network_data,
    own_array,
    own_batch,
    own_examples,
    own_targets,
    plain_targets,
    preparation,
    weighted,
)
from nn_any.files import describe, name_tensors, save_model, save_onnx
from nn_any.training import Checkpoint, History
from nn_any.training import parameters as named_parameters
from nn_any.training.display import ProgressDisplay
from nn_any.training.fit import as_checkpoint, make_plan, only_run, run_plan, usual_optimizer
from nn_any.training.run import as_callbacks
from nn_any.training.states import check_network, check_state, in_blocks, moved_snapshot, on_device
from nn_any.training.steps import descend


class Model:
    """What `Network` and `Ensemble` have in common: a snapshot on a device, and the calls that change it.

    Parameters
    ----------
    snapshot : Snapshot
        Its arrays live on `device`.
    device : Device

    """

    def __init__(self, snapshot: Snapshot, device: Device) -> None:
        self._snapshot, self._device = snapshot, device
        self._programs: list[ProgramCache] = []  # what engines have compiled for each block of this model alone

    # what it is

    @property
    def snapshot(self) -> Snapshot:
        """Everything that the model is, as one value. Assign an earlier one to go back to it."""
        return self._snapshot

    @snapshot.setter
    def snapshot(self, snapshot: Snapshot) -> None:
        ensemble = self._snapshot.specification.members is not None
        self._snapshot = on_device("snapshot", snapshot, self._device, ensemble=ensemble)

    @property
    def specification(self) -> Specification:
        """What never changes in training: layers, input shape, loss, dtype, seed."""
        return self.snapshot.specification

    @property
    def state(self) -> TrainState:
        """The arrays that a training step changes. Assign another state of the same shapes to go on from there."""
        return join(self._device, self.snapshot.blocks)

    @state.setter
    def state(self, state: TrainState) -> None:
        check_state(self.snapshot, self._device, state)
        taken = to_numpy(state.step).reshape(-1) - to_numpy(self.state.step).reshape(-1)
        blocks = in_blocks(self.specification, self._device, state)
        self.snapshot = self.snapshot.with_counted_steps(blocks, taken.tolist())

    @property
    def device(self) -> Device:
        """Where the arrays live."""
        return self._device

    @property
    def dtype(self) -> str:
        """The dtype of the parameters and of the arithmetic, ``"float32"`` or ``"float64"``."""
        return self.specification.dtype

    @property
    def seed(self) -> int:
        """The seed of initial weights, batch orders and draws; an ensemble's first one."""
        return self.specification.seed

    @property
    def epoch(self) -> int:
        """How many epochs have been trained."""
        return self.snapshot.progress.epoch

    @property
    def steps(self) -> int:
        """How many steps have been taken."""
        return self.snapshot.progress.steps

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, with every default filled in."""
        return self.specification.layers

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.specification.input_shape

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return self.specification.outputs

    @property
    def task(self) -> str:
        """What the network is for: ``"classification"``, ``"multilabel"`` or ``"regression"``.

        If it was not said when the network was built, the loss decides, or else whether the outputs are linear.
        """
        return self.specification.task

    @property
    def is_regression(self) -> bool:
        """Whether the outputs are numbers to predict."""
        return self.specification.is_regression

    @property
    def schema(self) -> Schema:
        """The scale and the names of the data, as `fit` found them in the training data. Assign another to replace it.

        Raises
        ------
        TypeError, ValueError
            If it is no `Schema`, or has not as many names as the network has classes, inputs or targets.
        """
        return self.specification.schema

    @schema.setter
    def schema(self, schema: Schema) -> None:
        if not isinstance(schema, Schema):
            raise InvalidTypeError(
                f"schema: expected a nn_any.Schema, got {type(schema).__name__}; write nn_any.Schema(class_names=[...])"
            )
        with only_run(self):
            self._snapshot = self._snapshot._replace(specification=self.specification.with_schema(schema))

    @property
    def class_names(self) -> tuple[str | int | float | bool, ...] | None:
        """What the classes are called, in the order of their numbers; None if nobody has said."""
        return self.schema.class_names

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """What the inputs are called, in their order; None if nobody has said."""
        return self.schema.feature_names

    # parameters

    @property
    def params(self) -> Params:
        """The parameters themselves, not copies: a tuple with an entry per layer, of arrays as the layer packs them."""
        return self.state.params

    @property
    def parameters(self) -> dict[str, Array]:
        """All parameters by name, fresh arrays on the device: ``"layers.0.weights"``, ``"layers.0.biases"``, …

        The number is the layer's place in `layers`, and the rest the name that the layer gives: ``weights`` and
        ``biases``, or ``gain`` and ``shift`` of a normalisation.
        """
        return named_parameters.named(self.specification, self._device, self.params)

    def set_parameters(self, parameters: Any) -> None:
        """Put other numbers in place of some parameters, or of all; those that are not named stay.

        Parameters
        ----------
        parameters : mapping of names to arrays, NumPy or on the network's device, as `parameters` has them

        Raises
        ------
        ValueError
            If there is no parameter of that name, a shape differs, or a number is not finite; nothing has changed then.
        TypeError
            If it is no mapping.
        """
        checked = named_parameters.checked_parameters(self.snapshot, self._device, parameters)
        self.snapshot = named_parameters.with_parameters(self.snapshot, self._device, checked)

    @property
    def weights(self) -> list[Array]:
        """The weights of each layer that has any, (units, inputs) for `Dense`: fresh arrays on the device.

        They are the `parameters` called ``weights`` or ``gain``.
        """
        return [*named_parameters.of_kind("weights", self.parameters).values()]

    @property
    def biases(self) -> list[Array]:
        """The biases of each layer that has any, (units,) for `Dense`: fresh arrays on the device.

        They are the `parameters` called ``biases`` or ``shift``.
        """
        return [*named_parameters.of_kind("biases", self.parameters).values()]

    def set_weights(self, weights: Any, biases: Any) -> None:
        """Put other numbers in place of the weights and biases; they are copied.

        Parameters
        ----------
        weights, biases : lists of arrays, NumPy or on the network's device, in the shapes of `weights` and `biases`

        Raises
        ------
        ValueError
            If a shape or the number of arrays differs, or a number is not finite; nothing has changed then.
        """
        checked = named_parameters.checked_lists(self.snapshot, self._device, weights=weights, biases=biases)
        self.snapshot = named_parameters.with_parameters(self.snapshot, self._device, checked)

    def copy_from(self, other: "Model | Snapshot") -> None:
        """Take over the parameters and running averages of a network of the same layers; they are copied.

        Raises
        ------
        ValueError
            If the layers have other shapes; nothing has changed then.
        """
        its = other if isinstance(other, Snapshot) else check_network("other", other).snapshot
        if self.snapshot.shapes != its.shapes:
            raise InvalidValueError(f"other: expected a network of the same layers as {self!r}, got {_sizes(its)}")
        copies = moved_snapshot(its, self._device, self.dtype)
        self.snapshot = self.snapshot.with_parameters_of(copies.blocks)

    def freeze(self, *places: int) -> Self:
        """Keep training from changing these layers, counted from 0 as in `layers`, or all of them.

        A frozen `BatchNorm` uses its running averages and keeps them. The optimizer's state starts anew, its schedule
        goes on; a callback may freeze layers in mid-training.

        Returns
        -------
        The network itself.

        Raises
        ------
        IndexError
            If there is no such layer.
        ValueError
            If a layer of your own has no field `trainable`.
        """
        self.snapshot = self.snapshot.with_layers_trainable(False, self._checked_places("freeze", places))
        return self

    def unfreeze(self, *places: int) -> Self:
        """Let training change these layers again, or all of them, as `freeze` counts them; returns the network."""
        self.snapshot = self.snapshot.with_layers_trainable(True, self._checked_places("unfreeze", places))
        return self

    # where it is, and copies

    def to(self, device: str | Device) -> Self:
        """Move to another device, in place; returns the network itself.

        Raises
        ------
        DeviceNotAvailableError
            If the device is not there.
        TypeError
            If the network is float64 and the device has none.
        NetworkBusyError
            If the network is being trained.
        """
        device = select_device(device)
        with only_run(self):
            self._snapshot, self._device = moved_snapshot(self.snapshot, device, self.dtype), device
            self._programs = []
        return self

    def copy(self) -> Self:
        """A network of its own with the same numbers, on the same device, at the same point of its training."""
        return self.astype(self.dtype)

    def astype(self, dtype: Any) -> Self:
        """A copy whose parameters and arithmetic have another dtype, ``"float32"`` or ``"float64"``."""
        dtype = options.dtype(dtype)
        self._device.check_dtype(dtype)
        other = copy.copy(self)
        other.snapshot = moved_snapshot(self.snapshot, self._device, dtype)
        return other

    def __getstate__(self) -> dict[str, Any]:
        """All but the compiled programs, for copies and pickles."""
        return vars(self) | {"_programs": []}

    def save(self, path: str | PathLike[str]) -> None:
        """Write a model file (safetensors): whole, or not at all.

        The file holds the architecture, the parameters, and where training stands, but no optimizer state.

        Raises
        ------
        ValueError
            If a layer, loss or activation of your own is not registered, since `load` could not build it.
        OSError
            If the file cannot be written; a file that was there stays as it was.
        """
        save_model(path, describe(self.snapshot), name_tensors(self.snapshot))

    def to_onnx(self, path: str | PathLike[str]) -> None:
        """Write an ONNX file, whole or not at all, which onnxruntime and others run without this package.

        The model takes ``inputs``, (n, *input_shape), for any n, and gives ``outputs``, (n, outputs), as `feedforward`
        does: images are (n, height, width, channels), and an ensemble answers with the mean of those of its members
        that have not diverged. Both are of the network's dtype. The inputs are numbers as they are stored: if the
        `schema` has a scale, the model divides them by it.

        Parameters
        ----------
        path : path
            An existing file there is replaced.

        Raises
        ------
        ModuleNotFoundError
            If onnx is not installed.
        TypeError
            If a layer or an activation of your own does something that ONNX has no operators for; the message names it.
        ValueError
            If the parameters take more than the 2 GiB that such a file can hold.
        OSError
            If the file cannot be written; a file that was there stays as it was.

        Examples
        --------
        >>> import tempfile, pathlib, numpy as np, nn_any as nn, onnxruntime
        >>> net = nn.Network([4, 5, 3], device="numpy", seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.to_onnx(file := pathlib.Path(folder) / "net.onnx")
        ...     session = onnxruntime.InferenceSession(file.read_bytes())
        >>> (outputs,) = session.run(None, {"inputs": np.ones((2, 4), "float32")})
        >>> bool(np.allclose(outputs, net.feedforward(np.ones((2, 4))), atol=1e-6))
        True
        """
        save_onnx(path, self.snapshot)

    # training

    def SGD(  # noqa: N802 - the book's name
        self, training_data: Any, epochs: int, mini_batch_size: int, eta: float, test_data: Any = None, **options: Any
    ) -> History:
        """Train by stochastic gradient descent with learning rate `eta`, as the book calls it.

        With `test_data` the history holds ``test_loss``, ``test_correct`` and ``test_accuracy`` after each epoch. The
        other `options` are those of `fit`.
        """
        given = {"epochs": epochs, "batch_size": mini_batch_size, "optimizer": SGD(eta), "test_data": test_data}
        return self.fit(training_data, **given, **options)

    def fit(
        self,
        training_data: Any,
        *misplaced: Any,
        epochs: int,
        batch_size: int | None = None,
        optimizer: Optimizer | None = None,
        validation_data: Any = None,
        test_data: Any = None,
        callbacks: Iterable[Any] = (),
        shuffle: bool = True,
        verbose: bool = False,
        engine: str = "auto",
        sample_weight: Any = None,
        class_weight: Any = None,
        metrics: Iterable[measures.Metric] = (),
        monitor_training: bool = False,
        checkpoint: Checkpoint | str | PathLike[str] | None = None,
        resume: bool = False,
    ) -> History:
        """Train.

        Parameters
        ----------
        training_data, validation_data, test_data : Dataset, tuple ``(x, y)`` of arrays, or iterable of pairs of columns
            Moved to the network's device once. After each epoch the validation and test data are evaluated.
            Where the network predicts numbers, integers y are numbers.
        epochs : int
            How many more epochs; 0 does nothing. Epochs are counted through, so ``fit(epochs=2)`` and then
            ``fit(epochs=3)`` is the same as ``fit(epochs=5)``.
        batch_size : int
            Examples a step, by default 32; the last batch of an epoch may be shorter. L-BFGS takes them all and wants
            none.
        optimizer : Optimizer, optional
            Such as ``nn_any.SGD(learning_rate=0.5)``. Its state and its schedule go on unless another one is given. By
            default ``nn_any.Adam()``, or plain ``nn_any.SGD`` for an ensemble with `learning_rates` of its own.
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
            How much the training examples of each class count, as `Dataset.weighted` has it; the network says how
            many classes there are.
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
        _check_alone("training_data", misplaced)
        with only_run(self):
            epochs = options.integer("epochs", epochs, minimum=0)
            options.choice("engine", engine, *MODES)
            following = as_callbacks(callbacks) + ([ProgressDisplay()] if options.flag("verbose", verbose) else [])
            training = network_data(self.specification, self._device, "training_data", training_data)
            if sample_weight is not None or class_weight is not None:
                training = weighted(self.specification, training, sample_weight, class_weight)
            evaluated = {"training": training if monitor_training else None}
            evaluated |= {"validation": validation_data, "test": test_data}
            specification = self.specification.with_schema(learned_schema(self.specification, training))
            optimizer = usual_optimizer(specification) if optimizer is None else optimizer
            plan = make_plan(self, specification, training, evaluated, batch_size, optimizer, shuffle, metrics)
            return run_plan(self, plan, epochs, following, as_checkpoint(checkpoint, resume), resume, engine)

    def update_mini_batch(self, mini_batch: tuple[Any, Any], eta: float) -> None:
        """One step of plain gradient descent on a mini-batch ``(x, y)`` of arrays, with learning rate `eta`."""
        self.snapshot = descend(self, mini_batch, eta)

    def training_engines(self, mode: str = "auto") -> list[Engine]:
        """What runs training steps here, as `fit` does: one engine for each block of the snapshot."""
        members = self.specification.members
        threads = None if members is None else members.threads
        return block_engines(self._device, mode, len(self.snapshot.blocks), self._programs, threads)

    # gradients

    def gradients(self, x: Any, y: Any, training: bool = False) -> Params:
        """The gradients of the loss, averaged over the batch, in the structure of `params`."""
        examples = own_batch(self.specification, self._device, x, y)
        return evaluation.gradients(self.snapshot, self._device, examples, training=training)

    def backprop(self, x: Any, y: Any, training: bool = False) -> tuple[list[Array], list[Array]]:
        """The gradients ``(nabla_b, nabla_w)`` of the loss, averaged over the batch (Nielsen, chapter 2).

        Parameters
        ----------
        x : array (n, inputs), or one example (inputs,)
        y : labels (n,), or targets (n, outputs)
        training : bool
            Whether layers behave as in training (dropout, batch statistics).

        Returns
        -------
        nabla_b, nabla_w : lists of arrays in the shapes of `biases` and `weights`
        """
        gradients = self.gradients(x, y, training=training)
        named = named_parameters.named(self.specification, self._device, gradients)
        weights, biases = ([*named_parameters.of_kind(kind, named).values()] for kind in ("weights", "biases"))
        return biases, weights

    def cost_derivative(self, output_activations: Any, y: Any) -> Array:
        """∂C/∂a for outputs a (n, outputs) and labels or targets y: ``a - y`` for the quadratic loss."""
        given = own_array("output_activations", output_activations, self._device, self.dtype)
        a = self._device.asarray(given, self.dtype)
        y = plain_targets(self.specification, y)
        targets = own_array("y", y, self._device, self.dtype, numbers=self.is_regression)
        if single := a.ndim == 1:
            a, targets = a[None, :], targets[None, ...]
        if a.ndim != 2 or a.shape[1] != self.outputs:
            raise InvalidValueError(f"output_activations: expected (n, {self.outputs}), got shape {tuple(a.shape)}")
        targets = own_targets(self.specification, self._device, targets, a.shape[0])
        prepare, xp = preparation(self.specification, targets), self._device.xp
        with self._device.scope():
            derivative = self.specification.loss.derivative(a, prepare.targets(targets, xp=xp), xp=xp)
        return derivative[0, ...] if single else derivative

    def __repr__(self) -> str:
        members = self.specification.members
        lost = sum(member.diverged for member in self.snapshot.progress.members)
        several = "" if members is None else f"{len(members)} networks "
        each = "" if members is None else " each"
        count = parameter_count(self.snapshot.blocks[0].params)
        count //= 1 if members is None else int(self.snapshot.blocks[0].key.shape[0])
        sizes = _sizes(self.snapshot)
        return (
            f"{type(self).__name__}({several}{sizes}, loss {self.specification.loss.name}, {count:,} parameters{each}, "
            f"{self.dtype} on {self._device}, {self.epoch} epochs trained{f', {lost} diverged' if lost else ''})"
        )

    def _examples(self, data: Any, *misplaced: Any) -> Examples:
        """Data in any accepted form, as this network takes them."""
        _check_alone("data", misplaced)
        return own_examples(self.specification, self._device, "data", data)

    def _classified_examples(self, data: Any, *misplaced: Any) -> Examples:
        """The same, with a warning if their targets do not name one class each."""
        examples = self._examples(data, *misplaced)
        evaluation.warn_of_unclear_targets(self.specification, self._device, {"data": examples})
        return examples

    def _functions(self, metrics: tuple[Any, ...]) -> dict[str, measures.Function]:
        """The measures that a call of `score` names."""
        for metric in metrics:
            if hasattr(metric, "__len__") and not isinstance(metric, str) and not callable(metric):
                several = isinstance(metric, list | tuple) and metric and all(isinstance(each, str) for each in metric)
                apart = ", ".join(map(repr, metric)) if several else ""
                remedy = f"write them one by one: score(data, {apart})" if several else ""
                remedy = remedy or "put x and y into a tuple: score((x, y), ...)"
                raise InvalidTypeError(f"metrics: expected names and functions, got {type(metric).__name__}; {remedy}")
        return measures.resolve(metrics, self.task, self.outputs)

    def _check_classifies(self, method: str, remedy: str) -> None:
        if self.is_regression:
            raise InvalidTypeError(f"{method}: expected a classifier, got a regression network; {remedy}")

    def _check_probabilities(self) -> None:
        self._check_classifies("predict_proba", "use predict")
        if not self.specification.gives_probabilities:
            last = self.specification.output_activation.name
            raise InvalidTypeError(
                f"predict_proba: expected outputs within 0 … 1, got a last layer with activation {last!r}; build the "
                f"network with nn_any.Dense({self.outputs}, activation='sigmoid') as the last layer, or use predict "
                "for the classes and feedforward for the outputs"
            )

    def _checked_places(self, method: str, places: tuple[Any, ...]) -> list[int]:
        """The layers at these places that have parameters; all of those by default."""
        params = self.snapshot.blocks[0].params
        for place in places:
            if isinstance(place, list | tuple | range) and place:
                separate = ", ".join(map(repr, place))
                raise InvalidTypeError(
                    f"places: expected each layer as an argument of its own, got {place!r}; write {method}({separate})"
                )
            if options.integer("places", place, minimum=0) >= len(self.layers):
                raise InvalidIndexError(f"places: expected layers within 0 … {len(self.layers) - 1}, got {place}")
        return [i for i in (places or range(len(self.layers))) if params[i]]


class _Default(str):
    """The default of an argument, which is told apart from the same word passed by a caller."""


SIGMOID, QUADRATIC, NORMAL, FLOAT32 = map(_Default, ("sigmoid", "quadratic", "normal", "float32"))
"""The defaults of networks and ensembles."""


def _check_alone(name: str, misplaced: tuple[Any, ...]) -> None:
    """Nothing has come after the data."""
    if misplaced:
        given = 1 + len(misplaced)
        raise InvalidTypeError(f"{name}: expected one argument, got {given}; put x and y into a tuple: (x, y)")


def refuse_beside_snapshot(**arguments: Any) -> None:
    """Raise an error if a caller gives any of these arguments, which a snapshot settles."""
    given = [name for name, value in arguments.items() if value is not None and not isinstance(value, _Default)]
    if given:
        raise InvalidValueError(
            f"{given[0]}: expected none beside a snapshot, which has its own, got {arguments[given[0]]!r}; "
            "leave it out, or pass the layers"
        )


def _sizes(snapshot: Snapshot) -> str:
    """The shapes of an example between the layers, in short: ``784-30-10``."""
    return "-".join(shape_text(shape) for shape in snapshot.specification.shapes)
