"""A network as a value: going back, going on elsewhere, and states of one's own."""

import copy
import pickle

import numpy as np
import pytest

import nn_any as nn
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 4)), RNG.integers(0, 3, 30)


def trained(device, epochs=2):
    net = nn.Network([4, 5, nn.BatchNorm(), 3], device=device, seed=3)
    net.fit((X, Y), epochs=epochs, batch_size=10, optimizer=nn.Adam(0.05))
    return net


def equal(one, other):
    for a, b in zip(tree_leaves(one), tree_leaves(other), strict=True):
        np.testing.assert_array_equal(nn.to_numpy(a), nn.to_numpy(b))


def test_going_back_is_assigning(backend):
    net, longer = trained(backend.device), trained(backend.device, 5)
    then, outputs = net.snapshot, nn.to_numpy(net.feedforward(X)).copy()
    net.fit((X, Y), epochs=2, batch_size=10, optimizer=nn.SGD(0.5))
    net.snapshot = then
    np.testing.assert_array_equal(nn.to_numpy(net.feedforward(X)), outputs)
    assert (net.epoch, net.steps) == (2, 6)
    net.fit((X, Y), epochs=3, batch_size=10, optimizer=nn.Adam(0.05))  # and it goes on as if nothing had happened
    equal(net.state, longer.state)


def test_a_network_from_a_snapshot_goes_on(backend):
    net, longer = trained(backend.device), trained(backend.device, 3)
    twin = nn.Network(net.snapshot, device=backend.device)
    twin.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.Adam(0.05))
    equal(twin.state, longer.state)
    assert (net.epoch, twin.epoch) == (2, 3)
    moved = nn.Network(net.snapshot, device="numpy")
    assert moved.device == nn.select_device("numpy")
    equal(moved.state, net.state)


def test_an_ensemble_from_a_snapshot():
    ensemble = nn.Ensemble([4, 5, 3], 4, learning_rates=[0.1, 0.2, 0.3, 0.4], device="numpy", seed=1)
    ensemble.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.SGD(1.0))
    twin = nn.Ensemble(ensemble.snapshot, 4)
    assert (twin.seeds, twin.learning_rates, twin.epochs) == (ensemble.seeds, ensemble.learning_rates, (1,) * 4)
    equal(twin.state, ensemble.state)
    with pytest.raises(TypeError, match="layers: expected the snapshot of a network, got that of another kind"):
        nn.Network(ensemble.snapshot)
    with pytest.raises(TypeError, match="layers: expected the snapshot of an ensemble, got that of another kind"):
        nn.Ensemble(ensemble[0].snapshot, 4)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_and_pickles_go_on_alike(again):
    net, longer = trained("numpy"), trained("numpy", 4)
    other = again(net)
    other.fit((X, Y), epochs=2, batch_size=10, optimizer=nn.Adam(0.05))
    equal(other.state, longer.state)
    assert net.epoch == 2


def test_states_that_do_not_fit(backend):
    net, before = trained(backend.device), trained(backend.device).state
    other = nn.Network([4, 6, nn.BatchNorm(), 3], device=backend.device, seed=0)
    with pytest.raises(ValueError, match="state: expected the shapes and dtypes of the network's own"):
        net.state = other.state
    with pytest.raises(TypeError, match="state: expected a nn_any.TrainState, such as net.state, got tuple"):
        net.state = tuple(net.state)
    equal(net.state, before)


def test_a_state_elsewhere_is_refused():
    net, strict = trained("numpy"), trained("array_api_strict:device1")
    with pytest.raises(ValueError, match="state: expected arrays on array_api_strict:device1, got them on numpy:cpu"):
        strict.state = net.state


def test_snapshots_that_do_not_fit(backend):
    net = trained(backend.device)
    with pytest.raises(TypeError, match="snapshot: expected the snapshot of a network, got int"):
        net.snapshot = 3
    with pytest.raises(TypeError, match="snapshot: expected the snapshot of a network, got that of another kind"):
        net.snapshot = nn.Ensemble([4, 3], 2, device=backend.device).snapshot
    net.snapshot = trained("numpy", 3).snapshot  # from elsewhere: moved
    assert net.device == backend.device
    assert net.epoch == 3
    net.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.Adam(0.05))
    with pytest.raises(ValueError, match="n: expected 2, as many as the snapshot has, got 3"):
        nn.Ensemble(nn.Ensemble([4, 3], 2, device=backend.device).snapshot, 3)
