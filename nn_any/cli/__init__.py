"""The command line, ``nn-any``: commands that parse, call and print."""

from nn_any.cli.app import main

__all__ = ["main"]
