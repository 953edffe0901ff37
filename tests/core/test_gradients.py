"""Gradients of every layer, activation and loss: against central differences, and against PyTorch's autograd."""

from functools import cache

import numpy as np
import oracle
import pytest
from conftest import need, registered

import nn_any as nn
from nn_any.core import evaluation, losses
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.datasets.network_input import preparation

IMAGE = (6, 5, 2)
MEASURED = np.array([0.5, -1.0, 2.0, 0.0]), np.array([0.5, 2.0, 1.5, 3.0])  # by Standardize
OUTPUTS = registered(nn.activations)
LOSSES = registered(nn.losses)
PAIRS = [
    (loss, activation)
    for loss in LOSSES
    for activation in OUTPUTS
    if nn.activations.get(activation).range in losses.get(loss).ranges
]
STACKS = {
    "dense": [(4,), nn.Dense(5), nn.Dense(4)],
    "valid": [IMAGE, nn.Conv2D(3, 3), nn.Flatten()],
    "same": [IMAGE, nn.Conv2D(3, (3, 2), padding="same"), nn.Flatten()],
    "stride": [IMAGE, nn.Conv2D(2, 3, stride=2, padding="same"), nn.Conv2D(2, 2, stride=(1, 2)), nn.Flatten()],
    "two convolutions": [IMAGE, nn.Conv2D(2, 2), nn.Conv2D(3, (2, 3)), nn.Flatten()],
    "wide stride": [IMAGE, nn.Conv2D(2, 1), nn.Conv2D(2, (1, 2), stride=3), nn.Flatten()],
    "maximum": [IMAGE, nn.Conv2D(2, 2), nn.MaxPool2D(2), nn.Flatten()],
    "overlapping maximum": [IMAGE, nn.Conv2D(2, 2), nn.MaxPool2D(3, stride=1), nn.Flatten()],
    "average": [IMAGE, nn.Conv2D(2, 2), nn.AveragePool2D((2, 1)), nn.Flatten()],
    "overlapping average": [IMAGE, nn.Conv2D(2, 1), nn.AveragePool2D(3, stride=2), nn.Flatten()],
    "dropout": [(4,), nn.Dense(5), nn.Dropout(0.4)],
    "image dropout": [IMAGE, nn.Conv2D(2, 2), nn.Dropout(0.3), nn.Conv2D(2, 2), nn.Flatten()],
    "batch norm": [(4,), nn.Dense(5, activation="linear"), nn.BatchNorm(), nn.Activation("tanh")],
    "image batch norm": [IMAGE, nn.Conv2D(2, 2), nn.BatchNorm(), nn.Conv2D(2, 2), nn.Flatten()],
    "layer norm": [(4,), nn.Dense(5), nn.LayerNorm(), nn.Dense(4)],
    "standardize": [(4,), nn.Standardize(), nn.Dense(5), nn.Dense(4)],
    "image layer norm": [IMAGE, nn.Conv2D(3, 2), nn.LayerNorm(), nn.Flatten()],
}


def network(stack, activation, loss, output, device="numpy"):
    spec = [*STACKS[stack], nn.Dense(3, activation=output)]
    net = nn.Network(
        spec, activation=activation, loss=loss, initializer="lecun_normal", device=device, dtype="float64", seed=3
    )
    rng = np.random.default_rng(8)  # gains and biases off their beginnings
    params = tree_map(lambda p: nn.to_numpy(p) + 0.1 * rng.standard_normal(p.shape), net.params)
    measured = tuple(
        tuple(net.device.asarray(array) for array in (*MEASURED, np.ones(()))) if layer.measures else state
        for layer, state in zip(net.layers, net.state.layer_state, strict=True)
    )
    net.state = net.state._replace(params=tree_map(lambda p: net.device.asarray(p), params), layer_state=measured)
    return net


def batch(net, loss, output):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(5, *net.input_shape))
    if net.specification.loss.task == "classes":
        y = np.eye(3)[rng.integers(0, 3, 5)]
    else:
        y = rng.poisson(2.0, (5, 3)).astype(float) if loss == "poisson" else rng.normal(size=(5, 3))
    return x, y


def training_loss(net, x, y):
    prepare = preparation(net.specification, y)
    differentiate = evaluation.differentiator(net.layers, net.specification.loss, prepare, training=True)
    return float(differentiate(net.state, (x, y))[0])


@cache
def central_differences(stack, activation, loss, output):
    """The oracle for all backends: differences of the loss in training, on NumPy in float64."""
    net = network(stack, activation, loss, output)
    x, y = batch(net, loss, output)
    return oracle.central_differences(lambda: training_loss(net, x, y), list(tree_leaves(net.params)))


def check(backend, *combination):
    net = network(*combination, device=backend.device)
    x, y = batch(net, *combination[2:])
    expected = central_differences(*combination)
    got = [nn.to_numpy(leaf) for leaf in tree_leaves(net.gradients(backend.asarray(x), backend.asarray(y), True))]
    scale = max(np.abs(leaf).max() for leaf in expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7 * scale)


@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_every_loss_with_every_output(float64, loss, output):
    check(float64, "dense", "tanh", loss, output)


def test_every_registered_layer_is_in_a_stack():
    """But for those at the front, which pass no gradients on, and Flatten, which is everywhere."""
    stacked = {type(layer).__name__ for stack in STACKS.values() for layer in stack[1:]}
    assert set(registered(nn.layers)) - stacked == {"ElasticDistortion", "RandomAffine"}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("activation", "loss", "output"), [("tanh", "log_likelihood", "softmax")])
def test_every_layer(float64, stack, activation, loss, output):
    check(float64, stack, activation, loss, output)


@pytest.mark.parametrize("stack", ["valid", "maximum", "batch norm", "layer norm", "dropout"])
@pytest.mark.parametrize("activation", OUTPUTS)
def test_every_layer_with_every_activation(float64, stack, activation):
    check(float64, stack, activation, "cross_entropy", "sigmoid")


@pytest.mark.slow
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_every_combination_against_autograd(stack, loss, output):
    torch = need("torch")
    net = network(stack, "silu", loss, output)
    x, y = batch(net, loss, output)
    params = tree_map(lambda p: torch.tensor(p, requires_grad=True), net.params)
    key = int(net.state.key[0])
    masks, shape = {}, (5,)
    for i, layer in enumerate(net.layers):
        if isinstance(layer, nn.Dropout):
            masks[i] = oracle.dropout_mask(key, i, 0, (*shape, *net.specification.shapes[i]), layer.rate)
    a, z = oracle.torch_forward(torch, net.layers, params, torch.tensor(x), masks, MEASURED)
    value = oracle.torch_loss(torch, loss, a, z, torch.tensor(y))
    value.backward()
    assert training_loss(net, x, y) == pytest.approx(value.item(), rel=1e-12)
    for got, leaf in zip(tree_leaves(net.gradients(x, y, training=True)), tree_leaves(params), strict=True):
        np.testing.assert_allclose(got, leaf.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (3, 2), ((2, 3), (1, 3))])
def test_ties_of_the_maximum_go_to_the_first(float64, size, stride):
    """Where elements of a window are equal, PyTorch's autograd and this package choose the same one."""
    torch = need("torch")
    rng = np.random.default_rng(2)
    x = rng.integers(0, 3, (4, 7, 8, 2)).astype(float)
    pool = nn.MaxPool2D(size, stride=stride)
    leaf = torch.tensor(x, requires_grad=True)
    pooled = torch.nn.functional.max_pool2d(leaf.permute(0, 3, 1, 2), pool.size, pool.stride).permute(0, 2, 3, 1)
    delta = rng.normal(size=tuple(pooled.shape))
    pooled.backward(torch.tensor(delta))
    context = nn.layers.Context(float64.xp, True, None, None, 0)
    got, _, saved = pool.forward((), (), float64.asarray(x), context)
    np.testing.assert_array_equal(nn.to_numpy(got), pooled.detach().numpy())
    back = pool.backward((), saved, float64.asarray(delta), context)
    np.testing.assert_allclose(nn.to_numpy(back), leaf.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("loss", ["cross_entropy", "log_likelihood"])
def test_label_smoothing(float64, loss):
    """Against PyTorch's: the smoothing of its cross-entropy, and smoothed targets by hand for yes and no."""
    torch = need("torch")
    kinds = {"cross_entropy": nn.losses.CrossEntropy, "log_likelihood": nn.losses.LogLikelihood}
    smooth, output = kinds[loss](label_smoothing=0.2), losses.get(loss).suits
    net = network("dense", "tanh", smooth, output, float64.device)
    x, y = batch(net, loss, output)
    params = tree_map(lambda p: torch.tensor(nn.to_numpy(p), requires_grad=True), net.params)
    _, z = oracle.torch_forward(torch, net.layers, params, torch.tensor(x))
    if loss == "log_likelihood":
        value = torch.nn.functional.cross_entropy(z, torch.tensor(y), label_smoothing=0.2)
    else:
        targets = torch.tensor(0.8 * y + 0.1)
        value = torch.nn.functional.binary_cross_entropy_with_logits(z, targets, reduction="sum") / len(x)
    value.backward()
    assert net.loss((x, y)) == pytest.approx(value.item(), rel=1e-12)
    for got, leaf in zip(tree_leaves(net.gradients(x, y)), tree_leaves(params), strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), leaf.grad.numpy(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(("loss", "output"), [pair for pair in PAIRS if pair[0] in ("cross_entropy", "log_likelihood")])
def test_no_infinities_however_sure_the_network_is(backend, loss, output):
    """Logits of ±1e4 give finite losses and gradients, in float32 and without a warning."""
    net = nn.Network([2, nn.Dense(3, activation=output)], loss=loss, device=backend.device, seed=0)
    net.set_weights([np.array([[1e4, 0.0], [0.0, 1e4], [-1e4, 1e4]], dtype="float32")], [np.zeros(3, dtype="float32")])
    x, y = np.eye(2, dtype="float32"), np.array([0, 2])
    assert np.isfinite(net.loss((x, y)))
    assert all(np.isfinite(nn.to_numpy(g)).all() for g in tree_leaves(net.gradients(x, y)))
