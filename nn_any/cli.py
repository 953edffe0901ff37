"""The command line: parse, call, print; no maths."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

import nn_any as nn
from nn_any.backends import survey
from nn_any.callbacks import Progress
from nn_any.datasets import load_table
from nn_any.files import write_atomically
from nn_any.training import TrainingRun

FAILURE, USAGE, INTERRUPTED = 1, 2, 130

Parts = tuple[nn.Dataset, nn.Dataset, nn.Dataset]
Flag = Parameter(negative=())

app = App(
    name="nn-any",
    help="Train neural networks on any array library: NumPy, CuPy, PyTorch, JAX and others.",
    version=nn.__version__,
    suppress_keyboard_interrupt=False,
)


class UsageError(Exception):
    """The options do not fit each other or the data."""


@contextmanager
def _options() -> Iterator[None]:
    """A bad value that comes to light in here is a usage error."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


@app.command
def train(
    *,
    data: str = "digits",
    layers: str | None = None,
    activation: Literal["sigmoid", "tanh", "relu", "linear"] = "sigmoid",
    loss: Literal["quadratic", "cross_entropy"] = "quadratic",
    initializer: Literal["normal", "scaled_normal"] = "scaled_normal",
    epochs: int = 30,
    batch_size: int = 10,
    learning_rate: float = 3.0,
    device: str | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    seed: int = 0,
    output: Path | None = None,
    overwrite: Annotated[bool, Flag] = False,
    as_json: Annotated[bool, Flag, Parameter(name="--json")] = False,
    quiet: Annotated[bool, Flag] = False,
) -> int:
    """Train a network and save it. Without options: on handwritten digits, in a second or two.

    Parameters
    ----------
    data
        digits (1,797 images, built in), mnist (from NN_ANY_DATA, else downloaded), or a file: .npz with x and y, .csv
        with the class in the last column.
    layers
        The sizes, input first, such as 784,30,10. By default one hidden layer of 30.
    activation
        Of the hidden layers. The output layer has sigmoid, or linear for real targets.
    loss
        The loss function.
    initializer
        How weights and biases begin.
    epochs
        How many times to go through the training data.
    batch_size
        Examples a step.
    learning_rate
        The step size. The default suits the quadratic loss; the cross-entropy wants a smaller one, such as 0.5.
    device
        auto, cpu, cuda, cuda:1, numpy, cupy, torch, jax, torch:cuda:0, ... By default NN_ANY_DEVICE, else auto.
    dtype
        The arithmetic.
    seed
        The same seed is the same run on every device.
    output
        The folder for model.safetensors and run.json. By default a new one in runs/.
    overwrite
        Replace a model that is in the output folder already.
    as_json
        Print the results as JSON, and nothing else, on standard output.
    quiet
        No progress.
    """
    with _options():
        place = nn.select_device(device)
        folder = _output_folder(output, data, overwrite)
    parts = _load(data, place)
    with _options():
        net = _network(parts[0], layers, activation, loss, initializer, place, dtype, seed)
    notes = Console(stderr=True)
    session = _Session(data, parts, folder, None if quiet else notes)
    training, validation, test = parts
    callbacks = [session, *([] if quiet else [Progress(notes)])]
    start, interrupted = time.perf_counter(), False
    try:
        with _options():
            net.SGD(training, epochs, batch_size, learning_rate, test, validation_data=validation, callbacks=callbacks)
    except KeyboardInterrupt:
        if session.run is None:
            raise
        interrupted = True
    seconds = time.perf_counter() - start
    results: dict[str, Any] = {"data": data, "layers": _sizes(net), "activation": activation, "loss": loss}
    results |= {"initializer": initializer, "batch_size": batch_size, "learning_rate": learning_rate, "dtype": dtype}
    results |= {"seed": seed, "device": str(place), "interrupted": interrupted, "seconds": seconds}
    results |= session.results(net)
    results["model"] = str(session.save(net, results))
    if as_json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")
    else:
        _print_results(Console(), results)
    return INTERRUPTED if interrupted else 0


class _Session(nn.Callback):
    """One call of ``train``: announces it, makes its folder before the first epoch, and keeps its history."""

    def __init__(self, data: str, parts: Parts, folder: Path, notes: Console | None) -> None:
        self.run: TrainingRun | None = None
        self._data, self._parts, self._folder, self._notes = data, parts, folder, notes

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
        """What the history says of the test data."""
        history = self.history
        results: dict[str, Any] = {"epochs": len(history), "engine": history.engine, "test_accuracy": None}
        results |= {"best_test_accuracy": None, "best_epoch": None, "test_loss": None, "seconds_per_epoch": None}
        if len(history):
            results |= {"test_loss": history["test_loss"][-1], "seconds_per_epoch": median(history["seconds"])}
        if len(history) and not net.is_regression:
            accuracies = history["test_accuracy"]
            best = max(accuracies)
            results |= {"test_accuracy": accuracies[-1], "best_test_accuracy": best}
            results["best_epoch"] = accuracies.index(best) + 1
        return results

    def save(self, net: nn.Network, results: dict[str, Any]) -> Path:
        """Write the model and, beside it, the settings, results and history."""
        path = self._folder / "model.safetensors"
        net.save(path)
        report = {**results, "history": self.history.to_dict()}
        write_atomically(self._folder / "run.json", json.dumps(report, indent=2).encode())
        return path


def _output_folder(output: Path | None, data: str, overwrite: bool) -> Path:
    """Where to save; it must not hold a model unless that may be replaced."""
    if output is None:
        return Path("runs") / f"{Path(data).stem}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    if (output / "model.safetensors").exists() and not overwrite:
        raise ValueError(f"output: {output} holds a model already; choose another folder, or add --overwrite")
    return output


def _load(data: str, device: nn.Device) -> Parts:
    if data == "digits":
        return nn.datasets.load_digits(device)
    if data == "mnist":
        return nn.datasets.load_mnist(device=device)
    if Path(data).suffix not in (".npz", ".csv"):
        raise UsageError(f"data: expected digits, mnist, or a file ending in .npz or .csv, got {data!r}")
    return load_table(data, device=device)


def _network(
    training: nn.Dataset,
    layers: str | None,
    activation: str,
    loss: str,
    initializer: str,
    device: nn.Device,
    dtype: str,
    seed: int,
) -> nn.Network:
    inputs = nn.to_numpy(training.x[0, ...]).size
    outputs = training.classes or int(training.y.shape[1])
    sizes = [inputs, 30, outputs] if layers is None else _parse_sizes(layers)
    if (sizes[0], sizes[-1]) != (inputs, outputs):
        raise ValueError(f"layers: expected {inputs} first and {outputs} last, as the data have it, got {layers}")
    last = nn.Dense(sizes[-1], activation="sigmoid" if training.classes else "linear")
    stack = [*sizes[:-1], last]
    return nn.Network(
        stack, activation=activation, loss=loss, initializer=initializer, device=device, dtype=dtype, seed=seed
    )


def _parse_sizes(layers: str) -> list[int]:
    try:
        sizes = [int(size) for size in layers.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) < 2:
        raise ValueError(f"layers: expected sizes such as 784,30,10, got {layers!r}")
    return sizes


def _sizes(net: nn.Network) -> list[int]:
    return [*net.input_shape, *(int(biases.shape[0]) for biases in net.biases)]


def _print_results(console: Console, results: dict[str, Any]) -> None:
    lines = []
    if results["interrupted"]:
        lines.append(("interrupted", f"after {results['epochs']} epochs; what was learnt by then is saved"))
    if results["best_epoch"] is not None:
        best = f"after epoch {results['best_epoch']}, chosen on the test data"
        lines.append(("test accuracy", f"{100 * results['test_accuracy']:.2f} % after the last epoch"))
        lines.append(("best epoch", f"{100 * results['best_test_accuracy']:.2f} % {best}"))
    elif results["test_loss"] is not None:
        lines.append(("test loss", f"{results['test_loss']:.5f}"))
    lines.append(("time", f"{results['seconds']:.2f} s for {results['epochs']} epochs"))
    lines.append(("device", results["device"]))
    lines.append(("saved", results["model"]))
    for name, text in lines:
        line = Text.assemble((f"{name:15}", "bold"), text)
        line.highlight_regex(r"\d+\.\d\d %", "bold green")
        console.print(line, highlight=False, soft_wrap=True)


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


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 for a failure, 2 for usage, 130 for Ctrl-C."""
    errors = Console(stderr=True)
    try:
        code = app(arguments, exit_on_error=False, error_console=errors, result_action="return_value")
    except CycloptsError:
        code = USAGE  # cyclopts has printed it
    except UsageError as error:
        errors.print(f"usage: {error}", markup=False, highlight=False, soft_wrap=True)
        code = USAGE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        errors.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        code = FAILURE
    sys.exit(code)
