"""What a callback may do at a pause: see what was learned so far, and change the network."""

import numpy as np
import oracle
import pytest

import nn_any as nn

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 4)), RNG.integers(0, 3, 40)
T = np.eye(3)[Y]


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch):
    """Two steps at a time, so that an epoch has pauses."""
    monkeypatch.setattr("nn_any.training.fit.segment_length", lambda *_: 2)


class AtPause(nn.Callback):
    """Does something once, at the first pause after so many steps."""

    def __init__(self, steps, what):
        self.steps, self.what, self.seen = steps, what, []

    def on_pause(self, run):
        self.seen.append(run.network.steps)
        if run.network.steps == self.steps and self.what is not None:
            what, self.what = self.what, None
            what(run.network)


def fit(net, callback, epochs=2):
    return net.fit((X, Y), epochs=epochs, batch_size=5, optimizer=nn.SGD(0.5), callbacks=[callback], shuffle=False)


def test_pauses_come_before_and_after_epochs_and_between_segments(backend):
    callback = AtPause(0, None)
    fit(nn.Network([4, 3], device=backend.device, seed=0), callback)
    assert sorted(set(callback.seen)) == [0, 2, 4, 6, 8, 10, 12, 14, 16]


def expected(net, change, at):
    """The weights after 16 steps of the loop over examples, with a change after `at` steps."""
    weights, biases = ([nn.to_numpy(a).copy() for a in arrays] for arrays in (net.weights, net.biases))
    frozen = False
    for step in range(16):
        if step == at:
            weights, biases, frozen = change(weights, biases)
        rows = slice(step % 8 * 5, step % 8 * 5 + 5)
        nabla_b, nabla_w = oracle.batch_gradients(weights, biases, X[rows], T[rows], "quadratic")
        for i in range(1 if frozen else 0, 2):
            weights[i], biases[i] = weights[i] - 0.5 * nabla_w[i], biases[i] - 0.5 * nabla_b[i]
    return weights + biases


HALVES = {
    "frozen": (lambda net: net.freeze(0), lambda w, b: (w, b, True)),
    "other weights": (
        lambda net: net.set_weights([nn.to_numpy(w) / 2 for w in net.weights], net.biases),
        lambda w, b: ([a / 2 for a in w], b, False),
    ),
}


@pytest.mark.parametrize("steps", [4, 8])
@pytest.mark.parametrize("kind", HALVES)
def test_what_a_callback_changes_counts_from_the_next_step(float64, kind, steps):
    change, oracles = HALVES[kind]
    net = nn.Network([4, 5, 3], device=float64.device, dtype="float64", seed=0)
    wanted = expected(net, oracles, steps)
    history = fit(net, AtPause(steps, change))
    assert (len(history), net.steps) == (2, 16)
    for got, want in zip(net.weights + net.biases, wanted, strict=True):
        np.testing.assert_allclose(nn.to_numpy(got), want, rtol=1e-10, atol=1e-12)


def test_a_snapshot_of_a_pause_is_kept_as_it_was(backend):
    kept = []
    net = nn.Network([4, 3], device=backend.device, seed=0)
    fit(net, AtPause(4, lambda network: kept.append((network.snapshot, nn.to_numpy(network.weights[0]).copy()))))
    snapshot, weights = kept[0]
    assert (snapshot.progress.steps, snapshot.progress.epoch) == (4, 0)
    net.snapshot = snapshot
    np.testing.assert_array_equal(nn.to_numpy(net.weights[0]), weights)


def test_an_error_is_told_before_the_end():
    order = []

    class Listening(nn.Callback):
        def on_train_error(self, run):
            order.append("error")

        def on_train_end(self, run):
            order.append("end")

    def fail(run):
        raise ZeroDivisionError("mine")

    net = nn.Network([4, 3], device="numpy", seed=0)
    with pytest.raises(ZeroDivisionError):
        net.SGD((X, Y), 2, 5, 0.5, callbacks=[Listening(), fail])
    assert order == ["error", "end"]
    order.clear()
    net.SGD((X, Y), 1, 5, 0.5, callbacks=[Listening()])
    assert order == ["end"]


def test_a_snapshot_that_a_callback_assigns_counts():
    net, start = (nn.Network([4, 3], device="numpy", dtype="float64", seed=0) for _ in range(2))
    fit(net, AtPause(8, lambda network: setattr(network, "snapshot", start.snapshot)), epochs=2)
    again = nn.Network([4, 3], device="numpy", dtype="float64", seed=0)
    fit(again, AtPause(0, None), epochs=1)  # the second epoch was the first once more
    for got, wanted in zip(net.weights, again.weights, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_network_that_is_being_trained_does_not_move():
    net = nn.Network([4, 3], device="numpy", seed=0)
    with pytest.raises(nn.NetworkBusyError):
        fit(net, AtPause(4, lambda network: network.to("array_api_strict")))
    assert net.device == nn.select_device("numpy")


def test_members_that_a_callback_freezes_stay():
    ensemble = nn.Ensemble([4, 5, 3], 3, weight_decays=[0.0, 0.01, 0.1], device="numpy", seed=0)
    kept = []

    def freeze(run):
        if len(run.history) == 1:
            run.network.freeze(0)
            kept.append(run.network.weights[0].copy())

    ensemble.fit((X, Y), epochs=3, batch_size=5, optimizer=nn.SGD(0.5, momentum=0.9), callbacks=[freeze])
    np.testing.assert_array_equal(ensemble.weights[0], kept[0])
    assert ensemble.epochs == (3, 3, 3)
