"""Compiled programs, kept for as long as they may serve again.

One class keeps them all; who owns a cache depends on what its programs hold on to:

- A *network* owns programs with buffers of their own, the replay engine's, since two networks must not write into the
  same arrays. It hands a `ProgramCache` to `Device.training_engine`; an ensemble has one for each block of members.
- A *backend* owns programs without buffers, which equal networks share: JAX's loops and PyTorch's compiled steps.
- A *run* owns programs that hold on to the data, CUDA graphs and CuPy's runners: its engine makes the cache.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
_REFUSALS = 64


@dataclass(frozen=True)
class Refusal:
    """Takes the place of a program that cannot be made, so that this is found out once."""

    reason: str = ""
    """Why; empty if there is nothing to tell, since the library has a faster way of its own."""


class ProgramCache:
    """A table of programs, safe to use from several threads; the program that was used least recently goes first.

    Parameters
    ----------
    limit : int, optional
        How many programs there may be; None for any number. By default what a network needs: one program for whole
        batches, and one for the short last batch of an epoch.

    Attributes
    ----------
    reported : set of str
        The reasons that were logged: each is told once.
    """

    def __init__(self, limit: int | None = 2) -> None:
        self.limit = limit
        self.reported: set[str] = set()
        self._lock = Lock()
        self._programs: OrderedDict[Hashable, Future[Any]] = OrderedDict()

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """The program of this key, made by `make` if there is none yet.

        Threads that want the same program at the same time wait until one of them has made it. `make` may return a
        `Refusal`: the last 64 are kept beside the programs. An error that it raises is not kept.
        """
        with self._lock:
            program = self._programs.get(key)
            if known := program is not None:
                self._programs.move_to_end(key)
            else:
                self._make_room()
                program = self._programs[key] = Future()
        if not known:
            try:
                program.set_result(make())
            except BaseException as error:
                with self._lock:
                    self._programs.pop(key, None)
                program.set_exception(error)
        try:
            made: T = program.result()
            return made
        finally:
            del program  # its error refers to this frame: without a cycle, memory is free at once

    def values(self) -> list[Any]:
        """The programs, the one used last at the end."""
        with self._lock:
            return [p.result() for p in self._programs.values() if p.done() and not _is_refusal(p)]

    def __len__(self) -> int:
        return len(self.values())

    def clear(self) -> None:
        """Let go of all programs."""
        with self._lock:
            self._programs.clear()
            self.reported.clear()

    def _make_room(self) -> None:
        """Drop programs before the next one is made, so that there are never more than `limit` in memory."""
        programs: list[Hashable] = []
        refusals: list[Hashable] = []
        for key, program in self._programs.items():
            (refusals if _is_refusal(program) else programs).append(key)
        excess = 0 if self.limit is None else max(0, len(programs) + 1 - self.limit)
        for key in programs[:excess] + refusals[:-_REFUSALS]:
            del self._programs[key]


def _is_refusal(program: "Future[Any]") -> bool:
    return program.done() and isinstance(program.result(), Refusal)
