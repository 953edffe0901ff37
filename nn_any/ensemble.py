"""Ensemble: many networks that differ in seed, learning rate and weight decay, trained as one batched product."""

import operator
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple, Self

import numpy as np

from nn_any import evaluation
from nn_any import metrics as measures
from nn_any import validation as check
from nn_any.backends import Device, select_device, to_numpy
from nn_any.core import members, options, random, specification
from nn_any.core.errors import InvalidIndexError, InvalidTypeError, InvalidValueError
from nn_any.core.losses import Loss
from nn_any.core.optimizers import Optimizer
from nn_any.core.specification import Members
from nn_any.core.state import Snapshot
from nn_any.core.summary import summary_table
from nn_any.core.typing import Array
from nn_any.datasets.network_input import own_inputs
from nn_any.files import load_host_snapshot
from nn_any.model import FLOAT32, NORMAL, QUADRATIC, SIGMOID, Model, refuse_beside_snapshot
from nn_any.network import Network
from nn_any.training.states import initial_snapshot, member_snapshot, member_state, on_device, placed_snapshot


class Spread(NamedTuple):
    """How the members' outputs are spread."""

    mean: Array
    """(n, outputs)."""
    deviation: Array
    """The standard deviation over the members, (n, outputs)."""


class Ensemble(Model):
    """`n` networks of the same layers, trained together; each is equal, to rounding, to its own run alone.

    Every parameter, running average and optimiser's array has one more leading axis, and the training step is the very
    same. Member i has its own seed (initial weights, data orders, draws), learning rate and weight decay:
    ``ensemble[i]`` equals ``Network(layers, ..., seed=seeds[i])`` after ``fit(optimizer=ensemble.optimizers[i])``.

    Parameters
    ----------
    layers, activation, loss, initializer, task, device, dtype
        As for `Network`; only `n` and `device` go with the `Snapshot` of an ensemble.
    n : int
        How many networks.
    learning_rates : sequence of n floats, optional
        Each member's rate, in place of the optimiser's. A schedule keeps its course, beginning from (or rising to) that
        rate. By default all have the optimiser's own.
    seeds : sequence of n ints, optional
        By default seed, seed + 1, … seed + n - 1.
    weight_decays : sequence of n floats, optional
        Each member's weight decay, in place of the optimiser's.
    seed : int, optional
        The first of the seeds, by default a new one, which ``ensemble.seeds`` tells.
    threads : int, optional
        How many threads share the blocks of members, which there are on the CPU with NumPy, PyTorch and JAX; by default
        one a CPU.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of these; the message names it.

    Notes
    -----
    ``ensemble[i]`` is a copy: train it further as ``member = ensemble[i]``, ``member.fit(...)``.

    `fit` is the one of `Network`. Its history holds the means over the members that have not diverged under the usual
    names, and beside each of them a list with a number for each member: ``loss`` and ``member_loss``,
    ``validation_accuracy`` and ``member_validation_accuracy``. A member that rests has NaN for its loss and learning
    rate. A schedule that looks at the history looks at its own member's, and ends the training of that member alone;
    callbacks such as `EarlyStopping` see the means. `TrainingDivergedError` is raised only if all have diverged.

    As one predictor an ensemble answers with the mean of its members' outputs (`feedforward`, `predict_proba`), and
    `predict` is the `vote`. `backprop` and its kin answer for all members at once, with one more leading axis.

    Examples
    --------
    >>> import nn_any as nn
    >>> training, validation, test = nn.datasets.load_digits("cpu")
    >>> ensemble = nn.Ensemble([64, 30, 10], 3, learning_rates=[0.3, 1, 3], initializer="scaled_normal", seed=0)
    >>> history = ensemble.fit(training, epochs=5, batch_size=10, optimizer=nn.SGD(1.0), validation_data=validation)
    >>> best = ensemble.best(validation)
    >>> ensemble.learning_rates[best], ensemble[best].accuracy(test) > 0.9, ensemble.accuracy(test) > 0.9
    (3.0, True, True)
    """

    def __init__(
        self,
        layers: Any,
        n: int,
        *,
        learning_rates: Sequence[float] | None = None,
        seeds: Sequence[int] | None = None,
        weight_decays: Sequence[float] | None = None,
        activation: Any = SIGMOID,
        loss: str | Loss = QUADRATIC,
        initializer: Any = NORMAL,
        task: str | None = None,
        device: str | Device | None = None,
        dtype: Any = FLOAT32,
        seed: int | None = None,
        threads: int | None = None,
    ) -> None:
        n = options.integer("n", n)
        if isinstance(layers, Snapshot):
            given = {"activation": activation, "loss": loss, "initializer": initializer, "dtype": dtype, "seed": seed}
            each = {"learning_rates": learning_rates, "seeds": seeds, "weight_decays": weight_decays}
            refuse_beside_snapshot(**given, **each, task=task, threads=threads)
            place = select_device(device)
            super().__init__(on_device("layers", layers, place, ensemble=True), place)
            if n != len(self):
                raise InvalidValueError(f"n: expected {len(self)}, as many as the snapshot has, got {n}")
            return
        if seeds is None:
            first = random.new_seed() if seed is None else options.integer("seed", seed, minimum=0)
            seeds = range(first, first + n)
        elif seed is not None:
            raise InvalidValueError(f"seed: expected none beside seeds, got {seed!r}; leave one of them out")
        own = check.check_members(n, seeds, learning_rates, weight_decays, threads)
        built = specification.build(layers, activation, initializer, loss, dtype, own.seeds[0], own, task)
        device = select_device(device)
        super().__init__(initial_snapshot(built, device), device)

    @classmethod
    def load(cls, path: str | PathLike[str], device: str | Device | None = None) -> Self:
        """The ensemble in a model file that `save` wrote, whichever device wrote it; as `Network.load`."""
        loaded, device = load_host_snapshot(path, ensemble=True), select_device(device)
        return cls(placed_snapshot(loaded, device), len(loaded.progress.members), device=device)

    # its members

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, i: Any) -> Network:
        """Member i as a `Network` of its own, at the same point of its training; a copy."""
        if isinstance(i, slice):
            start, stop, step = i.indices(len(self))
            listed = f"range({start}, {stop}{'' if step == 1 else f', {step}'})"
            raise InvalidTypeError(f"i: expected the number of a member, got {i}; use [ensemble[i] for i in {listed}]")
        if not hasattr(i, "__index__") or isinstance(i, bool):
            raise InvalidTypeError(f"i: expected the number of a member, an integer, got {i!r}")
        if not -len(self) <= operator.index(i) < len(self):
            raise InvalidIndexError(f"i: expected a member within 0 … {len(self) - 1}, got {i}")
        return Network(member_snapshot(self.snapshot, self.device, range(len(self))[i]), device=self.device)

    def __iter__(self) -> Iterator[Network]:
        return (self[i] for i in range(len(self)))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each member."""
        return self._members.seeds

    @property
    def learning_rates(self) -> tuple[float, ...] | None:
        """The learning rate of each member; None: all have the optimizer's."""
        return self._members.learning_rates

    @property
    def weight_decays(self) -> tuple[float, ...] | None:
        """The weight decay of each member; None: all have the optimizer's."""
        return self._members.weight_decays

    @property
    def threads(self) -> int | None:
        """How many threads share the blocks of members; None: one per CPU."""
        return self._members.threads

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """What each member trains with, once `fit` was called.

        ``ensemble[i].fit(optimizer=ensemble.optimizers[i], ...)`` goes on alone.
        """
        each = [member.optimizer for member in self.snapshot.progress.members]
        return tuple([optimizer for optimizer in each if optimizer is not None])

    @property
    def epochs(self) -> tuple[int, ...]:
        """How many epochs each member has trained."""
        return tuple([member.epoch for member in self.snapshot.progress.members])

    @property
    def diverged(self) -> np.ndarray:
        """Members whose loss or weights stopped being finite: (m,), bool.

        They went back to their weights from before that epoch and rest; the others go on as if nothing had happened.
        They have no part in votes, means and spreads.
        """
        return evaluation.diverged(self.snapshot)

    # what its members answer

    def member_outputs(self, x: Any) -> Array:
        """The outputs of each member: (n, inputs) -> (m, n, outputs), one example (inputs,) -> (m, outputs)."""
        inputs, scale, single = own_inputs(self.specification, self.device, x)
        outputs = evaluation.outputs(self.snapshot, self.device, inputs, scale)
        return outputs[:, 0, ...] if single else outputs

    def spread(self, x: Any) -> Spread:
        """The mean and the standard deviation of the members' outputs, (n, outputs) each; a tuple.

        Examples
        --------
        >>> from nn_any import Ensemble
        >>> mean, deviation = Ensemble([2, 3, 1], 5, device="numpy", seed=0).spread([[0.5, -0.5]])
        >>> mean.shape, bool(deviation[0, 0] > 0)
        ((1, 1), True)
        """
        inputs, scale, single = own_inputs(self.specification, self.device, x)
        functions = members.mean, members.deviation
        given = self.snapshot, self.device, inputs, scale
        both = [evaluation.reduced_outputs(function, *given) for function in functions]
        return Spread(*(part[0, ...] if single else part for part in both))

    def losses(self, data: Any, *misplaced: Any) -> np.ndarray:
        """The loss of each member, averaged over the examples: NumPy array, (m,), float64."""
        return evaluation.losses_and_correct(self.snapshot, self.device, self._examples(data, *misplaced))[0]

    def accuracies(self, data: Any, *misplaced: Any) -> np.ndarray:
        """The share of the examples that each member classifies correctly: NumPy array, (m,), float64."""
        self._check_classifies("accuracies", "use losses(data)")
        examples = self._classified_examples(data, *misplaced)
        return evaluation.losses_and_correct(self.snapshot, self.device, examples)[1] / examples.size

    def best(self, data: Any, *misplaced: Any) -> int:
        """The number of the member with the lowest loss on these (validation) data; ``ensemble[best]`` is the network.

        Members that have diverged come last.
        """
        losses, diverged = self.losses(data, *misplaced), self.diverged
        return int(np.argmin(np.where(diverged & ~diverged.all() | np.isnan(losses), np.inf, losses)))

    # what it answers as one predictor

    def feedforward(self, a: Any) -> Array:
        """The mean of the members' outputs: (n, inputs) -> (n, outputs), one example (inputs,) -> (outputs,)."""
        inputs, scale, single = own_inputs(self.specification, self.device, a)
        outputs = evaluation.reduced_outputs(members.mean, self.snapshot, self.device, inputs, scale)
        return outputs[0, ...] if single else outputs

    def mean(self, x: Any) -> Array:
        """The mean of the members' outputs: (n, inputs) -> (n, outputs); the same as `feedforward`."""
        return self.feedforward(x)

    def predict_proba(self, x: Any) -> Array:
        """The mean outputs of classifiers, (n, outputs), as `Network.predict_proba` has them."""
        self._check_probabilities()
        return self.feedforward(x)

    def vote(self, x: Any) -> Array:
        """The class that most members predict, (n,); among equally many, the one with the larger sum of outputs.

        For regression the mean of the members' outputs, (n, outputs). For a multilabel ensemble what most members
        answer for each output, (n, outputs). For one example without the n.
        """
        if self.is_regression:
            return self.feedforward(x)
        inputs, scale, single = own_inputs(self.specification, self.device, x)
        classes = evaluation.votes(self.snapshot, self.device, inputs, scale)
        return classes[0, ...] if single else classes

    def predict(self, x: Any) -> Array:
        """The `vote`: classes (n,), or (n, outputs) for regression and for multilabel networks."""
        return self.vote(x)

    def predict_names(self, x: Any) -> Any:
        """What `predict` answers, in the names of the classes, as `Network.predict_names`."""
        self._check_classifies("predict_names", "use predict")
        return evaluation.named(self.specification, to_numpy(self.predict(x)))

    def evaluate(self, data: Any, *misplaced: Any) -> int:
        """How many examples the vote classifies correctly."""
        self._check_classifies("evaluate", "use losses(data)")
        return evaluation.correct_votes(self.snapshot, self.device, self._classified_examples(data, *misplaced))

    def accuracy(self, data: Any, *misplaced: Any) -> float:
        """The share of the examples that the vote classifies correctly, 0 … 1."""
        self._check_classifies("accuracy", "use losses(data)")
        examples = self._classified_examples(data, *misplaced)
        return evaluation.correct_votes(self.snapshot, self.device, examples) / examples.size

    def loss(self, data: Any, *misplaced: Any) -> float:
        """The mean of the members' losses, without those of members that have diverged."""
        losses, diverged = self.losses(data, *misplaced), self.diverged
        return float(np.mean(losses[~diverged] if not diverged.all() else losses))

    def score(self, data: Any, *metrics: measures.Metric) -> dict[str, Any]:
        """Further measures of how right the mean outputs are, on the host, as `Network.score`."""
        functions = self._functions(metrics)
        examples = self._classified_examples(data) if measures.count_classes(functions) else self._examples(data)
        x, y, *_ = examples.arrays
        outputs = to_numpy(
            evaluation.reduced_outputs(members.mean, self.snapshot, self.device, x, examples.prepare.scale)
        )
        return measures.measure(functions, to_numpy(y), outputs)

    def summary(self) -> str:
        """How many networks there are, and a table of the layers of each.

        Examples
        --------
        >>> print(Ensemble([784, 30, 10], 64, device="numpy").summary())
        64 networks, each:
        layer    activation  output  parameters
        input                784
        0 Dense  sigmoid     30          23,550
        1 Dense  sigmoid     10             310
        total                            23,860
        """
        first = member_state(self.snapshot, self.device, 0)
        table = summary_table(self.layers, self.specification.shapes, first.params)
        return f"{len(self)} networks, each:\n{table}"

    @property
    def _members(self) -> Members:
        assert self.specification.members is not None
        return self.specification.members
