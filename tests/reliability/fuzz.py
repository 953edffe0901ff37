"""Hostile files for every reader: ``python -m tests.reliability.fuzz --inputs 100000 --seed 0``.

Input i of a format is made from the seed, the format and i alone, so that ``--only npz:1234`` makes it again. Blocks of
inputs run in processes of their own: one that dies is a crash, and is named.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np

import nn_any as nn
from nn_any.datasets import load_table
from nn_any.datasets.idx import parse_idx
from nn_any.datasets.mnist import read_mnist_npz, read_mnist_pickle
from nn_any.datasets.reading import read_bytes

from . import forgeries, seeds
from .guard import ALLOWANCE, MOST_SECONDS, TIMES_THE_FILE, HangError, watching
from .mutations import blindly

RESULT = Path(__file__).parent / "results" / "fuzz.json"
_BLOCK = 2_500


def _read_npz(path):
    with suppress(nn.DataFileError):
        read_mnist_npz(path)
    load_table(path, device="numpy")


FORMATS = {
    "model": ("model.safetensors", lambda path: nn.Network.load(path, device="numpy"), seeds.models, forgeries.model),
    "idx": ("some-idx3-ubyte", lambda path: parse_idx(read_bytes(path), str(path)), seeds.idx, forgeries.idx),
    "npz": ("data.npz", _read_npz, seeds.npz, forgeries.npz),
    "csv": ("data.csv", lambda path: load_table(path, device="numpy"), seeds.csv, forgeries.csv),
    "pickle": ("mnist.pkl.gz", read_mnist_pickle, seeds.pickles, forgeries.pickles),
}


def make(kind, seed, i, honest):
    """The hostile file number `i` of a format."""
    rng = np.random.default_rng([seed, list(FORMATS).index(kind), i])
    content = honest[rng.integers(len(honest))]
    forge = FORMATS[kind][3]
    return forge(rng, content, honest) if rng.random() < 0.5 else blindly(rng, content, honest)


def read(kind, path):
    """How the reading of a file went: an outcome, what is wrong with it, and the measurements."""
    reader, outcome, faults = FORMATS[kind][1], "read", []
    with watching() as report:
        try:
            reader(path)
        except nn.NnAnyError as error:
            outcome = type(error).__name__
            if not isinstance(error, ValueError) or str(path) not in str(error) or "\n" in str(error)[:-1]:
                faults.append(f"message: {type(error).__name__}: {error!s:.300}")
        except HangError as error:
            faults.append(f"hang: {error}")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            faults.append(f"leak: {type(error).__name__}: {error!s:.300}")
    return outcome, faults + report.faults(path.stat().st_size), report


def run(kind, seed, start, stop):
    """Read the inputs `start` … `stop` - 1 of a format in this process: a summary that JSON can hold."""
    name, _, honest, _ = FORMATS[kind]
    honest = honest()
    outcomes, faulty, slowest, highest = Counter(), [], 0.0, 0
    shm = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None) as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        path = Path(folder, name)
        for content in [*honest, *(make(kind, seed + 1, i, honest) for i in range(30))]:  # load what is loaded lazily
            path.write_bytes(content)
            read(kind, path)
        tracing = tracemalloc.is_tracing()
        tracemalloc.start()
        for i in range(start, stop):
            path.write_bytes(make(kind, seed, i, honest))
            outcome, faults, report = read(kind, path)
            for _ in range(4):  # a hang is one every time; a busy machine is not
                if not any(fault.startswith("time") for fault in faults):
                    break
                outcome, faults, report = read(kind, path)
            outcomes[outcome] += 1
            slowest, highest = max(slowest, report.seconds), max(highest, report.peak)
            faulty += [{"input": f"{kind}:{i}", "size": path.stat().st_size, "faults": faults}] if faults else []
        if not tracing:
            tracemalloc.stop()
    return {"outcomes": dict(outcomes), "faulty": faulty, "slowest_seconds": slowest, "highest_bytes": highest}


def _block(kind, seed, start, stop):
    command = [sys.executable, "-m", "tests.reliability.fuzz", "--block", kind, str(start), str(stop)]
    done = subprocess.run([*command, "--seed", str(seed)], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    crash = {"input": f"{kind}:{start}…{stop}", "faults": [f"crash: exit {done.returncode}: {done.stderr[-2000:]}"]}
    return {"outcomes": {}, "faulty": [crash], "slowest_seconds": 0.0, "highest_bytes": 0}


def _whole(inputs, seed):
    each, began, formats, faulty = -(-inputs // len(FORMATS)), time.time(), {}, []
    for kind in FORMATS:
        outcomes, slowest, highest = Counter(), 0.0, 0
        for start in range(0, each, _BLOCK):
            part = _block(kind, seed, start, min(start + _BLOCK, each))
            outcomes.update(part["outcomes"])
            slowest, highest = max(slowest, part["slowest_seconds"]), max(highest, part["highest_bytes"])
            faulty += part["faulty"]
        refused = {name: count for name, count in sorted(outcomes.items()) if name != "read"}
        formats[kind] = {
            "inputs": sum(outcomes.values()),
            "read": outcomes["read"],
            "refused": refused,
            "slowest_seconds": round(slowest, 3),
            "highest_mebibytes": round(highest / 2**20, 2),
        }
        print(kind, json.dumps(formats[kind]), f"{len(faulty)} faulty so far", file=sys.stderr)
    return {
        "command": f"python -m tests.reliability.fuzz --inputs {inputs} --seed {seed}",
        "limits": {"seconds": MOST_SECONDS, "bytes": f"{TIMES_THE_FILE} × the file + {ALLOWANCE:,}"},
        "inputs": sum(entry["inputs"] for entry in formats.values()),
        "faulty": faulty,
        "formats": formats,
        "minutes": round((time.time() - began) / 60, 1),
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "nn_any": nn.__version__},
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="where to write the result, as JSON")
    parser.add_argument("--only", help="one input, such as npz:1234: make it, read it, and show what happens")
    parser.add_argument("--block", nargs=3, metavar=("FORMAT", "START", "STOP"), help="one block, in this process")
    chosen = parser.parse_args(arguments)
    if chosen.block:
        print(json.dumps(run(chosen.block[0], chosen.seed, *map(int, chosen.block[1:]))))
        return 0
    if chosen.only:
        kind, i = chosen.only.split(":")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, FORMATS[kind][0])
            path.write_bytes(make(kind, chosen.seed, int(i), FORMATS[kind][2]()))
            FORMATS[kind][1](path)
        return 0
    result = _whole(chosen.inputs, chosen.seed)
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    if chosen.output:
        chosen.output.parent.mkdir(exist_ok=True)
        chosen.output.write_text(text, encoding="utf-8")
    print(text)
    return 1 if result["faulty"] else 0


if __name__ == "__main__":
    sys.exit(main())
