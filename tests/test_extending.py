"""A layer, a loss, an activation, an initialiser and an optimiser from outside, without editing the package."""

from dataclasses import dataclass

import numpy as np
import oracle
import pytest
from conftest import need

import nn_any as nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4))
Y = np.arange(30) % 3


class Softsign(nn.activations.Activation):
    name = "test_softsign"

    def __call__(self, z, *, xp):
        return z / (1 + xp.abs(z))

    def derivative(self, z, a, *, xp):
        return 1 / (1 + xp.abs(z)) ** 2


class Quartic(nn.losses.Loss):
    name = "test_quartic"

    def __call__(self, a, y, *, xp):
        return xp.sum((a - y) ** 4, axis=-1)

    def derivative(self, a, y, *, xp):
        return 4 * (a - y) ** 3


@nn.layers.register
@dataclass(frozen=True)
class Gain(nn.layers.Layer):
    """One trainable factor a feature, and a running mean of the inputs that is not trained."""

    start: float = 1.0

    def init(self, rng, input_shape):
        return (np.full(input_shape, self.start),)

    def init_state(self, input_shape):
        return (np.zeros(input_shape),)

    def forward(self, params, state, x, context):
        if context.training:
            state = (0.9 * state[0] + 0.1 * context.xp.mean(x, axis=-2),)
        return x * params[0], state, x

    def backward(self, params, saved, delta, context):
        return delta * params[0]

    def gradients(self, params, saved, delta, context):
        return (context.xp.sum(delta * saved, axis=-2),)


@nn.layers.register
@dataclass(frozen=True)
class Thinning(nn.layers.Layer):
    """Inverted dropout from the counter-based draws: the same mask for a seed, layer and step everywhere."""

    rate: float

    def forward(self, params, state, x, context):
        if not context.training:
            return x, state, None
        bits = context.random_bits(x.shape[-2] * x.shape[-1])
        kept = ((bits >> 8) & 0xFFFFFF) >= int(self.rate * 2**24)
        mask = context.xp.reshape(context.xp.astype(kept, x.dtype), x.shape) / (1 - self.rate)
        return x * mask, state, mask

    def backward(self, params, saved, delta, context):
        return delta if saved is None else delta * saved


@dataclass(frozen=True)
class Momentum(nn.optimizers.Optimizer):
    learning_rate: float
    momentum: float = 0.9

    def init(self, params):
        return nn.optimizers.tree_map(lambda p: p * 0, params)

    def update(self, gradients, state, params, learning_rate):
        state = nn.optimizers.tree_map(lambda v, g: self.momentum * v - learning_rate * g, state, gradients)
        return nn.optimizers.tree_map(lambda p, v: p + v, params, state), state


class Constant(nn.initializers.Initializer):
    name = "test_constant"

    def weights(self, rng, shape, fan_in, fan_out):
        return np.full(shape, 0.25)

    def biases(self, rng, shape):
        return np.zeros(shape)


SOFTSIGN = nn.activations.register("test_softsign", Softsign())
QUARTIC = nn.losses.register("test_quartic", Quartic())


def test_gradients_of_strangers_agree_with_central_differences(float64):
    stack = [4, nn.Dense(5, activation=SOFTSIGN), Gain(1.5), nn.Dense(3, activation="test_softsign")]
    net = nn.Network(stack, loss="test_quartic", device=float64.device, dtype="float64", seed=0)
    weights, biases = [nn.to_numpy(w).copy() for w in net.weights], [nn.to_numpy(b).copy() for b in net.biases]
    assert [w.shape for w in weights] == [(5, 4), (5,), (3, 5)]

    def loss():
        net.set_weights(weights, biases)
        return net.loss((X, Y))

    expected = oracle.central_differences(loss, [*biases, *weights])
    loss()
    nabla_b, nabla_w = net.backprop(X, Y)
    for got, gradient in zip([*nabla_b, *nabla_w], expected, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), gradient, rtol=1e-6, atol=1e-8)


def test_state_masks_and_momentum_are_the_same_everywhere(backend):
    stack = [4, Gain(), nn.Dense(20), Thinning(0.5), nn.Dense(3)]
    nets = [nn.Network(stack, initializer=Constant(), device=device, seed=3) for device in (backend.device, "numpy")]
    for net in nets:
        net.fit((X, Y), epochs=5, batch_size=7, optimizer=Momentum(0.1))
    for a, b in zip(nets[0].weights, nets[1].weights, strict=True):
        np.testing.assert_allclose(nn.to_numpy(a), b, rtol=1e-4, atol=1e-6)
    states = [nn.to_numpy(net.state.layer_state[0][0]) for net in nets]
    np.testing.assert_allclose(states[0], states[1], rtol=1e-4, atol=1e-6)
    assert np.abs(states[0]).max() > 0
    np.testing.assert_allclose(nn.to_numpy(nets[0].feedforward(X)), nn.to_numpy(nets[0].feedforward(X)))


def test_momentum_equals_pytorchs_and_goes_on(backend):
    torch = need("torch")
    net = nn.Network([4, 3], device=backend.device, seed=0)
    layer = torch.nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(nn.to_numpy(net.weights[0]).copy()))
        layer.bias.copy_(torch.tensor(nn.to_numpy(net.biases[0]).copy()))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.2, momentum=0.9)
    x, y = torch.tensor(X, dtype=torch.float32), torch.eye(3)[Y]
    for _ in range(6):
        optimizer.zero_grad()
        (0.5 * (torch.sigmoid(layer(x)) - y).square().sum(dim=1).mean()).backward()
        optimizer.step()
    for epochs in (2, 4):  # the state goes on from one call to the next
        net.fit((X, Y), epochs=epochs, batch_size=30, optimizer=Momentum(0.2), shuffle=False)
    np.testing.assert_allclose(nn.to_numpy(net.weights[0]), layer.weight.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_what_must_be_registered_to_be_saved(tmp_path):
    class Unknown(Softsign):
        name = "test_unknown"

    net = nn.Network([4, nn.Dense(3, activation=Unknown())], device="numpy")
    with pytest.raises(
        ValueError, match="activation: <activation test_unknown> is not registered; call nn_any.activations"
    ):
        net.save(tmp_path / "model")
    nets = [nn.Network([4, Gain(2.0), nn.Dense(3, activation=SOFTSIGN)], loss=QUARTIC, device="numpy", seed=0)]
    nets[0].SGD((X, Y), 2, 5, 0.01)
    nets[0].save(tmp_path / "model")
    nets.append(nn.Network.load(tmp_path / "model", device="numpy"))
    assert nets[0].layers == nets[1].layers
    np.testing.assert_array_equal(nets[0].feedforward(X), nets[1].feedforward(X))
    np.testing.assert_array_equal(nets[0].state.layer_state[0][0], nets[1].state.layer_state[0][0])


def test_names_are_taken_once_and_kinds_are_kept():
    with pytest.raises(ValueError, match="activation 'sigmoid' is registered already; choose another name"):
        nn.activations.register("sigmoid", type("Twin", (Softsign,), {"name": "sigmoid"})())
    with pytest.raises(
        ValueError, match="activation 'mine': expected an entry with that name, got name = 'test_softsign'"
    ):
        nn.activations.register("mine", Softsign())
    with pytest.raises(TypeError, match=r"loss 'test_quartic': expected an instance of nn_any.losses.Loss, got <class"):
        nn.losses.register("test_quartic", Quartic)
    with pytest.raises(ValueError, match="name of a new loss: expected a non-empty string, got ''"):
        nn.losses.register("", Quartic())
    with pytest.raises(TypeError, match="layer_class: expected a frozen dataclass derived from"):
        nn.layers.register(Softsign)


@pytest.mark.parametrize(
    ("incomplete", "message"),
    [
        (nn.activations.Activation(), r"Activation must define __call__\(z, \*, xp\)"),
        (nn.losses.Loss(), r"Loss must define __call__\(a, y, \*, xp\)"),
    ],
)
def test_what_is_left_out_is_named(incomplete, message):
    arguments = (
        {"activation": incomplete} if isinstance(incomplete, nn.activations.Activation) else {"loss": incomplete}
    )
    net = nn.Network([4, 3], device="numpy", **arguments)
    with pytest.raises(NotImplementedError, match=message):
        net.loss((X, Y))


def test_a_steeper_sigmoid_of_ones_own_is_not_taken_for_the_sigmoid(float64):
    """The fused cross-entropy belongs to the sigmoid itself, whatever name another one has."""

    class Steep(type(nn.activations.get("sigmoid"))):
        def __call__(self, z, *, xp):
            return super().__call__(3 * z, xp=xp)

        def derivative(self, z, a, *, xp):
            return 3 * a * (1 - a)

    net = nn.Network(
        [4, nn.Dense(3, activation=Steep())], loss="cross_entropy", device=float64.device, dtype="float64", seed=0
    )
    weights, biases = [nn.to_numpy(w).copy() for w in net.weights], [nn.to_numpy(b).copy() for b in net.biases]

    def loss():
        net.set_weights(weights, biases)
        return net.loss((0.3 * X, Y))

    expected = oracle.central_differences(loss, weights)
    loss()
    np.testing.assert_allclose(nn.to_numpy(net.backprop(0.3 * X, Y)[1][0]), expected[0], rtol=1e-6, atol=1e-8)
