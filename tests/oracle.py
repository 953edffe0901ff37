"""Independent answers to compare with: the book's algorithm, one example at a time, in float64, and the digits."""

from itertools import pairwise

import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def random_batch(n, sizes, seed=0):
    """Inputs (n, in), one-hot targets (n, out), labels (n,), weights and biases of a network of the given sizes."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (n, sizes[0]))
    labels = rng.integers(0, sizes[-1], n)
    weights = [rng.normal(0, 1, (b, a)) for a, b in pairwise(sizes)]
    biases = [rng.normal(0, 1, b) for b in sizes[1:]]
    return x, np.eye(sizes[-1])[labels], labels, weights, biases


def feedforward(weights, biases, x):
    for w, b in zip(weights, biases, strict=True):
        x = sigmoid(w @ x + b)
    return x


def example_loss(weights, biases, x, y, loss):
    a = feedforward(weights, biases, x)
    if loss == "quadratic":
        return 0.5 * np.sum((a - y) ** 2)
    return np.sum(-y * np.log(a) - (1 - y) * np.log(1 - a))


def batch_loss(weights, biases, x, y, loss):
    return float(np.mean([example_loss(weights, biases, *example, loss) for example in zip(x, y, strict=True)]))


def backprop(weights, biases, x, y, loss):
    """The book's backpropagation for a single example: gradients of biases and weights."""
    activation, activations, zs = x, [x], []
    for w, b in zip(weights, biases, strict=True):
        zs.append(w @ activation + b)
        activation = sigmoid(zs[-1])
        activations.append(activation)
    delta = activations[-1] - y
    if loss == "quadratic":
        delta = delta * sigmoid(zs[-1]) * (1 - sigmoid(zs[-1]))
    nabla_b, nabla_w = [delta], [np.outer(delta, activations[-2])]
    for layer in range(2, len(weights) + 1):
        slope = sigmoid(zs[-layer]) * (1 - sigmoid(zs[-layer]))
        delta = (weights[-layer + 1].T @ delta) * slope
        nabla_b.insert(0, delta)
        nabla_w.insert(0, np.outer(delta, activations[-layer - 1]))
    return nabla_b, nabla_w


def batch_gradients(weights, biases, x, y, loss):
    """The average of the examples' gradients, summed one by one."""
    total_b, total_w = [np.zeros_like(b) for b in biases], [np.zeros_like(w) for w in weights]
    for example in zip(x, y, strict=True):
        nabla_b, nabla_w = backprop(weights, biases, *example, loss)
        total_b = [t + g for t, g in zip(total_b, nabla_b, strict=True)]
        total_w = [t + g for t, g in zip(total_w, nabla_w, strict=True)]
    return [t / len(x) for t in total_b], [t / len(x) for t in total_w]


def central_differences(function, arrays, step=1e-6):
    """The gradient of a function of a list of arrays, one coordinate at a time."""
    gradients = []
    for array in arrays:
        gradient = np.zeros_like(array)
        for index in np.ndindex(*array.shape):
            kept = array[index]
            array[index] = kept + step
            above = function()
            array[index] = kept - step
            below = function()
            array[index] = kept
            gradient[index] = (above - below) / (2 * step)
        gradients.append(gradient)
    return gradients


def digits_arrays():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    return train_test_split(x / 16.0, y, test_size=360, stratify=y, random_state=0)
