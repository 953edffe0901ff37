"""What a library's own switches do to the work of the package: nothing, or a refusal that says why."""

import os
import subprocess
import sys
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
from conftest import need

import nn_any as nn

RNG = np.random.default_rng(0)
X = (300 * RNG.normal(size=(24, 4))).astype("float32")
Y = np.arange(24) % 3
IMAGES = RNG.random((24, 6, 6, 1)).astype("float32")
STACKS = {
    "dense": ([4, 8, nn.Dropout(0.3), nn.BatchNorm(), 3], "log_likelihood", nn.Adam(0.05, clip_norm=1.0), X),
    "images": (
        [(6, 6, 1), nn.Conv2D(2, 3, activation="gelu"), nn.MaxPool2D(2), nn.Flatten(), nn.LayerNorm(), 3],
        "cross_entropy",
        nn.SGD(0.5, 0.9),
        IMAGES,
    ),
}


def everything(device, engine):
    """Weights, losses and answers of a run of each kind."""
    numbers = []
    for kind in ("network", "ensemble"):
        for layers, loss, optimizer, x in STACKS.values():
            of = {"loss": loss, "device": device, "seed": 0}
            model = nn.Network(layers, **of) if kind == "network" else nn.Ensemble(layers, 2, **of)
            data = (x.astype("float64"), Y)
            model.fit(data, epochs=2, batch_size=8, optimizer=optimizer, engine=engine, validation_data=data)
            numbers += [nn.to_numpy(array) for array in model.parameters.values()]
            numbers += [
                model.loss(data),
                model.accuracy(data),
                nn.to_numpy(model.predict(x)),
                model.score(data, "f1")["f1"],
            ]
    net = nn.Network([4, 3], device=device, seed=0)
    net.fit((X / 300, Y), epochs=2, optimizer=nn.LBFGS())
    return [*numbers, *map(nn.to_numpy, net.weights)]


undisturbed = cache(everything)


def check(device, engine, context):
    expected = undisturbed(device, engine)
    with context():
        got = everything(device, engine)
    for a, b in zip(map(np.asarray, got), map(np.asarray, expected), strict=True):
        assert a.dtype == b.dtype or a.dtype.kind == "i"  # the namespace's own integers
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_numpys_switches_for_overflow_and_underflow(device, engine):
    if (device.library, engine) == ("jax", "eager"):
        pytest.skip("its plain loop is slow, and computes nothing by NumPy")
    check(device, engine, lambda: np.errstate(all="raise"))


def test_data_that_vanish_in_float32(device):
    with np.errstate(all="raise"):
        data = nn.Dataset(np.array([[1e-60, 1.0]]), [0], device=device)
        net = nn.Network([2, 2], device=device, seed=0)
        assert np.isfinite(net.loss(data))
        assert nn.to_numpy(net.feedforward([[1e-60, 3e38]])).shape == (1, 2)


@contextmanager
def torch_default_dtype(torch, dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def torch_deterministic(torch):
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def torch_default_device(torch):
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def torch_products_in_bfloat16(torch):
    torch.set_float32_matmul_precision("medium")
    try:
        yield
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


TORCH = {
    "default dtype float64": lambda torch: torch_default_dtype(torch, torch.float64),
    "default dtype float16": lambda torch: torch_default_dtype(torch, torch.float16),
    "default device meta": torch_default_device,
    "a device as context": lambda torch: torch.device("meta"),
    "no_grad": lambda torch: torch.no_grad(),
    "inference_mode": lambda torch: torch.inference_mode(),
    "anomaly detection": lambda torch: torch.autograd.set_detect_anomaly(True),
    "deterministic": torch_deterministic,
    "products in bfloat16": torch_products_in_bfloat16,
    "autocast": lambda torch: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.backends("torch")
@pytest.mark.every_backend
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("switch", TORCH)
def test_pytorchs_switches(device, switch, engine):
    check(device, engine, lambda: TORCH[switch](need("torch")))


@pytest.mark.backends("torch")
@pytest.mark.every_backend
def test_a_network_leaves_inference_mode(device):
    torch = need("torch")
    with torch.inference_mode():
        net = nn.Network([4, 8, 3], device=device, seed=0)
    other = nn.Network([4, 8, 3], device=device, seed=0)
    for each in (net, other):
        each.SGD((X, Y), 1, 8, 0.5)
    for a, b in zip(net.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)


JAX = {
    "x64": lambda jax: jax.enable_x64(True),
    "a default device": lambda jax: jax.default_device(jax.devices("cpu")[0]),
    "matmul precision": lambda jax: jax.default_matmul_precision("highest"),
    "no promotion of ranks": lambda jax: jax.numpy_rank_promotion("raise"),
    "no promotion of dtypes": lambda jax: jax.numpy_dtype_promotion("strict"),
    "debug_nans": lambda jax: jax.debug_nans(True),
}


@pytest.mark.backends("jax")
@pytest.mark.parametrize("switch", JAX)
def test_jaxs_switches(device, switch):
    check(device, "auto", lambda: JAX[switch](need("jax")))


@pytest.mark.backends("jax")
@pytest.mark.every_backend
def test_jax_without_its_compiler(device, caplog):
    jax = need("jax")
    expected = nn.Network([4, 8, 3], device=device, seed=0)
    expected.SGD((X, Y), 1, 8, 0.5)
    for make in (nn.Network, lambda layers, **of: nn.Ensemble(layers, 1, **of)):
        net = make([4, 8, 3], device=device, seed=0)
        with jax.disable_jit():
            assert net.SGD((X, Y), 1, 8, 0.5).engine == "eager"
            message = "engine: 'compiled' was asked for, but jax_disable_jit, .* is set; use engine='auto'"
            with pytest.raises(nn.EngineError, match=message):
                net.SGD((X, Y), 1, 8, 0.5, engine="compiled")
        assert "they run eagerly: jax_disable_jit, or JAX_DISABLE_JIT in the environment, is set" in caplog.text
        for a, b in zip(net.weights, expected.weights, strict=True):
            np.testing.assert_allclose(nn.to_numpy(a).reshape(b.shape), nn.to_numpy(b), rtol=1e-5)


@pytest.mark.slow
def test_jax_without_its_compiler_from_the_environment():
    need("jax")
    code = (
        "import nn_any as nn, numpy as np; net = nn.Network([4, 3], device='jax', seed=0); "
        "print(net.SGD((np.ones((8, 4)), np.arange(8) % 3), 1, 4, 0.1).engine)"
    )
    environment = {**os.environ, "JAX_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "eager\n"


def strict_names():
    strict = need("array_api_strict")
    found = [str(device).split("'")[1] for device in strict.__array_namespace_info__().devices()]
    return [*found, *nn.backends.libraries.get_backend("array_api_strict").names()]


def test_every_device_of_strict_trains_or_is_listed_with_its_reason():
    """All that `devices` lists can train; the others are refused, and the survey says why."""
    (report,) = [report for report in nn.backends.survey() if report.library == "array_api_strict"]
    usable = {device.name for device in report.devices}
    assert {"cpu", "device1"} <= usable
    for name in strict_names():
        spec = f"array_api_strict:{name}"
        if name not in usable and name != "CPU_DEVICE":
            with pytest.raises(nn.DeviceNotAvailableError) as caught:
                nn.select_device(spec)
            assert f"{name}: {caught.value.reason}" in report.reason
            continue
        device = nn.select_device(spec)
        for layers, loss, optimizer, x in STACKS.values():
            net = nn.Network(layers, loss=loss, device=device, seed=0)
            net.fit((x, Y), epochs=1, batch_size=8, optimizer=optimizer, validation_data=(x, Y))
            net.predict(x)
    assert str(nn.select_device("array_api_strict:CPU_DEVICE")) == "array_api_strict:cpu"
