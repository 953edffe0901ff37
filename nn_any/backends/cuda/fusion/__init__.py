"""A compiler of training steps for CUDA: the recorded calls of a step become few kernels and matrix products.

`recording` notes the calls, `plan` says what becomes one kernel, and `writer` writes its text, with the help of
`elementwise`, `reductions` and `views`. Nothing here needs a GPU, or a library for one.
"""

from nn_any.backends.cuda.fusion.plan import Plan
from nn_any.backends.cuda.fusion.recording import WHOLE, record_for_cuda
from nn_any.backends.cuda.fusion.writer import OPTIONS, THREADS, Kernel

__all__ = ["OPTIONS", "THREADS", "WHOLE", "Kernel", "Plan", "record_for_cuda"]
