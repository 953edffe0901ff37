"""Networks, ensembles, and what is measured of them."""

import numpy as np
import pytest

import nn_any as nn

from . import place

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3


@pytest.fixture
def net():
    return nn.Network([4, 5, 3], seed=0)


@place(
    "training/parameters.py checked_lists: {}: expected a list of arrays, one a layer, got {}",
    "weights",
    "a list of arrays",
)
def test_one_array_for_all_layers(refused, net):
    with refused:
        net.set_weights(np.zeros((2, 5, 4)), net.biases)
    net.set_weights([np.zeros((5, 4)), np.zeros((3, 5))], net.biases)


@place(
    "training/parameters.py checked_lists: {}: expected {} arrays, one a layer, got {}", "weights", "expected 2 arrays"
)
def test_arrays_that_are_too_few(refused, net):
    with refused:
        net.set_weights(net.weights[:1], net.biases)
    net.set_weights(net.weights, net.biases)


@place("training/parameters.py _checked_array: {}: expected shape {}, got {}{}", "weights[0]", "use .T")
def test_a_matrix_the_other_way_round(refused, net):
    first, second = net.weights
    with refused:
        net.set_weights([first.T, second], net.biases)
    net.set_weights([first.T.T, second], net.biases)


def test_biases_in_columns(net):
    """The book's."""
    columns = [b[:, None] for b in net.biases]
    with pytest.raises(nn.InvalidValueError, match=r"biases\[0\]: expected shape \(5,\), .*use .reshape\(5,\)$"):
        net.set_weights(net.weights, columns)
    net.set_weights(
        net.weights,
        [
            columns[0].reshape(
                5,
            ),
            columns[1].reshape(
                3,
            ),
        ],
    )


@place(
    "model.py Model.copy_from: other: expected a network of the same layers as",
    "other",
    "the same layers as Network(4-5-3",
)
def test_weights_of_other_layers(refused, net):
    with refused:
        net.copy_from(nn.Network([4, 6, 3]))
    net.copy_from(nn.Network([4, 5, 3]))


@place(
    "model.py Model.cost_derivative: output_activations: expected (n, {}), got shape {}", "output_activations", "(n, 3)"
)
def test_a_derivative_at_other_outputs(refused, net):
    with refused:
        net.cost_derivative(X, Y)
    assert net.cost_derivative(net.feedforward(X), Y).shape == (12, 3)


@place("model.py Model._check_classifies: {}: expected a classifier, got a regression", "accuracy", "use ")
def test_the_accuracy_of_a_regression(refused):
    net = nn.Network([4, nn.Dense(1, activation="linear")])
    with refused:
        net.accuracy((X, X[:, :1]))
    assert np.isfinite(net.loss((X, X[:, :1])))


@place("model.py Model._checked_places: places: expected layers within 0 … {}, got {}", "places", "within 0 … 1")
def test_a_layer_to_freeze_that_is_not_there(refused, net):
    with refused:
        net.freeze(2)
    net.freeze(1)


@place("ensemble.py Ensemble.__init__: n: expected {}, as many as the snapshot has, got", "n: ", "expected 2")
def test_the_snapshot_of_fewer_members(refused):
    snapshot = nn.Ensemble([4, 3], 2).snapshot
    with refused:
        nn.Ensemble(snapshot, 3)
    nn.Ensemble(snapshot, 2)


@place(
    "ensemble.py Ensemble.__init__: seed: expected none beside seeds, got {}; leave", "seed", "leave one of them out"
)
def test_a_seed_beside_seeds(refused):
    with refused:
        nn.Ensemble([4, 3], 2, seeds=[1, 2], seed=1)
    assert nn.Ensemble([4, 3], 2, seeds=[1, 2]).seeds == nn.Ensemble([4, 3], 2, seed=1).seeds


@place("ensemble.py Ensemble.__getitem__: i: expected a member within 0 … {}, got {}", "i: ", "within 0 … 1")
def test_a_member_that_is_not_there(refused):
    ensemble = nn.Ensemble([4, 3], 2)
    with refused:
        ensemble[2]
    assert ensemble[1].layers == ensemble.layers


@place("metrics.py top_k_accuracy: k: expected 1 … {}, as many as there are outputs,", "k: ", "expected 1 … 3")
def test_more_places_than_outputs(refused, net):
    outputs = net.predict_proba(X)
    with refused:
        nn.metrics.top_k_accuracy(Y, outputs, k=4)
    assert nn.metrics.top_k_accuracy(Y, outputs, k=3) == 1


@place("metrics.py resolve: metrics: expected a list of names and functions,", "metrics", "put it in brackets")
def test_a_metric_without_brackets(refused, net):
    def fit(metrics):
        net.fit((X, Y), epochs=1, batch_size=4, optimizer=nn.SGD(0.1), validation_data=(X, Y), metrics=metrics)

    with refused:
        fit("f1")
    fit(["f1"])


@place("metrics.py resolve: metrics: expected functions with names of their", "metrics", "names of their own")
def test_a_metric_of_a_name_that_is_taken(refused, net):
    def loss(targets, outputs):
        return 0.0

    with refused:
        net.score((X, Y), loss)
    loss.__name__ = "my_loss"
    assert net.score((X, Y), loss)["my_loss"] == 0


@place(
    "metrics.py resolve: metrics: expected some of {} for {}, or functions",
    "metrics",
    "or functions of targets and outputs",
)
def test_a_metric_that_is_unknown(refused, net):
    with refused:
        net.score((X, Y), "kappa")
    net.score((X, Y), "f1", lambda targets, outputs: 1.0)


@place("metrics.py resolve: metrics: expected at most top_{}_accuracy for {}", "metrics", "at most top_3_accuracy")
def test_a_metric_of_more_places_than_outputs(refused, net):
    with refused:
        net.score((X, Y), "top_5_accuracy")
    net.score((X, Y), "top_3_accuracy")


@place(
    "ensemble.py Ensemble.__getitem__: i: expected the number of a member, got {}; use",
    "i: ",
    "use [ensemble[i] for i in range(1, 3)]",
)
def test_a_slice_of_members(refused):
    ensemble = nn.Ensemble([4, 3], 3)
    with refused:
        ensemble[1:]
    assert len([ensemble[i] for i in range(1, 3)]) == 2


@place(
    "ensemble.py Ensemble.__getitem__: i: expected the number of a member, an integer,",
    "i: ",
    "the number of a member, an integer",
)
def test_a_member_by_its_name(refused):
    ensemble = nn.Ensemble([4, 3], 2)
    with refused:
        ensemble["first"]
    for i in (0, np.int64(1), -1):
        assert ensemble[i].layers == ensemble.layers


@place("evaluation.py _of_members: metrics: expected a number, or arrays of one", "metrics", "return a number")
def test_a_metric_of_nothing_for_members(refused):
    def share(targets, outputs):
        return found

    def train():
        nn.Ensemble([4, 3], 2).fit(
            (X, Y), epochs=1, batch_size=4, optimizer=nn.SGD(0.1), validation_data=(X, Y), metrics=[share]
        )

    found = None
    with refused:
        train()
    found = 0.5
    train()


@place(
    "model.py _check_alone: {}: expected one argument, got {}; put x and y",
    "expected one argument, got 2",
    "put x and y into a tuple",
)
def test_inputs_and_targets_apart(refused, net):
    run = {"epochs": 1, "batch_size": 4, "optimizer": nn.SGD(0.1)}
    with refused:
        net.fit(X, Y, **run)
    net.fit((X, Y), **run)
    for model in (net, nn.Ensemble([4, 3], 2)):
        for method in ("accuracy", "accuracies", "best", "evaluate", "loss", "losses"):
            if hasattr(model, method):
                with pytest.raises(TypeError, match=r"data: expected one .* into a tuple: \(x, y\)"):
                    getattr(model, method)(X, Y)
                getattr(model, method)((X, Y))
                getattr(model, method)(data=(X, Y))


@place(
    "training/parameters.py checked_parameters: parameters: expected {}, got {}",
    "parameters",
    "a dict of arrays by name, such as net.parameters",
)
def test_parameters_without_names(refused, net):
    with refused:
        net.set_parameters(net.weights)
    net.set_parameters(net.parameters)


@place(
    "training/parameters.py checked_parameters: parameters: expected names among {}, got {}",
    "parameters",
    "among layers.0.weights",
)
def test_parameters_of_other_names(refused, net):
    with refused:
        net.set_parameters({"weights": net.weights[0]})
    net.set_parameters({"layers.0.weights": net.weights[0]})


@place("model.py Model._functions: metrics: expected names and functions, got {}; {}", "metrics", "score((x, y), ...)")
def test_inputs_and_targets_apart_for_a_score(refused, net):
    with refused:
        net.score(X, Y)
    net.score((X, Y), "f1")
    with pytest.raises(nn.InvalidTypeError, match=r"; write them one by one: score\(data, 'f1', 'recall'\)$"):
        net.score((X, Y), ["f1", "recall"])
    net.score((X, Y), "f1", "recall")


@place(
    "model.py Model._check_probabilities: predict_proba: expected outputs within 0 … 1, got",
    "predict_proba",
    "build the network with nn_any.Dense(3, activation='sigmoid') as the last layer, or use predict for the classes "
    "and feedforward for the outputs",
)
def test_outputs_that_are_no_probabilities(refused):
    net = nn.Network([4, nn.Dense(3, activation="relu")])
    with refused:
        net.predict_proba(X)
    nn.Network([4, nn.Dense(3, activation="sigmoid")]).predict_proba(X)
    assert net.predict(X).shape == (12,)
    assert net.feedforward(X).shape == (12, 3)


@place(
    "model.py Model._checked_places: places: expected each layer as an argument of its",
    "got [0, 1]",
    "write freeze(0, 1)",
)
def test_a_list_of_layers_to_freeze(refused, net):
    with refused:
        net.freeze([0, 1])
    net.freeze(0, 1)
    with pytest.raises(TypeError, match=r"write unfreeze\(0, 1\)"):
        net.unfreeze((0, 1))
    net.unfreeze(0, 1)


@place(
    "model.py refuse_beside_snapshot: {}: expected none beside a snapshot, which has its",
    "loss: ",
    "leave it out, or pass the layers",
)
def test_a_loss_beside_a_snapshot(refused, net):
    with refused:
        nn.Network(net.snapshot, loss="cross_entropy")
    nn.Network(net.snapshot)
    nn.Network([4, 5, 3], loss="cross_entropy")
