"""Devices compared by measurement."""

from functools import partial

import numpy as np

import nn_any as nn

from . import place

DATA = np.eye(4, dtype="float32"), np.arange(4) % 3
time = partial(nn.time_devices, nn.Network([4, 3], device="numpy"), DATA, 2, seconds=1e-3, places=["numpy"])
fastest = partial(nn.fastest_device, nn.Network([4, 3], device="numpy"), DATA, 2, seconds=1e-3)


@place("measuring.py time_devices: optimizer: expected one that takes batches, such", "optimizer", "nn_any.SGD(0.5)")
def test_a_search_to_time(refused):
    with refused:
        time(optimizer=nn.LBFGS())
    assert time(optimizer=nn.SGD(0.5))[0].error is None


@place(
    "measuring.py _check_network: network: expected a Network, got {}; of an",
    "network",
    "pass a member, ensemble[0]",
)
def test_an_ensemble_to_time(refused):
    ensemble = nn.Ensemble([4, 3], 2)
    with refused:
        nn.time_devices(ensemble, DATA, 2)
    assert nn.time_devices(ensemble[0], DATA, 2, seconds=1e-3, places=["numpy"])[0].error is None


@place(
    "measuring.py _devices: places: expected several devices, got {}; pass a",
    "places",
    "pass a list, such as ['numpy']",
)
def test_a_place_without_brackets(refused):
    with refused:
        time(places="numpy")
    assert len(time(places=["numpy"])) == 1


@place("measuring.py _devices: places: expected at least one device, got none;", "places", "leave it out for all")
def test_no_places(refused, monkeypatch):
    with refused:
        fastest(places=[])
    monkeypatch.setattr(nn.measuring, "devices", lambda: [nn.select_device("numpy")])  # all, and quick to time
    assert fastest() == nn.select_device("numpy")


@place("measuring.py choose: fastest, no device could run the steps: {}, choose", "device 'fastest'", "engine='auto'")
def test_places_that_all_fail(refused):
    with refused:
        fastest(places=["array_api_strict"], engine="compiled")
    fastest(places=["array_api_strict"], engine="auto")
