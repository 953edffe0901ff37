"""How right a network is, in the field's usual measures. scikit-learn does the counting, on the host.

Each function takes what a network was asked and what it answered:

- ``targets``: integer labels (n,), or targets (n, outputs), one-hot or real;
- ``outputs``: the network's outputs (n, outputs).

They are what ``net.score(data, "f1")`` and ``fit(..., metrics=["f1"])`` take by name, and where a function of your own
may stand. If early stopping, a checkpoint or a schedule is to follow it, give it an attribute that says which way is
better: ``kappa.higher_is_better = True``.

Outputs that are NaN name no class, so they are wrong; the measures of numbers are NaN where outputs are.

Each output of a multilabel network is an answer of yes or no. ``"accuracy"`` is the share of the examples whose answers
are all right; ``"precision"``, ``"recall"`` and ``"f1"`` are means over the outputs, and ``"output_accuracy"``,
``"output_precision"``, ``"output_recall"`` and ``"output_f1"`` have a number for each output.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from nn_any.core import options
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.options import closest

Function: TypeAlias = Callable[[np.ndarray, np.ndarray], Any]
Metric: TypeAlias = str | Function

_FOR_CLASSES = ("accuracy", "precision", "recall", "f1", "confusion_matrix")
_FOR_NUMBERS = ("r2", "mean_squared_error", "mean_absolute_error")
_FOR_LABELS = ("accuracy", "precision", "recall", "f1")
_FOR_EACH_OUTPUT = ("output_accuracy", "output_precision", "output_recall", "output_f1")


def _labels(rows: np.ndarray) -> np.ndarray:
    """The class that labels (n,), or rows of targets or outputs, name; a single column says yes above ½, NaN is -1."""
    if rows.ndim == 1:
        return rows
    named = (rows[:, 0] > 0.5).astype(int) if rows.shape[1] == 1 else rows.argmax(axis=1)
    return np.where(np.isnan(rows).any(axis=1), -1, named)


def _numbers(rows: np.ndarray) -> np.ndarray:
    """Targets or outputs as (n, outputs), float64."""
    return (rows[:, None] if rows.ndim == 1 else rows).astype(np.float64)


def accuracy(targets: np.ndarray, outputs: np.ndarray) -> float:
    """The share of the examples that are right.

    Examples
    --------
    >>> accuracy(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]))
    0.6666666666666666
    """
    return float(np.mean(_labels(targets) == _labels(outputs)))


def top_k_accuracy(targets: np.ndarray, outputs: np.ndarray, k: int = 5) -> float:
    """The share of the examples whose class is among the `k` largest outputs; of one output, for `k` = 1, `accuracy`.

    Examples
    --------
    >>> top_k_accuracy(np.array([0, 2]), np.array([[0.9, 0.1, 0.0], [0.5, 0.2, 0.3]]), k=2)
    1.0
    """
    if not 1 <= k <= outputs.shape[1]:
        raise InvalidValueError(f"k: expected 1 … {outputs.shape[1]}, as many as there are outputs, got {k}")
    if outputs.shape[1] == 1:
        return accuracy(targets, outputs)
    best = np.argsort(-outputs, axis=1, kind="stable")[:, :k]
    right = (best == _labels(targets)[:, None]).any(axis=1)
    return float(np.mean(right & ~np.isnan(outputs).any(axis=1)))


def _score(name: str, targets: np.ndarray, outputs: np.ndarray, average: str | None) -> float:
    """What scikit-learn's ``{name}_score`` gives for the classes that are named."""
    import sklearn.metrics

    score, asked, answers = getattr(sklearn.metrics, f"{name}_score"), _labels(targets), _labels(outputs)
    average = average or ("binary" if outputs.shape[1] == 1 else "macro")
    named = np.union1d(asked, answers[answers >= 0])
    if average == "binary":  # of the positive class alone; scikit-learn would refuse -1 beside 0 and 1
        named, average = np.array([1]), "macro"
    return float(score(asked, answers, labels=named, average=average, zero_division=0))


def precision(targets: np.ndarray, outputs: np.ndarray, average: str | None = None) -> float:
    """Of the answers that name a class, the share that is right; 0 for a class that is never named.

    `average` is scikit-learn's: by default every class counts the same (``"macro"``), and for one output it is the
    positive class's (``"binary"``).
    """
    return _score("precision", targets, outputs, average)


def recall(targets: np.ndarray, outputs: np.ndarray, average: str | None = None) -> float:
    """Of the examples of a class, the share that is answered so; `average` as for `precision`."""
    return _score("recall", targets, outputs, average)


def f1(targets: np.ndarray, outputs: np.ndarray, average: str | None = None) -> float:
    """The harmonic mean of precision and recall; `average` as for `precision`."""
    return _score("f1", targets, outputs, average)


def confusion_matrix(targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """How often class i (row) was answered with class j (column): (classes, classes), integer."""
    from sklearn.metrics import confusion_matrix as count

    matrix: np.ndarray = count(_labels(targets), _labels(outputs), labels=range(max(2, outputs.shape[1])))
    return matrix


def subset_accuracy(targets: np.ndarray, outputs: np.ndarray) -> float:
    """The share of the examples of which all answers of yes or no are right.

    Examples
    --------
    >>> subset_accuracy(np.array([[1, 1], [0, 1]]), np.array([[0.9, 0.8], [0.7, 0.6]]))
    0.5
    """
    return float(np.mean(_right_answers(targets, outputs).all(axis=1)))


def output_accuracy(targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """For each output the share of the answers of yes or no that are right: (outputs,), float64."""
    share: np.ndarray = np.mean(_right_answers(targets, outputs), axis=0)
    return share


def output_precision(targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """For each output, of the answers that say yes, the share that is right: (outputs,), float64; 0 without any."""
    right, _, answered = _yes_counts(targets, outputs)
    return _ratio(right, answered)


def output_recall(targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """For each output, of the examples that are yes, the share that is answered so: (outputs,); 0 without any."""
    right, asked, _ = _yes_counts(targets, outputs)
    return _ratio(right, asked)


def output_f1(targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """For each output the harmonic mean of its precision and recall: (outputs,), float64.

    Examples
    --------
    >>> output_f1(np.array([[1, 1], [0, 1]]), np.array([[0.9, 0.8], [0.7, 0.6]]))
    array([0.66666667, 1.        ])
    """
    right, asked, answered = _yes_counts(targets, outputs)
    return _ratio(2 * right, asked + answered)


def _right_answers(targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Whether each output is on its target's side of ½, (n, outputs), bool; NaN never is."""
    right: np.ndarray = ((targets.reshape(outputs.shape) > 0.5) == (outputs > 0.5)) & ~np.isnan(outputs)
    return right


def _yes_counts(targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output how often a yes is right, how often it is asked for, and how often it is answered: (outputs,)."""
    asked, answered = targets.reshape(outputs.shape) > 0.5, outputs > 0.5
    return (asked & answered).sum(axis=0), asked.sum(axis=0), answered.sum(axis=0)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """What share of the whole the part is, 0 of nothing."""
    share: np.ndarray = part / np.maximum(whole, 1)
    return share


def _mean_over_outputs(function: Function) -> Function:
    """The mean of a measure that has a number for each output."""
    return lambda targets, outputs: float(np.mean(function(targets, outputs)))


def r2(targets: np.ndarray, outputs: np.ndarray) -> float:
    """R², the share of the targets' variance that is explained, averaged over the outputs.

    NaN for outputs that are not finite, and for a single example, which has no variance.
    """
    from sklearn.metrics import r2_score

    if len(outputs) < 2 or not np.isfinite(outputs).all():
        return float("nan")
    with np.errstate(over="ignore"):
        return float(r2_score(_numbers(targets), _numbers(outputs)))


def mean_squared_error(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Mean (a - y)²."""
    with np.errstate(over="ignore"):
        return float(np.mean((_numbers(outputs) - _numbers(targets)) ** 2))


def mean_absolute_error(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Mean |a - y|."""
    return float(np.mean(np.abs(_numbers(outputs) - _numbers(targets))))


def _known(task: str) -> dict[str, Function]:
    """The functions that networks for a task know by name."""
    if task == "multilabel":
        each = {name: globals()[name] for name in _FOR_EACH_OUTPUT}
        mean = {name: _mean_over_outputs(globals()[f"output_{name}"]) for name in _FOR_LABELS}
        return mean | each | {"accuracy": subset_accuracy}
    return {name: globals()[name] for name in (_FOR_NUMBERS if task == "regression" else _FOR_CLASSES)}


def resolve(metrics: Iterable[Metric], task: str, outputs: int) -> dict[str, Function]:
    """Functions by name, for what a user listed, a task and so many outputs; other names are refused."""
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise InvalidTypeError(f"metrics: expected a list of names and functions, got {metrics!r}; put it in brackets")
    known, ranked = _known(task), task == "classification"
    names = (*known, "top_K_accuracy") if ranked else tuple(known)
    functions: dict[str, Function] = {}
    for metric in metrics:
        if task == "multilabel" and callable(metric) and count_classes({"": metric}):
            metric = _name(metric)  # it would take the largest output for the one class
        if callable(metric):
            name = _name(metric)
            taken = name in ("loss", "correct", "accuracy") and metric is not accuracy
            if taken or functions.get(name, metric) is not metric:
                raise InvalidValueError(
                    f"metrics: expected functions with names of their own, got {name!r}, which is taken"
                )
            if (up := getattr(metric, "higher_is_better", None)) is not None:
                options.flag(f"higher_is_better of the metric {name}", up.item() if isinstance(up, np.bool_) else up)
            functions[name] = metric
            continue
        top = re.fullmatch(r"top_([1-9]\d*)_accuracy", metric) if isinstance(metric, str) and ranked else None
        if top is None and metric not in known:
            raise InvalidValueError(
                f"metrics: expected some of {', '.join(names)} for {task}, or functions of targets and outputs, "
                f"got {metric!r}{closest(metric, names)}"
            )
        if top and int(top[1]) > outputs:
            raise InvalidValueError(
                f"metrics: expected at most top_{outputs}_accuracy for {outputs} outputs, got {metric!r}"
            )
        functions[metric] = partial(top_k_accuracy, k=int(top[1])) if top else known[str(metric)]
    return functions


def _name(metric: Function) -> str:
    """What a function is called in the history: the same in every process, so without addresses."""
    named: Any = getattr(metric, "__name__", None) or getattr(getattr(metric, "func", None), "__name__", None)
    return str(named or (type(metric).__name__ if " at 0x" in repr(metric) else repr(metric)))


def directions(functions: Mapping[str, Function]) -> dict[str, bool]:
    """Whether higher is better, by name, of those functions that say it themselves."""
    said = {name: getattr(function, "higher_is_better", None) for name, function in functions.items()}
    return {name: bool(up) for name, up in said.items() if up is not None}


def count_classes(functions: Mapping[str, Function]) -> bool:
    """Whether any of the functions is one of those here that tell classes by the largest entry."""
    own = [globals()[name] for name in (*_FOR_CLASSES, "top_k_accuracy")]
    return any(getattr(function, "func", function) in own for function in functions.values())


def measure(functions: Mapping[str, Function], targets: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    """What each function gives; an error that one raises says which it was."""
    found: dict[str, Any] = {}
    for name, function in functions.items():
        try:
            found[name] = function(targets, outputs)
        except Exception as error:
            error.add_note(f"raised by the metric {name!r}, with targets {targets.shape} and outputs {outputs.shape}")
            raise
    return found


def count_answers(targets: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """How often class i (row) was answered with class j (column), for answers (n,): (classes, classes), integer.

    Examples
    --------
    >>> count_answers(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (_labels(targets), answers), 1)
    return matrix


def class_scores(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, F1 and the number of examples of each class, (classes,) each, from a confusion matrix.

    Examples
    --------
    >>> class_scores(np.array([[1, 1], [0, 1]]))["recall"]
    array([0.5, 1. ])
    """
    right, asked, answered = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    ratios = {"precision": (right, answered), "recall": (right, asked), "f1": (2 * right, asked + answered)}
    return {name: _ratio(*pair) for name, pair in ratios.items()} | {"examples": asked}


def confusions(matrix: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """The most frequent wrong answers: the class, the class that was answered instead, and how often."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(int(i), int(j), int(wrong[i, j])) for i, j in pairs if wrong[i, j]]
