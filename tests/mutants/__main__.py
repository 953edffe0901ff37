"""Puts each mutant's fault into a copy of the repository, and sees whether the quick tests fail there.

The test files that belong to the changed file run first, then the whole of ``pytest -m "not slow"`` if they have not
noticed. The working tree is left alone. Run from the root of a clone, with the extra ``cuda-host`` installed, or on a
machine with a GPU: ``python -m tests.mutants``.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.catalogue import MUTANTS

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.json")
LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".venv", "runs", "build", "dist")
CUDA = ["backends/test_cupy_engine.py", "backends/test_counts_on_cuda.py", "backends/test_engines.py"]
RELATED = {
    "core/functional.py": [
        "training/test_steps.py",
        "core/test_gradients.py",
        "test_weights.py",
        "core/test_optimizers.py",
    ],
    "core/layers/": ["core/test_layers.py", "core/test_gradients.py", "core/test_initializers.py"],
    "core/losses.py": ["core/test_gradients.py"],
    "core/optimizers/": ["core/test_optimizers.py"],
    "core/regularization.py": ["core/test_optimizers.py", "training/test_steps.py"],
    "core/schedules/": ["core/test_schedules.py"],
    "core/specification.py": ["core/test_initializers.py", "test_network.py", "test_multilabel.py"],
    "core/batches.py": ["datasets/test_dataset.py"],
    "core/metrics.py": ["test_metrics.py", "test_network.py", "test_multilabel.py"],
    "core/members.py": ["test_ensemble.py", "test_multilabel.py"],
    "backends/_cupy_engine.py": CUDA,
    "backends/_cupy_graph.py": CUDA,
    "backends/_cupy_products.py": CUDA,
    "backends/cuda/": CUDA,
    "backends/in_place.py": ["backends/test_states_in_place.py"],
    "backends/engine.py": ["backends/test_engines.py", "test_ensemble.py"],
    "backends/_jax.py": ["backends/test_engines.py"],
    "backends/_torch.py": ["core/test_primitives.py"],
    "backends/_numpy.py": ["core/test_primitives.py"],
    "backends/replay/": ["backends/test_replay.py", "backends/test_overwriting.py", "training/test_checkpoint.py"],
    "backends/blocks.py": ["test_ensemble.py"],
    "backends/frames.py": ["datasets/test_frames.py"],
    "datasets/network_input.py": ["test_schema.py", "test_weights.py", "datasets"],
    "datasets/csv_columns.py": ["cli/test_predict.py"],
    "datasets/": ["datasets", "test_weights.py"],
    "validation.py": ["test_errors.py", "test_bad_data.py"],
    "evaluation.py": ["core/test_layers.py", "test_network.py", "training/test_fit.py"],
    "training/": ["training", "test_ensemble.py"],
    "model.py": ["test_network.py", "test_errors.py", "test_freezing.py"],
}
"""The tests to run first for a file or folder, after those of the file's own name; by default the folder's."""


def related(file):
    """The tests that belong to a file of the package, as paths below ``tests/``; perhaps none."""
    own = Path(file).with_name(f"test_{Path(file).name}").as_posix()  # such as training/test_interrupts.py
    near = next((tests for place, tests in RELATED.items() if file.startswith(place)), [file.partition("/")[0]])
    return [path for path in dict.fromkeys([own, *near]) if (ROOT / "tests" / path).exists()]


def first_failure(tree, paths, limit):
    """The first quick test that fails in a copy of the repository, or what else went wrong; None if none has failed."""
    command = [sys.executable, "-m", "pytest", "-m", "not slow", "-x", "-q", "--tb=no", "-rfE"]
    command += ["-p", "no:cacheprovider", "--ignore=tests/mutants"]  # whose own test would notice any change
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "NN_ANY_REQUIRE": "cupy_host"}
    try:
        done = subprocess.run(
            [*command, *paths], cwd=tree, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return None  # it may hang, or the machine be busy: nobody has noticed anything yet
    if done.returncode == 0:
        return None
    told = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return told[1] if told else f"exit code {done.returncode}"


def outcome(mutant, limit):
    """The first test that notices a mutant, or None if it survives."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "copy")
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        if mutant is not None:
            changed = tree / "nn_any" / mutant.file
            text = changed.read_text(encoding="utf-8")
            assert text.count(mutant.old) == 1, mutant
            changed.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
            if (found := first_failure(tree, [f"tests/{path}" for path in related(mutant.file)], limit)) is not None:
                return found
        return first_failure(tree, ["tests"], limit)


def kept(path):
    """The rows of earlier results, by what tells one mutant from another."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return {(row["file"], row["new"]): row for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only mutants of files whose path has this text")
    parser.add_argument("--new", action="store_true", help="only mutants that were not caught before")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit", type=float, default=900, help="seconds, after which a run of tests is given up")
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = kept(arguments.json)
    mutants = [mutant for mutant in MUTANTS if arguments.only in mutant.file]
    if arguments.new:
        mutants = [mutant for mutant in mutants if not rows.get((mutant.file, mutant.new), {}).get("caught by")]
    if (failed := outcome(None, arguments.limit)) is not None:
        sys.exit(f"without any fault the quick tests fail already: {failed}")
    with ThreadPoolExecutor(arguments.processes) as pool:
        outcomes = pool.map(lambda mutant: outcome(mutant, arguments.limit), mutants)
        for mutant, noticed in zip(mutants, outcomes, strict=True):
            print(f"{'caught by ' + noticed if noticed else 'SURVIVED':70} {mutant.file}: {mutant.breaks}", flush=True)
            row = {"file": mutant.file, "new": mutant.new, "breaks": mutant.breaks, "caught by": noticed}
            rows[mutant.file, mutant.new] = row
            found = [rows[key] for mutant in MUTANTS if (key := (mutant.file, mutant.new)) in rows]
            report = {"mutants": len(found), "caught": sum(row["caught by"] is not None for row in found)}
            text = json.dumps(report | {"rows": found}, indent=1, ensure_ascii=False)
            arguments.json.write_text(text + "\n", encoding="utf-8")
    if mutants:
        print(f"{report['caught']} of {report['mutants']} mutants were caught")


if __name__ == "__main__":
    main()
