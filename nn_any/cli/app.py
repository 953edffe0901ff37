"""The application ``nn-any``: its commands, and its exit codes."""

import signal
import sys
from pathlib import Path

from cyclopts import App, CycloptsError

import nn_any as nn
from nn_any.cli.console import discard_unwritten, error_console, print_line, spell_unencodable
from nn_any.cli.devices import devices
from nn_any.cli.evaluate import evaluate
from nn_any.cli.export import export
from nn_any.cli.info import info
from nn_any.cli.options import UsageError
from nn_any.cli.predict import predict
from nn_any.cli.sweep import sweep
from nn_any.cli.train import train
from nn_any.training.interrupts import EXIT_CODES

FAILURE, USAGE = 1, 2

app = App(
    name="nn-any",
    help="Train neural networks on any array library: NumPy, CuPy, PyTorch, JAX and others.",
    version=nn.__version__,
    suppress_keyboard_interrupt=False,
)
for command in (train, predict, evaluate, info, export, sweep, devices):
    app.command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 for a failure, 2 for usage, 130 for Ctrl-C, 143 for SIGTERM."""
    spell_unencodable()
    errors = error_console()
    try:
        code = app(arguments, exit_on_error=False, error_console=errors, result_action="return_value")
    except CycloptsError as error:
        code = USAGE  # cyclopts has printed it
        unused = getattr(error, "unused_tokens", None) or []
        if unused and Path(unused[0]).suffix.lower() in (".csv", ".npz"):
            print_line(errors, f"usage: a file to train on goes with --data: --data {unused[0]}")
    except UsageError as error:
        print_line(errors, f"usage: {error}")
        code = USAGE
    except KeyboardInterrupt as interruption:
        code = EXIT_CODES[getattr(interruption, "signal", signal.SIGINT)]
    except Exception as error:
        print_line(errors, f"error: {error}")
        code = FAILURE
    discard_unwritten()
    sys.exit(code)
