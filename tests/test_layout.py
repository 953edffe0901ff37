"""The house rules, read off the source: where imports point, what is public, what an import loads."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import LIBRARIES, need

import nn_any as nn

PACKAGE = Path(nn.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
RANKS = [
    {"core"},
    {"backends"},
    {"validation"},
    {"datasets", "files"},
    {"history", "interrupts", "metrics", "summary"},
    {"callbacks", "distributed"},
    {"training"},
    {"checkpoints"},
    {"model"},
    {"saving"},
    {"prediction"},
    {"differentiation"},
    {"mini_batches", "whole_batches", "member_batches"},
    {"resuming"},
    {"trainable"},
    {"network"},
    {"committee"},
    {"committee_files"},
    {"ensemble"},
    {"measuring"},
    {"plotting", "parity", "testing", "estimators", "book"},
    {"cli_options"},
    {"cli_sweep"},
    {"cli", "__main__"},
]


def wing(path):
    """The folder or module right below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Every module that a file imports, wherever in it, save for type checking."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def rank(name):
    return next(i for i, names in enumerate(RANKS) if name in names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    here = wing(path)
    if here == "__init__":
        return
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "nn_any":
            continue
        if here in ("cli", "cli_sweep", "__main__"):
            continue
        assert len(parts) > 1
        there = parts[1]
        assert there == here or rank(there) < rank(here), f"{path} imports {module}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_library_names_live_in_backends(path):
    loaded = {module.split(".")[0] for module in imports(path)}
    if wing(path) != "backends":
        assert not loaded & {"cupy", "cupyx", "torch", "jax", "array_api_strict"}


def test_core_and_engines_keep_to_themselves():
    for path in SOURCES:
        for module in imports(path):
            if wing(path) == "core":
                assert not module.startswith("nn_any.") or module.startswith("nn_any.core"), (path, module)
            if wing(path) == "backends":
                assert not module.startswith("nn_any.core.functional"), (path, module)


@pytest.mark.parametrize("path", [p for p in SOURCES if wing(p) == "core"], ids=lambda path: path.name)
def test_core_reads_no_value(path):
    """No float(), int(), bool(), .item() or .tolist() in the maths; what runs on the host, once, is apart."""
    if path.name in ("random.py", "initializers.py", "architecture.py", "options.py", "lbfgs.py"):
        return
    if path.parent.name == "schedules":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    on_the_host = {"__post_init__", "output_shape", "init", "init_state", "rates", "finished", "_rate", "_optional"}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in on_the_host:
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            assert name not in {"float", "int", "bool", "item", "tolist", "to_numpy", "asnumpy"}, (
                f"{path}:{node.lineno}"
            )


def test_files_are_short_and_folders_only_reexport():
    for path in SOURCES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 320, path
        if path.name == "__init__.py" and path.parent != PACKAGE:
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert all(isinstance(node, ast.Expr | ast.ImportFrom | ast.Assign) for node in body), path


def test_public_names():
    assert sorted(nn.__all__) == [
        "Activation",
        "Adagrad",
        "Adam",
        "AdamW",
        "AveragePool2D",
        "BatchNorm",
        "Callback",
        "Checkpoint",
        "Conv2D",
        "DataFileError",
        "Dataset",
        "Dense",
        "Device",
        "DeviceNotAvailableError",
        "DeviceTiming",
        "Dropout",
        "EarlyStopping",
        "ElasticDistortion",
        "EngineError",
        "Ensemble",
        "Flatten",
        "History",
        "InvalidTypeError",
        "InvalidValueError",
        "LBFGS",
        "LayerNorm",
        "MaxPool2D",
        "ModelFileError",
        "Network",
        "NetworkBusyError",
        "NnAnyError",
        "OutOfMemoryError",
        "RMSprop",
        "RandomAffine",
        "SGD",
        "TrainingDivergedError",
        "TrainingInterrupted",
        "activations",
        "datasets",
        "devices",
        "fastest_device",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "optimizers",
        "schedules",
        "select_device",
        "time_devices",
        "to_device",
        "to_numpy",
    ]
    for name in nn.__all__:
        assert getattr(nn, name).__doc__


def test_methods_of_the_contract():
    for name in [
        "weights",
        "biases",
        "params",
        "set_weights",
        "feedforward",
        "backprop",
        "gradients",
        "update_mini_batch",
        "SGD",
        "fit",
        "evaluate",
        "accuracy",
        "loss",
        "cost_derivative",
        "predict",
        "predict_proba",
        "to",
        "save",
        "load",
        "summary",
        "copy",
        "astype",
    ]:
        assert getattr(nn.Network, name).__doc__, name


def test_import_loads_no_other_library():
    heavy = ["cupy", "torch", "jax", "sklearn", "matplotlib", "rich", "cyclopts", "pooch"]
    code = f"import sys, nn_any; print(*sorted(set(sys.modules) & set({heavy})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def modules():
    for info in pkgutil.walk_packages([str(PACKAGE)], "nn_any."):
        yield info.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_doctests(name, monkeypatch):
    last = name.rpartition(".")[2]
    library = last[1:].partition("_")[0] if last.startswith("_") else ""
    if library in LIBRARIES:
        need(library)
    if last == "__main__":
        return
    monkeypatch.setenv("NN_ANY_DEVICE", "numpy")
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_doctests_are_there():
    found = sum(
        len(test.examples)
        for name in modules()
        if "._" not in name
        for test in doctest.DocTestFinder().find(importlib.import_module(name))
    )
    assert found >= 40
