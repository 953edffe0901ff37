"""State as values: TrainState, what a step changes; Progress, where training stands; Snapshot, a network as a whole."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from nn_any.core.optimizers.base import Optimizer
from nn_any.core.specification import HostParams, Specification
from nn_any.core.trees import tree_map
from nn_any.core.typing import Array, Batch, Params


class TrainState(NamedTuple):
    """The arrays that a training step reads and returns anew.

    The state of an ensemble of m networks has one more leading axis, m, on every array.
    """

    params: Params
    """One entry per layer: a tuple of arrays, as the layer packs them."""
    layer_state: Params
    """What layers keep without training it, such as the running averages of `BatchNorm`; one entry per layer."""
    optimizer_state: Any
    """A tree of arrays, such as velocities; None before the optimizer starts."""
    step: Array
    """The number of steps taken, (), int32."""
    key: Array
    """The key of all random draws on the device, (1,), int32."""


Step: TypeAlias = Callable[[TrainState, Batch, Array], tuple[TrainState, Array]]
"""A training step: ``step(state, batch, learning_rate) -> (state, loss)``."""

Record = dict[str, Any]
"""What is known of one epoch, by the names of the columns of a history."""


class Records(Sequence[Record]):
    """The records of some epochs. It never changes, and another one with one record more shares its memory."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records = list(records)
        self._length = len(self._records)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return self._records[: self._length][index]

    def __iter__(self) -> Iterator[Record]:
        return islice(self._records, self._length)

    def __repr__(self) -> str:
        return f"<Records of {len(self)} epochs>"

    def and_then(self, record: Record) -> "Records":
        """These records and one more."""
        other = copy(self)
        if len(self._records) > self._length:  # somebody else has gone on from here
            other._records = list(self)
        other._records.append(record)
        other._length += 1
        return other


class UnfinishedEpoch(NamedTuple):
    """An epoch that was interrupted. It goes on only in a run with the same examples, batches and shuffling."""

    examples: int
    batch_size: int
    shuffle: bool
    losses: np.ndarray
    """The losses of the batches so far, (batches,)."""
    seconds: float = 0.0
    """How long they took."""

    def fits(self, examples: int, batch_size: int, shuffle: bool) -> bool:
        """Whether an epoch of this kind can go on with it."""
        return tuple(self[:3]) == (examples, batch_size, shuffle)


@dataclass(frozen=True)
class Progress:
    """What a run needs to go on, beside the state.

    Attributes
    ----------
    epoch, steps : int
        The number of epochs and steps done.
    optimizer : Optimizer or None
        The optimizer of the last run.
    records : Records
        The records of the epochs since the optimizer started; schedules look at them.
    unfinished : UnfinishedEpoch or None
        The epoch that was interrupted, if one was.
    line_search : named tuple of NumPy arrays, or None
        Where an optimizer that searches on the host stands, such as `LBFGSState`.
    diverged : bool
        Whether a member of an ensemble has diverged.
    members : tuple of Progress
        The progress of each member of an ensemble; ``()`` for a network.
    """

    epoch: int = 0
    steps: int = 0
    optimizer: Optimizer | None = None
    records: Records = field(default_factory=Records)
    unfinished: UnfinishedEpoch | None = None
    line_search: Any = None
    diverged: bool = False
    members: tuple["Progress", ...] = ()


class Snapshot(NamedTuple):
    """Everything that a network is at one moment; nothing in it changes.

    ``nn_any.Network(net.snapshot)`` is a network that goes on from there, and ``net.snapshot = snapshot`` goes back.
    """

    specification: Specification
    """What never changes: layers, input shape, loss, dtype, seed."""
    blocks: tuple[TrainState, ...]
    """The state: one for a network; a large ensemble on a CPU lies in several blocks of members."""
    progress: Progress
    """Where training stands."""

    def with_parameters_of(self, blocks: tuple[TrainState, ...]) -> "Snapshot":
        """This snapshot with the parameters and layer states of other blocks, of the same shapes."""
        pairs = zip(self.blocks, blocks, strict=True)
        taken = tuple([mine._replace(params=its.params, layer_state=its.layer_state) for mine, its in pairs])
        return self._replace(blocks=taken, progress=replace(self.progress, unfinished=None))

    def with_layers_trainable(self, trainable: bool, indices: list[int]) -> "Snapshot":
        """This snapshot with layers unfrozen or frozen; the optimizer's state starts anew, its schedule goes on."""
        specification = self.specification.with_trainable(trainable, indices)
        blocks = tuple([block._replace(optimizer_state=None) for block in self.blocks])
        return Snapshot(specification, blocks, replace(self.progress, line_search=None))

    def with_counted_steps(self, blocks: tuple[TrainState, ...], taken: Sequence[int]) -> "Snapshot":
        """This snapshot after more steps, so many for each member of an ensemble, that led to these blocks."""
        pairs = zip(self.progress.members, taken, strict=False)
        members = tuple([replace(member, steps=member.steps + steps) for member, steps in pairs])
        progress = replace(self.progress, steps=self.progress.steps + max(taken), members=members)
        return self._replace(blocks=blocks, progress=progress)

    @property
    def shapes(self) -> list[object]:
        """The shapes of parameters and layer states, for a comparison with another snapshot's."""
        return [tree_map(lambda leaf: tuple(leaf.shape), tuple(block[:2])) for block in self.blocks]


class HostSnapshot(NamedTuple):
    """A network as it is drawn or read: NumPy arrays; those of an ensemble have the members' axis in front."""

    specification: Specification
    params: HostParams
    layer_state: HostParams
    progress: Progress
    optimizer_state: Any = None
