"""Devices: what is chosen, what is refused and why, and how arrays come and go."""

import sys

import numpy as np
import pytest
from conftest import BACKENDS, need

import nn_any as nn
from nn_any.backends import survey

module = sys.modules["nn_any.backends.devices"]  # the package's attribute of this name is the function


def test_a_device_says_what_it_is(backend):
    device = backend.device
    assert str(device) == f"{device.library}:{device.name}"
    assert nn.select_device(str(device)) == device
    assert nn.select_device(device) is device
    assert nn.Device.of(device.asarray([1.0])) == device
    assert device in nn.devices()
    device.synchronize()


def test_arrays_go_there_and_back(backend):
    for dtype in ("float32", "int32", "uint8", "bool"):
        values = np.arange(6).reshape(2, 3).astype(dtype)
        there = nn.to_device(values, backend.device)
        assert nn.Device.of(there) == backend.device
        back = nn.to_numpy(there)
        assert back.dtype == values.dtype
        np.testing.assert_array_equal(back, values)
    assert nn.to_numpy(backend.device.asarray([0.5, 1.5])).dtype == np.float32
    assert nn.to_numpy(backend.device.asarray(values, "float32")).dtype == np.float32
    assert nn.to_numpy(backend.device.asarray(there, "float32")).dtype == np.float32


def test_arrays_go_from_every_library_to_every_other(backend):
    values = np.arange(6, dtype="float32").reshape(2, 3)
    for other in BACKENDS.values():
        if other.library == "cupy" or other.strictest:
            continue
        need(other.library)
        moved = nn.to_device(nn.to_device(values, other.device), backend.device)
        assert nn.Device.of(moved) == backend.device
        np.testing.assert_array_equal(nn.to_numpy(moved), values)


def test_float64_where_there_is_none_names_the_switch():
    need("jax")
    with pytest.raises(TypeError, match=r"dtype: device jax:cpu has no float64; .*jax_enable_x64"):
        nn.Network([2, 1], device="jax", dtype="float64")
    with pytest.raises(TypeError, match="jax_enable_x64"):
        nn.select_device("jax").asarray([1.0], "float64")
    need("array_api_strict")
    with pytest.raises(TypeError, match="array_api_strict:no_float64 has no float64; use dtype='float32'"):
        nn.Network([2, 1], device="array_api_strict:no_float64", dtype="float64")


def test_float64_data_go_where_there_is_no_float64():
    need("array_api_strict")
    net = nn.Network([2, 1], device="array_api_strict:no_float64", seed=0)
    assert str(net.feedforward(np.ones((3, 2))).dtype).endswith("float32")


@pytest.mark.parametrize("spec", ["cpu", "numpy", "numpy:cpu"])
def test_the_cpu_is_numpy(spec):
    assert str(nn.select_device(spec)) == "numpy:cpu"


def test_none_is_the_environment_then_auto(monkeypatch):
    monkeypatch.delenv("NN_ANY_DEVICE")
    monkeypatch.setattr(module, "has_cuda_driver", lambda: False)
    assert nn.select_device().reason == "no CUDA GPU: this machine has no CUDA driver"
    need("array_api_strict")
    monkeypatch.setenv("NN_ANY_DEVICE", "array_api_strict:device1")
    assert str(nn.select_device()) == "array_api_strict:device1"
    assert str(nn.Network([2, 1]).device) == "array_api_strict:device1"
    monkeypatch.setenv("NN_ANY_DEVICE", "toaster")
    with pytest.raises(ValueError, match="NN_ANY_DEVICE: expected 'auto'.*got 'toaster'"):
        nn.select_device()


def test_auto_imports_no_library_without_a_driver(monkeypatch):
    monkeypatch.setattr(module, "has_cuda_driver", lambda: False)
    monkeypatch.setattr(module, "resolve", lambda *args: pytest.fail("a library was tried"))
    device = nn.select_device("auto")
    assert str(device) == "numpy:cpu"
    assert device.reason == "no CUDA GPU: this machine has no CUDA driver"


def test_auto_takes_the_first_gpu_that_works_and_says_why_not_the_others(monkeypatch):
    def resolve(library, name, spec):
        if library == working:
            return nn.Device(library, name)
        raise nn.DeviceNotAvailableError(spec, f"{library} is broken here", "mend it")

    monkeypatch.setattr(module, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(module, "resolve", resolve)
    for working in ("cupy", "torch", "jax"):
        assert str(nn.select_device("auto")) == f"{working}:cuda:0"
        assert str(nn.select_device("cuda:1")) == f"{working}:cuda:1"
    working = None
    device = nn.select_device("auto")
    assert str(device) == "numpy:cpu"
    for library in ("cupy", "torch", "jax"):
        assert f"{library} is broken here" in device.reason
    with pytest.raises(nn.DeviceNotAvailableError, match="cupy is broken here; torch: torch is broken here"):
        nn.select_device("cuda")


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(nn.DeviceNotAvailableError) as caught:
        nn.select_device("cupy")
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.device == "cupy"
    assert caught.value.reason == "cupy is not installed"
    command = 'python -m pip install cupy-cuda13x "cuda-toolkit[cublas,cudart,nvrtc]==13.*"'
    assert command in caught.value.remedy
    assert command in str(caught.value)


def test_a_device_that_is_not_there_carries_the_librarys_own_reason():
    need("torch")
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(nn.DeviceNotAvailableError, match="CUDA"):
        nn.select_device("torch:cuda:0")
    need("array_api_strict")
    with pytest.raises(nn.DeviceNotAvailableError, match="has the devices cpu, device1"):
        nn.select_device("array_api_strict:device9")


def test_a_gpu_that_computes_wrongly_is_refused(monkeypatch):
    from nn_any.backends import libraries

    backend = libraries.get_backend("numpy")
    monkeypatch.setattr(module, "_check", lambda backend, name: backend.check(name))
    monkeypatch.setattr(backend, "to_host", lambda array: np.zeros((2, 2)))
    with pytest.raises(nn.DeviceNotAvailableError, match=r"exp\(2\) came out as 0"):
        nn.select_device("numpy")


@pytest.mark.parametrize("spec", ["gpu", "cuda:x", "", "numpyy:cpu", "cpu:1"])
def test_what_is_no_device_is_a_value_error(spec):
    with pytest.raises(ValueError, match="device: expected 'auto', 'cpu', 'cuda'"):
        nn.select_device(spec)


@pytest.mark.parametrize("spec", [3, 1.5, ["cpu"]])
def test_what_is_no_text_is_a_type_error(spec):
    with pytest.raises(TypeError, match="device: expected 'auto'"):
        nn.select_device(spec)


def test_the_survey_tells_of_every_library():
    reports = {report.library: report for report in survey()}
    assert set(reports) == {"cupy", "torch", "jax", "numpy", "array_api_strict"}
    for report in reports.values():
        assert report.devices or report.reason
        if report.library != "array_api_strict":  # one of its devices has no integers of 64 bits, which it needs itself
            assert not (report.devices and report.reason)


def test_an_unknown_library_comes_in_by_its_arrays(monkeypatch):
    """A namespace nobody here has heard of: array-api-strict under another name."""
    need("array_api_strict")
    import array_api_strict as strict
    from array_api_compat.common import _helpers

    from nn_any.backends import libraries

    stranger = type(sys)("stranger")
    stranger.__dict__.update(
        {k: v for k, v in vars(strict).items() if not k.startswith("__") or k == "__array_namespace_info__"}
    )
    array = strict.asarray([1.0, 2.0], dtype=strict.float32)
    monkeypatch.setattr(type(array), "__array_namespace__", lambda self, api_version=None: stranger)
    monkeypatch.setattr(libraries, "_others", {})
    assert _helpers.array_namespace(array) is stranger
    device = nn.Device.of(array)
    assert str(device) == "stranger:cpu"
    assert nn.select_device("stranger:cpu") == device
    net = nn.Network([2, 2], device=device, seed=0)
    x, y = device.asarray([[0.0, 1.0], [1.0, 0.0]]), device.asarray([0, 1])
    assert len(net.SGD((x, y), 2, 1, 0.5)) == 2
    libraries.get_backend.cache_clear()


def test_what_is_no_array_has_no_device():
    with pytest.raises(TypeError, match="array: expected an array of a library of the Python Array API, got dict"):
        nn.Device.of({})
