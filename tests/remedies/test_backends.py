"""Devices, engines, and CUDA's arithmetic."""

from importlib import import_module

import numpy as np
from conftest import need

import nn_any as nn
from nn_any.backends.cuda.precision import chosen_math
from nn_any.backends.libraries import get_backend

from . import place, places

devices = import_module("nn_any.backends.devices")  # the function of that name hides it
STRICT = "array_api_strict"
X, Y = np.eye(4, dtype="float32"), np.arange(4) % 3


@places(
    {
        "backends/_standard.py StandardBackend.raw: {} has the devices {}": "array_api_strict:device9",
        "backends/devices.py resolve: {}, {}, {}": "torch:abacus",
    },
    "device '",
    "choose one of nn_any.devices()",
)
def test_a_device_that_is_not_there(refused, value):
    if value.startswith("torch"):
        need("torch")
    with refused:
        nn.select_device(value)
    assert nn.select_device(str(nn.devices()[-1]))


@place(
    "backends/_jax.py Backend.name_of: device: expected an array on one device, got a JAX",
    "device",
    "bring it together first with jax.device_put(array, jax.devices()[0])",
)
def test_an_array_on_several_devices(refused):
    jax = need("jax")
    several = jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])  # what arrays on several say of their device
    with refused:
        get_backend("jax").name_of(several)
    array = jax.device_put(jax.numpy.ones(3), jax.devices()[0])
    assert nn.Device.of(array).library == "jax"


@place(
    "backends/_standard.py StandardBackend.check: exp(2) came out as {}", "device '", "choose one of nn_any.devices()"
)
def test_a_device_that_computes_wrongly(refused, monkeypatch):
    backend = get_backend(STRICT)
    devices._check.cache_clear()
    with monkeypatch.context() as patch, refused:
        patch.setattr(backend, "to_host", lambda array: np.zeros((2, 2)))
        nn.select_device(STRICT)
    assert nn.select_device(str(nn.devices()[-1]))


@place(
    "backends/cuda/precision.py chosen_math: NN_ANY_CUDA_MATH: expected one of {}, got {}",
    "NN_ANY_CUDA_MATH",
    "one of float32",
)
def test_an_arithmetic_that_cuda_has_not(refused, monkeypatch):
    monkeypatch.setenv("NN_ANY_CUDA_MATH", "float8")
    with refused:
        chosen_math()
    monkeypatch.setenv("NN_ANY_CUDA_MATH", "float32")
    assert chosen_math() == "float32"


@place("backends/devices.py Device.check_dtype: dtype: device {} has no float64; {}", "dtype", "float64")
def test_float64_where_there_is_none(refused):
    with refused:
        nn.Network([4, 3], device="array_api_strict:no_float64", dtype="float64")
    nn.Network([4, 3], device="array_api_strict:no_float64", dtype="float32")


@place(
    "backends/devices.py resolve: {}, {} is not installed, {}",
    "device 'array_api_strict'",
    "pip install array-api-strict",
)
def test_a_library_that_is_not_installed(refused, monkeypatch):
    with monkeypatch.context() as patch, refused:
        patch.setattr(devices, "find_spec", lambda library: None)
        nn.select_device(STRICT)
    assert nn.select_device(STRICT).library == STRICT  # now it is installed


@place("backends/devices.py _cuda: {}, {}, {}", "device 'cuda'", "install a CUDA driver and")
def test_cuda_without_a_driver(refused, monkeypatch):
    monkeypatch.setattr(devices, "has_cuda_driver", lambda: False)
    with refused:
        nn.select_device("cuda")
    with_cuda(monkeypatch)
    assert str(nn.select_device("cuda")) == "cupy:cuda:0"


@place("backends/devices.py _cuda: {}, {}, {} (2)", "device 'cuda'", "a library for it: ")
def test_cuda_without_a_library(refused, monkeypatch):
    monkeypatch.setattr(devices, "has_cuda_driver", lambda: True)
    with monkeypatch.context() as patch, refused:
        patch.setattr(devices, "find_spec", lambda library: None)
        nn.select_device("cuda")
    with_cuda(monkeypatch)
    assert str(nn.select_device("cuda")) == "cupy:cuda:0"


def with_cuda(monkeypatch):
    """A driver and a library, or what passes for them where there is no GPU."""
    monkeypatch.setattr(devices, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(devices, "resolve", lambda library, name, spec: nn.Device(library, name))


@place("backends/devices.py select_device: device: expected {}, a Device or None, got {}", "device", "'cpu'")
def test_a_device_that_is_no_name(refused):
    with refused:
        nn.select_device(0)
    assert nn.select_device(nn.select_device("cpu")) == nn.select_device("cpu") == nn.select_device(None)


@place(
    "backends/devices.py select_device: {}: 'fastest' has to be measured with a network",
    "device",
    "use nn_any.fastest_device(network, data, batch_size)",
)
def test_the_fastest_device_of_no_network(refused):
    net = nn.Network([4, 3])
    with refused:
        net.to("fastest")
    net.to(nn.fastest_device(net, (X, Y), 2, seconds=1e-3, places=["numpy", STRICT]))


@place("backends/devices.py select_device: {}: expected {}, got {}", "NN_ANY_DEVICE", "a library (numpy, ")
def test_a_device_of_no_library(refused, monkeypatch):
    monkeypatch.setenv("NN_ANY_DEVICE", "abacus")
    with refused:
        nn.Network([4, 3])
    monkeypatch.setenv("NN_ANY_DEVICE", "numpy")
    nn.Network([4, 3])


@place("backends/engine.py fall_back: engine: 'compiled' was asked for, but {}; use", "engine", "use engine='auto'")
def test_a_compiled_engine_where_there_is_none(refused):
    net = nn.Network([4, 3], device=STRICT)
    with refused:
        net.SGD((X, Y), 1, 2, 0.1, engine="compiled")
    net.SGD((X, Y), 1, 2, 0.1, engine="auto")


@place(
    "backends/libraries.py backend_of: array: expected an array of a library of the",
    "array",
    "make it one with nn_any.to_device(..., 'numpy')",
)
def test_a_list_in_place_of_an_array(refused):
    numbers = [1.0, 2.0]
    with refused:
        nn.Device.of(numbers)
    assert str(nn.Device.of(nn.to_device(numbers, "numpy"))) == "numpy:cpu"


@place(
    "backends/devices.py Device._check_integers: array: expected integers that int32 can hold, the",
    "array",
    "convert them to float32",
)
def test_integers_that_a_device_cannot_hold(refused):
    need("jax")
    large, device = np.array([3_000_000_000, 1]), nn.select_device("jax:cpu")
    with refused:
        device.asarray(large)
    assert float(device.asarray(large.astype("float32"))[0]) == 3e9


@place(
    "backends/devices.py Device._checked_dtype: dtype: expected one that {} has, such as 'float32'",
    "dtype",
    "use such a name",
)
def test_a_dtype_that_a_device_has_not(refused):
    device = nn.select_device(STRICT)
    with refused:
        device.asarray(X, dtype="float8")
    assert {str(device.asarray(X, dtype=name).dtype) for name in ("float32", "int64")} == {
        "array_api_strict.float32",
        "array_api_strict.int64",
    }


@place(
    "backends/devices.py check_unmasked: {}: expected numbers everywhere, got {} of {}",
    "x: ",
    "fill them with .filled(value), or leave those examples out",
)
def test_numbers_that_are_masked(refused):
    x = np.ma.masked_equal([[-9999.0, 1.0], [0.0, 1.0], [1.0, 1.0]], -9999.0)
    with refused:
        nn.Dataset(x, [0, 1, 0])
    assert nn.Dataset(x.filled(0.5), [0, 1, 0]).x[0, 0] == 0.5
    assert len(nn.Dataset(x[1:], [1, 0])) == 2
