"""The book's algorithm as its first chapter sets it out: one example after another, in float64."""

import numpy as np

from benchmarks.sides import Side


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


class Loop(Side):
    """Stochastic gradient descent over columns, with sigmoids and the quadratic loss."""

    def __init__(self, job):
        super().__init__(job)
        self.weights = [w.astype(np.float64) for w in job.weights]
        self.biases = [b.astype(np.float64)[:, None] for b in job.biases]
        targets = np.eye(10)[:, :, None]
        self.rate, self.rows = job.workload.rate, {}
        self.x, self.y = job.x, [targets[label] for label in job.y]

    def present(self, order):
        """A list of columns, as the book's loader makes them."""
        if len(self.rows) < order.size:
            self.rows = list((self.x[: order.max() + 1] / 255.0)[:, :, None])
        self.batches = [[(self.rows[i], self.y[i]) for i in batch] for batch in order]

    def run(self):
        for batch in self.batches:
            self.step(batch)

    def step(self, batch):
        """Sum the examples' gradients, then move against the average."""
        sums = [np.zeros_like(p) for p in (*self.weights, *self.biases)]
        for x, y in batch:
            sums = [s + g for s, g in zip(sums, self.gradients(x, y), strict=True)]
        both = (*self.weights, *self.biases)
        moved = [p - self.rate / len(batch) * s for p, s in zip(both, sums, strict=True)]
        self.weights, self.biases = moved[: len(self.weights)], moved[len(self.weights) :]

    def gradients(self, x, y):
        """Backpropagation for one example: the gradients of all weights, then of all biases."""
        nabla_w, nabla_b = [np.zeros(w.shape) for w in self.weights], [np.zeros(b.shape) for b in self.biases]
        zs, activations = [], [x]
        for w, b in zip(self.weights, self.biases, strict=True):
            zs.append(np.dot(w, activations[-1]) + b)
            activations.append(sigmoid(zs[-1]))
        delta = (activations[-1] - y) * sigmoid(zs[-1]) * (1 - sigmoid(zs[-1]))
        for layer in reversed(range(len(zs))):
            nabla_b[layer] = delta
            nabla_w[layer] = np.dot(delta, activations[layer].T)
            if layer:
                slope = sigmoid(zs[layer - 1]) * (1 - sigmoid(zs[layer - 1]))
                delta = np.dot(self.weights[layer].T, delta) * slope
        return [*nabla_w, *nabla_b]

    def parameters(self):
        return self.weights, [b[:, 0] for b in self.biases]
