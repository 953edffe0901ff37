"""How the members of an ensemble share a machine: in blocks that stay in the cache, and on several threads."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import numpy as np

from nn_any.backends.devices import Device
from nn_any.backends.engine import Engine

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


def block_engines(
    device: Device, mode: str, blocks: int, kept: dict[Any, Any], threads: int | None = None
) -> list[Engine]:
    """An engine for each block; what each of them keeps is kept by its number."""
    engines = [device.training_engine(mode, kept.setdefault(i, {})) for i in range(blocks)]
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
    from nn_any.backends.replay.engine import ONE_BLAS_THREAD

    settings = _settings(device)

    def work(job: Callable[[], T]) -> T:
        with settings():
            return _quiet(job)

    with ONE_BLAS_THREAD, ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, jobs))


def _settings(device: Device) -> Callable[[], AbstractContextManager[Any]]:
    """What another thread has to enter, to compute as this one does: JAX's x64 switch may be this thread's own."""
    if device.library != "jax":
        return nullcontext
    import jax

    return partial(jax.enable_x64, bool(jax.config.jax_enable_x64))


def _quiet(job: Callable[[], T]) -> T:
    """The job's result; a member that overflows is told of by its loss, not by a warning for each operation."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return job()
