"""What a step and an epoch ask of CUDA, counted on the host: ``PYTHONPATH=tests python -m cuda_host.count``."""

import numpy as np

import cuda_host
import nn_any as nn
from benchmarks.workloads import workloads

MACHINE = cuda_host.start(devices=1)

STEPS = 64
OPTIMIZERS = {"SGD": nn.SGD(0.1), "momentum": nn.SGD(0.1, momentum=0.9), "Adam": nn.Adam()}
COUNTED = [("S", name) for name in OPTIMIZERS] + [(kind, name) for kind in ("M", "C10") for name in ("SGD", "momentum")]
COLUMNS = {
    "kernels": ("kernel",),
    "graphs": ("cudaGraphLaunch",),
    "to the GPU": ("copy host to device", "copy pinned to device"),
    "to the host": ("copy device to host", "copy device to pinned"),
    "waits": ("synchronise",),
}
"""What is counted an epoch, and by which of the stand-in's words."""


def counts_of(workload, optimizer, epochs):
    """What a run of so many epochs asks for, and the engine's name."""
    rng, n = np.random.default_rng(0), STEPS * workload.batch
    shape = workload.layers[0] if isinstance(workload.layers[0], tuple) else workload.layers[:1]
    data = nn.Dataset(rng.integers(0, 256, (n, *shape)).astype("uint8"), rng.integers(0, 10, n), scale=255)
    net = nn.Network(workload.layers, loss=workload.loss, initializer=workload.initializer, device="cupy", seed=0)
    MACHINE.reset()
    history = net.fit(data, epochs=epochs, batch_size=workload.batch, optimizer=optimizer)
    return MACHINE.counts(), history.engine


def main():
    """Print the table: one epoch is the difference between three of them and two."""
    print(f"| workload | engine | nodes a step | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 3) + "|")
    found = workloads("cuda")
    for kind, name in COUNTED:
        (two, engine), (three, _) = (counts_of(found[kind], OPTIMIZERS[name], n) for n in (2, 3))
        three.subtract(two)
        nodes = f"{three['nodes launched'] / STEPS:.1f}" if three["cudaGraphLaunch"] else "-"
        epoch = [str(sum(three[word] for word in words)) for words in COLUMNS.values()]
        print(f"| {kind}, {name} | {engine} | {nodes} | {' | '.join(epoch)} |", flush=True)


if __name__ == "__main__":
    main()
