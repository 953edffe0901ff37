"""``nn-any evaluate``: how right a trained model is."""

from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

import nn_any as nn
from nn_any import metrics
from nn_any.cli import options
from nn_any.cli.console import counted, error_console, output_width, print_line, print_text, render, spelled, to_json
from nn_any.cli.models import class_names, find_model, open_model, output_names, target_name
from nn_any.datasets.new_examples import FileExamples, read_examples
from nn_any.training.display import loss_text

_MOST_CLASSES, _MOST_CONFUSIONS = 20, 10


def evaluate(
    model: Path,
    /,
    data: str,
    *,
    target: options.TargetOption = None,
    header: options.NamesOption = None,
    part: Literal["training", "validation", "test", "all"] | None = None,
    device: str | None = None,
    as_json: options.JsonOption = False,
    quiet: options.Flag = False,
) -> int:
    """Evaluate a trained model: accuracy and confusions of classes, errors of numbers.

    Parameters
    ----------
    model
        A model file, or the folder of a run with its model.safetensors.
    data
        digits, mnist, or a .csv or .npz file with what is to be predicted.
    part
        Which examples: of digits and mnist by default those for tests; of a file all, or if it has x_test those. The
        parts of a file are those that train makes of it.
    device
        As for train, but for fastest.
    quiet
        Say nothing of what was left out.
    """
    with options.usage_errors():
        chosen_device = nn.select_device(device)
    path = find_model(model)
    net = open_model(path, str(chosen_device))
    examples = _load(net, data, target, header, part)
    if not quiet:
        for note in examples.notes:
            print_line(error_console(), f"{data}: {note}")
    results: dict[str, Any] = {"model": str(path), "data": data, "part": examples.part, "examples": len(examples.data)}
    results |= {"task": net.task, "loss": net.loss(examples.data), "loss_function": net.specification.loss.name}
    measure = {"classification": _classes, "multilabel": _labels, "regression": _numbers}[net.task]
    results |= measure(net, examples.data)
    text = to_json(results) if as_json else _report(results)
    print_text(text, "the results could not be printed")
    return 0


def _load(
    net: nn.Network | nn.Ensemble, data: str, target: str | None, header: str | None, part: str | None
) -> FileExamples:
    """The examples to evaluate on."""
    if data not in ("digits", "mnist"):
        if Path(data).suffix.lower() not in (".csv", ".npz"):
            raise options.UsageError(f"data: expected digits, mnist, or a file ending in .npz or .csv, got {data!r}")
        with options.argument_errors():
            return read_examples(
                Path(data), net.specification, net.device, target=target, header=options.as_flag(header), part=part
            )
    splits, _ = options.load_data(data, net.device, target=target, header=header)
    part = part or "test"
    sets = dict(zip(("training", "validation", "test"), splits, strict=True))
    chosen = sets[part] if part != "all" else _joined(list(splits))
    notes: tuple[str, ...] = ()
    if net.schema.scale is None and (net.feature_names is not None or "inputs" in options.standardized(net.layers)):
        chosen = nn.Dataset(
            nn.to_numpy(chosen.x).astype("float32"), chosen.y, classes=chosen.classes, device=chosen.device
        )
        notes = ("integers are taken as they are: the model knows no scale",)
    elif net.schema.scale is None:
        notes = (f"integers are divided by {chosen.scale:g}: the model knows no scale",)
    return FileExamples(chosen, part, notes)


def _joined(sets: list[nn.Dataset]) -> nn.Dataset:
    """All examples of some data sets of labels."""
    x, y = (np.concatenate([nn.to_numpy(getattr(each, name)) for each in sets]) for name in ("x", "y"))
    return nn.Dataset(x, y, classes=sets[0].classes, scale=sets[0].scale, device=sets[0].device)


def _classes(net: nn.Network | nn.Ensemble, data: nn.Dataset) -> dict[str, Any]:
    """How right a classifier is, and in which classes."""
    names = class_names(net)
    if data.scale is not None and net.schema.scale != data.scale:
        net.schema = replace(net.schema, scale=data.scale)
    answers = nn.to_numpy(net.predict(data.x))
    matrix = metrics.count_answers(nn.to_numpy(data.y), answers, len(names))
    scores = {name: values.tolist() for name, values in metrics.class_scores(matrix).items()}
    each = [{"class": name} | {key: values[i] for key, values in scores.items()} for i, name in enumerate(names)]
    results = {"accuracy": net.accuracy(data), "target": target_name(net), "classes": names}
    return results | {"confusion_matrix": matrix.tolist(), "each_class": each}


def _labels(net: nn.Network | nn.Ensemble, data: nn.Dataset) -> dict[str, Any]:
    """How right a multilabel network is, in all and in each output."""
    measures = ("output_precision", "output_recall", "output_f1")
    found = net.score(data, *measures)
    asked = nn.to_numpy(data.y).sum(axis=0).astype(int).tolist()
    each = []
    for i, name in enumerate(output_names(net)):
        scores = {measure.removeprefix("output_"): float(found[measure][i]) for measure in measures}
        each.append({"output": name, **scores, "examples": asked[i]})
    return {"accuracy": net.accuracy(data), "each_output": each}


def _numbers(net: nn.Network | nn.Ensemble, data: nn.Dataset) -> dict[str, Any]:
    """How far a network is from the numbers."""
    found = net.score(data, "mean_squared_error", "mean_absolute_error", "r2")
    found = {"mean_squared_error": found["mean_squared_error"], "root_mean_squared_error": None} | found
    found["root_mean_squared_error"] = sqrt(found["mean_squared_error"])
    return found | {"targets": output_names(net)}


def _report(results: dict[str, Any]) -> str:
    """The results in words and tables."""
    part = "" if results["part"] == "all" else f", its {results['part']} part"
    fields = [("data", f"{results['data']}{part}: {counted(results['examples'], 'example')}")]
    tables: list[Table] = []
    if results["task"] == "classification":
        tables = [*_confusion_tables(results), _scores_table(results["each_class"], "class")]
    elif results["task"] == "multilabel":
        tables = [_scores_table(results["each_output"], "output")]
    if "accuracy" in results:
        share = f"{100 * results['accuracy']:.2f} %"
        fields.append(("accuracy", share + (" with all outputs right" if results["task"] == "multilabel" else "")))
    else:
        fields.append(("R²", f"{results['r2']:.4f}: 1 is perfect, 0 no better than always the mean"))
        names = "mean_absolute_error", "mean_squared_error", "root_mean_squared_error"
        fields += [(name.replace("_", " "), f"{results[name]:.6g}") for name in names]
    fields.append(("loss", f"{loss_text(results['loss'])} ({results['loss_function']})"))
    width = max(15, *(len(name) + 2 for name, _ in fields))
    return render([f"{spelled(name):{width}}{text}" for name, text in fields], *tables)


def _confusion_tables(results: dict[str, Any]) -> list[Table]:
    """How often each class was taken for each other one; of many classes the most frequent mistakes."""
    names, matrix = [spelled(str(name)) for name in results["classes"]], results["confusion_matrix"]
    width = max(map(len, names)) + sum(max(len(name), 4) + 3 for name in names)
    table = Table(box=SIMPLE)
    if len(names) > _MOST_CLASSES or width > output_width():
        for name in ("class", "predicted as", "examples"):
            table.add_column(name, justify="right" if name == "examples" else "left", overflow="fold")
        found = metrics.confusions(np.array(matrix), _MOST_CONFUSIONS)
        for i, j, count in found:
            table.add_row(names[i], names[j], f"{count:,}")
        return [table] if found else []
    table.add_column("predicted:")
    for name in names:
        table.add_column(name, justify="right")
    for i, (name, row) in enumerate(zip(names, matrix, strict=True)):
        cells = [Text(f"{count:,}" if count else "·", "bold green" if i == j else "") for j, count in enumerate(row)]
        table.add_row(name, *cells)
    return [table]


def _scores_table(each: list[dict[str, Any]], what: str) -> Table:
    """Precision, recall and F1 of each class or output."""
    table = Table(box=SIMPLE)
    table.add_column(what, overflow="fold")
    for name in ("precision", "recall", "F1", "examples"):
        table.add_column(name, justify="right")
    for row in each:
        shares = [f"{100 * row[name]:.1f} %" for name in ("precision", "recall", "f1")]
        table.add_row(spelled(str(row[what])), *shares, f"{row['examples']:,}")
    return table
