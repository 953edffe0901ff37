"""How the solvers of scikit-learn's multilayer perceptron move the weights.

They differ from this package's optimizers where the learning rate changes: velocities hold steps rather than gradients,
and ε is added before the bias is corrected.
"""

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from nn_any.core.optimizers import Optimizer
from nn_any.core.trees import tree_map
from nn_any.core.typing import Array, Params


def _zeros(params: Params) -> Any:
    return tree_map(lambda w: array_namespace(w).zeros_like(w), params)


@dataclass(frozen=True)
class SGDRule(Optimizer):
    """Gradient descent with momentum: v ← μ v - η ∇C, then w ← w + v, or with Nesterov's w ← w + μ v - η ∇C."""

    momentum: float = 0.9
    nesterov: bool = True
    learning_rate = 1.0

    def init(self, params: Params) -> Any:
        """Velocities v = 0."""
        return _zeros(params)

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """The parameters and velocities after a step."""

        def move(velocity: Array, gradient: Array) -> Array:
            return self.momentum * velocity - learning_rate * gradient

        velocities = tree_map(move, state, gradients)
        moves = tree_map(move, velocities, gradients) if self.nesterov else velocities
        return tree_map(lambda w, v: w + v, params, moves), velocities


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
        """The running means m = 0 of gradients and v = 0 of their squares."""
        return _zeros(params), _zeros(params)

    def update(self, gradients: Params, state: Any, params: Params, learning_rate: Array) -> tuple[Params, Any]:
        """The parameters and means after a step."""
        xp = array_namespace(learning_rate)
        means = tree_map(lambda m, g: self.beta_1 * m + (1 - self.beta_1) * g, state[0], gradients)
        squares = tree_map(lambda v, g: self.beta_2 * v + (1 - self.beta_2) * (g * g), state[1], gradients)

        def move(w: Array, m: Array, v: Array) -> Array:
            return w - learning_rate * m / (xp.sqrt(v) + self.epsilon)

        return tree_map(move, params, means, squares), (means, squares)
