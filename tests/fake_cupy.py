"""A stand-in for CuPy where there is no GPU: NumPy's arrays, our CUDA kernels on the host, streams that record nothing.

It lets the host's side of the CuPy engine run: how state is packed, which batch is picked, what is copied when. What
only CUDA can tell (capture, memory pools, streams) is left to the tests that are marked ``gpu``.
"""

import sys
import types
from contextlib import contextmanager

import array_api_compat.numpy
import numpy as np
import scipy.special
from cuda_tools import HostKernel

SOURCES = {"fused_mlp": "fused_mlp", "matmul": "matmul"}


class Stream:
    """Work on it is done at once."""

    def __init__(self, non_blocking=False):
        self.capturing = False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def record(self):
        return "an event"

    def wait_event(self, event):
        assert event == "an event"

    def synchronize(self):
        assert not self.capturing

    def begin_capture(self):
        self.capturing = True

    def end_capture(self):
        assert self.capturing
        self.capturing = False


class Device:
    def __init__(self, index=0):
        self.attributes = {"MultiProcessorCount": 4, "MaxSharedMemoryPerBlockOptin": 64 * 1024}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


class MemoryPool:
    def malloc(self, size):
        raise AssertionError("NumPy allocates")


@contextmanager
def using_allocator(allocator):
    assert callable(allocator)
    yield


def _record(loss, step, losses):
    losses[step[0]] = loss


ELEMENTWISE = {
    "nn_any_record": _record,
    "nn_any_sigmoid_gradient": lambda a, d: d * (a * (1 - a)),
    "nn_any_relu": lambda z: np.where(z < 0, z.dtype.type(0), z),
    "nn_any_relu_gradient": lambda z, d: d * (z > 0),
    "nn_any_vecdot": lambda a, b, axis: (a * b).sum(axis=axis),
}


def install(monkeypatch, folder):
    """Make ``import cupy`` give the stand-in, and forget modules that were imported with another."""
    built = {}

    class RawKernel:
        max_dynamic_shared_size_bytes = 48 * 1024

        def __init__(self, code, entry, options):
            assert f"{entry}(" in code
            self.entry, self.options = entry, options

        def __call__(self, grid, block, arguments, shared_mem=0):
            assert shared_mem <= self.max_dynamic_shared_size_bytes
            assert not any(isinstance(argument, int | float) for argument in arguments)
            key = self.entry, self.options
            if key not in built:
                place = folder / str(len(built))
                place.mkdir()
                macros = [option[2:] for option in self.options if option.startswith("-D")]
                macros += [] if self.entry == "fused_mlp" else ["__shared__=static"]
                built[key] = HostKernel(place, SOURCES.get(self.entry, "windows"), self.entry, macros)
            built[key](grid, block, arguments, shared_mem)

    cupy = types.ModuleType("cupy")
    cupy.__dict__.update({name: getattr(np, name) for name in np.__all__}, __version__="stand-in")
    cupy.RawKernel = RawKernel
    cupy.ElementwiseKernel = lambda inputs, outputs, operation, name: ELEMENTWISE[name]
    cupy.ReductionKernel = lambda inputs, outputs, each, reduce, after, identity, name: ELEMENTWISE[name]
    stream = Stream()
    cupy.cuda = types.SimpleNamespace(
        Stream=Stream,
        Device=Device,
        MemoryPool=MemoryPool,
        using_allocator=using_allocator,
        get_current_stream=lambda: stream,
    )
    compute_types = {"now": "default"}
    core = types.ModuleType("cupy._core")
    core._routines_linalg = types.SimpleNamespace(
        COMPUTE_TYPE_TF32="tf32",
        get_compute_type=lambda dtype: compute_types["now"],
        set_compute_type=lambda dtype, kind: compute_types.update(now=kind),
    )
    special = types.ModuleType("cupyx.scipy.special")
    special.expit = scipy.special.expit
    cupyx = types.ModuleType("cupyx")
    cupyx.scipy = types.SimpleNamespace(special=special)
    modules = {
        "cupy": cupy,
        "cupy._core": core,
        "cupyx": cupyx,
        "cupyx.scipy": cupyx.scipy,
        "cupyx.scipy.special": special,
    }
    modules["array_api_compat.cupy"] = array_api_compat.numpy
    for name in [name for name in sys.modules if name.startswith("nn_any.backends._cupy")]:
        monkeypatch.delitem(sys.modules, name)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(array_api_compat, "cupy", array_api_compat.numpy, raising=False)
    return compute_types
