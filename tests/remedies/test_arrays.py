"""What a device makes arrays of."""

import numpy as np

import nn_any as nn

from . import place


@place(
    "backends/devices.py Device._host: array: expected numbers, got dtype {}; make them",
    "dtype <U3",
    "make them with numpy.asarray(..., dtype='float32')",
)
def test_numbers_that_are_text(refused):
    device = nn.select_device("numpy")
    with refused:
        device.asarray(["1.5", "2.5"])
    assert device.asarray(np.asarray(["1.5", "2.5"], dtype="float32")).tolist() == [1.5, 2.5]
