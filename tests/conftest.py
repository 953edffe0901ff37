"""The backends that every test of the maths runs on, and what the tests say of them at the end."""

import os
import sys
from collections import Counter
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import cuda_host
import numpy as np
import pytest
from cuda_races import find_tsan
from cuda_tools import find_cxx, find_nvrtc
from oracle import digits_arrays

import nn_any as nn

REQUIRED = {name.strip() for name in os.environ.get("NN_ANY_REQUIRE", "").split(",") if name.strip()}
LIBRARIES = ("numpy", "array_api_strict", "torch", "jax", "cupy")
TOOLS = {"nvrtc12": partial(find_nvrtc, 12), "nvrtc13": partial(find_nvrtc, 13), "cxx": find_cxx, "tsan": find_tsan}
"""What builds the CUDA sources where there is no GPU: NVRTC's wheels; a C++ compiler, and its ThreadSanitizer."""
HOST_GPUS = int(os.environ.get("NN_ANY_HOST_GPUS", 2))
MACHINE = None if cuda_host.gpu() or cuda_host.missing() else cuda_host.start(devices=HOST_GPUS)
"""GPUs without access to each other's memory that the host pretends to have, under the real CuPy; or None."""
WORDS = {
    "numpy": "NumPy",
    "array_api_strict": "array-api-strict",
    "torch": "PyTorch",
    "jax": "JAX",
    "cupy": "CuPy and a CUDA GPU, or the host stand-in for CUDA",
    "cupy_host": "the host stand-in for CUDA",
    "nvrtc12": "NVRTC of CUDA 12, which compiles CUDA sources",
    "nvrtc13": "NVRTC of CUDA 13",
    "cxx": "a C++ compiler",
    "tsan": "a C++ compiler with ThreadSanitizer",
}
QUICK = ("numpy", "strict")
"""The backends of a quick run, ``pytest -m "not slow"``; tests marked ``every_backend`` run on the others as well."""


class Backend:
    """One way of running the package: a device, and what its arrays are made like."""

    def __init__(self, name, library, spec, *, readonly=False, strictest=False):
        self.name, self.library, self.spec = name, library, spec
        self.readonly, self.strictest = readonly, strictest

    @property
    def device(self):
        return nn.select_device(self.spec)

    @property
    def xp(self):
        return self.device.xp

    def asarray(self, values, dtype=None):
        """An array of this backend with values of its own."""
        host = np.array(values, dtype=dtype)
        if self.readonly:
            host.flags.writeable = False
            return host
        return self.device.asarray(host)

    @contextmanager
    def active(self):
        """The library's switches while a test runs."""
        if self.strictest:
            import array_api_strict as strict

            strict.set_array_api_strict_flags(
                boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
            )
            try:
                yield
            finally:
                strict.reset_array_api_strict_flags()
        else:
            yield


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("numpy", "numpy", "numpy"),
        Backend("numpy-readonly", "numpy", "numpy", readonly=True),
        Backend("strict", "array_api_strict", "array_api_strict:cpu"),
        Backend("strict-device1", "array_api_strict", "array_api_strict:device1"),
        Backend("strict-flags", "array_api_strict", "array_api_strict:cpu", strictest=True),
        Backend("torch", "torch", "torch:cpu"),
        Backend("jax", "jax", "jax:cpu"),
        # of two GPUs the one that is not the current one, so that work outside of its scope shows
        Backend("cupy", "cupy", "cupy:cuda:1" if MACHINE and HOST_GPUS > 1 else "cupy:cuda:0"),
    )
}
NOT_NUMPY = tuple(backend.name for backend in BACKENDS.values() if backend.library != "numpy")


def subclasses(base):
    """All classes of the package that are derived from `base`, by name; tests and examples derive others."""
    found, waiting = {}, [base]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__module__.startswith("nn_any.") and not kind.__name__.startswith("_"):
                found[kind.__name__] = kind
    return found


def registered(module):
    """The names that the package has registered in a module of its own; tests and examples register others."""
    if not hasattr(module, "get"):  # the layers, which are classes
        return [name for name in module.names() if name in subclasses(module.Layer)]
    return [name for name in module.names() if type(module.get(name)).__module__.startswith("nn_any.")]


def _missing(library):
    """Why a library or a tool cannot be used here, or None."""
    if library == "cupy_host":  # a GPU is better than a stand-in for one
        return None if cuda_host.gpu() else cuda_host.missing()
    if library in TOOLS:
        return None if TOOLS[library]() else f"{library} was not found"
    if find_spec(library) is None:
        return f"{library} is not installed"
    if library == "cupy":
        try:
            nn.select_device("cupy")
        except nn.DeviceNotAvailableError as error:
            return str(error)
    return None


MISSING = {library: _missing(library) for library in (*LIBRARIES, *TOOLS, "cupy_host")}


def need(library):
    """A library, imported; or skip the test if it or a tool is missing, unless the run requires it: then fail."""
    if MISSING[library]:
        if library in REQUIRED:
            pytest.fail(f"NN_ANY_REQUIRE names {library}, but {MISSING[library]}", pytrace=False)
        pytest.skip(f"needs {WORDS[library]}: {MISSING[library]}")
    return import_module(library) if library in LIBRARIES else None


def pytest_generate_tests(metafunc):
    """Make a test that takes `backend` once for each backend that it concerns, and tell which of these are slow."""
    if "backend" not in metafunc.fixturenames:
        return
    chosen = metafunc.definition.get_closest_marker("backends")
    everywhere = metafunc.definition.get_closest_marker("every_backend")
    params = []
    for name in chosen.args if chosen else BACKENDS:
        marks = [pytest.mark.gpu] if name == "cupy" else []
        marks += [] if everywhere or name in QUICK else [pytest.mark.slow]
        params.append(pytest.param(BACKENDS[name], id=name, marks=marks))
    metafunc.parametrize("backend", params, indirect=True)


@pytest.fixture
def backend(request):
    """The backends, one after another; which ones, `pytest_generate_tests` says."""
    need(request.param.library)
    current = request.param.library == "cupy" and "core" in request.path.parts  # pure functions find their GPU current
    with request.param.active(), request.param.device.scope() if current else nullcontext():
        yield request.param


@pytest.fixture
def device(backend):
    return backend.device


@pytest.fixture
def float64(backend):
    """A backend with float64; JAX gets its switch for the length of the test."""
    if backend.library != "jax":
        yield backend
        return
    import jax

    with jax.enable_x64(True):
        yield backend


@pytest.fixture(scope="session")
def digits():
    """The digits as NumPy arrays: training and test images in 0 … 1, and their labels."""
    return digits_arrays()


@pytest.fixture(autouse=True)
def _default_device(monkeypatch):
    """Where a test names no device it means NumPy, whatever the machine has."""
    monkeypatch.setenv("NN_ANY_DEVICE", "numpy")


@pytest.fixture(scope="session")
def keras(tmp_path_factory):
    """Keras on PyTorch, without a file of settings in the user's home."""
    need("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        return import_module("keras")


@pytest.fixture
def machine():
    """The machine that the host pretends to be; the test is skipped where a GPU is used or there is neither."""
    need("cupy_host")
    if MACHINE is None:
        pytest.skip("needs the host stand-in for CUDA: a GPU is used in its place")
    need("cupy")
    MACHINE.poison_pools()
    return MACHINE


@pytest.fixture(autouse=True)
def _nothing_that_cuda_punishes():
    """On the stand-in for CUDA, fail a test that does what goes wrong on a GPU, whatever numbers it gets."""
    if MACHINE is None:
        yield
        return
    MACHINE.poison_pools()
    MACHINE.reset()
    yield
    if found := MACHINE.violations():
        pytest.fail("on a GPU this would be wrong:\n" + "\n".join(dict.fromkeys(found)), pytrace=False)


@pytest.fixture(autouse=True)
def _one_thread_of_torchs():
    """Work as small as this is slower on several, and much slower beside other work."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def pytest_configure(config):
    unknown = REQUIRED - set(MISSING)
    if unknown:
        raise pytest.UsageError(f"NN_ANY_REQUIRE: expected some of {', '.join(MISSING)}, got {', '.join(unknown)}")


def pytest_sessionstart(session):
    lacking = {library: reason for library, reason in MISSING.items() if reason and library in REQUIRED}
    if "cupy" in REQUIRED and MACHINE is not None:
        lacking["cupy"] = "there is no GPU, only the host stand-in for CUDA (cupy_host)"
    if lacking:
        raise pytest.UsageError(f"NN_ANY_REQUIRE: {'; '.join(lacking.values())}")


def pytest_terminal_summary(terminalreporter):
    """Say which backends ran, and in plain words what did not run."""
    terminalreporter.section("backends")
    for library in MISSING:
        ran = "ran, without a GPU, on the host stand-in for CUDA" if library == "cupy" and MACHINE else "ran"
        terminalreporter.write_line(f"{library:17} {'did not run: ' + MISSING[library] if MISSING[library] else ran}")
    skipped = terminalreporter.stats.get("skipped", ())
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if reasons or terminalreporter.stats.get("deselected"):
        terminalreporter.section("tests that did not run")
    for reason, n in reasons.most_common():
        tests = "1 test" if n == 1 else f"{n:,} tests"
        needs = reason.replace("needs", "need", n > 1) if reason.startswith("needs") else f"did not run: {reason}"
        terminalreporter.write_line(f"{tests} {needs}")
    if deselected := len(terminalreporter.stats.get("deselected", ())):
        terminalreporter.write_line(f"{deselected:,} tests were left out, as -m or -k says")
