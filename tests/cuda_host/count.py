"""What a step and an epoch ask of CUDA, counted on the host: ``PYTHONPATH=tests python -m cuda_host.count``."""

from functools import partial

import numpy as np

import cuda_host
import nn_any as nn

MACHINE = cuda_host.start(devices=1)

STEPS = 64
RELU = partial(nn.Dense, activation="relu")
SOFTMAX = nn.Dense(10, activation="softmax")
SMALL = [784, 30, 10]
WIDE = [784, RELU(512), RELU(512), SOFTMAX]
IMAGES = [
    *((28, 28, 1), nn.Conv2D(20, 5, activation="relu"), nn.MaxPool2D(2)),
    *(nn.Conv2D(40, 5, activation="relu"), nn.MaxPool2D(2), nn.Flatten(), RELU(100), SOFTMAX),
]
MOMENTUM = nn.SGD(0.1, momentum=0.9)
WORKLOADS = {
    "S, SGD": (SMALL, nn.SGD(0.1), "quadratic", 10),
    "S, momentum": (SMALL, MOMENTUM, "quadratic", 10),
    "S, Adam": (SMALL, nn.Adam(), "quadratic", 10),
    "M, SGD": (WIDE, nn.SGD(0.1), "log_likelihood", 128),
    "M, momentum": (WIDE, MOMENTUM, "log_likelihood", 128),
    "C10, SGD": (IMAGES, nn.SGD(0.1), "log_likelihood", 10),
    "C10, momentum": (IMAGES, MOMENTUM, "log_likelihood", 10),
}
COLUMNS = {
    "kernels": ("kernel",),
    "graphs": ("cudaGraphLaunch",),
    "to the GPU": ("copy host to device", "copy pinned to device"),
    "to the host": ("copy device to host", "copy device to pinned"),
    "waits": ("synchronise",),
}
"""What is counted an epoch, and by which of the stand-in's words."""


def counts_of(layers, optimizer, loss, batch, epochs, steps):
    """What a run of so many epochs asks for, and the engine's name."""
    rng = np.random.default_rng(0)
    shape = layers[0] if isinstance(layers[0], tuple) else (layers[0],)
    data = rng.integers(0, 256, (steps * batch, *shape)).astype("uint8"), rng.integers(0, 10, steps * batch)
    net = nn.Network(layers, loss=loss, initializer="scaled_normal", device="cupy", seed=0)
    MACHINE.reset()
    history = net.fit(nn.Dataset(*data, scale=255), epochs=epochs, batch_size=batch, optimizer=optimizer)
    return MACHINE.counts(), history.engine


def main():
    """Print the table: one epoch is the difference between three of them and two."""
    print(f"| workload | engine | nodes a step | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 3) + "|")
    for name, (layers, optimizer, loss, batch) in WORKLOADS.items():
        (two, engine), (three, _) = (counts_of(layers, optimizer, loss, batch, n, STEPS) for n in (2, 3))
        three.subtract(two)
        nodes = f"{three['nodes launched'] / STEPS:.1f}" if three["cudaGraphLaunch"] else "-"
        epoch = [str(sum(three[word] for word in words)) for words in COLUMNS.values()]
        print(f"| {name} | {engine} | {nodes} | {' | '.join(epoch)} |", flush=True)


if __name__ == "__main__":
    main()
