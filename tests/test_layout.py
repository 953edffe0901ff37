"""The house rules, read off the source: where imports point, who touches what, what is public, what an import loads."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import LIBRARIES, need

import nn_any as nn

PACKAGE = Path(nn.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
FLOORS = [
    {"core"},
    {"backends"},
    {"validation"},
    {"datasets", "files", "metrics"},
    {"evaluation"},
    {"training"},
    {"model"},
    {"network"},
    {"ensemble"},
    {"measuring", "plotting", "book", "testing", "estimators", "web"},
    {"cli"},
    {"__main__"},
]
"""The six floors of docs/architecture.md from the bottom, with the order of what stands on one floor."""


def part(path):
    """The folder or module right below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in SOURCES}
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def imports(path):
    """Every module that a file imports, wherever in it, for type checking too."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


def floor(name):
    return next(i for i, names in enumerate(FLOORS) if name in names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    here = part(path)
    if here == "__init__":
        return
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "nn_any" and here not in ("cli", "__main__"):
            assert len(parts) > 1, f"{path} imports nn_any itself"
            assert parts[1] == here or floor(parts[1]) < floor(here), f"{path} imports {module}"


def test_no_circle_of_imports():
    graph = {module_name(path): {m for m in imports(path) if m in MODULES} for path in SOURCES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_few_files_at_the_top():
    assert len([path for path in PACKAGE.iterdir() if path.is_file()]) <= 10


def test_no_tower_of_classes():
    for model in (nn.Network, nn.Ensemble):
        assert len(model.__mro__) <= 3, model.__mro__
    shared = nn.Network.__mro__[1]
    for model in (nn.Network, nn.Ensemble):
        overridden = {name for name in vars(model) if name in vars(shared) and not name.startswith("__")}
        assert not overridden, f"{model.__name__} overrides {overridden}"


THIRD_PARTIES = {
    ("backends/_cupy_kernels.py", "_core"): "CuPy has no public hook for matrix products",
    ("backends/_torch_tape.py", "_schema"): "nothing else says whether an operation writes into its arguments",
    ("backends/_torch_engine.py", "_inductor"): "Inductor's compile function is not public",
}
NAMED_TUPLES = {"_replace", "_asdict", "_fields", "_make"}


def private_accesses(path):
    """Each access to a single-underscore attribute of something else than self, cls, super() or a class's other."""

    def visit(node, in_class):
        for child in ast.iter_child_nodes(node):
            visit(child, in_class or isinstance(child, ast.ClassDef))
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            return
        owner = node.value
        own = isinstance(owner, ast.Name) and (owner.id in ("self", "cls") or (owner.id == "other" and in_class))
        own = own or (isinstance(owner, ast.Call) and getattr(owner.func, "id", "") == "super")
        if not own and node.attr not in NAMED_TUPLES:
            found.append((node.lineno, node.attr))

    found = []
    visit(TREES[path], False)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nobody_reaches_into_another_object(path):
    here = str(path.relative_to(PACKAGE))
    reached = [(line, name) for line, name in private_accesses(path) if (here, name) not in THIRD_PARTIES]
    assert not reached, f"{here}: {reached}"


def test_objects_are_made_by_their_classes():
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "__new__":
                assert getattr(node.value, "id", "") != "object", f"{path}:{node.lineno}"
            if isinstance(node, ast.Attribute) and node.attr == "__dict__":
                pytest.fail(f"{path}:{node.lineno}: __dict__ copied about")


RETIRED = {
    "Committee", "SavableCommittee", "pulse", "heed", "exclusively", "naming", "told", "settle", "rule", "moving",
    "trained", "decayed", "lowest", "plain", "Partial", "_search", "_stale", "_take_up", "grows", "carry", "Carry",
}  # fmt: skip
"""Names that the first floor had before it was rebuilt."""
STILL_PUBLIC = {"decayed", "plain"}
"""Attributes of `Layer` and `Optimizer`, which those of a user's own have, too."""


def test_old_names_are_gone():
    kinds = ast.Name | ast.Attribute | ast.FunctionDef | ast.ClassDef | ast.arg
    for path, tree in TREES.items():
        here = path.relative_to(PACKAGE).as_posix()
        for node in (node for node in ast.walk(tree) if isinstance(node, kinds)):
            names = {getattr(node, field, None) for field in ("id", "attr", "name", "arg")}
            for name in names & RETIRED:
                assert name in STILL_PUBLIC, f"{here}:{node.lineno}: {name}"


def test_dir_shows_public_names_and_submodules():
    code = "import nn_any; print(*(name for name in vars(nn_any) if not name.startswith('__')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    submodules = {name.partition(".")[2] for name in MODULES if name.count(".") == 1}
    assert set(done.stdout.split()) <= {*nn.__all__, *submodules}
    assert "__dir__" not in vars(nn)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_library_names_live_in_backends(path):
    loaded = {module.split(".")[0] for module in imports(path)}
    if part(path) != "backends":
        assert not loaded & {"cupy", "cupyx", "torch", "jax", "array_api_strict"}


def test_core_and_engines_keep_to_themselves():
    for path in SOURCES:
        for module in imports(path):
            if part(path) == "core":
                assert not module.startswith("nn_any.") or module.startswith("nn_any.core"), (path, module)
            if part(path) == "backends":
                assert not module.startswith("nn_any.core.functional"), (path, module)


@pytest.mark.parametrize("path", [p for p in SOURCES if part(p) == "core"], ids=lambda path: path.name)
def test_core_reads_no_value(path):
    """No float(), int(), bool(), .item() or .tolist() in the maths; what runs on the host, once, is apart."""
    if path.name in ("random.py", "initializers.py", "specification.py", "schema.py", "options.py"):
        return
    if path.parent.name == "schedules":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))  # it is changed below
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


def test_folders_only_reexport():
    assert len((PACKAGE / "core/functional.py").read_text(encoding="utf-8").splitlines()) <= 200
    for path in SOURCES:
        if path.name == "__init__.py" and path.parent != PACKAGE:
            body = TREES[path].body
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
        "MLPClassifier",
        "MLPRegressor",
        "MaxPool2D",
        "ModelFileError",
        "Network",
        "NetworkBusyError",
        "NnAnyError",
        "OutOfMemoryError",
        "RMSprop",
        "RandomAffine",
        "SGD",
        "Schema",
        "Snapshot",
        "Standardize",
        "TrainState",
        "TrainingDivergedError",
        "TrainingInterrupted",
        "activations",
        "datasets",
        "devices",
        "fastest_device",
        "initializers",
        "layers",
        "losses",
        "measure",
        "metrics",
        "optimizers",
        "schedules",
        "select_device",
        "time_devices",
        "to_device",
        "to_numpy",
        "train_step",
        "train_steps",
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
    heavy = ["cupy", "torch", "jax", "sklearn", "matplotlib", "rich", "cyclopts", "pooch", "onnx"]
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
