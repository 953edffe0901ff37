"""The lists of weights and biases of an estimator, which its users hold, and may write into."""

from typing import Any

import numpy as np

from nn_any.backends import to_numpy
from nn_any.network import Network


class HandedOut:
    """`coefs_` and `intercepts_` as lists of NumPy arrays, and what has become of them since they were handed out.

    Attributes
    ----------
    coefs_ : list of arrays
        The weights of each layer: (inputs, units); those of convolutions as the network has them.
    intercepts_ : list of arrays
        The biases of each layer: (units,).
    """

    def __init__(self, network: Network) -> None:
        self.coefs_ = [np.ascontiguousarray(_turned(to_numpy(w))) for w in network.weights]
        self.intercepts_ = [to_numpy(b) for b in network.biases]
        self._remember(network)

    def _remember(self, network: Network) -> None:
        self._params = network.snapshot.blocks[0].params
        self._before = [a.copy() for a in (*self.coefs_, *self.intercepts_)]

    def take_over(self, network: Network) -> bool:
        """Give the network the numbers that a user has written; whether the lists are then those of the network."""
        now = [*self.coefs_, *self.intercepts_]
        unchanged = len(now) == len(self._before) and all(
            np.array_equal(a, b, equal_nan=True) for a, b in zip(now, self._before, strict=True)
        )
        if unchanged:
            return network.snapshot.blocks[0].params is self._params
        network.set_weights([_turned(np.asarray(w)) for w in self.coefs_], list(map(np.asarray, self.intercepts_)))
        self.coefs_, self.intercepts_ = list(map(np.asarray, self.coefs_)), list(map(np.asarray, self.intercepts_))
        self._remember(network)
        return True


def _turned(w: Any) -> Any:
    """Weights of units with their axes the other way round."""
    return w.T if w.ndim == 2 else w
