"""Gradient descent, with momentum if asked for."""

from dataclasses import dataclass
from typing import Any

from nn_any.core.errors import InvalidValueError
from nn_any.core.optimizers.base import Regularized, zeros_like
from nn_any.core.options import below_one, flag, validate_fields
from nn_any.core.schedules.base import Schedule
from nn_any.core.trees import per_parameter, tree_map
from nn_any.core.typing import Array, Params


@dataclass(frozen=True, repr=False)
class SGD(Regularized):
    """Stochastic gradient descent: w ← w - η ∇C (Nielsen, chapter 1, equations 20 and 21).

    With momentum μ: v ← μ v + ∇C and w ← w - η v, which for a constant η is Nielsen's velocity over -η (chapter 3,
    equations 107 and 108); with `nesterov`: w ← w - η (∇C + μ v) (Sutskever et al., ICML 2013).

    Parameters
    ----------
    learning_rate : float or Schedule
        η, positive and finite.
    momentum : float
        μ, at least 0 and below 1.
    nesterov : bool
        Look ahead along the velocity.

    Examples
    --------
    >>> SGD(learning_rate=3.0)
    SGD(learning_rate=3.0)
    >>> import numpy as np
    >>> sgd, params, gradients = SGD(0.5, momentum=0.9), ((np.asarray([1.0]),),), ((np.asarray([0.2]),),)
    >>> sgd.update(gradients, sgd.init(params), params, np.asarray(0.5))
    (((array([0.9]),),), ((array([0.2]),),))
    """

    learning_rate: float | Schedule
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        validate_fields(self, momentum=below_one, nesterov=flag)
        if self.nesterov and not self.momentum:
            raise InvalidValueError(
                "nesterov: expected momentum above 0 with it, got momentum=0.0; pass momentum=0.9, say"
            )

    @property
    def plain(self) -> bool:
        """Whether nothing but the rate was asked for."""
        return self == SGD(self.learning_rate)

    def init(self, params: Params) -> Any:
        """The velocities v = 0; ``()`` without momentum."""
        return zeros_like(params) if self.momentum else ()

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """w - η ∇C for every parameter, or w - η v with momentum."""
        moves = gradients
        if self.momentum:
            state = moves = tree_map(lambda v, g: self.momentum * v + g, state, gradients)
        if self.nesterov:
            moves = tree_map(lambda v, g: g + self.momentum * v, state, gradients)
        return tree_map(lambda w, move: w - per_parameter(learning_rate, w) * move, params, moves), state
