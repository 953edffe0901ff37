"""JAX by hand: one jitted `lax.scan` over the stretch, its rows taken inside, its parameters donated.

On a CPU, XLA's convolutions are some ten times slower inside a scan than outside, so there a jitted step is called in a
loop instead.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import nn_any as nn
from benchmarks.sides import Side

_ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "softmax": lambda z: z}


class ByHand(Side):
    """`value_and_grad` of the loss, plain descent, and a scan."""

    def __init__(self, job):
        super().__init__(job)
        self.device = jax.devices("cuda" if job.device == "cuda" else "cpu")[0]
        place = lambda array: jax.device_put(array, self.device)  # noqa: E731
        self.params = [
            (place(np.moveaxis(w, 0, -1).copy() if w.ndim == 4 else w.copy()), place(b.copy()))
            for w, b in zip(job.weights, job.biases, strict=True)
        ]
        self.x, self.y = place(job.real), place(job.y.astype(np.int32))
        convolutions = any(isinstance(layer, nn.Conv2D) for layer in job.layers)
        self.looped = convolutions and job.device == "cpu"
        stretch, step = _functions(job.layers, job.workload)
        self.engine = "jit of a step" if self.looped else "jit of lax.scan"
        self.compiled = jax.jit(step if self.looped else stretch, donate_argnums=0)

    def present(self, order):
        self.order = jax.device_put(order.astype(np.int32), self.device)
        self.order = list(self.order) if self.looped else self.order

    def run(self):
        if self.looped:
            for rows in self.order:
                self.params, loss = self.compiled(self.params, self.x, self.y, rows)
        else:
            self.params, loss = self.compiled(self.params, self.x, self.y, self.order)
        jax.block_until_ready((self.params, loss))

    def parameters(self):
        weights = [np.asarray(w) for w, _ in self.params]
        return [np.moveaxis(w, -1, 0) if w.ndim == 4 else w for w in weights], [np.asarray(b) for _, b in self.params]


def _functions(layers, workload):
    def loss(params, x, y):
        z, left = x, iter(params)
        for layer in layers:
            z = _layer(layer, z, left)
        if workload.loss == "quadratic":
            difference = z - jax.nn.one_hot(y, 10)
            return 0.5 * jnp.sum(difference * difference) / len(y)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1))

    def step(params, x, y, rows):
        value, gradients = jax.value_and_grad(loss)(params, jnp.take(x, rows, axis=0), jnp.take(y, rows))
        return jax.tree.map(lambda p, g: p - workload.rate * g, params, gradients), value

    def stretch(params, x, y, order):
        return lax.scan(lambda params, rows: step(params, x, y, rows), params, order)

    return stretch, step


def _layer(layer, x, params):
    match layer:
        case nn.Dense():
            weights, biases = next(params)
            return _ACTIVATIONS[layer.activation.name](x @ weights.T + biases)
        case nn.Conv2D():
            kernels, biases = next(params)
            z = lax.conv_general_dilated(x, kernels, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            return _ACTIVATIONS[layer.activation.name](z + biases)
        case nn.MaxPool2D():
            n, height, width, channels = x.shape  # windows of 2 × 2 as tiles, which XLA likes better than reduce_window
            return x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
        case nn.Flatten():
            return x.reshape(len(x), -1)
    raise TypeError(f"no such layer here: {layer}")
