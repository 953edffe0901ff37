"""Ensemble: many networks that differ in seed, learning rate and weight decay, trained as one batched product."""

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nn_any import validation as check
from nn_any.backends import Device, Engine, to_numpy
from nn_any.backends.blocks import block_engines
from nn_any.committee_files import SavableCommittee
from nn_any.core import options, random
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.losses import Loss
from nn_any.core.optimizers import Optimizer
from nn_any.core.trees import tree_map
from nn_any.core.typing import Carry
from nn_any.differentiation import REMEDY
from nn_any.history import Record
from nn_any.member_batches import MemberBatches
from nn_any.network import Network
from nn_any.summary import parameter_count, shape_text, summary_table
from nn_any.trainable import Epoch, Plan
from nn_any.training import TrainingDivergedError


class Ensemble(SavableCommittee):
    """`n` networks of the same layers, trained together; each is equal, to rounding, to its own run alone.

    Every parameter, running average and optimiser's array has one more leading axis, and the training step is the very
    same. Member i has its own seed (initial weights, data orders, draws), learning rate and weight decay:
    ``ensemble[i]`` equals ``Network(layers, ..., seed=seeds[i])`` after ``fit(optimizer=ensemble.optimizers[i])``.

    Parameters
    ----------
    layers, activation, loss, initializer, device, dtype
        As for `Network`.
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

    Attributes
    ----------
    seeds, learning_rates, weight_decays : tuples of n, or None
    optimizers : tuple of n Optimizers
        What each member trains with, once `fit` was called: ``ensemble[i].fit(optimizer=ensemble.optimizers[i], ...)``
        goes on alone.
    epochs : tuple of n ints
        How many epochs each member has trained.
    diverged : NumPy array, (n,), bool
        Members whose loss or weights stopped being finite. They went back to their weights from before that epoch, and
        rest; the others go on as if nothing had happened. They have no part in votes, means and spreads.

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
        activation: Any = "sigmoid",
        loss: str | Loss = "quadratic",
        initializer: Any = "normal",
        device: str | Device | None = None,
        dtype: str = "float32",
        seed: int | None = None,
        threads: int | None = None,
    ) -> None:
        n = check.check_integer("n", n, minimum=1)
        if seeds is None:
            first = random.new_seed() if seed is None else check.check_seed(seed)
            seeds = range(first, first + n)
        elif seed is not None:
            raise InvalidValueError(f"seed: expected none beside seeds, got {seed!r}; leave one of them out")
        listed = enumerate(_listed("seeds", seeds, n))
        self.seeds = tuple(check.check_integer(f"seeds[{i}]", one, minimum=0) for i, one in listed)
        self.learning_rates = _numbers("learning_rates", learning_rates, n, above=True)
        self.weight_decays = _numbers("weight_decays", weight_decays, n)
        self.threads = None if threads is None else check.check_integer("threads", threads, minimum=1)
        self.optimizers: tuple[Optimizer, ...] = ()
        self.epochs = (0,) * n
        self.diverged = np.zeros(n, dtype=bool)
        self._member_records: list[list[Record]] = [[] for _ in range(n)]
        super().__init__(
            layers,
            activation=activation,
            loss=loss,
            initializer=initializer,
            device=device,
            dtype=dtype,
            seed=self.seeds[0],
        )

    def _initial_carry(self) -> Carry:
        starts = [tree_map(lambda leaf: leaf.astype(self.dtype), self._architecture.init(seed)) for seed in self.seeds]
        params = tree_map(lambda *leaves: np.stack(leaves), *starts)
        state = tree_map(lambda leaf: np.stack([leaf] * len(self)), self._architecture.init_state())
        keys = np.stack([random.draw_key(seed) for seed in self.seeds])
        steps = np.zeros(len(self), dtype="int32")
        return (*self._place((params, state)), (), self.device.asarray(steps), self.device.asarray(keys))

    def __getitem__(self, i: int) -> Network:
        """Member i as a `Network` of its own, at the same point of its training; a copy."""
        if not -len(self) <= operator.index(i) < len(self):
            raise IndexError(f"i: expected a member within 0 … {len(self) - 1}, got {i}")
        i = range(len(self))[i]
        params, state, optimizer_state, step, key = self._member(i)
        if self.weight_decays is not None and optimizer_state:
            optimizer_state = optimizer_state[1]
        net = object.__new__(Network)
        vars(net).update({name: value for name, value in vars(self).items() if name in _SHARED})
        net.seed, net.epoch, net.steps = self.seeds[i], self.epochs[i], int(to_numpy(step))
        net._optimizer = self.optimizers[i] if self.optimizers else None
        net._records = list(self._member_records[i])
        net._compiled = {}
        net._carry = self._place((params, state, optimizer_state, step, key))
        return net

    def __iter__(self) -> Iterator[Network]:
        return (self[i] for i in range(len(self)))

    # training

    def _engines(self, mode: str) -> list[Engine]:
        return block_engines(self.device, mode, len(self._sizes), self._compiled, self.threads)

    def _begin(self, optimizer: Optimizer) -> None:
        if optimizer.whole_batch:
            raise InvalidValueError(f"optimizer: expected one that takes steps in mini-batches, got {optimizer!r}")
        n = len(self)
        rates, decays = self.learning_rates or (None,) * n, self.weight_decays or (None,) * n
        each = tuple(optimizer.member(*own) for own in zip(rates, decays, strict=True))
        super()._begin(optimizer)
        self.optimizers, self._member_records = each, [[] for _ in range(n)]

    def _mini_batches(self, plan: Plan) -> tuple[Epoch, Callable[[], bool]]:
        batches = MemberBatches(
            self, plan.optimizer, plan.engines, plan.columns, plan.prepare, plan.batch_size, plan.shuffle
        )
        batches.check_columns(self._history_columns(plan))
        if self.diverged.all():
            raise TrainingDivergedError(
                f"all {len(self)} members have diverged before, and rest; begin with a new ensemble. {REMEDY}"
            )
        return lambda pulse: self._told(batches.epoch()), lambda: bool(batches.finished().all())

    def _keep(self, record: Record) -> None:
        super()._keep(record)
        own = [name for name in record if name.startswith("member_")]
        self._member_records = [
            records if math.isnan(record["member_loss"][i]) else [*records, self._own(i, record, own)]
            for i, records in enumerate(self._member_records)
        ]

    def _own(self, i: int, record: Record, own: list[str]) -> Record:
        """What a record says of member i, as its history alone would have it."""
        mine = {name.removeprefix("member_"): record[name][i] for name in own}
        return {"epoch": self.epochs[i], "seconds": record["seconds"], **mine}

    # about it

    def summary(self) -> str:
        """How many networks there are, and a table of the layers of each.

        Examples
        --------
        >>> print(Ensemble([784, 30, 10], 64, device="numpy").summary())
        64 networks, each:
        layer    activation  output  parameters
        input                784
        1 Dense  sigmoid     30          23,550
        2 Dense  sigmoid     10             310
        total                            23,860
        """
        table = summary_table(self.layers, self._architecture.shapes, self._member(0)[0])
        return f"{len(self)} networks, each:\n{table}"

    def __repr__(self) -> str:
        sizes = "-".join(shape_text(shape) for shape in self._architecture.shapes)
        lost = f", {self.diverged.sum()} diverged" if self.diverged.any() else ""
        return (
            f"Ensemble({len(self)} networks {sizes}, loss {self._loss.name}, {parameter_count(self._member(0)[0]):,} "
            f"parameters each, {self.dtype} on {self.device}, {self.epoch} epochs trained{lost})"
        )


_SHARED = ("_loss", "_activation", "_initializer", "_architecture", "dtype", "device", "_stale", "_search", "_partial")
"""What a member has in common with its ensemble."""


def _listed(name: str, values: Any, n: int) -> list[Any]:
    """Something for each of n members."""
    if isinstance(values, str) or not hasattr(values, "__len__") or not hasattr(values, "__iter__"):
        raise InvalidTypeError(f"{name}: expected {n} of them, one a member, got {values!r}; pass a list")
    if len(values) != n:
        raise InvalidValueError(f"{name}: expected {n} of them, one a member, got {len(values)}")
    return list(values)


def _numbers(name: str, values: Any, n: int, *, above: bool = False) -> tuple[float, ...] | None:
    """A number of at least 0, or above it, for each of n members; or None."""
    if values is None:
        return None
    return tuple(options.number(f"{name}[{i}]", v, above=above) for i, v in enumerate(_listed(name, values, n)))
