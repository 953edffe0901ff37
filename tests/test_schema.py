"""What a network knows of its data beside the numbers: their scale, and what classes, inputs and targets are called."""

import copy
import datetime
import json
import pickle

import numpy as np
import pandas as pd
import polars
import pytest

import nn_any as nn
from nn_any.core.schema import Schema
from nn_any.files.model import load_model, save_model

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 6)).astype("uint8")
Y = np.arange(40) % 3
NAMES = ("ant", "bee", "cat")
TEXT = np.array(NAMES)[Y]
SCHEMA = Schema(255, NAMES, tuple("abcdef"), ("species",))


def network(device="numpy", **arguments):
    return nn.Network([6, 5, 3], initializer="scaled_normal", device=device, seed=0, **arguments)


def fit(model, data, **arguments):
    return model.fit(data, **{"epochs": 2, "batch_size": 10, "optimizer": nn.SGD(1.0)} | arguments)


def numbers(array):
    return nn.to_numpy(array)


# the scale


def test_raw_images_are_taken_as_in_training(device):
    net, other = network(device), network(device)
    fit(net, nn.Dataset(IMAGES, Y, scale=255, device=device))
    real = IMAGES.astype("float32") / np.float32(255)
    fit(other, (real, Y))
    assert net.schema.scale == 255
    assert other.schema.scale is None
    wanted = numbers(other.feedforward(real))
    for x in (IMAGES, IMAGES.astype("int64"), IMAGES.tolist(), real):
        np.testing.assert_allclose(numbers(net.feedforward(x)), wanted, atol=1e-6)
    np.testing.assert_allclose(numbers(net.feedforward(IMAGES[0])), wanted[0], atol=1e-6)
    np.testing.assert_array_equal(numbers(net.predict(IMAGES)), wanted.argmax(axis=1))
    assert net.accuracy((IMAGES, Y)) == other.accuracy((real, Y)) == np.mean(wanted.argmax(axis=1) == Y)
    assert net.loss((IMAGES, Y)) == pytest.approx(other.loss((real, Y)), rel=1e-5)
    for ours, its in zip(net.backprop(IMAGES, Y)[1], other.backprop(real, Y)[1], strict=True):
        np.testing.assert_allclose(numbers(ours), numbers(its), atol=1e-5)


def test_training_goes_on_with_raw_images(device):
    net, other = network(device), network(device)
    fit(net, nn.Dataset(IMAGES, Y, scale=255, device=device))
    fit(net, (IMAGES, Y), validation_data=(IMAGES, Y))
    fit(other, nn.Dataset(IMAGES, Y, scale=255, device=device), epochs=4)
    for ours, its in zip(net.weights, other.weights, strict=True):
        np.testing.assert_array_equal(numbers(ours), numbers(its))


def test_real_numbers_that_are_not_divided_are_mentioned():
    net, other = network(), network()
    fit(net, nn.Dataset(IMAGES, Y, scale=255))
    fit(other, (IMAGES, Y))
    for call in (net.predict, lambda x: net.accuracy((x, Y)), lambda x: net.predict(x[0])):
        with pytest.warns(UserWarning, match="x: expected real numbers divided by 255, .*; pass integers, "):
            call(IMAGES.astype("float64"))
        call(IMAGES)
        call(IMAGES / np.float32(255))
    other.predict(IMAGES.astype("float64"))


def test_a_scale_of_the_data_themselves_counts():
    net = network()
    fit(net, nn.Dataset(IMAGES, Y, scale=255))
    bright = nn.Dataset(IMAGES // 16, Y, scale=15)
    assert net.loss(bright) == pytest.approx(net.loss(((IMAGES // 16).astype("float32") / 15, Y)), rel=1e-5)


def test_yes_and_no_are_not_divided(device):
    net = network(device)
    fit(net, nn.Dataset(IMAGES, Y, scale=255, device=device))
    bits = IMAGES > 127
    np.testing.assert_allclose(
        numbers(net.feedforward(bits)), numbers(net.feedforward(bits.astype("float32"))), atol=1e-6
    )


def test_an_ensemble_takes_raw_images(device):
    ensemble = nn.Ensemble([6, 5, 3], 2, device=device, seed=0)
    fit(ensemble, nn.Dataset(IMAGES, Y, scale=255, device=device))
    real = IMAGES.astype("float32") / np.float32(255)
    for method in (
        ensemble.feedforward,
        ensemble.member_outputs,
        ensemble.vote,
        lambda x: ensemble.spread(x).deviation,
    ):
        np.testing.assert_allclose(numbers(method(IMAGES)), numbers(method(real)), atol=1e-6)
    assert ensemble.accuracy((IMAGES, Y)) == ensemble.accuracy((real, Y))
    np.testing.assert_allclose(
        numbers(ensemble[1].feedforward(IMAGES)), numbers(ensemble[1].feedforward(real)), atol=1e-6
    )


# names


def named(order=NAMES, names=TEXT):
    return nn.Dataset(IMAGES / np.float32(255), names, classes=list(order), device="numpy")


def test_classes_have_their_names(device):
    net = network(device)
    fit(net, named().to(device), epochs=20)
    assert net.class_names == NAMES
    answers = net.predict_names(IMAGES / np.float32(255))
    np.testing.assert_array_equal(answers, np.array(NAMES)[numbers(net.predict(IMAGES / np.float32(255)))])
    assert isinstance(answers, np.ndarray)
    assert net.predict_names(IMAGES[0] / np.float32(255)) == answers[0]


def test_classes_in_another_order_are_matched_by_name(device):
    net = network(device)
    fit(net, named().to(device), validation_data=named(NAMES[::-1]).to(device))
    right = net.accuracy(named().to(device))
    assert net.accuracy(named(NAMES[::-1]).to(device)) == right
    assert net.accuracy((IMAGES / np.float32(255), TEXT)) == right
    columns = np.eye(3, dtype="float32")[:, [2, 0, 1]][Y]  # one-hot rows of cat, ant, bee
    other = nn.Dataset(IMAGES / np.float32(255), columns, classes=["bee", "cat", "ant"], device=device)
    assert net.accuracy(other) == right
    some = Y < 2
    part = nn.Dataset(IMAGES[some] / np.float32(255), TEXT[some], classes=["bee", "ant"], device=device)
    assert net.evaluate(part) == np.sum(numbers(net.predict(IMAGES / np.float32(255)))[some] == Y[some])


def test_one_hot_frames_are_matched_by_the_names_of_their_columns(device):
    x, turned = IMAGES / np.float32(255), ["cat", "bee", "ant"]
    columns = pd.DataFrame(np.eye(3, dtype=bool)[Y], columns=list(NAMES))
    nets = [network(device) for _ in range(3)]
    for net, y in zip(nets, (TEXT, columns, columns), strict=True):
        fit(net, (x, y), validation_data=(x, columns[turned]))
        assert (net.class_names, net.schema.target_names) == (NAMES, None)
    right = nets[0].accuracy((x, TEXT))
    for y in (columns, columns[turned], polars.from_pandas(columns[turned]), nn.Dataset(x, columns[turned]).to(device)):
        data = y if isinstance(y, nn.Dataset) else (x, y)
        assert nets[1].accuracy(data) == right
    some = Y < 2
    assert nets[1].evaluate((x[some], columns[turned[1:]][some])) == np.sum(
        numbers(nets[1].predict(x))[some] == Y[some]
    )
    for one, two in zip(*(nets[1].gradients(x, y) for y in (columns, columns[turned])), strict=True):
        for ours, its in zip(one, two, strict=True):
            np.testing.assert_array_equal(numbers(ours), numbers(its))
    fit(nets[1], (x, columns))
    fit(nets[2], (x, columns[turned]))
    for ours, its in zip(nets[1].weights, nets[2].weights, strict=True):
        np.testing.assert_array_equal(numbers(ours), numbers(its))


def test_columns_that_are_called_by_numbers_are_classes():
    x, columns = IMAGES / np.float32(255), pd.DataFrame(np.eye(3)[Y], columns=[7, 9, 3])
    net = network()
    net.schema = Schema(class_names=[3, 7, 9])
    assert net.accuracy((x, columns)) == net.accuracy((x, columns[[3, 7, 9]].to_numpy()))


def test_a_named_column_of_real_targets_names_no_class():
    net = nn.Network([4, 1], loss="cross_entropy", device="numpy", seed=0)
    x, yes = np.random.default_rng(0).normal(size=(12, 4)), pd.Series(np.arange(12) % 2.0, name="yes")
    fit(net, (x, yes))
    assert (net.class_names, net.schema.target_names) == (None, ("yes",))
    assert net.accuracy((x, yes)) == net.accuracy((x, yes.astype(int))) == net.accuracy((x, yes.to_frame()))


@pytest.mark.parametrize("outputs", [1, 3])
def test_names_do_not_hide_what_is_wrong_with_shapes(outputs):
    x, net = pd.DataFrame(np.zeros((12, 4))).add_prefix("f"), nn.Network([3, outputs], device="numpy", seed=0)
    with pytest.raises(
        nn.InvalidValueError, match=r"^x: expected .* got shape \(12, 4\); pass 3 column\(s\), or build"
    ):
        fit(net, (x, np.arange(12) % 2))
    with pytest.raises(nn.InvalidValueError, match=r"^y: expected .* got shape \(12, 2\); pass "):
        fit(net, (x[["f0", "f1", "f2"]], pd.DataFrame({"a": np.arange(12.0), "b": 1})))


def test_training_goes_on_with_classes_in_another_order():
    one, two = network(), network()
    fit(one, named(), epochs=4)
    fit(two, named())
    fit(two, named(NAMES[::-1]))
    for ours, its in zip(one.weights, two.weights, strict=True):
        np.testing.assert_array_equal(ours, its)
    assert two.class_names == NAMES


def test_numbers_and_text_as_names():
    net = network()
    net.schema = Schema(class_names=[3, 7, 9])
    found = net.predict_names(IMAGES)
    assert set(found.tolist()) <= {3, 7, 9}
    assert found.dtype.kind == "i"
    net.schema = Schema(class_names=[3, "seven", 9.5])
    np.testing.assert_array_equal(
        net.predict_names(IMAGES), np.array([3, "seven", 9.5], dtype=object)[net.predict(IMAGES)]
    )
    net.schema = Schema()
    np.testing.assert_array_equal(net.predict_names(IMAGES), net.predict(IMAGES))


def test_names_of_another_type_become_text():
    net, days = network(), [datetime.date(2026, 1, day) for day in (3, 2, 1)]
    data = nn.Dataset(IMAGES / 255, Y, classes=days, device="numpy")
    fit(net, data, validation_data=data)
    assert net.class_names == ("2026-01-03", "2026-01-02", "2026-01-01")
    assert net.accuracy(data) == net.accuracy((IMAGES / 255, Y))
    turned = nn.Dataset(IMAGES / 255, 2 - Y, classes=days[::-1], device="numpy")
    assert net.accuracy(turned) == net.accuracy(data)


def test_numbers_that_may_be_names_are_mentioned():
    net = network()
    net.schema = Schema(class_names=[1, 2, 3])
    with pytest.warns(UserWarning, match=r"y: expected numbers of classes .*, got 1 … 2, .*; if they are names, "):
        net.accuracy((IMAGES, Y.clip(1)))
    net.accuracy((IMAGES, Y))
    net.accuracy((IMAGES, [net.class_names.index(label) for label in Y + 1]))
    net.accuracy(nn.Dataset(IMAGES, Y.clip(1)))


def test_a_single_output_has_two_names():
    net = nn.Network([6, 1], device="numpy", seed=0)
    fit(net, nn.Dataset(IMAGES / np.float32(255), np.array(["no", "yes"])[Y // 2], classes=["no", "yes"]))
    assert net.class_names == ("no", "yes")
    np.testing.assert_array_equal(net.predict_names(IMAGES), np.array(["no", "yes"])[net.predict(IMAGES)])


def test_columns_in_another_order_are_matched_by_name(device):
    net = network(device)
    x = IMAGES / np.float32(255)
    fit(net, nn.Dataset(x, Y, feature_names=tuple("abcdef"), device=device))
    assert net.feature_names == tuple("abcdef")
    turned = nn.Dataset(x[:, ::-1].copy(), Y, feature_names=tuple("fedcba"), device=device)
    wider = nn.Dataset(np.column_stack([x[:, 0], x]), Y, feature_names=tuple("xabcdef"), device=device)
    for data in (turned, wider):
        assert net.loss(data) == net.loss((x, Y))


# where a schema goes


def test_a_model_file_has_all_of_it(tmp_path, device):
    net = network(device)
    net.schema = SCHEMA
    net.save(tmp_path / "net")
    loaded = nn.Network.load(tmp_path / "net", device=device)
    assert loaded.schema == SCHEMA
    np.testing.assert_array_equal(loaded.predict_names(IMAGES), net.predict_names(IMAGES))
    ensemble = nn.Ensemble([6, 3], 2, device=device)
    ensemble.schema = SCHEMA
    ensemble.save(tmp_path / "ensemble")
    assert nn.Ensemble.load(tmp_path / "ensemble").schema == SCHEMA == ensemble[0].schema


def test_copies_have_it():
    net = network()
    net.schema = SCHEMA
    for other in (net.copy(), net.astype("float64"), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.schema == SCHEMA
    assert nn.Network(net.snapshot).schema == SCHEMA
    net.freeze(0)
    assert net.to("array_api_strict:device1").schema == SCHEMA


def test_a_file_without_schema_loads(tmp_path):
    net = network()
    net.save(tmp_path / "net")
    description, _ = load_model(tmp_path / "net")
    assert "schema" not in description
    assert "task" not in description
    assert nn.Network.load(tmp_path / "net").schema == Schema()


@pytest.mark.parametrize(
    "schema",
    [
        {"class_names": ["a", "b"]},
        {"class_names": ["a", "b", ["c"]]},
        {"scale": -1},
        {"scale": "255"},
        {"feature_names": [1, 2, 3, 4, 5, 6]},
        {"names": []},
        [],
        "ant",
    ],
)
def test_a_forged_schema_is_refused(tmp_path, schema):
    net = network()
    net.save(tmp_path / "net")
    description, tensors = load_model(tmp_path / "net")
    description.pop("format")
    save_model(tmp_path / "net", description | {"schema": schema}, tensors)
    with pytest.raises(nn.ModelFileError, match="net: expected the description of a network"):
        nn.Network.load(tmp_path / "net")


def test_a_run_that_is_refused_teaches_no_names():
    net = network()

    class Refuses(nn.Callback):
        def on_train_begin(self, run):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fit(net, named(), callbacks=[Refuses()])
    assert net.schema == Schema()


def test_a_snapshot_from_before_the_run_learns_the_names_again():
    net, data = network(), nn.Dataset(IMAGES, Y, classes=NAMES, scale=255, device="numpy")
    before = net.snapshot

    def back(run):
        if len(run.history) == 1:
            run.network.snapshot = before

    fit(net, data, epochs=3, callbacks=[back])
    assert (net.epoch, net.schema) == (2, Schema(255, NAMES))


def test_a_checkpoint_of_other_classes_is_refused(tmp_path):
    fit(network(), named(), checkpoint=tmp_path / "run")
    assert nn.Network.load(tmp_path / "run").class_names == NAMES
    with pytest.raises(
        ValueError, match=r"resume: expected class_names as in .*, \['ant', 'bee', 'cat'\], got \['bee'"
    ):
        fit(network(), named(("bee", "ant", "cat")), checkpoint=tmp_path / "run", resume=True, epochs=3)
    net = network()
    fit(net, named(), checkpoint=tmp_path / "run", resume=True, epochs=3)
    assert net.epoch == 3
    net = network()
    fit(net, (IMAGES / np.float32(255), Y), checkpoint=tmp_path / "run", resume=True, epochs=4)
    assert net.class_names == NAMES


def test_a_checkpoint_of_other_columns_is_refused(tmp_path):
    frame = pd.DataFrame(IMAGES[:, :2] / 255, columns=["u", "v"])
    nets = [nn.Network([6, 2], loss="mean_squared_error", device="numpy", seed=0) for _ in range(2)]
    fit(nets[0], (IMAGES / 255, frame), checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r"resume: expected target_names as in .*, \['u', 'v'\], got \['v', 'u'\]"):
        fit(nets[1], (IMAGES / 255, frame[["v", "u"]]), checkpoint=tmp_path / "run", resume=True, epochs=3)


def test_a_checkpoint_of_scaled_integers_is_not_resumed_with_others(tmp_path):
    fit(network(), nn.Dataset(IMAGES, Y, scale=255), checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r"resume: expected scale as in .*, 255.0, got None; use the same"):
        fit(network(), (IMAGES, Y), checkpoint=tmp_path / "run", resume=True, epochs=3)
    net, other = network(), network()
    fit(net, (IMAGES / np.float32(255), Y), checkpoint=tmp_path / "run", resume=True, epochs=3)
    fit(other, nn.Dataset(IMAGES, Y, scale=255), epochs=3)
    np.testing.assert_allclose(net.weights[0], other.weights[0], atol=1e-6)


def test_a_schema_says_what_it_knows():
    assert repr(SCHEMA) == (
        "Schema(scale=255.0, class_names=('ant', 'bee', 'cat'), feature_names=('a', 'b', 'c', 'd', 'e', 'f'), "
        "target_names=('species',))"
    )
    assert json.dumps(SCHEMA.class_names) == '["ant", "bee", "cat"]'
    assert Schema(class_names=np.array([1, 2])).class_names == (1, 2)


# defaults


def test_fit_needs_no_more_than_data_and_epochs(device):
    x = IMAGES / np.float32(255)
    usual, said = network(device), network(device)
    usual.fit((x, Y), epochs=2)
    said.fit((x, Y), epochs=2, batch_size=32, optimizer=nn.Adam())
    for ours, its in zip(usual.weights, said.weights, strict=True):
        np.testing.assert_array_equal(numbers(ours), numbers(its))
    assert usual.steps == 2 * 2


def test_an_ensemble_with_learning_rates_takes_plain_sgd():
    x, rates = IMAGES / np.float32(255), [0.1, 1.0, 3.0]
    ensemble = nn.Ensemble([6, 5, 3], 3, learning_rates=rates, device="numpy", seed=4)
    ensemble.fit((x, Y), epochs=2)
    assert ensemble.optimizers == tuple(map(nn.SGD, rates))
    alone = nn.Network([6, 5, 3], device="numpy", seed=5)
    alone.fit((x, Y), epochs=2, batch_size=32, optimizer=nn.SGD(1.0))
    np.testing.assert_allclose(ensemble[1].weights[0], alone.weights[0], atol=1e-6)
    plain = nn.Ensemble([6, 5, 3], 2, device="numpy", seed=4)
    plain.fit((x, Y), epochs=1)
    assert plain.optimizers == (nn.Adam(), nn.Adam())


# columns of targets


def test_columns_of_classes_are_told_by_their_names(device):
    net, frame = network(device), pd.DataFrame(np.eye(3)[Y], columns=NAMES)
    fit(net, (IMAGES / 255, frame))
    assert net.class_names == NAMES
    other = frame[["cat", "ant", "bee"]]
    wanted = net.loss((IMAGES / 255, Y))
    for y in (TEXT, frame, other, np.eye(3)[Y]):
        assert net.loss((IMAGES / 255, y)) == pytest.approx(wanted, rel=1e-6)
    assert net.loss(nn.Dataset(IMAGES / 255, other, device=device)) == pytest.approx(wanted, rel=1e-6)
    few = (IMAGES / 255)[Y < 2], frame[["bee", "ant"]][Y < 2]
    assert net.loss(few) == pytest.approx(net.loss((few[0], Y[Y < 2])), rel=1e-6)
    for y in (other, frame):
        for ours, its in zip(net.backprop(IMAGES / 255, y)[1], net.backprop(IMAGES / 255, Y)[1], strict=True):
            np.testing.assert_allclose(numbers(ours), numbers(its), atol=1e-6)
    history = fit(net, (IMAGES / 255, other), epochs=1, validation_data=(IMAGES / 255, other))
    assert net.class_names == NAMES
    assert history["validation_loss"] == [pytest.approx(net.loss((IMAGES / 255, Y)), rel=1e-6)]


@pytest.mark.parametrize(("loss", "task"), [("mean_squared_error", None), ("cross_entropy", "multilabel")])
def test_columns_of_targets_are_told_by_their_names(loss, task):
    net = nn.Network([6, 2], loss=loss, task=task, device="numpy", seed=0)
    frame = pd.DataFrame({"u": Y % 2, "v": (Y > 0) * 1.0})
    fit(net, (IMAGES / 255, frame))
    assert net.schema.target_names == ("u", "v")
    wanted, other = net.loss((IMAGES / 255, frame.to_numpy())), frame[["v", "u"]]
    data = nn.Dataset(IMAGES / 255, other, device="numpy")
    for given in ((IMAGES / 255, other), data):
        assert net.loss(given) == pytest.approx(wanted, rel=1e-6)
    gradients = [net.backprop(IMAGES[0] / 255, y)[1][0] for y in (frame.iloc[0], other.iloc[0], frame.iloc[0].tolist())]
    np.testing.assert_array_equal(gradients[0], gradients[2])
    np.testing.assert_array_equal(gradients[1], gradients[2])
    fit(net, data)
    assert net.schema.target_names == ("u", "v")
