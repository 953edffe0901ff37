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


def threefry(key, counter):
    """Threefry-2x32-20 (Salmon et al. 2011) on Python's integers: two words of key and of counter to two words."""
    mask = 0xFFFFFFFF
    schedule = [*key, key[0] ^ key[1] ^ 0x1BD11BDA]
    x, y = (counter[0] + schedule[0]) & mask, (counter[1] + schedule[1]) & mask
    rotations = [13, 15, 26, 6, 17, 29, 16, 24]
    for i in range(20):
        x = (x + y) & mask
        y = ((y << rotations[i % 8]) | (y >> (32 - rotations[i % 8]))) & mask
        y ^= x
        if i % 4 == 3:
            turn = i // 4 + 1
            x = (x + schedule[turn % 3]) & mask
            y = (y + schedule[(turn + 1) % 3] + turn) & mask
    return x, y


def dropout_mask(key, layer, step, shape, rate):
    """Which elements stay, each times 1 / (1 - rate): the top 24 bits of a word against a threshold."""
    words = [threefry((key & 0xFFFFFFFF, layer), (step, i))[0] >> 8 for i in range(int(np.prod(shape)))]
    keep = np.array(words).reshape(shape) < round((1 - rate) * 2**24)
    return keep / (1 - rate)


def torch_forward(torch, layers, params, x, masks=None, measured=()):
    """The layers' outputs in training, and the last weighted inputs, in PyTorch's own operations on float64 tensors."""
    functional = torch.nn.functional
    named = {
        "linear": lambda z: z,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "leaky_relu": functional.leaky_relu,
        "gelu": lambda z: functional.gelu(z, approximate="tanh"),
        "silu": functional.silu,
        "softplus": functional.softplus,
        "exponential": torch.exp,
        "softmax": lambda z: torch.softmax(z, dim=-1),
    }
    z = x
    for i, (layer, p) in enumerate(zip(layers, params, strict=True)):
        kind = type(layer).__name__
        if kind == "Dense":
            z = functional.linear(x, *p)
        elif kind == "Conv2D":
            image = x.permute(0, 3, 1, 2)
            if layer.padding == "same":
                pads = []
                for size, window, step in zip(
                    (x.shape[2], x.shape[1]), layer.kernel_size[::-1], layer.stride[::-1], strict=True
                ):
                    whole = max((-(-size // step) - 1) * step + window - size, 0)
                    pads += [whole // 2, whole - whole // 2]
                image = functional.pad(image, pads)
            z = functional.conv2d(image, p[0].permute(0, 3, 1, 2), p[1], stride=layer.stride).permute(0, 2, 3, 1)
        elif kind in ("MaxPool2D", "AveragePool2D"):
            pool = functional.max_pool2d if kind == "MaxPool2D" else functional.avg_pool2d
            z = pool(x.permute(0, 3, 1, 2), layer.size, layer.stride).permute(0, 2, 3, 1)
        elif kind == "Flatten":
            z = x.reshape(x.shape[0], -1)
        elif kind == "Dropout":
            z = x * torch.tensor(masks[i])
        elif kind == "BatchNorm":
            z = functional.batch_norm(x.reshape(-1, x.shape[-1]), None, None, *p, training=True).reshape(x.shape)
        elif kind == "Standardize":
            mean, deviation = measured
            z = (x - torch.tensor(mean)) / torch.tensor(deviation)
        elif kind == "LayerNorm":
            z = functional.layer_norm(x, x.shape[-1:], *p)
        else:
            assert kind == "Activation", kind
            z = x
        x = named[layer.activation.name](z)
    return x, z


def torch_loss(torch, name, a, z, y):
    """The losses as PyTorch has them, averaged over the batch."""
    functional, n = torch.nn.functional, y.shape[0]
    if name == "quadratic":
        return functional.mse_loss(a, y, reduction="sum") / (2 * n)
    if name == "cross_entropy":
        return functional.binary_cross_entropy(a, y, reduction="sum") / n
    if name == "log_likelihood":
        return functional.cross_entropy(z, y)
    if name == "poisson":
        return functional.poisson_nll_loss(a, y, log_input=False, full=False, eps=0.0)
    by_name = {"mean_squared_error": "mse_loss", "mean_absolute_error": "l1_loss", "huber": "huber_loss"}
    return getattr(functional, by_name[name])(a, y)
