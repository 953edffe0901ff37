"""The same run on every device of this machine: the same accuracy, and how far the weights are apart.

On PyTorch's CPU device ``engine="auto"`` runs NumPy's loop on the tensors' memory, so its weights are NumPy's own;
``engine="eager"`` lets each library compute for itself.
"""

import time

import numpy as np
from rich.console import Console
from rich.table import Table

import nn_any as nn

EPOCHS = {"auto": 5, "eager": 1}
"""As many as a first look needs: JAX takes its steps slowly where it does not compile them."""


def train(device, engine):
    training, _, test = nn.datasets.load_digits(device)
    net = nn.Network([64, 30, 10], initializer="scaled_normal", device=device, seed=0)
    start = time.perf_counter()
    history = net.SGD(training, EPOCHS[engine], 10, 3.0, engine=engine)
    device.synchronize()
    return history.engine, time.perf_counter() - start, net.accuracy(test), nn.to_numpy(net.weights[0])


def main():
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a file has no width; do not cut columns
    for engine, epochs in EPOCHS.items():
        *_, reference = train(nn.select_device("numpy"), engine)
        table = Table(
            title=f"engine={engine!r}, {epochs} epoch{'s' * (epochs > 1)}",
            caption="seconds: compilation included; apart: the largest difference of weights from NumPy's",
        )
        for column in ("device", "what ran"):
            table.add_column(column, no_wrap=True)
        for column in ("seconds", "test accuracy", "apart"):
            table.add_column(column, justify="right")
        for device in nn.devices():
            ran, seconds, accuracy, weights = train(device, engine)
            difference = np.max(np.abs(weights - reference)) / np.max(np.abs(reference))
            table.add_row(str(device), ran, f"{seconds:.2f}", f"{accuracy:.2%}", f"{difference:.1e}")
        console.print(table)


if __name__ == "__main__":
    main()
