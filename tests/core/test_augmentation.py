"""Distorted images against SciPy's interpolation with independent draws, and shifted copies against slices."""

from functools import cache

import numpy as np
import oracle
import pytest
from array_api_compat import array_namespace
from conftest import BACKENDS
from scipy import ndimage

import nn_any as nn
from nn_any.core.layers import Context
from nn_any.datasets.augmentation import expand_by_shifts, expand_mnist

AFFINE = nn.RandomAffine(rotation=25, translation=1.5, scale=0.2, shear=15)
ELASTIC = nn.ElasticDistortion(strength=9.0, smoothness=1.5)
LAYERS = [AFFINE, ELASTIC]
NOTHING = [nn.RandomAffine(), nn.ElasticDistortion(strength=0)]
KEY, STEP, PLACE = -123456789, 7, 2
IMAGES = np.random.default_rng(0).uniform(0.1, 1, (5, 7, 9, 2))


@cache
def forward(layer, place, training):
    """One function for each, so that it is compiled once."""

    def function(images, key, step):
        return layer.forward((), (), images, Context(array_namespace(images), training, key, step, place))[:2]

    return function


def distorted(backend, layer, images=IMAGES, dtype="float64", *, key=KEY, step=STEP, place=PLACE, training=True):
    function = backend.device.engine.compile(forward(layer, place, training))
    key, step = backend.asarray(np.atleast_1d(key), "int32"), backend.asarray(step, "int32")
    out, state = function(backend.asarray(images, dtype), key, step)
    assert state == ()
    return nn.to_numpy(out)


def fractions(count, key, step, place):
    """Random numbers in -1 … 1 by Threefry on Python's integers."""
    words = [oracle.threefry((key & 0xFFFFFFFF, place), (step, i))[0] for i in range(count)]
    return (np.array(words) >> 8) * 2.0**-24 * 2 - 1


def affine_by_scipy(layer, images, key, step, place):
    draws, out = fractions(5 * len(images), key, step, place).reshape(-1, 5), np.empty_like(images)
    centre = (np.array(images.shape[1:3]) - 1) / 2
    for i, (turn, slant, grow, down, across) in enumerate(draws):
        a, b = np.radians(layer.rotation * turn), np.radians(layer.shear * slant)
        rotation = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])  # on (row, column)
        matrix = rotation @ [[1, 0], [np.tan(b), 1]] / (1 + layer.scale * grow)
        offset = centre - matrix @ centre + layer.translation * np.array([down, across])
        for c in range(images.shape[3]):
            out[i, ..., c] = ndimage.affine_transform(images[i, ..., c], matrix, offset, order=1, mode="grid-constant")
    return out


def elastic_by_scipy(layer, images, key, step, place):
    n, height, width, channels = images.shape
    field, out = fractions(2 * n * height * width, key, step, place).reshape(n, 2, height, width), np.empty_like(images)
    for axis, length in ((2, height), (3, width)):
        field = ndimage.gaussian_filter1d(field, layer.smoothness, axis, mode="constant", radius=length - 1)
    for i in range(n):
        places = np.indices((height, width)) + layer.strength * field[i]
        for c in range(channels):
            out[i, ..., c] = ndimage.map_coordinates(images[i, ..., c], places, order=1, mode="grid-constant")
    return out


@cache
def by_scipy(layer, key=KEY, step=STEP, place=PLACE):
    function = affine_by_scipy if isinstance(layer, nn.RandomAffine) else elastic_by_scipy
    return function(layer, IMAGES, key, step, place)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("key", "step", "place"), [(KEY, STEP, PLACE), (2**31 - 1, 0, 0)])
def test_as_scipy_with_independent_draws(float64, layer, key, step, place):
    expected = by_scipy(layer, key, step, place)
    assert np.abs(expected - IMAGES).max() > 0.3
    got = distorted(float64, layer, key=key, step=step, place=place)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("layer", LAYERS)
def test_float32_stays_float32(backend, layer):
    got = distorted(backend, layer, dtype="float32")
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, by_scipy(layer), atol=2e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_network_trains_on_the_distorted_images(float64, layer):
    """The key is the network's, the step is counted, the place is the layer's."""
    arguments = {"device": float64.device, "dtype": "float64", "seed": 5}
    net = nn.Network([IMAGES.shape[1:], nn.RandomAffine(), layer, nn.Flatten(), 3], **arguments)
    plain = nn.Network([126, 3], **arguments)
    plain.set_weights(net.weights, net.biases)
    key, y = int(nn.to_numpy(net.state.key)[0]), np.arange(5) % 3
    for step in range(2):
        expected = by_scipy(layer, key, step, 1).reshape(5, -1)
        net.update_mini_batch((IMAGES, y), 0.5)
        plain.update_mini_batch((expected, y), 0.5)
    np.testing.assert_allclose(nn.to_numpy(net.weights[0]), nn.to_numpy(plain.weights[0]), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(nn.to_numpy(net.feedforward(IMAGES)), nn.to_numpy(plain.feedforward(IMAGES)), rtol=1e-9)


@pytest.mark.parametrize("layer", LAYERS + NOTHING)
def test_outside_training_and_without_bounds_nothing_changes(backend, layer):
    training = layer in NOTHING
    np.testing.assert_array_equal(distorted(backend, layer, dtype="float32", training=training), np.float32(IMAGES))


@pytest.mark.parametrize("layer", LAYERS)
def test_draws_differ_by_step_seed_place_and_image_and_nothing_else(float64, layer):
    first = distorted(float64, layer)
    np.testing.assert_array_equal(distorted(float64, layer), first)
    for change in ({"step": 8}, {"key": KEY + 1}, {"place": 3}):
        assert np.abs(distorted(float64, layer, **change) - first).max() > 0.1
    same = distorted(float64, layer, np.broadcast_to(IMAGES[:1], IMAGES.shape))
    assert all(np.abs(same[i] - same[j]).max() > 0.1 for i in range(5) for j in range(i))


@pytest.mark.parametrize("layer", LAYERS)
def test_images_and_channels_do_not_mix(float64, layer):
    first = distorted(float64, layer)
    changed = IMAGES.copy()
    changed[2, :, :, 1] = 0
    got = distorted(float64, layer, changed).copy()
    assert np.all(got[2, :, :, 1] == 0)
    got[2, :, :, 1] = first[2, :, :, 1]
    np.testing.assert_array_equal(got, first)


@pytest.mark.parametrize("layer", LAYERS)
def test_members_of_an_ensemble_draw_for_themselves(float64, layer):
    keys = np.array([[KEY], [99]])
    alone = [distorted(float64, layer, key=key) for key in keys]
    np.testing.assert_allclose(distorted(float64, layer, key=keys), alone, rtol=1e-13)  # shared images
    np.testing.assert_allclose(distorted(float64, layer, np.stack([IMAGES] * 2), key=keys), alone, rtol=1e-13)


def places(layer, n, size):
    """Where the pixels of n square images are looked up: (n, 2, size, size)."""
    context = Context(np, True, np.array([KEY], dtype=np.int32), np.array(STEP, dtype=np.int32), PLACE)
    return np.stack(layer.places((n, size, size), np.float64, context), axis=1)


def test_bounds_are_kept_and_used_evenly():
    """Each draw is between its bounds, comes near both of them, and spreads as even draws do."""
    found = places(nn.RandomAffine(rotation=10, translation=2, scale=0.1, shear=5), 400, 9)
    centre, shift = found[:, :, 4, 4], found[:, :, 4, 4] - 4
    matrix = np.stack([found[:, :, 5, 4] - centre, found[:, :, 4, 5] - centre], axis=-1)  # on (row, column)
    turn = np.arctan2(matrix[:, 0, 1], matrix[:, 1, 1])
    size = np.hypot(matrix[:, 0, 1], matrix[:, 1, 1])
    tangent = (np.sin(turn) * matrix[:, 0, 0] + np.cos(turn) * matrix[:, 1, 0]) / size
    drawn = [np.degrees(turn) / 10, np.degrees(np.arctan(tangent)) / 5, (1 / size - 1) / 0.1, *shift.T / 2]
    for values in drawn:
        assert np.abs(values).max() <= 1 + 1e-9
        assert values.min() < -0.97
        assert values.max() > 0.97
        assert abs(values.mean()) < 4 / np.sqrt(3 * 400)
        assert values.var() == pytest.approx(1 / 3, rel=0.15)
    assert np.abs(np.corrcoef(drawn) - np.eye(5)).max() < 0.2
    np.testing.assert_allclose(np.linalg.det(matrix), size**2, rtol=1e-12)  # a shear keeps the area


@pytest.mark.parametrize("quarter", [1, -1])
def test_turned_by_a_quarter_rows_are_columns(quarter):
    key = next(key for key in range(100) if quarter * fractions(1, key, STEP, PLACE)[0] > 0.5)
    layer = nn.RandomAffine(rotation=90 / abs(fractions(1, key, STEP, PLACE)[0]))
    square = IMAGES[:, :, :7]
    got = distorted(BACKENDS["numpy"], layer, square[:1], key=key)
    np.testing.assert_allclose(got[0], np.rot90(square[0], quarter), atol=1e-12)


def test_elastic_fields_are_smooth_and_as_strong_as_asked():
    """Twice the strength moves pixels twice as far; a wider Gaussian leaves less and smoother movement."""

    def moves(**arguments):
        return places(nn.ElasticDistortion(**arguments), 20, 28) - np.indices((28, 28))

    by_default = moves()
    np.testing.assert_allclose(moves(strength=68.0), 2 * by_default, rtol=1e-9, atol=1e-12)
    inner = by_default[..., 8:20, 8:20]  # where the Gaussian sees no edge: the variance is α² / 3 · Σ G²
    assert inner.std() == pytest.approx(34 / np.sqrt(3) / (2 * np.sqrt(np.pi) * 4), rel=0.15)
    rough, smooth = (np.abs(np.diff(moves(smoothness=s), axis=-1)).mean() for s in (2.0, 4.0))
    assert rough > 4 * smooth


@pytest.mark.parametrize("layer", LAYERS)
def test_training_is_the_same_run_everywhere_and_from_a_file(float64, layer, tmp_path):
    data = (IMAGES, np.arange(5) % 3)

    def trained(device):
        net = nn.Network(
            [IMAGES.shape[1:], layer, nn.Flatten(), nn.Dense(3, activation="softmax")],
            loss="log_likelihood",
            device=device,
            dtype="float64",
            seed=1,
        )
        net.fit(data, epochs=3, batch_size=2, optimizer=nn.SGD(0.2))
        return net

    net, host = trained(float64.device), trained("numpy")
    np.testing.assert_allclose(nn.to_numpy(net.weights[0]), host.weights[0], rtol=1e-9, atol=1e-12)
    net.save(tmp_path / "model")
    loaded = nn.Network.load(tmp_path / "model", device=float64.device)
    assert loaded.layers == net.layers
    for each in (net, loaded):
        each.fit(data, epochs=2, batch_size=2, optimizer=nn.SGD(0.2))
    np.testing.assert_array_equal(nn.to_numpy(loaded.weights[0]), nn.to_numpy(net.weights[0]))


@pytest.mark.parametrize("layer", LAYERS)
def test_only_images_and_only_at_the_front(layer):
    name = type(layer).__name__
    for before in (nn.Conv2D(1, 1), nn.BatchNorm(), nn.Activation("relu")):
        with pytest.raises(ValueError, match=rf"layers, entry 2, {name}\(.*: expected at the front, got it after"):
            nn.Network([(7, 7, 1), before, layer, nn.Flatten(), 3], device="numpy")
    with pytest.raises(ValueError, match=rf"layers, entry 1, {name}\(.*: expected images \(height, width, channels\)"):
        nn.Network([49, layer, 3], device="numpy")
    nn.Network([(7, 7, 1), nn.RandomAffine(), layer, nn.Flatten(), 3], device="numpy")
    with pytest.raises(NotImplementedError, match=f"{name} has no backward; put it in front of every trained layer"):
        layer.backward((), None, None, None)


@pytest.mark.parametrize(
    ("layer", "arguments", "error", "message"),
    [
        (nn.RandomAffine, {"rotation": -1}, ValueError, "rotation of a RandomAffine layer: .* at most 180, got -1"),
        (nn.RandomAffine, {"rotation": 181}, ValueError, "rotation .* got 181"),
        (nn.RandomAffine, {"translation": "2"}, TypeError, "translation .*: expected a number, got '2'"),
        (nn.RandomAffine, {"scale": 1}, ValueError, "scale .* below 1, got 1"),
        (nn.RandomAffine, {"shear": 90}, ValueError, "shear .* below 90, got 90"),
        (nn.RandomAffine, {"translation": float("inf")}, ValueError, "translation .*: expected a finite number"),
        (nn.ElasticDistortion, {"strength": -1}, ValueError, "strength of an ElasticDistortion layer: .* got -1"),
        (nn.ElasticDistortion, {"smoothness": 0}, ValueError, "smoothness .* above 0, got 0"),
    ],
)
def test_bad_bounds(layer, arguments, error, message):
    with pytest.raises(error, match=message):
        layer(**arguments)


def shifted_by_slices(images):
    """(n, height, width, channels) -> the images and their four shifted copies, pixel by pixel."""
    right, left, down, up = (np.zeros_like(images) for _ in range(4))
    right[:, :, 1:], left[:, :, :-1] = images[:, :, :-1], images[:, :, 1:]
    down[:, 1:], up[:, :-1] = images[:, :-1], images[:, 1:]
    return np.concatenate([images, right, left, down, up])


@pytest.mark.parametrize(
    ("shape", "dtype"), [((25,), "uint8"), ((5, 5), "bool"), ((5, 5, 1), "float32"), ((4, 6, 3), "uint8")]
)
def test_expand_mnist(backend, shape, dtype):
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 2 if dtype == "bool" else 256, (6, *shape)).astype(dtype), np.arange(6) % 3
    weights, scale = rng.uniform(1, 2, 6).astype("float32"), None if dtype == "float32" else 255
    data = nn.Dataset(x, y, classes=4, scale=scale, sample_weight=weights, device=backend.device)
    expanded = expand_mnist(data)
    images = x.reshape(6, *((5, 5, 1) if len(shape) < 3 else shape))
    np.testing.assert_array_equal(nn.to_numpy(expanded.x), shifted_by_slices(images).reshape(30, *shape))
    np.testing.assert_array_equal(nn.to_numpy(expanded.y), np.tile(y, 5))
    np.testing.assert_array_equal(nn.to_numpy(expanded.sample_weight), np.tile(weights, 5))
    assert nn.to_numpy(expanded.x).dtype == dtype
    assert (expanded.device, expanded.scale, expanded.classes, len(expanded)) == (backend.device, scale, 4, 30)
    np.testing.assert_array_equal(nn.to_numpy(data.x), x)
    one_hot = expand_mnist(nn.Dataset(x, np.eye(3)[y], device=backend.device))
    np.testing.assert_array_equal(nn.to_numpy(one_hot.y), np.tile(np.eye(3)[y], (5, 1)))
    assert one_hot.sample_weight is None


def test_any_shifts_of_flat_images_of_any_shape(backend):
    x = np.random.default_rng(1).integers(1, 256, (2, 4, 6, 3), dtype="uint8")
    flat = nn.Dataset(x.reshape(2, -1), [0, 1], device=backend.device)
    expected = np.zeros_like(x)
    expected[:, :2, 3:] = x[:, 2:, :3]
    expanded = expand_by_shifts(flat, [(-2, 3), (0, 0)], image_shape=(4, 6, 3))
    np.testing.assert_array_equal(nn.to_numpy(expanded.x), np.concatenate([x, expected, x]).reshape(6, -1))
    assert len(expand_by_shifts(flat, [], image_shape=(4, 6, 3))) == 2


@pytest.mark.parametrize(
    ("shape", "arguments", "error", "message"),
    [
        ((2, 5), {}, ValueError, r"dataset: expected images, .* got examples of shape \(5,\); pass image_shape"),
        ((2, 1, 2, 3, 4), {}, ValueError, "dataset: expected images"),
        ((2, 6), {"image_shape": (2, 2)}, ValueError, r"image_shape: expected the shape of the examples, \(6,\), or"),
        ((2, 2, 3), {"image_shape": (3, 2)}, ValueError, "image_shape: expected the shape of the examples"),
        ((2, 6), {"image_shape": 6}, ValueError, r"image_shape: expected \(height, width\) or .* got 6"),
        (
            (2, 9),
            {"shifts": [(0, 3)]},
            ValueError,
            r"shifts: expected less than the images' 3 × 3 pixels, got \(0, 3\)",
        ),
        ((2, 9), {"shifts": [1]}, TypeError, r"shifts: expected pairs \(down, right\) of integers, got 1"),
        ((2, 9), {"shifts": [(0.5, 0)]}, TypeError, "shifts: expected pairs"),
    ],
)
def test_data_that_cannot_be_shifted(shape, arguments, error, message):
    data = nn.Dataset(np.zeros(shape), [0, 1], device="numpy")
    with pytest.raises(error, match=message):
        expand_by_shifts(data, **arguments)
    with pytest.raises(TypeError, match="dataset: expected a Dataset, got ndarray; make one"):
        expand_mnist(np.zeros((2, 9)))
