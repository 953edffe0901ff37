"""How PyTorch's CUDA graphs are captured and replayed, with a stand-in for `torch.cuda` that runs the steps at once."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from conftest import need
from test_engines import agree, network, segment

import nn_any as nn
from nn_any.backends.programs import ProgramCache


class Cuda:
    """Streams that do nothing, and graphs that call again what was called while they were captured."""

    def __init__(self, advance):
        self.capturing, self.launches, self.advance = None, [], advance
        stream = SimpleNamespace(wait_stream=lambda other: None)
        cuda = self

        class Graph:
            def replay(self):
                cuda.launches.append(self.steps)
                cuda.advance(*self.steps)

        def graph(captured, **_):
            cuda.capturing = captured
            return nullcontext()

        self.module = SimpleNamespace(
            Stream=lambda: stream,
            current_stream=lambda: stream,
            stream=lambda _: nullcontext(),
            device=lambda _: nullcontext(),
            CUDAGraph=Graph,
            graph=graph,
        )


@pytest.fixture
def cuda(monkeypatch):
    torch = need("torch")
    from nn_any.backends import _torch_engine

    plain = _torch_engine.StaticSteps.advance
    fake = Cuda(plain)

    def advance(self, steps=1):
        if fake.capturing is None:
            plain(self, steps)
        else:
            fake.capturing.steps, fake.capturing = (self, steps), None

    monkeypatch.setattr(_torch_engine.StaticSteps, "advance", advance)
    patched = SimpleNamespace(**{**vars(torch), "cuda": fake.module})
    monkeypatch.setattr(_torch_engine, "torch", patched)
    return fake


@pytest.mark.parametrize(
    ("start", "stop", "sizes"),
    [(0, 40, [16, 16] + [1] * 8), (3, 9, [1] * 6), (5, 21, [16]), (0, 1, [1])],
)
def test_sixteen_steps_a_launch(cuda, start, stop, sizes):
    from nn_any.backends._torch_engine import GraphEngine

    net, optimizer = network("torch:cpu", "normalized"), nn.SGD(0.1, momentum=0.9)
    step, columns, order, rates = segment(net, steps=40, optimizer=optimizer)
    state = net.state._replace(optimizer_state=optimizer.init(net.params))
    engine = GraphEngine("compiled", ProgramCache(), "cpu")
    engine._mode = "auto"  # so that the step itself is captured
    for _ in range(2):
        cuda.launches.clear()
        got = engine.run(step, state, columns, order, rates, start, stop)
        assert [steps for _, steps in cuda.launches] == sizes
        plain = net.device.training_engine("eager").run(step, state, columns, order, rates, start, stop)
        agree(got, plain, rtol=1e-11)
    assert engine.name == "torch.cuda.graph"


def test_few_steps_capture_no_long_graph(cuda):
    """Sixteen large steps would take seconds to warm up."""
    from nn_any.backends._torch_engine import GraphEngine

    net = network("torch:cpu", "book")
    step, *rest = segment(net, steps=40)
    engine = GraphEngine("auto", ProgramCache(), "cpu")
    state, _ = engine.run(step, net.state, *rest, 0, 7)
    (graph,) = engine._graphs.values()
    assert [*graph._captured] == [1]
    engine.run(step, state, *rest, 7, 40)
    assert [*graph._captured] == [1, 16]


def test_chunks_of_a_stream_of_data_lie_in_one_place(cuda):
    """A graph reads the columns it was captured with: the chunks after the first are copied there."""
    from nn_any.backends._torch_engine import GraphEngine

    net, optimizer = network("torch:cpu", "normalized"), nn.SGD(0.1, momentum=0.9)
    step, columns, order, rates = segment(net, steps=40, optimizer=optimizer)
    state = net.state._replace(optimizer_state=optimizer.init(net.params))
    engine, eager = GraphEngine("auto", ProgramCache(), "cpu"), net.device.training_engine("eager")
    got = wanted = state
    for start, stop in ((0, 16), (16, 40)):
        chunk = tuple(column.flip(0) if start else column.clone() for column in columns)
        wanted, expected = eager.run(step, wanted, tuple(column.clone() for column in chunk), order, rates, start, stop)
        got, losses = engine.run(step, got, engine.feed(chunk), order, rates, start, stop)
        agree((got, losses), (wanted, expected), rtol=1e-11)
    assert len(engine._graphs) == 1
