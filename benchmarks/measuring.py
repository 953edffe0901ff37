"""How it is measured: sides in turn in one process with its threads set from the start; memory in a process each."""

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from benchmarks.workloads import Job

PAUSE = 0.1
"""Seconds between two sides: the threads of a library's pool wait busily for a while before they sleep."""
NEAR, SOME = 1e-3, 0.1
"""How near the loss has to be to the one in float64 after the first steps, and to nn_any's after a whole stretch."""


def in_process(task, threads):
    """Run `task`, a dict, in a fresh Python whose pools have `threads` threads from the start, or what they like."""
    environment = dict(os.environ, KERAS_BACKEND="jax", XLA_PYTHON_CLIENT_PREALLOCATE="false")
    environment |= {"JAX_DEFAULT_MATMUL_PRECISION": "float32", "NVIDIA_TF32_OVERRIDE": "0"}  # no side has TF32
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment |= {} if threads is None else {name: str(threads)}
    with tempfile.TemporaryDirectory() as folder, _only(threads):
        path = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.worker", json.dumps(task), str(path)]
        done = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
        if done.returncode or not path.exists():
            raise RuntimeError(f"the process for {task} ended with code {done.returncode}")
        return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def _only(threads):
    """As many processors for what is started inside: the one handle that XLA has."""
    if threads is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(job, entries, rounds, say=lambda text: None):
    """Every side's stretches in turn, `rounds` of them, and whether it computes what the others do.

    Returns
    -------
    list of dict, one a side
    """
    rows, sides = [], []
    for entry in entries:
        row = {"name": entry.name, "family": entry.family, "status": "ok", "seconds": []}
        rows.append(row)
        say(f"{job.workload.name}, {entry.name}: made, checked, compiled")
        try:
            sides.append((row, _begun(job, entry, row)))
        except Exception as error:
            row["status"] = f"not there: {_text(error)}"
    for i in range(rounds):
        order = _order(job, 1 + (i + 1) * job.workload.epochs)
        for row, side in sides:
            if row["status"] != "ok":
                continue
            say(f"{job.workload.name}, {row['name']}: round {i + 1} of {rounds}")
            try:
                side.present(order)
                time.sleep(PAUSE)
                row["seconds"].append(side.seconds())
            except Exception as error:
                row["status"] = f"failed: {_text(error)}"
    for row, side in sides:
        _finish(job, row, side)
    return rows


def _order(job, first):
    """The batches of a stretch that begins with epoch number `first`; number 0 were the first steps."""
    return job.order(first, job.workload.rows, job.workload.epochs)


def _begun(job, entry, row):
    """The side after its first steps, checked, and after a first stretch, which compiles what there is to compile."""
    start = time.perf_counter()
    side = entry.make(job)
    row["setup_seconds"] = time.perf_counter() - start
    side.present(job.order(0, job.workload.check_rows))
    row["first_seconds"] = side.seconds()
    if (parameters := side.parameters()) is not None:
        row["check_loss"], row["reference_loss"] = side.job.loss(*parameters), side.job.reference
        row["same"] = abs(row["check_loss"] / row["reference_loss"] - 1) < NEAR
        if side.job is not job:
            row["note"] = f"{side.job.workload.loss} loss, checked against nn_any with that loss"
    side.present(_order(job, 1))
    row["first_seconds"] += side.seconds()
    if (parameters := side.parameters()) is not None:
        row["stretch_loss"] = side.job.loss(*parameters)
    return side


def _finish(job, row, side):
    row["engine"] = side.engine
    if row["status"] != "ok":
        return
    w = job.workload
    row["times"] = side.times
    median = statistics.median(row["seconds"])
    row["median_seconds"] = median
    row["step_microseconds"] = median / (w.steps * w.members) * 1e6
    row["examples_per_second"] = w.rows * w.epochs * w.members / median
    row["compile_seconds"] = max(0.0, row["first_seconds"] - median * (1 + w.check_rows / (w.rows * w.epochs)))
    if (parameters := side.parameters()) is not None:
        row["loss"] = side.job.loss(*parameters)


def memory(job, entry):
    """How much more memory a side needs at its peak than before it was made, in bytes; on a GPU, how much of that.

    Its library has been loaded and has trained a tiny network before, and the host's arrays are there.
    """
    job.real, job.one_hot  # noqa: B018 - what the peers are given
    _trained(Job(job.workload.tiny(), job.device, job.threads, (job.x[:20], job.y[:20])), entry)
    gc.collect()
    gpu = _gpu_used() if job.device == "cuda" else None
    before = _peak(reset=True)
    _trained(job, entry)
    return _peak() - before if gpu is None else _gpu_used() - gpu


def _trained(job, entry):
    side = entry.make(job)
    side.present(_order(job, 0))
    side.run()


def _peak(reset=False):
    """The most memory this process has had, in bytes; after a reset, what it has."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:  # no such thing as /proc: then the peak since the start, which imports may have set
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _gpu_used():
    try:
        import torch

        free, total = torch.cuda.mem_get_info()
    except (ImportError, RuntimeError, AssertionError):
        import cupy

        free, total = cupy.cuda.runtime.memGetInfo()
    return total - free


def _text(error):
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
