"""What a network says of new examples, as comma-separated values, as JSON and as a table."""

import csv
from collections.abc import Callable, Iterator
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

import nn_any as nn
from nn_any.cli.console import counted, render, spelled, to_json
from nn_any.cli.models import class_names, output_names, target_name
from nn_any.datasets.image_file import SUFFIXES as PICTURES

_MOST_ROWS, _MOST_CLASSES, _BEST = 100, 5, 3


class Answers(NamedTuple):
    """What a network says of the examples of a file."""

    file: str
    answers: list[Any]
    """A name, a tuple of 0 and 1, or a tuple of numbers for each example."""
    probabilities: np.ndarray | None
    """(n, classes), or (n, outputs) of a multilabel network."""

    @property
    def is_picture(self) -> bool:
        """Whether the file is a single example."""
        return Path(self.file).suffix.lower() in PICTURES


def answer(net: nn.Network | nn.Ensemble, file: str, x: np.ndarray, wanted: bool) -> Answers:
    """What the network says of the examples of a file."""
    answers = nn.to_numpy(net.predict(x))
    if net.task == "classification":
        names = class_names(net)
        listed: list[Any] = [names[place] for place in answers.tolist()]
    else:
        listed = [tuple(row) for row in answers]
    if not wanted:
        return Answers(file, listed, None)
    outputs = nn.to_numpy(net.predict_proba(x))
    if net.task == "classification" and net.outputs == 1:
        outputs = np.concatenate([1 - outputs, outputs], axis=1)
    return Answers(file, listed, outputs)


def _places(found: list[Answers]) -> tuple[list[str], Iterator[list[Any]]]:
    """The columns that say which example a row is of, if it takes any, and their values."""
    pictures = all(each.is_picture for each in found)
    if len(found) == 1 and not pictures:
        return [], iter([[]] * len(found[0].answers))
    head = ["file"] if pictures else ["file", "row"]
    return head, ([each.file, row + 1][: len(head)] for each in found for row in range(len(each.answers)))


def csv_text(net: nn.Network | nn.Ensemble, found: list[Answers]) -> str:
    """A line for each example: what is predicted, and the probabilities; where several files are read, which it is."""
    head, places = _places(found)
    classify = net.task == "classification"
    head = [*head, *([target_name(net)] if classify else output_names(net))]
    shown = found[0].probabilities is not None
    if shown:
        names = class_names(net) if classify else output_names(net)
        head += [f"probability_{name}" for name in names]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for each in found:
        for i, answer in enumerate(each.answers):
            numbers = [] if each.probabilities is None else each.probabilities[i]
            writer.writerow([*next(places), *([answer] if classify else answer), *map(str, numbers)])
    return text.getvalue()


def json_text(net: nn.Network | nn.Ensemble, path: Path, found: list[Answers]) -> str:
    """The model and what it says of each example."""
    results: dict[str, Any] = {"model": str(path), "task": net.task}
    if net.task == "classification":
        results |= {"target": target_name(net), "classes": class_names(net)}
    else:
        results["targets"] = output_names(net)
    results["predictions"] = []
    for each in found:
        for i, answer in enumerate(each.answers):
            row = {"file": each.file, "row": i + 1, "prediction": _plain(net, answer)}
            if each.probabilities is not None:
                row["probabilities"] = [float(str(value)) for value in each.probabilities[i]]
            results["predictions"].append(row)
    return to_json(results)


def _plain(net: nn.Network | nn.Ensemble, answer: Any) -> Any:
    """An answer as JSON holds it: a class, a number or several, or the names of the outputs that say yes."""
    if net.task == "classification":
        return answer
    if net.task == "multilabel":
        return [name for name, yes in zip(output_names(net), answer, strict=True) if yes]
    numbers = [float(str(value)) for value in answer]
    return numbers[0] if len(numbers) == 1 else numbers


def table_text(net: nn.Network | nn.Ensemble, found: list[Answers]) -> str:
    """The answers for a terminal: the first rows, and how to get the others."""
    count = sum(len(each.answers) for each in found)
    head, places = _places(found)
    if not head:
        head, places = ["row"], ([row + 1] for row in range(count))
    table = Table(box=SIMPLE)
    for name in head:
        table.add_column(name, justify="right" if name == "row" else "left", overflow="fold")
    rows = ((each, i) for each in found for i in range(len(each.answers)))
    body = _classes if net.task == "classification" else _labels if net.task == "multilabel" else _numbers
    cells = body(net, table, found[0].probabilities is not None)
    for each, i in islice(rows, _MOST_ROWS):
        place = [spelled(str(part)) for part in next(places)]
        table.add_row(*place, *cells(each, i))
    more = count - _MOST_ROWS
    return render([f"… and {counted(more, 'row')} more: --csv or --output FILE gives all"] if more > 0 else [], table)


def _classes(net: nn.Network | nn.Ensemble, table: Table, shown: bool) -> Callable[[Answers, int], list[Any]]:
    """The columns of a classifier, and what makes their cells: all classes if they are few, else the likeliest."""
    names = [spelled(str(name)) for name in class_names(net)]
    table.add_column(spelled(target_name(net)), overflow="fold")
    few = shown and len(names) <= _MOST_CLASSES
    for name in names if few else ["probability"] * shown:
        table.add_column(name, justify="right", overflow="fold")
    if shown and not few:
        table.add_column("then", overflow="fold")
    numbers = {name: i for i, name in enumerate(class_names(net))}

    def cells(each: Answers, i: int) -> list[Any]:
        name = Text(spelled(str(each.answers[i])), "bold")
        if each.probabilities is None:
            return [name]
        row = each.probabilities[i]
        if few:
            return [name, *map(_share, row)]
        chosen = numbers[each.answers[i]]
        others = [k for k in np.argsort(-row, kind="stable").tolist() if k != chosen][: _BEST - 1]
        return [name, _share(row[chosen]), ", ".join(f"{names[k]}: {_share(row[k])}" for k in others)]

    return cells


def _labels(net: nn.Network | nn.Ensemble, table: Table, shown: bool) -> Callable[[Answers, int], list[Any]]:
    """The same for a multilabel network: the outputs that say yes."""
    names = [spelled(name) for name in output_names(net)]
    table.add_column("yes", overflow="fold")
    few = shown and len(names) <= _MOST_CLASSES
    for name in names if few else ():
        table.add_column(name, justify="right", overflow="fold")

    def cells(each: Answers, i: int) -> list[Any]:
        row = None if each.probabilities is None else each.probabilities[i]
        said = [k for k, yes in enumerate(each.answers[i]) if yes]
        listed = [names[k] if row is None or few else f"{names[k]}: {_share(row[k])}" for k in said]
        return [Text(", ".join(listed) or "none", "bold"), *(map(_share, row) if few and row is not None else ())]

    return cells


def _numbers(net: nn.Network | nn.Ensemble, table: Table, shown: bool) -> Callable[[Answers, int], list[Any]]:
    """The same for a network that predicts numbers."""
    for name in output_names(net):
        table.add_column(spelled(name), justify="right", overflow="fold")
    return lambda each, i: [Text(f"{value:.6g}", "bold") for value in each.answers[i]]


def _share(value: Any) -> str:
    """A probability as people read it."""
    return f"{100 * float(value):.1f} %"
