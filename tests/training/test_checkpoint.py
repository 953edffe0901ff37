"""Interrupted and resumed runs against those that were never interrupted, and what can go wrong on the way."""

import errno
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import BACKENDS, need

import nn_any as nn
from nn_any.core.trees import tree_leaves

RNG = np.random.default_rng(0)
X, Y = RNG.random((47, 6)).astype("float32"), RNG.integers(0, 3, 47)
HELD = (RNG.random((20, 6)).astype("float32"), RNG.integers(0, 3, 20))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch):
    """Two steps at a time, so that an epoch has pauses."""
    monkeypatch.setattr("nn_any.training.fit.segment_length", lambda *_: 2)


def network(device, seed=5, dtype="float32"):
    layers = [6, nn.Dense(8, activation="relu"), nn.BatchNorm(), nn.Dropout(0.2), nn.Dense(3, activation="softmax")]
    return nn.Network(layers, loss="log_likelihood", device=device, dtype=dtype, seed=seed)


def options(**others):
    given = {"epochs": 4, "batch_size": 10, "optimizer": nn.Adam(nn.schedules.Cosine(0.01, epochs=4))}
    return given | {"validation_data": HELD, "metrics": ["f1"]} | others


class Stop(nn.Callback):
    """Raises a signal, or an error, at a pause: after so many steps."""

    def __init__(self, steps, what):
        self.steps, self.what = steps, what

    def on_pause(self, run):
        if run.network.steps >= self.steps and self.what is not None:
            what, self.what = self.what, None
            what()


def interrupt():
    signal.raise_signal(signal.SIGINT)


def same(one, other, tolerance=0.0):
    for a, b in zip(tree_leaves(one.state), tree_leaves(other.state), strict=True):
        np.testing.assert_allclose(nn.to_numpy(a), nn.to_numpy(b), rtol=tolerance, atol=tolerance)
    assert (one.epoch, one.steps, one.seed) == (other.epoch, other.steps, other.seed)


def same_history(one, other, tolerance=0.0):
    for name in one.records[0]:
        if name != "seconds":
            np.testing.assert_allclose(one[name], other[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("steps", [1, 4, 5, 7, 12, 19])
def test_interrupted_and_resumed_is_as_never_interrupted(backend, path, steps):
    whole = network(backend.device)
    expected = whole.fit((X, Y), **options())
    net = network(backend.device)
    with pytest.raises(nn.TrainingInterrupted, match="SIGINT ended the training (in|after) epoch") as caught:
        net.fit((X, Y), **options(checkpoint=path, callbacks=[Stop(steps, interrupt)]))
    assert caught.value.signal == signal.SIGINT
    assert len(caught.value.history) == net.epoch < 4
    assert net.steps < whole.steps
    fresh = network(backend.device, seed=99)  # the file's seed counts
    history = fresh.fit((X, Y), **options(checkpoint=path, resume=True, callbacks=[Stop(0, None)]))
    same(fresh, whole)
    same_history(history, expected)


def test_without_a_file_the_interrupted_network_itself_goes_on(backend):
    whole, net = network(backend.device), network(backend.device)
    whole.fit((X, Y), **options())
    with pytest.raises(KeyboardInterrupt):
        net.fit((X, Y), **options(callbacks=[Stop(7, interrupt)]))
    net.fit((X, Y), **options(epochs=4 - net.epoch))
    same(net, whole)


def test_another_kind_of_epoch_begins_anew():
    net = network("numpy")
    with pytest.raises(KeyboardInterrupt):
        net.fit((X, Y), **options(callbacks=[Stop(7, interrupt)]))
    assert net.snapshot.progress.unfinished is not None
    steps = net.steps
    net.fit((X, Y), **options(epochs=1, batch_size=47))
    assert (net.steps, net.epoch) == (steps + 1, 2)


OPTIMIZERS = [nn.SGD(0.5), nn.SGD(0.1, momentum=0.9), nn.RMSprop(0.01, centered=True, momentum=0.5), nn.Adagrad(0.1)]
OPTIMIZERS += [nn.AdamW(0.01), nn.SGD(nn.schedules.ReduceOnPlateau(0.5, monitor="validation_loss", patience=1))]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_every_optimizer_resumes(path, optimizer):
    whole, net = network("numpy"), network("numpy")
    whole.fit((X, Y), **options(optimizer=optimizer))
    with pytest.raises(KeyboardInterrupt):
        net.fit((X, Y), **options(optimizer=optimizer, checkpoint=path, callbacks=[Stop(8, interrupt)]))
    fresh = network("numpy")
    fresh.fit((X, Y), **options(optimizer=optimizer, checkpoint=path, resume=True, callbacks=[Stop(0, None)]))
    same(fresh, whole)


def test_lbfgs_resumes(path):
    def dense():
        return nn.Network([6, 5, 3], device="numpy", dtype="float64", seed=1)

    def ends(run):
        if len(run.history) == 3 and not resumed:
            interrupt()

    resumed, whole, net = False, dense(), dense()
    given = {"epochs": 8, "optimizer": nn.LBFGS()}
    whole.fit((X, Y), **given)
    with pytest.raises(KeyboardInterrupt):
        net.fit((X, Y), **given, checkpoint=path, callbacks=[ends])
    resumed, fresh = True, dense()
    fresh.fit((X, Y), **given, checkpoint=path, resume=True, callbacks=[ends])
    same(fresh, whole, 1e-12)


JAX = pytest.param("jax", marks=pytest.mark.slow)


@pytest.mark.parametrize("there", ["numpy", "torch", JAX, "strict-device1"])
@pytest.mark.parametrize("here", ["numpy", "torch", JAX])
def test_begun_on_one_backend_finished_on_another(here, there, path):
    here, there = BACKENDS[here], BACKENDS[there]
    need(here.library)
    need(there.library)
    whole, net, other = (network(place) for place in (here.device, here.device, there.device))
    # not Adam: a bias before batch normalisation has no gradient but rounding, which Adam would scale up
    given = options(optimizer=nn.SGD(nn.schedules.Cosine(0.3, epochs=4), momentum=0.9))
    whole.fit((X, Y), **given)
    with pytest.raises(KeyboardInterrupt):
        net.fit((X, Y), **given, checkpoint=path, callbacks=[Stop(9, interrupt)])
    other.fit((X, Y), **given, checkpoint=path, resume=True, callbacks=[Stop(0, None)])
    same(other, whole, 2e-5)


def test_early_stopping_remembers(path):
    def stopping():
        return nn.EarlyStopping("validation_loss", patience=3)

    given = options(epochs=40, optimizer=nn.SGD(2.0))
    whole, watch = network("numpy"), stopping()
    expected = whole.fit((X, Y), **given, callbacks=[watch])
    assert watch.best_epoch < len(expected) < 40
    for epoch in range(1, len(expected) + 1):
        net, path_here = network("numpy"), path.with_name(f"{epoch}.safetensors")
        ends = [lambda run, epoch=epoch: interrupt() if len(run.history) == epoch else None]
        with pytest.raises(KeyboardInterrupt):
            net.fit((X, Y), **given, checkpoint=path_here, callbacks=[stopping(), *ends])
        again, fresh = stopping(), network("numpy")
        history = fresh.fit((X, Y), **given, checkpoint=path_here, resume=True, callbacks=[again, lambda run: None])
        same_history(history, expected)
        assert (again.best, again.best_epoch) == (watch.best, watch.best_epoch)
        for a, b in zip(fresh.weights, whole.weights, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_finished_run_is_resumed_to_nothing_and_a_longer_one_goes_on(path):
    net, longer, whole = network("numpy"), network("numpy"), network("numpy")
    net.fit((X, Y), **options(checkpoint=path))
    again = network("numpy")
    history = again.fit((X, Y), **options(checkpoint=path, resume=True))
    assert len(history) == 4
    same(again, net)
    longer.fit((X, Y), **options(epochs=6, checkpoint=path, resume=True))
    whole.fit((X, Y), **options(epochs=6))
    same(longer, whole)


def test_resume_without_a_file_begins(path):
    net, whole = network("numpy"), network("numpy")
    net.fit((X, Y), **options(checkpoint=path, resume=True))
    whole.fit((X, Y), **options())
    same(net, whole)


def test_the_checkpoint_is_a_model_file(path):
    net = network("numpy")
    net.fit((X, Y), **options(checkpoint=path))
    loaded = nn.Network.load(path, device="numpy")
    np.testing.assert_array_equal(loaded.feedforward(X), net.feedforward(X))


def test_the_same_run_writes_the_same_file(tmp_path):
    contents = []
    for name in ("a", "b"):
        network("numpy").fit((X, Y), **options(checkpoint=tmp_path / name, callbacks=[_no_seconds]))
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def _no_seconds(run):
    run.record["seconds"] = 0.0


def test_best_last_and_every_other(tmp_path):
    path = tmp_path / "run.safetensors"
    net, losses = network("numpy"), {}
    saver = nn.Checkpoint(path, best="validation_loss", keep_every=2, every=3)
    history = net.fit(
        (X, Y),
        **options(epochs=5, checkpoint=saver),
        callbacks=[lambda run: losses.update({net.epoch: net.loss(HELD)})],
    )
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["run-best.safetensors", "run-epoch0002.safetensors", "run-epoch0004.safetensors", path.name]
    best = nn.Network.load(tmp_path / "run-best.safetensors", device="numpy")
    assert best.loss(HELD) == min(history["validation_loss"])
    assert nn.Network.load(tmp_path / "run-epoch0004.safetensors", device="numpy").loss(HELD) == losses[4]
    assert nn.Network.load(path).epoch == 5


def test_the_epochs_to_keep_are_counted_from_the_networks_first(tmp_path):
    net = network("numpy")
    net.fit((X, Y), **options(epochs=1))
    net.fit((X, Y), **options(epochs=3, checkpoint=nn.Checkpoint(tmp_path / "run.safetensors", keep_every=2)))
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["run-epoch0002.safetensors", "run-epoch0004.safetensors", "run.safetensors"]


def test_steps_between_checkpoints(path, monkeypatch):
    written = []
    net = network("numpy")
    save = nn.Checkpoint.save
    monkeypatch.setattr(nn.Checkpoint, "save", lambda self, run: (written.append(net.steps), save(self, run)))
    net.fit((X, Y), **options(epochs=2, checkpoint=nn.Checkpoint(path, every_steps=4)))
    assert written == [4, 5, 9, 10]


def test_sigterm_is_heard(path):
    if os.name == "nt":
        pytest.skip("Windows has no SIGTERM to catch")
    net = network("numpy")
    terminate = Stop(7, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(nn.TrainingInterrupted) as caught:
        net.fit((X, Y), **options(checkpoint=path, callbacks=[terminate]))
    assert caught.value.signal == signal.SIGTERM
    assert nn.Network.load(path, device="numpy").steps == net.steps


def test_a_second_ctrl_c_stops_at_once(path):
    def twice():
        interrupt()
        interrupt()

    net = network("numpy")
    with pytest.raises(KeyboardInterrupt) as caught:
        net.fit((X, Y), **options(checkpoint=path, callbacks=[Stop(7, twice)]))
    assert not isinstance(caught.value, nn.TrainingInterrupted)


def test_a_callback_that_raises_after_the_checkpoint(path):
    def fail(run):
        if len(run.history) == 2:
            raise ZeroDivisionError("mine")

    whole, net, fresh = (network("numpy") for _ in range(3))
    whole.fit((X, Y), **options())
    with pytest.raises(ZeroDivisionError, match="mine"):
        net.fit((X, Y), **options(checkpoint=nn.Checkpoint(path, every=10), callbacks=[fail]))
    fresh.fit((X, Y), **options(checkpoint=path, resume=True, callbacks=[lambda run: None]))
    same(fresh, whole)


def test_a_full_disk_is_a_warning_and_training_goes_on(path, monkeypatch):
    net, whole = network("numpy"), network("numpy")
    net.fit((X, Y), **options(epochs=1, checkpoint=path))
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(RuntimeWarning, match=r"checkpoint could not be written, training goes on: .*No space left.*run"):
        net.fit((X, Y), **options(epochs=3, checkpoint=nn.Checkpoint(path, overwrite=True)))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    whole.fit((X, Y), **options())
    same(net, whole)


def test_divergence_in_mid_epoch_keeps_the_last_finite_weights(path):
    x = X.copy()
    net = nn.Network([6, nn.Dense(3, activation="linear")], loss="quadratic", device="numpy", seed=0)
    with pytest.raises(nn.TrainingDivergedError, match=r"in epoch \d+, batch \d+ of 5.*(after its batch|before that)"):
        net.fit(
            (x, np.eye(3, dtype="float32")[Y] * 1e18), epochs=9, batch_size=10, optimizer=nn.SGD(1e4), checkpoint=path
        )
    assert all(np.isfinite(w).all() for w in net.weights)
    assert nn.Network.load(path, device="numpy").steps == net.steps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": nn.SGD(0.1)}, r"resume: expected optimizer as in .*Adam.*got 'SGD\(learning_rate=0.1\)'"),
        ({"batch_size": 5}, r"resume: expected batch_size as in .*10, got 5"),
        ({"shuffle": False}, r"resume: expected shuffle as in .*True, got False"),
        ({"callbacks": [nn.EarlyStopping()]}, r"resume: expected the callbacks of .*\[\], got \['EarlyStopping'\]"),
    ],
)
def test_another_run_is_refused(path, change, message):
    network("numpy").fit((X, Y), **options(epochs=1, checkpoint=path))
    net = network("numpy")
    before, content = [w.copy() for w in net.weights], path.read_bytes()
    with pytest.raises(ValueError, match=message):
        net.fit((X, Y), **options(checkpoint=path, resume=True) | change)
    for a, b in zip(net.weights, before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert path.read_bytes() == content


def test_other_files_and_arguments_are_refused(path):
    net = network("numpy")
    net.save(path)
    with pytest.raises(ValueError, match="expected a checkpoint, got a model file without"):
        net.fit((X, Y), **options(checkpoint=path, resume=True))
    other = nn.Network([6, 4, 3], device="numpy")
    network("numpy").fit((X, Y), **options(epochs=1, checkpoint=path.with_name("other")))
    path = path.with_name("other")
    with pytest.raises(ValueError, match="resume: expected layers as in"):
        other.fit((X, Y), **options(checkpoint=path, resume=True))
    with pytest.raises(ValueError, match="resume: expected a checkpoint to resume from, got none"):
        net.fit((X, Y), **options(resume=True))
    with pytest.raises(TypeError, match="checkpoint: expected a path, or a Checkpoint, got 3"):
        net.fit((X, Y), **options(checkpoint=3))
    with pytest.raises(FileNotFoundError, match="checkpoint: expected a folder, found none; make"):
        net.fit((X, Y), **options(checkpoint=path.parent / "nowhere" / "run"))
    with pytest.raises(ValueError, match="best: expected one of .*validation_loss.*, got 'test_loss'"):
        net.fit((X, Y), **options(checkpoint=nn.Checkpoint(path, best="test_loss")))


@pytest.mark.parametrize("missing", ["settings", "records", "callbacks", "partial", "history"])
def test_a_forged_checkpoint_is_one_error_and_changes_nothing(path, missing):
    from nn_any.files import load_model, save_model

    network("numpy").fit((X, Y), **options(epochs=1, checkpoint=path))
    about, tensors = load_model(path)
    about.pop("format")
    del about["training"][missing]
    save_model(path, about, tensors)
    net = network("numpy")
    before = [w.copy() for w in net.weights]
    with pytest.raises(nn.ModelFileError, match="parts do not fit together|expected a checkpoint"):
        net.fit((X, Y), **options(checkpoint=path, resume=True))
    for a, b in zip(net.weights, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_history_too_long_for_a_file_is_a_warning(path, monkeypatch):
    def refuse(*_):
        raise ValueError("the description is too long")

    monkeypatch.setattr("nn_any.training.checkpoint.save_model", refuse)
    with pytest.warns(RuntimeWarning, match="could not be written, training goes on: the description is too long"):
        network("numpy").fit((X, Y), **options(epochs=1, checkpoint=path))


def test_a_metric_that_raises_leaves_history_and_network_together(path):
    calls = []

    def fragile(targets, outputs):
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError("mine")
        return 1.0

    whole, net, fresh = (network("numpy") for _ in range(3))
    whole.fit((X, Y), **options())
    with pytest.raises(ZeroDivisionError, match="mine"):
        net.fit((X, Y), **options(checkpoint=path, metrics=[fragile]))
    assert net.epoch == len(net.snapshot.progress.records) == 2
    history = fresh.fit((X, Y), **options(checkpoint=path, resume=True, metrics=[fragile]))
    assert history["epoch"] == [1, 2, 3, 4]
    assert np.isnan(history["validation_fragile"]).tolist() == [False, True, False, False]
    same(fresh, whole)


def test_a_callback_that_refuses_leaves_the_optimizer(path):
    net, other = network("numpy"), network("numpy")
    for one in (net, other):
        one.fit((X, Y), **options(epochs=1))
    with pytest.raises(ValueError, match="monitor: expected one of"):
        net.fit((X, Y), epochs=1, batch_size=10, optimizer=nn.SGD(0.1), callbacks=[nn.EarlyStopping("test_loss")])
    for one in (net, other):
        one.fit((X, Y), **options(epochs=1))
    same(net, other)


def test_an_optimizer_that_no_other_process_would_know_is_refused(path):
    class Mine(nn.schedules.Schedule):
        def __call__(self, epoch, steps, records=()):
            return np.full(steps, 0.1)

    with pytest.raises(ValueError, match="optimizer: expected one whose text is the same in every process.*frozen"):
        network("numpy").fit((X, Y), **options(optimizer=nn.SGD(Mine()), checkpoint=path))


def test_every_callback_hears_of_the_end():
    heard = []

    class Ends(nn.Callback):
        def __init__(self, name, error=None):
            self.name, self.error = name, error

        def on_train_end(self, run):
            heard.append(self.name)
            if self.error is not None:
                raise self.error

    with pytest.raises(ZeroDivisionError):
        network("numpy").fit(
            (X, Y), **options(epochs=1), callbacks=[Ends("a"), Ends("b", ZeroDivisionError()), Ends("c")]
        )
    assert heard == ["c", "b", "a"]


def test_nothing_warns_on_the_way(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network("numpy").fit((X, Y), **options(checkpoint=path))


def test_a_checkpoint_is_no_callback(path):
    net = network("numpy")
    with pytest.raises(ValueError, match=r"callbacks: expected no checkpoint, got Checkpoint\(.*checkpoint=\.\.\."):
        net.fit((X, Y), **options(callbacks=[nn.Checkpoint(path)]))
    assert not path.exists()
    assert net.steps == 0


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("by hand"), GeneratorExit()], ids=repr)
@pytest.mark.parametrize("several", [False, True])
def test_whatever_ends_a_run_the_epochs_before_it_are_written(path, error, several):
    def end(run):
        if len(run.history) == 2:
            raise error

    def made():
        return nn.Ensemble([6, 3], 2, device="numpy", seed=0) if several else nn.Network([6, 3], device="numpy", seed=0)

    given = {"batch_size": 10, "optimizer": nn.SGD(0.5, momentum=0.9)}
    whole, net, fresh = made(), made(), made()
    whole.fit((X, Y), epochs=4, **given)
    with pytest.raises(type(error)):
        net.fit((X, Y), epochs=4, **given, callbacks=[end], checkpoint=nn.Checkpoint(path, every=10))
    history = fresh.fit((X, Y), epochs=4, **given, checkpoint=path, resume=True)
    assert history["epoch"] == [1, 2, 3, 4]
    same(fresh, whole)


def test_a_callback_that_fails_twice_does_not_keep_the_checkpoint_from_being_written(path):
    class FailsTwice(nn.Callback):
        def on_epoch_end(self, run):
            raise ZeroDivisionError("first")

        def on_train_error(self, run):
            raise ZeroDivisionError("second")

    with pytest.raises(ZeroDivisionError, match="first") as caught:
        network("numpy").fit((X, Y), **options(checkpoint=nn.Checkpoint(path, every=9), callbacks=[FailsTwice()]))
    assert "failed as well, in on_train_error: ZeroDivisionError('second')" in caught.value.__notes__[0]
    assert nn.Network.load(path).epoch == 1


OVERWRITING = {
    "the last": ({}, "run.safetensors"),
    "the best": ({"best": "validation_loss"}, "run-best.safetensors"),
    "one of an epoch": ({"keep_every": 2}, "run-epoch0002.safetensors"),
}


@pytest.mark.parametrize(("given", "name"), OVERWRITING.values(), ids=OVERWRITING)
def test_another_runs_checkpoint_is_not_overwritten_unasked(path, given, name):
    network("numpy").fit((X, Y), **options(checkpoint=nn.Checkpoint(path, **given)))
    there = path.with_name(name)
    content = there.read_bytes()
    if there != path:
        path.unlink()
    net = network("numpy", seed=9)
    before = [w.copy() for w in net.weights]
    for resume in (False, True) if there != path else (False,):
        with pytest.raises(
            ValueError, match=rf"checkpoint: expected a path where nothing is, got .*{name}, which is there"
        ):
            net.fit((X, Y), **options(epochs=2, checkpoint=nn.Checkpoint(path, **given), resume=resume))
    assert (net.steps, there.read_bytes()) == (0, content)
    assert sorted(path.parent.iterdir()) == sorted({there, *path.parent.iterdir()})
    for a, b in zip(net.weights, before, strict=True):
        np.testing.assert_array_equal(a, b)
    net.fit((X, Y), **options(epochs=2, checkpoint=nn.Checkpoint(path, overwrite=True, **given)))
    assert (there.read_bytes() != content, nn.Network.load(path).epoch) == (True, 2)
    with pytest.raises(ValueError, match="which is there already"):
        net.fit((X, Y), **options(epochs=1, checkpoint=path))


def test_overwrite_and_resume_together_resume(path):
    given = {"checkpoint": nn.Checkpoint(path, overwrite=True), "resume": True}
    network("numpy").fit((X, Y), **options(epochs=2, **given))
    assert network("numpy").fit((X, Y), **options(epochs=3, **given))["epoch"] == [1, 2, 3]


@pytest.mark.parametrize("what", ["a picture", "a model", "a damaged checkpoint"])
@pytest.mark.parametrize("place", ["run.safetensors", "run-best.safetensors"])
def test_what_is_no_checkpoint_is_never_overwritten(path, what, place):
    there = path.with_name(place)
    if what == "a picture":
        there.write_bytes(b"\x89PNG")
    else:
        network("numpy").save(there)
        if what != "a model":
            there.write_bytes(there.read_bytes()[:-9])
    content, net = there.read_bytes(), network("numpy")
    with pytest.raises(ValueError, match=f"checkpoint: expected no file or a checkpoint, got .*{place}, which is none"):
        net.fit((X, Y), **options(checkpoint=nn.Checkpoint(path, best="validation_loss", overwrite=True)))
    with pytest.raises(ValueError, match="which is there already"):
        net.fit((X, Y), **options(checkpoint=nn.Checkpoint(path, best="validation_loss")))
    assert (net.steps, there.read_bytes(), list(path.parent.iterdir())) == (0, content, [there])


@pytest.mark.parametrize("place", ["run.safetensors", "run-best.safetensors"])
@pytest.mark.parametrize("given", [{}, {"overwrite": True}, {"resume": True}])
def test_a_folder_in_the_place_of_a_checkpoint_is_told_of_first(path, place, given):
    net = network("numpy")
    path.with_name(place).mkdir()
    saver = nn.Checkpoint(path, best="validation_loss", overwrite="overwrite" in given)
    with pytest.raises(ValueError, match=rf"checkpoint: expected a file, got the folder .*{place}; name a file in it"):
        net.fit((X, Y), **options(checkpoint=saver, resume="resume" in given))
    assert net.steps == 0


def test_two_runs_do_not_write_one_file(path):
    """Of the same process; of another one below."""
    inner = network("numpy")
    refused = []

    def second(run):
        with pytest.raises(
            ValueError, match="checkpoint: expected a file that no other run writes, got .*run.safetensors"
        ):
            inner.fit((X, Y), **options(checkpoint=nn.Checkpoint(path, overwrite=True)))
        inner.fit((X, Y), **options(epochs=1, checkpoint=path.with_name("other")))
        refused.append(inner.epoch)

    network("numpy").fit((X, Y), **options(epochs=1, checkpoint=path, callbacks=[second]))
    assert refused == [1]
    assert {file.name for file in path.parent.iterdir()} == {"run.safetensors", "other"}
    inner.fit((X, Y), **options(epochs=1, checkpoint=nn.Checkpoint(path, overwrite=True)))


@pytest.mark.skipif(os.name != "posix", reason="files are not locked")
def test_two_processes_do_not_write_one_file(path):
    """What a process that was killed has left is no claim."""
    code = "import sys; from nn_any.files import claim; claim(sys.argv[1]); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(path)], **pipes) as other:
        other.stdout.readline()
        net = network("numpy")
        with pytest.raises(ValueError, match="checkpoint: expected a file that no other run writes"):
            net.fit((X, Y), **options(checkpoint=path, resume=True))
        other.kill()
    assert (net.steps, [file.name for file in path.parent.iterdir()]) == (0, [".run.safetensors.lock"])
    net.fit((X, Y), **options(epochs=1, checkpoint=path, resume=True))
    assert list(path.parent.iterdir()) == [path]


def test_a_refused_run_lets_go_of_its_file(path):
    net = network("numpy")
    for _ in range(2):
        with pytest.raises(ValueError, match="best: expected one of"):
            net.fit((X, Y), **options(checkpoint=nn.Checkpoint(path, best="nothing")))
        with pytest.raises(ValueError, match="monitor: expected"):
            net.fit((X, Y), **options(checkpoint=path, callbacks=[nn.EarlyStopping("test_loss")]))
    assert list(path.parent.iterdir()) == []
    net.fit((X, Y), **options(epochs=1, checkpoint=path))


def test_where_a_resumed_run_takes_up_is_said(path, caplog):
    caplog.set_level("INFO", "nn_any")
    saver = nn.Checkpoint(path)
    with pytest.raises(KeyboardInterrupt):
        network("numpy").fit((X, Y), **options(checkpoint=saver, callbacks=[Stop(7, interrupt)]))
    assert (saver.start, caplog.messages) == (None, [])
    network("numpy").fit((X, Y), **options(checkpoint=saver, resume=True, callbacks=[Stop(0, None)]))
    network("numpy").fit((X, Y), **options(checkpoint=saver, resume=True))
    network("numpy").fit((X, Y), **options(epochs=6, checkpoint=saver, resume=True))
    starts = [
        "resumes at epoch 2 of 4, batch 3 of 5",
        "all 4 epochs are done; to go on, ask for more (epochs=, --epochs)",
    ]
    starts += ["resumes at epoch 5 of 6, batch 1 of 5"]
    assert caplog.messages == [f"{path}: {start}" for start in starts]
    assert saver.start == caplog.messages[-1]


def test_a_run_that_ended_by_itself_says_so(path, caplog):
    caplog.set_level("INFO", "nn_any")
    for _ in range(2):
        callbacks = [nn.EarlyStopping("epoch", mode="min", patience=1)]
        network("numpy").fit((X, Y), **options(checkpoint=path, resume=True, callbacks=callbacks))
    assert caplog.messages == [f"{path}: the run ended by itself after epoch 2, so nothing is left to do"]


def test_the_best_of_another_column_is_not_compared(path):
    """The best accuracy is not held against the smallest loss that an earlier part found."""
    network("numpy").fit((X, Y), **options(epochs=2, checkpoint=nn.Checkpoint(path, best="validation_loss")))
    saver = nn.Checkpoint(path, best="learning_rate", mode="min")
    history = network("numpy").fit((X, Y), **options(epochs=4, checkpoint=saver, resume=True))
    assert history["learning_rate"][3] < history["learning_rate"][2]
    assert nn.Network.load(path.with_name("run-best.safetensors")).epoch == 4


def test_another_monitor_does_not_go_on_from_the_first_ones_best(path):
    network("numpy").fit((X, Y), **options(epochs=2, checkpoint=path, callbacks=[nn.EarlyStopping()]))
    net = network("numpy")
    for stopping in (nn.EarlyStopping("validation_accuracy"), nn.EarlyStopping(mode="max")):
        with pytest.raises(
            ValueError, match="monitor: expected that of the checkpoint, 'validation_loss', mode 'min', got"
        ):
            net.fit((X, Y), **options(checkpoint=path, resume=True, callbacks=[stopping]))
        assert net.steps == 0


@pytest.mark.parametrize("mode", ["up", 1])
def test_a_mode_is_min_or_max(path, mode):
    with pytest.raises(ValueError, match="mode: expected one of 'min', 'max', got"):
        nn.Checkpoint(path, best="loss", mode=mode)
