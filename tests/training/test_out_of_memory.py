"""What happens when a device's memory does not suffice."""

import os
import subprocess
import sys

import numpy as np
import pytest

import nn_any as nn

RNG = np.random.default_rng(0)
X, Y = RNG.random((40, 6)).astype("float32"), RNG.integers(0, 3, 40)


def failing(error, after):
    """An engine's `run` that raises in its second call."""
    calls = []

    def wrap(run):
        def call(*args):
            calls.append(args)
            if len(calls) > after:
                raise error
            return run(*args)

        return call

    return wrap


def errors(library):
    yield MemoryError("no more")
    if library == "torch":
        import torch

        yield torch.OutOfMemoryError("CUDA out of memory")
        yield RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried to ...")
    if library == "jax":
        yield RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.")


def test_it_says_what_is_needed_and_what_fits_and_the_weights_stay(backend, monkeypatch, tmp_path):
    monkeypatch.setattr("nn_any.training.fit.segment_length", lambda *_: 2)
    for i, error in enumerate(errors(backend.library)):
        whole = nn.Network([6, 5, 3], device=backend.device, seed=0)
        net = whole.copy()
        engine = net.device.training_engine()
        with monkeypatch.context() as patch:
            patch.setattr(type(engine), "run", failing(error, 1)(type(engine).run))
            with pytest.raises(nn.OutOfMemoryError) as caught:
                net.fit((X, Y), epochs=2, batch_size=8, optimizer=nn.SGD(0.5), checkpoint=tmp_path / str(i))
        message = str(caught.value)
        # 6 + 5 + 3 numbers of four bytes, three times over, for each of 8 examples: 1,344 bytes
        assert message.startswith(f"{backend.device} ran out of memory in epoch 1: a batch of 8 takes about 0 MB")
        assert "batch_size=4 should fit" in message or "use a smaller batch_size" in message
        assert isinstance(caught.value, MemoryError)
        assert isinstance(caught.value, RuntimeError)
        assert caught.value.__cause__ is error
        assert net.steps == 2
        assert nn.Network.load(tmp_path / str(i), device="numpy").steps == 2
        net.fit((X, Y), epochs=1, batch_size=8, optimizer=nn.SGD(0.5))  # where it was
        whole.fit((X, Y), epochs=1, batch_size=8, optimizer=nn.SGD(0.5))
        for a, b in zip(net.weights, whole.weights, strict=True):
            np.testing.assert_array_equal(nn.to_numpy(a), nn.to_numpy(b))


def test_other_errors_pass(backend, monkeypatch):
    net = nn.Network([6, 5, 3], device=backend.device, seed=0)
    engine = net.device.training_engine()
    monkeypatch.setattr(type(engine), "run", failing(ZeroDivisionError("mine"), 0)(type(engine).run))
    with pytest.raises(ZeroDivisionError, match="mine"):
        net.fit((X, Y), epochs=1, batch_size=8, optimizer=nn.SGD(0.5))


REAL = """
import resource
import numpy as np
import nn_any as nn
net = nn.Network([1000, 4000, 4000, 10], device="numpy", seed=0)
x, y = np.zeros((60_000, 1000), np.uint8), np.arange(60_000) % 10
net.fit((x[:20], y[:20]), epochs=1, batch_size=10, optimizer=nn.SGD(0.1))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, used + 300 * 2**20))
before = net.weights[0].copy()
try:
    net.fit((x, y), epochs=1, batch_size=60_000, optimizer=nn.SGD(0.1))
except nn.OutOfMemoryError as error:
    assert (net.weights[0] == before).all()
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the process's memory as Linux does")
def test_memory_that_really_runs_out():
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "NN_ANY_DEVICE": "numpy"}
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, env=environment, timeout=120)
    assert "numpy:cpu ran out of memory in epoch 2: a batch of 60000 takes about 6,487 MB" in done.stdout, done.stderr
