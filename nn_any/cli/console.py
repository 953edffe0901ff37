"""The console of the command line: lines, tables and results, on streams that may no longer be writable."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nn_any.cli.options import Splits
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


def render(lines: Iterable[str | Text], table: Table | None = None) -> str:
    """A table and the lines below it as text for standard output, in colour if that shows any."""
    console = unfailing_console(sys.stdout)
    with console.capture() as capture:
        if table is not None:
            console.print(table)
        for line in lines:
            print_line(console, line)
    return capture.get()


def print_results(results: dict[str, Any], report: Callable[[dict[str, Any]], str], *, as_json: bool) -> None:
    """Write the results to standard output; if that cannot be done, say at least where the model is."""
    text = json.dumps(results, indent=2) + "\n" if as_json else report(results)
    try:
        if sys.stdout is None:
            raise OSError("standard output is closed")
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise OSError(f"the results could not be printed ({error}); the model is saved: {results['model']}") from error


def discard_unwritten() -> None:
    """Discard what a closed pipe has not taken: else Python would try again at its end, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
