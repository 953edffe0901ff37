"""The list of the places that raise is whole, and none of its entries is about a place that is gone."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import nn_any as nn

from . import CASES, PLACES, Place, Refused, scan
from .without import SIGNALS, WITHOUT

HERE = Path(__file__).parent


def import_cases():
    for path in sorted(HERE.glob("test_*.py")):
        import_module(f"{__package__}.{path.stem}")


def reason(place: Place) -> str | None:
    """Why a place has no remedy, if it has none."""
    return WITHOUT.get(place.key) or SIGNALS.get(place.error)


def test_every_place_has_a_remedy_or_a_reason():
    import_cases()
    missing = [place.key for place in PLACES.values() if place.key not in CASES and not reason(place)]
    assert not missing


def test_every_entry_has_its_place():
    import_cases()
    assert not {*CASES, *WITHOUT} - {*PLACES}
    assert not {*SIGNALS} - {place.error for place in PLACES.values()}
    assert not {*CASES} & {key for key, place in PLACES.items() if reason(place)}


@pytest.mark.parametrize("path", sorted(HERE.glob("test_*.py")), ids=lambda path: path.stem)
def test_every_test_carries_its_remedy_out(path):
    """After what is refused comes what works."""
    for test in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(test, ast.FunctionDef) and any(argument.arg == "refused" for argument in test.args.args):
            blocks = [node for node in ast.walk(test) if isinstance(node, ast.With)]
            ends = [
                node.end_lineno
                for node in blocks
                if "refused" in map(ast.unparse, (i.context_expr for i in node.items))
            ]
            assert ends, test.name
            assert max(ends) < test.end_lineno, test.name


SOURCE = """
class Dense:
    def check(self, units):
        if units < 1:
            raise InvalidValueError(f"units: expected a positive integer, got {units!r}; pass one")
        try:
            return table[units]
        except KeyError as error:
            raise
        except ValueError as error:
            raise error
        raise too_large(units, "use fewer")
        raise NotStaticError
        made = ValueError("units: expected some")
        raise made

def build(name):
    message = f"{name}: expected a size"
    raise ValueError(message)
    raise ValueError(f"{name}: expected a size")
"""
KEYS = [
    "f.py Dense.check: units: expected a positive integer, got {}; pass",
    "f.py Dense.check: {}, use fewer",
    "f.py Dense.check: NotStaticError",
    "f.py Dense.check: made",
    "f.py build: {}: expected a size",
    "f.py build: {}: expected a size (2)",
]


def test_the_keys_of_places():
    """They do not depend on the lines; what is raised again has none."""
    for text in (
        SOURCE,
        SOURCE.replace("        try:", "\n        # a comment\n        try:"),
        "import ast\n" + SOURCE,
    ):
        assert [place.key for place in scan("f.py", text)] == KEYS


NESTEROV = "core/optimizers/sgd.py SGD.__post_init__: nesterov: expected momentum above 0 with it, got"


@pytest.mark.parametrize(
    ("names", "remedy", "provoke"),
    [
        ("nesterov", "pass momentum=0.9", lambda: nn.SGD(0.1, momentum=0.9, nesterov=True)),
        ("nesterov", "pass momentum=0.9", lambda: nn.SGD(-0.1, nesterov=True)),
        ("momentun", "pass momentum=0.9", lambda: nn.SGD(0.1, nesterov=True)),
        ("nesterov", "pass momentum=0.5", lambda: nn.SGD(0.1, nesterov=True)),
    ],
    ids=["nothing", "another place", "another name", "another remedy"],
)
def test_what_is_not_refused_as_it_should_be(names, remedy, provoke):
    with pytest.raises(AssertionError), Refused(NESTEROV, names, remedy):
        provoke()
    with Refused(NESTEROV, "nesterov", "pass momentum=0.9"):
        nn.SGD(0.1, nesterov=True)
