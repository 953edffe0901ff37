"""Choosing a device by measurement: with clocks of the test's own, and for real on very little data."""

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import MISSING, need

import nn_any as nn
from nn_any import measuring
from nn_any.backends import devices
from nn_any.core.trees import tree_leaves

X = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
Y = np.arange(40) % 3
HERE = [library for library in ("numpy", "torch", "jax") if MISSING[library] is None]


def network(**arguments):
    return nn.Network([6, 5, 3], device="numpy", seed=0, **arguments)


def timing(spec, seconds, compiling=0.0, error=None):
    return nn.DeviceTiming(nn.select_device(spec), seconds, "eager", compiling, error)


FAKE = {
    "numpy": timing("numpy", 21e-6),
    "array_api_strict:device1": timing("array_api_strict:device1", 7e-6, 2.0),
    "array_api_strict:device2": timing("array_api_strict:device2", 1.25e-3),
}


@pytest.fixture
def faked(monkeypatch):
    """Measured times that the test has made up; one device fails."""

    def time(device, *_):
        name = "numpy" if device.library == "numpy" else str(device)
        if name not in FAKE:
            raise RuntimeError("out of memory")
        return FAKE[name]

    monkeypatch.setattr(measuring, "_time", time)
    return ["array_api_strict:device2", "numpy", "array_api_strict:device1", "array_api_strict:cpu"]


def test_the_fastest_is_chosen_and_described(faked):
    device = nn.fastest_device(network(), (X, Y), 10, places=faked)
    assert str(device) == "array_api_strict:device1"
    assert device.reason == (
        "fastest of 3 measured: array_api_strict:device1 7 µs a step, numpy:cpu 21 µs a step, "
        "array_api_strict:device2 1.2 ms a step, array_api_strict:cpu failed (RuntimeError: out of memory)"
    )


def test_compiling_counts_for_so_many_epochs(faked):
    """Two seconds of compiling against 14 µs a step: paid back after 142,857 steps."""
    net = network()
    for epochs, best in ((1, "numpy:cpu"), (35_714, "numpy:cpu"), (35_715, "array_api_strict:device1")):
        device = nn.fastest_device(net, (X, Y), 10, places=faked, epochs=epochs)
        assert str(device) == best
        assert f"fastest of 3 measured, for {4 * epochs:,} steps with compiling: {best} " in device.reason


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_the_engine_asked_for_is_measured(monkeypatch, engine):
    modes = []
    monkeypatch.setattr(measuring, "_time", lambda *arguments: modes.append(arguments[-1]) or FAKE["numpy"])
    nn.fastest_device(network(), (X, Y), 10, places=["numpy"], engine=engine)
    assert modes == [engine]


def test_both_programs_of_an_epoch_are_compiled(monkeypatch):
    """Whole batches and the short last one: `compile_seconds` has what the next fit will not have to do again."""
    from nn_any.backends.replay import ReplayEngine

    seen, run = [], ReplayEngine.run

    def noted(self, *arguments):
        seen.append(arguments[3].shape)
        return run(self, *arguments)

    monkeypatch.setattr(ReplayEngine, "run", noted)
    nn.time_devices(network(), (X, Y), 9, seconds=0.001, places=["numpy"])
    assert set(seen) == {(4, 9), (1, 4)}


def test_the_whole_table_is_in_order(faked):
    found = nn.time_devices(network(), (X, Y), 10, places=faked)
    assert [t.seconds_per_step for t in found] == [7e-6, 21e-6, 1.25e-3, None]
    assert (found[-1].error, str(found[-1].device)) == ("RuntimeError: out of memory", "array_api_strict:cpu")


def test_one_slow_segment_does_not_count(monkeypatch):
    """A clock of the test's own: each segment of one step takes a second, but the last one but one takes a hundred."""
    now, taken = [0.0], []

    def run(*arguments):
        taken.append(100.0 if len(taken) == 6 else 1.0)
        now[0] += taken[-1] * (arguments[-1] - arguments[-2])
        return real(*arguments)

    engine = nn.select_device("numpy").training_engine("eager")
    real = engine.run
    monkeypatch.setattr(engine, "run", run)
    monkeypatch.setattr(measuring, "block_engines", lambda *_: [engine])
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    found = nn.time_devices(network(), (X, Y), 10, seconds=1.0, places=["numpy"])
    assert taken == [1.0] * 6 + [100.0, 1.0]
    assert found[0].seconds_per_step == 1.0


def test_if_all_fail_it_says_so(faked):
    with pytest.raises(RuntimeError, match=r"no device could run .*array_api_strict:cpu failed \(RuntimeError: out of"):
        nn.fastest_device(network(), (X, Y), 10, places=["array_api_strict:cpu"])


def test_all_usable_devices_are_timed_but_the_one_for_tests(monkeypatch):
    seen = []
    monkeypatch.setattr(measuring, "_time", lambda device, *_: seen.append(device) or timing("numpy", 1.0))
    nn.time_devices(network(), (X, Y), 10)
    assert seen == [device for device in devices() if device.library != "array_api_strict"]
    assert {device.library for device in seen} >= set(HERE)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [None, nn.Adam(0.01)])
def test_for_real(optimizer):
    """Every device is measured, and the network is the same to the bit, and on its device."""
    net = network()
    before = [nn.to_numpy(leaf).copy() for leaf in tree_leaves(net.state)]
    found = nn.time_devices(net, (X, Y), 10, optimizer=optimizer, seconds=0.02, places=HERE)
    assert {t.device.library for t in found} == set(HERE)
    assert all(0 < t.seconds_per_step < 1 and t.error is None and t.engine for t in found)
    assert [t.seconds_per_step for t in found] == sorted(t.seconds_per_step for t in found)
    assert (str(net.device), net.steps, net.epoch) == ("numpy:cpu", 0, 0)
    for now, then in zip(tree_leaves(net.state), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert next(t for t in found if t.device.library == "numpy").compile_seconds < 1


@pytest.mark.parametrize(
    "data",
    [
        nn.Dataset(X, Y, device="numpy"),
        zip(list(X[..., None]), list(np.eye(3)[Y][..., None]), strict=True),
        (X, np.eye(3, dtype="float32")[Y]),
    ],
    ids=["dataset", "columns", "targets"],
)
def test_any_form_of_data(data):
    device = nn.fastest_device(network(), data, 64, seconds=0.01, places=["numpy", "array_api_strict:cpu"])
    assert device.reason.startswith("fastest of 2 measured: ")


def test_what_a_device_lacks_is_reported():
    need("jax")
    found = nn.time_devices(network(dtype="float64"), (X, Y), 10, seconds=0.01, places=["jax:cpu", "numpy"])
    assert (str(found[0].device), found[1].seconds_per_step) == ("numpy:cpu", None)
    assert "no float64; JAX has float64 only after" in found[1].error


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"network": [6, 3]}, TypeError, "network: expected a Network, got list"),
        ({"batch_size": 0}, ValueError, "batch_size: expected a positive integer, got 0"),
        ({"seconds": 0}, ValueError, "seconds: expected a finite number above 0, got 0"),
        ({"engine": "steam"}, ValueError, "engine: expected one of 'auto', 'eager', 'compiled', got 'steam'"),
        ({"optimizer": nn.LBFGS()}, TypeError, "optimizer: expected one that takes batches"),
        ({"data": (X[:, :5], Y)}, ValueError, "x: expected"),
        ({"places": "numpy"}, TypeError, r"places: expected several devices, got 'numpy'; pass a list"),
        ({"places": ["numpy", "gpu"]}, ValueError, r"places\[1\]: device: expected 'auto', .*, got 'gpu'"),
        ({"places": []}, ValueError, "places: expected at least one device, got none"),
    ],
)
def test_bad_arguments_are_errors_before_anything_is_timed(monkeypatch, change, error, message):
    monkeypatch.setattr(measuring, "_time", lambda *_: pytest.fail("it was timed"))
    arguments = {"network": network(), "data": (X, Y), "batch_size": 10} | change
    with pytest.raises(error, match=message):
        nn.time_devices(**arguments)
    with pytest.raises(error, match=message):
        nn.fastest_device(**arguments)


def test_select_device_cannot_measure():
    with pytest.raises(ValueError, match=r"device: 'fastest' has to be measured .* use nn_any.fastest_device\(network"):
        nn.select_device("fastest")
