"""``nn-any sweep``: many learning rates, weight decays and seeds, trained as one ensemble."""

from itertools import product
from math import floor, log10
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.box import SIMPLE
from rich.table import Table

import nn_any as nn
from nn_any import plotting
from nn_any.cli import options, search
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
from nn_any.core.options import integer
from nn_any.files import write_atomically
from nn_any.training.display import ProgressDisplay


def sweep(
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
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad"] | None = None,
    learning_rates: str | None = None,
    weight_decays: str | None = None,
    seeds: options.Integer = 3,
    draws: Annotated[options.Integer | None, Parameter(name="--random")] = None,
    schedule: options.ScheduleName = "constant",
    momentum: options.MomentumOption = None,
    device: str | None = None,
    engine: options.EngineName = "auto",
    dtype: options.DTypeOption = "float32",
    seed: options.Integer = 0,
    output: Path | None = None,
    overwrite: options.OverwriteOption = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> int:
    """Try learning rates, weight decays and seeds, all at once, and save the best model, a table and a picture.

    Parameters
    ----------
    data
        digits, mnist, or a file, as for train.
    epochs
        How many times to go through the training data, by default 10, for tables and numbers 50.
    batch_size
        Examples a step, by default 10, for tables and numbers 32.
    optimizer
        How gradients move the weights: by default sgd, for tables and numbers adam.
    learning_rates
        Those to try, such as 0.1,0.3,1,3; for a schedule the largest. By default four that suit the optimizer
        and the data.
    weight_decays
        Those to try, such as 0,1e-4; each goes with each learning rate. By default 0, 0.0001
        and 0.001; for numbers, the last two times the size of the gradients, such as the variance of the targets.
    seeds
        How many seeds each pair is trained with.
    draws
        Instead of the grid so many random pairs: learning rates between the smallest and the largest of those listed,
        and weight decays between the smallest and the largest above 0, evenly in their logarithms.
    schedule
        How the learning rates change, as for train.
    device
        As for train, but for fastest.
    engine
        As for train.
    seed
        The first of the seeds, and the one of the random draw.
    output
        The folder for model.safetensors, sweep.json and sweep.png. By default a new one in runs/.
    """
    with options.usage_errors():
        chosen_device = nn.select_device(device)
        folder = options.output_folder(output, f"sweep-{Path(data).stem}", overwrite)
        for name, value in {"epochs": epochs, "seeds": seeds, "batch_size": batch_size, "random": draws}.items():
            if value is not None:
                integer(name, value)
        listed = None if learning_rates is None else options.parse_numbers("learning_rates", learning_rates)
        decays = None
        if weight_decays is not None:
            decays = options.parse_numbers("weight_decays", weight_decays, allow_zero=True)
    splits, reading = options.load_data(data, chosen_device, task=task, target=target, header=header)
    training, validation, test = splits
    told_task = options.task_of(reading)
    usual = options.defaults(training, told_task)
    epochs, batch_size = epochs or usual.sweep_epochs, batch_size or usual.batch_size
    optimizer = optimizer or usual.optimizer
    model = usual.model(activation, loss, initializer)
    with options.usage_errors():
        layers_of_each = options.build_layers(training, layers, dropout, model["loss"], standardize=standardize)
        suited = optimizer, training, model["loss"]
        rates = listed or options.default_rates(*suited, standardize=standardize)
        decays = decays or options.default_decays(*suited, standardize=standardize)
        candidates = [search.Candidate(*pair) for pair in product(rates, decays)]
        if draws is not None:
            candidates = search.draw_candidates(draws, rates, decays, seed)
        members = [(candidate, seed + i) for candidate in candidates for i in range(seeds)]
        ensemble = nn.Ensemble(
            layers_of_each,
            len(members),
            learning_rates=[candidate.learning_rate for candidate, _ in members],
            weight_decays=[candidate.weight_decay for candidate, _ in members],
            seeds=[member_seed for _, member_seed in members],
            **model,
            task=told_task,
            device=chosen_device,
            dtype=dtype,
        )
        method = options.build_optimizer(optimizer, momentum=momentum)
        method = options.with_schedule(method, schedule, training, epochs)
    console = error_console()
    if not quiet:
        pairs = f"{counted(len(candidates), 'pair')} of learning rate and weight decay"
        print_line(console, f"{pairs}, {counted(seeds, 'seed')} each: {counted(len(ensemble), 'network')}")
        print_line(console, f"{data}: {count_examples(splits)}")
        introduce(console, reading, ensemble)
    with claimed(folder, overwrite):
        history, seconds, exit_code = fit(
            ensemble,
            training,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=method,
            validation_data=validation,
            callbacks=[] if quiet else [ProgressDisplay(console)],
            engine=engine,
        )
        scores = search.score_members(ensemble, members, validation, test)
        rows = search.summarize(candidates, scores, seeds, draws is not None)
        best = search.best_member(rows, scores)
        path = folder / "model.safetensors"
        ensemble[best["member"]].save(path)
        results: dict[str, Any] = {"data": data, "scale": training.scale, "classes": options.class_names(training)}
        results["taken_for"] = options.describe_reading(reading)
        results |= {**model, "dropout": dropout, "optimizer": optimizer, "momentum": momentum, "schedule": schedule}
        results["standardized"] = options.standardized(ensemble.layers)
        results |= {"batch_size": batch_size, "dtype": dtype, "device": str(chosen_device), "engine": history.engine}
        results |= {
            "epochs": len(history),
            "interrupted": exit_code != 0,
            "seconds": seconds,
            "networks": len(ensemble),
        }
        results |= {"rows": rows, "best": best, "model": str(path)}
        title = f"{Path(data).name}, after {counted(len(history), 'epoch')}"
        results |= _draw(folder / "sweep.png", rows, title, seeds)
        report = {**results, "members": scores, "history": history.to_dict()}
        write_atomically(folder / "sweep.json", to_json(report).encode())
    print_results(results, _report, as_json=as_json)
    return exit_code


def _draw(path: Path, rows: list[search.Row], title: str, seeds: int) -> dict[str, Any]:
    """Draw the picture; where it is, or why there is none."""
    try:
        plotting.sweep_picture(path, rows, rows[0]["measure"].replace("_", " "), title, seeds)
    except ImportError as error:
        return {"picture": None, "picture_missing": f"matplotlib is not usable ({error}); {plotting.REMEDY}"}
    return {"picture": str(path), "picture_missing": None}


def _report(results: dict[str, Any]) -> str:
    """The table, and what was saved where."""
    rows, best = results["rows"], results["best"]
    accuracy = rows[0]["measure"] == "validation_accuracy"
    what = "accuracy" if accuracy else "loss"
    diverged = any(row["diverged"] for row in rows)
    table = Table(box=SIMPLE)
    for name in ("learning rate", "weight decay", f"validation {what}", f"test {what}", *["diverged"] * diverged):
        table.add_column(name, justify="right")
    for i, row in enumerate(rows):
        cells = [f"{row['learning_rate']:.4g}", f"{row['weight_decay']:.4g}"]
        cells += [spelled(_number(row["mean"], accuracy, row["spread"])), _number(row["test"], accuracy)]
        table.add_row(*cells, *[str(row["diverged"])] * diverged, style="bold green" if i == 0 else None)
    value, test = (_number(best[f"{part}_{what}"], accuracy) for part in ("validation", "test"))
    pair = f"learning rate {best['learning_rate']:.4g}, weight decay {best['weight_decay']:.4g}"
    standardized = " and ".join(results["standardized"])
    networks, epochs = counted(results["networks"], "network"), counted(results["epochs"], "epoch")
    fields = [("interrupted", f"after {epochs}")] if results["interrupted"] else []
    fields += [
        ("best", f"{pair}, seed {best['seed']}"),
        ("", f"validation {what} {value}, test {what} {test}"),
        *([("standardised", f"{standardized}: {options.RAW_NUMBERS}")] if standardized else []),
        ("time", f"{results['seconds']:.2f} s for {networks}, {epochs} each"),
        ("device", results["device"]),
        ("saved", results["model"]),
        ("predict", next_command(results)),
        ("picture", results["picture"] or f"not drawn: {results['picture_missing']}"),
    ]
    return render([f"{name:15}{text}" for name, text in fields], table)


def _number(value: float | None, accuracy: bool, spread: float | None = None) -> str:
    """A measure as people read it: ``94.44 % ± 0.31``, and a loss in five digits: ``4277.3 ± 531.2``."""
    if value is None:
        return "diverged"
    if accuracy:
        return f"{100 * value:.2f} %" + ("" if spread is None else f" ± {100 * spread:.2f}")
    if not 1e-3 <= abs(value) < 1e7:
        return f"{value:.4g}" + ("" if spread is None else f" ± {spread:.2g}")
    decimals = max(0, 4 - floor(log10(abs(value))))
    return f"{value:.{decimals}f}" + ("" if spread is None else f" ± {spread:.{decimals}f}")
