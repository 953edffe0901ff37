"""Every CUDA source compiles for every GPU that is served, in each combination of macros that the engines use."""

import dataclasses

import pytest
from conftest import need
from cuda_tools import nvrtc

import nn_any as nn
from nn_any.backends.cuda import (
    Unsuitable,
    chosen_math,
    plan_fused,
    source,
    steps_a_launch,
)
from nn_any.core import functional
from nn_any.core.batches import Preparation

SHARED_LIMITS = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
"""By compute capability, how many KiB of shared memory a block may have."""
UINT8_IMAGES = (("uint8", (784,)), ("int64", ()))

on_each_gpu = pytest.mark.parametrize("capability", SHARED_LIMITS)


@pytest.fixture(params=[12, 13], ids=["nvrtc12", "nvrtc13"])
def compiled(request):
    """A function that compiles CUDA C++, by NVRTC of CUDA 12 and of CUDA 13."""
    need(f"nvrtc{request.param}")

    def compile_for(text, options, capability, log=None):
        binary = nvrtc(text, options, capability, request.param, log)
        assert binary[:4] == b"\x7fELF"
        return binary

    return compile_for


def recipe(layers, loss="quadratic", optimizer=None, **preparation):
    net = nn.Network(layers, loss=loss, seed=0, device="cpu")
    prepare = Preparation(**{"dtype": "float32", "outputs": net.outputs, "labels": True} | preparation)
    rule = (optimizer or nn.SGD(1.0)).update_rule()
    return functional.train_step(net.layers, net.specification.loss, rule, prepare).recipe


SIGMOIDS = [784, nn.Dense(30, activation="sigmoid"), nn.Dense(10, activation="sigmoid")]
SOFTMAX = [64, nn.Dense(30, activation="relu"), nn.Dense(20, activation="tanh"), nn.Dense(10, activation="softmax")]
LINEAR = [13, nn.Dense(8, activation=nn.activations.LeakyReLU(0.2)), nn.Dense(2, activation="linear")]


def plans(limit):
    """The fused kernels that are tried: the names of their settings, and what they are compiled with."""
    yield "book", plan_fused(recipe(SIGMOIDS, scale=255), 10, UINT8_IMAGES, limit)
    yield "book-last-batch-of-one", plan_fused(recipe(SIGMOIDS, scale=255), 1, UINT8_IMAGES, limit)
    yield "book-int32", plan_fused(recipe(SIGMOIDS, scale=255), 10, UINT8_IMAGES, limit, order_dtype="int32")
    yield "book-small-gpu", plan_fused(recipe(SIGMOIDS, scale=255), 10, UINT8_IMAGES, 64 * 1024)
    numbers = (("float64", (13,)), ("float32", (2,)), ("float64", ()))
    yield (
        "double-weighted",
        plan_fused(recipe(LINEAR, "mean_squared_error", labels=False, dtype="float64"), 7, numbers, limit),
    )
    if limit < 227 * 1024:
        return
    yield (
        "cross-entropy",
        plan_fused(recipe(SIGMOIDS, "cross_entropy"), 32, (("float32", (784,)), ("int64", ())), limit),
    )
    digits = (("uint8", (8, 8, 1)), ("int32", ()))
    smooth = nn.losses.LogLikelihood(label_smoothing=0.1)
    yield "softmax", plan_fused(recipe([(8, 8, 1), nn.Flatten(), *SOFTMAX[1:]], smooth), 128, digits, limit)
    odd = (("uint8", (785,)), ("uint8", (10,)))
    yield "odd", plan_fused(recipe([785, *SIGMOIDS[1:]], labels=False), 20, odd, limit)


PLANS = dict(plans(227 * 1024))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name != "book" else name for name in PLANS]
)
def test_the_fused_kernel_compiles(compiled, name):
    compiled(source("fused_mlp"), PLANS[name].options, 90)


@pytest.mark.slow
@on_each_gpu
@pytest.mark.parametrize("name", ["book-int32", "double-weighted"])
def test_the_fused_kernel_compiles_for_each_gpu(compiled, name, capability):
    compiled(source("fused_mlp"), dict(plans(SHARED_LIMITS[capability] * 1024))[name].options, capability)


@on_each_gpu
@pytest.mark.parametrize("real", ["float", "double"])
def test_windows_compile_for_each_gpu(compiled, real, capability):
    compiled(source("windows"), ("--std=c++17", f"-DREAL={real}"), capability)


def test_weights_leave_shared_memory_where_they_do_not_fit():
    assert "SHARED_WEIGHTS=1" in PLANS["book"].macros
    assert "SHARED_WEIGHTS=0" in PLANS["book-small-gpu"].macros
    padded = 784 * 30 + 32 + 48 * 10 + 12  # rows of an odd multiple of 64 bytes, biases by four
    assert PLANS["book"].numbers == padded
    assert PLANS["book"].shared_bytes - PLANS["book-small-gpu"].shared_bytes == 4 * padded
    assert PLANS["book"].shapes == [(30, 784), (30,), (10, 30), (10,)]


@pytest.mark.parametrize("name", ["book", "book-int32", "book-last-batch-of-one"])
def test_the_book_network_needs_no_local_memory(compiled, name):
    log = []
    compiled(source("fused_mlp"), (*PLANS[name].options, "--ptxas-options=-v"), 90, log)
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in log[0]


def test_a_launch_lasts_about_as_long_whatever_a_step_is():
    limit = 227 * 1024
    wide = [784, nn.Dense(200, activation="sigmoid"), nn.Dense(10, activation="sigmoid")]
    slow = plan_fused(recipe(wide, dtype="float64"), 16, UINT8_IMAGES, limit)
    quick = plan_fused(recipe([4, nn.Dense(3, activation="sigmoid")]), 1, (("uint8", (4,)), ("int64", ())), limit)
    steps = {
        name: steps_a_launch(plan.step_nanoseconds, 1, 132)
        for name, plan in (PLANS | {"slow": slow, "quick": quick}).items()
    }
    assert steps["quick"] == 4_000  # at most
    assert 0.1e9 < steps["book"] * PLANS["book"].step_nanoseconds < 0.2e9
    assert 0.1e9 < steps["slow"] * slow.step_nanoseconds < 0.2e9
    assert 1 < steps["slow"] < steps["book"] / 10
    assert steps_a_launch(PLANS["book"].step_nanoseconds, 132, 132) == steps["book"]
    assert steps_a_launch(PLANS["book"].step_nanoseconds, 133, 132) == steps["book"] // 2
    assert steps_a_launch(PLANS["book"].step_nanoseconds, 10**6, 1) == 1


@dataclasses.dataclass(frozen=True, repr=False)
class MyTanh(nn.activations.Activation):
    name = "tanh"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"optimizer": nn.SGD(0.1, momentum=0.9)}, r"plain SGD, not for SGD\("),
        ({"optimizer": nn.Adam()}, r"plain SGD, not for Adam\("),
        ({"layers": [784, nn.Dense(30), nn.Dropout(0.5), nn.Dense(10)]}, r"dense layers, not for Dropout"),
        ({"layers": [784, nn.Dense(30, trainable=False), nn.Dense(10)]}, "some are frozen"),
        ({"layers": [784, nn.Dense(30, activation="gelu"), 10]}, "does not know <activation gelu>"),
        ({"layers": [784, nn.Dense(30, activation=MyTanh()), 10]}, "does not know <activation tanh>"),
        ({"layers": [784, nn.Dense(10, activation="softmax")]}, "quadratic> after softmax"),
        ({"layers": [784, nn.Dense(10, activation="linear")], "loss": "huber"}, "does not know <loss huber"),
        ({"batch": 10_000}, "too much work for one multiprocessor"),
        ({"batch": 100}, r"needs \d+ bytes of shared memory, a block has 65536"),
        ({"columns": (("float16", (784,)), ("int64", ()))}, "does not read float16"),
        ({"columns": (("uint8", (784,)), ("float32", (10,)))}, "do not fit 10 outputs"),
        ({"columns": (*UINT8_IMAGES, ("float64", ()))}, "weights of float64 do not fit a network of float32"),
    ],
)
def test_what_the_fused_kernel_refuses(changes, reason):
    settings = {"layers": SIGMOIDS, "loss": "quadratic", "optimizer": None, "batch": 10, "columns": UINT8_IMAGES}
    settings |= changes
    made = recipe(settings["layers"], settings["loss"], settings["optimizer"])
    with pytest.raises(Unsuitable, match=reason):
        plan_fused(made, settings["batch"], settings["columns"], 64 * 1024)


def test_the_arithmetic_is_chosen_by_the_environment(monkeypatch):
    monkeypatch.delenv("NN_ANY_CUDA_MATH", raising=False)
    assert chosen_math() == "float32"
    monkeypatch.setenv("NN_ANY_CUDA_MATH", "bfloat16")
    assert chosen_math() == "bfloat16"
    monkeypatch.setenv("NN_ANY_CUDA_MATH", "half")
    with pytest.raises(ValueError, match="NN_ANY_CUDA_MATH: expected one of float32, tf32, bfloat16, got 'half'"):
        chosen_math()
