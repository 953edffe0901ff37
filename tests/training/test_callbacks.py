"""What is no callback, and what a callback cannot do."""

import numpy as np
import pytest

import nn_any as nn

X, Y = np.random.default_rng(0).random((20, 4)).astype("float32"), np.arange(20) % 3
GIVEN = {"epochs": 2, "batch_size": 10, "optimizer": nn.SGD(0.5)}


def network():
    return nn.Network([4, 3], device="numpy", seed=0)


class LikeKeras:
    def on_epoch_end(self, epoch, logs=None):
        pass


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (nn.EarlyStopping, r"expected instances, got the class EarlyStopping; make one: EarlyStopping\(\)"),
        (
            LikeKeras(),
            "expected nn_any.Callback instances or functions of the run, .*derive its class from nn_any.Callback",
        ),
        (lambda: None, r"expected functions of one argument, the run, .* which takes \(\); wrap it: lambda run"),
        (lambda epoch, logs: None, r"expected functions of one argument, .* takes \(epoch, logs\); wrap it"),
    ],
)
def test_what_is_no_callback_is_refused_before_the_first_epoch(callback, message):
    net = network()
    with pytest.raises(TypeError, match=f"callbacks: {message}"):
        net.fit((X, Y), **GIVEN, callbacks=[lambda run: None, callback])
    assert net.steps == 0


def test_functions_of_any_kind_are_taken(capsys):
    seen = []

    class Callable:
        def __call__(self, run, more=None):
            seen.append(run.network.epoch)

    network().fit((X, Y), **GIVEN, callbacks=[print, Callable(), lambda *anything: None])
    assert seen == [1, 2]
    assert capsys.readouterr().out.count("TrainingRun") == 2


@pytest.mark.parametrize("moment", ["on_train_begin", "on_pause", "on_epoch_end", "on_train_end"])
def test_a_network_that_is_trained_does_not_move(backend, moment):
    net, callback = nn.Network([4, 3], device=backend.device, seed=0), nn.Callback()
    setattr(callback, moment, lambda run: run.network.to("numpy"))
    with pytest.raises(nn.NetworkBusyError, match="wait for it to end, or train or move a copy: net.copy"):
        net.fit((X, Y), **GIVEN, callbacks=[callback])
    assert net.device == backend.device
    net.copy().to("numpy").fit((X, Y), **GIVEN)
    net.to("numpy").fit((X, Y), **GIVEN)
