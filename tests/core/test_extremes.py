"""Activations, losses, norms and optimisers at the edges of float32, against float64 by hand."""

import math

import numpy as np
import pytest
from conftest import need, registered

import nn_any as nn
from nn_any.core import losses, regularization
from nn_any.core.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop

EDGES = [0.0, 1e-30, -1e-30, 1e10, -1e10, 1e19, -1e19, 1e20, -1e20, 1e30, -1e30, 3e38, -3e38]
CLOSE = {"rtol": 2e-6, "atol": 1e-36}
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in.*:RuntimeWarning")


def exp(z):
    return math.exp(z) if z < 700 else math.inf


def logistic(z):
    return 1 / (1 + exp(-z))


def gelu_tanh(z):
    return math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))


def gelu_slope(z):
    t = gelu_tanh(z)
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z * z)


BY_HAND = {
    "linear": (lambda z: z, lambda z: 1.0),
    "sigmoid": (logistic, lambda z: logistic(z) * logistic(-z)),
    "tanh": (math.tanh, lambda z: 1 - math.tanh(z) ** 2),
    "relu": (lambda z: max(z, 0.0), lambda z: float(z > 0)),
    "leaky_relu": (lambda z: max(z, 0.01 * z), lambda z: 1.0 if z > 0 else 0.01),
    "gelu": (lambda z: 0.5 * z * (1 + gelu_tanh(z)), gelu_slope),
    "silu": (lambda z: z * logistic(z), lambda z: logistic(z) * (1 + z * logistic(-z))),
    "softplus": (lambda z: max(z, 0.0) + math.log1p(exp(-abs(z))), logistic),
    "exponential": (exp, exp),
}
"""The value and the slope of each activation in float64, where none of these edges overflows but in exp."""


def float32(values):
    """These numbers in float32, infinite where they are beyond it."""
    with np.errstate(over="ignore"):
        return np.asarray(values, "float64").astype("float32")


def edges(device):
    return device.asarray(np.asarray(EDGES, "float32")), [float(z) for z in np.asarray(EDGES, "float32")]


def test_every_activation_has_an_oracle():
    assert {*BY_HAND, "softmax"} == set(registered(nn.activations))


@pytest.mark.every_backend
@pytest.mark.parametrize("name", BY_HAND)
def test_activations(device, name):
    activation, (value, slope) = nn.activations.get(name), BY_HAND[name]
    z, each = edges(device)
    a = activation(z, xp=device.xp)
    derivative = activation.derivative(z, a, xp=device.xp)
    back = activation.vjp(z, a, device.xp.ones_like(z), xp=device.xp)
    np.testing.assert_allclose(nn.to_numpy(a), float32([value(z) for z in each]), **CLOSE)
    for got in (derivative, back):
        np.testing.assert_allclose(nn.to_numpy(got), float32([slope(z) for z in each]), **CLOSE)


@pytest.mark.every_backend
def test_softmax(device):
    softmax = nn.activations.get("softmax")
    z = device.asarray(np.array([[z, 0.0] for z in EDGES], "float32"))
    a = softmax(z, xp=device.xp)
    first = [logistic(z) for z in EDGES]
    np.testing.assert_allclose(nn.to_numpy(a), float32([[p, 1 - p] for p in first]), **CLOSE)
    delta = device.asarray(np.array([[1.0, 0.0]] * len(EDGES), "float32"))
    back = nn.to_numpy(softmax.vjp(z, a, delta, xp=device.xp))
    np.testing.assert_allclose(back, float32([[p * (1 - p), -p * (1 - p)] for p in first]), **CLOSE)


def plus(z):
    """ln(1 + exp z), exactly."""
    return BY_HAND["softplus"][0](z)


def huber(d):
    return 0.5 * d * d if abs(d) <= 1 else abs(d) - 0.5


LOSSES = {
    ("quadratic", "linear"): (lambda z, y: 0.5 * (z - y) ** 2, lambda z, y: z - y),
    ("mean_squared_error", "linear"): (lambda z, y: (z - y) ** 2, lambda z, y: 2 * (z - y)),
    ("mean_absolute_error", "linear"): (lambda z, y: abs(z - y), lambda z, y: float(np.sign(z - y))),
    ("huber", "linear"): (lambda z, y: huber(z - y), lambda z, y: min(max(z - y, -1.0), 1.0)),
    ("cross_entropy", "sigmoid"): (lambda z, y: plus(z) - y * z, lambda z, y: logistic(z) - y),
    ("poisson", "exponential"): (lambda z, y: exp(z) - y * z, lambda z, y: exp(z) - y),
    ("quadratic", "sigmoid"): (
        lambda z, y: 0.5 * (logistic(z) - y) ** 2,
        lambda z, y: (logistic(z) - y) * BY_HAND["sigmoid"][1](z),
    ),
}
"""The value and ∂C/∂z for a single output."""


@pytest.mark.every_backend
@pytest.mark.parametrize(("loss", "output"), LOSSES)
@pytest.mark.parametrize("target", [0.0, 1.0, 5.0])
def test_losses(device, loss, output, target):
    if target == 5.0 and loss == "cross_entropy":
        pytest.skip("its targets lie within 0 … 1")
    (value, slope), chosen, activation = LOSSES[loss, output], losses.get(loss), nn.activations.get(output)
    z, each = edges(device)
    z = z[:, None]
    a, y = activation(z, xp=device.xp), device.xp.full_like(z, target)
    got = chosen.examples(activation, z, a, y, xp=device.xp)
    np.testing.assert_allclose(nn.to_numpy(got), float32([value(z, target) for z in each]), **CLOSE)
    delta = nn.to_numpy(chosen.error(activation, z, a, y, xp=device.xp))[:, 0]
    np.testing.assert_allclose(delta, float32([slope(z, target) for z in each]), **CLOSE)


@pytest.mark.every_backend
def test_log_likelihood(device):
    loss, softmax = losses.get("log_likelihood"), nn.activations.get("softmax")
    z = device.asarray(np.array([[z, 0.0] for z in EDGES], "float32"))
    a = softmax(z, xp=device.xp)
    for right, sign in ((0, -1), (1, 1)):
        y = device.asarray(np.array([np.eye(2)[right]] * len(EDGES), "float32"))
        expected = float32([plus(sign * float(np.float32(z))) for z in EDGES])
        np.testing.assert_allclose(nn.to_numpy(loss.examples(softmax, z, a, y, xp=device.xp)), expected, **CLOSE)
        delta = nn.to_numpy(loss.error(softmax, z, a, y, xp=device.xp))
        np.testing.assert_allclose(delta[:, 0], float32([logistic(z) for z in EDGES]) - (right == 0), **CLOSE)


PAIRS = [
    (loss, output)
    for loss in registered(nn.losses)
    for output in registered(nn.activations)
    if nn.activations.get(output).range in losses.get(loss).ranges and output != "exponential"
]


@pytest.mark.every_backend
@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_no_loss_and_no_error_is_no_number(device, loss, output):
    """With every output that a loss takes, fused or not: infinite beyond float32, but never NaN."""
    chosen, activation, xp = losses.get(loss), nn.activations.get(output), device.xp
    z = device.asarray(np.array([[z, 0.0, 1.0] for z in EDGES], "float32"))
    a = activation(z, xp=xp)
    for target in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]):
        y = device.asarray(np.array([target] * len(EDGES), "float32"))
        for got in (
            chosen.examples(activation, z, a, y, xp=xp),
            chosen.error(activation, z, a, y, xp=xp),
            chosen(a, y, xp=xp),
            activation.vjp(z, a, chosen.derivative(a, y, xp=xp), xp=xp),
        ):
            assert not np.isnan(nn.to_numpy(got)).any()


SIZES = [0.0, 1e-38, 1e-30, 1e-10, 1.0, 1e10, 1e18, 3e19, 1e20, 1e30, 3e38]


@pytest.mark.every_backend
@pytest.mark.parametrize("size", SIZES)
def test_clipping_by_the_norm(device, size):
    """Times min(1, limit / (‖∇C‖ + 10⁻⁶)), by NumPy in float64, for one network and for two with norms of their own."""
    gradient = np.array([3.0, -4.0]) / 5 * size
    for limit in (1.0, 1e-3, 1e3):
        expected = gradient * min(1.0, limit / (size + 1e-6))
        tree = ((device.asarray(gradient.astype("float32")),),)
        (got,) = regularization.clip_global_norm(tree, limit, lead=0, xp=device.xp)[0]
        tolerance = {"rtol": 1e-6, "atol": 2e-38}  # JAX takes subnormal numbers for 0
        np.testing.assert_allclose(nn.to_numpy(got), expected, **tolerance)
        tree = ((device.asarray(np.stack([gradient, [1e25, 0.0]]).astype("float32")),),)
        (got,) = regularization.clip_global_norm(tree, limit, lead=1, xp=device.xp)[0]
        np.testing.assert_allclose(nn.to_numpy(got), [expected, [limit, 0.0]], **tolerance)


@pytest.mark.every_backend
@pytest.mark.parametrize("size", SIZES)
def test_limits_of_the_norms_of_units(device, size):
    weights = np.array([[0.6 * size, -0.8 * size], [0.3, 0.4], [3e25, 4e25]])
    expected = [weights[0] * min(1.0, 1 / max(size, 1e-300)), weights[1], [0.6, 0.8]]
    tree = ((device.asarray(weights.astype("float32")),),)
    (got,) = regularization.limit_norms(tree, ((True,),), 1.0, lead=0, xp=device.xp)[0]
    np.testing.assert_allclose(nn.to_numpy(got), expected, rtol=1e-6, atol=2e-38)


@pytest.mark.parametrize("exponent", [-200, 0, 60, 200])
def test_clipping_in_float64(float64, exponent):
    gradient = np.array([3.0, -4.0]) * 10.0**exponent
    tree = ((float64.device.asarray(gradient, "float64"),),)
    (got,) = regularization.clip_global_norm(tree, 1.0, lead=0, xp=float64.xp)[0]
    expected = gradient * min(1.0, 1 / (5 * 10.0**exponent + 1e-6))
    np.testing.assert_allclose(nn.to_numpy(got), expected, rtol=1e-12)


@pytest.mark.every_backend
@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("x", [1.0, 1e19, 1e20, 1e30, 3e38])
def test_a_clipped_step_from_huge_gradients(device, engine, x):
    """C = |w x + b - 1| at 0 has the gradient (-x, -1), whatever its size; the step is as long as the limit."""
    for model in (nn.Network, lambda *args, **options: nn.Ensemble(*args, 2, **options)):
        net = model([1, 1], loss="mean_absolute_error", initializer="zeros", device=device, seed=0)
        sgd = SGD(1.0, clip_norm=1.0)
        net.fit(([[x]], [[1.0]]), epochs=1, batch_size=1, optimizer=sgd, engine=engine)
        length = math.hypot(x, 1)
        np.testing.assert_allclose(nn.to_numpy(net.weights[0]).ravel(), x / length, rtol=2e-6)
        np.testing.assert_allclose(nn.to_numpy(net.biases[0]).ravel(), 1 / length, rtol=2e-6, atol=2e-38)


@pytest.mark.every_backend
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e10, 1e19, 1e20])
@pytest.mark.parametrize(
    "rule", [Adam(0.1), AdamW(0.1), RMSprop(0.1), Adagrad(0.1)], ids=lambda rule: type(rule).__name__
)
def test_squares_of_gradients_reach_as_far_as_pytorchs(device, rule, size):
    torch = need("torch")
    w = torch.tensor([1.0, 1.0], requires_grad=True)
    own = {"alpha": rule.rho, "eps": rule.epsilon} if isinstance(rule, RMSprop) else {"eps": rule.epsilon}
    own |= {"weight_decay": 0.0} if isinstance(rule, AdamW) else {}
    theirs = getattr(torch.optim, type(rule).__name__)([w], lr=0.1, **own)
    w.grad = torch.tensor([size, -size])
    theirs.step()
    params, gradients = (((device.asarray([a, b]),),) for a, b in ((1.0, 1.0), (size, -size)))
    (got,), _ = rule.update(gradients, rule.init(params), params, device.asarray(np.float32(0.1)))
    np.testing.assert_allclose(nn.to_numpy(got[0]), w.detach().numpy(), rtol=1e-5)


@pytest.mark.every_backend
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e10, 1e18])
@pytest.mark.parametrize("kind", ["BatchNorm", "LayerNorm"])
def test_normalisations(device, kind, size):
    """(x - μ) / √(σ² + ε) in float64, as far as σ² fits into float32."""
    layer = getattr(nn, kind)().with_defaults(None, None, (4,))
    x = np.array([[3.0, 1.0, -1.0, 2.0], [0.0, 1.0, 2.0, 5.0], [1.0, -4.0, 0.5, 0.0]]) * size
    axis = 0 if kind == "BatchNorm" else -1
    expected = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    params, state = (tuple(map(device.asarray, t)) for t in (layer.init(None, (4,)), layer.init_state((4,))))
    params, state = (tuple(device.xp.astype(a, device.xp.float32) for a in t) for t in (params, state))
    context = nn.layers.Context(device.xp, True, None, None, 0)
    z, _, _ = layer.forward(params, state, device.asarray(x.astype("float32")), context)
    np.testing.assert_allclose(nn.to_numpy(z), expected, rtol=1e-4, atol=1e-6)


def test_running_averages_beyond_float32_are_told_of(device):
    """The variance of inputs of 10²⁰ is infinite, as PyTorch's is, and would stay so for good."""
    x, y = np.array([[1e20, 1], [-1e20, 2], [0, 3], [5e19, 4]], "float32"), [0, 1, 2, 0]
    layers = [2, nn.BatchNorm(), 3]
    net, both = nn.Network(layers, device=device, seed=0), nn.Ensemble(layers, 2, device=device, seed=0)
    with pytest.raises(nn.TrainingDivergedError, match="weights or running averages became infinite or NaN in epoch 1"):
        net.SGD((x, y), 1, 4, 0.1)
    with pytest.raises(nn.TrainingDivergedError, match="running averages"):
        net.update_mini_batch((x, y), 0.1)
    with pytest.raises(nn.TrainingDivergedError):
        both.SGD((x, y), 1, 4, 0.1)
    for model in (net, both):
        assert all(np.isfinite(nn.to_numpy(array)).all() for array in model.state.layer_state[0])
    net.SGD((x / 1e20, y), 1, 4, 0.1)
