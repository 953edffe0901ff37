"""``nn-any train``: one network."""

from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.text import Text

import nn_any as nn
from nn_any.cli import options
from nn_any.cli.console import (
    count_examples,
    counted,
    error_console,
    introduce,
    next_command,
    print_line,
    print_results,
    render,
    spelled,
    to_json,
)
from nn_any.cli.fitting import claimed, fit
from nn_any.core.errors import InvalidValueError
from nn_any.core.options import integer
from nn_any.datasets.tables import Reading
from nn_any.files import write_atomically
from nn_any.training import TrainingRun
from nn_any.training.display import ProgressDisplay, loss_text


def train(
    *,
    data: str = "digits",
    task: options.TaskOption = None,
    target: options.TargetOption = None,
    header: options.HeaderOption = None,
    layers: options.LayersOption = None,
    standardize: options.StandardizeOption = True,
    activation: options.ActivationOption = None,
    loss: options.LossOption = None,
    initializer: options.InitializerOption = None,
    dropout: options.DropoutOption = 0.0,
    epochs: options.Integer | None = None,
    batch_size: options.Integer | None = None,
    optimizer: options.OptimizerName | None = None,
    learning_rate: float | None = None,
    schedule: options.ScheduleName = "constant",
    momentum: options.MomentumOption = None,
    weight_decay: float | None = None,
    patience: options.Integer | None = None,
    device: str | None = None,
    engine: options.EngineName = "auto",
    dtype: options.DTypeOption = "float32",
    seed: options.Integer = 0,
    output: Path | None = None,
    overwrite: options.OverwriteOption = False,
    checkpoint: Path | None = None,
    resume: options.Flag = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> int:
    """Train a network and save it. Without options: on handwritten digits, in a second or two.

    Parameters
    ----------
    data
        digits (1,797 images, built in), mnist (from NN_ANY_DATA, else downloaded), or a file: .npz with x and y, .csv
        with one example a line and the class, or the number to predict, in the last column. uint8 is divided by 255.
    epochs
        How many times to go through the training data; for lbfgs, how many iterations. By default 30, for tables and
        numbers 200.
    batch_size
        Examples a step, by default 10, for tables and numbers 32; lbfgs takes all of them.
    optimizer
        How gradients move the weights: by default sgd, for tables and numbers adam.
    learning_rate
        The step size; for a schedule, the largest. By default for sgd: 3 for images, which suits the quadratic loss
        (cross_entropy wants a smaller one, such as 0.5), 0.1 for tables of classes, and for numbers one that suits
        their spread. For adam and adamw: 0.003 for tables and numbers. Else the optimizer's usual one, such as 0.001.
    schedule
        How the learning rate changes: cosine and one-cycle over all epochs; halving whenever the validation data have
        not become better for 10 epochs, which also ends the training when 1/128 is reached.
    weight_decay
        The L2 penalty on weights. By default 0, for adamw 0.01.
    patience
        End when the validation loss has not become better for so many epochs, and keep the best weights. By
        default 20 for tables and numbers; else training goes on to the end.
    device
        auto, cpu, cuda, cuda:1, numpy, cupy, torch, jax, torch:cuda:0, ... By default NN_ANY_DEVICE, else auto. Or
        fastest: time some steps on every device first, which takes seconds.
    engine
        How the steps are run: compiled where the library can, one by one, or compiled and nothing else.
    seed
        The same seed is the same run on every device.
    output
        The folder for model.safetensors and run.json. By default a new one in runs/.
    checkpoint
        A file that holds all that it takes to go on, written after each epoch and when the run ends. If it exists,
        add --resume or --overwrite.
    resume
        Go on where the checkpoint stands, if it is there, until all epochs are done; else begin.
    """
    with options.usage_errors():
        chosen_device = nn.select_device("cpu" if device == "fastest" else device)
        folder = options.output_folder(output, data, overwrite)
        if patience is not None:
            nn.EarlyStopping(patience=patience)  # refuses before data are read
        if epochs is not None:
            integer("epochs", epochs, minimum=0)
        if resume and checkpoint is None:
            raise InvalidValueError("resume: expected --checkpoint FILE with it, got none")
        saver = None if checkpoint is None else _checkpoint(checkpoint, folder, resume, overwrite)
    splits, reading = options.load_data(data, chosen_device, task=task, target=target, header=header)
    training, validation, test = splits
    told_task = options.task_of(reading)
    usual = options.defaults(training, told_task)
    epochs = usual.epochs if epochs is None else epochs
    patience = usual.patience if patience is None else patience
    optimizer = optimizer or usual.optimizer
    model = usual.model(activation, loss, initializer)
    stopping = None if patience is None else nn.EarlyStopping(patience=patience)
    if learning_rate is None:
        learning_rate = options.default_rate(optimizer, training, model["loss"], standardize=standardize)
    rates = {"learning_rate": learning_rate, "momentum": momentum, "weight_decay": weight_decay}
    with options.usage_errors():
        stack = options.build_layers(training, layers, dropout, model["loss"], standardize=standardize)
        net = nn.Network(stack, **model, task=told_task, device=chosen_device, dtype=dtype, seed=seed)
        method = options.build_optimizer(optimizer, **rates)
        rates = {name: getattr(method, name, None) for name in rates}
        method = options.with_schedule(method, schedule, training, epochs)
        batch_size = options.check_batch_size(batch_size, method, net, training)
        if device == "fastest":
            count = epochs or None
            net.to(nn.fastest_device(net, training, batch_size, optimizer=method, epochs=count, engine=engine))
    console = error_console()
    callbacks: list[nn.Callback] = [] if stopping is None else [stopping]
    beginning = _Beginning(data, splits, reading, seed, saver, None if quiet else console)
    callbacks.append(beginning)
    callbacks += [] if quiet else [ProgressDisplay(console)]
    with claimed(folder, overwrite):
        history, seconds, exit_code = fit(
            net,
            training,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=method,
            validation_data=validation,
            test_data=test,
            callbacks=callbacks,
            engine=engine,
            checkpoint=saver,
            resume=resume,
        )
        saved_epoch = (stopping and stopping.best_epoch) or len(history)
        results: dict[str, Any] = {"data": data, "scale": training.scale, "classes": options.class_names(training)}
        results["taken_for"] = options.describe_reading(reading)
        results |= {"layers": _layer_sizes(net), **model, "dropout": dropout}
        results |= {"task": net.task, "standardized": options.standardized(net.layers)}
        results |= {"optimizer": optimizer, **rates, "schedule": schedule}
        results |= {"batch_size": batch_size, "patience": patience, "dtype": dtype, "seed": net.seed}
        results |= {"device": str(net.device), "interrupted": exit_code != 0, "steps": net.steps, "seconds": seconds}
        results["epochs_run"] = beginning.epochs  # without those of the run that this one takes up
        results |= {"epochs": len(history), "saved_epoch": saved_epoch, "engine": history.engine}
        results |= _test_results(history, saved_epoch, net.is_regression)
        if net.is_regression:
            measures = net.score(test, "r2", "mean_absolute_error")
            results |= {f"test_{name}": value for name, value in measures.items()}
        path = folder / "model.safetensors"
        net.save(path)
        report = {**results, "history": history.to_dict()}
        write_atomically(folder / "run.json", to_json(report).encode())
    print_results({**results, "model": str(path)}, _report, as_json=as_json)
    return exit_code


def _checkpoint(path: Path, folder: Path, resume: bool, overwrite: bool) -> nn.Checkpoint:
    """The callback that writes the checkpoint; an error if a file is in its way."""
    if path.absolute() == (folder / "model.safetensors").absolute():
        raise InvalidValueError(f"checkpoint: expected another file than the model, {path}; choose another name")
    if not (parent := path.absolute().parent).is_dir() and parent != folder.absolute():
        raise InvalidValueError(f"checkpoint: expected a folder for it, found none; make {parent}")
    saver = nn.Checkpoint(path, overwrite=overwrite)
    if saver.in_the_way(resume) is not None:
        raise InvalidValueError(
            f"checkpoint: {path} is there already; add --resume to go on with its run, or --overwrite to replace it"
        )
    return saver


class _Beginning(nn.Callback):
    """Tells what is trained, and where a run goes on; refuses to go on with another seed."""

    def __init__(
        self,
        data: str,
        splits: options.Splits,
        reading: Reading | None,
        seed: int,
        saver: nn.Checkpoint | None,
        console: Console | None,
    ) -> None:
        self._data, self._splits, self._reading = data, splits, reading
        self._seed, self._saver, self._console = seed, saver, console
        self.epochs = 0
        """How many this run has done."""

    def on_train_begin(self, run: TrainingRun) -> None:
        net = run.network
        if net.seed != self._seed:
            raise options.UsageError(
                f"seed: expected {net.seed}, as in the checkpoint, got {self._seed}; add --seed {net.seed}, or choose "
                "another checkpoint"
            )
        if self._console is not None:
            print_line(self._console, f"{_layer_sizes(net)} on {self._data}: {count_examples(self._splits)}")
            introduce(self._console, self._reading, net)
            if self._saver is not None and self._saver.start is not None:
                print_line(self._console, self._saver.start)

    def on_epoch_end(self, run: TrainingRun) -> None:
        self.epochs += 1


def _layer_sizes(net: nn.Network) -> list[int]:
    return [*net.input_shape, *(int(biases.shape[0]) for biases in net.biases)]


def _test_results(history: nn.History, saved_epoch: int, is_regression: bool) -> dict[str, Any]:
    """The results on the test data, of the saved weights and of the best; None where there are none."""
    names = ("test_accuracy", "best_test_accuracy", "best_epoch", "test_loss", "seconds_per_epoch")
    results: dict[str, Any] = dict.fromkeys(names)
    if len(history):
        results |= {"test_loss": history["test_loss"][saved_epoch - 1], "seconds_per_epoch": median(history["seconds"])}
    if len(history) and not is_regression:
        accuracies = history["test_accuracy"]
        best = max(accuracies)
        results |= {"test_accuracy": accuracies[saved_epoch - 1], "best_test_accuracy": best}
        results["best_epoch"] = accuracies.index(best) + 1
    return results


def _report(results: dict[str, Any]) -> str:
    """The results in words and numbers."""
    fields, epochs, saved = [], results["epochs"], results["saved_epoch"]
    if results["interrupted"]:
        done = f"{counted(epochs, 'epoch')}, {counted(results['steps'], 'step')}"
        fields.append(("interrupted", f"after {done}; what was learnt is saved"))
    when = "the last epoch" if saved == epochs else f"epoch {saved}, saved as the best on validation data"
    if results["best_epoch"] is not None:
        best = f"after epoch {results['best_epoch']}, chosen on the test data"
        rows = " of the rows right in all outputs" if results["task"] == "multilabel" else ""
        fields.append(("test accuracy", f"{100 * results['test_accuracy']:.2f} %{rows} after {when}"))
        fields.append(("best epoch", f"{100 * results['best_test_accuracy']:.2f} % {best}"))
    elif results["test_loss"] is not None:
        fields.append(("test loss", f"{loss_text(results['test_loss'])} after {when}"))
        error = f"{results['test_mean_absolute_error']:.6g}"
        fields.append(("test R²", spelled(f"{results['test_r2']:.4f}, mean absolute error {error}")))
    if results["scale"]:
        fields.append(("inputs", f"whole numbers, which the saved network divides by {results['scale']:g} itself"))
    if what := results["standardized"]:
        fields.append(("standardised", f"{' and '.join(what)}: {options.RAW_NUMBERS}"))
    fields.append(("time", f"{results['seconds']:.2f} s for {counted(results['epochs_run'], 'epoch')}"))
    fields += [("device", results["device"]), ("saved", results["model"]), ("predict", next_command(results))]
    lines = [Text.assemble((f"{name:15}", "bold"), text) for name, text in fields]
    for line in lines:
        line.highlight_regex(r"\d+\.\d\d %", "bold green")
    return render(lines)
