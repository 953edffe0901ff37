"""A step in fewer operations: the same numbers, bit for bit, and how many operations are left."""

import numpy as np
import pytest
from conftest import need
from test_engines import NETWORKS, OPTIMIZERS, agree, data

import nn_any as nn
from benchmarks.workloads import workloads
from nn_any.core import functional
from nn_any.core.batches import Preparation
from nn_any.core.trees import tree_leaves

OPERATIONS = {  # a step's: one by one with its state copied back, as it was; of sixteen in a graph, as it is
    ("S", nn.SGD(0.1)): (41, 26),
    ("S", nn.SGD(0.1, momentum=0.9)): (58, 28),
    ("S", nn.Adam(0.01)): (108, 45),
    ("M", nn.SGD(0.1)): (59, 38),
    ("C10", nn.SGD(0.1)): (76, 50),
}


def shortened(*arguments):
    from nn_any.backends._torch_tape import shortened

    return shortened(*arguments)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [*OPTIMIZERS.values(), nn.AdamW(0.01, clip_value=0.5, max_norm=2.0)])
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("members", [None, 2])
def test_the_numbers_are_the_same(kind, optimizer, dtype, members):
    torch = need("torch")
    layers, loss = NETWORKS[kind]
    of = {"loss": loss, "device": "torch:cpu", "dtype": dtype, "seed": 3}
    net = nn.Ensemble(layers, members, **of) if members else nn.Network(layers, **of)
    x, y = data(kind)
    images = (np.abs(x) * 50).astype("uint8")
    step = functional.train_step(
        net.layers, net.specification.loss, optimizer.update_rule(), Preparation(dtype, 3, 255.0, True)
    )
    state = net.state._replace(optimizer_state=optimizer.init(net.params))
    rate = torch.as_tensor(0.3, dtype=getattr(torch, dtype))
    batches = [(torch.as_tensor(images[i : i + 4]), torch.as_tensor(y[i : i + 4])) for i in (0, 4, 8)]
    if members:
        batches = [tuple(torch.stack([column, column.flip(0)]) for column in batch) for batch in batches]
    with torch.no_grad():
        short = shortened(step, state, batches[0], rate)
        for batch in batches:
            expected, got = step(state, batch, rate), short(state, batch, rate)
            agree(got, expected, rtol=0)
            assert got[0].key is state.key
            state = expected[0]


@pytest.mark.parametrize("case", OPERATIONS, ids=lambda case: f"{case[0]} {case[1]}")
def test_how_many_operations_are_left(case):
    """A step's share of sixteen steps, which are one CUDA graph, and the plain step beside it."""
    torch = need("torch")
    from torch_tools import Launches

    from nn_any.backends._torch_engine import StaticSteps

    (kind, optimizer), (before, after) = case, OPERATIONS[case]
    workload = workloads("cpu")[kind]
    net = nn.Network(workload.layers, loss=workload.loss, device="torch:cpu", seed=0)
    step = functional.train_step(
        net.layers, net.specification.loss, optimizer.update_rule(), Preparation("float32", 10, 255.0, True)
    )
    shape = net.specification.input_shape
    columns = torch.ones((20, *shape), dtype=torch.uint8), torch.arange(20) % 10
    order, rates = torch.zeros((16, 10), dtype=torch.int64), torch.ones(16)
    state = net.state._replace(optimizer_state=optimizer.init(net.params))
    with torch.no_grad():
        short = shortened(step, state, tuple(column[:10] for column in columns), rates[0])
        static = StaticSteps(short, state, columns, order, rates)
        with Launches() as launches:
            static.advance(16)
        with Launches() as plain:
            step(state, tuple(column[:10] for column in columns), rates[0])
    assert len(launches) <= 16 * after
    assert len(plain) + len([*tree_leaves(state)]) < before  # the plain step, and its state copied back


def test_what_does_not_depend_on_the_arguments_is_computed_once():
    torch = need("torch")
    from torch_tools import Launches

    def step(state, batch, rate):
        places = torch.arange(3) * 2.0
        twice = (state + places) * (state + places)
        unread = twice.exp() + batch[0]  # noqa: F841
        return twice, (state + places).sum() * rate

    arguments = torch.ones(3), (torch.ones(1),), torch.tensor(0.5)
    with torch.no_grad():
        short = shortened(step, *arguments)
        zeros = torch.zeros(3)
        with Launches() as launches:
            state, loss = short(zeros, *arguments[1:])
    assert state.tolist() == [0.0, 4.0, 16.0]
    assert loss.item() == 3.0
    assert launches.counts == {"add": 1, "mul": 2, "sum": 1}


def test_equal_operations_wait_for_what_they_read():
    torch = need("torch")
    from torch_tools import Launches

    def step(state, batch, rate):
        a, b, c = state
        return (a * rate, b * rate, (a * rate + c) * rate), rate * 1.0

    state = tuple(torch.full((2,), value) for value in (1.0, 2.0, 3.0))
    with torch.no_grad():
        short = shortened(step, state, (), torch.tensor(0.5))
        with Launches() as launches:
            new, _ = short(state, (), torch.tensor(2.0))
    assert [leaf.tolist() for leaf in new] == [[2.0, 2.0], [4.0, 4.0], [10.0, 10.0]]
    assert launches.counts["_foreach_mul"] == 1


def test_arguments_that_are_one_array():
    torch = need("torch")
    shared = torch.ones(2)
    with torch.no_grad():
        short = shortened(lambda s, batch, rate: ((s[0] + 1, s[1] * 3), rate), (shared, shared), (), torch.tensor(1.0))
        new, _ = short((torch.zeros(2), torch.ones(2)), (), torch.tensor(1.0))
    assert [leaf.tolist() for leaf in new] == [[1.0, 1.0], [3.0, 3.0]]


STEPS = {
    "reads a value": lambda s, batch, rate: (s * float(s[0]), rate),
    "writes": lambda s, batch, rate: ((s * 2).add_(1), rate),
    "draws": lambda s, batch, rate: (s.bernoulli(), rate),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_that_are_called_as_they_are(name):
    torch = need("torch")
    from nn_any.backends.replay.recorded import UnrecordableError

    with torch.no_grad(), pytest.raises(UnrecordableError):
        shortened(STEPS[name], torch.ones(2), (), torch.tensor(1.0))


def test_nothing_of_the_recorded_step_is_kept():
    """But what does not depend on the arguments."""
    torch = need("torch")
    import gc
    import weakref

    found = []

    def step(state, batch, rate):
        between = (state * 2).exp()
        found.extend([weakref.ref(between), weakref.ref(between + 1)])
        return between.sum() * state, rate

    with torch.no_grad():
        short = shortened(step, torch.ones(2), (), torch.tensor(1.0))
    gc.collect()
    assert callable(short)
    assert [ref() for ref in found] == [None, None]
