"""How the members of an ensemble share a machine: in blocks that stay in the cache, and on several threads."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from nn_any.backends.devices import Device

T = TypeVar("T")

_BYTES = {"numpy": 2**20}
"""How many bytes of parameters a block may have; where a library is not named, all members are one block."""


def usable_threads(device: Device, threads: int | None = None) -> int:
    """How many blocks run at once: as many as asked for, or as this process has CPUs; 1 where blocks gain nothing."""
    if device.library not in _BYTES:
        return 1
    if threads is not None:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def block_sizes(device: Device, members: int, member_bytes: int, threads: int | None = None) -> list[int]:
    """How many members each block has, the sizes as equal as can be.

    Parameters
    ----------
    members, member_bytes : how many there are, and the size of the parameters of one
    threads : as for `usable_threads`

    Examples
    --------
    >>> block_sizes(Device("numpy", "cpu"), 7, 2**18, threads=2)
    [4, 3]
    """
    limit = _BYTES.get(device.library)
    if limit is None:
        return [members]
    blocks = -(-members // max(1, limit // max(1, member_bytes)))
    together = usable_threads(device, threads)
    blocks = min(members, -(-blocks // together) * together)
    small, more = divmod(members, blocks)
    return [small + 1] * more + [small] * (blocks - more)


def run_blocks(device: Device, jobs: Sequence[Callable[[], T]], threads: int | None = None) -> list[T]:
    """The results of the jobs, one a block, several of them at once where that pays.

    NumPy lets go of Python's lock in its products, and BLAS is kept to one thread while several jobs share the CPUs.
    """
    workers = min(usable_threads(device, threads), len(jobs))
    if workers < 2:
        return [_quiet(job) for job in jobs]
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(_quiet, jobs))


def _quiet(job: Callable[[], Any]) -> Any:
    """The job's result; a member that overflows is told of by its loss, not by a warning for each operation."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return job()
