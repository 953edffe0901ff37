"""The console of the command line: lines, tables and results, on streams that may no longer be writable."""

import codecs
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from io import TextIOWrapper
from math import isfinite, isnan
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nn_any.cli.options import Splits, standardized
from nn_any.datasets.tables import Reading
from nn_any.ensemble import Ensemble
from nn_any.network import Network
from nn_any.training.display import unfailing_console


def error_console() -> Console:
    """The console on standard error, which falls silent where that can no longer be written."""
    return unfailing_console(sys.stderr)


def print_line(console: Console, line: str | Text) -> None:
    """Print a line as it is: without markup, highlighting or wrapping."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def count_examples(splits: Splits) -> str:
    """How many examples the training, validation and test data have, in words."""
    names = ("training", "validation", "test")
    return ", ".join(f"{len(data):,} {name}" for data, name in zip(splits, names, strict=True)) + " examples"


def counted(n: int, thing: str) -> str:
    """So many things, in words: ``1 epoch``, ``30 epochs``."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def introduce(console: Console, reading: Reading | None, model: Network | Ensemble) -> None:
    """Say what a file was taken for, what is standardised, and where the training takes place."""
    for line in reading.lines() if reading else ():
        print_line(console, line)
    if what := " and ".join(standardized(model.layers)):
        print_line(console, f"{what} standardised; --no-standardize leaves them as they are")
    print_line(console, f"device {model.device} ({model.device.reason})")


def render(lines: Iterable[str | Text], *tables: Table) -> str:
    """Tables and the lines below them as text for standard output, in colour if that shows any."""
    console = unfailing_console(sys.stdout)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
        for line in lines:
            print_line(console, line)
    return capture.get()


def next_command(results: dict[str, Any]) -> str:
    """How to go on after a run: the command that predicts new examples."""
    kind = Path(results["data"]).suffix.lower() or ".png"
    return f"nn-any predict {shlex.quote(str(Path(results['model']).parent))} new{kind}"


def output_width() -> int:
    """How many characters fit on a line of standard output."""
    return unfailing_console(sys.stdout).width


_NUMBERS_IN_LINES = re.compile(r"\[\n\s*([^\[\]{}\"]*?)\n\s*\]")
"""A list of numbers, a number a line; JSON has no line breaks in its texts."""


def to_json(results: dict[str, Any]) -> str:
    """Results as JSON text. JSON has no NaN and no infinity: null stands for them, and ``not_finite`` says where."""
    found: dict[str, set[str]] = {}

    def plain(value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {name: plain(part, f"{place}.{name}" if place else name) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part, place) for part in value]
        if isinstance(value, np.generic | np.ndarray):
            return plain(value.tolist(), place)
        if not isinstance(value, float) or isfinite(value):
            return value
        found.setdefault(place, set()).add("NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity")
        return None

    content = plain(results, "")
    if found:
        content["not_finite"] = {place: ", ".join(sorted(words)) for place, words in found.items()}
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    return _NUMBERS_IN_LINES.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text)


_IN_ASCII = str.maketrans(
    {"±": "+/-", "…": "...", "×": "x", "–": "-", "−": "-", "“": '"', "”": '"', "’": "'", "σ": "sigma"}
)


def _spell(error: UnicodeError) -> tuple[str, int]:
    """What an encoding does not have, in characters that every one has."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_IN_ASCII)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error("nn_any.spell", _spell)


def spelled(text: str) -> str:
    """`text` as standard output will spell it, for tables, whose columns are as wide as what is in them."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "nn_any.spell").decode(encoding)


def spell_unencodable() -> None:
    """Make standard output and standard error spell what their encodings do not have, where they would fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="nn_any.spell")


def print_results(results: dict[str, Any], report: Callable[[dict[str, Any]], str], *, as_json: bool) -> None:
    """Write the results to standard output; if that cannot be done, say at least where the model is."""
    text = to_json(results) if as_json else report(results)
    print_text(text, "the results could not be printed", f"the model is saved: {results['model']}")


def print_text(text: str, failure: str, but: str = "") -> None:
    """Write text to standard output; an error says what could not be done, and what was.

    A reader that leaves early, as ``head`` does, has all that it wants, if there is nothing else to tell.
    """
    try:
        if sys.stdout is None:
            raise OSError("standard output is closed")
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError) and not but:
            return
        raise OSError(f"{failure} ({error}){f'; {but}' if but else ''}") from error


def discard_unwritten() -> None:
    """Discard what a closed pipe has not taken: else Python would try again at its end, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
