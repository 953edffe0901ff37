"""How often the host waits for a GPU within an epoch of fit, counted by the stand-in for CUDA."""

import numpy as np
import pytest

import nn_any as nn
from nn_any import evaluation

pytestmark = pytest.mark.gpu
RNG = np.random.default_rng(0)
X, Y = RNG.random((60, 6)).astype("float32"), RNG.integers(0, 3, 60)
UP, DOWN = ["copy host to device", "copy pinned to device"], ["copy device to host", "copy device to pinned"]


def third_epoch(machine, net, **given):
    """What the third epoch adds to what is counted."""
    data, counts = nn.Dataset(X, Y, device=net.device), []
    net.fit(
        data,
        epochs=3,
        validation_data=data,
        callbacks=[lambda run: counts.append(machine.counts())],
        engine="auto",
        **given,
    )
    return {what: sum(counts[2][name] - counts[1][name] for name in names) for what, names in _KINDS.items()}


_KINDS = {"up": UP, "down": DOWN, "waits": ["synchronise"]}


@pytest.mark.parametrize("optimizer", [nn.SGD(0.5), nn.Adam()], ids=["fused", "graph"])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("elements", [2**23, 200], ids=["one chunk", "chunks"])
def test_an_epoch_of_steps(machine, optimizer, members, elements, monkeypatch):
    """Order and rates go up; losses, whether all is finite, and the validation's losses and right answers come back."""
    monkeypatch.setattr(evaluation, "CHUNK_ELEMENTS", elements)
    kind = {"device": "cupy", "seed": 0}
    net = nn.Network([6, 5, 3], **kind) if members == 1 else nn.Ensemble([6, 5, 3], members, **kind)
    counts = third_epoch(machine, net, batch_size=10, optimizer=optimizer)
    assert counts["down"] == counts["waits"] == 4
    assert counts["up"] == 2 or elements == 200  # CuPy sends pointers to what it stacks, and waits for nothing


def test_the_device_works_until_the_first_wait(machine, tmp_path):
    """No kernel is launched between the losses of a segment and the answer whether its state is finite."""
    net = nn.Network([6, 5, 3], device="cupy", seed=0)
    given = {"epochs": 1, "batch_size": 10, "optimizer": nn.SGD(0.5)}
    net.fit((X, Y), **given)
    machine.log(tmp_path / "log")
    net.fit((X, Y), **given)
    machine.log()
    lines = (tmp_path / "log").read_text().splitlines()
    reads = [i for i, line in enumerate(lines) if "to host" in line]
    assert not any("kernel" in line for line in lines[reads[-2] : reads[-1]])


def test_a_search_moves_one_vector_each_way(machine):
    """The weights at which the loss is wanted go up as one array; loss and gradients come back as one."""
    calls = []
    net = nn.Network([6, 5, 3], device="cupy", seed=0)
    original = nn.LBFGS.iterate

    class Counting(nn.LBFGS):
        def iterate(self, state, function):
            def counted(x):
                calls.append(x)
                return function(x)

            return original(self, state, counted)

    data, counts = nn.Dataset(X, Y, device=net.device), []
    net.fit(data, epochs=3, optimizer=Counting(), callbacks=[lambda run: counts.append((len(calls), machine.counts()))])
    (before, old), (after, new) = counts[1:]
    evaluations = after - before
    assert sum(new[name] - old[name] for name in UP) == evaluations + 1  # and where the search ends
    assert sum(new[name] - old[name] for name in DOWN) == evaluations + 1  # and where it begins
