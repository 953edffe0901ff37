"""Optimisers as pairs of pure functions, ``init`` and ``update``.

An optimiser of your own is a frozen dataclass derived from `Optimizer`; pass it to ``fit(optimizer=...)``. Derive it
from `Regularized` instead if it shall take weight decay, clipping and the like as arguments.
"""

from nn_any.core.optimizers.adaptive import Adagrad, Adam, AdamW, RMSprop
from nn_any.core.optimizers.base import Optimizer, Regularized
from nn_any.core.optimizers.sgd import SGD
from nn_any.core.trees import per_parameter, tree_leaves, tree_map

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "Regularized",
    "per_parameter",
    "tree_leaves",
    "tree_map",
]
