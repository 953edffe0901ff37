"""Small faults put into the package on purpose, to see whether the quick tests notice: ``python -m tests.mutants``."""
