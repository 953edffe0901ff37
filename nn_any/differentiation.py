"""Differentiable: a predictor that knows its gradients, and takes single steps along them."""

from typing import Any

import numpy as np

from nn_any import validation as check
from nn_any.backends import to_numpy
from nn_any.core import evaluation, functional
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.optimizers import SGD
from nn_any.core.typing import Array, Batch, Carry, Params
from nn_any.prediction import Predictor
from nn_any.training import TrainingDivergedError

REMEDY = "Try a smaller learning rate, inputs scaled to about 0 … 1, or initializer='scaled_normal'"
PLAIN_SGD = SGD(1.0)  # the rate reaches the step as an array, so one compiled step serves every rate


class Differentiable(Predictor):
    """A predictor with its backward side. See `Network` for the parameters and for the forms that data may have."""

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
        function = evaluation.differentiator(self.layers, self._loss, self._preparation(batch[1]), training=training)
        gradients: Params = self.device.engine.compile(function)(self._carry, batch)[1]
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
            raise InvalidValueError(f"output_activations: expected (n, {self.outputs}), got shape {tuple(a.shape)}")
        targets = self._targets(targets, a.shape[0])
        xp = self.device.xp
        with self.device.scope():
            derivative = self._loss.derivative(a, self._preparation(targets).targets(targets, xp=xp), xp=xp)
        return derivative[0, ...] if single else derivative

    def update_mini_batch(self, mini_batch: tuple[Any, Any], eta: float) -> None:
        """One step of plain gradient descent on a mini-batch ``(x, y)`` of arrays, with learning rate `eta`."""
        if not isinstance(mini_batch, tuple) or len(mini_batch) != 2:
            raise InvalidTypeError(f"mini_batch: expected a tuple (x, y) of arrays, got {type(mini_batch).__name__}")
        rate = self._rates(SGD(eta).rates(0, 1))[0, ...]
        batch = self._batch(*mini_batch)
        step = functional.train_step(self.layers, self._loss, PLAIN_SGD, self._preparation(batch[1]))
        params, state, optimizer_state, count, key = self._carry
        carry, _ = self.device.engine.compile(step)((params, state, (), count, key), batch, rate)
        if not self._is_finite(carry):
            raise TrainingDivergedError(f"this step would make weights infinite or NaN; they are kept. {REMEDY}")
        self._carry, self.steps = (carry[0], carry[1], optimizer_state, *carry[3:]), self.steps + 1

    def _rates(self, rates: np.ndarray) -> Array:
        """Learning rates on the device, once each is a finite number in the network's dtype."""
        with np.errstate(over="ignore"):
            finite = np.isfinite(rates.astype(self.dtype)).all()
        if not finite:
            raise InvalidValueError(
                f"learning_rate: expected a finite {self.dtype} number, got {rates.max():g}; use a smaller one"
            )
        return self.device.asarray(rates, self.dtype)

    def _is_finite(self, carry: Carry) -> bool:
        """Whether every parameter is finite; one value is read back."""
        return bool(to_numpy(self.device.engine.compile(evaluation.all_finite)(carry[0])))
