"""Initial weights and biases: drawn on the host in float64, so that every backend starts from the same numbers.

An initialiser of your own is a subclass of `Initializer`; pass an instance to `Network` or to a layer, or give it a
name with ``nn_any.initializers.register("mine", Mine())``.
"""

import math

import numpy as np

from nn_any.core.registry import Named, Registry
from nn_any.core.typing import Shape


class Initializer(Named):
    """How a layer's weights and biases begin. Instances are immutable and hashable.

    Attributes
    ----------
    name : str
        The name under which it is registered.
    """

    kind = "initializer"

    def weights(self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Weights of the given shape, float64, for units with `fan_in` inputs and `fan_out` outputs."""
        raise NotImplementedError(f"{type(self).__name__} must define weights(rng, shape, fan_in, fan_out)")

    def biases(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        """Biases of the given shape, float64; zeros unless a subclass has others."""
        return np.zeros(shape)


class Normal(Initializer):
    """N(0, 1) for weights and biases alike: the start of the book's first network (Nielsen, chapter 1)."""

    name = "normal"

    def weights(self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """N(0, 1)."""
        return rng.standard_normal(shape)

    def biases(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        """N(0, 1)."""
        return rng.standard_normal(shape)


class ScaledNormal(Normal):
    """N(0, 1/fan_in) for weights, N(0, 1) for biases: the book's second start (Nielsen, chapter 3)."""

    name = "scaled_normal"

    def weights(self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """N(0, 1) divided by √fan_in."""
        return rng.standard_normal(shape) / math.sqrt(fan_in)


class Zeros(Initializer):
    """Zeros for weights and biases; right for a last layer, while hidden neurons that begin equal stay equal."""

    name = "zeros"

    def weights(self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """0."""
        return np.zeros(shape)


class VarianceScaling(Initializer):
    """Weights of a given variance v around 0, normal or even within ±√(3 v); biases 0.

    Instances are registered as ``glorot_normal``, ``glorot_uniform`` with v = 2 / (fan_in + fan_out), ``he_normal``,
    ``he_uniform`` with v = 2 / fan_in, ``lecun_normal`` and ``lecun_uniform`` with v = 1 / fan_in.

    References
    ----------
    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    K. He et al., "Delving deep into rectifiers", 2015, arXiv:1502.01852.
    Y. LeCun et al., "Efficient backprop", 1998.
    """

    def __init__(self, scheme: str, shape: str) -> None:
        self.name = f"{scheme}_{shape}"
        self._scheme, self._shape = scheme, shape

    def weights(self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Draws of the variance that the scheme has for this layer."""
        variance = {"glorot": 2 / (fan_in + fan_out), "he": 2 / fan_in, "lecun": 1 / fan_in}[self._scheme]
        if self._shape == "normal":
            return rng.standard_normal(shape) * math.sqrt(variance)
        return rng.uniform(-1.0, 1.0, shape) * math.sqrt(3 * variance)


class Orthogonal(Initializer):
    """Weights as a matrix (units, inputs) with orthonormal rows or columns, whichever are fewer; biases 0.

    Reference: A. M. Saxe, J. L. McClelland and S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", 2013, arXiv:1312.6120.
    """

    name = "orthogonal"

    def weights(self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """The orthogonal factor of a normal matrix, with the signs that make it evenly distributed."""
        rows, columns = shape[0], math.prod(shape[1:])
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q = q * np.sign(np.diagonal(r))
        return np.ascontiguousarray(q if rows >= columns else q.T).reshape(shape)


registry = Registry(
    Initializer,
    "initializers",
    Normal(),
    ScaledNormal(),
    Zeros(),
    Orthogonal(),
    *(VarianceScaling(scheme, shape) for scheme in ("glorot", "he", "lecun") for shape in ("normal", "uniform")),
)
register, get, names = registry.register, registry.get, registry.names
to_config, from_config = registry.to_config, registry.from_config
