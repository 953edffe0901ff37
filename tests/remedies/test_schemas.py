"""What networks are for, and what their data are called."""

import numpy as np
import pandas as pd
import pytest

import nn_any as nn

from . import place

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3
NAMES = ["ant", "bee", "cat"]
TEXT = np.array(NAMES)[Y]


@pytest.fixture
def net():
    return nn.Network([4, 5, 3], seed=0)


@place("core/schema.py _names: {}: expected a sequence of names, got {}; put it", "class_names", "put it in brackets")
def test_one_name(refused):
    with refused:
        nn.Schema(class_names="cat")
    nn.Schema(class_names=["cat"])


@place(
    "core/schema.py _names: {}: expected names in an order, got {} {}; pass a",
    "class_names: expected names in an order, got set",
    "pass a list of them",
)
def test_names_in_no_order(refused):
    with refused:
        nn.Schema(class_names={"cat", "dog"})
    assert nn.Schema(class_names=["cat", "dog"]).class_names == ("cat", "dog")


@place("core/schema.py _names: {}: expected {}, got {}; convert it with str(...)", "feature_names", "str(...)")
def test_a_name_that_is_no_text(refused):
    with refused:
        nn.Schema(feature_names=["a", 1])
    assert nn.Schema(feature_names=["a", str(1)]).feature_names == ("a", "1")


@place("core/schema.py _names: {}: expected names that differ, got {} twice; use", "target_names", "use each name once")
def test_a_name_that_occurs_twice(refused):
    with refused:
        nn.Schema(target_names=["a", "b", "a"])
    nn.Schema(target_names=["a", "b"])


@place("model.py Model.schema: schema: expected a nn_any.Schema, got {}; write", "schema", "nn_any.Schema(class_names=")
def test_a_schema_of_another_type(refused, net):
    with refused:
        net.schema = {"class_names": NAMES}
    net.schema = nn.Schema(class_names=NAMES)
    assert net.predict_names(X[:2])[0] in NAMES


@place(
    "core/specification.py Specification.with_schema: {}: expected {}, as many as the network has {},",
    "class_names",
    "name each once, in order",
)
def test_too_few_names(refused, net):
    with refused:
        net.schema = nn.Schema(class_names=NAMES[:2])
    net.schema = nn.Schema(class_names=NAMES)


@place(
    "core/specification.py Specification.with_schema: class_names: expected none for {}, got {}; name",
    "class_names",
    "name the outputs with target_names",
)
def test_class_names_of_a_network_without_classes(refused):
    net = nn.Network([4, 3], loss="mean_squared_error")
    with refused:
        net.schema = nn.Schema(class_names=NAMES)
    net.schema = nn.Schema(target_names=NAMES)


@place(
    "core/specification.py Specification.with_schema: feature_names: expected none for inputs of shape",
    "feature_names",
    "leave them out",
)
def test_feature_names_of_images(refused):
    net = nn.Network([(2, 2, 1), nn.Flatten(), 3])
    with refused:
        net.schema = nn.Schema(scale=255, feature_names=["a", "b"])
    net.schema = nn.Schema(scale=255)


@place(
    "core/specification.py _check_task: task: expected {} for the loss {}, got {}; use",
    "task",
    "use loss='mean_squared_error'",
)
def test_a_loss_for_another_task(refused):
    with refused:
        nn.Network([4, 3], loss="cross_entropy", task="regression")
    nn.Network([4, 3], loss="mean_squared_error", task="regression")


@place(
    "core/specification.py _check_task: task: expected 'classification' for outputs with",
    "task",
    "use loss='cross_entropy' and sigmoid outputs",
)
def test_several_answers_that_sum_to_1(refused):
    with refused:
        nn.Network([4, 3], loss="log_likelihood", task="multilabel")
    net = nn.Network([4, 3], loss="cross_entropy", task="multilabel")
    assert net.layers[-1].activation.name == "sigmoid"


@place(
    "datasets/network_input.py _known_names: y: expected numbers of classes, since the network",
    "y",
    "net.schema = nn_any.Schema(class_names=[...])",
)
def test_text_labels_for_a_network_that_knows_no_names(refused, net):
    with refused:
        net.accuracy((X, TEXT))
    net.schema = nn.Schema(class_names=NAMES)
    assert net.accuracy((X, TEXT)) == net.accuracy((X, Y))


@place(
    "datasets/network_input.py learned_schema: classes: expected {} names, as many as the network",
    "classes",
    "build the network with 2 outputs, or name all classes",
)
def test_text_labels_of_too_few_classes(refused, net):
    two = Y < 2
    with refused:
        net.fit((X[two], TEXT[two]), epochs=1)
    nn.Network([4, 5, 2]).fit((X[two], TEXT[two]), epochs=1)
    net.fit(nn.Dataset(X[two], TEXT[two], classes=NAMES), epochs=1)
    assert net.class_names == tuple(NAMES)


@place(
    "datasets/network_input.py _with_features_of: x: expected the columns {}, got none named {};",
    "x",
    "rename the columns",
)
def test_other_columns_than_the_network_knows(refused, net):
    net.schema = nn.Schema(feature_names=list("abcd"))
    with refused:
        net.loss(nn.Dataset(X, Y, feature_names=list("abce")))
    net.loss(nn.Dataset(X, Y, feature_names=list("abcd")))
    net.loss((X, Y))


@place(
    "datasets/network_input.py _with_targets_of: y: expected the columns {}, got none named {};",
    "y: expected the columns u, v, got none named 'v'",
    "pass an array without names",
)
def test_other_targets_than_the_network_knows(refused):
    net = nn.Network([4, 2], loss="mean_squared_error", seed=0)
    net.schema = nn.Schema(target_names=["u", "v"])
    with refused:
        net.loss(nn.Dataset(X, X[:, :2], target_names=["u", "w"]))
    assert net.loss(nn.Dataset(X, X[:, :2], target_names=["u", "v"])) == net.loss(nn.Dataset(X, X[:, :2]))


@place(
    "datasets/network_input.py _classes_of_columns: y: expected columns named as the network's",
    "y: expected columns named as the network's classes, ant, bee, cat, got 'dog'",
    "rename the columns, or pass an array without names, a column a class in that order",
)
def test_columns_of_other_classes(refused, net):
    net.schema = nn.Schema(class_names=NAMES)
    one_hot = pd.DataFrame(np.eye(3)[Y], columns=["ant", "bee", "dog"])
    with refused:
        net.accuracy((X, one_hot))
    assert net.accuracy((X, one_hot.rename(columns={"dog": "cat"}))) == net.accuracy((X, Y))
    assert net.accuracy((X, one_hot.to_numpy())) == net.accuracy((X, Y))


@place(
    "datasets/network_input.py _check_no_classes: y: expected {} for {}, got labels of the classes",
    "y: expected numbers for regression, got labels of the classes 'ant', 'bee', 'cat'",
    "nn_any.Dataset(dataset.x, dataset.y)",
)
def test_named_classes_for_numbers(refused, net):
    other, dataset = nn.Network([4, 1], loss="mean_squared_error"), nn.Dataset(X, TEXT)
    with refused:
        other.fit(dataset, epochs=1)
    with pytest.raises(nn.InvalidValueError, match="expected numbers for regression"):
        other.loss(dataset)
    other.fit(nn.Dataset(dataset.x, dataset.y), epochs=1)
    net.fit(dataset, epochs=1)


@place(
    "datasets/network_input.py _with_classes_of: classes: expected some of the network's, {}, got",
    "classes",
    "leave its examples out",
)
def test_a_class_that_the_network_does_not_know(refused, net):
    net.schema = nn.Schema(class_names=NAMES)
    labels = np.where(Y == 2, "dog", TEXT)
    with refused:
        net.accuracy(nn.Dataset(X, labels, classes=["ant", "bee", "dog"]))
    net.accuracy(nn.Dataset(X[Y < 2], labels[Y < 2], classes=["ant", "bee"]))


@place(
    "datasets/network_input.py weighted: class_weight: expected none for a multilabel",
    "class_weight",
    "use sample_weight",
)
def test_class_weights_of_several_answers(refused):
    net, y = nn.Network([4, 3], task="multilabel"), (X[:, :3] > 0).astype("float32")
    with refused:
        net.fit((X, y), epochs=1, class_weight=[1, 2, 1])
    net.fit((X, y), epochs=1, sample_weight=np.arange(12) + 1)
