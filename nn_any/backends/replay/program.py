"""A recorded training step as a loop: every call writes into an array that is there before the first step."""

from typing import Any

import numpy as np

from nn_any.backends.engine import logger, one_line, take_rows
from nn_any.backends.replay.batching import Plan, Recording, batched, users_of
from nn_any.backends.replay.buffers import Pool
from nn_any.backends.replay.kernels import Chooser
from nn_any.backends.replay.nodes import Node
from nn_any.backends.replay.recorded import RECORDING, Recorded, UnrecordableError
from nn_any.backends.replay.tape import Tape, recording
from nn_any.backends.replay.writer import Writer
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.core.typing import Array, Batch

_FLUSHED = 128  # steps: a velocity of momentum 0.9 takes six times as many to become subnormal
_PORTION = 2**16  # numbers


def record(
    step: Step, state: TrainState, data: Batch, rows: np.ndarray, rate: np.ndarray, namespace: Any = RECORDING
) -> Recording:
    """Run `step` once on the given batch, and note its calls; the numbers are imagined, unless that fails.

    A step that does not run on stand-ins for arrays is an `UnrecordableError`.
    """
    try:
        return _recorded(step, state, data, rows, rate, namespace, imagining=True)
    except (UnrecordableError, MemoryError):
        raise
    except Exception as error:  # zeros may be no numbers for this step, such as indices that are made of quotients
        logger.debug("the step is recorded with its numbers, since imagined ones failed: %s", one_line(error))
    try:
        return _recorded(step, state, data, rows, rate, namespace, imagining=False)
    except (UnrecordableError, MemoryError):
        raise
    except Exception as error:  # a layer of the user's may use more than the standard has
        raise UnrecordableError(f"the step cannot be recorded ({type(error).__name__}: {error})") from error


def _recorded(
    step: Step, state: TrainState, data: Batch, rows: np.ndarray, rate: np.ndarray, namespace: Any, *, imagining: bool
) -> Recording:
    with recording(imagining=imagining, namespace=namespace) as tape:
        before = tree_map(tape.input, state)
        taken, now = tape.input(rows), tape.input(np.asarray(rate))
        columns = [tape.column(column) for column in data]
        batch = take_rows(tuple(columns), taken, namespace)
        after, loss = step(before, batch, now)
        found = [leaf.node for leaf in tree_leaves(before)]
        left = [_node(tape, leaf) for leaf in tree_leaves(after)]
        if _node(tape, loss).name in ("input", "column", "constant"):
            raise UnrecordableError("the loss is the same whatever the step computes")
        places = [column.node for column in columns]
        return Recording(tape.nodes, places, found, taken.node, now.node, left, _node(tape, loss))


def _node(tape: Tape, leaf: Any) -> Node:
    return leaf.node if isinstance(leaf, Recorded) else tape.constant(np.asarray(leaf)).node


class Program:
    """A step, compiled for one shape of batch.

    Parameters
    ----------
    step, data : as `Engine.run` has them; the data are not kept
    state : tree of NumPy arrays, such as those that `load` will be given
    rows, rate : one step's, to record it with
    alone, choose : as `ReplayEngine` has them

    Attributes
    ----------
    serial : bool
        Whether the products are so small that threads would wait for each other: BLAS should have one.
    """

    def __init__(
        self, step: Step, state: TrainState, data: Batch, rows: Array, rate: Array, *, alone: bool, choose: Chooser
    ) -> None:
        notes = record(step, state, data, rows, rate)
        self._plan = Plan(notes)
        self.serial = self._plan.serial
        kernels = choose(serial=self.serial, alone=alone, matrices=self._plan.matrices, windows=self._plan.windows)
        draft = Pool()  # laid out twice: once to see when each array is wanted
        Writer(notes, self._plan, kernels, draft, small=self.serial)
        writer = Writer(notes, self._plan, kernels, draft.packed(), small=self.serial)
        self._state = writer.state
        self._handed_in, self._handed_out = writer.handed_in, writer.handed_out
        many = (*writer.handed_in.values(), *writer.handed_out.values())
        self._steps = [[array[i, ...] for i in range(len(array))] for array in many]
        self._columns, self._loop = notes.columns, writer.loop()
        places = dict(zip(notes.state, writer.state, strict=True))
        self._counters = [(places[node], by) for node, by in self._plan.counters.items()]
        users = users_of(self._plan.body)
        self._fading = [array for node, array in places.items() if _fades(array, users.get(node, []))]
        self._chunk = self._plan.chunk
        if self._fading:  # a power of two, so that a chunk ends wherever they are flushed
            self._chunk = min(2 ** (self._chunk.bit_length() - 1), _FLUSHED)

    def load(self, state: TrainState) -> None:
        """Copy a state into the program's own arrays; what is kept for each example comes to lie there n times."""
        for array, leaf in zip(self._state, tree_leaves(state), strict=True):
            np.copyto(array, leaf)

    def unload(self, state: TrainState) -> TrainState:
        """A copy of the program's arrays, in the structure of `state`."""
        arrays = iter(self._state)

        def copied(leaf: np.ndarray) -> np.ndarray:
            array = next(arrays)
            return (array if array.ndim == leaf.ndim else array[0]).copy()

        after: TrainState = tree_map(copied, state)
        return after

    def run(self, data: Batch, order: np.ndarray, rates: np.ndarray, losses: np.ndarray, first: int = 0) -> None:
        """Run a step on the rows of `data` that each row of `order` names, and write its loss.

        With `first`, the number of the first step in its epoch, fading numbers are flushed at the same steps however an
        epoch is divided: what was interrupted goes on as if it had not been.
        """
        plan, start = self._plan, 0
        columns = dict(zip(self._columns, data, strict=True))
        while start < len(order):
            stop = min(len(order), start + self._chunk - (first + start) % self._chunk)
            rows = order[start:stop]
            now = {plan.rows: rows, plan.rate: rates[start:stop], **columns}
            ahead = batched(plan.head, now)
            for node, array in self._handed_in.items():
                np.copyto(array[: len(rows)], ahead[node])
            self._loop(*data, list(rows), *self._steps)
            behind = {node: array[: len(rows)] for node, array in self._handed_out.items()}
            losses[start:stop] = batched(plan.tail, ahead | behind)[plan.loss]
            if (first + stop) % _FLUSHED == 0:
                for array in self._fading:
                    _flush(array)
            start = stop
        for array, by in self._counters:
            np.add(array, by * len(order), out=array)


def _fades(array: np.ndarray, users: list[Node]) -> bool:
    """Whether a state may decay: all that reads it is elementwise, as with a velocity, and unlike with weights."""
    return array.ndim > 0 and array.dtype.kind == "f" and bool(users) and all(user.ufunc for user in users)


def _flush(array: np.ndarray) -> None:
    """Set subnormal numbers to zero: a velocity that decays stays one for good, and each costs the CPU 100 cycles."""
    rows = max(1, _PORTION // max(1, array[:1].size))
    for start in range(0, len(array), rows):
        part = array[start : start + rows]
        np.multiply(part, np.abs(part) >= np.finfo(part.dtype).tiny, out=part)
