"""Threads: each may train a network of its own, and none a network that another trains."""

import threading

import numpy as np
import pytest
from conftest import BACKENDS

import nn_any as nn

RNG = np.random.default_rng(0)
X, Y = RNG.random((40, 6)).astype("float32"), RNG.integers(0, 3, 40)
GIVEN = {"batch_size": 8, "optimizer": nn.SGD(0.5, momentum=0.9)}


def network(device, seed):
    return nn.Network([6, 5, nn.Dropout(0.2), 3], device=device, seed=seed)


@pytest.mark.backends(*(name for name in BACKENDS if name != "strict-flags"))  # these flags belong to one thread
def test_networks_of_their_own_train_side_by_side(backend):
    alone = [network(backend.device, seed) for seed in range(4)]
    together = [network(backend.device, seed) for seed in range(4)]
    for net in alone:
        net.fit((X, Y), epochs=10, **GIVEN)
    threads = [threading.Thread(target=net.fit, args=((X, Y),), kwargs={"epochs": 10, **GIVEN}) for net in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, together, strict=True):
        assert a.epoch == b.epoch == 10
        for w, v in zip(a.weights, b.weights, strict=True):
            np.testing.assert_array_equal(nn.to_numpy(w), nn.to_numpy(v))


def test_a_second_fit_is_refused_and_the_first_goes_on():
    net, other = network("numpy", 0), network("numpy", 0)
    inside, refused, caught = threading.Event(), threading.Event(), []

    def wait(run):
        inside.set()
        assert refused.wait(20)

    def second():
        assert inside.wait(20)
        try:
            net.fit((X, Y), epochs=1, **GIVEN)
        except nn.NetworkBusyError as error:
            caught.append(error)
        refused.set()

    thread = threading.Thread(target=second)
    thread.start()
    net.fit((X, Y), epochs=2, **GIVEN, callbacks=[wait])
    thread.join()
    assert "another call of fit is training; wait for it to end, or train or move a copy: net.copy()" in str(caught[0])
    other.fit((X, Y), epochs=2, **GIVEN)
    np.testing.assert_array_equal(net.weights[0], other.weights[0])
    net.fit((X, Y), epochs=1, **GIVEN)  # it is free again


def test_a_callback_may_train_a_copy_but_not_the_network():
    net = network("numpy", 0)

    def nested(run):
        run.network.copy().fit((X, Y), epochs=1, **GIVEN)
        run.network.fit((X, Y), epochs=1, **GIVEN)

    with pytest.raises(nn.NetworkBusyError):
        net.fit((X, Y), epochs=2, **GIVEN, callbacks=[nested])
    net.fit((X, Y), epochs=1, **GIVEN)


def test_a_failed_fit_leaves_the_network_free():
    net = network("numpy", 0)
    for _ in range(2):
        with pytest.raises(ValueError, match="batch_size"):
            net.fit((X, Y), epochs=1, batch_size=0, optimizer=nn.SGD(1.0))
