"""A call of a replay loop that writes over one of its arguments, while another one shows the same memory."""

import importlib

import numpy as np
import pytest
from array_api_compat import array_namespace
from conftest import need

import nn_any as nn
from nn_any.backends.replay.engine import ReplayEngine
from nn_any.core import primitives

OVERLAPS = {  # what a call would write into also has another of its arguments
    "slopes of itself backwards": lambda xp, w, x: primitives.relu_gradient(w, xp.flip(w, axis=0), xp=xp),
    "slopes of what dies": lambda xp, w, x: w + primitives.relu_gradient(x - w, xp.flip(x - w, axis=0), xp=xp),
    "errors that are weights": lambda xp, w, x: primitives.sgd_update(w, w * 0.01, w, xp=xp),
    "inputs that are weights": lambda xp, w, x: primitives.sgd_update(w, w.mT, w * 0.01, xp=xp),
    "less its first row": lambda xp, w, x: w * 0.5 + (lambda z: z - z[:1, :])(x - w),
    "less its first column": lambda xp, w, x: w * 0.5 + (lambda z: z - z[:, :1])(x - w),
}


@pytest.mark.parametrize("kernels", ["Kernels", "BothKernels", "ScipyKernels", "SmallKernels", "TorchKernels"])
@pytest.mark.parametrize("name", OVERLAPS)
def test_what_a_call_overwrites_it_does_not_read_elsewhere(name, kernels):
    module = "nn_any.backends._torch_replay" if kernels[:5] in ("Small", "Torch") else "nn_any.backends.replay.kernels"
    if module.endswith("_torch_replay"):
        need("torch")
    chosen = getattr(importlib.import_module(module), kernels)()
    nn.select_device("numpy")  # its primitives
    w, x = (np.random.default_rng(seed).normal(size=(300, 300)) for seed in range(2))

    def step(state, batch, rate):
        return OVERLAPS[name](array_namespace(rate), state, batch[0]), rate * 1.0

    rows, rates = np.stack([np.random.default_rng(i).permutation(300) for i in range(3)]), np.ones(3)
    got, _ = ReplayEngine("compiled", choose=lambda **_: chosen).run(step, w.copy(), (x,), rows, rates, 0, 3)
    for some in rows:
        w = step(w, (x[some],), rates[0, ...])[0]
    np.testing.assert_allclose(got, w, rtol=1e-11, atol=1e-12)
