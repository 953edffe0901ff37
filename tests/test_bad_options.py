"""Every option of layers, losses, activations and fit that can be wrong: one clear error, before anything changes."""

import numpy as np
import pytest

import nn_any as nn

X = np.random.default_rng(0).normal(size=(12, 4))
Y = np.arange(12) % 3

BAD = [
    (lambda: nn.Dense(0), ValueError, "units of a Dense layer: expected a positive integer, got 0"),
    (lambda: nn.Dense(3.0), TypeError, r"units of a Dense layer: .* got 3.0; convert it with int\(...\)"),
    (lambda: nn.Dense(True), TypeError, "units of a Dense layer: expected a positive integer, got True$"),
    (lambda: nn.Dense(3, trainable=1), TypeError, "trainable of a Dense layer: expected True or False, got 1"),
    (lambda: nn.Dense(3, activation="rleu"), ValueError, "activation: expected one of .*relu.*, got 'rleu'"),
    (lambda: nn.Conv2D(0, 3), ValueError, "filters of a Conv2D layer: expected a positive integer, got 0"),
    (lambda: nn.Conv2D(2, 2.5), TypeError, "kernel_size of a Conv2D layer: expected a positive integer, got 2.5"),
    (lambda: nn.Conv2D(2, (3, 3, 3)), ValueError, r"kernel_size of a Conv2D layer: expected an integer, or a pair"),
    (lambda: nn.Conv2D(2, 3, stride=0), ValueError, "stride of a Conv2D layer: expected a positive integer, got 0"),
    (lambda: nn.Conv2D(2, 3, padding="full"), ValueError, "padding of a Conv2D layer: expected one of 'valid', 'same'"),
    (lambda: nn.Conv2D(2, 3, initializer="he"), ValueError, "initializer: expected one of .*he_normal.*, got 'he'"),
    (lambda: nn.MaxPool2D(0), ValueError, "size of a MaxPool2D layer: expected a positive integer, got 0"),
    (
        lambda: nn.AveragePool2D(2, stride=-1),
        ValueError,
        "stride of a AveragePool2D layer: expected a positive integer",
    ),
    (
        lambda: nn.Dropout(1.0),
        ValueError,
        "rate of a Dropout layer: expected a finite number .*0 and below 1",
    ),
    (lambda: nn.Dropout("half"), TypeError, "rate of a Dropout layer: expected a number, got 'half'"),
    (lambda: nn.BatchNorm(momentum=0), ValueError, "momentum of a BatchNorm layer: expected a finite number above 0"),
    (lambda: nn.LayerNorm(epsilon=-1), ValueError, "epsilon of a LayerNorm layer: expected a finite number above 0"),
    (lambda: nn.RandomAffine(scale=1), ValueError, "scale of a RandomAffine layer: expected .* below 1, got 1"),
    (lambda: nn.RandomAffine(rotation=-3), ValueError, "rotation of a RandomAffine layer: expected .* at least 0"),
    (
        lambda: nn.ElasticDistortion(smoothness=0),
        ValueError,
        "smoothness of an ElasticDistortion layer: .* above 0",
    ),
    (lambda: nn.activations.LeakyReLU(1.5), ValueError, "slope of a leaky ReLU: expected .* below 1, got 1.5"),
    (lambda: nn.losses.Huber(0), ValueError, "threshold of the Huber loss: expected a finite number above 0, got 0"),
    (lambda: nn.losses.CrossEntropy(1), ValueError, "label_smoothing: expected .* below 1, got 1"),
    (lambda: nn.losses.LogLikelihood(np.nan), ValueError, "label_smoothing: expected a finite number"),
    (lambda: nn.EarlyStopping(patience=0), ValueError, "patience: expected a positive integer, got 0"),
    (lambda: nn.EarlyStopping(mode="best"), ValueError, "mode: expected one of 'min', 'max', got 'best'"),
]


@pytest.mark.parametrize(("make", "kind", "message"), BAD, ids=[message[:40] for *_, message in BAD])
def test_bad_options(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


SOFTMAX = nn.Dense(3, activation="softmax")
STACKS = [
    (
        [4, nn.Conv2D(2, 3), 3],
        {},
        r"layers, entry 1, Conv2D.*expected images \(height, width, channels\), got",
    ),
    ([(4, 4, 1), nn.Conv2D(2, 5), 3], {}, "layers, entry 1, Conv2D.*expected images of at least 5 × 5, got 4 × 4; use"),
    ([(4, 4, 1), nn.MaxPool2D(2), nn.MaxPool2D(3), 3], {}, "layers, entry 2, MaxPool2D.*at least 3 × 3, got 2 × 2"),
    ([(4, 4, 1), nn.Conv2D(2, 2), 3], {}, "layers, entry 2, Dense.*expected inputs of one axis .*put a Flatten layer"),
    ([(4, 4, 1), nn.Conv2D(2, 2)], {}, r"layers: expected a last layer with outputs of one axis, got \(3, 3, 2\)"),
    ([(4, 4, 1), nn.Conv2D(2, 2), nn.RandomAffine(), nn.Flatten(), 3], {}, "layers, entry 2, .*expected at the front"),
    (
        [4, nn.Dense(3, activation="sigmoid")],
        {"loss": "log_likelihood"},
        "loss: 'log_likelihood' needs outputs with values that sum to 1, got a",
    ),
    (
        [4, SOFTMAX],
        {"loss": "cross_entropy"},
        "loss: 'cross_entropy' needs outputs with values within 0 … 1.*softmax",
    ),
    ([4, nn.Dense(3, activation="linear")], {"loss": "poisson"}, "loss: 'poisson' needs outputs with values above 0"),
    ([4, nn.Dense(1, activation="softmax")], {"loss": "log_likelihood"}, "layers: expected two or more outputs for"),
]


@pytest.mark.parametrize(("stack", "arguments", "message"), STACKS, ids=[message[:40] for *_, message in STACKS])
def test_stacks_that_do_not_fit(stack, arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.Network(stack, device="numpy", **arguments)


FITS = [
    ({"optimizer": "adam"}, TypeError, "optimizer: expected an Optimizer such as nn_any.SGD"),
    ({"metrics": "f1"}, TypeError, "metrics: expected a list of names and functions, got 'f1'; put it in brackets"),
    ({"metrics": ["f2"]}, ValueError, "metrics: expected some of accuracy, .* for classification, .*got 'f2'"),
    (
        {"sample_weight": [1.0]},
        ValueError,
        r"sample_weight: expected one weight for each example, \(12,\), got",
    ),
    ({"sample_weight": -np.ones(12)}, ValueError, "sample_weight: expected weights of 0 or more, and not all 0"),
    ({"sample_weight": np.zeros(12)}, ValueError, "sample_weight: expected weights of 0 or more, and not all 0"),
    ({"sample_weight": np.full(12, np.nan)}, ValueError, "sample_weight: expected finite numbers, got nan"),
    ({"class_weight": "even"}, ValueError, "class_weight: expected 'balanced', a dict or a sequence, got 'even'"),
    ({"class_weight": {3: 1.0}}, ValueError, "class_weight: expected classes within 0 … 2, got 3"),
    ({"class_weight": [1.0, 2.0]}, ValueError, r"class_weight: expected one weight for each class, \(3,\)"),
    (
        {"callbacks": [nn.EarlyStopping()]},
        ValueError,
        "monitor: expected one of epoch, loss, .*got 'validation_loss'; for validation_… give fit validation_data",
    ),
    (
        {"optimizer": nn.SGD(nn.schedules.ReduceOnPlateau(0.1)), "epochs": 2},
        ValueError,
        "monitor: expected one of the recorded .*got 'validation_loss'",
    ),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), FITS, ids=[message[:40] for *_, message in FITS])
def test_bad_arguments_of_fit(arguments, kind, message):
    net = nn.Network([4, 3], device="numpy", seed=0)
    good = {"epochs": 1, "batch_size": 5, "optimizer": nn.SGD(0.1)}
    with pytest.raises(kind, match=message):
        net.fit((X, Y), **good | arguments)


def test_what_freezing_and_copying_refuse():
    net = nn.Network([4, nn.LayerNorm(), 3], device="numpy", seed=0)
    with pytest.raises(IndexError, match="places: expected layers within 0 … 1, got 2"):
        net.freeze(2)
    with pytest.raises(TypeError, match="places: expected an integer of at least 0, got 'all'"):
        net.freeze("all")
    with pytest.raises(ValueError, match="other: expected a network of the same layers as"):
        net.copy_from(nn.Network([4, 3], device="numpy"))
    with pytest.raises(ValueError, match="layers: expected at least one to train, got none or only frozen ones"):
        net.freeze().SGD((X, Y), 1, 4, 0.1)
    with pytest.raises(ValueError, match="class_weight: expected data with classes, got real targets"):
        nn.Dataset(X, X).weighted(class_weight="balanced")
