"""The networks and runs behind the files of version 0.1.0: the same for those who write them and for those who read."""

import numpy as np

import nn_any as nn

RNG = np.random.default_rng(0)
X, Y = RNG.random((47, 36)).astype("float32"), RNG.integers(0, 3, 47)
HELD = (RNG.random((20, 36)).astype("float32"), RNG.integers(0, 3, 20))
DATA = (X, Y)


def dense(device, dtype="float32"):
    return nn.Network([36, 5, 3], initializer="scaled_normal", device=device, dtype=dtype, seed=1)


def convolution(device, dtype="float32"):
    layers = [(6, 6, 1), nn.Conv2D(2, 3, activation="relu"), nn.MaxPool2D(2), nn.Flatten(), nn.BatchNorm()]
    layers += [nn.Dropout(0.2), nn.Dense(3, activation="softmax")]
    return nn.Network(layers, loss="log_likelihood", device=device, dtype=dtype, seed=2)


def ensemble(device, rates=(0.1, 0.5, 2.0)):
    given = {"learning_rates": rates, "weight_decays": (0.0, 1e-3, 1e-2)}
    return nn.Ensemble([36, 4, 3], 3, **given, initializer="scaled_normal", device=device, seed=3)


MODELS = {
    "dense": (dense, {"epochs": 2, "batch_size": 10, "optimizer": nn.SGD(0.5)}),
    "convolution": (convolution, {"epochs": 2, "batch_size": 10, "optimizer": nn.Adam(0.01)}),
    "float64": (lambda device: dense(device, "float64"), {"epochs": 2, "batch_size": 10, "optimizer": nn.SGD(0.5)}),
    "ensemble": (
        lambda device: ensemble(device, (0.1, 1e38, 2.0)),
        {"epochs": 2, "batch_size": 10, "optimizer": nn.SGD(1.0, clip_value=1e30)},
    ),
}
"""What was trained and saved, by the names of the files."""

COSINE = nn.Adam(nn.schedules.Cosine(0.02, epochs=4))
CHECKPOINTS = {
    "epoch_end": (dense, {"epochs": 4, "batch_size": 10, "optimizer": COSINE, "validation_data": HELD}),
    "mid_epoch": (  # in float64: Adam and batch norm amplify rounding
        lambda device: convolution(device, "float64"),
        {"epochs": 4, "batch_size": 10, "optimizer": COSINE, "validation_data": HELD},
    ),
    "line_search": (dense, {"epochs": 6, "optimizer": nn.LBFGS()}),
    "early_stopping": (dense, {"epochs": 6, "batch_size": 10, "optimizer": nn.SGD(3.0), "validation_data": HELD}),
    "ensemble_run": (ensemble, {"epochs": 4, "batch_size": 10, "optimizer": nn.SGD(1.0, momentum=0.5)}),
}
"""What was interrupted, by the names of the files; the settings of the whole run."""


def callbacks(name):
    """What has a state in the checkpoint."""
    return [nn.EarlyStopping("validation_loss", patience=9)] if name == "early_stopping" else []


def numbers(net):
    """All that a run leads to."""
    found = {f"weights.{i}": nn.to_numpy(w) for i, w in enumerate(net.weights)}
    found |= {f"biases.{i}": nn.to_numpy(b) for i, b in enumerate(net.biases)}
    found["outputs"] = nn.to_numpy(net.feedforward(HELD[0]))
    found["place"] = np.array([net.epoch, net.steps])
    if isinstance(net, nn.Ensemble):
        found["members"] = np.array([net.epochs, net.diverged])
    return found
