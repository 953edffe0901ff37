"""Optimisers of a user's own whose new state has arrays of the old one."""

import dataclasses

from nn_any.core.optimizers import Optimizer
from nn_any.core.trees import tree_map


@dataclasses.dataclass(frozen=True)
class HeavyBall(Optimizer):
    """Momentum as Polyak wrote it, w - η ∇C + 0.9 (w - w before): its state is the weights of the step before."""

    learning_rate: float = 0.1

    def init(self, params):
        return params

    def update(self, gradients, state, params, learning_rate):
        def move(w, g, before):
            return w - learning_rate * g + 0.9 * (w - before)

        return tree_map(move, params, gradients, state), params
