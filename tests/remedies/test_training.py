"""Runs, single steps, and the state that they change."""

import numpy as np
import pytest

import nn_any as nn
from nn_any.book import network
from nn_any.core.state import TrainState

from . import place

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3
OVERFLOWS = pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero):RuntimeWarning")


@pytest.fixture
def net():
    return nn.Network([4, 5, 3], seed=0)


def fit(net, optimizer, **options):
    return net.fit((X, Y), **{"epochs": 1, "batch_size": 4, "optimizer": optimizer, **options})


def regression(seed=0):
    return nn.Network([4, nn.Dense(1, activation="linear")], seed=seed)


def bowl(x):
    return np.sum((x - 3.0) ** 2), 2 * (x - 3.0)


@place(
    "training/lbfgs.py LBFGS.update: LBFGS has no update from a gradient alone: call",
    "LBFGS",
    "call iterate(state, function)",
)
def test_a_gradient_alone(refused):
    lbfgs = nn.LBFGS()
    with refused:
        lbfgs.update((), (), (), 1.0)
    state = lbfgs.start(np.zeros(2))
    while not state.converged:
        state = lbfgs.iterate(state, bowl)
    np.testing.assert_allclose(state.x, 3)


@place(
    "training/lbfgs.py _Remembered.__call__: function: expected a pair, got {}; return (value,",
    "function",
    "return (value, gradient)",
)
def test_values_alone(refused):
    lbfgs = nn.LBFGS()
    with refused:
        lbfgs.iterate(lbfgs.start(np.zeros(2)), lambda x: np.sum(x**2))
    lbfgs.iterate(lbfgs.start(np.zeros(2)), bowl)


@place("training/lbfgs.py LBFGS.start: x: expected a vector (n,), got shape {}; flatten", "x: ", "flatten it")
def test_a_matrix_to_search_from(refused):
    matrix = np.zeros((2, 2))
    with refused:
        nn.LBFGS().start(matrix)
    assert nn.LBFGS().start(matrix.flatten()).x.shape == (4,)


@place(
    "training/lbfgs.py _Remembered.__call__: function: expected a number and a gradient {}, got",
    "function",
    "return (value, gradient)",
)
def test_values_one_by_one(refused):
    lbfgs = nn.LBFGS()
    with refused:
        lbfgs.iterate(lbfgs.start(np.zeros(2)), lambda x: ((x - 3.0) ** 2, 2 * (x - 3.0)))
    lbfgs.iterate(lbfgs.start(np.zeros(2)), bowl)


@place("training/members.py begin: optimizer: expected one that takes steps in", "optimizer", "use nn_any.Adam()")
def test_a_search_for_an_ensemble(refused):
    ensemble = nn.Ensemble([4, 3], 2)
    with refused:
        fit(ensemble, nn.LBFGS(), batch_size=12)
    fit(ensemble, nn.Adam())


@OVERFLOWS
@place(
    "training/members.py run_epoch: all {} members have diverged, the last of them in",
    "at learning rate 1e+30",
    "Try a smaller learning rate",
)
def test_members_that_all_diverge(refused):
    layers = [4, nn.Dense(1, activation="linear")]
    with refused:
        nn.Ensemble(layers, 2, learning_rates=[1e30, 1e30]).fit(
            (X, X[:, :1]), epochs=9, batch_size=4, optimizer=nn.SGD(1)
        )
    ensemble = nn.Ensemble(layers, 2, learning_rates=[0.1, 0.01])
    ensemble.fit((X, X[:, :1]), epochs=9, batch_size=4, optimizer=nn.SGD(1))
    assert not ensemble.diverged.any()


@OVERFLOWS
@place(
    "training/members.py _check_any_trains: all {} members have diverged before, and rest;",
    "members",
    "begin with a new ensemble",
)
def test_members_that_have_all_diverged(refused):
    layers, data = [4, nn.Dense(1, activation="linear")], (X, X[:, :1])
    ensemble = nn.Ensemble(layers, 2)
    with pytest.raises(nn.TrainingDivergedError):
        ensemble.fit(data, epochs=9, batch_size=4, optimizer=nn.SGD(1e30))
    with refused:
        ensemble.fit(data, epochs=1, batch_size=4, optimizer=nn.SGD(0.1))
    nn.Ensemble(layers, 2).fit(data, epochs=1, batch_size=4, optimizer=nn.SGD(0.1))


@place("training/plan.py place_rates: learning_rate: expected a finite {} number, got", "learning_rate", "smaller one")
def test_a_rate_beyond_float32(refused, net):
    with refused:
        fit(net, nn.SGD(1e39))
    fit(net, nn.SGD(0.1))


@place(
    "training/run.py as_callbacks: callbacks: expected a list of them, got {}; put it",
    "callbacks",
    "put it in brackets",
)
def test_a_callback_without_brackets(refused, net):
    with refused:
        fit(net, nn.SGD(0.1), callbacks=nn.Callback())
    fit(net, nn.SGD(0.1), callbacks=[nn.Callback()])


@place(
    "training/run.py as_callbacks: callbacks: expected nn_any.Callback instances or",
    "callbacks",
    "nn_any.Callback instances or functions of the run",
)
def test_a_callback_that_cannot_be_called(refused, net):
    epochs = []
    with refused:
        fit(net, nn.SGD(0.1), callbacks=["print"])
    fit(net, nn.SGD(0.1), callbacks=[nn.Callback(), lambda run: epochs.append(run.network.epoch)])
    assert epochs == [1]


@place(
    "training/states.py on_device: {}: expected the snapshot of {}, got {}; use one",
    "snapshot",
    "use one that a network had",
)
def test_the_snapshot_of_another_kind(refused, net):
    with refused:
        net.snapshot = nn.Ensemble([4, 5, 3], 2).snapshot
    net.snapshot = nn.Network([4, 5, 3], seed=1).snapshot


def step(net, state, rate=0.1, **options):
    return nn.train_step(net, state, (X, Y), rate, **options)


@place("training/states.py check_state: state: expected a nn_any.TrainState, such as", "state", "such as net.state")
def test_parameters_in_place_of_a_state(refused, net):
    with refused:
        step(net, net.params)
    step(net, net.state)


@place(
    "training/states.py check_state: state: expected arrays on {}, got them on {}; use",
    "state",
    "use net.to('numpy:cpu')",
)
def test_a_state_on_another_device(refused, net):
    state = net.state
    there = nn.select_device("array_api_strict:device1")
    other = nn.Network([4, 5, 3], seed=0, device=there)
    with refused:
        step(other, state)
    step(other.to("numpy:cpu"), state)


@place(
    "training/states.py check_state: state: expected the shapes and dtypes of the",
    "state",
    "use a state of this network",
)
def test_the_state_of_another_network(refused, net):
    with refused:
        step(net, nn.Network([4, 6, 3]).state)
    state, _ = step(net, net.state)
    assert isinstance(state, TrainState)


@place(
    "training/steps.py _pair: {}: expected a tuple (x, y) of arrays, got {}; for", "batch", "use nn_any.book.network"
)
def test_a_batch_that_is_a_list(refused, net):
    with refused:
        net.update_mini_batch(list(zip(X, Y, strict=True)), 0.1)
    with refused:
        net.update_mini_batch((X, Y, Y), 0.1)
    net.update_mini_batch((X, Y), 0.1)
    network.Network([4, 5, 3]).update_mini_batch([(row[:, None], label) for row, label in zip(X, Y, strict=True)], 0.1)
    step(net, net.state)
    nn.train_step(net, net.state, [X, Y], 0.1)  # as PyTorch's loaders have it


@OVERFLOWS
@place(
    "training/steps.py descend: this step would make weights or running averages",
    "step",
    "Try a smaller learning rate, inputs scaled to about 0 … 1, or initializer='scaled_normal'",
)
def test_a_step_that_diverges(refused):
    net = regression()
    with refused:
        net.update_mini_batch((100 * X, X[:, :1]), 3e37)
    net.update_mini_batch((100 * X, X[:, :1]), 1e-5)
    large = nn.Network([4, nn.Dense(1, activation="linear")], initializer="scaled_normal", seed=0)
    large.update_mini_batch((X, X[:, :1]), 0.1)


def steps(net, order, rate=0.1):
    return nn.train_steps(net, net.state, (X, Y), order, rate)


@place("training/steps.py train_steps: order: expected integers {}, got {} of shape {}", "order", "(steps, batch_size)")
def test_an_order_of_one_axis(refused, net):
    with pytest.raises(nn.InvalidValueError, match="order: expected rows of one length, got ragged ones"):
        steps(net, [[0, 1], [2]])
    with refused:
        steps(net, np.arange(12))
    assert steps(net, np.arange(12).reshape(3, 4))[1].shape == (3,)


@place("training/steps.py train_steps: order: expected examples within 0 … {}, got {} …", "order", "within 0 … 11")
def test_an_order_of_examples_that_are_not_there(refused, net):
    with refused:
        steps(net, [[11, 12]])
    steps(net, [[0, 11]])


@place(
    "training/steps.py train_steps: learning_rate: expected a positive number, or {}",
    "learning_rate",
    "a positive number, or 3 of them",
)
def test_rates_that_are_too_few(refused, net):
    with pytest.raises(nn.InvalidTypeError, match="learning_rate: expected real numbers, got text"):
        steps(net, [[0, 1]], "fast")
    order = np.arange(12).reshape(3, 4)
    with refused:
        steps(net, order, [0.1, 0.2])
    steps(net, order, 0.1)
    steps(net, order, [0.1, 0.2, 0.3])


@place(
    "training/steps.py _step: optimizer: expected one that takes steps, such as",
    "optimizer",
    "such as nn_any.SGD(0.5)",
)
def test_an_optimizer_that_takes_no_steps(refused, net):
    with refused:
        step(net, net.state, optimizer=nn.LBFGS())
    step(net, net.state, optimizer=nn.SGD(0.5))


def search(net, optimizer=None):
    return fit(net, optimizer or nn.LBFGS(), batch_size=None)


@place(
    "training/whole_batch.py begin: optimizer: {} needs a loss that is one function of",
    "optimizer",
    "or use nn_any.Adam()",
)
def test_a_search_with_layers_that_draw_or_average(refused):
    dropout, normalized = (nn.Network([4, layer, 3]) for layer in (nn.Dropout(0.5), nn.BatchNorm()))
    for net in (dropout, normalized):
        with refused:
            search(net)
        fit(net, nn.Adam())
    search(nn.Network([4, 3]))  # without it
    search(normalized.freeze(0))


@OVERFLOWS
@place("training/whole_batch.py run_epoch: the loss became {} in epoch {}; the weights before", "loss", "Try a smaller")
def test_a_search_that_diverges(refused):
    def run(rate):
        optimizer = nn.LBFGS(rate, line_search=False)
        return regression().fit((X, X[:, :1]), epochs=5, optimizer=optimizer)

    with refused:
        run(1e38)
    assert len(run(0.1)) == 5


@place("training/states.py check_network: {}: expected a Network or an Ensemble, got {}", "network", "a Network or an")
def test_a_step_of_what_is_no_network(refused, net):
    order, ensemble = [[0, 1]], nn.Ensemble([4, 3], 2)
    with refused:
        nn.train_step(net.state, net.state, (X, Y), 0.1)
    for call in (
        lambda: nn.train_steps(net.params, net.state, (X, Y), order, 0.1),
        lambda: nn.measure(nn.Network, net.state, (X, Y)),
        lambda: net.copy_from("model.safetensors"),
    ):
        with pytest.raises(nn.InvalidTypeError, match="expected a Network or an Ensemble, got "):
            call()
    step(net, net.state)
    step(ensemble, ensemble.state)


@place(
    "training/steps.py train_step: batch: expected a tuple (x, y) of arrays, got {};",
    "batch",
    "use nn_any.train_steps for data",
)
def test_data_in_place_of_a_batch(refused, net):
    data = nn.Dataset(X, Y)
    with refused:
        nn.train_step(net, net.state, data, 0.1)
    nn.train_steps(net, net.state, data, [[0, 1]], 0.1)
