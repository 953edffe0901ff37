"""The optimiser of an ensemble whose members differ in weight decay."""

from dataclasses import dataclass
from typing import Any

from nn_any.core.optimizers.base import Optimizer
from nn_any.core.typing import Array, Params


@dataclass(frozen=True)
class MemberWeightDecays(Optimizer):
    """The update rule `base` with a separate weight decay for each member of an ensemble.

    The weight decays λ, (m,), are part of the state, ``(weight_decays, state of base)``, so blocks of members share one
    compiled step.
    """

    base: Optimizer
    learning_rate = 1.0

    def step(
        self,
        gradients: Params,
        state: Any,
        params: Params,
        learning_rate: Array,
        mask: Any,
        weight_decay: Array | None = None,
    ) -> tuple[Params, Any]:
        """Take the base's step with the weight decays of the state."""
        decays, inner = state
        params, inner = self.base.step(gradients, inner, params, learning_rate, mask, decays)
        return params, (decays, inner)
