"""A state that is kept where it is, as CUDA graphs want it, while steps make new states that share its memory."""

from collections import namedtuple

import numpy as np
import pytest
from conftest import need
from own_optimizers import HeavyBall

import nn_any as nn
from nn_any.backends.in_place import apart, changes
from nn_any.core.trees import tree_leaves, tree_map

Pair = namedtuple("Pair", "a b")


def memory(array):
    """Where the array that owns the memory begins and ends."""
    while array.base is not None:
        array = array.base
    first = array.__array_interface__["data"][0]
    return first, first + array.nbytes


def written(step, state, order=slice(None)):
    """The state in place after a step, its pairs written in some order."""
    for own, new in changes(state, step(state), memory, np.copy)[order]:
        own[...] = new
    return state


STEPS = {
    "swapped": lambda s: Pair(s.b, s.a),
    "the first one twice": lambda s: Pair(s.a, s.a),
    "the second one twice": lambda s: Pair(s.b, s.b),
    "one new array twice": lambda s: (lambda new: Pair(new, new))(s.a + s.b),
    "a view of another one": lambda s: Pair(s.b[::-1], s.a + 1),
    "a view of itself": lambda s: Pair(s.a[::-1], s.b),
    "nothing changed": lambda s: s,
}


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)], ids=["forwards", "backwards"])
@pytest.mark.parametrize("name", STEPS)
def test_a_state_in_place_becomes_what_the_step_returns(name, order):
    state = Pair(np.asarray([1.0, 2.0, 3.0]), np.asarray([4.0, 5.0, 6.0]))
    expected = tree_map(np.copy, STEPS[name](state))
    for got, right in zip(written(STEPS[name], state, order), expected, strict=True):
        np.testing.assert_array_equal(got, right)


def test_states_that_show_parts_of_one_array():
    """Each part lies between other parts, and what becomes one comes from two."""
    whole = np.arange(8.0)
    state = Pair(whole[0::2], whole[1::2])
    written(lambda s: Pair(s.b, s.a), state)
    np.testing.assert_array_equal(whole, [1, 0, 3, 2, 5, 4, 7, 6])


def test_what_stays_is_neither_copied_nor_written():
    state = Pair(np.ones(3), np.ones(3))
    new = state._replace(b=state.b + 1)
    ((own, source),) = changes(state, new, memory, np.copy)
    assert own is state.b
    assert source is new.b


def test_only_what_shares_memory_is_copied():
    given, fresh = np.ones(4), np.zeros(4)
    result = apart((fresh, given, (given[1:2], None)), (given,), memory, np.copy)
    assert result[0] is fresh
    assert not any(np.shares_memory(leaf, given) for leaf in tree_leaves(result))
    np.testing.assert_array_equal(result[2][0], [1.0])


@pytest.mark.parametrize("wrong", [np.ones(3, np.float32), np.ones((1, 3))], ids=["dtype", "shape"])
def test_a_step_that_changes_the_form_of_its_state(wrong):
    state = Pair(np.ones(3), np.ones(3))
    with pytest.raises(TypeError, match=r"a step turns float64 \(3,\) of its state into float"):
        changes(state, state._replace(b=wrong), memory, np.copy)


def by_hand(net, x, y, order):
    """The losses of the same steps in float64 NumPy, for sigmoids and the quadratic loss."""
    weights = [np.array(nn.to_numpy(w), np.float64) for w in net.weights]
    biases = [np.array(nn.to_numpy(b), np.float64) for b in net.biases]
    before = [w.copy() for w in (*weights, *biases)]
    losses = []
    for rows in order:
        a = [x[rows]]
        for w, b in zip(weights, biases, strict=True):
            a.append(1 / (1 + np.exp(-(a[-1] @ w.T + b))))
        target = np.eye(3)[y[rows]]
        losses.append(0.5 * np.sum((a[2] - target) ** 2) / len(rows))
        last = (a[2] - target) * a[2] * (1 - a[2]) / len(rows)
        first = last @ weights[1] * a[1] * (1 - a[1])
        slopes = [first.T @ a[0], last.T @ a[1], first.sum(0), last.sum(0)]
        now = [*weights, *biases]
        moved = [w - 0.1 * g + 0.9 * (w - b) for w, g, b in zip(now, slopes, before, strict=True)]
        weights, biases, before = moved[:2], moved[2:], now
    return losses


@pytest.mark.every_backend
@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_an_optimizer_that_keeps_the_weights_before_on_every_engine(float64, engine):
    """Its state is the old parameters themselves."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), rng.integers(0, 3, 40)
    net = nn.Network([6, 5, 3], device=float64.device, dtype="float64", seed=1)
    order = np.concatenate([rng.permutation(40).reshape(10, 4) for _ in range(3)])
    state = net.state._replace(optimizer_state=None)
    _, losses = nn.train_steps(net, state, (x, y), order, 0.1, optimizer=HeavyBall(), engine=engine)
    np.testing.assert_allclose(losses, by_hand(net, x, y, order), rtol=1e-9)


def test_an_optimizer_that_keeps_the_weights_before():
    """Its state is the old parameters themselves, which the steps of a CUDA graph write over."""
    need("torch")
    import torch

    from nn_any.backends._torch_engine import StaticSteps
    from nn_any.core import functional
    from nn_any.core.batches import Preparation

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), rng.integers(0, 3, 40)
    net = nn.Network([6, 5, 3], device="torch:cpu", dtype="float64", seed=1)
    order = np.concatenate([rng.permutation(40).reshape(10, 4) for _ in range(3)])
    optimizer = HeavyBall()
    step = functional.train_step(net.layers, net.specification.loss, optimizer, Preparation(net.dtype, 3, None, True))
    state = net.state._replace(optimizer_state=optimizer.init(net.params))
    columns, rows = (torch.asarray(x), torch.asarray(y)), torch.asarray(order)
    rates = torch.full((30,), 0.1, dtype=torch.float64)
    static = StaticSteps(step, state, columns, rows, rates)
    for _ in range(30):
        static.advance()
    np.testing.assert_allclose(static.results(0, 30)[1], by_hand(net, x, y, order), rtol=1e-10)
