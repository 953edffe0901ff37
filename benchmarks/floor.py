"""The floor on a CPU: a step's matrix products and the gather of its rows, called bare, and nothing else.

The operands come from a network that has trained a little; each product is written into an aligned array that is
there already, in whichever of four ways (`dot` or `matmul`, the product or its transpose) is the quickest, on whichever
number of BLAS threads is. A convolution counts as the products of its unfolded windows, without the unfolding.
"""

import time

import numpy as np
from threadpoolctl import ThreadpoolController

import nn_any as nn
from benchmarks.sides import Side
from nn_any.core import functional, primitives


def operands(job):
    """The pairs of matrices that one step multiplies, float32: for each layer forward, gradient, and back."""
    w = job.workload
    net = job.network("numpy")
    rows = max(200 // w.batch, 2) * w.batch
    net.SGD(job.dataset(rows, "numpy"), 1, w.batch, w.rate, engine="eager")
    x, targets = job.real[: w.batch], (job.one_hot[: w.batch], None)
    state, layers = net.state, net.layers
    context = functional.contexts(state, x, layers, training=True)
    traces, _ = functional.forward(layers, state.params, state.layer_state, x, context)
    errors = functional.deltas(layers, net.specification.loss, state.params, traces, targets, context)
    pairs, first = [], True
    for layer, params, inputs, delta in zip(layers, state.params, [x, *[t.a for t in traces]], errors, strict=False):
        if not params:
            continue
        if isinstance(layer, nn.Conv2D):
            inputs = primitives.unfold(inputs, window=layer.kernel_size, stride=layer.stride, xp=context[0].xp)
            inputs = inputs.reshape(-1, params[0][0].size)
        weights, inputs, delta = (_plain(a) for a in (params[0].reshape(len(params[0]), -1), inputs, delta))
        delta = delta.reshape(-1, len(weights))
        pairs += [(inputs, weights.T), (delta.T, inputs)]
        pairs += [] if first else [(delta, weights)]
        first = False
    return pairs


def _plain(array):
    """A copy that starts on a cache line, without denormal numbers, which are slow to multiply."""
    return aligned(array.shape, np.where(np.abs(array) < 1e-30, 0, array))


def aligned(shape, values=None, dtype=np.float32):
    """An array whose memory begins at a multiple of 64 bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    array = raw[start : start + size].view(dtype).reshape(shape)
    if values is not None:
        array[...] = values
    return array


def quickest(candidates):
    """The candidate, a function and its arguments, that takes the least time here."""

    def seconds(call, *arguments):
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(10):
                call(*arguments)
            best = min(best, time.perf_counter() - start)
        return best

    return min(candidates, key=lambda candidate: seconds(*candidate))


class NumpyFloor(Side):
    """`np.take` and `np.dot` or `np.matmul`.

    Parameters
    ----------
    stored : bool
        Take the rows as they are stored, in uint8, and convert each batch.
    members : bool
        The floor of an ensemble's member, times the number of members.
    """

    def __init__(self, job, stored=False, members=False):
        super().__init__(job)
        self.times = job.workload.members if members else 1
        self.source = job.x if stored else job.real
        self.batch = aligned((job.workload.batch, *job.x.shape[1:]))
        self.bytes = aligned(self.batch.shape, dtype=np.uint8) if stored else None
        self.pools = ThreadpoolController()
        pairs, plans = operands(job), []
        for threads in {1, job.threads}:
            with self.pools.limit(limits=threads):
                calls = [quickest(_numpy_ways(a, b)) for a, b in pairs]
                plans.append((_time(lambda calls=calls: _run(calls)), threads, calls))
        _, self.threads, self.calls = min(plans, key=lambda plan: plan[0])
        self.engine = f"{self.threads} BLAS thread{'s' if self.threads > 1 else ''}"

    def run(self):
        source, batch, stored, calls = self.source, self.batch, self.bytes, self.calls
        with self.pools.limit(limits=self.threads):
            for rows in self.order:
                if stored is None:
                    np.take(source, rows, axis=0, out=batch, mode="clip")
                else:
                    np.take(source, rows, axis=0, out=stored, mode="clip")
                    np.multiply(stored, np.float32(1 / 255), out=batch)
                for call, a, b, out in calls:
                    call(a, b, out)


class TorchFloor(Side):
    """`torch.index_select` and `torch.mm`, whose BLAS is another."""

    def __init__(self, job):
        super().__init__(job)
        import torch

        self.torch, self.source = torch, torch.from_numpy(job.real)
        self.batch = torch.empty((job.workload.batch, *job.x.shape[1:]))
        pairs, plans = operands(job), []
        for threads in {1, job.threads}:
            torch.set_num_threads(threads)
            calls = [quickest(_torch_ways(torch, torch.from_numpy(a), torch.from_numpy(b))) for a, b in pairs]
            plans.append((_time(lambda calls=calls: _run(calls)), threads, calls))
        _, self.threads, self.calls = min(plans, key=lambda plan: plan[0])
        torch.set_num_threads(job.threads)
        self.engine = f"{self.threads} thread{'s' if self.threads > 1 else ''}"

    def present(self, order):
        self.order = list(self.torch.from_numpy(order))

    def run(self):
        torch = self.torch
        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            for rows in self.order:
                torch.index_select(self.source, 0, rows, out=self.batch)
                _run(self.calls)
        torch.set_num_threads(self.job.threads)


def _numpy_ways(a, b):
    out, turned = aligned((a.shape[0], b.shape[1])), aligned((b.shape[1], a.shape[0]))
    return [way for call in (np.dot, np.matmul) for way in ((call, a, b, out), (call, b.T, a.T, turned))]


def _torch_ways(torch, a, b):
    out, turned = torch.empty(a.shape[0], b.shape[1]), torch.empty(b.shape[1], a.shape[0])

    def product(a, b, out):
        torch.mm(a, b, out=out)

    return [(product, a, b, out), (product, b.T, a.T, turned)]


def _run(calls):
    for call, a, b, out in calls:
        call(a, b, out)


def _time(function):
    function()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return sorted(times)[5]
