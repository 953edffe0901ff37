"""What a device makes arrays of."""

import numpy as np
import pytest
from scipy import sparse

import nn_any as nn

from . import place


@place(
    "backends/devices.py Device._host: array: expected numbers, got dtype {}; {}",
    "dtype <U3",
    "make them with numpy.asarray(..., dtype='float32')",
)
def test_numbers_that_are_text(refused):
    device = nn.select_device("numpy")
    with refused:
        device.asarray(["1.5", "2.5"])
    assert device.asarray(np.asarray(["1.5", "2.5"], dtype="float32")).tolist() == [1.5, 2.5]


def test_a_sparse_matrix():
    """What the same place says of one."""
    device, matrix = nn.select_device("numpy"), sparse.csr_array(np.eye(2))
    with pytest.raises(nn.InvalidTypeError, match=r"array: expected numbers, got dtype object; use .toarray\(\)"):
        device.asarray(matrix)
    assert device.asarray(matrix.toarray()).tolist() == [[1.0, 0.0], [0.0, 1.0]]
