"""The rule of an ensemble whose members have weight decays of their own."""

from dataclasses import dataclass
from typing import Any

from nn_any.core.optimizers.base import Optimizer
from nn_any.core.typing import Array, Params


@dataclass(frozen=True)
class OwnDecays(Optimizer):
    """An optimiser's rule with a weight decay for each member; they are data, so equal rules share a compiled step.

    The state is ``(weight_decays, state of the rule)``, with the weight decays λ as an array (m,).

    Parameters
    ----------
    base : Optimizer
        The rule that all members have in common.
    """

    base: Optimizer
    learning_rate = 1.0

    def step(
        self,
        gradients: Params,
        state: Any,
        params: Params,
        learning_rate: Array,
        decayed: Any,
        weight_decay: Array | None = None,
    ) -> tuple[Params, Any]:
        """The rule's own step with these weight decays."""
        decays, inner = state
        params, inner = self.base.step(gradients, inner, params, learning_rate, decayed, decays)
        return params, (decays, inner)
