"""From rows as a data set stores them to what the maths takes: reals in the network's dtype."""

from dataclasses import dataclass

from nn_any.core import primitives
from nn_any.core.typing import Array, Batch, Namespace, Targets


@dataclass(frozen=True)
class Preparation:
    """How a batch of stored rows becomes inputs and targets."""

    dtype: str
    """The network's dtype, ``"float32"`` or ``"float64"``."""
    outputs: int
    """The number of outputs of the network."""
    scale: float | None = None
    """What stored inputs are divided by."""
    labels: bool = False
    """Whether the stored targets are integer labels rather than real numbers."""

    def __call__(self, batch: Batch, *, xp: Namespace) -> tuple[Array, Targets]:
        """Rows as stored -> inputs (n, ...), and targets (n, outputs) with the examples' weights (n,) or None."""
        x, y, *weights = batch
        return self.inputs(x, xp=xp), (self.targets(y, xp=xp), weights[0] if weights else None)

    def inputs(self, x: Array, *, xp: Namespace) -> Array:
        """Inputs in the network's dtype, divided by the scale."""
        x = xp.astype(x, getattr(xp, self.dtype), copy=False)
        return x if self.scale is None else x / self.scale

    def targets(self, y: Array, *, xp: Namespace) -> Array:
        """Targets in the network's dtype; labels (n,) become a column for one output, else a row of 0 and 1 each."""
        dtype = getattr(xp, self.dtype)
        if not self.labels:
            return xp.astype(y, dtype, copy=False)
        if self.outputs == 1:
            return xp.astype(y, dtype)[..., None]
        return primitives.one_hot(y, classes=self.outputs, dtype=dtype, xp=xp)
