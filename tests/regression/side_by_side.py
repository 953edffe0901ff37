"""Older code and this code side by side, bit for bit: ``python -m tests.regression.side_by_side``.

A commit's package and the working tree's run every set-up of `setups` on each backend, in processes of their own, and
each number that they lead to is compared: dtype, shape and bytes, NaN equal to NaN. What both refuse with an error of
the same kind is told as not run. The command ends with 1 if anything differs.

    python -m tests.regression.side_by_side --base 84514f2 --devices numpy jax --setups adam convolution

On NumPy the set-ups run step by step and replayed. JAX's compiled programs are kept in a folder that both sides share,
by the programs' content, so only the first run takes minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BASE = "84514f2"
DEVICES = ("jax", "numpy", "torch", "array_api_strict:device1")
"""JAX first, for it takes longest."""
ENGINES = {"numpy": ("eager", "auto")}
ERROR = "!error"


# one side on one backend, in a process of its own


def child(package: Path, device: str, engine: str, setups: list[str], out: Path) -> None:
    """Run set-ups with the package that lies in a folder, and write down what they lead to."""
    import nn_any
    from regression.setups import SETUPS

    found = Path(nn_any.__file__).resolve().parent
    assert found == package.resolve() / "nn_any", f"expected the package in {package}, got {found}"
    texts, arrays, seconds = {}, {}, {}
    for name in setups:
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                results = SETUPS[name](device, engine, Path(folder))
            except Exception as error:
                traceback.print_exc()
                results = {ERROR: f"{type(error).__name__}: {error}"}
        for key, value in results.items():
            (texts if isinstance(value, str) else arrays)[f"{name}/{key}"] = value
        seconds[name] = time.perf_counter() - begun
    np.savez(out / "arrays.npz", **arrays)
    (out / "texts.json").write_text(json.dumps({"texts": texts, "seconds": seconds}))


def run_child(package: Path, device: str, engine: str, setups: list[str], out: Path, cache: Path) -> None:
    """`child` in another process; what it writes on standard error is kept beside its results."""
    out.mkdir(parents=True)
    job = json.dumps([str(package), device, engine, setups, str(out)])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(package), str(ROOT / "tests")]),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-P", "-m", "regression.side_by_side", "--child", job]
    with (out / "stderr.txt").open("w") as errors:
        done = subprocess.run(command, cwd=out, env=environment, stderr=errors, check=False)
    if done.returncode:
        lines = (out / "stderr.txt").read_text().strip().splitlines()
        raise RuntimeError(f"{device} with {package} ended with {done.returncode}: {' '.join(lines[-3:])}")


def read(out: Path) -> tuple[dict[str, dict[str, np.ndarray | str]], dict[str, float]]:
    """The results by set-up, and how long each took."""
    told = json.loads((out / "texts.json").read_text())
    by_setup: dict[str, dict[str, np.ndarray | str]] = {name: {} for name in told["seconds"]}
    with np.load(out / "arrays.npz") as arrays:
        for key, value in [*arrays.items(), *told["texts"].items()]:
            name, _, key = key.partition("/")
            by_setup[name][key] = value
    return by_setup, told["seconds"]


# the comparison


def difference(key: str, old: np.ndarray | str, new: np.ndarray | str) -> str | None:
    """How two results differ; None if they are equal."""
    if isinstance(old, str) or isinstance(new, str):
        if isinstance(old, str) and isinstance(new, str):
            if old == new:
                return None
            at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
            return f"{key}: {old[max(0, at - 40) : at + 40]!r} became {new[max(0, at - 40) : at + 40]!r}"
        return f"{key}: a text on one side, an array on the other"
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return f"{key}: {old.dtype} {old.shape} became {new.dtype} {new.shape}"
    if old.tobytes() == new.tobytes():
        return None
    if old.dtype.kind != "f":
        return f"{key}: {np.count_nonzero(old != new)} of {old.size} differ"
    bits = f"u{old.dtype.itemsize}"
    unequal = (np.ascontiguousarray(old).view(bits) != np.ascontiguousarray(new).view(bits)).reshape(old.shape)
    unequal &= ~(np.isnan(old) & np.isnan(new))
    if not unequal.any():
        return None
    with np.errstate(all="ignore"):
        apart = np.abs(old[unequal] - new[unequal])
        relative = np.nanmax(apart / np.abs(old[unequal]))
    return f"{key}: {unequal.sum()} of {old.size} differ, by up to {np.nanmax(apart):.3g} ({relative:.3g} relative)"


def compare(old: dict[str, np.ndarray | str], new: dict[str, np.ndarray | str]) -> tuple[str, str]:
    """A word on two sides' results of a set-up, and more: equal, not run, or DIFFERENT with the differences."""
    errors = [side.get(ERROR) for side in (old, new)]
    if any(errors):
        kinds = [error and error.partition(":")[0] for error in errors]
        if kinds[0] == kinds[1]:
            return "not run", errors[1]
        return "DIFFERENT", " became ".join(error or "no error" for error in errors)
    found = [f"{key}: missing on one side" for key in sorted(old.keys() ^ new.keys())]
    found += filter(None, (difference(key, old[key], new[key]) for key in old if key in new))
    more = f"; and {len(found) - 1} more of {len(old)} results" if len(found) > 1 else ""
    return ("DIFFERENT", found[0] + more) if found else ("equal", "")


# the command


def unpack(commit: str, folder: Path) -> None:
    """Put a commit's package into a folder."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit, "nn_any"], cwd=ROOT, check=True, capture_output=True
    )
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)


def main() -> int:
    from .setups import SETUPS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default=BASE, help=f"the commit to compare with (default: {BASE})")
    parser.add_argument("--devices", nargs="+", default=DEVICES, help=f"default: {' '.join(DEVICES)}")
    parser.add_argument("--setups", nargs="+", default=list(SETUPS), choices=list(SETUPS), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2, help="how many processes at once (default: 2)")
    parser.add_argument("--keep", type=Path, help="an empty folder for all results, which are dropped otherwise")
    options = parser.parse_args()

    cache = Path(tempfile.gettempdir(), f"nn_any-side-by-side-{os.getuid() if hasattr(os, 'getuid') else ''}")
    backends = [(device, engine) for device in options.devices for engine in ENGINES.get(device, ("auto",))]
    begun, columns = time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        unpack(options.base, Path(temporary, "base"))
        sides = {"old": Path(temporary, "base"), "new": ROOT}

        def both(backend: tuple[str, str]) -> dict[str, tuple[str, str]]:
            """Old and new one after the other: the new one finds what JAX has compiled."""
            device, engine = backend
            told, took = [], []
            for side, package in sides.items():
                out = folder / f"{device.replace(':', '-')}-{engine}-{side}"
                start = time.perf_counter()
                run_child(package, device, engine, options.setups, out, cache)
                told.append(read(out)[0])
                took.append(time.perf_counter() - start)
            print(f"{device} {engine}: {took[0]:.0f} s old, {took[1]:.0f} s new", file=sys.stderr, flush=True)
            return {name: compare(*(side[name] for side in told)) for name in options.setups}

        with ThreadPoolExecutor(options.jobs) as pool:
            columns = dict(zip(backends, pool.map(both, backends), strict=True))

    heads = [device if engine == "auto" else f"{device} {engine}" for device, engine in backends]
    width, notes, equal, different, refused = max(map(len, options.setups)), [], 0, 0, 0
    print(" " * width, *heads, sep="  ")
    for name in options.setups:
        verdicts = [columns[backend][name] for backend in backends]
        cells = [word.ljust(len(head)) for head, (word, _) in zip(heads, verdicts, strict=True)]
        print(name.ljust(width), *cells, sep="  ")
        notes += [f"{name}, {h}: {word}: {more}" for h, (word, more) in zip(heads, verdicts, strict=True) if more]
        words = [word for word, _ in verdicts]
        different += "DIFFERENT" in words
        refused += "not run" in words
        equal += set(words) <= {"equal", "not run"} and "equal" in words
    print("\n".join(["", *notes, ""]))
    total = len(options.setups)
    print(
        f"{equal} of {total} set-ups equal bit for bit on each of {', '.join(heads)}"
        f"{f', but for {refused} that not all of them run' if refused else ''}"
        f" ({time.perf_counter() - begun:.0f} s)"
    )
    return int(different > 0 or equal < total)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        package, device, engine, setups, out = json.loads(sys.argv[2])
        child(Path(package), device, engine, setups, Path(out))
    else:
        sys.exit(main())
