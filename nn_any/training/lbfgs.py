"""L-BFGS: whole batches, and a curvature learned from the last few steps.

It runs on the host, on flat float64 vectors, and reads values, because a line search has to. Its state is complete, so
it can stop after any iteration and go on exactly.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.optimizers.base import Optimizer
from nn_any.core.options import flag, integer, number, positive, validate_fields
from nn_any.core.typing import Array, Params

Function = Callable[[np.ndarray], tuple[Any, np.ndarray]]


class LBFGSState(NamedTuple):
    """Where L-BFGS stands; every field is a NumPy array."""

    x: np.ndarray
    """The parameters, (n,), float64."""
    value: np.ndarray
    """The function's value at x, (), float64; NaN before the first iteration."""
    gradient: np.ndarray
    """Its gradient there, (n,), float64; NaN before the first iteration."""
    s: np.ndarray
    """The last k steps, oldest first: (k, n), float64."""
    y: np.ndarray
    """By how much the gradient changed in each of them: (k, n), float64."""
    iterations: np.ndarray
    """How many iterations were done: (), int64."""
    converged: np.ndarray
    """Whether there is nothing left to do: (), bool."""


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """The quasi-Newton method of limited memory: x ← x - t H ∇C, with H from the last `history` steps.

    H ∇C is Nocedal and Wright's two-loop recursion (Numerical Optimization, 2nd edition, algorithm 7.4), and t is found
    by a search for the strong Wolfe conditions (algorithms 3.5 and 3.6). Where that fails, a step along -∇C is tried,
    shorter and shorter; where that fails too, the run has converged as far as rounding lets it.

    Parameters
    ----------
    learning_rate : float
        The step t that is tried first; in the first iteration it is multiplied by min(1, 1 / ‖∇C‖₁).
    history : int
        How many steps are remembered.
    line_search : bool
        Search for t; if False every t is the one tried first, as in PyTorch.
    weight_decay : float
        λ of the penalty ½ λ ‖w‖² on the weights, which whoever makes the function adds to it; `iterate` does not.
    gradient_tolerance, change_tolerance : float
        It has converged when no entry of ∇C is larger than the first, or when no entry of x, or the value, changes by
        more than the second.

    Examples
    --------
    >>> import numpy as np
    >>> def bowl(x):
    ...     return np.sum((x - 3.0) ** 2), 2 * (x - 3.0)
    >>> lbfgs = LBFGS()
    >>> state = lbfgs.start(np.zeros(2))
    >>> while not state.converged:
    ...     state = lbfgs.iterate(state, bowl)
    >>> state.x.round(6)
    array([3., 3.])
    """

    learning_rate: float = 1.0
    history: int = 10
    line_search: bool = True
    weight_decay: float = field(default=0.0, kw_only=True)
    gradient_tolerance: float = field(default=1e-7, kw_only=True)
    change_tolerance: float = field(default=1e-9, kw_only=True)
    whole_batch = True

    def __post_init__(self) -> None:
        validate_fields(self, learning_rate=positive, history=integer, line_search=flag)
        validate_fields(self, weight_decay=number, gradient_tolerance=number, change_tolerance=number)

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """Not to be had: a gradient alone is not enough for L-BFGS."""
        raise NotImplementedError("LBFGS has no update from a gradient alone: call iterate(state, function)")

    def start(self, x: np.ndarray) -> LBFGSState:
        """The state before the first iteration, from parameters (n,)."""
        x = np.array(x, dtype=np.float64)
        if x.ndim != 1:
            raise InvalidValueError(f"x: expected a vector (n,), got shape {x.shape}; flatten it")
        none = np.empty((0, x.size))
        unknown = np.full_like(x, np.nan)
        return LBFGSState(x, np.asarray(np.nan), unknown, none, none, np.asarray(0), np.asarray(False))

    def iterate(self, state: LBFGSState, function: Function) -> LBFGSState:
        """One iteration; a state that has converged is returned as it is.

        Parameters
        ----------
        state : LBFGSState
        function : callable
            ``function(x) -> (value, gradient)``, with arrays (n,), float64. It must be the same one throughout.
        """
        if state.converged:
            return state
        evaluate, first = _Remembered(function), state.iterations == 0
        if first:
            value, gradient = evaluate(state.x)
            state = state._replace(value=value, gradient=gradient)
            if _largest(gradient) <= self.gradient_tolerance:
                return state._replace(converged=np.asarray(True))
        x, value, gradient = state.x, state.value, state.gradient
        direction = _direction(state)
        if not gradient @ direction < -self.change_tolerance:
            return state._replace(converged=np.asarray(True))
        careful = self.learning_rate * min(1.0, 1.0 / np.sum(np.abs(gradient)))
        move = (careful if first else self.learning_rate) * direction
        if self.line_search:
            found = _wolfe(evaluate, x, value, gradient, move)
            if found is None:  # the curvature is of no use here: forget it
                state = state._replace(s=state.s[:0], y=state.y[:0])
                found = _backtrack(evaluate, x, value, gradient, -careful * gradient)
            if found is None:
                return state._replace(converged=np.asarray(True))
            move = found
        new_value, new_gradient = evaluate(x + move)
        steps, changes, change = state.s, state.y, new_gradient - gradient
        if change @ move > 1e-10:  # else H would no longer be positive definite; the bound is PyTorch's
            steps = np.concatenate([steps, move[None, :]])[-self.history :]
            changes = np.concatenate([changes, change[None, :]])[-self.history :]
        converged = (
            (_largest(new_gradient) <= self.gradient_tolerance)
            | (_largest(move) <= self.change_tolerance)
            | (np.abs(new_value - value) < self.change_tolerance)
        )
        iterations = np.asarray(state.iterations + 1)
        return LBFGSState(x + move, new_value, new_gradient, steps, changes, iterations, np.asarray(converged))


class _Remembered:
    """A function that keeps its last answer, since a line search asks for the value and the gradient one by one."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._x: np.ndarray | None = None

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._x is None or not np.array_equal(x, self._x):
            found = self._function(x.copy())
            if not isinstance(found, tuple | list) or len(found) != 2:
                raise InvalidTypeError(f"function: expected a pair, got {found!r:.80}; return (value, gradient)")
            value, gradient = found
            self._value, self._gradient = np.array(value, dtype=np.float64), np.array(gradient, dtype=np.float64)
            if self._value.shape != () or self._gradient.shape != x.shape:
                raise InvalidValueError(
                    f"function: expected a number and a gradient {x.shape}, got shapes {self._value.shape} and "
                    f"{self._gradient.shape}; return (value, gradient)"
                )
            self._x = x.copy()
        return self._value, self._gradient


def _largest(vector: np.ndarray) -> Any:
    return np.max(np.abs(vector), initial=0.0)


def _direction(state: LBFGSState) -> np.ndarray:
    """-H ∇C by the two loops; -∇C as long as nothing is remembered."""
    q, pairs, parts = -state.gradient, list(zip(state.s, state.y, strict=True)), []
    for s, y in reversed(pairs):
        parts.append((s @ q) / (s @ y))
        q = q - parts[-1] * y
    if pairs:
        s, y = pairs[-1]
        q = q * ((s @ y) / (y @ y))
    for (s, y), part in zip(pairs, reversed(parts), strict=True):
        q = q + (part - (y @ q) / (s @ y)) * s
    return np.asarray(q)


def _wolfe(
    evaluate: _Remembered, x: np.ndarray, value: np.ndarray, gradient: np.ndarray, move: np.ndarray
) -> np.ndarray | None:
    """A multiple of `move` that fulfils the strong Wolfe conditions, or None."""
    from scipy.optimize import line_search  # only those who search pay for its import

    def finite(point: np.ndarray) -> np.ndarray:
        # the search backs off from infinity, but would walk through NaN
        reached = evaluate(point)[0]
        return reached if np.isfinite(reached) else np.asarray(np.inf)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The line search algorithm|Rounding errors", RuntimeWarning)
        length = line_search(
            finite, lambda point: evaluate(point)[1], x, move, gfk=gradient, old_fval=value[()], maxiter=25
        )[0]
    if length is None or not evaluate(x + length * move)[0] < value:
        return None
    return np.asarray(length * move)


def _backtrack(
    evaluate: _Remembered, x: np.ndarray, value: np.ndarray, gradient: np.ndarray, move: np.ndarray
) -> np.ndarray | None:
    """The first of move, move / 2, move / 4 … that brings the value down as far as its slope lets hope, or None."""
    for _ in range(30):
        if evaluate(x + move)[0] <= value + 1e-4 * (gradient @ move):
            return move
        move = move / 2
    return None
