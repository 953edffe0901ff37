"""Hyperparameter search: pairs of a learning rate and a weight decay, their scores, and the best."""

from math import isfinite
from typing import Any, NamedTuple, TypeAlias

import numpy as np

import nn_any as nn
from nn_any.core.random import stream
from nn_any.core.schedules import higher_is_better

Row: TypeAlias = dict[str, Any]


class Candidate(NamedTuple):
    """A pair to try, with every seed."""

    learning_rate: float
    weight_decay: float


def draw_candidates(count: int, learning_rates: list[float], weight_decays: list[float], seed: int) -> list[Candidate]:
    """Pairs drawn log-uniformly between the smallest and the largest value; of weight decays, the smallest above 0."""
    rng = stream(seed, "sweep")

    def log_uniform(values: list[float]) -> list[float]:
        low, high = min(values), max(values)
        share = rng.random(count)
        return [low] * count if low == high else (low * (high / low) ** share).tolist()

    positive = [decay for decay in weight_decays if decay > 0] or [0.0]
    pairs = zip(log_uniform(learning_rates), log_uniform(positive), strict=True)
    return [Candidate(*pair) for pair in dict.fromkeys(pairs)]  # with one number of each there is one pair


def score_members(
    ensemble: nn.Ensemble, members: list[tuple[Candidate, int]], validation: nn.Dataset, test: nn.Dataset
) -> list[Row]:
    """The settings of each member, whether it has diverged, and its losses and accuracies; None where not finite."""
    measures: dict[str, list[float]] = {}
    for name, data in (("validation", validation), ("test", test)):
        measures[f"{name}_loss"] = ensemble.losses(data).tolist()
        if not ensemble.is_regression:
            measures[f"{name}_accuracy"] = ensemble.accuracies(data).tolist()
    scores = []
    for i, (candidate, seed) in enumerate(members):
        settings = {"member": i, **candidate._asdict(), "seed": seed, "diverged": bool(ensemble.diverged[i])}
        own = {name: values[i] if isfinite(values[i]) else None for name, values in measures.items()}
        scores.append(settings | own)
    return scores


def summarize(candidates: list[Candidate], scores: list[Row], seeds: int, drawn: bool) -> list[Row]:
    """Mean and standard deviation over the seeds of each pair, without those that diverged; the best pair first.

    Few examples often give equal accuracies; the lower validation loss is the better one then.
    """
    measure = "validation_accuracy" if "validation_accuracy" in scores[0] else "validation_loss"
    rows = []
    for i, candidate in enumerate(candidates):
        finite = [score for score in scores[i * seeds : (i + 1) * seeds] if _is_finite(score)]
        values, tests = ([score[name] for score in finite] for name in (measure, measure.replace("validation", "test")))
        mean, test = (float(np.mean(numbers)) if finite else None for numbers in (values, tests))
        spread = float(np.std(values, ddof=1)) if len(finite) > 1 else 0.0
        row = {**candidate._asdict(), "mean": mean, "spread": spread, "test": test, "drawn": drawn}
        row["validation_loss"] = float(np.mean([score["validation_loss"] for score in finite])) if finite else None
        rows.append(row | {"diverged": seeds - len(finite), "measure": measure})
    sign = -1 if higher_is_better(measure) else 1
    return sorted(
        rows, key=lambda row: (row["mean"] is None, sign * (row["mean"] or 0.0), row["validation_loss"] or 0.0)
    )


def best_member(rows: list[Row], scores: list[Row]) -> Row:
    """The member with the lowest validation loss among those of the best pair."""
    pair = rows[0]["learning_rate"], rows[0]["weight_decay"]
    members = [row for row in scores if (row["learning_rate"], row["weight_decay"]) == pair and _is_finite(row)]
    return min(members, key=lambda row: float(row["validation_loss"]), default=scores[0])


def _is_finite(score: Row) -> bool:
    """Whether a member has losses to go by; it may overflow on data that it has not been trained on."""
    return not score["diverged"] and None not in (score["validation_loss"], score["test_loss"])
