"""PyTorch modules become networks and networks become modules, with the same outputs."""

import copy
import pickle

import numpy as np
import pytest
from conftest import registered

import nn_any as nn
from nn_any.core import activations, layers

torch = pytest.importorskip("torch", reason="needs PyTorch")
tn = torch.nn
from nn_any.backends import _torch_modules as own  # noqa: E402
from nn_any.backends import _torch_reading as reading  # noqa: E402

ROWS = 6


def images(*extra):
    """An image of 2 × 11 × 8 after a convolution with a kernel that is not square: 3 × 9 × 6."""
    return tn.Sequential(tn.Conv2d(2, 3, (3, 3)), *extra, tn.Flatten(), tn.LazyLinear(4))


SHAPE = (2, 11, 8)
MODULES = {
    "rows": (tn.Sequential(tn.Linear(5, 7), tn.Tanh(), tn.Linear(7, 3, bias=False)), (5,)),
    "one module": (tn.Linear(5, 3), (5,)),
    "nested": (tn.Sequential(tn.Sequential(tn.Linear(5, 4), tn.ReLU()), tn.Sequential(tn.Linear(4, 3))), (5,)),
    "flatten": (tn.Sequential(tn.Flatten(), tn.Linear(176, 3)), SHAPE),
    "nothing": (tn.Sequential(tn.Identity(), tn.Linear(5, 3), tn.Dropout(0.3)), (5,)),
    "kernel": (tn.Sequential(tn.Conv2d(2, 3, (4, 2), stride=(2, 3)), tn.Flatten(), tn.LazyLinear(4)), SHAPE),
    "no biases": (tn.Sequential(tn.Conv2d(2, 3, 2, bias=False), tn.Flatten(), tn.LazyLinear(4)), SHAPE),
    "padding": (tn.Sequential(tn.Conv2d(2, 3, (5, 3), padding=(2, 1)), tn.Flatten(), tn.LazyLinear(4)), SHAPE),
    "same": (tn.Sequential(tn.Conv2d(2, 3, (5, 3), padding="same"), tn.Flatten(), tn.LazyLinear(4)), SHAPE),
    "valid": (tn.Sequential(tn.Conv2d(2, 3, (5, 3), padding="valid"), tn.Flatten(), tn.LazyLinear(4)), SHAPE),
    "zeros": (images(tn.ZeroPad2d((0, 1, 1, 1)), tn.Conv2d(3, 4, (3, 3), stride=(2, 2))), SHAPE),
    "largest": (images(tn.MaxPool2d((3, 2), stride=(2, 1))), SHAPE),
    "whole windows": (images(tn.MaxPool2d(3, ceil_mode=True)), SHAPE),
    "average": (images(tn.AvgPool2d((2, 3))), SHAPE),
    "all": (images(tn.AdaptiveAvgPool2d(1)), SHAPE),
    "thirds": (images(tn.AdaptiveMaxPool2d((3, None))), SHAPE),
    "normal images": (images(tn.BatchNorm2d(3, momentum=0.3), tn.ReLU()), SHAPE),
    "normal rows": (tn.Sequential(tn.Linear(5, 4), tn.BatchNorm1d(4, eps=0.01), tn.LayerNorm(4)), (5,)),
    "no gains": (tn.Sequential(tn.BatchNorm1d(5, affine=False), tn.LayerNorm(5, elementwise_affine=False)), (5,)),
    "behind flatten": (
        tn.Sequential(
            tn.Flatten(), tn.BatchNorm1d(176), tn.LayerNorm(176), tn.Dropout(0.1), tn.SiLU(), tn.Linear(176, 3)
        ),
        SHAPE,
    ),
    "channels": (images(own.ChannelLayerNorm(3), tn.Softmax(dim=1)), SHAPE),
    "series": (tn.Sequential(tn.BatchNorm1d(3), tn.Tanh(), tn.Flatten(), tn.Linear(21, 2)), (3, 7)),
    "channels last": (tn.Sequential(tn.Conv2d(2, 3, 4), own.ChannelsLastFlatten(), tn.Linear(120, 2)), SHAPE),
    "standardised": (
        tn.Sequential(
            own.Standardize(torch.randn(SHAPE), torch.rand(SHAPE) + 1, torch.ones(())),
            tn.Flatten(),
            tn.Linear(176, 3),
            own.Standardize(torch.randn(3), torch.rand(3) + 1, torch.ones(()), invert=True),
        ),
        SHAPE,
    ),
    **{
        f"{kind.__name__} {settings}": (tn.Sequential(tn.Linear(5, 4), kind(**settings), tn.Linear(4, 3)), (5,))
        for kind, settings in [
            (tn.ReLU, {}),
            (tn.LeakyReLU, {"negative_slope": 0.3}),
            (tn.Sigmoid, {}),
            (tn.Tanh, {}),
            (tn.GELU, {"approximate": "tanh"}),
            (tn.SiLU, {}),
            (tn.Softplus, {}),
            (tn.Softmax, {"dim": -1}),
            (own.Exponential, {}),
        ]
    },
}


def trained(name, dtype=torch.float32):
    """A module of the table after some steps of PyTorch's, in evaluation mode, and inputs."""
    module, shape = MODULES[name]
    module = copy.deepcopy(module).to(dtype).train()
    torch.manual_seed(len(name))
    x = torch.randn((ROWS, *shape), dtype=dtype)
    module(x)  # shapes that are not given
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03) if list(module.parameters()) else None
    for _ in range(4 if optimizer else 0):
        optimizer.zero_grad()
        (module(x) - 1).square().mean().backward()
        optimizer.step()
    return module.eval(), x


def as_ours(x):
    """A batch of PyTorch's with the channels last."""
    return np.moveaxis(x.numpy(), 1, -1)


def outputs(module, x):
    with torch.no_grad():
        return module(x).numpy()


def assert_equal(ours, theirs, tolerance=1e-5):
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    assert np.abs(theirs).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1, np.abs(theirs).max()))


@pytest.mark.parametrize("name", MODULES)
def test_there_and_back(name):
    module, x = trained(name)
    net = nn.Network.from_torch(module, input_shape=x.shape[1:], loss="mean_squared_error")
    assert net.input_shape == as_ours(x).shape[1:]
    assert_equal(net.feedforward(as_ours(x)), outputs(module, x))
    back = net.to_torch()
    assert not back.training
    assert_equal(outputs(back, x), outputs(module, x))
    again = nn.Network.from_torch(back, input_shape=x.shape[1:], loss="mean_squared_error")
    assert again.layers == net.layers
    assert_equal(again.feedforward(as_ours(x)), outputs(module, x))


def test_every_module_that_is_read_has_been_tried():
    tried = {type(one) for module, _ in MODULES.values() for one in module.modules()}
    tried |= {tn.LogSoftmax} | ({tn.Linear} if tn.LazyLinear in tried else set())
    assert tried >= set(reading._READINGS)


def test_a_module_that_stands_in_several_places():
    torch.manual_seed(0)
    relu, inner = tn.ReLU(), tn.Linear(4, 4)
    pair = tn.Sequential(inner, relu)
    module = tn.Sequential(tn.Linear(5, 4), relu, pair, pair, inner, relu, tn.Linear(4, 3), tn.Identity()).eval()
    net = nn.Network.from_torch(module, loss="mean_squared_error")
    assert [layer.activation.name for layer in net.layers] == ["relu"] * 4 + ["linear"]
    x = torch.randn(ROWS, 5)
    assert_equal(net.feedforward(x.numpy()), outputs(module, x))


@pytest.mark.parametrize("name", ["padding", "behind flatten", "normal images", "standardised"])
def test_float64(name):
    module, x = trained(name, torch.float64)
    net = nn.Network.from_torch(module, input_shape=x.shape[1:], loss="mean_squared_error")
    assert net.dtype == "float64"
    assert_equal(net.feedforward(as_ours(x)), outputs(module, x), 1e-13)
    assert_equal(outputs(net.to_torch(), x), outputs(module, x), 1e-13)


def test_half_precision_becomes_float32():
    module = tn.Sequential(tn.Linear(5, 3, dtype=torch.bfloat16), tn.Sigmoid())
    net = nn.Network.from_torch(module)
    assert net.dtype == "float32"
    assert_equal(net.weights[0], module[0].weight.detach().float().numpy())


IMAGE = (7, 6, 3)
NETWORKS = {
    "Activation": [nn.Conv2D(4, 2, "linear"), nn.Dropout(0.2), nn.Activation("tanh"), nn.Flatten()],
    "AveragePool2D": [nn.AveragePool2D((2, 3), stride=(2, 1)), nn.Flatten()],
    "BatchNorm": [nn.BatchNorm(momentum=0.3, epsilon=1e-3), nn.Flatten(), nn.BatchNorm()],
    "Conv2D": [
        nn.Conv2D(4, (3, 2), stride=(1, 2), padding="same"),
        nn.Conv2D(5, (2, 3), stride=2, padding="same"),
        nn.Flatten(),
    ],
    "Dense": [nn.Flatten(), nn.Dense(5), nn.Dense(4, trainable=False)],
    "Dropout": [nn.Dropout(0.5), nn.Flatten(), nn.Dropout(0.1)],
    "ElasticDistortion": [nn.ElasticDistortion(), nn.Flatten()],
    "Flatten": [nn.Flatten(), nn.Dropout(0.1), nn.Flatten()],
    "LayerNorm": [nn.LayerNorm(), nn.Flatten(), nn.LayerNorm(epsilon=0.1)],
    "MaxPool2D": [nn.MaxPool2D((3, 2), stride=(1, 2)), nn.Flatten()],
    "RandomAffine": [nn.RandomAffine(rotation=5), nn.Flatten()],
    "Standardize": [nn.Standardize(), nn.Flatten()],
}
"""Layers in front of the outputs, for each kind that there is."""


def trained_network(front, *, activation="tanh", outputs=True, dtype="float32"):
    """A network after an epoch on numbers to predict, and inputs."""
    x = np.random.default_rng(3).normal(1, 2, (ROWS, *IMAGE)).astype(dtype)
    ends = [nn.Dense(2, "linear"), nn.Standardize(invert=True)] if outputs else []
    net = nn.Network(
        [IMAGE, *front, *ends], activation=activation, loss="mean_squared_error", seed=2, dtype=dtype,
        initializer="glorot_uniform",
    )  # fmt: skip
    y = np.random.default_rng(4).normal(50, 9, (ROWS, net.outputs)).astype(dtype)
    net.fit((x, y), epochs=2, batch_size=3, optimizer=nn.Adam(0.01))
    return net, x


def as_theirs(x):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


@pytest.mark.parametrize("kind", registered(layers))
def test_every_layer(kind):
    net, x = trained_network(NETWORKS[kind])
    module = net.to_torch()
    assert_equal(outputs(module, as_theirs(x)), net.feedforward(x))
    back = nn.Network.from_torch(module, input_shape=as_theirs(x).shape[1:])
    assert back.layers == tuple(layer for layer in net.layers if layer.passes_gradients)
    assert_equal(back.feedforward(x), net.feedforward(x))
    wanted, got = net.parameters, back.parameters
    assert len(wanted) == len(got)
    for array, its in zip(wanted.values(), got.values(), strict=True):
        np.testing.assert_array_equal(array, its)


@pytest.mark.parametrize("front", [NETWORKS["MaxPool2D"], NETWORKS["Flatten"]], ids=["pooled", "raw"])
def test_outputs_that_were_images(front):
    """No Dense layer puts the numbers in order, so a module does."""
    net, x = trained_network([nn.BatchNorm(), *front], outputs=False)
    module = net.to_torch()
    assert_equal(outputs(module, as_theirs(x)), net.feedforward(x))
    back = nn.Network.from_torch(module, input_shape=as_theirs(x).shape[1:], loss="mean_squared_error")
    assert_equal(back.feedforward(x), net.feedforward(x))


@pytest.mark.parametrize("name", registered(activations))
def test_every_activation(name):
    net, x = trained_network([nn.Conv2D(3, 2, name), nn.Flatten(), nn.Dense(4, name)])
    assert_equal(outputs(net.to_torch(), as_theirs(x)), net.feedforward(x))
    back = nn.Network.from_torch(net.to_torch(), input_shape=as_theirs(x).shape[1:])
    assert back.layers == net.layers


@pytest.mark.every_backend
def test_on_every_backend(float64, device):
    net, x = trained_network([nn.Standardize(), nn.Conv2D(4, (2, 3)), nn.BatchNorm(), nn.Flatten()], dtype="float64")
    module = net.copy().to(device).to_torch()
    assert_equal(outputs(module, as_theirs(x)), net.feedforward(x), 1e-13)
    back = nn.Network.from_torch(module, input_shape=as_theirs(x).shape[1:], device=device)
    assert back.device == device
    assert_equal(nn.to_numpy(back.feedforward(x)), net.feedforward(x), 1e-12)


def test_neither_shares_memory_with_the_other():
    net, x = trained_network(NETWORKS["BatchNorm"])
    before, module = net.feedforward(x), net.to_torch()
    for tensor in module.state_dict().values():
        tensor.fill_(7)
    np.testing.assert_array_equal(net.feedforward(x), before)
    back = nn.Network.from_torch(module, input_shape=as_theirs(x).shape[1:])
    sevens = back.feedforward(x)
    for tensor in module.state_dict().values():
        tensor.zero_()
    np.testing.assert_array_equal(back.feedforward(x), sevens)


def test_modules_survive_files_and_copies():
    net, x = trained_network([nn.Standardize(), nn.LayerNorm(), nn.Activation("exponential"), nn.Flatten()])
    module = net.to_torch()
    for other in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert_equal(outputs(other, as_theirs(x)), net.feedforward(x))
    assert "invert=True" in repr(module)


def test_the_random_numbers_of_pytorch_stay_where_they_are():
    net, _ = trained_network(NETWORKS["Conv2D"])
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    net.to_torch()
    assert torch.equal(torch.rand(3), wanted)


def test_frozen_parameters_stay_frozen():
    module = tn.Sequential(tn.Linear(5, 4), tn.BatchNorm1d(4), tn.ReLU(), tn.Linear(4, 3)).eval()
    module[0].requires_grad_(False)
    module[1].requires_grad_(False)
    net = nn.Network.from_torch(module, loss=tn.CrossEntropyLoss())
    assert [layer.trainable for layer in net.layers[:2]] == [False, False]
    x, y = np.random.default_rng(0).random((9, 5)), np.arange(9) % 3
    net.fit((x, y), epochs=3, optimizer=nn.Adam(0.1))
    np.testing.assert_array_equal(net.weights[0], module[0].weight.detach().numpy())
    assert np.any(net.weights[2] != module[3].weight.detach().numpy())
    back = net.to_torch()
    assert [parameter.requires_grad for parameter in back.parameters()] == [False] * 4 + [True] * 2


LOSSES = {
    "classes": (tn.CrossEntropyLoss(label_smoothing=0.1), [], 1, "classification", "softmax"),
    "log of classes": (tn.NLLLoss(), [tn.LogSoftmax(dim=1)], 1, "classification", "softmax"),
    "logits": (tn.BCEWithLogitsLoss(), [], 3, "multilabel", "sigmoid"),
    "yes or no": (tn.BCELoss(), [tn.Sigmoid()], 3, "multilabel", "sigmoid"),
    "squares": (tn.MSELoss(), [], 1, "regression", "linear"),
    "amounts": (tn.L1Loss(), [], 1, "regression", "linear"),
    "huber": (tn.HuberLoss(delta=0.4), [], 1, "regression", "linear"),
    "smooth": (tn.SmoothL1Loss(beta=0.4), [], 0.4, "regression", "linear"),
    "counts": (tn.PoissonNLLLoss(), [], 1, "regression", "exponential"),
    "rates": (tn.PoissonNLLLoss(log_input=False, eps=1e-30), [own.Exponential()], 1, "regression", "exponential"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    """Each is PyTorch's own, but for a factor."""
    loss, ends, factor, task, activation = LOSSES[name]
    torch.manual_seed(1)
    module = tn.Sequential(tn.Linear(5, 3), *ends).eval()
    net = nn.Network.from_torch(module, loss=loss)
    assert (net.task, net.specification.output_activation.name) == (task, activation)
    x, labels = torch.randn(8, 5), torch.arange(8) % 3
    y = labels if task == "classification" else torch.rand(8, 3)
    theirs = float(loss(module(x), y).detach()) * factor
    y = y.numpy() if task != "classification" else np.asarray(labels)
    assert net.loss((x.numpy(), y)) == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize(
    ("ends", "loss", "task"),
    [
        ([tn.Softmax(dim=1)], "log_likelihood", "classification"),
        ([tn.Sigmoid()], "cross_entropy", "multilabel"),
        ([own.Exponential()], "poisson", "regression"),
        ([tn.Tanh()], "mean_squared_error", "regression"),
        ([tn.Softmax(dim=None)], "log_likelihood", "classification"),
    ],
    ids=["softmax", "sigmoid", "exponential", "tanh", "no axis"],
)
def test_the_last_activation_tells_the_loss(ends, loss, task):
    net = nn.Network.from_torch(tn.Sequential(tn.Linear(5, 3), *ends))
    assert (net.specification.loss.name, net.task) == (loss, task)


def test_logits():
    """The loss says what they are; a name of this package says what the network is for as in `Network`."""
    module = tn.Sequential(tn.Linear(5, 3)).eval()
    x = torch.randn(4, 5)
    classes = nn.Network.from_torch(module, loss="log_likelihood")
    assert_equal(classes.predict_proba(x.numpy()), torch.softmax(module(x), 1).detach().numpy())
    yes = nn.Network.from_torch(module, loss="cross_entropy")
    assert yes.task == "classification"
    assert_equal(yes.predict_proba(x.numpy()), torch.sigmoid(module(x)).detach().numpy())
    assert nn.Network.from_torch(module, loss="cross_entropy", task="multilabel").task == "multilabel"
    assert nn.Network.from_torch(module, loss=tn.BCEWithLogitsLoss(), task="classification").task == "classification"
    assert_equal(outputs(classes.to_torch()[:-1], x), outputs(module, x))


def test_training_goes_on_as_in_pytorch():
    """Ten steps of plain gradient descent from the same start, whole batches."""
    torch.manual_seed(2)
    module = tn.Sequential(
        tn.Conv2d(2, 3, (3, 2)), tn.BatchNorm2d(3), tn.ReLU(), tn.MaxPool2d(2), tn.Flatten(), tn.LazyLinear(4)
    )
    x, y = torch.randn(12, 2, 9, 8), torch.arange(12) % 4
    module(x)
    net = nn.Network.from_torch(module.eval(), input_shape=(2, 9, 8), loss=tn.CrossEntropyLoss(), seed=0)
    net.fit((as_ours(x), np.asarray(y)), epochs=10, batch_size=12, optimizer=nn.SGD(0.1))
    optimizer = torch.optim.SGD(module.train().parameters(), lr=0.1)
    for _ in range(10):
        optimizer.zero_grad()
        tn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()
    assert_equal(net.predict_proba(as_ours(x)), torch.softmax(module.eval()(x), 1).detach().numpy(), 1e-4)
    assert_equal(outputs(net.to_torch(), x), net.predict_proba(as_ours(x)))


def test_the_first_module_tells_the_shape():
    for module, shape in [
        (tn.Sequential(tn.Flatten(), tn.Dropout(0.1), tn.Linear(784, 2), tn.Sigmoid()), (784,)),
        (tn.Sequential(tn.BatchNorm1d(5), tn.Linear(5, 2), tn.Sigmoid()), (5,)),
        (tn.Sequential(tn.LayerNorm(5), tn.Linear(5, 2), tn.Sigmoid()), (5,)),
        (nn.Network([(8, 7, 2), nn.Standardize(), nn.Flatten(), 3]).to_torch(), (8, 7, 2)),
    ]:
        assert nn.Network.from_torch(module).input_shape == shape
    assert nn.Network.from_torch(tn.Sequential(tn.Sigmoid()), input_shape=5).input_shape == (5,)


def test_a_subclass_that_computes_the_same():
    class Net(tn.Sequential):
        pass

    net = nn.Network.from_torch(Net(tn.Linear(4, 2), tn.Sigmoid()))
    assert net.outputs == 2
    weighted = tn.utils.parametrizations.weight_norm(tn.Linear(4, 2))
    assert_equal(
        nn.Network.from_torch(tn.Sequential(weighted, tn.Sigmoid())).weights[0], weighted.weight.detach().numpy()
    )
