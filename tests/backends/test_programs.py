"""The cache of compiled programs, on its own and as owners have it."""

import contextlib
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from conftest import need

import nn_any as nn
from nn_any.backends.blocks import block_engines
from nn_any.backends.programs import ProgramCache, Refusal
from nn_any.core import functional, losses
from nn_any.core.batches import Preparation


def test_a_program_is_made_once():
    cache, made = ProgramCache(), []
    for _ in range(3):
        assert cache.get_or_make("a", lambda: made.append(1) or "program") == "program"
    assert (made, len(cache), cache.values()) == ([1], 1, ["program"])
    cache.clear()
    assert len(cache) == 0


def test_the_one_used_least_recently_goes_before_the_next_is_made():
    cache, seen = ProgramCache(2), []
    for key in "abacb":
        cache.get_or_make(key, lambda key=key: seen.append((key, cache.values())) or key)
    assert seen == [("a", []), ("b", ["a"]), ("c", ["a"]), ("b", ["c"])]
    assert cache.values() == ["c", "b"]


def test_without_a_limit_all_are_kept():
    cache = ProgramCache(None)
    for i in range(100):
        cache.get_or_make(i, lambda i=i: i + 1)
    assert cache.values() == list(range(1, 101))


def test_refusals_are_remembered_beside_the_programs():
    cache, calls = ProgramCache(2), []

    def refuse():
        calls.append(1)
        return Refusal("it reads a value")

    cache.get_or_make("a", lambda: "a")
    for _ in range(2):
        for i in range(64):
            assert cache.get_or_make(("no", i), refuse).reason == "it reads a value"
    assert len(calls) == 64
    assert cache.values() == ["a"]
    for i in range(64, 80):
        cache.get_or_make(("no", i), refuse)
    cache.get_or_make(("no", 0), refuse)
    assert len(calls) == 81
    assert cache.values() == ["a"]


def test_an_error_is_not_kept():
    cache = ProgramCache()

    class Large:
        pass

    def fail():
        large = Large()
        gone.append(weakref.ref(large))
        raise MemoryError

    gc.disable()  # what the attempt held is free at once
    try:
        for gone in ([], []):
            with contextlib.suppress(MemoryError):
                cache.get_or_make("a", fail)
            assert gone[0]() is None
    finally:
        gc.enable()
    assert cache.get_or_make("a", lambda: "program") == "program"


def test_threads_that_want_the_same_program_wait_for_one_of_them():
    """Meanwhile others make theirs."""
    cache, made, go = ProgramCache(8), [], threading.Event()

    def make():
        made.append(1)
        assert go.wait(20)
        return object()

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(cache.get_or_make, "slow", make) for _ in range(3)]
        assert pool.submit(cache.get_or_make, "other", lambda: "at once").result(20) == "at once"
        assert not any(future.done() for future in waiting)
        go.set()
        found = {id(future.result(20)) for future in waiting}
    assert (len(made), len(found)) == (1, 1)


DATA = np.random.default_rng(0).random((37, 12)), np.arange(37) % 3


def test_a_network_has_a_program_for_whole_batches_and_one_for_the_short_last_one():
    device, cache = nn.select_device("numpy"), ProgramCache()
    net, order, rates = nn.Network([12, 5, 3], device=device), np.arange(36), np.full(9, 0.1, dtype="float32")
    step = functional.train_step(net.layers, losses.get("quadratic"), nn.SGD(1.0), Preparation("float32", 3))
    data, runs = (DATA[0], np.eye(3)[DATA[1]]), []
    for size in (4, 3, 4, 3, 2, 4):
        engine = device.training_engine("compiled", cache)
        engine.run(step, net.state, data, order[: 36 // size * size].reshape(-1, size)[:9], rates, 0, 9)
        runs.append((engine.compile_seconds > 0, len(cache)))
    assert runs == [(True, 1), (True, 2), (False, 2), (False, 2), (True, 2), (True, 2)]


def test_blocks_have_caches_of_their_own():
    programs = []
    device = nn.select_device("numpy")
    (first,) = block_engines(device, "auto", 1, programs)
    engines = block_engines(device, "auto", 3, programs, threads=2)
    assert [engine.programs for engine in engines] == programs
    assert engines[0].programs is first.programs
    assert len({id(cache) for cache in programs}) == 3
    assert [engine.alone for engine in (first, *engines)] == [True, False, False, False]


def test_equal_networks_share_programs_without_buffers():
    need("jax")
    device = nn.select_device("jax:cpu")
    engines = [device.training_engine("auto", ProgramCache()) for _ in range(2)]
    assert engines[0].programs is engines[1].programs
    nets = [nn.Network([12, 5, 3], device=device, seed=seed) for seed in range(2)]
    seconds = [net.SGD(DATA, 1, 11, 0.5).compile_seconds for net in nets]
    assert seconds[0] > 0
    assert seconds[1] == 0
