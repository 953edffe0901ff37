"""How honest bytes are made dishonest: blindly here, and with knowledge of the format in `forgeries`."""

import struct

SIZES = (0, 1, 2, 7, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1)


def flip(rng, content, others):
    changed = bytearray(content)
    for place in rng.integers(0, 8 * len(content), rng.integers(1, 9)):
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def overwrite(rng, content, others):
    changed = bytearray(content)
    for place in rng.integers(0, len(content), rng.integers(1, 9)):
        changed[place] = rng.integers(0, 256)
    return bytes(changed)


def cut(rng, content, others):
    return content[: rng.integers(0, len(content))]


def lengthen(rng, content, others):
    return content + rng.bytes(int(rng.integers(1, 200)))


def leave_out(rng, content, others):
    start, stop = sorted(rng.integers(0, len(content) + 1, 2))
    return content[:start] + content[stop:]


def repeat(rng, content, others):
    start, stop = sorted(rng.integers(0, len(content) + 1, 2))
    return content[:stop] + content[start:stop] * int(rng.integers(1, 20)) + content[stop:]


def splice(rng, content, others):
    other = others[rng.integers(len(others))]
    return content[: rng.integers(0, len(content) + 1)] + other[rng.integers(0, len(other) + 1) :]


def put_size(rng, content, others):
    form = ("<H", ">H", "<I", ">I", "<Q", ">Q")[rng.integers(6)]
    packed = struct.pack(form, SIZES[rng.integers(len(SIZES))] % 256 ** struct.calcsize(form))
    place = int(rng.integers(0, min(len(content), 4096)))
    return content[:place] + packed + content[place + len(packed) :]


def noise(rng, content, others):
    return rng.bytes(int(rng.integers(0, 400)))


BLIND = (flip, overwrite, cut, lengthen, leave_out, repeat, splice, put_size, noise)


def blindly(rng, content, others):
    """One of these, or a few of them one after another."""
    for _ in range(int(rng.choice((1, 1, 1, 2, 4)))):
        content = BLIND[rng.integers(len(BLIND))](rng, content, others) or b"\0"
        content = content[: 2**18]
    return content


def nasty(rng, depth=0):
    """A value that JSON can hold, and that belongs nowhere."""
    kind = rng.integers(14)
    if kind == 0:
        return int(SIZES[rng.integers(len(SIZES))])
    if kind == 1:
        return -int(SIZES[rng.integers(len(SIZES))])
    if kind == 2:
        return 10 ** int(rng.integers(1, 400))
    if kind == 3:
        return float(rng.normal() * 10.0 ** int(rng.integers(-300, 300)))
    if kind == 4 and depth < 3:
        return [nasty(rng, depth + 1) for _ in range(rng.integers(0, 4))]
    if kind == 5 and depth < 3:
        return {f"{rng.integers(99)}": nasty(rng, depth + 1) for _ in range(rng.integers(0, 4))}
    if kind == 6:
        deep = []
        for _ in range(int(rng.choice((5, 40, 300)))):
            deep = [deep]
        return deep
    if kind == 7:
        return "x" * int(rng.choice((0, 1, 10_000)))
    if kind == 8:
        return float("nan")
    if kind == 9:
        return ["os.system", "__import__('os')", "../../etc/passwd", "Dense", "\ud800", "\0"][rng.integers(6)]
    return [None, True, False, 0, 1, -1, 0.5, "sigmoid", "normal", [], {}, [1, 2], 10**9][rng.integers(13)]


def distort(rng, value):
    """A JSON value with one place in it changed, dropped or added."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        changed, key = dict(value), list(value)[rng.integers(len(value))]
        if rng.random() < 0.1:
            del changed[key]
        elif rng.random() < 0.1:
            changed[f"{rng.integers(99)}"] = nasty(rng)
        else:
            changed[key] = distort(rng, value[key])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.85:
        changed, place = list(value), int(rng.integers(len(value)))
        if rng.random() < 0.1:
            changed[place:] = []
        elif rng.random() < 0.1:
            changed *= int(rng.choice((2, 50)))
        else:
            changed[place] = distort(rng, value[place])
        return changed
    if type(value) is int and rng.random() < 0.5:
        return value + int(rng.integers(-3, 4))
    return nasty(rng)
