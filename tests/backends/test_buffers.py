"""Memory of a replay loop: what is wanted at the same time does not overlap, and little is left unused."""

import numpy as np
import pytest

from nn_any.backends.replay.buffers import ALIGNMENT, Pool
from nn_any.backends.replay.nodes import Layout


def bytes_(size):
    return Layout.contiguous((size,), "uint8")


def run(pool, script):
    """What a script of sizes to take, and of numbers of what to give back, makes of a pool: the arrays, in order."""
    taken = []
    for what in script:
        if isinstance(what, str):
            pool.give_back(taken[int(what)][1])
        else:
            taken.append(pool.take(bytes_(what)))
    return [array for array, _ in taken]


def packed(script):
    draft = Pool()
    run(draft, script)
    return run(draft.packed(), script)


def span(arrays):
    return max(a.ctypes.data + a.size for a in arrays) - min(a.ctypes.data for a in arrays)


def test_one_after_another_lie_in_one_place():
    a, b, c = packed([1000, "0", 3000, "1", 2000])
    assert a.ctypes.data == b.ctypes.data == c.ctypes.data


def test_what_is_kept_is_kept():
    first, *others = packed([100, 200, "1", 300, "2"])
    assert span(others) == 300
    first[...] = 1
    for array in others:
        array[...] = 2
    assert (first == 1).all()


@pytest.mark.parametrize("seed", range(20))
def test_no_two_at_once_overlap(seed):
    rng = np.random.default_rng(seed)
    script, alive, most = [], [], 0
    sizes = []
    for _ in range(60):
        if alive and rng.random() < 0.45:
            script.append(str(alive.pop(rng.integers(len(alive)))))
        else:
            alive.append(len(sizes))
            sizes.append(int(rng.integers(0, 5000)))
            script.append(sizes[-1])
        most = max(most, sum(-(-sizes[i] // ALIGNMENT) * ALIGNMENT for i in alive))
    arrays = packed(script)
    assert [array.size for array in arrays] == sizes
    assert all(array.ctypes.data % ALIGNMENT == 0 for array in arrays)
    held, at = {}, 0
    for what in script:  # each is filled with its number when it is taken, and has it still when it is given back
        if isinstance(what, str):
            assert (arrays[int(what)] == held.pop(int(what))).all()
        else:
            arrays[at][...] = held[at] = at
            at += 1
    assert all((arrays[i] == number).all() for i, number in held.items())
    assert span(arrays) <= 1.5 * most


def test_another_script_is_refused():
    draft = Pool()
    run(draft, [100])
    with pytest.raises(AssertionError, match="expected 100 bytes to be wanted as before, got 50"):
        draft.packed().take(bytes_(50))
