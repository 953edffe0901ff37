"""The layers forward, against PyTorch and SciPy; shapes, states and configurations; and a network of them all."""

import json
from functools import cache, partial
from math import prod

import numpy as np
import oracle
import pytest
from array_api_compat import array_namespace
from conftest import need
from scipy.signal import correlate2d

import nn_any as nn
from nn_any import evaluation
from nn_any.core import activations, initializers, layers, primitives
from nn_any.core.random import epoch_order

EXACT = {"rtol": 1e-12, "atol": 1e-13}
IMAGES = np.random.default_rng(0).normal(size=(4, 7, 8, 3))


@pytest.fixture(scope="module")
def torch():
    return need("torch")


def settled(layer, shape):
    return layer.with_defaults(activations.LINEAR, initializers.get("lecun_normal"), shape)


@cache
def function(layer, place, training):
    """One function for each, so that it is compiled once."""

    def call(x, params, state, key, step):
        context = layers.Context(array_namespace(x), training, key, step, place)
        return layer.forward(params, state, x, context)[:2]

    return call


def forward(backend, layer, x, params=(), state=(), *, training=True, key=5, step=3, place=2):
    """z and the new state as NumPy arrays."""
    arrays = [backend.asarray(x), *(tuple(backend.asarray(array) for array in part) for part in (params, state))]
    draws = backend.asarray([key], "int32"), backend.asarray(step, "int32")
    z, state = backend.device.engine.compile(function(layer, place, training))(*arrays, *draws)
    return nn.to_numpy(z), [nn.to_numpy(array) for array in state]


SHAPES = [
    (nn.Dense(5), (7,), (5,)),
    (nn.Conv2D(4, (3, 2)), (7, 8, 3), (5, 7, 4)),
    (nn.Conv2D(4, 3, stride=(2, 3)), (7, 8, 3), (3, 2, 4)),
    (nn.Conv2D(4, 3, stride=2, padding="same"), (7, 8, 3), (4, 4, 4)),
    (nn.Conv2D(2, (1, 9), padding="same"), (7, 8, 3), (7, 8, 2)),
    (nn.MaxPool2D(2), (7, 8, 3), (3, 4, 3)),
    (nn.AveragePool2D((3, 2), 1), (7, 8, 3), (5, 7, 3)),
    (nn.Flatten(), (7, 8, 3), (168,)),
    (nn.Dropout(0.5), (7, 8, 3), (7, 8, 3)),
    (nn.BatchNorm(), (7, 8, 3), (7, 8, 3)),
    (nn.LayerNorm(), (7,), (7,)),
    (nn.Activation("relu"), (7, 8, 3), (7, 8, 3)),
    (nn.RandomAffine(5), (7, 8, 3), (7, 8, 3)),
    (nn.ElasticDistortion(), (7, 8, 3), (7, 8, 3)),
]


@pytest.mark.parametrize(("layer", "inputs", "outputs"), SHAPES, ids=[repr(layer) for layer, *_ in SHAPES])
def test_output_shapes_are_those_of_the_outputs(backend, layer, inputs, outputs):
    layer, x = settled(layer, inputs), np.random.default_rng(1).normal(size=(2, *inputs)).astype("float32")
    params, state = (
        [a.astype("float32") for a in arrays]
        for arrays in (layer.init(np.random.default_rng(0), inputs), layer.init_state(inputs))
    )
    z, _ = forward(backend, layer, x, params, state)
    assert layer.output_shape(inputs) == outputs == z.shape[1:]
    assert z.dtype == np.float32


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ([784, nn.Conv2D(2, 3), nn.Flatten(), 3], r"entry 1, Conv2D\(filters=2.*: expected images \(height, width, "),
        ([(4, 4), nn.Conv2D(2, 3), nn.Flatten(), 3], r"entry 1, Conv2D\(.*, got inputs of shape \(4, 4\)"),
        ([(28, 28, 1), nn.Conv2D(2, 3), 3], r"entry 2, Dense\(units=3.*got \(26, 26, 2\); put a Flatten layer before"),
        (
            [(4, 9, 1), nn.Conv2D(2, 5), nn.Flatten(), 3],
            r"entry 1, Conv2D.*: expected images of at least 5 × 5, got 4 × 9",
        ),
        (
            [(4, 4, 1), nn.MaxPool2D(2), nn.MaxPool2D(3), nn.Flatten(), 3],
            r"entry 2, MaxPool2D.* at least 3 × 3, got 2 ×",
        ),
        ([(4, 4, 1), nn.Flatten(), nn.AveragePool2D(2), 3], r"entry 2, AveragePool2D.*got inputs of shape \(16,\)"),
        ([(4, 4, 1), nn.MaxPool2D(2)], r"expected a last layer with outputs of one axis, got \(2, 2, 1\); end with"),
    ],
)
def test_a_stack_that_does_not_fit_says_which_layer_got_what(stack, message):
    with pytest.raises(ValueError, match=f"^layers[:,] {message}"):
        nn.Network(stack, device="numpy")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Conv2D(0, 3), ValueError, "filters of a Conv2D layer: expected a positive integer, got 0"),
        (lambda: nn.Conv2D(2, (3, 3, 3)), ValueError, "kernel_size of a Conv2D layer: expected an integer, or a pair"),
        (lambda: nn.Conv2D(2, 3, stride=0), ValueError, "stride of a Conv2D layer: expected a positive integer, got 0"),
        (
            lambda: nn.Conv2D(2, 3, padding="full"),
            ValueError,
            "padding .*: expected one of 'valid', 'same', got 'full'",
        ),
        (lambda: nn.Conv2D(2, 3, trainable=1), TypeError, "trainable of a Conv2D layer: expected True or False, got 1"),
        (lambda: nn.MaxPool2D(2.0), TypeError, "size of a MaxPool2D layer: expected a positive integer, got 2.0"),
        (lambda: nn.AveragePool2D(2, -1), ValueError, "stride of a AveragePool2D layer: expected a positive integer"),
        (lambda: nn.Dropout(1), ValueError, "rate of a Dropout layer: .* at least 0 and below 1, got 1"),
        (lambda: nn.Dropout("half"), TypeError, "rate of a Dropout layer: expected a number, got 'half'"),
        (
            lambda: nn.BatchNorm(momentum=0),
            ValueError,
            "momentum of a BatchNorm layer: .* above 0 and at most 1, got 0",
        ),
        (lambda: nn.LayerNorm(epsilon=0), ValueError, "epsilon of a LayerNorm layer: .* above 0, got 0"),
        (lambda: nn.BatchNorm(trainable="no"), TypeError, "trainable of a BatchNorm layer: expected True or False"),
        (lambda: nn.Activation("rely"), ValueError, "activation: expected one of .*, got 'rely'"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("shape", [(50,), (4, 5, 3)])
@pytest.mark.parametrize("rate", [0.3, 0.5])
def test_dropout_masks_are_threefrys(float64, shape, rate):
    layer, x = settled(nn.Dropout(rate), shape), np.random.default_rng(0).normal(size=(3, *shape))
    for key, step, place in ((5, 3, 2), (-7, 2**31 - 1, 0)):
        got, _ = forward(float64, layer, x, key=key, step=step, place=place)
        np.testing.assert_allclose(got, x * oracle.dropout_mask(key, place, step, (3, *shape), rate), **EXACT)
    assert (got == 0).any()
    assert (got != 0).any()


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.9])
def test_dropout_keeps_its_share_and_the_mean(backend, rate):
    ones = np.ones((100, 1000), dtype="float32")
    got, _ = forward(backend, settled(nn.Dropout(rate), (1000,)), ones)
    assert set(np.unique(got)) == {np.float32(v) for v in ({1} if rate == 0 else {0, 1 / (1 - rate)})}
    assert abs((got == 0).mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / ones.size)
    still, _ = forward(backend, settled(nn.Dropout(rate), (1000,)), ones, training=False)
    np.testing.assert_array_equal(still, ones)


@pytest.mark.parametrize("shape", [(3,), (4, 5, 3)])
def test_batch_norm_and_its_running_averages_as_pytorch(float64, torch, shape):
    kind = torch.nn.BatchNorm1d if len(shape) == 1 else torch.nn.BatchNorm2d
    theirs = kind(3, eps=1e-3, momentum=0.3, dtype=torch.float64)
    layer, rng = settled(nn.BatchNorm(momentum=0.3, epsilon=1e-3), shape), np.random.default_rng(0)
    params, state = rng.normal(size=(2, 3)), layer.init_state(shape)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(params[0]))
        theirs.bias.copy_(torch.tensor(params[1]))
    for step in range(6):
        theirs.train(step < 4)
        x = rng.normal(2.0, 3.0, (2 if step == 1 else 6, *shape))  # once the smallest batch that has a variance
        expected = theirs(torch.tensor(np.moveaxis(x, -1, 1))).detach().numpy()
        z, state = forward(float64, layer, x, params, state, training=step < 4)
        np.testing.assert_allclose(z, np.moveaxis(expected, 1, -1), **EXACT)
        np.testing.assert_allclose(state[0], theirs.running_mean.numpy(), **EXACT)
        np.testing.assert_allclose(state[1], theirs.running_var.numpy(), **EXACT)
    assert np.abs(state[0]).max() > 0.5


@pytest.mark.parametrize(("trainable", "shape", "n"), [(True, (3,), 1), (False, (3,), 6), (False, (4, 5, 3), 6)])
def test_batch_norm_of_one_value_or_frozen_uses_what_it_has(float64, trainable, shape, n):
    """A single value has no variance, and a frozen layer keeps its averages: both go by the running ones."""
    rng = np.random.default_rng(0)
    x, params, state = rng.normal(size=(n, *shape)), rng.normal(size=(2, 3)), rng.uniform(1, 2, (2, 3))
    z, after = forward(float64, settled(nn.BatchNorm(trainable=trainable), shape), x, params, state)
    np.testing.assert_allclose(z, params[0] * (x - state[0]) / np.sqrt(state[1] + 1e-5) + params[1], **EXACT)
    np.testing.assert_array_equal(after, state)


def test_a_single_image_has_a_batchs_statistics(float64):
    """Its pixels are values enough."""
    x, ones, zeros = IMAGES[:1], np.ones(3), np.zeros(3)
    z, state = forward(float64, settled(nn.BatchNorm(), x.shape[1:]), x, (ones, zeros), (zeros, ones))
    np.testing.assert_allclose(z.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(state[1], 0.9 + 0.1 * x.reshape(-1, 3).var(axis=0, ddof=1), **EXACT)


FORWARDS = [
    nn.LayerNorm(),
    *(pool(*args) for pool in (nn.MaxPool2D, nn.AveragePool2D) for args in ((2,), (3, 1), ((2, 3), (3, 2)))),
    nn.Conv2D(4, 3),
    nn.Conv2D(2, (2, 3), stride=(3, 1)),
    nn.Conv2D(2, (3, 4), padding="same"),
    nn.Conv2D(3, 4, stride=3, padding="same"),
]


@pytest.mark.parametrize("layer", FORWARDS, ids=repr)
def test_forward_as_pytorch(float64, torch, layer):
    layer = settled(layer, IMAGES.shape[1:])
    rng = np.random.default_rng(0)
    params = [p + 0.1 * rng.normal(size=p.shape) for p in layer.init(rng, IMAGES.shape[1:])]
    tensors = tuple(torch.tensor(p) for p in params)
    expected, _ = oracle.torch_forward(torch, [layer], [tensors], torch.tensor(IMAGES))
    np.testing.assert_allclose(forward(float64, layer, IMAGES, params)[0], expected.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_convolution_is_scipys_correlation(float64, padding):
    rng = np.random.default_rng(0)
    kernels, biases = rng.normal(size=(2, 3, 5, 3)), rng.normal(size=2)
    expected = [
        [sum(correlate2d(image[..., c], k[..., c], padding) for c in range(3)) for k in kernels] for image in IMAGES
    ]
    got, _ = forward(float64, settled(nn.Conv2D(2, (3, 5), padding=padding), (7, 8, 3)), IMAGES, (kernels, biases))
    np.testing.assert_allclose(got, np.moveaxis(expected, 1, -1) + biases, **EXACT)


WINDOWS = [  # window, stride, leading axes of images and of kernels
    ((2, 2), (2, 2), (), ()),
    ((2, 2), (2, 2), (2,), (2,)),
    ((3, 3), (1, 1), (), ()),
    ((3, 2), (2, 1), (), (2,)),
    ((2, 3), (3, 2), (3, 2), (3, 2)),
    ((1, 2), (3, 3), (), ()),
    ((1, 2), (3, 3), (2,), (2,)),
    ((4, 4), (3, 4), (), ()),
]


def patches(x, window, stride):
    """Each window of images as a list of ((row, column), its slices of the image)."""
    rows, columns = ((s - w) // step + 1 for s, w, step in zip(x.shape[-3:-1], window, stride, strict=True))
    for i, j in np.ndindex(rows, columns):
        top, left = i * stride[0], j * stride[1]
        yield (i, j), (..., slice(top, top + window[0]), slice(left, left + window[1]), slice(None))


@cache
def seven(form, window, stride):
    """All the primitives of windows at once, as defined or as replaced."""

    def call(x, kernels, delta, parts, pool_delta):
        xp, size = array_namespace(x), tuple(x.shape[-3:-1])
        names = "unfold fold convolve convolve_inputs_gradient convolve_kernels_gradient max_pool max_pool_gradient"
        unfold, fold, convolve, to_inputs, to_kernels, max_pool, max_pool_gradient = (
            partial(primitives.definition(name) if form == "definition" else getattr(primitives, name), xp=xp)
            for name in names.split()
        )
        z, seen = convolve(x, kernels, stride=stride)
        largest, places = max_pool(x, window=window, stride=stride)
        return (
            unfold(x, window=window, stride=stride),
            fold(parts, window=window, stride=stride, size=size),
            z,
            to_inputs(delta, kernels, stride=stride, size=size),
            to_kernels(seen, delta, kernel_size=window, stride=stride),
            largest,
            max_pool_gradient(places, pool_delta, window=window, stride=stride, size=size),
        )

    return call


@pytest.mark.parametrize("form", ["definition", "replacement"])
@pytest.mark.parametrize(("window", "stride", "x_lead", "lead"), WINDOWS)
def test_windows_one_by_one(float64, window, stride, x_lead, lead, form):
    """The primitives, as defined and as replaced, against loops over the windows; leading axes as ensembles have."""
    rng, size = np.random.default_rng(0), (7, 8)
    x, kernels = rng.normal(size=(*x_lead, 4, *size, 3)), rng.normal(size=(*lead, 5, *window, 3))
    wide, tiles = np.broadcast_to(x, (*lead, 4, *size, 3)), dict(patches(x, window, stride))
    grid = tuple(np.array(list(tiles)).max(axis=0) + 1)
    delta = rng.normal(size=(*lead, 4, *grid, 5))
    z, x_gradient, kernels_gradient = np.zeros_like(delta), np.zeros(wide.shape), np.zeros_like(kernels)
    unfolded, folded = np.zeros((*x.shape[:-3], *grid, prod(window), 3)), np.zeros_like(x)
    parts, pool_delta = rng.normal(size=unfolded.shape), rng.normal(size=(*x.shape[:-3], *grid, 3))
    largest, pool_gradient = np.zeros_like(pool_delta), np.zeros_like(x)
    for (i, j), place in tiles.items():
        z[..., i, j, :] = np.einsum("...nhwc,...fhwc->...nf", wide[place], kernels)
        x_gradient[place] += np.einsum("...nf,...fhwc->...nhwc", delta[..., i, j, :], kernels)
        kernels_gradient += np.einsum("...nf,...nhwc->...fhwc", delta[..., i, j, :], wide[place])
        flat = x[place].reshape(*x.shape[:-3], -1, 3)
        unfolded[..., i, j, :, :] = flat
        folded[place] += parts[..., i, j, :, :].reshape(x[place].shape)
        largest[..., i, j, :] = flat.max(axis=-2)
        hit = flat == flat.max(axis=-2, keepdims=True)
        pool_gradient[place] += (hit * pool_delta[..., i, j, None, :]).reshape(x[place].shape)
    call = float64.device.engine.compile(seven(form, window, stride))
    got = [nn.to_numpy(a) for a in call(*map(float64.asarray, (x, kernels, delta, parts, pool_delta)))]
    expected = unfolded, folded, z, x_gradient, kernels_gradient, largest, pool_gradient
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
    assert np.sum(got[0] * parts) == pytest.approx(np.sum(x * got[1]), rel=1e-12)  # unfold and fold are adjoint


CONFIGURED = [
    nn.Dense(5, activations.LeakyReLU(0.2), "orthogonal", trainable=False),
    nn.Conv2D(4, (3, 2), "relu", stride=(2, 1), padding="same", initializer="he_uniform", trainable=False),
    nn.MaxPool2D((2, 3), 1),
    nn.AveragePool2D(2, (1, 3)),
    nn.Flatten(),
    nn.Dropout(0.25),
    nn.BatchNorm(0.3, epsilon=1e-3, trainable=False),
    nn.LayerNorm(epsilon=1e-3, trainable=False),
    nn.Activation("gelu"),
    nn.RandomAffine(1, 2, 0.3, 4),
    nn.ElasticDistortion(5, 2),
    nn.Standardize(invert=True),
]


@pytest.mark.parametrize("layer", CONFIGURED, ids=repr)
def test_configurations_survive_json(layer):
    for each in (layer, settled(layer, (7, 8, 3))):
        again = layers.from_config(json.loads(json.dumps(layers.to_config(each))))
        assert (again, type(again), hash(again)) == (each, type(each), hash(each))


def test_every_public_layer_is_configured_here():
    public = [getattr(nn, name) for name in nn.__all__]
    assert {type(layer) for layer in CONFIGURED} == {
        c for c in public if isinstance(c, type) and issubclass(c, layers.Layer)
    }


def convolutional(device, dtype):
    stack = [nn.Conv2D(4, 3, "relu"), nn.MaxPool2D(2), nn.Dropout(0.25), nn.Flatten(), nn.Dense(10, "softmax")]
    arguments = {"loss": "log_likelihood", "initializer": "he_normal", "device": device, "dtype": dtype, "seed": 4}
    return nn.Network([(8, 8, 1), *stack], **arguments)


@cache
def trained_by_pytorch(torch, epochs):
    """The same network trained by autograd and torch.optim.Adam in float64, with independent dropout masks."""
    x, _, y, _ = oracle.digits_arrays()
    x, y = x[:200].reshape(-1, 8, 8, 1), y[:200]
    net, step = convolutional("numpy", "float64"), 0
    params = [tuple(torch.tensor(p, requires_grad=True) for p in layer) for layer in net.params]
    key, adam = int(net.state.key[0]), torch.optim.Adam([p for layer in params for p in layer], lr=0.005)
    for epoch in range(epochs):
        order = epoch_order(4, epoch, 200)
        for start in range(0, 200, 10):
            rows = order[start : start + 10]
            masks = {2: oracle.dropout_mask(key, 2, step, (10, 3, 3, 4), 0.25)}
            _, z = oracle.torch_forward(torch, net.layers, params, torch.tensor(x[rows]), masks)
            adam.zero_grad()
            torch.nn.functional.cross_entropy(z, torch.tensor(y[rows])).backward()
            adam.step()
            step += 1
    return [p.detach().numpy() for layer in params for p in layer]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("float64", 1e-9)])
def test_two_hundred_steps_end_where_pytorch_does(float64, torch, digits, dtype, tolerance):
    x, _, y, _ = digits
    net = convolutional(float64.device, dtype)
    history = net.fit((x[:200].astype(dtype), y[:200]), epochs=10, batch_size=10, optimizer=nn.Adam(0.005))
    assert net.steps == 200
    assert history["loss"][-1] < history["loss"][0] / 2
    got = [nn.to_numpy(p) for layer in net.params for p in layer]
    expected = trained_by_pytorch(torch, 10)
    largest = max(np.abs(p).max() for p in expected)
    assert max(np.abs(a - b).max() for a, b in zip(got, expected, strict=True)) <= tolerance * largest


def test_evaluation_in_chunks(float64, digits, monkeypatch):
    """Chunk by chunk the same as all at once, and no chunk takes more than it may."""
    x, _, y, _ = digits
    net, data = convolutional(float64.device, "float64"), (x[:100], y[:100])
    footprint = 64 + 6 * 6 * 4 + 2 * 3 * 3 * 4 + 36 + 10 + 6 * 6 * 9 + 3 * 3 * 4 * 4  # windows of the two layers last
    whole = nn.to_numpy(net.feedforward(data[0])), net.loss(data), net.evaluate(data)
    monkeypatch.setattr(evaluation, "CHUNK_ELEMENTS", 7 * footprint + footprint // 2)
    assert [chunk.stop - chunk.start for chunk in evaluation.chunks(net.specification.footprint, 100)] == [7] * 14 + [2]
    np.testing.assert_allclose(nn.to_numpy(net.feedforward(data[0])), whole[0], **EXACT)
    assert net.loss(data) == pytest.approx(whole[1], rel=1e-12)
    assert net.evaluate(data) == whole[2]
    monkeypatch.setattr(evaluation, "CHUNK_ELEMENTS", 1)
    assert len(list(evaluation.chunks(net.specification.footprint, 100))) == 100  # never less than one
