"""NumPy's compiled engine: a training step is recorded once, then replayed into buffers that are there already."""

from nn_any.backends.replay.engine import ReplayEngine
from nn_any.backends.replay.recorded import record_convolution, record_primitive

__all__ = ["ReplayEngine", "record_convolution", "record_primitive"]
