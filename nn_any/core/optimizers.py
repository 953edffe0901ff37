"""Optimisers as pairs of pure functions, ``init`` and ``update``.

An optimiser of your own is a frozen dataclass derived from `Optimizer`; pass it to ``fit(optimizer=...)``.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from nn_any.core.trees import per_parameter, tree_map
from nn_any.core.typing import Array, Params


class Optimizer:
    """How gradients move the parameters. Instances must be hashable and compare by value.

    Attributes
    ----------
    learning_rate : float
        The rate η; it reaches `update` as an array on the device.
    plain : bool
        Whether the update is w - η ∇C and nothing else, which layers may then do without forming the gradients.
    """

    learning_rate: float
    plain: bool = False

    def init(self, params: Params) -> Any:
        """The state before the first step, a tree of arrays in the shapes of `params`; ``()`` if there is none."""
        return ()

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """One step: returns ``(params, state)``.

        Parameters
        ----------
        gradients, params : trees of arrays of the same shapes
        state : what `init` or the last `update` returned
        learning_rate : array, () or (m,) for an ensemble of m networks
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(gradients, state, params, learning_rate)")

    def rates(self, first_step: int, steps: int) -> np.ndarray:
        """The learning rates of `steps` steps from number `first_step` on: float64, (steps,)."""
        return np.full(steps, float(self.learning_rate))


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: w ← w - η ∇C (Nielsen, chapter 1, equations 20 and 21).

    Parameters
    ----------
    learning_rate : float
        η, positive and finite.

    Examples
    --------
    >>> SGD(learning_rate=3.0)
    SGD(learning_rate=3.0)
    """

    learning_rate: float
    plain = True

    def __post_init__(self) -> None:
        rate = self.learning_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
            raise TypeError(f"learning_rate: expected a positive number, got {rate!r}")
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"learning_rate: expected a positive, finite number, got {rate!r}")
        object.__setattr__(self, "learning_rate", float(rate))

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """W - η ∇C for every parameter."""

        def step(w: Array, gradient: Array) -> Array:
            return w - per_parameter(learning_rate, w) * gradient

        return tree_map(step, params, gradients), state
