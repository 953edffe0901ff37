"""How the solvers of scikit-learn's multilayer perceptron move the weights.

They differ from this package's optimizers where the learning rate changes: velocities hold steps rather than gradients,
and ε is added before the bias is corrected.
"""

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from nn_any.core.optimizers import Optimizer
from nn_any.core.trees import filled, flattened, tree_map
from nn_any.core.typing import Array, Params


def _zeros(params: Params) -> Array:
    numbers = flattened(params)
    return array_namespace(numbers).zeros_like(numbers)


@dataclass(frozen=True)
class SGDRule(Optimizer):
    """Gradient descent with momentum: v ← μ v - η ∇C, then w ← w + v, or with Nesterov's w ← w + μ v - η ∇C."""

    momentum: float = 0.9
    nesterov: bool = True
    learning_rate = 1.0

    def init(self, params: Params) -> Any:
        """Velocities v = 0, of all parameters one after another: few long calls take less time than many short ones."""
        return _zeros(params)

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """The parameters and velocities after a step."""
        falls = learning_rate * flattened(gradients)
        velocities = self.momentum * state - falls
        moves = self.momentum * velocities - falls if self.nesterov else velocities
        return tree_map(lambda w, v: w + v, params, filled(params, moves)), velocities


@dataclass(frozen=True)
class AdamRule(Optimizer):
    """Adam, whose learning rate η √(1 - β₂ᵗ) / (1 - β₁ᵗ) comes with the step: w ← w - η m / (√v + ε).

    Kingma and Ba, arXiv:1412.6980, at the end of section 2.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    learning_rate = 1.0

    def init(self, params: Params) -> Any:
        """The running means m = 0 of gradients and v = 0 of their squares, of all parameters one after another."""
        return _zeros(params), _zeros(params)

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """The parameters and means after a step."""
        xp = array_namespace(learning_rate)
        g = flattened(gradients)
        means = self.beta_1 * state[0] + (1 - self.beta_1) * g
        squares = self.beta_2 * state[1] + (1 - self.beta_2) * (g * g)
        moves = learning_rate * means / (xp.sqrt(squares) + self.epsilon)
        return tree_map(lambda w, move: w - move, params, filled(params, moves)), (means, squares)
