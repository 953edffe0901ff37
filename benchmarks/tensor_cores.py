"""What products in TF32 and bfloat16 cost in accuracy: operands rounded as tensor cores do, on NumPy, without a GPU.

``python -m benchmarks.tensor_cores --epochs 10`` trains two networks on MNIST in each arithmetic from the same starts.
"""

import argparse
import statistics

import numpy as np

import nn_any as nn
from nn_any.backends.cuda import MATHS
from nn_any.core import primitives

DROPPED_BITS = {"tf32": 13, "bfloat16": 16}
"""How many bits of a float32's mantissa are dropped."""

NETWORKS = {
    "784-30-10, quadratic, rate 3": ([784, 30, 10], "quadratic", 3.0),
    "784-100-10, log-likelihood, rate 0.2": (
        [784, nn.Dense(100, activation="relu"), nn.Dense(10, activation="softmax")],
        "log_likelihood",
        0.2,
    ),
}


def rounded(x, math):
    """float32 numbers to the nearest that TF32 (ties away from zero) or bfloat16 (ties to even) holds."""
    if math == "float32" or x.dtype != np.float32:
        return x
    bits, drop = np.ascontiguousarray(x).view(np.uint32), DROPPED_BITS[math]
    half = np.uint32(1 << (drop - 1))
    up = half if math == "tf32" else half - np.uint32(1) + ((bits >> np.uint32(drop)) & np.uint32(1))
    return ((bits + up) & np.uint32(2**32 - 2**drop)).view(np.float32)


def multiply_in(math):
    """Let NumPy's products have operands rounded like that; sums stay float32."""

    def matmul(a, b, *, xp):
        return rounded(a, math) @ rounded(b, math)

    xp = nn.select_device("numpy").xp
    primitives.replace("matmul", xp, matmul)
    for name in ("affine", "sgd_update"):
        primitives.replace(name, xp, primitives.definition(name))


def main(epochs, seeds):
    training, _, test = nn.datasets.load_mnist()
    print("| network | arithmetic | test accuracy, % |" + " against float32 |\n|---|---|---|---|")
    for title, (layers, loss, rate) in NETWORKS.items():
        reached = {}
        for math in MATHS:
            multiply_in(math)
            for seed in range(seeds):
                net = nn.Network(layers, loss=loss, initializer="scaled_normal", device="numpy", seed=seed)
                optimizer = nn.SGD(learning_rate=rate)
                net.fit(training, epochs=epochs, batch_size=10, optimizer=optimizer, engine="eager")
                multiply_in("float32")
                reached.setdefault(math, []).append(100 * net.accuracy(test))
                multiply_in(math)
            values = ", ".join(f"{value:.2f}" for value in reached[math])
            change = statistics.mean(reached[math]) - statistics.mean(reached["float32"])
            print(f"| {title} | {math} | {values} | {change:+.2f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    main(**vars(parser.parse_args()))
