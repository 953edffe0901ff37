"""Damaged model files: ``python -m tests.reliability.flips``: single bits flipped all over one, and every truncation.

Each must be told by the one named error, `nn_any.ModelFileError`, and by no other.
"""

import argparse
import json
import platform
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import nn_any as nn

RESULT = Path(__file__).parent / "results" / "flips.json"


def trained(folder, layers=(64, 12, 10)):
    """A network that has learnt for an epoch, and its file."""
    layers = [layers[0], nn.Dense(layers[1], activation="relu"), nn.BatchNorm(), nn.Dropout(0.25), *layers[2:]]
    net = nn.Network(layers, loss="cross_entropy", device="numpy", seed=5)
    rng = np.random.default_rng(6)
    net.SGD((rng.random((40, layers[0])), np.arange(40) % 10), 1, 10, 0.1)
    path = Path(folder, "model.safetensors")
    net.save(path)
    return net, path


def told(path):
    """The name of the error that loading ends with, or that there is none."""
    try:
        nn.Network.load(path, device="numpy")
    except Exception as error:
        return type(error).__name__
    return "none"


def flips(path, whole, places):
    """How often each error is told, for a file with one bit flipped at a time."""
    found = Counter()
    for place in places:
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        found[told(path)] += 1
    return dict(found)


def truncations(path, whole, lengths):
    """The same for a file cut at a time."""
    found = Counter()
    for length in lengths:
        path.write_bytes(whole[:length])
        found[told(path)] += 1
    return dict(found)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2_000, help="flips, spread evenly, besides all of the header's")
    parser.add_argument("--output", type=Path, help="where to write the result, as JSON")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        _, path = trained(folder)
        whole = path.read_bytes()
        header = 8 + int.from_bytes(whole[:8], "little")
        result = {
            "command": f"python -m tests.reliability.flips --count {chosen.count}",
            "bytes": len(whole),
            "flips": flips(path, whole, np.linspace(0, 8 * len(whole) - 1, chosen.count).astype(int).tolist()),
            "flips of the header": flips(path, whole, range(8 * header)),
            "truncations": truncations(path, whole, range(len(whole))),
            "versions": {"python": platform.python_version(), "numpy": np.__version__, "nn_any": nn.__version__},
        }
    text = json.dumps(result, indent=1) + "\n"
    if chosen.output:
        chosen.output.parent.mkdir(exist_ok=True)
        chosen.output.write_text(text, encoding="utf-8")
    print(text)
    kinds = {kind for key in ("flips", "flips of the header", "truncations") for kind in result[key]}
    return 0 if kinds == {"ModelFileError"} else 1


if __name__ == "__main__":
    sys.exit(main())
