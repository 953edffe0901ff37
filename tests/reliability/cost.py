"""What the look for NaN costs beside 30 epochs of the original job: ``python -m tests.reliability.cost numpy jax:cpu``.

MNIST as real numbers, 50,000 × 784 float32, since integers need no look; [784, 30, 10], batches of 10.
"""

import sys
import time

import numpy as np

import nn_any as nn


def measure(name):
    """Seconds of the look, and of 30 epochs, of which three are run after one that compiles."""
    device = nn.select_device(name)
    training, *_ = nn.datasets.load_mnist(device="numpy")
    x, y = training.x / np.float32(255), training.y
    nn.Dataset(x[:10], y[:10], device=device)  # the library is loaded
    seconds = {}
    for check_finite in (False, True):
        start = time.perf_counter()
        data = nn.Dataset(x, y, device=device, check_finite=check_finite)
        device.synchronize()
        seconds[check_finite] = time.perf_counter() - start
    look = seconds[True] - seconds[False]
    net = nn.Network([784, 30, 10], initializer="scaled_normal", device=device, seed=0)
    net.SGD(data, 1, 10, 3.0)
    start = time.perf_counter()
    net.SGD(data, 3, 10, 3.0)
    device.synchronize()
    return look, 10 * (time.perf_counter() - start)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["numpy"]:
        look, fit = measure(name)
        print(f"{name}: {look * 1000:.1f} ms beside {fit:.2f} s: {look / fit:.2%}")
