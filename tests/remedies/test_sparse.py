"""Sparse matrices."""

import numpy as np
from scipy import sparse

import nn_any as nn
from nn_any.datasets.augmentation import expand_by_shifts

from . import place

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3


@place(
    "datasets/rows.py as_rows: {}: expected a sparse matrix whose parts fit",
    "x: ",
    "make it anew with scipy.sparse.coo_array((values, (rows, columns)))",
)
def test_columns_beyond_the_last(refused):
    values, columns, starts = np.ones(2), np.array([0, 9]), np.array([0, 1, 2])
    for shape in ((2, 3), (2, 9)):
        broken = sparse.csr_array((values, columns, starts), shape=shape)
        with refused:
            nn.Dataset(broken, [0, 1])
    x = sparse.coo_array((values, ([0, 1], columns)))
    assert nn.Dataset(x, [0, 1]).input_shape == (10,)


@place("datasets/rows.py Rows.__array__: array: expected one that is in memory, got {};", "SparseRows", "x[:1000]")
def test_rows_in_place_of_an_array(refused):
    x = nn.Dataset(sparse.csr_array(X), Y).x
    with refused:
        nn.to_numpy(x)
    np.testing.assert_array_equal(nn.to_numpy(x[:1000]), X)


@place("validation.py _dense: {}: expected {} in a dense array, got a sparse", "sample_weight: ", "use .toarray()")
def test_sparse_weights(refused):
    weights = sparse.coo_array(np.arange(12.0))
    with refused:
        nn.Dataset(X, Y, sample_weight=weights)
    nn.Dataset(X, Y, sample_weight=weights.toarray())


@place(
    "validation.py _dense: {}: expected at most {} numbers, since targets are",
    "y: ",
    "pass labels, such as numpy.asarray(y.argmax(axis=1)).ravel(), or fewer examples",
)
def test_targets_too_many_to_make_dense(refused):
    n, classes = 2**10, 2**18 + 1
    labels = np.random.default_rng(0).integers(0, classes, n)
    for kind in (sparse.csr_matrix, sparse.csr_array):
        y = kind((np.ones(n, "float32"), (np.arange(n), labels)), shape=(n, classes))
        with refused:
            nn.Dataset(np.ones((n, 1)), y)
        data = nn.Dataset(np.ones((n, 1)), np.asarray(y.argmax(axis=1)).ravel(), classes=classes)
        np.testing.assert_array_equal(data.y, labels)


@place(
    "datasets/augmentation.py expand_by_shifts: dataset: expected images in an array, got {}; make",
    "dataset",
    "make them one with nn_any.Dataset(dataset.x[...], dataset.y)",
)
def test_sparse_images_to_shift(refused):
    dataset = nn.Dataset(sparse.csr_array(X), Y)
    with refused:
        expand_by_shifts(dataset, [(0, 1)])
    assert len(expand_by_shifts(nn.Dataset(dataset.x[...], dataset.y), [(0, 1)])) == 24
