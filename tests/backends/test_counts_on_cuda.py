"""What training asks of CUDA, counted by the stand-in: launches, nodes, copies and waits of an epoch."""

import gc
from contextlib import suppress

import numpy as np
import pytest
from conftest import HOST_GPUS

import nn_any as nn
from nn_any.core import functional
from nn_any.core.batches import Preparation

pytestmark = pytest.mark.gpu

STEPS, BATCH = 48, 5
RELU = nn.Dense(8, activation="relu")
WORKLOADS = {
    "fused": ([20, 8, 4], nn.SGD(0.5), "quadratic"),
    "momentum": ([20, 8, 4], nn.SGD(0.5, momentum=0.9), "quadratic"),
    "adam": ([20, RELU, nn.Dense(4, activation="softmax")], nn.Adam(), "log_likelihood"),
    "convolution": (
        [(5, 4, 1), nn.Conv2D(3, 2, activation="relu"), nn.MaxPool2D(2), nn.Flatten(), nn.Dropout(0.2), 4],
        nn.SGD(0.5),
        "quadratic",
    ),
}
TRANSFERS = [
    *("copy host to device", "copy pinned to device"),
    *("copy device to host", "copy device to pinned"),
]


def segment(name, spec):
    """An engine that has run before, and its next segment as a call."""
    layers, optimizer, loss = WORKLOADS[name]
    device, rng = nn.select_device(spec), np.random.default_rng(0)
    net = nn.Network(layers, loss=loss, device=device, seed=0)
    shape = layers[0] if isinstance(layers[0], tuple) else (layers[0],)
    data = device.asarray(rng.integers(0, 256, (50, *shape)).astype("uint8")), device.asarray(rng.integers(0, 4, 50))
    rule = optimizer.update_rule()
    step = functional.train_step(net.layers, net.specification.loss, rule, Preparation("float32", 4, 255.0, True))
    with device.scope():
        state = net.state._replace(optimizer_state=rule.init(net.params))
        order = device.asarray(rng.integers(0, 50, (STEPS, BATCH)))
        rates = device.asarray(np.full(STEPS, 0.1, "float32"))
    engine = device.training_engine("compiled")

    def run():
        return engine.run(step, state, data, order, rates, 0, STEPS)

    run()
    return run


@pytest.mark.parametrize("spec", ["cupy:cuda:0", "cupy:cuda:1"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_a_segment_waits_for_nothing_copies_nothing_and_allocates_nothing(machine, name, spec):
    if spec == "cupy:cuda:1" and HOST_GPUS < 2:
        pytest.skip("needs two GPUs")
    run = segment(name, spec)
    machine.reset()
    run()
    counts = machine.counts()
    assert {what: counts[what] for what in ("synchronise", *TRANSFERS)} == dict.fromkeys(("synchronise", *TRANSFERS), 0)
    assert counts["cudaMalloc"] == counts["nvrtcCompileProgram"] == counts["cudaStreamBeginCapture"] == 0
    assert counts["cudaGraphLaunch"] == (0 if name == "fused" else STEPS / 16)


def test_a_capture_allocates_nothing_and_compiles_nothing(machine):
    """All of that is done while warming up."""
    machine.reset()
    for name in WORKLOADS:
        segment(name, "cupy")
    counts = machine.counts()
    assert counts["cudaStreamBeginCapture"] == 2 * (len(WORKLOADS) - 1)
    for what in ("cudaMalloc", "nvrtcCompileProgram", "module loaded"):
        assert counts[f"{what} in a capture"] == 0


NODES = {"momentum": 14, "adam": 16, "convolution": 20}
"""The most nodes a step of a graph of sixteen."""


@pytest.mark.parametrize("name", NODES)
def test_nodes_a_step(machine, name):
    run = segment(name, "cupy")
    machine.reset()
    run()
    assert 0 < machine.counts()["nodes launched"] / STEPS <= NODES[name]


def test_an_epoch_reads_its_losses_once(machine):
    """More epochs are more copies of orders to the GPU, and of losses back, and nothing else."""
    x, y = np.random.default_rng(0).normal(size=(50, 20)).astype("float32"), np.arange(50) % 4
    counts = {}
    for epochs in (2, 3, 4):
        net = nn.Network([20, 8, 4], device="cupy", seed=0)
        machine.reset()
        net.fit((x, y), epochs=epochs, batch_size=5, optimizer=nn.SGD(0.5, momentum=0.9))
        counts[epochs] = machine.counts()
    for what in ("synchronise", *TRANSFERS):
        assert counts[4][what] - counts[3][what] == counts[3][what] - counts[2][what] <= 4


class Stop(nn.Callback):
    """Ends a run by an error, in mid-epoch."""

    def on_pause(self, run):
        raise RuntimeError("stop")


@pytest.mark.parametrize("callbacks", [(), (Stop(),)], ids=["whole", "stopped"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_a_run_gives_its_memory_back(machine, name, callbacks):
    """CuPy's own pool keeps some; after a run like it, another one takes nothing more."""
    layers, optimizer, loss = WORKLOADS[name]
    rng = np.random.default_rng(0)
    shape = layers[0] if isinstance(layers[0], tuple) else (layers[0],)
    data = rng.integers(0, 256, (23, *shape)).astype("uint8"), rng.integers(0, 4, 23)

    def run():
        net = nn.Network(layers, loss=loss, device="cupy:cuda:0", seed=0)
        with suppress(RuntimeError):
            net.fit(nn.Dataset(*data, scale=255), epochs=1, batch_size=BATCH, optimizer=optimizer, callbacks=callbacks)
        del net
        gc.collect()

    run()
    machine.reset()
    run()
    assert machine.counts()["cudaMalloc"] == machine.counts()["cudaFree"]
