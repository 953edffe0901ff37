"""What the options of the command line stand for: a folder, data, a network, an optimiser."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter

from nn_any.backends import MODES, Device, to_numpy
from nn_any.core import activations, initializers, losses
from nn_any.core.errors import InvalidValueError
from nn_any.core.layers import Dense, Dropout, Layer
from nn_any.core.lbfgs import LBFGS
from nn_any.core.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from nn_any.core.schedules import Cosine, HalveOnNoImprovement, OneCycle, Schedule
from nn_any.datasets import Dataset, load_digits, load_mnist, load_table
from nn_any.network import Network
from nn_any.validation import check_integer

Parts = tuple[Dataset, Dataset, Dataset]


class UsageError(Exception):
    """The options do not fit each other or the data."""


@contextmanager
def usage() -> Iterator[None]:
    """A bad value that comes to light in here is a usage error."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


def _integer(_: Any, tokens: Any) -> int:
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise InvalidValueError(f"expected an integer, got {text!r}") from None


Integer = Annotated[int, Parameter(converter=_integer)]  # cyclopts alone would round fractions
Flag = Annotated[bool, Parameter(negative=())]
OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "lbfgs"]
ScheduleName = Literal["constant", "cosine", "one-cycle", "halving"]
if TYPE_CHECKING:
    EngineName: TypeAlias = str
    ActivationName: TypeAlias = str
    LossName: TypeAlias = str
    InitializerName: TypeAlias = str
else:  # every registered name, for the help to list
    EngineName = Literal[MODES]
    ActivationName, LossName, InitializerName = (
        Literal[registry._registry.names] for registry in (activations, losses, initializers)
    )

_OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "lbfgs": LBFGS,
}


def output_folder(output: Path | None, data: str, overwrite: bool) -> Path:
    """Where to save; it must not hold a model unless that may be replaced."""
    if output is None:
        return Path("runs") / f"{Path(data).stem}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    if (output / "model.safetensors").exists() and not overwrite:
        raise InvalidValueError(f"output: {output} holds a model already; choose another folder, or add --overwrite")
    return output


def load(data: str, device: Device) -> Parts:
    """Training, validation and test data."""
    if data == "digits":
        return load_digits(device)
    if data == "mnist":
        return load_mnist(device=device)
    if Path(data).suffix.lower() not in (".npz", ".csv"):
        raise UsageError(f"data: expected digits, mnist, or a file ending in .npz or .csv, got {data!r}")
    return load_table(data, device=device)


def build_network(training: Dataset, layers: str | None, dropout: float, loss: str, **arguments: Any) -> Network:
    """A network of `stack`."""
    return Network(stack(training, layers, dropout, loss), loss=loss, **arguments)


def stack(training: Dataset, layers: str | None, dropout: float, loss: str) -> list[int | Layer]:
    """Dense layers between the inputs and the outputs of the data; the last activation is the one for the loss."""
    inputs = to_numpy(training.x[0, ...]).size
    outputs = training.classes or int(training.y.shape[1])
    sizes = [inputs, 30, outputs] if layers is None else _parse_sizes(layers)
    if (sizes[0], sizes[-1]) != (inputs, outputs):
        raise InvalidValueError(
            f"layers: expected {inputs} first and {outputs} last, as the data have it, got {layers}"
        )
    if dropout and len(sizes) == 2:
        raise InvalidValueError(f"dropout: expected a hidden layer to put it after, got layers {layers}")
    task, chosen = "classes" if training.classes else "numbers", losses.get(loss)
    if chosen.task not in (None, task):
        raise InvalidValueError(f"loss: expected one for {task}, as the data have them, got {loss}, for {chosen.task}")
    last = "sigmoid" if chosen.task is None and training.classes else chosen.suits
    hidden: list[int | Layer] = []
    for size in sizes[1:-1]:
        hidden += [size, Dropout(dropout)] if dropout else [size]
    return [sizes[0], *hidden, Dense(sizes[-1], activation=last)]


def _parse_sizes(layers: str) -> list[int]:
    try:
        sizes = [int(size) for size in layers.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) < 2:
        raise InvalidValueError(f"layers: expected sizes such as 784,30,10, got {layers!r}")
    return sizes


def build_optimizer(name: str, **given: float | None) -> Optimizer:
    """The optimiser called so, with its own defaults for what is None; sgd, which has none, learns at 3."""
    having = {"learning_rate": [*_OPTIMIZERS], "weight_decay": [*_OPTIMIZERS], "momentum": ["sgd", "rmsprop"]}
    settings: dict[str, Any] = {"learning_rate": 3.0} if name == "sgd" else {}
    for option, value in given.items():
        if value is not None and name not in having[option]:
            raise InvalidValueError(
                f"{option}: expected it with {' or '.join(having[option])} only, got it with {name}"
            )
        settings |= {} if value is None else {option: value}
    return _OPTIMIZERS[name](**settings)


def with_schedule(optimizer: Optimizer, name: str, training: Dataset, epochs: int) -> Optimizer:
    """The optimiser with the schedule called so, whose largest rate is the optimiser's own."""
    if name == "constant":
        return optimizer
    if optimizer.whole_batch:
        raise InvalidValueError(f"schedule: expected constant for lbfgs, which searches for each step, got {name}")
    rate: Any = optimizer.learning_rate
    schedules: dict[str, Schedule] = {
        "cosine": Cosine(rate, epochs=max(epochs, 1)),
        "one-cycle": OneCycle(rate, epochs=max(epochs, 1)),
        "halving": HalveOnNoImprovement(rate, "validation_accuracy" if training.classes else "validation_loss"),
    }
    return replace(optimizer, learning_rate=schedules[name])  # type: ignore[type-var]


def check_batch_size(batch_size: int | None, optimizer: Optimizer, net: Network, examples: int) -> int:
    """How many examples a step takes: 10 by default, and all of them where the optimiser needs them."""
    if not optimizer.whole_batch:
        return check_integer("batch_size", 10 if batch_size is None else batch_size, minimum=1)
    if batch_size is not None:
        raise InvalidValueError(f"batch_size: expected none for lbfgs, which takes all examples, got {batch_size}")
    if any(layer.random for layer in net.layers):
        raise InvalidValueError("dropout: expected none for lbfgs, whose loss must not change by chance; use adam")
    return examples


def class_names(training: Dataset) -> list[Any] | None:
    """What the outputs stand for, in their order; None for real targets."""
    return None if training.classes is None else list(training.class_names or range(training.classes))


def print_results(text: str, model: str) -> None:
    """Write the results to standard output; if that cannot be done, say at least where the model is."""
    try:
        if sys.stdout is None:
            raise OSError("standard output is closed")
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise OSError(f"the results could not be printed ({error}); the model is saved: {model}") from error
