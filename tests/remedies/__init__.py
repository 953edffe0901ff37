"""Every place of the package that raises, and for each a test that carries out the remedy that its message gives.

``python -m tests.remedies`` prints the list; `test_remedies.py` fails for a place that is not listed. A place is known
by its key: the file, the function, and how the message begins, with ``{}`` for what is filled in.

To add one, run ``python -m tests.remedies --missing``, copy the key into the file here that belongs to the folder, and
say what the message must name, the words of the remedy, what provokes the error, and what carries the remedy out::

    @place(
        "core/optimizers/sgd.py SGD.__post_init__: nesterov: expected momentum above 0 with it, got",
        "nesterov",
        "pass momentum=0.9",
    )
    def test_nesterov_without_momentum(refused):
        with refused:
            nn.SGD(0.1, nesterov=True)
        nn.SGD(0.1, momentum=0.9, nesterov=True)

``with refused`` checks that the error comes from that place, or was caused by one that does, and what its message says.
The rest of the test does what the message advises, and sees that it works. `places` makes one such test of several
keys. A place that has no remedy stands in `without.py`, with the reason. Where a message has changed, the command shows
the new key as missing and the old one as gone.
"""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "nn_any"
_LONGEST = 50  # characters of a message in a key


@dataclass(frozen=True)
class Place:
    """A ``raise`` statement."""

    key: str
    file: str
    error: str
    message: str
    first: int
    last: int


@dataclass(frozen=True)
class Refused:
    """The context in which a place shall raise."""

    key: str
    names: str
    remedy: str

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        assert error is not None, "nothing was raised"
        place = PLACES[self.key]
        raised = [_raised_at(each) for each in _chain(error)]
        there = [file == place.file and place.first <= line <= place.last for file, line in raised]
        if not any(there):
            raise AssertionError(f"expected the error from line {place.first}, got it from {raised}") from error
        assert self.names in str(error)
        assert self.remedy in str(error)
        return True


CASES: dict[str, Refused] = {}


def place(key, names, remedy):
    """Make a test of one place; it takes the argument `refused`."""
    return pytest.mark.parametrize("refused", [_case(key, names, remedy)], ids=[key])


def places(values: Mapping[str, object], names, remedy=None):
    """Make a test of several places; it takes the arguments `refused` and `value`, that of each key.

    Without a `remedy` for all of them, what belongs to a key is a pair: its own remedy and the value.
    """
    pairs = {key: value if remedy is None else (remedy, value) for key, value in values.items()}
    cases = [(_case(key, names, own), value) for key, (own, value) in pairs.items()]
    return pytest.mark.parametrize(("refused", "value"), cases, ids=list(values))


def _case(key, names, remedy):
    assert key not in CASES, f"{key} has a test already"
    assert remedy
    CASES[key] = Refused(key, names, remedy)
    return CASES[key]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _raised_at(error: BaseException) -> tuple[str, int]:
    """The package's last line that an error came through."""
    found, step = ("", 0), error.__traceback__
    while step is not None:
        path = Path(step.tb_frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            found = path.relative_to(PACKAGE).as_posix(), step.tb_lineno
        step = step.tb_next
    return found


def scan(file: str, text: str) -> Iterator[Place]:
    """The places in the text of a file, from the top down."""
    seen = Counter[str]()
    for around, node in _raises(ast.parse(text), []):
        scopes = [scope for scope in around if not isinstance(scope, ast.ExceptHandler)]
        called = isinstance(node.exc, ast.Call)
        error = ast.unparse(node.exc.func if called else node.exc)
        message = _message(node.exc, scopes[-1] if scopes else None) if called else ""
        key = f"{file} {'.'.join(scope.name for scope in scopes)}: {_shorten(message or error)}"
        seen[key] += 1
        key += f" ({seen[key]})" if seen[key] > 1 else ""
        yield Place(key, file, error, message, node.lineno, node.end_lineno)


def _shorten(message: str) -> str:
    """The first words of a message."""
    return message if len(message) <= _LONGEST else message[: _LONGEST + 1].rpartition(" ")[0]


def _raises(node: ast.AST, scopes: list) -> Iterator[tuple[list, ast.Raise]]:
    """The statements that raise an error of their own, each with the classes, functions and handlers around it."""
    if isinstance(node, ast.Raise) and not _is_caught(node.exc, scopes):
        yield scopes, node
    inside = [*scopes, node] if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler) else scopes
    for child in ast.iter_child_nodes(node):
        yield from _raises(child, inside)


def _is_caught(error: ast.expr | None, scopes: list) -> bool:
    """Whether what is raised was caught before: nothing, or the name that a handler gives."""
    handlers = [scope.name for scope in scopes if isinstance(scope, ast.ExceptHandler)]
    return error is None or (isinstance(error, ast.Name) and error.id in handlers)


def _message(error: ast.expr, scope: ast.AST | None) -> str:
    """The words of a message; ``{}`` for what is filled in."""
    match error:
        case ast.Call():
            return ", ".join(_message(argument, scope) for argument in error.args)
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr():
            return "".join(_message(part, None) for part in error.values)
        case ast.Name("message") if scope is not None:
            given = [node.value for node in ast.walk(scope) if isinstance(node, ast.Assign)]
            return next((_message(text, None) for text in given if isinstance(text, ast.JoinedStr)), "{}")
    return "{}"


PLACES = {
    each.key: each
    for path in sorted(PACKAGE.rglob("*.py"))
    for each in scan(path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8"))
}
