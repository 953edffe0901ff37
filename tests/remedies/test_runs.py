"""What is asked of a run, what watches it, and what it leaves."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest

import nn_any as nn
from nn_any.files import load_model, save_model

from . import place

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3
OVERFLOWS = pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero):RuntimeWarning")


@pytest.fixture
def net():
    return nn.Network([4, 5, 3], seed=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def fit(net, epochs=1, **options):
    return net.fit((X, Y), **{"epochs": epochs, "batch_size": 4, "optimizer": nn.SGD(0.1), **options})


@place(
    "training/checkpoint.py Checkpoint.__init__: checkpoint: expected a path, or a Checkpoint, got",
    "checkpoint",
    "a path",
)
def test_a_checkpoint_that_is_no_path(refused, net, path):
    with refused:
        fit(net, checkpoint=True)
    fit(net, checkpoint=path)


@place(
    "training/checkpoint.py Checkpoint.__init__: best: expected the name of a column of the",
    "best",
    "the name of a column",
)
def test_a_best_that_is_no_name(refused, net, path):
    with refused:
        nn.Checkpoint(path, best=True)
    fit(net, checkpoint=nn.Checkpoint(path, best="loss"))


@place(
    "training/checkpoint.py Checkpoint.open: checkpoint: expected a folder, found none; make {}",
    "checkpoint",
    "found none; make ",
)
def test_a_checkpoint_in_no_folder(refused, net, path):
    path = path.parent / "runs" / "run"
    with refused:
        fit(net, checkpoint=path)
    path.parent.mkdir()
    fit(net, checkpoint=path)


@place(
    "training/checkpoint.py Checkpoint._check_run: best: expected one of {}, got {}{}", "best", "one of epoch, loss,"
)
def test_a_best_that_is_not_recorded(refused, net, path):
    with refused:
        fit(net, checkpoint=nn.Checkpoint(path, best="validation_loss"))
    fit(net, checkpoint=nn.Checkpoint(path, best="loss"))


class Named(nn.schedules.Schedule):
    def __call__(self, epoch, steps, records=()):
        return np.full(steps, 0.1)


@dataclass(frozen=True)
class Frozen(Named):
    pass


@place(
    "training/checkpoint.py Checkpoint._check_run: optimizer: expected one whose text is the same in",
    "optimizer",
    "make it, or its schedule, a frozen dataclass",
)
def test_a_schedule_that_cannot_be_recognized(refused, net, path):
    with refused:
        fit(net, optimizer=nn.SGD(Named()), checkpoint=path)
    fit(net, optimizer=nn.SGD(Frozen()), checkpoint=path)


def change(path, training):
    """Other words about the run in a checkpoint."""
    about, tensors = load_model(path)
    save_model(path, {name: part for name, part in about.items() if name != "format"} | {"training": training}, tensors)


@place(
    "training/checkpoint.py Checkpoint._read: {}: expected a checkpoint, got one whose parts do",
    "run.safetensors",
    "use another copy",
)
def test_a_checkpoint_that_lacks_a_part(refused, net, path):
    fit(net, checkpoint=path)
    whole = path.read_bytes()
    change(path, {})
    with refused:
        fit(nn.Network([4, 5, 3], seed=0), 2, checkpoint=path, resume=True)
    path.write_bytes(whole)
    assert len(fit(nn.Network([4, 5, 3], seed=0), 2, checkpoint=path, resume=True)) == 2


@place(
    "training/checkpoint.py Checkpoint.on_train_begin: callbacks: expected no checkpoint, got {}; pass it",
    "callbacks",
    "fit(checkpoint=...)",
)
def test_a_checkpoint_among_callbacks(refused, net, path):
    with refused:
        fit(net, callbacks=[nn.Checkpoint(path)])
    fit(net, checkpoint=nn.Checkpoint(path))


@place(
    "training/checkpoint.py Checkpoint._check: {}: expected a checkpoint, got a model file",
    "run.safetensors",
    "train on from nn_any.Network.load, with another path for the checkpoint",
)
def test_a_model_file_to_resume(refused, net, path):
    fit(net)
    net.save(path)
    with refused:
        fit(net, checkpoint=path, resume=True)
    loaded = nn.Network.load(path)
    fit(loaded, checkpoint=path.with_name("other"), resume=True)
    assert loaded.epoch == 2


@place(
    "training/checkpoint.py Checkpoint._check: resume: expected {} as in {}, {}, got {}; use the",
    "resume",
    "use the same, or another checkpoint",
)
def test_a_run_that_goes_on_otherwise(refused, net, path):
    fit(net, checkpoint=path)
    with refused:
        fit(net, 2, batch_size=6, checkpoint=path, resume=True)
    fit(net, 2, batch_size=6, checkpoint=path.with_name("other"), resume=True)
    fit(nn.Network([4, 5, 3], seed=0), 2, batch_size=4, checkpoint=path, resume=True)


@place(
    "training/checkpoint.py Checkpoint._check: resume: expected the callbacks of {}, {}, got {};",
    "resume",
    "use the same",
)
def test_a_run_that_goes_on_without_its_callbacks(refused, net, path):
    fit(net, checkpoint=path, callbacks=[nn.EarlyStopping("loss")])
    with refused:
        fit(net, 2, checkpoint=path, resume=True)
    fit(net, 2, checkpoint=path, resume=True, callbacks=[nn.EarlyStopping("loss")])


@place(
    "training/checkpoint.py _optimizer_state.find: {}: expected an array {} of shape {} for {}, found",
    "run.safetensors: expected an array optimizer.0",
    "use another copy",
)
def test_a_checkpoint_without_the_optimizers_state(refused, net, path):
    adam = nn.Adam()
    fit(net, optimizer=adam, checkpoint=path)
    whole = path.read_bytes()
    about, tensors = load_model(path)
    kept = {name: array for name, array in tensors.items() if "optimizer.0" not in name}
    save_model(path, {name: part for name, part in about.items() if name != "format"}, kept)
    with refused:
        fit(nn.Network([4, 5, 3], seed=0), 2, optimizer=adam, checkpoint=path, resume=True)
    path.write_bytes(whole)
    fit(nn.Network([4, 5, 3], seed=0), 2, optimizer=adam, checkpoint=path, resume=True)


@place(
    "training/early_stopping.py EarlyStopping.__init__: monitor: expected the name of a column of the",
    "monitor",
    "the name of a column",
)
def test_a_monitor_that_is_no_name(refused, net):
    with refused:
        nn.EarlyStopping(["loss"])
    fit(net, callbacks=[nn.EarlyStopping("loss")])


@place(
    "training/early_stopping.py EarlyStopping._refuse: monitor: expected one of {}, got {}; for",
    "monitor",
    "give fit validation_data",
)
def test_a_monitor_without_its_data(refused, net):
    with refused:
        fit(net, callbacks=[nn.EarlyStopping("validation_loss")])
    fit(net, callbacks=[nn.EarlyStopping("validation_loss")], validation_data=(X, Y))


@place("training/fit.py make_plan: layers: expected at least one to train, got none", "layers", "use net.unfreeze()")
def test_layers_that_are_all_frozen(refused, net):
    net.freeze()
    with refused:
        fit(net)
    net.unfreeze()
    fit(net)


@place("training/fit.py make_plan: metrics: expected data to measure as well, got", "metrics", "give validation_data")
def test_metrics_without_data(refused, net):
    with refused:
        fit(net, metrics=["f1"])
    fit(net, metrics=["f1"], validation_data=(X, Y))


@place(
    "training/fit.py _check_optimizer: optimizer: expected an Optimizer such as", "optimizer", "such as nn_any.SGD(0.5)"
)
def test_an_optimizer_by_its_name(refused, net):
    with refused:
        fit(net, optimizer="sgd")
    fit(net, optimizer=nn.SGD(0.5))


@place(
    "training/fit.py _check_optimizer: optimizer: expected a hashable one, got {}; make",
    "optimizer",
    "make it a frozen dataclass",
)
def test_an_optimizer_that_cannot_be_hashed(refused, net):
    class Unhashable(nn.SGD):
        __hash__ = None

    with refused:
        fit(net, optimizer=Unhashable(0.1))

    @dataclass(frozen=True)
    class Hashable(nn.SGD):
        pass

    fit(net, optimizer=Hashable(0.1))


@place("training/fit.py _batch_size: batch_size: expected all {} examples for {}, got", "batch_size", "leave it out")
def test_batches_for_a_search(refused, net):
    with refused:
        fit(net, optimizer=nn.LBFGS(), batch_size=4)
    net.fit((X, Y), epochs=1, optimizer=nn.LBFGS())


@place(
    "training/fit.py as_checkpoint: resume: expected a checkpoint to resume from, got", "resume", "pass checkpoint=PATH"
)
def test_a_run_to_resume_from_nothing(refused, net, path):
    with refused:
        fit(net, resume=True)
    fit(net, resume=True, checkpoint=path)


@place(
    "training/fit.py only_run: network: expected one that is not being trained,",
    "network",
    "wait for it to end, or train or move a copy: net.copy()",
)
def test_two_runs_at_a_time(refused, net):
    def again(run):
        fit(net.copy())
        with refused:
            fit(net)

    fit(net, callbacks=[again])
    fit(net)


@place("training/history.py History.__getitem__: column: expected one of {}, got {}{}", "column", "one of epoch, loss")
def test_a_column_that_is_not_there(refused, net):
    history = fit(net)
    with refused:
        history["validation_loss"]
    assert len(history["loss"]) == 1


@place(
    "training/mini_batch.py _within_memory: {} ran out of memory in epoch {}: a batch of {}",
    "a batch of 12",
    "batch_size=6 should fit",
)
def test_a_batch_that_does_not_fit_into_memory(refused, net, monkeypatch):
    """Memory for six examples is imagined."""
    engine, device = type(net.device.training_engine()), type(net.device)
    run = engine.run

    def short(self, step, state, data, order, *rest):
        if order.shape[1] > 6:
            raise MemoryError
        return run(self, step, state, data, order, *rest)

    monkeypatch.setattr(engine, "run", short)
    monkeypatch.setattr(device, "free_memory", lambda self: 10**9)
    with refused:
        fit(net, batch_size=12)
    fit(net, batch_size=6)


def regression(**options):
    return nn.Network([4, nn.Dense(1, activation="linear")], seed=0, **options)


@OVERFLOWS
@place(
    "training/mini_batch.py _check_finite: the loss became {} in epoch {}, batch {} of {}, at",
    "learning rate 1e+30",
    "Try a smaller",
)
def test_a_loss_that_explodes(refused):
    with refused:
        regression().SGD((X, X[:, :1]), 5, 4, 1e30)
    regression().SGD((X, X[:, :1]), 5, 4, 0.1)


@OVERFLOWS
@place(
    "training/mini_batch.py _check_finite: weights or running averages became infinite or NaN",
    "weights",
    "Try a smaller learning rate",
)
def test_weights_that_explode(refused):
    with refused:
        regression().SGD((100 * X, X[:, :1]), 1, 12, 3e37)
    regression().SGD((100 * X, X[:, :1]), 1, 12, 1e-6)


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked on Windows")
@place(
    "training/checkpoint.py Checkpoint.open: checkpoint: expected a file that no other run",
    "checkpoint",
    "wait for it to end, or choose another path",
)
def test_a_checkpoint_of_two_runs(refused, net, path):
    def meanwhile(run):
        with refused:
            fit(net.copy(), checkpoint=path)
        fit(net.copy(), checkpoint=path.with_name("other"))

    fit(net, checkpoint=path, callbacks=[meanwhile])
    fit(net.copy(), 2, checkpoint=nn.Checkpoint(path, overwrite=True))


@place(
    "training/checkpoint.py Checkpoint.in_the_way: checkpoint: expected a file, got the folder {};",
    "checkpoint",
    "name a file in it, such as",
)
def test_a_folder_for_a_checkpoint(refused, net, path):
    with refused:
        fit(net, checkpoint=path.parent)
    fit(net, checkpoint=path.parent / "run.safetensors")


@place(
    "training/checkpoint.py Checkpoint.in_the_way: checkpoint: expected no file or a checkpoint, got",
    "checkpoint",
    "which is none; choose another path",
)
def test_a_file_that_is_no_checkpoint(refused, net, path):
    path.write_text("a diary")
    with refused:
        fit(net, checkpoint=nn.Checkpoint(path, overwrite=True))
    fit(net, checkpoint=nn.Checkpoint(path.with_name("other"), overwrite=True))


@place(
    "training/checkpoint.py Checkpoint._check_run: checkpoint: expected a path where nothing is, got",
    "checkpoint",
    "say resume=True to go on with its run, or nn_any.Checkpoint(..., overwrite=True) to replace it, or choose another",
)
def test_a_checkpoint_that_is_there_already(refused, net, path):
    fit(net, checkpoint=path)
    with refused:
        fit(net, checkpoint=path)
    fit(nn.Network([4, 5, 3], seed=0), 2, checkpoint=path, resume=True)
    fit(net, checkpoint=nn.Checkpoint(path, overwrite=True))
    fit(net, checkpoint=path.with_name("other"))


@place(
    "training/early_stopping.py EarlyStopping.restore: monitor: expected that of the checkpoint, {}, got",
    "monitor",
    "use the same, or another checkpoint",
)
def test_a_run_that_goes_on_with_another_monitor(refused, net, path):
    fit(net, checkpoint=path, callbacks=[nn.EarlyStopping("loss")])
    goes_on = {"epochs": 2, "resume": True}
    with refused:
        fit(net.copy(), **goes_on, checkpoint=path, callbacks=[nn.EarlyStopping("learning_rate", mode="max")])
    fit(nn.Network([4, 5, 3], seed=0), **goes_on, checkpoint=path, callbacks=[nn.EarlyStopping("loss")])
    another = {"checkpoint": path.with_name("other"), "callbacks": [nn.EarlyStopping("learning_rate", mode="max")]}
    fit(net, **goes_on, **another)


@place(
    "training/measured.py _measured: layers: {} expected {} whose mean and deviation {}",
    "layers: Standardize(",
    "divide large ones, or use dtype='float64'",
)
def test_inputs_whose_spread_is_beyond_float32(refused):
    def train(x, dtype="float32"):
        return nn.Network([4, nn.Standardize(), 3], dtype=dtype).fit(
            (x, Y), epochs=1, batch_size=4, optimizer=nn.SGD(0.1)
        )

    x = np.where(X > 0, 3e38, -3e38)
    with refused:
        train(x.astype("float32"))
    train(x / 1e38)
    train(x, "float64")


@place(
    "training/run.py as_callbacks: callbacks: expected instances, got the class {};",
    "callbacks",
    "make one: EarlyStopping()",
)
def test_a_class_of_callbacks(refused, net):
    with refused:
        fit(net, callbacks=[nn.EarlyStopping], validation_data=(X, Y))
    fit(net, callbacks=[nn.EarlyStopping()], validation_data=(X, Y))


@place(
    "training/run.py _check_takes_run: callbacks: expected functions of one argument, the",
    "callbacks",
    "wrap it: lambda run: ...",
)
def test_a_callback_of_two_arguments(refused, net):
    def report(name, run):
        assert run.network is net

    with refused:
        fit(net, callbacks=[report])
    fit(net, callbacks=[lambda run: report("mine", run)])
