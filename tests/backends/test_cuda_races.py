"""ThreadSanitizer finds no race in the CUDA kernels, and finds those that are put into them."""

import math
import re
from itertools import chain

import numpy as np
import pytest
from conftest import need
from cuda_races import Launch, Threads, barriers
from test_cuda_fusion import CASES, HostProgram, arguments
from test_cuda_host import Fused, compare, dense, images, make, normal, orders

import nn_any as nn
from nn_any.backends.cuda import plan_fused, source, window_shape
from nn_any.backends.cuda.fusion import THREADS, Plan, record_for_cuda
from nn_any.backends.engine import Engine
from nn_any.core import primitives
from nn_any.core.state import TrainState


@pytest.fixture(autouse=True)
def _compiler():
    need("tsan")


# -- the tool itself

PLAIN = """
extern __shared__ float numbers[];
extern "C" __global__ void plain(const float* x, float* y, int size) {
  const int i = threadIdx.x, e = blockIdx.x * blockDim.x + i;
  numbers[i] = e < size ? x[e] : 0;
  __syncthreads();
  if (e < size) y[e] = 2 * numbers[blockDim.x - 1 - i];
}
"""
LANES = """
extern __shared__ float numbers[];
extern "C" __global__ void lanes(float* y) {
  const int i = threadIdx.x;
  numbers[i] = i;
  __syncwarp();
  y[i] = numbers[i ^ 1];
}
extern "C" __global__ void shuffled(float* y) {
  const int i = threadIdx.x;
  numbers[i] = i;
  const float other = __shfl_xor_sync(0xffffffffu, float(i), 1);
  y[i] = numbers[i ^ 1] - other;
}
extern "C" __global__ void across(float* y) {
  const int i = threadIdx.x;
  numbers[i] = i;
  __syncwarp();
  y[i] = numbers[i ^ 32];
}
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    need("tsan")
    return Threads(tmp_path_factory.mktemp("plain"), PLAIN, ["plain"])


def test_threads_compute_what_a_kernel_says(plain):
    """Two blocks, each with shared memory of its own; a launch finds what the one before has left."""
    x, y, z = np.arange(0, 64, 0.5, "float32"), np.zeros(128, "float32"), np.zeros(128, "float32")
    launches = [Launch("plain", (2,), (64,), [a, b, np.int32(128)]) for a, b in ((x, y), (y, z))]
    assert plain.races(*launches) == []
    np.testing.assert_array_equal(y, 2 * x.reshape(2, 64)[:, ::-1].ravel())
    np.testing.assert_array_equal(z, 4 * x)


def test_a_missing_barrier_is_a_race(plain):
    (line,) = barriers(PLAIN)
    launch = Launch("plain", (1,), (64,), [np.ones(64, "float32"), np.zeros(64, "float32"), np.int32(64)])
    assert plain.races(launch, without=line) == ["read in kernels.cu:7, plain; write in kernels.cu:5, plain"]


def test_a_barrier_to_which_not_all_come(tmp_path):
    threads = Threads(tmp_path, PLAIN.replace("__sync", "if (i < 32) __sync"), ["plain"])
    launch = Launch("plain", (1,), (64,), [np.ones(64, "float32"), np.zeros(64, "float32"), np.int32(64)])
    with pytest.raises(AssertionError, match="it had not ended after 1 s"):
        threads.races(launch, seconds=1)


def test_blocks_race_with_each_other(tmp_path):
    """Both write to the same elements of the result."""
    threads = Threads(tmp_path, PLAIN.replace("y[e] =", "y[i] ="), ["plain"])
    launch = Launch("plain", (2,), (64,), [np.ones(128, "float32"), np.zeros(64, "float32"), np.int32(128)])
    assert threads.races(launch) == ["write in kernels.cu:7, plain; write in kernels.cu:7, plain"]


def test_arrays_with_strides_and_null_pointers(tmp_path):
    text = """
extern "C" __global__ void every_second(const float* x, const float* bias, double* y) {
  y[threadIdx.x] = x[2 * threadIdx.x] + (bias ? *bias : 0);
}
"""
    x, y = np.arange(64, dtype="float32"), np.zeros(32)
    threads = Threads(tmp_path, text, ["every_second"])
    assert threads.races(Launch("every_second", (1,), (32,), [x[::2], None, y])) == []
    np.testing.assert_array_equal(y, x[::2])
    assert threads.races(Launch("every_second", (1,), (32,), [x[::2], x[7:8], y])) == []
    np.testing.assert_array_equal(y, x[::2] + 7)


def test_what_orders_the_lanes_of_a_warp(tmp_path):
    """A barrier of the warp does, a shuffle does not, and no other warp is concerned."""
    threads = Threads(tmp_path, LANES, ["lanes", "shuffled", "across"])
    y = np.full(64, 9, "float32")
    assert threads.races(Launch("lanes", (1,), (64,), [y])) == []
    np.testing.assert_array_equal(y, np.arange(64) ^ 1)
    assert threads.races(Launch("lanes", (1,), (64,), [y]), without=barriers(LANES)[0]) != []
    assert threads.races(Launch("shuffled", (1,), (64,), [y])) != []
    assert threads.races(Launch("across", (1,), (64,), [y])) != []
    text = LANES.replace("numbers[i ^ 1] - other", "other")
    assert Threads(tmp_path, text, ["shuffled"]).races(Launch("shuffled", (1,), (64,), [y])) == []
    np.testing.assert_array_equal(y, np.arange(64) ^ 1)


# -- the fused kernel


class RacingFused(Fused):
    """The fused kernel under ThreadSanitizer, perhaps with a change of its text: what to replace, and by what."""

    def __init__(self, folder, step, data, batch, *, ahead, change=("", ""), shared_limit=227 * 1024, **settings):
        columns = [(str(column.dtype), column.shape[1:]) for column in data]
        self.plan = plan_fused(step.recipe, batch, columns, shared_limit, **settings)
        text = source("fused_mlp").replace(*change) + f"static_assert(Batch::AHEAD == {int(ahead)});"
        self.threads = Threads(folder, text, ["fused_mlp"], self.plan.macros)
        self.data, self.without, self.races = data, 0, []

    def kernel(self, grid, block, arguments):
        self.races = self.threads.races(Launch("fused_mlp", grid, block, arguments), without=self.without)


SOFTMAX = ("relu", "softmax", "log_likelihood")
SIGMOID = ("sigmoid", "sigmoid", "quadratic")
LINEAR = ("tanh", "linear", "mean_squared_error")
CONFIGURATIONS = {  # sizes, (activations, loss), batch, settings
    "inputs-shared-by-warps": ([260, 7, 5], SOFTMAX, 10, {"threads": 64, "ahead": True}),
    "one-warp": ([41, 9, 5], SIGMOID, 10, {"threads": 32, "ahead": True}),
    "many-warps": ([44, 13, 6], SIGMOID, 7, {"threads": 128, "ahead": True, "order_dtype": "int32"}),
    "not-ahead": ([47, 6, 4], SOFTMAX, 70, {"threads": 64, "ahead": False}),
    "weighted": ([20, 9, 3], LINEAR, 33, {"threads": 128, "ahead": True, "weighted": True}),
    "weights-in-global-memory": ([44, 50, 6], SIGMOID, 10, {"threads": 64, "ahead": True, "shared_limit": 13_000}),
    "in-global-memory-and-not-ahead": (
        [48, 50, 4],
        LINEAR,
        33,
        {"threads": 32, "ahead": False, "shared_limit": 36_000, "weighted": False},
    ),
    "three-layers-in-global-memory": (
        [33, 40, 20, 5],
        SOFTMAX,
        10,
        {"threads": 128, "ahead": True, "shared_limit": 16_000},
    ),
    "one-layer": ([41, 6], SIGMOID, 1, {"threads": 128, "ahead": True}),
}
STEPS, MEMBERS = 4, 2


@pytest.fixture(scope="module")
def fused(tmp_path_factory):
    """A configuration's kernel, two members' parameters, and the steps' arguments; built when it is first wanted."""
    known = {}

    def build(name, change=("", "")):
        if (name, change) in known:
            return known[name, change]
        sizes, (hidden, last, loss), batch, settings = CONFIGURATIONS[name]
        settings = dict(settings)
        weighted = settings.pop("weighted", None)
        if weighted is None:
            data, scale = images(60, sizes[0], sizes[-1]), 255
        else:
            data, scale = (normal(60, sizes[0], dtype="float32"), normal(60, sizes[-1], dtype="float32")), None
            data += (np.linspace(0, 2, 60, dtype="float32"),) if weighted else ()
        layers = [sizes[0], *dense(*[(units, hidden) for units in sizes[1:-1]], (sizes[-1], last))]
        net, step = make(layers, loss, data, scale=scale)
        kernel = RacingFused(tmp_path_factory.mktemp(name), step, data, batch, change=change, **settings)
        assert f"SHARED_WEIGHTS={int('shared_limit' not in settings)}" in kernel.plan.macros
        params = tuple(tuple(np.stack([leaf, -leaf]) for leaf in layer) for layer in net.params)
        order = orders(STEPS, batch, 60, members=MEMBERS).astype(settings.get("order_dtype", "int64"))
        rates = np.linspace(0.5, 0.2, STEPS * MEMBERS, dtype="float32").reshape(STEPS, MEMBERS)
        known[name, change] = kernel, step, net.state, params, order, rates
        return known[name, change]

    return build


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_fused_kernel_has_no_race(fused, name):
    kernel, step, state, params, order, rates = fused(name)
    got, losses = kernel.run(params, order, rates)
    assert kernel.races == []
    state = TrainState(params, ((),) * len(params), (), state.step, np.zeros((MEMBERS, 1), "int32"))
    state, expected = Engine().run(step, state, kernel.data, order, rates, 0, STEPS)
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    compare(got, state.params)


@pytest.mark.slow
@pytest.mark.parametrize("line", barriers(source("fused_mlp")))
def test_each_barrier_of_the_fused_kernel_is_needed(fused, line):
    def races_without_it(name):
        kernel, _, _, params, order, rates = fused(name)
        kernel.without = line
        try:
            kernel.run(params, order, rates)
        finally:
            kernel.without = 0
        return kernel.races

    assert any(map(races_without_it, CONFIGURATIONS))


FAULTS = {  # the configuration in which it shows; what to replace, and by what
    "one set of rows for two steps": ("not-ahead", "(step & 1) * BATCH", "0"),
    "members share their parameters": ("one-layer", "all_params + member * PARAMS", "all_params"),
    "members share their losses": ("one-layer", "write_loss(losses + at)", "write_loss(losses + step)"),
    "every warp writes the loss": ("many-warps", "lane = from_last_warp(2)", "lane = threadIdx.x % 32"),
    "two threads update a bias": ("many-warps", "int u = from_last_warp(3)", "int u = threadIdx.x / 2"),
    "parts share their sums": ("inputs-shared-by-warps", "partial_sums[part * SLOTS", "partial_sums[0 * SLOTS"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_fused_kernel_are_races(fused, fault):
    name, *change = FAULTS[fault]
    assert change[0] in source("fused_mlp")
    kernel, _, _, params, order, rates = fused(name, tuple(change))
    kernel.run(params, order, rates)
    assert kernel.races != []


# -- windows


def window_launches():
    """One of each kernel, of some blocks, with windows that overlap; and each result beside the definition's."""
    xp = nn.select_device("numpy").xp
    size, window, stride = (9, 8), (3, 2), (2, 1)
    shape = window_shape(size, 2, window, stride)
    rows, columns = int(shape["rows"]), int(shape["columns"])
    settings = {"window": window, "stride": stride, "xp": xp}
    whole, parts = normal(1, 2, *size, 2, dtype="float32"), normal(1, 2, rows, columns, 6, 2, dtype="float32")
    largest, places = primitives.definition("max_pool")(whole, **settings)
    delta, places = normal(*largest.shape, dtype="float32"), places.astype("int32")
    wanted = {
        "unfold": ([whole], [primitives.definition("unfold")(whole, **settings)]),
        "fold": ([parts], [primitives.definition("fold")(parts, size=size, **settings)]),
        "max_pool": ([whole], [largest, places]),
        "max_pool_gradient": (
            [places, delta],
            [primitives.definition("max_pool_gradient")(places, delta, size=size, **settings)],
        ),
    }
    for entry, (given, expected) in wanted.items():
        made = [np.zeros(array.shape, array.dtype) for array in expected]
        count = made[0].size
        launch = Launch(entry, (math.ceil(count / 256),), (256,), [*given, *made, shape, np.int64(count)])
        yield launch, list(zip(made, expected, strict=True))


def test_windows_have_no_race(tmp_path):
    launches, results = zip(*window_launches(), strict=True)
    threads = Threads(tmp_path, source("windows"), [launch.entry for launch in launches], ["REAL=float"])
    assert max(launch.grid for launch in launches) > (1,)
    assert threads.races(*launches) == []
    for made, expected in chain.from_iterable(results):
        np.testing.assert_allclose(made, expected, rtol=1e-6, atol=1e-6)


def test_windows_that_write_to_each_other_race(tmp_path):
    launches = [launch for launch, _ in window_launches() if launch.entry == "fold"]
    text = source("windows").replace("images[i] = sum;", "images[i / 2] = sum;")
    assert len(Threads(tmp_path, text, ["fold"], ["REAL=float"]).races(*launches)) == 1


# -- the kernels of a compiled step


class RecordedProgram(HostProgram):
    """A plan whose launches are noted, with the arrays that each of them finds and leaves."""

    def __init__(self, plan, folder):
        super().__init__(plan, folder)
        self.launches, self.left = [], []

    def _launch(self, kernel, arrays, ahead):
        found = [arrays[node] for node in kernel.pointers]
        given = [a.copy() if a.flags.c_contiguous else a for a in found]  # a column with strides, which stays as it is
        given += [np.zeros(1, np.int64), np.int32(ahead)] if kernel.counts else []
        self.launches.append(Launch(kernel.name, (kernel.blocks,), (THREADS,), given))
        super()._launch(kernel, arrays, ahead)
        self.left.append([array.copy() for array in found])


def races_of_a_step(case, folder):
    """What ThreadSanitizer says of two steps."""
    layers, optimizer, settings = CASES[case]
    (step, state, data, order, rates), _ = arguments(layers, optimizer, dtype="float32", **settings)
    notes = record_for_cuda(step, state, data, order, rates)
    program = RecordedProgram(Plan(notes), folder)
    program.run(notes, state, data, order[:2], rates[:2])
    threads = Threads(folder, program.plan.source, [kernel.name for kernel in program.kernels])
    races = threads.races(*program.launches)
    if not races:
        for launch, left in zip(program.launches, program.left, strict=True):
            for array, wanted in zip(launch.arguments[: len(left)], left, strict=True):
                np.testing.assert_array_equal(array, wanted)
    return races


STEP_CASES = (
    "momentum",
    "adam",
    "penalties",
    "convolution",
    "ensemble",
    "ensemble-masks",
    "heavy-ball",
    "swapping",
    "turning",
)


@pytest.mark.slow
@pytest.mark.parametrize("case", STEP_CASES)
def test_the_kernels_of_a_step_have_no_race(case, tmp_path):
    assert races_of_a_step(case, tmp_path) == []


def test_a_state_that_others_read_must_not_be_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(Plan, "_read_elsewhere", lambda plan, segments: set())
    (race,) = races_of_a_step("turning", tmp_path)
    assert re.fullmatch(r"read in kernels.cu:\d+, step_\d; write in kernels.cu:\d+, step_\d", race)
