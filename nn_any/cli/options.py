"""What the options of the command line stand for: types, a folder, data, layers, an optimiser."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

from cyclopts import Parameter

from nn_any.backends import MODES, Device, to_numpy
from nn_any.core import activations, initializers, losses
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.layers import Dense, Dropout, Layer, Standardize
from nn_any.core.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from nn_any.core.options import integer
from nn_any.core.schedules import Cosine, HalveOnNoImprovement, OneCycle, Schedule
from nn_any.datasets import Dataset, load_digits, load_mnist
from nn_any.datasets.tables import Reading, read_table
from nn_any.network import Network
from nn_any.training import LBFGS

Splits = tuple[Dataset, Dataset, Dataset]
"""Training, validation and test data."""


class UsageError(Exception):
    """The options do not fit each other or the data."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn the errors that bad values raise in here into usage errors."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


@contextmanager
def argument_errors() -> Iterator[None]:
    """Turn the errors that name an argument into usage errors, and leave those that name a file."""
    try:
        yield
    except (InvalidValueError, InvalidTypeError) as error:
        if type(error) not in (InvalidValueError, InvalidTypeError):
            raise
        raise UsageError(str(error)) from error


def _parse_integer(_: Any, tokens: Any) -> int:
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise InvalidValueError(f"expected an integer, got {text!r}") from None


Integer = Annotated[int, Parameter(converter=_parse_integer)]  # cyclopts alone would round fractions
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
    ActivationName, LossName, InitializerName = (Literal[each.names()] for each in (activations, losses, initializers))

# Options that mean the same to every command that has them, with their help.
TaskOption = Annotated[
    Literal["classification", "multilabel", "regression"] | None,
    Parameter(
        help="What the targets of a file are: classes, columns of 0 and 1 that are answers of yes or no each (y in "
        "a .npz file), or numbers to predict. By default text is classes, and so are "
        "whole numbers if few are different: two, at most 20 that occur twice or more on average, or at most 1,000 "
        "that occur ten times or more; other numbers are to be predicted. The run says what it takes them for."
    ),
]
TargetOption = Annotated[
    str | None,
    Parameter(
        help="The column of a .csv file to predict: its name, or its place, counted from 1, or from the end as -1, "
        "-2, ... By default the last.",
        allow_leading_hyphen=True,
    ),
]
HeaderOption = Annotated[
    Literal["yes", "no"] | None,
    Parameter(
        help="Whether the first line of a .csv file has the names of the columns. By default it does if it is all "
        "text, if a column has text there and numbers everywhere else, if its fields count 0, 1, 2, ..., or if its "
        "class occurs there only."
    ),
]
LeftOutOption = Annotated[
    str | None,
    Parameter(
        help="The column of a .csv file that is predicted and so is no input, where its name does not tell: its name, "
        "or its place, counted from 1, or from the end as -1, -2, ...",
        allow_leading_hyphen=True,
    ),
]
NamesOption = Annotated[
    Literal["yes", "no"] | None,
    Parameter(
        help="Whether the first line of a .csv file has the names of the columns. By default it does if it has a name "
        "that the network knows, or text above numbers."
    ),
]
LayersOption = Annotated[
    str | None,
    Parameter(
        help="The sizes, input first, such as 784,30,10. By default one hidden layer of 30, for tables and numbers 100."
    ),
]
ActivationOption = Annotated[
    ActivationName | None,
    Parameter(
        help="Of the hidden layers: by default sigmoid, for tables and numbers relu. The output layer has the "
        "one that goes with the loss: sigmoid or linear for quadratic."
    ),
]
LossOption = Annotated[
    LossName | None,
    Parameter(
        help="The loss function: quadratic for everything, cross_entropy or log_likelihood for classes, the "
        "others for numbers. By default quadratic, for tables log_likelihood, for numbers mean_squared_error."
    ),
]
InitializerOption = Annotated[
    InitializerName | None,
    Parameter(help="How weights and biases begin: by default scaled_normal, for tables and numbers glorot_uniform."),
]
StandardizeOption = Annotated[
    bool,
    Parameter(
        negative="--no-standardize",
        help="A first layer brings each column of a table to mean 0 and deviation 1, and a last one gives numbers in "
        "the units of the targets. Both are part of the model, which takes and gives raw numbers.",
    ),
]
DropoutOption = Annotated[
    float, Parameter(help="The share of neurons left out at random after each hidden layer, from 0 to below 1.")
]
MomentumOption = Annotated[float | None, Parameter(help="Of sgd and rmsprop, from 0 to below 1.")]
DTypeOption = Annotated[Literal["float32", "float64"], Parameter(help="The arithmetic.")]
OverwriteOption = Annotated[
    Flag, Parameter(help="Replace a model that is in the output folder already, and a checkpoint that is not resumed.")
]
JsonOption = Annotated[
    Flag, Parameter(name="--json", help="Print the results as JSON, and nothing else, on standard output.")
]
QuietOption = Annotated[Flag, Parameter(help="No progress.")]

_RULES: tuple[type[Optimizer], ...] = (SGD, Adam, AdamW, RMSprop, Adagrad, LBFGS)
_OPTIMIZERS = {kind.__name__.lower(): kind for kind in _RULES}


_RESULTS = {"model.safetensors": "a model", "run.json": "run.json", "sweep.json": "sweep.json"}
"""The files of a run, and what a message calls them."""
RAW_NUMBERS = "the saved network takes and gives raw numbers"
"""What reports say of a network that standardises."""


def output_folder(output: Path | None, data: str, overwrite: bool) -> Path:
    """Where to save; it must not hold a model unless that may be replaced."""
    if output is None:
        return Path("runs") / f"{Path(data).stem}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    check_free(output, overwrite)
    return output


def check_free(folder: Path, overwrite: bool) -> None:
    """No run has left its files in the folder, unless they may be replaced."""
    found = [] if overwrite else [name for name in _RESULTS if (folder / name).exists()]
    if found:
        raise InvalidValueError(
            f"output: {folder} holds {_RESULTS[found[0]]} already; choose another folder, or add --overwrite"
        )


def load_data(
    data: str, device: Device, *, task: str | None = None, target: str | None = None, header: str | None = None
) -> tuple[Splits, Reading | None]:
    """Training, validation and test data, and what a file was taken for."""
    if data in ("digits", "mnist"):
        for name, value in (("task", task), ("target", target), ("header", header)):
            if value is not None:
                raise UsageError(f"{name}: expected it with a file of your own, got it with {data}; leave it out")
        return load_digits(device) if data == "digits" else load_mnist(device=device), None
    if Path(data).suffix.lower() not in (".npz", ".csv"):
        raise UsageError(f"data: expected digits, mnist, or a file ending in .npz or .csv, got {data!r}")
    with argument_errors():
        return read_table(data, device=device, task=task, target=target, header=as_flag(header))


def as_flag(word: str | None) -> bool | None:
    """What yes, no or nothing says."""
    return None if word is None else word == "yes"


def describe_reading(reading: Reading | None) -> dict[str, Any] | None:
    """What a file was taken for, for run.json and sweep.json."""
    return None if reading is None else asdict(reading)


class Defaults(NamedTuple):
    """What a command uses by default; docs/results.md has the measurements behind it."""

    hidden: int
    activation: str
    loss: str
    initializer: str
    optimizer: Any
    epochs: int
    sweep_epochs: int
    batch_size: int
    patience: int | None

    def model(self, activation: str | None, loss: str | None, initializer: str | None) -> dict[str, Any]:
        """The settings of the network, with the defaults in the place of None."""
        model = {"activation": activation or self.activation, "loss": loss or self.loss}
        return model | {"initializer": initializer or self.initializer}


_IMAGES = Defaults(30, "sigmoid", "quadratic", "scaled_normal", "sgd", 30, 10, 10, None)
_TABLE = Defaults(100, "relu", "log_likelihood", "glorot_uniform", "adam", 200, 50, 32, 20)
_RATES = {"adam": 0.003, "adamw": 0.003}
_LEARNING_RATES = {"sgd": (0.3, 1.0, 3.0, 10.0), "adagrad": (0.003, 0.01, 0.03, 0.1)}
_LEARNING_RATES |= dict.fromkeys(("adam", "adamw", "rmsprop"), (0.0003, 0.001, 0.003, 0.01))


def is_image_data(training: Dataset) -> bool:
    """Whether the inputs are images in stored integers, with the scale that brings them to 0 … 1."""
    return training.scale is not None


def task_of(reading: Reading | None) -> str | None:
    """What a network must be told that it is for; None where its loss says so."""
    return "multilabel" if reading is not None and reading.task == "multilabel" else None


def defaults(training: Dataset, task: str | None = None) -> Defaults:
    """The defaults for these data: images of classes, a table of classes or of answers, or numbers to predict."""
    images = is_image_data(training)
    if training.classes:
        usual = _IMAGES if images else _TABLE
        return usual._replace(loss="cross_entropy") if task == "multilabel" and not images else usual
    return _TABLE._replace(loss="mean_squared_error")


def default_rate(name: str, training: Dataset, loss: str, *, standardize: bool) -> float | None:
    """The learning rate of a command that is given none; None for the optimizer's own."""
    if name == "sgd":
        return 3.0 * _sgd_share(training, loss, standardize)
    return None if is_image_data(training) and training.classes else _RATES.get(name)


def default_rates(name: str, training: Dataset, loss: str, *, standardize: bool) -> list[float]:
    """The learning rates of a sweep that is given none."""
    share = _sgd_share(training, loss, standardize) if name == "sgd" else 1.0
    return [float(f"{share * rate:.3g}") for rate in _LEARNING_RATES[name]]


def default_decays(name: str, training: Dataset, loss: str, *, standardize: bool) -> list[float]:
    """The weight decays of a sweep that is given none; those of adamw do not depend on the loss."""
    steep = 1.0 if training.classes or name == "adamw" else _steepness(training, loss, standardize)
    return [0.0, *(float(f"{steep * decay:.3g}") for decay in (0.0001, 0.001))]


def _sgd_share(training: Dataset, loss: str, standardize: bool) -> float:
    """How much smaller than for images the rates of sgd are: they depend on how steep the loss is."""
    if training.classes:
        return 1.0 if is_image_data(training) else 1 / 30
    return 1 / (300 if loss == "poisson" else 100) / _steepness(training, loss, standardize)


def _steepness(training: Dataset, loss: str, standardize: bool) -> float:
    """How many times larger than for targets of deviation 1 the gradients are.

    The last layer multiplies by the deviation of the targets, σ, so errors have it as a factor, and squared ones twice.
    """
    y = to_numpy(training.y).astype("float64")
    if losses.get(loss).suits not in (None, "linear"):
        return max(1.0, float(y.mean()))
    deviation = float(y.std(axis=0).max()) if standardize else 1.0
    power = 1 if loss in ("mean_absolute_error", "huber") else 2
    return (deviation or 1.0) ** power


def build_layers(
    training: Dataset, layers: str | None, dropout: float, loss: str, *, standardize: bool = False
) -> list[int | Layer]:
    """Dense layers between the inputs and the outputs of the data; the last activation is the one for the loss."""
    inputs = to_numpy(training.x[0, ...]).size
    outputs = training.classes or int(training.y.shape[1])
    sizes = [inputs, defaults(training).hidden, outputs] if layers is None else _parse_sizes(layers)
    if (sizes[0], sizes[-1]) != (inputs, outputs):
        raise InvalidValueError(
            f"layers: expected {inputs} first and {outputs} last, as the data have it, got {layers}"
        )
    if dropout and len(sizes) == 2:
        raise InvalidValueError(f"dropout: expected a hidden layer to put it after, got layers {layers}")
    task, chosen = "classes" if training.classes else "numbers", losses.get(loss)
    if chosen.task not in (None, task):
        raise InvalidValueError(f"loss: expected one for {task}, as the data have them, got {loss}, for {chosen.task}")
    last = chosen.suits or ("sigmoid" if training.classes else "linear")
    hidden: list[int | Layer] = []
    for size in sizes[1:-1]:
        hidden += [size, Dropout(dropout)] if dropout else [size]
    front: list[int | Layer] = [Standardize()] if standardize and not is_image_data(training) else []
    invert = standardize and not training.classes and last == "linear"
    end: list[int | Layer] = [Standardize(invert=True)] if invert else []
    return [sizes[0], *front, *hidden, Dense(sizes[-1], activation=last), *end]


def _parse_sizes(layers: str) -> list[int]:
    try:
        sizes = [int(size) for size in layers.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) < 2:
        raise InvalidValueError(f"layers: expected sizes such as 784,30,10, got {layers!r}")
    return sizes


def parse_numbers(name: str, text: str, *, allow_zero: bool = False) -> list[float]:
    """The positive numbers in a list such as ``0.1,0.3,1``, each once."""
    try:
        values = list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        values = [nan]
    if not all(isfinite(value) and (value > 0 or (allow_zero and value == 0)) for value in values):
        least = "of at least 0" if allow_zero else "above 0"
        raise InvalidValueError(f"{name}: expected numbers {least}, such as 0.1,0.3,1, got {text!r}")
    return values


def build_optimizer(name: str, **given: float | None) -> Optimizer:
    """The optimiser of that name, with its own defaults for what is None."""
    takers = {"learning_rate": [*_OPTIMIZERS], "weight_decay": [*_OPTIMIZERS], "momentum": ["sgd", "rmsprop"]}
    settings: dict[str, Any] = {"learning_rate": 1.0} if name == "sgd" else {}
    for option, value in given.items():
        if value is not None and name not in takers[option]:
            raise InvalidValueError(
                f"{option}: expected it with {' or '.join(takers[option])} only, got it with {name}"
            )
        settings |= {} if value is None else {option: value}
    return _OPTIMIZERS[name](**settings)


def with_schedule(optimizer: Optimizer, name: str, training: Dataset, epochs: int) -> Optimizer:
    """The optimiser with the schedule of that name, whose largest rate is the optimiser's own."""
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


def check_batch_size(batch_size: int | None, optimizer: Optimizer, net: Network, training: Dataset) -> int:
    """How many examples a step takes: the data's default, and all of them where the optimiser needs them."""
    if not optimizer.whole_batch:
        return integer("batch_size", defaults(training).batch_size if batch_size is None else batch_size)
    if batch_size is not None:
        raise InvalidValueError(f"batch_size: expected none for lbfgs, which takes all examples, got {batch_size}")
    if any(layer.random for layer in net.layers):
        raise InvalidValueError("dropout: expected none for lbfgs, whose loss must not change by chance; use adam")
    return len(training)


def standardized(layers: tuple[Layer, ...]) -> list[str]:
    """What the layers standardise: inputs, targets, both or nothing."""
    return [str(layer.measures) for layer in layers if isinstance(layer, Standardize)]


def class_names(training: Dataset) -> list[Any] | None:
    """What the outputs stand for, in their order; None for real targets."""
    return None if training.classes is None else list(training.class_names or range(training.classes))
