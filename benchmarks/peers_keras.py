"""Keras 3 on JAX: a Sequential model, its own SGD, and `fit` with its compiled step, fifty steps an execution."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import keras
import numpy as np
from keras import layers as kinds
from keras import ops

import nn_any as nn
from benchmarks.sides import Side


class Keras(Side):
    """`fit` of one epoch over arrays that lie in the order of the batches already, unshuffled."""

    def __init__(self, job):
        super().__init__(job)
        if keras.backend.backend() != "jax":
            raise RuntimeError(f"Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=jax")
        if job.device == "cuda" and jax.default_backend() != "gpu":
            raise RuntimeError("JAX finds no CUDA GPU")
        w = job.workload
        self.model = keras.Sequential([keras.Input(job.x.shape[1:]), *map(_layer, job.layers)])
        loss = _quadratic if w.loss == "quadratic" else keras.losses.CategoricalCrossentropy(from_logits=True)
        self.model.compile(keras.optimizers.SGD(w.rate), loss=loss, jit_compile=True, steps_per_execution=50)
        both = zip(job.weights, job.biases, strict=True)
        self.model.set_weights([array for w, b in both for array in (_theirs(w), b)])

    def present(self, order):
        rows = order.reshape(-1)
        self.batches = self.job.real[rows], self.job.one_hot[rows]

    def run(self):
        self.model.fit(*self.batches, batch_size=self.job.workload.batch, epochs=1, shuffle=False, verbose=0)

    def parameters(self):
        arrays = self.model.get_weights()
        return [_ours(w) for w in arrays[::2]], arrays[1::2]


def _quadratic(y, a):
    return 0.5 * ops.sum(ops.square(a - y), axis=-1)


def _layer(layer):
    match layer:
        case nn.Dense():
            name = layer.activation.name
            return kinds.Dense(layer.units, activation=None if name == "softmax" else name)  # the loss takes logits
        case nn.Conv2D():
            return kinds.Conv2D(layer.filters, layer.kernel_size, activation=layer.activation.name)
        case nn.MaxPool2D():
            return kinds.MaxPooling2D(layer.size)
        case nn.Flatten():
            return kinds.Flatten()
    raise TypeError(f"no such layer here: {layer}")


def _theirs(w):
    return np.moveaxis(w, 0, -1)


def _ours(w):
    return np.moveaxis(w, -1, 0)
