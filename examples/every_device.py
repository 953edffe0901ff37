"""The same run on every device of this machine: the same accuracy, and how far the weights are apart."""

import time

import numpy as np
from rich.console import Console
from rich.table import Table

import nn_any as nn


def train(device):
    training, _, test = nn.datasets.load_digits(device)
    net = nn.Network([64, 30, 10], initializer="scaled_normal", device=device, seed=0)
    start = time.perf_counter()
    net.SGD(training, 5, 10, 3.0)
    device.synchronize()
    return time.perf_counter() - start, net.accuracy(test), nn.to_numpy(net.weights[0])


def main():
    _, _, reference = train(nn.select_device("numpy"))
    table = Table(caption="seconds: compilation included; apart: the largest difference of weights from NumPy's")
    table.add_column("device", no_wrap=True)
    for column in ("seconds", "test accuracy", "apart"):
        table.add_column(column, justify="right")
    for device in nn.devices():
        if device.name == "no_x64":
            continue  # there array-api-strict's own argmax fails
        seconds, accuracy, weights = train(device)
        difference = np.max(np.abs(weights - reference)) / np.max(np.abs(reference))
        table.add_row(str(device), f"{seconds:.2f}", f"{accuracy:.2%}", f"{difference:.1e}")
    Console().print(table)


if __name__ == "__main__":
    main()
