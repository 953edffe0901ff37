"""The command line: parse, call, print; no maths."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

import nn_any as nn
from nn_any import cli_options as options
from nn_any.backends import survey
from nn_any.callbacks import Progress, unfailing_console
from nn_any.cli_options import Flag, Integer
from nn_any.cli_sweep import sweep
from nn_any.core.errors import InvalidValueError
from nn_any.files import write_atomically
from nn_any.interrupts import EXIT_CODES
from nn_any.training import TrainingRun
from nn_any.validation import check_integer

FAILURE, USAGE, INTERRUPTED = 1, 2, 130

app = App(
    name="nn-any",
    help="Train neural networks on any array library: NumPy, CuPy, PyTorch, JAX and others.",
    version=nn.__version__,
    suppress_keyboard_interrupt=False,
)


@app.command
def train(
    *,
    data: str = "digits",
    layers: str | None = None,
    activation: options.ActivationName = "sigmoid",
    loss: options.LossName = "quadratic",
    initializer: options.InitializerName = "scaled_normal",
    dropout: float = 0.0,
    epochs: Integer = 30,
    batch_size: Integer | None = None,
    optimizer: options.OptimizerName = "sgd",
    learning_rate: float | None = None,
    schedule: options.ScheduleName = "constant",
    momentum: float | None = None,
    weight_decay: float | None = None,
    patience: Integer | None = None,
    device: str | None = None,
    engine: options.EngineName = "auto",
    dtype: Literal["float32", "float64"] = "float32",
    seed: Integer = 0,
    output: Path | None = None,
    overwrite: Flag = False,
    checkpoint: Path | None = None,
    resume: Flag = False,
    as_json: Annotated[Flag, Parameter(name="--json")] = False,
    quiet: Flag = False,
) -> int:
    """Train a network and save it. Without options: on handwritten digits, in a second or two.

    Parameters
    ----------
    data
        digits (1,797 images, built in), mnist (from NN_ANY_DATA, else downloaded), or a file: .npz with x and y, .csv
        with the class in the last column. Classes are whole numbers (integers in .npz) or text; real numbers are to be
        predicted. uint8 is divided by 255.
    layers
        The sizes, input first, such as 784,30,10. By default one hidden layer of 30.
    activation
        Of the hidden layers. The output layer has the one that goes with the loss: for quadratic sigmoid, or linear for
        real targets.
    loss
        The loss function: quadratic for everything, cross_entropy or log_likelihood for classes, the others for real
        targets.
    initializer
        How weights and biases begin.
    dropout
        The share of neurons left out at random after each hidden layer, from 0 to below 1.
    epochs
        How many times to go through the training data; for lbfgs, how many iterations.
    batch_size
        Examples a step, 10 by default; lbfgs takes all of them.
    optimizer
        How gradients move the weights.
    learning_rate
        The step size, for a schedule the largest. By default 3 for sgd, which suits the quadratic loss (the
        cross-entropy wants a smaller one, such as 0.5), and for the others their usual one, such as 0.001 for adam.
    schedule
        How the learning rate changes: cosine and one-cycle over all epochs; halving whenever the validation data have
        not become better for 10 epochs, which also ends the training when 1/128 is reached.
    momentum
        Of sgd and rmsprop, from 0 to below 1.
    weight_decay
        The L2 penalty on weights. By default 0, for adamw 0.01.
    patience
        End when the validation loss has not become better for so many epochs, and keep the best weights.
    device
        auto, cpu, cuda, cuda:1, numpy, cupy, torch, jax, torch:cuda:0, ... By default NN_ANY_DEVICE, else auto. Or
        fastest: time some steps on every device first, which takes seconds.
    engine
        How the steps are run: compiled where the library can, one by one, or compiled and nothing else.
    dtype
        The arithmetic.
    seed
        The same seed is the same run on every device.
    output
        The folder for model.safetensors and run.json. By default a new one in runs/.
    overwrite
        Replace a model that is in the output folder already.
    checkpoint
        A file to write down after each epoch, and when the run ends, all that it takes to go on.
    resume
        Go on where the checkpoint stands, if it is there, until all epochs are done; else begin.
    as_json
        Print the results as JSON, and nothing else, on standard output.
    quiet
        No progress.
    """
    with options.usage():
        place = nn.select_device("cpu" if device == "fastest" else device)
        folder = options.output_folder(output, data, overwrite)
        stopping = None if patience is None else nn.EarlyStopping(patience=patience)
        check_integer("epochs", epochs, minimum=0)
        if resume and checkpoint is None:
            raise InvalidValueError("resume: expected --checkpoint FILE with it, got none")
    parts = training, validation, test = options.load(data, place)
    rates = {"learning_rate": learning_rate, "momentum": momentum, "weight_decay": weight_decay}
    kind: dict[str, Any] = {"activation": activation, "loss": loss, "initializer": initializer, "dropout": dropout}
    with options.usage():
        net = options.build_network(training, layers, **kind, device=place, dtype=dtype, seed=seed)
        method = options.build_optimizer(optimizer, **rates)
        rates = {name: getattr(method, name, None) for name in rates}
        method = options.with_schedule(method, schedule, training, epochs)
        batch_size = options.check_batch_size(batch_size, method, net, len(training))
        if device == "fastest":
            count = epochs or None
            net.to(nn.fastest_device(net, training, batch_size, optimizer=method, epochs=count, engine=engine))
    notes = unfailing_console(sys.stderr)
    watch = _Watch(data, parts, folder, None if quiet else notes, stopping)
    callbacks = [*([stopping] if stopping else []), watch, *([] if quiet else [Progress(notes)])]
    start, code = time.perf_counter(), 0
    try:
        net.fit(
            training,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=method,
            validation_data=validation,
            test_data=test,
            callbacks=callbacks,
            engine=engine,
            checkpoint=checkpoint,
            resume=resume,
        )
    except nn.TrainingInterrupted as interruption:
        code = EXIT_CODES[interruption.signal]
    seconds = time.perf_counter() - start
    results: dict[str, Any] = {"data": data, "scale": training.scale, "classes": options.class_names(training)}
    results |= {"layers": _sizes(net), **kind, "optimizer": optimizer, **rates, "schedule": schedule}
    results |= {"batch_size": batch_size, "patience": patience, "dtype": dtype, "seed": net.seed}
    results |= {"device": str(net.device), "interrupted": code != 0, "steps": net.steps, "seconds": seconds}
    results |= watch.results(net)
    results["model"] = str(watch.save(net, results))
    options.print_results(json.dumps(results, indent=2) + "\n" if as_json else _report(results), results["model"])
    return code


class _Watch(nn.Callback):
    """One call of ``train``: announces it, makes its folder before the first epoch, and keeps its history."""

    def __init__(
        self, data: str, parts: options.Parts, folder: Path, notes: Console | None, stopping: nn.EarlyStopping | None
    ) -> None:
        self.run: TrainingRun | None = None
        self._data, self._parts, self._folder, self._notes, self._stopping = data, parts, folder, notes, stopping

    def on_train_begin(self, run: TrainingRun) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.run = run
        if self._notes is None:
            return
        names = ("training", "validation", "test")
        counts = ", ".join(f"{len(part):,} {name}" for part, name in zip(self._parts, names, strict=True))
        device = run.network.device
        for line in (
            f"{_sizes(run.network)} on {self._data}: {counts} examples",
            f"device {device} ({device.reason})",
        ):
            self._notes.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def history(self) -> nn.History:
        """What there is of the history."""
        return nn.History("", "") if self.run is None else self.run.history

    def results(self, net: nn.Network) -> dict[str, Any]:
        """What the history says of the test data, with the weights that are saved and at best."""
        history = self.history
        saved = (self._stopping and self._stopping.best_epoch) or len(history)
        results: dict[str, Any] = {"epochs": len(history), "saved_epoch": saved, "engine": history.engine}
        results |= {"test_accuracy": None, "best_test_accuracy": None, "best_epoch": None, "test_loss": None}
        results["seconds_per_epoch"] = None
        if len(history):
            results |= {"test_loss": history["test_loss"][saved - 1], "seconds_per_epoch": median(history["seconds"])}
        if len(history) and not net.is_regression:
            accuracies = history["test_accuracy"]
            best = max(accuracies)
            results |= {"test_accuracy": accuracies[saved - 1], "best_test_accuracy": best}
            results["best_epoch"] = accuracies.index(best) + 1
        return results

    def save(self, net: nn.Network, results: dict[str, Any]) -> Path:
        """Write the model and, beside it, the settings, results and history."""
        path = self._folder / "model.safetensors"
        net.save(path)
        report = {**results, "history": self.history.to_dict()}
        write_atomically(self._folder / "run.json", json.dumps(report, indent=2).encode())
        return path


def _sizes(net: nn.Network) -> list[int]:
    return [*net.input_shape, *(int(biases.shape[0]) for biases in net.biases)]


def _report(results: dict[str, Any]) -> str:
    """The results in words and numbers, in colour if standard output shows any."""
    lines, epochs, saved = [], results["epochs"], results["saved_epoch"]
    if results["interrupted"]:
        lines.append(("interrupted", f"after {epochs} epochs, {results['steps']:,} steps; what was learnt is saved"))
    when = "the last epoch" if saved == epochs else f"epoch {saved}, the best on the validation data, which is saved"
    if results["best_epoch"] is not None:
        best = f"after epoch {results['best_epoch']}, chosen on the test data"
        lines.append(("test accuracy", f"{100 * results['test_accuracy']:.2f} % after {when}"))
        lines.append(("best epoch", f"{100 * results['best_test_accuracy']:.2f} % {best}"))
    elif results["test_loss"] is not None:
        lines.append(("test loss", f"{results['test_loss']:.5f} after {when}"))
    if results["scale"]:
        lines.append(("inputs", f"divided by {results['scale']:g}, as whatever you give the saved network must be"))
    lines.append(("time", f"{results['seconds']:.2f} s for {epochs} epochs"))
    lines.append(("device", results["device"]))
    lines.append(("saved", results["model"]))
    console = unfailing_console(sys.stdout)
    with console.capture() as capture:
        for name, text in lines:
            line = Text.assemble((f"{name:15}", "bold"), text)
            line.highlight_regex(r"\d+\.\d\d %", "bold green")
            console.print(line, highlight=False, soft_wrap=True)
    return capture.get()


@app.command
def devices() -> int:
    """Show which devices are usable here, and why the others are not."""
    table = Table("device", "version", "", box=SIMPLE)
    for report in survey():
        for device in report.devices:
            table.add_row(Text(str(device), "green", no_wrap=True), report.version, "usable")
        if report.reason:
            table.add_row(Text(report.library, "red", no_wrap=True), report.version, Text(report.reason))
    console = Console()
    console.print(table)
    best = nn.select_device("auto")
    console.print(f"auto is {best}: {best.reason}", markup=False, highlight=False, soft_wrap=True)
    return 0


app.command(sweep)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 for a failure, 2 for usage, 130 for Ctrl-C, 143 for SIGTERM."""
    errors = unfailing_console(sys.stderr)
    try:
        code = app(arguments, exit_on_error=False, error_console=errors, result_action="return_value")
    except CycloptsError:
        code = USAGE  # cyclopts has printed it
    except options.UsageError as error:
        errors.print(f"usage: {error}", markup=False, highlight=False, soft_wrap=True)
        code = USAGE
    except KeyboardInterrupt as interruption:
        code = EXIT_CODES.get(getattr(interruption, "signal", signal.SIGINT), INTERRUPTED)
    except Exception as error:
        errors.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        code = FAILURE
    _drop_unwritable()
    sys.exit(code)


def _drop_unwritable() -> None:
    """Let go what a closed pipe has not taken: else Python would try again at its end, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
