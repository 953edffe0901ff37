"""Frozen layers: what stays, what moves, and that the rest of training takes no notice."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest

import nn_any as nn

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 4, 4, 1)), np.arange(20) % 3
PLACES = (0, 1, 4, 6)  # of the layers with parameters
SGD, MOMENTUM, LBFGS = nn.SGD(0.1), nn.SGD(0.1, 0.9, weight_decay=0.1), nn.LBFGS()
ADAM = nn.Adam(0.01, clip_norm=1.0, max_norm=2.0)


def network(device="numpy", frozen=(), dtype="float64"):
    stack = [
        nn.Conv2D(2, 2, "relu", trainable=0 not in frozen),
        nn.BatchNorm(trainable=1 not in frozen),
        nn.MaxPool2D(2, 1),
        nn.Flatten(),
        nn.Dense(5, "tanh", trainable=4 not in frozen),
        nn.Activation("tanh"),
        nn.Dense(3, "softmax", trainable=6 not in frozen),
    ]
    return nn.Network([(4, 4, 1), *stack], loss="log_likelihood", device=device, dtype=dtype, seed=0)


def numbers(net, places=PLACES):
    """Parameters and running averages of some layers."""
    return [nn.to_numpy(a).copy() for i in places for tree in net.state[:2] for a in tree[i]]


def equal(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def fit(net, optimizer=SGD, epochs=2, **arguments):
    batch_size = None if optimizer.whole_batch else 10
    return net.fit((X, Y), epochs=epochs, batch_size=batch_size, optimizer=optimizer, **arguments)


@pytest.mark.parametrize(
    ("optimizer", "frozen"),
    [
        (SGD, (0, 1)),
        (SGD, (1, 6)),
        (MOMENTUM, (1, 4)),
        (ADAM, (0, 1, 4)),
        (ADAM, (1, 6)),
        (LBFGS, (1, 6)),
        (LBFGS, (0, 1)),
    ],
)
def test_frozen_layers_stay_and_the_others_move(float64, optimizer, frozen):
    net, built = network(float64.device).freeze(*frozen), network(float64.device, frozen)
    assert net.layers == built.layers
    before = {place: numbers(net, [place]) for place in PLACES}
    fit(net, optimizer)
    for place in PLACES:
        for old, new in zip(before[place], numbers(net, [place]), strict=True):
            assert np.array_equal(old, new) == (place in frozen), place
    fit(built, optimizer)
    assert equal(numbers(net), numbers(built))


@pytest.mark.parametrize("frozen", [(0, 1), (6,)])
def test_the_others_move_as_the_whole_gradient_says(float64, frozen):
    """One step of plain descent, against the gradients of the network with its layers frozen and without."""
    net = network(float64.device, (*frozen, 1))  # the batch norm stays frozen, so that the loss is the same function
    thawed = net.copy().unfreeze(*frozen).freeze(1)
    gradients, start = net.gradients(X, Y, training=True), numbers(net)
    for a, b in zip(gradients, thawed.gradients(X, Y, training=True), strict=True):
        assert equal([nn.to_numpy(x) for x in a], [nn.to_numpy(x) for x in b])
    net.update_mini_batch((X, Y), 0.5)
    moved = [0.5 * nn.to_numpy(g) for i in PLACES for g in gradients[i]]
    trainable = [net.layers[i].trainable for i in PLACES for _ in gradients[i]]
    params = [a for i, a in enumerate(start) if i not in (4, 5)]  # without the running averages
    after = [a for i, a in enumerate(numbers(net)) if i not in (4, 5)]
    for old, step, new, moves in zip(params, moved, after, trainable, strict=True):
        np.testing.assert_allclose(new, old - moves * step, rtol=1e-12, atol=1e-14)
    assert min(np.abs(step).max() for step in moved) > 1e-6  # those of frozen layers are known all the same


def test_unfrozen_layers_move_again(float64):
    net, untouched = network(float64.device), network(float64.device)
    net.freeze()
    assert not any(net.layers[i].trainable for i in PLACES)
    net.unfreeze()
    assert net.layers == untouched.layers
    for each in (net, untouched):
        fit(each)
    assert equal(numbers(net), numbers(untouched))
    net.freeze().unfreeze(4)
    assert [net.layers[i].trainable for i in PLACES] == [False, False, True, False]
    before = numbers(net, (0, 1, 6))
    fit(net)
    assert equal(numbers(net, (0, 1, 6)), before)


@pytest.mark.parametrize("optimizer", [MOMENTUM, nn.Adam(0.01)], ids=repr)
def test_the_optimizer_begins_anew(float64, optimizer):
    """Momentum from before the freezing does not linger."""

    def made(trainable):
        stack = [(4, 4, 1), nn.Flatten(), nn.Dense(5, trainable=trainable), nn.Dense(3, "softmax")]
        return nn.Network(stack, loss="log_likelihood", device=float64.device, dtype="float64", seed=0)

    net, fresh = made(True), made(False)
    fit(net, optimizer)
    net.freeze(1)
    fresh.copy_from(net)
    progress = replace(fresh.snapshot.progress, epoch=net.epoch)  # the same order of batches
    fresh.snapshot = fresh.snapshot._replace(progress=progress)
    for each in (net, fresh):
        fit(each, optimizer)
    assert equal(numbers(net, (1, 2)), numbers(fresh, (1, 2)))


def test_a_frozen_batch_norm_goes_by_its_running_averages(float64):
    """In training as in evaluation, so that the loss of a step is the loss that evaluation finds."""
    net = network(float64.device)
    fit(net)  # averages off their beginnings
    net.freeze(1)
    before, loss = numbers(net, [1]), net.loss((X, Y))
    history = net.fit((X, Y), epochs=1, batch_size=20, optimizer=nn.SGD(0.1))
    assert history["loss"] == [pytest.approx(loss, rel=1e-12)]
    assert equal(numbers(net, [1]), before)
    net.unfreeze(1)
    history = net.fit((X, Y), epochs=1, batch_size=20, optimizer=nn.SGD(0.1))
    assert not np.array_equal(before[2], numbers(net, [1])[2])


def test_everything_frozen(backend):
    for net in (network(backend.device, PLACES, "float32"), network(backend.device, (), "float32").freeze()):
        before = numbers(net)
        for optimizer in (SGD, LBFGS):
            with pytest.raises(ValueError, match=r"layers: expected .*only frozen ones; .*net.unfreeze\(\)"):
                fit(net, optimizer)
        assert equal(numbers(net), before)
        assert net.evaluate((X, Y)) >= 0
    nothing = nn.Network([3, nn.Activation("tanh")], device=backend.device)
    with pytest.raises(ValueError, match="layers: expected .*, got none"):
        nothing.fit((np.ones((2, 3)), [0, 1]), epochs=1, batch_size=1, optimizer=nn.SGD(0.1))


def test_the_summary_tells(backend):
    net = network(backend.device, dtype="float32").freeze(0, 1)
    lines = net.summary().splitlines()
    assert [i for i, line in enumerate(lines) if "frozen" in line] == [2, 3]
    assert lines[2].split()[:4] == ["0", "Conv2D", "relu,", "frozen"]  # counted as `freeze` counts them
    assert lines[-1].split() == ["total", str(10 + 4 + 45 + 18)]  # frozen ones count as well
    assert "frozen" not in net.unfreeze().summary()


def test_frozen_layers_survive_a_model_file_a_copy_and_a_move(float64, tmp_path):
    net = network(float64.device, (0, 1))
    net.save(tmp_path / "model")
    loaded = nn.Network.load(tmp_path / "model", device=float64.device)
    for other in (loaded, net.copy(), net.copy().to("numpy").to(float64.device)):
        assert other.layers == net.layers
        before = numbers(other, (0, 1))
        fit(other)
        assert equal(numbers(other, (0, 1)), before)


def test_a_copy_is_frozen_by_itself():
    net = network()
    twin = net.copy().freeze(0)
    assert not twin.layers[0].trainable
    assert net.layers[0].trainable


@dataclass(frozen=True)
class Stubborn(nn.layers.Layer):
    """Has a parameter, and no field `trainable`."""

    def init(self, rng, input_shape):
        return (np.ones(input_shape),)

    def gradients(self, params, saved, delta, context):
        return (context.xp.sum(delta, axis=-2),)


def test_places_that_cannot_be_frozen():
    net = network()
    for bad in (7, 100):
        with pytest.raises(IndexError, match=f"places: expected layers within 0 … 6, got {bad}"):
            net.freeze(0, bad)
    for bad, error in ((-1, ValueError), (0.5, TypeError), ("0", TypeError), (True, TypeError)):
        with pytest.raises(error, match="places: expected an integer of at least 0"):
            net.freeze(bad)
    assert all(layer.trainable for layer in net.layers)
    assert net.freeze(2, 3).layers == network().layers  # nothing to freeze there
    own = nn.Network([3, Stubborn(), 2], device="numpy")
    with pytest.raises(ValueError, match=r"places: Stubborn\(.*\) has no field trainable: bool = True; add one"):
        own.freeze()
    assert not own.freeze(1).layers[1].trainable


@pytest.mark.parametrize("optimizer", [nn.SGD(0.5), nn.SGD(0.5, momentum=0.9), nn.Adam(0.05)])
def test_a_callback_freezes_layers_in_mid_training(optimizer):
    """From the epoch after the call on the frozen layer stays, and the others go on."""
    x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3
    net, seen = nn.Network([4, 5, 3], device="numpy", seed=0), []

    def watch(run):
        seen.append([w.copy() for w in run.network.weights])
        if len(seen) == 2:
            run.network.freeze(0)

    net.fit((x, y), epochs=5, batch_size=5, optimizer=optimizer, callbacks=[watch])
    changed = [[not np.array_equal(a, b) for a, b in zip(*pair, strict=True)] for pair in pairwise(seen)]
    assert changed == [[True, True], [False, True], [False, True], [False, True]]
