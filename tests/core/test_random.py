"""Threefry against its published vectors, and the streams against each other."""

import numpy as np
import pytest

import nn_any as nn
from nn_any.core import random

pytestmark = pytest.mark.every_backend

# Random123, kat_vectors, threefry2x32 with 20 rounds: counter, key, result
VECTORS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def words(backend, values):
    return tuple(backend.asarray(np.array([value], dtype=np.uint32).view(np.int32)) for value in values)


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_threefry_gives_the_published_words(backend, counter, key, expected):
    got = random.threefry2x32(words(backend, key), words(backend, counter))
    assert tuple(int(nn.to_numpy(word).view(np.uint32)[0]) for word in got) == expected


def test_random_bits_are_the_same_on_every_backend_and_differ_by_layer_and_step(backend):
    def bits(seed, layer, step, device):
        key = device.asarray(random.draw_key(seed), "int32")
        return nn.to_numpy(random.random_bits(key, layer, device.asarray(step, "int32"), 1000, xp=device.xp))

    host = nn.select_device("numpy")
    base = bits(1, 0, 0, backend.device)
    np.testing.assert_array_equal(base, bits(1, 0, 0, host))
    for other in (bits(2, 0, 0, host), bits(1, 1, 0, host), bits(1, 0, 1, host)):
        assert np.mean(base == other) < 0.01
    share = np.mean((base.view(np.uint32) >> 8) < 2**23)  # a fair coin from the top 24 bits
    assert 0.4 < share < 0.6


def test_streams_depend_on_seed_and_every_name():
    draws = [
        random.stream(*path).standard_normal(4) for path in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", 2)]
    ]
    assert len({draw.tobytes() for draw in draws}) == len(draws)
    np.testing.assert_array_equal(random.stream(0, "a", 1).standard_normal(4), draws[3])


def test_epoch_orders_are_permutations_keyed_by_seed_and_epoch():
    order = random.epoch_order(3, 5, 100)
    np.testing.assert_array_equal(np.sort(order), np.arange(100))
    np.testing.assert_array_equal(order, random.epoch_order(3, 5, 100))
    assert (order != random.epoch_order(3, 6, 100)).any()
    assert (order != random.epoch_order(4, 5, 100)).any()
    np.testing.assert_array_equal(random.epoch_order(3, 5, 10, shuffle=False), np.arange(10))
