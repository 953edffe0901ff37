"""Whatever the package registers or derives is tested: what is new and wrong, or new and nowhere, fails."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import registered, subclasses

import nn_any as nn
from nn_any.core import schedules
from nn_any.core.optimizers import Optimizer, Regularized
from nn_any.core.optimizers.members import MemberWeightDecays
from nn_any.training.lbfgs import LBFGS

TESTS = Path(__file__).parent.parent
GRADIENT = 0.5
"""∂C/∂w in each of the first two steps from w = 1, at learning rate 0.1."""

OPTIMIZERS = {
    "SGD": (nn.SGD(0.1, momentum=0.5), [1 - 0.1 * 0.5, 1 - 0.1 * 0.5 - 0.1 * (0.5 * 0.5 + 0.5)]),
    "Adam": (nn.Adam(0.1), [0.9, 0.8]),
    "AdamW": (nn.AdamW(0.1, weight_decay=0.5), [0.95 - 0.1, 0.85 * 0.95 - 0.1]),
    "RMSprop": (nn.RMSprop(0.1, 0.75), [1 - 0.1 / 0.5, 0.8 - 0.1 / np.sqrt(0.25 * 0.75 + 0.25)]),
    "Adagrad": (nn.Adagrad(0.1), [0.9, 0.9 - 0.1 / np.sqrt(2)]),
}
"""An optimiser of each kind, and where it goes in two steps, by hand."""

E, PI = np.arange(4) / 2, np.pi
"""Two epochs of two steps: e = 0, 0.5, 1 and 1.5."""
WORSE = [{"validation_loss": loss, "validation_accuracy": 1 / loss} for loss in (1.0, 2.0)]
SCHEDULES = {
    "Constant": (schedules.Constant(0.5), np.full(4, 0.5)),
    "StepDecay": (schedules.StepDecay(1.0, every=1), [1, 1, 0.1, 0.1]),
    "ExponentialDecay": (schedules.ExponentialDecay(1.0, 0.25), 0.25**E),
    "Cosine": (schedules.Cosine(1.0, epochs=2), (1 + np.cos(PI * E / 2)) / 2),
    "OneCycle": (
        schedules.OneCycle(1.0, epochs=2, warmup=0.5, start_factor=2, final_factor=1),
        [0.5, 1.0, 0.75, 0.5],
    ),
    "WarmUp": (schedules.WarmUp(schedules.Constant(1.0), epochs=1), [0, 0.5, 1, 1]),
    "ReduceOnPlateau": (schedules.ReduceOnPlateau(1.0, patience=0), [1, 1, 0.1, 0.1]),
    "HalveOnNoImprovement": (schedules.HalveOnNoImprovement(1.0, patience=1), [1, 1, 0.5, 0.5]),
}
"""A schedule of each kind and its rates by hand; those that look at the history see it become worse at once."""

SPREADS = {
    "normal": 1.0,
    "scaled_normal": 1 / 200,
    "glorot_normal": 2 / 500,
    "glorot_uniform": 2 / 500,
    "he_normal": 2 / 200,
    "he_uniform": 2 / 200,
    "lecun_normal": 1 / 200,
    "lecun_uniform": 1 / 200,
    "orthogonal": 1 / 300,
    "zeros": 0.0,
}
"""The variance of the weights of a layer with 200 inputs and 300 outputs."""


@pytest.mark.parametrize("name", sorted(set(subclasses(Optimizer)) - {"Regularized", "MemberWeightDecays", "LBFGS"}))
def test_every_optimizer(float64, name):
    rule, expected = OPTIMIZERS[name]
    params, gradients = (((float64.asarray([value], "float64"),),) for value in (1.0, GRADIENT))
    state, mask = rule.init(params), ((True,),)
    for want in expected:
        params, state = rule.step(gradients, state, params, float64.asarray(0.1, "float64"), mask)
        np.testing.assert_allclose(nn.to_numpy(params[0][0]), [want], rtol=1e-6)


def test_optimizers_that_are_tested_elsewhere():
    assert {Regularized, MemberWeightDecays, LBFGS} <= set(subclasses(Optimizer).values())


@pytest.mark.parametrize("name", sorted(subclasses(schedules.Schedule)))
def test_every_schedule(name):
    schedule, expected = SCHEDULES[name]
    got = np.concatenate([schedule(epoch, 2, WORSE[: epoch + 1][:2]) for epoch in (0, 1)])
    if name in ("ReduceOnPlateau", "HalveOnNoImprovement"):
        got = np.concatenate([schedule(1, 2, WORSE[:1]), schedule(2, 2, WORSE)])
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", registered(nn.initializers))
def test_every_initializer(name):
    chosen, rng = nn.initializers.get(name), np.random.default_rng(0)
    weights, biases = chosen.weights(rng, (300, 200), 200, 300), chosen.biases(rng, (300,))
    assert (weights.shape, weights.dtype, biases.shape) == ((300, 200), np.float64, (300,))
    assert weights.var() == pytest.approx(SPREADS[name], rel=0.05)
    assert biases.var() == pytest.approx(1.0 if name.endswith("normal") and "_" not in name else biases.var(), rel=0.2)


WRONG = {
    "an activation": """
class Wrong(nn.activations.Activation):
    name = "wrong"
    def __call__(self, z, *, xp):
        return z * z
    def derivative(self, z, a, *, xp):
        return z
Wrong.__module__ = "nn_any.core.activations"
nn.activations.register("wrong", Wrong())
""",
    "a loss": """
class Wrong(nn.losses.Loss):
    name = "wrong"
    def __call__(self, a, y, *, xp):
        return xp.sum((a - y) ** 2, axis=-1)
    def derivative(self, a, y, *, xp):
        return a - y
Wrong.__module__ = "nn_any.core.losses"
nn.losses.register("wrong", Wrong())
""",
    "a layer": """
@nn.layers.register
@dataclass(frozen=True)
class Wrong(nn.layers.Layer):
    def forward(self, params, state, x, context):
        return 2 * x, state, x
Wrong.__module__ = "nn_any.core.layers.wrong"
""",
    "an optimizer": """
class Wrong(nn.optimizers.Optimizer):
    pass
Wrong.__module__ = "nn_any.core.optimizers.wrong"
""",
    "a schedule": """
class Wrong(nn.schedules.Schedule):
    pass
Wrong.__module__ = "nn_any.core.schedules.wrong"
""",
    "an initializer": """
class Wrong(nn.initializers.Initializer):
    name = "wrong"
Wrong.__module__ = "nn_any.core.initializers"
nn.initializers.register("wrong", Wrong())
""",
}


def pytest_in(folder, *arguments, plugin=""):
    """A run of pytest on these tests in a process of its own, with a plugin that is loaded first."""
    (folder / "scratch_plugin.py").write_text("from dataclasses import dataclass\nimport nn_any as nn\n" + plugin)
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "scratch_plugin", "-p", "no:cacheprovider", "-q", *arguments],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": paths, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_new_and_wrong_fails(tmp_path, kind):
    tests = [TESTS / "core" / name for name in ("test_gradients.py", "test_registries.py")]
    select = (
        "numpy and (wrong or Wrong)" if kind in ("an activation", "a loss") else "registered_layer or wrong or Wrong"
    )
    chosen = ["-k", f"({select} or every_registered) and not new_and_wrong", "-m", "not slow", "-x"]
    done = pytest_in(tmp_path, *tests, *chosen, plugin=WRONG[kind])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ({"activation": "rleu"}, "relu"),
        ({"loss": "cross_entropie"}, "cross_entropy"),
        ({"initializer": "nromal"}, "normal"),
    ],
)
def test_a_name_that_is_misspelt(arguments, meant):
    with pytest.raises(nn.InvalidValueError, match=f"did you mean '{meant}'"):
        nn.Network([2, 2], **arguments)
