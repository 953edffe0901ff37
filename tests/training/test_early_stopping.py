"""Early stopping: when a run ends and which weights it leaves; and what the history can be turned into."""

import csv

import numpy as np
import pytest

import nn_any as nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype("float32")
Y = np.arange(24) % 3
DATA, VALIDATION = (X[:16], Y[:16]), (X[16:], Y[16:])
NAN = float("nan")


def network(device="numpy"):
    """With running averages, which belong to the best epoch just as the weights do."""
    return nn.Network([4, nn.Dense(5, "linear"), nn.BatchNorm(), nn.Activation("tanh"), 3], device=device, seed=0)


def numbers(net):
    return [nn.to_numpy(a).copy() for tree in net.state[:2] for layer in tree for a in layer]


def fit(net, *callbacks, epochs=20, **arguments):
    return net.fit(DATA, epochs=epochs, batch_size=8, optimizer=nn.SGD(0.5), callbacks=callbacks, **arguments)


class Script:
    """Writes given values into the records, and keeps the weights of each epoch."""

    def __init__(self, values, column="measure"):
        self.values, self.column, self.weights = iter(values), column, []

    def __call__(self, run):
        run.record[self.column] = next(self.values)
        self.weights.append(numbers(run.network))


CASES = [  # values, options, epochs run, best epoch
    ([5, 4, 3, 3.5, 3.2, 3.1, 1], {"patience": 3}, 6, 3),
    ([5, 4, 3, 3.5, 3.2, 2.9, 3, 3, 3, 1], {"patience": 3}, 9, 6),
    ([3, 3, 3, 1], {"patience": 2}, 3, 1),  # as good is not better
    ([1, 2, 1, 3, 2], {"patience": 1, "mode": "max"}, 3, 2),
    (
        [5, 4.9, 4.85, 4.7, 4.65, 4.65, 1],
        {"patience": 2, "min_delta": 0.1},
        6,
        4,
    ),  # compared with the best that counted
    ([1, 1.25, 1.5, 1.9], {"patience": 3, "min_delta": 0.5, "mode": "max"}, 4, 4),
    ([NAN, 3, NAN, 2, NAN, NAN, 1], {"patience": 2}, 6, 4),
    ([float("inf"), 3, 4, 1], {"patience": 2}, 4, 4),
    ([4, 3, 2, 1], {"patience": 1}, 4, 4),  # the run ends by itself
]


@pytest.mark.parametrize(("values", "options", "epochs", "best"), CASES)
def test_when_it_stops_and_what_it_leaves(values, options, epochs, best):
    net, script, stopping = network(), Script(values), nn.EarlyStopping("measure", **{"mode": "min"} | options)
    history = fit(net, script, stopping, epochs=len(values))
    assert (len(history), stopping.best_epoch, stopping.best) == (epochs, best, values[best - 1])
    for got, expected in zip(numbers(net), script.weights[best - 1], strict=True):
        np.testing.assert_array_equal(got, expected)
    assert net.epoch == epochs  # the epochs that were run stay counted


@pytest.mark.parametrize(
    ("name", "larger"),
    [
        ("validation_loss", False),
        ("validation_accuracy", True),
        ("test_f1", True),
        ("seconds", False),
        ("test_r2", True),
        ("validation_top_3_accuracy", True),
        ("training_mean_squared_error", False),
    ],
)
def test_which_way_the_librarys_own_measures_are_better(name, larger):
    values = [1, 2, 3, 2, 1, 0]
    stopping = nn.EarlyStopping(name, patience=1)
    data = {"validation_data": VALIDATION, "test_data": VALIDATION, "monitor_training": True}
    assert len(fit(network(), Script(values, name), stopping, epochs=6, **data)) == (4 if larger else 2)


def test_without_restoring_the_last_weights_stay():
    net, script = network(), Script([1, 2, 3])
    fit(net, script, nn.EarlyStopping("measure", patience=2, mode="min", restore_best=False), epochs=3)
    for got, expected in zip(numbers(net), script.weights[-1], strict=True):
        np.testing.assert_array_equal(got, expected)


def test_values_that_are_never_numbers_leave_the_last_weights():
    net, script, stopping = network(), Script([NAN] * 3), nn.EarlyStopping("measure", patience=3, mode="min")
    assert len(fit(net, script, stopping)) == 3
    np.testing.assert_array_equal(numbers(net)[0], script.weights[-1][0])


@pytest.mark.parametrize("monitor", ["validation_loss", "validation_accuracy", "training_loss", "loss"])
def test_real_measures_on_every_backend(backend, monitor):
    """The best value of the column is the network's own in the end, and the weights are those of that epoch."""
    net, kept = network(backend.device), []
    stopping = nn.EarlyStopping(monitor, patience=4)
    history = fit(
        net,
        stopping,
        lambda run: kept.append(numbers(run.network)),
        validation_data=VALIDATION,
        monitor_training=True,
        epochs=30,
    )
    column = history[monitor]
    best = int(np.argmax(column) if monitor.endswith("accuracy") else np.argmin(column))
    assert (stopping.best_epoch, stopping.best) == (best + 1, column[best])
    assert len(history) == min(best + 5, 30)
    for got, expected in zip(numbers(net), kept[best], strict=True):
        np.testing.assert_array_equal(got, expected)
    assert net.loss(VALIDATION) == pytest.approx(history["validation_loss"][best], rel=1e-6)
    assert net.accuracy(VALIDATION) == history["validation_accuracy"][best]


def test_each_run_is_judged_by_itself():
    net, stopping = network(), nn.EarlyStopping("measure", patience=2, mode="min")
    assert len(fit(net, Script([1, 2, 3, 0]), stopping)) == 3
    assert len(fit(net, Script([9, 8, 8, 8, 0]), stopping)) == 4
    assert (stopping.best, stopping.best_epoch) == (8, 5)


def test_the_best_weights_come_back_whatever_ends_the_run():
    def interrupt(run):
        if len(run.history) == 3:
            raise KeyboardInterrupt

    net, script = network(), Script([2, 1, 3])
    with pytest.raises(KeyboardInterrupt):
        fit(net, script, nn.EarlyStopping("measure", mode="min"), interrupt)
    np.testing.assert_array_equal(numbers(net)[0], script.weights[1][0])


def test_a_column_that_is_not_there():
    message = "monitor: expected one of epoch, loss, learning_rate, seconds, got 'validation_loss'; .*validation_data"
    with pytest.raises(ValueError, match=message):
        fit(network(), nn.EarlyStopping())
    fit(network(), nn.EarlyStopping(), validation_data=VALIDATION, epochs=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"patience": 0}, ValueError, "patience: expected a positive integer, got 0"),
        ({"patience": 1.5}, TypeError, "patience: expected a positive integer, got 1.5"),
        ({"min_delta": -1}, ValueError, "min_delta: expected a finite number of at least 0, got -1"),
        ({"min_delta": "0"}, TypeError, "min_delta: expected a number, got '0'"),
        ({"mode": "up"}, ValueError, "mode: expected one of 'min', 'max', got 'up'"),
        ({"monitor": 3}, TypeError, "monitor: expected the name of a column of the history, got 3"),
        ({"restore_best": "yes"}, TypeError, "restore_best: expected True or False, got 'yes'"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        nn.EarlyStopping(**arguments)


def test_monitored_training_data(backend):
    """As the training data are seen after each epoch; the epoch's own loss is from before each step."""
    seen, data = [], nn.Dataset(*DATA, sample_weight=np.arange(16.0), device=backend.device)
    net = network(backend.device)
    history = net.fit(
        data,
        epochs=3,
        batch_size=8,
        optimizer=nn.SGD(0.5),
        monitor_training=True,
        callbacks=[lambda run: seen.append((run.network.loss(data), run.network.evaluate(data)))],
    )
    assert list(history.records[0]) == [
        "epoch",
        "loss",
        "learning_rate",
        "seconds",
        "training_loss",
        "training_correct",
        "training_accuracy",
    ]
    assert list(zip(history["training_loss"], history["training_correct"], strict=True)) == seen
    assert history["training_accuracy"] == [correct / 15 for _, correct in seen]  # a row of weight 0 does not count
    assert np.all(np.abs(np.subtract(history["loss"], history["training_loss"])) > 1e-4)


def test_history_as_csv_and_as_a_table(tmp_path):
    history, path = fit(network(), validation_data=VALIDATION, epochs=12), tmp_path / "history.csv"
    path.write_text("an older file")
    history.to_csv(path)
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [{name: type(old[name])(line[name]) for name in line} for line, old in zip(lines, history, strict=True)] == [
        *history
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["history.csv"]
    head, *rows = history.table().splitlines()
    assert head.split() == list(history.records[0])
    assert len({len(row) for row in (head, *rows)}) == 1
    for row, record in zip(rows, history, strict=True):
        np.testing.assert_allclose([float(cell) for cell in row.split()], list(record.values()), rtol=1e-4)
    with pytest.raises(FileNotFoundError):
        history.to_csv(tmp_path / "none" / "history.csv")


def test_an_empty_history(tmp_path):
    history = fit(network(), epochs=0)
    assert (history.table(), history.to_dict(), len(history)) == ("", {}, 0)
    assert "0 epochs on numpy:cpu" in repr(history)
    history.to_csv(tmp_path / "history.csv")
    assert not (tmp_path / "history.csv").read_text().strip()


def kappa(targets, outputs):
    """A measure of one's own, here with values from a list."""
    return kappa.values.pop(0)


@pytest.fixture
def own_metric():
    kappa.values = [0.1, 0.7, 0.9, 0.8, 0.85, 0.6, 0.5]
    yield kappa
    vars(kappa).pop("higher_is_better", None)


def test_a_metric_of_ones_own_wants_a_direction(own_metric, tmp_path):
    """The best of these values is in epoch 3, whatever the name of the metric."""
    monitors = [
        {"callbacks": [nn.EarlyStopping("validation_kappa", patience=3)]},
        {"checkpoint": nn.Checkpoint(tmp_path / "run.safetensors", best="validation_kappa")},
        {"optimizer": nn.SGD(nn.schedules.ReduceOnPlateau(0.5, "validation_kappa"))},
        {"optimizer": nn.SGD(nn.schedules.WarmUp(nn.schedules.ReduceOnPlateau(0.5, "validation_kappa"), 3))},
    ]
    given = {"batch_size": 8, "optimizer": nn.SGD(0.5), "validation_data": VALIDATION, "metrics": [own_metric]}
    for monitor in monitors:
        net = network()
        with pytest.raises(ValueError, match="expected a column of which it is known .*'validation_kappa'; say mode="):
            net.fit(DATA, epochs=2, **given | monitor)
        assert (net.steps, net.snapshot.progress.optimizer, list(tmp_path.iterdir())) == (0, None, [])
    own_metric.higher_is_better = True
    for monitor in monitors:
        own_metric.values = [0.1, 0.7]
        network().fit(DATA, epochs=2, **given | monitor)
    own_metric.values = [0.1, 0.7, 0.9, 0.8, 0.85, 0.6, 0.5]
    stopping = nn.EarlyStopping("validation_kappa", patience=3)
    history = fit(network(), stopping, validation_data=VALIDATION, metrics=[own_metric])
    assert (stopping.best, stopping.best_epoch, len(history)) == (0.9, 3, 6)


@pytest.mark.parametrize("said", ["mode", "attribute"])
def test_the_best_checkpoint_of_a_metric_of_ones_own(own_metric, tmp_path, said):
    own_metric.higher_is_better = said == "attribute"  # what mode= says counts more
    saver = nn.Checkpoint(tmp_path / "run", best="validation_kappa", mode=None if said == "attribute" else "max")
    fit(network(), epochs=5, validation_data=VALIDATION, metrics=[own_metric], checkpoint=saver)
    assert nn.Network.load(tmp_path / "run-best").epoch == 3


def test_ensembles_monitor_a_metric_of_ones_own(own_metric):
    own_metric.values = [0.1, 0.1, 0.5, 0.7, 0.3, 0.3, 0.2, 0.2]
    own_metric.higher_is_better = True
    ensemble, stopping = (
        nn.Ensemble([4, 3], 2, device="numpy", seed=0),
        nn.EarlyStopping("validation_kappa", patience=2),
    )
    history = fit(ensemble, stopping, validation_data=VALIDATION, metrics=[own_metric])
    assert (len(history), stopping.best_epoch, stopping.best) == (4, 2, pytest.approx(0.6))


def test_a_direction_is_true_or_false(own_metric):
    own_metric.higher_is_better = "yes"
    with pytest.raises(TypeError, match="higher_is_better of the metric kappa: expected True or False, got 'yes'"):
        fit(network(), validation_data=VALIDATION, metrics=[own_metric])


@pytest.mark.parametrize(
    ("name", "meant"),
    [("val_loss", "validation_loss"), ("validation_acc", "validation_accuracy"), ("validation_los", "validation_loss")],
)
def test_a_column_that_is_nearly_there(name, meant):
    net = network()
    with pytest.raises(ValueError, match=f"monitor: .*'{name}'.*; did you mean '{meant}'\\?"):
        fit(net, nn.EarlyStopping(name), validation_data=VALIDATION)
    assert net.steps == 0
    with pytest.raises(ValueError, match=f"monitor: .*'{name}'.*; did you mean '{meant}'\\?"):
        fit(network(), nn.EarlyStopping(name, mode="min"), validation_data=VALIDATION)


def test_losses_below_zero():
    """Of Poisson: a - y ln a. The best epoch is the one with the smallest loss, whatever its sign."""
    counts = RNG.poisson(20.0, (24, 1)).astype("float32")
    net = nn.Network([4, nn.Dense(1, activation="exponential")], loss="poisson", device="numpy", seed=0)
    stopping = nn.EarlyStopping(patience=3, min_delta=0.01)
    given = {"batch_size": 24, "optimizer": nn.Adam(0.3), "callbacks": [stopping]}
    history = net.fit((X, counts), epochs=60, validation_data=(X, counts), **given)
    losses = history["validation_loss"]
    assert losses[-1] < 0
    best, waited = (np.inf, 0), 0
    for epoch, loss in enumerate(losses, 1):
        best, waited = ((loss, epoch), 0) if best[0] - loss > 0.01 else (best, waited + 1)
        assert (waited == 3) == (epoch == len(losses) and len(losses) < 60)
    assert (stopping.best, stopping.best_epoch) == best


def test_a_column_without_one_number_an_epoch():
    ensemble = nn.Ensemble([4, 3], 2, device="numpy", seed=0)
    with pytest.raises(ValueError, match="monitor: expected a column with one number an epoch, got 'member_valid"):
        fit(ensemble, nn.EarlyStopping("member_validation_loss"), validation_data=VALIDATION)
    stopping = nn.EarlyStopping("validation_confusion_matrix", mode="max")
    with pytest.raises(ValueError, match="monitor: expected a column with one number an epoch, .*holds a ndarray"):
        fit(network(), stopping, validation_data=VALIDATION, metrics=["confusion_matrix"])


def test_a_schedule_behind_a_rise_is_looked_at_before_the_first_epoch():
    net = network()
    behind = nn.schedules.WarmUp(nn.schedules.ReduceOnPlateau(0.5), 5)
    with pytest.raises(ValueError, match="monitor: expected one of the recorded .*, got 'validation_loss'"):
        net.fit(DATA, epochs=2, batch_size=8, optimizer=nn.SGD(behind))
    assert net.steps == 0
