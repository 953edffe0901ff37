"""The floor on a GPU: the larger of a step's bytes over the copy bandwidth and its operations over the product rate.

Both are measured here, on the same GPU and in the same dtype, by PyTorch or by CuPy, whichever is there. A step reads
its rows as they are stored, and reads and writes every parameter once; it multiplies forward, for the gradients, and
back.
"""

import math
import time
from importlib.util import find_spec

import nn_any as nn
from benchmarks.sides import Side

COPIED = 1 << 30
"""Bytes that the copy moves, each read and written."""
SIDE = 8192
"""Rows and columns of the square product."""


class GpuFloor(Side):
    """Computed, not run: `seconds` is what a stretch would take at the measured limits."""

    def __init__(self, job):
        super().__init__(job)
        copy, product = _calls()
        self.bandwidth = 2 * COPIED / _median_seconds(copy)
        self.rate = 2 * SIDE**3 / _median_seconds(product)
        self.engine = f"{self.bandwidth / 1e9:,.0f} GB/s, {self.rate / 1e12:.1f} TFLOP/s in float32"

    def seconds(self):
        w = self.job.workload
        step = max(step_bytes(self.job) / self.bandwidth, step_operations(self.job) / self.rate)
        return step * len(self.order) * w.members


def step_bytes(job):
    """The rows of a batch as stored, and all parameters in float32 twice: read and written."""
    parameters = sum(array.size for array in (*job.weights, *job.biases))
    return job.workload.batch * math.prod(job.x.shape[1:]) * job.x.itemsize + 2 * 4 * parameters


def step_operations(job):
    """Multiplications and additions of a step's products: three a layer, but two for the first."""
    total, shape, lowest = 0, job.x.shape[1:], True
    for layer in job.layers:
        after = layer.output_shape(shape)
        if isinstance(layer, nn.Dense | nn.Conv2D):
            window = math.prod(shape) if isinstance(layer, nn.Dense) else math.prod(layer.kernel_size) * shape[2]
            total += 2 * job.workload.batch * math.prod(after) * window * (2 if lowest else 3)
            lowest = False
        shape = after
    return total


def _calls():
    """A copy and a product, each done when its call returns."""
    if find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            return _torch_calls(torch)
    if find_spec("cupy"):
        return _cupy_calls()
    raise RuntimeError("neither PyTorch nor CuPy finds a CUDA GPU")


def _torch_calls(torch):
    torch.backends.cuda.matmul.allow_tf32 = False
    source = torch.ones(COPIED // 4, device="cuda")
    target = torch.empty_like(source)
    a, b = torch.randn(2, SIDE, SIDE, device="cuda")
    out = torch.empty_like(a)

    def copy():
        target.copy_(source)
        torch.cuda.synchronize()

    def product():
        torch.mm(a, b, out=out)
        torch.cuda.synchronize()

    return copy, product


def _cupy_calls():
    import cupy

    source = cupy.ones(COPIED // 4, dtype="float32")
    target = cupy.empty_like(source)
    a, b = cupy.random.standard_normal((2, SIDE, SIDE), dtype="float32")
    out = cupy.empty_like(a)

    def copy():
        cupy.copyto(target, source)
        cupy.cuda.Device().synchronize()

    def product():
        cupy.matmul(a, b, out=out)
        cupy.cuda.Device().synchronize()

    return copy, product


def _median_seconds(call):
    for _ in range(3):
        call()
    times = []
    for _ in range(15):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[7]
