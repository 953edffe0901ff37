"""From rows as a data set stores them to what the maths takes: reals in the network's dtype."""

from dataclasses import dataclass

from nn_any.core import primitives
from nn_any.core.typing import Array, Batch, Namespace


@dataclass(frozen=True)
class Preparation:
    """How a batch of stored rows becomes inputs and targets.

    Parameters
    ----------
    dtype : str
        The network's dtype, ``"float32"`` or ``"float64"``.
    outputs : int
        The number of outputs of the network.
    scale : float or None
        What stored integers are divided by.
    """

    dtype: str
    outputs: int
    scale: float | None = None

    def __call__(self, batch: Batch, *, xp: Namespace) -> tuple[Array, Array]:
        """``(x, y)`` as stored -> inputs (n, ...) and targets (n, outputs), both in the network's dtype.

        Integer `y` are labels (n,): with one output they become a column, with several one row of a unit matrix each.
        """
        x, y = batch
        return self.inputs(x, xp=xp), self.targets(y, xp=xp)

    def inputs(self, x: Array, *, xp: Namespace) -> Array:
        """Inputs in the network's dtype; integers divided by the scale."""
        dtype = getattr(xp, self.dtype)
        if self.scale is None or xp.isdtype(x.dtype, "real floating"):
            return xp.astype(x, dtype, copy=False)
        return xp.astype(x, dtype) / self.scale

    def targets(self, y: Array, *, xp: Namespace) -> Array:
        """Targets in the network's dtype."""
        dtype = getattr(xp, self.dtype)
        if xp.isdtype(y.dtype, "real floating"):
            return xp.astype(y, dtype, copy=False)
        if self.outputs == 1:
            return xp.astype(y, dtype)[..., None]
        return primitives.one_hot(y, classes=self.outputs, dtype=dtype, xp=xp)
