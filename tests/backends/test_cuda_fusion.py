"""The compiler of steps for CUDA: its kernels, built for the host, give what the plain loop gives, in few launches."""

import ctypes
import dataclasses
import math
import operator
import subprocess

import array_api_compat.numpy as xp
import numpy as np
import pytest
from conftest import need
from cuda_tools import SHIM, find_cxx, nvrtc
from own_optimizers import HeavyBall

import nn_any as nn
from nn_any.backends.cuda.fusion import OPTIONS, THREADS, WHOLE, Kernel, Plan, record_for_cuda, roles
from nn_any.backends.engine import Engine
from nn_any.backends.replay.nodes import Node, map_leaves
from nn_any.backends.replay.recorded import UnrecordableError
from nn_any.core import functional, primitives
from nn_any.core.batches import Preparation
from nn_any.core.state import TrainState
from nn_any.core.trees import tree_leaves, tree_map

EXAMPLES = 50


def with_item(array, key, value):
    changed = array.copy()
    changed[key] = value
    return changed


OWN = {
    "mT": operator.attrgetter("mT"),
    "getitem": operator.getitem,
    "part": operator.getitem,
    "setitem": with_item,
}


class HostProgram:
    """A plan whose kernels a C++ compiler builds, and whose calls NumPy makes."""

    def __init__(self, plan, folder):
        self.plan = plan
        self.kernels = [work for work in plan.work if isinstance(work, Kernel)]
        code = folder / "step.cpp"
        entries = [f"KERNEL({kernel.name})" for kernel in self.kernels]
        code.write_text("\n".join([f'#include "{SHIM}"', plan.source, *entries]), encoding="utf-8")
        command = [find_cxx(), "-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-o", code.with_suffix(".so"), code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:3000]
        self.library = ctypes.CDLL(str(code.with_suffix(".so")))

    def run(self, notes, state, data, order, rates):
        """All steps: the state after them, leaf by leaf, and the losses."""
        losses = np.full((len(order), *notes.loss.layout.shape), np.nan, notes.loss.layout.dtype)
        leaves = [np.array(leaf, order="C") for leaf in tree_leaves(state)]
        fixed = dict(zip([*notes.state, *notes.columns], [*leaves, *data], strict=True))
        fixed |= {notes.rows: order, notes.rate: rates, self.plan.losses: losses}
        fixed |= {node: np.ascontiguousarray(node.value) for node in self.plan.constants}
        for ahead in range(len(order)):
            self._step(dict(fixed), ahead)
        return leaves, losses

    def _step(self, arrays, ahead):
        for work, done_with in zip(self.plan.work, self.plan.done_with, strict=True):
            if isinstance(work, Kernel):
                for node in work.made:
                    poison = math.nan if node.layout.dtype.kind == "f" else 77
                    arrays[node] = np.full(node.layout.shape, poison, node.layout.dtype)
                self._launch(work, arrays, ahead)
            else:
                made = value(work, arrays)
                if work.source is not None and work.root.name == "input":
                    made = made.copy()
                arrays[work] = made if work.several else np.ascontiguousarray(made)
            for node in done_with:
                del arrays[node]

    def _launch(self, kernel, arrays, ahead):
        given = [np.array(arrays[node].ctypes.data) for node in kernel.pointers]
        if kernel.counts:
            at = np.zeros(1, np.int64)
            given += [np.array(at.ctypes.data), np.array(ahead, np.int32)]
        addresses = (ctypes.c_void_p * len(given))(*[argument.ctypes.data for argument in given])
        getattr(self.library, f"launch_{kernel.name}")(kernel.blocks, 1, 1, THREADS, addresses)


def value(leaf, arrays):
    if not isinstance(leaf, Node):
        return leaf
    if leaf in arrays:
        return arrays[leaf]
    args, kwargs = (map_leaves(lambda x: value(x, arrays), tree) for tree in (leaf.args, leaf.kwargs))
    if leaf.name in WHOLE:
        return primitives.definition(leaf.name)(*args, xp=xp, **kwargs)
    return (OWN.get(leaf.name) or getattr(xp, leaf.name))(*args, **kwargs)


@dataclasses.dataclass(frozen=True)
class Swapping(HeavyBall):
    """An optimiser whose state is what another of its states was."""

    def init(self, params):
        return params, tree_map(lambda w: w + 1.0, params)

    def update(self, gradients, state, params, learning_rate):
        first, second = state
        return tree_map(lambda w, s: w - learning_rate * s, params, second), (second, first)


@dataclasses.dataclass(frozen=True)
class Turning(HeavyBall):
    """An optimiser that overwrites a square matrix by its transpose, so that threads read what others write."""

    def update(self, gradients, state, params, learning_rate):
        def turned(w):
            return w.mT if w.ndim == 2 and w.shape[0] == w.shape[1] else -w

        return tree_map(lambda w, g: w - learning_rate * g, params, gradients), tree_map(turned, state)


def make(layers, optimizer, loss="quadratic", dtype="float32", members=None):
    net = nn.Network(layers, loss=loss, initializer="scaled_normal", seed=1, device="numpy", dtype=dtype)
    rule = optimizer.update_rule()
    step = functional.train_step(net.layers, net.specification.loss, rule, Preparation(dtype, net.outputs, 255.0, True))
    params, layer_state, _, count, key = net.state
    if members:
        params, layer_state = (tree_map(lambda x: np.stack([x, x + 0.1, -x]), tree) for tree in (params, layer_state))
        key = np.arange(3, dtype="int32")[:, None]
    return step, TrainState(params, layer_state, rule.init(params), count, key)


def dense(*layers):
    return [nn.Dense(units, activation=activation) for units, activation in layers]


IMAGES = [(7, 7, 1), nn.Conv2D(3, 3, activation="relu"), nn.MaxPool2D(2), nn.Flatten(), nn.Dropout(0.2)]
CASES = {
    "sgd": ([20, 8, 4], nn.SGD(1.0), {}),
    "momentum": ([20, 8, 4], nn.SGD(1.0, momentum=0.9), {}),
    "nesterov": ([20, 8, 4], nn.SGD(1.0, momentum=0.9, nesterov=True), {}),
    "adam": ([20, 8, 4], nn.Adam(), {"loss": "cross_entropy"}),
    "adamw": ([20, *dense((8, "gelu"), (4, "linear"))], nn.AdamW(), {"loss": "huber"}),
    "adagrad": ([20, *dense((8, "silu"), (8, "softplus"), (4, "tanh"))], nn.Adagrad(), {}),
    "rmsprop": ([20, 8, 4], nn.RMSprop(centered=True, momentum=0.5, clip_value=0.1), {}),
    "penalties": (
        [20, 8, 4],
        nn.SGD(1.0, momentum=0.9, clip_norm=0.1, max_norm=1.0, weight_decay=0.01, l1=0.001),
        {},
    ),
    "softmax": ([20, *dense((3, "relu"), (40, "softmax"))], nn.SGD(1.0), {"loss": "log_likelihood", "batch": 33}),
    "many-classes": (
        [
            9,
            *dense(
                (700, "softmax"),
            ),
        ],
        nn.SGD(1.0),
        {"loss": "log_likelihood", "classes": 700},
    ),
    "convolution": ([*IMAGES, *dense((4, "softmax"))], nn.SGD(1.0, momentum=0.9), {"loss": "log_likelihood"}),
    "padded": (
        [(7, 7, 1), nn.Conv2D(3, 3, activation="relu", padding="same"), nn.AveragePool2D(2), nn.Flatten(), 4],
        nn.SGD(1.0, momentum=0.9),
        {},
    ),
    "very-wide": ([8, *dense((4200, "sigmoid"))], nn.SGD(0.01, momentum=0.9), {}),
    "normalised": (
        [(9, 9, 1), nn.Conv2D(4, 3), nn.MaxPool2D(3, stride=1), nn.BatchNorm(), nn.Flatten(), nn.Dense(4)],
        nn.SGD(1.0, weight_decay=0.01),
        {},
    ),
    "ensemble": ([20, 8, 4], nn.SGD(1.0, momentum=0.9), {"members": 3}),
    "ensemble-masks": (
        [20, nn.Dense(8, activation="tanh"), nn.LayerNorm(), nn.Dropout(0.3), 4],
        nn.Adam(),
        {"members": 3},
    ),
    "heavy-ball": ([20, 8, 4], HeavyBall(), {}),
    "swapping": ([20, 8, 4], Swapping(), {}),
    "turning": ([6, *dense((6, "tanh"), (4, "sigmoid"))], Turning(), {}),
    "data-with-strides": ([20, 8, 4], nn.SGD(1.0, momentum=0.9), {"turned": True}),
    "deep": ([6, *dense(*[(6, "tanh")] * 40, (4, "sigmoid"))], nn.Adam(), {}),
    "one-layer": ([20, 4], nn.SGD(1.0, momentum=0.9), {}),
}


def arguments(
    layers, optimizer, *, dtype, loss="quadratic", batch=5, classes=4, members=None, own_rates=False, turned=False
):
    """A step and what `Engine.run` gives it, after the plain loop's results for it, in float64."""
    shape = layers[0] if isinstance(layers[0], tuple) else (layers[0],)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (EXAMPLES, *shape)).astype("uint8")
    y = rng.integers(0, classes, EXAMPLES)
    if turned:
        x, y = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, 1)), 1, 0), np.repeat(y, 2)[::2]
    data = x, y
    order = rng.integers(0, EXAMPLES, (6, members, batch) if members else (6, batch))
    rates = np.linspace(0.3, 0.1, 6)
    if own_rates:
        rates = rates[:, None] * np.array([1, 2, 0.5])
    exact = [*make(layers, optimizer, loss, "float64", members), data, order, rates]
    expected = Engine().run(*exact, 0, len(order))
    step, state = make(layers, optimizer, loss, dtype, members)
    return (step, state, data, order, rates.astype(dtype)), expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_the_kernels_of_a_step(case, dtype, tmp_path):
    need("cxx")
    layers, optimizer, settings = CASES[case]
    given, (state, expected) = arguments(layers, optimizer, dtype=dtype, **settings)
    notes = record_for_cuda(*given)
    program = HostProgram(Plan(notes), tmp_path)
    assert max(len(kernel.pointers) for kernel in program.kernels) <= 256  # 4 KiB of arguments are 512
    leaves, losses = program.run(notes, *given[1:])
    rtol = {"float32": 2e-4, "float64": 1e-10}[dtype]
    np.testing.assert_allclose(losses, expected, rtol=rtol)
    for got, before, wanted in zip(leaves, tree_leaves(given[1]), tree_leaves(state), strict=True):
        assert got.dtype == before.dtype
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol)


@pytest.mark.slow
@pytest.mark.parametrize("version", [12, 13])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_the_kernels_compile_for_a_gpu(case, dtype, version):
    need(f"nvrtc{version}")
    layers, optimizer, settings = CASES[case]
    given, _ = arguments(layers, optimizer, dtype=dtype, **settings)
    assert nvrtc(Plan(record_for_cuda(*given)).source, OPTIONS, 90, version)[:4] == b"\x7fELF"


@pytest.mark.parametrize("version", [12, 13])
@pytest.mark.parametrize("capability", [75, 80, 86, 89, 90, 100, 120])
def test_the_kernels_compile_for_each_gpu(capability, version):
    need(f"nvrtc{version}")
    layers, optimizer, settings = CASES["ensemble-masks"]
    given, _ = arguments(layers, optimizer, dtype="float32", **settings)
    assert nvrtc(Plan(record_for_cuda(*given)).source, OPTIONS, capability, version)[:4] == b"\x7fELF"


@pytest.mark.parametrize(
    ("layers", "optimizer", "loss", "batch", "kernels", "calls"),
    [
        ([784, 30, 10], nn.SGD(0.1), "quadratic", 10, 5, 5),
        ([784, 30, 10], nn.SGD(0.1, momentum=0.9), "quadratic", 10, 5, 5),
        ([784, 30, 10], nn.Adam(), "quadratic", 10, 5, 5),
        (
            [784, *dense((512, "relu"), (512, "relu"), (10, "softmax"))],
            nn.SGD(0.1, momentum=0.9),
            "log_likelihood",
            128,
            7,
            8,
        ),
    ],
)
def test_a_step_takes_few_launches(layers, optimizer, loss, batch, kernels, calls):
    """A kernel between one matrix product and the next, and one for all that is left."""
    given, _ = arguments(layers, optimizer, dtype="float32", loss=loss, batch=batch, classes=10)
    work = Plan(record_for_cuda(*given)).work
    assert sum(isinstance(w, Kernel) for w in work) == kernels
    assert [w.name for w in work if isinstance(w, Node)] == ["matmul"] * calls


def test_a_step_that_reads_a_value_is_refused():
    class Reading(nn.layers.Layer):
        def forward(self, params, state, x, context):
            return x * (1.0 if float(x.sum()) > 0 else 2.0), state, x

        def backward(self, params, saved, delta, context):
            return delta

    step, state = make([20, 8, 4], nn.SGD(1.0))
    recipe = step.recipe
    step = functional.train_step((Reading(), *recipe.layers), recipe.loss, recipe.optimizer, recipe.prepare)
    state = state._replace(params=((), *state.params), layer_state=((), *state.layer_state))
    data = np.zeros((EXAMPLES, 20), "uint8"), np.zeros(EXAMPLES, "int64")
    with pytest.raises(UnrecordableError):
        record_for_cuda(step, state, data, np.zeros((1, 5), "int64"), np.ones(1, "float32"))


def reals(dtype):
    """Numbers at which functions differ: zeros of both signs, infinities, NaN, the largest and subnormal ones."""
    ends = np.finfo(dtype)
    special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -2.5,
        2.5,
        3.7,
        -0.3,
        np.inf,
        -np.inf,
        np.nan,
        ends.max,
        ends.tiny,
        1e-20,
        80.0,
    ]
    return np.array(special, dtype)


def pairs(values):
    """Every value beside every other: (n, n) twice."""
    return np.repeat(values, len(values)).reshape(-1, len(values)), np.tile(values, (len(values), 1))


REAL = {
    "arithmetic": lambda xp, x, y: [x + y, x - y, x * y, x / y, -x, xp.abs(x), xp.square(x), 1.0 / y, 2.5 - x, x * 3],
    "powers": lambda xp, x, y: [xp.abs(x) ** y, x**2, x**2.0, xp.abs(x) ** 0.5],
    "exponentials": lambda xp, x, y: [xp.exp(x), xp.expm1(x), xp.tanh(x), xp.sinh(x), xp.cosh(x)],
    "logarithms": lambda xp, x, y: [xp.log(x), xp.log1p(x), xp.log2(x), xp.sqrt(x)],
    "waves": lambda xp, x, y: [f(xp.where(xp.abs(x) < 100, x, y * 0 + 1)) for f in (xp.sin, xp.cos, xp.tan)],
    "order": lambda xp, x, y: [xp.maximum(x, y), xp.minimum(x, y), xp.clip(x, -1.0, 2.0), xp.clip(x, None, 0.5)],
    "clip to arrays": lambda xp, x, y: [xp.clip(x, xp.minimum(y, y + 1), y + 2)],
    "whole": lambda xp, x, y: [xp.floor(x), xp.ceil(x), xp.trunc(x), xp.round(x), xp.sign(x)],
    "comparisons": lambda xp, x, y: [x < y, x <= y, x > y, x >= y, x == y, x != y, xp.where(x < y, x, -y)],
    "kinds": lambda xp, x, y: [xp.isnan(x), xp.isinf(x), xp.isfinite(x), xp.logical_and(x > 0, y > 0)],
    "logic": lambda xp, x, y: [xp.logical_not(x > 0), (x > 0) | (y > 0), (x > 0) ^ (y > 0), xp.astype(x > y, x.dtype)],
    "views": lambda xp, x, y: [x.mT + y, x[::-1, :] * y, x[:, ::2] - y[:, 1::2], (x[:1, :] + y)[3:7, -4:].mT * 2.0],
    "shapes": lambda xp, x, y: [
        xp.reshape(x * 2.0, (4, -1)),
        xp.reshape(xp.reshape(x + 1.0, (-1,))[3:67], (8, 8)) * 2.0,
        xp.moveaxis(xp.reshape(x - y, (4, 4, 16)), -1, 0) + 1.0,
        xp.broadcast_to(x[:, :1] * 2.0, x.shape) + y,
        xp.expand_dims(x * y, axis=1),
    ],
    "reductions": lambda xp, x, y: [
        xp.sum(xp.where(xp.abs(x) < 100, x, y * 0 + 1), axis=0),
        xp.max(x, axis=-1),
        xp.min(x, axis=0, keepdims=True),
        xp.max(xp.reshape(x, (4, 4, 16)), axis=(0, 2)),
        xp.mean(xp.where(xp.abs(x) < 100, x, y * 0 + 1), axis=-1, keepdims=True) + y,
        xp.sum(xp.astype(x > y, xp.int64)),
        xp.vecdot(xp.where(xp.abs(x) < 100, x, 1 + 0 * y), xp.where(xp.abs(y) < 100, y, 1 + 0 * x), axis=-1),
    ],
}
INTEGERS = np.array([0, 1, -1, 2, 7, 255, -256, 2**31 - 1, -(2**31), 123_456_789, -987_654_321], np.int32)
WHOLE_NUMBERS = {
    "arithmetic": lambda xp, i, j: [i + j, i - j, i * j, -i, xp.abs(i), i + 1, 3 - i, i * 2, xp.square(i)],
    "bits": lambda xp, i, j: [i & j, i | j, i ^ j, i >> 3, i << 5, ~i, (i >> 8) & 0xFFFFFF, i << 31, i >> 31],
    "comparisons": lambda xp, i, j: [i < j, i == j, xp.maximum(i, j), xp.minimum(i, j), xp.sign(i), i != 0],
    "kinds": lambda xp, i, j: [xp.astype(i, xp.float32), xp.astype(i, xp.bool), xp.astype(i, xp.int64) * 2**40, i / 3],
    "reductions": lambda xp, i, j: [xp.sum(i & 0xFF, axis=0), xp.max(i), xp.min(i, axis=1), xp.sum(i)],
    "least": lambda xp, i, j: [xp.max((i & 0) - 2**30 - 2**30, axis=0), xp.max(xp.astype(i * 0, xp.uint8), axis=0)],
    "places": lambda xp, i, j: [xp.take(j, (i[:, 0] & 7) - 11, axis=0) + 1, i[2, 3] + j[0, :], j[-1, -2] * i],
}


def written(function, values):
    """A plan that evaluates a function of arrays, its notes, what NumPy finds, and the state and data to begin with."""
    with np.errstate(all="ignore"):
        wanted = [np.asarray(made) for made in function(xp, *values)]
    results = tuple([np.zeros(made.shape, made.dtype) for made in wanted])

    def step(state, batch, rate):
        given, _ = state
        space = given[0].__array_namespace__()
        return (given, tuple(function(space, *given))), space.astype(space.max(given[0]) > 0, space.float32) * rate

    begin = (tuple(values), results), values[:1], np.zeros((1, 1), "int64"), np.ones(1, "float32")
    notes = record_for_cuda(step, *begin)
    return Plan(notes), notes, wanted, begin


def evaluated(function, values, folder):
    """The results of a function of arrays, by kernels and by NumPy, and the calls that no kernel makes."""
    plan, notes, wanted, begin = written(function, values)
    leaves, _ = HostProgram(plan, folder).run(notes, *begin)
    return leaves[len(values) :], wanted, {work.name for work in plan.work if isinstance(work, Node)}


@pytest.mark.parametrize("shape", [(0, 3), (40, 30)])
def test_arrays_that_kernels_do_not_work_on_are_refused(shape, monkeypatch):
    monkeypatch.setattr(roles, "MOST_ELEMENTS", 1000)

    def step(state, batch, rate):
        xp = state[0].__array_namespace__()
        other = xp.broadcast_to(state[0][0], shape)
        return (state[0] * 2.0,), xp.sum(other * 1.0) * rate

    state, data = (np.ones(4, "float32"),), (np.ones((5, 4), "float32"),)
    with pytest.raises(UnrecordableError, match=f"arrays of shape .{shape[0]}, {shape[1]}"):
        Plan(record_for_cuda(step, state, data, np.zeros((1, 1), "int64"), np.ones(1, "float32")))


def test_a_call_that_shows_a_state_is_copied_before_the_state_is_overwritten(tmp_path):
    need("cxx")

    def step(state, batch, rate):
        weights, kept = state
        xp = weights.__array_namespace__()
        turned = xp.flip(xp.tensordot(weights, weights, axes=1), axis=0)
        return (weights + 0.5 * kept, xp.swapaxes(weights, 0, 1)), xp.sum(turned) * rate

    rng = np.random.default_rng(0)
    state, data = (rng.random((4, 4)), rng.random((4, 4))), (rng.random((5, 4)),)
    order, rates = np.zeros((3, 1), "int64"), np.ones(3)
    notes = record_for_cuda(step, state, data, order, rates)
    leaves, losses = HostProgram(Plan(notes), tmp_path).run(notes, state, data, order, rates)
    w, k = state
    for loss in losses:
        np.testing.assert_allclose(loss, (w @ w).sum(), rtol=1e-12)
        w, k = w + 0.5 * k, w.T
    np.testing.assert_allclose(leaves[0], w)
    np.testing.assert_allclose(leaves[1], k)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("group", REAL)
def test_functions_of_reals_are_numpys(group, dtype, tmp_path):
    need("cxx")
    got, wanted, calls = evaluated(REAL[group], pairs(reals(dtype)), tmp_path)
    for k, (a, b) in enumerate(zip(got, wanted, strict=True)):
        rtol = {"float32": 3e-6, "float64": 1e-13}[dtype]
        np.testing.assert_allclose(a, b, rtol=rtol, atol=0, err_msg=f"{group} {k}")
        if group in ("arithmetic", "whole") and a.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(a[~np.isnan(b)]), np.signbit(b[~np.isnan(b)]), f"{group} {k}")
    assert calls <= {"round"}


@pytest.mark.parametrize("group", WHOLE_NUMBERS)
def test_functions_of_integers_are_numpys(group, tmp_path):
    need("cxx")
    got, wanted, calls = evaluated(WHOLE_NUMBERS[group], pairs(INTEGERS), tmp_path)
    for k, (a, b) in enumerate(zip(got, wanted, strict=True)):
        np.testing.assert_allclose(a, b, rtol=1e-7, err_msg=f"{group} {k}")
    assert not calls


@pytest.mark.slow
@pytest.mark.parametrize("version", [12, 13])
@pytest.mark.parametrize("group", [*REAL, *[f"whole {group}" for group in WHOLE_NUMBERS]])
def test_functions_compile_for_a_gpu(group, version):
    need(f"nvrtc{version}")
    whole = group.removeprefix("whole ")
    function, values = (REAL[group], reals("float32")) if whole == group else (WHOLE_NUMBERS[whole], INTEGERS)
    plan, *_ = written(function, pairs(values))
    assert nvrtc(plan.source, OPTIONS, 90, version)[:4] == b"\x7fELF"
