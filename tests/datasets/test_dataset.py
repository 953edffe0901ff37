"""Dataset: what it accepts, how it divides, and what its batches hold."""

import numpy as np
import pytest

import nn_any as nn

X = np.arange(40, dtype="float32").reshape(20, 2)
Y = np.arange(20) % 4


def test_labels_targets_and_real_targets(backend):
    device = backend.device
    labels = nn.Dataset(backend.asarray(X), backend.asarray(Y), device=device)
    assert (len(labels), labels.classes, labels.input_shape) == (20, 4, (2,))
    assert labels.has_labels
    assert tuple(labels.y.shape) == (20,)
    one_hot = nn.Dataset(backend.asarray(X), backend.asarray(np.eye(4)[Y].astype("float32")), device=device)
    assert one_hot.classes == 4
    assert tuple(one_hot.y.shape) == (20, 4)
    real = nn.Dataset(backend.asarray(X), backend.asarray(X[:, 0]), device=device)
    assert real.classes is None
    assert tuple(real.y.shape) == (20, 1)
    binary = nn.Dataset(backend.asarray(X), backend.asarray((Y > 1)[:, None]), device=device)
    assert tuple(binary.y.shape) == (20, 1)
    assert nn.to_numpy(binary.y).dtype == np.float32
    for data in (labels, one_hot, real, binary):
        assert data.device == nn.Device.of(data.x) == nn.Device.of(data.y) == device


def test_lists_and_classes():
    data = nn.Dataset([[0, 1], [2, 3]], [0, 1], classes=5, device="numpy")
    assert data.classes == 5
    assert data.x.dtype.kind == "i"
    assert repr(data) == "Dataset(2 examples of shape (2,), int64, 5 classes, on numpy:cpu)"
    with pytest.raises(ValueError, match=r"y: expected labels within 0 … 2, got labels from 0 to 3; .*raise classes"):
        nn.Dataset(X, Y, classes=3, device="numpy")
    with pytest.raises(ValueError, match="classes: expected 4, one a column of y, got 3"):
        nn.Dataset(X, np.eye(4)[Y], classes=3, device="numpy")


def test_data_stay_where_they_are(backend):
    data = nn.Dataset(backend.asarray(X), backend.asarray(Y))
    assert data.device == backend.device or backend.library == "numpy"
    assert data.to(data.device) is data
    host = data.to("numpy")
    np.testing.assert_array_equal(host.x, X)
    np.testing.assert_array_equal(host.y, Y)
    assert host.to(backend.device).device == backend.device


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_integers_stay_stored_and_are_scaled_as_batches_are_taken(backend, dtype):
    stored = (X % 17).astype(dtype)
    data = nn.Dataset(backend.asarray(stored), backend.asarray(Y), scale=16, device=backend.device)
    assert nn.to_numpy(data.x).dtype == dtype
    (x, y), *_ = data.batches(20, shuffle=False)
    assert nn.to_numpy(x).dtype == np.float32
    np.testing.assert_array_equal(nn.to_numpy(x), stored.astype("float32") / np.float32(16))
    np.testing.assert_array_equal(nn.to_numpy(y), Y)


def test_scale_is_for_integers():
    for scale, error in ((0, ValueError), (-1, ValueError), (float("inf"), ValueError), ("255", TypeError)):
        with pytest.raises(error, match="scale: expected a positive"):
            nn.Dataset(X.astype("uint8"), Y, scale=scale, device="numpy")
    with pytest.raises(ValueError, match="scale: expected None for real x, got 255"):
        nn.Dataset(X, Y, scale=255, device="numpy")


def test_training_on_stored_integers_equals_training_on_reals(backend):
    images = np.random.default_rng(0).integers(0, 256, (30, 5), dtype="uint8")
    nets = [nn.Network([5, 4, 4], device=backend.device, seed=0) for _ in range(2)]
    nets[0].SGD(nn.Dataset(images, np.arange(30) % 4, scale=255, device=backend.device), 3, 7, 1.0)
    nets[1].SGD((images.astype("float32") / np.float32(255), np.arange(30) % 4), 3, 7, 1.0)
    for a, b in zip(nets[0].weights, nets[1].weights, strict=True):
        np.testing.assert_allclose(nn.to_numpy(a), nn.to_numpy(b), rtol=1e-5, atol=1e-6)


def test_split_is_disjoint_complete_stratified_and_the_same_everywhere(backend):
    x = np.arange(200.0)[:, None]
    y = np.repeat([0, 1, 2, 3], [100, 60, 30, 10])
    parts = nn.Dataset(x, y, device=backend.device).split(0.7, 0.2, seed=3)
    reference = nn.Dataset(x, y, device="numpy").split(0.7, 0.2, seed=3)
    assert [len(part) for part in parts] == [140, 40, 20]
    rows = [nn.to_numpy(part.x)[:, 0] for part in parts]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(200))
    for part, same in zip(parts, reference, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(part.x), same.x)
        counts = np.bincount(nn.to_numpy(part.y), minlength=4)
        np.testing.assert_allclose(counts, np.array([0.5, 0.3, 0.15, 0.05]) * len(part), atol=1.01)
    other = nn.Dataset(x, y, device="numpy").split(0.7, 0.2, seed=4)
    assert (other[0].x != reference[0].x).any()


def test_split_of_real_targets_one_hot_and_counts():
    assert [len(part) for part in nn.Dataset(X, X, device="numpy").split(5, 5)] == [5, 5, 10]
    parts = nn.Dataset(X, np.eye(4)[Y], device="numpy").split(8, 12)
    np.testing.assert_array_equal(parts[0].y.sum(axis=0), [2, 2, 2, 2])
    with pytest.raises(ValueError, match="stratify: expected data with classes, got real targets"):
        nn.Dataset(X, X, device="numpy").split(5, stratify=True)


def test_a_fraction_is_the_nearest_number_of_examples():
    data = nn.Dataset(np.zeros((10, 1)), np.zeros(10, dtype=int), device="numpy")
    assert [len(part) for part in data.split(0.27, 0.23)] == [3, 2, 5]


@pytest.mark.parametrize("sizes", [(), (15, 6), (0.7, 0.7), (0,), (-3,), (1.5,), ("half",)])
def test_split_sizes_that_cannot_be(sizes):
    with pytest.raises(ValueError, match="sizes: expected"):
        nn.Dataset(X, Y, device="numpy").split(*sizes)


def test_split_of_classes_too_small():
    with pytest.raises(ValueError, match="use stratify=False"):
        nn.Dataset(X, [0] * 19 + [1], device="numpy").split(0.5)
    assert len(nn.Dataset(X, [0] * 19 + [1], device="numpy").split(0.5, stratify=False)) == 2


def test_take(backend):
    data = nn.Dataset(X, Y, device=backend.device)
    np.testing.assert_array_equal(nn.to_numpy(data.take([3, 1, 3]).x), X[[3, 1, 3]])
    for rows in ([20], [-1]):
        with pytest.raises(IndexError, match=r"rows: expected numbers in 0 … 19"):
            data.take(rows)
    with pytest.raises(TypeError, match="rows: expected integers"):
        data.take([0.5])


def test_pairs_of_columns_are_stacked_once(backend):
    columns = [x[:, None] for x in X]
    one_hot = [np.eye(4)[y][:, None] for y in Y]
    nets = [nn.Network([2, 4], device=backend.device, seed=0) for _ in range(4)]
    nets[0].SGD((X, Y), 3, 6, 0.1)
    nets[1].SGD(list(zip(columns, one_hot, strict=True)), 3, 6, 0.1)
    nets[2].SGD(zip(columns, one_hot, strict=True), 3, 6, 0.1, test_data=zip(columns, Y, strict=True))
    nets[3].SGD(((x, int(y)) for x, y in zip(columns, Y, strict=True)), 3, 6, 0.1)
    for net in nets[1:]:
        np.testing.assert_array_equal(nn.to_numpy(net.weights[0]), nn.to_numpy(nets[0].weights[0]))


def test_images_of_equal_size_are_reshaped(backend):
    images = X.reshape(20, 2, 1)
    net = nn.Network([2, 4], device=backend.device, seed=0)
    assert net.evaluate((images, Y)) == net.evaluate((X, Y))
    np.testing.assert_array_equal(nn.to_numpy(net.predict(images)), nn.to_numpy(net.predict(X)))


def test_class_weights_by_name(backend):
    data = nn.Dataset(np.zeros((4, 1)), ["no", "yes", "no", "no"], classes=["no", "yes"], device=backend.device)
    weights = [nn.to_numpy(data.weighted(class_weight=each).sample_weight) for each in ({"yes": 3.0}, {1: 3.0})]
    np.testing.assert_array_equal(weights[0] / weights[0][0], [1, 3, 1, 1])
    np.testing.assert_array_equal(*weights)
    with pytest.raises(
        nn.InvalidValueError,
        match="class_weight: expected classes within 0 … 1 or their names, 'no', 'yes', got 'maybe'",
    ):
        data.weighted(class_weight={"maybe": 2.0})
