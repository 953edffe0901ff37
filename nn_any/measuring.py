"""Choosing a device by measurement: the same training steps, timed on each."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nn_any import evaluation
from nn_any.backends import MODES, Device, DeviceNotAvailableError, devices, select_device
from nn_any.backends.blocks import block_engines
from nn_any.core import functional, options
from nn_any.core.errors import InvalidTypeError, InvalidValueError, prefix_errors
from nn_any.core.optimizers import SGD, Optimizer
from nn_any.datasets.network_input import network_data, own_examples
from nn_any.network import Network
from nn_any.training.measured import with_measurements
from nn_any.training.segments import Runner, runner
from nn_any.training.states import moved_snapshot, with_optimizer, with_optimizer_state

_FEWEST = 3  # how many segments are timed at least; the median counts


@dataclass(frozen=True)
class DeviceTiming:
    """What `time_devices` found of one device.

    Attributes
    ----------
    device : Device
    seconds_per_step : float or None
        The median over segments of steps, once everything is compiled and warm; None if the device failed.
    engine : str
        What ran the steps, as in `History`.
    compile_seconds : float
        What the first steps took longer than the later ones: compiling, and whatever else happens once.
    error : str or None
        Why the device failed.
    """

    device: Device
    seconds_per_step: float | None
    engine: str = ""
    compile_seconds: float = 0.0
    error: str | None = None

    def describe(self, steps: int | None = None) -> str:
        """The finding in words, with what `steps` steps would take if they are given."""
        if self.seconds_per_step is None:
            return f"{self.device} failed ({self.error})"
        each = f"{_duration(self.seconds_per_step)} a step"
        return f"{self.device} {each}" if steps is None else f"{self.device} {_duration(self.total(steps))} ({each})"

    def total(self, steps: int) -> float:
        """The seconds that a training of so many steps would take; infinite if the device failed."""
        return float("inf") if self.seconds_per_step is None else self.compile_seconds + steps * self.seconds_per_step


def time_devices(
    network: Network,
    data: Any,
    batch_size: int,
    *,
    optimizer: Optimizer | None = None,
    seconds: float = 1.0,
    places: Iterable[str | Device] | None = None,
    engine: str = "auto",
) -> list[DeviceTiming]:
    """Time training steps on every usable device, the fastest first. The network itself is untouched.

    Parameters
    ----------
    network : Network
        What shall be trained; copies of it are.
    data : Dataset, tuple ``(x, y)`` of arrays, or iterable of pairs of columns
        As `Network.fit` takes them.
    batch_size : int
        Examples a step.
    optimizer : Optimizer, optional
        Plain `SGD` if not given; only its rule matters, for the steps have learning rate 0.
    seconds : float
        About how long to measure each device, above 0; compiling comes on top.
    places : iterable of str or Device, optional
        The devices to time; all of `devices` if not given, but for array-api-strict, which is for tests.
    engine : {"auto", "eager", "compiled"}
        How the steps are run, as `Network.fit` has it.

    Returns
    -------
    list of DeviceTiming
        Those that failed come last.

    Raises
    ------
    ValueError, TypeError
        For bad arguments and data that do not fit the network.

    Examples
    --------
    >>> import nn_any as nn
    >>> data = nn.datasets.load_digits("cpu")[0]
    >>> timing = time_devices(nn.Network([64, 30, 10]), data, 10, seconds=0.01, places=["numpy"])[0]
    >>> str(timing.device), timing.seconds_per_step < 0.1, timing.error
    ('numpy:cpu', True, None)
    """
    _check_network(network)
    batch_size = options.integer("batch_size", batch_size)
    seconds = options.number("seconds", seconds, above=True)
    options.choice("engine", engine, *MODES)
    optimizer = SGD(1.0) if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer) or optimizer.whole_batch:
        raise InvalidTypeError(
            f"optimizer: expected one that takes batches, such as nn_any.SGD(0.5), got {optimizer!r}"
        )
    dataset = network_data(network.specification, network.device, "data", data)
    own_examples(network.specification, network.device, "data", dataset)  # bad data are not a device's fault
    timings = []
    for device in _devices(places):
        try:
            timings.append(_time(device, network, dataset, batch_size, optimizer, seconds, engine))
        except Exception as error:
            timings.append(DeviceTiming(device, None, error=f"{type(error).__name__}: {error}"))
    return sorted(timings, key=lambda timing: timing.seconds_per_step or float("inf"))


def fastest_device(
    network: Network,
    data: Any,
    batch_size: int,
    *,
    optimizer: Optimizer | None = None,
    seconds: float = 1.0,
    places: Iterable[str | Device] | None = None,
    epochs: int | None = None,
    engine: str = "auto",
) -> Device:
    """The device that trains this network on these data fastest, by measurement; small networks may belong on the CPU.

    Parameters
    ----------
    network, data, batch_size, optimizer, seconds, places, engine
        As `time_devices` has them. The network itself is untouched: move it with ``network.to(device)``.
    epochs : int, optional
        With it the time that a device needs to compile counts as well, as part of a training of so many epochs.

    Returns
    -------
    Device
        ``device.reason`` tells what was found, the devices that failed included.

    Raises
    ------
    ValueError, TypeError
        For bad arguments and data that do not fit the network.
    DeviceNotAvailableError
        If every device failed.

    Examples
    --------
    >>> import nn_any as nn
    >>> data = nn.datasets.load_digits("cpu")[0]
    >>> net = nn.Network([64, 30, 10])
    >>> device = fastest_device(net, data, 10, seconds=0.01, places=["numpy"])
    >>> str(net.to(device).device), device.reason[:27]
    ('numpy:cpu', 'the only one measured: nump')
    """
    _check_network(network)
    if epochs is not None:
        epochs = options.integer("epochs", epochs)
    dataset = network_data(network.specification, network.device, "data", data)
    timings = time_devices(
        network, dataset, batch_size, optimizer=optimizer, seconds=seconds, places=places, engine=engine
    )
    return choose(timings, None if epochs is None else epochs * -(-len(dataset) // batch_size))


def _check_network(network: Any) -> None:
    if not isinstance(network, Network):
        raise InvalidTypeError(
            f"network: expected a Network, got {type(network).__name__}; of an ensemble pass a member, ensemble[0]"
        )


def _devices(places: Any) -> list[Device]:
    """The devices that `places` names, or all that are not for tests."""
    if places is None:
        return [device for device in devices() if device.library != "array_api_strict"]
    if isinstance(places, str | Device) or not isinstance(places, Iterable):
        raise InvalidTypeError(f"places: expected several devices, got {places!r}; pass a list, such as ['numpy']")
    found = []
    for i, place in enumerate(places):
        with prefix_errors(f"places[{i}]"):
            found.append(select_device(place))
    if not found:
        raise InvalidValueError("places: expected at least one device, got none; leave it out for all")
    return found


def choose(timings: Iterable[DeviceTiming], steps: int | None = None) -> Device:
    """The fastest device of `timings`, or the one that is done first with a training of so many steps."""
    timings = list(timings) if steps is None else sorted(timings, key=lambda timing: timing.total(steps))
    measured = [timing for timing in timings if timing.seconds_per_step is not None]
    found = ", ".join(timing.describe(steps) for timing in timings)
    if not measured:
        raise DeviceNotAvailableError(
            "fastest", f"no device could run the steps: {found}", "choose other places, or engine='auto'"
        )
    count = f"fastest of {len(measured)} measured" if len(measured) > 1 else "the only one measured"
    how = "" if steps is None else f", for {steps:,} steps with compiling"
    best = measured[0].device
    return Device(best.library, best.name, f"{count}{how}: {found}")


def _time(
    device: Device, network: Network, dataset: Any, batch_size: int, optimizer: Optimizer, seconds: float, mode: str
) -> DeviceTiming:
    """Segments of steps on a copy of the network, until the time is up."""
    snapshot = moved_snapshot(network.snapshot, device, network.dtype)
    examples = own_examples(network.specification, device, "data", dataset, training=True)
    n, batch_size = examples.size, min(batch_size, examples.size)
    steps = n // batch_size
    rows = np.random.default_rng(0).permutation(n)[: steps * batch_size].reshape(steps, batch_size)
    rates = device.asarray(np.zeros(steps), network.dtype)  # nothing is learned, so nothing diverges
    step = functional.train_step(network.layers, network.specification.loss, optimizer.update_rule(), examples.prepare)
    snapshot = with_measurements(snapshot, device, examples)
    state = with_optimizer_state(with_optimizer(snapshot, optimizer), device).blocks[0]
    engine = block_engines(device, mode, 1, [])[0]

    whole = runner(device, engine, step, examples.arrays, rows, rates)

    def run(stop: int, steps: Runner = whole) -> float:
        began = time.perf_counter()
        after, _ = steps(state, 0, stop)
        evaluation.is_finite(device, after.params)
        device.synchronize()
        return time.perf_counter() - began

    first, few = run(1), min(steps, 5)
    if steps * batch_size < n:  # the short last batch of an epoch is another program
        rest = np.arange(steps * batch_size, n)[None, :]
        first += run(1, runner(device, engine, step, examples.arrays, rest, rates[:1]))
    each = min(run(few) for _ in range(_FEWEST)) / few  # the first of them may still have something to do once
    length = min(steps, max(1, int(seconds / _FEWEST / max(each, 1e-9))))
    run(length)
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < _FEWEST or time.perf_counter() < end:
        found.append(run(length) / length)
    usual = float(np.median(found))
    return DeviceTiming(device, usual, engine.name, max(first - usual, engine.compile_seconds))


def _duration(seconds: float) -> str:
    """``"21 µs"``, ``"3.4 ms"``, ``"1.2 s"``."""
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= size:
            return f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e6:.0f} µs"
