"""``nn-any sweep``: many learning rates, weight decays and seeds, trained as one ensemble."""

import json
import sys
import time
from itertools import product
from math import isfinite, nan
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from cyclopts import Parameter
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

import nn_any as nn
from nn_any import cli_options as options
from nn_any import plotting
from nn_any.callbacks import Progress, unfailing_console
from nn_any.cli_options import Flag, Integer
from nn_any.core.errors import InvalidValueError
from nn_any.core.optimizers import Optimizer
from nn_any.core.random import stream
from nn_any.files import write_atomically
from nn_any.interrupts import EXIT_CODES
from nn_any.validation import check_integer

_RATES = {"sgd": "0.3,1,3,10", "adagrad": "0.003,0.01,0.03,0.1"}
_SMALL_RATES = "0.0003,0.001,0.003,0.01"


class Choice(NamedTuple):
    """What is tried, with every seed."""

    learning_rate: float
    weight_decay: float


def sweep(
    *,
    data: str = "digits",
    layers: str | None = None,
    activation: options.ActivationName = "sigmoid",
    loss: options.LossName = "quadratic",
    initializer: options.InitializerName = "scaled_normal",
    dropout: float = 0.0,
    epochs: Integer = 10,
    batch_size: Integer = 10,
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad"] = "sgd",
    learning_rates: str | None = None,
    weight_decays: str = "0,0.0001,0.001",
    seeds: Integer = 3,
    draws: Annotated[Integer | None, Parameter(name="--random")] = None,
    schedule: options.ScheduleName = "constant",
    momentum: float | None = None,
    device: str | None = None,
    engine: options.EngineName = "auto",
    dtype: Literal["float32", "float64"] = "float32",
    seed: Integer = 0,
    output: Path | None = None,
    overwrite: Flag = False,
    as_json: Annotated[Flag, Parameter(name="--json")] = False,
    quiet: Flag = False,
) -> int:
    """Try learning rates, weight decays and seeds, all at once, and save the best model, a table and a picture.

    Parameters
    ----------
    data
        digits, mnist, or a file, as for train.
    layers
        The sizes, input first, such as 784,30,10. By default one hidden layer of 30.
    activation
        Of the hidden layers; the output layer has the one that goes with the loss.
    loss
        The loss function.
    initializer
        How weights and biases begin.
    dropout
        The share of neurons left out at random after each hidden layer, from 0 to below 1.
    epochs
        How many times to go through the training data.
    batch_size
        Examples a step.
    optimizer
        How gradients move the weights.
    learning_rates
        Those to try, such as 0.1,0.3,1,3; for a schedule the largest. By default four that suit the optimizer.
    weight_decays
        Those to try, such as 0,1e-4; each goes with each learning rate.
    seeds
        How many seeds each pair is trained with.
    draws
        Instead of the grid so many random pairs: learning rates between the smallest and the largest of those listed,
        and weight decays between the smallest and the largest above 0, evenly in their logarithms.
    schedule
        How the learning rates change, as for train.
    momentum
        Of sgd and rmsprop, from 0 to below 1.
    device
        As for train, but for fastest.
    engine
        As for train.
    dtype
        The arithmetic.
    seed
        The first of the seeds, and the one of the random draw.
    output
        The folder for model.safetensors, sweep.json and sweep.png. By default a new one in runs/.
    overwrite
        Replace a model that is in the output folder already.
    as_json
        Print the results as JSON, and nothing else, on standard output.
    quiet
        No progress.
    """
    with options.usage():
        place = nn.select_device(device)
        folder = options.output_folder(output, f"sweep-{Path(data).stem}", overwrite)
        check_integer("epochs", epochs, minimum=1)
        check_integer("seeds", seeds, minimum=1)
        check_integer("batch_size", batch_size, minimum=1)
        listed = _RATES.get(optimizer, _SMALL_RATES) if learning_rates is None else learning_rates
        rates, decays = _numbers("learning_rates", listed), _numbers("weight_decays", weight_decays)
        choices = [Choice(*pair) for pair in product(rates, decays)]
        if draws is not None:
            choices = _drawn(check_integer("random", draws, minimum=1), rates, decays, seed)
        members = [(choice, seed + i) for choice in choices for i in range(seeds)]
    parts = training, validation, _ = options.load(data, place)
    kind: dict[str, Any] = {"activation": activation, "loss": loss, "initializer": initializer}
    with options.usage():
        ensemble = nn.Ensemble(
            options.stack(training, layers, dropout, loss),
            len(members),
            learning_rates=[choice.learning_rate for choice, _ in members],
            weight_decays=[choice.weight_decay for choice, _ in members],
            seeds=[own for _, own in members],
            **kind,
            device=place,
            dtype=dtype,
        )
        method: Optimizer = options.build_optimizer(optimizer, momentum=momentum)
        method = options.with_schedule(method, schedule, training, epochs)
    notes = unfailing_console(sys.stderr)
    if not quiet:
        _announce(notes, data, parts, choices, seeds, ensemble)
    folder.mkdir(parents=True, exist_ok=True)
    start, code = time.perf_counter(), 0
    try:
        history = ensemble.fit(
            training,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=method,
            validation_data=validation,
            callbacks=[] if quiet else [Progress(notes)],
            engine=engine,
        )
    except nn.TrainingInterrupted as interruption:
        code, history = EXIT_CODES[interruption.signal], interruption.history
    seconds = time.perf_counter() - start
    results: dict[str, Any] = {"data": data, "scale": training.scale, "classes": options.class_names(training)}
    results |= {**kind, "dropout": dropout, "optimizer": optimizer, "momentum": momentum, "schedule": schedule}
    results |= {"batch_size": batch_size, "dtype": dtype, "device": str(place), "engine": history.engine}
    results |= {"epochs": len(history), "interrupted": code != 0, "seconds": seconds, "networks": len(ensemble)}
    found = _members(ensemble, members, parts)
    rows = _rows(choices, found, seeds, draws is not None)
    results |= {"rows": rows, "best": _best(rows, found)}
    model = folder / "model.safetensors"
    ensemble[results["best"]["member"]].save(model)
    results |= {"model": str(model), **_picture(folder / "sweep.png", rows, data, len(history), seeds)}
    report = {**results, "members": found, "history": _plain(history.to_dict())}
    write_atomically(folder / "sweep.json", json.dumps(report, indent=2, allow_nan=False).encode())
    options.print_results(json.dumps(results, indent=2) + "\n" if as_json else _report(results), str(model))
    return code


def _numbers(name: str, text: str) -> list[float]:
    """The numbers in a list such as ``0.1,0.3,1``, each once."""
    try:
        values = list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        values = [nan]
    if not all(isfinite(value) and (value > 0 or (value == 0 and name == "weight_decays")) for value in values):
        least = "of at least 0" if name == "weight_decays" else "above 0"
        raise InvalidValueError(f"{name}: expected numbers {least}, such as 0.1,0.3,1, got {text!r}")
    return values


def _drawn(count: int, rates: list[float], decays: list[float], seed: int) -> list[Choice]:
    """Pairs drawn evenly in their logarithms, between the smallest and the largest."""
    rng = stream(seed, "sweep")
    positive = [decay for decay in decays if decay > 0] or [0.0]

    def draw(values: list[float]) -> np.ndarray:
        low, high = min(values), max(values)
        share = rng.random(count)
        return np.full(count, low) if low == high else low * (high / low) ** share

    pairs = zip(draw(rates).tolist(), draw(positive).tolist(), strict=True)
    return [Choice(*pair) for pair in dict.fromkeys(pairs)]  # with one number of each there is one pair


def _announce(
    notes: Console, data: str, parts: options.Parts, choices: list[Choice], seeds: int, ensemble: nn.Ensemble
) -> None:
    names = ("training", "validation", "test")
    counts = ", ".join(f"{len(part):,} {name}" for part, name in zip(parts, names, strict=True))
    for line in (
        f"{len(choices)} pairs of learning rate and weight decay, {seeds} seed(s) each: {len(ensemble)} networks",
        f"{data}: {counts} examples",
        f"device {ensemble.device} ({ensemble.device.reason})",
    ):
        notes.print(line, markup=False, highlight=False, soft_wrap=True)


def _members(ensemble: nn.Ensemble, members: list[tuple[Choice, int]], parts: options.Parts) -> list[dict[str, Any]]:
    """What is known of each member: its settings, and how right it is."""
    measures: dict[str, list[float]] = {}
    for name, part in zip(("validation", "test"), parts[1:], strict=True):
        measures[f"{name}_loss"] = ensemble.losses(part).tolist()
        if not ensemble.is_regression:
            measures[f"{name}_accuracy"] = ensemble.accuracies(part).tolist()
    found = []
    for i, (choice, own) in enumerate(members):
        about = {"member": i, **choice._asdict(), "seed": own, "diverged": bool(ensemble.diverged[i])}
        found.append(about | {name: _plain(values[i]) for name, values in measures.items()})
    return found


def _measure(found: list[dict[str, Any]]) -> str:
    return "validation_accuracy" if "validation_accuracy" in found[0] else "validation_loss"


def _rows(choices: list[Choice], found: list[dict[str, Any]], seeds: int, drawn: bool) -> list[dict[str, Any]]:
    """Mean and spread over the seeds of each pair, without those that diverged; the best pair first."""
    measure = _measure(found)
    rows = []
    for i, choice in enumerate(choices):
        alive = [one for one in found[i * seeds : (i + 1) * seeds] if not one["diverged"]]
        values, tests = ([one[name] for one in alive] for name in (measure, measure.replace("validation", "test")))
        mean, test = (float(np.mean(numbers)) if alive else None for numbers in (values, tests))
        spread = float(np.std(values, ddof=1)) if len(alive) > 1 else 0.0
        row = {**choice._asdict(), "mean": mean, "spread": spread, "test": test, "drawn": drawn}
        rows.append(row | {"diverged": seeds - len(alive), "measure": measure})
    sign = -1 if measure == "validation_accuracy" else 1
    return sorted(rows, key=lambda row: (row["mean"] is None, sign * (row["mean"] or 0.0)))


def _best(rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> dict[str, Any]:
    """The member with the lowest validation loss among those of the best pair."""
    pair = rows[0]["learning_rate"], rows[0]["weight_decay"]
    alike = [one for one in found if (one["learning_rate"], one["weight_decay"]) == pair and not one["diverged"]]
    return min(alike, key=lambda one: float(one["validation_loss"]))


def _picture(path: Path, rows: list[dict[str, Any]], data: str, epochs: int, seeds: int) -> dict[str, Any]:
    """Where the picture is, or why there is none."""
    measure = rows[0]["measure"].replace("_", " ")
    try:
        plotting.sweep_picture(path, rows, measure, f"{Path(data).name}, after {epochs} epochs", seeds)
    except ImportError as error:
        return {"picture": None, "picture_missing": f"matplotlib is not usable ({error}); {plotting.REMEDY}"}
    return {"picture": str(path), "picture_missing": None}


def _plain(value: Any) -> Any:
    """The same without NaN and infinity, which JSON has not: None."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _report(results: dict[str, Any]) -> str:
    """The table, and what was saved where."""
    rows, best = results["rows"], results["best"]
    accuracy = rows[0]["measure"] == "validation_accuracy"
    what = "accuracy" if accuracy else "loss"
    lost = any(row["diverged"] for row in rows)
    table = Table(box=SIMPLE)
    for name in ("learning rate", "weight decay", f"validation {what}", f"test {what}", *["diverged"] * lost):
        table.add_column(name, justify="right")
    for i, row in enumerate(rows):
        cells = [f"{row['learning_rate']:.4g}", f"{row['weight_decay']:.4g}"]
        cells += [_number(row["mean"], accuracy, row["spread"]), _number(row["test"], accuracy)]
        table.add_row(*cells, *[str(row["diverged"])] * lost, style="bold green" if i == 0 else None)
    console = unfailing_console(sys.stdout)
    with console.capture() as capture:
        console.print(table)
        value, test = (_number(best[f"{part}_{what}"], accuracy) for part in ("validation", "test"))
        lines = [("interrupted", f"after {results['epochs']} epochs")] if results["interrupted"] else []
        lines.append(
            (
                "best",
                f"learning rate {best['learning_rate']:.4g}, weight decay {best['weight_decay']:.4g}, seed "
                f"{best['seed']}: validation {what} {value}, test {what} {test}",
            )
        )
        networks, epochs = results["networks"], results["epochs"]
        lines.append(("time", f"{results['seconds']:.2f} s for {networks} networks, {epochs} epochs each"))
        lines.append(("device", results["device"]))
        lines.append(("saved", results["model"]))
        lines.append(("picture", results["picture"] or f"not drawn: {results['picture_missing']}"))
        for name, text in lines:
            console.print(f"{name:15}{text}", markup=False, highlight=False, soft_wrap=True)
    return capture.get()


def _number(value: float | None, accuracy: bool, spread: float | None = None) -> str:
    """A measure as people read it: ``94.44 % ± 0.31``."""
    if value is None:
        return "diverged"
    if accuracy:
        return f"{100 * value:.2f} %" + ("" if spread is None else f" ± {100 * spread:.2f}")
    return f"{value:.5g}" + ("" if spread is None else f" ± {spread:.2g}")
