"""The stand-in for CUDA under the real CuPy notices what a GPU would punish, and its cuBLAS multiplies."""

import ctypes
from contextlib import suppress

import numpy as np
import pytest

pytestmark = pytest.mark.gpu

SOURCE = """
extern "C" __global__ void add_one(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i] + 1;
}
extern "C" __global__ void __launch_bounds__(64) turn(float* x) {
  __shared__ float row[64];
  row[threadIdx.x] = x[threadIdx.x];
  BARRIER
  x[threadIdx.x] = row[63 - threadIdx.x];
}
"""


@pytest.fixture
def cupy(machine):
    import cupy

    yield cupy
    cupy.cuda.Device().synchronize()  # memory that a stream has read may be used again


@pytest.fixture
def other(cupy):
    """A second GPU."""
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two GPUs")
    return cupy.cuda.Device(1)


@pytest.fixture
def told(machine):
    """The violations so far, which are forgotten, so that they do not fail the test."""

    def told():
        found = machine.violations()
        machine.reset()
        return found

    return told


def kernel(cupy, name="add_one", barrier="__syncthreads();"):
    return cupy.RawKernel(SOURCE.replace("BARRIER", barrier), name)


def add_one(cupy, x, y):
    kernel(cupy)((1,), (32,), (x, y, np.int32(x.size)))


def test_work_in_order_is_fine(cupy, told):
    x, y = cupy.arange(8, dtype="float32"), cupy.empty(8, "float32")
    add_one(cupy, x, y)
    assert y.get().tolist() == list(range(1, 9))
    assert told() == []


def test_pointers_of_the_host(cupy, told):
    host = np.zeros(8, "float32")
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        kernel(cupy)((1,), (32,), (np.int64(host.ctypes.data), cupy.empty(8, "float32"), np.int32(8)))
    assert told() == ["kernel add_one gets a pointer of the host"]


def test_memory_of_another_device(cupy, other, told):
    with other:
        x = cupy.zeros(8, "float32")
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        kernel(cupy)((1,), (32,), (x, cupy.empty(8, "float32"), np.int32(8)))
    assert told() == ["kernel add_one on device 0 uses memory of device 1"]


def test_memory_that_was_freed(cupy, told):
    memory = cupy.cuda.memory.Memory(4096)
    pointer = memory.ptr
    del memory
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        kernel(cupy)((1,), (32,), (np.int64(pointer), cupy.empty(8, "float32"), np.int32(8)))
    assert told() == ["kernel add_one uses memory that was freed"]


def test_memory_that_was_given_back_to_the_pool_or_never_written_is_not_a_number(cupy):
    x = cupy.ones(1000, "float32")
    there = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(x.data.ptr, x.nbytes, None), 0)
    view = cupy.ndarray(x.shape, x.dtype, there)
    del x
    assert np.isnan(view.get()).all()
    assert np.isnan(cupy.empty(1000, "float32").get()).all()


@pytest.mark.parametrize("wait", [False, True])
def test_streams_that_nothing_orders(cupy, told, wait):
    one, other = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
    x, y, z = (cupy.zeros(8, "float32") for _ in range(3))
    cupy.cuda.Device().synchronize()
    with one:
        add_one(cupy, x, y)
    if wait:
        other.wait_event(one.record())
    with other:
        add_one(cupy, y, z)
    wrong = "kernel add_one uses what kernel add_one (device 0) wrote on another stream, and nothing orders the two"
    assert told() == ([] if wait else [wrong])


@pytest.mark.parametrize("what", ["synchronise", "copy", "default", "event"])
def test_what_no_capture_may_hold(cupy, told, what):
    stream, event = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event()
    x, y, host = cupy.zeros(8, "float32"), cupy.zeros(8, "float32"), np.ones(8, "float32")
    event.record()
    cupy.cuda.Device().synchronize()
    told()
    with stream, suppress(cupy.cuda.runtime.CUDARuntimeError):
        stream.begin_capture()
        try:
            if what == "synchronise":
                stream.synchronize()
            elif what == "copy":
                cupy.cuda.runtime.memcpyAsync(x.data.ptr, host.ctypes.data, host.nbytes, 1, stream.ptr)
            elif what == "event":
                stream.wait_event(event)
            else:
                with cupy.cuda.Stream.null:
                    add_one(cupy, x, y)
        finally:
            stream.end_capture()
    words = {
        "synchronise": "cudaStreamSynchronize during a capture",
        "copy": "which will copy from the same place of the host",
        "default": "in the default stream while another is captured",
        "event": "waits for an event from outside of the capture",
    }
    assert any(words[what] in wrong for wrong in told())


def test_a_graph_of_another_device(cupy, other, told):
    x = cupy.zeros(8, "float32")
    y = x + 1
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        add_one(cupy, x, y)
        graph = stream.end_capture()
    told()
    with other, pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
        graph.launch(stream)
    assert any("graph of device 0" in wrong for wrong in told())


def test_a_missing_barrier(cupy):
    """It shows in the numbers: threads come in one order, and after a barrier in the other."""
    expected = np.arange(64, dtype="float32")[::-1]
    for barrier, right in (("__syncthreads();", True), ("", False)):
        x = cupy.arange(64, dtype="float32")
        kernel(cupy, "turn", barrier)((1,), (64,), (x,))
        assert np.array_equal(x.get(), expected) == right


def test_bounds_of_a_launch(cupy, told):
    x = cupy.zeros(128, "float32")
    for grid, block, shared in (((1,), (128,), 0), ((1, 70_000), (32,), 0), ((1,), (32,), 60_000)):
        with pytest.raises(cupy.cuda.driver.CUDADriverError):
            kernel(cupy, "turn")(grid, block, (x,), shared_mem=shared)
        assert len(told()) == 1


# ---- cuBLAS, against NumPy

FLOAT, DOUBLE = 0, 1
COMPUTE = {
    "float32": (68, FLOAT, 2**-22),
    "tf32": (77, FLOAT, 2**-10),
    "bfloat16": (75, FLOAT, 2**-7),
    "float64": (70, DOUBLE, 2**-50),
}
"""cublasComputeType_t, cudaDataType_t, and what rounding may cost."""


@pytest.fixture
def cublas(cupy):
    from cuda import pathfinder

    library = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    handle = ctypes.c_void_p()
    assert library.cublasCreate_v2(ctypes.byref(handle)) == 0
    yield lambda name, *args: getattr(library, name)(handle, *args)
    library.cublasDestroy_v2(handle)


def gemm(cupy, cublas, a, b, c, arithmetic, ta=0, tb=0):
    """c = op(a) op(b) of matrices by columns: arrays in Fortran's order."""
    compute, kind, _ = COMPUTE[arithmetic]
    scalar = ctypes.c_double if kind else ctypes.c_float
    sizes = c.shape[0], c.shape[1], a.shape[0 if ta else 1]
    operands = [(ctypes.c_void_p(x.data.ptr), kind, x.shape[0]) for x in (a, b, c)]
    one, zero = ctypes.byref(scalar(1)), ctypes.byref(scalar(0))
    return cublas("cublasGemmEx", ta, tb, *sizes, one, *operands[0], *operands[1], zero, *operands[2], compute, -1)


@pytest.mark.parametrize("arithmetic", COMPUTE)
@pytest.mark.parametrize(("ta", "tb"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_products(cupy, cublas, arithmetic, ta, tb):
    _, kind, eps = COMPUTE[arithmetic]
    rng, dtype = np.random.default_rng(0), "float64" if kind else "float32"
    a, b = rng.normal(size=(7, 5)), rng.normal(size=(5, 6))
    stored = [cupy.asarray(np.asarray(x.T if t else x, dtype, order="F")) for x, t in ((a, ta), (b, tb))]
    c = cupy.empty((7, 6), dtype, order="F")
    assert gemm(cupy, cublas, *stored, c, arithmetic, ta, tb) == 0
    error = abs(c.get() - a @ b).max()
    assert error < 10 * eps
    assert arithmetic not in ("tf32", "bfloat16") or error > eps / 50  # which are rounded, indeed


def test_a_product_in_a_graph_needs_a_workspace_of_its_own(cupy, cublas, told):
    a, c = cupy.ones((4, 4), "float32", order="F"), cupy.zeros((4, 4), "float32", order="F")
    workspace, stream = cupy.empty(4096, "uint8"), cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    for give in (True, False):
        with stream:
            cublas("cublasSetStream_v2", ctypes.c_void_p(stream.ptr))  # which takes the workspace away
            if give:
                cublas("cublasSetWorkspace_v2", ctypes.c_void_p(workspace.data.ptr), ctypes.c_size_t(workspace.nbytes))
            stream.begin_capture()
            gemm(cupy, cublas, a, a, c, "float32")
            stream.end_capture()
        assert bool(told()) != give


def test_the_handle_of_another_device(cupy, other, cublas, told):
    with other:
        a = cupy.ones((4, 4), "float32", order="F")
        assert gemm(cupy, cublas, a, a, a, "float32") != 0
    assert told() == ["cublasGemmEx with the cuBLAS handle of another device"]
