"""How the members of an ensemble share a machine: in blocks that stay in the cache, and on several threads."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import TypeVar

from nn_any.backends.blas import ONE_BLAS_THREAD
from nn_any.backends.devices import Device
from nn_any.backends.engine import Engine, quiet
from nn_any.backends.programs import ProgramCache
from nn_any.core.state import TrainState
from nn_any.core.trees import tree_map

T = TypeVar("T")

_BYTES = {"numpy:cpu": (2**20, 2**22), "torch:cpu": (2**20, 2**22), "jax:cpu": (2**19, 2**19)}
"""How many bytes of parameters a block may have on one thread and on several, as measured: what stays in the cache is
quicker, but NumPy's threads wait for Python's lock between calls. On a device that is not named all are one block."""


def usable_threads(device: Device, threads: int | None = None) -> int:
    """How many blocks run at once: as many as asked for, or as this process has CPUs; 1 where blocks gain nothing."""
    if str(device) not in _BYTES:
        return 1
    if threads is not None:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def block_sizes(device: Device, members: int, member_bytes: int, threads: int | None = None) -> list[int]:
    """How many members each block has, the sizes as equal as can be; the parameters of one have `member_bytes`.

    Examples
    --------
    >>> block_sizes(Device("numpy", "cpu"), 7, 2**18, threads=2)
    [4, 3]
    """
    if str(device) not in _BYTES:
        return [members]
    together = usable_threads(device, threads)
    limit = _BYTES[str(device)][together > 1]
    if members * member_bytes <= limit // 4:  # so little is not worth another call
        return [members]
    blocks = -(-members // max(1, limit // max(1, member_bytes)))
    blocks = min(members, -(-blocks // together) * together)
    small, more = divmod(members, blocks)
    return [small + 1] * more + [small] * (blocks - more)


def split(device: Device, state: TrainState, sizes: Sequence[int]) -> tuple[TrainState, ...]:
    """The state of an ensemble in blocks of so many members each."""
    ends = list(accumulate(sizes))
    slices = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    with device.scope():
        return tuple([tree_map(lambda leaf, at=at: leaf[at, ...], state) for at in slices])


def join(device: Device, blocks: Sequence[TrainState]) -> TrainState:
    """The state whose blocks these are; a network's has one."""
    if len(blocks) == 1:
        return blocks[0]
    with device.scope():
        state: TrainState = tree_map(lambda *leaves: device.xp.concat(leaves, axis=0), *blocks)
    return state


def block_engines(
    device: Device, mode: str, blocks: int, programs: list[ProgramCache], threads: int | None = None
) -> list[Engine]:
    """An engine for each block of members; a network is one block.

    `programs` are the owner's, one per block; what is missing is added to the list.
    """
    programs.extend(ProgramCache() for _ in range(blocks - len(programs)))
    engines = [device.training_engine(mode, own) for own in programs[:blocks]]
    for engine in engines:
        engine.alone = min(usable_threads(device, threads), blocks) < 2
    return engines


def run_blocks(device: Device, jobs: Sequence[Callable[[], T]], threads: int | None = None) -> list[T]:
    """The results of the jobs, one a block, several of them at once where that pays.

    All of them let go of Python's lock while they compute; BLAS is kept to one thread while jobs share the CPUs.
    """
    workers = min(usable_threads(device, threads), len(jobs))
    if workers < 2:
        return [_quiet(job) for job in jobs]
    settings = device.thread_settings()

    def work(job: Callable[[], T]) -> T:
        with settings():
            return _quiet(job)

    with ONE_BLAS_THREAD, ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, jobs))


def _quiet(job: Callable[[], T]) -> T:
    """The job's result; a member that overflows is told of by its loss, not by a warning for each operation."""
    with quiet():
        return job()
