"""The list of mutants stays in step with the package, so that ``python -m tests.mutants`` can be run at any time."""

import json

import pytest

from tests.mutants.__main__ import RELATED, RESULTS, ROOT, related
from tests.mutants.catalogue import MUTANTS

PACKAGE = ROOT / "nn_any"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.breaks}")
def test_the_old_text_occurs_once(mutant):
    assert "\n" not in mutant.old + mutant.new
    assert mutant.new != mutant.old
    text = (PACKAGE / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1
    if mutant.file.endswith(".py"):
        compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")


def test_every_part_of_the_package_has_mutants():
    parts = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")} - {"__init__.py", "__main__.py"}
    assert {mutant.file.partition("/")[0] for mutant in MUTANTS} == parts - {"network.py"}  # which only calls others
    assert len(MUTANTS) >= 50


def test_the_tests_to_run_first_are_there():
    for place, tests in RELATED.items():
        assert (PACKAGE / place).exists()
        assert all((ROOT / "tests" / path).exists() for path in tests), place
    assert all(related(mutant.file) for mutant in MUTANTS)


def test_nine_in_ten_were_caught():
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert found["caught"] >= 0.9 * found["mutants"]
    assert found["mutants"] >= 50
