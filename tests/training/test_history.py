"""Histories whose epochs do not all have the same columns, and epochs that were done in parts."""

import csv
import signal
import time

import numpy as np
import pytest

import nn_any as nn

RNG = np.random.default_rng(0)
X, Y = RNG.random((40, 4)).astype("float32"), np.arange(40) % 3
HELD = X[:9], Y[:9]
GIVEN = {"batch_size": 10, "optimizer": nn.SGD(0.5)}
BASIC = ["epoch", "loss", "learning_rate", "seconds"]
MEASURED = ["validation_loss", "validation_correct", "validation_accuracy"]


def network(several=False):
    return nn.Ensemble([4, 3], 2, device="numpy", seed=0) if several else nn.Network([4, 3], device="numpy", seed=0)


def resumed(path, several, *each):
    """The history of a run whose parts evaluate other data."""
    for i, (epochs, data) in enumerate(each):
        history = network(several).fit((X, Y), epochs=epochs, checkpoint=path, resume=i > 0, **GIVEN, **data)
    return history


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_columns_that_only_some_epochs_have(tmp_path, several, first):
    with_data, without = (2, {"validation_data": HELD}), (2, {})
    each = [with_data, (3, {})] if first else [without, (3, {"validation_data": HELD})]
    history = resumed(tmp_path / "run", several, *each)
    there = [True, True, False] if first else [False, False, True]
    losses = history["validation_loss"]
    assert [np.isnan(loss) for loss in losses] == [not has for has in there]
    assert [name for name in history.columns if not name.startswith("member_")] == [*BASIC, *MEASURED]
    assert list(history.to_dict()) == history.columns
    head, *rows = history.table().splitlines()
    assert head.split() == [*BASIC, *MEASURED]
    assert [len(row.split()) for row in rows] == [7 if has else 4 for has in there]
    assert len({len(row) for row in (head, *rows)}) == 1
    history.to_csv(tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    for name in ("validation_accuracy", *(["member_validation_loss[1]"] if several else [])):
        assert [line[name] != "" for line in lines] == there
    if several:
        assert [np.isnan(values).tolist() for values in history["member_validation_loss"]] == [
            [not has] * 2 for has in there
        ]
    with pytest.raises(
        KeyError, match="expected one of .*validation_loss.*, got 'val_loss'; did you mean 'validation_loss'"
    ):
        history["val_loss"]
    with pytest.raises(KeyError, match=r"expected one of .*validation_loss.*, got -1"):
        history[-1]


def test_the_order_of_columns_stays(tmp_path):
    each = [(1, {"validation_data": HELD, "metrics": ["f1"]}), (2, {"test_data": HELD}), (3, {"validation_data": HELD})]
    history = resumed(tmp_path / "run", False, *each)
    assert history.columns == [*BASIC, *MEASURED, "validation_f1", "test_loss", "test_correct", "test_accuracy"]
    again = network().fit((X, Y), epochs=3, checkpoint=tmp_path / "run", resume=True, **GIVEN)
    assert again.table() == history.table()


def test_matrices_in_a_column_are_no_members(tmp_path):
    data = {"validation_data": HELD, "metrics": ["confusion_matrix"]}
    history = resumed(tmp_path / "run", False, (1, data), (2, data), (3, {}))
    history.to_csv(tmp_path / "history.csv")
    assert "validation_confusion_matrix[0]" not in (tmp_path / "history.csv").read_text()
    assert "validation_confusion_matrix" in history.table()


@pytest.mark.parametrize("by_file", [False, True])
def test_the_seconds_of_an_epoch_in_two_parts(tmp_path, monkeypatch, by_file):
    """Each step takes a second by this clock; what callbacks do at a pause is no training."""
    monkeypatch.setattr("nn_any.training.fit.segment_length", lambda *_: 1)
    clock = {"now": 0.0}
    monkeypatch.setattr(time, "perf_counter", lambda: clock["now"])
    run_epoch = nn.training.fit.MINI_BATCHES.run_epoch

    def slow(*given):
        for pause in run_epoch(*given):
            clock["now"] += 1.0
            yield pause

    monkeypatch.setattr(nn.training.fit, "MINI_BATCHES", nn.training.fit.MINI_BATCHES._replace(run_epoch=slow))

    class Follow(nn.Callback):
        def on_pause(self, run):
            clock["now"] += 100.0
            if run.network.steps == 6 and not going_on:
                signal.raise_signal(signal.SIGINT)

    going_on, net, checkpoint = False, network(), {"checkpoint": tmp_path / "run"} if by_file else {}
    with pytest.raises(nn.TrainingInterrupted, match="SIGINT ended the training in epoch 2"):
        net.fit((X, Y), epochs=3, callbacks=[Follow()], **GIVEN, **checkpoint)
    going_on = True
    if by_file:
        history = network().fit((X, Y), epochs=3, callbacks=[Follow()], **GIVEN, **checkpoint, resume=True)
        assert history["seconds"] == [4.0, 4.0, 4.0]
    else:
        assert net.fit((X, Y), epochs=2, callbacks=[Follow()], **GIVEN)["seconds"] == [4.0, 4.0]


@pytest.mark.parametrize(("epochs", "when"), [(2, "after epoch 2"), (5, "after epoch 2")])
def test_a_signal_between_epochs_names_the_one_that_is_done(epochs, when):
    def interrupt(run):
        if len(run.history) == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(nn.TrainingInterrupted, match=f"SIGINT ended the training {when}$") as caught:
        network().fit((X, Y), epochs=epochs, callbacks=[interrupt], **GIVEN)
    assert len(caught.value.history) == 2


def test_the_bar_of_a_resumed_run_counts_the_epochs_before(tmp_path):
    from rich.console import Console

    from nn_any.training.display import ProgressDisplay

    network().fit((X, Y), epochs=2, checkpoint=tmp_path / "run", **GIVEN)
    with (tmp_path / "screen").open("w") as screen:
        display = ProgressDisplay(Console(file=screen, force_terminal=True, width=100, color_system=None))
        network().fit((X, Y), epochs=4, checkpoint=tmp_path / "run", resume=True, callbacks=[display], **GIVEN)
    assert "4/4" in (tmp_path / "screen").read_text()
