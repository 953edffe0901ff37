"""Initial weights: their distributions against theory and PyTorch's; and settings that survive a model file."""

import numpy as np
import pytest
from conftest import need
from scipy import stats

import nn_any as nn
from nn_any.core import initializers
from nn_any.core.activations import LeakyReLU
from nn_any.core.losses import CrossEntropy, Huber

DENSE, KERNELS = (300, 200), (64, 5, 5, 8)  # fans 200 and 300; 200 and 1600
SCHEMES = ["glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform"]


def drawn(name, shape, seed=0):
    """Weights and biases as a layer of that shape draws them."""
    layer = nn.Dense(shape[0]) if len(shape) == 2 else nn.Conv2D(shape[0], shape[1:3])
    inputs = shape[1:] if len(shape) == 2 else (9, 9, shape[3])
    layer = layer.with_defaults(nn.activations.get("linear"), initializers.get(name), inputs)
    weights, biases = layer.init(np.random.default_rng(seed), inputs)
    assert (weights.shape, weights.dtype, biases.shape) == (shape, np.float64, shape[:1])
    return weights, biases


def pytorchs(name, shape):
    """Weights of the same shape by torch.nn.init, whose kernels have their channels first."""
    torch = need("torch")
    tensor = torch.empty((shape[0], *shape[3:], *shape[1:3]) if len(shape) == 4 else shape, dtype=torch.float64)
    generator, (scheme, kind) = torch.Generator().manual_seed(0), name.split("_")
    if scheme == "glorot":
        getattr(torch.nn.init, f"xavier_{kind}_")(tensor, generator=generator)
    else:
        nonlinearity = {"he": "relu", "lecun": "linear"}[scheme]
        getattr(torch.nn.init, f"kaiming_{kind}_")(tensor, nonlinearity=nonlinearity, generator=generator)
    return tensor.numpy()


def variance(name, shape):
    fan_in, fan_out = (shape[1], shape[0]) if len(shape) == 2 else (200, 1600)
    return {"glorot": 2 / (fan_in + fan_out), "he": 2 / fan_in, "lecun": 1 / fan_in}[name.split("_")[0]]


@pytest.mark.parametrize("shape", [DENSE, KERNELS])
@pytest.mark.parametrize("name", SCHEMES)
def test_variance_scaling_as_in_theory_and_in_pytorch(name, shape):
    weights, biases = drawn(name, shape)
    assert np.all(biases == 0)
    deviation = np.sqrt(variance(name, shape))
    if name.endswith("uniform"):
        bound = np.sqrt(3) * deviation
        assert np.abs(weights).max() <= bound
        expected = stats.uniform(-bound, 2 * bound)
    else:
        expected = stats.norm(0, deviation)
    theirs = pytorchs(name, shape)
    for sample in (weights, theirs):  # the oracle is put to the same test
        assert stats.kstest(sample.ravel(), expected.cdf).pvalue > 1e-3
        assert sample.std() == pytest.approx(deviation, rel=4 / np.sqrt(sample.size))
    assert stats.ks_2samp(weights.ravel(), theirs.ravel()).pvalue > 1e-3
    if name.endswith("uniform"):
        assert np.abs(weights).max() == pytest.approx(np.abs(theirs).max(), rel=1e-3)


@pytest.mark.parametrize("shape", [DENSE, KERNELS])
@pytest.mark.parametrize(("name", "fan_in"), [("normal", 1), ("scaled_normal", 200)])
def test_the_books_normal_starts(name, fan_in, shape):
    weights, biases = drawn(name, shape)
    assert stats.kstest(weights.ravel() * np.sqrt(fan_in), stats.norm.cdf).pvalue > 1e-3
    assert stats.kstest(biases, stats.norm.cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(weights.reshape(shape[0], -1)[:, 0], biases)[0, 1]) < 0.3
    np.testing.assert_allclose(drawn("normal", shape)[0], drawn("scaled_normal", shape)[0] * np.sqrt(200), rtol=1e-14)


@pytest.mark.parametrize("shape", [(30, 80), (80, 30), (40, 40), (6, 3, 3, 2), (50, 3, 3, 2)])
def test_orthogonal(shape):
    weights, biases = drawn("orthogonal", shape)
    matrix = weights.reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-12)
    assert np.all(biases == 0)


def test_orthogonal_matrices_are_evenly_distributed():
    """As SciPy's: over many draws every entry has mean 0 and variance 1/n, so no sign is preferred."""
    ours = np.array([drawn("orthogonal", (4, 4), seed)[0] for seed in range(600)])
    theirs = stats.ortho_group(4).rvs(600, random_state=0)
    for sample in (ours, theirs):
        assert np.abs(sample.mean(axis=0)).max() < 4 / np.sqrt(4 * 600)
        assert np.abs((sample**2).mean(axis=0) - 1 / 4).max() < 0.06
    for function in (np.trace, np.linalg.det):
        assert stats.ks_2samp([function(a) for a in ours], [function(a) for a in theirs]).pvalue > 1e-3


@pytest.mark.parametrize("shape", [DENSE, KERNELS])
def test_zeros(shape):
    for array in drawn("zeros", shape):
        assert not array.any()


def test_every_name_is_tried_here():
    assert set(initializers.names()) >= {*SCHEMES, "normal", "scaled_normal", "orthogonal", "zeros"}


@pytest.mark.parametrize("name", [*SCHEMES, "normal", "scaled_normal", "orthogonal", "zeros"])
def test_the_same_bits_on_every_backend_and_other_ones_for_another_layer_or_seed(backend, name):
    def made(seed, device):
        stack = [(4, 4, 2), nn.Conv2D(3, 3), nn.Flatten(), nn.Dense(12), nn.Dense(12)]
        net = nn.Network(stack, initializer=name, device=device, seed=seed)
        return [nn.to_numpy(a) for layer in net.params for a in layer]

    here, host, other = made(1, backend.device), made(1, "numpy"), made(2, "numpy")
    for a, b in zip(here, host, strict=True):
        assert a.dtype == np.float32
        assert a.tobytes() == b.tobytes()
    if name != "zeros":
        assert not np.array_equal(host[2], host[4])
        assert not np.array_equal(host[2], other[2])


def test_a_layers_own_initializer_goes_before_the_networks(backend):
    stack = [5, nn.Dense(4, initializer="zeros"), 3]
    net = nn.Network(stack, initializer="he_normal", device=backend.device, seed=0)
    assert not nn.to_numpy(net.weights[0]).any()
    assert nn.to_numpy(net.weights[1]).any()


@pytest.mark.parametrize(
    ("activation", "output", "loss"),
    [
        (LeakyReLU(0.2), "linear", Huber(2.0)),
        (LeakyReLU(0.0), "sigmoid", CrossEntropy(label_smoothing=0.1)),
        ("leaky_relu", "linear", "huber"),
    ],
)
def test_settings_of_activations_and_losses_survive_a_model_file(float64, activation, output, loss, tmp_path):
    rng = np.random.default_rng(0)
    data = (
        rng.normal(size=(20, 3)),
        (5 * rng.normal(size=(20, 2)) if output == "linear" else np.eye(2)[np.arange(20) % 2]),
    )
    stack = [3, nn.Dense(6, activation, initializer="glorot_uniform"), nn.Activation(activation), nn.Dense(2, output)]
    net = nn.Network(stack, loss=loss, device=float64.device, dtype="float64", seed=1)
    net.save(tmp_path / "model")
    loaded = nn.Network.load(tmp_path / "model", device=float64.device)
    assert loaded.layers == net.layers
    assert loaded.specification.loss == net.specification.loss
    assert loaded.loss(data) == net.loss(data)
    for each in (net, loaded):
        each.fit(data, epochs=2, batch_size=5, optimizer=nn.SGD(0.1))
    np.testing.assert_array_equal(nn.to_numpy(loaded.weights[0]), nn.to_numpy(net.weights[0]))


def test_settings_are_what_is_computed_with(float64):
    """Against the formulas by hand: 0.2 z, Huber's bend at 2, and targets smoothed by 0.1."""
    z, y = np.array([[-3.0, 0.5], [1.5, -0.5]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    xp, arrays = float64.xp, (float64.asarray(z), float64.asarray(y))
    np.testing.assert_allclose(nn.to_numpy(LeakyReLU(0.2)(arrays[0], xp=xp)), [[-0.6, 0.5], [1.5, -0.1]], rtol=1e-15)
    np.testing.assert_allclose(nn.to_numpy(Huber(2.0)(*arrays, xp=xp)), [(6 + 0.125) / 2, (1.125 + 1.125) / 2])
    a = 1 / (1 + np.exp(-z))
    smoothed = 0.9 * y + 0.05
    expected = -(smoothed * np.log(a) + (1 - smoothed) * np.log(1 - a)).sum(axis=1)
    got = CrossEntropy(label_smoothing=0.1)(float64.asarray(a), arrays[1], xp=xp)
    np.testing.assert_allclose(nn.to_numpy(got), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LeakyReLU(1.0), ValueError, "slope of a leaky ReLU: .* below 1, got 1"),
        (lambda: LeakyReLU(-0.1), ValueError, "slope of a leaky ReLU"),
        (lambda: Huber(0), ValueError, "above 0, got 0"),
        (lambda: CrossEntropy(label_smoothing=1.5), ValueError, "label_smoothing"),
        (lambda: CrossEntropy(label_smoothing="a little"), TypeError, "label_smoothing"),
        (lambda: nn.Dense(3, initializer="ones"), ValueError, "initializer: expected one of .*, got 'ones'"),
        (lambda: nn.Dense(3, initializer=0.1), TypeError, "initializer: expected a name"),
    ],
)
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()
