"""The benchmarks: every side computes the same, what is reported is what was measured, and a page is made of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import pytest
from conftest import need

from benchmarks import checks, measuring, report, workloads
from benchmarks.__main__ import main
from benchmarks.floor import operands
from benchmarks.floor_gpu import step_operations
from benchmarks.sides import Entry, Side

ROOT = Path(__file__).parent.parent
SIDES = ["floor, NumPy", "floor, PyTorch", "nn_any on NumPy", "nn_any on PyTorch", "nn_any on JAX"]
PEERS = ["loop over examples", "scikit-learn", "PyTorch", "JAX by hand"]


def images(n, seed=0):
    """Images like MNIST's, mostly dark, a bright patch in a place that tells the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    x = np.zeros((n, 28, 28), dtype=np.uint8)
    for image, label in zip(x, labels, strict=True):
        row, column = divmod(int(label), 4)
        image[7 * row : 7 * row + 7, 7 * column : 7 * column + 7] = rng.integers(100, 256, (7, 7))
    return x, labels


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One run of the command on small data, and what it left."""
    for library in ("torch", "jax"):
        need(library)
    folder = tmp_path_factory.mktemp("benchmarks")
    (x, y), (test_x, test_y) = images(1200), images(60, 1)
    np.savez(folder / "mnist.npz", x_train=x, y_train=y, x_test=test_x, y_test=test_y)
    arguments = ["--workloads", "S", "--threads", "1", "--quick", "30", "--rounds", "1", "--sides", *SIDES, *PEERS]
    arguments += ["--json", str(folder / "out.json"), "--picture", str(folder / "out.png"), "--check"]
    environment = os.environ | {"NN_ANY_DATA": str(folder), "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "out.json").read_text(encoding="utf-8")), done.stdout, (x, y)


@pytest.mark.slow
def test_every_side_computes_the_same(measured):
    _, found, *_ = measured
    sides = report.by_name(found["results"][0])
    assert sorted(sides) == sorted([*SIDES, *PEERS])
    learning = {name: side for name, side in sides.items() if not name.startswith("floor")}
    loop = learning["loop over examples"]["check_loss"]
    for name, side in learning.items():
        assert side["same"], name
        if name != "scikit-learn":  # it has another loss
            assert side["check_loss"] == pytest.approx(loop, rel=1e-4)
            assert side["loss"] == pytest.approx(learning["loop over examples"]["loss"], rel=1e-2)
    assert learning["scikit-learn"]["check_loss"] != pytest.approx(loop, rel=0.1)
    assert "log_likelihood" in learning["scikit-learn"]["note"]


@pytest.mark.slow
def test_the_reference_is_the_per_example_loop(measured):
    """Twenty steps in float64 by the loop of the tests' oracle, over the order that all sides are given."""
    *_, (x, y) = measured
    x, y = x[:1000].reshape(1000, 784), y[:1000]
    job = workloads.Job(workloads.workloads("cpu")["S"], arrays=(x, y))
    first = job.network("numpy", "float64")
    weights, biases, real, targets = first.weights, first.biases, x / 255, np.eye(10)[y]
    for rows in job.order(0, 200):
        nabla_b, nabla_w = oracle.batch_gradients(weights, biases, real[rows], targets[rows], "quadratic")
        weights = [w - 3.0 * g for w, g in zip(weights, nabla_w, strict=True)]
        biases = [b - 3.0 * g for b, g in zip(biases, nabla_b, strict=True)]
    assert job.reference == pytest.approx(oracle.batch_loss(weights, biases, real, targets, "quadratic"), rel=1e-9)


@pytest.mark.slow
def test_the_files_and_the_table(measured):
    folder, found, printed, _ = measured
    assert {"date", "device", "machine", "versions", "rounds", "results"} <= set(found)
    assert {"processor", "cores", "system"} <= set(found["machine"])
    assert {"Python", "nn_any", "numpy", "torch", "jax", "scikit-learn"} <= set(found["versions"])
    result = found["results"][0]
    assert result["workload"]["steps"] == 30
    assert result["workload"]["parameters"] == 784 * 30 + 30 + 30 * 10 + 10
    for name, side in report.by_name(result).items():
        assert len(side["seconds"]) == 1
        assert side["step_microseconds"] == pytest.approx(side["seconds"][0] / 30 * 1e6)
        assert side["examples_per_second"] == pytest.approx(300 / side["seconds"][0])
        assert name in printed
    numpy, torch = (report.by_name(result)[name]["step_microseconds"] for name in ("nn_any on NumPy", "PyTorch"))
    assert result["ratios"]["nn_any on NumPy"]["PyTorch"] == pytest.approx(numpy / torch)
    assert "at most 0.15  S, 1 thread: NumPy, of PyTorch eager" in printed
    picture = (folder / "out.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


@pytest.mark.slow
def test_a_redrawn_page(measured, tmp_path):
    _, found, _, _ = measured
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- tables -->\nold\n<!-- end of tables -->\nafter\n", encoding="utf-8")
    report.into_page(page, "tables", report.markdown(found))
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- tables -->\nMeasured on ")
    assert text.endswith("<!-- end of tables -->\nafter\n")
    assert "old" not in text
    assert "| nn_any on NumPy | " in text
    with pytest.raises(ValueError, match="end of figures"):
        report.into_page(page, "figures", "")


class Wrong(Side):
    """It learns nothing, and so ends with another loss."""

    def run(self):
        pass

    def parameters(self):
        return self.job.weights, self.job.biases


class Missing(Side):
    def __init__(self, job):
        raise ImportError("No module named 'other'")


def test_a_side_that_computes_something_else_and_one_that_is_not_there(monkeypatch):
    x, y = images(300)
    workload = workloads.workloads("cpu")["S"].quick(20)
    job = workloads.Job(workload, arrays=(x, y))
    kinds = {"wrong": Wrong, "missing": Missing}
    monkeypatch.setattr(Entry, "make", lambda entry, job: kinds[entry.name](job))
    wrong, missing = measuring.measure(job, [Entry("wrong", "peer", ""), Entry("missing", "peer", "")], 1)
    assert wrong["same"] is False
    assert missing["status"] == "not there: ImportError: No module named 'other'"
    assert missing["seconds"] == []


@pytest.mark.parametrize("name", ["S", "M", "C10"])
def test_the_floors_products_are_those_of_a_step(name):
    x, y = images(1300)
    job = workloads.Job(workloads.workloads("cpu")[name], arrays=(x, y))
    pairs = operands(job)
    for a, b in pairs:
        assert a.dtype == b.dtype == np.float32
        for matrix in (a, b):
            assert (matrix.ctypes.data % 64, np.isfinite(matrix).all()) == (0, True)
            assert not ((matrix != 0) & (np.abs(matrix) < np.finfo(np.float32).tiny)).any()
    assert sum(2 * a.shape[0] * a.shape[1] * b.shape[1] for a, b in pairs) == step_operations(job)
    if name == "S":
        assert step_operations(job) == 2 * 10 * (2 * 784 * 30 + 3 * 30 * 10)


def result(threads=1, **microseconds):
    families = {"floor": "floor", "nn_any": "nn_any"}
    sides = [
        {"name": name, "family": families.get(name.split()[0].strip(","), "peer"), "status": "ok"}
        | {"median_seconds": 1.0, "step_microseconds": time}
        for name, time in microseconds.items()
    ]
    return {"workload": {"name": "S", "members": 1, "working_bytes": 100}, "threads": threads, "sides": sides}


def test_the_checks_compare_what_they_say():
    times = {"floor, NumPy": 20.0, "nn_any on NumPy": 26.0, "PyTorch": 200.0, "JAX by hand": 25.0}
    found = {check.what: check for check in checks.checks({"results": [result(**times)]})}
    assert found["S, 1 thread: NumPy, of the floor on the same BLAS"].measured == pytest.approx(1.3)
    verdicts = [check.verdict for check in found.values()]
    assert verdicts == ["pass", "not measured", "pass", "not measured", "FAIL"]
    gpu = checks.checks({"results": [result(None, **{"nn_any on CuPy": 12.0, "PyTorch, CUDA graph": 10.0})]})
    assert [check.verdict for check in gpu] == ["pass", "FAIL", "not measured"]
    with_memory = result(**times)
    with_memory["sides"][1]["memory"] = 350
    assert [c.measured for c in checks.checks({"results": [with_memory]}) if "memory" in c.what] == [3.5]


def test_an_unknown_workload(capsys):
    with pytest.raises(SystemExit):
        main(["--workloads", "Q"])
    assert "--workloads: expected some of C, C10, C128, E, L, M, S, start, got Q" in capsys.readouterr().err
