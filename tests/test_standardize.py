import json

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

import nn_any as nn

RNG = np.random.default_rng(0)
X = np.stack(
    [1e6 + RNG.standard_normal(5000), 1e-30 * RNG.standard_normal(5000), np.full(5000, 7.0), 1e30 * RNG.random(5000)],
    axis=1,
).astype("float32")
Y = RNG.integers(0, 3, 5000)
WEIGHTS = RNG.random(5000) * (RNG.random(5000) > 0.3)


def network(device="numpy", **arguments):
    stack = [4, nn.Standardize(), nn.Dense(5, "tanh"), nn.Dense(3)]
    return nn.Network(stack, initializer="scaled_normal", device=device, seed=0, **arguments)


def statistics(net, layer=0):
    return [nn.to_numpy(array) for array in net.state.layer_state[layer]]


def fit(net, data=(X, Y), **arguments):
    return net.fit(data, **{"epochs": 1, "batch_size": 500, "optimizer": nn.SGD(0.5)} | arguments)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
def test_fit_measures_what_scikit_learn_does_in_float64(device, weights):
    net = network(device)
    fit(net, sample_weight=weights)
    oracle = StandardScaler().fit(X.astype("float64"), sample_weight=weights)
    mean, deviation, measured = statistics(net)
    np.testing.assert_allclose(mean, oracle.mean_, rtol=1e-6, atol=1e-34)
    np.testing.assert_allclose(deviation, oracle.scale_, rtol=1e-5)
    assert measured == 1


def test_training_equals_that_on_columns_standardised_beforehand(device):
    x = (RNG.standard_normal((200, 4)) * [1, 10, 100, 1000] + 50).astype("float32")
    y = RNG.integers(0, 3, 200)
    net, plain = network(device), nn.Network([4, nn.Dense(5, "tanh"), 3], device=device, seed=0)
    plain.set_weights(*([nn.to_numpy(a) for a in arrays] for arrays in (net.weights, net.biases)))
    fit(net, (x, y), epochs=3, batch_size=20)
    scaled = StandardScaler().fit_transform(x.astype("float64")).astype("float32")
    fit(plain, (scaled, y), epochs=3, batch_size=20)
    outputs = nn.to_numpy(net.feedforward(x)), nn.to_numpy(plain.feedforward(scaled))
    np.testing.assert_allclose(*outputs, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_targets_are_answered_in_their_own_units(device, engine):
    x = RNG.standard_normal((300, 2)).astype("float32")
    y = np.stack([150 + 80 * x[:, 0], 1e4 - 1e3 * x[:, 1]], axis=1)
    stack = [2, nn.Standardize(), nn.Dense(2, "linear"), nn.Standardize(invert=True)]
    net = nn.Network(stack, loss="mean_squared_error", initializer="zeros", device=device, seed=0)
    fit(net, (x, y), epochs=60, batch_size=30, optimizer=nn.Adam(0.03), engine=engine)
    answers = nn.to_numpy(net.predict(x))
    np.testing.assert_allclose(answers, y, rtol=0.02, atol=2)
    np.testing.assert_allclose(statistics(net, 2)[0], y.mean(axis=0), rtol=1e-5)


def test_rows_of_weight_0_and_stored_integers_and_images(device):
    x = RNG.integers(0, 256, (40, 3, 3, 1)).astype("uint8")
    x[20:] = 255
    stack = [(3, 3, 1), nn.Standardize(), nn.Flatten(), 2]
    net = nn.Network(stack, device=device, seed=0)
    data = nn.Dataset(x, np.arange(40) % 2, scale=255, device=device, sample_weight=[1.0] * 20 + [0.0] * 20)
    fit(net, data, batch_size=10)
    rows = x[:20].astype("float64") / 255
    np.testing.assert_allclose(statistics(net)[0], rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(statistics(net)[1], rows.std(axis=0), rtol=1e-5)


def test_rows_of_weight_0_may_hold_anything(device):
    x = np.concatenate([np.full((5000, 4), 1e20), 1e3 + RNG.random((1000, 4))]).astype("float32")
    net = network(device)
    fit(net, (x, np.arange(6000) % 3), sample_weight=[0.0] * 5000 + [1.0] * 1000)
    oracle = StandardScaler().fit(x[5000:].astype("float64"))
    np.testing.assert_allclose(statistics(net)[0], oracle.mean_, rtol=1e-6)
    np.testing.assert_allclose(statistics(net)[1], oracle.scale_, rtol=1e-4)


def test_it_stands_after_augmentation_which_leaves_the_measured_inputs_alone():
    stack = [(3, 3, 1), nn.RandomAffine(rotation=5), nn.Standardize(), nn.Flatten(), 2]
    net = nn.Network(stack, device="numpy", seed=0)
    x = RNG.random((20, 3, 3, 1))
    fit(net, (x, np.arange(20) % 2), batch_size=10)
    np.testing.assert_allclose(statistics(net, 1)[0], x.mean(axis=0), rtol=1e-5)


def test_an_ensemble_measures_once_and_its_members_are_networks(device):
    ensemble = nn.Ensemble([4, nn.Standardize(), nn.Dense(5, "tanh"), 3], 3, seed=0, device=device)
    fit(ensemble)
    mean, deviation, measured = statistics(ensemble)
    assert (mean.shape, deviation.shape, measured.shape) == ((3, 4), (3, 4), (3,))
    alone = nn.Network([4, nn.Standardize(), nn.Dense(5, "tanh"), 3], seed=1, device=device)
    fit(alone)
    for ours, its in zip(statistics(ensemble[1]), statistics(alone), strict=True):
        np.testing.assert_array_equal(ours, its)
    answers = nn.to_numpy(ensemble.member_outputs(X[:9]))[1]
    np.testing.assert_allclose(answers, nn.to_numpy(alone.feedforward(X[:9])), rtol=1e-4, atol=1e-5)


def test_later_runs_files_and_checkpoints_keep_what_was_measured(device, tmp_path):
    net = network(device)
    fit(net, epochs=1, checkpoint=tmp_path / "run.safetensors")
    first = statistics(net)
    fit(net, (X * 0 + 3, Y))
    net.save(tmp_path / "net.safetensors")
    again = network("numpy")
    fit(again, (X * 0 + 5, Y), epochs=2, checkpoint=tmp_path / "run.safetensors", resume=True)
    for other in (net, nn.Network.load(tmp_path / "net.safetensors", device="numpy"), again):
        for before, now in zip(first, statistics(other), strict=True):
            np.testing.assert_array_equal(now, before)


def test_a_run_that_is_refused_or_diverges_or_has_no_epochs_measures_nothing():
    net = network()
    before = net.snapshot

    class Refusing(nn.Callback):
        def on_train_begin(self, run):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fit(net, callbacks=[Refusing()])
    assert net.snapshot is before
    fit(net, epochs=0)
    assert statistics(net)[2] == 0
    with pytest.raises(nn.TrainingDivergedError):
        fit(network(loss="quadratic", activation="linear"), (X, np.eye(3)[Y]), optimizer=nn.SGD(1e30))


def ensemble_of_two(device):
    return nn.Ensemble([4, nn.Standardize(), 3], 2, device=device)


@pytest.mark.parametrize("model", [network, ensemble_of_two])
def test_data_beyond_the_dtype_are_refused_before_anything_changes(device, tmp_path, model):
    net = model(device)
    before = net.snapshot
    with pytest.raises(nn.InvalidValueError, match="whose mean and deviation float32 can hold"):
        fit(net, (np.float32([[3e38] * 4, [-3e38] * 4]), [0, 1]), batch_size=2, checkpoint=tmp_path / "run.safetensors")
    assert net.snapshot is before
    assert not list(tmp_path.iterdir())


def test_all_blocks_of_an_ensemble_get_one_measurement(monkeypatch):
    calls = []
    measure = nn.Standardize.measure
    monkeypatch.setattr(nn.Standardize, "measure", lambda *args, **how: calls.append(1) or measure(*args, **how))
    ensemble = nn.Ensemble([4, nn.Standardize(), nn.Dense(9000), 3], 60, seed=0, device="numpy")
    assert len(ensemble.snapshot.blocks) > 1
    fit(ensemble, (X[:20], Y[:20]), batch_size=10)
    assert len(calls) == 1
    np.testing.assert_array_equal(statistics(ensemble)[2], np.ones(60))


def test_a_run_asks_once_whether_its_layers_have_measured(monkeypatch):
    asked = []
    is_measured = nn.Standardize.is_measured
    monkeypatch.setattr(nn.Standardize, "is_measured", lambda *args: asked.append(1) or is_measured(*args))
    fit(network(), epochs=5)
    assert len(asked) == 1


@pytest.mark.parametrize("moment", ["on_train_begin", "on_pause", "on_epoch_end"])
def test_a_snapshot_that_a_callback_assigns_is_measured_as_well(device, monkeypatch, moment):
    monkeypatch.setattr("nn_any.training.fit.segment_length", lambda *args: 5)
    net, other, callback = network(device), network(device), nn.Callback()

    def assign(run):
        within = run.network.snapshot.progress.unfinished is not None
        if len(run.history) < 2 and within == (moment == "on_pause"):
            run.network.snapshot = other.snapshot

    setattr(callback, moment, assign)
    fit(net, epochs=2, callbacks=[callback])
    assert statistics(net)[2] == 1
    assert statistics(other)[2] == 0


def test_measure_is_for_a_loop_of_ones_own(device):
    net = network(device)
    state = nn.measure(net, net.state, (X, Y))
    assert statistics(net)[2] == 0
    net.state = state
    fitted = network(device)
    fit(fitted)
    np.testing.assert_array_equal(statistics(net)[0], statistics(fitted)[0])
    np.testing.assert_array_equal(nn.to_numpy(nn.measure(fitted, net.state, (X * 2, Y)).layer_state[0][2]), 1)


def test_the_layer_before_an_inverted_one_gets_the_activation_that_suits_the_loss():
    net = nn.Network([2, nn.Standardize(), 3, 1, nn.Standardize(invert=True)], loss="mean_squared_error")
    assert [layer.activation.name for layer in net.layers] == ["linear", "sigmoid", "linear", "linear"]


def test_it_takes_its_place_or_is_refused_with_a_remedy():
    with pytest.raises(nn.InvalidValueError, match="put it in front of every layer"):
        nn.Network([4, 5, nn.Standardize(), 3])
    with pytest.raises(nn.InvalidValueError, match="put it last"):
        nn.Network([4, nn.Standardize(invert=True), 3])
    with pytest.raises(nn.InvalidTypeError, match="invert of a Standardize layer"):
        nn.Standardize(1)
    with pytest.raises(nn.InvalidValueError, match="float64"):
        fit(network(), (np.float32([[3e38] * 4, [-3e38] * 4]), [0, 1]), batch_size=2)


def test_lbfgs_freezing_and_float64_go_with_it():
    net = network(dtype="float64")
    net.freeze(1)
    fit(net, epochs=3, batch_size=None, optimizer=nn.LBFGS())
    np.testing.assert_allclose(statistics(net)[1], StandardScaler().fit(X.astype("float64")).scale_, rtol=1e-9)
    assert json.dumps(net.summary())


def test_gradients_agree_with_central_differences():
    stack = [2, nn.Standardize(), nn.Dense(3, "tanh"), nn.Dense(2, "linear"), nn.Standardize(invert=True)]
    net = nn.Network(stack, loss="mean_squared_error", dtype="float64", device="numpy", seed=0)
    x, y = RNG.random((9, 2)) * 100, RNG.random((9, 2)) * 50
    net.state = nn.measure(net, net.state, (x, y))
    weights, biases = net.weights, net.biases
    for gradient, place in zip(net.backprop(x, y)[1], range(2), strict=True):
        losses = []
        for step in (1e-6, -1e-6):
            moved = [w.copy() for w in weights]
            moved[place][1, 1] += step
            net.set_weights(moved, biases)
            losses.append(net.loss((x, y)))
        assert gradient[1, 1] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5)
        net.set_weights(weights, biases)
