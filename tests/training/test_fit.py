"""The loop: what the history holds, what callbacks see, and what a run leaves behind."""

import io

import numpy as np
import oracle
import pytest

import nn_any as nn
from nn_any.book.network import BookLines
from nn_any.training.display import ProgressDisplay

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 4))
Y = np.arange(23) % 3
DATA = (X, Y)


def network(device="numpy", **arguments):
    return nn.Network([4, 5, 3], device=device, seed=0, **arguments)


def test_history_of_a_run(backend):
    net = network(backend.device)
    history = net.SGD(DATA, 3, 5, 0.5, test_data=DATA, validation_data=(X[:10], Y[:10]))
    assert len(history) == 3
    assert history["epoch"] == [1, 2, 3]
    assert history["learning_rate"] == [0.5] * 3
    assert all(seconds > 0 for seconds in history["seconds"])
    assert history["test_accuracy"][-1] == history["test_correct"][-1] / 23 == net.accuracy(DATA)
    assert history["test_loss"][-1] == pytest.approx(net.loss(DATA))
    assert history["validation_correct"][-1] == net.evaluate((X[:10], Y[:10]))
    assert history.device == str(backend.device)
    fused = backend.library == "cupy"  # whose engine is named by what has run
    assert history.engine == ("cupy fused kernel" if fused else backend.device.training_engine("auto").name)
    assert set(history.to_dict()) == set(history.records[0])
    assert "3 epochs" in repr(history)
    with pytest.raises(KeyError, match="column: expected one of epoch, loss"):
        history["lost"]


def test_the_loss_of_an_epoch_is_the_average_over_its_examples(float64):
    """Each batch's loss is taken before its step; a short last batch counts for its examples only."""
    net = network(float64.device, dtype="float64")
    weights, biases = ([nn.to_numpy(a).copy() for a in arrays] for arrays in (net.weights, net.biases))
    targets, total = np.eye(3)[Y], 0.0
    history = net.SGD(DATA, 1, 5, 0.5, callbacks=[])
    for start in range(0, 23, 5):
        rows = nn.core.random.epoch_order(0, 0, 23)[start : start + 5]
        total += oracle.batch_loss(weights, biases, X[rows], targets[rows], "quadratic") * len(rows)
        nabla_b, nabla_w = oracle.batch_gradients(weights, biases, X[rows], targets[rows], "quadratic")
        weights = [w - 0.5 * g for w, g in zip(weights, nabla_w, strict=True)]
        biases = [b - 0.5 * g for b, g in zip(biases, nabla_b, strict=True)]
    assert history["loss"] == [pytest.approx(total / 23, rel=1e-12)]


@pytest.mark.parametrize("batch_size", [1, 7, 23, 100])
def test_any_batch_size(backend, batch_size):
    net = network(backend.device)
    net.SGD(DATA, 2, batch_size, 0.5)
    assert (net.epoch, net.steps) == (2, 2 * -(-23 // batch_size))
    assert int(nn.to_numpy(net.state.step)) == net.steps


def test_no_epochs_do_nothing(backend):
    net = network(backend.device)
    before = nn.to_numpy(net.weights[0]).copy()
    history = net.SGD(DATA, 0, 5, 0.5)
    assert len(history) == 0
    assert history.to_dict() == {}
    assert history["loss"] == []
    np.testing.assert_array_equal(nn.to_numpy(net.weights[0]), before)


def test_without_shuffling_the_order_is_the_datas():
    nets = [network() for _ in range(2)]
    nets[0].SGD(DATA, 1, 5, 0.5, shuffle=False)
    for start in range(0, 23, 5):
        nets[1].update_mini_batch((X[start : start + 5], Y[start : start + 5]), 0.5)
    np.testing.assert_allclose(nets[0].weights[0], nets[1].weights[0], rtol=1e-6)


def test_fit_and_sgd_are_one(backend):
    nets = [network(backend.device) for _ in range(2)]
    nets[0].SGD(DATA, 2, 5, 0.5)
    nets[1].fit(nn.Dataset(X, Y, device=backend.device), epochs=2, batch_size=5, optimizer=nn.SGD(0.5))
    np.testing.assert_allclose(nn.to_numpy(nets[0].weights[0]), nn.to_numpy(nets[1].weights[0]), rtol=1e-6)


def test_learning_rates_take_effect(float64):
    """One step of twice the rate goes twice as far."""
    net = network(float64.device, dtype="float64")
    start = nn.to_numpy(net.weights[0]).copy()
    moves = []
    for rate in (0.5, 1.0):
        twin = net.copy()
        twin.SGD(DATA, 1, 23, rate)
        moves.append(nn.to_numpy(twin.weights[0]) - start)
    assert np.abs(moves[0]).max() > 1e-3
    np.testing.assert_allclose(moves[1], 2 * moves[0], rtol=1e-9, atol=1e-15)


def test_callbacks_watch_and_stop():
    seen = []

    class Watcher(nn.Callback):
        def on_train_begin(self, run):
            seen.append(("begin", len(run.history), run.epochs))

        def on_epoch_end(self, run):
            seen.append(("epoch", run.record["epoch"], run.network.epoch))
            run.stop = run.record["epoch"] == 2

        def on_train_end(self, run):
            seen.append(("end", len(run.history)))

    history = network().SGD(DATA, 5, 5, 0.5, callbacks=[Watcher(), lambda run: seen.append(len(run.history))])
    assert len(history) == 2
    assert seen == [("begin", 0, 5), ("epoch", 1, 1), 1, ("epoch", 2, 2), 2, ("end", 2)]


def test_callbacks_are_told_of_the_end_even_of_a_bad_one():
    ended = []

    class Ends(nn.Callback):
        def on_train_end(self, run):
            ended.append(len(run.history))

    def interrupt(run):
        raise KeyboardInterrupt

    net = network()
    with pytest.raises(KeyboardInterrupt):
        net.SGD(DATA, 5, 5, 0.5, callbacks=[Ends(), interrupt])
    assert ended == [1]
    assert net.epoch == 1


def test_the_books_lines():
    out = io.StringIO()
    net = network()
    history = net.SGD(DATA, 2, 5, 0.5, DATA, callbacks=[BookLines(23, out), BookLines(None, out)])
    a, b = history["test_correct"]
    assert out.getvalue() == f"Epoch 0: {a} / 23\nEpoch 0 complete\nEpoch 1: {b} / 23\nEpoch 1 complete\n"


def test_progress_is_plain_lines_where_there_is_no_terminal():
    from rich.console import Console

    out = io.StringIO()
    network().SGD(DATA, 2, 5, 0.5, DATA, callbacks=[ProgressDisplay(Console(file=out))])
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch   1   loss 0.")
    assert "%" in lines[0]
    assert "\x1b" not in out.getvalue()


def test_verbose_writes_to_standard_error(capsys):
    network().fit(DATA, epochs=2, batch_size=5, optimizer=nn.SGD(0.5), verbose=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("epoch ") == 2
    network().fit(DATA, epochs=2, batch_size=5, optimizer=nn.SGD(0.5))
    assert capsys.readouterr() == ("", "")


def test_digits_are_learnt(backend, digits):
    """The real thing, small: what a 64-30-10 network learns of the digits in five epochs."""
    x, test_x, y, test_y = digits
    net = nn.Network([64, 30, 10], initializer="scaled_normal", device=backend.device, seed=0)
    history = net.SGD((x, y), 5, 10, 3.0, test_data=(test_x, test_y))
    assert history["test_accuracy"][-1] > 0.9
    assert history["loss"][-1] < history["loss"][0] / 3


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_one_batch_whose_loss_is_infinite_is_told_of(backend, engine):
    """The square of 10²⁰ is beyond float32, its gradient is not, and all other losses of the segment are finite."""
    x, y = np.ones((9, 1), "float32"), np.zeros((9, 1), "float32")
    y[5] = 1e20
    net = nn.Network([1, 1], loss="mean_squared_error", device=backend.device, seed=0)
    before = [nn.to_numpy(array) for array in net.weights + net.biases]
    sgd = nn.SGD(0.01, clip_norm=1.0)
    with pytest.raises(nn.TrainingDivergedError, match="the loss became inf in epoch 1, batch 6 of 9"):
        net.fit((x, y), epochs=1, batch_size=1, optimizer=sgd, shuffle=False, engine=engine)
    for array, old in zip(net.weights + net.biases, before, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(array), old)


def test_a_schedule_counts_the_epochs_of_its_own_optimizer(backend):
    net = nn.Network([4, 3], device=backend.device, seed=0)
    data = (np.ones((4, 4), "float32"), [0, 1, 2, 0])
    net.fit(data, epochs=3, batch_size=2, optimizer=nn.SGD(0.5))
    decay = nn.SGD(nn.schedules.StepDecay(1.0, every=1))
    history = net.fit(data, epochs=2, batch_size=2, optimizer=decay)
    assert history["learning_rate"] == pytest.approx([1.0, 0.1])
    assert net.fit(data, epochs=1, batch_size=2, optimizer=decay)["learning_rate"] == pytest.approx([0.01])
