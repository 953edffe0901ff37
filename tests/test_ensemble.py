"""Ensembles: every member equals its own run alone, and together they answer as one."""

import csv
import logging
import math
from dataclasses import dataclass, replace

import numpy as np
import oracle
import pytest
from conftest import BACKENDS, need

import nn_any as nn
from nn_any import evaluation
from nn_any.backends import blocks
from nn_any.core.random import epoch_order
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(0)
X = RNG.uniform(0, 1, (47, 36))
Y = RNG.integers(0, 4, 47)
IMAGES = [
    (6, 6, 1),
    nn.RandomAffine(rotation=10, translation=1),
    nn.Conv2D(3, 3, activation="tanh", padding="same"),
    nn.BatchNorm(),
    nn.MaxPool2D(2),
    nn.Conv2D(2, 2, activation="sigmoid"),
    nn.AveragePool2D(2, stride=1),
    nn.Flatten(),
    nn.Dense(4, activation="softmax"),
]
ROWS = [
    36,
    nn.Dense(9, activation="tanh"),
    nn.LayerNorm(),
    nn.Dropout(0.3),
    nn.Dense(5, activation="gelu"),
    nn.Dense(4, activation="sigmoid"),
]
RATES, DECAYS = (0.05, 0.2, 0.4), (0.0, 0.01, 0.1)
CASES = {
    "images, plain": (IMAGES, {"loss": "log_likelihood"}, nn.SGD(1.0), None),
    "rows, everything": (
        ROWS,
        {"loss": "cross_entropy"},
        nn.AdamW(
            nn.schedules.WarmUp(nn.schedules.OneCycle(1.0, epochs=3), epochs=0.5),
            l1=1e-4,
            max_norm=1.5,
            clip_norm=0.5,
            clip_value=0.2,
        ),
        DECAYS,
    ),
    "rows, momentum": (
        ROWS,
        {"loss": "quadratic"},
        nn.SGD(nn.schedules.Cosine(1.0, epochs=3), momentum=0.9, nesterov=True, weight_decay=1e-3),
        DECAYS,
    ),
}


def state(net):
    """All arrays that training changes, on the host."""
    return [nn.to_numpy(leaf) for leaf in tree_leaves(net.state)]


def same(one, other, rtol=1e-9):
    for a, b in zip(state(one), state(other), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    assert (one.seed, one.epoch, one.steps) == (other.seed, other.epoch, other.steps)


def small(n=3, sizes=(36, 6, 4), **arguments):
    settings = {"initializer": "scaled_normal", "device": "numpy", "dtype": "float64", "seed": 3}
    return nn.Ensemble([*sizes], n, **(settings | arguments))


@pytest.mark.parametrize("case", CASES)
def test_each_member_equals_its_run_alone(float64, case):
    """Orders, draws, statistics, states, schedules, decays and the short last batch; in mid-training too."""
    layers, settings, optimizer, decays = CASES[case]
    rates = [rate / 10 for rate in RATES] if isinstance(optimizer, nn.AdamW) else RATES
    settings = {**settings, "initializer": "he_normal", "device": float64.device, "dtype": "float64"}
    ensemble = nn.Ensemble(layers, 3, learning_rates=rates, weight_decays=decays, seeds=[5, 2, 9], **settings)
    data = (float64.asarray(X), float64.asarray(Y))
    history = ensemble.fit(data, epochs=2, batch_size=10, optimizer=optimizer)
    for i, seed in enumerate([5, 2, 9]):
        alone = nn.Network(layers, seed=seed, **settings)
        own = replace(optimizer, learning_rate=optimizer.learning_rate)
        if isinstance(optimizer.learning_rate, float):
            own = replace(own, learning_rate=rates[i])
        elif isinstance(optimizer.learning_rate, nn.schedules.Cosine):
            own = replace(own, learning_rate=nn.schedules.Cosine(rates[i], epochs=3))
        else:
            cycle = nn.schedules.OneCycle(rates[i], epochs=3)
            own = replace(own, learning_rate=nn.schedules.WarmUp(cycle, epochs=0.5))
        own = own if decays is None else replace(own, weight_decay=decays[i])
        assert ensemble.optimizers[i] == own
        losses = alone.fit(data, epochs=2, batch_size=10, optimizer=own)["loss"]
        np.testing.assert_allclose([record[i] for record in history["member_loss"]], losses, rtol=1e-9)
        member = ensemble[i]
        same(member, alone)
        if i == 1:  # and it goes on alone
            for net in (member, alone):
                net.fit(data, epochs=1, batch_size=16, optimizer=own)
            same(member, alone)


def test_members_equal_the_loop_over_examples(backend):
    """Against the book's algorithm, one example at a time in float64, with weight decay written out."""
    ensemble = small(2, learning_rates=[0.5, 2.0], weight_decays=[0.0, 0.01], device=backend.device, dtype="float32")
    ensemble.fit((X, Y), epochs=2, batch_size=10, optimizer=nn.SGD(1.0))
    for i, (rate, decay) in enumerate([(0.5, 0.0), (2.0, 0.01)]):
        net = nn.Network([36, 6, 4], initializer="scaled_normal", device="numpy", dtype="float64", seed=3 + i)
        weights, biases = net.weights, net.biases
        for epoch in range(2):
            order = epoch_order(3 + i, epoch, len(X))
            for rows in (order[start : start + 10] for start in range(0, len(X), 10)):
                nabla_b, nabla_w = oracle.batch_gradients(weights, biases, X[rows], np.eye(4)[Y[rows]], "quadratic")
                weights = [w - rate * (g + decay * w) for w, g in zip(weights, nabla_w, strict=True)]
                biases = [b - rate * g for b, g in zip(biases, nabla_b, strict=True)]
        for got, wanted in zip([*ensemble.weights, *ensemble.biases], [*weights, *biases], strict=True):
            np.testing.assert_allclose(nn.to_numpy(got)[i], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["array_api_strict:device1", pytest.param("cupy:cuda:0", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("n", [1, 31, 33, 70])
def test_the_order_that_each_of_many_members_gets(name, n, monkeypatch):
    """More than a thread draws at a time, and an odd one left over; in 32 bits where the engine takes them as drawn."""
    need(name.partition(":")[0])
    device, seen = nn.select_device(name), []
    kind = type(device.engine)
    run = kind.run

    def spied(self, step, state, data, order, *rest):
        seen.append(order)
        return run(self, step, state, data, order, *rest)

    monkeypatch.setattr(kind, "run", spied)
    ensemble = nn.Ensemble([36, 4], n, device=device, seed=3)
    ensemble.fit((X, Y), epochs=2, batch_size=23, optimizer=nn.SGD(1.0))
    wanted = [[epoch_order(3 + i, epoch, len(X)) for i in range(n)] for epoch in range(2)]
    wanted = np.array(wanted)[..., :46].reshape(2, n, 2, 23).swapaxes(1, 2)  # without the short last batch
    orders = [order for order in seen if order.shape == wanted.shape[1:]]
    np.testing.assert_array_equal([nn.to_numpy(order) for order in orders], wanted)
    if device.library == "cupy":
        assert all(order.dtype == "int32" and order.base is not None for order in orders)


def test_members_begin_as_networks_of_their_seeds(backend):
    ensemble = small(3, seeds=[4, 0, 7], seed=None, device=backend.device, dtype="float32")
    for member, seed in zip(ensemble, (4, 0, 7), strict=True):
        net = nn.Network([36, 6, 4], initializer="scaled_normal", device=backend.device, seed=seed)
        for a, b in zip(state(member), state(net), strict=True):
            assert a.tobytes() == b.tobytes()
    assert [tuple(w.shape) for w in ensemble.weights] == [(3, 6, 36), (3, 4, 6)]
    assert (len(ensemble), small(2, seed=8).seeds) == (3, (8, 9))


def exploding(device, rates=(0.01, 1e30, 0.02), **arguments):
    layers = [36, nn.Dense(1, activation="linear")]
    return nn.Ensemble(
        layers, len(rates), initializer="scaled_normal", learning_rates=rates, seed=1, device=device, **arguments
    )


@pytest.mark.parametrize("optimizer", [nn.SGD(1.0), nn.SGD(1.0, momentum=0.5, max_norm=3.0)])
def test_a_member_that_diverges_does_not_stop_the_others(backend, optimizer):
    targets = X[:, :1]
    ensemble = exploding(backend.device)
    start = [nn.to_numpy(leaf) for leaf in tree_leaves(ensemble[1].params)]
    history = ensemble.fit((X, targets), epochs=2, batch_size=10, optimizer=optimizer, validation_data=(X, targets))
    assert ensemble.diverged.tolist() == [False, True, False]
    assert ensemble.epochs == (2, 0, 2)
    for now, before in zip(tree_leaves(ensemble[1].params), start, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(now), before)
    for i in (0, 2):
        alone = nn.Network([36, nn.Dense(1, activation="linear")], initializer="scaled_normal", seed=1 + i)
        alone.to(backend.device)
        alone.fit((X, targets), epochs=2, batch_size=10, optimizer=ensemble.optimizers[i])
        same(ensemble[i], alone, rtol=1e-5)
    for record in history:
        assert np.isnan(record["member_loss"]).tolist() == [False, True, False]
        assert record["loss"] == pytest.approx(np.nanmean(record["member_loss"]))
        assert record["validation_loss"] == pytest.approx(np.mean(np.array(record["member_validation_loss"])[[0, 2]]))
    ensemble.fit((X, targets), epochs=1, batch_size=10, optimizer=nn.SGD(0.5))
    assert ensemble.epochs == (3, 0, 3)
    outputs = nn.to_numpy(ensemble.member_outputs(X))
    np.testing.assert_allclose(nn.to_numpy(ensemble.mean(X)), outputs[[0, 2]].mean(axis=0), rtol=1e-5)
    assert ensemble.best((X, targets)) in (0, 2)
    assert "1 diverged" in repr(ensemble)


def test_all_diverged_is_an_error(backend):
    ensemble = exploding(backend.device, rates=(1e30, 2e30))
    before = state(ensemble)
    with pytest.raises(nn.TrainingDivergedError, match=r"all 2 members have diverged.* in epoch 1 .* Try a smaller"):
        ensemble.fit((X, X[:, :1]), epochs=3, batch_size=10, optimizer=nn.SGD(1.0))
    assert ensemble.diverged.all()
    for now, old in zip(state(ensemble), before, strict=True):
        np.testing.assert_array_equal(now, old)


@pytest.mark.parametrize("kind", [nn.schedules.HalveOnNoImprovement, nn.schedules.ReduceOnPlateau])
def test_a_schedule_looks_at_its_own_member(kind):
    """Rates fall, and training ends, for each member when they do for its run alone."""
    end = {"until": 1 / 4} if kind is nn.schedules.HalveOnNoImprovement else {}
    schedule = kind(1.0, "validation_loss", patience=1, **end)
    ensemble = small(3, learning_rates=[0.5, 20.0, 60.0])
    data = {"training_data": (X, Y), "validation_data": (X[:9], Y[::-1][:9]), "epochs": 12, "batch_size": 10}
    history = ensemble.fit(optimizer=nn.SGD(schedule), **data)
    lengths = []
    for i, member in enumerate(ensemble):
        alone = nn.Network([36, 6, 4], initializer="scaled_normal", dtype="float64", seed=3 + i)
        own = kind(ensemble.learning_rates[i], "validation_loss", patience=1, **end)
        rates = alone.fit(optimizer=nn.SGD(own), **data)["learning_rate"]
        same(member, alone)
        together = [record[i] for record in history["member_learning_rate"]]
        assert together == rates + [pytest.approx(math.nan, nan_ok=True)] * (len(together) - len(rates))
        lengths.append(len(rates))
    assert len(history) == max(lengths)
    if end:
        assert len(set(lengths)) > 1


def test_going_on_is_the_same_as_going_through(backend):
    through, in_two = (small(device=backend.device, dtype="float32", weight_decays=DECAYS) for _ in range(2))
    through.fit((X, Y), epochs=3, batch_size=10, optimizer=nn.Adam(0.01))
    in_two.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.Adam(0.01))
    kept = in_two.copy()
    in_two.fit((X, Y), epochs=2, batch_size=10, optimizer=nn.Adam(0.01))
    for a, b in zip(state(through), state(in_two), strict=True):
        np.testing.assert_array_equal(a, b)
    assert kept.epochs == (1, 1, 1)
    kept.fit((X, Y), epochs=2, batch_size=10, optimizer=nn.Adam(0.01))
    for a, b in zip(state(through), state(kept), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_optimizer_begins_anew():
    ensemble = small()
    ensemble.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.Adam(0.01))
    member = ensemble[1]
    for net in (ensemble, member):
        net.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.SGD(0.5, momentum=0.5))
    same(ensemble[1], member)
    with pytest.raises(ValueError, match="monitor"):
        ensemble.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.SGD(nn.schedules.HalveOnNoImprovement(0.5)))
    ensemble.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.SGD(0.5, momentum=0.5))
    member.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.SGD(0.5, momentum=0.5))
    same(ensemble[1], member)


BLOCKS = [("numpy", 1, 1), ("numpy", 2, 2), ("numpy", 3, 5), pytest.param("jax", 3, 2, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("name", "members", "threads"), BLOCKS)
def test_blocks_and_threads_change_nothing(monkeypatch, name, members, threads):
    need(name)
    device = BACKENDS[name].device
    whole = small(5, device=device, dtype="float32", threads=1)
    assert [len(block.key) for block in whole.snapshot.blocks] == [5]
    monkeypatch.setattr(blocks, "_BYTES", {str(device): (members * (36 * 6 + 6 + 6 * 4 + 4) * 4,) * 2})
    split = small(5, device=device, dtype="float32", threads=threads)
    assert len(split.snapshot.blocks) > 1
    assert sum(len(block.key) for block in split.snapshot.blocks) == 5
    assert max(len(block.key) for block in split.snapshot.blocks) <= members
    for ensemble in (whole, split):
        ensemble.fit((X, Y), epochs=2, batch_size=10, optimizer=nn.SGD(0.5, momentum=0.9))
    for a, b in zip(state(whole), state(split), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(whole, split, strict=True):
        same(a, b, rtol=1e-5)
    for ask in ("accuracies", "losses"):
        np.testing.assert_allclose(getattr(whole, ask)((X, Y)), getattr(split, ask)((X, Y)), rtol=1e-6)
    np.testing.assert_array_equal(nn.to_numpy(whole.vote(X)), nn.to_numpy(split.vote(X)))


def test_block_sizes():
    device = nn.select_device("numpy")
    for threads, limit in ((1, 2**20), (2, 2**22), (3, 2**22)):
        sizes = blocks.block_sizes(device, 64, 23_860 * 4, threads=threads)
        assert sum(sizes) == 64
        assert len(sizes) % threads == 0
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) * 23_860 * 4 <= limit
    assert blocks.block_sizes(device, 3, 2**30, threads=2) == [1, 1, 1]
    assert blocks.block_sizes(device, 2, 8, threads=8) == [2]
    assert blocks.block_sizes(device, 2, 2**21, threads=8) == [1, 1]
    assert blocks.block_sizes(nn.Device("torch", "cuda:0"), 1024, 2**20) == [1024]
    with pytest.raises(ZeroDivisionError):
        blocks.run_blocks(device, [lambda: 1, lambda: 1 // 0], threads=2)


def test_votes_by_hand(backend):
    """Three members, two of which agree; ties go to the larger sum of outputs; one output says yes above a half."""
    outputs = np.array(
        [
            [[0.9, 0.8, 0.1], [0.6, 0.5, 0.0], [0.2, 0.3, 0.1]],
            [[0.1, 0.2, 0.0], [0.1, 0.9, 0.0], [0.6, 0.5, 0.4]],
            [[0.1, 0.2, 0.0], [0.0, 0.3, 0.4], [0.1, 0.2, 0.9]],
        ]
    )

    def majority(outputs):
        with backend.device.scope():
            return nn.to_numpy(evaluation.members.majority(backend.asarray(outputs, "float32"))).tolist()

    assert majority(outputs) == [1, 1, 2]
    single = np.array([[[0.6], [0.6], [0.2]], [[0.7], [0.1], [0.6]]])
    assert majority(single) == [1, 0, 0]


def test_answers_of_all_as_one(backend, monkeypatch):
    ensemble = small(4, device=backend.device, dtype="float32")
    ensemble.fit((X, Y), epochs=3, batch_size=10, optimizer=nn.SGD(1.0))
    monkeypatch.setattr(evaluation, "CHUNK_ELEMENTS", 10 * 4 * (36 + 6 + 4))
    assert len(evaluation.chunks(ensemble.specification.footprint, len(X))) == 5
    each = np.stack([nn.to_numpy(net.feedforward(X)) for net in ensemble])
    np.testing.assert_allclose(nn.to_numpy(ensemble.member_outputs(X)), each, rtol=1e-5, atol=1e-7)
    for mean in (ensemble.mean(X), ensemble.feedforward(X), ensemble.predict_proba(X), ensemble.spread(X).mean):
        np.testing.assert_allclose(nn.to_numpy(mean), each.mean(axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(nn.to_numpy(ensemble.spread(X).deviation), each.std(axis=0), rtol=1e-4, atol=1e-6)
    votes = np.stack([np.bincount(column, minlength=4) for column in each.argmax(axis=2).T])
    sums = each.sum(axis=0)
    wanted = [max(range(4), key=lambda c, i=i: (votes[i][c], sums[i][c])) for i in range(len(X))]
    for got in (ensemble.vote(X), ensemble.predict(X)):
        assert nn.to_numpy(got).tolist() == wanted
    right = int(np.sum(np.array(wanted) == Y))
    assert ensemble.evaluate((X, Y)) == ensemble.evaluate((X, np.eye(4)[Y])) == right
    assert ensemble.accuracy((X, Y)) == right / len(X)
    losses = [net.loss((X, Y)) for net in ensemble]
    np.testing.assert_allclose(ensemble.losses((X, Y)), losses, rtol=1e-5)
    np.testing.assert_allclose(ensemble.accuracies((X, Y)), [net.accuracy((X, Y)) for net in ensemble], rtol=1e-12)
    assert ensemble.loss((X, Y)) == pytest.approx(np.mean(losses), rel=1e-5)
    assert ensemble.best((X, Y)) == int(np.argmin(losses))
    assert int(ensemble.vote(X[0])) == wanted[0]
    assert tuple(ensemble.member_outputs(X[0]).shape) == (4, 4)
    assert ensemble.score((X, Y), "f1")["f1"] == pytest.approx(nn.metrics.f1(Y, each.mean(axis=0)))


def test_regression_answers_with_the_mean():
    ensemble = exploding("numpy", rates=(0.01, 0.02))
    outputs = ensemble.member_outputs(X)
    np.testing.assert_allclose(ensemble.predict(X), outputs.mean(axis=0), rtol=1e-6)
    for call in (ensemble.evaluate, ensemble.accuracy, ensemble.accuracies):
        with pytest.raises(TypeError, match=r"use losses\(data\)"):
            call((X, X[:, :1]))


def test_gradients_of_all_members_at_once(backend):
    ensemble = small(2, device=backend.device, dtype="float32")
    together = ensemble.backprop(X, Y)
    for i, net in enumerate(ensemble):
        for stacked, alone in zip(together, net.backprop(X, Y), strict=True):
            for a, b in zip(stacked, alone, strict=True):
                np.testing.assert_allclose(nn.to_numpy(a)[i], nn.to_numpy(b), rtol=1e-4, atol=1e-6)
    member = ensemble[1]
    for net in (ensemble, member):
        net.update_mini_batch((X, Y), 0.5)
    same(ensemble[1], member, rtol=1e-5)


def test_history_weights_metrics_and_stopping():
    data = {"training_data": (X, Y), "validation_data": (X, Y), "epochs": 6, "batch_size": 10}
    options = {"class_weight": "balanced", "metrics": ["f1"], "monitor_training": True}
    stopping = nn.EarlyStopping("validation_loss", patience=2)
    ensemble = small(2, learning_rates=[0.5, 30.0])
    history = ensemble.fit(optimizer=nn.SGD(1.0), callbacks=[stopping], **data, **options)
    alone = nn.Network([36, 6, 4], initializer="scaled_normal", dtype="float64", seed=4)
    own = alone.fit(optimizer=nn.SGD(30.0), **{**data, "epochs": len(history)}, **options)
    for name in ("loss", "learning_rate", "training_loss", "validation_loss", "validation_accuracy", "validation_f1"):
        np.testing.assert_allclose([record[1] for record in history[f"member_{name}"]], own[name], rtol=1e-9)
        np.testing.assert_allclose(history[name], np.mean(history[f"member_{name}"], axis=1), rtol=1e-9)
    best = history["validation_loss"][stopping.best_epoch - 1]
    assert best == min(history["validation_loss"])
    assert ensemble.loss((X, Y)) == pytest.approx(best, rel=1e-9)
    assert "validation_f1" in history.table()


def test_moving_freezing_and_new_weights(backend):
    ensemble = small(2, dtype="float32")
    ensemble.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.SGD(0.5, momentum=0.9))
    alone = ensemble[1]
    assert ensemble.to(backend.device) is ensemble
    ensemble.freeze(0)
    alone.freeze(0)
    before = nn.to_numpy(ensemble.weights[0])
    for net in (ensemble, alone):
        net.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.SGD(0.5, momentum=0.9))
    np.testing.assert_array_equal(nn.to_numpy(ensemble.weights[0]), before)
    same(ensemble[1], alone, rtol=1e-5)
    assert nn.Device.of(ensemble[0].weights[0]) == backend.device
    ensemble.set_weights([nn.to_numpy(w) * 0 for w in ensemble.weights], ensemble.biases)
    assert all(float(nn.to_numpy(w).max()) == 0 for w in ensemble[1].weights)


def test_a_member_is_a_copy():
    ensemble = small(2)
    before, net = state(ensemble), ensemble[-1]
    net.SGD((X, Y), 1, 10, 3.0)
    for a, b in zip(state(ensemble), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert isinstance(net, nn.Network)
    assert (net.seed, ensemble[1].seed) == (4, 4)


def test_bad_arguments():
    for arguments, error, message in (
        ({"n": 0}, ValueError, "n: expected a positive integer, got 0"),
        ({"learning_rates": [0.1]}, ValueError, "learning_rates: expected 3 of them, one a member, got 1"),
        ({"learning_rates": 0.1}, TypeError, "learning_rates: expected 3 of them, one a member, got 0.1; pass a list"),
        ({"learning_rates": [0.1, 0.0, 1]}, ValueError, r"learning_rates\[1\]: expected a finite number above 0"),
        ({"weight_decays": [0, -1, 0]}, ValueError, r"weight_decays\[1\]: expected a finite number of at least 0"),
        ({"seeds": [1, 2], "seed": None}, ValueError, "seeds: expected 3 of them"),
        ({"seeds": [1, 2, 3], "seed": 1}, ValueError, "seed: expected none beside seeds, got 1"),
        ({"seeds": [1, 2, 0.5], "seed": None}, TypeError, r"seeds\[2\]: expected an integer"),
        ({"threads": 0}, ValueError, "threads: expected a positive integer"),
    ):
        with pytest.raises(error, match=message):
            small(**arguments)
    ensemble = small()
    with pytest.raises(ValueError, match=r"optimizer: expected one that takes steps in mini-batches, got LBFGS"):
        ensemble.fit((X, Y), epochs=1, optimizer=nn.LBFGS())
    for i in (3, -4):
        with pytest.raises(IndexError, match=rf"i: expected a member within 0 … 2, got {i}"):
            ensemble[i]

    class Own(nn.optimizers.Optimizer):
        learning_rate = 0.1

    with pytest.raises(TypeError, match=r"optimizer: expected a dataclass with fields learning_rate"):
        small(learning_rates=[1, 2, 3]).fit((X, Y), epochs=1, batch_size=5, optimizer=Own())
    before = state(ensemble)
    with pytest.raises(ValueError, match="y: expected labels within 0 … 3"):
        ensemble.fit((X, Y + 1), epochs=1, batch_size=5, optimizer=nn.SGD(1.0))
    for a, b in zip(state(ensemble), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_files(backend, tmp_path):
    """What is read answers as what was written, on any device, and goes on, with a fresh optimiser."""
    ensemble = exploding(backend.device, weight_decays=[0.0, 0.1, 0.2])
    ensemble.fit((X, X[:, :1]), epochs=2, batch_size=10, optimizer=nn.SGD(1.0))
    ensemble.save(tmp_path / "three.safetensors")
    loaded = nn.Ensemble.load(tmp_path / "three.safetensors", "numpy")
    for name in ("seeds", "learning_rates", "weight_decays", "epochs"):
        assert getattr(loaded, name) == getattr(ensemble, name)
    assert loaded.diverged.tolist() == [False, True, False]
    for a, b in zip(tree_leaves(ensemble.params), tree_leaves(loaded.params), strict=True):
        assert nn.to_numpy(a).tobytes() == b.tobytes()
    assert [net.steps for net in loaded] == [net.steps for net in ensemble] == [10, 0, 10]
    for net in (ensemble.to("numpy"), loaded):
        net.fit((X, X[:, :1]), epochs=1, batch_size=10, optimizer=nn.SGD(0.5))
    same(loaded[2], ensemble[2])
    ensemble[0].save(tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match=r"expected an ensemble, got one network; use nn_any\.Network\.load"):
        nn.Ensemble.load(tmp_path / "one.safetensors")
    with pytest.raises(nn.ModelFileError, match=r"expected one network, got an ensemble; use nn_any\.Ensemble\.load"):
        nn.Network.load(tmp_path / "three.safetensors")


def test_histories_have_a_column_for_each_member_in_files_and_none_in_tables(tmp_path):
    history = small(3).fit((X, Y), epochs=2, batch_size=10, optimizer=nn.SGD(0.5))
    assert history.table().splitlines()[0].split() == ["epoch", "loss", "learning_rate", "seconds"]
    history.to_csv(tmp_path / "history.csv")
    head, *rows = csv.reader((tmp_path / "history.csv").read_text().splitlines())
    for i in range(3):
        column = head.index(f"member_loss[{i}]")
        assert [float(row[column]) for row in rows] == [epoch[i] for epoch in history["member_loss"]]


def test_who_has_diverged_is_told(caplog):
    ensemble = exploding("numpy")
    with caplog.at_level(logging.INFO, logger="nn_any"):
        ensemble.fit((X, X[:, :1]), epochs=2, batch_size=10, optimizer=nn.SGD(1.0))
    assert [record.message for record in caplog.records] == ["member 1 has diverged in its epoch 1 and rests"]
    lost = exploding("numpy", (1e30, 1e30))
    for message in ("all 2 members have diverged, the last of them in epoch 1", "all 2 members have diverged before"):
        with pytest.raises(nn.TrainingDivergedError, match=message):
            lost.fit((X, X[:, :1]), epochs=1, batch_size=10, optimizer=nn.SGD(1.0))


@dataclass(frozen=True)
class Counting(nn.optimizers.Optimizer):
    """An optimiser of one's own, with a number in its state: steps that shrink as they are counted."""

    learning_rate: object = 0.1

    def init(self, params):
        first = next(nn.optimizers.tree_leaves(params))
        return first[(0,) * first.ndim] * 0 + 1

    def update(self, gradients, count, params, learning_rate):
        rate = learning_rate / count

        def move(w, g):
            return w - nn.optimizers.per_parameter(rate, w) * g

        return nn.optimizers.tree_map(move, params, gradients), count + 1


@dataclass(frozen=True)
class Triangle(nn.schedules.Schedule):
    peak: float

    def __call__(self, epoch, steps, records=()):
        return self.peak * (1 + np.arange(steps)) / steps

    def with_rate(self, rate):
        return Triangle(rate)


def test_optimisers_and_schedules_of_your_own(backend):
    ensemble = small(2, learning_rates=[0.5, 2.0], device=backend.device, dtype="float32")
    ensemble.fit((X, Y), epochs=2, batch_size=10, optimizer=Counting(Triangle(1.0)))
    for i, peak in enumerate([0.5, 2.0]):
        alone = nn.Network([36, 6, 4], initializer="scaled_normal", device=backend.device, seed=3 + i)
        alone.fit((X, Y), epochs=2, batch_size=10, optimizer=Counting(Triangle(peak)))
        same(ensemble[i], alone, rtol=1e-5)
    with pytest.raises(TypeError, match="must define with_rate"):
        nn.schedules.Schedule().with_rate(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("ended", [1, 3])
@pytest.mark.parametrize(
    "optimizer", [nn.SGD(0.5, momentum=0.9), nn.Adam(nn.schedules.Cosine(0.01, epochs=5))], ids=repr
)
@pytest.mark.parametrize("decays", [None, [0.0, 0.01, 0.1]])
def test_an_ensemble_that_is_interrupted_and_resumed_is_as_never_interrupted(
    backend, tmp_path, optimizer, decays, ended
):
    import signal

    rng = np.random.default_rng(0)
    x, y = rng.random((31, 6)).astype("float32"), rng.integers(0, 3, 31)

    def ensemble(**options):
        rates = [0.1, 0.02, 0.3]
        layers = [6, nn.Dense(5), nn.BatchNorm(), nn.Dropout(0.2), nn.Dense(3)]
        return nn.Ensemble(layers, 3, learning_rates=rates, weight_decays=decays, device=backend.device, **options)

    def ends(run):
        if len(run.history) == ended:
            signal.raise_signal(signal.SIGINT)

    path = tmp_path / "run.safetensors"
    given = {"epochs": 5, "batch_size": 10, "optimizer": optimizer, "validation_data": (x[:10], y[:10])}
    whole, first, second = ensemble(seeds=[1, 2, 3]), ensemble(seeds=[1, 2, 3]), ensemble(seed=50)
    expected = whole.fit((x, y), **given)
    with pytest.raises(nn.TrainingInterrupted):
        first.fit((x, y), **given, checkpoint=path, callbacks=[ends])
    history = second.fit((x, y), **given, checkpoint=path, resume=True)
    assert second.seeds == (1, 2, 3)
    for got, wanted in zip(tree_leaves(second.state), tree_leaves(whole.state), strict=True):
        np.testing.assert_array_equal(nn.to_numpy(got), nn.to_numpy(wanted))
    for name in ("member_loss", "validation_loss", "member_validation_accuracy"):
        np.testing.assert_array_equal(history[name], expected[name])
    np.testing.assert_array_equal(nn.Ensemble.load(path, device="numpy").predict(x), nn.to_numpy(whole.predict(x)))
    with pytest.raises(ValueError, match="resume: expected (members|layers) as in"):
        nn.Network([6, 5, 3], device=backend.device).fit((x, y), **given, checkpoint=path, resume=True)


def test_an_ensemble_with_early_stopping_resumes(tmp_path):
    import signal

    rng = np.random.default_rng(0)
    x, y = rng.random((31, 6)).astype("float32"), rng.integers(0, 3, 31)

    def ends(run):
        if len(run.history) == 2 and run.epochs == 9:
            signal.raise_signal(signal.SIGINT)

    def run(ensemble, epochs, **options):
        given = {"batch_size": 10, "optimizer": nn.SGD(1.0), "validation_data": (x[:10], y[:10])}
        stopping = nn.EarlyStopping("validation_loss", patience=3)
        return ensemble.fit((x, y), epochs=epochs, callbacks=[stopping, ends], **given, **options)

    whole, first, second = (nn.Ensemble([6, 5, 3], 3, seed=seed, device="numpy") for seed in (1, 1, 7))
    expected = run(whole, 8)
    with pytest.raises(nn.TrainingInterrupted):
        run(first, 9, checkpoint=tmp_path / "run")
    history = run(second, 8, checkpoint=tmp_path / "run", resume=True)
    assert history["loss"] == expected["loss"]
    for got, wanted in zip(tree_leaves(second.params), tree_leaves(whole.params), strict=True):
        np.testing.assert_array_equal(got, wanted)
    copy, records = second.copy(), [len(member.records) for member in second.snapshot.progress.members]
    run(copy, 2)
    assert [len(member.records) for member in second.snapshot.progress.members] == records  # a copy trains by itself
