"""The list of the places that raise is whole, and none of its entries is about a place that is gone."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from . import CASES, PLACES, Place
from .without import SIGNALS, WITHOUT

HERE = Path(__file__).parent
FINISHED = ("backends/",)
"""The files and folders of which every place is listed."""


def import_cases():
    for path in sorted(HERE.glob("test_*.py")):
        import_module(f"{__package__}.{path.stem}")


def reason(place: Place) -> str | None:
    """Why a place has no remedy, if it has none."""
    return WITHOUT.get(place.key) or SIGNALS.get(place.error)


def test_every_place_has_a_remedy_or_a_reason():
    import_cases()
    missing = [p.key for p in PLACES.values() if p.file.startswith(FINISHED) and p.key not in CASES and not reason(p)]
    assert not missing


def test_every_entry_has_its_place():
    import_cases()
    assert not {*CASES, *WITHOUT} - {*PLACES}
    assert not {*SIGNALS} - {place.error for place in PLACES.values()}
    assert not {*CASES} & {key for key, place in PLACES.items() if reason(place)}


@pytest.mark.parametrize("path", sorted(HERE.glob("test_*.py")), ids=lambda path: path.stem)
def test_every_test_carries_its_remedy_out(path):
    """After what is refused comes what works."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and any(argument.arg == "refused" for argument in node.args.args):
            provoked = [i for i, part in enumerate(node.body) if re.search(r"with .*\brefused:", ast.unparse(part))]
            assert provoked, node.name
            assert provoked[-1] < len(node.body) - 1, node.name
