"""What only a GPU can tell, measured in two minutes: ``python -m benchmarks.first_gpu --json FILE``.

CUDA events around launches of the fused kernel and of graphs; what a node of a graph costs by itself; the products of
workload M by cuBLAS as a graph calls it, with their errors against float64; JAX's loop of a length that is known beside
one of a length that is traced. It needs CuPy; JAX where it is installed with CUDA.
"""

import argparse
import json
import statistics
import time
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import nn_any as nn
from benchmarks.workloads import workloads
from nn_any.core import functional
from nn_any.core.batches import Preparation
from nn_any.core.state import TrainState

STEPS = 2_000
RUNS = {
    "S, fused kernel": ("S", nn.SGD(0.1)),
    "S, momentum": ("S", nn.SGD(0.1, momentum=0.9)),
    "S, Adam": ("S", nn.Adam()),
    "M": ("M", nn.SGD(0.1)),
    "M, momentum": ("M", nn.SGD(0.1, momentum=0.9)),
}
"""Workloads of the other benchmarks, and what trains them."""


def milliseconds(cupy, work, rounds):
    """The median time of `work` on the GPU, between two events."""
    times = []
    for _ in range(rounds + 1):
        first, last = cupy.cuda.Event(), cupy.cuda.Event()
        first.record()
        work()
        last.record()
        last.synchronize()
        times.append(cupy.cuda.get_elapsed_time(first, last))
    return statistics.median(times[1:])


def steps_of(device, kind, optimizer, steps):
    """What an engine is given for a workload: random images, and a step's function."""
    workload = workloads("cuda")[kind]
    net = nn.Network(workload.layers, loss=workload.loss, initializer=workload.initializer, seed=1, device=device)
    rule, rng = optimizer.update_rule(), np.random.default_rng(0)
    step = functional.train_step(
        net.layers, net.specification.loss, rule, Preparation("float32", net.outputs, 255.0, True)
    )
    params, state, _, count, key = net.state
    data = rng.integers(0, 256, (10_000, 784)).astype("uint8"), rng.integers(0, 10, 10_000)
    order = rng.integers(0, 10_000, (steps, workload.batch))
    arrays = [device.asarray(array) for array in (*data, order, np.full(steps, 0.1, "float32"))]
    return step, TrainState(params, state, rule.init(params), count, key), tuple(arrays[:2]), *arrays[2:]


def engines(cupy, steps, rounds):
    """Microseconds a step of each workload, by the engine that "auto" takes."""
    device, found = nn.select_device("cupy"), {}
    for name, run in RUNS.items():
        arguments = steps_of(device, *run, steps)
        engine = device.training_engine("auto")
        work = partial(engine.run, *arguments, 0, steps)
        us = 1e3 * milliseconds(cupy, work, rounds) / steps
        found[name] = {"us_a_step": us, "engine": engine.name, "compile_s": engine.compile_seconds}
    return found


def empty_nodes(cupy, rounds, nodes=1_000):
    """Microseconds a node of a graph of kernels that do next to nothing."""
    stream, x = cupy.cuda.Stream(non_blocking=True), cupy.zeros(1, "float32")
    kernel = cupy.ElementwiseKernel("", "raw float32 x", "x[0] = 1.0f", "nothing")
    with stream:
        kernel(x, size=1)
        stream.synchronize()
        stream.begin_capture()
        for _ in range(nodes):
            kernel(x, size=1)
        graph = stream.end_capture()
        return 1e3 * milliseconds(cupy, graph.launch, rounds) / nodes


def products(cupy, rounds):
    """Of each product of M, in each arithmetic: microseconds, and the largest error against float64."""
    from nn_any.backends._cupy_products import Products

    rng, found = np.random.default_rng(0), {}
    for m, k, n in ((128, 784, 512), (128, 512, 512), (512, 128, 784), (128, 10, 512)):
        a, b = (cupy.asarray(rng.normal(size=shape).astype("float32")) for shape in ((m, k), (k, n)))
        exact = cupy.asnumpy(a).astype("float64") @ cupy.asnumpy(b).astype("float64")
        for arithmetic in ("float32", "tf32", "bfloat16"):
            multiply = Products(arithmetic)
            error = np.abs(cupy.asnumpy(multiply(a, b)) - exact).max()
            stream = cupy.cuda.Stream(non_blocking=True)
            with stream:
                stream.begin_capture()
                for _ in range(100):
                    multiply(a, b)
                graph = stream.end_capture()
                us = 10 * milliseconds(cupy, graph.launch, rounds)
            found[f"{m} x {k} x {n}, {arithmetic}"] = {"us": us, "error": float(error), "tflops": 2e-6 * m * k * n / us}
    return found


def jax_loops(rounds, steps):
    """Microseconds a step of S, in a loop of known length and in one whose length is traced."""
    import jax

    device = nn.select_device("jax:cuda:0")
    step, state, data, order, rates = steps_of(device, *RUNS["S, momentum"], steps)

    def body(data, order, rates, i, state):
        return step(state, tuple([column[order[i]] for column in data]), rates[i])[0]

    def traced(state, data, order, rates, stop):
        return jax.lax.fori_loop(0, stop, partial(body, data, order, rates), state)

    loops = {"traced": jax.jit(traced), "known": jax.jit(traced, static_argnums=4)}
    found = {}
    with jax.numpy_rank_promotion("allow"):
        for name, loop in loops.items():
            times = []
            for _ in range(rounds + 1):
                began = time.perf_counter()
                jax.block_until_ready(loop(state, data, order, rates, steps))
                times.append(time.perf_counter() - began)
            found[name] = 1e6 * statistics.median(times[1:]) / steps
    return found


def main(path, steps, rounds):
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    results = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "gpu": properties["name"].decode(),
        "cuda": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
        "nn_any": nn.__version__,
        "engines": engines(cupy, steps, rounds),
        "us_a_node": empty_nodes(cupy, rounds),
        "products": products(cupy, rounds),
    }
    if find_spec("jax"):
        import jax

        if any(device.platform == "gpu" for device in jax.devices()):
            results["us_a_step_of_jax"] = jax_loops(rounds, steps)
    text = json.dumps(results, indent=1)
    print(text)
    if path:
        Path(path).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="where the results go")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps a run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed (default: %(default)s)")
    options = parser.parse_args()
    main(options.json, options.steps, options.rounds)
