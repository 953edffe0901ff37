"""Network: the friendly face over the pure core. It checks once at the edge, and delegates."""

import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from nn_any import validation as check
from nn_any.backends import to_numpy
from nn_any.callbacks import Progress, as_callbacks
from nn_any.core import functional, random
from nn_any.core.optimizers import SGD, Optimizer
from nn_any.core.typing import Array, Batch, Carry, Params
from nn_any.prediction import Predictor
from nn_any.training import History, Record, TrainingDivergedError, TrainingRun, run_epoch, train

_REMEDY = "Try a smaller learning rate, inputs scaled to about 0 … 1, or initializer='scaled_normal'"
_PLAIN_SGD = SGD(1.0)  # the rate reaches the step as an array, so one compiled step serves every rate


class Network(Predictor):
    """A neural network on a device of any array library.

    Parameters
    ----------
    layers : sequence
        The input shape first (a number of features or a tuple), then layers; a bare number is a `Dense` layer with the
        default activation. ``[784, 30, 10]`` is the book's first network.
    activation : str or Activation
        The default of layers that name none: ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"linear"``, or your own.
    loss : str or Loss
        ``"quadratic"``, ``"cross_entropy"``, or your own.
    initializer : str or Initializer
        The default of layers that name none: ``"normal"`` or ``"scaled_normal"``, or your own.
    device : str or Device, optional
        As `select_device` has it; by default ``NN_ANY_DEVICE``, else a CUDA GPU that works, else the CPU.
    dtype : str
        ``"float32"`` or ``"float64"``.
    seed : int, optional
        The same seed is the same run on every device: initial weights, batch order, draws. By default a new one, which
        ``net.seed`` tells.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of these; the message names it.
    DeviceNotAvailableError
        If the device is not there.

    Notes
    -----
    A network whose last activation is linear does regression: `predict` returns its outputs. Every other one
    classifies. Wherever data are taken, they may be a `Dataset`, a tuple ``(x, y)`` of arrays, or an iterable of
    ``(x, y)`` pairs of columns; x is (n, features) or (n, *input_shape), y is integer labels (n,) or targets
    (n, outputs).

    References
    ----------
    M. A. Nielsen, "Neural Networks and Deep Learning", Determination Press, 2015.

    Examples
    --------
    >>> import nn_any as nn
    >>> training, validation, test = nn.datasets.load_digits("cpu")
    >>> net = nn.Network([64, 30, 10], initializer="scaled_normal", device="cpu", seed=0)
    >>> history = net.SGD(training, epochs=10, mini_batch_size=10, eta=3.0)
    >>> net.accuracy(test) > 0.9
    True
    """

    def _batch(self, x: Any, y: Any) -> Batch:
        """One example or a batch, checked, as ``(x, y)`` on the device."""
        inputs, single = self._inputs(x)
        targets = self._own_array("y", y)
        if single:  # a label, or a row of targets
            targets = targets[None, ...] if targets.ndim == 0 or tuple(targets.shape) == (self.outputs,) else targets
        return inputs, self._targets(targets, inputs.shape[0])

    def _targets(self, y: Array, n: int) -> Array:
        """Targets (n, outputs) as reals, or labels (n,) within range in the default integer dtype."""
        xp = self.device.xp
        y = check.check_targets("y", y, n, self.outputs)
        if check.is_real(y):
            return y
        with self.device.scope():
            y = xp.astype(y, getattr(xp, self.device.integer_dtype if y.ndim == 1 else self.dtype))
            if y.ndim == 1:
                self._check_label_range(int(xp.min(y)), int(xp.max(y)))
        return y

    def gradients(self, x: Any, y: Any, training: bool = False) -> Params:
        """The gradients of the loss, averaged over the batch, in the structure of `params`."""
        batch = self._batch(x, y)
        function = functional.differentiator(self.layers, self._loss, self._preparation(batch[1]), training=training)
        gradients: Params = self.device.engine.compile(function)(self._carry, batch)
        return gradients

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
        unpacked = self._unpack(self.gradients(x, y, training=training))
        return [arrays[1] for arrays in unpacked if len(arrays) > 1], [arrays[0] for arrays in unpacked]

    def cost_derivative(self, output_activations: Any, y: Any) -> Array:
        """∂C/∂a for outputs a (n, outputs) and labels or targets y: ``a - y`` for the quadratic loss."""
        a = self.device.asarray(self._own_array("output_activations", output_activations), self.dtype)
        targets = self._own_array("y", y)
        if single := a.ndim == 1:
            a, targets = a[None, :], targets[None, ...]
        if a.ndim != 2 or a.shape[1] != self.outputs:
            raise ValueError(f"output_activations: expected (n, {self.outputs}), got shape {tuple(a.shape)}")
        targets = self._targets(targets, a.shape[0])
        xp = self.device.xp
        with self.device.scope():
            derivative = self._loss.derivative(a, self._preparation(targets).targets(targets, xp=xp), xp=xp)
        return derivative[0, ...] if single else derivative

    def update_mini_batch(self, mini_batch: tuple[Any, Any], eta: float) -> None:
        """One step of plain gradient descent on a mini-batch ``(x, y)`` of arrays, with learning rate `eta`."""
        if not isinstance(mini_batch, tuple) or len(mini_batch) != 2:
            raise TypeError(f"mini_batch: expected a tuple (x, y) of arrays, got {type(mini_batch).__name__}")
        rate = self._rates(SGD(eta).rates(self.steps, 1))[0, ...]
        batch = self._batch(*mini_batch)
        step = functional.train_step(self.layers, self._loss, _PLAIN_SGD, self._preparation(batch[1]))
        params, state, optimizer_state, count, key = self._carry
        carry, _ = self.device.engine.compile(step)((params, state, (), count, key), batch, rate)
        if not self._is_finite(carry):
            raise TrainingDivergedError(f"this step would make weights infinite or NaN; they are kept. {_REMEDY}")
        self._carry, self.steps = (carry[0], carry[1], optimizer_state, *carry[3:]), self.steps + 1

    def _rates(self, rates: np.ndarray) -> Array:
        """Learning rates on the device, once each is a finite number in the network's dtype."""
        if not np.isfinite(rates.astype(self.dtype)).all():
            raise ValueError(
                f"learning_rate: expected a finite {self.dtype} number, got {rates.max():g}; use a smaller one"
            )
        return self.device.asarray(rates, self.dtype)

    def _is_finite(self, carry: Carry) -> bool:
        """Whether every parameter is finite; one value is read back."""
        return bool(to_numpy(self.device.engine.compile(functional.all_finite)(carry[0])))

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
    ) -> History:
        """Train by stochastic gradient descent with learning rate `eta`, as the book calls it.

        With `test_data` the history holds ``test_loss``, ``test_correct`` and ``test_accuracy`` after each epoch. The
        other arguments are those of `fit`.
        """
        evaluations = {"validation": validation_data, "test": test_data}
        return self._train(training_data, epochs, mini_batch_size, SGD(eta), evaluations, callbacks, shuffle, verbose)

    def fit(
        self,
        training_data: Any,
        *,
        epochs: int,
        batch_size: int,
        optimizer: Optimizer,
        validation_data: Any = None,
        callbacks: Iterable[Any] = (),
        shuffle: bool = True,
        verbose: bool = False,
    ) -> History:
        """Train on mini-batches.

        Parameters
        ----------
        training_data, validation_data : Dataset, tuple ``(x, y)`` of arrays, or iterable of pairs of columns
            Moved to the network's device once. After each epoch the validation data are evaluated.
        epochs : int
            How many more epochs; 0 does nothing. Epochs are counted through, so ``fit(epochs=2)`` and then
            ``fit(epochs=3)`` is the same as ``fit(epochs=5)``.
        batch_size : int
            Examples a step; the last batch of an epoch may be shorter.
        optimizer : Optimizer
            Such as ``nn_any.SGD(learning_rate=0.5)``. Its state goes on unless another one is given.
        callbacks : iterable
            `Callback` instances, or functions of the `TrainingRun` that are called after each epoch.
        shuffle : bool
            Draw a new order each epoch, keyed by the seed and the epoch.
        verbose : bool
            Show progress on standard error.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            For bad arguments and bad data, before any weight changes.
        TrainingDivergedError
            If the loss stops being finite; the weights from before that epoch are kept.

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
            raise TypeError(f"optimizer: expected an Optimizer such as nn_any.SGD(0.5), got {optimizer!r}")
        if type(optimizer).__hash__ is None:
            raise TypeError(f"optimizer: expected a hashable one, got {optimizer!r}; make it a frozen dataclass")
        evaluations = {"validation": validation_data}
        return self._train(training_data, epochs, batch_size, optimizer, evaluations, callbacks, shuffle, verbose)

    def _train(
        self,
        training_data: Any,
        epochs: int,
        batch_size: int,
        optimizer: Optimizer,
        evaluations: dict[str, Any],
        callbacks: Iterable[Any],
        shuffle: bool,
        verbose: bool,
    ) -> History:
        epochs = check.check_integer("epochs", epochs, minimum=0)
        batch_size = check.check_integer("batch_size", batch_size, minimum=1)
        watching = as_callbacks(callbacks) + ([Progress()] if verbose else [])
        columns, prepare, dataset = self._columns("training_data", training_data)
        tests = {
            name: self._columns(f"{name}_data", data)[:2] for name, data in evaluations.items() if data is not None
        }
        engine = self.device.engine
        history = History(engine.name, str(self.device))
        if optimizer != self._optimizer:
            state = engine.compile(optimizer.init)(self.params)
            self._carry, self._optimizer = (*self._carry[:2], state, *self._carry[3:]), optimizer
        pure = _PLAIN_SGD if optimizer.plain else optimizer  # so that a new rate is no new step
        step = functional.train_step(self.layers, self._loss, pure, prepare)
        self._rates(optimizer.rates(self.steps, 1))

        def one_epoch() -> Record:
            start = time.perf_counter()
            n = len(dataset)
            order = random.epoch_order(self.seed, self.epoch, n, shuffle=shuffle)
            steps = -(-n // batch_size)
            rates = optimizer.rates(self.steps, steps)
            moved = self._rates(rates)
            carry, losses = run_epoch(self.device, step, self._carry, columns, order, moved, batch_size)
            self._check_losses(losses, rates)
            if not self._is_finite(carry):
                raise TrainingDivergedError(
                    f"weights became infinite or NaN in epoch {self.epoch + 1}; those before it are kept. {_REMEDY}"
                )
            self._carry, self.epoch, self.steps = carry, self.epoch + 1, self.steps + steps
            sizes = np.full(steps, batch_size)
            sizes[-1] = n - batch_size * (steps - 1)
            record: Record = {
                "epoch": self.epoch,
                "loss": float(np.average(losses, weights=sizes)),
                "learning_rate": float(rates[-1]),
                "seconds": time.perf_counter() - start,
            }
            for name, (test_columns, test_prepare) in tests.items():
                record |= self._evaluation(name, test_columns, test_prepare)
            return record

        return train(TrainingRun(self, history, epochs), one_epoch, watching)

    def _check_losses(self, losses: np.ndarray, rates: np.ndarray) -> None:
        finite = np.isfinite(losses)
        if not finite.all():
            batch = int(np.argmin(finite))
            raise TrainingDivergedError(
                f"the loss became {losses[batch]} in epoch {self.epoch + 1}, batch {batch + 1} of {len(losses)}, at "
                f"learning rate {rates[batch]:g}; the weights from before that epoch are kept. {_REMEDY}"
            )
