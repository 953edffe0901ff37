"""Optimisers that scale each parameter's step by how large its gradients have been."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from array_api_compat import array_namespace
from array_api_compat import device as device_of

from nn_any.core import regularization
from nn_any.core.optimizers.base import Regularized, zeros_like
from nn_any.core.options import below_one, flag, number, positive, validate_fields
from nn_any.core.primitives import clip
from nn_any.core.schedules.base import Schedule
from nn_any.core.trees import per_parameter, tree_leaves, tree_map
from nn_any.core.typing import Array, Namespace, Params


@dataclass(frozen=True, repr=False)
class Adam(Regularized):
    """Steps scaled by the gradients' running mean and mean square, without their bias towards 0.

    m ← β₁ m + (1 - β₁) ∇C, v ← β₂ v + (1 - β₂) ∇C², w ← w - η m̂ / (√v̂ + ε) with m̂ = m / (1 - β₁ᵗ) and
    v̂ = v / (1 - β₂ᵗ) in step t (Kingma and Ba, arXiv:1412.6980, algorithm 1).

    Examples
    --------
    The first step has the length η, whatever the gradient's:

    >>> import numpy as np
    >>> adam, params, gradients = Adam(0.1), ((np.asarray([1.0, 1.0]),),), ((np.asarray([3.0, -0.04]),),)
    >>> adam.update(gradients, adam.init(params), params, np.asarray(0.1))[0][0][0].round(6)
    array([0.9, 1.1])
    """

    learning_rate: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        validate_fields(self, beta1=below_one, beta2=below_one, epsilon=positive)

    def init(self, params: Params) -> Any:
        """The means m = 0 and v = 0 and the count of steps t = 0, (); ``()`` where there are no parameters."""
        first = next(tree_leaves(params), None)
        if first is None:
            return ()
        count = array_namespace(first).zeros((), dtype=first.dtype, device=device_of(first))
        return zeros_like(params), zeros_like(params), count

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """w - η m̂ / (√v̂ + ε) for every parameter."""
        if not state:
            return params, state
        xp = array_namespace(learning_rate)
        means, squares, count = state
        count = xp.asarray(count + 1.0)
        means = tree_map(partial(_running, self.beta1), means, gradients)
        squares = tree_map(partial(_running_square, self.beta2), squares, gradients)
        rate = learning_rate / _bias(self.beta1, count, xp)
        root = xp.sqrt(_bias(self.beta2, count, xp))

        def move(w: Array, m: Array, v: Array) -> Array:
            return w - per_parameter(rate, w) * m / (xp.sqrt(v) / per_parameter(root, v) + self.epsilon)

        return tree_map(move, params, means, squares), (means, squares, count)


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """`Adam` whose weight decay is apart from the gradients: w ← w - η λ w, then Adam's step.

    Loshchilov and Hutter, Decoupled weight decay regularization, arXiv:1711.05101, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> adamw, params, gradients = AdamW(0.1, weight_decay=0.5), ((np.asarray([2.0]),),), ((np.asarray([0.0]),),)
    >>> adamw.step(gradients, adamw.init(params), params, np.asarray(0.1), ((True,),))[0]
    ((array([1.9]),),)
    """

    weight_decay: float = field(default=0.01, kw_only=True)

    def apply_weight_decay(
        self, gradients: Params, params: Params, learning_rate: Array, mask: Any, weight_decay: float | Array
    ) -> tuple[Params, Params]:
        """Apply weight decay before `update`: shrink the weights. Returns ``(gradients, params)``."""
        return gradients, regularization.shrink(params, mask, weight_decay, learning_rate)


@dataclass(frozen=True, repr=False)
class RMSprop(Regularized):
    """Steps divided by the root of the gradients' running mean square: s ← ρ s + (1 - ρ) ∇C², w ← w - η ∇C / (√s + ε).

    With `centered` s is less the square of the gradients' running mean; with momentum μ the fraction feeds a velocity
    v ← μ v + ∇C / (√s + ε), and w ← w - η v. Tieleman and Hinton, Coursera lecture 6.5, 2012; Graves, arXiv:1308.0850,
    equations 38 to 45, for the centred form.

    Examples
    --------
    >>> import numpy as np
    >>> rms, params, gradients = RMSprop(0.1, rho=0.75), ((np.asarray([1.0]),),), ((np.asarray([4.0]),),)
    >>> rms.update(gradients, rms.init(params), params, np.asarray(0.1))[0][0][0].round(6)
    array([0.8])
    """

    learning_rate: float | Schedule = 0.01
    rho: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        validate_fields(self, rho=below_one, epsilon=positive, momentum=below_one, centered=flag)

    def init(self, params: Params) -> Any:
        """The mean squares s = 0, the means where centred (else ``()``), the velocities with momentum (else ``()``)."""
        means, velocities = (zeros_like(params) if kept else () for kept in (self.centered, self.momentum))
        return zeros_like(params), means, velocities

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """w - η ∇C / (√s + ε) for every parameter, or w - η v with momentum."""
        xp = array_namespace(learning_rate)
        squares, means, velocities = state
        squares = variances = tree_map(partial(_running_square, self.rho), squares, gradients)
        if self.centered:
            means = tree_map(partial(_running, self.rho), means, gradients)
            # rounding may bring it below 0 where the gradient hardly changes
            variances = tree_map(lambda s, m: clip(s - m * m, low=0.0, xp=xp), squares, means)
        moves = tree_map(lambda g, s: g / (xp.sqrt(s) + self.epsilon), gradients, variances)
        if self.momentum:
            velocities = moves = tree_map(lambda v, move: self.momentum * v + move, velocities, moves)
        params = tree_map(lambda w, move: w - per_parameter(learning_rate, w) * move, params, moves)
        return params, (squares, means, velocities)


@dataclass(frozen=True, repr=False)
class Adagrad(Regularized):
    """Steps divided by the root of the sum of all squared gradients so far: s ← s + ∇C², w ← w - η ∇C / (√s + ε).

    Duchi, Hazan and Singer, Adaptive subgradient methods, JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> adagrad, params, gradients = Adagrad(0.1), ((np.asarray([1.0]),),), ((np.asarray([4.0]),),)
    >>> adagrad.update(gradients, adagrad.init(params), params, np.asarray(0.1))
    (((array([0.9]),),), ((array([16.]),),))
    """

    learning_rate: float | Schedule = 0.01
    epsilon: float = 1e-10
    initial_accumulator: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        validate_fields(self, epsilon=positive, initial_accumulator=number)

    def init(self, params: Params) -> Any:
        """The sums s, all of the same value."""
        return tree_map(lambda w: array_namespace(w).full_like(w, self.initial_accumulator), params)

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """w - η ∇C / (√s + ε) for every parameter."""
        xp = array_namespace(learning_rate)
        sums = tree_map(lambda s, g: s + g * g, state, gradients)

        def move(w: Array, g: Array, s: Array) -> Array:
            return w - per_parameter(learning_rate, w) * g / (xp.sqrt(s) + self.epsilon)

        return tree_map(move, params, gradients, sums), sums


def _running(beta: float, mean: Array, value: Array) -> Array:
    """The exponential running mean β m + (1 - β) x."""
    return beta * mean + (1.0 - beta) * value


def _running_square(beta: float, mean: Array, value: Array) -> Array:
    """The exponential running mean of squares, β m + (1 - β) x², which need not fit the dtype themselves."""
    return beta * mean + (1.0 - beta) * value * value


def _bias(beta: float, count: Array, xp: Namespace) -> Array:
    """1 - βᵗ, in a form that float32 does not take the digits of: 1 - 0.999 has only four of them left there."""
    return -xp.expm1(count * math.log(beta)) if beta else xp.ones_like(count)
