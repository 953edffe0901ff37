"""Layers, activations and losses of a user's own whose shapes do not fit: refused when the network is built."""

from dataclasses import dataclass

import numpy as np
import pytest

import nn_any as nn


@dataclass(frozen=True)
class Scale(nn.layers.Layer):
    """Right as it is; the tests spoil one method each."""

    trainable: bool = True

    def init(self, rng, input_shape):
        return (np.ones(input_shape),)

    def init_state(self, input_shape):
        return (np.zeros(input_shape),)

    def forward(self, params, state, x, context):
        return x * params[0][..., None, :], state, x

    def backward(self, params, saved, delta, context):
        return delta * params[0][..., None, :]

    def gradients(self, params, saved, delta, context):
        return (context.xp.sum(delta * saved, axis=-2),)


class BadForward(Scale):
    def forward(self, params, state, x, context):
        z, state, saved = super().forward(params, state, x, context)
        return z[..., :-1], state, saved


class BadState(Scale):
    def forward(self, params, state, x, context):
        z, _, saved = super().forward(params, state, x, context)
        return z, (context.xp.sum(x, axis=-1),), saved


class NoState(Scale):
    def forward(self, params, state, x, context):
        z, _, saved = super().forward(params, state, x, context)
        return z, (), saved


class BadBackward(Scale):
    def backward(self, params, saved, delta, context):
        return context.xp.sum(super().backward(params, saved, delta, context), axis=-1)


class BadGradients(Scale):
    def gradients(self, params, saved, delta, context):
        return (delta * saved,)


class TooManyGradients(Scale):
    def gradients(self, params, saved, delta, context):
        return super().gradients(params, saved, delta, context) * 2


class Norm(nn.activations.Activation):
    name = "norm"

    def __call__(self, z, *, xp):
        return xp.sqrt(xp.sum(z * z, axis=-1))


class BadSlope(nn.activations.Activation):
    name = "bad_slope"

    def __call__(self, z, *, xp):
        return xp.sin(z)

    def vjp(self, z, a, delta, *, xp):
        return xp.sum(delta * xp.cos(z), axis=-1)


class OneNumber(nn.losses.Loss):
    name = "one_number"

    def __call__(self, a, y, *, xp):
        return xp.sum((a - y) ** 2)

    def derivative(self, a, y, *, xp):
        return 2 * (a - y)


class OnlyTorch(Scale):
    def forward(self, params, state, x, context):
        import torch

        return torch.relu(x), state, x


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (BadForward(), r"layers, entry 2, .*: expected shape \(2, 4\) from forward for 2 examples, got \(2, 3\)"),
        (
            BadState(),
            r"layers, entry 2, .*: expected arrays of shapes \[\(4,\)\] from forward for the state, .*\(2,\)",
        ),
        (
            NoState(),
            r"layers, entry 2, .*: expected arrays of shapes \[\(4,\)\] from forward for the state, .*got \[\]",
        ),
        (BadBackward(), r"layers, entry 2, .*: expected shape \(2, 4\) from backward for 2 examples, got \(2,\)"),
        (BadGradients(), r"entry 2, .*: expected arrays of shapes \[\(4,\)\] from gradients, .* got \[\(2, 4\)\]"),
        (TooManyGradients(), r"entry 2, .*: expected arrays of shapes \[\(4,\)\] from gradients, .* got \[\(4,\), "),
        (nn.Dense(4, Norm()), r"entry 2, .*: expected shape \(2, 4\) from the activation 'norm' for 2 .* got \(2,\)"),
        (nn.Dense(4, BadSlope()), r"entry 2, .*: expected shape \(2, 4\) from the derivative of 'bad_slope'"),
    ],
)
def test_shapes_that_do_not_fit(device, layer, message):
    for make in (nn.Network, lambda layers, **of: nn.Ensemble(layers, 3, **of)):
        with pytest.raises(ValueError, match=message):
            make([4, 4, layer, 2], device=device, seed=0)


def test_a_loss_that_sums_over_the_examples(device):
    with pytest.raises(ValueError, match=r"loss, .*one_number.*: expected shape \(2,\) from __call__ for 2 examples"):
        nn.Network([4, 2], loss=OneNumber(), device=device)


def test_what_fits_is_taken_and_what_fails_otherwise_is_left_for_the_first_step():
    nn.Network([4, 4, Scale(), 2], device="numpy").SGD((np.ones((4, 4)), [0, 1, 0, 1]), 1, 2, 0.1)
    nn.Network([4, 4, OnlyTorch(), 2], device="numpy")


def test_a_layer_without_gradients_answers_but_does_not_train():
    class Fixed(Scale):
        gradients = nn.layers.Layer.gradients

    net = nn.Network([4, Fixed(), 2], device="numpy")
    assert net.feedforward(np.ones((3, 4))).shape == (3, 2)
    with pytest.raises(NotImplementedError, match=r"Fixed must define gradients\(params, saved, delta, context\)"):
        net.SGD((np.ones((4, 4)), [0, 1, 0, 1]), 1, 2, 0.1)
    net.freeze(0).SGD((np.ones((4, 4)), [0, 1, 0, 1]), 1, 2, 0.1)
