"""One seed, named streams: host draws for what is drawn once, counter-based draws for what is drawn every step.

Host draws (initial weights, epoch orders, splits) come from a NumPy `Generator` that is keyed by the seed and the
stream's name, in float64. Draws on the device come from Threefry-2x32-20, in int32 arithmetic that is the same on every
array library: a pure function of a key and a counter, so nothing is stored and nothing crosses to the device.

Reference: J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
Proc. SC11, 2011, doi:10.1145/2063384.2063405.
"""

import secrets
import zlib

import array_api_compat
import numpy as np

from nn_any.core.typing import Array, Namespace

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def new_seed() -> int:
    """A seed of 32 bits from the operating system, for those who give none."""
    return secrets.randbits(32)


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The host generator that `seed` and a path of names lead to; different paths are independent streams.

    Examples
    --------
    >>> a, b = stream(0, "weights", 1), stream(0, "weights", 1)
    >>> bool((a.standard_normal(3) == b.standard_normal(3)).all())
    True
    """
    path = [zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names]
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=path))


def epoch_order(seed: int, epoch: int, examples: int, *, shuffle: bool = True) -> np.ndarray:
    """The order in which epoch number `epoch` visits the examples: a permutation of 0 … examples - 1, int64.

    It depends on the seed and the epoch alone, so training may stop after any epoch and go on later.
    """
    if not shuffle:
        return np.arange(examples)
    return stream(seed, "order", epoch).permutation(examples)


def draw_key(seed: int) -> np.ndarray:
    """The word that keys the device's draws for this seed: int32, (1,)."""
    return stream(seed, "draws").integers(-(2**31), 2**31, size=1, dtype=np.int32)


def _rotate_left(x: Array, bits: int) -> Array:
    # the mask makes a logical shift of the arithmetic one
    return (x << bits) | ((x >> (32 - bits)) & ((1 << bits) - 1))


def threefry2x32(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011): two words of key and two of counter to two random words.

    All are arrays, int32; key and counter broadcast to one shape of at least one axis.

    Examples
    --------
    >>> zero = np.zeros(1, dtype=np.int32)
    >>> words = threefry2x32((zero, zero), (zero, zero))
    >>> [f"{int(word[0]) & 0xFFFFFFFF:08x}" for word in words]
    ['6b200159', '99ba4efe']
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = _rotate_left(x1, bits) ^ x0
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + (group + 1)
    return x0, x1


def random_bits(key: Array, layer: int, step: Array, count: int, *, xp: Namespace) -> Array:
    """`count` words of 32 random bits for one layer at one step: (count,), int32, on the device of `key`.

    They are the first words of Threefry under key (seed, layer) and counter (step, element). `key` is that of
    `draw_key`, (1,), int32, or (m, 1) for an ensemble of m networks, which gives (m, count). `step` is the number of
    steps taken before this one, (), int32, or (m,) where the members of an ensemble have their own.
    """
    element = xp.arange(count, dtype=xp.int32, device=array_api_compat.device(key))
    zero = xp.zeros_like(element)
    return threefry2x32((key, xp.zeros_like(key) + layer), (zero + step[..., None], element))[0]
